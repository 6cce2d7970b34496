"""Policies of integers: what they compute, how near they are, that nothing overflows, and when they
are refused."""

import dataclasses
import functools

import gymnasium
import numpy as np
import pytest
from support import export_cases as cases
from support.small_agents import CASES as AGENTS
from support.small_agents import TABLES, RandomEnv, trained

import npr.export as exports
from npr.errors import ConfigError
from npr.export import Form, export, graph_of, model_of
from npr.export.accuracy import checked, compare
from npr.export.integer import ELU, TANH, IntegerLayer, between, divided, rounded
from npr.export.model import draw_noise
from npr.export.quantize import quantized
from npr.training.evaluation import Evaluation

every_network = pytest.mark.parametrize("case", cases.NETWORKS)
every_dtype = pytest.mark.parametrize("dtype", ["int8", "q15"])


@functools.cache
def pair(case, dtype):
    """A policy's graph and the quantized one, with usual observations."""
    policy = cases.policy(case)
    graph, rows = graph_of(policy), cases.rows(policy, 1_000)[:500]
    return graph, quantized(graph, dtype, rows)


def usual(case):
    """Others like those that ranges are taken from."""
    return cases.rows(cases.policy(case), 2_000, seed=5)[:1_000]


def layers(integer):
    spread = [integer.log_std] if isinstance(integer.log_std, IntegerLayer) else []
    return [*integer.hidden, integer.output, *spread]


# ---- what is computed


def test_a_shift_rounds_to_nearest_and_halves_away_from_zero():
    got = divided(np.array([-6, -5, -3, -2, 0, 2, 3, 5, 6]), 2)
    np.testing.assert_array_equal(got, [-2, -1, -1, -1, 0, 1, 1, 1, 2])
    np.testing.assert_array_equal(divided(np.array([-7, 7]), 0), [-7, 7])


def row(activation="identity", factor=None, after=0, most=32767):
    return IntegerLayer(
        W=np.array([[3, -5]], np.int8), b=np.array([7], np.int16), activation=activation,
        shift=np.array([2], np.uint8), factor=factor, after=after, most=most, scale=0.5,
    )  # fmt: skip


def test_a_layer_by_hand():
    x = np.array([[10, 20], [-10, 0], [0, -20]])  # sums -70, -30, 100; by 4: -18, -8, 25
    np.testing.assert_array_equal(row().integers(x)[:, 0], [-11, -1, 32])
    np.testing.assert_array_equal(row("relu").integers(x)[:, 0], [0, 0, 32])
    np.testing.assert_array_equal(row(most=9).integers(x)[:, 0], [-9, -1, 9])
    np.testing.assert_array_equal(row()(x)[:, 0], [-5.5, -0.5, 16])
    # -18, -8, 25 times 3 by 2: -27, -12, 37.5
    scaled = row(factor=np.array([3], np.uint8), after=1).integers(x)[:, 0]
    np.testing.assert_array_equal(scaled, [-20, -5, 45])


def test_a_layer_saturates():
    x = np.array([[32767, -32767], [-32767, 32767]])
    wide = dataclasses.replace(row(), W=np.array([[127, -127]], np.int8))
    np.testing.assert_array_equal(wide.integers(x)[:, 0], [32767, -32767])


def test_inputs_are_rounded_and_saturate():
    x = np.array([0.2, -0.2, 0.3, 1e30, -np.inf, np.nan])
    np.testing.assert_array_equal(rounded(x, 0.05, 10.0, 100), [2, -2, 3, 100, -100, -100])


@pytest.mark.parametrize(
    ("table", "function", "largest"),
    [(TANH, np.tanh, 1.2e-4), (ELU, lambda z: -np.expm1(-z), 1.4e-4)],
)
def test_tables_are_as_near_as_they_say(table, function, largest):
    z = np.arange(32768)
    errors = [
        abs(between(table, z, point) / 32768 - function(z / 2.0**point)).max()
        for point in (5, 8, 12, 15)
    ]
    assert 0.8 * largest < max(errors) < largest


# ---- how near it is


@every_network
def test_actions_are_near_and_nearer_with_more_bits(case):
    graph, rows = pair(case, "int8")[0], usual(case)
    int8, q15 = (compare(graph, pair(case, dtype)[1], rows) for dtype in ("int8", "q15"))
    assert int8.mean < (0.02 if graph.kind == "box" else 0.04)
    assert q15.mean < (0.002 if graph.kind == "box" else 0.004)
    assert q15.mean <= int8.mean + (graph.kind != "box") * 0.001  # one near tie
    assert q15.largest <= int8.largest + (graph.kind != "box") * 0.001
    assert q15.near <= q15.mean


