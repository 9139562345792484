"""What a build is worth and what was measured: in a terminal, as JSON, as one HTML page.

The three say the same; `view` has the rows and sentences they share.
"""

from __future__ import annotations

from edgekit.reports.document import report_document, report_json
from edgekit.reports.page import report_html, write_html
from edgekit.reports.terminal import print_measurements, print_report

__all__ = [
    "print_measurements",
    "print_report",
    "report_document",
    "report_html",
    "report_json",
    "write_html",
]
