import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import hf_leep
from hf_leep.errors import CandidateError, ProcessError, TargetError, UserError, WorkerError
from hf_leep.inference.processes import check_available
from hf_leep.runs import supervisor
from hf_leep.runs.isolation import Isolation
from hf_leep.runs.supervisor import Worker
from hf_leep.store import Store
from hf_leep.store.attempts import Attempt, Attempts
from tests.warm import HANGING


@pytest.mark.parametrize(
    ("function", "arguments", "problem"),
    [
        (os.abort, (), "its process crashed: SIGABRT"),
        (os._exit, (3,), "its process ended with exit code 3"),
        (sys.exit, (4,), "SystemExit: 4"),  # as a panic of Rust code, no Exception
        (time.sleep, (HANGING,), r"it gave no sign of life for 1 seconds \(execution.candidate_timeout\)"),
    ],
)
def test_a_lost_worker_is_an_error_of_its_call_and_another_one_takes_the_next(function, arguments, problem):
    with Worker(timeout=1 if function is time.sleep else HANGING) as worker:
        first = worker.call(os.getpid)
        with pytest.raises(WorkerError, match=f"^{problem}$"):
            worker.call(function, *arguments)
        second = worker.call(os.getpid)
        assert len({os.getpid(), first, second}) == 3
        assert worker.call(os.getpid) == second


def _dies_once(command, path):
    """A command for a worker whose first process is killed before it is ready."""
    path.write_text("")
    first = f'test -e {path} && rm {path} && kill -9 $$; exec "$@"'
    return ["sh", "-c", first, "sh", *command]


def test_a_worker_that_is_killed_while_it_starts_is_started_once_more(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "INTERPRETER", _dies_once(supervisor.INTERPRETER, tmp_path / "first"))
    with Worker(HANGING) as worker:
        assert worker.call(os.getpid) != os.getpid()
    assert not (tmp_path / "first").exists()
    monkeypatch.setattr(supervisor, "INTERPRETER", ["sh", "-c", "kill -9 $$"])
    with (
        Worker(HANGING) as worker,
        pytest.raises(ProcessError, match=r"^no worker can be started \(its process was kil"),
    ):
        worker.call(os.getpid)


def test_a_worker_that_has_begun_takes_the_first_call_and_is_replaced_if_it_was_killed(monkeypatch):
    started, start = [], Worker._start

    def counted(worker):
        started.append(start(worker))
        return started[-1]

    monkeypatch.setattr(Worker, "_start", counted)
    with Worker(HANGING) as worker:
        worker.begin()
        assert worker.call(os.getpid) == worker.call(os.getpid) != os.getpid()
        assert len(started) == 1
    with Worker(HANGING) as worker:
        worker.begin()
        started[-1].kill()
        assert worker.call(os.getpid) != os.getpid()
        assert len(started) == 3
    with Worker(HANGING) as worker:
        worker.begin()
    assert [process.returncode for process in started] == 4 * [-signal.SIGKILL]


def test_a_run_starts_its_worker_before_it_reads_its_rows_unless_all_models_are_in_memory(monkeypatch):
    begun = []
    monkeypatch.setattr(Worker, "begin", lambda worker: begun.append(worker))
    for candidates, times in (([("a", None, None)], 0), (["a/b", ("a", None, None)], 1)):
        with pytest.raises(TargetError, match="no-such-file"):
            hf_leep.rank(candidates, "no-such-file.csv")
        assert len(begun) == times


def test_rows_are_opened_once_more_if_the_worker_is_lost_meanwhile():
    calls = []
    with Worker(HANGING) as worker:

        def prepare(times):
            calls.append(1)
            if len(calls) <= times:
                worker.call(signal.raise_signal, signal.SIGKILL)

        worker.prepare("rows", lambda: prepare(1))
        worker.prepare("rows", lambda: prepare(1))  # nothing to do
        assert len(calls) == 2
        with pytest.raises(ProcessError, match=r"^the worker cannot read the rows \(its process was killed"):
            worker.prepare("others", lambda: prepare(9))
        assert len(calls) == 4


def test_an_error_of_a_call_is_raised_here_and_ends_no_worker():
    with Worker(HANGING) as worker:
        process = worker.call(os.getpid)
        with pytest.raises(CandidateError, match=r"^FileNotFoundError: .*/no/such/file") as raised:
            worker.call(os.stat, "/no/such/file")
        assert not isinstance(raised.value, WorkerError)
        with pytest.raises(UserError, match="device 'mps' is not available here"):
            worker.call(check_available, "mps")
        assert worker.call(os.getpid) == process