@every_network
@every_dtype
def test_sampled_actions_are_near(case, dtype):
    graph, integer = pair(case, dtype)
    if not graph.noise:
        pytest.skip("this head does not sample")
    rows = usual(case)
    noise = draw_noise(graph, len(rows), np.random.default_rng(2))
    want, got = graph(rows, noise), integer(rows, noise)
    if graph.kind == "box":
        assert (abs(got - want) / cases.span(graph)).mean() < 0.02
    else:
        assert (got != want).mean() < 0.04


@every_network
@every_dtype
def test_no_sum_can_overflow(case, dtype):
    integer = pair(case, dtype)[1]
    most = integer.most
    stages = [*([layer] for layer in integer.hidden), layers(integer)[len(integer.hidden) :]]
    for stage in stages:
        for layer in stage:
            bits = 8 if dtype == "int8" else 16
            W = layer.W.astype(np.int64)
            assert layer.W.dtype.itemsize * 8 == bits and abs(W).max(initial=0) < 1 << bits - 1
            sums = abs(W).sum(axis=-1) * most + (1 << 30 >> 30 - layer.shift.astype(np.int64) >> 1)
            assert sums.max() < 1 << 31
            if layer.factor is not None:
                products = (divided(sums, int(layer.shift[0])) + 1) * layer.factor.astype(np.int64)
                assert (products + (1 << layer.after >> 1)).max() < 1 << 31
        most = stage[0].most


@every_network
@every_dtype
def test_any_observation_gives_an_action_within_the_bounds(case, dtype):
    graph, integer = pair(case, dtype)
    numbers = np.repeat(
        [part.start is None for part in graph.parts], [part.numbers for part in graph.parts]
    )
    rows = np.tile(cases.rows(cases.policy(case), 1), (7, 1))
    for row_of, value in zip(rows, (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-38, 0)):
        row_of[numbers] = value
    a = integer(rows)
    assert np.isfinite(a).all()
    if graph.kind == "box":
        assert (a >= graph.low).all() and (a <= graph.high).all()
    assert abs(integer.encode(rows)).max() <= integer.most <= 32767


def test_many_inputs_leave_fewer_bits_to_activations():
    graph = graph_of(cases.policy("tanh"))
    rng = np.random.default_rng(0)
    first = graph.hidden[0]
    W = rng.standard_normal((len(first.b), 3_000)).astype(np.float32)
    part = dataclasses.replace(graph.parts[0], numbers=3_000, inputs=3_000)
    wide = dataclasses.replace(graph, parts=(part,), hidden=(dataclasses.replace(first, W=W / 50),))
    rows = rng.standard_normal((300, 3_000)).astype(np.float32)
    for dtype, least in (("int8", 2e-2), ("q15", 2e-3)):
        integer = quantized(wide, dtype, rows)
        assert abs(integer.hidden[0].W.astype(np.int64)).sum(axis=-1).max() * integer.most < 1 << 31
        assert integer.most < 1 << 13
        assert compare(wide, integer, rows).mean < least


def test_what_all_scores_have_in_common_costs_no_bits():
    graph = graph_of(cases.policy("argmax"))
    rows = usual("argmax")
    output = dataclasses.replace(
        graph.output, W=graph.output.W + np.float32(100), b=graph.output.b + np.float32(1e4)
    )
    shifted = quantized(dataclasses.replace(graph, output=output), "int8", rows)
    assert compare(graph, shifted, rows).mean < 0.02


def test_an_input_that_never_changed_is_in_reach():
    graph = graph_of(cases.policy("tanh"))
    rows = usual("tanh")
    rows[:, 2] = 5.0
    integer = quantized(graph, "q15", rows)
    rows[:, 2] += np.linspace(-0.9, 0.9, len(rows))
    assert compare(graph, integer, rows).mean < 2e-3


def test_rounding_looks_at_the_observations():
    """Inputs that are always the same number: errors of their weights cancel each other."""
    graph = graph_of(cases.policy("tanh-linear"))
    rng = np.random.default_rng(0)
    n = graph.numbers
    rows = np.repeat(rng.standard_normal((500, 1)), n, axis=1).astype(np.float32)
    graph = dataclasses.replace(graph, norm=None)
    V = graph.output.W.sum(axis=-1)
    integer = quantized(graph, "int8", rows)
    W = integer.output.W.astype(np.float64)
    steps = (
        integer.output.factor
        * integer.output.scale
        / 2.0 ** (int(integer.output.shift[0]) + integer.output.after)
    )
    reach = integer.most / integer.gain[0]
    error = abs(W.sum(axis=-1) * steps * integer.most / reach - V)
    assert error.max() < steps.max() * integer.most / reach  # nearest would be up to n / 2 of them


