import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

import hf_leep
from hf_leep import Execution, Race, data, measures
from hf_leep.api import read_names
from hf_leep.errors import MeasureError, TargetError, UserError
from hf_leep.measures.leave_one_out_leep import floor
from hf_leep.models import MODALITIES


def rank(candidates, dataset, **options):
    return hf_leep.rank(candidates, dataset, progress=False, **options)


def scores(report, measure="leep"):
    return {c["id"]: c["scores"][measure]["value"] for c in report.candidates if c["scores"]}


def test_the_main_job(checkpoints, pictures):
    report = rank([checkpoints["five"], checkpoints["seven-classes"]], pictures)
    assert report.exit_code == 0
    assert [c["rank"] for c in report.candidates] == [1, 2]
    assert report.data["measures"] == ["leep", "leave-one-out-leep", "nce"]
    assert report.data["sort_by"] == "leep"
    assert [c["num_source_classes"] for c in sorted(report.candidates, key=lambda c: c["id"])] == [5, 7]
    assert report.data["certificate"]["num_checks"] > 3  # each measure has some
    assert report.data["certificate"]["failed"] == []
    for candidate in report.candidates:
        assert candidate["revision"].startswith("sha256:")
        assert -np.log(3) <= candidate["scores"]["leep"]["value"] <= 0
        assert candidate["scores"]["leep"]["standard_error"] > 0


def test_random_weights_are_noticed_and_ranked_last_whatever_they_score(checkpoints, pictures, tmp_path):
    model = AutoModelForImageClassification.from_pretrained(checkpoints["five"])
    torch.nn.init.normal_(model.resnet.embedder.embedder.normalization.bias, std=1e-3)  # as if it had been trained
    torch.nn.init.zeros_(model.classifier[-1].weight)  # constant predictions: the lowest score that there is
    model.save_pretrained(tmp_path / "trained")
    AutoImageProcessor.from_pretrained(checkpoints["five"]).save_pretrained(tmp_path / "trained")
    for _ in ("run", "from the store"):
        report = rank([checkpoints["five"], tmp_path / "trained"], pictures)
        first, last = report.candidates
        assert [first["id"], last["id"]] == [str(tmp_path / "trained"), str(checkpoints["five"])]
        assert (first["untrained"], last["untrained"]) == (False, True)
        assert first["scores"]["leep"]["value"] < last["scores"]["leep"]["value"]
        assert last["notes"][0].startswith("untrained")
        assert first["notes"] == []
    assert last["run"]["from_store"]
    raced = rank([checkpoints["five"], tmp_path / "trained"], pictures, race=Race())
    assert [candidate["untrained"] for candidate in raced.candidates] == [False, True]


def test_thumbnails_are_of_the_rows_that_the_report_shows(checkpoints, pictures, tmp_path):
    report = rank([checkpoints["five"]], pictures, thumbnails=True)
    shown = [example["row"] for example in report.candidates[0]["explanation"]["examples"]]
    assert list(report.thumbnails) == shown
    row = shown[0]
    made = np.asarray(Image.open(io.BytesIO(report.thumbnails[row])), dtype=float)
    assert np.abs(made.mean((0, 1)) - np.asarray(pictures[row]["image"], dtype=float).mean((0, 1))).max() < 3
    assert rank([checkpoints["five"]], pictures).thumbnails == {}


def test_only_images_have_thumbnails_and_others_are_told(text_checkpoints, texts, caplog):
    report = rank([next(iter(text_checkpoints.values()))], texts, thumbnails=True)
    assert report.thumbnails == {}
    assert [r.getMessage() for r in caplog.records if "thumbnails" in r.getMessage()] == [
        "no thumbnails were made: the rows are texts, not images"
    ]
    with pytest.raises(UserError, match="thumbnails is 'yes'; it must be True or False"):
        rank([], texts, thumbnails="yes")


def test_scores_equal_a_direct_loop(checkpoints, pictures):
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    path = checkpoints["five"]
    model = AutoModelForImageClassification.from_pretrained(path).eval()
    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    with torch.no_grad():
        p = torch.cat([model(**processor(r["image"], return_tensors="pt")).logits.softmax(-1) for r in pictures])
    report = rank([path], pictures, measures=["leep", "nce"])
    labels = np.array(pictures["label"])
    assert scores(report)[str(path)] == pytest.approx(measures.leep(p.numpy(), labels), abs=1e-5)
    assert scores(report, "nce")[str(path)] == pytest.approx(measures.nce(p.numpy(), labels), abs=1e-5)


