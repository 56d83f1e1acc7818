"""The self-check: it passes, and it notices a measure that is wrong."""

import json
import subprocess
import sys
import threading
from functools import partial

import huggingface_hub.utils
import numpy as np
import pytest

from hf_leep import cli
from hf_leep.measures import MEASURES
from hf_leep.selfcheck import checks
from hf_leep.selfcheck.certificate import _run_checks, certificate, certified_meanwhile
from hf_leep.selfcheck.checks import Check
from hf_leep.store import Store
from tests.warm import HANGING


def test_a_nan_difference_does_not_pass():
    assert not Check("leep", "x", float("nan"), 1.0).passed
    assert not Check("leep", "x", 2.0, 1.0).passed
    assert Check("leep", "x", 1.0, 1.0).passed


def shifted(name, monkeypatch):
    """Make a measure slightly wrong."""
    right = getattr(checks.measures, name)
    monkeypatch.setattr(checks.measures, name, lambda *args, **options: right(*args, **options) + 0.02)


def test_every_measure_is_checked_and_passes_in_a_new_interpreter():
    command = [sys.executable, "-m", "hf_leep", "verify", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGING)
    checks = json.loads(done.stdout)
    assert [check for check in checks if not check["passed"]] == []
    assert {check["measure"] for check in checks} == set(MEASURES)
    assert done.returncode == 0


def test_a_wrong_measure_fails_the_command_while_the_others_pass_with_another_seed(monkeypatch, capsys):
    shifted("leep", monkeypatch)
    monkeypatch.setattr(checks, "verify", partial(checks.verify, 1))
    monkeypatch.setattr(huggingface_hub.utils, "are_progress_bars_disabled", lambda: False)
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.run(["verify"]) == 1
    said = capsys.readouterr()
    lines = said.out.splitlines()
    wrong = [number for number, line in enumerate(lines) if line.startswith("✗")]
    right = [line for line in lines if line.startswith("✓")]
    headings = {line.strip(): number for number, line in enumerate(lines) if line.strip() in MEASURES}
    assert wrong
    assert all(headings["leep"] < number < headings["leave-one-out-leep"] for number in wrong)
    assert f"{len(right)} of {len(right) + len(wrong)} checks passed" in said.out
    # In a pipe there is no bar, but a line a measure.
    assert [line.split()[1] for line in said.err.splitlines()] == [f"{name}:" for name in checks.CHECKS]
    assert said.err.startswith(f"[1/{len(checks.CHECKS)}] leep: ")


@pytest.mark.parametrize("name", checks.CHECKS)
def test_a_wrong_measure_is_noticed(name, monkeypatch):
    shifted(name.replace("-", "_"), monkeypatch)
    # Not with verify(), so that no check runs after the first that fails.
    results = (result for check in checks.CHECKS[name] for result in check(np.random.default_rng(0)))
    assert any(difference > tolerance for _, difference, tolerance in results)


def test_a_certificate_covers_the_measures_of_a_run_and_is_cached(tmp_path, monkeypatch, request):
    request.addfinalizer(_run_checks.cache_clear)
    names, store = ["leep", "nce", "of-another-package"], Store(tmp_path)
    made = certificate(names, store)
    assert made.num_checks == len(checks.verify(names=["leep", "nce"]))
    assert made.failed == ()
    assert made.unchecked == ("of-another-package",)
    shifted("leep", monkeypatch)
    assert certificate(names, store) == made
    _run_checks.cache_clear()
    again = certificate(names, Store(None))
    assert again.num_checks == made.num_checks
    assert "leep: constant predictions score −Ĥ(Y)" in again.failed
    assert not any(failure.startswith("nce") for failure in again.failed)
    store.clear()
    assert certificate(names, store) == again


def test_a_run_is_certified_meanwhile_and_gets_what_the_checks_raise(monkeypatch):
    store, caller = Store(None), threading.get_ident()
    with certified_meanwhile(["leep"], store) as certified:
        assert certified() == certificate(["leep"], store)

    def broken(_key, _make):
        raise MemoryError(threading.get_ident() != caller)

    monkeypatch.setattr(store, "checks", broken, raising=False)
    with certified_meanwhile(["leep"], store) as certified, pytest.raises(MemoryError, match="True"):
        certified()
