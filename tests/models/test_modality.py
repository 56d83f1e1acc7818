"""The records of the modalities: complete, and importable without torch."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hf_leep.models import ADAPTERS, MODALITIES
from tests.warm import HANGING

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: modality.name)
def test_every_modality_is_complete(modality):
    assert modality.task.endswith("-classification")
    assert modality.unit.endswith("s")
    assert all(len(names) <= modality.max_inputs for names in modality.input_names)
    assert ADAPTERS[modality.name].auto_model.startswith("AutoModelFor")
    assert modality.decoder() is None or isinstance(modality.decoder(), str)


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda modality: modality.name)
def test_a_modality_brings_what_contributing_asks_for(modality):
    assert (ROOT / "tests" / "models" / f"test_{modality.name}.py").is_file()
    pages = (ROOT / "docs" / "candidates.md").read_text(encoding="utf-8")
    assert f"whatever `{modality.adapter.auto_model}` loads" in pages
    code = (ROOT / "hf_leep" / "models" / f"{modality.name}.py").read_text(encoding="utf-8")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for package, extra in re.findall(r'files_need\("(\w+)", "(\w+)"\)', code):
        assert any(line.startswith(package) for line in extras[extra])


def test_names_are_unique():
    assert len({modality.name for modality in MODALITIES}) == len(MODALITIES) == len(ADAPTERS)


def test_importing_the_modalities_imports_neither_torch_nor_transformers():
    code = "import sys; import hf_leep.models; assert not {'torch', 'transformers'} & set(sys.modules), 'imported'"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=HANGING)
