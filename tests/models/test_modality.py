"""The records of the modalities: complete, and importable without torch."""

import subprocess
import sys

import pytest

from hf_leep.models import ADAPTERS, MODALITIES
from tests.warm import HANGING


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: modality.name)
def test_every_modality_is_complete(modality):
    assert modality.task.endswith("-classification")
    assert modality.unit.endswith("s")
    assert all(len(names) <= modality.max_inputs for names in modality.input_names)
    assert ADAPTERS[modality.name].auto_model.startswith("AutoModelFor")
    assert modality.decoder() is None or isinstance(modality.decoder(), str)


def test_names_are_unique():
    assert len({modality.name for modality in MODALITIES}) == len(MODALITIES) == len(ADAPTERS)


def test_importing_the_modalities_imports_neither_torch_nor_transformers():
    code = "import sys; import hf_leep.models; assert not {'torch', 'transformers'} & set(sys.modules), 'imported'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGING)
