"""Small pictures of some rows, for the page of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from hf_leep.data.rows import Rows
from hf_leep.errors import TargetError

EDGE = 96  # pixels of the longer side, at most
_QUALITY = 80  # of the JPEG
_DEEP = ("I", "F")  # modes of one channel with more than 8 bits start with these


def thumbnails(rows: Rows, row_ids: Sequence[int]) -> dict[int, bytes]:
    """Make small JPEGs of some rows. They hold pixels alone: no EXIF, colour profile, name or comment.

    Args:
        rows: the rows.
        row_ids: positions in the split of those to draw.

    Returns:
        Position in the split → JPEG, at most 96 pixels wide and high. Rows that hold no image, or one that cannot be
        decoded, are left out.
    """
    made = {}
    for row_id in row_ids:
        index = int(np.searchsorted(rows.row_ids, row_id))
        if index == len(rows) or rows.row_ids[index] != row_id:
            continue
        try:
            image = _image(rows[index])
        except TargetError:  # it was decoded before, but its file may be gone since
            continue
        if image is not None:
            made[row_id] = _drawn(image)
    return made


def _image(row: Mapping[str, object]) -> Image.Image | None:
    return next((value for value in row.values() if isinstance(value, Image.Image)), None)


def _drawn(image: Image.Image) -> bytes:
    """An image as a small JPEG, on white where it is transparent."""
    if image.mode.startswith(_DEEP):
        image = _eight_bits(image)
    image = image.convert("RGBA")
    image.thumbnail((EDGE, EDGE))
    drawn = Image.new("RGB", image.size, "white")  # a new image, so that nothing but pixels comes along
    drawn.paste(image, mask=image)
    content = BytesIO()
    drawn.save(content, "JPEG", quality=_QUALITY)
    return content.getvalue()


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey values from black, the darkest of the image, to white, the brightest."""
    values = np.asarray(image, dtype=np.float64)
    values = np.where(np.isfinite(values), values, 0.0)
    low, high = float(values.min()), float(values.max())
    return Image.fromarray(np.uint8(255 * (values - low) / (high - low or 1.0)), "L")
