"""What a new measure must bring: each line of a failure says what is missing and where to add it."""

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

from hf_leep import measures
from hf_leep.measures.registry import MODULES
from hf_leep.selfcheck.checks import CHECKS

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.stem
    for path in (ROOT / "hf_leep" / "measures").glob("*.py")
    if re.search(r"^MEASURE\b", path.read_text(encoding="utf-8"), re.MULTILINE)
)
DOCSTRING = {  # part of the docstring of a measure's function → how it is found there
    "Args": r"^Args:$",
    "Returns": r"^Returns:$",
    "Raises": r"^Raises:$",
    "Examples": r"^Examples:$[\s\S]*>>> ",
    "Cost: … time; … memory.": r"^Cost: .* time[\s\S]*? memory\.",
    "Not for: …": r"^Not for: \S",
    "Reference: …": r"^Reference: \S",
    "the shape ``[n, s]`` or ``[n, d]``": r"``\[n, [sd]\]``",
}


def missing(module):
    """Yield one line for each thing that the measure in hf_leep/measures/<module>.py lacks."""
    file = f"hf_leep/measures/{module}.py"
    code = importlib.import_module(f"hf_leep.measures.{module}")
    measure, name = code.MEASURE, module.replace("_", "-")
    if measure.name != name:
        yield f"name={measure.name!r} does not match its file: call it {name!r}, or rename {file}"
    if module not in MODULES:
        yield f"it is not in the registry: add {module!r} to MODULES in hf_leep/measures/registry.py"
    if getattr(code, module, None) is not measure.function:
        yield f"its function is not called {module}: define `def {module}(...)` in {file} and pass it as function="
    elif getattr(measures, module, None) is not measure.function:
        yield f"hf_leep.measures.{module} is not its function: import it in measures/__init__.py, add it to __all__"
    if not re.search(r"\b(19|20)\d\d\b", code.__doc__ or ""):
        yield f"the docstring at the top of {file} names no publication and year"
    documentation = inspect.getdoc(measure.function) or ""
    parts = [part for part, pattern in DOCSTRING.items() if not re.search(pattern, documentation, re.MULTILINE)]
    if parts:
        yield f"the docstring of {module}() in {file} lacks {', '.join(parts)} (h_score.py has them all)"
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    lines = [line for page in pages for line in page.read_text(encoding="utf-8").splitlines()]
    row = next((line for line in lines if line.startswith(f"| `{name}` |")), None)
    if row is None:
        suggested = f"| `{name}` | {measure.needs} | {measure.unit or '–'} | {measure.summary} |"
        yield f"it is not in the table of measures: add a row such as {suggested!r} to docs/measures.md"
    elif measure.needs not in row or (measure.unit or "–") not in row:
        yield f"its row in the table of measures does not name {measure.needs} and {measure.unit or '–'}"
    if name not in CHECKS:
        yield "it has no self-check: write a function that yields claims, and add it to CHECKS, in selfcheck/checks.py"
    benchmarks = (ROOT / "tests" / "benchmarks" / "measures.py").read_text(encoding="utf-8")
    if not re.search(rf"^def {module}\(", benchmarks, re.MULTILINE):
        yield f"it has no benchmark: add a simple implementation `def {module}(x, y)` to tests/benchmarks/measures.py"
    if not (ROOT / "tests" / "measures" / f"test_{module}.py").is_file():
        yield f"it has no tests of its own: add tests/measures/test_{module}.py"


@pytest.mark.parametrize("module", FILES)
def test_a_measure_brings_what_it_needs(module):
    lacking = [f"\nmeasure {module.replace('_', '-')!r}: {line}" for line in missing(module)]
    assert not lacking, "".join(lacking)


@pytest.mark.parametrize("module", ["measure", "registry", *FILES])
def test_the_examples_in_docstrings_give_what_they_show(module):
    found = doctest.testmod(importlib.import_module(f"hf_leep.measures.{module}"))
    assert found.failed == 0
