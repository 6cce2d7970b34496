"""The network of a quantized policy in C, which computes what npr.export.integer says."""

import numpy as np

from npr.export.c.network import Network, index_of, layers_of, panels
from npr.export.c.writing import Tables, each, number
from npr.export.integer import ELU, LARGEST, ONE, STEPS, TANH, IntegerGraph, IntegerLayer

_GROUP = 4  # rows that are summed at once: so many sums fit the registers of small processors

# A function that takes a float to an integer, without a conversion of negative numbers.
_ROUNDED = """\
/* clip(round((x - center) * gain), -most, most); -most for NaN. */
static int16_t @rounded(float x, float center, float gain, float most)
{
    const float t = @clamp((x - center) * gain, -most, most);
    return (int16_t)((int32_t)(t + 32768.5f) - 32768);
}"""

# Shifts of negative numbers are not the same for all compilers.
_DIVIDED = """\
/* v / 2^shift, rounded to nearest, halves away from zero. */
static int32_t @divided(int32_t v, int shift)
{
    const uint32_t half = ((uint32_t)1 << shift) >> 1;
    return v < 0 ? -(int32_t)(((uint32_t)-v + half) >> shift)
                 : (int32_t)(((uint32_t)v + half) >> shift);
}"""

# How the sum of row i is scaled: the parameters, and the result.
_SCALING = {
    "int8": (
        "const uint8_t *factor, int shift, int after",
        "@divided(@divided(sum[k], shift) * @READ_BYTE(factor + i), after)",
    ),
    "q15": ("const uint8_t *shift", "@divided(sum[k], @READ_BYTE(shift + i))"),
}
_KINDS = {"int8": ("int8_t", "READ_BYTE"), "q15": ("int16_t", "READ_WORD")}

# AVR multiplies bytes: two products of them take less time than one of 16 bits.
_ROW = {
    "int8": """\
/* The sum of n inputs times weights, which are `step` apart. */
static int32_t @row(const int8_t *w, int step, const int16_t *x, int n)
{
    int32_t sum = 0;
#ifdef __AVR__
    int32_t high = 0;
    for (; n > 0; n--, w += step, x++) {
        const int8_t c = (int8_t)@READ_BYTE(w);
        sum += c * (uint8_t)*x;
        high += c * (int8_t)(*x >> 8);
    }
    sum += high * 256;
#else
    for (; n > 0; n--, w += step, x++) {
        sum += (int32_t)(int8_t)@READ_BYTE(w) * *x;
    }
#endif
    return sum;
}""",
    "q15": """\
/* The sum of n inputs times weights, which are `step` apart. */
static int32_t @row(const int16_t *w, int step, const int16_t *x, int n)
{
    int32_t sum = 0;
    for (; n > 0; n--, w += step, x++) {
        sum += (int32_t)(int16_t)@READ_WORD(w) * *x;
    }
    return sum;
}""",
}

# Products of 16 bits by 16 bits, not of 32 by 32: processors have faster instructions for them.
# AVR has too few registers for four sums.
_INTEGERS = """\
/* y = clip(b + scaled W x, low, high) with n inputs and m outputs. The rows of W follow in groups
   of four, each group column by column; rows that are left follow one by one. */
static void @integers(const {kind} *w, const int16_t *b, {parameters},
                      const int16_t *x, int16_t *y, int n, int m, int16_t low, int16_t high)
{{
    int i = 0, k;
    while (i < m) {{
        const int rows = m - i < 4 ? 1 : 4;
        int32_t sum[4];
#ifndef __AVR__
        if (rows == 4) {{
            int32_t y0 = 0, y1 = 0, y2 = 0, y3 = 0;
            int j;
            for (j = 0; j < n; j++) {{
                const int16_t v = x[j];
                y0 += (int32_t)({kind})@{read}(w + 4 * j) * v;
                y1 += (int32_t)({kind})@{read}(w + 4 * j + 1) * v;
                y2 += (int32_t)({kind})@{read}(w + 4 * j + 2) * v;
                y3 += (int32_t)({kind})@{read}(w + 4 * j + 3) * v;
            }}
            sum[0] = y0;
            sum[1] = y1;
            sum[2] = y2;
            sum[3] = y3;
        }} else
#endif
        for (k = 0; k < rows; k++) {{
            sum[k] = @row(w + k, rows, x, n);
        }}
        w += rows * n;
        for (k = 0; k < rows; k++, i++) {{
            const int32_t z = {scaled} + (int16_t)@READ_WORD(b + i);
            y[i] = z < low ? low : z > high ? high : (int16_t)z;
        }}
    }}
}}"""

