"""hf_leep: which checkpoint on the Hub should I fine-tune for my data set?

>>> import hf_leep
>>> report = hf_leep.rank(["microsoft/resnet-50", "./my-model"], "user/data", split="train")  # doctest: +SKIP
>>> report.save("report")  # doctest: +SKIP

Importing costs numpy alone; what needs torch or the Hub loads when it is first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_leep import measures
from hf_leep.errors import MeasureError

if TYPE_CHECKING:
    from hf_leep.hub import Search
    from hf_leep.pipeline import rank
    from hf_leep.publish import push
    from hf_leep.report import Report

__version__ = "0.1.0"
__all__ = ["Report", "Search", "__version__", "measures", "metric_path", "push", "rank"]

_WHERE = {
    "push": "hf_leep.publish",
    "rank": "hf_leep.pipeline",
    "Report": "hf_leep.report",
    "Search": "hf_leep.hub",
}


def metric_path(name: str) -> str:
    """Return the folder of a measure's `evaluate` module: ``evaluate.load(hf_leep.metric_path("leep"))``.

    Args:
        name: the measure, in either spelling: ``"leave-one-out-leep"`` or ``"leave_one_out_leep"``.

    Raises:
        MeasureError: no such measure, or none that has a module; the message lists the right names.
    """
    folder = measures.find(name).name.replace("-", "_")
    package = Path(__file__).parent
    for root in (package / "metric_card", package.parent / "metric_card"):  # installed; in a checkout
        if (root / folder / f"{folder}.py").is_file():
            return str(root / folder)
        if root.is_dir():
            known = ", ".join(sorted(path.name for path in root.iterdir() if (path / f"{path.name}.py").is_file()))
            raise MeasureError(f"{name!r} has no evaluate module; these have: {known}")
    raise MeasureError(f"{name!r} has no evaluate module: this installation lacks its metric_card folder")


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hf_leep' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
