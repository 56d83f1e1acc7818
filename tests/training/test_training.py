"""Fine-tuning a shortlist: the split, one training, batch normalisation, and successive halving."""

import copy
import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn

from hf_leep.errors import CandidateError, UserError
from hf_leep.inference.forward import accelerator
from hf_leep.training.fine_tune import Examples, fine_tune
from hf_leep.training.halving import compare
from hf_leep.training.journal import Journal, Outcome, Trial
from hf_leep.training.layers import match_statistics, measure_statistics, plausible_dropout
from hf_leep.training.records import Recipe, Settings, Trained
from hf_leep.training.splitting import split_rows

N, CLASSES = 150, 3
RECIPE = Recipe(1e-3, 12)


@dataclass
class Network:
    model: nn.Module
    head: nn.Module
    missing: dict = field(default_factory=dict)


class Net(nn.Module):
    """A small convolutional network; ``keep`` makes its features useful or throws the input away."""

    def __init__(self, seed, useful=True, dropout=0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        )
        self.drop = nn.Dropout(dropout)
        self.classifier = nn.Linear(24, 7)
        self.useful = useful

    def forward(self, pixel_values):
        x = pixel_values if self.useful else torch.zeros_like(pixel_values)
        return self.classifier(self.drop(self.body(x)))


def network(seed=0, **options):
    model = Net(seed, **options).eval()
    return Network(model, model.classifier)


@pytest.fixture(scope="module")
def on():
    return accelerator("cpu")


@pytest.fixture(scope="module")
def examples():
    rng = np.random.default_rng(0)
    labels = np.arange(N) % CLASSES
    images = rng.standard_normal((N, 1, 6, 6)).astype(np.float32) * 0.4
    for k, (row, column) in enumerate([(0, 0), (0, 3), (3, 3)]):
        images[labels == k, :, row : row + 3, column : column + 3] += 1.5
    images = torch.as_tensor(images)
    return Examples(lambda rows: {"pixel_values": images[rows]}, lambda rows: rows, labels, CLASSES)


def test_the_split_keeps_repeats_together_and_classes_in_proportion():
    rng = np.random.default_rng(1)
    classes, groups = np.repeat(np.arange(6), 50), np.arange(300)
    groups[rng.choice(300, 40, replace=False)] = groups[0]
    groups = np.unique(groups, return_inverse=True)[1]
    parts = split_rows(classes, groups, seed=3)
    rows = np.concatenate([parts.train, parts.choose, parts.judge])
    assert sorted(rows) == list(range(300))
    of_group = [set(groups[part]) for part in (parts.train, parts.choose, parts.judge)]
    assert not (of_group[0] & of_group[1])
    assert not (of_group[0] & of_group[2])
    assert not (of_group[1] & of_group[2])
    plain = split_rows(classes, np.arange(300), seed=3)
    for part, expected in ((plain.choose, 10), (plain.judge, 10), (plain.train, 30)):
        np.testing.assert_array_equal(np.bincount(classes[part]), expected)
    assert not np.array_equal(split_rows(classes, np.arange(300), seed=4).judge, plain.judge)


def test_small_classes_share_what_rounding_leaves_and_are_always_trained_on():
    classes = np.repeat(np.arange(60), 2)
    parts = split_rows(classes, np.arange(120), seed=0)
    assert set(classes[parts.train]) == set(range(60))
    assert (len(parts.choose), len(parts.judge)) == pytest.approx((24, 24), abs=1)


def test_too_few_rows_are_one_line():
    with pytest.raises(UserError, match="30 rows are too few to fine-tune on"):
        split_rows(np.arange(30) % 2, np.arange(30), seed=0)


def test_training_learns_a_seed_repeats_it_and_the_network_is_as_it_was(on, examples):
    net = network()
    before = copy.deepcopy(net.model.state_dict())
    parts = split_rows(examples.labels, np.arange(N), seed=0)
    recipe = Recipe(1e-2, 40, seed=5)
    state = torch.random.get_rng_state()
    first = fine_tune(net, examples, parts.train, parts.judge, recipe, on=on)
    again = fine_tune(network(), examples, parts.train, parts.judge, recipe, on=on)
    assert torch.equal(state, torch.random.get_rng_state()), "the caller's generator was used"
    assert first.correct.mean() > 0.85
    assert first.loss == again.loss and np.array_equal(first.correct, again.correct)  # noqa: PT018
    other = fine_tune(net, examples, parts.train, parts.judge, Recipe(1e-2, 40, seed=6), on=on)
    assert other.loss != first.loss
    for name, value in net.model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not net.model.training
    assert all(p.grad is None for p in net.model.parameters())


