"""Every message of the package has one clear structure: no line is "text: who: why"."""

import ast
import re
from pathlib import Path

import pytest

import hf_leep

PACKAGE = Path(hf_leep.__file__).parent


def messages(path):
    """What a file raises, warns of, or logs, with ``{}`` for what is filled in."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            called = node.exc.args
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("warning", "append"):
            called = node.args
        else:
            continue
        for argument in called:
            if isinstance(argument, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in argument.values)
                yield "".join(map(str, parts))
            elif isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_sentence_of_a_message_has_at_most_one_colon(path):
    for message in messages(path):
        outside = re.sub(r"\([^()]*\)|\{[^{}]*\}", "", message)  # the words of another program stand in brackets
        for sentence in re.split(r"[.;] ", outside):
            assert sentence.count(": ") < 2, message
