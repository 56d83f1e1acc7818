"""Rows shared by the candidates of a run: the same inputs, with less work."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from PIL import Image

from hf_leep.inference.loader import Loader
from hf_leep.models import MODALITIES

ROW = 3 * 4 * 4 * 4  # bytes of a processed row


@dataclass
class Rows:
    """Pictures that count how often each is decoded."""

    n: int
    decoded: list = field(default_factory=list)
    offsets: None = None

    def __len__(self):
        return self.n

    def read(self, positions):
        return [self[position] for position in positions]

    def __getitem__(self, position):
        self.decoded.append(position)
        return {"image": Image.fromarray(np.full((4, 4, 3), position, dtype=np.uint8))}


@dataclass
class Classifier:
    """A processor that counts how often each row is processed."""

    processor: str = "a"
    row_wise: bool = True
    seen: list = field(default_factory=list)

    def collate(self, rows):
        pixels = torch.stack([torch.from_numpy(np.array(row["image"])).permute(2, 0, 1).float() for row in rows])
        self.seen += [int(x[0, 0, 0]) for x in pixels]
        return {"pixel_values": pixels}


def values(batch):
    return batch["pixel_values"][:, 0, 0, 0].tolist()


@pytest.mark.parametrize("fits", [0, 3, 10, 100])
def test_each_row_is_processed_once_as_far_as_the_budget_holds(fits):
    rows, first, second = Rows(10), Classifier(), Classifier()
    loader = Loader(rows, budget=fits * ROW * 4 // 3 + 1 if fits else 0)
    for classifier in (first, second):
        for start in (0, 4, 8):
            positions = list(range(start, min(start + 4, 10)))
            assert values(loader.batch(classifier, positions)) == positions
    assert first.seen == list(range(10))
    assert second.seen == list(range(min(fits, 10), 10))


def test_a_batch_of_kept_and_new_rows_is_in_order():
    loader, classifier = Loader(Rows(10), budget=10**6), Classifier()
    loader.batch(classifier, [7, 2, 5])
    assert values(loader.batch(classifier, [5, 1, 7, 3, 2])) == [5, 1, 7, 3, 2]
    assert classifier.seen == [7, 2, 5, 1, 3]


def test_other_processors_share_what_is_decoded_and_the_oldest_makes_room():
    rows = Rows(4)
    loader = Loader(rows, budget=6 * ROW * 4 // 3)  # four decoded rows, and six processed ones
    a, b = Classifier("a"), Classifier("b")
    for classifier in (a, b, b, a):
        assert values(loader.batch(classifier, [0, 1, 2, 3])) == [0, 1, 2, 3]
    assert a.seen == [0, 1, 2, 3] * 2
    assert b.seen == [0, 1, 2, 3]
    assert rows.decoded == [0, 1, 2, 3]


def test_rows_that_depend_on_their_batch_are_never_kept():
    loader, classifier = Loader(Rows(4), budget=10**6), Classifier(row_wise=False)
    for _ in range(2):
        assert values(loader.batch(classifier, [0, 1])) == [0, 1]
    assert classifier.seen == [0, 1, 0, 1]


def test_texts_come_longest_first(texts):
    from hf_leep import data

    _, rows = data.load(texts, MODALITIES, inputs="text")
    lengths = np.array([len(text) for text in texts["text"]])
    assert rows.lengths().tolist() == lengths.tolist()
    order = Loader(rows, budget=0).order()
    assert sorted(order.tolist()) == list(range(len(texts)))
    assert (np.diff(lengths[order]) <= 0).all()
    _, pairs = data.load(texts, MODALITIES, inputs="text,second")
    assert pairs.lengths().tolist() == [len(r["text"]) + len(r["second"]) for r in texts]
