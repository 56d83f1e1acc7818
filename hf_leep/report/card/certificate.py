"""What the checks of the measures gave, on the machine that made a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_leep.text import plain


def passed_sentence(data: Mapping[str, Any]) -> str | None:
    """Say that all checks held; None where some did not, or none were made.

    Args:
        data: the content of report.json.
    """
    found = data.get("certificate")
    if not found or found["failed"] or not found["num_checks"]:
        return None
    said = (
        f"Its measures passed all {found['num_checks']} of their checks on the machine that made it: proved limits, "
        "and oracles that share no code with them (hf-leep verify shows each)."
    )
    others = ", ".join(map(plain, found["unchecked"]))
    return f"{said} Of other packages, and not checked: {others}." if others else said


def failed_sentence(data: Mapping[str, Any]) -> str | None:
    """Say which checks did not hold; None where all did, or none were made.

    Args:
        data: the content of report.json.
    """
    found = data.get("certificate")
    if not found or not found["failed"]:
        return None
    named = "; ".join(map(plain, found["failed"][:3]))
    return (
        f"On this machine {len(found['failed'])} of {found['num_checks']} checks of the measures failed, so trust no "
        f"score here before hf-leep verify passes: {named}."
    )
