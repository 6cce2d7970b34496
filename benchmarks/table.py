"""Write what benchmarks/presets.json holds where it is read.

    python benchmarks/table.py

The README's table stands between two marks; the docstring of each algorithm ends in a paragraph
that begins with "Measured".
"""

import json
import re
import textwrap
from pathlib import Path

import npr

HERE = Path(__file__).parent
START, END = "<!-- results -->", "<!-- /results -->"


def rows():
    return json.loads((HERE / "presets.json").read_text())["rows"]


def file_of(row):
    return getattr(npr, row["algorithm"]).__module__.rsplit(".")[-1]


def number(x):
    return f"{x:,.{2 if abs(x) < 10 else 1}f}"


def with_table(readme, rows):
    """The README's text with the table of these rows."""
    lines = [
        "| algorithm | file | environment | env steps | seeds | mean | worst | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        file = file_of(row)
        lines.append(
            f"| `{row['algorithm']}` | [{file}.py](npr/algorithms/{file}.py) | {row['env']} | "
            f"{row['steps']:,} | {row['seeds']} | {number(row['mean'])} | {number(row['worst'])} | "
            f"{row['seconds']:.1f} |"
        )
    before, after = readme.split(START)[0], readme.split(END)[1]
    return before + START + "\n" + "\n".join(lines) + "\n" + END + after


def with_figures(source, rows):
    """An algorithm's source whose docstring ends in the figures of these rows."""
    end = source.index('"""', 3)
    docstring = re.sub(r"\nMeasured, .*", "", source[3:end], flags=re.DOTALL).rstrip()
    figures, name = [], rows[0]["algorithm"]
    for row in rows:
        figure = f"{row['env']} {number(row['mean'])} in {row['steps']:,} steps"
        figure += " (one seed)" if row["seeds"] == 1 else ""
        figures.append(f"{row['algorithm']}: {figure}" if row["algorithm"] != name else figure)
        name = row["algorithm"]
    paragraph = f"Measured, mean return of {rows[0]['seeds']} seeds: {'; '.join(figures)}."
    paragraph = textwrap.fill(paragraph, 100, break_on_hyphens=False)
    return f'"""{docstring}\n\n{paragraph}\n' + source[end:]


def files():
    """(path, text as it should be) of every file that shows figures."""
    held = rows()
    readme = HERE.parent / "README.md"
    yield readme, with_table(readme.read_text(), held)
    for file in dict.fromkeys(map(file_of, held)):
        path = HERE.parent / "npr" / "algorithms" / f"{file}.py"
        yield path, with_figures(path.read_text(), [r for r in held if file_of(r) == file])


def main():
    for path, text in files():
        path.write_text(text)


if __name__ == "__main__":
    main()
