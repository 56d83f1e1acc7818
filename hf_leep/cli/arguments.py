"""How arguments may be written, and how help pages show them."""

from __future__ import annotations

from typing import Any, Literal, get_origin

from typer.core import TyperCommand, TyperGroup

from hf_leep.measures import MEASURES


class Command(TyperCommand):
    """A command with a help page that is readable on 60 columns, and shows flags as flags, which take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments, as a help page lists them."""
        return _shown(super().get_params(ctx))


class Commands(TyperGroup):
    """The commands, with such a help page."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, as a help page lists them."""
        return _shown(super().get_params(ctx))


def _shown(parameters: list[Any]) -> list[Any]:
    """Parameters as a help page shows them: a flag without a value; one of several names without a list of them.

    Their words list the names, where a short line has place for them.
    """
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
        elif get_origin(parameter.type_descriptor.annotation) is Literal:
            parameter.metavar = "<name>"
    return parameters


class SpaceSeparated(Command):
    """Let ``--models A B`` stand for ``--models A --models B``, and ``--measures a b`` for ``--measures a,b``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite the arguments before they are parsed."""
        spread: list[str] = []
        option = ""
        for word in args:
            if word.startswith("-") and word != "-":
                option = word
                spread += [] if option == "--models" else [word]
            elif option == "--models":
                spread += ["--models", word]
            elif option == "--measures" and spread[-1] != "--measures":
                spread[-1] += f",{word}"
            else:
                spread.append(word)
        return super().parse_args(ctx, spread)


def measures_that_begin_with(incomplete: str) -> list[str]:
    """What a shell offers for ``--measures``: names for the last of those separated by commas, each once."""
    *before, last = incomplete.split(",")
    return [",".join([*before, name]) for name in MEASURES if name.startswith(last) and name not in before]


def orders_that_begin_with(incomplete: str) -> list[str]:
    """What a shell offers for ``--sort-by``."""
    return [name for name in ("auto", *MEASURES) if name.startswith(incomplete)]
