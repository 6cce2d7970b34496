"""Policies at the ends of what is possible: exports act as they do and pass their self-tests, or
are refused with a sentence."""

import functools
import json
import warnings

import numpy as np
import pytest
from support import export_cases as cases
from support import node
from support.c_compiler import STRICT, Headers, compiled
from support.export_checks import TOLERANCE

from npr.envs.spaces import actions_from_spec, observations_from_spec
from npr.errors import ConfigError
from npr.export import export, graph_of, javascript, model_of, onnx, policy_file, python
from npr.export.graph import ranges
from npr.export.model import decided
from npr.heads import HEADS
from npr.normalize import ObservationNorm
from npr.policy import Policy

THREE = {"kind": "box", "shape": [3]}


def indices(n, start=0):
    return {"kind": "discrete", "n": n, "start": start}


def box(low, high, dtype="float32"):
    return {"kind": "box", "shape": [len(low)], "dtype": dtype, "low": low, "high": high}


def made(
    head, actions, change=None, observations=THREE, hidden=(8,), both=False, norm=None, **more
):
    """A policy with random parameters, changed by a function of them.

    norm   rows of observations that its normalization has seen
    more   epsilon, temperature
    """
    rng = np.random.default_rng(0)
    space = observations_from_spec(observations)
    settings = more.get("epsilon", 0.0), more.get("temperature", 1.0)
    chosen = HEADS[head](actions_from_spec(actions), *settings)
    if head == "table":
        return Policy(space, chosen, np.zeros((space.size, chosen.outputs), np.float32))
    free = 0 if both else chosen.free
    sizes = [space.size + chosen.noise_inputs, *hidden, chosen.outputs + chosen.free - free]
    size = sum((n + 1) * m for n, m in zip(sizes, sizes[1:])) + free
    theta = rng.standard_normal(size) * 0.5
    theta = theta if change is None else change(theta)
    moments = None
    if norm is not None:
        moments = ObservationNorm(space.size)
        moments.add(norm)
    return Policy(space, chosen, theta.astype(np.float32), sizes, "relu", free, moments)


def offset(theta):
    """Scores with a large part in common, as values of actions have."""
    theta[-3:] += 3000
    theta[-27:-3] *= 0.1
    return theta


WRITTEN = {
    "scores_of_zero": lambda: made("argmax", indices(4), lambda theta: theta * 0),
    "bits_of_zero": lambda: made(
        "bernoulli", {"kind": "multibinary", "shape": [3]}, lambda theta: theta * 0
    ),
    "large_scores": lambda: made("argmax", indices(3), offset),
    "small_weights": lambda: made("gaussian", box([-1.0], [1.0]), lambda theta: theta * 1e-38),
    "one_choice": lambda: made("argmax", indices(1), hidden=(), epsilon=1.0),
    "many_choices": lambda: made("categorical", indices(500)),
    "negative_choices": lambda: made("argmax", indices(3, 3 - (1 << 24))),
    "equal_bounds": lambda: made("tanh_gaussian", box([1.0, 0.0], [1.0, 0.0])),
    "near_bounds": lambda: made("tanh", box([0.0, 0.0, 300.0], [1e-30, 1e-40, 300.001])),
    "far_bounds": lambda: made("gaussian", box([-1e30, -3e38, None], [1e30, 3e38, 1e38])),
    "no_bounds": lambda: made("gaussian", box([None], [None]), lambda theta: theta * 100),
    "half_floats": lambda: made("gaussian", box([-60000.0], [60000.0], "float16")),
    "narrow_doubles": lambda: made("gaussian", box([0.0], [1e-300], "float64")),
    "no_variance": lambda: made("tanh", box([-1.0], [1.0]), norm=np.full((9, 3), 4.0)),
    "large_deviation": lambda: made(
        "gaussian", box([-1.0], [1.0]), lambda theta: theta * 300, both=True
    ),
}  # fmt: skip