def test_results_come_in_the_order_of_the_examples(on, examples):
    rows = np.arange(20)
    backwards = Examples(examples.inputs, lambda p: p, examples.labels, CLASSES)
    first = fine_tune(network(), examples, np.arange(30, N), rows, Recipe(1e-2, 30), on=on)
    turned = fine_tune(network(), backwards, np.arange(30, N), rows[::-1].copy(), Recipe(1e-2, 30), on=on)
    np.testing.assert_array_equal(first.correct, turned.correct)


class Watched(Net):
    """Notes the memory format of its maps of features, and reads them as ``read`` says."""

    def __init__(self, read):
        super().__init__(0)
        self.read, self.formats = read, []

    def forward(self, pixel_values):
        maps = self.body[:3](pixel_values)
        self.formats.append(maps.is_contiguous(memory_format=torch.channels_last))
        return self.classifier(self.read(nn.functional.adaptive_avg_pool2d(maps, 2)))


@pytest.mark.parametrize(("read", "last"), [(lambda x: x.flatten(1), True), (lambda x: x.view(len(x), -1), False)])
def test_images_are_trained_with_channels_last_where_the_model_can(on, examples, read, last):
    def trained(model):
        return fine_tune(Network(model, model.classifier), examples, np.arange(60), np.arange(60, N), RECIPE, on=on)

    model = Watched(read).eval()
    before = copy.deepcopy(model.state_dict())
    found, plain = trained(model), trained(Net(0).eval())
    assert model.formats[1:] and set(model.formats[1:]) == {last}  # noqa: PT018
    assert found.loss == pytest.approx(plain.loss, rel=1e-3)  # the same training, rounded differently
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert value.is_contiguous(), name


def test_memory_that_runs_out_halves_the_batch_and_adds_up_the_gradients(on, examples):
    class Limited(Net):
        def __init__(self, most):
            super().__init__(0)
            self.body[1] = nn.Identity()  # batch normalisation would see other batches
            self.most = most

        def forward(self, pixel_values):
            if self.training and len(pixel_values) > self.most:
                raise torch.OutOfMemoryError("made up")
            return super().forward(pixel_values)

    def trained(most):
        model = Limited(most).eval()
        return fine_tune(
            Network(model, model.classifier), examples, np.arange(60), np.arange(60, N), Recipe(1e-3, 12), on=on
        )

    whole, parts = trained(1000), trained(10)
    assert (whole.micro_batch, parts.micro_batch) == (32, 8)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-4)
    with pytest.raises(CandidateError, match="out of memory on cpu for one row"):
        trained(0)


def test_folded_normalisation_is_unfolded_without_changing_what_is_computed(examples):
    model = Net(3).eval()
    norm = model.body[1]
    with torch.no_grad():  # as converted checkpoints have it: statistics of 0 and 1 that are not those of the data
        norm.bias.copy_(torch.randn(6))
        norm.weight.copy_(1 + torch.rand(6))
    x = examples.inputs(np.arange(N))["pixel_values"] * 5 + 3
    with torch.no_grad():
        expected, off = model(x), model.train()(x)
        model.eval()
        Net.forward(model, x)
    folded = (off - expected).abs().max()
    model = Net(3).eval()
    with torch.no_grad():
        model.body[1].bias.copy_(norm.bias)
        model.body[1].weight.copy_(norm.weight)
        match_statistics(model, lambda: model(x))
        torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-4)
        model.train()
        assert (model(x) - expected).abs().max() < 0.01 * folded


def test_statistics_are_those_of_all_rows_whatever_the_momentum(examples):
    model = Net(0)
    model.body[1].momentum = 0.9997
    x = examples.inputs(np.arange(N))["pixel_values"]
    measure_statistics(model, lambda: [model(x[k : k + 50]) for k in (0, 50, 100)])
    with torch.no_grad():
        torch.testing.assert_close(model.body[1].running_mean, model.body[0](x).mean(dim=(0, 2, 3)))
    assert (model.body[1].momentum, model.training) == (0.9997, True)


