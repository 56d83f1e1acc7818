import contextlib
from dataclasses import replace
from types import SimpleNamespace

import datasets
import numpy as np
import pytest

import hf_leep
from hf_leep.errors import ProcessError
from hf_leep.measures import leave_one_out_leep
from hf_leep.options import Race
from hf_leep.ranking.ordering import rank
from hf_leep.ranking.scoring import score
from hf_leep.records import Candidate, Result, Score
from hf_leep.runs.isolation import Isolation
from hf_leep.runs.local import add_not_run
from hf_leep.runs.plan import Plan, Step
from hf_leep.runs.subsets import select_target
from hf_leep.store import Store
from tests.recorded import extraction_of, race, target_of


def pool(rng, signals, n=1600, t=4):
    """Candidates that know the class the better the higher their signal, and a target."""
    labels = rng.integers(0, t, n)
    passes = {}
    for name, signal in signals.items():
        logits = signal * np.eye(t)[labels] + rng.normal(size=(n, t))
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        passes[name] = {"probabilities": (p / p.sum(axis=1, keepdims=True)).astype(np.float32)}
    return passes, target_of(labels)


def test_clear_losers_stop_early_and_the_rest_of_the_rows_is_run_once(rng):
    passes, target = pool(rng, {"best": 4, "near": 3.9, "far": 1, "farther": 0.5})
    scored, running, job = race(passes, target)
    assert job.ran["best"] == job.ran["near"] == [100, 100, 200, 400, 800]
    assert scored["best"].stop is None
    assert scored["best"].num_examples is None
    for name in ("far", "farther"):
        stop = scored[name].stop
        assert (stop.look, job.ran[name], scored[name].num_examples) == (0, [100], 100)
        assert stop.behind in ("best", "near")
        assert stop.gap > stop.margin > 0
        means = scored[name].interpretation
        assert means.calibration is None  # of fewer rows than those of others
        for served in means.explanation.classes:
            assert served.count == np.sum(target.labels[running._order[:100]] == served.index)
        assert {example.index for example in means.explanation.examples} <= set(running._order[:100])
    record = running.record()
    assert record.looks == (100, 200, 400, 800, 1600)
    assert record.num_examples_run == 2 * 1600 + 2 * 100
    assert record.num_examples_of_all == 4 * 1600
    assert record.level == pytest.approx(0.05 / (4 * 3))


def test_a_race_over_words_leaves_out_their_sentences(rng):
    """A wide head that knows the topics would be far ahead if the words of a sentence told of each other."""
    number, t = 400, 4
    sizes = rng.integers(5, 16, number)
    sentences = np.repeat(np.arange(number), sizes)
    labels = np.where(
        rng.random(len(sentences)) < 0.7, rng.integers(0, t, number)[sentences], rng.integers(0, t, len(sentences))
    )
    wide = np.full((len(labels), number), 0.1 / number, np.float32)
    wide[np.arange(len(labels)), rng.permutation(number)[sentences]] += 0.9
    logits = 1.5 * np.eye(t)[labels] + rng.normal(size=(len(labels), t))
    good = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    passes = {"topics": {"probabilities": wide}, "good": {"probabilities": good.astype(np.float32)}}
    target = target_of(labels)
    target = replace(
        target, row_ids=np.arange(number), sentences=sentences, words=np.arange(len(labels)), num_rows=number
    )
    scored, running, job = race(passes, target)
    assert (scored["topics"].stop.behind, scored["good"].stop) == ("good", None)
    assert job.ran == {"topics": [100], "good": [100, 300]}
    first = select_target(target, np.sort(running._order[:100]))
    chosen = np.isin(sentences, running._order[:100])
    expected = leave_one_out_leep(wide[chosen], first.labels, draws=first.sentences)
    assert scored["topics"].scores["leave-one-out-leep"].value == pytest.approx(expected, abs=1e-9)
    assert len(scored["topics"].scores["leave-one-out-leep"].influence) == 100
    assert leave_one_out_leep(wide[chosen], first.labels) > leave_one_out_leep(good[chosen], first.labels)


