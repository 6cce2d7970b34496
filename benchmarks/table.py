"""Write the results in benchmarks/curves and results.json into README, docs and docstrings.

    python benchmarks/table.py [--plots]

--plots also draws docs/results/ENVIRONMENT.png (needs npr-rl[plot]).
Tables are between HTML comments; the docstring of each algorithm ends with a paragraph that starts
with "Measured".
"""

import argparse
import json
import re
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import npr
import npr.plot

sys.path.insert(0, str(Path(__file__).parent))  # also where a test loads this file
import parity
import records
from clock import PARTS
from gates import GATES
from tasks import CLASSIC, EQUAL, LANDER, ROBOTS, SHORTFALLS, Task, published

HERE = Path(__file__).parent
PAGE = "docs/results.md"


class Row(NamedTuple):
    """A task, its runs and their statistics."""

    task: Task
    record: records.Record
    summary: records.Summary

    @property
    def steps(self):
        """The env steps of the longest run."""
        return max(run.trained for run in self.record.runs)


def stored(tasks, folder=records.FOLDER):
    """The rows of those tasks that have runs of their present settings."""
    found = []
    for task in tasks:
        record = records.load(task.name, folder)
        if record is not None and record.settings == task.given:
            found.append(Row(task, record, records.summary(record)))
    return found


def put(text, mark, lines):
    """A text with these lines between <!-- mark --> and <!-- /mark -->."""
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, after = text.split(start)[0], text.split(end)[1]
    return before + start + "\n" + "\n".join(lines) + "\n" + end + after


def file_of(task):
    return getattr(npr, task.algorithm).__module__.rsplit(".")[-1]


def number(x):
    return f"{x:,.{2 if abs(x) < 10 else 1 if abs(x) < 1_000 else 0}f}"


def short(steps):
    """20_000 -> 20k, 1_000_000 -> 1M."""
    return f"{steps / 1e6:g}M" if steps >= 1e6 else f"{steps / 1e3:g}k"


def figures(task):
    """The published figures for a task: 500 (zoo, 50k)."""
    shown = [
        f"{number(value)} ({source}{f', {short(steps)}' if steps else ''})"
        for source, value, steps in published(task.algorithm, task.env)
    ]
    return "; ".join(shown) or "-"


def with_table(readme, rows):
    """The README's text with the table of these rows."""
    lines = [
        "| algorithm | file | environment | env steps | seeds | mean | worst | published | "
        "seconds |",
        "|---|---|---|--:|--:|--:|--:|---|--:|",
    ]
    for row in rows:
        task, found, file = row.task, row.summary, file_of(row.task)
        lines.append(
            f"| `{task.algorithm}` | [{file}.py](npr/algorithms/{file}.py) | {task.env} | "
            f"{row.steps:,} | {found.runs} | {number(found.mean)} | {number(found.worst)} | "
            f"{figures(task)} | {found.seconds:,.1f} |"
        )
    return put(readme, "results", lines)


def full_row(row):
    """A line of the page: every statistic."""
    task, found = row.task, row.summary
    low, high = found.interval
    gate = GATES.get((task.algorithm, task.env)) if not task.label else None
    return (
        f"| {task.algorithm} | {task.env} | {row.steps:,} | {found.runs} | "
        f"{number(found.mean)} | {number(found.std) if found.runs > 1 else '-'} | "
        f"{number(found.iqm)} | {number(low)} to {number(high)} | {number(found.worst)} | "
        f"{'-' if gate is None else f'{gate:,g}'} | {figures(task)} | {found.seconds:,.1f} |"
    )


HEADER = [
    "| algorithm | environment | env steps | seeds | mean | std | IQM | 95 % interval of the IQM | "
    "worst | gate | published | seconds |",
    "|---|---|--:|--:|--:|--:|--:|---|--:|--:|---|--:|",
]


def falls_short(row):
    """The published figures of at most as many steps above the interval: [(source, value)]."""
    return [
        (source, value)
        for source, value, steps in published(row.task.algorithm, row.task.env)
        if steps is not None and steps <= row.steps and value > row.summary.interval[1]
    ]


def shortfalls(rows):
    """Lines that name every row below a published figure, and what is known about it."""
    lines = []
    for row in rows:
        task = row.task
        for source, value in falls_short(row):
            why = SHORTFALLS.get((task.algorithm, task.env), "Not investigated.")
            lines.append(
                f"- **{task.algorithm}, {task.env}**, {short(row.steps)} steps: "
                f"{number(row.summary.mean)}, {source} {number(value)}. {why}"
            )
    return lines or ["None."]


def with_page(page):
    """The text of the page with its tables."""
    groups = {"classic": CLASSIC, "equal": EQUAL, "box2d": LANDER, "mujoco": ROBOTS}
    everything, plotted = [], []
    for mark, tasks in groups.items():
        rows = stored(tasks)
        everything += rows
        plotted += rows if mark != "equal" else []
        page = put(page, mark, HEADER + [full_row(row) for row in rows])
    runs = [run for row in everything for run in row.record.runs]
    hours = sum(run.seconds for run in runs) / 3_600
    cpus = sorted({run.machine["cpu"] for run in runs})
    spent = f"{len(runs)} runs, {hours:.1f} hours of CPU time ({', '.join(cpus)})."
    page = put(page, "spent", [spent])
    page = put(page, "parity", parity.table())
    pictures = [f"![Learning curves on {env}](results/{env}.png)" for env in panels(plotted)]
    page = put(page, "curves", pictures)
    return put(page, "shortfalls", shortfalls(everything))


