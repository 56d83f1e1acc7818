"""A report without the paths of the machine that made it, for pages that others read and for pushes.

report.json in the folder of a report keeps whole paths, since `hf_leep.validate` reads the data set and the candidates
again. A path names the user, and means nothing on another machine.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import cast

from hf_leep.report.card.wording import short_names
from hf_leep.report.schema import ReportData
from hf_leep.text import is_absolute

_CLASS_NAMES = {"class_names", "explanation"}  # a class may be called /m/04rlf, as those of AudioSet are
_PART = r"""[^\s\\/'"`,;:()<>|]+"""
_HOME = re.compile(rf"(?<![\w.])(?:/home|/Users|/root|[A-Za-z]:\\Users)(?:[\\/]{_PART})?(?=[\s'\"`,;:()]|$)")
_QUOTED = re.compile(r"""(['"])(?:file://)?(?:[A-Za-z]:)?[\\/][^'"\n]*[\\/]([^'"\\/\n]+)[\\/]?\1""")
_BARE = re.compile(rf"(?<![\w.~:/\\-])(?:file://)?(?:/{_PART}/|[A-Za-z]:[\\/]|\\\\)(?:{_PART}[\\/])*(?=({_PART})?)")


def without_paths(data: ReportData) -> ReportData:
    """The same report with names where it has absolute paths: of candidates, of the data set, and inside sentences.

    A candidate is called as on every page (`short_names`), and anything else by the last part of its path. Relative
    paths stay as they were given.

    Args:
        data: the content of report.json.
    """
    known = {data["target"]["dataset"]: _last(data["target"]["dataset"])}
    known |= {c["id"]: name for c, name in zip(data["candidates"], short_names(data["candidates"]), strict=True)}
    known = {path: name for path, name in known.items() if is_absolute(path) and len(path) > 1}
    folders = {f"{folder}{os.sep}": "" for path in known for folder in PurePath(path).parents if len(folder.parts) > 1}
    replaced = {f"{os.path.expanduser('~')}{os.sep}": "~/", **folders, **known}
    longest_first = sorted(replaced, key=len, reverse=True)
    inside = re.compile(rf"(?<![\w.])(?:file://)?({'|'.join(map(re.escape, longest_first))})")

    def cleaned(text: str) -> str:
        if text in known:
            return known[text]
        text = inside.sub(lambda found: replaced[found[1]], text)
        text = _QUOTED.sub(r"\1\2\1", _HOME.sub("~", text))
        return _BARE.sub(lambda found: "" if found[1] else _last(found[0]), text)

    return cast(ReportData, _changed(data, cleaned))


def _changed(value: object, change: Callable[[str], str]) -> object:
    """Plain data with each of its texts changed, but for names of classes."""
    if isinstance(value, Mapping):
        return {key: inner if key in _CLASS_NAMES else _changed(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_changed(inner, change) for inner in value]
    return change(value) if isinstance(value, str) and ("/" in value or "\\" in value) else value


def _last(path: str) -> str:
    """The last part of a path, of this system or of Windows."""
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path
