"""A shortlist fine-tuned through `hf_leep.validate`: every modality, repeats, failures, options, a killed process."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import datasets
import numpy as np
import pytest
from huggingface_hub import constants

import hf_leep
from hf_leep import cli
from hf_leep.errors import UserError
from hf_leep.store import Store
from hf_leep.training import comparison, splitting
from hf_leep.training.shortlist import by_name, shortlist
from tests import warm

QUICK = hf_leep.FineTuning(top=2, steps=2)


@pytest.fixture(scope="module")
def files(pictures, checkpoints, tmp_path_factory):
    """A data set on disk, and copies of three checkpoints that a test may change."""
    root = tmp_path_factory.mktemp("fine-tune")
    pictures.to_parquet(root / "pictures.parquet")
    for name in ("five", "seven-classes", "headless"):
        shutil.copytree(checkpoints[name], root / name)
    return root


@pytest.fixture(scope="module")
def ranked(files):
    names = [str(files / name) for name in ("five", "seven-classes", "headless")]
    return hf_leep.rank(names, str(files / "pictures.parquet"), measures=["logme"], progress=False)


@pytest.fixture
def empty_store(tmp_path, monkeypatch):
    """A store of its own, so that nothing has been trained yet."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hf_leep"


def tuned(report, options=QUICK, **more):
    return hf_leep.validate(report, fine_tune=options, progress=False, **more).data["fine_tuning"]


def test_the_same_steps_give_the_same_numbers_twice(ranked, tmp_path, monkeypatch):
    found = []
    for k in range(2):
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / str(k)))  # or the second would only be read
        found.append(tuned(ranked, hf_leep.FineTuning(top=3, steps=18, flip=True)))
    strip = [[{k: v for k, v in c.items() if k != "seconds"} for c in one["candidates"]] for one in found]
    assert strip[0] == strip[1]
    assert found[0]["agreement"] == found[1]["agreement"]
    assert [c["steps"] for c in found[0]["candidates"] if c["accuracy"]][:1] == [18]
    assert (found[0]["num_train"], found[0]["num_choose"], found[0]["num_judge"]) == (36, 12, 12)
    assert all(len(c["seed_accuracies"]) == 3 for c in found[0]["candidates"] if c["accuracy"])
    for one in (c for c in found[0]["candidates"] if c["accuracy"]):
        assert one["accuracy"]["value"] == pytest.approx(np.mean(one["seed_accuracies"]))


def test_a_finished_comparison_is_read_and_the_store_counts_it(ranked, empty_store):
    first = tuned(ranked)
    journal = next(empty_store.glob("training/*/journal.jsonl"))
    before = journal.read_text()
    again = tuned(ranked)
    assert journal.read_text().rstrip() == before.rstrip()
    assert again["candidates"] == first["candidates"]
    more = tuned(ranked, dataclasses.replace(QUICK, steps=1))
    assert [c["steps"] for c in more["candidates"]] == [1, 1]
    assert len(list(empty_store.glob("training/*"))) == 2  # another comparison
    assert Store(empty_store).usage().entries["training"] == 2
    Store(empty_store).clear()
    assert not list(empty_store.glob("training/*"))


def test_a_killed_run_goes_on_and_trains_nothing_twice(ranked, tmp_path):
    report, home = tmp_path / "report", tmp_path / "home"
    ranked.save(report)
    command = [sys.executable, "-m", "hf_leep", "validate", str(report), "--fine-tune", "--top", "2", "--steps", "45"]
    environment = {**os.environ, "HF_HOME": str(home), "COLUMNS": "200"}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + warm.HANGING
    try:
        while len(finished(home)) < 4 and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert running.poll() is None, "it ended before it could be killed"
        running.send_signal(signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
    before = finished(home)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=warm.HANGING)
    assert done.returncode == 0, done.stderr
    after = finished(home)
    assert after[: len(before)] == before
    trials = [json.dumps(entry["trial"], sort_keys=True) for entry in after]
    assert len(set(trials)) == len(trials) > len(before) >= 4
    found = json.loads((report / "report.json").read_text())["fine_tuning"]
    assert found["seconds"] == pytest.approx(sum(entry["seconds"] for entry in after))
    assert "with 45 steps for each finalist" in done.stdout
    assert "## Fine-tuned" in (report / "README.md").read_text()


