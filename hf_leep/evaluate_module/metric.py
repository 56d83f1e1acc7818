"""The measures as `evaluate` metrics: what the modules in ``metric_card/`` share, which is everything but their text.

evaluate keeps predictions in an Arrow file until `compute`. Its own way there makes one Python object of every float;
here whole blocks go in as they are and come out as views of the memory-mapped file:

    [n, s] floats → float32, C order → Arrow lists over the same bytes → file → [n, s] view → measure

A module must not have another class of evaluate's in its namespace, since evaluate takes the first that it finds: so
the modules import this file as ``hf_leep.evaluate_module.metric`` and name no class but their own.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import datasets
import evaluate
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays, measures
from hf_leep.arrays import Integers
from hf_leep.errors import InputError, MeasureError
from hf_leep.measures.blocks import standard_error as _standard_error

_MAX_VALUES = 2**31 - 1  # Arrow's list offsets are 32-bit


class _TransferabilityMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate is untyped
    """A measure behind evaluate's interface: how inputs are taken in and kept. Subclasses score them.

    Attributes:
        measure: name of the measure in snake_case, which is the key of the result too.
    """

    measure: ClassVar[str]
    _width: int | None = None  # columns s or d of the batches so far

    # evaluate's, which is untyped
    writer: Any
    buf_writer: Any
    data: Any
    file_paths: list[str] | None
    filelocks: list[Any] | None

    def compute(
        self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None, **kwargs: Any
    ) -> dict[str, float] | None:
        """Score all examples that were added, and those passed here; then start afresh.

        Args:
            predictions: one row for each example, ``[n, s]`` or ``[n, d]``; left out where all were added before.
            references: target labels, ``[n]``: integers ≥ 0 or booleans.
            **kwargs: the options that the module lists.

        Returns:
            The scores by name; None in every process but the first (``process_id > 0``).

        Raises:
            InputError: no examples, wrong shapes or values; see the measure.
            MeasureError: an unknown option; the examples added so far are kept.
        """
        options = self._options()
        unknown = [name for name in kwargs if name not in options]
        if unknown:
            raise MeasureError(f"{self.measure} has no option {unknown[0]!r}; its options are {', '.join(options)}")
        if predictions is None and references is None and self.writer is None:
            raise InputError("nothing to score: pass predictions and references, or call add or add_batch first")
        self.file_paths = self.filelocks = None  # an earlier call's, which others may own by now
        try:
            scores: dict[str, float] | None = super().compute(predictions=predictions, references=references, **kwargs)
        except BaseException:
            self._discard()
            raise
        return scores

    def add_batch(self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None) -> None:
        """Add a batch of examples; batches may differ in length, and an empty one is fine.

        Args:
            predictions: one row for each example, ``[n, s]`` or ``[n, d]``, the same s or d in every batch.
            references: target labels, ``[n]``: integers ≥ 0 or booleans.

        Raises:
            InputError: a missing input, wrong shapes or types, a negative label; nothing of the batch is kept.
        """
        if predictions is None or references is None:
            missing = "predictions" if predictions is None else "references"
            raise InputError(f"{missing} are missing: each example needs a row of predictions and a target label")
        predictions, references = _host(predictions), _host(references)
        if _is_empty(predictions) and _is_empty(references):
            self._open()  # so that a process without examples still has a file for the others to find
            return
        matrix, codes = self._checked(predictions, references)
        self._open(matrix.shape[1])
        step = _MAX_VALUES // matrix.shape[1]
        for start in range(0, len(matrix), step):
            rows = slice(start, start + step)
            table = _table(matrix[rows], codes[rows])
            self.writer.write_table(table, writer_batch_size=len(table))  # one chunk, hence one view later

    def add(
        self,
        *,
        prediction: ArrayLike | None = None,
        reference: ArrayLike | None = None,
        predictions: ArrayLike | None = None,
        references: ArrayLike | None = None,
    ) -> None:
        """Add one example.

        Args:
            prediction: its row, ``[s]`` or ``[d]``.
            reference: its target label, an integer ≥ 0 or a boolean.
            predictions: the same as ``prediction``; `evaluate.combine` uses this name.
            references: the same as ``reference``.

        Raises:
            InputError: as for `add_batch`.
        """
        prediction = predictions if prediction is None else prediction
        reference = references if reference is None else reference
        if prediction is None or reference is None:
            missing = "prediction" if prediction is None else "reference"
            raise InputError(f"the {missing} is missing: each example needs a row of predictions and a target label")
        matrix, codes = self._checked(_one_row(_host(prediction)), _one_row(_host(reference)))
        self._open(matrix.shape[1])
        self.writer.write_row(_table(matrix.copy(), codes.copy()))  # not written at once: the caller may reuse the row

    def _checked(self, predictions: ArrayLike, references: ArrayLike) -> tuple[NDArray[np.float32], Integers]:
        """Coerce a batch to ``[n, s]`` float32 and ``[n]`` int64; a view where the input allows it."""
        if measures.find(self.measure).needs == "features":
            matrix, name = arrays.features(predictions), "features"
        else:
            matrix, name = arrays.probabilities(predictions), "probabilities"
        try:
            target = np.asarray(references)
        except ValueError as error:
            raise InputError(f"labels must be one-dimensional [n]: {error}") from None
        if target.ndim != 1:
            raise InputError(f"labels must be one-dimensional [n], got shape {target.shape}")
        if len(target) != len(matrix):
            raise InputError(f"got {len(matrix)} rows but {len(target)} labels; each row needs one label")
        if target.dtype.kind not in "iub":
            raise InputError(f"labels must be integers or booleans, got dtype {target.dtype}")
        if target.min() < 0:  # now, and not at the end of a long pass
            row = int(np.argmax(target < 0))
            raise InputError(
                f"label {target[row]} in row {row} of this batch is negative (unlabelled examples are often marked −1 "
                "or −100): drop these rows first"
            )
        if self.writer is not None and self._width is not None and matrix.shape[1] != self._width:
            raise InputError(
                f"{name} have {matrix.shape[1]} columns in this batch but {self._width} in the batches before it"
            )
        with np.errstate(over="ignore"):  # an infinity is reported by the measure, with its row
            return np.ascontiguousarray(matrix, dtype=np.float32), target.astype(np.int64, copy=False)

    def _open(self, width: int | None = None) -> None:
        """Open the file for examples unless it is open; in several processes, wait until all have theirs."""
        if self.writer is None:
            self.selected_feature_format = self.features
            self._init_writer()
            self._width = None
        self._width = width if self._width is None else self._width

    def _finalize(self) -> None:
        """Close the file and read it back; in memory without evaluate's fingerprint, which copies all of it twice."""
        if not self.keep_in_memory:
            super()._finalize()
            return
        if self.writer is not None:
            self.writer.finalize()
        self.writer = None
        table = datasets.table.InMemoryTable.from_buffer(self.buf_writer.getvalue())
        self.data = datasets.Dataset(table, fingerprint=self.experiment_id)

    def _options(self) -> list[str]:
        return list(inspect.signature(self._compute).parameters)[2:]  # after predictions and references

    def _discard(self) -> None:
        """Drop what a failed `compute` left, which evaluate doesn't: an open file, its lock, the data."""
        if self.writer is not None:  # it failed before the examples were closed: they can still be scored
            return
        self.data = self.buf_writer = None
        files = list(zip(self.filelocks or [], self.file_paths or [], strict=True))
        for lock, path in reversed(files):  # the first process's last, as evaluate does
            Path(path).unlink(missing_ok=True)
            lock.release()
        self.filelocks = self.file_paths = None

    def _scores(self, matrix: NDArray[np.float32], references: pa.ChunkedArray, error: bool) -> dict[str, float]:
        measure, target = measures.find(self.measure), references.to_numpy()
        if not error:
            return {self.measure: measure.function(matrix, target)}
        value, influence = measure.influence(matrix, target)
        return {self.measure: value, "standard_error": _standard_error(influence)}


