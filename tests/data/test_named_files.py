"""Columns of texts that name pictures or sounds, in files and in memory."""

import base64
import io
import pickle
import shutil
import wave

import datasets
import pytest
from PIL import Image

from hf_leep import data
from hf_leep.errors import TargetError
from hf_leep.models import MODALITIES

LABELS = ["ab"[k % 2] for k in range(8)]


def load(dataset, **options):
    return data.load(dataset, MODALITIES, **options)


@pytest.fixture
def pictures(tmp_path):
    for k in range(8):
        Image.new("RGB", (8, 8), (30 * k, 0, 0)).save(tmp_path / f"{k}.png")
    return tmp_path


def csv_of(folder, names):
    path = folder / "d.csv"
    path.write_text("path,label\n" + "".join(f"{name},{y}\n" for name, y in zip(names, LABELS, strict=True)))
    return path


@pytest.mark.parametrize("kind", ["object", "saved"])
def test_paths_in_memory_are_pictures_too(pictures, kind):
    rows = datasets.Dataset.from_dict({"image": [str(pictures / f"{k}.png") for k in range(8)], "label": LABELS})
    if kind == "saved":
        rows.save_to_disk(pictures / "saved")
    target, decoded = load(rows if kind == "object" else pictures / "saved")
    assert target.modality == "image"
    assert decoded[1]["image"].getpixel((0, 0)) == (30, 0, 0)


def test_backslashes_of_windows_are_read(pictures):
    assert load(csv_of(pictures, [rf".\{k}.png" for k in range(8)]))[0].modality == "image"


def test_spaces_around_names_are_no_part_of_them(pictures):
    assert load(csv_of(pictures, [f" {k}.png " for k in range(8)]))[0].modality == "image"


def test_a_worker_can_open_the_sounds_that_a_csv_names(tmp_path):
    for k in range(8):
        with wave.open(str(tmp_path / f"{k}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes([k]) * 400)
    _, rows = load(csv_of(tmp_path, [f"{k}.wav" for k in range(8)]))
    assert len(pickle.loads(pickle.dumps(rows))) == 8


def test_paths_of_videos_are_videos(pictures):
    for k in range(8):
        (pictures / f"{k}.mp4").write_bytes(b"%d" % k)
    target, _ = load(csv_of(pictures, [f"{k}.mp4" for k in range(8)]))
    assert target.modality == "video"
    assert target.warnings[0] == "column 'path' holds paths of files, which were read as videos"


def encoded():
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(("names", "message"), [
    ([*(f"{k}.png" for k in range(7)), "notes.txt"], r"holds names of pictures, and others, such as 'notes.txt'"),
    ([f"https://example.org/{k}.png" for k in range(8)], r"holds addresses of pictures"),
    ([f"gone/{k}.wav" for k in range(8)], r"holds names of sounds, and none of the files is there"),
    ([f"{k}.dcm" for k in range(8)], r"holds names of files such as '0.dcm', which are not read: convert pictures"),
    ([f"{k}.rows" for k in range(8)], r"holds names of files, such as '0.rows', whose suffix is not read"),
    ([f"{k}" for k in "abcdefgh"], r"'a' is in/a.jpg. .* df\['path'\] = 'in/' \+ df\['path'\] \+ '.jpg' does"),
    ([f"{k}.jpg" for k in "abcdefgh"], r".* 'a.jpg' is in/a.jpg. .* df\['path'\] = 'in/' \+ df\['path'\] does"),
    ([encoded()] * 8, r"holds files as text \(base64\)"),
])  # fmt: skip
def test_names_that_are_no_pictures_are_not_read_as_texts(pictures, names, message):
    (pictures / "in").mkdir()
    for k, name in enumerate("abcdefgh"):
        (pictures / f"{k}.rows").touch()
        (pictures / "in" / f"{name}.jpg").touch()
    path = csv_of(pictures, names)
    with pytest.raises(TargetError, match=rf"column 'path' .*{message}.* choose another column with input"):
        load(path)
    # Beside texts they do not matter.
    rows = datasets.Dataset.from_dict({"path": names, "text": list("abcdefgh"), "label": LABELS})
    assert load(rows)[0].input_columns == ("text",)


def test_numbers_of_files_say_how_to_make_paths_of_them(pictures):
    """A table of ``id,label`` beside 0.png … 7.png, or beside a folder of them; not where the numbers repeat."""
    path = pictures / "d.csv"
    path.write_text("id,label\n" + "".join(f"{k},{y}\n" for k, y in enumerate(LABELS)))
    with pytest.raises(TargetError, match=r"'0' is 0.png. .* df\['path'\] = df\['id'\].astype\(str\) \+ '.png' does"):
        load(path)
    (pictures / "in").mkdir()
    for k in range(8):
        (pictures / f"{k}.png").rename(pictures / "in" / f"{k}.mp3")
    with pytest.raises(TargetError, match=r"'0' is in/0.mp3. .* = 'in/' \+ df\['id'\].astype\(str\) \+ '.mp3' does"):
        load(path)
    path.write_text("age,label\n" + "".join(f"{k % 4},{y}\n" for k, y in enumerate(LABELS)))
    with pytest.raises(TargetError, match="no column of videos, images"):
        load(path)


@pytest.mark.parametrize("gone", [range(1), range(1, 8)])
def test_numbers_of_which_only_some_have_files_are_no_numbers_of_files(pictures, gone):
    path = pictures / "d.csv"
    path.write_text("id,label\n" + "".join(f"{k},{y}\n" for k, y in enumerate(LABELS)))
    for k in gone:
        (pictures / f"{k}.png").unlink()
    with pytest.raises(TargetError, match="no column of videos, images"):
        load(path)


def test_names_in_a_stream_are_not_read_as_texts():
    rows = datasets.Dataset.from_dict({"image": [f"{k}.png" for k in range(8)], "label": LABELS})
    with pytest.raises(TargetError, match=r"holds names of pictures, such as .*, without the files"):
        load(rows.to_iterable_dataset(), max_samples=4)


def test_pictures_in_one_folder_say_what_to_do(pictures):
    with pytest.raises(TargetError, match=r"all 8 files are in one folder: put the files of each class into"):
        load(pictures)
    (pictures / "labels.csv").write_text("file_name,label\n0.png,a\n1.png,b\n")
    with pytest.raises(TargetError, match=r"or give labels.csv as the data set"):
        load(pictures)


def test_folders_without_data_name_what_they_hold(tmp_path):
    with pytest.raises(TargetError, match="holds no files$"):
        load(tmp_path)
    (tmp_path / "a").mkdir()
    for k in range(3):
        (tmp_path / "a" / f"{k}.heic").write_bytes(b"x")
    with pytest.raises(TargetError, match=r"holds no data files, but 3 .heic"):
        load(tmp_path)


def test_an_archive_in_a_folder_is_named(pictures):
    for name in ("a", "b"):
        (pictures / name).mkdir()
        (pictures / f"{'01'[name == 'b']}.png").rename(pictures / name / "x.png")
    (pictures / "packed").mkdir()
    shutil.make_archive(str(pictures / "packed" / "d"), "zip", pictures, "a")
    with pytest.raises(TargetError, match=r"d.zip cannot be read while it is packed: unpack it first"):
        load(pictures / "packed")
