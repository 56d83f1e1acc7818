"""The certificate: it passes, and it notices a measure that is wrong."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from hf_leep import cli, verify
from hf_leep.measures import MEASURES
from hf_leep.verify import Check


@pytest.mark.parametrize("seed", [0, 1])
def test_every_check_passes_and_every_measure_is_checked(seed):
    checks = verify.verify(seed)
    assert [check for check in checks if not check.passed] == []
    assert {check.measure for check in checks} == set(MEASURES)


def test_a_difference_that_is_no_number_does_not_pass():
    assert not Check("leep", "x", float("nan"), 1.0).passed
    assert not Check("leep", "x", 2.0, 1.0).passed
    assert Check("leep", "x", 1.0, 1.0).passed


def shifted(name, monkeypatch):
    """Let a measure be wrong by a little."""
    right = getattr(verify.measures, name)
    monkeypatch.setattr(verify.measures, name, lambda *args, **options: right(*args, **options) + 0.02)


def test_a_wrong_measure_fails_the_command(monkeypatch, capsys):
    shifted("leep", monkeypatch)
    assert cli.run(["verify"]) == 1
    assert "✗" in capsys.readouterr().out


@pytest.mark.parametrize("name", [name.replace("-", "_") for name in MEASURES])
def test_a_wrong_measure_is_noticed(name, monkeypatch):
    shifted(name, monkeypatch)
    part = getattr(verify, f"_{name.removesuffix('_leep') if name.startswith('leave') else name}")
    checks = [Check(measure, claim, float(d), limit) for measure, claim, d, limit in part(np.random.default_rng(0))]
    assert not all(check.passed for check in checks)


def test_the_command_prints_a_table_or_json_and_takes_seconds():
    command = [sys.executable, "-m", "hf_leep", "verify"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "100"}, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "✗" not in done.stdout
    checks = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert all(check["passed"] for check in checks)
    assert f"{len(checks)} of {len(checks)} checks passed" in done.stdout
