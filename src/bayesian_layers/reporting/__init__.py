"""Reports: self-contained HTML pages with figures, and their numbers as JSON."""

from .folder import check_report_folder, write_report
from .page import Report

__all__ = ["Report", "check_report_folder", "write_report"]