def finished(home):
    """The trainings in the only journal of a store, without a line that is being written."""
    for path in home.glob("hf_leep/training/*/journal.jsonl"):
        lines = path.read_text().split("\n")[:-1]
        return [entry for entry in map(json.loads, filter(None, lines)) if "trial" in entry]
    return []


def test_a_candidate_that_fails_is_a_row_with_its_reason(ranked, files, empty_store, tmp_path, capsys):
    ranked.save(tmp_path / "report")
    name = ranked.candidates[0]["id"]
    config = files / name / "config.json"
    before = config.read_text()
    config.write_text(before + "\n")
    try:
        arguments = ["validate", str(tmp_path / "report"), "--fine-tune", "--top", "2", "--steps", "2"]
        assert cli.run(arguments) == 3
    finally:
        config.write_text(before)
    assert "the folder has changed since it was ranked" in " ".join(capsys.readouterr().out.split())
    page = (tmp_path / "report" / "README.md").read_text()
    assert "the folder has changed since it was ranked" in page
    assert cli.run(arguments) == 0  # it is back, and is tried again
    assert "the folder has changed" not in (tmp_path / "report" / "README.md").read_text()


def test_models_in_memory_are_given_again_and_keep_their_weights(pictures, checkpoints, empty_store):
    import torch
    from transformers import AutoImageProcessor, ResNetForImageClassification

    processor = AutoImageProcessor.from_pretrained(checkpoints["five"])
    models = [
        (name, ResNetForImageClassification.from_pretrained(checkpoints[name]), processor)
        for name in ("five", "seven-classes")
    ]
    report = hf_leep.rank(models, pictures, progress=False)
    reasons = [c["reason"] for c in tuned(report, dataset=pictures)["candidates"]]
    assert all("it was a model in memory: give it again" in reason for reason in reasons)
    weights = [{k: v.clone() for k, v in model.state_dict().items()} for _, model, _ in models]
    found = tuned(report, dataset=pictures, models=models)
    assert sorted(c["place"] for c in found["candidates"]) in ([1, 1], [1, 2])
    for (_, model, _), before in zip(models, weights, strict=True):
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    changed = [(models[0][0], models[1][1], processor), (models[1][0], models[1][1].half(), processor)]
    reasons = {c["id"]: c["reason"] for c in tuned(report, dataset=pictures, models=changed)["candidates"]}
    assert "another model was ranked: it had" in reasons["five"]
    assert "convert it with .float()" in reasons["seven-classes"]
    # Heads need them again, too.
    with_heads = hf_leep.validate(report, dataset=pictures, models=[models[0]], progress=False).data["validation"]
    assert sorted(c["reason"] is None for c in with_heads["candidates"]) == [False, True]
    with pytest.raises(UserError, match=r"models holds 'other', but .* are five, seven-classes"):
        hf_leep.validate(report, dataset=pictures, models=[("other", None, None)])
    with pytest.raises(UserError, match=r"takes \(name, model, processor\), got str"):
        by_name(["five"], report.candidates)


def test_texts_and_words(text_checkpoints, texts, token_checkpoints, tagged, empty_store):
    rows = datasets.concatenate_datasets([texts, texts.map(lambda row: {"text": row["text"] + " a"})])
    report = hf_leep.rank([str(text_checkpoints[n]) for n in ("bert", "gpt2")], rows, input="text", progress=False)
    found = tuned(report, dataset=rows)
    assert [c["reason"] for c in found["candidates"]] == [None, None]
    report = hf_leep.rank(
        [str(token_checkpoints[n]) for n in ("bert", "roberta")], more_sentences(tagged), progress=False
    )
    found = tuned(report, dataset=more_sentences(tagged))
    assert [c["reason"] for c in found["candidates"]] == [None, None]
    assert found["num_train"] + found["num_choose"] + found["num_judge"] == report.data["target"]["num_examples"]


