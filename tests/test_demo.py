"""The demo: real checkpoints from real images, ranked and checked, here with fewer training steps."""

import io
import json
import random
import shlex
import shutil
from dataclasses import replace
from functools import partial

import datasets
import huggingface_hub
import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.datasets import load_digits

from hf_leep import cli, demo
from hf_leep.errors import UserError
from hf_leep.ranking.correlation import agreement

NAMES = ("ten-digits", "three-digits", "odd-even", "noisy-labels", "no-head")
QUICK = tuple(replace(source, steps=20) for source in demo.SOURCES if source.name in NAMES)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(home):
    return demo.run(progress=False, home=home, sources=QUICK)


def states():
    name, keys, *rest = np.random.get_state()
    return random.getstate(), name, keys.tolist(), rest, torch.get_rng_state().tolist(), torch.get_num_threads()


def times(folder):
    """When each file and folder in it was last changed; a folder changes with each entry made in it."""
    return {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}


def written(renderable):
    stream = io.StringIO()
    Console(file=stream, width=100).print(renderable)
    return stream.getvalue()


def outcome_of(*points):
    """An outcome of (LEEP, accuracy) pairs; leave-one-out LEEP is LEEP."""
    trials = tuple(demo.Trial(f"model-{i}", leep, leep, accuracy) for i, (leep, accuracy) in enumerate(points))
    known = [trial for trial in trials if trial.leep is not None]
    found = agreement([trial.leep for trial in known], [trial.accuracy for trial in known])
    return demo.Outcome(trials, 100, found, found)


def test_the_headless_one_is_refused_and_the_others_are_ranked(first):
    report, _ = first
    *ranked, refused = report.candidates
    assert [candidate["rank"] for candidate in ranked] == list(range(1, len(QUICK)))
    assert {candidate["status"] for candidate in ranked} == {"ok"}
    assert refused["id"].endswith("/no-head")
    assert (refused["status"], refused["rank"], refused["scores"]) == ("failed", None, {})
    assert refused["reason"].startswith("no trained classification head")
    assert report.exit_code == 3


def test_every_candidate_has_an_accuracy_and_only_the_headless_one_no_score(first):
    report, outcome = first
    assert [trial.name for trial in outcome.trials] == [c["id"].rpartition("/")[2] for c in report.candidates]
    assert all(0 <= trial.accuracy <= 1 for trial in outcome.trials)
    assert [trial.name for trial in outcome.trials if trial.leep is None] == ["no-head"]
    scored = outcome.scored
    accuracies = [trial.accuracy for trial in scored]
    assert outcome.leep == agreement([trial.leep for trial in scored], accuracies)
    assert outcome.leave_one_out_leep == agreement([trial.leave_one_out_leep for trial in scored], accuracies)
    by_name = {candidate["id"].rpartition("/")[2]: candidate["scores"] for candidate in report.candidates}
    assert all(trial.leep == by_name[trial.name]["leep"]["value"] for trial in scored)


def test_a_second_run_reuses_everything_and_changes_no_global_state(first, home):
    before, made = states(), times(home)
    report, outcome = demo.run(progress=False, home=home, sources=QUICK)
    assert times(home) == made
    assert outcome == first[1]
    assert report.candidates[0]["scores"] == first[0].candidates[0]["scores"]
    assert states() == before


def test_the_printed_command_works(first, home, capsys):
    report, _ = first
    program, *arguments = shlex.split(report.data["run"]["command"])
    assert program == "hf-leep"
    assert str(home / "digits") in arguments
    assert cli.run([*arguments, "--device", "cpu", "--json"]) == 3
    again = json.loads(capsys.readouterr().out)
    assert again["measures"] == report.data["measures"] == ["leep", "leave-one-out-leep", "nce"]
    values, values_again = (
        [score["value"] for candidate in data["candidates"] for score in candidate["scores"].values()]
        for data in (report.data, again)
    )
    assert values_again == pytest.approx(values, abs=1e-5)


def test_the_target_shares_no_image_with_what_the_sources_saw(first, home):
    digits = load_digits()
    training, ranking, test = demo._split(digits.target)
    everything = np.concatenate([training, ranking, test])
    assert sorted(everything) == list(range(1797))
    assert (len(ranking), len(test)) == (500, 500)
    for rows in (training, ranking, test):  # about 1 in 10 of each digit
        assert np.ptp(np.bincount(digits.target[rows]) / len(rows)) < 0.02
    stored = datasets.load_from_disk(str(home / "digits"))
    for split, rows in (("train", ranking), ("test", test)):
        assert stored[split]["label"] == digits.target[rows].tolist()
        images = np.stack([np.asarray(image) for image in stored[split]["image"]])
        assert np.array_equal(np.rint(images / 255 * 16), digits.images[rows])  # lossless


