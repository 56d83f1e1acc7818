"""The web page of an `evaluate` module's Space: it scores numbers that visitors paste or upload."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import evaluate
import numpy as np

from hf_leep import measures
from hf_leep.errors import InputError, UserError


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
        predictions: text of ``[n, s]`` or ``[n, d]`` numbers, one example per line.
        predictions_file: path of a file that is used instead, if given.
        references: text of ``[n]`` labels.
        references_file: path of a file that is used instead, if given.
        **options: the options of the module.

    Raises:
        InputError: text that is not a table of numbers, and as for the module.
    """
    metric = evaluate.load(str(module_file), keep_in_memory=True)
    rows = _read(predictions, predictions_file, float)
    labels = _read(references, references_file, int)
    if isinstance(labels, list) and labels and isinstance(labels[0], list):  # lines of one label each, or of several
        labels = [label for line in labels for label in line]
    scores: dict[str, float] = metric.compute(predictions=rows, references=labels, **options)
    return scores


def app(module_file: str | Path) -> Page:
    """Return a gradio page that scores what is pasted or uploaded; call ``.launch()`` on it.

    Args:
        module_file: path of the module, ``….py``, which is next to the Space's ``app.py``.

    Raises:
        UserError: gradio is not installed. A Space provides it; nothing else in hf_leep needs it.
    """
    try:
        gradio = importlib.import_module("gradio")
    except ImportError:
        raise UserError("the page needs gradio: pip install gradio") from None
    metric = evaluate.load(str(module_file), keep_in_memory=True)
    options = metric._options()
    rows = measures.find(metric.measure).needs

    def score(
        predictions: str, predictions_file: str | None, references: str, references_file: str | None, *chosen: bool
    ) -> dict[str, float]:
        pasted = predictions, predictions_file, references, references_file
        try:
            return score_pasted(module_file, *pasted, **dict(zip(options, chosen, strict=True)))
        except (UserError, ValueError, OSError) as error:
            raise gradio.Error(str(error), print_exception=False) from None

    page: Page = gradio.Interface(
        fn=score,
        inputs=[
            gradio.Textbox("0.9 0.1\n0.8 0.2\n0.2 0.8\n0.3 0.7", lines=6, label=f"{rows}, one example a line"),
            gradio.File(label=f"or a file of {rows}: .npy, .csv, .txt or .json"),
            gradio.Textbox("0 0 1 1", lines=2, label="target labels"),
            gradio.File(label="or a file of target labels"),
            *(gradio.Checkbox(label=option) for option in options),
        ],
        outputs=gradio.JSON(label="score"),
        title=measures.find(metric.measure).title,
        description=metric.description,
        flagging_mode="never",
    )
    return page


def _read(text: str, file: str | None, number: Callable[[str], float]) -> object:
    if file is not None and file.endswith(".npy"):
        array: object = np.load(file)  # numpy refuses pickles, so this can load numbers only
        return array
    if file is not None:
        text = Path(file).read_text(encoding="utf-8")
    try:
        if text.lstrip().startswith("["):
            parsed: object = json.loads(text)
            return parsed
        lines = (line.replace(",", " ").split() for line in text.splitlines())
        return [[number(word) for word in words] for words in lines if words]
    except ValueError as error:
        raise InputError(f"expected {'whole ' if number is int else ''}numbers: {error}") from None
