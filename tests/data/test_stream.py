"""A sample of a stream: evenly spread, the same for a seed, and only a part of it read."""

import datasets
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_leep import data
from hf_leep.data.stream import fair_shares, sample
from hf_leep.errors import TargetError
from hf_leep.models import MODALITIES


def stream_of(shards, seen=None):
    """A stream with these numbers of rows in its shards; row k of shard s says so, and is noted in ``seen``."""

    def rows(which):
        for shard in which:
            for row in range(shards[shard]):
                if seen is not None:
                    seen.append((shard, row))
                yield {"text": f"{shard}/{row}", "label": shard}

    names = datasets.ClassLabel(names=[f"class {shard}" for shard in range(len(shards))])
    features = datasets.Features({"text": datasets.Value("string"), "label": names})
    return datasets.IterableDataset.from_generator(
        rows, gen_kwargs={"which": list(range(len(shards)))}, features=features
    )


def drawn(stream, size, seed=0):
    return sample(stream, size, seed, "it", None)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=9), st.integers(0, 300))
def test_shares_are_as_even_as_the_limits_allow(limits, size):
    shares = fair_shares(size, limits)
    assert shares.sum() == min(size, sum(limits))
    assert (shares <= limits).all()
    not_full = shares[shares < limits]
    if not_full.size:  # nobody has more than one beyond those who could have had more
        assert shares.max() - not_full.min() <= 1


@pytest.mark.parametrize(
    ("shards", "size"), [([50] * 4, 40), ([3, 500, 2, 90], 200), ([1] * 700, 300), ([2500], 60), ([9] * 40, 350)]
)
def test_it_is_as_large_as_asked_and_no_row_comes_twice(shards, size):
    found = drawn(stream_of(shards), size)
    texts = found.dataset["text"][:]
    assert len(texts) == len(set(texts)) == size
    assert not found.whole
    for text, label in zip(texts, found.dataset["label"], strict=True):
        assert text.startswith(f"{label}/")


def test_the_seed_decides():
    first, again, other = (drawn(stream_of([50] * 50), 60, seed).dataset["text"][:] for seed in (1, 1, 2))
    assert first == again
    assert set(first) != set(other)


def test_a_sample_larger_than_the_stream_is_the_stream():
    found = drawn(stream_of([3, 0, 50]), 60)
    assert found.whole
    assert sorted(found.dataset["text"]) == sorted([f"0/{k}" for k in range(3)] + [f"2/{k}" for k in range(50)])
    many = drawn(stream_of([1] * 200), 300)  # more shards than are drawn at first
    assert many.whole
    assert len(many.dataset) == 200
    target, _ = data.load(stream_of([3, 4]), MODALITIES, max_samples=60)
    assert not target.streamed
    assert target.warnings == ()


