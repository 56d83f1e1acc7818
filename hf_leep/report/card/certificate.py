"""Result of the checks of the measures on the machine that made a report."""

from __future__ import annotations

from hf_leep.report.schema import ReportData
from hf_leep.text import plain


def passed_sentence(data: ReportData) -> str | None:
    """Say that all checks passed; None if some failed, or none were run.

    Args:
        data: the content of report.json.
    """
    found = data["certificate"]
    if found is None or found["failed"] or not found["num_checks"]:
        return None
    passed = (
        f"All {found['num_checks']} checks of its measures passed on the machine that made it: they compare the "
        "measures with proved bounds and independent implementations (hf-leep verify shows each check)."
    )
    unchecked = ", ".join(map(plain, found["unchecked"]))
    return f"{passed} Measures of other packages have no checks: {unchecked}." if unchecked else passed


def failed_sentence(data: ReportData) -> str | None:
    """Say which checks failed; None if all passed, or none were run.

    Args:
        data: the content of report.json.
    """
    found = data["certificate"]
    if found is None or not found["failed"]:
        return None
    shown = "; ".join(map(plain, found["failed"][:3]))
    return (
        f"{len(found['failed'])} of {found['num_checks']} checks of the measures failed on the machine that made this "
        f"report. Do not trust these scores until hf-leep verify passes there. Failed: {shown}."
    )
