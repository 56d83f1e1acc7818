"""hf_leep: which checkpoint on the Hub should I fine-tune for my data set?

>>> import hf_leep
>>> report = hf_leep.rank(["microsoft/resnet-50", "./my-model"], "user/data", split="train")  # doctest: +SKIP
>>> report.save("report")  # doctest: +SKIP

Importing hf_leep imports next to nothing: everything is imported when it is first used, and `measures` needs only
numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_leep import measures
    from hf_leep.api import plan, rank
    from hf_leep.evaluate_module import metric_path
    from hf_leep.options import Cluster, Execution, FineTuning, HubAccess, Race, Search
    from hf_leep.publish import push
    from hf_leep.report import Report
    from hf_leep.runs.plan import Plan
    from hf_leep.validation import validate

    __version__: str

__all__ = [
    "Cluster",
    "Execution",
    "FineTuning",
    "HubAccess",
    "Plan",
    "Race",
    "Report",
    "Search",
    "__version__",
    "measures",
    "metric_path",
    "plan",
    "push",
    "rank",
    "validate",
]

_MODULES = {
    "Cluster": "hf_leep.options",
    "Execution": "hf_leep.options",
    "FineTuning": "hf_leep.options",
    "HubAccess": "hf_leep.options",
    "Plan": "hf_leep.runs.plan",
    "Race": "hf_leep.options",
    "Report": "hf_leep.report",
    "Search": "hf_leep.options",
    "metric_path": "hf_leep.evaluate_module",
    "plan": "hf_leep.api",
    "push": "hf_leep.publish",
    "rank": "hf_leep.api",
    "validate": "hf_leep.validation",
}

if not TYPE_CHECKING:  # a type checker would take any name for one that exists

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used."""
        if name == "__version__":
            from importlib.metadata import version

            return version("hf-leep")
        if name == "measures":
            return importlib.import_module("hf_leep.measures")
        if name not in _MODULES:
            raise AttributeError(f"module 'hf_leep' has no attribute {name!r}")
        return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
