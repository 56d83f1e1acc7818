"""How arguments may be written, and how help pages show them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command whose help page shows flags as flags, which take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options and arguments, as a help page lists them."""
        return _with_flags(super().get_params(ctx))


class Commands(TyperGroup):
    """The commands; the help page shows flags as flags, which take no value."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The options, as a help page lists them."""
        return _with_flags(super().get_params(ctx))


def _with_flags(parameters: list[Any]) -> list[Any]:
    """Parameters of which no flag is shown with the type of a value."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
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
