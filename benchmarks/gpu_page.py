"""Write the newest record of benchmarks/gpu.py into docs/gpu.md.

    python benchmarks/gpu_page.py

The parts of the page between HTML comments are replaced. Without a record they say that no GPU has
run npr, and what is known without one.
"""

import json
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # npr need not be installed
sys.path.insert(0, str(Path(__file__).parent))
from table import put, significant

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "gpu.md"
MODES = {"graph": "own kernels, graphs", "eager": "own kernels", "plain": "array operations"}
# environment steps per second of LeanRL on an H100: (eager, compiled and with CUDA graphs)
LEANRL = {"SAC, 1 environment": (127, 725), "PPO, 1 environment": (652, 1_774)}


class Record:
    """A file of benchmarks/gpu.py. What was not run has no jobs, and jobs have no such cases."""

    def __init__(self, path):
        self.name, held = path.name, json.loads(path.read_text())
        self.device, self.sections = held["device"], held["sections"]

    def jobs(self, section):
        """{title of a job: its results}."""
        return self.sections.get(section, {}).get("jobs", {})

    def job(self, section, *words):
        """The results of the first job whose title has all these words; {} if there is none."""
        for title, results in self.jobs(section).items():
            if set(words) <= set(title.split()):
                return results
        return {}

    def figures(self, section, *words, key="us"):
        """{case: figure} of a job, of the cases that have one."""
        cases = self.job(section, *words).items()
        return {name: one[key] for name, one in cases if isinstance(one, dict) and key in one}

    def times(self, *words):
        """{case: microseconds of an update}, of the sections `grid` and `speed`."""
        return self.figures("grid", *words) | self.figures("speed", *words)

    def on_numpy(self):
        """{case: (microseconds with one thread, or None, those with all threads, or None)}."""
        one, most = self.times("numpy", "1"), self.times("numpy", "all")
        return {case: (one.get(case), most.get(case)) for case in one | most}


def newest():
    """The newest record; None if there is none."""
    paths = sorted((HERE / "gpu").glob("*.json"))
    return Record(paths[-1]) if paths else None


def rows(head, lines):
    """A Markdown table."""
    cells = [head, ["---"] * len(head), *lines]
    return [f"| {' | '.join(map(str, line))} |" for line in cells]


def us(x):
    return "-" if x is None else significant(x)


def fastest(times):
    return min((x for x in times if x is not None), default=None)


