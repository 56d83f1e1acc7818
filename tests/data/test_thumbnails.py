"""Thumbnails hold pixels alone, whatever the images hold."""

import io

import datasets
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from hf_leep.data.rows import Rows
from hf_leep.data.thumbnails import thumbnails


def rows(*images, row_ids=None):
    found = datasets.Dataset.from_dict({"image": list(images)}, datasets.Features({"image": datasets.Image()}))
    return Rows(found, np.arange(len(images)) if row_ids is None else np.array(row_ids))


def encoded(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return {"bytes": content.getvalue(), "path": None}


def opened(content):
    return Image.open(io.BytesIO(content))


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(1).integers(0, 256, shape).astype(dtype)


def test_a_photograph_becomes_small_and_says_nothing_of_where_it_was_taken():
    exif = Image.Exif()
    exif[0x010E] = "the address of my house"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)  # GPS
    photograph = Image.fromarray(noise(600, 900, 3))
    stored = encoded(photograph, "JPEG", exif=exif, comment=b"my house", icc_profile=b"profile of my camera")
    assert b"my house" in stored["bytes"]
    (content,) = thumbnails(rows(stored), [0]).values()
    made = opened(content)
    assert (made.format, made.mode, made.size) == ("JPEG", "RGB", (96, 64))
    assert not made.getexif()
    assert set(made.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert b"my " not in content
    assert len(content) < 16_000


def test_texts_in_a_png_do_not_come_along():
    about = PngImagePlugin.PngInfo()
    about.add_text("Author", "somebody")
    (content,) = thumbnails(rows(encoded(Image.new("RGB", (20, 10), "red"), "PNG", pnginfo=about)), [0]).values()
    assert b"somebody" not in content
    assert opened(content).size == (20, 10)  # small ones are not made larger


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (Image.new("RGBA", (40, 40), (255, 0, 0, 0)), (255, 255, 255)),  # transparent
        (Image.new("RGBA", (40, 40), (255, 0, 0, 255)), (254, 0, 0)),
        (Image.new("LA", (40, 40), (10, 255)), (10, 10, 10)),
        (Image.new("L", (40, 40), 200), (200, 200, 200)),
        (Image.new("1", (40, 40), 1), (255, 255, 255)),
        (Image.new("CMYK", (40, 40), (0, 0, 0, 255)), (0, 0, 0)),
        (Image.new("RGB", (40, 40), (0, 0, 255)).convert("P"), (0, 0, 254)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_every_mode_keeps_its_colour(image, colour):
    kind = "TIFF" if image.mode == "CMYK" else "PNG"
    (content,) = thumbnails(rows(encoded(image, kind)), [0]).values()
    assert np.abs(np.asarray(opened(content), dtype=int) - colour).max() <= 3


def test_sixteen_bits_are_spread_from_black_to_white():
    deep = Image.fromarray(np.uint16([[1000, 1000, 3000, 3000]] * 4).repeat(8, axis=0).repeat(8, axis=1))
    (content,) = thumbnails(rows(encoded(deep, "PNG")), [0]).values()
    made = np.asarray(opened(content).convert("L"), dtype=int)
    assert made[:, :14].max() < 10
    assert made[:, 18:].min() > 245


def test_rows_are_found_by_their_number_in_the_split_and_broken_ones_are_left_out():
    colours = [encoded(Image.new("L", (8, 8), 40 * k), "PNG") for k in range(5)]
    colours[3] = {"bytes": b"no image", "path": None}
    made = thumbnails(rows(*colours, row_ids=[1, 3, 4]), [4, 1, 0, 3, 99])
    assert list(made) == [4, 1]  # 0 and 99 are not among the chosen rows
    assert [opened(made[k]).getpixel((4, 4))[0] // 10 for k in (1, 4)] == [4, 16]


def test_what_is_no_image_has_none():
    texts = Rows(datasets.Dataset.from_dict({"text": ["a", "b"]}), np.arange(2))
    assert thumbnails(texts, [0, 1]) == {}
