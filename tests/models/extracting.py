"""A data set through a classifier in one process, as the tests of all modalities run it."""

from dataclasses import dataclass

import numpy as np
import torch

from hf_leep import data
from hf_leep.inference import forward
from hf_leep.inference.loader import Loader
from hf_leep.inference.outputs import Arrays, combine
from hf_leep.inference.processes import Processes
from hf_leep.models import MODALITIES
from hf_leep.records import Candidate


def extract(classifier, dataset, batch_size=8, inputs=None, **options):
    """The extraction of a data set on a CPU."""
    target, rows = data.load(dataset, MODALITIES, inputs=inputs)
    return run_pass(classifier, rows, target.labels, batch_size=batch_size, **options)


def run_pass(
    classifier,
    rows,
    labels,
    *,
    batch_size=None,
    dtype=torch.float32,
    compiled=False,
    advance=lambda _rows: None,
    loader=None,
):
    """The extraction of rows, which may be a list, on a CPU."""
    rows = rows if hasattr(rows, "offsets") else Rows(rows)
    output = Arrays(len(labels))
    part = forward.run(
        classifier,
        Candidate("x"),
        loader or Loader(rows, budget=0),
        device=torch.device("cpu"),
        batch_size=batch_size,
        dtype=dtype,
        compiled=compiled,
        advance=advance,
        output=output,
        processes=Processes(),
    )
    groups = None if rows.offsets is None else np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
    return combine([part], output, labels, groups)


@dataclass
class Rows:
    """A list as the rows of a data set, one example each."""

    rows: list
    offsets: None = None

    def lengths(self):
        return None

    def __len__(self):
        return len(self.rows)

    def where(self, index):
        return f"row {index}"

    def read(self, positions):
        return [self[position] for position in positions]

    def __getitem__(self, index):
        return self.rows[index]
