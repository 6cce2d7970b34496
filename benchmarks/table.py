"""Write the results in benchmarks/curves and results.json into READMEs, docs and docstrings.

    python benchmarks/table.py [--plots] [--curves FOLDER]

--plots also draws docs/results/ENVIRONMENT.png (needs npr-rl[plot]). --curves writes nothing: it
prints the rows that `suite.py --curves FOLDER` has stored. README.md and README.zh-CN.md
have one row per algorithm, docs/results.md has all; training speed is in both, the rest of the
speed in docs/speed.md.
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

import numpy as np

import npr
import npr.plot
from npr.plot import statistics
from npr.plot.drawing import color

sys.path.insert(0, str(Path(__file__).parent))  # also where a test loads this file
import parity
import random_policy
import records
from clock import PARTS
from gates import GATES
from tasks import BELOW_GATES, GROUPS, SHORTFALLS, Task, published, zoo

HERE = Path(__file__).parent
SHOWN = [task for name, group in GROUPS.items() if name != "equal" for task in group]
PAGE, SPEED = "docs/results.md", "docs/speed.md"


class Readme(NamedTuple):
    """The tables of a README in its language.

    pages       where the pages of the algorithms are
    words       (pattern, replacement) for the names of trainings
    """

    pages: str
    results: str
    speed: str
    words: list[tuple[str, str]] = []


READMES = {
    "README.md": Readme(
        "docs/algorithms",
        "| algorithm | environment | env steps | seeds | mean | worst | published | seconds |",
        "| training | npr, steps/s | SB3 | SBX | npr / SB3 | npr / SBX |",
    ),
    "README.zh-CN.md": Readme(
        "docs/zh/algorithms",
        "| 算法 | 环境 | 环境步 | 种子数 | 均值 | 最差 | 公开结果 | 秒 |",
        "| 训练 | npr，步/秒 | SB3 | SBX | npr / SB3 | npr / SBX |",
        [(r", batch (\d+)", r"，批量 \1"), (r", (\d+) environments", r"，\1 个环境")],
    ),
}


class Row(NamedTuple):
    """A task, its runs and their statistics."""

    task: Task
    record: records.Record
    summary: records.Summary

    @property
    def steps(self):
        """The env steps of its runs."""
        return self.record.runs[0].trained

    @property
    def gate(self):
        """The return that the tests ask for on this budget; None: they have no such test."""
        usual = self.task.preset.get("total_timesteps") == self.task.budget
        return GATES.get((self.task.algorithm, self.task.env)) if usual else None


def stored(tasks, folder=records.FOLDER):
    """The rows of those tasks that have runs of their present settings and seeds.

    The runs of a row have the same number of env steps: the one that most of them have.
    """
    found = []
    for task in tasks:
        record = records.load(task.name, folder)
        if record is None or record.settings != task.given:
            continue
        runs = [run for run in record.runs if run.seed in task.shown]
        lengths = [run.trained for run in runs]
        if runs:
            length = max(lengths, key=lambda steps: (lengths.count(steps), steps))
            record = record._replace(runs=[run for run in runs if run.trained == length])
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
        f"{number(value)} ({source}, {short(steps)})"
        for source, value, steps in published(task.algorithm, task.env)
    ]
    return "; ".join(shown) or "-"


def first_of_each(rows):
    """The first row of each algorithm."""
    found = {}
    for row in rows:
        found.setdefault(row.task.algorithm, row)
    return [*found.values()]


def with_table(text, readme, rows):
    """A README's text with the first of these rows for each algorithm."""
    lines = [readme.results, "|---|---|--:|--:|--:|--:|---|--:|"]
    for row in first_of_each(rows):
        task, found = row.task, row.summary
        lines.append(
            f"| [`{task.algorithm}`]({readme.pages}/{file_of(task)}.md) | {task.env} | "
            f"{row.steps:,} | {found.runs} | {number(found.mean)} | {number(found.worst)} | "
            f"{figures(task)} | {found.seconds:,.1f} |"
        )
    return put(text, "results", lines)


def full_row(row):
    """A line of the page: every statistic."""
    task, found = row.task, row.summary
    several = found.runs > 1
    interval = " to ".join(map(number, found.interval)) if several else "-"
    gate = "-" if row.gate is None else f"{row.gate:,g}"
    return (
        f"| {task.algorithm} | {task.env} | {row.steps:,} | {found.runs} | "
        f"{number(found.mean)} | {number(found.std) if several else '-'} | "
        f"{number(found.iqm)} | {interval} | {number(found.worst)} | "
        f"{gate} | {figures(task)} | {found.seconds:,.1f} |"
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
        if steps <= row.steps and value > row.summary.interval[1]
    ]


