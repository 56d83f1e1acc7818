"""The measures as `evaluate` metrics: everything that the modules in ``metric_card/`` share.

evaluate keeps predictions in an Arrow file until `compute`. Its own code turns every float into a Python object; this
code writes whole blocks and reads them back as views of the memory-mapped file:

    [n, s] floats → float32, C order → Arrow lists over the same bytes → file → [n, s] view → measure

evaluate loads the first class derived from its own that it finds in a module's namespace. So the modules import this
file as ``hf_leep.evaluate_module.metric`` and import no class from it by name.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import datasets
import evaluate
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from hf_leep import arrays, measures
from hf_leep.arrays import Float64, FloatMatrix, Integers
from hf_leep.errors import InputError, MeasureError
from hf_leep.evaluate_module import inputs, pipelines
from hf_leep.text import counted

if TYPE_CHECKING:
    from filelock import BaseFileLock

_MIXED = "batches mix top predictions [n] with rows of probabilities, or names with numbers"
_MAX_VALUES = 2**31 - 1  # Arrow's list offsets are 32-bit


class _TransferabilityMetric(evaluate.Metric):  # type: ignore[misc]  # evaluate is untyped
    """A measure with evaluate's interface: collects and checks the examples. Subclasses score them.

    Attributes:
        measure: name of the measure in snake_case, which is also the key of the result.
    """

    measure: ClassVar[str]
    _width: int | None = None  # number of columns s or d of the batches so far
    _half = False  # whether any of them was in half precision
    _classes: list[str] | None = None  # names of the columns, where they are outputs of pipelines
    _takes_top_predictions: ClassVar[bool] = False  # whether predictions may be hard source labels [n]

    # Attributes of evaluate.Metric, which is untyped. All are None before the first example.
    writer: datasets.arrow_writer.ArrowWriter
    buf_writer: pa.BufferOutputStream
    data: datasets.Dataset
    file_paths: list[str] | None
    filelocks: list[BaseFileLock] | None

    def compute(
        self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None, **options: bool
    ) -> dict[str, float] | None:
        """Score all examples that were added, and those passed here, and start afresh.

        Args:
            predictions: one row per example, ``[n, s]`` or ``[n, d]``, or outputs of a pipeline with ``top_k=None``;
                omitted if all examples were added before.
            references: target labels, ``[n]``: integers ≥ 0 or booleans.
            **options: the options that the module lists.

        Returns:
            The scores by name; None in every process but the first (``process_id > 0``).

        Raises:
            InputError: no examples, wrong shapes or values; see the measure.
            MeasureError: an unknown option; the examples that were added are kept.
        """
        known = self._options()
        unknown = [name for name in options if name not in known]
        if unknown:
            raise MeasureError(f"{self.measure} has no option {unknown[0]!r}; its options are {', '.join(known)}")
        if predictions is None and references is None and self.writer is None:
            raise InputError("nothing to score: pass predictions and references, or call add or add_batch first")
        self.file_paths = self.filelocks = None  # those of an earlier call, which others may use by now
        try:
            scores: dict[str, float] | None = super().compute(
                predictions=predictions, references=references, **options
            )
        except BaseException:
            self._discard()
            raise
        return scores

    def add_batch(self, *, predictions: ArrayLike | None = None, references: ArrayLike | None = None) -> None:
        """Add a batch of examples; batches may differ in length, and a batch may be empty.

        Args:
            predictions: one row per example, ``[n, s]`` or ``[n, d]``, with the same s or d in every batch; or outputs
                of a pipeline with ``top_k=None``.
            references: target labels, ``[n]``: integers ≥ 0 or booleans.

        Raises:
            InputError: a missing input, wrong shapes or types, or a negative label; nothing of the batch is added.
        """
        if predictions is None or references is None:
            missing = "predictions" if predictions is None else "references"
            raise InputError(f"{missing} are missing: each example needs a row of predictions and a target label")
        half = arrays.is_half(predictions)
        predictions, references = inputs.on_cpu(predictions), inputs.on_cpu(references)
        if inputs.is_empty(predictions) and inputs.is_empty(references):
            self._open()  # in several processes, the first one waits for a file from each
            return
        if (hard := self._top_predictions(predictions)) is not None:
            self._write_top_predictions(hard, self._target(references, len(hard)))
            return
        matrix, codes = self._checked(predictions, references)
        self._open(matrix.shape[1], half)
        step = _MAX_VALUES // matrix.shape[1]
        for start in range(0, len(matrix), step):
            rows = slice(start, start + step)
            table = _table(matrix[rows], codes[rows])
            self.writer.write_table(table, writer_batch_size=len(table))  # as one chunk, so it is read as one view

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
        if self._top_predictions(row := inputs.one_row(inputs.on_cpu(prediction))) is not None:
            self.add_batch(predictions=row, references=inputs.one_row(inputs.on_cpu(reference)))
            return
        half = arrays.is_half(prediction)
        matrix, codes = self._checked(row, inputs.one_row(inputs.on_cpu(reference)))
        self._open(matrix.shape[1], half)
        self.writer.write_row(_table(matrix.copy(), codes.copy()))  # written later: the caller may reuse the row

    def _checked(self, predictions: ArrayLike, references: ArrayLike) -> tuple[NDArray[np.float32], Integers]:
        """Convert a batch to ``[n, s]`` float32 and ``[n]`` int64, as a view if possible."""
        if measures.find(self.measure).needs == "features":
            name, shape = "features", "[n, d]"
        else:
            name, shape = "probabilities", "[n, s]"  # or logits: `compute` says, and checks them
        if self.writer is not None and self.selected_feature_format != self.features:
            raise InputError(_MIXED)
        classes = None
        if pipelines.is_output(predictions):
            predictions, classes = self._placed(predictions)
        matrix = arrays.matrix(predictions, name, shape)
        target = self._target(references, len(matrix))
        if self.writer is not None and self._width is not None and matrix.shape[1] != self._width:
            raise InputError(
                f"{name} have {counted(matrix.shape[1], 'column')} in this batch but {self._width} before it"
            )
        if self.writer is not None and self._width is not None and self._classes != classes:
            raise InputError(
                "the columns differ: in this batch they are "
                f"{_columns(classes)}, and in the batches before it {_columns(self._classes)}"
            )
        self._classes = classes
        with np.errstate(over="ignore"):  # the measure reports infinite values, with their row
            return np.ascontiguousarray(matrix, dtype=np.float32), target

    def _target(self, references: ArrayLike, num_rows: int) -> Integers:
        """Check the target labels of a batch, ``[n]``."""
        target = inputs.as_labels(references, num_rows)
        if target.min() < 0:  # checked here so that the error does not come at the end of a long run only
            row = int(np.argmax(target < 0))
            raise InputError(
                f"label {target[row]} in row {row} of this batch is negative (unlabelled examples are often marked −1 "
                "or −100): drop these rows first"
            )
        return _as_int64(target)

    def _placed(
        self, outputs: Sequence[Mapping[str, object] | Sequence[Mapping[str, object]]]
    ) -> tuple[Float64, list[str]]:
        """The outputs of a pipeline as ``[n, s]``, and the names of the columns."""
        if measures.find(self.measure).needs == "features":
            raise InputError(f"{self.measure} needs features, which the outputs of a classification pipeline are not")
        return pipelines.place(outputs)

    def _top_predictions(self, predictions: ArrayLike) -> NDArray[np.int64 | np.str_] | None:
        """Hard source labels ``[n]``, where the measure takes them; None for anything else."""
        if not self._takes_top_predictions:
            return None
        top = pipelines.top_labels(predictions) if pipelines.is_output(predictions) else predictions
        if top is None or arrays.source_labels(top) is None:
            return None
        array = np.asarray(top)
        return array.astype(str) if array.dtype.kind in "OU" else _as_int64(array)

    def _write_top_predictions(self, hard: NDArray[np.int64 | np.str_], codes: Integers) -> None:
        kind = "string" if hard.dtype.kind == "U" else "int64"
        held = datasets.Features({"predictions": datasets.Value(kind), "references": datasets.Value("int64")})
        if self.writer is not None and self.selected_feature_format != held:
            raise InputError(_MIXED)
        self._open(top_predictions=held)
        table = pa.table({"predictions": pa.array(hard.tolist(), kind), "references": pa.array(codes)})
        self.writer.write_table(table, writer_batch_size=len(table))

    def _open(
        self, width: int | None = None, half: bool = False, top_predictions: datasets.Features | None = None
    ) -> None:
        """Open the file for examples unless it is open; in several processes, wait until each has its own."""
        if self.writer is None:
            self.selected_feature_format = top_predictions or self.features
            self._init_writer()
            self._width, self._half = None, False
        self._half = self._half or half
        self._width = width if self._width is None else self._width

    def _finalize(self) -> None:
        """Close the file and read it back; in memory without evaluate's fingerprint, which copies the data twice."""
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
        """Remove what evaluate leaves behind when `compute` fails: an open file, its lock, the data."""
        if self.writer is not None:  # the error came before the file was closed: the examples can still be scored
            return
        self.data = self.buf_writer = None
        files = list(zip(self.filelocks or [], self.file_paths or [], strict=True))
        for lock, path in reversed(files):  # that of the first process last, as evaluate does
            Path(path).unlink(missing_ok=True)
            lock.release()
        self.filelocks = self.file_paths = None

    def _scores(self, matrix: ArrayLike, references: pa.ChunkedArray, error: bool) -> dict[str, float]:
        measure, target = measures.find(self.measure), references.to_numpy()
        if not error:
            return {self.measure: measure.function(matrix, target)}
        value, influence = measure.influence(matrix, target)
        return {self.measure: value, "standard_error": measure.standard_error(value, influence, len(target))}


