"""What to know of a candidate before choosing it, beside its scores: rows it may have seen, its licence, its gate."""

from __future__ import annotations

import re
from pathlib import PurePath

from hf_leep.records import Candidate, Target

# Of the Hub's identifiers these forbid commercial use: Creative Commons NC, and licences for research alone.
_NOT_COMMERCIAL = re.compile(
    r"(^|[\s_-])nc([\s_-]|$)|non[\s_-]?commercial|research|^(apple-amlr|deepfloyd-if-license)$"
)
_UNSPECIFIC = ("other", "unknown")


def notes(candidate: Candidate, target: Target) -> tuple[str, ...]:
    """Say what may decide against a candidate, whatever its scores; nothing here changes a score or an order.

    Args:
        candidate: what its card and tags say.
        target: what it is ranked for.
    """
    found = []
    if seen := trained_on_target(candidate, target):
        found.append(
            f"trained on {seen}, by the card or tags, so the scores may be of rows seen in training "
            "and the place flattered"
        )
    if candidate.task == "zero-shot-image-classification" and candidate.source_labels:
        found.append(
            "zero-shot, so prompts of your class names are its source classes: its LEEP tells how well it knows these "
            "very classes, where a classifier's is of classes of its own; the measure logme compares features alone"
        )
    stated = [part.strip() for part in (candidate.license or "").split(",") if part.strip()]
    for name in stated:
        if _NOT_COMMERCIAL.search(name.lower()):
            found.append(f"not for commercial use, by the licence {name}")
        elif name.lower() in _UNSPECIFIC:
            found.append(f"licence “{name}”, so read its terms")
    if not stated and re.fullmatch(r"[0-9a-f]{40}", candidate.revision or ""):  # local folders mostly have no card
        found.append("no licence found on the card, so ask the authors what they allow")
    if candidate.gated:
        found.append("gated, so everyone who uses it has to accept its terms on the Hub first")
    return tuple(found)


def trained_on_target(candidate: Candidate, target: Target) -> str | None:
    """How to call the target among what a candidate was trained on; None if it is not there.

    Ids are compared without regard to case, and a name without its owner equals that of any owner, since the Hub once
    had such names. Of a target on this machine only the name can be compared.

    Args:
        candidate: what its card and tags say.
        target: what it is ranked for.
    """
    wanted = target.dataset.lower()
    path = PurePath(wanted)
    for name in candidate.trained_on:
        known = name.strip().lower()
        if known == wanted or (
            target.revision is not None
            and ("/" not in known or "/" not in wanted)
            and known.rpartition("/")[2] == wanted.rpartition("/")[2]
        ):
            return target.dataset
        if target.revision is None and known and known.rpartition("/")[2] in (path.name, path.stem):
            return f"a data set of this name, {name.strip()}"
    return None
