"""What is released: one version, and everything that the package reads at run time."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import hf_leep
from hf_leep.evaluate_module import names

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in a wheel of the working tree."""
    import zipfile

    from hatchling.builders.wheel import WheelBuilder

    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"])
    with zipfile.ZipFile(path) as file:
        return set(file.namelist())


def test_the_version_stands_in_one_place_and_the_rest_agrees():
    stated = PROJECT["project"]["version"]
    assert hf_leep.__version__ == version("hf-leep") == stated
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]) == stated
    assert re.search(rf"^## {re.escape(stated)} ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    for path in (ROOT / "hf_leep").rglob("*.py"):
        assert stated not in path.read_text(), path


def test_the_wheel_holds_every_file_of_the_package_and_the_metrics(wheel):
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "hf_leep").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"hf_leep/py.typed", "hf_leep/report/schema.json", "hf_leep/report/card/page.md.jinja"} <= package <= wheel
    for name in names():
        folder = f"hf_leep/metric_card/{name.replace('-', '_')}"
        assert {f"{folder}/README.md", f"{folder}/requirements.txt"} <= wheel
    assert not [name for name in wheel if name.startswith(("tests/", "examples/"))]


def test_the_source_archive_holds_what_the_tests_read(tmp_path):
    import tarfile

    from hatchling.builders.sdist import SdistBuilder

    (path,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(path) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for needed in (
        "CONTRIBUTING.md",
        "README.md",
        "docs/measures.md",
        "tests/test_packaging.py",
        ".ci/run",
        "Makefile",
    ):
        assert needed in names


def test_the_workflow_runs_what_must_pass_and_knows_no_secret():
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    jobs = yaml.safe_load(text)["jobs"]
    assert {"run": ".ci/run"} in jobs["check"]["steps"]
    assert "secrets." not in text
    tried = {line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if " :: 3." in line}
    assert set(jobs["check"]["strategy"]["matrix"]["python"]) == tried
