"""Several candidates at a time."""

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.utils
import psutil
import pytest
from threadpoolctl import threadpool_limits

import hf_leep
from hf_leep.errors import HubLimitError, UserError
from hf_leep.runs import side_by_side
from hf_leep.runs.isolation import Isolation
from hf_leep.runs.local import Downloads
from hf_leep.runs.plan import Step
from hf_leep.runs.side_by_side import Lanes, threads_of_each
from hf_leep.store import Store
from hf_leep.store.attempts import Attempts
from tests.hub_server import Fault
from tests.runs.test_threads import blas_threads
from tests.warm import HANGING

RUN = Isolation.run


def ranked(models, dataset, jobs=1, **options):
    execution = hf_leep.Execution(jobs=jobs, **{"cache": False, **options.pop("execution", {})})
    options = {"measures": "leep", "progress": False, **options}
    return hf_leep.rank(models, dataset, execution=execution, **options)


def compared(report):
    """The candidates of a report, without what depends on the time and the memory that a pass took."""
    rows = json.loads(json.dumps(report.candidates))
    for row in rows:
        for name in ("seconds", "peak_memory_bytes"):
            (row["run"] or {}).pop(name, None)
    return rows


@pytest.fixture
def models(checkpoints):
    # The second is run for its features alone, and has no rank.
    return [str(checkpoints[name]) for name in ("five", "regression", "seven-classes")]


@pytest.mark.parametrize("skip_bad_rows", [0, 3])
def test_a_report_is_the_same_with_two_at_a_time(models, pictures, monkeypatch, skip_bad_rows, capsys):
    alone = ranked(models, pictures, skip_bad_rows=skip_bad_rows)
    both, started, processes, of_scores = threading.Barrier(2), [], [], []

    def run(self, *arguments):
        started.append(1)
        if len(started) <= 2:
            both.wait(HANGING)  # until the other candidate runs, too
        processes.append(self.worker.call(os.getpid))
        of_scores.append(blas_threads())
        return RUN(self, *arguments)

    monkeypatch.setattr(Isolation, "run", run)
    monkeypatch.setattr(huggingface_hub.utils, "are_progress_bars_disabled", lambda: False)
    with threadpool_limits(limits=2, user_api="blas"):
        together = ranked(models, pictures, 2, skip_bad_rows=skip_bad_rows, progress=True)
        assert blas_threads() == {2}
    assert of_scores == [{1}] * 3
    assert "\n2 candidates at a time, each with " in "\n" + capsys.readouterr().err
    assert len(set(processes)) == 2
    assert compared(together) == compared(alone)
    assert together.exit_code == 3


def test_models_in_memory_run_one_after_another_in_this_process(models, pictures):
    from transformers import AutoImageProcessor, AutoModelForImageClassification

    listed = [
        (
            "a",
            AutoModelForImageClassification.from_pretrained(models[0]),
            AutoImageProcessor.from_pretrained(models[0]),
        ),
        models[2],
        (
            "b",
            AutoModelForImageClassification.from_pretrained(models[2]),
            AutoImageProcessor.from_pretrained(models[2]),
        ),
    ]
    assert compared(ranked(listed, pictures, 3)) == compared(ranked(listed, pictures))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("dies", "its process crashed: SIGSEGV"),
        ("hangs", "it gave no sign of life for 0.5 seconds (--candidate-timeout)"),
    ],
)
def test_a_lost_worker_costs_its_candidate_alone(models, pictures, monkeypatch, capsys, how, reason):
    alone = ranked(models[2:], pictures)
    both = threading.Barrier(2)

    def run(self, target, request, writer, advance):
        self.opens_rows()
        both.wait(HANGING)
        if request.candidate.id == models[0] and how == "dies":
            self.worker.call(signal.raise_signal, signal.SIGSEGV)
        if request.candidate.id == models[0]:
            self.worker._timeout = 0.5
            self.worker.call(time.sleep, HANGING)
        return RUN(self, target, request, writer, advance)

    monkeypatch.setattr(Isolation, "run", run)
    monkeypatch.setattr(huggingface_hub.utils, "are_progress_bars_disabled", lambda: False)
    report = ranked([models[0], models[2]], pictures, 2, progress=True, command=["hf-leep", "rank"])
    assert compared(report)[0] == compared(alone)[0]
    assert report.candidates[1]["reason"] == reason
    assert f" – {reason}\n" in capsys.readouterr().err