@every_dtype
def test_a_changed_weight_is_an_error(dtype):
    graph, integer = pair("tanh_gaussian", dtype)
    rows = usual("tanh_gaussian")
    before = compare(graph, integer, rows).mean
    W = integer.output.W.copy()
    W[0, abs(W[0]).argmax()] *= -1
    output = dataclasses.replace(integer.output, W=W)
    assert compare(graph, dataclasses.replace(integer, output=output), rows).mean > 10 * before


def test_errors_of_choices_and_bits_by_hand():
    graph, integer = pair("argmax", "q15")
    scores = np.zeros_like(graph.output.W)
    b = np.array([0.0, 4.0, 3.0, -1.0, 1.0], np.float32)
    fixed = dataclasses.replace(graph, output=dataclasses.replace(graph.output, W=scores, b=b))

    class Other:
        def __call__(self, rows, noise=None, mask=None):
            return np.where(np.arange(len(rows)) < 25, 2, 1)

    errors = compare(fixed, Other(), usual("argmax")[:100])
    assert (errors.mean, errors.largest, errors.near) == (0.25, 1 / 5, 0.0)
    masks = np.tile([1, 0, 1, 1, 0], (100, 1))  # 2 is the best, 1 is not allowed
    masks[25:] = 1
    errors = compare(dataclasses.replace(fixed, masked=True), Other(), usual("argmax")[:100], masks)
    assert (errors.mean, errors.largest, errors.near) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("case", [case for case in AGENTS if case not in TABLES])
def test_every_algorithm_with_a_network_can_be_quantized(case):
    agent = trained(case)
    for dtype, most in (("int8", 0.02), ("q15", 0.005)):
        model = model_of(
            agent, dtype=dtype, episodes=2, max_error=1.0, max_return_loss=float("inf")
        )
        cost = model.card.quantized
        assert cost.mean - cost.near < most
        assert (cost.dtype, model.card.episodes) == (dtype, 2)
        assert model.graph.dtype == dtype and np.isfinite(model.card.mean)


# ---- when it is refused


def test_a_table_is_packed_already():
    with pytest.raises(ConfigError, match="int8.*packed already"):
        model_of(cases.policy("table"), dtype="int8")


def test_layer_normalization_needs_floats():
    with pytest.raises(ConfigError, match="'q15' cannot hold layer normalization.*float32"):
        model_of(cases.policy("tanh_gaussian-normal"), dtype="q15", episodes=0,
                 observations=np.zeros((10, 2, 3), np.float32))  # fmt: skip


def test_another_dtype_is_refused():
    with pytest.raises(ConfigError, match="'int4' is not known; use 'float32', 'int8' or 'q15'"):
        model_of(cases.policy("tanh"), dtype="int4", observations=usual("tanh").reshape(-1, 2, 3))


def test_observations_are_needed():
    with pytest.raises(ConfigError, match="needs observations.*a policy has none.*observations="):
        model_of(cases.policy("tanh"), dtype="q15")
    with pytest.raises(ConfigError, match="needs observations"):
        quantized(graph_of(cases.policy("tanh")), "q15", np.zeros((0, 6), np.float32))


def test_observations_whose_outputs_overflow_are_refused():
    rows = usual("tanh")
    rows[3] = 3e38
    with pytest.raises(ConfigError, match="overflow float32 in some of the observations"):
        quantized(graph_of(cases.policy("tanh")), "q15", rows)


def test_of_many_observations_some_are_taken(monkeypatch):
    monkeypatch.setattr(exports, "KEPT", 100)
    given = {"dtype": "q15", "observations": usual("tanh").reshape(-1, 2, 3)}
    assert model_of(cases.policy("tanh"), **given).card.quantized.observations == 100


def test_sums_that_no_table_reaches_are_refused():
    graph = graph_of(cases.policy("bernoulli"))
    first = dataclasses.replace(graph.hidden[0], b=graph.hidden[0].b + np.float32(1e5))
    with pytest.raises(ConfigError, match="too large for dtype='q15'.*tanh"):
        large = dataclasses.replace(graph, hidden=(first, *graph.hidden[1:]))
        quantized(large, "q15", usual("bernoulli"))


def test_files_of_other_forms_take_floats_only(monkeypatch, tmp_path):
    monkeypatch.setitem(exports.FORMS, ".txt", Form(lambda model: ""))
    with pytest.raises(ConfigError, match=r"'int8' cannot be written to .*float32.*\*\.h"):
        export(cases.policy("tanh"), tmp_path / "policy.txt", dtype="int8")