ORPHAN = """
import os, signal
from hf_leep.runs.supervisor import Worker
worker = Worker(60)
print(worker.call(os.getpid), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_the_process_that_started_it(python):
    import psutil

    done = subprocess.run([*python, "-c", ORPHAN], capture_output=True, text=True, timeout=HANGING)
    process, stop = int(done.stdout), time.monotonic() + HANGING
    while psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < stop
        time.sleep(0.02)


def test_a_candidate_that_ends_its_worker_is_a_row_until_it_is_retried(checkpoints, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path))
    five, seven = str(checkpoints["five"]), str(checkpoints["seven-classes"])
    alone = hf_leep.rank([seven], pictures, progress=False, execution=hf_leep.Execution(cache=False))
    run = Isolation.run

    def killed(self, target, request, writer, advance):
        if request.candidate.id == five:
            self.worker.call(signal.raise_signal, signal.SIGKILL)
        return run(self, target, request, writer, advance)

    monkeypatch.setattr(Isolation, "run", killed)
    reports = [hf_leep.rank([five, seven], pictures, progress=False)]
    monkeypatch.setattr(Isolation, "run", run)
    reports.append(hf_leep.rank([five, seven], pictures, progress=False))
    why = "its process was killed, as by the kernel when memory runs out"
    assert [report.candidates[1]["reason"] for report in reports] == [
        why,
        f"in an earlier run, {why}; execution.retry tries it again",
    ]
    for report in reports:
        assert report.candidates[0]["scores"] == alone.candidates[0]["scores"]
    retry = hf_leep.rank([five, seven], pictures, progress=False, execution=hf_leep.Execution(retry=True))
    assert retry.exit_code == 0
    assert not list((tmp_path / "attempts").iterdir())
    assert not list((tmp_path / "extractions").glob("*.partial"))


def test_an_attempt_is_remembered_unless_it_comes_to_an_orderly_end(tmp_path):
    attempts = Attempts(tmp_path)

    def attempt(end):
        with attempts.running("key"):
            assert attempts.get("key") is None  # it is at work
            end()

    def raises(error):
        raise error

    for num_killed in (1, 2):
        if (child := os.fork()) == 0:
            attempt(lambda: os._exit(0))
        os.waitpid(child, 0)
        assert attempts.get("key") == Attempt(None, num_killed)
    for error, known in (
        (KeyboardInterrupt(), Attempt(None, 2)),
        (WorkerError("it fell"), Attempt("it fell")),
        (CandidateError("no head"), None),
    ):
        with pytest.raises(type(error)):
            attempt(lambda error=error: raises(error))
        assert attempts.get("key") == known
    attempt(lambda: None)
    assert Attempts(None).get("key") is None


def test_a_worker_that_is_killed_beside_others_leaves_a_suspect(tmp_path):
    attempts = Attempts(tmp_path)
    for error, known in (
        (WorkerError("it was killed", out_of_memory=True), Attempt(None, 0)),
        (CandidateError("no memory", out_of_memory=True), None),
        (WorkerError("it crashed"), Attempt("it crashed")),
        (WorkerError("it was killed", out_of_memory=True), Attempt("it crashed")),  # as before
    ):
        with pytest.raises(type(error)), attempts.running("key", blame=False):
            raise error
        assert attempts.get("key") == known


def test_a_candidate_at_which_a_run_was_killed_is_tried_again_last_and_then_no_more(
    checkpoints, pictures, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(Store, "default_root", staticmethod(lambda: tmp_path))
    names = [str(checkpoints["five"]), str(checkpoints["seven-classes"])]
    run = Isolation.run

    def dying(self, target, request, writer, advance):
        if request.candidate.id == names[0]:
            os._exit(0)
        return run(self, target, request, writer, advance)

    for _ in range(2):
        if (child := os.fork()) == 0:
            try:
                Isolation.run = dying
                hf_leep.rank(names, pictures, progress=False)
            finally:
                os._exit(1)
        os.waitpid(child, 0)
    caplog.clear()
    report = hf_leep.rank(names, pictures, progress=False)
    assert [c["id"] for c in report.candidates] == names[::-1]  # the second run came to it
    assert report.candidates[0]["run"]["from_store"]
    assert report.candidates[1]["reason"].startswith("2 runs were killed while they were at it")


REGISTERED = """
import sys
from pathlib import Path
from hf_leep.runs.isolation import Isolation
from hf_leep.runs.supervisor import Worker
from transformers import AutoConfig, PreTrainedConfig

