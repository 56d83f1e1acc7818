"""What a worker is asked to do: judge a candidate, open the rows of the run, run a pass over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hf_leep.data.thumbnails import thumbnails as drawn
from hf_leep.inference.outputs import Arrays, PartialPass
from hf_leep.models import ADAPTERS, Inspection
from hf_leep.runs.passes import PassRequest, PassRunner
from hf_leep.store import Writer


@dataclass(frozen=True)
class Done:
    """A pass that a worker has run.

    Attributes:
        part: its report.
        kept: the arrays that are in the folder of the writer.
        arrays: those that are not, since nothing is kept or the disk is full.
    """

    part: PartialPass
    kept: tuple[str, ...]
    arrays: Mapping[str, NDArray[np.float32]]


@dataclass
class _Opened:
    """The rows that this worker has opened: those of the run, and the subset of them that was run last."""

    runners: dict[bytes, PassRunner] = field(default_factory=dict)


_ALL = b""
_opened = _Opened()


def inspect(
    modality: str, folder: Path, shapes: Mapping[str, Sequence[int]] | None, class_names: Sequence[str]
) -> Inspection:
    """Judge a candidate by its configuration and the shapes of its weights, as `hf_leep.models.Adapter.inspect` does.

    Args:
        modality: name of the modality.
        folder: a folder with its config.json.
        shapes: weight → shape, None where they are not known.
        class_names: names of the target's classes.

    Raises:
        CandidateError: it cannot be loaded as a classifier of this modality.
    """
    return ADAPTERS[modality].inspect(folder, shapes, class_names)


def reads_names(modality: str, folder: Path) -> bool:
    """Whether a candidate's pass depends on the names of the target's classes.

    Args:
        modality: name of the modality.
        folder: a folder with its config.json.
    """
    return ADAPTERS[modality].reads_names(folder)


def open_rows(runner: PassRunner, num_threads: int | None) -> None:
    """Open the rows of a run, for all passes that follow.

    Args:
        runner: runs passes over them.
        num_threads: number of threads of torch, where the caller has chosen it.
    """
    if num_threads is not None:
        import torch

        if runner.num_sharing > 1:
            os.environ.setdefault("RAYON_NUM_THREADS", str(num_threads))  # of tokenizers
        torch.set_num_threads(num_threads)
    _opened.runners = {_ALL: runner}


def thumbnails(row_ids: Sequence[int]) -> dict[int, bytes]:
    """Make small JPEGs of some of the rows that were opened.

    Args:
        row_ids: their positions in the split.
    """
    return drawn(_opened.runners[_ALL].rows, row_ids)


def run_pass(request: PassRequest, writer: Writer, *, advance: Callable[[int], object]) -> Done:
    """Run a pass over the rows that were opened, or over some of them.

    Args:
        request: the pass.
        writer: where its arrays go.
        advance: called after each batch with the number of rows that were run since.

    Raises:
        CandidateError: the candidate cannot be loaded or run.
        UserError: the device is not available, or a row cannot be decoded.
    """
    runner = _runner(request)
    output = Arrays(len(runner.target.labels), writer.allocate)
    (part,) = runner.run_share(request, output, advance)
    names = [name for name in ("probabilities", "features") if name not in part.missing]
    arrays, kept = output.arrays(names, np.empty(0, dtype=np.int64)), writer.written()
    return Done(part, kept, {name: array for name, array in arrays.items() if name not in kept})


def _runner(request: PassRequest) -> PassRunner:
    whole = _opened.runners[_ALL]
    if request.positions is None:
        return whole
    which = request.positions.tobytes()
    if which not in _opened.runners:  # the next candidates of a race run the same rows
        subset = whole.select(request.positions)
        _opened.runners = {_ALL: whole, which: subset}
    return _opened.runners[which]
