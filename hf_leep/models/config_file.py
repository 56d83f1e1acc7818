"""What config.json says before transformers reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from hf_leep.errors import CandidateError


def check_class_names(path: Path) -> None:
    """Check that a config.json names its classes in a way that transformers can read.

    Args:
        path: the checkpoint's folder.

    Raises:
        CandidateError: it does not.
    """
    names = _content(path).get("id2label")
    if names is None or (isinstance(names, dict) and all(re.fullmatch(r"\d+", str(number)) for number in names)):
        return
    raise CandidateError(
        "id2label in its config.json must hold a name for each number of a class, such as "
        f'{{"0": "cat", "1": "dog"}}, and holds {str(names)[:60]}'
    )


def is_timm(path: Path) -> bool:
    """Whether a config.json is in timm's format, or that of transformers' wrapper of timm.

    Args:
        path: the checkpoint's folder.
    """
    content = _content(path)
    return content.get("model_type") == "timm_wrapper" or "pretrained_cfg" in content


def _content(path: Path) -> Mapping[str, object]:
    """What the config.json in a folder holds; nothing where it cannot be read."""
    try:
        content = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
