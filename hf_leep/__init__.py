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
    from hf_leep.pipeline import rank
    from hf_leep.report import Report

__version__ = "0.1.0"
__all__ = ["Report", "__version__", "measures", "rank"]

_WHERE = {"rank": "hf_leep.pipeline", "Report": "hf_leep.report"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'hf_leep' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
