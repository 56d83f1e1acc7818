"""The web page of an `evaluate` module's Space: it scores numbers that visitors paste or upload."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import evaluate
import numpy as np
from numpy.typing import ArrayLike

from hf_leep import measures
from hf_leep.errors import InputError, UserError

_OPTIONS = {  # as the page calls them
    "from_logits": "the predictions are logits: apply a softmax first",
    "standard_error": "add the standard error",
    "leave_one_out": "add leave-one-out LEEP, which does not rise with the number of source classes",
    "allow_sorted": "every row may be in descending order",
}


class Page(Protocol):
    """What `app` returns: a gradio interface."""

    def launch(self) -> object:
        """Serve the page."""


def score_pasted(
    module_file: str | Path,
    predictions: str,
    predictions_file: str | None,
    references: str,
    references_file: str | None,
    **options: bool,
) -> dict[str, float]:
    """Score numbers that are pasted or uploaded: rows of numbers, JSON lists, or a file of these or of ``.npy``.

    Args:
        module_file: path of the module, ``….py``.
        predictions: text of ``[n, s]`` or ``[n, d]`` numbers, one example per line; for NCE also ``[n]`` top
            predictions, numbers or names.
        predictions_file: path of a file that is used instead, if given.
        references: text of ``[n]`` labels, numbers or names: one a line, or separated by commas, or on one line by
            spaces.
        references_file: path of a file that is used instead, if given.
        **options: the options of the module.

    Raises:
        InputError: text that is not a table of numbers, and as for the module.
    """
    metric = evaluate.load(str(module_file), keep_in_memory=True)
    labels = _read(references, references_file, _labels)
    if metric._takes_top_predictions and not options.get("from_logits"):
        rows = _read(predictions, predictions_file, _rows_or_labels)
    else:
        rows = _read(predictions, predictions_file, _rows)
    scores: dict[str, float] = metric.compute(predictions=rows, references=_codes(labels), **options)
    return scores


def app(module_file: str | Path) -> Page:
    """Return a gradio page that scores what is pasted or uploaded; call ``.launch()`` on it.

    Args:
        module_file: path of the module, ``….py``, which is next to the Space's ``app.py`` and its card.

    Raises:
        UserError: gradio is not installed. A Space provides it; nothing else in hf_leep needs it.
    """
    try:
        gradio = importlib.import_module("gradio")
    except ImportError:
        raise UserError("the page needs gradio: pip install gradio") from None
    metric = evaluate.load(str(module_file), keep_in_memory=True)
    options, measure = metric._options(), measures.find(metric.measure)
    direction = f"{'Higher' if measure.higher_is_better else 'Lower'} is better."
    unit = f" {measure.unit}" if measure.unit else ""
    rows = f"{measure.needs}{', or top predictions' if metric._takes_top_predictions else ''}"

    def score(
        predictions: str, predictions_file: str | None, references: str, references_file: str | None, *chosen: bool
    ) -> tuple[str, dict[str, float] | None]:
        pasted = predictions, predictions_file, references, references_file
        try:
            scores = score_pasted(module_file, *pasted, **dict(zip(options, chosen, strict=True)))
        except (UserError, ValueError, OSError) as error:
            return f"This could not be scored ({error})", None
        return f"{measure.title} = {scores[metric.measure]:.6g}{unit}. {direction}", scores

    page: Page = gradio.Interface(
        fn=score,
        inputs=[
            gradio.Textbox("0.9 0.1\n0.8 0.2\n0.2 0.8\n0.3 0.7", lines=6, label=f"{rows}, one example a line"),
            gradio.File(label=f"or a file of {rows}: .npy, .csv, .txt or .json"),
            gradio.Textbox("0 0 1 1", lines=2, label="target labels: numbers, or names with a comma between them"),
            gradio.File(label="or a file of target labels"),
            *(gradio.Checkbox(label=_OPTIONS.get(option, option)) for option in options),
        ],
        outputs=[gradio.Textbox(label="result", lines=2), gradio.JSON(label="scores")],
        title=measure.title,
        description=f"{metric.description.strip()} {direction}",
        article=evaluate.utils.parse_readme(str(Path(module_file).with_name("README.md"))),
        flagging_mode="never",
    )
    return page


def _read(text: str, file: str | None, parse: Callable[[str], ArrayLike]) -> ArrayLike:
    if file is not None and file.endswith(".npy"):
        array: ArrayLike = np.load(file)  # numpy refuses pickles, so this can load numbers and names only
        return array
    if file is not None:
        text = Path(file).read_text(encoding="utf-8-sig")
    try:
        if text.lstrip().startswith("["):
            parsed: ArrayLike = json.loads(text)
            return parsed
    except ValueError as error:
        raise InputError(f"expected a list in JSON: {error}") from None
    return parse(text)


def _rows(text: str) -> ArrayLike:
    """A table of numbers, one example a line."""
    rows = [line.replace(",", " ").split() for line in text.splitlines()]
    try:
        return [[float(word) for word in words] for words in rows if words]
    except ValueError as error:
        raise InputError(f"expected numbers: {error}") from None


def _rows_or_labels(text: str) -> ArrayLike:
    """A table of numbers, or the label that each example is predicted to have, where lines have one entry."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1 and any(len(line.replace(",", " ").split()) > 1 for line in lines):
        return _rows(text)
    return _labels(text)


def _labels(text: str) -> list[str] | list[int]:
    """Labels: whole numbers, however they are separated, or names."""
    words = text.replace(",", " ").split()
    try:
        return [int(word) for word in words]
    except ValueError:
        if all(map(_is_number, words)):
            raise InputError(f"expected whole numbers or names as labels, got {text.strip()[:40]!r}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "," in text:
        return [name.strip() for line in lines for name in line.split(",") if name.strip()]
    return words if len(lines) == 1 else lines


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _codes(labels: ArrayLike) -> ArrayLike:
    """Names as numbers; numbers as they are, so that the metric checks them."""
    try:
        array = np.asarray(labels)
    except ValueError:
        raise InputError("expected one label for each example, got lists of different lengths") from None
    if array.ndim == 2 and 1 in array.shape:  # a column of labels in an array
        array = array.reshape(-1)
    if array.dtype.kind not in "US":
        return array
    codes: ArrayLike = np.unique(array, return_inverse=True)[1]
    return codes
