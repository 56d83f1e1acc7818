"""The study from end to end on small data: resumed without repeating, the same every time, and told as measured."""

import io
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr

from examples.paper import results, study
from examples.paper.report import write
from examples.paper.sources import Dataset, extract, open_dataset
from examples.paper.tasks import draw, learned_classes
from examples.paper.transfer import Training
from hf_leep.errors import UserError

MEASURES = ("leep", "nce", "h-score", "logme")


@pytest.fixture(scope="module")
def opened(colours):
    return open_dataset(Dataset(str(colours)))


@pytest.fixture(scope="module")
def bench(opened, checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("output")
    names = [str(checkpoints["five"]), str(checkpoints["seven-classes"])]
    sources = extract(names, opened, folder / "sources", progress=False)
    made = study.Bench(opened, {s.name: s for s in sources}, study.Settings(measures=MEASURES), folder)
    study.settle(made)
    plan = study.planned(made, ("large-balanced", "small-imbalanced"), 6)
    study.run(made, {**plan, **study.planned(made, ("source-selection",), 3)}, workers=1, progress=False)
    return made


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted((folder / "tasks").rglob("*.json"))}


def test_the_numbers_are_those_of_scipy(bench):
    found = results.collect(bench.output)
    assert [(row["experiment"], row["source"]) for row in found["rows"]] == [
        (name, source) for name in ("large-balanced", "small-imbalanced") for source in ("five", "seven-classes")
    ]
    for row in found["rows"]:
        records = [json.loads(content) for path, content in files(bench.output).items()
                   if path.parts[1:3] == (row["experiment"], row["source"])]  # fmt: skip
        quality = [record["quality"] for record in records]
        scores = [record["scores"]["leep"] for record in records]
        assert row["num_tasks"] == len(records) == 6
        assert row["measures"]["leep"]["pearson"] == pytest.approx(pearsonr(scores, quality).statistic)
        assert row["measures"]["leep"]["pearson_p_value"] == pytest.approx(pearsonr(scores, quality).pvalue)
        assert row["measures"]["leep"]["kendall"] == pytest.approx(kendalltau(scores, quality).statistic)
        gap = row["measures"]["nce"]["ahead_of_leep"]["value"]
        assert gap == pytest.approx(row["measures"]["nce"]["pearson"] - row["measures"]["leep"]["pearson"])


def test_the_source_that_a_measure_picks_costs_what_it_costs(bench):
    found = results.collect(bench.output)["selection"]
    records = {(path.parts[2], path.stem): json.loads(content) for path, content in files(bench.output).items()
               if path.parts[1] == "source-selection"}  # fmt: skip
    lost = []
    for index in ("0000", "0001", "0002"):
        both = [records[source, index] for source in ("five", "seven-classes")]
        picked = max(both, key=lambda record: record["scores"]["logme"])
        lost.append(max(record["quality"] for record in both) - picked["quality"])
    assert found["measures"]["logme"]["regret"] == pytest.approx(np.mean(lost))
    assert found["whole"]["five"]["accuracy"] == records["five", "0000"]["quality"]
    assert records["five", "0000"]["num_classes"] == 6


def test_a_run_goes_on_where_it_stopped_and_repeats_nothing(bench):
    before = files(bench.output)
    times = {path: (bench.output / path).stat().st_mtime_ns for path in before}
    gone = next(iter(before))
    (bench.output / gone).unlink()
    study.run(bench, study.planned(bench, ("large-balanced", "small-imbalanced"), 6), workers=1, progress=False)
    assert files(bench.output) == before
    assert {path for path in before if (bench.output / path).stat().st_mtime_ns != times[path]} == {gone}


def test_what_another_process_is_given_finds_the_same(bench, tmp_path):
    """A bench as it reaches another process; `make paper` starts the processes themselves, which takes seconds."""
    other = pickle.loads(pickle.dumps(replace(bench, output=tmp_path)))
    for job in study.planned(other, ("small-imbalanced",), 2)["small-imbalanced"]:
        other.do(job)
    assert len(files(tmp_path)) == 4
    assert files(tmp_path).items() <= files(bench.output).items()


def test_the_paper_s_way_of_training_a_head_is_a_row_of_its_own(bench, tmp_path):
    other = replace(bench, output=tmp_path)
    study.settle(other)
    plan = study.planned(other, ("small-imbalanced",), 3, ("head-sgd",))
    study.run(other, plan, workers=1, progress=False)
    rows = results.collect(tmp_path)["rows"]
    assert [(row["source"], row["transfer"]) for row in rows] == [
        (source, kind) for source in ("five", "seven-classes") for kind in ("head", "head-sgd")
    ]
    exact, stepwise = ([point["quality"] for point in row["points"]] for row in rows[:2])
    assert stepwise == pytest.approx(exact, abs=0.1)