def test_orders_of_candidates_and_rows_repeats_and_copies_change_no_score(checkpoints, pictures):
    a, b = checkpoints["five"], checkpoints["seven-classes"]
    chosen = ["leep", "leave-one-out-leep", "nce", "h-score", "logme"]
    once = rank([a, b], pictures, measures=chosen)
    for other in (
        rank([b, a, a], pictures, measures=chosen),
        rank([a, b], pictures.shuffle(seed=1), measures=chosen),
        rank([a, b], pictures, measures=chosen, execution=Execution(batch_size=7)),
    ):
        for measure in chosen:
            assert scores(other, measure) == pytest.approx(scores(once, measure), abs=1e-5)
    twice = rank([a, b], datasets.concatenate_datasets([pictures, pictures]), measures=chosen)
    for measure in ("leep", "nce"):
        assert scores(twice, measure) == pytest.approx(scores(once, measure), abs=1e-5)
    assert "60 of 120 rows repeat an earlier row" in twice.data["target"]["warnings"][0]


def test_a_candidate_listed_twice_counts_once_and_is_named(checkpoints, pictures, caplog):
    folder = checkpoints["five"]
    report = rank([folder, folder, f"{folder}/../five"], pictures)
    (only,) = report.candidates
    assert (only["id"], only["rank"]) == (str(folder), 1)
    assert f"{folder} is named 2 times: it is ranked once" in caplog.text
    assert f"{folder}/../five is the same candidate as {folder}: it is ranked once" in caplog.text


def test_one_bad_candidate_never_stops_the_others(checkpoints, pictures, tmp_path):
    bad = ["truncated", "pickled", "empty", "text", "headless", "regression", "multi-label"]
    paths = [checkpoints[name] for name in bad]
    report = rank([*paths, tmp_path / "missing", checkpoints["five"]], pictures)
    assert report.exit_code == 3
    assert report.candidates[0]["id"] == str(checkpoints["five"])
    assert report.candidates[0]["rank"] == 1
    for candidate in report.candidates[1:]:
        assert candidate["status"] == "failed"
        assert candidate["rank"] is candidate["tie_group"] is candidate["tie_letters"] is None
        assert candidate["scores"] == {}
        assert candidate["reason"]
        assert "\n" not in candidate["reason"]
    reasons = {c["id"].rsplit("/", 1)[-1]: c["reason"] for c in report.candidates[1:]}
    assert "truncated or damaged" in reasons["truncated"]
    assert "pickled weights only" in reasons["pickled"]
    assert "another modality" in reasons["text"]
    assert "no trained classification head" in reasons["headless"]
    assert report.data["headless"]["count"] == 3


def test_headless_candidates_rank_on_a_feature_measure(checkpoints, pictures):
    report = rank([checkpoints["headless"], checkpoints["five"]], pictures, measures=["logme", "leep"])
    assert report.exit_code == 0
    headless = next(c for c in report.candidates if c["id"].endswith("headless"))
    assert headless["status"] == "ok"
    assert headless["rank"] in (1, 2)
    assert headless["scores"]["leep"]["value"] is None
    assert "no trained classification head" in headless["scores"]["leep"]["reason"]
    by_leep = rank([checkpoints["headless"], checkpoints["five"]], pictures, measures=["leep", "logme"])
    unranked = by_leep.candidates[-1]
    assert (unranked["status"], unranked["rank"]) == ("ok", None)
    assert unranked["scores"]["logme"]["value"] == headless["scores"]["logme"]["value"]
    assert by_leep.exit_code == 3


def test_a_typo_in_the_order_is_told_of_auto_too(checkpoints, pictures):
    with pytest.raises(MeasureError, match=r"^unknown measure 'autoo': .*, and for sort_by also auto$"):
        rank([checkpoints["five"]], pictures, sort_by="autoo")


def test_every_run_compares_linear_heads_also_of_candidates_without_a_head(checkpoints, pictures):
    five, seven, headless = (checkpoints[name] for name in ("five", "seven-classes", "headless"))
    report = rank([headless, five, seven], pictures)
    by_id = {c["id"]: c for c in report.candidates}
    unranked = by_id[str(headless)]
    assert (unranked["status"], unranked["rank"], unranked["scores"], unranked["run"]) == ("failed", None, {}, None)
    assert "no trained classification head" in unranked["reason"]
    asked = rank([headless, five, seven], pictures, measures=["ridge"])
    assert asked.data["second_opinion"] is None  # it would compare the order with itself
    for candidate in asked.candidates:
        assert by_id[candidate["id"]]["head_accuracy"] == candidate["scores"]["ridge"]
    opinion = report.data["second_opinion"]
    assert opinion["num_compared"] == 3
    assert opinion["num_examples"] == len(pictures)
    assert opinion["first"] == report.candidates[0]["id"]
    again = rank([headless, five, seven], pictures)  # from what the store has
    assert all(c["run"] is None or c["run"]["from_store"] for c in again.candidates)
    assert again.data["second_opinion"] == opinion
    alone = rank([headless], pictures)  # there is no order that its features could contradict
    assert (alone.exit_code, alone.candidates[0]["head_accuracy"]) == (1, None)


