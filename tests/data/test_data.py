import io

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_leep import data
from hf_leep.errors import TargetError
from hf_leep.models import MODALITIES


def load(dataset, **options):
    return data.load(dataset, MODALITIES, **options)


def no_rows():
    table = pa.table({"text": ["a"], "label": [0]}).slice(0, 0)
    pq.write_table(table, written := io.BytesIO())  # one row group, of no rows
    return written.getvalue()


def relabelled(pictures, values, feature=None, name="label"):
    column = datasets.Dataset.from_dict(
        {name: values}, features=datasets.Features({name: feature}) if feature else None
    )
    return datasets.concatenate_datasets([pictures.select_columns(["image"]), column], axis=1)


def with_second_image(pictures, name):
    second = pictures.select_columns(["image"]).rename_column("image", name)
    return datasets.concatenate_datasets([pictures, second], axis=1)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=8), st.floats(0.05, 0.95), st.integers(0, 99))
def test_a_stratified_sample_keeps_the_proportions(counts, share, seed):
    codes = np.repeat(np.arange(len(counts)), counts)
    size = max(2, int(share * len(codes)))
    rows = data.stratified_sample(codes, size, np.random.default_rng(seed))
    assert len(rows) == size
    assert (np.diff(rows) > 0).all()  # ascending, none twice
    drawn = np.bincount(codes[rows], minlength=len(counts))
    assert (drawn <= counts).all()
    exact = size * np.array(counts) / len(codes)
    if size >= len(counts):
        assert (drawn >= 1).all()
    if (exact >= 1).all():
        assert (np.abs(drawn - exact) < 1).all()  # largest remainder


def test_a_sample_is_the_same_for_a_seed_and_another_for_another(pictures):
    first, _ = load(pictures, max_samples=12, seed=1)
    again, rows = load(pictures, max_samples=12, seed=1)
    other, _ = load(pictures, max_samples=12, seed=2)
    assert first.row_ids.tolist() == again.row_ids.tolist() != other.row_ids.tolist()
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert np.bincount(first.labels).tolist() == [4, 4, 4]
    assert len(rows) == 12
    assert np.array_equal(np.asarray(rows[3]["image"]), np.asarray(pictures[int(first.row_ids[3])]["image"]))
    assert set(rows[0]) == {"image"}


def test_the_target_says_what_was_chosen(pictures):
    target, _ = load(pictures)
    assert target.input_columns == ("image",)
    assert target.label_column == "label"
    assert target.class_names == ("red", "green", "blue")
    assert target.class_entropy == pytest.approx(np.log(3))
    assert (target.num_rows, len(target.labels)) == (60, 60)


def test_every_way_in_gives_the_same_rows(pictures, tmp_path):
    raw = pictures.cast_column("image", datasets.Image(decode=False)).remove_columns("label")
    pictures.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "folder").mkdir()
    pictures.to_parquet(tmp_path / "folder" / "train.parquet")
    datasets.DatasetDict(train=pictures).save_to_disk(tmp_path / "dict on disk")
    pictures.save_to_disk(tmp_path / "on disk")
    for index, row in enumerate(pictures.cast_column("image", datasets.Image(decode=False))):
        place = tmp_path / "images" / "train" / pictures.features["label"].names[row["label"]]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index:02}.png").write_bytes(row["image"]["bytes"])
    assert raw.num_rows == 60
    fingerprints = {
        str(way): load(way, split=split)[0].fingerprint
        for way, split in [
            (pictures, None),
            (datasets.DatasetDict(train=pictures, other=pictures.select([0])), "train"),
            (tmp_path / "rows.parquet", "train"),
            (tmp_path / "folder", "train"),
            (tmp_path / "dict on disk", "train"),
            (tmp_path / "on disk", None),
        ]
    }
    assert len(set(fingerprints.values())) == 1, fingerprints
    folder, _ = load(str(tmp_path / "images"), split="train")
    assert sorted(folder.class_names) == ["blue", "green", "red"]
    assert len(folder.labels) == 60


def test_split_slices_work_on_objects_and_files_alike(pictures, tmp_path):
    pictures.to_parquet(tmp_path / "rows.parquet")
    for way in (datasets.DatasetDict(train=pictures), tmp_path / "rows.parquet"):
        assert len(load(way, split="train[:50%]")[0].labels) == 30
        assert len(load(way, split="train[10:16]+train[:3]")[0].labels) == 9