def paragraph(text):
    """Lines of at most 110 characters; those of an item of a list are indented."""
    return textwrap.wrap(
        text, 110, subsequent_indent="  " * text.startswith("- "), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


# ---- the parts of the page

WITHOUT = (
    "**No GPU has run this version of npr.** What is known without one is shown by `python -m "
    "pytest tests/test_strict_device.py tests/algorithms/test_device_runs.py tests/kernels` and "
    "`python benchmarks/gpu.py --double`:",
    "- On a strict double of CuPy, which computes on the host, one update of each algorithm gives "
    "NumPy's result, alone and as a graph, mixes no host and device arrays, transfers no more than "
    "it should and never waits.",
    "- npr's CUDA sources are compiled by NVRTC, and give the results of their references when g++ "
    "compiles them for the host, with the same bits in every order of threads.",
    "Not known are races between threads, the rounding of a GPU, its memory, and all times.",
)
ESTIMATE = (
    "**Estimates**, none of them measured with npr: each operation of CuPy takes about 10 us of "
    "the host's time, whatever its size. The hundreds in an update of SAC take 3 to 5 ms on any "
    "GPU, which is what two cores of a CPU need at batch 256 and width 256. As one graph of fewer "
    "than a hundred kernels the same update should take a tenth of that, so that a GPU should pay "
    "from about this size on, and by far at batches of 4,096 or widths of 1,024.",
    "It cannot pay for tables, for networks of width 64 with batches of 64, or where the "
    "environment takes most of the time.",
)


def state(record):
    if record is None:
        first, *known, last = map(paragraph, WITHOUT)
        return [*first, "", *(line for lines in known for line in lines), "", *last]
    machine = record.job("machine", "graph")
    held, versions = machine.get("device", {}), machine.get("versions", {})
    sections = record.sections.values()
    dates = sorted({one["date"][:10] for one in sections})
    commits = sorted({one["commit"] for one in sections if one["commit"]})
    facts = [
        f"CuPy {held['cupy']}" if "cupy" in held else "",
        f"CUDA {version(held['cuda'])}" if "cuda" in held else "",
        f"driver and clocks {held['driver and clocks']}" if "driver and clocks" in held else "",
        f"Python {versions['python']}" if versions else "",
        f"beside {versions['cpu']} with {versions['cores']} cores" if versions else "",
        f"commit {', '.join(commits)}" if commits else "",
    ]
    wrong = [
        f"{name} ({len(one['wrong'])})" for name, one in record.sections.items() if one["wrong"]
    ]
    return paragraph(
        f"**Measured on {held.get('name', record.device)}**, {' and '.join(dates)}, by `python "
        f"benchmarks/gpu.py`: {', '.join(filter(None, facts))}. The record is "
        f"[{record.name}](../benchmarks/gpu/{record.name}). "
        + (f"**Wrong: {', '.join(wrong)}.**" if wrong else "Nothing in it is wrong.")
    )


def version(number):
    return f"{number // 1000}.{number % 1000 // 10}"


def pays(record):
    if record is None:
        first, last = map(paragraph, ESTIMATE)
        return [*first, "", *last]
    graph, numpy = record.times("cupy", "graph"), record.on_numpy()
    lines = []
    for width in sorted({case_of(case)[2] for case in graph if case_of(case)[0] == "SAC"}):
        cases = sorted(case_of(case)[1] for case in graph if case_of(case)[::2] == ("SAC", width))
        faster = []
        for batch in cases:
            name = f"SAC, batch {batch}, width {width}"
            other = fastest(numpy.get(name, ()))
            # without a time the CPU was too slow to be measured
            faster += [batch] if other is None or graph[name] < other else []
        later = [batch for batch in cases if all(b in faster for b in cases if b >= batch)]
        lines.append(
            f"- width {width:,}: from batch {later[0]:,} on" if later
            else f"- width {width:,}: up to batch {cases[-1]:,} it does not pay"
        )  # fmt: skip
    if not lines:
        return ["The record has no times of SAC."]
    return ["A SAC update is faster on this GPU than on the CPU with all its cores:", "", *lines]


def case_of(name):
    """(algorithm, batch, width) of the name of a case."""
    algorithm, batch, width = name.split(", ")
    return algorithm, int(batch.split()[1]), int(width.split()[1])


def loses(record):
    if record is None:
        return ["Not measured yet."]
    graph, numpy = record.times("cupy", "graph"), record.on_numpy()
    theirs, lines = record.figures("torch", "torch_speed"), []
    for case, time in graph.items():
        others = {
            "NumPy": fastest(numpy.get(case, ())),
            "PyTorch as a CUDA graph": theirs.get(f"graph, {case}"),
        }
        lines += [
            f"- {case}: {us(time)} us, {name} {us(other)} us"
            for name, other in others.items() if other is not None and other <= time
        ]  # fmt: skip
    cupy, numpy = (record.figures("steps", side, key="steps per second")
                   for side in ("cupy", "numpy"))  # fmt: skip
    lines += [
        f"- learn(), {case}: {pace:,.0f} steps per second, NumPy {numpy[case]:,.0f}"
        for case, pace in cupy.items() if pace < numpy.get(case, 0)
    ]  # fmt: skip
    return lines or ["In no case of the record."]


def results(record):
    if record is None:
        return ["There is no record yet."]
    return [
        *parity(record), *bits(record), *learning(record), *speed(record), *grid(record),
        *beside_torch(record), *steps(record), *skipped(record),
    ]  # fmt: skip


def parity(record):
    lines = []
    for section, keys in (
        ("kernels", ("numpy", "cupy")), ("updates", ("params", "optim")), ("ops", ("worst",)),
    ):  # fmt: skip
        for title, job in record.jobs(section).items():
            found = {(case, key): one[key] for case, one in job.items() for key in keys
                     if isinstance(one, dict) and key in one}  # fmt: skip
            if found:
                (case, key), worst = max(found.items(), key=lambda pair: pair[1])
                mode = next(text for mode, text in MODES.items() if mode in title.split())
                dtype = next(one for one in ("float32", "float64") if one in title)
                number = len({case for case, _ in found})
                allowed = {"float32": "1e-4", "float64": "1e-9"}[dtype]
                lines.append(
                    [section, mode, dtype, number, f"{worst:.1e} ({case}, {key})", allowed]
                )
    if not lines:
        return []
    head = ["section", "how", "type", "cases", "largest error", "allowed"]
    return ["### Results equal those of NumPy", "", *rows(head, lines), ""]


def bits(record):
    lines = []
    for title, job in record.jobs("bits").items():
        cases = {case: one for case, one in job.items() if isinstance(one, dict)}
        runs = {case: one for case, one in cases.items() if "results" in one}
        if runs:
            mode = next(text for mode, text in MODES.items() if mode in title.split())
            n = sum(one["runs"] for one in runs.values())
            replays = sum(one.get("replays", 0) for one in runs.values())
            equal = [case for case, one in runs.items() if one["results"] == 1]
            lines.append(f"- {mode}: {n} runs of {len(runs)} updates, {replays} by graphs: the "
                         f"same bits in {len(equal)} of {len(runs)}")  # fmt: skip
        same = {case: one["same bits"] for case, one in cases.items() if "same bits" in one}
        if same:
            lines.append(f"- runs that were saved, loaded and continued: the same bits in "
                         f"{sum(same.values())} of {len(same)}")  # fmt: skip
    texts = record.figures("memory", "graph", key="text").values()
    lines += [f"- memory: {text}" for text in texts]
    return ["### Bits and memory", "", *lines, ""] if lines else []


def learning(record):
    head, lines = ["algorithm", "on", "untrained", "after 2,000 steps", "needed"], []
    for side in ("cupy", "numpy"):
        for case, one in record.job("learning", side).items():
            if isinstance(one, dict) and "reward" in one:
                rewards = [f"{one[key]:.3f}" for key in ("before", "reward", "needed")]
                lines.append([case, side, *rewards])
    return ["### Mean reward of short runs", "", *rows(head, lines), ""] if lines else []


def speed(record):
    times = {mode: record.figures("speed", "cupy", mode) for mode in MODES}
    host = record.figures("speed", "cupy", "graph", key="host us")
    numpy = record.on_numpy()
    lines = []
    for case in times["graph"]:
        one, most = numpy.get(case, (None, None))
        lines.append([case, *(us(times[mode].get(case)) for mode in MODES), us(host.get(case)),
                      us(one), us(most)])  # fmt: skip
    if not lines:
        return []
    head = ["update", "graph, us", "eager", "array operations", "of the host, graph",
            "NumPy, 1 thread", "all threads"]  # fmt: skip
    return ["### Time of an update", "", *rows(head, lines), "", *launches(record)]


def launches(record):
    keys = ("kernels", "launches", "graph launches", "uploads", "downloads", "synchronizations")
    lines = []
    for mode, text in MODES.items():
        for case, one in record.job("speed", "cupy", mode).items():
            if case.startswith("launches, ") and "launches" in one:
                counts = [f"{one[key]:.0f}" if key in one else "-" for key in keys]
                lines.append([case.removeprefix("launches, "), text, *counts])
    if not lines:
        return []
    return ["Per update with its batch:", "", *rows(["update", "how", *keys], lines), ""]


def grid(record):
    """A table of SAC: time with graphs, and how many times faster than the CPU."""
    graph, numpy = record.figures("grid", "cupy", "graph"), record.on_numpy()
    cases = {case_of(name): name for name in graph}
    if not cases:
        return []
    widths = sorted({width for _, _, width in cases})
    lines = []
    for batch in sorted({batch for _, batch, _ in cases}):
        cells = []
        for width in widths:
            name = cases.get(("SAC", batch, width))
            other = fastest(numpy.get(name, ()))
            ratio = "-" if other is None else f"{other / graph[name]:.3g}x"
            cells.append("-" if name is None else f"{us(graph[name])} ({ratio})")
        lines.append([f"{batch:,}", *cells])
    about = paragraph(
        "Microseconds of an update with graphs, and how many times faster that is than NumPy with "
        "the better of one and all threads. A dash: it would take too long to be measured."
    )
    table = rows(["batch", *(f"width {width:,}" for width in widths)], lines)
    return ["### SAC by batch and width", "", *about, "", *table, ""]


def beside_torch(record):
    theirs = record.figures("torch", "torch_speed")
    if not theirs:
        return []
    facts = record.job("torch", "torch_speed").get("torch", {})
    ours, lines = {mode: record.times("cupy", mode) for mode in MODES}, []
    for case in dict.fromkeys(name.partition(", ")[2] for name in theirs):
        mine, other = ours["graph"].get(case), theirs.get(f"graph, {case}")
        ratio = f"{other / mine:.2f}" if mine and other else "-"
        eager = theirs.get(f"eager, {case}")
        lines.append([case, us(mine), us(ours["eager"].get(case)), us(other), us(eager), ratio])
    head = ["update", "npr graph, us", "npr eager", "PyTorch graph", "PyTorch eager",
            "PyTorch / npr, graphs"]  # fmt: skip
    about = paragraph(
        "The same networks, batches and arithmetic (`benchmarks/torch_updates.py`), with fused "
        "Adam, on the same device."
    )
    title = f"### Beside PyTorch {facts.get('version', '')} on {facts.get('where', 'cuda')}"
    return [title, "", *about, "", *rows(head, lines), ""]


def steps(record):
    key = "steps per second"
    cupy, numpy = (record.figures("steps", side, key=key) for side in ("cupy", "numpy"))
    lines = []
    for case in cupy | numpy:
        eager, best = next((pair for name, pair in LEANRL.items() if case.startswith(name)),
                           (None, None))  # fmt: skip
        published = f"{best:,} ({eager:,})" if best else "-"
        lines.append([case, us(cupy.get(case)), us(numpy.get(case)), published])
    if not lines:
        return []
    head = ["run", "CuPy, steps/s", "NumPy", "LeanRL on an H100, published"]
    about = paragraph(
        "LeanRL's figures are those of its README: HalfCheetah-v4, whose time they include, with "
        "torch.compile and CUDA graphs (CleanRL's without). The environment here has its sizes, "
        "and is computed by NumPy (`benchmarks/follow.py`)."
    )
    title = "### learn(): environment, acting, replay and updates"
    return [title, "", *rows(head, lines), "", *about, ""]


def skipped(record):
    def count(tree):
        if not isinstance(tree, dict):
            return 0
        return ("skipped" in tree) + sum(map(count, tree.values()))

    n = sum(count(one["jobs"]) for one in record.sections.values())
    return [f"{n} cases were skipped; the record says why."] if n else []


PARTS = {"state": state, "pays": pays, "loses": loses, "results": results}


def page(text, record):
    """The page with the parts of a record, or without one."""
    for mark, part in PARTS.items():
        text = put(text, mark, part(record))
    return text


def main():
    PAGE.write_text(page(PAGE.read_text(), newest()))


if __name__ == "__main__":
    main()
