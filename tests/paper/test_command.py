"""The command line of the study, from end to end on a small data set, and what it says of a wrong call."""

import json
import shutil
import subprocess
from pathlib import Path

import datasets
import pytest

from examples.paper.__main__ import main

ROOT = Path(__file__).parents[2]


def run(colours, output, *words):
    return main(
        ["run", "--dataset", str(colours), "--output", str(output), "--workers", "1", "--device", "cpu", *words]
    )


def test_the_commands_of_make_paper(colours, checkpoints, tmp_path):
    """Each command of the Makefile, on a small data set, with the smallest numbers."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    told = subprocess.run(
        ["make", "--dry-run", "paper", "STUDY=output"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    commands = [
        line.split("examples.paper run ")[1].split() for line in told.stdout.splitlines() if "paper run" in line
    ]
    assert len(commands) == 5
    stand_ins = dict(zip(["cifar10_resnet20", "cifar10_resnet56"], ["five", "seven-classes"], strict=True))
    small = {"--tasks": "1", "--epochs": "1", "--scratch-epochs": "1", "--episodes": "1"}
    for words in commands:
        rest = []
        for option, value in zip(words[::2], words[1::2], strict=True):
            if option == "--source" and Path(value).name in stand_ins:
                rest += [option, str(checkpoints[stand_ins[Path(value).name]])]
            elif option not in ("--source", "--dataset", "--output"):
                rest += [option, small.get(option, value)]
        rest += ["--measures", "leep"] if "--tasks" in rest else ["--measures", "leep", "--tasks", "1"]
        assert run(colours, tmp_path, *rest) == 0
    page = (tmp_path / "README.md").read_text()
    for section in (
        "Large balanced (",
        "Meta-transfer",
        "## Convergence",
        "## Source-model selection",
        "fine-tuning.",
    ):
        assert section in page
    assert "With fewer than 5 tasks, no correlation is given." in page
    results = json.loads((tmp_path / "results.json").read_text())
    assert all(one["pearson"] is None for row in results["rows"] for one in row["measures"].values())


def test_a_task_that_cannot_be_done_is_named_and_the_others_go_on(colours, checkpoints, tmp_path, capsys):
    """One training image a class: a noisy label most often leaves a class without any; and there are no halves."""
    whole = datasets.load_from_disk(str(colours))
    lone = whole["train"].select(range(6))
    datasets.DatasetDict({"train": lone, "test": whole["test"]}).save_to_disk(str(tmp_path / "lone"))
    output, words = tmp_path / "out", ("--source", str(checkpoints["five"]), "--measures", "leep", "--tasks", "12")
    asked = ("--experiment", "noisy-labels-20", "--experiment", "large-balanced", *words)
    assert run(tmp_path / "lone", output, *asked) == 3
    failures = json.loads((output / "results.json").read_text())["failures"]
    assert {one["experiment"] for one in failures} == {"noisy-labels-20"}
    assert "needs a row" in failures[0]["reason"]
    count = sum(len(one["tasks"]) for one in failures)
    assert f"{count} of 24 tasks failed" in capsys.readouterr().err
    page = (output / "README.md").read_text()
    assert "failed** and" in page
    assert "12 tasks (12 different sets of classes) of 2 to 6 classes" in page  # large balanced: all of them
    times = {path: path.stat().st_mtime_ns for path in (output / "tasks").rglob("*.json")}
    assert run(tmp_path / "lone", output, *asked) == 3
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert run(tmp_path / "lone", output, *asked, "--retry-failed") == 3
    again = {path for path in times if path.stat().st_mtime_ns != times[path]}
    assert len(again) == count


def test_where_every_task_fails_that_is_the_error(tmp_path, capsys):
    job = tmp_path / "tasks" / "large-balanced" / "headless" / "head" / "0000.json"
    job.parent.mkdir(parents=True)
    (tmp_path / "study.json").write_text(json.dumps({"measures": [], "training": {}, "sources": {}}))
    job.write_text(json.dumps({"experiment": "x", "source": "y", "kind": "z", "index": 0, "failed": "the reason"}))
    assert main(["report", str(tmp_path)]) == 1
    assert "all 1 tasks failed, the first because of: the reason" in capsys.readouterr().err


def test_convergence_of_a_source_without_a_head_is_told_without_leep(colours, checkpoints, tmp_path):
    words = ("--source", str(checkpoints["five"]), "--measures", "logme", "--experiment", "convergence")
    assert run(colours, tmp_path, *words, "--tasks", "1", "--epochs", "1", "--scratch-epochs", "1") == 0
    assert "LEEP has no score for these tasks" in (tmp_path / "README.md").read_text()
    # Another measure joins: the tasks that are there are scored with it, and nothing is trained again.
    curves = next((tmp_path / "tasks").rglob("curves/*.json"))
    before = curves.stat().st_mtime_ns
    head = next((tmp_path / "tasks").rglob("head/*.json"))
    known = json.loads(head.read_text())
    words = (*words[:2], "--measures", "leep", *words[4:])
    assert run(colours, tmp_path, *words, "--tasks", "1") == 0  # epochs: as the folder has them
    assert curves.stat().st_mtime_ns == before
    now = json.loads(head.read_text())
    assert now["scores"].keys() == {"logme", "leep"}
    assert {**now, "scores": known["scores"]} == known
    assert "LEEP has no score for these tasks" not in (tmp_path / "README.md").read_text()


def test_a_folder_is_refused_for_what_decides_its_numbers_alone(colours, checkpoints, tmp_path, capsys, monkeypatch):
    source = ("--source", str(checkpoints["five"]), "--measures", "leep", "--experiment", "small-balanced")
    assert run(colours, tmp_path, *source, "--tasks", "1", "--epochs", "3") == 0
    monkeypatch.chdir(colours.parent)
    assert run(colours.name + "/", tmp_path, *source, "--tasks", "2", "--epochs", "2") == 0  # nothing was fine-tuned
    tuned = (*source, "--tasks", "1", "--transfer", "head-sgd")
    assert run(colours, tmp_path, *tuned, "--sgd-epochs", "2") == 0
    capsys.readouterr()
    assert run(colours, tmp_path, *tuned, "--sgd-epochs", "4") == 2
    assert "holds a study with another --sgd-epochs: 2, now 4" in capsys.readouterr().err
    assert run(colours, tmp_path, *source, "--tasks", "1", "--test-split", "train") == 2
    assert "another data set: " in capsys.readouterr().err


def test_a_part_can_be_held_out(colours, checkpoints, tmp_path, capsys):
    datasets.load_from_disk(str(colours))["train"].save_to_disk(str(tmp_path / "one"))
    source = ("--source", str(checkpoints["five"]), "--experiment", "large-balanced", "--tasks", "1")
    assert run(tmp_path / "one", tmp_path / "out", *source) == 2
    assert "--test-split NAME, or keep a part of the training split with --hold-out 0.2" in capsys.readouterr().err
    assert run(tmp_path / "one", tmp_path / "out", *source, "--measures", "leep", "--hold-out", "0.25") == 0
    known = json.loads((tmp_path / "out" / "study.json").read_text())
    assert (known["num_train"], known["num_test"]) == (180, 60)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--experiment", "sideways"], "unknown experiment 'sideways': large-balanced, "),
        (["--transfer", "prayer"], "unknown transfer 'prayer': head-sgd, fine-tuning"),
        (["--experiment", "small-balanced"], "nowhere"),
        (["--experiment", "source-selection"], "needs at least two: repeat --source"),
        (["--source", "x"], "--source x is given twice"),
        (["--hold-out", "1"], "--hold-out is 1.0"),
        *(([f"--{name}", "0"], f"--{name}") for name in ("tasks", "workers", "epochs", "episodes", "batch-size")),
        (["--seed", "-1"], "--seed"),
        (["--learning-rate", "0"], "--learning-rate"),
    ],
)
def test_a_wrong_call_is_one_line(tmp_path, capsys, words, message):
    call = ["run", "--dataset", str(tmp_path / "nowhere"), "--source", "x", "--output", str(tmp_path / "out"), *words]
    assert main(call) == 2
    error = capsys.readouterr().err
    assert error.startswith("examples.paper: ")
    assert message in error
    assert error.count("\n") == 1


def test_what_is_no_study_is_said_on_one_line(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    assert "holds no study" in capsys.readouterr().err