@pytest.mark.parametrize("name", ["max_error", "max_return_loss"])
@pytest.mark.parametrize("value", [-0.1, "much", None, True, np.nan])
def test_limits_are_numbers(name, value):
    with pytest.raises(ConfigError, match=f"{name} must be a number from 0"):
        model_of(cases.policy("tanh"), dtype="q15", **{name: value})


def spoiled(monkeypatch, change):
    """Quantized policies are changed after the fact."""
    monkeypatch.setattr(
        exports, "quantized", lambda *given: dataclasses.replace(quantized(*given), **change)
    )


def test_a_large_error_is_refused_and_the_limit_can_be_moved(monkeypatch, tmp_path):
    policy, path = cases.policy("tanh"), tmp_path / "policy.h"
    spoiled(monkeypatch, {"half": graph_of(policy).half * 0.5})
    given = {"dtype": "int8", "observations": usual("tanh").reshape(-1, 2, 3)}
    with pytest.raises(ConfigError, match="mean error is above max_error=0.05.*written.*'q15'"):
        export(policy, path, **given)
    assert not path.exists()
    result = export(policy, path, max_error=0.9, **given)
    assert path.exists() and "of their range in the mean" in repr(result)
    assert result.model.card.quantized.mean > 0.05


class Strength(RandomEnv):
    """The reward is the sum of the absolute actions."""

    def step(self, action):
        s, _, *rest = super().step(action)
        return s, float(abs(action).sum()), *rest


def test_a_fallen_return_is_refused_and_the_limit_can_be_moved(monkeypatch, tmp_path):
    policy, path = cases.policy("tanh"), tmp_path / "policy.h"
    box = gymnasium.spaces.Box
    env = Strength(
        box(-1, 1, (2, 3)), box(np.array([-2, 0, -1], "f4"), np.array([2, 10, 0.5], "f4"))
    )
    result = export(policy, path, dtype="int8", env=env, max_return_loss=0.01)
    card = result.model.card
    assert card.mean == pytest.approx(card.quantized.float_mean, rel=0.01) != 0
    assert card.mean != card.quantized.float_mean
    assert f"return with float32 {card.quantized.float_mean:.2f}" in repr(result)
    written = path.read_bytes()
    assert b"Integers, int8: in 200 observations actions differ from float32's" in written

    output = quantized(graph_of(policy), "int8", usual("tanh")).output
    lowest = dataclasses.replace(output, W=output.W * 0, b=output.b * 0 - 32767)
    spoiled(monkeypatch, {"output": lowest})
    given = {"dtype": "int8", "env": env, "max_error": float("inf")}
    with pytest.raises(ConfigError, match="With int8 it falls to .* max_return_loss=0.1 allows"):
        export(policy, path, **given)
    assert path.read_bytes() == written
    export(policy, path, max_return_loss=0.6, **given)
    assert path.read_bytes() != written


def test_the_same_episodes_are_played_without_a_seed():
    env = Strength(gymnasium.spaces.Box(-1, 1, (2, 3)), gymnasium.spaces.Box(-1, 1, (3,)))
    policy = cases.policy("tanh")
    env.action_space = gymnasium.spaces.Box(
        np.array([-2, 0, -1], "f4"), np.array([2, 10, 0.5], "f4")
    )
    card = model_of(policy, dtype="q15", env=env, seed=None, episodes=3).card
    assert card.mean == pytest.approx(card.quantized.float_mean, rel=1e-3)


@pytest.mark.parametrize(
    ("fall", "refused"),
    [([10, 10, 10, 10], False), ([11, 12, 11, 12], True), ([0, 46, 0, 0], False)],
)
def test_noise_of_returns_is_no_fall(fall, refused):
    """A tenth of 100 is allowed, and two standard errors of the difference."""
    graph, integer = pair("tanh", "q15")
    before = np.array([90.0, 110.0, 100.0, 100.0])
    played = [Evaluation(r, np.ones(4, np.int64)) for r in (before, before - np.array(fall))]
    if refused:
        with pytest.raises(ConfigError, match="falls to 88.50"):
            checked(graph, integer, usual("tanh"), *played, 0.05, 0.1)
    else:
        cost = checked(graph, integer, usual("tanh"), *played, 0.05, 0.1)
        assert (cost.float_mean, cost.dtype, cost.observations) == (100.0, "q15", 1_000)


def test_a_choice_is_described_too():
    cost = checked(*pair("argmax", "int8"), usual("argmax"), None, None, 0.05, 0.1)
    assert "of the actions differ from float32's" in cost.text and "near ties" in cost.text
    assert "return" not in cost.text