def test_a_dropout_rate_that_keeps_nothing_is_taken_for_a_probability_of_keeping(on, examples):
    net = network(dropout=0.999)
    with plausible_dropout(net.model) as found:
        assert (found, net.model.drop.p) == (0.999, pytest.approx(0.001))
    assert net.model.drop.p == 0.999
    trained = fine_tune(net, examples, np.arange(60), np.arange(60, N), Recipe(1e-2, 40), on=on)
    assert trained.keep_probability == 0.999
    assert trained.correct.mean() > 0.8
    assert (
        fine_tune(
            network(dropout=0.5), examples, np.arange(60), np.arange(60, N), Recipe(1e-2, 2), on=on
        ).keep_probability
        is None
    )


def trains(examples, on, load):
    """What trains a network, as a comparison wants it."""

    def train(recipe, train, evaluate, advance):
        return fine_tune(load(), examples, train, evaluate, recipe, on=on, advance=advance)

    return train


def test_halving_finds_the_useful_networks_repeats_and_goes_on_after_a_kill(on, examples, tmp_path):
    loads = []

    def loader(name, **options):
        def load():
            loads.append(name)
            if name == "broken":
                raise CandidateError("it is broken")
            return network(len(name), **options)

        return trains(examples, on, load)

    candidates = {
        "good": loader("good"),
        "blind": loader("blind", useful=False),
        "broken": loader("broken"),
        "also good": loader("also good"),
    }
    parts = split_rows(examples.labels, np.arange(N), seed=0)
    settings = Settings(budget=None, steps=54, learning_rates=(1e-5, 1e-2))

    def run(path, about=("x",)):
        loads.clear()
        trials = []
        journal = Journal(path, {"about": list(about)})
        found = compare(candidates, parts, settings, journal=journal, tell=trials.append)
        return found, trials

    found, trials = run(tmp_path / "a" / "journal.jsonl")
    by_name = {f.name: f for f in found}
    assert [f.name for f in found] == list(candidates)
    assert by_name["broken"].reason == "it is broken"
    assert (by_name["good"].finalist, by_name["also good"].finalist, by_name["blind"].finalist) == (True, True, False)
    assert by_name["good"].correct.shape == (3, len(parts.judge))
    assert by_name["good"].correct.mean() > 0.8
    assert (by_name["good"].learning_rate, by_name["good"].steps) == (1e-2, 54)
    assert by_name["blind"].steps == 18
    assert by_name["blind"].chosen_by < 0.6
    assert [t.rung for t in trials] == sorted(t.rung for t in trials)

    # A run that was killed in the middle trains only what is missing, and comes to the same result.
    path = tmp_path / "a" / "journal.jsonl"
    whole = path.read_text().splitlines()
    half = whole[: len(whole) // 2]
    path.write_text("\n".join(half) + '\n{"trial": {"candi')
    resumed, rest = run(path)
    finished = sum('"trial"' in line for line in half)
    assert len(rest) == len(trials) - finished
    for a, b in zip(found, resumed, strict=True):
        assert (a.name, a.learning_rate, a.steps, a.chosen_by) == (b.name, b.learning_rate, b.steps, b.chosen_by)
        assert (a.correct is None and b.correct is None) or np.array_equal(a.correct, b.correct)
    _nothing, retried = run(path)
    assert ({t.candidate for t in retried}, set(loads)) == ({"broken"}, {"broken"})  # it may work by now
    run(path, about=("y",))
    assert loads, "a journal of another comparison was believed"


def test_a_budget_becomes_steps_and_is_kept_in_the_journal(on, examples, tmp_path):
    parts = split_rows(examples.labels, np.arange(N), seed=0)
    journal = Journal(tmp_path / "j.jsonl", {})
    candidates = {name: trains(examples, on, lambda seed=seed: network(seed)) for seed, name in ((1, "a"), (2, "b"))}
    settings = Settings(budget=1e3, learning_rates=(1e-3, 1e-2))
    trials = []
    found = compare(candidates, parts, settings, journal=journal, tell=trials.append)
    assert [f.steps for f in found] == [117] * 2, "30 epochs are the most that are worth a budget"
    decided = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines() if '"rung"' in line]
    assert [(d["rung"], d["steps"]) for d in decided] == [(0, 13), (1, 39), (2, 117)]
    assert all(0 < t.seconds_left < 1e3 for t in trials)
    left = Journal(tmp_path / "j.jsonl", {})
    assert left.seconds == pytest.approx(sum(f.seconds for f in found) + timed(tmp_path / "j.jsonl"))


