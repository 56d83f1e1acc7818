"""Help pages, their examples, and completion."""

import os
import shlex
import subprocess
from typing import Literal, get_args, get_origin

import pytest
from typer.main import get_command

from hf_leep import cli
from hf_leep.cli.examples import EXAMPLES
from tests.warm import HANGING

COMMANDS = get_command(cli.app).commands


def lines(command):
    return [line for line in EXAMPLES[command].split("\n\n") if line.startswith("hf-leep ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_help_page_ends_with_examples_that_the_command_takes(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.run([command, "--help"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert lines(command)
    for line in lines(command):
        assert line in page
        program, name, *arguments = shlex.split(line)
        assert (program, name) == ("hf-leep", command)
        COMMANDS[command].make_context(command, arguments)  # raises an error for what it does not know


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_flags_are_shown_without_the_type_of_a_value(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.run([*filter(None, [command]), "--help"]) == 0
    page = capsys.readouterr().out
    assert "--help" in page
    assert "<bool>" not in page


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_nothing_is_cut_off_on_sixty_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert cli.run([*filter(None, [command]), "--help"]) == 0
    page = capsys.readouterr().out
    assert "…" not in page
    options = COMMANDS[command].params if command else []
    assert all(f"{name} " in page for one in options for name in one.opts if name.startswith("--"))
    assert max(map(len, page.splitlines())) <= 60


def test_names_to_choose_from_are_in_the_words_of_an_option(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for name, command in COMMANDS.items():
        assert cli.run([name, "--help"]) == 0
        page = capsys.readouterr().out
        for one in command.params:
            names = get_args(one.type_descriptor.annotation)
            if get_origin(one.type_descriptor.annotation) is Literal:
                start = page.index(f" --{one.name.replace('_', '-')} ")
                assert all(choice in page[start : start + 600] for choice in names), one.name


@pytest.mark.parametrize(
    ("shell", "asked"),
    [
        ("bash", {"COMP_WORDS": "hf-leep va", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "hf-leep va"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "hf-leep va", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
def test_a_shell_completes_commands(python, shell, asked):
    code = "import sys; sys.argv[:] = ['hf-leep']; from hf_leep import cli; cli.main([])"
    environment = {**os.environ, **asked, "_HF_LEEP_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(
        [*python, "-c", code], env=environment, capture_output=True, text=True, timeout=HANGING, check=True
    )
    assert "validate" in done.stdout
    assert "rank" not in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("--measures leep,pactran-", ["leep,pactran-dirichlet", "leep,pactran-gaussian"]),
        ("--measures leep,lee", []),
        ("--sort-by au", ["auto"]),
    ],
)
def test_a_shell_completes_measures(python, typed, offered):
    code = "import sys; sys.argv[:] = ['hf-leep']; from hf_leep import cli; cli.main([])"
    asked = {"COMP_WORDS": f"hf-leep rank {typed}", "COMP_CWORD": "3", "_HF_LEEP_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [*python, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, timeout=HANGING, check=True
    )
    assert sorted(done.stdout.split()) == offered


@pytest.mark.parametrize(("wrong", "near"), [("--modles", "--models or"), ("--max-sample", "--max-samples or")])
def test_a_misspelt_option_is_answered_with_the_nearest_first(wrong, near, capsys):
    assert cli.run(["rank", "--dataset", "x", wrong, "y"]) == 2
    assert capsys.readouterr().err.startswith(f"hf-leep: No such option: {wrong} (did you mean {near}")