def shortfalls(rows):
    """Lines that name every row below a published figure, and what is known about it."""
    lines = []
    for row in rows:
        task, found = row.task, row.summary
        low, high = found.interval
        for source, value in falls_short(row):
            why = SHORTFALLS.get((task.algorithm, task.env), "Not investigated.")
            lines.append(
                f"- **{task.algorithm}, {task.env}**, {short(row.steps)} steps: IQM "
                f"{number(found.iqm)} ({number(low)} to {number(high)}), {source} "
                f"{number(value)}. {why}"
            )
    return lines or ["None."]


def below_gates(rows):
    """Lines that name every row with seeds below its gate."""
    lines = []
    for row in rows:
        if row.gate is not None and row.summary.worst < row.gate:
            below = int((row.record.returns < row.gate).sum())
            lines.append(
                f"- **{row.task.algorithm}, {row.task.env}**: {below} of {row.summary.runs}, "
                f"worst {number(row.summary.worst)}, gate {row.gate:,g}. "
                + BELOW_GATES.get((row.task.algorithm, row.task.env), "Not investigated.")
            )
    return lines or ["None."]


def checkpoints(rows):
    """A table of the evaluations during training at the same env steps: mean, std (seeds)."""
    lines = ["| algorithm | environment | 100k | 300k | 1M |", "|---|---|--:|--:|--:|"]
    for row in rows:
        cells = []
        for step in (100_000, 300_000, 1_000_000):
            returns = records.at(row.record, step)
            spread = f" +- {number(returns.std(ddof=1))}" if len(returns) > 1 else ""
            there = f"{number(returns.mean())}{spread} ({len(returns)})" if len(returns) else "-"
            cells.append(there)
        if {*cells} != {"-"}:
            lines.append(f"| {row.task.algorithm} | {row.task.env} | {' | '.join(cells)} |")
    return lines


def scores(rows):
    """algorithm -> [scores (runs,) of each row with a zoo figure for its env steps].

    0 is the return of random actions, 1 that of the zoo.
    """
    random, found = random_policy.load(), {}
    for row in rows:
        there = zoo(row.task)
        if there is not None and row.steps == row.task.budget:
            low = random[row.task.env]
            found.setdefault(row.task.algorithm, []).append(
                (row.record.returns - low) / (there - low)
            )
    return found


def mean_over_rows(held):
    """The mean of the mean scores of rows, and its 95 % interval by stratified bootstrap."""
    low, high = np.quantile(records.resampled_means(held).mean(axis=0), [0.025, 0.975])
    return float(np.mean([one.mean() for one in held])), low, high


def aggregates(rows):
    """A table of the scores of each algorithm and of all."""
    lines = [
        "| algorithm | rows | runs | mean over rows | 95 % interval | IQM of runs | "
        "95 % interval | runs above 1 | at 1 |",
        "|---|--:|--:|--:|---|--:|---|--:|--:|",
    ]
    found = scores(rows)
    for name, held in [*found.items(), ("all", sum(found.values(), []))]:
        runs = np.concatenate(held)
        parts = mean_over_rows(held), (
            statistics.iqm(runs), *statistics.bootstrap(held, statistics.iqm)
        )  # fmt: skip
        cells = [f"{center:.3f} | {low:.3f} to {high:.3f}" for center, low, high in parts]
        lines.append(
            f"| {name} | {len(held)} | {len(runs)} | {' | '.join(cells)} | "
            f"{(runs > 1).mean():.0%} | {(runs == 1).mean():.0%} |"
        )
    return lines


def spent(rows):
    """Sentences about how many runs there are, their CPU time, and on what."""
    shown = [run for row in rows for run in row.record.runs]
    pairs = [
        run
        for pair in parity.PAIRS
        for side in parity.sides(pair)
        if (record := records.load(parity.stored_as(side, pair)))
        for run in record.runs
    ]
    parts = [
        f"{len(runs)} {what}, {sum(run.seconds for run in runs) / 3_600:.1f} hours of CPU time"
        for runs, what in ((shown, "runs of presets"), (pairs, "runs beside SB3"))
    ]
    names = {f"{run.machine['cpu']} ({run.machine['BLAS'].split()[-2]} kernels)" for run in shown}
    versions = [
        f"{package} {', '.join(sorted({run.machine[package] for run in shown} - {None}))}"
        for package in ("python", "numpy", "numba", "gymnasium")
    ]
    return [
        f"{'; '.join(parts)}. Processors: {'; '.join(sorted(names))}; many rows have runs of both. "
        f"Versions: {'; '.join(versions)}."
    ]


