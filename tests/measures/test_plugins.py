"""Measures of other packages: real distributions on the path of a process of their own."""

import subprocess
import sys

import pytest

GOOD = """
from hf_leep.measures import Measure

def _influence(inputs, labels):
    import numpy as np
    return 0.5, np.array([1.0, -1.0])

MEASURE = Measure(
    "my-measure", "mine", "features", "", True, "nobody", "a test", lambda inputs, labels: 0.5, _influence
)
TAKEN = Measure(
    "leep", "mine", "features", "", True, "nobody", "a test", lambda inputs, labels: 0.5, _influence
)
SHOUTED = Measure(
    "MINE", "mine", "features", "", True, "nobody", "a test", lambda inputs, labels: 0.5, _influence
)
NUMBER = 5
"""


@pytest.fixture
def installed(tmp_path):
    """Install a distribution with these entry points and run code beside it."""

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


def test_scores_of_another_version_of_its_package_are_not_taken_for_its_own(installed):
    code = "from hf_leep.measures import MEASURES as m; print(m.stored_name('my_measure'), m.stored_name('leep'))"
    stored = [
        installed({"x": "their_measures:MEASURE"}, code, version=v).stdout.split() for v in ("1.0", "1.1", "1.0")
    ]
    assert stored[0] == stored[2] != stored[1]
    assert all(theirs.startswith("my-measure-") and ours == "leep" for theirs, ours in stored)


def test_listing_loads_it_too(installed):
    code = (
        "from hf_leep.measures import MEASURES; print(len(MEASURES) - len(MEASURES.data), 'my-measure' in [*MEASURES])"
    )
    assert installed({"x": "their_measures:MEASURE"}, code).stdout == "0 True\n"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("their_measures:NUMBER", "its entry point leads to int, not to a hf_leep.measures.Measure"),
        ("their_measures:TAKEN", "there is a measure 'leep' already"),
        ("their_measures:SHOUTED", "its name 'MINE' is not in kebab-case"),
        ("their_measures:MISSING", "AttributeError"),
        ("no_such_module:MEASURE", "No module named 'no_such_module'"),
    ],
)
def test_a_broken_one_is_named_and_breaks_nothing(installed, value, why):
    done = installed(
        {"bad": value, "my-measure": "their_measures:MEASURE"},
        "from hf_leep import measures\n"
        "names = list(measures.MEASURES)\n"
        "assert 'my-measure' in names and measures.find('leep').title == 'LEEP'\n"
        "try: measures.find('bad')\n"
        "except measures.MeasureError as error: print(error)",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning: measure 'bad' of their-measures was left out") == 1
    assert why in done.stderr
    assert "measure 'bad' of their-measures was left out" in done.stdout


def test_one_that_fails_while_it_is_imported_is_named(installed):
    done = installed(
        {"bad": "their_measures:MEASURE"},
        "from hf_leep import measures; print(measures.find('nce').name, 'bad' in measures.MEASURES)",
        module="raise ZeroDivisionError('on import')",
    )
    assert done.stdout == "nce False\n"
    assert "measure 'bad' of their-measures was left out: ZeroDivisionError: on import" in done.stderr
