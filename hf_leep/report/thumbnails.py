"""The thumbnails of a report: small pictures of the hardest rows, in a folder beside report.json."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from pathlib import Path

from hf_leep.report.schema import ReportData

FOLDER = "thumbnails"
_NAME = re.compile(rf"{FOLDER}/\d+\.jpg")
_START = b"\xff\xd8\xff"  # of a JPEG
_MAX_BYTES = 64 * 2**10  # of one; those of 96 pixels take a few thousand


def shown_rows(data: ReportData) -> list[int]:
    """The rows that a report shows as hardest, each once, those of the best candidates first; none but of images.

    Args:
        data: the content of report.json.
    """
    if data["target"]["modality"] != "image":
        return []
    found = (candidate["explanation"] for candidate in data["candidates"])
    return list(dict.fromkeys(example["row"] for one in found if one for example in one["examples"]))


def files(thumbnails: Mapping[int, bytes]) -> dict[str, bytes]:
    """Path in the folder of a report → content.

    Args:
        thumbnails: row → JPEG.
    """
    return {f"{FOLDER}/{row}.jpg": content for row, content in thumbnails.items()}


def is_one(path: str) -> bool:
    """Whether a path in the folder or the repository of a report is that of a thumbnail."""
    return _NAME.fullmatch(path) is not None


def left_in(folder: Path) -> list[Path]:
    """The thumbnails that a folder holds."""
    return [path for path in (folder / FOLDER).glob("*.jpg") if is_one(f"{FOLDER}/{path.name}")]


def read(folder: Path, data: ReportData) -> dict[int, bytes]:
    """Read the thumbnails of the rows that a report shows; what is no small JPEG is left out.

    Args:
        folder: the folder of the report.
        data: the content of its report.json.

    Returns:
        Row → JPEG, in the order of `shown_rows`.
    """
    if not (folder / FOLDER).is_dir():
        return {}
    found = {}
    for row in shown_rows(data):
        path = folder / FOLDER / f"{row}.jpg"
        try:
            status = path.lstat()
            if stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_BYTES:
                content = path.read_bytes()
                if content.startswith(_START):
                    found[row] = content
        except OSError:  # none of this row
            continue
    return found
