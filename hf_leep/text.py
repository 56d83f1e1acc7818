"""Numbers and names as words, and words as numbers.

Names come from other people's repositories: nothing in them may act as markup.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from hf_leep.errors import UserError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmbgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?", re.IGNORECASE)
_SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_ABSOLUTE = re.compile(r"/|[A-Za-z]:[\\/]|\\\\")
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def is_absolute(path: str) -> bool:
    """Whether a name is an absolute path, of this system or of Windows."""
    return bool(_ABSOLUTE.match(path))


def plain(value: object) -> str:
    """One line without control characters: each newline or terminal escape becomes a space."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def code(value: object) -> str:
    """A name as Markdown code that is safe in a table cell: backticks and pipes, which could end it, are replaced."""
    text = plain(value).replace("`", "'").replace("|", "¦")
    return f"`{text}`" if text else "` `"


def prose(value: object) -> str:
    """A sentence as Markdown text: what means something in Markdown or HTML is escaped, and a URL is no link."""
    return _MARKUP.sub(r"\\\1", plain(value)).replace("://", ":\u200b//")


def with_article(word: str) -> str:
    """A word with "a" or "an" before it, by its first letter."""
    return f"{'an' if word[:1] in 'AEIOUaeiou' else 'a'} {word}"


def form(number: int, one: str, several: str) -> str:
    """The form of a word that goes with a number: ``has`` for 1, ``have`` for 0 or 2."""
    return one if number == 1 else several


def counted(number: int, word: str) -> str:
    """A number and a word that takes an s in the plural: 1 row, 2,000 rows."""
    return f"{number:,} {word}{form(number, '', 's')}"


def first_few(items: Sequence[object]) -> str:
    """The first three of some items, and how many more there are."""
    named = "; ".join(map(str, items[:3]))
    return named + (f"; and {len(items) - 3} more" if len(items) > 3 else "")


def similar_path(missing: str) -> str:
    """The file or folder that a missing one may be, as `` (did you mean ./data?)``; empty if none has a similar name.

    Args:
        missing: the path of something that is not there.
    """
    path = Path(missing).expanduser()
    try:
        close = get_close_matches(path.name, sorted(os.listdir(path.parent)), n=1)
    except (OSError, ValueError):  # its folder is not there either, or cannot be read
        return ""
    return (
        f" (did you mean {plain(missing[: len(missing.rstrip('/')) - len(path.name)] + close[0])}?)" if close else ""
    )


def shortened(names: Sequence[str], width: int) -> list[str] | None:
    """Names cut to a width, with an ellipsis at their start or in their middle, all at the same place.

    Of the cuts that leave different names different, it is the one that cuts fewest words in two; of several such, the
    one that keeps most of the end.

    Args:
        names: the names.
        width: most characters of a name, at least 1.

    Returns:
        The names in the same order; None if every cut makes two different names equal.
    """
    different = set(names)
    found: dict[str, str] | None = None
    most_whole = -1
    for start in range(width):
        end = width - 1 - start
        cut = {name: name if len(name) <= width else f"{name[:start]}…{name[len(name) - end :]}" for name in different}
        whole = sum(_between_words(name, at) for name in different if len(name) > width for at in (start, -end))
        if whole > most_whole and len(set(cut.values())) == len(different):
            found, most_whole = cut, whole
    return None if found is None else [found[name] for name in names]


def _between_words(name: str, at: int) -> bool:
    """Whether a place of a name is its start or end, or beside a character that is neither letter nor digit."""
    return at == 0 or not (name[at - 1].isalnum() and name[at].isalnum())


def number(value: float | None, digits: int = 3) -> str:
    """A score with a minus sign (not a hyphen); a dash if there is none."""
    if value is None:
        return "–"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) != 0 else text.lstrip("-")


def percent(share: float) -> str:
    """A share as a percentage with up to four digits: 95 % for 0.95."""
    return f"{100 * share:.4g} %"


def count(value: float | None) -> str:
    """A large number in three digits: 15.7k or 4.2M; a dash if it is not known."""
    if value is None:
        return "–"
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def classes(value: int | None) -> str:
    """A number of classes with all its digits: 1,001; a dash if there are none."""
    return "–" if value is None else f"{value:,}"


def size(num_bytes: float) -> str:
    """A size on disk in three digits, with units that are powers of 1,000."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def duration(seconds: float) -> str:
    """A duration: 2.3 s, 1 min 1 s, 20 min or 1 h 2 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    parts = [(hours, "h"), (left, "min")] if hours else [(minutes, "min"), (rest, "s")]
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount)


def parse_size(value: str | int, name: str) -> int:
    """Read a count or a size such as ``100M`` or ``20GB`` as a whole number.

    Args:
        value: the count or size.
        name: what to call it in the message.

    Raises:
        UserError: it cannot be read.
    """
    matched = _SIZE.fullmatch(str(value).strip())
    if matched is None or float(matched[1]) <= 0:
        raise UserError(f"{name} is {value!r}; give a number such as 100M or 20GB")
    return int(float(matched[1]) * _UNITS[matched[2].lower()])


def parse_duration(value: str | float, name: str) -> float:
    """Read a duration such as ``90s``, ``20m`` or ``1h`` in seconds; a number alone is one of seconds.

    Args:
        value: the duration.
        name: what to call it in the message.

    Raises:
        UserError: it cannot be read, or is not positive.
    """
    matched = _DURATION.fullmatch(str(value).strip())
    if matched is None or float(matched[1]) <= 0:
        raise UserError(f"{name} is {value!r}; give a duration such as 90s, 20m or 1h")
    return float(matched[1]) * _SECONDS[(matched[2] or "").lower()]
