"""From collected runs to a folder with tables, figures and a page; see `ufgir.report`."""

from ufgir.reports.build import make_report, output_faults

__all__ = ["make_report", "output_faults"]
