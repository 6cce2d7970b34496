"""The functions that act, in C: from the numbers of an observation to the action."""

import numpy as np

from npr.export.c.network import Network, index_of
from npr.export.c.writing import Tables, each, number
from npr.export.graph import Array, Graph, Layer
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN

_NUMBERS = "const float *obs"
_MASK = ", const unsigned char *mask"


def declarations(graph: Graph, stochastic: bool) -> list[str]:
    """The heads of @act, and of @sample where it is written."""
    observation = "int state" if graph.table is not None else _NUMBERS
    result = "int" if graph.kind == "discrete" else "void"
    observation += _MASK if graph.mask else ""
    target = "" if graph.kind == "discrete" else ", float *action"
    heads = [f"{result} @act({observation}{target})"]
    if stochastic:
        heads.append(f"{result} @sample({observation}, const float *noise{target})")
    return heads


def network_functions(
    graph: Graph, network: Network, stochastic: bool, tables: Tables
) -> tuple[str, int]:
    """@act and @sample of a policy with a network, and the bytes of their buffers."""
    inputs = graph.numbers if network.raw else sum(part.inputs for part in graph.parts)
    noisy = stochastic and graph.head == "sampler"
    encode = "" if network.raw else _encode(graph, tables)
    spread = stochastic and isinstance(graph.log_std, Layer)
    outputs = len(graph.output.b)
    texts = [encode, _scale(graph, network, tables), network.text]
    for i, member in enumerate(graph.members):
        texts += _part(member, f"part{i}", stochastic, network, tables)
    ram = network.ram
    before, x = [], "obs"
    if encode or noisy:
        x = "x"
        size = inputs + (graph.noise if noisy else 0)
        before.append(f"float x[{size}];")
        ram += 4 * size
    y = "action" if graph.kind == "box" else "y"
    if y == "y":
        before.append(f"float y[{outputs}];")
        ram += 4 * outputs
    for i, head in enumerate(declarations(graph, stochastic)):
        sampled = i == 1
        lines = [*before]
        if sampled and spread:
            lines.append(f"float log_std[{outputs}];")
            ram += 4 * outputs
        if noisy or (not graph.members and _needs_index(graph, sampled)):
            lines.append("int i;")
        lines += _explored(graph) if sampled else []
        lines += ["@encode(obs, x);"] if encode else []
        if noisy and not encode:
            lines += each(inputs, "x[i] = obs[i];")
        if noisy:
            lines += each(graph.noise, f"x[{inputs} + i] = {'noise[i]' if sampled else '0.0f'};")
        more = (", log_std" if sampled else ", 0") if spread else ""
        lines.append(f"@network({x}, {y}{more});")
        if graph.members:
            lines += _calls_of_parts(graph, sampled)
        else:
            lines += _chosen(graph, network, sampled, tables)
        texts.append(_function(head, lines))
    return "\n\n".join(text for text in texts if text), ram


def _part(
    member: Graph, name: str, stochastic: bool, network: Network, tables: Tables
) -> list[str]:
    """The functions @NAME and @NAME_sample of a part of the action, from its outputs, and those
    that they need; `name` is put before the names of its tables."""
    given = f"const float *y{_MASK if member.mask else ''}"
    texts = [_scale(member, network, tables, name)]
    for sampled in (False, True)[: 1 + stochastic]:
        noise = ", const float *noise" if sampled else ""
        head = f"static void @{name}{'_sample' * sampled}({given}{noise}, float *action)"
        lines = ["int i;"] if member.kind == "box" or _needs_index(member, sampled) else []
        if member.kind == "box":
            lines += each(member.actions, "action[i] = y[i];")
        texts.append(_function(head, [*lines, *_chosen(member, network, sampled, tables, name)]))
    return texts


def _calls_of_parts(graph: Graph, sampled: bool) -> list[str]:
    """The lines that call the functions of all parts."""
    lines = []
    for i, (member, outputs, own, allowed) in enumerate(graph.places):
        given = [_after("y", outputs.start)]
        if member.mask:
            given.append(_mask_at(str(allowed.start)) if allowed.start else "mask")
        if sampled:
            given.append(_after("noise", own.start))
        given.append(_after("action", own.start))
        lines.append(f"@part{i}{'_sample' * sampled}({', '.join(given)});")
    return lines


def _after(pointer: str, n: int) -> str:
    return f"{pointer} + {n}" if n else pointer


def table_functions(graph: Graph, table: Array, stochastic: bool, tables: Tables) -> str:
    """@act and @sample of a policy that is a table of the best actions, packed to bits."""
    if graph.mask:
        return _ranked_functions(graph, table, stochastic, tables)
    start, first = graph.parts[0].start or 0, graph.start[0]
    bits = (graph.choices[0] - 1).bit_length()
    if bits:
        entry = _packed(table, bits, tables)
        head = [
            "unsigned long bit, bits;", "const unsigned char *p;", *_nearest(start, len(table)),
            f"bit = {_row_number(start)} * {bits}u;", *entry[:-1],
            f"return {_plus(entry[-1], first)};",
        ]  # fmt: skip
    else:
        head = ["(void)state;", f"return {first};"]
    heads = declarations(graph, stochastic)
    texts = [_function(heads[0], head)]
    if stochastic:
        texts.append(_function(heads[1], [*_explored(graph), "return @act(state);"]))
    return "\n\n".join(texts)