def more_sentences(tagged):
    """Twice as many sentences, each of them a little longer."""
    return datasets.concatenate_datasets(
        [tagged, tagged.map(lambda row: {"tokens": [*row["tokens"], "."], "ner_tags": [*row["ner_tags"], 0]})]
    )


def test_sounds(tmp_path, empty_store):
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    wave = {"conv_dim": (8, 8), "conv_stride": (5, 4), "conv_kernel": (10, 8), "num_feat_extract_layers": 2}
    wave |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8}
    for k in range(2):
        Wav2Vec2ForSequenceClassification(Wav2Vec2Config(num_labels=3 + k, **wave, **small)).save_pretrained(
            tmp_path / f"wave{k}"
        )
        Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(tmp_path / f"wave{k}")
    generator = np.random.default_rng(0)
    lengths = 160 + 20 * (np.arange(60) % 3)
    sounds = [{"array": generator.normal(size=n).tolist(), "sampling_rate": 16000} for n in lengths]
    rows = datasets.Dataset.from_dict({"audio": sounds, "label": [k % 2 for k in range(60)]})
    report = hf_leep.rank([str(tmp_path / f"wave{k}") for k in range(2)], rows, progress=False)
    state = np.random.get_state()[1].copy()
    found = tuned(report, dataset=rows)
    assert [c["reason"] for c in found["candidates"]] == [None, None]
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # no mask was drawn


def test_repeated_rows_stay_in_one_part(pictures, checkpoints, empty_store, monkeypatch):
    rows = datasets.concatenate_datasets([pictures, pictures])
    split_of = {}

    def watched(classes, groups, seed):
        split_of["groups"], split_of["split"] = groups, splitting.split_rows(classes, groups, seed)
        return split_of["split"]

    monkeypatch.setattr(comparison, "split_rows", watched)
    report = hf_leep.rank([str(checkpoints[n]) for n in ("five", "seven-classes")], rows, progress=False)
    found = tuned(report, dataset=rows)
    split, groups = split_of["split"], split_of["groups"]
    assert len(set(groups)) == 60
    parts = [set(groups[part]) for part in (split.train, split.choose, split.judge)]
    assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts))
    # Each judging row is there twice, so its error is that of half as many rows.
    one = next(c for c in found["candidates"] if c["accuracy"])
    a, m = one["accuracy"]["value"], len(split.judge) // 2
    rows_error = (a * (1 - a) / m) ** 0.5
    assert one["accuracy"]["standard_error"] > 0.5 * rows_error


def test_a_race_and_a_second_opinion(ranked, empty_store):
    data = json.loads(ranked.to_json())
    one, two, three = (candidate["id"] for candidate in data["candidates"])
    opinion = {"measure": "ridge", "verdict": "contradicted", "first": one, "best": three, "gap": 0.1}
    opinion |= {"standard_error": 0.01, "half_width": 0.02, "num_compared": 3, "num_examples": 60}
    data["second_opinion"] = opinion
    data["candidates"][1]["stopped"] = {"look": 0, "behind": one, "gap": 0.5, "margin": 0.1}
    data["candidates"][2]["rank"] = None  # as one without a head has
    found = tuned(hf_leep.Report(data), hf_leep.FineTuning(top=1, steps=2))
    assert [(c["rank"], c["second_opinion"]) for c in found["candidates"]] == [(1, False), (None, True)]
    assert (found["candidates"][1]["reason"], found["num_ranked"]) == (None, 2)
    data["second_opinion"] = {**opinion, "best": one}
    found = tuned(hf_leep.Report(data))
    assert [(c["id"], c["second_opinion"]) for c in found["candidates"]] == [(one, False), (two, False)]
    assert found["agreement"]["logme"]["num_candidates"] == 1