# ---- plots


def panels(rows):
    """environment -> the rows of its plot."""
    found = {}
    for row in rows:
        found.setdefault(row.task.env, []).append(row)
    return dict(sorted(found.items()))


def draw(env, rows, path):
    """Draw the learning curves on an environment, and published figures as diamonds."""
    groups = {row.task.algorithm: records.run_data(row.task, row.record) for row in rows}
    figure = npr.plot.curves(groups, y="evaluation", center="iqm", title=env)
    (ax,) = figure.axes
    lines = {line.get_label().split(" (")[0]: line for line in ax.get_lines()}
    for row in rows:
        for _, value, steps in published(row.task.algorithm, row.task.env):
            if steps is not None:
                color = lines[row.task.algorithm].get_color()
                ax.plot(steps, value, "D", color=color, markeredgecolor="white", zorder=5)
    budgets = [row.steps for row in rows]
    if max(budgets) > 4 * min(budgets):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:,.0f}")
    figure.savefig(path, dpi=80)


# ---- speed


def significant(x):
    """A number with three significant digits, without an exponent."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def quoted(row):
    """A list of what RLtools has published for this training, with a link to its file."""
    if "published" not in row:
        return []
    times = [f"{seconds:g} s on {machine}" for seconds, machine in row["published"]["times"]]
    return [f"[RLtools publishes]({row['published']['source']}) {'; '.join(times)}"]


def with_speed(readme, results):
    """The README's text with the tables of benchmarks/results.json."""
    lines = [
        "| training | npr, steps/s | SB3 | SBX | npr / SB3 | npr / SBX | update, us | "
        "without capture | floor | loop, us |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["training"]:
        rate = {side: row.get(side, {}).get("rate") for side in ("npr", "sb3", "sbx")}
        theirs = [significant(rate[side]) if rate[side] else "-" for side in ("sb3", "sbx")]
        ratios = [
            f"**{rate['npr'] / rate[side]:.1f}**" if rate[side] else "-" for side in ("sb3", "sbx")
        ]
        eager = significant(row["eager"]["update"]) if "eager" in row else "-"
        lines.append(
            f"| {row['case']} | {significant(rate['npr'])} | {' | '.join(theirs + ratios)} | "
            f"{significant(row['npr']['update'])} | {eager} | "
            f"{significant(row['floor']['floor'])} | {significant(row['npr']['loop'])} |"
        )
    parts = [row for row in results["training"] if "act" in row["npr"]]
    if parts:
        lines += ["", f"| loop, us per step | {' | '.join(PARTS)} |", f"|---{'|---' * len(PARTS)}|"]
    for row in parts:
        figures = " | ".join(f"{row['npr'][part]:.1f}" for part in PARTS)
        lines.append(f"| {row['case']} | {figures} |")
    names = {"sb3": "SB3", "sbx": "SBX", "numpy": "`import numpy`"}
    lines += ["", "| piece | npr | others |", "|---|---|---|"]
    for row in results["pieces"]:
        without = ("case", "unit", "rounds", "npr", "published")
        rest = {k: v for k, v in row.items() if k not in without}
        others = [f"{names.get(k, k)} {significant(v)} {row['unit']}" for k, v in rest.items()]
        others += quoted(row)
        ours = f"{significant(row['npr'])} {row['unit']}"
        lines.append(f"| {row['case']} | {ours} | {', '.join(others) or '-'} |")
    return put(readme, "speed", lines)


def with_figures(source, rows):
    """An algorithm's source whose docstring ends with the results of these rows."""
    end = source.index('"""', 3)
    docstring = re.sub(r"\nMeasured, .*", "", source[3:end], flags=re.DOTALL).rstrip()
    shown, name = [], rows[0].task.algorithm
    for row in rows:
        task, found = row.task, row.summary
        figure = f"{task.env} {number(found.mean)} in {row.steps:,} steps"
        figure += f" ({found.runs} seed{'s' * (found.runs > 1)})"
        shown.append(f"{task.algorithm}: {figure}" if task.algorithm != name else figure)
        name = task.algorithm
    paragraph = f"Measured, mean return: {'; '.join(shown)}."
    paragraph = textwrap.fill(paragraph, 100, break_on_hyphens=False)
    return f'"""{docstring}\n\n{paragraph}\n' + source[end:]


def files():
    """(path, text with the present results) of every file that shows results."""
    root, held = HERE.parent, stored(CLASSIC + LANDER + ROBOTS)
    readme, page = root / "README.md", root / PAGE
    results = json.loads((HERE / "results.json").read_text())
    yield readme, with_speed(with_table(readme.read_text(), held), results)
    yield page, with_page(page.read_text())
    for file in dict.fromkeys(file_of(row.task) for row in held):
        path = root / "npr" / "algorithms" / f"{file}.py"
        yield path, with_figures(path.read_text(), [r for r in held if file_of(r.task) == file])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plots", action="store_true", help="draw the learning curves too")
    plots = parser.parse_args().plots
    for path, text in files():
        path.write_text(text)
    if plots:
        folder = HERE.parent / "docs" / "results"
        folder.mkdir(exist_ok=True)
        for env, rows in panels(stored(CLASSIC + LANDER + ROBOTS)).items():
            draw(env, rows, folder / f"{env}.png")


if __name__ == "__main__":
    main()