def timed(path):
    entries = map(json.loads, filter(None, path.read_text().splitlines()))
    return sum(entry["seconds"] for entry in entries if "timed" in entry)


def test_a_budget_that_cannot_say_anything_is_refused_with_one_that_can(on, examples):
    parts = split_rows(examples.labels, np.arange(N), seed=0)
    settings = Settings(budget=1e-3)
    with pytest.raises(
        UserError, match=r"^fine_tune\.budget is 0\.0 s, but training this candidate takes at least about \d"
    ):
        compare({"a": trains(examples, on, network)}, parts, settings, journal=Journal(None, {}))
    two = dict.fromkeys("ab", trains(examples, on, network))
    with pytest.raises(UserError, match=r"these 2 candidates \(b is one of them because of its linear head\) takes"):
        compare(two, parts, settings, journal=Journal(None, {}), joined="b")


def test_a_budget_that_is_too_short_for_the_first_candidate_alone_is_refused_without_timing_the_others(on, examples):
    first, timed_too = trains(examples, on, network), []

    def other(*arguments):
        timed_too.append(True)
        return first(*arguments)

    parts, three = split_rows(examples.labels, np.arange(N), seed=0), {"a": first, "b": other, "c": other}
    with pytest.raises(UserError, match="these 3 candidates takes at least about") as refusal:
        compare(three, parts, Settings(budget=1e-3), journal=Journal(None, {}))
    assert not timed_too
    assert str(refusal.value).endswith("here: give it more"), "the first candidate alone is too slow"


def test_a_refusal_says_how_many_candidates_fit_into_the_budget(examples):
    """Each takes 3·6 + 2·18 + 3·54 = 216 steps: at 10 ms, 2.2 s for one candidate, 4.3 s for two, and a margin."""

    def at(seconds):
        return lambda recipe, train, evaluate, advance: Trained(
            np.ones(len(evaluate), bool), 0.1, seconds, recipe.steps * seconds, 32
        )

    parts = split_rows(examples.labels, np.arange(N), seed=0)
    three = {"a": at(0.01), "b": at(0.01), "c": at(10.0)}
    with pytest.raises(
        UserError, match=r"here: give it more, or take only the first 2 candidates \(fine_tune\.top 2\)$"
    ):
        compare(three, parts, Settings(budget=9.0), journal=Journal(None, {}))
    with pytest.raises(UserError, match=r"here: give it more, or take only the first candidate \(fine_tune\.top 1\)$"):
        compare(three, parts, Settings(budget=4.0), journal=Journal(None, {}))
    with pytest.raises(UserError, match=r"here: give it more$"):
        compare(three, parts, Settings(budget=9.0), journal=Journal(None, {}), joined="c")


def test_no_seed_is_started_once_the_budget_is_spent(on, examples, tmp_path):
    """By the journal all of the budget went: the finalists have the one seed that is always trained."""
    parts = split_rows(examples.labels, np.arange(N), seed=0)
    journal = Journal(tmp_path / "j.jsonl", {})
    for rung, steps in enumerate((6, 18, 54)):
        journal.decide(rung, steps)
    journal.time("c", 1.0, 1.0, 3600.0)
    two = dict.fromkeys("ab", trains(examples, on, network))
    found = compare(two, parts, Settings(budget=600.0), journal=journal)
    assert [f.correct.shape[0] for f in found] == [1, 1]


def test_one_of_budget_and_steps():
    with pytest.raises(UserError, match="either a budget or a number of steps"):
        compare({}, None, Settings(budget=1.0, steps=5), journal=Journal(None, {}))


def test_a_journal_reads_back_what_it_wrote(tmp_path):
    trial = Trial("a", 1e-3, 7, 0, False)
    journal = Journal(tmp_path / "j.jsonl", {"rows": 3})
    journal.add(trial, Outcome(np.array([True, False]), np.inf, 0.5, 2.0, 8))
    journal.fail("b", "no")
    read = Journal(tmp_path / "j.jsonl", {"rows": 3})
    outcome = read.outcome(trial)
    assert (outcome.correct.tolist(), outcome.loss, outcome.seconds, outcome.micro_batch) == (
        [True, False],
        np.inf,
        2.0,
        8,
    )
    assert (read.failure("b"), read.seconds, read.outcome(Trial("a", 1e-3, 8, 0, False))) == (None, 2.0, None)
