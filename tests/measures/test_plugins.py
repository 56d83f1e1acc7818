"""Measures of other packages: real distributions, on the path of a separate process."""

import subprocess
import sys

import pytest

GOOD = """
from dataclasses import replace

from hf_leep.measures import Measure

def _influence(inputs, labels):
    import numpy as np
    return 0.5, np.array([1.0, -1.0])

MEASURE = Measure(
    name="my-measure",
    title="mine",
    needs="features",
    unit="",
    reference="nobody",
    summary="a test",
    function=lambda inputs, labels: 0.5,
    influence=_influence,
)
TAKEN = replace(MEASURE, name="leep")
UPPER_CASE = replace(MEASURE, name="MINE")
LOGITS = replace(MEASURE, name="mine", needs="logits")
NOT_CALLABLE = replace(MEASURE, name="mine", influence=None)
CHECKED_BY_NONE = replace(MEASURE, name="mine", checked_by="yours")
VOTES_WITH_NONE = replace(MEASURE, name="mine", shares_vote_with="yours")
NUMBER = 5
"""


@pytest.fixture
def installed(tmp_path):
    """Install a distribution with these entry points and run code that can import it."""

    def run(entries, code, module=GOOD, version="1.0"):
        (tmp_path / "their_measures.py").write_text(module)
        about = tmp_path / "their_measures-1.0.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: their-measures\nVersion: {version}\n")
        lines = "\n".join(f"{name} = {value}" for name, value in entries.items())
        (about / "entry_points.txt").write_text(f"[hf_leep.measures]\n{lines}\n")
        code = f"import sys; sys.path.append({str(tmp_path)!r})\n{code}"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    return run


def test_a_measure_of_another_package_is_found_listed_and_scored(installed):
    done = installed(
        {"my-measure": "their_measures:MEASURE"},
        "from hf_leep import measures\n"
        "assert measures.find('leep').name == 'leep' and 'their_measures' not in sys.modules\n"
        "assert measures.find('my_measure').title == 'mine'\n"
        "assert 'my-measure' in list(measures.MEASURES) and 'leep' in measures.MEASURES\n"
        "print(measures.standard_error('my-measure', [[1.0], [2.0]], [0, 1]))",
    )
    assert done.stderr == ""
    assert float(done.stdout) == pytest.approx(1.0)


def test_another_version_of_the_package_stores_its_scores_under_another_name(installed):
    code = "from hf_leep.measures import MEASURES as m; print(m.stored_name('my_measure'), m.stored_name('leep'))"
    stored = [
        installed({"x": "their_measures:MEASURE"}, code, version=v).stdout.split() for v in ("1.0", "1.1", "1.0")
    ]
    assert stored[0] == stored[2] != stored[1]
    assert all(theirs.startswith("my-measure-") and ours == "leep" for theirs, ours in stored)


def test_listing_the_measures_loads_those_of_other_packages(installed):
    code = (
        "from hf_leep.measures import MEASURES; print(len(MEASURES) - len(MEASURES.data), 'my-measure' in [*MEASURES])"
    )
    assert installed({"x": "their_measures:MEASURE"}, code).stdout == "0 True\n"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("their_measures:NUMBER", "its entry point leads to an object of type int, not hf_leep.measures.Measure"),
        ("their_measures:TAKEN", "there is already a measure 'leep'"),
        ("their_measures:UPPER_CASE", "its name 'MINE' is not in kebab-case"),
        ("their_measures:LOGITS", "it needs 'logits', which is neither probabilities nor features"),
        ("their_measures:NOT_CALLABLE", "its function or influence cannot be called"),
        ("their_measures:CHECKED_BY_NONE", "its checked_by is 'yours', which is not a measure"),
        ("their_measures:VOTES_WITH_NONE", "its shares_vote_with is 'yours', which is not a measure"),
        ("their_measures:MISSING", "AttributeError"),
        ("no_such_module:MEASURE", "No module named 'no_such_module'"),
    ],
)
def test_a_measure_that_cannot_be_used_is_left_out_with_a_warning(installed, value, why):
    done = installed(
        {"bad": value, "my-measure": "their_measures:MEASURE"},
        "from hf_leep import measures\n"
        "from hf_leep.errors import MeasureError\n"
        "names = list(measures.MEASURES)\n"
        "assert 'my-measure' in names and measures.find('leep').title == 'LEEP'\n"
        "try: measures.find('bad')\n"
        "except MeasureError as error: print(error)",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning: measure 'bad' of their-measures was left out") == 1
    assert why in done.stderr
    assert "measure 'bad' of their-measures was left out" in done.stdout


def test_a_measure_whose_module_fails_on_import_is_left_out_with_a_warning(installed):
    done = installed(
        {"bad": "their_measures:MEASURE"},
        "from hf_leep import measures; print(measures.find('nce').name, 'bad' in measures.MEASURES)",
        module="raise ZeroDivisionError('on import')",
    )
    assert done.stdout == "nce False\n"
    assert "measure 'bad' of their-measures was left out: ZeroDivisionError: on import" in done.stderr
