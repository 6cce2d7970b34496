"""What the plots share: figures without pyplot, colors, and files.

Figures are made directly, so that the user's backend and open figures are not touched.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from npr.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, distinct for all common kinds of color blindness; yellow, which is hard to
# see on white, is replaced by gray
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C",
)  # fmt: skip
INSIDE = 4  # groups at most whose legend is inside of the axes
SUFFIXES = (".png", ".svg")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. Raises ConfigError if matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(
            "Plots need matplotlib: pip install 'npr-rl[plot]'. Without it, "
            "npr.plot.curves_text(runs) shows curves as text."
        ) from None
    return Figure(figsize=(width, height), layout="constrained")


def style(ax: Axes) -> None:
    """Light grid behind the data, no frame at the top and right."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)


def color(i: int) -> str:
    """The color of group i."""
    return COLORS[i % len(COLORS)]


def line(i: int) -> str:
    """The line style of group i: dashed once the colors repeat."""
    return ("-", "--", ":", "-.")[i // len(COLORS) % 4]


def legend(ax: Axes, n: int) -> None:
    """A legend of n groups: inside if they are few, else beside the axes."""
    if n > INSIDE:
        ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    else:
        ax.legend(frameon=False, fontsize=9)


def check_path(path: str | os.PathLike[str] | None) -> None:
    """Raise ConfigError if a picture cannot be written to this path, before it is drawn."""
    if path is not None and os.path.splitext(os.fspath(path))[1].lower() not in SUFFIXES:
        raise ConfigError(f"A picture is written to .png or .svg; got {os.fspath(path)!r}.")


def finish(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Write the figure, if a path is given, and return it. The same figure gives the same bytes."""
    if path is not None:
        import matplotlib

        svg = os.fspath(path).lower().endswith(".svg")
        with matplotlib.rc_context({"svg.hashsalt": "npr"}):
            figure.savefig(path, dpi=120, metadata={"Date": None} if svg else None)
    return figure
