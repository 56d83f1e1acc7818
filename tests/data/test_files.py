"""Data files and folders as people write them: nothing is lost without a word."""

import bz2
import gzip
import json
import lzma
import os
import re
import shutil
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from PIL import Image

from hf_leep import data
from hf_leep.data import delimited, json_integers
from hf_leep.errors import ChoiceError, TargetError
from hf_leep.models import MODALITIES


def load(dataset, **options):
    return data.load(dataset, MODALITIES, **options)


def written(path, text):
    path.write_text(text, encoding="utf-8", newline="")
    return path


def class_folders(folder, classes=("a", "b"), each=4, suffix=".png"):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for k in range(each):
            Image.new("RGB", (8, 8), (40 * label, 10 * k, 0)).save(folder / name / f"{k}{suffix}")
    return folder


@pytest.mark.parametrize(
    "content",
    [
        "text,label\nhi,None\nyo,NA\nhey,null\nho,None\n",
        "text,label\nhi,007\nyo,7\nhey,nan\nho,007\n",
        'text,label\n"a, b",x\n"two\nlines",y\n"say ""hi""",x\n',
        'text,label\n"hi" she said,x\nplain,y\nmore,x\n',
        "\ufefftext,label\r\nhi,x\r\nyo,y\r\n\r\nhey,x\r\n",
    ],
)
def test_cells_are_read_as_they_are_written(tmp_path, content):
    import csv

    path = written(tmp_path / "d.csv", content)
    with path.open(encoding="utf-8-sig", newline="") as file:
        expected = [row for row in csv.reader(file) if row][1:]
    if '"hi" she' in content:  # quotation marks inside a cell that does not end with one belong to the text
        expected[0][0] = '"hi" she said'
    found = delimited.read(path, ",")
    assert [[str(row["text"]), str(row["label"])] for row in found] == expected


@pytest.mark.parametrize(("cells", "kind"), [
    (["1", "-2", "0", ""], "int64"), (["1.5", "2", "1e3"], "float64"), (["01", "2"], "string"),
    (["00.5", "2"], "string"),
    (["-0", "2"], "float64"), (["9" * 25, "2"], "string"), (["9" * 25, "1.5"], "float64"),
    (["", ""], "string"), (["True", "False"], "string"),
])  # fmt: skip
def test_columns_of_numbers_are_numbers_unless_they_keep_zeros(tmp_path, cells, kind):
    path = written(tmp_path / "d.csv", "a,b\n" + "".join(f"x,{cell}\n" for cell in cells))
    column = delimited.read(path, ",")
    assert column.features["b"].dtype == kind
    assert sum(value is None for value in column["b"]) == cells.count("")


@pytest.mark.parametrize("classes", [
    (2**63 - 1, 2**63), (2**63 + 1, 2**63 + 2), (10**30 + 1, 10**30 + 2), (-(2**63) - 1, -(2**63) - 2),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "json", "folder of json", "folder of csv"])
def test_long_whole_numbers_keep_all_their_digits(tmp_path, classes, kind):
    rows = [{"text": f"text {k}", "label": classes[k % 2] if k else 1, "x": 1.5} for k in range(9)] * 2
    parts = [rows[:10], rows[10:]] if kind.startswith("folder") else [rows]
    path = tmp_path
    for number, part in enumerate(parts):
        path = tmp_path / f"d{number}.{kind.removeprefix('folder of ')}"
        if "csv" in kind:
            lines = [",".join(map(str, row.values())) for row in part]
            text = "\n".join(["text,label,x", *lines])
        else:
            text = json.dumps(part) if kind == "json" else "\n".join(map(json.dumps, part))
        path.write_bytes(gzip.compress(text.encode()) if kind == "csv.gz" else text.encode())
    found = load(tmp_path if kind.startswith("folder") else path, label="label")[0]
    assert sorted(found.class_names) == sorted(map(str, {1, *classes}))


def test_long_digits_in_json_that_are_no_column_of_whole_numbers_change_nothing(tmp_path):
    rows = [{"text": f"[{10**20}, ", "label": k % 2, "x": 10**20 if k else 1.5, "y": [10**20]} for k in range(6)]
    path = written(tmp_path / "d.jsonl", "\n".join(map(json.dumps, rows)))
    assert json_integers.as_texts(path) == path
    assert load(path)[0].class_names == ("0", "1")