def _ranked_functions(graph: Graph, table: Array, stochastic: bool, tables: Tables) -> str:
    """`table_functions` with masks, of the actions of each state, the best first."""
    n, start, first = graph.choices[0], graph.parts[0].start or 0, graph.start[0]
    bits = n.bit_length()
    *entry, value = _packed(table.ravel(), bits, tables)
    ranked = [
        "unsigned long bit, bits;", "const unsigned char *p;", "int i, a;",
        *_nearest(start, len(table)), f"bit = {_row_number(start)} * {n * bits}u;",
        f"for (i = 0; i < {n}; i++, bit += {bits}u) {{", *(f"    {line}" for line in entry),
        f"    a = {value};", f"    if (a < {n} && (!mask || mask[a]) && skip-- == 0) {{",
        "        return a;", "    }", "}", "return -1;",
    ]  # fmt: skip
    texts = [
        "/* The action that is allowed and that `skip` allowed ones are better than; -1: none. */\n"
        + _function(f"static int @ranked(int state{_MASK}, int skip)", ranked)
    ]
    heads = declarations(graph, stochastic)
    texts.append(_function(heads[0], [f"return {_plus('@ranked(state, mask, 0)', first)};"]))
    if stochastic:
        drawn = "@ranked(state, mask, (int)@clamp(noise[1] * (float)n, 0.0f, (float)(n - 1)))"
        lines = [
            "int n = 0;", f"if (noise[0] < {number(graph.epsilon)}) {{",
            "    while (@ranked(state, mask, n) >= 0) {", "        n++;", "    }",
            f"    return {_plus(drawn, first)};", "}", "return @act(state, mask);",
        ]  # fmt: skip
        texts.append(_function(heads[1], lines))
    return "\n\n".join(texts)


def _nearest(start: int, states: int) -> list[str]:
    """The line that takes a state that there is not to the nearest one."""
    last = start + states - 1
    return [f"state = state < {start} ? {start} : state > {last} ? {last} : state;"]


def _row_number(start: int) -> str:
    """The number of a state's row, from 0."""
    if not start:
        return "(unsigned long)state"
    return f"((unsigned long)state {'+' if start < 0 else '-'} {abs(start)}ul)"


def _packed(table: Array, bits: int, tables: Tables) -> list[str]:
    """Lines that read the number at `bit` of a packed table, and its value in C."""
    tables.integers("table", packed_bits(table, bits), "unsigned char")
    reads = ["(unsigned long)@READ_BYTE(p)"]
    reads += [f"(unsigned long)@READ_BYTE(p + {i}) << {8 * i}" for i in range(1, _bytes(bits))]
    value = f"(int)(bits >> bit % 8u & {(1 << bits) - 1}u)"
    return ["p = @table + bit / 8u;", f"bits = {' | '.join(reads)};", value]


def packed_bits(table: Array, bits: int) -> Array:
    """Numbers of so many bits each, one after the other from the lowest bit of the first byte, and
    as many bytes more as are read with a last number."""
    flags = (table[:, None] >> np.arange(bits)) & 1
    packed = np.packbits(flags.astype(np.uint8).ravel(), bitorder="little")
    end = (len(table) - 1) * bits // 8 + _bytes(bits)
    return np.concatenate([packed, np.zeros(end - len(packed), np.uint8)])


def _bytes(bits: int) -> int:
    """In how many bytes a number of so many bits can lie."""
    return (bits + 7) // 8 if bits in (1, 2, 4) or bits % 8 == 0 else (bits + 14) // 8