def test_who_ran_all_rows_has_the_scores_of_a_run_without_a_race(rng):
    passes, target = pool(rng, {"best": 2, "near": 1.9, "far": 0})
    scored, running, _ = race(passes, target)
    full = {
        name: score(extraction_of(name, arrays, target), ["leave-one-out-leep"]) for name, arrays in passes.items()
    }
    for name in ("best", "near"):
        one, other = (found[name].scores["leave-one-out-leep"] for found in (scored, full))
        assert one.value == pytest.approx(other.value, abs=1e-12)
        np.testing.assert_allclose(one.influence, other.influence, atol=1e-6)
    order = [place.index for place in running.ranking(list(passes)).ranked]
    assert order == [place.index for place in rank(list(full.values()), "leave-one-out-leep").ranked]


def test_linear_heads_are_compared_on_the_rows_that_all_candidates_ran(rng):
    def with_features(signals, n):
        passes, target = pool(rng, signals, n=n)
        for name, signal in signals.items():
            passes[name]["features"] = (signal * np.eye(4)[target.labels] + rng.normal(size=(n, 4))).astype(np.float32)
        passes["headless"] = {"features": passes["best"]["features"]}
        return passes, target

    passes, target = with_features({"best": 4, "far": 1}, 1600)
    scored, running, job = race(passes, target, for_features=("headless",))
    assert running.record().num_examples_of_heads == 100
    assert job.ran["headless"] == [100]
    assert (scored["headless"].reason, scored["headless"].scores) == ("no head", {})
    first = select_target(target, np.sort(running._order[:100]))
    for name, result in scored.items():
        arrays = {"features": passes[name]["features"][first.row_ids]}
        expected = score(extraction_of(name, arrays, first), ["ridge"]).scores["ridge"]
        assert result.head_accuracy.value == pytest.approx(expected.value, abs=1e-9)
        assert len(result.head_accuracy.influence) == 100
    passes, target = with_features({"best": 2, "near": 2}, 400)
    scored, running, job = race(passes, target, rules=Race(top=2), for_features=("headless",))
    assert running.record().num_examples_of_heads == 400
    assert job.ran["headless"] == [400]
    assert [len(scored[name].head_accuracy.influence) for name in passes] == [400] * 3


def test_the_last_ones_sought_run_the_rest_at_once(rng):
    passes, target = pool(rng, {"best": 4, "second": 3, "far": 0.1, "farther": 0})
    scored, _, job = race(passes, target, rules=Race(top=2))
    assert [name for name, result in scored.items() if result.stop is None] == ["best", "second"]
    assert job.ran == {"best": [100, 1500], "second": [100, 1500], "far": [100], "farther": [100]}
    _, running, _ = race(passes, target, rules=Race(top=4))
    assert running.record().looks == (1600,)


def test_one_that_breaks_leaves_the_race_and_one_without_the_measure_too(rng):
    passes, target = pool(rng, {"best": 4, "near": 3.9, "far": 0})
    passes["broken"] = RuntimeError("it broke")
    passes["headless"] = {"features": rng.normal(size=(1600, 3)).astype(np.float32)}
    scored, running, job = race(passes, target)
    assert scored["broken"].reason == "RuntimeError: it broke"
    assert scored["headless"].scores["leave-one-out-leep"].reason == "none recorded"
    assert job.ran["headless"] == [100]
    names = list(passes)
    ranking = running.ranking(names)
    assert [names[place.index] for place in ranking.ranked] == ["best", "near", "far"]
    assert {names[i] for i in ranking.unranked} == {"broken", "headless"}


def test_an_interruption_leaves_the_scores_of_the_last_look_that_all_came_to(rng):
    passes, target = pool(rng, {"best": 2, "near": 1.9, "far": 0})
    scored, running, job = race(passes, target, run=False)

    class Interrupting(dict):
        def __getitem__(self, name):
            if name == "near" and job.ran["near"] == [100, 100]:
                raise ProcessError("a process died")
            return super().__getitem__(name)

    job.passes = Interrupting(passes)
    with pytest.raises(ProcessError) as raised:
        running.run()
    running.interrupt(raised.value)
    assert scored["far"].stop.behind is not None
    for name in ("best", "near"):
        assert scored[name].stop.behind is None
        assert (scored[name].num_examples, scored[name].stop.look) == (200, 1)
        assert len(scored[name].scores["leave-one-out-leep"].influence) == 200
    ranking = running.ranking(list(passes))
    assert [list(passes)[place.index] for place in ranking.ranked][2] == "far"
    assert all(place.rank_interval is None for place in ranking.ranked[:2])