class Mine(PreTrainedConfig):
    model_type = "mine"

isolation, folder = Isolation(None, Worker(60)), Path(sys.argv[1])
config = folder / "config.json"
config.write_text('{"model_type": "mine"}')
assert isolation.holds(folder)
AutoConfig.register("mine", Mine)
assert not isolation.holds(folder)
config.write_text('{"model_type": "resnet"}')
assert isolation.holds(folder)
"""


def test_a_checkpoint_of_a_class_that_the_caller_registered_is_run_in_its_own_process(python, tmp_path):
    command = [*python, "-c", REGISTERED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGING)
    assert done.returncode == 0, done.stderr


INTERRUPTED = """
import os, sys
from hf_leep import cli
from hf_leep.runs.isolation import Isolation

number, run, calls = int(sys.argv.pop(1)), Isolation.run, []

def interrupted(self, *arguments):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), number)
    return run(self, *arguments)

Isolation.run = interrupted
cli.main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("number", "ignored", "code"),
    [(signal.SIGINT, False, 130), (signal.SIGTERM, False, 143), (signal.SIGHUP, False, 129), (signal.SIGHUP, True, 3)],
)
def test_a_signal_ends_a_run_with_a_report_of_what_is_finished(
    python, checkpoints, pictures, tmp_path, number, ignored, code
):
    pictures.to_parquet(tmp_path / "rows.parquet")
    models = [str(checkpoints[name]) for name in ("five", "seven-classes", "regression")]  # the plan refuses the last
    call = [
        "rank",
        "--dataset",
        str(tmp_path / "rows.parquet"),
        "--output",
        str(tmp_path / "out"),
        "--models",
        *models,
    ]
    done = subprocess.run(
        [*python, "-c", INTERRUPTED, str(int(number)), *call],
        env={**os.environ, "HF_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=HANGING,
        preexec_fn=lambda: signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL),
    )
    assert done.returncode == code, done.stderr
    assert ("hat is finished is kept: run the same command again" in done.stderr) == (not ignored)
    found = json.loads((tmp_path / "out" / "report.json").read_text())["candidates"]
    assert [c["status"] for c in found] == ["ok", "ok" if ignored else "failed", "failed"]
    reasons = {Path(c["id"]).name: c["reason"] for c in found}
    assert (reasons["seven-classes"] or "").startswith("not run: ") == (not ignored)
    assert reasons["regression"].startswith("a regression head (1 output)")  # a reason once given is kept


def test_rows_that_find_no_room_on_the_disk_are_run_here_and_said_to_be(caplog):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    with Worker(HANGING) as worker:
        assert not worker.prepare("rows", full)
    assert caplog.messages == [
        "no worker can read the rows, which cannot be written for it ([Errno 28] No space left on device): candidates "
        "run in this process, and one that crashes ends the run"
    ]


def test_a_worker_that_never_gets_ready_is_given_up_with_what_it_has_started(monkeypatch, tmp_path):
    path = tmp_path / "started"
    started = f"sleep {HANGING} & echo $! > {path}.new; mv {path}.new {path}; exec sleep {HANGING}"  # holds its stdout
    monkeypatch.setattr(supervisor, "INTERPRETER", ["sh", "-c", started])
    monkeypatch.setattr(supervisor, "_START_SECONDS", 2)
    with Worker(HANGING) as worker, pytest.raises(ProcessError, match="^no worker can be started in 2 seconds$"):
        worker.call(os.getpid)
    os.kill(int(path.read_text()), signal.SIGKILL)  # it was not waited for


def test_a_type_of_model_that_is_no_text_is_not_looked_for(tmp_path):
    import transformers.models.auto  # noqa: F401 - without it nothing is registered

    (tmp_path / "config.json").write_text('{"model_type": ["resnet"]}')
    assert Isolation(None, Worker(HANGING)).holds(tmp_path)


def test_an_attempt_whose_thread_does_not_end_teaches_nothing(tmp_path):
    attempts, at_work, go_on = Attempts(tmp_path), threading.Event(), threading.Event()

    def attempt():
        with attempts.running("key"):
            at_work.set()
            go_on.wait(HANGING)

    thread = threading.Thread(target=attempt)
    thread.start()
    assert at_work.wait(HANGING)
    assert list((tmp_path / "attempts").iterdir())
    attempts.abandon()
    assert not list((tmp_path / "attempts").iterdir())
    (tmp_path / "attempts" / "key.json").write_text("by another run")
    go_on.set()
    thread.join()
    assert (tmp_path / "attempts" / "key.json").exists()  # the late end changes nothing