def test_the_first_run_is_deterministic_leaves_no_trace_and_is_at_home_by_default(tmp_path, monkeypatch, first, home):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path))
    before = states()
    report, outcome = demo.run(progress=False, sources=QUICK[:2])
    assert states() == before
    folder = tmp_path / "hf_leep" / "demo" / demo.RECIPE_VERSION
    assert sorted(path.name for path in folder.iterdir()) == ["digits", "ten-digits", "three-digits"]
    for source in QUICK[:2]:
        weights = f"{source.name}/model.safetensors"
        assert (folder / weights).read_bytes() == (home / weights).read_bytes()
    assert report.exit_code == 0
    assert set(outcome.trials) <= set(first[1].trials)


def test_a_damaged_checkpoint_is_a_failed_row_and_the_demo_goes_on(first, home, tmp_path):
    folder = tmp_path / "copy"
    for name in ("digits", "ten-digits", "odd-even"):
        shutil.copytree(home / name, folder / name)
    weights = folder / "odd-even" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    report, outcome = demo.run(progress=False, home=folder, sources=[QUICK[0], QUICK[2]])
    assert [candidate["status"] for candidate in report.candidates] == ["ok", "failed"]
    assert [trial.name for trial in outcome.trials] == ["ten-digits"]
    assert "too few scores" in written(demo.outcome_table(outcome))


def test_what_is_not_finished_is_not_kept(tmp_path):
    def save(content, fail):
        with demo._complete(tmp_path / "source") as folder:
            folder.mkdir()
            (folder / "config.json").write_text(content)
            if fail:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save("half", fail=True)
    assert list(tmp_path.iterdir()) == []
    save("whole", fail=False)
    save("made by a slower run", fail=False)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
    assert (tmp_path / "source" / "config.json").read_text() == "whole"


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write the demo's checkpoints to .*file"):
        demo.run(progress=False, home=tmp_path / "file", sources=QUICK[:1])


def test_the_table_shows_all_and_sets_the_headless_one_apart(first):
    _, outcome = first
    shown = written(demo.outcome_table(outcome))
    table = shown.partition("LEEP puts")[0]
    lines = [line.split() for line in table.splitlines()]
    assert [line[1] for line in lines if line and line[0].isdigit()] == [trial.name for trial in outcome.scored]
    (apart,) = [line for line in lines if line and line[0] == "–"]
    assert apart[1:4] == ["no-head", "–", "–"]
    assert "of the 6 pairs" in " ".join(shown.split())


def test_the_sentence_says_what_came_out():
    good = demo.sentence(outcome_of((-0.1, 0.9), (-0.5, 0.8), (-0.9, 0.75), (-1.4, 0.5), (None, 0.99)))
    assert good.startswith("LEEP puts 6 of the 6 pairs of candidates in the order of their accuracies")
    assert "wide because there are only 4 candidates" in good
    assert good.endswith("LEEP's first choice, model-0, has the best accuracy of those that have a LEEP.")
    bad = demo.sentence(outcome_of((-0.1, 0.5), (-0.5, 0.7), (-0.9, 0.8)))
    assert bad.startswith("LEEP puts 0 of the 3 pairs")
    assert "guessing would get 1.5" in bad
    assert "Pearson's r is −0.98; 3 candidates are too few for an interval" in bad
    assert bad.endswith("model-0, is 30.0 points of accuracy behind the best, model-2.")


@pytest.mark.parametrize("points", [[], [(-0.1, 0.5)], [(None, 0.5), (None, 0.6)], [(-0.1, 0.5), (-0.2, 0.5)]])
def test_the_sentence_claims_nothing_without_a_correlation(points):
    assert demo.sentence(outcome_of(*points)).startswith("There are too few scores")
    assert written(demo.outcome_table(outcome_of(*points)))


def test_the_command_line_prints_report_and_outcome(first, home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "run", partial(demo.run, home=home, sources=QUICK))  # what is made already
    assert cli.run(["demo", "--output", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "no-head no trained classification head" in shown
    assert "A head re-trained on each candidate" in shown
    assert (tmp_path / "README.md").exists()
