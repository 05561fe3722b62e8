"""The report of a run."""

from tercih.report.write import write_report

__all__ = ["write_report"]