@pytest.mark.parametrize(("content", "message"), [
    ('text,label\n"a, b" c,1\nx,2\n', r"a quotation mark inside a cell of d.csv is not doubled, and would join rows"),
    ("text,label\na,1\nb,c,2\n", r"line 3 has 3 cells and the header 2"),
    ("text;label\na;1\n", r"separates its columns by semicolons: save it with commas, or give .* sep=';'"),
    ("text;label;a, b\nx;1;2\n", r"separates its columns by semicolons"),
    ("text|label\na|1\n", r"separates its columns by vertical bars"),
    ("sep=;\ntext;label\na;1\n", r"starts with 'sep=;', a line that is for Excel alone: remove it"),
    ("text,text\na,1\n", r"several columns called 'text'"),
    ("text,label\n", r"there are no rows"),
    ("text,label\na,1\nb,\nc,2\n", r"1 of 3 rows has no label in column 'label', row 1: drop it first"),
    ("text,label\na,1\n,1\nc,2\n", r"1 of 3 rows has nothing in column 'text', row 1: drop it first, or leave it out"),
    ("text,label\na,p\nb,q\nc,r\n", r"each of the 3 rows has another value in column 'label'.* swapped"),
    ("text,stars\na,4.5\nb,3\nc,4.5\n", r"no column can be the label"),
    ("text,label\na,-1\nb,0\nc,-1\n", r"2 of 3 labels .* are -1.*; if -1 is a class of its own, save the labels as"),
])  # fmt: skip
def test_a_csv_that_would_lose_something_is_one_clear_line(tmp_path, content, message):
    with pytest.raises(TargetError, match=message) as caught:
        load(written(tmp_path / "d.csv", content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("content", "message"), [
    ('text,labels\na,"x,y"\nb,x\nc,"x,y"\nd,y\n', r"labels such as 'x,y' seem to name several classes"),
    ("text,labels\na,\"['x', 'y']\"\nb,['x']\nc,['x']\n", r"labels such as .* seem to name several classes"),
    ("text,label\na,Yes\nb,yes\nc,no\nd,no\n", r"the classes 'Yes' and 'yes' differ in case or spaces alone"),
    ("text,label\na,yes \nb,yes\nc,no\nd,no\n", r"the classes 'yes' and 'yes ' differ in case or spaces alone"),
    ("bad film,0\na film,0\nb film,1\nc film,0\n", r"column '0' also holds '0': if the file has no header"),
    ("text,label,weight\na,x,1.5\nb,y,2\nc,x,1\n", r"column 'weight' is not used: every row counts once"),
])  # fmt: skip
def test_labels_that_look_odd_are_a_warning(tmp_path, content, message):
    target, rows = load(written(tmp_path / "d.csv", content))
    assert [w for w in target.warnings if re.match(message, w)]
    assert len(rows) == content.count("\n") - 1


def test_usual_labels_are_no_warning(tmp_path):
    path = written(tmp_path / "d.csv", 'text,label\na,"Arts, Crafts"\nb,Music\nc,Music\nd,"Arts, Crafts"\n')
    assert load(path)[0].warnings == ()


@pytest.mark.parametrize(("rows", "message"), [
    ([{"text": f"t{k}", "labels": ["a", "b"][: k % 3]} for k in range(6)], r"'labels' holds lists.* one label a row"),
    ([{"text": f"t{k}", "label": [k % 2, 1 - k % 2]} for k in range(6)], r"'label' holds lists.* one label a row"),
    ([{"text": f"t{k}", "stars": k % 5 + 0.5} for k in range(6)], r"'stars' holds ratings .* whole numbers"),
    ([{"text": f"t{k}", "label": None if k == 2 else "ab"[k % 2]} for k in range(6)], r"1 of 6 rows has no label"),
    ([{"text": None if k == 2 else "t", "label": "ab"[k % 2]} for k in range(6)], r"1 of 6 rows has nothing"),
    ([{"question": ["a", "b"], "category": ["x", "y"]}], r"read as one row, so save it as JSON lines"),
])  # fmt: skip
def test_json_lines_that_cannot_be_scored_say_what_to_do(tmp_path, rows, message):
    with pytest.raises(TargetError, match=message):
        load(written(tmp_path / "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))


def test_an_empty_label_in_json_is_a_class(tmp_path):
    rows = [{"text": f"t{k}", "label": ["", "x"][k % 2]} for k in range(6)]
    assert load(written(tmp_path / "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))[0].class_names == (
        "",
        "x",
    )


@pytest.mark.parametrize(("second", "message"), [
    (lambda k: int(k % 3 != 0), r"one of them is 1 in each row, so join them, .*idxmax"),
    (lambda k: 1, r"several of them may be 1, so choose one of them"),
    (lambda k: k, r"which column is the label\? label can be a, b$"),
])  # fmt: skip
def test_several_columns_of_0_and_1_say_what_to_do(tmp_path, second, message):
    path = written(
        tmp_path / "d.csv", "text,a,b\n" + "".join(f"t{k},{int(k % 3 == 0)},{second(k)}\n" for k in range(9))
    )
    with pytest.raises(ChoiceError, match=message):
        load(path)
    assert load(path, label="a")[0].class_names == ("0", "1")


@pytest.mark.parametrize(("header", "columns"), [
    (",text,label", ("text", "label")), ("id,Text,Label", ("Text", "Label")),
    ("Unnamed: 0, text , label ", (" text ", " label ")),
])  # fmt: skip
def test_headers_as_programs_write_them(tmp_path, header, columns):
    path = written(tmp_path / "d.csv", f"{header}\n" + "".join(f"{k},t{k},{'xy'[k % 2]}\n" for k in range(6)))
    target, _ = load(path)
    assert (*target.input_columns, target.label_column) == columns


@pytest.mark.parametrize(("name", "message"), [
    ("d.xlsx", "save the sheet as CSV UTF-8$"), ("d.csv.zip", "unpack it first$"), ("d.txt", "give one of .parquet"),
])  # fmt: skip
def test_other_formats_say_what_to_do(tmp_path, name, message):
    with pytest.raises(TargetError, match=message):
        load(written(tmp_path / name, "x"))


def test_a_name_that_is_not_there_is_checked_first(tmp_path):
    path = written(tmp_path / "d.csv", "question,category\na,x\nb,y\nc,x\n")
    with pytest.raises(TargetError, match=r"no column 'catgory' \(did you mean 'category'\?\)"):
        load(path, label="catgory")
    with pytest.raises(TargetError, match=r"no column 'Question' \(did you mean 'question'\?\)"):
        load(path, inputs="Question")


def test_a_csv_that_is_not_utf8_says_so(tmp_path):
    (tmp_path / "d.csv").write_bytes("text,label\nhi,1\n".encode("utf-16"))
    with pytest.raises(TargetError, match=r"not UTF-8 \(UTF-16"):
        load(tmp_path / "d.csv")


def test_quotation_marks_in_a_tsv_swallow_no_rows(tmp_path):
    path = written(tmp_path / "d.tsv", 'text\tlabel\n"one\tx\ntwo\ty\n"three\tx\n')
    found = delimited.read(path, "\t")
    assert found["text"][:] == ['"one', "two", '"three']


@pytest.mark.parametrize(("header", "columns"), [
    ("question,category", ("question", "category")), ("utterance,intent", ("utterance", "intent")),
    ("text,foo", ("text", "foo")), ("Category,message", ("message", "Category")),
])  # fmt: skip
def test_a_file_of_two_columns_just_works(tmp_path, header, columns):
    path = written(tmp_path / "d.csv", f"{header}\n" + "".join(f"t{k},{'xy'[k % 2]}\n" for k in range(6)))
    if header.startswith("Category"):
        path = written(path, f"{header}\n" + "".join(f"{'xy'[k % 2]},t{k}\n" for k in range(6)))
    target, _ = load(path)
    assert (target.input_columns, target.label_column) == ((columns[0],), columns[1])


def test_where_several_columns_could_be_meant_one_is_proposed(tmp_path):
    path = written(tmp_path / "d.csv", "foo,bar\n" + "".join(f"long text {k},{'xy'[k % 2]}\n" for k in range(6)))
    with pytest.raises(ChoiceError) as caught:
        load(path)
    assert (caught.value.name, caught.value.proposal) == ("input", "foo")
    assert load(path, inputs="foo")[0].label_column == "bar"


def test_a_column_of_paths_is_a_column_of_pictures(tmp_path):
    folder = class_folders(tmp_path / "photos")
    rows = [f"photos/{file.parent.name}/{file.name},{file.parent.name}" for file in sorted(folder.rglob("*.png"))]
    path = written(tmp_path / "d.csv", "picture,label\n" + "\n".join(rows) + "\n")
    target, decoded = load(path)
    assert target.modality == "image"
    assert decoded[0]["picture"].size == (8, 8)
    assert any("paths of files" in warning for warning in target.warnings)
    written(path, path.read_text() + "photos/a/gone.png,a\n")
    with pytest.raises(TargetError, match=r"names 1 file that is not there, such as .*gone.png"):
        load(path)


def test_no_folder_of_a_class_is_taken_for_a_split(tmp_path):
    with pytest.raises(TargetError, match=r"8 of 12 files in .* would be left out.* \(train with 4 files\). Rename"):
        load(class_folders(tmp_path / "vehicles", ("train", "plane", "ship")))


def test_no_file_is_lost_because_another_is_named_like_a_split(tmp_path):
    folder = class_folders(tmp_path / "photos")
    (folder / "a" / "0.png").rename(folder / "a" / "photo of a train 0.png")
    with pytest.raises(
        TargetError, match=r"7 of 8 files in .* would be left out, such as a/1.png.* \(train with 1 file\). Rename"
    ):
        load(folder)


def test_folders_of_splits_are_read_as_such(tmp_path):
    class_folders(tmp_path / "d" / "train")
    class_folders(tmp_path / "d" / "test")
    assert len(load(tmp_path / "d", split="train")[1]) == 8


def test_a_class_whose_files_have_an_unknown_suffix_is_named(tmp_path):
    folder = class_folders(tmp_path / "photos", ("a", "b", "c"))
    (folder / "b" / "0.png").rename(folder / "b" / "0.heic")
    target, _ = load(folder)
    assert any(
        "1 file of the folder was not read, since datasets does not read its suffix" in w and "1 .heic" in w
        for w in target.warnings
    )
    for file in (folder / "c").glob("*.png"):
        file.rename(file.with_suffix(".heic"))
    with pytest.raises(
        TargetError, match=r"the folder 'c' in .* would be lost, .* 0.heic as image: convert all 4, for"
    ):
        load(folder)


def test_a_class_folder_without_files_to_read_is_named(tmp_path):
    folder = class_folders(tmp_path / "photos")
    (folder / "c").mkdir()
    (folder / "d").mkdir()
    (folder / "d" / ".hidden.png").write_bytes((folder / "a" / "0.png").read_bytes())
    target, _ = load(folder)
    assert any("the folders 'c', 'd' hold no image file, and so are no classes" in w for w in target.warnings)
    assert not any("without any" in w for w in load(class_folders(tmp_path / "full"))[0].warnings)


def test_pictures_that_a_metadata_file_does_not_name_are_counted(tmp_path):
    folder = class_folders(tmp_path / "photos")
    lines = [json.dumps({"file_name": f"{c}/{k}.png", "label": c}) for k in range(4) for c in "ab"]
    written(folder / "metadata.jsonl", "\n".join(lines[:6]))
    target, rows = load(folder)
    assert len(rows) == 6
    assert any("2 of 8 files of the folder were not read, since metadata.jsonl" in w for w in target.warnings)
    written(folder / "metadata.jsonl", "\n".join(lines))
    target, rows = load(folder)
    assert (len(rows), [w for w in target.warnings if "not read" in w]) == (8, [])


def test_a_link_to_nothing_is_named(tmp_path):
    folder = class_folders(tmp_path / "photos")
    (folder / "b" / "9.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(TargetError, match=r"b/9.png in .* is a link to a file that is not there"):
        load(folder)


@pytest.mark.parametrize("in_folder", [False, True])
def test_json_that_is_not_utf8_says_so(tmp_path, in_folder):
    lines = [json.dumps({"text": f"caf\u00e9 {k}", "label": "ab"[k % 2]}, ensure_ascii=False) for k in range(6)]
    path = tmp_path / "d.jsonl"
    path.write_bytes("\n".join(lines).encode("latin-1"))
    with pytest.raises(TargetError, match=r"d.jsonl is not UTF-8 .*: save it as UTF-8"):
        load(tmp_path if in_folder else path)


@pytest.mark.parametrize("in_folder", [False, True])
@pytest.mark.parametrize(("suffix", "pack"), [
    (".gz", gzip.compress), (".bz2", bz2.compress), (".XZ", lzma.compress),
    (".zst", lambda content: pa.compress(content, "zstd", asbytes=True)),
])  # fmt: skip
def test_packed_files_are_read_like_others(tmp_path, suffix, pack, in_folder):
    if in_folder and suffix == ".XZ":  # datasets reads small letters in folders
        suffix = ".xz"
    words = ["None", "NA", "007"]
    for name, lines in (
        ("d.csv", "text,label\n" + "".join(f"t{k},{words[k % 3]}\n" for k in range(9))),
        ("d.tsv", "text\tlabel\n" + "".join(f"t{k}\t{words[k % 3]}\n" for k in range(9))),
        ("d.jsonl", "".join(json.dumps({"text": f"t{k}", "label": words[k % 3]}) + "\n" for k in range(9))),
    ):
        folder = tmp_path / name
        folder.mkdir()
        for last in ("NA", "null"):  # a changed file is unpacked again
            (folder / f"{name}{suffix}").write_bytes(pack(lines.replace("NA", last).encode()))
            if in_folder and (name == "d.jsonl" and suffix == ".zst"):  # datasets needs zstandard
                pytest.importorskip("zstandard")
            target, rows = load(folder if in_folder else folder / f"{name}{suffix}")
            assert (target.class_names, len(rows)) == (tuple(sorted(["None", last, "007"])), 9)
    broken = tmp_path / f"broken.csv{suffix}"
    broken.write_bytes(pack(lines.encode())[:30])
    with pytest.raises(TargetError, match=rf"broken.csv{suffix} cannot be unpacked"):
        load(broken)


def test_a_packed_file_that_is_cut_off_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\na,x\nb,y\n")[:-10])
    with pytest.raises(TargetError, match=r"a\.csv\.gz cannot be unpacked"):
        load(tmp_path / "a.csv.gz")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_cache_that_cannot_be_used_is_not_called_a_fault_of_the_file(tmp_path, monkeypatch, name):
    rows = datasets.Dataset.from_dict({"text": ["a", "b"], "label": ["x", "y"]})
    (rows.to_csv if name.endswith("csv") else rows.to_json)(tmp_path / name)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / name / "cache")
    with pytest.raises(
        TargetError, match=r"^the cache of datasets, .*cache, cannot be used \(Not a directory\): set HF_"
    ):
        load(tmp_path / name)


def test_a_packed_file_without_its_suffix_says_so(tmp_path):
    path = tmp_path / "d.csv"
    path.write_bytes(gzip.compress(b"text,label\na,x\nb,y\n"))
    with pytest.raises(TargetError, match=r"d.csv is packed by gzip: unpack it first"):
        load(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            lambda k: {"data": {"text": f"t{k}"}, "label": "ab"[k % 2]},
            r"'data' holds columns of its own \(text\); .*fla",
        ),
        (
            lambda k: {"text": f"t{k}", "label": 1 if k % 4 else "a"},
            "'label' holds values of several types, so save all",
        ),
    ],
)
def test_json_of_nested_rows_or_mixed_labels_says_what_to_do(tmp_path, row, message):
    path = written(tmp_path / "d.jsonl", "\n".join(json.dumps(row(k)) for k in range(12)))
    with pytest.raises(TargetError, match=message):
        load(path)


def test_a_stray_picture_that_takes_the_labels_away_is_named(tmp_path):
    folder = class_folders(tmp_path / "photos")
    shutil.copy(folder / "a" / "0.png", folder / "stray.png")
    with pytest.raises(TargetError, match=r"1 of 9 files .* the folder of a class, .* stray.png"):
        load(folder)


def test_nested_folders_are_a_warning(tmp_path):
    for outer in ("dog", "cat"):
        class_folders(tmp_path / outer, (f"{outer} young", f"{outer} old"))
    target, rows = load(tmp_path)
    assert (len(rows), len(target.class_names)) == (16, 4)
    assert any("the names of the innermost folders" in warning for warning in target.warnings)


def test_a_slice_that_loses_classes_is_refused_with_another_way(tmp_path):
    folder = class_folders(tmp_path / "photos", ("a", "b", "c", "d"))
    with pytest.raises(
        TargetError, match=r"the slice holds 2 of the 4 classes of the split, without 'c', 'd'"
    ) as caught:
        load(folder, split="train[:50%]")
    assert "max_samples 8" in str(caught.value)
    assert len(load(folder, split="train[10%:]")[1]) == 14


@pytest.mark.parametrize("name", ["photos [v1]", "what*", "a#b", "ä ö", "100%", "a{b}", "q?"])
def test_any_path_works(tmp_path, name):
    folder = class_folders(tmp_path / name)
    target, decoded = load(folder)
    assert (len(decoded), target.class_names) == (8, ("a", "b"))
    file = written(tmp_path / f"{name}.csv", "text,label\na,x\nb,y\nc,x\n")
    assert len(load(file)[1]) == 3


def test_a_folder_of_csv_files_is_read_like_one(tmp_path):
    (tmp_path / "d").mkdir()
    written(tmp_path / "d" / "train.csv", "text,label\na,None\nb,007\nc,None\n")
    written(tmp_path / "d" / "test.csv", "text,label\na,None\nb,007\n")
    assert load(tmp_path / "d", split="train")[0].class_names == ("007", "None")


def test_declared_classes_without_rows_are_one_note():
    label = datasets.ClassLabel(names=["no", "maybe", "yes"])
    rows = datasets.Dataset.from_dict(
        {"text": list("abcd"), "label": [0, 2, 0, 2]},
        features=datasets.Features({"text": datasets.Value("string"), "label": label}),
    )
    assert load(rows)[0].warnings == ("1 of the 3 classes that the data set declares has no rows here: maybe",)
    beyond = rows.with_format("arrow").map(lambda t: t.set_column(1, "label", [[1, 3, 1, 3]]), batched=True)
    with pytest.raises(TargetError, match=r"2 of 4 labels .* are outside its 3 declared classes"):
        load(datasets.Dataset(beyond.data, info=rows.info))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "int64"])
