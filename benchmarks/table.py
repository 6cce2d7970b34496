"""Write the README's table of results from benchmarks/presets.json.

    python benchmarks/table.py

The table stands between two marks in README.md.
"""

import json
from pathlib import Path

import npr

HERE = Path(__file__).parent
START, END = "<!-- results -->", "<!-- /results -->"


def main():
    rows = json.loads((HERE / "presets.json").read_text())["rows"]
    lines = [
        "| algorithm | file | environment | env steps | mean | worst | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = row["algorithm"]
        file = getattr(npr, name).__module__.rsplit(".")[-1]
        digits = 2 if abs(row["mean"]) < 10 else 1
        lines.append(
            f"| `{name}` | [{file}.py](npr/algorithms/{file}.py) | {row['env']} | "
            f"{row['steps']:,} | {row['mean']:.{digits}f} | {row['worst']:.{digits}f} | "
            f"{row['seconds']:.1f} |"
        )
    readme = HERE.parent / "README.md"
    text = readme.read_text()
    before, after = text.split(START)[0], text.split(END)[1]
    readme.write_text(before + START + "\n" + "\n".join(lines) + "\n" + END + after)


if __name__ == "__main__":
    main()
