"""What people look at: pictures, tables, progress, TensorBoard, JSON.

Heavy libraries are imported inside the functions that use them.
"""

from __future__ import annotations

from nerfcl.reports.animation import forgetting_gif
from nerfcl.reports.comparison import comparison_curves_figure, comparison_figure
from nerfcl.reports.figures import curves_figure, matrix_figure, views_figure
from nerfcl.reports.html import html_report
from nerfcl.reports.progress import ProgressBar
from nerfcl.reports.tables import ComparisonRow, comparison_table, human_bytes, print_table, run_table
from nerfcl.reports.tensorboard import TensorBoardWriter

__all__ = [
    "ComparisonRow",
    "ProgressBar",
    "TensorBoardWriter",
    "comparison_curves_figure",
    "comparison_figure",
    "comparison_table",
    "curves_figure",
    "forgetting_gif",
    "html_report",
    "human_bytes",
    "matrix_figure",
    "print_table",
    "run_table",
    "views_figure",
]
