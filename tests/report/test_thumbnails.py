"""The thumbnails beside report.json: kept with their report, gone with it, and nobody else's."""

import base64
import io
import os
from dataclasses import replace

import pytest
from PIL import Image

from hf_leep import cli
from hf_leep.report import Report
from hf_leep.report.thumbnails import shown_rows


def jpeg(colour):
    content = io.BytesIO()
    Image.new("RGB", (9, 9), colour).save(content, "JPEG")
    return content.getvalue()


@pytest.fixture
def pictured(report):
    """A report with a thumbnail of each row that it shows."""
    return Report(report, {row: jpeg((row % 256, 0, 0)) for row in shown_rows(report)})


def names(folder):
    return sorted(path.name for path in (folder / "thumbnails").iterdir())


def test_rows_are_those_that_the_candidates_show(report):
    rows = [e["row"] for c in report["candidates"] if c["explanation"] for e in c["explanation"]["examples"]]
    assert shown_rows(report) == list(dict.fromkeys(rows))
    report["target"]["modality"] = "token"
    assert shown_rows(report) == []


def test_card_keeps_them_and_shows_them(pictured, tmp_path):
    folder = pictured.save(tmp_path / "report")
    page = (folder / "report.html").read_bytes()
    assert all(base64.b64encode(content) in page for content in pictured.thumbnails.values())
    assert names(folder) == sorted(f"{row}.jpg" for row in pictured.thumbnails)
    (folder / "report.html").unlink()
    assert cli.run(["card", str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == page
    assert Report.load(folder).thumbnails == pictured.thumbnails


def test_those_of_an_earlier_report_are_removed(pictured, report, tmp_path):
    folder = pictured.save(tmp_path / "report")
    kept = dict(list(pictured.thumbnails.items())[:2])
    replace(pictured, thumbnails=kept).save(folder)
    assert names(folder) == sorted(f"{row}.jpg" for row in kept)
    (folder / "thumbnails" / "mine.txt").write_text("mine")
    Report(report).save(folder)
    assert names(folder) == ["mine.txt"]
    (folder / "thumbnails" / "mine.txt").unlink()
    Report(report).save(folder)
    assert not (folder / "thumbnails").exists()


def test_a_failed_run_leaves_them_where_it_leaves_the_ranking(pictured, report, tmp_path):
    folder = pictured.save(tmp_path / "report")
    Report({**report, "candidates": report["candidates"][3:]}).save(folder)
    assert (folder / "failed.json").exists()
    assert len(names(folder)) == len(pictured.thumbnails)


def test_pictures_of_somebody_else_in_a_new_folder_stay(report, tmp_path):
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "7.jpg").write_bytes(b"holiday")
    Report(report).save(tmp_path)
    assert (tmp_path / "thumbnails" / "7.jpg").read_bytes() == b"holiday"


@pytest.mark.parametrize("kind", ["markup", "large", "link", "pipe", "folder"])
def test_what_is_no_small_jpeg_is_not_read(pictured, tmp_path, kind):
    folder = pictured.save(tmp_path / "report")
    row = next(iter(pictured.thumbnails))
    path = folder / "thumbnails" / f"{row}.jpg"
    path.unlink()
    if kind == "markup":
        path.write_bytes(b"<svg onload=alert(1)>")
    elif kind == "large":
        path.write_bytes(jpeg("red") + bytes(2**17))
    elif kind == "link":
        (tmp_path / "secret.jpg").write_bytes(jpeg("red"))
        path.symlink_to(tmp_path / "secret.jpg")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert list(Report.load(folder).thumbnails) == list(pictured.thumbnails)[1:]
