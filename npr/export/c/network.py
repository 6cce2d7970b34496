"""The network of a policy in C: from its inputs to its outputs."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npr.export.c.writing import Tables, number
from npr.export.graph import Array, Graph, Layer, Part


@dataclass(frozen=True)
class Network:
    """What stands between the inputs of a network and its head, in C.

    text       functions, the last of them

                   static void @network(const float *x, float *y)

               which has the inputs (encoded and normalized; for a sampler the noise after them)
               and writes the outputs of `Graph.output`. With `log_std` it has a third argument,
               float *log_std, which is 0 where they are not needed. It may call blocks of
               npr.export.c.blocks
    ram        bytes of its buffers
    macs       multiplications of weights for a deterministic action
    raw        whether x are the numbers of the observation instead, neither encoded nor normalized
    squashes   whether it has static void @squash(float *y), the tanh of its outputs
    includes   headers that it needs, without < and >
    """

    text: str
    ram: int
    macs: int
    raw: bool = False
    squashes: bool = False
    includes: tuple[str, ...] = ()


def float_network(graph: Graph, stochastic: bool, tables: Tables) -> Network:
    """The network in float32; its parameters are added to `tables`."""
    spread = graph.log_std if stochastic and isinstance(graph.log_std, Layer) else None
    layers = layers_of(graph, stochastic)
    raw = _looked_up(graph) and not (spread and not graph.hidden)
    lines: list[str] = []
    if widths := [len(layer.b) for layer in layers if layer.gain is not None]:
        tables.floats("zeros", np.zeros(max(widths)))
    macs, sizes = 0, [0, 0]  # sizes of the buffers a and b, which layers write in turn
    source = "x"
    for i, layer in enumerate(layers):
        m, last = len(layer.b), i == len(layers) - 1
        name, target = ("y", "y") if last else (str(i), "ab"[i % 2])
        if raw and i == 0:
            lines += _lookup(graph, layer, name, target, tables)
        else:
            lines.append(_dense(layer, name, source, target, tables))
            macs += layer.W.size
        if layer.gain is not None:
            tables.floats(f"g{name}", layer.gain)
            tables.floats(f"n{name}", layer.b)
            lines.append(f"@normalize({target}, @g{name}, @n{name}, {m});")
        if not last:
            sizes[i % 2] = max(sizes[i % 2], m)
            source = target
        if layer.activation != "identity":
            lines.append(f"@{layer.activation}_all({target}, {m});")
    arguments = "const float *x, float *y"
    if spread:
        arguments += ", float *log_std"
        dense = _dense(spread, "s", source, "log_std", tables)
        lines += ["if (log_std) {", f"    {dense}", "}"]
    buffers = [f"float {name}[{size}];" for name, size in zip("ab", sizes) if size]
    body = "\n".join(f"    {line}" for line in [*buffers, *lines])
    text = f"static void @network({arguments})\n{{\n{body}\n}}"
    return Network(text, 4 * sum(sizes), macs, raw)


def _dense(layer: Layer, name: str, source: str, target: str, tables: Tables) -> str:
    tables.floats(f"w{name}", panels(layer.W))
    bias = "zeros" if layer.gain is not None else f"b{name}"
    if layer.gain is None:
        tables.floats(bias, layer.b)
    m, n = layer.W.shape
    return f"@dense(@w{name}, @{bias}, {source}, {target}, {n}, {m});"


def _looked_up(graph: Graph) -> bool:
    """Whether the first layer only adds a column of its weights for each index."""
    return graph.head != "sampler" and all(part.start is not None for part in graph.parts)


def _lookup(graph: Graph, layer: Layer, name: str, target: str, tables: Tables) -> list[str]:
    """The first layer for indices: columns of the weights are added. The normalization of ones and
    zeros is in the weights."""
    W, b = layer.W.astype(np.float64), layer.b.astype(np.float64)
    if layer.gain is not None:  # what is added after the normalization
        b = np.zeros_like(b)
    if graph.norm is not None:
        zeros, ones = graph.norm(np.zeros(W.shape[1])), graph.norm(np.ones(W.shape[1]))
        W, b = W * (ones - zeros), b + W @ zeros
    tables.floats(f"w{name}", W.T)
    tables.floats(f"b{name}", b)
    m, first = len(b), 0
    lines = [f"@start(@b{name}, {target}, {m});"]
    for i, part in enumerate(graph.parts):
        row = f"@w{name} + {first * m}" if first else f"@w{name}"
        lines.append(f"@add_row({row}, {index_of(part, f'x[{i}]')}, {target}, {part.inputs}, {m});")
        first += part.inputs
    return lines


def index_of(part: Part, number_in_c: str) -> str:
    """The index from 0, as float, for a number of the observation."""
    start = part.start or 0
    sign = "-" if start > 0 else "+"
    return f"{number_in_c} {sign} {number(abs(start))}" if start else number_in_c


def layers_of(graph: Graph, stochastic: bool) -> list[Any]:
    """All layers. Without samples, noise that is an input of the network is always 0."""
    layers = [*graph.hidden, graph.output]
    if graph.head == "sampler" and not stochastic:
        layers[0] = replace(layers[0], W=layers[0].W[:, : -graph.noise])
    return layers


def panels(W: Array, group: int = 8) -> Array:
    """The numbers of W (m, n) in the order in which @dense reads them: groups of rows column by
    column, then the other rows."""
    m, n = W.shape
    whole = m - m % group
    groups = W[:whole].reshape(-1, group, n).transpose(0, 2, 1)
    ordered: Array = np.concatenate([groups.ravel(), W[whole:].ravel()])
    return ordered
