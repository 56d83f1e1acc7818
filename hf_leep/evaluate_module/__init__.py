"""The measures as modules of the `evaluate` library: where the modules are, and the code that they share."""

from __future__ import annotations

from pathlib import Path

from hf_leep import measures
from hf_leep.errors import MeasureError


def metric_path(name: str) -> str:
    """Return the folder of a measure's `evaluate` module, for ``evaluate.load(hf_leep.metric_path("leep"))``.

    Args:
        name: name of the measure, in either spelling: ``"leave-one-out-leep"`` or ``"leave_one_out_leep"``.

    Raises:
        MeasureError: there is no such measure, or it has no module; the message lists the names that exist.
    """
    folder = measures.find(name).name.replace("-", "_")
    package = Path(__file__).parents[1]
    for root in (package / "metric_card", package.parent / "metric_card"):  # installed; in a checkout
        if (root / folder / f"{folder}.py").is_file():
            return str(root / folder)
        if root.is_dir():
            known = ", ".join(sorted(path.name for path in root.iterdir() if (path / f"{path.name}.py").is_file()))
            raise MeasureError(f"{name!r} has no evaluate module; these have: {known}")
    raise MeasureError(f"{name!r} has no evaluate module: the metric_card folder is missing from this installation")