def with_page(page):
    """The text of the page with its tables."""
    rows = {mark: stored(tasks) for mark, tasks in GROUPS.items()}
    everything = [row for group in rows.values() for row in group]
    for mark, group in rows.items():
        page = put(page, mark, HEADER + [full_row(row) for row in group])
    plotted = [row for row in everything if row.task in SHOWN]
    pictures = [f"![Learning curves on {env}](results/{env}.png)" for env in panels(plotted)]
    parts = {
        "spent": spent(everything), "aggregates": aggregates(everything),
        "checkpoints": checkpoints(rows["mujoco"]), "shortfalls": shortfalls(everything),
        "below": below_gates(everything), "curves": pictures, "parity": parity.table(),
        "clipping": parity.table(parity.OWN, "npr"),
    }  # fmt: skip
    for mark, lines in parts.items():
        page = put(page, mark, lines)
    return page


# ---- plots


def panels(rows):
    """environment -> the rows of its plot."""
    found = {}
    for row in rows:
        found.setdefault(row.task.env, []).append(row)
    return dict(sorted(found.items()))


def draw(env, rows, path):
    """Draw the learning curves on an environment, and published figures: the zoo's as diamonds,
    CleanRL's as circles."""
    groups = {row.task.algorithm: records.run_data(row.task, row.record) for row in rows}
    figure = npr.plot.curves(groups, y="evaluation", center="iqm", title=env)
    (ax,) = figure.axes
    for i, row in enumerate(rows):
        for source, value, steps in published(row.task.algorithm, row.task.env):
            marker = {"zoo": "D", "CleanRL": "o"}[source]
            ax.plot(steps, value, marker, markersize=7, fillstyle="none", color=color(i), zorder=5)
    budgets = [row.steps for row in rows]
    budgets += [one[2] for row in rows for one in published(row.task.algorithm, row.task.env)]
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


def rates(row):
    """Cells: the steps per second of npr, SB3 and SBX, and the ratios to both."""
    rate = {side: row.get(side, {}).get("rate") for side in ("npr", "sb3", "sbx")}
    cells = [significant(rate[side]) if rate[side] else "-" for side in rate]
    ratios = [
        f"**{rate['npr'] / rate[side]:.1f}**" if rate[side] else "-" for side in ("sb3", "sbx")
    ]
    return " | ".join(cells + ratios)


def with_rates(text, readme, results):
    """A README's text with the training speed of benchmarks/results.json."""
    lines = [readme.speed, "|---|--:|--:|--:|--:|--:|"]
    for row in results["training"]:
        name = row["case"]
        for pattern, replacement in readme.words:
            name = re.sub(pattern, replacement, name)
        lines.append(f"| {name} | {rates(row)} |")
    return put(text, "speed", lines)


def with_speed(page, results):
    """The text of the page about speed with the tables of benchmarks/results.json."""
    lines = [
        "| training | npr, steps/s | SB3 | SBX | npr / SB3 | npr / SBX | update, us | "
        "without capture | floor | loop, us |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in results["training"]:
        eager = significant(row["eager"]["update"]) if "eager" in row else "-"
        lines.append(
            f"| {row['case']} | {rates(row)} | {significant(row['npr']['update'])} | {eager} | "
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
    return put(page, "speed", lines)


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
    root, held = HERE.parent, stored(SHOWN)
    results = json.loads((HERE / "results.json").read_text())
    for name, readme in READMES.items():
        text = with_table((root / name).read_text(encoding="utf-8"), readme, held)
        yield root / name, with_rates(text, readme, results)
    yield root / PAGE, with_page((root / PAGE).read_text())
    yield root / SPEED, with_speed((root / SPEED).read_text(), results)
    for file in dict.fromkeys(file_of(row.task) for row in held):
        path = root / "npr" / "algorithms" / f"{file}.py"
        yield path, with_figures(path.read_text(), [r for r in held if file_of(r.task) == file])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--plots", action="store_true", help="draw the learning curves too")
    parser.add_argument("--curves", type=Path, help="a folder whose rows are printed")
    arguments = parser.parse_args()
    if arguments.curves:
        tasks = [task for group in GROUPS.values() for task in group]
        print("\n".join(HEADER + [full_row(row) for row in stored(tasks, arguments.curves)]))
        return
    for path, text in files():
        path.write_text(text, encoding="utf-8")
    if arguments.plots:
        folder = HERE.parent / "docs" / "results"
        folder.mkdir(exist_ok=True)
        drawn = panels(stored(SHOWN))
        for path in folder.glob("*.png"):
            if path.stem not in drawn:
                path.unlink()
        for env, rows in drawn.items():
            draw(env, rows, folder / f"{env}.png")


if __name__ == "__main__":
    main()