def test_an_order_left_to_hf_leep_is_on_what_all_candidates_have(checkpoints, pictures):
    five, seven, headless = (checkpoints[name] for name in ("five", "seven-classes", "headless"))
    mixed = rank([headless, five], pictures, measures=["leep"], sort_by="auto")
    assert mixed.data["sort_by"] == "ridge-log-likelihood"
    assert mixed.data["measures"] == ["leep", "ridge-log-likelihood"]
    assert mixed.data["auto"] == {"num_headless": 1}
    assert [c["rank"] for c in mixed.candidates] == [1, 2]
    assert {c["id"]: c["scores"]["leep"]["value"] is None for c in mixed.candidates} == {
        str(headless): True,
        str(five): False,
    }
    again = rank([headless, five], pictures, measures=["leep"], sort_by="auto")  # from what the store says of them
    assert again.data["candidates"][0]["run"]["from_store"]
    assert again.data["auto"] == {"num_headless": 1}
    headed = rank([seven, five], pictures, measures=["leep"], sort_by="auto")
    assert headed.data["sort_by"] == "ridge-log-likelihood"
    assert headed.data["auto"] == {"num_headless": 0}
    all_three = rank([seven, headless, five], pictures, measures=["leep"], sort_by="auto")
    scores = {c["id"]: c["scores"]["ridge-log-likelihood"]["value"] for c in (*headed.candidates, mixed.candidates[0])}
    assert [c["id"] for c in all_three.candidates] == sorted(scores, key=lambda name: (-scores[name], name))
    assert {c["id"]: c["scores"]["ridge-log-likelihood"]["value"] for c in all_three.candidates} == scores


def test_a_backbone_in_memory_counts_among_those_without_a_head(checkpoints, pictures):
    from transformers import AutoImageProcessor, AutoModel

    path = checkpoints["headless"]
    backbone = ("mine", AutoModel.from_pretrained(path), AutoImageProcessor.from_pretrained(path, backend="pil"))
    mixed = rank([backbone, checkpoints["five"]], pictures, measures=["leep"], sort_by="auto")
    assert (mixed.data["sort_by"], mixed.data["auto"]) == ("ridge-log-likelihood", {"num_headless": 1})
    assert [c["rank"] for c in mixed.candidates] == [1, 2]


@pytest.mark.parametrize("name", ["five", "regression", "multi-label"])
def test_the_plan_says_of_a_model_in_memory_what_it_says_of_its_folder(checkpoints, pictures, name):
    folder, model = checkpoints[name], ("mine", *in_memory(checkpoints[name]))
    planned = hf_leep.plan(
        [folder, model], pictures, measures=["leep"], execution=Execution(cache=False), progress=False
    ).data["candidates"]
    told = [[step[key] for key in ("action", "reason", "num_source_classes")] for step in planned]
    assert told[0] == told[1]


def test_nothing_that_can_be_scored_is_a_report_of_reasons(checkpoints, pictures):
    report = rank([checkpoints["empty"], checkpoints["headless"]], pictures)
    assert report.exit_code == 1
    assert all(c["status"] == "failed" for c in report.candidates)


def in_memory(path):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    processor = AutoImageProcessor.from_pretrained(path, backend="pil")
    return AutoModelForImageClassification.from_pretrained(path), processor


def test_models_in_memory_score_like_their_folders(checkpoints, pictures):
    path = checkpoints["five"]
    report = rank([path], pictures, measures=["leep", "logme"])
    model, processor = in_memory(path)
    model.train()  # its batch norms would give other numbers; the pass runs in evaluation mode and puts this back
    alive = hf_leep.rank([("mine", model, processor)], pictures, measures=["leep", "logme"], progress=False)
    assert alive.candidates[0]["id"] == "mine"
    assert alive.candidates[0]["revision"] is None
    assert model.training
    for measure in ("leep", "logme"):
        expected = scores(report, measure)[str(path)]
        assert scores(alive, measure)["mine"] == pytest.approx(expected, abs=1e-5)


