"""The interactive page of a report, report.html: one file that asks for nothing from elsewhere."""

from hf_leep.report.html.page import interactive

__all__ = ["interactive"]
