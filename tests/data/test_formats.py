"""Files whose content is not what their suffix says, and columns whose values are nearly classes or inputs."""

import contextlib
import datetime
import io
import json
import re

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from PIL import Image

from hf_leep import data
from hf_leep.errors import ChoiceError, TargetError
from hf_leep.models import MODALITIES

TEXTS = [f"t{k}" for k in range(12)]
LABELS = ["xyz"[k % 3] for k in range(12)]
LINES = "text,label\n" + "".join(f"{text},{label}\n" for text, label in zip(TEXTS, LABELS, strict=True))


def load(dataset, **options):
    return data.load(dataset, MODALITIES, **options)


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("in_folder", [False, True])
@pytest.mark.parametrize(("name", "content", "message"), [
    ("d.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "is a Git LFS pointer.*git lfs pull"),
    ("d.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "is a Git LFS pointer"),
    ("d.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d\n", "is a Git LFS pointer"),
    ("d.csv", b"PK\x03\x04\x14\0\x06\0", "is a ZIP archive or an Excel workbook"),
    ("d.csv", b"<!DOCTYPE html>\n<html><title>Sign in, please</title></html>\n", "is a page of HTML, not data"),
    ("d.csv", b"PAR1\x15\x04", "is not a .csv file: rename it to d.parquet"),
    ("d.csv", LINES.encode("utf-16-be"), r"is not UTF-8 \(UTF-16 or UTF-32 without a mark\)"),
    ("d.tsv", LINES.encode("utf-32"), r"is not UTF-8 \(UTF-32\)"),
    ("d.csv", LINES.replace("t3", "é").encode("latin-1"), r"is not UTF-8 \(it cannot be decoded at byte 0xe9\)"),
])  # fmt: skip
def test_a_file_that_is_something_else_says_what(tmp_path, name, content, message, in_folder):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TargetError, match=message) as caught:
        load(tmp_path if in_folder else tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_pointer_in_a_saved_folder_says_so(tmp_path):
    datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS}).save_to_disk(tmp_path)
    next(tmp_path.glob("*.arrow")).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(TargetError, match="is a Git LFS pointer"):
        load(tmp_path)


@pytest.mark.parametrize(("content", "message"), [
    ("# made by hand\ntext,label\na,x\n", r"line 2 has 2 cells and the header 1: remove what stands above the header"),
    ("text,label\na,x,\nb,y,\n", r"line 2 has 3 cells .*: remove the separator at the end of the lines"),
    ("a film,yes\nb film,no\nc film,yes\nd film,no\n", r"which text column .*; if the file has no header, add one"),
    ("text,label\na,x\n", r"there is 1 row; a score needs at least two classes"),
    ("text,label\na,-1\nb,-1\n", r"every label .* is -1, .* choose another split, or another label"),
])  # fmt: skip
def test_files_that_nearly_fit_say_what_to_do(tmp_path, content, message):
    (tmp_path / "d.csv").write_text(content)
    with pytest.raises(TargetError, match=message):
        load(tmp_path / "d.csv")


def test_lines_of_spaces_are_blank(tmp_path):
    (tmp_path / "d.csv").write_text("  \ntext,label\na,x\n \t \nb,y\n\nc,x\n")
    assert len(load(tmp_path / "d.csv")[1]) == 3


def test_quotation_marks_after_a_space_are_a_warning(tmp_path):
    (tmp_path / "d.csv").write_text('text, label\na, "x"\nb, "y"\nc, "x"\n')
    assert any(
        "hold quotation marks, which count as part of the label" in w for w in load(tmp_path / "d.csv")[0].warnings
    )


@pytest.mark.parametrize(("label", "message"), [
    (pa.array([y.encode() for y in LABELS]), r"'label' holds bytes; .*value.decode\(\)"),
    (pa.nulls(12), r"'label' is empty in all rows"),
    (pa.nulls(12, pa.string()), r"column 'label' is empty in all rows: choose another with label"),
    ([datetime.date(2024, 1, 1 + k % 3) for k in range(12)], r"'label' holds dates .*, so save them as words"),
    (pa.array([k % 3 for k in range(12)], pa.decimal128(5, 0)), r"'label' holds ratings or classes, save"),
    ([[y] for y in LABELS], r"each list holds one, so save it without the list"),
    ([[int(k % 3 == j) for j in range(3)] for k in range(12)], r"one entry of each list is 1, .*numpy.argmax"),
    ([[int(k % 3 <= j) for j in range(3)] for k in range(12)], r"keep the rows with one label"),
    ([{"id": 1, "name": y} for y in LABELS], r"'label' holds columns of its own \(id, name\)"),
])  # fmt: skip
def test_labels_that_are_nearly_classes_say_what_to_do(tmp_path, label, message):
    with pytest.raises(TargetError, match=message):
        load(parquet(tmp_path / "d.parquet", text=TEXTS, label=label))