@contextlib.contextmanager
def counted():
    """The number of rows that image classifiers run, in this process and in the worker."""
    import torch

    rows = []

    def count(module, _inputs, output):
        if type(module).__name__ == "ResNetForImageClassification":
            rows.append(len(output.logits))

    run = Isolation.run

    def run_in_worker(self, target, request, writer, advance):
        return run(self, target, request, writer, lambda n: (rows.append(n), advance(n)))

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    Isolation.run = run_in_worker
    try:
        yield rows
    finally:
        Isolation.run = run
        handle.remove()


def stored_passes():
    return Store(Store.default_root()).usage().entries["extractions"]


def test_what_a_race_ran_for_features_alone_is_the_pass_of_a_run_without_one(checkpoints, pictures):
    names = [str(checkpoints[name]) for name in ("five", "seven-classes", "headless")]
    raced = hf_leep.rank(names, pictures, race=Race(top=2), progress=False)
    before = stored_passes()
    plain = hf_leep.rank(names, pictures, progress=False)
    assert stored_passes() == before
    assert [c["head_accuracy"] for c in raced.candidates] == [c["head_accuracy"] for c in plain.candidates]


def test_candidates_that_were_not_reached_have_the_reason_that_they_were_skipped_for():
    steps = [
        Step("run", Candidate("run")),
        Step("headless", Candidate("headless"), reason="no head", for_features=True),
    ]
    results = {"done": Result(Candidate("done"), {"leep": Score(-1.0)})}
    add_not_run(Plan(target_of(np.arange(4) % 2), tuple(steps)), results, KeyboardInterrupt("told to end"))
    assert {name: results[name].reason for name in ("run", "headless")} == {
        "run": "not run: told to end",
        "headless": "no head",
    }


def test_an_interrupted_race_goes_on_and_ends_as_a_run_without_one(checkpoints, pictures):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    rows = datasets.concatenate_datasets([pictures] * 4)  # 240: looks at 120 and at all
    five, seven = str(checkpoints["five"]), str(checkpoints["seven-classes"])
    model = AutoModelForImageClassification.from_pretrained(five)
    forward, calls = model.forward, []

    def interrupt(*args, **kwargs):
        calls.append(1)
        if len(calls) == 4:  # in its second look, once
            raise KeyboardInterrupt
        return forward(*args, **kwargs)

    model.forward = interrupt
    options = {"race": Race(top=2), "execution": hf_leep.Execution(batch_size=40), "progress": False}
    alive = ("alive", model, AutoImageProcessor.from_pretrained(five, backend="pil"))
    before = stored_passes()
    broken_off = hf_leep.rank([five, alive, seven], rows, **options)
    found = {c["id"]: c for c in broken_off.candidates}
    assert broken_off.data["race"]["looks"] == [120, 240]
    assert found[five]["stopped"] is None
    assert found[seven]["stopped"] == {"look": 0, "behind": None, "gap": None, "margin": None}
    assert [found[name]["num_examples"] for name in (five, "alive", seven)] == [240, 120, 120]

    with counted() as ran:
        again = hf_leep.rank([five, alive, seven], rows, **options)
    assert sum(ran) == 120 + 240  # the second half of seven, and what no store can keep
    assert stored_passes() == before + 2  # parts became one pass each
    with counted() as ran:
        plain = hf_leep.rank([five, alive, seven], rows, progress=False)
    assert sum(ran) == 240
    for one, other in zip(again.candidates, plain.candidates, strict=True):
        assert one["id"] == other["id"]
        for measure in plain.data["measures"]:
            assert one["scores"][measure]["value"] == pytest.approx(other["scores"][measure]["value"], abs=1e-6)
    assert plain.data["race"] is None


def test_a_log_has_a_line_for_each_candidate_once_it_is_decided(rng, monkeypatch, capsys):
    monkeypatch.setattr("huggingface_hub.utils.are_progress_bars_disabled", lambda: False)
    _, running, job = race(*pool(rng, {"best": 4, "near": 3.9, "far": 1}), run=False)
    job.progress, job.processes = True, SimpleNamespace(is_main=True)
    running.run()
    first, *others = capsys.readouterr().err.splitlines()
    assert first.startswith("[1/3] far: leave-one-out-leep −1.")
    assert first.endswith(" (stopped after 100 examples)")
    assert [line.partition(":")[0] for line in others] == ["[2/3] best", "[3/3] near"]
