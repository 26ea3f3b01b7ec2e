"""From records to tables, figures and one HTML page. Nothing here loads torch or opens a scene."""

from hyperpeft.report import study
from hyperpeft.report.page import write_report

__all__ = ["study", "write_report"]
