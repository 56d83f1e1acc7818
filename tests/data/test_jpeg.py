"""JPEGs decoded at reduced size: like the whole image resized, at the size that Pillow's decoder gives."""

import io

import datasets
import numpy as np
import pytest
from PIL import Image

import hf_leep
from hf_leep import data
from hf_leep.data import jpeg
from hf_leep.models import MODALITIES
from hf_leep.store import Store


def encoded(width, height, format_="JPEG", **options):
    x, y = np.meshgrid(np.linspace(0, 6, width), np.linspace(0, 9, height))
    pixels = np.stack([128 + 90 * np.sin(x + y), 128 + 90 * np.cos(x), 128 + 90 * np.sin(y)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, format_, **options)
    return {"bytes": file.getvalue(), "path": None}


@pytest.mark.parametrize(
    ("size", "reduced"),
    [((1800, 1000), (900, 500)), ((4000, 3600), (500, 450)), ((895, 2000), (895, 2000)), ((500, 375), (500, 375))],
)
def test_the_shorter_side_keeps_what_models_read(size, reduced):
    stored = encoded(*size)
    found = jpeg.decode(stored)
    assert found.size == reduced
    assert min(found.size) >= min(jpeg.SIDE, *size)
    whole = Image.open(io.BytesIO(stored["bytes"])).resize(reduced, Image.Resampling.BOX)
    assert np.abs(np.asarray(found, float) - np.asarray(whole, float)).mean() < 2


def test_other_images_and_turned_ones_are_as_datasets_decodes_them():
    exif = Image.Exif()
    exif[0x0112] = 6
    for stored in (encoded(1800, 1000, "PNG"), encoded(400, 300, exif=exif)):
        expected = datasets.Image().decode_example(stored)
        assert np.array_equal(np.asarray(jpeg.decode(stored)), np.asarray(expected))


def test_it_is_chosen_named_in_the_report_and_stored_apart(checkpoints):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = [{"image": encoded(1000 + 40 * k, 920), "label": k % 2} for k in range(8)]
    photos = datasets.Dataset.from_list(rows, features=features)
    _, chosen = data.load(photos, MODALITIES)
    assert chosen[0]["image"].size == (1000, 920)
    path = str(checkpoints["five"])
    reports = [
        hf_leep.rank([path], photos, progress=False, execution=hf_leep.Execution(fast_decode=fast))
        for fast in (False, True, True)
    ]
    said = [any("decoded at reduced size" in text for text in report.data["target"]["warnings"]) for report in reports]
    assert said == [False, True, True]
    whole, fast, again = (report.candidates[0] for report in reports)
    assert [c["run"]["from_store"] for c in (whole, fast, again)] == [False, False, True]
    assert whole["scores"]["leep"]["value"] != fast["scores"]["leep"]["value"]
    assert whole["scores"]["leep"]["value"] == pytest.approx(fast["scores"]["leep"]["value"], abs=0.05)


def test_a_validation_reads_them_as_the_ranking_did(checkpoints):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
    rows = [{"image": encoded(1000 + 30 * k, 910), "label": k % 2} for k in range(8)]
    photos = datasets.Dataset.from_list(rows, features=features)
    paths = [str(checkpoints[name]) for name in ("five", "seven-classes")]
    report = hf_leep.rank(paths, photos, progress=False, execution=hf_leep.Execution(fast_decode=True))
    passes = Store.default_root() / "extractions"
    stored = sorted(passes.rglob("*"))
    assert stored
    validated = hf_leep.validate(report, dataset=photos, progress=False)
    assert validated.data["validation"]["candidates"][0]["accuracy"] is not None
    assert sorted(passes.rglob("*")) == stored  # no pass over whole images
