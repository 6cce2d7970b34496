"""The comment on top of a header: what the policy is, what it takes and what it gives."""

import textwrap

import numpy as np

from npr.export.c.blocks import EXP_ERROR, TANH_ERROR
from npr.export.c.writing import harmless
from npr.export.card import observation_names
from npr.export.graph import Graph
from npr.export.model import Model

_MOST_LINES = 64
_DISTRIBUTIONS = {
    "uniform": "uniform from 0 to below 1", "normal": "from the standard normal distribution",
}  # fmt: skip


def comment(
    model: Model, stochastic: bool, libm: bool, name: str, file: str, notes: list[str]
) -> str:
    """The comment, with the name of the file and `notes` in it. What comes from files cannot end
    it."""
    file = harmless(file)
    graph, card, upper = model.graph, model.card, name.upper()
    table, discrete = graph.table is not None, graph.kind == "discrete"
    given = f"{'state' if table else 'obs'}{', mask' if graph.mask else ''}"
    call = f"int action = {name}_act({given});"
    usage = [] if table else [f"float obs[{upper}_OBS_DIM] = {{ ... }};"]
    if graph.mask:
        usage.append(f"unsigned char mask[{upper}_MASK_DIM] = {{ ... }};")
    if not discrete:
        usage.append(f"float action[{upper}_ACT_DIM];")
        call = f"{name}_act({given}, action);"
    usage = [f"#define {upper}_IMPLEMENTATION", f'#include "{file}"', *usage, call]
    where = [f"    {line}" for line in usage]
    where[0] += "    in one source file of the program"
    lines = [
        f"{harmless(card.title)}; {harmless(card.measured)}.",
        f"Written by npr {harmless(card.npr)}. SHA-256 of the parameters:",
        harmless(card.sha256), "", *where, "",
        "Observation, raw numbers as the environment gives them:", *_observation(model), "",
        *_action(graph), *_masks(graph), *_sampling(graph, stochastic, name), "",
    ]  # fmt: skip
    lines += [part for note in [*_notes(graph, libm, name), *notes] for part in _wrapped(note)]
    body = "\n".join(f"   {line}".rstrip() for line in lines)
    return f"/* {file}\n\n{body}\n*/\n"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 96)


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if low is None or high is None:
        return f"up to {high:g}" if low is None else f"from {low:g}"
    return f"{low:g} to {high:g}"


def _observation(model: Model) -> list[str]:
    """A line for each number, or for several that are alike."""
    graph, card = model.graph, model.card
    if graph.table is not None:
        start = graph.parts[0].start or 0
        last = start + len(graph.table) - 1
        return [f"    state    {start} to {last}; one outside counts as the nearest"]
    names = [harmless(name) for name in observation_names(graph)]
    n = graph.numbers
    ranges = [_range(*pair) for pair in zip(card.low or (), card.high or ())]
    if not ranges:
        pairs = [("" if p.divisor == 1 else f"0 to {p.divisor:g}", p.numbers) for p in graph.parts]
        ranges = [text for text, numbers in pairs for _ in range(numbers)]
    rows, i = [], 0
    while i < n:
        j = i + 1
        while j < n and not names[i] and (names[j], ranges[j]) == (names[i], ranges[i]):
            j += 1
        one_of = "whole number" in names[i]
        about = ", ".join(text for text in (names[i], "" if one_of else ranges[i]) if text)
        index = f"obs[{i}]" if j == i + 1 else f"obs[{i}] to obs[{j - 1}]"
        rows.append((index, about))
        i = j
    width = max(len(index) for index, _ in rows)
    lines = [f"    {index:<{width}}  {about}" for index, about in rows]
    if len(lines) > _MOST_LINES:
        lines[_MOST_LINES:] = [f"    and {len(lines) - _MOST_LINES} more"]
    return lines


def _action(graph: Graph) -> list[str]:
    if graph.kind == "discrete":
        return [f"Action: a whole number, {_actions(graph)[0].split(',')[0]}."]
    if graph.kind == "multibinary":
        return [f"Action: {graph.actions} numbers, each 0 or 1."]
    return ["Action:", *_numbered("action", _actions(graph))]


