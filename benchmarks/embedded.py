"""Exported policies on microcontrollers, which are emulated, and on this machine: one table.

    make embedded                                  # or python benchmarks/embedded.py
    python benchmarks/embedded.py [--only TEXT] [--write]

Policies are trained once and kept in build/embedded. Each is exported in every form and runs on
every target: its self-test, 200 observations of episodes, what the linker and the stack need, and
instructions or cycles of an action. What is not installed is said in a sentence and left out.
--only keeps the rows whose name has the text. --write puts the rows into benchmarks/embedded.json
and docs/embedded.md; else nothing is written but files in build/embedded.

Cycles of Cortex-M come from the instructions that QEMU has executed and from Arm's timings
(tests/support/emulators/cortex.py), those of AVR from simavr's timer. RISC-V cores differ:
instructions are counted. Times of this machine are the fastest of many blocks.
"""

import argparse
import contextlib
import json
import platform
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # npr need not be installed
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parent))
import embedded_hosts as hosts
from embedded_peer import emlearn_header
from support.emulators.processes import run
from support.emulators.targets import TARGETS, Firmware
from table import put, significant

import npr
from npr.errors import ConfigError
from npr.export import export, graph_of, model_of
from npr.export.episodes import play, thinned

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "embedded"
RECORD = Path(__file__).parent / "embedded.json"
PAGE = ROOT / "docs" / "embedded.md"
OBSERVATIONS = 200


class Trained(NamedTuple):
    """A policy of the table, and where else it is tried."""

    algorithm: str
    env: str
    steps: int
    net_arch: tuple[int, ...] | None
    targets: tuple[str, ...]
    others: bool = False  # NumPy, Node and the like, and emlearn

    @property
    def name(self):
        widths = "table" if self.net_arch is None else "-".join(map(str, self.net_arch))
        return f"{self.algorithm}, {self.env}, {widths}"


ALL = tuple(TARGETS)
POLICIES = [
    Trained("SAC", "Pendulum-v1", 5_000, (64, 64), ALL, True),
    Trained("DQN", "CartPole-v1", 30_000, (64, 64), ALL, True),
    Trained("SAC", "Pendulum-v1", 10_000, (16, 16), ("m4f", "m0", "avr")),
    Trained("QLearning", "CliffWalking-v1", 20_000, None, ("m4f", "m0", "avr")),
]
DTYPES = "float32", "int8", "q15"


def trained(one):
    """The file of an agent, which is trained if there is none."""
    words = [one.algorithm, one.env, *(one.net_arch or ["table"]), one.steps]
    path = BUILD / f"{'-'.join(map(str, words))}.npz"
    if not path.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        settings = {} if one.net_arch is None else {"net_arch": list(one.net_arch)}
        agent = getattr(npr, one.algorithm)(one.env, seed=0, **settings)
        agent.learn(one.steps)
        agent.save(path)
    return path


def observations_of(path):
    """Observations of episodes that are not those of the tests in the files."""
    agent = npr.load(path)
    env = agent.evaluation_env()
    with contextlib.closing(env):
        played = play(graph_of(agent.policy), agent.policy, env, 5, 1, None)
    return thinned(played.observations, OBSERVATIONS)


# ---- rows


def rows_of(one, only, say):
    """Rows of one policy: dicts with "policy", "form", "target" and what was measured."""
    path = trained(one)
    observations = observations_of(path)
    model = model_of(path, episodes=0)  # float32, what all are compared with
    for dtype in DTYPES if one.net_arch else DTYPES[:1]:
        form = f"C {dtype}" if one.net_arch else "C table"
        parts = [p for p in one.targets if only in f"{one.name}: {form}, {TARGETS[p].name}"]
        with tempfile.TemporaryDirectory() as folder:
            header = Path(folder, "policy.h")
            try:
                if parts:
                    export(path, header, dtype=dtype)
            except ConfigError as error:
                say(f"{one.name}: no {dtype}: {error}")
                continue
            for part in parts:
                found = measured(part, header.read_text(), model, observations, say)
                yield from labelled(one, form, TARGETS[part].name, found)
    if one.others:
        yield from others(one, path, observations, only, say)


def labelled(one, form, target, found):
    if found is not None:
        print(f"{one.name}: {form}, {target}: {found}", flush=True)
        yield {"policy": one.name, "form": form, "target": target, **found}


def measured(part, header, model, observations, say, include=()):
    """What a policy needs on a target, and how far its actions are from those of float32 here.

    include   folders of files that the header includes
    """
    target = TARGETS[part]
    if target.missing:
        say(target.missing)
        return None
    with tempfile.TemporaryDirectory() as folder:
        firmware = Firmware(target, header, model, observations, Path(folder), include=include)
        result = firmware.check(timed=True)
        flash, ram = firmware.size()
        found = {"failed": result.failed, **error_of(model.graph, result.worst, result.wrong)}
        found |= {"tables": result.flash, "flash": flash, "ram": ram + (result.stack or 0)}
        if result.stack is None:
            del found["ram"]
        if result.cycles is not None:
            found["cycles"] = [result.cycles, result.cycles]
        if result.ns is not None:
            found["us"] = result.ns / 1_000
        if target.emulator and part != "avr":
            traced = firmware.trace(2)
            found["instructions"] = traced.instructions
            if traced.cycles:
                found["cycles"] = list(traced.cycles)
    return found