@pytest.mark.parametrize(("name", "values", "message"), [
    ("text", [text.encode() for text in TEXTS], r"'text' holds bytes; .*cast_column\('text', Image\(\)\)"),
    ("text", pa.nulls(12), r"'text' is empty in all rows"),
    ("text", pa.array(TEXTS, pa.string_view()), r"cast_column\('text', Value\('string'\)\)"),
    ("image", [{"bytes": b"x", "path": None}] * 12, r"'image' holds files; .*cast_column\('image', Image\(\)\)"),
    ("image", [[[0, 1], [2, 3]]] * 12, r"'image' holds arrays of numbers, so make pictures of them"),
    ("audio", [[0.0, 0.5]] * 12, r"if 'audio' holds sounds, store each as {'array': samples, 'sampling_rate': rate}"),
])  # fmt: skip
def test_inputs_that_nearly_fit_say_what_to_do(tmp_path, name, values, message):
    with pytest.raises(TargetError, match=message):
        load(parquet(tmp_path / "d.parquet", **{name: values, "label": LABELS}))


def test_json_of_one_object_of_lists_is_refused(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps({"text": TEXTS, "label": LABELS}))
    with pytest.raises(TargetError, match=r"there is 1 row, of lists .*: save a file of lists as JSON lines"):
        load(tmp_path / "d.json")


def test_one_of_several_one_hot_columns_is_not_taken_for_its_name():
    columns = {name: [int(k % 3 == j) for k in range(12)] for j, name in enumerate("xyz")}
    with pytest.raises(ChoiceError, match=r"one of them is 1 in each row, so join them"):
        load(datasets.Dataset.from_dict({"text": TEXTS, **columns}))
    assert (
        load(datasets.Dataset.from_dict({"text": TEXTS, "y": columns["y"], "n": list(range(12))}))[0].label_column
        == "y"
    )


def test_a_message_names_only_some_of_many_columns():
    rows = datasets.Dataset.from_dict({f"pixel{k}": [1, 2] for k in range(500)})
    with pytest.raises(TargetError, match=r"pixel19 \(int64\) and 480 more$"):
        load(rows)


@pytest.mark.parametrize("others", [{}, {"label": LABELS}, {"label": LABELS, "text": TEXTS}, {"text": TEXTS}])
@pytest.mark.parametrize("values", [[0, 1] * 6, [0.5] * 12, ["some", "words"] * 6, [[1, 2]] * 12])
def test_many_columns_are_looked_at_together(others, values, monkeypatch):
    """``Dataset.features`` copies all of them, so that a look at each column would take their number squared."""
    copies = []
    copy = datasets.Features.copy
    monkeypatch.setattr(datasets.Features, "copy", lambda features: copies.append(1) or copy(features))
    needed = []
    for count in (4, 40):
        rows = datasets.Dataset.from_dict({**others, **{f"c{k}": values for k in range(count)}})
        copies.clear()
        with contextlib.suppress(TargetError, ChoiceError):
            load(rows)
        needed.append(len(copies))
    assert needed[1] <= needed[0] + 3


def test_two_text_columns_may_be_a_pair():
    rows = datasets.Dataset.from_dict({"query": TEXTS, "passage": TEXTS[::-1], "label": LABELS})
    with pytest.raises(ChoiceError, match=r"query, passage, or both as a pair: query,passage$"):
        load(rows)
    for given in ("query,passage", "query, passage"):
        assert load(rows, inputs=given)[0].input_columns == ("query", "passage")
    with pytest.raises(TargetError, match="names column 'query' twice"):
        load(rows, inputs="query,query")
    comma = rows.rename_column("query", "a, b")
    assert load(comma, inputs="a, b")[0].input_columns == ("a, b",)


def test_splits_of_other_columns_do_not_add_up():
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})
    other = datasets.Dataset.from_dict({"text": TEXTS, "label": [k % 3 for k in range(12)]})
    with pytest.raises(TargetError, match=r"the splits of 'train\+test' in .* do not hold the same columns"):
        load(datasets.DatasetDict(train=rows, test=other), split="train+test")


@pytest.mark.parametrize(("given", "make"), [({"text": TEXTS}, "from_dict"), ([{"text": "a"}], "from_list")])
def test_other_objects_say_how_to_make_a_dataset(given, make):
    with pytest.raises(TargetError, match=rf"make a Dataset of it, as Dataset.{make} does"):
        load(given)


@pytest.mark.parametrize(("columns", "message"), [
    ({"text": ["", "  ", *TEXTS[2:]], "label": LABELS}, r"2 of 12 texts in column 'text' are empty or hold only"),
    ({"text": TEXTS, "label": [*map(str, range(11)), "0"]}, r"10 of the 11 classes have a single row"),
    ({"tokens": [[], *([["a", "b"]] * 39)], "ner_tags": [[], *([[0, 1]] * 39)]},
     r"1 of 40 sentences has no labelled word, and is left out, such as row 0"),
])  # fmt: skip
def test_rows_that_say_little_are_a_warning(columns, message):
    target, _ = load(datasets.Dataset.from_dict(columns))
    assert [w for w in target.warnings if message.replace("\\", "") in w]


