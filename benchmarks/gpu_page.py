"""Write a record of benchmarks/gpu.py into docs/gpu.md.

    python benchmarks/gpu_page.py [--record FILE] [--count]

Without --record that is the newest of those with the most sections. The parts of the page between
HTML comments are replaced. Without a record they say that no GPU has run npr, and what is known
without one. --count first counts launches and transfers on the strict double of CuPy again
(benchmarks/launches.json).
"""

import argparse
import json
import re
import sys
import tempfile
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # npr need not be installed
sys.path.insert(0, str(Path(__file__).parent))
import store
from table import put, significant

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "gpu.md"
LAUNCHES = HERE / "launches.json"
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
        """The results of the first job whose title has all these words; {} if there is none.

        A title begins with the number of the job in its section, which is no word.
        """
        for title, results in self.jobs(section).items():
            if set(words) <= set(title.split()[1:]):
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

    def too_slow(self, case):
        """Whether NumPy has no time of a case because an update would take too long."""
        found = (self.job(section, "numpy", "all").get(case) for section in ("grid", "speed"))
        return any(isinstance(one, dict) and "too slow" in one for one in found)


def records():
    """The records, those that are shown rather last: with more sections, or newer."""
    found = [Record(path) for path in (HERE / "gpu").glob("*.json")]
    found = [record for record in found if record.device != "double"]
    return sorted(found, key=lambda record: (len(record.sections), record.name))


def newest():
    """The newest of the records with the most sections; None if there is none."""
    found = records()
    return found[-1] if found else None


def shown(text):
    """The record that a page names, or else the newest."""
    name = re.search(r"\(\.\./benchmarks/gpu/([^)]+)\)", text)
    return Record(HERE / "gpu" / name[1]) if name else newest()


def rows(head, lines):
    """A Markdown table."""
    cells = [head, ["---"] * len(head), *lines]
    return [f"| {' | '.join(map(str, line))} |" for line in cells]


def plural(n, noun):
    return f"{n:,} {noun}{'s' * (n != 1)}"


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
    "**Estimates**, none of them measured: an operation of CuPy is said to take about 10 us of the "
    "host's time, whatever its size, so that the {plain} kernels of an update of SAC as array "
    "operations (table below) would take about {ms:.0f} ms on any GPU. As one graph of {graph} "
    "kernels the host's part is a small part of that. A GPU should then pay where an update takes "
    "more than a few milliseconds on the CPU, as with batches of 4,096 or widths of 1,024.",
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
        held.get("driver and clocks", ""),
        f"Python {versions['python']}" if versions else "",
        f"beside {versions['cpu']} with {versions['cores']} cores" if versions else "",
        numba(versions),
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


def numba(versions):
    """Whether NumPy's side of the comparison was compiled."""
    if "compiled by numba" not in versions:
        return ""
    return f"{'with' if versions['compiled by numba'] else '**without**'} Numba on the CPU"


def version(number):
    return f"{number // 1000}.{number % 1000 // 10}"


def pays(record):
    if record is None:
        held = json.loads(LAUNCHES.read_text())
        plain, graph = (
            round(held[mode]["SAC"]["update"]["kernels"]) for mode in ("plain", "graph")
        )
        first, last = ESTIMATE
        first = paragraph(first.format(plain=plain, graph=graph, ms=plain / 100))
        last = paragraph(last)
        return [*first, "", *last]
    graph, numpy = record.times("cupy", "graph"), record.on_numpy()
    lines = []
    for width in sorted({case_of(case)[2] for case in graph if case_of(case)[0] == "SAC"}):
        names = {case_of(case)[1]: case for case in graph if case_of(case)[::2] == ("SAC", width)}
        other = {batch: fastest(numpy.get(name, ())) for batch, name in names.items()}
        faster = {
            batch: graph[name] < other[batch] if other[batch] else True
            for batch, name in sorted(names.items()) if other[batch] or record.too_slow(name)
        }  # fmt: skip
        if not faster:
            lines.append(f"- width {width:,}: NumPy was not measured")
            continue
        later = [batch for batch in faster if all(faster[b] for b in faster if b >= batch)]
        lines.append(
            f"- width {width:,}: from batch {later[0]:,} on" if later
            else f"- width {width:,}: up to batch {max(faster):,} it does not pay"
        )  # fmt: skip
    if not lines:
        return ["The record has no times of SAC."]
    head = (
        "A SAC update is faster on this GPU than on the CPU with the better of one and all threads:"
    )
    return [head, "", *lines]


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
        *start(record), *parity(record), *bits(record), *files(record), *learning(record),
        *speed(record), *grid(record), *products(record), *beside_torch(record), *steps(record),
        *skipped(record),
    ]  # fmt: skip