def _function(head: str, lines: list[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"{head}\n{{\n{body}\n}}"


def _plus(value: str, start: int) -> str:
    return f"{start} + {value}" if start > 0 else f"{value} - {-start}" if start else value


def _encode(graph: Graph, tables: Tables) -> str:
    """@encode, from the numbers of an observation to the inputs; "" if they are the same."""
    lines, i, j = [], 0, 0
    for part in graph.parts:
        if part.start is not None:
            lines.append(f"@one_hot({index_of(part, f'obs[{i}]')}, x + {j}, {part.inputs});")
        else:
            divided = "" if part.divisor == 1 else f" / {number(part.divisor)}"
            lines += each(part.numbers, f"x[{j} + i] = obs[{i} + i]{divided};")
        i, j = i + part.numbers, j + part.inputs
    plain = all(part.start is None and part.divisor == 1 for part in graph.parts)
    norm = graph.norm
    if plain and norm is None:
        return ""
    if norm is not None:
        tables.floats("mean", norm.mean)
        tables.floats("scale", norm.scale)
        x, c = "obs" if plain else "x", number(norm.clip)
        value = f"({x}[i] - @READ_FLOAT(@mean + i)) * @READ_FLOAT(@scale + i)"
        lines = [] if plain else lines
        lines += each(j, f"x[i] = @clamp({value}, -{c}, {c});")
    index = ["int i;"] if any("for (i" in line for line in lines) else []
    return _function(f"static void @encode({_NUMBERS}, float *x)", [*index, *lines])


def _scale(graph: Graph, network: Network, tables: Tables, part: str = "") -> str:
    """@to_bounds, from the outputs of a head to box actions; "" for other actions.

    part   before its name, for a part of the action
    """
    before = f"{part}_" if part else ""
    if graph.kind != "box":
        return ""
    limit = np.finfo(np.float32).max
    rows = [graph.half, graph.middle, np.maximum(graph.low, -limit), np.minimum(graph.high, limit)]
    if all(np.ptp(row) == 0 for row in rows):
        half, middle, low, high = (number(row[0]) for row in rows)
    else:
        D = len(graph.low)
        name = f"{before}bounds"
        tables.floats(name, np.stack(rows))
        half, middle, low, high = (f"@READ_FLOAT(@{name} + {k * D} + i)" for k in range(4))
    squash = graph.head != "gaussian" and not network.squashes
    value = "@tanh(a)" if squash else "a"
    lines = [
        "int i;", f"for (i = 0; i < {len(graph.low)}; i++) {{",
        "    const float a = action[i] == action[i] ? action[i] : 0.0f; /* NaN gives the middle */",
        f"    const float half = {half}, middle = {middle};",
        f"    const float low = {low}, high = {high};",
        f"    action[i] = @clamp({value} * half + middle, low, high);", "}",
    ]  # fmt: skip
    return _function(f"static void @{before}to_bounds(float *action)", lines)


def _needs_index(graph: Graph, sampled: bool) -> bool:
    """Whether _chosen loops."""
    if graph.head == "bernoulli":
        return True
    divided = graph.head == "categorical" and graph.temperature != 1
    return sampled and (divided or graph.log_std is not None)


def _chosen(
    graph: Graph, network: Network, sampled: bool, tables: Tables, part: str = ""
) -> list[str]:
    """The lines from the outputs to the action, or to a part of it."""
    before = f"{part}_" if part else ""
    if graph.kind == "box":
        lines = _spread(graph, tables, before) if sampled else []
        if network.squashes and lines:  # of sums, not of its outputs
            lines += each(graph.actions, "action[i] = @tanh(action[i]);")
        elif network.squashes:
            lines.append("@squash(action);")
        return [*lines, f"@{before}to_bounds(action);"]
    if graph.head == "bernoulli":
        on = "noise[i] < 0.5f + 0.5f * @tanh(0.5f * y[i])" if sampled else "y[i] > 0.0f"
        bit = f"@bit_allowed({on}, {_mask_at('2 * i')})" if graph.mask else f"{on} ? 1.0f : 0.0f"
        return each(graph.actions, f"action[i] = {bit};")
    lines = []
    drawn = sampled and graph.head != "argmax"
    if drawn and graph.temperature != 1:
        lines += each(len(graph.output.b), f"y[i] /= {number(graph.temperature)};")
    first = 0
    for k, (n, start) in enumerate(zip(graph.choices, graph.start)):
        scores = f"y + {first}" if first else "y"
        allowed = ""
        if graph.mask:
            scores, allowed = f"{scores}, {_mask_at(str(first)) if first else 'mask'}", "_allowed"
        noise = f", noise[{k}]" if drawn else ""
        index = f"@{'drawn' if drawn else 'best'}{allowed}({scores}, {n}{noise})"
        value = _plus(index, start)
        if graph.kind == "discrete" and not part:
            lines.append(f"return {value};")
        else:
            lines.append(f"action[{k}] = (float)({value});")
        first += n
    return lines


def _mask_at(place: str) -> str:
    """The part of a mask that begins at a place; 0 if there is no mask."""
    return f"mask ? mask + {place} : 0"


def _spread(graph: Graph, tables: Tables, before: str) -> list[str]:
    """The lines that add noise to the means; `before` is put before the name of a table."""
    if graph.log_std is None:
        return []
    if isinstance(graph.log_std, Layer):
        log_std = "log_std[i]"
        if graph.head == "tanh_gaussian":
            log_std = f"@clamp({log_std}, {number(LOG_STD_MIN)}, {number(LOG_STD_MAX)})"
        deviation = f"@exp({log_std})"
    else:
        with np.errstate(over="ignore"):  # beyond float32 is an error of `floats`
            tables.floats(f"{before}deviation", np.exp(graph.spread(np.zeros(0))))
        deviation = f"@READ_FLOAT(@{before}deviation + i)"
    return each(graph.actions, f"action[i] += {deviation} * noise[i];")


def _explored(graph: Graph) -> list[str]:
    """The lines that return a random action with probability epsilon."""
    if graph.head != "argmax":
        return []
    n = graph.choices[0]
    index = f"(int)@clamp(noise[1] * {number(n)}, 0.0f, {number(n - 1)})"
    if graph.mask:
        index = f"@any_allowed(mask, {n}, noise[1])"
    returned = f"    return {_plus(index, graph.start[0])};"
    return [f"if (noise[0] < {number(graph.epsilon)}) {{", returned, "}"]
