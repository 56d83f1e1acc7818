"""The command line in processes, as people run it; each command once in an interpreter of its own."""

import json
import os
import re
import shutil
import subprocess
import sys

import datasets
import pytest
from typer.main import get_command

from hf_leep import cli
from hf_leep.measures import MEASURES
from tests.warm import HANGING


@pytest.fixture(scope="module")
def dataset(pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "pictures.parquet"
    pictures.to_parquet(path)
    return str(path)


FRESH = (sys.executable,)


@pytest.fixture(scope="session")
def hf_leep(python):
    """Run ``python -m hf_leep`` and return the finished process."""

    def run(*arguments, interpreter=python):
        environment = {**os.environ, "COLUMNS": "100", "PYTHONWARNINGS": "error::DeprecationWarning:hf_leep"}
        command = [*interpreter, "-m", "hf_leep", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=HANGING)

    return run


def test_rank_writes_the_report_and_shows_it(hf_leep, dataset, checkpoints, tmp_path):
    done = hf_leep(
        "rank", "--dataset", dataset, "--split", "train",
        "--models", checkpoints["five"], checkpoints["seven-classes"],
        "--measures", "leep,logme", "--output", tmp_path / "out",
        interpreter=FRESH,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert [c["rank"] for c in report["candidates"]] == [1, 2]
    assert report["run"]["command"].startswith(f"hf-leep rank --dataset {dataset} --split train --models")
    assert "five" in done.stdout
    assert "LogME" in done.stdout
    assert (tmp_path / "out" / "README.md").read_text().startswith("---\n")

    explained = hf_leep("explain", tmp_path / "out", "2", interpreter=FRESH)
    assert explained.returncode == 0, explained.stderr
    assert "number 2 of the ranking" in explained.stdout
    assert "predicted by" in explained.stdout
    assert "most used first" in explained.stdout
    everything = hf_leep("explain", tmp_path / "out", "2", "--all")
    assert everything.stdout == explained.stdout  # few classes: nothing was hidden
    unknown = hf_leep("explain", tmp_path / "out", "nobody")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("hf-leep: no candidate 'nobody' in the report: it has ")
    assert unknown.stderr.count("\n") == 1

    readme = (tmp_path / "out" / "README.md").read_bytes()
    (tmp_path / "out" / "README.md").unlink()
    rendered = hf_leep("card", tmp_path / "out", interpreter=FRESH)
    assert rendered.returncode == 0
    assert (tmp_path / "out" / "README.md").read_bytes() == readme


def test_json_prints_exactly_the_report(hf_leep, dataset, checkpoints, tmp_path):
    (tmp_path / "models.txt").write_text(f"{checkpoints['five']}\n{checkpoints['empty']}\n")
    done = hf_leep(
        "rank", "--dataset", dataset, "--models-file", tmp_path / "models.txt", "--json", "--output", tmp_path / "out"
    )
    assert done.returncode == 3
    assert done.stdout == (tmp_path / "out" / "report.json").read_text()
    assert "✗ empty" in done.stderr  # and everything else


def test_a_name_that_is_no_unicode_and_a_terminal_that_is_none_lose_nothing(python, dataset, checkpoints, tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    shutil.copytree(checkpoints["five"], folder)
    command = [*python, "-m", "hf_leep", "rank", "--dataset", dataset, "--models", folder, "--json"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    command += ["--output", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=HANGING)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "out" / "report.json").read_bytes()
    assert json.loads(done.stdout)["candidates"][0]["id"] == folder


def test_a_foreign_readme_is_not_replaced(dataset, checkpoints, tmp_path, capfd):
    (tmp_path / "README.md").write_text("precious")
    for output in (str(tmp_path), ""):
        call = ["rank", "--dataset", dataset, "--models", str(checkpoints["five"]), "--output", output]
        assert cli.run(call) == 2
    assert (tmp_path / "README.md").read_text() == "precious"
    assert "holds a README.md that is not part of a report" in capfd.readouterr().err


def test_measures_may_stand_apart(hf_leep, dataset, checkpoints):
    done = hf_leep(
        "rank", "--dataset", dataset, "--models", checkpoints["five"], "--measures", "leep", "nce,logme", "h_score",
        "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["measures"] == ["leep", "nce", "logme", "h-score"]


def test_no_candidate_scored_is_exit_code_1_with_the_reasons_on_disk(hf_leep, dataset, checkpoints, tmp_path):
    done = hf_leep(
        "rank", "--dataset", dataset, "--models", checkpoints["headless"], checkpoints["empty"], "--output", tmp_path
    )
    assert done.returncode == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert [c["status"] for c in report["candidates"]] == ["failed", "failed"]
    assert "no trained classification head" in " ".join(done.stdout.split())
    assert f"--output {tmp_path}-auto --sort-by auto" in " ".join(done.stdout.split())


WRONG = {
    "unknown option": (["--nonsense"], "No such option: --nonsense"),
    "unknown measure": (["--measures", "leap"], "unknown measure 'leap': did you mean leep?"),
    "no number": (["--max-samples", "many"], "--max-samples"),
    "similar path": (["--dataset", "./pyproject.tmol"], "(did you mean ./pyproject.toml?)"),
    "bad device": (["--device", "cud"], "'cud' is not one of 'cpu', 'cuda', 'mps'.\n"),
    "bad path": (["--dataset", "./nowhere"], "./nowhere: no such file or folder"),
    "bad split": (["--split", "valid"], "no split 'valid'; it has train"),
    "bad column": (["--label", "size"], "no column 'size': --label can be label"),
    "empty split": (["--split", "train[:0]"], "there are no rows"),
    "bad seed": (["--seed", "-1"], "--seed is -1; it must be a whole number of at least 0"),
    "no seed": (["--seed", "x"], "unable to parse string as an integer (got 'x')"),
    "no candidates": (
        ["--models-file", os.devnull],
        "no candidates: name at least one checkpoint with --models, or find some with --search",
    ),
    "empty name": (["--models", ""], "a candidate has no name: give a repository id or a folder"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_call_is_one_line_and_writes_nothing(dataset, checkpoints, tmp_path, wrong, capfd):
    options, message = WRONG[wrong]
    arguments = ["rank", "--dataset", dataset, *options, "--output", str(tmp_path / "out")]
    if wrong != "no candidates":
        arguments += ["--models", str(checkpoints["five"])]
    assert cli.run(arguments) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()


def test_a_call_without_its_data_set_is_one_line(capfd):
    assert cli.run(["rank", "--models", "x"]) == 2
    assert "--dataset" in capfd.readouterr().err


def test_card_of_no_report_is_one_line(tmp_path, capfd):
    assert cli.run(["card", str(tmp_path)]) == 2
    assert "cannot read" in capfd.readouterr().err


@pytest.mark.parametrize("command", [["card", ""], ["explain", ""], ["validate", ""], ["push", "", "me/report"]])
def test_a_folder_without_a_name_is_not_the_current_folder(command, capfd):
    assert cli.run(command) == 2
    assert "the folder of the report has no name" in capfd.readouterr().err


def test_cache_shows_and_clears_the_store(hf_leep, dataset, checkpoints, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    arguments = ["rank", "--dataset", dataset, "--models", checkpoints["five"], "--measures", "leep"]
    assert hf_leep(*arguments, "--no-cache").returncode == 0
    assert "extractions       0        0 B" in hf_leep("cache").stdout
    assert hf_leep(*arguments).returncode == 0
    shown = hf_leep("cache", interpreter=FRESH).stdout
    assert shown.startswith(str(tmp_path / "hf_leep"))
    assert "extractions       1" in shown
    (tmp_path / "hf_leep" / "demo").mkdir()
    assert "removed" in hf_leep("cache", "--clear").stdout
    assert "extractions       0        0 B" in hf_leep("cache").stdout
    assert (tmp_path / "hf_leep" / "demo").exists()


def test_version_and_help_are_quick(hf_leep):
    code = "import sys; from hf_leep import cli; cli.run(['--help']); assert not {'torch', 'scipy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "rank" in done.stdout
    assert hf_leep("--version").stdout.startswith("hf-leep 0.")


@pytest.mark.parametrize("command", ["rank", "demo", "card", "explain", "push", "push-metric", "cache", "verify"])
def test_every_command_and_option_has_words(command):
    from typer.main import get_command

    found = get_command(cli.app).commands[command]
    assert found.help
    for parameter in found.params:
        assert getattr(parameter, "help", None), parameter.name


def test_help_names_every_measure():
    from typer.main import get_command

    option = next(p for p in get_command(cli.app).commands["rank"].params if p.name == "measures")
    assert all(name in option.help for name in MEASURES)


def test_the_help_of_push_metric_lists_the_measures_that_have_a_module():
    (metric,) = [p for p in get_command(cli.app).commands["push-metric"].params if p.name == "metric"]
    assert metric.help == "The measure: leep, leave-one-out-leep, nce, h-score, logme."


@pytest.mark.parametrize("columns", [("question", "category"), ("text", "label")])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_plain_file_of_two_columns_just_works(text_checkpoints, texts, tmp_path, capfd, columns, suffix):
    rows = datasets.Dataset.from_dict({columns[0]: texts["text"][:24], columns[1]: ["what", "who", "why"] * 8})
    file = tmp_path / f"questions{suffix}"
    rows.to_csv(file) if suffix == ".csv" else rows.to_json(file)
    models = [str(text_checkpoints[name]) for name in ("bert", "gpt2")]
    code = cli.run(["rank", "--dataset", str(file), "--models", *models, "--output", str(tmp_path / "report")])
    said = capfd.readouterr()
    assert code == 0, said.err
    assert re.search(rf"input\s+{columns[0]},\s+label\s+{columns[1]}", said.out + said.err)


def test_an_ambiguous_column_prints_the_whole_command(texts, tmp_path, capfd):
    file = tmp_path / "two words.csv"
    datasets.Dataset.from_dict({"text": texts["text"], "mood": [1, 2] * 20, "kind": [3, 4] * 20}).to_csv(file)
    assert cli.run(["rank", "--dataset", str(file), "--models", "A", "B"]) == 2
    error = capfd.readouterr().err
    assert re.search(r"hf-leep rank --dataset '[^']*two words.csv' --models A B --label (mood|kind)", error)
