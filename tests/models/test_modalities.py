"""The records of the modalities: complete, light, and the one place that knows."""

import subprocess
import sys

import pytest

from hf_leep.models import ADAPTERS, MODALITIES


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: modality.name)
def test_every_modality_says_all_of_itself(modality):
    assert modality.task.endswith("-classification")
    assert modality.unit.endswith("s")
    assert all(len(names) <= modality.max_inputs for names in modality.input_names)
    assert ADAPTERS[modality.name].auto_model.startswith("AutoModelFor")
    assert modality.decoder() is None or isinstance(modality.decoder(), str)


def test_names_are_told_apart():
    assert len({modality.name for modality in MODALITIES}) == len(MODALITIES) == len(ADAPTERS)


def test_knowing_them_costs_no_torch():
    code = "import sys; import hf_leep.models; assert not {'torch', 'transformers'} & set(sys.modules), 'imported'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