class ProbabilityMetric(_TransferabilityMetric):
    """A measure of source probabilities, ``[n, s]``."""

    def _compute(
        self,
        predictions: pa.ChunkedArray,
        references: pa.ChunkedArray,
        from_logits: bool = False,
        standard_error: bool = False,
    ) -> dict[str, float]:
        return self._scores(_probabilities(predictions, from_logits), references, standard_error)


class FeatureMetric(_TransferabilityMetric):
    """A measure of penultimate features, ``[n, d]``."""

    def _compute(
        self, predictions: pa.ChunkedArray, references: pa.ChunkedArray, standard_error: bool = False
    ) -> dict[str, float]:
        return self._scores(_matrix(predictions), references, standard_error)


class LeepMetric(ProbabilityMetric):
    """LEEP, with its leave-one-out form beside it where asked for."""

    def _compute(
        self,
        predictions: pa.ChunkedArray,
        references: pa.ChunkedArray,
        from_logits: bool = False,
        standard_error: bool = False,
        leave_one_out: bool = False,
    ) -> dict[str, float]:
        theta = _probabilities(predictions, from_logits)
        scores = self._scores(theta, references, standard_error)
        if leave_one_out:
            scores["leave_one_out_leep"] = measures.leave_one_out_leep(theta, references.to_numpy())
        return scores


