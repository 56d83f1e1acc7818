"""The measures as modules of the `evaluate` library: where the modules are, and the code that they share."""

from __future__ import annotations

from pathlib import Path

from hf_leep import measures
from hf_leep.errors import MeasureError


def names() -> tuple[str, ...]:
    """The measures that have an `evaluate` module."""
    return tuple(name for name in measures.MEASURES if name.replace("-", "_") in _modules())


def metric_path(name: str) -> str:
    """Return the folder of a measure's `evaluate` module, for ``evaluate.load(hf_leep.metric_path("leep"))``.

    Args:
        name: name of the measure, in either spelling: ``"leave-one-out-leep"`` or ``"leave_one_out_leep"``.

    Raises:
        MeasureError: there is no such measure, or it has no module; the message lists the names that exist.
    """
    folder, modules = measures.find(name).name.replace("-", "_"), _modules()
    if folder in modules:
        return str(modules[folder])
    if modules:
        raise MeasureError(f"{name!r} has no evaluate module; these have: {', '.join(sorted(modules))}")
    raise MeasureError(f"{name!r} has no evaluate module: the metric_card folder is missing from this installation")


def _modules() -> dict[str, Path]:
    """Name of each module → its folder; none if the folder of the modules is missing."""
    package = Path(__file__).parents[1]
    roots = (package / "metric_card", package.parent / "metric_card")  # installed; in a checkout
    root = next(filter(Path.is_dir, roots), None)
    return {path.name: path for path in root.iterdir() if (path / f"{path.name}.py").is_file()} if root else {}