@functools.cache
def model(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return model_of(WRITTEN[name](), episodes=0)


def refused(**changes):
    """A policy with a part that cannot be exported."""
    return lambda: made("argmax", **{"actions": indices(3), **changes})


REFUSED = {
    "whole numbers from 1073741824": refused(actions=indices(3, 1 << 30)),
    "whole numbers from -2147483648": refused(observations=indices(6, -(1 << 31))),
    "beyond float32, whose largest": lambda: made("tanh", box([-1e300], [1e300], "float64")),
    "outputs of the policy overflow": refused(change=lambda theta: theta * 1e30, hidden=(8, 8)),
    "temperature 1e-300": lambda: made("categorical", indices(3), temperature=1e-300),
}

every = pytest.mark.parametrize("name", WRITTEN)


@every
def test_python_and_files_pass_their_self_tests(name, tmp_path):
    held = {}
    exec(python.source(model(name), stochastic=bool(model(name).graph.noise)), held)
    assert held["selftest"]() <= TOLERANCE
    assert len(held["TESTS"]["observations"]) >= 4
    (tmp_path / "policy.npz").write_bytes(policy_file.archive(model(name)))
    assert policy_file.selftest(tmp_path / "policy.npz") <= TOLERANCE


@every
def test_onnx_passes_its_self_test(name, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    path = tmp_path / "policy.onnx"
    path.write_bytes(onnx.source(model(name), stochastic=bool(model(name).graph.noise)))
    assert onnx.selftest(path) <= TOLERANCE


@node.needs_node
def test_javascript_passes_its_self_tests(tmp_path):
    for name in WRITTEN:
        text = javascript.source(model(name), stochastic=bool(model(name).graph.noise))
        (tmp_path / f"{name}.js").write_text(text)
    script = """
const found = {};
for (const name of $NAMES) found[name] = (await import(`./${name}.js`)).selftest();
console.log(JSON.stringify(found));
"""
    found = node.run(tmp_path, script.replace("$NAMES", json.dumps([*WRITTEN])))
    assert {name: error for name, error in found.items() if not error <= TOLERANCE} == {}


def test_headers_act_as_the_policies_and_pass_their_self_tests(tmp_path):
    models = {name: model(name) for name in WRITTEN}
    headers, rows, noise = Headers(models), {}, {}
    for name, one in models.items():
        drawn = cases.rows(one.policy, 200)
        rows[name] = drawn[decided(one.graph, drawn)]
        noise[name] = np.full((len(rows[name]), one.graph.noise), 0.5, np.float32)
    program = compiled(tmp_path / "c", headers.sources(), "gcc", (*STRICT, "-O1"))
    for name, (failures, worst, got, _) in headers.results(program, rows, noise).items():
        assert (failures, worst <= TOLERANCE) == (0, True), name
        graph = models[name].graph
        want = cases.exact(graph, rows[name]).reshape(got.shape)  # the same on every processor
        units = [1.0 if unit is None else unit for unit in ranges(graph)]
        scale = np.maximum(units, abs(want)) if graph.kind == "box" else 1.0
        assert (abs(got.astype(np.float64) - want) / scale).max(initial=0) <= 2 * TOLERANCE, name


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_exported_is_refused(message, tmp_path):
    path = tmp_path / "policy.js"
    with pytest.raises(ConfigError, match=f"(?i){message}"):
        export(REFUSED[message](), path)
    assert not path.exists()


def test_noise_of_tests_is_not_at_a_limit_of_two_choices():
    one = model("many_choices")
    for shift in (-1e-5, 1e-5):
        np.testing.assert_array_equal(
            one.graph(one.observations, one.noise + np.float32(shift)), one.sampled
        )


def test_errors_are_relative_to_the_range_or_a_tenth_of_the_bounds():
    graph = graph_of(made("tanh", box([300.0, -1.0, 5.0], [300.001, 3.0, 5.0])))
    assert ranges(graph) == pytest.approx([30.0001, 4.0, 0.5])


def test_observations_may_be_large():
    seen = np.random.default_rng(0).choice([-3e38, 1e20], (40, 3)).astype(np.float32)
    small = made("gaussian", box([None], [None]), lambda theta: theta * 1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = model_of(small, episodes=0, observations=seen, dtype="int8", max_error=np.inf)
    assert np.isfinite(model.observations).all()
