"""Write the results in benchmarks/presets.json and results.json into README and docstrings.

    python benchmarks/table.py

The README's tables are between HTML comments; the docstring of each algorithm ends with a paragraph
that starts with "Measured".
"""

import json
import re
import sys
import textwrap
from pathlib import Path

import npr

sys.path.insert(0, str(Path(__file__).parent))  # also where a test loads this file
from clock import PARTS
from gates import GATES

HERE = Path(__file__).parent


def rows():
    return json.loads((HERE / "presets.json").read_text())["rows"]


def put(readme, mark, lines):
    """The README's text with these lines between <!-- mark --> and <!-- /mark -->."""
    start, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    before, after = readme.split(start)[0], readme.split(end)[1]
    return before + start + "\n" + "\n".join(lines) + "\n" + end + after


def file_of(row):
    return getattr(npr, row["algorithm"]).__module__.rsplit(".")[-1]


def number(x):
    return f"{x:,.{2 if abs(x) < 10 else 1}f}"


def pooled(row):
    """(seeds, mean, worst, share over the gate) of all variants of a row."""
    variants = row["variants"].values()
    seeds = sum(one["seeds"] for one in variants)
    mean, share = (
        sum(one[name] * one["seeds"] for one in variants) / seeds for name in ("mean", "share")
    )
    return seeds, mean, min(one["worst"] for one in variants), share


def with_table(readme, rows):
    """The README's text with the table of these rows."""
    lines = [
        "| algorithm | file | environment | env steps | runs | mean | worst | gate | over gate | "
        "seconds |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        file = file_of(row)
        runs, mean, worst, share = pooled(row)
        gate = GATES[row["algorithm"], row["env"]]
        lines.append(
            f"| `{row['algorithm']}` | [{file}.py](npr/algorithms/{file}.py) | {row['env']} | "
            f"{row['steps']:,} | {runs} | {number(mean)} | {number(worst)} | {gate:,g} | "
            f"{share:.0%} | {row['seconds']:.1f} |"
        )
    return put(readme, "results", lines)


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
    figures, name = [], rows[0]["algorithm"]
    for row in rows:
        runs, mean, *_ = pooled(row)
        figure = f"{row['env']} {number(mean)} in {row['steps']:,} steps"
        figure += f" ({runs} run{'s' * (runs > 1)})"
        figures.append(f"{row['algorithm']}: {figure}" if row["algorithm"] != name else figure)
        name = row["algorithm"]
    paragraph = f"Measured, mean return: {'; '.join(figures)}."
    paragraph = textwrap.fill(paragraph, 100, break_on_hyphens=False)
    return f'"""{docstring}\n\n{paragraph}\n' + source[end:]


def files():
    """(path, text with the present results) of every file that shows results."""
    held = rows()
    readme = HERE.parent / "README.md"
    results = json.loads((HERE / "results.json").read_text())
    yield readme, with_speed(with_table(readme.read_text(), held), results)
    for file in dict.fromkeys(map(file_of, held)):
        path = HERE.parent / "npr" / "algorithms" / f"{file}.py"
        yield path, with_figures(path.read_text(), [r for r in held if file_of(r) == file])


def main():
    for path, text in files():
        path.write_text(text)


if __name__ == "__main__":
    main()
