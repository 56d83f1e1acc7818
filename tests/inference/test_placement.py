"""The path of a device that computes while Python goes on, with a stand-in for the device."""

import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from hf_leep.errors import CandidateError
from hf_leep.inference import forward, placement
from hf_leep.inference.loader import Loader
from hf_leep.inference.outputs import Arrays
from hf_leep.inference.processes import Processes
from hf_leep.records import Candidate
from tests.inference.test_feed import Classifier, Numbers


class Event:
    """Stands in for a CUDA event: results are there when it is waited for, and not before."""

    def __init__(self, log, batch, fill):
        self._log, self._batch, self._fill = log, batch, fill

    def synchronize(self):
        self._log.append(f"wait {self._batch}")
        self._fill()


class Device(placement.Placement):
    """A device whose results arrive only when they are waited for."""

    overlaps = True

    def __init__(self, log, *arguments):
        super().__init__(*arguments)
        self.log, self.started = log, 0

    def pinned(self, inputs):
        return {name: x.clone() for name, x in inputs.items()}

    def start_copying(self, results):
        self.started += 1
        self.log.append(f"start {self.started}")
        tensors = {name: torch.full_like(x, 1) for name, x in results.items()}  # NaN for flags, wrong numbers

        def fill():
            for name, x in results.items():
                tensors[name].copy_(x)

        return placement.Copies(tensors, Event(self.log, self.started, fill))


class Model(torch.nn.Module):
    def __init__(self, nan_at=None):
        super().__init__()
        self.head = torch.nn.Linear(1, 3)
        self._nan_at = nan_at

    def forward(self, x):
        logits = self.head(x)
        if self._nan_at is not None:
            logits[(x == 2 * self._nan_at).flatten()] = torch.nan
        return SimpleNamespace(logits=logits)


def run(model, rows, batch_size=8):
    classifier = Classifier(model=model)
    for name, value in {"head": model.head, "source_labels": ("a", "b", "c"), "missing": {}, "task": "x"}.items():
        setattr(classifier, name, value)
    classifier.processor_backend = classifier.max_length = classifier.max_seconds = None
    output = Arrays(rows)
    forward.run(
        classifier,
        Candidate("x"),
        Loader(Numbers(rows), budget=0),
        device=torch.device("cpu"),
        batch_size=batch_size,
        dtype=torch.float32,
        compiled=False,
        advance=lambda _rows: None,
        output=output,
        processes=Processes(),
    )
    return output.arrays(("probabilities", "features"), np.array([], dtype=np.int64))


@pytest.fixture
def log(monkeypatch):
    log = []
    monkeypatch.setattr(forward, "Placement", lambda *arguments: Device(log, *arguments))
    return log


def test_results_are_fetched_while_the_next_batch_runs(log, monkeypatch):
    model = Model()
    found = run(model, 28)
    assert log == ["start 1", "start 2", "wait 1", "start 3", "wait 2", "start 4", "wait 3", "wait 4"]
    monkeypatch.undo()
    expected = run(model, 28)
    for name in ("probabilities", "features"):
        assert np.array_equal(found[name], expected[name])


def test_nan_is_named_by_its_row_though_it_is_seen_a_batch_later(log):
    with pytest.raises(CandidateError, match=r"its outputs are NaN, first on row 11"):
        run(Model(nan_at=11), 28)
    assert log[-1] == "wait 2"


def test_a_device_that_sleeps_is_kept_busy():
    """The feed has half of the device's time for each batch: all but the first is hidden behind the device."""

    class Sleeps(Model):
        busy = 0.0

        def forward(self, x):
            time.sleep(0.02)
            self.busy += 0.02
            return super().forward(x)

    model = Sleeps()
    start = time.thread_time()
    run(model, 160)
    assert model.busy == pytest.approx(0.4)
    assert time.thread_time() - start < model.busy  # this thread hands over batches, and makes none