def test_untrained_candidates_are_left_out_unless_there_are_no_others(ranked, empty_store):
    data = json.loads(ranked.to_json())
    data["second_opinion"] = None
    assert [candidate["untrained"] for candidate in data["candidates"]] == [True] * 3
    first, second, _ = (candidate["id"] for candidate in data["candidates"])
    one = hf_leep.FineTuning(top=1, steps=2)
    assert [c["id"] for c in tuned(hf_leep.Report(data), one)["candidates"]] == [first]
    data["candidates"][1]["untrained"] = False
    assert [c["id"] for c in tuned(hf_leep.Report(data), one)["candidates"]] == [second]


def test_the_shortlist_is_the_first_ones_and_the_second_opinion():
    assert shortlist("abcd", 2, None) == ["a", "b"]
    assert shortlist("abcd", 2, "b") == ["a", "b"]
    assert shortlist("abcd", 2, "d") == ["a", "b", "d"]
    assert shortlist("abcd", 9, "d") == list("abcd")


def test_what_cannot_be_fine_tuned_is_one_line(ranked, texts, text_checkpoints, monkeypatch):
    video = hf_leep.Report({**ranked.data, "target": {**ranked.data["target"], "modality": "video"}})
    with pytest.raises(UserError, match="fine-tuning works with images, sounds, words and texts, not with videos"):
        tuned(video)
    few = hf_leep.rank([str(text_checkpoints["bert"])], texts, input="text", progress=False)
    with pytest.raises(UserError, match="40 rows are too few to fine-tune on"):
        tuned(few, dataset=texts)
    with pytest.raises(UserError, match=r"fine_tune\.flip is for images"):
        tuned(few, hf_leep.FineTuning(flip=True), dataset=texts)
    with pytest.raises(
        UserError, match=r"top is for linear heads: leave it out with fine_tune \(give fine_tune\.top\)"
    ):
        tuned(ranked, top=2)
    with pytest.raises(UserError, match=r"dtype is for linear heads: .* \(fine-tuning is in float32\)"):
        tuned(ranked, dtype="bfloat16")
    with pytest.raises(UserError, match=r"fine_tune is an int; give a hf_leep\.FineTuning"):
        tuned(ranked, 3)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="fine-tuning runs in one process"):
        tuned(ranked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "90s"], "--budget is for fine-tuning: add --fine-tune"),
        (["--steps", "9"], "--steps is for fine-tuning: add --fine-tune"),
        (["--flip"], "--flip is for fine-tuning: add --fine-tune"),
        (["--fine-tune", "--steps", "9", "--budget", "1m"], "--steps and --budget both say how long: give one"),
        (["--fine-tune", "--budget", "soon"], "--budget is 'soon'; give a duration such as 90s, 20m or 1h"),
        (["--fine-tune", "--top", "0"], "--top is 0; it must be a whole number of at least 1"),
    ],
)
def test_wrong_options_are_one_line_and_exit_code_2(ranked, tmp_path, capsys, arguments, message):
    ranked.save(tmp_path)
    before = (tmp_path / "report.json").read_bytes()
    assert cli.run(["validate", str(tmp_path), *arguments]) == 2
    assert capsys.readouterr().err == f"hf-leep: {message}\n"
    assert (tmp_path / "report.json").read_bytes() == before


def test_progress_is_a_line_for_each_round_and_silent_with_json(
    ranked, tmp_path, empty_store, capsysbinary, monkeypatch
):
    import huggingface_hub.utils as utils

    ranked.save(tmp_path / "report")
    monkeypatch.setattr(utils, "are_progress_bars_disabled", lambda: False)
    arguments = ["validate", str(tmp_path / "report"), "--fine-tune", "--top", "2"]
    assert cli.run([*arguments, "--steps", "9"]) == 0
    said = capsysbinary.readouterr().err.decode()
    assert [line.partition(" took")[0] for line in said.splitlines() if line.startswith("round")] == [
        "round 1 of 3: 6 trainings of 1 step",
        "round 2 of 3: 4 trainings of 3 steps",
        "round 3 of 3: 6 trainings of 9 steps",
    ]
    assert cli.run([*arguments, "--steps", "3", "--json"]) == 0
    printed = capsysbinary.readouterr()
    assert "round 1" not in printed.err.decode().split("place")[0]
    assert printed.out == (tmp_path / "report" / "report.json").read_bytes()
