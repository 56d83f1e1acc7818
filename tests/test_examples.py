"""Every example runs."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def test_score_arrays():
    knowing, guessing = run("score_arrays.py").splitlines()
    assert float(knowing.split("LEEP")[1].split()[0]) < float(guessing.split("LEEP")[1].split()[0])
    assert float(knowing.split()[-1]) > float(guessing.split()[-1])  # leave-one-out tells them apart


def test_rank_checkpoints(checkpoints, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "pictures.parquet")
    output = run("rank_checkpoints.py", tmp_path / "pictures.parquet", tmp_path / "out", checkpoints["five"])
    assert output.startswith("1. group 1: ")
    assert (tmp_path / "out" / "README.md").exists()


@pytest.mark.parametrize("path", list(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_every_example_has_a_test(path):
    assert f'run("{path.name}"' in Path(__file__).read_text()