def test_interrupting_keeps_what_is_finished(checkpoints, pictures):
    model, processor = in_memory(checkpoints["five"])

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt  # what Ctrl-C does in the middle of a forward pass

    model.forward = interrupt
    candidates = [str(checkpoints["five"]), ("stopped", model, processor), str(checkpoints["seven-classes"])]
    report = hf_leep.rank(candidates, pictures, progress=False)
    assert [c["status"] for c in report.candidates] == ["ok", "failed", "failed"]
    assert {c["reason"] for c in report.candidates[1:]} == {"not run: interrupted"}
    for options in (
        {},
        {"race": Race()},
    ):  # nothing is finished: no report that could take the place of an earlier one
        with pytest.raises(KeyboardInterrupt):
            hf_leep.rank([candidates[1], candidates[0]], pictures, progress=False, **options)


def test_a_sample_is_stratified_and_written_down(checkpoints, pictures):
    report = rank([checkpoints["five"]], pictures, max_samples=30, seed=4)
    target = report.data["target"]
    assert (target["num_examples"], target["num_rows"], target["seed"]) == (30, 60, 4)
    assert target["class_entropy"] == pytest.approx(np.log(3))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"measures": ["leap"]}, MeasureError, r"unknown measure 'leap': did you mean leep\?"),
        ({"measures": []}, MeasureError, "no measures: choose from leep"),
        ({"sort_by": "logme"}, MeasureError, "^sort_by is logme, which is not among the measures leep"),
        ({"measures": [3]}, MeasureError, "^a measure is named by text such as 'leep', got 3$"),
        ({"measures": 3}, MeasureError, r'^measures is 3; give names such as \["leep", "nce"\]$'),
        ({"sort_by": 3}, UserError, "^sort_by is 3; it must be text$"),
        ({"collection": 3}, UserError, "^collection is 3; it must be text$"),
        ({"seed": -1}, UserError, "^seed is -1; it must be a whole number of at least 0$"),
        ({"seed": 1.5, "max_samples": 50}, UserError, "^seed is 1.5; it must be a whole number of at least 0$"),
        ({"max_samples": 1}, TargetError, "^max_samples is 1; a score needs a whole number of at least 2 examples"),
        ({"streaming": True}, TargetError, "^streaming reads a sample: say how many rows with max_samples$"),
        ({"race": True}, UserError, "^race is a bool; give a hf_leep.Race$"),
        ({"hub": "hf_secret"}, UserError, "^hub is a str; give a hf_leep.HubAccess$"),
        ({"label": "nope"}, TargetError, "no column 'nope'"),
        ({"candidates": []}, UserError, "no candidates"),
        ({"candidates": "one"}, UserError, "candidates is one name; give a list of them"),
        ({"candidates": datasets}, UserError, "candidates is <module 'datasets' .*; give a list of names"),
        ({"candidates": [("a", 1)]}, UserError, r"is \(name, model, processor\), got 2 values"),
        ({"candidates": [("a", 1, 2), ("a", 3, 4)]}, UserError, "two candidates are called 'a'"),
    ],
)
def test_a_wrong_call_is_told_before_anything_runs(checkpoints, pictures, options, error, message):
    candidates = options.pop("candidates", [checkpoints["five"]])
    with pytest.raises(error, match=message):
        rank(candidates, pictures, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused_even_if_all_passes_are_stored(checkpoints, pictures):
    paths = [checkpoints["five"], checkpoints["seven-classes"]]
    report = rank(paths, pictures)
    with pytest.raises(UserError, match="^device 'cuda' is not available here$"):
        rank(paths, pictures, execution=Execution(device="cuda"))
    with pytest.raises(UserError, match="^device 'cuda' is not available here$"):
        hf_leep.validate(report, dataset=pictures, device="cuda", progress=False)


def with_tags(tagged, name, of):
    """The same sentences with a further column of labels, ``of`` (word, tag)."""
    rows = tagged.with_format("arrow")[:].to_pylist()
    values = [[of(*pair) for pair in zip(row["tokens"], row["ner_tags"], strict=True)] for row in rows]
    return tagged.add_column(name, values, feature=datasets.List(datasets.Value("int64")))


def test_words_are_ranked_as_examples(token_checkpoints, tagged, tmp_path):
    paths = [token_checkpoints[name] for name in ("bert", "roberta", "gpt2", "headless")]
    report = rank(paths, tagged, measures=["leep", "leave-one-out-leep", "logme"])
    target = report.data["target"]
    tags = [tag for tags in tagged.with_format("arrow")["ner_tags"].to_pylist() for tag in tags if tag != -100]
    assert (target["num_examples"], target["num_sentences"], target["num_rows"]) == (len(tags), 39, 39)
    assert (target["modality"], target["num_classes"]) == ("token", 3)
    words = data.load(tagged, MODALITIES)[0]
    assert target["leave_one_out_floor"] == floor(words.labels, words.sentences) != floor(words.labels)
    assert [c["status"] for c in report.candidates] == ["ok"] * 4
    assert {c["task"] for c in report.candidates} == {"token-classification"}
    report.save(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert f"| examples | {len(tags)} words in 39 sentences, the whole split |" in card
    assert "- token-classification" in card
    assert "these words" in card
    assert "these rows" not in card
    part = rank(paths[:1], tagged, max_samples=10)
    part.save(tmp_path)
    words = part.data["target"]["num_examples"]
    card = (tmp_path / "README.md").read_text()
    assert f"| examples | {words} words in 10 of 39 sentences, a random sample with seed 0 |" in card


def test_errors_of_words_count_by_sentences(token_checkpoints, tagged):
    """Each sentence four times over tells no more than once: the error by word would halve."""
    once = rank([token_checkpoints["bert"]], tagged).candidates[0]["scores"]["leep"]
    fourfold = with_tags(tagged, "copies", lambda _word, tag: tag).select_columns(["tokens", "copies"])
    joined = fourfold.map(
        lambda row: {name: row[name] * 4 for name in ("tokens", "copies")}, load_from_cache_file=False
    )
    single = rank([token_checkpoints["bert"]], fourfold, label="copies").candidates[0]["scores"]["leep"]
    assert single == once
    long = rank([token_checkpoints["bert"]], joined, label="copies").candidates[0]["scores"]["leep"]
    assert long["standard_error"] > 0.6 * once["standard_error"]


def test_passes_over_words_are_kept_for_other_labels_of_the_same_words(
    token_checkpoints, tagged, monkeypatch, tmp_path
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    paths = [token_checkpoints["bert"], token_checkpoints["gpt2"]]
    both = with_tags(tagged, "capitals", lambda word, tag: tag if tag == -100 else int(word[0].isupper()))
    both = with_tags(both, "all_words", lambda word, _tag: int(word[0].isupper()))

    def stored(report):
        return {c["run"]["from_store"] for c in report.candidates}

    first = rank(paths, both, label="ner_tags")
    again = rank(paths, both, label="ner_tags")
    assert (stored(first), stored(again)) == ({False}, {True})
    assert [c["scores"] for c in first.candidates] == [c["scores"] for c in again.candidates]
    relabelled = rank(paths, both, label="capitals")
    assert stored(relabelled) == {True}
    fresh = rank(paths, both, label="capitals", execution=Execution(cache=False))
    assert [c["scores"] for c in relabelled.candidates] == [c["scores"] for c in fresh.candidates]
    assert [c["behind_best"] for c in relabelled.candidates] == [c["behind_best"] for c in fresh.candidates]
    assert stored(rank(paths, both, label="all_words")) == {False}  # other words are labelled


def test_names_come_from_a_file(tmp_path):
    (tmp_path / "models.txt").write_text("# candidates\nuser/one\n\n  ./two  # local\n")
    assert read_names(tmp_path / "models.txt") == ["user/one", "./two"]
    with pytest.raises(UserError, match="cannot read the list of candidates"):
        read_names(tmp_path / "missing.txt")


def test_real_imagenet_models_on_real_images(shared):
    """The scores of two real checkpoints equal a direct loop over them."""
    import torch
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    paths = [shared / "models" / name for name in ("mobilenet_v1_0.25_128_imagenet", "mobilenet_v1_0.5_160_imagenet")]
    report = rank(paths, str(shared / "cifar100"), split="train", max_samples=100)
    assert report.exit_code == 0
    split = datasets.load_dataset(str(shared / "cifar100"), split="train")
    rows = split.select(_chosen(split, 100))
    for path in paths:
        model = AutoModelForImageClassification.from_pretrained(path, dtype=torch.float32).eval()
        processor = AutoImageProcessor.from_pretrained(path, backend="pil")
        with torch.no_grad():
            pixels = [processor(r["image"].convert("RGB"), return_tensors="pt")["pixel_values"] for r in rows]
            p = torch.cat([model(x).logits.float().softmax(-1) for x in pixels]).double().numpy()
        y = np.array(rows["label"])
        joint = np.stack([p[y == c].sum(axis=0) for c in np.unique(y)])
        g = ((joint / joint.sum(axis=0))[np.searchsorted(np.unique(y), y)] * p).sum(axis=1)
        assert scores(report)[str(path)] == pytest.approx(np.log(g).mean(), abs=1e-5)


def _chosen(split, size):
    from hf_leep.data import stratified_sample

    return stratified_sample(np.array(split["label"]), size, np.random.default_rng(0))
