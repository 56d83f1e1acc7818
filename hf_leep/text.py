"""Numbers and names as words. Names come from strangers: nothing in them may act as markup."""

from __future__ import annotations

import re

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def plain(value: object) -> str:
    """One line without control characters: a terminal escape or a newline becomes a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def code(value: object) -> str:
    """A name as Markdown code, safe in a table cell: inside code nothing but a backtick or a pipe could act."""
    text = plain(value).replace("`", "'").replace("|", "¦")
    return f"`{text}`" if text else "` `"


def prose(value: object) -> str:
    """A sentence as Markdown text, with every character that could act escaped."""
    return _MARKUP.sub(r"\\\1", plain(value)).replace("://", ":\u200b//")  # no bare link


def number(value: float | None, digits: int = 3) -> str:
    """A score with a real minus sign; a dash where there is none."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) != 0 else text.lstrip("-")


def count(value: float | None) -> str:
    """A large count for people: 15.7k or 4.2M; a dash where it is not known."""
    if value is None:
        return "–"
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def classes(value: int | None) -> str:
    """A number of classes, exact: 1,001; a dash where there are none."""
    return "–" if value is None else f"{value:,}"


def size(num_bytes: float) -> str:
    """A size on disk for people, in powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def duration(seconds: float) -> str:
    """A duration for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