def error_of(graph, worst, wrong):
    """Of box actions the largest error, as a part of the range; else the share of others."""
    return {"error": worst} if graph.kind == "box" else {"others": wrong / OBSERVATIONS}


def others(one, path, observations, only, say):
    """Rows of the forms that are no C, and of emlearn."""
    graph = graph_of(npr.load(path).policy)
    for form, target, measure in hosts.FORMS:
        if only in f"{one.name}: {form}, {target}":
            try:
                actions, us, size = measure(path, observations, BUILD)
            except hosts.Missing as missing:
                say(str(missing))
                continue
            difference = compared(graph, actions, observations)
            yield from labelled(one, form, target, {**difference, "bytes": size, "us": us})
    for part in ("x86-64", "m4f", "m3"):
        if only in f"{one.name}: emlearn, {TARGETS[part].name}":
            model = model_of(path, episodes=0)
            try:
                header, folder = emlearn_header(model.graph)
            except ImportError as error:
                say(f"emlearn is not compared: {error} (pip install emlearn).")
                return
            found = measured(part, header, model, observations, say, (folder,))
            yield from labelled(one, "emlearn float32", TARGETS[part].name, found)


def compared(graph, actions, observations):
    """The error of actions for observations against those of the graph."""
    want = np.reshape(graph(observations), (len(observations), -1))
    actions = np.reshape(actions, want.shape)
    if graph.kind == "box":
        return {"error": float((abs(actions - want) / (graph.high - graph.low)).max())}
    return {"others": float((actions != want).mean())}


# ---- the table

HEAD = ("form", "target", "largest error", "tables, bytes", "flash, bytes", "RAM, bytes",
        "instructions", "per action")  # fmt: skip


def lines_of(rows):
    """Markdown: a table for each policy."""
    lines = []
    for name in dict.fromkeys(row["policy"] for row in rows):
        lines += ["", f"**{name}**", "", f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
        for row in rows:
            if row["policy"] == name:
                lines.append(f"| {' | '.join(cells(row))} |")
    return lines[1:]


def cells(row):
    if "error" in row:
        error = f"{row['error']:.1e}" if row["error"] else "0"
    else:
        error = f"{row['others']:.1%} other" if row["others"] else "none"
    tables, flash, ram, instructions = (
        f"{row[key]:,}" if key in row else "-" for key in ("tables", "flash", "ram", "instructions")
    )
    cost = "-"
    if "us" in row:
        cost = f"{significant(row['us'])} us"
    elif "cycles" in row:
        low, high = row["cycles"]
        cost = f"{low:,}" + (f" to {high:,}" if high != low else "") + " cycles"
    elif "instructions" in row:
        cost = f"{row['instructions']:,} instructions"
    if "bytes" in row:
        flash = f"{row['bytes']:,} (file)"
    return [row["form"], row["target"], error, tables, flash, ram, instructions, cost]


def versions():
    """What the rows were measured with."""
    found = {"machine": platform.machine(), "python": platform.python_version(),
             "numpy": np.__version__, "npr": npr.__version__}  # fmt: skip
    programs = ["gcc", "arm-none-eabi-gcc", "riscv64-unknown-elf-gcc", "avr-gcc",
                "qemu-system-arm", "node"]  # fmt: skip
    for name in programs:
        with contextlib.suppress(OSError, RuntimeError):
            found[name] = run(name, "--version").splitlines()[0]
    for name in ("emlearn", "onnxruntime"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def page_with(text, record):
    """The page with the table of a record."""
    used = "; ".join(
        text if name in text else f"{name} {text}" for name, text in record["versions"].items()
    )
    return put(text, "table", [*lines_of(record["rows"]), "", f"With {used}."])


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="rows whose name has this text")
    parser.add_argument("--write", action="store_true", help="the record and the page")
    options = parser.parse_args(given)
    said = []

    def say(sentence):
        if sentence not in said:
            said.append(sentence)
            print(sentence, flush=True)

    rows = [row for one in POLICIES for row in rows_of(one, options.only, say)]
    print("\n".join(["", *lines_of(rows), "", *said]))
    if options.write:
        record = {"versions": versions(), "rows": rows, "left out": said}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        PAGE.write_text(page_with(PAGE.read_text(), record))
    wrong = [row for row in rows if row.get("failed")]
    for row in wrong:
        print(f"FAILED: {row['failed']} self-tests of {row['policy']}, {row['form']}, on "
              f"{row['target']}")  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
