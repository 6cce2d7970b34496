"""Policies as ONNX models, for onnxruntime and what else reads them.

    observation (B, numbers) float32 -> action (B, actions) float32, or int64 for indices and bits;
                                        (B,) int64 for a Discrete space; a Dict or Tuple has the
                                        numbers of its parts, as float32
                                        scores (B, outputs) float32: action values or logits
    noise (B, noise) float32         -> sampled, like action
    mask (B, mask) bool              what is allowed, of policies that were trained with masks

An index or bit for which a mask allows nothing is one less than the smallest. Scores are those
without the mask.

Everything is inside: one-hot encoding, normalization, squashing, scaling and clipping. An index
that is not valid has no row of a table, which is an error, and a row of zeros for a network.
"""

import json
import os
from dataclasses import replace
from typing import Any

import numpy as np

from npr.errors import CheckpointError, ConfigError
from npr.export.graph import Array, Graph, Layer, ranges
from npr.export.meta import largest_error, meta_of, tests_of
from npr.export.model import Model
from npr.kernels.mlp import EPSILON
from npr.kernels.squash import LOG_STD_MAX, LOG_STD_MIN
from npr.version import __version__

OPSET, IR_VERSION = 17, 8  # of ONNX 1.12, 2022: runtimes read what is older than they are
_INDEX, _FLOAT = np.int64, np.float32
_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "elu": "Elu"}