class ProbabilityMetric(_TransferabilityMetric):
    """A measure of source probabilities, ``[n, s]``."""

    def _probabilities(self, column: pa.ChunkedArray, from_logits: bool, allow_sorted: bool) -> FloatMatrix:
        matrix = _matrix(column)
        if not allow_sorted and self._classes is None:
            pipelines.check_unsorted(matrix)
        if from_logits:
            return softmax(matrix)
        return arrays.simplex(matrix, arrays.HALF_TOLERANCE) if self._half else matrix

    def _compute(
        self,
        predictions: pa.ChunkedArray,
        references: pa.ChunkedArray,
        from_logits: bool = False,
        standard_error: bool = False,
        allow_sorted: bool = False,
    ) -> dict[str, float]:
        theta = self._probabilities(predictions, from_logits, allow_sorted)
        return self._scores(theta, references, standard_error)


class TopPredictionMetric(ProbabilityMetric):
    """A measure of the source's top predictions: takes probabilities ``[n, s]``, or the predictions ``[n]``."""

    _takes_top_predictions = True

    def _compute(
        self,
        predictions: pa.ChunkedArray,
        references: pa.ChunkedArray,
        from_logits: bool = False,
        standard_error: bool = False,
        allow_sorted: bool = False,
    ) -> dict[str, float]:
        if pa.types.is_list(predictions.type):
            return super()._compute(predictions, references, from_logits, standard_error, allow_sorted)
        if from_logits:
            raise InputError("from_logits is for logits [n, s], and predictions are labels [n]")
        return self._scores(predictions.to_numpy(), references, standard_error)


