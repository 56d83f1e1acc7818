"""What the command line prints: results to stdout, everything else to stderr."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hf_leep.errors import UserError
from hf_leep.inference.processes import is_main

if TYPE_CHECKING:
    from rich.console import RenderableType

    from hf_leep.publish import Pushed
    from hf_leep.report import Report

_SIMPLER = "hf_leep.simpler"  # how characters that a terminal cannot show are replaced
_SHOWN_AS = {
    "±": "~",
    "−": "-",
    "–": "-",
    "…": "*",
    "×": "x",
    "→": ">",
    "≤": "<",
    "≥": ">",
    "√": "r",
    "✓": "+",
    "✗": "x",
    "■": "#",
    "τ": "t",
    "ρ": "r",
    "\u0302": "^",  # the hat of P̂
    "“": '"',
    "”": '"',
    "’": "'",
}
_WIDTH, _HEIGHT = 80, 25  # of a terminal that does not say
_NUM_NAMES = 4  # shown of a list of names


def _simpler(error: UnicodeError) -> tuple[str, int]:
    """Replace what cannot be encoded, mostly by as many characters, so that tables stay aligned."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    """A character that any terminal shows: é as e, ² as 2, a no-break space as a space."""
    base = unicodedata.normalize("NFKD", character)[0]
    return _SHOWN_AS.get(character, base if base.isascii() else "?")


codecs.register_error(_SIMPLER, _simpler)


def show_report(report: Report, output: Path | None, json: bool) -> None:
    """Save a report if there is a folder for it, and print it, even where it cannot be saved.

    Raises:
        UserError: it cannot be saved.
    """
    from hf_leep.report.card.table import terminal

    kept = output is not None and report.leaves_ranking(output)
    problem: UserError | None = None
    if output is not None:
        try:
            report.save(output)
        except UserError as error:  # such as a full disk: what was found out is printed all the same
            problem = error
    if json:
        print_json(report)
    say(terminal(report.data, columns(error=json or kept)), error=json or kept)
    if problem is not None:
        raise problem
    if kept:
        complain(f"nothing was ranked: the ranking in {output} stays, and the reasons are in {output}/failed.json")
    elif output is not None:
        say(f"Report: {output / 'README.md'}", error=json, wrap=False)


def print_json(report: Report) -> None:
    """Print exactly report.json, as bytes: a path that is not UTF-8 is kept."""
    sys.stdout.buffer.write(report.to_bytes())
    sys.stdout.flush()


def announce(pushed: Pushed, error: bool = False) -> None:
    """Print where something was pushed, after a warning about the private names that the page shows to others."""
    from hf_leep.text import plain

    if pushed.local_names:
        names, num_more = ", ".join(pushed.local_names[:_NUM_NAMES]), len(pushed.local_names) - _NUM_NAMES
        complain(
            f"note that the page names local folders, which others do not have: {names}"
            f"{f' and {num_more} more' * (num_more > 0)}"
        )
    if pushed.private_names and not pushed.private:
        names = ", ".join(pushed.private_names[:_NUM_NAMES])
        complain(f"note that the public page names private repositories: {names}")
    what = "Pushed" if pushed.changed else "Nothing to push, the repository has all of it"
    typer.echo(plain(f"{what}: {pushed.url}"), err=error)  # on one line, however long the address is
    if pushed.space_url is not None:
        typer.echo(plain(f"Space: {pushed.space_url}"), err=error)


def say(what: RenderableType, error: bool = False, wrap: bool = True) -> None:
    """Print something to stdout, or to stderr.

    Args:
        what: what to print.
        error: whether to print it to stderr.
        wrap: whether long lines are broken; a path is left whole, to be copied.
    """
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    if hasattr(stream, "reconfigure"):  # a terminal with another encoding shows others for what it lacks
        stream.reconfigure(errors=_SIMPLER)
    width = columns(error)
    height = None if width is None else _HEIGHT  # without one, rich takes 80 characters where TERM is dumb
    Console(highlight=False, stderr=error, width=width, height=height).print(
        what, markup=False, crop=False, soft_wrap=not wrap
    )


def columns(error: bool = False) -> int | None:
    """How many characters a line has: COLUMNS, or what the terminal says; None in a pipe or a file.

    Args:
        error: whether it is about stderr.
    """
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    stream = sys.stderr if error else sys.stdout
    try:
        return os.get_terminal_size(stream.fileno()).columns or _WIDTH
    except (OSError, ValueError):  # no terminal, or no file at all
        return None


def is_quiet() -> bool:
    """Whether only results and errors are printed (`--quiet`)."""
    return bool(os.environ.get("HF_LEEP_QUIET"))


def complain(message: str) -> None:
    """Print a message to stderr, only once: in the main process."""
    from hf_leep.text import plain

    if is_main():
        print(f"hf-leep: {plain(message)}", file=sys.stderr)
