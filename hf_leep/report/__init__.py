"""The report: plain data, and everything that is rendered from it."""

from hf_leep.report.report import Report

__all__ = ["Report"]
