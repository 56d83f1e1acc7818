"""hf_leep: which checkpoint on the Hub should I fine-tune for my data set?

>>> import hf_leep
>>> report = hf_leep.rank(["microsoft/resnet-50", "./my-model"], "user/data", split="train")  # doctest: +SKIP
>>> report.save("report")  # doctest: +SKIP

Importing costs numpy alone; what needs torch or the Hub loads when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hf_leep import measures

if TYPE_CHECKING:
    from hf_leep.api import rank
    from hf_leep.evaluate_module import metric_path
    from hf_leep.hub import Search
    from hf_leep.publish import push
    from hf_leep.report import Report

    __version__: str

__all__ = ["Report", "Search", "__version__", "measures", "metric_path", "push", "rank"]

_WHERE = {
    "metric_path": "hf_leep.evaluate_module",
    "push": "hf_leep.publish",
    "rank": "hf_leep.api",
    "Report": "hf_leep.report",
    "Search": "hf_leep.hub",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hf-leep")
    if name not in _WHERE:
        raise AttributeError(f"module 'hf_leep' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
