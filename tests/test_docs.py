"""What README and docs say is so."""

import ast
import dataclasses
import doctest
import inspect
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import hf_leep
from hf_leep import cli
from hf_leep.measures import MEASURES
from tests.test_readme import paragraphs

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = {page: page.read_text(encoding="utf-8") for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]}
TEXT = "\n".join(PAGES.values())
COMMANDS = get_command(cli.app).commands


def read(name):
    return PAGES[ROOT / name]


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def anchors(page):
    """The ids that GitHub and the Hub give to a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_mentioned(command):
    assert f"`hf-leep {command}" in read("docs/command-line.md")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_mentioned(command):
    for parameter in COMMANDS[command].params:
        if parameter.opts[0].startswith("--"):
            assert re.search(rf"`?{parameter.opts[0]}\b", TEXT), parameter.opts[0]
    if command == "rank":
        for parameter in COMMANDS["rank"].params:
            assert f"`{parameter.opts[0]}`" in read("docs/command-line.md"), parameter.opts[0]


@pytest.mark.parametrize("name", [name for name in hf_leep.__all__ if name != "__version__"])
def test_every_public_name_is_mentioned(name):
    page = read("docs/python.md")
    assert f"hf_leep.{name}" in page or f"from hf_leep import {name}" in page


@pytest.mark.parametrize("name", ["Execution", "HubAccess", "Search", "Race", "Cluster", "FineTuning"])
def test_the_page_on_python_has_each_field_of_a_record_with_its_default(name):
    (row,) = re.findall(rf"^\| .* \| `hf_leep\.{name}` \| (.*) \|$", read("docs/python.md"), flags=re.MULTILINE)
    fields = {field.name: field.default for field in dataclasses.fields(getattr(hf_leep, name))}
    stated = {key: ast.literal_eval(value) for key, value in re.findall(r"`(\w+)=([^`]+)`", row)}
    assert stated == fields


def test_the_page_on_python_has_each_keyword_of_rank():
    page = read("docs/python.md")
    keywords = [
        name for name, one in inspect.signature(hf_leep.rank).parameters.items() if one.kind == one.KEYWORD_ONLY
    ]
    assert [name for name in keywords if not re.search(rf"`{name}(=[^`]+)?`", page)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if link.startswith(("https://", "http://")):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page):
    sentences = [s for p in paragraphs(PAGES[page]) for s in re.split(r"(?<=[.:;?!])\s+", p)]
    assert max(len(s.split()) for s in sentences) <= 40, max(sentences, key=lambda s: len(s.split()))


def test_every_page_is_linked_from_the_readme():
    for page in DOCS:
        assert f"(docs/{page.name}" in read("README.md"), page.name


def test_every_command_line_has_options_that_exist():
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    calls = [shlex.split(line, comments=True) for line in lines if line.startswith("hf-leep")]
    assert calls
    for _, command, *words in calls:
        known = {option for parameter in COMMANDS[command].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_every_name_in_the_python_blocks_exists():
    code = "\n".join(blocks("python"))
    compile(code, "docs", "exec")
    for name in set(re.findall(r"(?<![\w.])measures\.(\w+)", code)):
        assert hasattr(hf_leep.measures, name)
    for name in set(re.findall(r"hf_leep\.(\w+)", code)):
        assert hasattr(hf_leep, name)


def test_each_line_about_data_names_a_test():
    rows = [line for line in (ROOT / "docs" / "data.md").read_text().splitlines() if re.match(r"\| (?!what)", line)]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.rpartition(" | ")[2])
        file = re.search(r"`(tests/\S+\.py)`", row)
        content = (ROOT / (file[1] if file else "tests/data/test_files.py")).read_text()
        assert named, row
        for name in named:
            assert f"def {name}(" in content, name


def test_the_two_commands_are_targets_of_the_makefile():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert {"demo", "test", "check", "style"} <= set(targets)
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_a_demo_installs_what_a_user_needs_and_the_tests_add_the_rest(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)

    def commands(target):
        return subprocess.run(["make", "-n", target], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert "--editable .\n" in commands("demo")
    assert "[dev]" not in commands("demo")
    assert "'.[dev]'" in commands("test")
    (tmp_path / ".venv").mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / ".venv" / ".ready").touch()  # after a demo
    assert "pip" not in commands("demo")
    assert "--editable .\n" not in commands("test")
    assert "'.[dev]'" in commands("test")


def test_what_few_users_need_is_an_extra_that_the_tests_install():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"audio", "ray", "timm", "video"} <= set(extras)
    assert "hf-leep[audio,ray,video]" in extras["dev"]


def test_versions_agree():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert hf_leep.__version__ == version
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_pin_torch_and_nothing_that_is_not_needed():
    pins = re.findall(r"^([\w-]+)==", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()
    needed = " ".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    assert set(pins) - {"tokenizers"} <= set(re.findall(r"[\w-]+", needed))


@pytest.mark.parametrize("module", [hf_leep, hf_leep.measures])
def test_the_examples_in_docstrings_come_out_as_they_say(module):
    found = doctest.testmod(module)
    assert found.failed == 0
    assert found.attempted > 0


def test_public_docstrings_say_what_they_raise():
    for function in (hf_leep.rank, hf_leep.Report.load, *(m.function for m in MEASURES.values())):
        assert "Raises:" in function.__doc__, function


def test_the_page_on_measures_says_what_each_is_good_for():
    page = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    told = {name for name in MEASURES if re.search(rf"^\| `{name}` \|.*\w.*\|$", page, flags=re.MULTILINE)}
    assert told == {name for name, measure in MEASURES.items() if type(measure).__module__.startswith("hf_leep")}
