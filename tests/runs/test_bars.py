"""Progress in terminals, logs and notebooks."""

import importlib

import huggingface_hub.utils
import pytest
from tqdm.notebook import tqdm_notebook

from hf_leep.runs.bars import note, progress_bar


@pytest.fixture
def made(monkeypatch):
    """The options of the bars that are made, as of a class that shows widgets."""
    made = []

    class Widget(tqdm_notebook):
        def __init__(self, **options):
            made.append(options)

        def __del__(self):
            pass

    monkeypatch.setattr(importlib.import_module("huggingface_hub.utils.tqdm"), "tqdm", Widget)
    monkeypatch.setattr(huggingface_hub.utils, "are_progress_bars_disabled", lambda: False)
    return made


def test_a_notebook_with_widgets_shows_bars_and_no_lines(made, capsys):
    progress_bar(3, True, "row")
    progress_bar(3, False, "row")
    note("one", True)
    assert [options["disable"] for options in made] == [False, True]
    assert capsys.readouterr().err == ""


def test_a_pipe_gets_lines(monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.utils, "are_progress_bars_disabled", lambda: False)
    note("one", True)
    note("two", False)
    assert capsys.readouterr().err == "one\n"
