"""The store: what is found again, what is not, and what happens to it under fire."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest

import hf_leep
from hf_leep import temporary
from hf_leep.store import Store
from hf_leep.store.files import read_json, write_json
from tests.warm import HANGING

KEY = "0" * 40


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def keep(store, key=KEY, value=1.5):
    with store.writing(key) as writer:
        array = writer.allocate("probabilities", (4, 3))
        array[:] = value
        writer.commit({"who": "me"})


def test_a_pass_is_found_again_memory_mapped(store):
    assert store.load(KEY) is None
    keep(store)
    description, arrays = store.load(KEY)
    assert description == {"who": "me"}
    assert isinstance(arrays["probabilities"], np.memmap)
    assert not arrays["probabilities"].flags.writeable
    assert (arrays["probabilities"] == 1.5).all()
    keep(store, value=2.5)
    assert (store.load(KEY)[1]["probabilities"] == 2.5).all()


def test_what_is_not_committed_is_absent(store, tmp_path):
    with store.writing(KEY) as writer:
        writer.allocate("probabilities", (4, 3))
    assert store.load(KEY) is None
    assert list((tmp_path / "store" / "extractions").iterdir()) == []


def test_every_field_makes_another_key():
    fields = {"revision": "a", "inputs": "b", "dtype": "float32", "backend": None}
    keys = {Store.key({**fields, name: "other"}) for name in fields} | {Store.key(fields)}
    assert len(keys) == 5
    assert Store.key(dict(reversed(fields.items()))) == Store.key(fields)


DAMAGES = {
    "flipped bit": lambda folder: flip(folder / "probabilities.npy"),
    "truncated": lambda folder: os.truncate(folder / "probabilities.npy", 130),
    "array missing": lambda folder: (folder / "probabilities.npy").unlink(),
    "entry missing": lambda folder: (folder / "entry.json").unlink(),
    "entry changed": lambda folder: (folder / "entry.json").write_text(
        (folder / "entry.json").read_text().replace('"me"', '"you"')
    ),
    "entry is no JSON": lambda folder: (folder / "entry.json").write_bytes(b"\x00\xff"),
    "entry is foreign": lambda folder: (folder / "entry.json").write_text("[1, 2]"),
    "a file in its place": lambda folder: (shutil.rmtree(folder), folder.write_text("hello")),
}


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_dropped_and_can_be_made_again(store, tmp_path, caplog, damage):
    keep(store)
    DAMAGES[damage](tmp_path / "store" / "extractions" / KEY)
    with caplog.at_level(logging.WARNING, "hf_leep"):
        assert store.load(KEY) is None
    if damage != "a file in its place":
        assert len(caplog.records) == 1
        assert "damaged or foreign" in caplog.text
    keep(store)
    assert store.load(KEY) is not None


def test_scores_are_found_again_and_damage_is_noticed(store, tmp_path, caplog):
    score = {"value": -0.5, "standard_error": 0.1, "reason": None, "warnings": ["few"], "influence": np.arange(3.0)}
    store.save_scores(KEY, "labels", {"reason": None}, {"leep": score, "nce": {**score, "influence": None}})
    _, found = store.load_scores(KEY, "labels", ("leep", "nce", "logme"))
    assert set(found) == {"leep", "nce"}
    assert found["leep"]["warnings"] == ["few"]
    assert found["leep"]["influence"].tolist() == [0, 1, 2]
    assert found["nce"]["influence"] is None
    assert store.load_scores(KEY, "other labels", ("leep",))[1] == {}
    path = tmp_path / "store" / "scores" / KEY / "labels-leep.score"
    whole = path.read_bytes()
    for offset in range(0, len(whole), 7):
        content = bytearray(whole)
        content[offset] ^= 1
        path.write_bytes(content)
        assert set(store.load_scores(KEY, "labels", ("leep", "nce"))[1]) == {"nce"}, offset
        assert not path.exists()
    assert "damaged or foreign" in caplog.text
    path.write_bytes(b"\x93NUMPY of somebody else")
    assert set(store.load_scores(KEY, "labels", ("leep", "nce"))[1]) == {"nce"}


def test_exchanged_entries_are_noticed_and_made_again(store, tmp_path, caplog):
    other = "1" * 40
    keep(store, KEY, value=1.5)
    keep(store, other, value=2.5)
    exchange(tmp_path / "store" / "extractions" / KEY, tmp_path / "store" / "extractions" / other)
    for key in (KEY, other):
        assert store.description(key) is None
        assert store.load(key) is None
    assert len(caplog.records) == 2
    assert "written for another candidate" in caplog.text


def test_exchanged_scores_are_noticed_and_made_again(store, tmp_path):
    score = {"value": -0.5, "reason": None, "influence": None}
    keys, folder = (KEY, "1" * 40), tmp_path / "store" / "scores"

    def fill():
        for value, key in enumerate(keys):
            scores = {name: {**score, "value": value + len(name)} for name in ("nce", "leep")}
            store.save_scores(key, "labels", {"of": key}, scores)

    fill()
    exchange(folder / keys[0], folder / keys[1])
    assert [store.load_scores(key, "labels", ("leep",)) for key in keys] == [None, None]
    fill()
    exchange(folder / keys[0] / "labels-leep.score", folder / keys[1] / "labels-leep.score")
    assert [set(store.load_scores(key, "labels", ("leep", "nce"))[1]) for key in keys] == [{"nce"}, {"nce"}]
    fill()
    exchange(folder / KEY / "labels-leep.score", folder / KEY / "labels-nce.score")  # of one pass, by other measures
    assert store.load_scores(KEY, "labels", ("leep", "nce"))[1] == {}


def exchange(one, other):
    one.rename(one.with_name("between"))
    other.rename(one)
    one.with_name("between").rename(other)


def test_checks_under_another_key_are_made_again(store, tmp_path):
    folder = tmp_path / "store" / "checks"
    store.checks("a", lambda: ["of a"])
    assert store.checks("a", lambda: pytest.fail("made again")) == ["of a"]
    (folder / "a.json").rename(folder / "b.json")
    assert store.checks("b", lambda: ["of b"]) == ["of b"]


def test_what_dead_runs_left_is_cleared_away_and_what_living_ones_write_is_not(store, tmp_path):
    root, days = tmp_path / "store", 24 * 3600
    machine, me = temporary.owner().split("-")
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    dead = int(dead.stdout)
    left = {  # owner, age in seconds → whether it is cleared away
        (f"{machine}-{me}", 0): False,
        (f"{machine}-{dead}", 0): True,
        (f"00000000-{dead}", 0): False,  # of another machine: nobody here can say whether that process runs
        (f"00000000-{dead}", 3 * days): True,
    }
    made = {}
    for (owner, age), cleared in left.items():
        for path in (
            root / "extractions" / f"{KEY}.{owner}.{age}.partial" / "features.npy",
            root / "extractions" / f"{KEY}.{owner}.shards-{age}.partial" / "shard",
            root / "scores" / KEY / f".{age}.score.{owner}.tmp",
            root / "digests" / f".{age}.json.{owner}.tmp",
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("half")
            for part in (path, path.parent) if path.suffix != ".tmp" else (path,):
                os.utime(part, (path.stat().st_mtime - age, path.stat().st_mtime - age))
            made[path] = cleared
    keep(store)
    Store(root)
    assert {path: not path.exists() for path in made} == made
    assert store.load(KEY) is not None
    with store.writing(KEY) as writer:
        array = writer.allocate("probabilities", (4, 3))
        scratch = writer.scratch()
        Store(root)
        assert scratch.exists()
        array[:] = 3
        writer.commit({"who": "still me"})
    assert store.load(KEY)[0] == {"who": "still me"}


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        temporary.write(path, b"content")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_hashed_once_until_it_changes(store, tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    monkeypatch.setattr("hf_leep.store._SETTLED_NS", 0)
    first = store.file_digest(path)
    assert first == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patch:
        patch.setattr("hashlib.file_digest", None)  # would fail if it were called
        assert store.file_digest(path) == first
    stamp = path.stat().st_mtime_ns
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp, stamp))  # the same size and time stamp, as `cp -p` leaves them
    assert store.file_digest(path) == hashlib.sha256(b"two").hexdigest()


def test_a_file_that_is_still_young_is_never_remembered(store, tmp_path):
    (tmp_path / "weights").write_bytes(b"one")
    store.file_digest(tmp_path / "weights")
    assert not (tmp_path / "store" / "digests").exists()


def test_without_posix_fallocate_arrays_are_kept_all_the_same(store, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    keep(store)
    assert (store.load(KEY)[1]["probabilities"] == 1.5).all()


@pytest.mark.parametrize("kind", ["locks", "extractions", "scores", "digests"])
def test_a_store_that_cannot_be_used_costs_nothing_but_the_store(checkpoints, pictures, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path / "hf_leep"))
    (tmp_path / "hf_leep").mkdir()
    (tmp_path / "hf_leep" / kind).write_text("a file where a folder should be")
    assert hf_leep.rank([checkpoints["five"]], pictures, progress=False).exit_code == 0


def test_records_of_another_version_are_made_again(checkpoints, pictures, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path / "hf_leep"))
    first = hf_leep.rank([checkpoints["five"]], pictures, progress=False)
    (key,) = entries(tmp_path)
    path = tmp_path / "hf_leep" / "extractions" / key / "entry.json"
    entry = read_json(path)
    del entry["description"]["candidate"]["task"]
    write_json(path, entry)
    shutil.rmtree(tmp_path / "hf_leep" / "scores")
    again = hf_leep.rank([checkpoints["five"]], pictures, progress=False)
    assert again.candidates[0]["scores"] == first.candidates[0]["scores"]
    assert "damaged or foreign" in caplog.text
    assert hf_leep.rank([checkpoints["five"]], pictures, progress=False).candidates[0]["run"]["from_store"]


def test_what_scores_mean_is_kept_beside_them_and_made_where_it_is_missing(
    checkpoints, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path / "hf_leep"))

    def ranked():
        report = hf_leep.rank([checkpoints["five"], checkpoints["headless"]], pictures, progress=False)
        return without_run(report.data)

    first = ranked()
    assert first["candidates"][0]["explanation"]["examples"]
    with monkeypatch.context() as broken:
        broken.setattr("hf_leep.explain.interpret", lambda _: pytest.fail("made again"))
        assert ranked() == first
    written = list((tmp_path / "hf_leep" / "scores").rglob("*-_meaning.score"))
    assert len(written) == 2  # the one without a head is run for its features
    for file in written:
        file.unlink()
        assert ranked() == first
        file.write_bytes(b"damaged")
        assert ranked() == first
        assert file.read_bytes() != b"damaged"
    renamed = pictures.cast_column("label", datasets.ClassLabel(names=["a", "b", "c"]))
    report = hf_leep.rank([checkpoints["five"]], renamed, progress=False)
    assert {s["name"] for s in report.candidates[0]["explanation"]["classes"]} == {"a", "b", "c"}


def test_clearing_leaves_locks_and_half_written_passes_are_not_counted(store, tmp_path):
    keep(store)
    with store.lock(KEY), store.writing("1" * 40):
        assert store.usage().entries["extractions"] == 1
        store.clear()
        assert (tmp_path / "store" / "locks" / f"{KEY}.lock").exists()
    assert store.load(KEY) is None


def test_without_a_root_nothing_is_kept():
    nothing = Store(None)
    keep(nothing)
    assert nothing.load(KEY) is None
    nothing.save_scores(KEY, "labels", {}, {})
    assert nothing.load_scores(KEY, "labels", ("leep",)) is None
    assert nothing.usage().num_bytes == {"extractions": 0, "scores": 0, "training": 0}


def test_a_root_that_cannot_be_made_costs_the_store_and_nothing_else(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    keep(Store(tmp_path / "file" / "store"))
    assert "nothing is kept" in caplog.text


def entries(root, kind="extractions"):
    return {p.name: p.stat().st_mtime_ns for p in (root / "hf_leep" / kind).iterdir()}


RUN = """
import json, sys
import hf_leep
options = json.loads(sys.argv[1])
report = hf_leep.rank(progress=False, **options)
print(json.dumps({"data": report.data, "modules": sorted({"torch", "transformers"} & set(sys.modules))}))
"""


@pytest.fixture(scope="session")
def process(python):
    """A ranking in a process of its own, with a store of its own."""

    def run(home, interpreter=python, **options):
        environment = {**os.environ, "HF_HOME": str(home)}
        command = [*interpreter, "-c", RUN, json.dumps(options)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    return run


def finished(running):
    out, err = running.communicate(timeout=HANGING)
    assert running.returncode == 0, err.decode()
    return json.loads(out), err.decode()


@pytest.fixture(scope="module")
def job(checkpoints, pictures, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "pictures.parquet"
    pictures.to_parquet(path)
    return {"candidates": [str(checkpoints["five"]), str(checkpoints["seven-classes"])], "dataset": str(path)}


def without_run(data):
    """A report less what may differ between two runs: times and where a pass came from."""
    data = json.loads(json.dumps(data))
    data.pop("run")
    for candidate in data["candidates"]:
        candidate["run"] = None
    return data


def test_a_second_run_repeats_no_pass_and_none_imports_torch(process, job, checkpoints, tmp_path):
    first, _ = finished(process(tmp_path, [sys.executable], **job))
    assert first["modules"] == []  # the worker has them
    before = entries(tmp_path)
    second, _ = finished(process(tmp_path, [sys.executable], **job))
    assert second["modules"] == []
    assert without_run(second["data"]) == without_run(first["data"])
    assert all(c["run"]["from_store"] for c in second["data"]["candidates"])
    more, _ = finished(
        process(
            tmp_path,
            **{**job, "candidates": [*job["candidates"], str(checkpoints["headless"])]},
            measures=["leep", "logme", "h-score"],
        )
    )
    assert entries(tmp_path).items() > before.items()  # one more pass, the others untouched
    assert len(entries(tmp_path)) == 3
    again = [c["scores"]["leep"] for c in more["data"]["candidates"] if c["id"] in job["candidates"]]
    assert again == [c["scores"]["leep"] for c in first["data"]["candidates"]]


def test_other_labels_use_the_same_pass_and_other_rows_do_not(checkpoints, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path / "hf_leep"))
    relabelled = pictures.add_column("half", [k // 30 for k in range(60)])
    candidates = [checkpoints["five"]]
    first = hf_leep.rank(candidates, relabelled, progress=False)
    half = hf_leep.rank(candidates, relabelled, label="half", progress=False)
    assert half.candidates[0]["run"]["from_store"]
    assert half.candidates[0]["scores"] != first.candidates[0]["scores"]
    assert len(entries(tmp_path)) == 1
    for options in (
        {"max_samples": 30},
        {"max_samples": 30, "seed": 1},
        {"execution": hf_leep.Execution(dtype="bfloat16")},
    ):
        assert not hf_leep.rank(candidates, relabelled, progress=False, **options).candidates[0]["run"]["from_store"]
    assert len(entries(tmp_path)) == 4


def test_a_damaged_pass_is_run_again_with_one_line_that_says_so(checkpoints, pictures, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path / "hf_leep"))
    first = hf_leep.rank([checkpoints["five"]], pictures, measures=["leep"], progress=False)
    (key,) = entries(tmp_path)
    flip(tmp_path / "hf_leep" / "extractions" / key / "probabilities.npy")
    again = hf_leep.rank([checkpoints["five"]], pictures, measures=["nce"], progress=False)
    assert len(caplog.records) == 1
    assert "damaged or foreign" in caplog.text
    assert not again.candidates[0]["run"]["from_store"]
    third = hf_leep.rank([checkpoints["five"]], pictures, measures=["leep"], progress=False)
    assert third.candidates[0]["scores"] == first.candidates[0]["scores"]


def test_two_runs_at_once_make_each_pass_once(process, job, tmp_path):
    runs = [process(tmp_path, **job) for _ in range(2)]
    reports = [finished(run)[0]["data"] for run in runs]
    assert without_run(reports[0]) == without_run(reports[1])
    made = sum(not c["run"]["from_store"] for report in reports for c in report["candidates"])
    assert made == 2
    assert len(entries(tmp_path)) == 2


KILL = """
import json, os, signal, sys
import hf_leep
from pathlib import Path
from hf_leep.runs.isolation import Isolation
from hf_leep.store import Store

