"""What to know about a candidate before choosing it, besides its scores: training data, licence, terms."""

from __future__ import annotations

import re
from pathlib import PurePath

from hf_leep.records import Candidate, Target

# Licence identifiers of the Hub that forbid commercial use: Creative Commons NC, and licences for research only.
_NOT_COMMERCIAL = re.compile(
    r"(^|[\s_-])nc([\s_-]|$)|non[\s_-]?commercial|research|^(apple-amlr|deepfloyd-if-license)$"
)
_UNSPECIFIC = ("other", "unknown")


def notes(candidate: Candidate, target: Target) -> tuple[str, ...]:
    """Say what may be a reason not to choose a candidate, whatever its scores; this changes no score.

    Args:
        candidate: a candidate, with what its card and tags say.
        target: the target that it is ranked for.
    """
    found = []
    if candidate.untrained:
        found.append(
            "untrained: its weights are still those that it was initialised with, so fine-tuning it is training from "
            "scratch, and all trained candidates are ranked above it"
        )
    if seen := trained_on_target(candidate, target):
        found.append(
            f"trained on {seen}, according to its card or tags: if it has seen these rows, its score and rank are too "
            "high"
        )
    if candidate.task == "zero-shot-image-classification" and candidate.source_labels:
        found.append(
            "zero-shot: its source classes are prompts with your class names, so do not compare its LEEP with that of "
            "a classifier; the measure logme compares the features alone"
        )
    stated = [part.strip() for part in (candidate.license or "").split(",") if part.strip()]
    for name in stated:
        if _NOT_COMMERCIAL.search(name.lower()):
            found.append(f"not for commercial use, according to its licence {name}")
        elif name.lower() in _UNSPECIFIC:
            found.append(f"licence “{name}”, so read its terms")
    if not stated and re.fullmatch(r"[0-9a-f]{40}", candidate.revision or ""):  # local folders mostly have no card
        found.append("no licence found on the card, so ask the authors what they allow")
    if candidate.gated:
        found.append("gated, so everyone who uses it has to accept its terms on the Hub first")
    return tuple(found)


def trained_on_target(candidate: Candidate, target: Target) -> str | None:
    """Find the target among the data sets that a candidate was trained on.

    Ids are compared without regard to case. A name without an owner matches that name of any owner, because the Hub
    once had such names. For a local data set only the name can be compared.

    Args:
        candidate: a candidate, with what its card and tags say.
        target: the target that it is ranked for.

    Returns:
        How to call the target in a sentence; None if it is not among them.
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
