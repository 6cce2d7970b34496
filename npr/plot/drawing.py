"""What the plots share: figures without pyplot, colors, and files.

Figures are made directly, so that the user's backend and open figures are not touched.
"""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from npr.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito 2008, distinct for all common kinds of color blindness; yellow, which is hard to
# see on white, is replaced by gray
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C",
)  # fmt: skip
INSIDE, _SHORT = 4, 44  # groups and characters at most of a legend inside of the axes
_LEGEND = 66  # characters of a line of the legend of a panel, at its font size
SUFFIXES = (".png", ".svg", ".pdf")


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


def shortened(labels: Sequence[str], width: int) -> list[str]:
    """Labels of at most `width` characters, without their middle; numbered if two become equal."""
    if all(len(label) <= width for label in labels):
        return [*labels]
    short = [_without_middle(label, width) for label in labels]
    if len(set(short)) == len(set(labels)):
        return short
    numbers = {label: f"{i} " for i, label in enumerate(dict.fromkeys(labels), 1)}
    return [
        number + _without_middle(label, max(1, width - len(number)))
        for label, number in ((label, numbers[label]) for label in labels)
    ]


def _without_middle(label: str, width: int) -> str:
    if len(label) <= width:
        return label
    end = (width - 1) // 2
    return f"{label[: width - 1 - end]}…{label[len(label) - end :]}"


def wrapped(label: str, width: int) -> str:
    """The label in lines of at most `width` characters, if its words allow it. The number of runs
    at its end stays together."""
    kept = re.sub(r" (?=\w+\)$)", "\xa0", label)
    lines = textwrap.fill(kept, width, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\xa0", " ")


def _is_inside(labels: Sequence[str]) -> bool:
    """Whether a legend inside of the axes leaves room for the curves."""
    return len(labels) <= INSIDE and max(map(len, labels)) <= _SHORT


def _legend_columns(labels: Sequence[str]) -> int:
    return max(1, min(len(labels), _LEGEND // (max(map(len, labels)) + 8)))


def _legend_labels(labels: Sequence[str]) -> list[str]:
    return [wrapped(label, _LEGEND) for label in shortened(labels, 3 * _LEGEND)]


def below(labels: Sequence[str]) -> float:
    """The height in inches of the legend of these labels below its axes; 0 if it is inside."""
    if _is_inside(labels):
        return 0.0
    lines = sum(label.count("\n") + 1 for label in _legend_labels(labels))
    return 0.5 + 0.19 * -(-lines // _legend_columns(labels))


def legend(ax: Axes, title: str = "") -> None:
    """A legend: inside of the axes if its labels are few and short, else below."""
    handles, names = ax.get_legend_handles_labels()
    place: dict[str, Any] = {}
    if not _is_inside(names):
        from matplotlib.transforms import ScaledTranslation

        figure: Any = ax.figure
        under_label = ScaledTranslation(0, -0.5, figure.dpi_scale_trans)
        place = {
            "loc": "upper left", "bbox_to_anchor": (0.0, 0.0), "borderaxespad": 0.0,
            "bbox_transform": ax.transAxes + under_label, "ncols": _legend_columns(names),
        }  # fmt: skip
    shown: Any = ax.legend(handles, _legend_labels(names), frameon=False, fontsize=9, **place)
    if title:
        shown.set_title(title, prop={"size": 9})
        shown.set_alignment("left")


def check_path(path: str | os.PathLike[str] | None) -> None:
    """Raise ConfigError if a picture cannot be written to this path, before it is drawn."""
    if path is not None and os.path.splitext(os.fspath(path))[1].lower() not in SUFFIXES:
        raise ConfigError(f"A picture is written to .png, .svg or .pdf; got {os.fspath(path)!r}.")


def finish(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Write the figure, if a path is given, and return it. The same figure gives the same bytes."""
    if path is not None:
        import matplotlib

        suffix = os.path.splitext(os.fspath(path))[1].lower()
        dates: dict[str, Any] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
        with matplotlib.rc_context({"svg.hashsalt": "npr"}):
            figure.savefig(path, dpi=120, metadata=dates.get(suffix))
    return figure