_INDEX_OF = """\
/* n integers: `most` at the place of the index, 0 elsewhere. */
static void @index_of(float index, int16_t *x, int n, int16_t most)
{
    int i;
    for (i = 0; i < n; i++) {
        x[i] = 0;
    }
    x[(int)@clamp(index, 0.0f, (float)(n - 1))] = most;
}"""

_BETWEEN = """\
/* The function of a table at z / 2^bits entries, z >= 0, with lines between the entries. */
static int32_t @between(const int16_t *table, int last, int32_t z, int bits)
{
    const int32_t one = (int32_t)1 << bits;
    int32_t i = z >> bits, rest, y;
    i = i < last ? i : last - 1;
    rest = z - i * one;
    rest = rest < one ? rest : one;
    table += i;
    y = (int16_t)@READ_WORD(table);
    return y + @divided(((int16_t)@READ_WORD(table + 1) - y) * rest, bits);
}"""

_TANH = f"""\
/* tanh(z / 2^point) in units of 2^-15. */
static int32_t @tanh_of(int32_t z, int point)
{{
    const int32_t y = @between(@tanh_table, {len(TANH) - 1}, z < 0 ? -z : z, point - {STEPS});
    return z < 0 ? -y : y;
}}"""

_TANH_EACH = """\
static void @tanh_each(int16_t *y, int n, int point, int down)
{
    for (; n > 0; n--, y++) {
        *y = (int16_t)@divided(@tanh_of(*y, point), down);
    }
}"""

_SQUASH = """\
/* tanh(y), which are whole multiples of 2^-point. */
static void @squash(float *y)
{{
    int i;
    for (i = 0; i < {n}; i++) {{
        y[i] = (float)@tanh_of((int32_t)(y[i] * {one}), {point}) * {unit};
    }}
}}"""

_ELU_EACH = f"""\
static void @elu_each(int16_t *y, int n, int point, int16_t most)
{{
    for (; n > 0; n--, y++) {{
        const int32_t z = *y;
        *y = z > most ? most : (int16_t)z;
        if (z < 0) {{
            *y = (int16_t)-@divided(@between(@elu_table, {len(ELU) - 1}, -z, point - {STEPS}),
                                    15 - point);
        }}
    }}
}}"""


def integer_network(graph: IntegerGraph, stochastic: bool, tables: Tables) -> Network:
    """The network in integers; its parameters are added to `tables`."""
    layers = layers_of(graph, stochastic)
    heads = [("y", layers[-1])]
    arguments = "const float *x, float *y"
    if stochastic and isinstance(graph.log_std, IntegerLayer):
        heads.append(("log_std", graph.log_std))
        arguments += ", float *log_std"
    sizes = [layers[0].W.shape[1], 0]  # of the buffers a and b, which layers write in turn
    lines = _inputs(graph, layers[0].W.shape[1], tables)
    for i, layer in enumerate(layers[:-1]):
        lines += _layer(layer, str(i), *_turn(i), tables)
        sizes[1 - i % 2] = max(sizes[1 - i % 2], len(layer.b))
    source, target = _turn(len(layers) - 1)
    for name, layer in heads:
        m = len(layer.b)
        sizes["ab".index(target)] = max(sizes["ab".index(target)], m)
        block = _layer(layer, name[0], source, target, tables)
        block += each(m, f"{name}[i] = (float){target}[i] * {number(layer.scale)};")
        if name == "log_std":
            block = ["if (log_std) {", *(f"    {line}" for line in block), "}"]
        lines += block
    buffers = [f"int16_t {name}[{size}];" for name, size in zip("ab", sizes)]
    body = "\n".join(f"    {line}" for line in [*buffers, "int i;", *lines])
    network = f"static void @network({arguments})\n{{\n{body}\n}}"
    text = "\n\n".join([*_functions(graph, network, tables), network])
    macs = sum(layer.W.size for layer in layers)
    return Network(text, 2 * sum(sizes), macs, True, graph.squashed, ("stdint.h",))