class FeatureMetric(_TransferabilityMetric):
    """A measure of penultimate features, ``[n, d]``."""

    def _compute(
        self, predictions: pa.ChunkedArray, references: pa.ChunkedArray, standard_error: bool = False
    ) -> dict[str, float]:
        return self._scores(_matrix(predictions), references, standard_error)


class LeepMetric(ProbabilityMetric):
    """LEEP, and on request its leave-one-out form as well."""

    def _compute(
        self,
        predictions: pa.ChunkedArray,
        references: pa.ChunkedArray,
        from_logits: bool = False,
        standard_error: bool = False,
        allow_sorted: bool = False,
        leave_one_out: bool = False,
    ) -> dict[str, float]:
        theta = self._probabilities(predictions, from_logits, allow_sorted)
        scores = self._scores(theta, references, standard_error)
        if leave_one_out:
            scores["leave_one_out_leep"] = measures.leave_one_out_leep(theta, references.to_numpy())
        return scores


def info(
    description: str, citation: str, inputs_description: str, reference_urls: Sequence[str] = ()
) -> evaluate.MetricInfo:
    """Return the ``MetricInfo`` of a module: its own texts, and the input types that all modules share."""
    metric_info = evaluate.MetricInfo(
        description=description,
        citation=citation,
        inputs_description=inputs_description,
        features=datasets.Features(
            {"predictions": datasets.List(datasets.Value("float32")), "references": datasets.Value("int64")}
        ),
        reference_urls=list(reference_urls),
    )
    metric_info.format = "arrow"  # works for lists, although the constructor refuses every format for them
    return metric_info


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax of each row, ``[n, s] -> [n, s]``: computed in float64, stored in float32.

    Raises:
        InputError: a row with NaN or +∞, or with −∞ only.
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


def _as_int64(labels: NDArray[np.generic]) -> Integers:
    """Labels as int64, ``[n]``; those that do not fit would become negative."""
    if labels.dtype.kind == "u" and (beyond := np.greater(labels, np.iinfo(np.int64).max)).any():
        row = int(np.argmax(beyond))
        raise InputError(
            f"label {labels[row]} in row {row} of this batch is larger than 2^63 − 1: number the classes from 0"
        )
    return labels.astype(np.int64, copy=False)


def _columns(classes: Sequence[str] | None) -> str:
    return "unnamed" if classes is None else f"the {len(classes)} classes {', '.join(classes[:5])}"


def _table(matrix: NDArray[np.float32], codes: Integers) -> pa.Table:
    """Return Arrow lists over the bytes of a C-ordered matrix ``[n, s]``, next to the labels ``[n]``."""
    offsets = np.arange(0, matrix.size + 1, matrix.shape[1], dtype=np.int32)
    lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(matrix.reshape(-1)))
    return pa.table({"predictions": lists, "references": pa.array(codes)})


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    """Convert Arrow lists back to ``[n, s]``: a view of one chunk, or a copy of several."""
    parts = [
        chunk.flatten().to_numpy(zero_copy_only=True).reshape(len(chunk), -1) for chunk in column.chunks if len(chunk)
    ]
    if not parts:
        raise InputError("there are no examples (n = 0)")
    widths = sorted({part.shape[1] for part in parts})
    if len(widths) > 1:  # from different processes, each of which checks only its own
        raise InputError(f"the processes added rows of different length: {widths[0]} and {widths[1]} columns")
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
