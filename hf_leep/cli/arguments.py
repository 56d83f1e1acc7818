"""How the arguments of ``rank`` may be written."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


def _show_as_flag(parameter: Any) -> Any:
    """Let a help page show a flag, if this is one, without the type of a value."""
    if getattr(parameter, "is_flag", False):
        parameter.metavar = ""
    return parameter


class Command(TyperCommand):
    """A command whose help page shows flags as flags, which take no value."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        for parameter in self.params:
            _show_as_flag(parameter)

    def get_help_option(self, ctx: Any) -> Any:
        """``--help``, which is a flag, too."""
        return _show_as_flag(super().get_help_option(ctx))


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