def _turn(i: int) -> tuple[str, str]:
    """The buffers that layer i reads and writes."""
    return "ab"[i % 2], "ba"[i % 2]


def _inputs(graph: IntegerGraph, n: int, tables: Tables) -> list[str]:
    """The lines from the numbers x of an observation, and noise after them, to n integers a."""
    index = np.repeat(
        [part.start is not None for part in graph.parts], [part.inputs for part in graph.parts]
    )
    center, gain = graph.center[~index], graph.gain[~index]
    lines, i, j, k = [], 0, 0, 0
    same = len(center) and np.ptp(center) == 0 and np.ptp(gain) == 0
    if len(center) and not same:
        tables.floats("center", center)
        tables.floats("gain", gain)
    for part in graph.parts:
        if part.start is not None:
            place = index_of(part, f"x[{i}]")
            lines.append(f"@index_of({place}, a + {j}, {part.inputs}, {graph.most});")
        else:
            scaling = f"@READ_FLOAT(@center + {k} + i), @READ_FLOAT(@gain + {k} + i)"
            if same:
                scaling = f"{number(center[0])}, {number(gain[0])}"
            value = f"@rounded(x[{i} + i], {scaling}, {number(graph.most)})"
            lines += each(part.numbers, f"a[{j} + i] = {value};")
            k += part.numbers
        i, j = i + part.numbers, j + part.inputs
    if j < n:
        value = f"@rounded(x[{i} + i], 0.0f, {number(graph.noise_gain)}, {number(graph.most)})"
        lines += each(n - j, f"a[{j} + i] = {value};")
    return lines


def _layer(layer: IntegerLayer, name: str, source: str, target: str, tables: Tables) -> list[str]:
    """The lines that compute a layer."""
    m, n = layer.W.shape
    kind = "int8_t" if layer.factor is not None else "int16_t"
    tables.integers(f"w{name}", panels(layer.W, _GROUP), kind)
    tables.integers(f"b{name}", layer.b, "int16_t")
    if layer.factor is not None:
        tables.integers(f"f{name}", layer.factor, "uint8_t")
        scaling = f"@f{name}, {layer.shift[0]}, {layer.after}"
    else:
        tables.integers(f"s{name}", layer.shift, "uint8_t")
        scaling = f"@s{name}"
    looked_up = layer.activation in ("tanh", "elu")
    high = LARGEST if looked_up else layer.most
    low = 0 if layer.activation == "relu" else -high
    call = f"@integers(@w{name}, @b{name}, {scaling}, {source}, {target}, {n}, {m}, {low}, {high});"
    if not looked_up:
        return [call]
    last = layer.down if layer.activation == "tanh" else layer.most
    return [call, f"@{layer.activation}_each({target}, {m}, {layer.point}, {last});"]


def _functions(graph: IntegerGraph, network: str, tables: Tables) -> list[str]:
    """Those that the network and its head call, each after those that it calls."""
    (kind, read), (parameters, scaled) = _KINDS[graph.dtype], _SCALING[graph.dtype]
    integers = _INTEGERS.format(kind=kind, read=read, parameters=parameters, scaled=scaled)
    found = [_ROUNDED] if "@rounded(" in network else []
    found += [_INDEX_OF] if "@index_of(" in network else []
    found += [_DIVIDED, _ROW[graph.dtype], integers]
    tanh, elu = "@tanh_each(" in network, "@elu_each(" in network
    found += [_BETWEEN] if tanh or elu or graph.squashed else []
    if tanh or graph.squashed:
        tables.integers("tanh_table", TANH, "int16_t")
        found.append(_TANH)
    found += [_TANH_EACH] if tanh else []
    if elu:
        tables.integers("elu_table", ELU, "int16_t")
        found.append(_ELU_EACH)
    if graph.squashed:
        point, unit = graph.output.point, number(1 / ONE)
        values = {"n": len(graph.output.b), "one": number(1 << point), "point": point, "unit": unit}
        found.append(_SQUASH.format(**values))
    return found