def test_networks_are_trained_where_an_experiment_is_about_that(bench, tmp_path):
    """Fine-tuning, the reference from scratch, and a CNAPs whose tasks are of classes that it never met."""
    training = Training(epochs=2, scratch_epochs=3, episodes=2)
    settings = study.Settings(measures=("leep",), training=training)
    made = replace(bench, output=tmp_path, settings=settings, device="cpu", sources={"five": bench.sources["five"]})
    study.settle(made)
    plan = {
        **study.planned(made, ("small-balanced",), 1, ("fine-tuning",)),
        **study.planned(made, ("convergence", "meta-transfer"), 2),
    }
    study.run(made, plan, workers=1, progress=False)
    before = files(tmp_path)
    for job in (study.Job("small-balanced", "five", "fine-tuning", 0), study.Job("meta-transfer", "five", "cnaps", 0)):
        job.path(tmp_path).unlink()
    study.run(made, plan, workers=1, progress=False)
    assert files(tmp_path) == before

    found = results.collect(tmp_path)
    assert [(row["experiment"], row["transfer"]) for row in found["rows"]] == [
        ("small-balanced", "head"), ("small-balanced", "fine-tuning"), ("meta-transfer", "cnaps")
    ]  # fmt: skip
    (convergence,) = found["convergence"]
    assert (convergence["num_tasks"], convergence["epochs"], convergence["scratch_epochs"]) == (2, 2, 3)
    learned = learned_classes(made.opened.pool.num_classes, 0)
    for index in range(9):
        task = draw(made.experiment("meta-transfer"), made.opened.pool, 0, index)
        assert not set(task.classes) & set(learned)
    write(tmp_path)
    page = (tmp_path / "README.md").read_text()
    assert "Kendall" in page
    assert "CNAPs learned from 2 episodes of other classes: " in page


def test_a_folder_keeps_to_one_study(bench):
    study.settle(bench)
    changed = study.Settings(measures=MEASURES, seed=1)
    with pytest.raises(UserError, match="holds a study with another seed: 0, now 1"):
        study.settle(replace(bench, settings=changed))


def test_the_report_is_made_of_the_finished_tasks(bench):
    write(bench.output)
    page = (bench.output / "README.md").read_text()
    assert "| large balanced | re-trained head | 2 | 6 |" in page
    assert "| large balanced | **ours** | `five`, re-trained head | 6 |" in page
    assert "2 sources on 3 targets: the whole data set, and tasks" in page
    assert "NaN" not in page
    pictures = {path.name for path in (bench.output / "plots").iterdir()}
    assert pictures == {"large-balanced.png", "small-imbalanced.png", "source-selection.png"}


def test_source_selection_compares_heads_alone(bench):
    jobs = study.planned(bench, ("source-selection",), 2, ("fine-tuning", "head-sgd"))["source-selection"]
    assert {job.kind for job in jobs} == {"head"}


def test_a_source_without_a_score_leaves_the_choice_to_the_others(bench):
    found = {
        name: {i: {"quality": q + i / 100, "scores": {"leep": leep}} for i in range(3)}
        for name, q, leep in (("good", 0.8, -1.0), ("fair", 0.6, -2.0), ("headless", 0.9, None))
    }
    selection = results._selection(found, ["leep", "nce"])
    assert (selection["measures"]["leep"]["num_sources"], selection["measures"]["leep"]["num_tasks"]) == (2, 3)
    assert (selection["measures"]["leep"]["kendall"], selection["measures"]["leep"]["regret"]) == (1.0, 0.0)
    assert selection["measures"]["nce"]["num_sources"] == 0


def test_progress_is_a_line_a_minute_where_there_is_no_terminal():
    now, stream = [0.0], io.StringIO()
    lines = study.Lines(total=100, to_do=90, stream=stream, clock=lambda: now[0])
    for _ in range(30):
        now[0] += 5.0
        lines.advance("small-balanced")
    assert stream.getvalue().splitlines() == [
        "small-balanced: 22 of all 100 tasks done, about 6 min left",
        "small-balanced: 34 of all 100 tasks done, about 6 min left",
    ]


def test_a_job_that_fails_is_noted_and_not_repeated_unless_asked_for(bench, tmp_path):
    other = replace(bench, output=tmp_path)
    job = study.Job("small-balanced", "five", "cnaps", 0)
    assert not other.attempt(job)  # of a CNAPs that was never meta-trained
    assert study.read_record(job.path(tmp_path))["failed"] == "five has no meta-trained CNAPs"
    assert not other.is_open(job)
    assert other.is_open(job, retry=True)
