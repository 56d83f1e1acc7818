"""The certificate: it passes, and it notices a measure that is wrong."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from hf_leep import cli, verify
from hf_leep.measures import MEASURES
from hf_leep.verify import Check


def test_a_difference_that_is_no_number_does_not_pass():
    assert not Check("leep", "x", float("nan"), 1.0).passed
    assert not Check("leep", "x", 2.0, 1.0).passed
    assert Check("leep", "x", 1.0, 1.0).passed


def shifted(name, monkeypatch):
    """Let a measure be wrong by a little."""
    right = getattr(verify.measures, name)
    monkeypatch.setattr(verify.measures, name, lambda *args, **options: right(*args, **options) + 0.02)


def test_every_measure_is_checked_and_passes_in_an_interpreter_of_its_own():
    command = [sys.executable, "-m", "hf_leep", "verify", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    checks = json.loads(done.stdout)
    assert [check for check in checks if not check["passed"]] == []
    assert {check["measure"] for check in checks} == set(MEASURES)
    assert done.returncode == 0


def test_a_wrong_measure_fails_the_command_and_the_others_pass_with_another_seed(monkeypatch, capsys):
    shifted("leep", monkeypatch)
    monkeypatch.setattr(verify, "verify", partial(verify.verify, 1))
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.run(["verify"]) == 1
    out = capsys.readouterr().out
    wrong = [line.split() for line in out.splitlines() if line.startswith("✗")]
    right = [line for line in out.splitlines() if line.startswith("✓")]
    assert {words[1] for words in wrong} == {"leep"}
    assert f"{len(right)} of {len(right) + len(wrong)} checks passed" in out


@pytest.mark.parametrize("name", [name.replace("-", "_") for name in MEASURES])
def test_a_wrong_measure_is_noticed(name, monkeypatch):
    shifted(name, monkeypatch)
    part = getattr(verify, f"_{name.removesuffix('_leep') if name.startswith('leave') else name}")
    checks = [Check(measure, claim, float(d), limit) for measure, claim, d, limit in part(np.random.default_rng(0))]
    assert not all(check.passed for check in checks)
