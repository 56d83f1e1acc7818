"""What is printed where a terminal cannot show it, and how much of it."""

import io
import os
import subprocess
import sys

import datasets
import pytest

from hf_leep import cli
from hf_leep.cli.output import say
from hf_leep.data import source
from hf_leep.runs import bars
from tests.warm import HANGING


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("−0.15 ± 0.05, ranks 4–7", "-0.15 ~ 0.05, ranks 4-7"),
        ("92\u00a0%, 9.6×, P̂(y|z), Ĥ(Y)", "92 %, 9.6x, P^(y|z), H(Y)"),
        ("✗ café → 日本 ✓", "x cafe > ?? +"),
        ("Kendall’s τ ≥ ² “…”", 'Kendall\'s t > 2 "*"'),
    ],
)
def test_characters_that_a_terminal_lacks_have_forms_in_ascii(text, expected, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    say(text)
    stream.flush()
    assert stream.buffer.getvalue().decode("ascii") == f"{expected}\n"


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"NO_COLOR": "1"}, {"TERM": "dumb"}],
    ids=["ASCII", "no colour", "dumb"],
)
@pytest.mark.parametrize("width", [60, 80, 200])
def test_every_terminal_shows_whole_lines_without_codes(python, tmp_path, environment, width):
    home = {"HF_HOME": str(tmp_path), "COLUMNS": str(width)}
    command = [*python, "-m", "hf_leep", "cache"]
    done = subprocess.run(
        command, env={**os.environ, **home, **environment}, capture_output=True, timeout=HANGING, check=True
    )
    assert done.stdout.startswith(str(tmp_path).encode())
    assert b"\x1b" not in done.stdout
    assert b"extractions       0        0 B\n" in done.stdout


@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize("width", [60, 133])
def test_a_line_has_the_characters_of_the_terminal_and_in_a_pipe_as_many_as_it_takes(term, width):
    import fcntl
    import pty
    import struct
    import termios

    code = "from hf_leep.cli.output import columns, say; say('word ' * 60); print(columns(), columns(error=True))"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"TERM": term}
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    with open(theirs, "wb") as terminal:
        subprocess.run([sys.executable, "-c", code], env=environment, stdout=terminal, timeout=HANGING, check=True)
    lines = os.read(ours, 10_000).decode().splitlines()
    os.close(ours)
    assert width - 6 < max(len(line.rstrip()) for line in lines) <= width
    assert lines[-1] == f"{width} None"


def test_quiet_and_verbose_may_stand_anywhere_and_quiet_hides_the_plan(client, hub, checkpoints, pictures, tmp_path):
    pictures.to_parquet(tmp_path / "pictures.parquet")
    arguments = ["--dataset", tmp_path / "pictures.parquet", "--models", checkpoints["five"], checkpoints["headless"]]
    shown = {"HF_HUB_DISABLE_PROGRESS_BARS": "0"}
    told = client("rank", *arguments, **shown)
    assert "1 to run, 1 to run for features alone" in told.stderr
    assert "[1/2] five: leep " in told.stderr  # a line a candidate, since there is no terminal
    # In an interpreter of its own, since huggingface_hub reads the setting when it is imported.
    done = client("rank", *arguments, "--quiet", interpreter=(sys.executable,), **shown)
    assert (done.returncode, done.stderr) == (3, "")
    assert "five" in done.stdout
    assert "to run" not in client("-q", "rank", *arguments).stderr
    assert client("rank", *arguments, "--verbose").returncode == 3


def test_quiet_hides_the_bars_of_datasets_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(source, "are_progress_bars_disabled", lambda: False)
    with source.bars(True):
        assert not datasets.are_progress_bars_disabled()
    monkeypatch.setattr(source, "are_progress_bars_disabled", lambda: True)  # as --quiet does
    with source.bars(True):
        assert datasets.are_progress_bars_disabled()
    assert not datasets.are_progress_bars_disabled()


@pytest.mark.parametrize(("width", "length"), [(40, 10), (60, 12), (80, 30), (200, 30)])
def test_a_name_leaves_room_for_its_bar(width, length, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    assert bars.label("x" * 50) == "x" * length
    assert bars.label("short") == "short"


@pytest.mark.parametrize("module", ["numpy", "typer"])
def test_an_interruption_of_the_imports_is_a_line(module, tmp_path):
    (tmp_path / f"{module}.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)"
    )
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "hf_leep", "doctor"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, timeout=HANGING)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"hf-leep: interrupted. Nothing was changed\n")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["rank", "--dataset", "x"], "What is finished is kept: run the same command again to continue"),
        (["--quiet", "validate", "x"], "What is finished is kept: run the same command again to continue"),
        (["rank", "--no-cache"], "Nothing is kept but what is in the report (--no-cache)"),
        (["push", "x", "me/y"], "What was committed stays: the same command pushes what is missing"),
        (["verify", "-q"], "Nothing was changed"),
        (["cache"], "Nothing was changed"),
        (["cache", "--clear"], "Some of the store may be left: the same command removes the rest"),
    ],
)
def test_an_interruption_says_what_is_kept(command, said, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    assert cli.run(command) == 130
    assert capsys.readouterr().err == f"hf-leep: interrupted. {said}\n"