def _actions(graph: Graph) -> list[str]:
    """What each number of an action is."""
    if graph.members:
        named = [(harmless(one.label), text) for one in graph.members for text in _actions(one)]
        return [f"{name}: {text}" for name, text in named]
    if graph.kind == "multibinary":
        return ["0 or 1"] * graph.actions
    if graph.kind == "box":
        known = np.isfinite(graph.low) & np.isfinite(graph.high)
        pairs = zip(graph.low.tolist(), graph.high.tolist(), known.tolist())
        return [_range(*pair[:2]) if pair[2] else "without bounds" for pair in pairs]
    return [f"{a} to {a + n - 1}, a whole number" for n, a in zip(graph.choices, graph.start)]


def _numbered(name: str, texts: list[str]) -> list[str]:
    """Lines with the places of an array and what is there."""
    lines = [f"    {name}[{i}]  {text}" for i, text in enumerate(texts[:_MOST_LINES])]
    more = len(texts) - _MOST_LINES
    return [*lines, *([f"    and {more} more"] if more > 0 else [])]


def _masks(graph: Graph) -> list[str]:
    """What a mask is, and what happens with one that allows nothing."""
    if not graph.mask:
        return []
    rows, places = [], np.flatnonzero(graph.whole)
    for k, first, (start, end) in zip(places, graph.smallest, graph.spans):
        name = "the actions" if graph.kind == "discrete" else f"action[{k}] ="
        where = f"mask[{start}]" if end == start + 1 else f"mask[{start}] to mask[{end - 1}]"
        values = f"{first}" if end == start + 1 else f"{first} to {first + end - start - 1}"
        rows.append(f"    {where}  for {name} {values}")
    more = len(rows) - _MOST_LINES
    rows = [*rows[:_MOST_LINES], *([f"    and {more} more"] if more > 0 else [])]
    none = "action[i] is one less than its smallest value"
    if graph.kind == "discrete":
        none = f"The action is {graph.start[0] - 1}"
    return [
        "", "Mask, 1 for what is allowed now, 0 for what is not; a null pointer allows all:", *rows,
        f"{none} if the mask allows nothing: check for that.",
    ]  # fmt: skip


def _sampling(graph: Graph, stochastic: bool, name: str) -> list[str]:
    if not stochastic:
        return []
    kinds, dim = graph.distributions, f"{name.upper()}_NOISE_DIM"
    if graph.members:
        return [f"{name}_sample needs {dim} random numbers:",
                *_numbered("noise", [_DISTRIBUTIONS[kind] for kind in kinds])]  # fmt: skip
    return [f"{name}_sample needs {dim} random numbers, {_DISTRIBUTIONS[kinds[0]]}."]


def _notes(graph: Graph, libm: bool, name: str) -> list[str]:
    upper = name.upper()
    notes = [
        "No function allocates memory or writes variables of its own. Tables are constant; "
        f"{upper}_FLASH is put behind their names (PROGMEM on AVR, where they must lie in the "
        f"first 64 KB) and they are read by {upper}_READ_FLOAT and {upper}_READ_BYTE, all of which "
        f"may be defined before. {upper}_FLASH_BYTES are those of all tables but the tests, "
        f"{upper}_RAM_BYTES those of the buffers on the stack, {upper}_MACS the multiplications of "
        "weights for an action."
    ]
    if graph.table is None:
        notes.append("An observation with NaN gives an action too, within the bounds.")
    if not libm:
        notes.append(
            f"math.h is not needed. The largest error of tanh is {TANH_ERROR:.0e}, that of exp "
            f"{EXP_ERROR:.0e} of its result."
        )
    notes.append(
        f"{name}_selftest acts on stored observations and returns how many actions differ from "
        f"those in Python by more than 1e-5 of their range (where it is narrow, of a tenth of the "
        "largest bound; without bounds, of the action): 0 if all is well. "
        f"{upper}_NO_SELFTEST leaves it out."
    )
    return notes
