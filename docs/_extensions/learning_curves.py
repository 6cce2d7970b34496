"""```{curves} DQN: the learning curves that are stored in benchmarks/curves, as SVG in the page."""

import functools
import html
import io
import logging
import re
import sys
import warnings
from pathlib import Path

import matplotlib
import matplotlib.ticker
import numpy as np
from docutils import nodes
from matplotlib.figure import Figure
from settings_table import algorithm
from sphinx.util.docutils import SphinxDirective
from words import word

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
import records
import table
from tasks import CLASSIC, LANDER, ROBOTS, published

from npr.plot import statistics

INK = "#010203"  # becomes currentColor
BLUE = "#0a7fbf"


def rows_of(name):
    """The stored rows of an algorithm, one per environment."""
    tasks = [task for task in (*CLASSIC, *LANDER, *ROBOTS) if task.algorithm == name]
    return table.stored(tasks)


def picture(row, say):
    """The learning curve of a row as the text of an SVG."""
    runs = row.record.runs
    grid = statistics.common_grid([run.steps for run in runs])
    values = [statistics.interpolated(run.steps, run.curve, grid) for run in runs]
    stacked = np.array(values)
    figure = Figure(figsize=(6.4, 3.0), layout="constrained")
    ax = figure.subplots()
    if len(runs) > 1:
        for value in values:
            ax.plot(grid, value, color=BLUE, linewidth=0.6, alpha=0.35)
        low, high = statistics.bootstrap(stacked, statistics.iqm)
        ax.fill_between(grid, low, high, color=BLUE, alpha=0.2, linewidth=0)
    ax.plot(grid, statistics.iqm(stacked), color=BLUE, linewidth=2)
    for _, value, steps in published(row.task.algorithm, row.task.env):
        if steps is not None and steps <= 1.5 * grid[-1]:
            ax.plot(steps, value, "D", color="#d55e00", markersize=6, zorder=5)
    ax.set_xlabel(say("environment steps"), color=INK)
    ax.set_ylabel(say("mean return"), color=INK)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6))
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(INK)
    ax.tick_params(colors=INK)
    ax.grid(color=INK, alpha=0.12, linewidth=0.8)
    ax.patch.set_alpha(0)
    figure.patch.set_alpha(0)
    return inline_svg(figure, f"{row.task.algorithm} {row.task.env}")


def inline_svg(figure, title):
    """A figure as an SVG element, with text as text, and INK as the color of the page's text."""
    written = io.StringIO()
    options = {"svg.fonttype": "none", "svg.hashsalt": title, "font.family": ["sans-serif"]}
    with matplotlib.rc_context(options), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a Chinese glyph that matplotlib's own font lacks
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"font: (?:[^;\"']*?)(\d+(?:\.\d+)?)px [^;\"]*", r"font: \1px sans-serif", text)
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()
    head = f'<svg class="curve" viewBox="0 0 {width} {height}" role="img" aria-label="{title}"'
    text = head + text[text.index(">") :]
    # names that are equal in two pictures of a page refer to the first one
    prefix = re.sub(r"\W", "-", title)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = text.replace("url(#", f"url(#{prefix}-")
    return text.replace(INK, "currentColor")


def caption(row, say):
    found = row.summary
    text = (
        "1 seed, {steps} environment steps; return of the trained agent {mean}."
        if found.runs == 1
        else "{n} seeds, {steps} environment steps; mean return of the trained agents {mean}, "
        "worst {worst}."
    )
    figures = {"n": found.runs, "steps": f"{row.steps:,}"}
    figures |= {"mean": table.number(found.mean), "worst": table.number(found.worst)}
    return say(text).format(**figures)


class Curves(SphinxDirective):
    required_arguments = 1

    def run(self):
        name = algorithm(self).__name__

        say = functools.partial(word, self.config)

        rows = rows_of(name)
        if not rows:
            missing = say("No run of {} is stored in benchmarks/curves.").format(name)
            return [nodes.paragraph("", missing), self.command(name, say)]
        shown = []
        for row in rows:
            self.env.note_dependency(str(records.path_of(row.task.name)))
            text = html.escape(caption(row, say))
            shown.append(
                f'<figure class="learning-curve"><figcaption><b>{row.task.env}</b>: {text}'
                f"</figcaption>{picture(row, say)}</figure>"
            )
        key = say(
            "Line: interquartile mean of the evaluations during training; band: 95 % bootstrap "
            "interval; thin lines: the seeds. Diamonds: figures that others have published."
        )
        return [
            nodes.raw("", "".join(shown), format="html"), nodes.paragraph("", key),
            self.command(name, say),
        ]  # fmt: skip

    def command(self, name, say):
        before, after = say("Made by {}.").split("{}")
        return nodes.paragraph(
            "",
            "",
            nodes.Text(before),
            nodes.literal("", f"python benchmarks/suite.py --only {name}"),
            nodes.Text(after),
        )


def setup(app):
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    app.add_directive("curves", Curves)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