@pytest.mark.parametrize(("kind", "factor", "message"), [
    ("float32", 30_000, r"samples in column 'audio' reach 30,000, where samples of type float32 lie between"),
    ("int32", 30_000, r"reach 30,000 of the 2,147,483,647 of int32"),
    ("float32", 1, None), ("int32", 2**30, None), ("int16", 3, None),
])  # fmt: skip
def test_samples_of_another_range_are_a_warning(kind, factor, message):
    sounds = [{"array": [factor, -factor, 0], "sampling_rate": 8000}] * 12
    samples = {"array": datasets.List(datasets.Value(kind)), "sampling_rate": datasets.Value("int64")}
    features = datasets.Features({"audio": samples, "label": datasets.Value("string")})
    target, _ = load(datasets.Dataset.from_dict({"audio": sounds, "label": LABELS}, features=features))
    said = [warning for warning in target.warnings if "samples in column" in warning]
    assert bool(said) == (message is not None)
    if message is not None:
        assert re.search(message, said[0])


def test_samples_of_another_range_in_files_are_a_warning(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    sounds = datasets.Features({"audio": datasets.Audio(), "label": datasets.Value("string")})
    for kind, subtype, factor, warned in (
        ("WAV", "FLOAT", 30_000, True), ("WAV", "DOUBLE", 30_000, True), ("WAVEX", "FLOAT", 30_000, True),
        ("WAV", "FLOAT", 1, False), ("WAV", "PCM_16", 1, False), ("WAVEX", "PCM_24", 1, False),
        ("FLAC", "PCM_16", 1, False),
    ):  # fmt: skip
        files = []
        for k in range(12):
            file = io.BytesIO()
            soundfile.write(file, np.float32([0.5, -0.5, k / 24]) * factor, 8000, format=kind, subtype=subtype)
            files.append({"bytes": file.getvalue(), "path": None})
        files[3] = {"bytes": b"no sound", "path": None}
        stored = {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}
        rows = datasets.Dataset.from_dict(
            {"audio": files, "label": LABELS}, features=datasets.Features({**sounds, "audio": stored})
        )
        said = load(rows.cast(sounds))[0].warnings
        assert [("reach 15,000, where samples of type float lie" in warning) for warning in said] == [True] * warned


def test_a_missing_sample_does_not_stop_the_look_at_the_range():
    sounds = [{"array": [0.5, None, 0.1], "sampling_rate": 8000}] * 12
    assert not any(
        "reach" in warning
        for warning in load(datasets.Dataset.from_dict({"audio": sounds, "label": LABELS}))[0].warnings
    )


def test_pictures_of_another_range_or_of_several_pages_are_a_warning():
    flat = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    full = Image.fromarray(flat * 16)
    page = {"save_all": True, "append_images": [full]}
    for picture, format_, options, message in (
        (Image.fromarray(flat), "PNG", {}, r"reach 4,095 of 65,535, so they are read as nearly black"),
        (Image.fromarray((flat > 9).astype(np.uint8)), "PNG", {}, r"reach 1 of 255, so they are read as nearly black"),
        (full, "TIFF", page, r"11 of the first 12 pictures in column 'image' have several frames or pages"),
        (full, "TIFF", {}, None),
        (Image.fromarray(flat > 9), "PNG", {}, None),
        (Image.new("RGB", (9, 9)), "PNG", {}, None),
    ):
        file = io.BytesIO()
        picture.save(file, format_, **options)
        files = [{"bytes": file.getvalue(), "path": None}] * 11 + [{"bytes": b"no picture", "path": None}]
        rows = datasets.Dataset.from_dict({"image": files, "label": LABELS}).cast_column("image", datasets.Image())
        said = [warning for warning in load(rows)[0].warnings if "repeat" not in warning]
        assert len(said) == (message is not None)
        assert message is None or re.search(message, said[0])


def test_sounds_of_several_channels_say_what_to_do():
    samples = {
        "array": datasets.List(datasets.List(datasets.Value("float32"))),
        "sampling_rate": datasets.Value("int64"),
    }
    features = datasets.Features({"audio": samples, "label": datasets.Value("string")})
    sounds = [{"array": [[0.0, 0.5], [0.1, 0.2]], "sampling_rate": 8000}] * 12
    with pytest.raises(TargetError, match=r"'audio' holds sounds of several channels, so store one list"):
        load(datasets.Dataset.from_dict({"audio": sounds, "label": LABELS}, features=features))


def test_a_few_classes_of_one_row_are_no_warning():
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": [*LABELS[:11], "q"]})
    assert load(rows)[0].warnings == ()
    assert np.unique(load(rows)[0].labels).tolist() == [0, 1, 2, 3]


def test_without_a_network_a_misspelt_file_is_compared_with_those_that_are_here(tmp_path, monkeypatch):
    (tmp_path / "questions.csv").write_text("text,label\na,b\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(TargetError, match=r"^question\.cvs cannot be read \(.*\) \(did you mean questions\.csv\?\)$"):
        load("question.cvs")