def test_shards_that_are_drawn_together_do_not_lie_together():
    shards = np.sort(drawn(stream_of([1] * 2000), 128).dataset["label"])
    assert (np.diff(shards) == 1).sum() < 20
    assert np.bincount(shards // 400).min() >= 16


def test_few_rows_of_few_shards_are_read():
    seen = []
    found = drawn(stream_of([20_000] * 100, seen), 160)
    assert (found.num_parts, found.num_shards) == (32, 100)
    assert np.bincount(found.dataset["label"]).max() == 5  # an equal share of each
    shards = sorted({shard for shard, _ in seen})
    assert len(shards) == 32
    assert shards[0] < 4 < 96 <= shards[-1] + 1  # one from each stretch of the list
    assert len(seen) == 32 * 1000


def test_long_shards_are_read_from_their_start_and_every_row_read_is_as_likely():
    counts = np.zeros(1000)
    for seed in range(60):
        for text in drawn(stream_of([5000]), 50, seed).dataset["text"]:
            counts[int(text.split("/")[1])] += 1
    assert counts.sum() == 60 * 50
    halves = counts.reshape(2, 500).sum(axis=1)
    # Each half's count is hypergeometric in each go: standard deviation below √(3000/4) = 27.4 in all.
    assert abs(halves[0] - 1500) < 5 * 27.4


def test_pictures_come_as_they_were_stored(pictures):
    stream = pictures.to_iterable_dataset(num_shards=6)
    target, rows = data.load(stream, MODALITIES, max_samples=24)
    assert target.streamed
    assert target.dataset == "an IterableDataset object"
    assert target.row_ids.tolist() == list(range(24))
    assert target.class_names == ("red", "green", "blue")
    stored = {r["image"]["bytes"]: r["label"] for r in pictures.cast_column("image", datasets.Image(decode=False))}
    raw = rows.dataset.cast_column("image", datasets.Image(decode=False))
    assert [stored[row["image"]["bytes"]] for row in raw] == target.labels.tolist()
    assert rows[3]["image"].size == (12, 12)
    again, _ = data.load(datasets.IterableDatasetDict(train=stream), MODALITIES, split="train", max_samples=24)
    assert again.fingerprint == target.fingerprint


def test_files_that_rows_only_name_are_all_considered_and_only_the_chosen_ones_read(tmp_path, pictures):
    for index, row in enumerate(pictures):
        place = tmp_path / "train" / f"{row['label']}"
        place.mkdir(parents=True, exist_ok=True)
        row["image"].save(place / f"{index:02}.png")
    stream = datasets.load_dataset("imagefolder", data_dir=str(tmp_path), split="train", streaming=True)
    target, rows = data.load(stream, MODALITIES, max_samples=30, seed=1)
    assert np.bincount(target.labels).min() >= 4
    kept = {bytes(r["image"]["bytes"]) for r in rows.dataset.cast_column("image", datasets.Image(decode=False))}
    assert len(kept) == 30
    gone = next(p for p in sorted(tmp_path.rglob("*.png")) if p.read_bytes() not in kept)
    gone.unlink()
    assert data.load(stream, MODALITIES, max_samples=30, seed=1)[0].fingerprint == target.fingerprint


def test_rows_that_only_name_a_file_do_not_count_as_read(tmp_path, pictures):
    pictures[0]["image"].save(tmp_path / "one.png")
    rows = [{"image": {"bytes": None, "path": str(tmp_path / "one.png")}, "label": k // 2000} for k in range(4000)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    stream = datasets.IterableDataset.from_generator(lambda: iter(rows), features=features)
    target, _ = data.load(stream, MODALITIES, max_samples=40)
    assert np.bincount(target.labels).min() >= 8


def test_a_stream_without_features_gets_those_of_its_rows():
    rows = [{"text": f"words {k}", "label": None if k == 0 else "ab"[k % 2]} for k in range(10)]
    stream = datasets.IterableDataset.from_generator(lambda: iter(rows[1:]))
    target, _ = data.load(stream, MODALITIES, max_samples=5)
    assert target.class_names == ("a", "b")
    with pytest.raises(TargetError, match="1 of 10 rows has no label"):
        data.load(datasets.IterableDataset.from_generator(lambda: iter(rows)), MODALITIES, max_samples=10)


def test_what_the_sample_is_and_lacks_is_said():
    target, _ = data.load(stream_of([100] * 70), MODALITIES, max_samples=64)
    caveat, missing = target.warnings
    assert caveat.startswith("a streamed sample, not stratified: 64 rows from 32 places of a split of 70 shards")
    assert missing.startswith("38 of the 70 classes do not occur in the streamed sample")
    assert len(target.class_names) == 32


def _breaks():
    yield {"text": "a", "label": 0}
    raise OSError("the line\nis cut")


WRONG = {
    "no size": (
        lambda: stream_of([5, 5]),
        {},
        "a streaming data set is sampled: say how many rows with max_samples",
    ),
    "no size by name": (lambda: "user/data", {"streaming": True}, r"say how many rows with max_samples"),
    "a slice": (
        lambda: datasets.IterableDatasetDict(a=stream_of([5, 5]), b=stream_of([5])),
        {"split": "a[:3]", "max_samples": 4},
        r"'a\[:3\]' of .* cannot be streamed: choose a whole split of a, b",
    ),
    "no such split": (
        lambda: datasets.IterableDatasetDict(a=stream_of([5, 5])),
        {"split": "c", "max_samples": 4},
        "no split 'c'; it has a",
    ),
    "which split": (
        lambda: datasets.IterableDatasetDict(a=stream_of([5]), b=stream_of([5])),
        {"max_samples": 4},
        "splits a, b: choose one",
    ),
    "a folder": (lambda: ".", {"streaming": True, "max_samples": 4}, "streaming is for data sets on the Hub"),
    "an object": (
        lambda: datasets.Dataset.from_dict({"text": ["a"], "label": [0]}),
        {"streaming": True, "max_samples": 4},
        "a Dataset object is on this machine",
    ),
    "offline": (
        lambda: "user/data",
        {"streaming": True, "max_samples": 4},
        "streaming reads user/data from the Hub, and HF_HUB_OFFLINE is set",
    ),
    "empty": (lambda: stream_of([0, 0]), {"max_samples": 4}, "there are no rows"),
    "broken": (
        lambda: datasets.IterableDataset.from_generator(_breaks),
        {"max_samples": 4},
        "an IterableDataset object cannot be streamed \\(the line is cut",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_call_is_one_clear_line(wrong):
    make, options, message = WRONG[wrong]
    with pytest.raises(TargetError, match=message) as caught:
        data.load(make(), MODALITIES, **options)
    assert "\n" not in str(caught.value)
