"""Plots of runs and agents: curves, comparisons, value maps, policies; statistics of several runs.

Imports policies, the file formats and the backend. matplotlib is imported when a plot is drawn; its
absence leaves `statistics`, `sparkline` and `curves_text`.
"""

from npr.plot import statistics
from npr.plot.comparisons import compare, final_scores, improvement, profile
from npr.plot.curves import curves
from npr.plot.policies import landscape, policy
from npr.plot.tables import table
from npr.plot.text import curves_text, sparkline

__all__ = [
    "compare", "curves", "curves_text", "final_scores", "improvement", "landscape", "policy",
    "profile", "sparkline", "statistics", "table",
]  # fmt: skip
