"""Decode JPEGs at reduced size, which takes a fraction of the time where they are much larger than models need.

A JPEG can be decoded at 1/2, 1/4 or 1/8 of its size without decoding all of it. The values differ from those of the
whole image that is then resized, so this is done by choice alone, and for all candidates alike.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 448
"""Pixels that the shorter side keeps at least: twice what most image classifiers read."""
_ORIENTATION = 0x0112  # of EXIF


def decode(stored: object) -> Image:
    """Decode an image as `datasets` does, but a JPEG at the smallest size whose shorter side keeps `SIDE` pixels.

    Args:
        stored: ``{"bytes": ..., "path": ...}``, as an image is stored.

    Raises:
        Exception: what Pillow raises.
    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    if not isinstance(stored, dict):
        raise TypeError("there is no image")
    image = Pillow.open(stored["path"] if stored["bytes"] is None else io.BytesIO(stored["bytes"]))
    image.draft(None, (SIDE, SIDE))
    image.load()
    return ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION) is not None else image
