"""The command line: arguments → one call of the Python API → exit code."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Sequence

import typer

from hf_leep.cli import commands, rank
from hf_leep.cli.arguments import Command, Commands, SpaceSeparated
from hf_leep.cli.examples import EXAMPLES
from hf_leep.cli.output import complain
from hf_leep.errors import ChoiceError, HfLeepError, UserError
from hf_leep.runs import interruptions

_INTERRUPTED = 130
EVERYWHERE = ("--quiet", "-q", "--verbose", "-v")  # options of hf-leep itself that may follow a command
_RESUMED = ("rank", "validate")
_READERS = ("explain", "cache", "verify", "doctor")
_PUSHES = ("push", "push-metric")

app = typer.Typer(
    name="hf-leep",
    cls=Commands,
    help="Which checkpoint on the Hub should I fine-tune for my data set?",
    no_args_is_help=True,
)
app.callback()(commands.root)
app.command(cls=SpaceSeparated, epilog=EXAMPLES["rank"])(rank.rank)
for _command in (
    commands.demo,
    commands.card,
    commands.explain,
    commands.validate,
    commands.push,
    commands.push_metric,
    commands.cache,
    commands.verify,
    commands.doctor,
):
    app.command(cls=Command, epilog=EXAMPLES[_command.__name__.replace("_", "-")])(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 all candidates scored, 3 some, 1 none, 2 the call or the data set was wrong."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; an error or an interruption is one line on stderr.

    After Ctrl-C, SIGTERM or SIGHUP the exit code is 130, 143 or 129.
    """
    with interruptions.handled() as interruption:
        code = _run(arguments)
    if interruption.number is None and code != _INTERRUPTED:
        return code
    with contextlib.suppress(OSError):  # a closed terminal
        complain(_what_is_kept(arguments))
    return 128 + (interruption.number or signal.SIGINT)


def _what_is_kept(arguments: Sequence[str]) -> str:
    """What an interruption leaves, and how to go on."""
    command = next((word for word in arguments if word not in EVERYWHERE), "")
    if "--no-cache" in arguments:
        return "interrupted. Nothing is kept but what is in the report (--no-cache)"
    if command in _RESUMED:
        return "interrupted. What is finished is kept: run the same command again to continue"
    if command in _PUSHES:
        return "interrupted. What was committed stays: the same command pushes what is missing"
    if command == "cache" and "--clear" in arguments:
        return "interrupted. Some of the store may be left: the same command removes the rest"
    return "interrupted. Nothing was changed" if command in _READERS else "interrupted"


def _run(arguments: Sequence[str]) -> int:
    everywhere = [word for word in arguments if word in EVERYWHERE]
    rest = [word for word in arguments if word not in EVERYWHERE]
    try:
        return int(app([*everywhere, *rest], standalone_mode=False) or 0)
    except typer.TyperException as error:
        message = _nearest_first(error).replace("Value error, ", "")
        message += _given(error, message)
        complain(message or "name a command; hf-leep --help lists them")
        return int(error.exit_code)
    except HfLeepError as error:
        complain(error.for_command_line())
        if isinstance(error, ChoiceError):
            complain(f"try {shlex.join(['hf-leep', *arguments, f'--{error.name}', error.proposal])}")
        return 2 if isinstance(error, UserError) else 1
    except KeyboardInterrupt:
        return _INTERRUPTED


def _nearest_first(error: typer.TyperException) -> str:
    """The message of an error of the call; the options that an unknown one may be come nearest first."""
    unknown, near = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    if unknown is None or not near:
        return str(error.format_message())
    return f"No such option: {unknown} (did you mean {' or '.join(near)}?)"


def _given(error: typer.TyperException, message: str) -> str:
    """The value of an option that cannot be read, to end a message with that does not show it."""
    errors = getattr(error.__cause__, "errors", None)  # of pydantic, by which typer reads values
    value = f"{errors()[0]['input']!r:.60}" if callable(errors) else ""
    return f" (got {value})" if value and value not in message else ""