@pytest.mark.parametrize("skip_bad_rows", [0, 3])
@pytest.mark.parametrize("is_to_blame", [False, True])
def test_what_is_killed_beside_others_runs_again_alone(
    models, pictures, monkeypatch, tmp_path, caplog, is_to_blame, skip_bad_rows
):
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path))
    options = {"skip_bad_rows": skip_bad_rows}
    names = [models[0], models[2]]
    alone = ranked(names, pictures, **options)
    both, done, tries, workers = threading.Barrier(2), [], [], {}

    def run(self, target, request, writer, advance):
        name = request.candidate.id
        self.opens_rows()
        workers[name] = self.worker
        if name == names[1]:
            both.wait(HANGING)
            made = RUN(self, target, request, writer, advance)
            done.append(name)
            return made
        tries.append(list(done))
        if len(tries) == 1:
            both.wait(HANGING)
        else:
            other = workers[names[1]]
            assert other is self.worker or other._process is None
        if len(tries) == 1 or is_to_blame:
            self.worker.call(signal.raise_signal, signal.SIGKILL)
        return RUN(self, target, request, writer, advance)

    monkeypatch.setattr(Isolation, "run", run)
    report = ranked(names, pictures, 2, execution={"cache": True}, **options)
    assert tries == [[], [names[1]]]
    assert "five while others ran: it is run again at the end, alone" in caplog.text
    if not is_to_blame:
        assert compared(report) == compared(alone)
        assert not list((tmp_path / "attempts").iterdir())
        return
    reasons = {c["id"]: c["reason"] for c in report.candidates}
    assert reasons == {names[0]: "its process was killed, as by the kernel when memory runs out", names[1]: None}
    again = ranked(names, pictures, 2, execution={"cache": True}, **options)
    assert "in an earlier run, its process was killed" in next(c["reason"] for c in again.candidates if c["reason"])
    assert len(tries) == 2


def test_candidates_at_which_a_run_was_killed_run_alone_and_the_innocent_is_not_blamed(
    models, pictures, monkeypatch, tmp_path
):
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path))
    names = [models[0], models[2]]
    both, at_work, most = threading.Barrier(2), [], []

    def killed_by_the_first(self, target, request, writer, advance):
        if not at_work_before:
            both.wait(HANGING)
        if request.candidate.id == names[0]:
            os._exit(0)
        if not at_work_before:
            time.sleep(HANGING)  # the process ends meanwhile
        return RUN(self, target, request, writer, advance)

    for at_work_before in (False, True):  # noqa: B007 - the functions read it
        if (child := os.fork()) == 0:
            try:
                Isolation.run = killed_by_the_first
                ranked(names, pictures, 2, execution={"cache": True})
            finally:
                os._exit(1)
        os.waitpid(child, 0)

    def counted(self, *arguments):
        at_work.append(1)
        most.append(len(at_work))
        made = RUN(self, *arguments)
        at_work.pop()
        return made

    monkeypatch.setattr(Isolation, "run", counted)
    refused = ranked(names, pictures, 2, execution={"cache": True})
    reasons = {c["id"]: c["reason"] for c in refused.candidates}
    assert reasons[names[0]].startswith("2 runs were killed while they were at it")
    assert reasons[names[1]] is None
    assert set(most) <= {1}


INTERRUPTED = """
import os, sys, threading, time
from pathlib import Path
from hf_leep import cli
from hf_leep.runs import local
from hf_leep.runs.isolation import Isolation

number, folder, run, noted = int(sys.argv.pop(1)), Path(sys.argv.pop(1)), Isolation.run, local.note_result

def told(*arguments):  # in the main thread, when the first candidate is done
    noted(*arguments)
    while len(list(folder.glob("*.pid"))) < 2:
        time.sleep(0.01)
    os.kill(os.getpid(), number)

def slow(self, target, request, writer, advance):
    if "five" in request.candidate.id:
        return run(self, target, request, writer, advance)
    process = self.worker.call(os.getpid)
    (folder / f"{process}.pid").touch()
    self.worker.call(time.sleep, 600)

Isolation.run, local.note_result = slow, told
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_workers_and_keeps_what_is_finished(python, checkpoints, pictures, tmp_path, number, code):
    pictures.to_parquet(tmp_path / "rows.parquet")
    other = shutil.copytree(checkpoints["seven-classes"], tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "id2label": {str(k): f"kind {k}" for k in range(7)}}))
    listed = [str(checkpoints["five"]), str(checkpoints["seven-classes"]), str(other)]
    options = [
        "--dataset",
        str(tmp_path / "rows.parquet"),
        "--output",
        str(tmp_path / "out"),
        "--jobs",
        "2",
        "--measures",
        "leep",
    ]
    done = subprocess.run(
        [*python, "-c", INTERRUPTED, str(int(number)), str(tmp_path), "rank", *options, "--models", *listed],
        env={**os.environ, "HF_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        timeout=HANGING,
    )
    assert done.returncode == code, done.stderr
    found = json.loads((tmp_path / "out" / "report.json").read_text())["candidates"]
    assert (Path(found[0]["id"]).name, found[0]["status"]) == ("five", "ok")
    assert all(c["reason"].startswith("not run: ") for c in found[1:])
    processes = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(processes) == 2
    assert not any(map(alive, processes))
    assert not list((tmp_path / "home" / "hf_leep" / "attempts").iterdir())  # nothing was learnt of them


STALLED = """
import contextlib, os, signal, sys, threading, time
from pathlib import Path
import hf_leep
from hf_leep.runs import side_by_side

dataset, asked, side_by_side._SECONDS = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])

def interrupt():
    while not asked.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
with contextlib.suppress(KeyboardInterrupt):
    hf_leep.rank(
        ["user/stalled", "user/seven"], dataset, measures="leep", skip_bad_rows=1, progress=False,
        execution=hf_leep.Execution(jobs=2),
    )
    sys.exit("it was not interrupted")
