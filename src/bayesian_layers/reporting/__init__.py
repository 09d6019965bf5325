"""Reports: figures, self-contained HTML pages, and the numbers behind them as JSON."""

from .folder import check_report_folder, write_report
from .page import Report

__all__ = ["Report", "check_report_folder", "write_report"]