def info(
    description: str, citation: str, inputs_description: str, reference_urls: Sequence[str] = ()
) -> evaluate.MetricInfo:
    """What a module's ``_info`` returns: its own texts, and the types of inputs that all modules share."""
    made = evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description=inputs_description,
        features=datasets.Features(
            {"predictions": datasets.List(datasets.Value("float32")), "references": datasets.Value("int64")}
        ),
        reference_urls=list(reference_urls),
    )
    made.format = "arrow"  # the constructor refuses any format for lists, though it works
    return made


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Softmax of each row, ``[n, s] -> [n, s]``: computed in float64, kept in float32 as all predictions are.

    Raises:
        InputError: a row with NaN, +∞ or nothing but −∞.
    """
    probabilities = np.empty(logits.shape, dtype=np.float32)
    for rows, block in arrays.row_blocks(logits):
        highest = block.max(axis=1, keepdims=True)
        if not np.isfinite(highest).all():
            row = rows.start + int(np.argmin(np.isfinite(highest)))
            raise InputError(f"row {row} of the logits has no softmax: it holds NaN, +inf or nothing but -inf")
        block -= highest
        np.exp(block, out=block)
        block /= block.sum(axis=1, keepdims=True)
        probabilities[rows] = block
    return probabilities


def _host(values: Any) -> Any:
    """Bring in what numpy can't, or only slowly: a data set's lazy column, a tensor on a device, a bf16 tensor."""
    if isinstance(values, datasets.Column):
        values = values[:]  # numpy would fetch it one row at a time
    if hasattr(values, "detach"):  # a torch tensor
        values = values.detach().cpu()
        return (values.float() if values.is_floating_point() else values).numpy()
    return values


def _is_empty(values: Any) -> bool:
    shape = getattr(values, "shape", None)
    return shape[0] == 0 if shape else isinstance(values, list | tuple) and not values


def _one_row(values: Any) -> Any:
    return values[None] if hasattr(values, "shape") else [values]


def _table(matrix: NDArray[np.float32], codes: Integers) -> pa.Table:
    """Arrow lists over the bytes of a C-ordered matrix ``[n, s]``, beside the labels ``[n]``."""
    offsets = np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.reshape(-1)))
    return pa.table({"predictions": lists, "references": pa.array(codes)})


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Arrow lists back to ``[n, s]``: a view of one chunk, or one copy of several."""
    parts = [
        chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(chunk), -1) for chunk in column.chunks if len(chunk)
    ]
    if not parts:
        raise InputError("there are no examples (n = 0)")
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1:  # from different processes: each checks its own
        raise InputError(f"the processes added rows of different length: {widths[0]} and {widths[1]} columns")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _probabilities(column: pa.ChunkedArray, from_logits: bool) -> NDArray[np.float32]:
    matrix = _matrix(column)
    return softmax(matrix) if from_logits else matrix