"""


def test_an_interruption_does_not_wait_for_a_download(hub, client, checkpoints, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "rows.parquet")
    hub.add_folder("user/stalled", checkpoints["five"])
    hub.add_folder("user/seven", checkpoints["seven-classes"])
    asked = SimpleNamespace(set=(tmp_path / "asked for").touch)
    file = r"^GET /user/stalled/resolve/.*preprocessor_config.json"
    hub.faults.append(Fault(file, until=threading.Event(), met=asked))
    done = client(tmp_path / "rows.parquet", tmp_path / "asked for", 2 * HANGING, code=STALLED)
    assert done.returncode == 0, done.stderr


def alive(process):
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE


def steps(count, suspects=()):
    return [Step(str(k), hf_leep.records.Candidate(str(k)), suspect=k in suspects) for k in range(count)]


class Jobs:
    """As much of a job as lanes need."""

    def __init__(self):
        self.worker, self.stopped = None, threading.Event()
        self.memory = SimpleNamespace(attempts=Attempts(None))


def test_a_wrong_call_interrupts_what_is_at_work():
    started, interrupted = threading.Event(), threading.Event()

    def work(job, step):
        if step.name == "0":
            assert started.wait(HANGING)
            raise UserError("wrong")
        started.set()
        assert job.stopped.wait(HANGING)
        interrupted.set()

    with pytest.raises(UserError), Lanes([Jobs(), Jobs()]) as lanes:
        list(lanes.each(steps(9), work))
    assert interrupted.is_set()


def test_what_is_at_work_is_done_before_a_limit_of_the_hub_ends_the_run():
    limit, done = threading.Event(), []

    def work(job, step):
        if step.name == "0":
            limit.set()
            raise HubLimitError("no more")
        assert limit.wait(HANGING)
        return step.name

    with Lanes([Jobs(), Jobs()]) as lanes:
        found = lanes.each(steps(5), work)
        with pytest.raises(HubLimitError):
            done.extend(name for _, name in found)
    assert done == ["1"]


def test_suspects_run_alone():
    at_work, seen = set(), {}

    def work(job, step):
        at_work.add(step.name)
        time.sleep(0.02)
        seen[step.name] = set(at_work)
        at_work.discard(step.name)

    with Lanes([Jobs(), Jobs(), Jobs()]) as lanes:
        assert len(list(lanes.each(steps(6, suspects=(4, 5)), work))) == 6
    assert seen["4"] == {"4"}
    assert seen["5"] == {"5"}


class Bar:
    def __init__(self):
        self.n, self.described = 0, []

    def update(self, n=1):
        self.n += n

    def set_description(self, text):
        self.described.append(text)


def test_one_bar_counts_the_rows_of_all_candidates_and_names_one():
    bar, job = Bar(), SimpleNamespace(client=None, timeout=1.0)
    downloads = Downloads(SimpleNamespace(download_bytes=0, steps=[]), job, None, False, bar, None)
    inside, left = threading.Barrier(2), threading.Barrier(2)

    def other():
        with downloads.running(steps(2)[1], 10):
            inside.wait(HANGING)
            downloads.advance(3)
            left.wait(HANGING)

    thread = threading.Thread(target=other)
    with downloads.running(steps(2)[0], 10):
        thread.start()
        inside.wait(HANGING)
        downloads.advance(4)
    assert bar.described == ["0", "0 and 1 more", "1"]
    left.wait(HANGING)
    thread.join(HANGING)
    assert bar.n == 20


def test_threads_are_shared_out_unless_the_environment_says_how_many(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(side_by_side, "num_cores", lambda: 8)
    assert [threads_of_each(number) for number in (2, 3, 16)] == [4, 2, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert threads_of_each(2) is None


def test_what_a_call_cannot_run_side_by_side_is_one_line(models, pictures, monkeypatch):
    two = hf_leep.Execution(jobs=2)
    with pytest.raises(UserError, match=r"^race decides which rows are run next .*: leave out execution.jobs$"):
        hf_leep.rank(models, pictures, execution=two, race=hf_leep.Race())
    with pytest.raises(
        UserError, match=r"^cluster runs as many .* cluster.resources lets it: leave out execution.jobs$"
    ):
        hf_leep.rank(models, pictures, execution=two, cluster=hf_leep.Cluster())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(
        UserError, match=r"^the processes of a launcher run one candidate at a time together: leave out"
    ):
        hf_leep.rank(models, pictures, execution=two)


def test_a_worker_that_was_stopped_interrupts_its_callers():
    from hf_leep.runs.supervisor import Worker

    with Worker(HANGING) as worker:
        worker.call(os.getpid)
        found = []

        def call():
            try:
                worker.call(time.sleep, HANGING)
            except BaseException as error:
                found.append(type(error))

        thread = threading.Thread(target=call)
        thread.start()
        worker.stop()
        thread.join(HANGING)
        with pytest.raises(KeyboardInterrupt):
            worker.call(os.getpid)
    assert found == [KeyboardInterrupt]