def start(record):
    """Costs of single operations, and seconds of compiling."""
    machine = record.job("machine", "graph")
    costs = {name.removesuffix(" us"): one for name, one in machine.get("costs", {}).items()
             if name.endswith(" us")}  # fmt: skip
    compiled = {name.removeprefix("compile "): one["seconds"] for name, one in machine.items()
                if name.startswith("compile ") and "seconds" in one}  # fmt: skip
    lines = []
    if costs:
        lines += [
            "Microseconds of the host per operation:",
            "",
            *rows(costs, [map(us, costs.values())]),
            "",
        ]
    if compiled:
        each = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in compiled.items())
        lines += paragraph(
            f"NVRTC compiles npr's sources once, in {sum(compiled.values()):.1f} s: {each}."
        )
        lines.append("")
    return ["### Operations and compiling", "", *lines] if lines else []


def files(record):
    """Files that were read on the other backend."""
    lines = []
    for title, job in record.jobs("files").items():
        cases = [one for one in job.values() if isinstance(one, dict) and "actions" in one]
        if cases:
            side = "CuPy" if "cupy" in title.split() else "NumPy"
            worst = max(one["actions"] for one in cases)
            lines.append(f"- {plural(len(cases), 'file')} read by {side}: actions differ by at "
                         f"most {worst:.1e} (allowed 1e-5)")  # fmt: skip
    return ["### Files between backends", "", *lines, ""] if lines else []


def products(record):
    """npr's matrix products beside cuBLAS."""
    job = record.job("products", "graph")
    lines = [
        [case, us(one["own us"]), us(one["cublas us"])]
        for case, one in job.items() if isinstance(one, dict) and "own us" in one
    ]  # fmt: skip
    if not lines:
        return []
    at = job.get("crossover", {})
    text = ", ".join(f"{name}: {at[name]:,}" if at[name] else f"{name}: none" for name in at)
    table = rows(["case", "npr's kernels, us", "cuBLAS"], lines)
    about = [f"Multiplications from which on cuBLAS is used (set), and is faster: {text}.", ""]
    return ["### Matrix products", "", *table, "", *(about if at else [])]


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
            lines.append(f"- {mode}: {plural(n, 'run')} of {plural(len(runs), 'update')}, "
                         f"{replays} by graphs: the same bits in {len(equal)} of "
                         f"{len(runs)}")  # fmt: skip
        same = {case: one["same bits"] for case, one in cases.items() if "same bits" in one}
        if same:
            lines.append(f"- runs that were saved, loaded and continued: the same bits in "
                         f"{sum(same.values())} of {len(same)}")  # fmt: skip
    said = {"out of memory": "out of memory is reported as: "}  # no failure, but what is tested
    texts = record.figures("memory", "graph", key="text")
    lines += [f"- memory: {said.get(case, '')}{text}" for case, text in texts.items()]
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
        "the better of one and all threads. A dash: it was not measured, since an update would "
        "take too long, or since no time was left."
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
    were = "was" if n == 1 else "were"
    return [f"{plural(n, 'case')} {were} skipped; the record says why."] if n else []


# ---- launches, as the double counts them


def count():
    """{"plain" and "graph": {algorithm: counts per update}} on the double, into launches.json."""
    import gpu

    found = {}
    with tempfile.TemporaryDirectory() as folder:
        runner = gpu.Runner(Path(folder), double=True)
        for mode in ("plain", "graph"):
            result = runner(gpu.Job("counts", "cupy", mode), Path(folder, f"{mode}.json"), 1_000)
            if gpu.faults(result):
                sys.exit(f"The double failed: {result}")
            found[mode] = {name: one for name, one in result.items() if isinstance(one, dict)}
    store.write(LAUNCHES, found)


def counts(record):
    """The table of launches.json, whatever the record is: nothing in it needs a GPU."""
    found = json.loads(LAUNCHES.read_text())
    lines = []
    for name, after in found["graph"].items():
        update, learn = after["update"], after["learn"]
        numbers = [found["plain"][name]["update"]["kernels"], update["kernels"],
                   update["graph launches"], update["launches"]]  # fmt: skip
        crossed = [f"{learn[key]:.1f}" for key in ("uploads", "downloads")]
        lines.append([name, *(f"{n:,.0f}" for n in numbers), *crossed])
    head = ["update", "kernels before", "kernels after", "launches after: graphs",
            "kernels beside them", "uploads", "downloads"]  # fmt: skip
    return rows(head, lines)


PARTS = {"state": state, "pays": pays, "loses": loses, "counts": counts, "results": results}


def page(text, record):
    """The page with the parts of a record, or without one."""
    for mark, part in PARTS.items():
        text = put(text, mark, part(record))
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--record", type=Path, help="the record to show, of benchmarks/gpu")
    parser.add_argument("--count", action="store_true", help="count on the double again")
    arguments = parser.parse_args()
    if arguments.count:
        count()
    record = Record(arguments.record) if arguments.record else newest()
    if record and record.device == "double":
        parser.error(f"{record.name} is a record of the strict double, not of a GPU")
    for other in records():
        if record and other.name > record.name:
            print(f"{record.name} is shown; {other.name} is newer and has "
                  f"{plural(len(other.sections), 'section')}: --record shows it.")  # fmt: skip
    PAGE.write_text(page(PAGE.read_text(), record))


if __name__ == "__main__":
    main()
