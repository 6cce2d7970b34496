"""The network of a policy in C: from its inputs to its outputs."""

from dataclasses import dataclass

import numpy as np

from npr.export.c.writing import Tables
from npr.export.graph import Array, Graph, Layer


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
    squashes   whether it has static void @squash(float *y), the tanh of its outputs
    includes   headers that it needs, without < and >
    """

    text: str
    ram: int
    macs: int
    squashes: bool = False
    includes: tuple[str, ...] = ()


def float_network(graph: Graph, stochastic: bool, tables: Tables) -> Network:
    """The network in float32; its parameters are added to `tables`."""
    lines: list[str] = []
    sizes = [0, 0]  # of the buffers a and b, which layers write in turn
    source = "x"
    layers = _layers(graph, stochastic)

    def dense(name: str, layer: Layer, target: str) -> str:
        tables.floats(f"w{name}", panels(layer.W))
        tables.floats(f"b{name}", layer.b)
        m, n = layer.W.shape
        return f"@dense(@w{name}, @b{name}, {source}, {target}, {n}, {m});"

    for i, layer in enumerate(layers[:-1]):
        m, target = len(layer.b), "ab"[i % 2]
        sizes[i % 2] = max(sizes[i % 2], m)
        lines.append(dense(str(i), layer, target))
        if layer.activation != "identity":
            lines.append(f"@{layer.activation}_all({target}, {m});")
        source = target
    lines.append(dense("y", layers[-1], "y"))
    arguments = "const float *x, float *y"
    if stochastic and isinstance(graph.log_std, Layer):
        arguments += ", float *log_std"
        lines += ["if (log_std) {", f"    {dense('s', graph.log_std, 'log_std')}", "}"]
    buffers = [f"float {name}[{size}];" for name, size in zip("ab", sizes) if size]
    body = "\n".join(f"    {line}" for line in [*buffers, *lines])
    text = f"static void @network({arguments})\n{{\n{body}\n}}"
    return Network(text, 4 * sum(sizes), sum(layer.W.size for layer in layers))


def _layers(graph: Graph, stochastic: bool) -> list[Layer]:
    """All layers. Without samples, noise that is an input of the network is always 0."""
    layers = [*graph.hidden, graph.output]
    if graph.head == "sampler" and not stochastic:
        first = layers[0]
        layers[0] = Layer(first.W[:, : -graph.noise], first.b, first.activation)
    return layers


def panels(W: Array) -> Array:
    """The numbers of W (m, n) in the order in which @dense reads them: groups of eight rows column
    by column, then the other rows."""
    m, n = W.shape
    whole = m - m % 8
    groups = W[:whole].reshape(-1, 8, n).transpose(0, 2, 1)
    ordered: Array = np.concatenate([groups.ravel(), W[whole:].ravel()])
    return ordered