def test_labels_may_be_integers_with_gaps_booleans_or_strings(pictures):
    names = np.array(["ant", "bee", "cow"])[np.arange(60) % 3]
    for values, classes in [
        ((np.arange(60) % 3 * 7).tolist(), ("0", "7", "14")),
        ((np.arange(60) % 2 == 0).tolist(), ("False", "True")),
        (names.tolist(), ("ant", "bee", "cow")),
    ]:
        target, _ = load(relabelled(pictures, values))
        assert target.class_names == classes
        assert set(target.labels) == set(range(len(classes)))


def test_columns_are_inferred_where_it_is_clear(pictures):
    two = pictures.rename_column("label", "species").add_column("size", [k // 2 for k in range(60)])
    assert load(two)[0].label_column == "species"  # the only ClassLabel
    assert load(two, label="size")[0].label_column == "size"
    assert load(pictures.add_column("fine", list(range(60))))[0].label_column == "label"
    assert load(with_second_image(pictures, "thumbnail"))[0].input_columns == ("image",)  # a column of that name wins


TWO_CLASSES = datasets.ClassLabel(names=["a", "b"])
BAD = {
    "no such file": (lambda p: "./nowhere.parquet", {}, r"./nowhere.parquet: no such file or folder"),
    "no such split": (
        lambda p: datasets.DatasetDict(train=p, valid=p),
        {"split": "test"},
        r"no split 'test'; it has train, valid",
    ),
    "which split": (lambda p: datasets.DatasetDict(a=p, b=p), {}, r"splits a, b: choose one with split"),
    "bad slice": (lambda p: datasets.DatasetDict(a=p), {"split": "a[::"}, r"no part 'a\[::' that can be read"),
    "no label": (
        lambda p: p.remove_columns("label"),
        {},
        r"no column can be the label .*: image \(Image\)",
    ),
    "typo in label": (
        lambda p: p,
        {"label": "lable"},
        r"no column 'lable' \(did you mean 'label'\?\): label can be label; the columns are image",
    ),
    "typo in input": (
        lambda p: p,
        {"inputs": "img"},
        r"no column 'img' .*: input can be image; the columns are image",
    ),
    "three inputs": (
        lambda p: p,
        {"inputs": ["image", "label", "label"]},
        r"input names 3 columns, .*; it can be at most 2",
    ),
    "label is no class": (
        lambda p: p.add_column("weight", [0.5] * 60),
        {"label": "weight"},
        r"column 'weight' holds float64, no classes \(if .weight. holds ratings .*\): label can be label",
    ),
    "ambiguous label": (
        lambda p: p.rename_column("label", "a").add_column("b", [0] * 60, feature=TWO_CLASSES),
        {},
        r"which column is the label\? label can be a, b",
    ),
    "both label and labels": (
        lambda p: p.add_column("labels", [0, 1] * 30),
        {},
        r"which column is the label\? label can be label, labels",
    ),
    "several images": (
        lambda p: with_second_image(p, "right").rename_column("image", "left"),
        {},
        r"which image column is the input\? input can be right, left|input can be left, right",
    ),
    "input is no image": (
        lambda p: p,
        {"input": "label"},
        r"input label \(ClassLabel\) cannot be the input \(videos, images, sounds, words or texts; only texts "
        r"can be two columns\): it can be image",
    ),
    "label is the image": (
        lambda p: p,
        {"label": "image"},
        r"column 'image' holds Image, no classes: label can be label",
    ),
    "unlabelled": (
        lambda p: relabelled(p, [-1, -1, 0, 1] * 15, datasets.ClassLabel(names=["x", "y"])),
        {},
        r"30 of 60 labels in column 'label' are -1, which usually marks rows without a label: drop these rows$",
    ),
    "label missing": (lambda p: relabelled(p, [None, 1, 0] * 20), {}, r"20 of 60 rows have no label"),
    "one class": (lambda p: p.filter(lambda r: r["label"] == 1), {}, r"all 20 labels in column 'label' are 'green'"),
    "empty": (lambda p: p.select([]), {}, r"there are no rows"),
    "one sample": (lambda p: p, {"max_samples": 1}, r"max_samples is 1"),
    "half a sample": (lambda p: p, {"max_samples": 9.5}, r"max_samples is 9.5; a score needs a whole number"),
    "no data set": (lambda p: "", {}, r"the data set has no name"),
    "a table": (lambda p: [{"text": "a"}], {}, r"the data set is a list: make a Dataset of it"),
    "a number": (lambda p: 3, {}, r"the data set is an int: make a Dataset of it"),
    "a revision of a folder": (lambda p: ".", {"revision": "v1"}, r"revision is for data sets on the Hub"),
    "image missing": (
        lambda p: datasets.Dataset.from_dict({"image": [None, p[0]["image"]], "label": [0, 1]}, features=p.features),
        {},
        r"1 of 2 rows has nothing in column 'image', row 0: drop it",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_target_is_one_clear_line(pictures, bad):
    make, options, message = BAD[bad]
    options = {"inputs" if key == "input" else key: value for key, value in options.items()}
    with pytest.raises(TargetError, match=message) as caught:
        load(make(pictures), **options)
    assert "\n" not in str(caught.value)


def test_a_configuration_that_a_local_data_set_does_not_have_is_refused(pictures, tmp_path):
    (tmp_path / "rows").mkdir()
    pictures.to_parquet(tmp_path / "rows" / "train.parquet")
    pictures.save_to_disk(tmp_path / "saved")
    for local in (tmp_path / "rows" / "train.parquet", tmp_path / "saved"):
        with pytest.raises(TargetError, match=f"{local} has no configurations: leave out config$"):
            load(local, config="colours")
    with pytest.raises(TargetError, match="rows has no configuration 'colours'; it has default$"):
        load(tmp_path / "rows", config="colours")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.parquet", b"not parquet", r"rows.parquet cannot be read \("),
        ("header.csv", b"text,label\n", r"header.csv: there are no rows"),
        ("no-rows.parquet", no_rows(), r"no-rows.parquet: there are no rows"),
        ("nothing.jsonl", b"", r"nothing.jsonl: the file is empty"),
        ("binary", b"x", r"binary is a file without an extension, which is not read: give one of .parquet, .csv"),
        ("rows.xlsx", b"", r"rows.xlsx is a '.xlsx' file, which is not read: give one of .parquet, .csv"),
        (
            "rows.csv",
            b"a,b\n1,2\n3,4\n",
            r"no column of videos, images, sounds, words or texts; the columns are a \(int64\), b \(int64\)",
        ),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TargetError, match=message) as caught:
        load(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_picture_that_cannot_be_decoded_is_named_by_its_row(pictures):
    raw = pictures.cast_column("image", datasets.Image(decode=False))
    images = raw["image"][:]
    images[4] = {"bytes": b"\x89PNG broken", "path": None}
    broken = datasets.Dataset.from_dict({"image": images, "label": pictures["label"][:]}, features=pictures.features)
    _, rows = load(broken)
    assert rows[3]["image"].size == (12, 12)
    with pytest.raises(TargetError, match=r"row 4 of the split cannot be decoded"):
        rows[4]


def test_repeated_rows_are_counted_and_warned_about(pictures):
    twice = datasets.concatenate_datasets([pictures, pictures.select(range(7))])
    target, _ = load(twice)
    assert target.num_duplicates == 7
    assert (
        "7 of 67 rows repeat an earlier row exactly (none with another label), which biases leave-one-out scores"
        in target.warnings[0]
    )
    flipped = relabelled(
        datasets.concatenate_datasets([pictures, pictures.select([0])]), [0, 1, 2] * 20 + [1], datasets.Value("int64")
    )
    said = load(flipped)[0].warnings[0]
    assert (
        "1 of 61 rows repeats an earlier row exactly (1 with another label), which biases leave-one-out scores" in said
    )
    assert load(pictures)[0].warnings == ()


@pytest.mark.parametrize("split", ["test", "test[:50%]", "train+test[:50%]", "test_matched", None])
def test_test_rows_are_warned_about(pictures, split):
    everything = datasets.DatasetDict(test=pictures)
    if split is not None:
        everything |= {"train": pictures, "test_matched": pictures}
    target, _ = load(datasets.DatasetDict(everything), split=split)
    assert "these are test rows" in target.warnings[0]


def test_rows_of_other_splits_are_not_warned_about(pictures, tmp_path):
    pictures.to_parquet(tmp_path / "testing.parquet")
    assert load(tmp_path / "testing.parquet", split="train")[0].warnings == ()
    assert load(datasets.DatasetDict(testament=pictures))[0].warnings == ()


def test_a_format_or_transform_of_the_callers_changes_nothing(pictures):
    plain, _ = load(pictures)
    for changed in (pictures.with_format("torch"), pictures.with_transform(lambda rows: {"label": rows["label"]})):
        target, rows = load(changed)
        assert target.fingerprint == plain.fingerprint
        assert rows[0]["image"].size == (12, 12)


def test_an_explicit_label_is_no_candidate_for_the_input(tmp_path):
    (tmp_path / "a[1].CSV").write_text("review,sentiment\ngood one,pos\nbad one,neg\n")
    target, _ = load(tmp_path / "a[1].CSV", label="sentiment")
    assert (target.input_columns, target.class_names) == (("review",), ("neg", "pos"))


def test_pairs_do_not_run_together():
    def fingerprint(first, second):
        rows = {"text1": [first, "x"], "text2": [second, "y"], "label": [0, 1]}
        return load(datasets.Dataset.from_dict(rows))[0].input_fingerprint

    assert fingerprint("a\0b", "c") != fingerprint("a", "b\0c")


def test_classes_that_a_sample_leaves_out_are_warned_about(pictures):
    assert "cannot hold all 3 classes" in load(pictures, max_samples=2)[0].warnings[0]


WORDS = datasets.List(datasets.Value("string"))
TAGS = datasets.List(datasets.ClassLabel(names=["O", "PER", "LOC"]))
NUMBERS = datasets.List(datasets.Value("int64"))


def of_words(features, **columns):
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def three_sentences(**changes):
    columns = {"tokens": [["Ada", "ran"], [], ["to", "Rio", "."]], "ner_tags": [[4, -100], [], [-100, 7, 0]]}
    return of_words({"tokens": WORDS, "ner_tags": NUMBERS}, **{**columns, **changes})


def test_the_examples_are_the_labelled_words(tagged):
    target, rows = load(three_sentences())
    assert (target.modality, target.input_columns, target.label_column) == ("token", ("tokens",), "ner_tags")
    assert target.class_names == ("0", "4", "7")
    assert target.labels.tolist() == [1, 2, 0]
    assert target.sentences.tolist() == [0, 1, 1]
    assert target.row_ids.tolist() == [0, 2]  # the empty sentence is none
    assert (target.num_rows, len(rows)) == (2, 2)
    assert rows.offsets.tolist() == [0, 1, 3]
    assert rows.lengths().tolist() == [2, 3]
    assert rows[1] == {"tokens": {"words": ["to", "Rio", "."], "labelled": [1, 2]}}

    target, rows = load(tagged)
    flat = [tag for tags in tagged.with_format("arrow")["ner_tags"].to_pylist() for tag in tags if tag != -100]
    assert target.labels.tolist() == flat
    assert target.class_names == ("O", "PER", "LOC")
    assert (len(rows), target.num_rows) == (39, 39)
    assert [len(rows[k]["tokens"]["labelled"]) for k in range(39)] == np.bincount(target.sentences).tolist()


def test_a_sample_of_words_is_of_whole_sentences_drawn_at_random(tagged):
    first, rows = load(tagged, max_samples=10, seed=1)
    again, _ = load(tagged, max_samples=10, seed=1)
    other, _ = load(tagged, max_samples=10, seed=2)
    whole, _ = load(tagged)
    assert first.row_ids.tolist() == again.row_ids.tolist() != other.row_ids.tolist()
    assert len(first.row_ids) == len(rows) == 10
    assert first.num_rows == 39
    assert 7 not in first.row_ids  # it has no labelled word
    chosen = np.isin(whole.row_ids[whole.sentences], first.row_ids)
    assert len(first.labels) == chosen.sum()
    assert [first.class_names[y] for y in first.labels] == [whole.class_names[y] for y in whole.labels[chosen]]
    assert "the words are of 10 sentences" in first.warnings[1]
    assert len(whole.warnings) == 1  # of the row without a labelled word
    rare = three_sentences(tokens=[["a", "b"], ["b", "a"], ["c", "d"]], ner_tags=[[0, 1], [0, 1], [0, 2]])
    warned = [load(rare, max_samples=2, seed=seed)[0].warnings[-1] for seed in range(10)]
    assert any("1 of 3 classes does not occur in the 2 sentences of the sample" in warning for warning in warned)


def test_labels_of_words_may_be_classes_integers_booleans_or_strings(tagged, tmp_path):
    names = [[["O", "PER", "LOC"][tag] for tag in tags] for tags in [[0, 1], [2, 0]]]
    for values, feature, classes in [
        ([[0, 1], [2, 0]], TAGS, ("O", "PER", "LOC")),
        ([[0, 1], [2, 0]], datasets.List(datasets.Value("uint8")), ("0", "1", "2")),
        (names, WORDS, ("LOC", "O", "PER")),
        ([[True, False], [True, True]], datasets.List(datasets.Value("bool")), ("False", "True")),
    ]:
        found = of_words({"words": WORDS, "tags": feature}, words=[["a", "b"], ["c", "d"]], tags=values)
        assert load(found)[0].class_names == classes
        found.to_parquet(tmp_path / "words.parquet")
        found.to_json(tmp_path / "words.jsonl")
        assert load(tmp_path / "words.parquet")[0].class_names == classes
        assert len(load(tmp_path / "words.jsonl")[0].labels) == 4


def two(feature, *values):
    return {"feature": feature, "values": [list(value) for value in values] if values else [["a", "b"], ["c", "d"]]}


W, T, N = two(WORDS), two(TAGS, [0, 1], [2, 0]), two(NUMBERS, [0, 1], [2, 0])
TEXT = {"feature": datasets.Value("string"), "values": ["a b", "c d"]}
ROW_CLASS = {"feature": datasets.ClassLabel(names=["no", "yes"]), "values": [0, 1]}


def table(**columns):
    features = {name: column["feature"] for name, column in columns.items()}
    return of_words(features, **{name: column["values"] for name, column in columns.items()})


@pytest.mark.parametrize(
    ("columns", "options", "expected"),
    [
        ({"id": TEXT, "tokens": W, "ner_tags": T}, {}, ("token", ("tokens",), "ner_tags")),
        ({"id": TEXT, "tokens": W, "ner_tags": N}, {}, ("token", ("tokens",), "ner_tags")),
        ({"tokens": W, "tags": W}, {}, ("token", ("tokens",), "tags")),
        ({"tokens": W, "spans": W, "langs": W, "ner_tags": T}, {}, ("token", ("tokens",), "ner_tags")),
        ({"tokens": W, "lemmas": W, "upos": T, "head": W}, {}, ("token", ("tokens",), "upos")),
        ({"sentence": W, "labels": N, "text": TEXT}, {}, ("token", ("sentence",), "labels")),
        ({"tokens": W, "ner_tags": T, "pos_tags": T}, {"label": "pos_tags"}, ("token", ("tokens",), "pos_tags")),
        ({"tokens": W, "lemmas": W, "tags": T}, {"inputs": "lemmas"}, ("token", ("lemmas",), "tags")),
        ({"text": TEXT, "tokens": W, "kind": W}, {"label": "kind"}, ("token", ("tokens",), "kind")),
        ({"text": TEXT, "tokens": W, "ner_tags": T, "label": ROW_CLASS}, {}, ("text", ("text",), "label")),
        ({"text": TEXT, "tokens": W, "ner_tags": T, "kind": ROW_CLASS}, {}, ("text", ("text",), "kind")),
        ({"text": TEXT, "tokens": W, "spans": W, "label": ROW_CLASS}, {}, ("text", ("text",), "label")),
        ({"text": TEXT, "tokens": W, "tags": T, "kind": TEXT}, {"label": "kind"}, ("text", ("text",), "kind")),
    ],
)
def test_columns_of_words_are_inferred_where_it_is_clear(columns, options, expected):
    target, _ = load(table(**columns), **options)
    assert (target.modality, target.input_columns, target.label_column) == expected


@pytest.mark.parametrize(
    ("found", "options", "message"),
    [
        (
            table(tokens=W, ner_tags=T, pos_tags=T),
            {},
            r"which column is the label\? label can be ner_tags, pos_tags$",
        ),
        (
            table(tokens=W, ner_tags=N, pos_tags=N),
            {},
            r"which column is the label\? label can be ner_tags, pos_tags$",
        ),
        (table(form=W, lemma=W, ner_tags=T), {}, r"which token column is the input\? input can be form, lemma"),
        (
            table(tokens=W, tags=T),
            {"label": "tag"},
            r"no column 'tag' \(did you mean 'tags'\?\)",
        ),
        (table(tokens=W, tags=T), {"inputs": "tags"}, r"input tags \(list of ClassLabel\) cannot be the input"),
        (table(text=TEXT, tokens=W, kind=W), {}, r"labels of words are chosen with label: tokens, kind"),
        (table(text=TEXT, labels=T), {"label": "labels"}, r"column 'labels' holds list of ClassLabel, no classes"),
        (three_sentences(ner_tags=[[1, 2], [], [0, 1]]), {}, r"row 2 has 3 words in column 'tokens' but 2 labels in"),
        (three_sentences(ner_tags=[[1, -1], [], [0, -1, 1]]), {}, r"2 of 5 labels in column 'ner_tags' are -1"),
        (three_sentences(ner_tags=[[-100] * 2, [], [-100] * 3]), {}, r"no word has a label in column 'ner_tags'"),
        (three_sentences(ner_tags=[[1, -100], [], [1, 1, 1]]), {}, r"all 4 labels in column 'ner_tags' are '1'"),
        (three_sentences(ner_tags=[[1, None], [], [1, 0, 1]]), {}, r"column 'ner_tags' lacks 1 of 5 labels: .* −100"),
        (three_sentences(tokens=[["a", None], [], ["b"] * 3]), {}, r"column 'tokens' lacks 1 of 5 words"),
        (
            three_sentences(tokens=[["a", "b"], None, ["b"] * 3]),
            {},
            r"1 of 3 rows has nothing in column 'tokens', row 1: drop it",
        ),
        (
            three_sentences(ner_tags=[[1, 0], None, [1, 0, 1]]),
            {},
            r"1 of 3 rows has no label in column 'ner_tags', row 1: drop it",
        ),
    ],
)
def test_bad_words_are_one_clear_line(found, options, message):
    with pytest.raises(TargetError, match=message) as caught:
        load(found, **options)
    assert "\n" not in str(caught.value)


def test_the_fingerprint_of_words_covers_their_order_their_sentences_and_which_are_labelled():
    def fingerprint(tokens, tags):
        return load(of_words({"tokens": WORDS, "tags": NUMBERS}, tokens=tokens, tags=tags))[0].input_fingerprint

    plain = fingerprint([["a", "b"], ["c"]], [[0, 1], [0]])
    assert plain == fingerprint([["a", "b"], ["c"]], [[1, 1], [0]])  # what the labels are is not the model's affair
    others = [
        fingerprint([["b", "a"], ["c"]], [[0, 1], [0]]),
        fingerprint([["a"], ["b", "c"]], [[0], [1, 0]]),
        fingerprint([["ab", ""], ["c"]], [[0, 1], [0]]),
        fingerprint([["a", "b"], ["c"]], [[-100, 1], [0]]),
        fingerprint([["a", "b"], ["c"]], [[1, -100], [0]]),
    ]
    assert len({plain, *others}) == 6


def test_repeated_sentences_are_counted_and_warned_about():
    found = three_sentences(tokens=[["a", "b"]] * 4, ner_tags=[[0, 1], [0, 1], [0, 0], [1, -100]])
    target, _ = load(found)
    assert target.num_duplicates == 3
    assert "3 of 4 sentences repeat an earlier sentence exactly (2 with another label)" in target.warnings[-1]


def test_a_stream_of_sentences_is_sampled_like_any_other(tagged, tmp_path):
    tagged.to_parquet(tmp_path / "train.parquet")
    stream = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "train.parquet"), streaming=True, split="train"
    )
    target, rows = load(stream, max_samples=12)
    assert (target.modality, len(rows), target.streamed) == ("token", len(target.row_ids), True)
    assert len(target.labels) == rows.offsets[-1]
    whole, _ = load(stream, max_samples=100)
    assert np.array_equal(np.bincount(whole.labels), np.bincount(load(tagged)[0].labels))
    assert (whole.num_rows, whole.streamed) == (39, False)


def test_a_saved_data_set_of_no_rows_says_so(tmp_path):
    datasets.Dataset.from_dict({"text": [], "label": []}).save_to_disk(tmp_path / "saved")
    with pytest.raises(TargetError, match="saved: there are no rows"):
        load(tmp_path / "saved")