def source(model: Model, *, stochastic: bool = False) -> bytes:
    """The file of a model that `onnx.checker` accepts, with the card and the tests as metadata.

    Raises ConfigError if the package onnx is not installed.
    """
    try:
        import onnx
    except ImportError:
        raise ConfigError("Writing .onnx needs ONNX: pip install 'npr-rl[onnx]'") from None
    graph, nodes = model.graph, _Nodes(onnx)
    sampled = stochastic and graph.noise > 0
    inputs = [nodes.port("observation", np.float32, graph.numbers)]
    mask = None
    if graph.mask:
        inputs.append(nodes.port("mask", np.bool_, graph.mask))
        mask = "mask"
    x = nodes.encoded(graph)
    width = () if graph.kind == "discrete" else (graph.actions,)
    kind = np.int64 if all(graph.whole) and not graph.members else np.float32
    outputs = [nodes.port("action", kind, *width)]
    y, h = nodes.outputs(graph, x, None)
    nodes.give("action", nodes.acted(graph, y, h, None, mask))
    if graph.table is None and graph.kind != "box":
        outputs.append(nodes.port("scores", np.float32, len(graph.output.b)))
        nodes.give("scores", y)
    if sampled:
        inputs.append(nodes.port("noise", np.float32, graph.noise))
        outputs.append(nodes.port("sampled", kind, *width))
        if graph.head == "sampler":
            y, h = nodes.outputs(graph, x, "noise")
        nodes.give("sampled", nodes.acted(graph, y, h, "noise", mask))
    text = f"{model.card.title}\n{model.card.measured}"
    made = nodes.helper.make_model(
        nodes.helper.make_graph(nodes.made, "policy", inputs, outputs, nodes.constants),
        opset_imports=[nodes.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="npr",
        producer_version=__version__,
        doc_string=text.encode(errors="replace").decode(),  # names from files may not be text
    )
    tests = {name: array.tolist() for name, array in tests_of(model, sampled).items()}
    card = {**meta_of(model), "ranges": ranges(graph)}
    nodes.helper.set_model_props(
        made, {"card": json.dumps(card, allow_nan=False), "tests": json.dumps(tests)}
    )
    onnx.checker.check_model(made, full_check=True)
    data: bytes = made.SerializeToString()
    return data


def selftest(path: str | os.PathLike[str]) -> float:
    """The largest error of the tests in a file that npr wrote, in onnxruntime on this machine.

    It is in units of the action's range, see npr.export.graph.ranges; where it has none, of the
    action if that is larger than 1.
    Raises ConfigError if onnxruntime is not installed, and CheckpointError for a file without
    tests.
    """
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("The self-test of .onnx needs: pip install onnxruntime") from None
    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    held = session.get_modelmeta().custom_metadata_map
    try:
        card, tests = json.loads(held["card"]), json.loads(held["tests"])
        given = {"observation": np.array(tests["observations"], np.float32)}
        pairs = [("action", "actions")]
        if "masks" in tests:
            given["mask"] = np.array(tests["masks"], bool)
        if "noise" in tests:
            given["noise"] = np.array(tests["noise"], np.float32)
            pairs.append(("sampled", "sampled"))
        got = session.run([name for name, _ in pairs], given)
        wants = [np.array(tests[name]) for _, name in pairs]
        return max(largest_error(a, want, card["ranges"]) for a, want in zip(got, wants))
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold npr's tests: {error!r:.200}.") from None


class _Nodes:
    """The nodes and constants of a graph, in the order in which they are computed."""

    def __init__(self, onnx: Any):
        self.onnx, self.helper = onnx, onnx.helper
        self.made: list[Any] = []
        self.constants: list[Any] = []
        self.names: set[str] = set()
        self.member = ""  # a prefix of names

    def port(self, name: str, dtype: Any, *shape: int) -> Any:
        """An input or output of the graph: a batch."""
        code = self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.helper.make_tensor_value_info(name, code, ["batch", *shape])

    def constant(self, value: Any, dtype: Any, name: str = "") -> str:
        """The name of a constant; one with a name is added once."""
        name = name or f"constant.{len(self.constants)}"
        if name not in self.names:
            array = np.ascontiguousarray(value, dtype).reshape(np.shape(value))
            self.constants.append(self.onnx.numpy_helper.from_array(array, name))
            self.names.add(name)
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The name of what a new node computes."""
        name = f"{op.lower()}.{len(self.made)}"
        self.made.append(self.helper.make_node(op, [*inputs], [name], name, **attributes))
        return name

    def give(self, output: str, name: str) -> None:
        self.made.append(self.helper.make_node("Identity", [name], [output], output))

    def cast(self, x: str, dtype: Any) -> str:
        return self.add("Cast", x, to=self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def columns(self, x: str, begin: int, end: int, step: int = 1) -> str:
        bounds = [self.constant([n], _INDEX) for n in (begin, end, 1, step)]  # 1 is the axis
        return self.add("Slice", x, *bounds)

    # ---- the steps of Graph

    def encoded(self, graph: Graph) -> str:
        columns, i = [], 0
        for part in graph.parts:
            whole = len(graph.parts) == 1
            x = "observation" if whole else self.columns("observation", i, i + part.numbers)
            i += part.numbers
            if part.start is None and part.divisor == 1:
                columns.append(x)
                continue
            if part.start is None:
                columns.append(self.add("Div", x, self.constant(part.divisor, _FLOAT)))
                continue
            index = self.cast(x, _INDEX)
            if graph.table is not None:
                axis = self.constant([1], _INDEX)
                first = self.constant(part.start, _INDEX)
                return self.add("Squeeze", self.add("Sub", index, first), axis)
            choices = self.constant(part.start + np.arange(part.inputs), _INDEX)
            columns.append(self.cast(self.add("Equal", index, choices), _FLOAT))
        x = columns[0] if len(columns) == 1 else self.add("Concat", *columns, axis=1)
        if graph.norm is None:
            return x
        mean = self.constant(graph.norm.mean, _FLOAT, "norm.mean")
        scale = self.constant(graph.norm.scale, _FLOAT, "norm.scale")
        x = self.add("Mul", self.add("Sub", x, mean), scale)
        return self.add("Clip", x, *self.clip(-graph.norm.clip, graph.norm.clip))

    def clip(self, low: float, high: float) -> list[str]:
        return [self.constant(low, _FLOAT), self.constant(high, _FLOAT)]

    def outputs(self, graph: Graph, x: str, noise: str | None) -> tuple[str, str]:
        """The outputs of the network, and the last hidden values; of a table the best actions."""
        if graph.table is not None:
            return self.add("Gather", self.constant(graph.table, _INDEX, "table"), x), x
        stack = [*graph.hidden, graph.output]
        if graph.head == "sampler" and noise:
            x = self.add("Concat", x, noise, axis=1)
        h = x
        for i, layer in enumerate(stack):
            name = f"layers.{i}"
            if graph.head == "sampler" and not noise and i == 0:  # its noise is zero
                n = layer.W.shape[1] - graph.noise
                layer, name = replace(layer, W=layer.W[:, :n]), "layers.0.quiet"
            h, x = x, self.dense(x, layer, name)
        return x, h

    def dense(self, x: str, layer: Layer, name: str) -> str:
        W = self.constant(layer.W, _FLOAT, f"{name}.weight")
        b = self.constant(layer.b, _FLOAT, f"{name}.bias")
        if layer.gain is None:
            y = self.add("Gemm", x, W, b, transB=1)
        else:
            gain = self.constant(layer.gain, _FLOAT, f"{name}.gain")
            y = self.add("Gemm", x, W, transB=1)
            y = self.add("LayerNormalization", y, gain, b, epsilon=EPSILON)
        op = _ACTIVATIONS.get(layer.activation)
        return self.add(op, y) if op else y

    def acted(self, graph: Graph, y: str, h: str, noise: str | None, mask: str | None) -> str:
        """The environments' actions."""
        if not graph.members:
            return self.scaled(graph, self.chosen(graph, y, h, noise, mask))
        parts = []
        for i, (member, outputs, own, allowed) in enumerate(graph.places):
            self.member = f"{i}."
            drawn = noise and self.columns(noise, own.start, own.stop)
            open_ = (
                self.columns(mask, allowed.start, allowed.stop) if mask and member.mask else None
            )
            own_y = self.columns(y, outputs.start, outputs.stop)
            a = self.scaled(member, self.chosen(member, own_y, h, drawn, open_))
            if member.kind == "discrete":
                a = self.add("Unsqueeze", a, self.constant([1], _INDEX))
            parts.append(a if member.kind == "box" else self.cast(a, _FLOAT))
        return self.add("Concat", *parts, axis=1)

    def chosen(self, graph: Graph, y: str, h: str, noise: str | None, mask: str | None) -> str:
        """The agent's actions."""
        if graph.head == "argmax":
            if graph.table is not None and mask:
                return self.ranked(graph, y, noise, mask)
            best = y if graph.table is not None else self.choice(y, None, mask)
            return self.explored(graph, best, noise, mask) if noise else best
        if graph.head == "categorical":
            scores = self.add("Div", y, self.constant(graph.temperature, _FLOAT))
            return self.choice(scores, noise and self.columns(noise, 0, 1), mask)
        if graph.head == "multi_categorical":
            one, chosen, begin = self.constant([1], _INDEX), [], 0
            for i, n in enumerate(graph.choices):
                scores = self.columns(y, begin, begin + n)
                drawn = noise and self.columns(noise, i, i + 1)
                part = mask and self.columns(mask, begin, begin + n)
                chosen.append(self.add("Unsqueeze", self.choice(scores, drawn, part), one))
                begin += n
            return self.add("Concat", *chosen, axis=1)
        if graph.head == "bernoulli":
            if noise:
                on = self.add("Less", noise, self.add("Sigmoid", y))
            else:
                on = self.add("Greater", y, self.constant(0, _FLOAT))
            return self.bits(graph, self.cast(on, _INDEX), mask)
        if noise and graph.log_std is not None:
            spread = self.add("Mul", self.add("Exp", self.spread(graph, h)), noise)
            y = self.add("Add", y, spread)
        return y if graph.head == "gaussian" else self.add("Tanh", y)

    def spread(self, graph: Graph, h: str) -> str:
        if isinstance(graph.log_std, Layer):
            x = self.dense(h, graph.log_std, "log_std")
        else:
            x = self.constant(graph.log_std, _FLOAT, f"{self.member}log_std")
        if graph.head != "tanh_gaussian":
            return x
        return self.add("Clip", x, *self.clip(LOG_STD_MIN, LOG_STD_MAX))

    def bits(self, graph: Graph, on: str, mask: str | None) -> str:
        """Bits `on`, or what the mask allows; -1 where it allows neither 0 nor 1."""
        if not mask:
            return on
        zero, one = (self.columns(mask, i, graph.mask, 2) for i in (0, 1))
        values = [self.constant(n, _INDEX) for n in (0, 1, -1)]
        known = self.add("Where", one, values[1], self.add("Where", zero, values[0], values[2]))
        return self.add("Where", self.add("And", zero, one), on, known)

    def ranked(self, graph: Graph, order: str, noise: str | None, mask: str) -> str:
        """The actions of a table of all actions, the best first."""
        axis, n = self.constant([1], _INDEX), graph.choices[0]
        known = self.add("Less", order, self.constant(n, _INDEX))
        action = self.add("Min", order, self.constant(n - 1, _INDEX))
        open_ = self.add("And", known, self.add("GatherElements", mask, action, axis=1))
        place = self.add("ArgMax", self.cast(open_, _INDEX), axis=1, keepdims=0)
        if noise:
            place = self.explored(graph, place, noise, open_)
        place = self.add("Unsqueeze", place, axis)
        chosen = self.add("Squeeze", self.add("GatherElements", order, place, axis=1), axis)
        return self.if_any(open_, chosen)

    def if_any(self, mask: str, chosen: str) -> str:
        """The choices (B,), -1 where a mask allows none."""
        most = self.add("ReduceMax", self.cast(mask, _INDEX), axes=[1], keepdims=0)
        return self.add("Where", self.cast(most, np.bool_), chosen, self.constant(-1, _INDEX))

    def choice(self, scores: str, noise: str | None, mask: str | None) -> str:
        """The first best choice of each row, or the one at noise (B, 1) in [0, 1)."""
        if mask:
            scores = self.add("Where", mask, scores, self.constant(-np.inf, _FLOAT))
        if not noise:
            best = self.add("ArgMax", scores, axis=1, keepdims=0)
            return self.if_any(mask, best) if mask else best
        axis = self.constant([1], _INDEX)
        largest = self.add("ReduceMax", scores, axes=[1], keepdims=1)
        weights = self.add("Exp", self.add("Sub", scores, largest))
        reached = self.add("CumSum", weights, self.constant(1, _INDEX))
        total = self.add("ReduceSum", weights, axis, keepdims=1)
        below = self.add("LessOrEqual", reached, self.add("Mul", noise, total))
        count = self.add("ReduceSum", self.cast(below, _INDEX), axis, keepdims=0)
        if mask:
            allowed = self.cast(mask, _INDEX)
            last = self.add("ArgMax", allowed, axis=1, keepdims=0, select_last_index=1)
            return self.if_any(mask, self.add("Min", count, last))
        n = self.add("Gather", self.add("Shape", scores), self.constant(1, _INDEX))
        return self.add("Min", count, self.add("Sub", n, self.constant(1, _INDEX)))

    def explored(self, graph: Graph, best: str, noise: str, mask: str | None) -> str:
        n, axis = graph.choices[0], self.constant([1], _INDEX)
        u, v = (self.add("Squeeze", self.columns(noise, i, i + 1), axis) for i in (0, 1))
        if mask:
            allowed = self.cast(mask, _INDEX)
            count = self.add("ReduceSum", allowed, axis, keepdims=0)
            index = self.cast(self.add("Mul", v, self.cast(count, _FLOAT)), _INDEX)
            number = self.add("Min", index, self.add("Sub", count, self.constant(1, _INDEX)))
            reached = self.add("CumSum", allowed, self.constant(1, _INDEX))
            below = self.add("LessOrEqual", reached, self.add("Unsqueeze", number, axis))
            place = self.add("ReduceSum", self.cast(below, _INDEX), axis, keepdims=0)
            random = self.if_any(mask, place)
        else:
            index = self.cast(self.add("Mul", v, self.constant(n, _FLOAT)), _INDEX)
            random = self.add("Min", index, self.constant(n - 1, _INDEX))
        return self.add("Where", self.add("Less", u, self.constant(graph.epsilon, _FLOAT)),
                        random, best)  # fmt: skip

    def scaled(self, graph: Graph, a: str) -> str:
        """The environment's actions for the agent's."""
        if graph.kind == "box":
            for op, value in (
                ("Mul", graph.half), ("Add", graph.middle), ("Max", graph.low), ("Min", graph.high)
            ):  # fmt: skip
                a = self.add(op, a, self.constant(value, _FLOAT))
            return a
        if not any(graph.start):
            return a
        start: Array | int = graph.start[0] if graph.kind == "discrete" else np.array(graph.start)
        return self.add("Add", a, self.constant(start, _INDEX))