def test_sounds_of_integers_are_scaled_by_their_range(kind):
    half = 2 ** (int(kind.lstrip("uint")) - 1)
    centre = half if kind.startswith("u") else 0
    stored = [centre, centre + half // 2, centre - half]
    samples = {"array": datasets.List(datasets.Value(kind)), "sampling_rate": datasets.Value("int64")}
    rows = datasets.Dataset.from_dict(
        {"audio": [{"array": stored, "sampling_rate": 8000}] * 4, "label": [0, 1, 0, 1]},
        features=datasets.Features({"audio": samples, "label": datasets.Value("int64")}),
    )
    decoded = load(rows)[1]
    if kind == "int64":
        with pytest.raises(TargetError, match=r"samples of type int64, whose range is not known"):
            decoded[0]
    else:
        assert decoded[0]["audio"]["array"].tolist() == [0, 0.5, -1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("where", ["itself", "in a folder of images", "in a saved data set", "in a column of paths"])
@pytest.mark.parametrize("what", ["pipe", "link into /proc"])
def test_what_would_be_read_for_ever_is_named(tmp_path, where, what):
    name = {"itself": "rows.csv", "in a saved data set": "train/more.arrow"}.get(where, "images/a/odd.png")
    odd = tmp_path / name
    if where == "in a saved data set":
        rows = datasets.Dataset.from_dict({"text": ["a b", "c d", "e f"], "label": ["x", "y", "x"]})
        datasets.DatasetDict(train=rows).save_to_disk(tmp_path)
    elif where != "itself":
        class_folders(tmp_path / "images")
    if what == "pipe":
        os.mkfifo(odd)
    elif Path("/proc/self/status").exists():
        odd.symlink_to("/proc/self/status")
    else:
        pytest.skip("no /proc here")
    target = {"itself": odd, "in a folder of images": tmp_path / "images"}.get(where, tmp_path)
    if where == "in a column of paths":
        target = written(
            tmp_path / "pictures.csv", "path,label\nimages/a/odd.png,a\nimages/a/1.png,a\nimages/b/1.png,b\n"
        )
    with pytest.raises(TargetError, match=r"rows\.csv|more\.arrow|odd\.png"):
        load(target)