options, place = json.loads(sys.argv[1]), Path(os.environ["HF_HOME"], "hf_leep", "extractions")
execution = hf_leep.Execution(batch_size=4, retry=True)  # no candidate is to blame for these kills
moments = [(done, partial) for done in range(1, 6) for partial in (False, True)]
begin, run = Store.writing, Isolation.run


def state():
    names = [p.name for p in place.glob("*")] if place.exists() else []
    return sum(not n.endswith(".partial") for n in names), any(n.endswith(".partial") for n in names)


def stamps():
    return {p.name: (p / "entry.json").stat().st_mtime_ns for p in place.glob("*") if not p.name.endswith(".partial")}


def die_at(moment):
    batches = []

    def between(*args, **options):
        if state() == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        return begin(*args, **options)

    def within(self, target, request, writer, advance):
        def after_batch(rows):
            batches.append(state() == moment)
            if sum(batches) == 10:  # of 30
                os.kill(os.getpid(), signal.SIGKILL)
            advance(rows)

        return run(self, target, request, writer, after_batch)

    Store.writing, Isolation.run = between, within


before = {}
for moment in moments:
    child = os.fork()
    if child == 0:
        die_at(moment)
        hf_leep.rank(progress=False, execution=execution, **options)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, f"the run ended before {moment} came"
    assert state() == moment
    after = stamps()
    assert before.items() <= after.items(), "a finished pass was made again"
    before = after
report = hf_leep.rank(progress=False, execution=execution, **options)
assert before.items() <= stamps().items() and len(stamps()) == 6
print(json.dumps(report.data))
"""


def test_a_run_killed_at_ten_moments_resumes_and_repeats_nothing_that_was_finished(
    process, python, checkpoints, pictures, tmp_path
):
    """Between passes and in the middle of them, at each of five stages of a run over six candidates."""
    import datasets

    rows = datasets.concatenate_datasets([pictures] * 2)
    rows.to_parquet(tmp_path / "rows.parquet")
    copies = []
    for number in range(6):
        copies.append(str(tmp_path / f"copy {number}"))
        shutil.copytree(checkpoints["five"], copies[-1])
        (Path(copies[-1]) / "README.md").write_text(f"another content hash: {number}")
    job = {"candidates": copies, "dataset": str(tmp_path / "rows.parquet")}
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "PYTHONWARNINGS": "ignore"}
    command = [*python, "-c", KILL, json.dumps(job)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGING)
    assert done.returncode == 0, done.stderr
    whole, _ = finished(process(tmp_path / "other", **job))
    assert without_run(json.loads(done.stdout)) == without_run(whole["data"])
