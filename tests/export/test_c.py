"""Headers in C act as the policies that they are written from: every head, space and activation,
compiled by gcc and clang with all warnings, and with sanitizers."""

import functools

import numpy as np
import pytest
from support import export_cases as cases
from support.c_compiler import BUILDS, Headers, compiled, needed, run
from support.small_agents import CASES as AGENTS
from support.small_agents import trained

from npr.export import graph_of, model_of
from npr.export.episodes import play
from npr.export.model import decided, draw_noise

N = 10_000  # observations of each case
SLOW = [("clang", True), ("sanitized", True)]
EVERY = [(build, libm) for build in BUILDS for libm in (True, False)]
NAMES = [case.replace("-", "_") for case in cases.CASES]
every_build = pytest.mark.parametrize(
    ("build", "libm"),
    [pytest.param(*one, marks=[pytest.mark.slow] if one in SLOW else []) for one in EVERY],
)


@functools.cache
def headers(libm=True):
    models = {
        name: model_of(cases.policy(case), episodes=0) for name, case in zip(NAMES, cases.CASES)
    }
    return Headers(models, libm)


@functools.cache
def inputs():
    """name -> rows of numbers, noise, masks, and the actions of the policy for these rows."""
    drawn = {}
    for name, model in headers().models.items():
        usual = cases.rows(model.policy, N - N // 4)
        rows = np.concatenate([usual, cases.corners(model.policy, N // 4)])
        noise = draw_noise(model.graph, N, np.random.default_rng(4))
        masks = cases.masks(model.graph, rows)
        actions = cases.actions(model.policy, rows, masks).reshape(N, -1)
        drawn[name] = rows, noise, masks, actions
    return drawn


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """The program with all policies of one build, which is compiled once."""

    @functools.cache
    def program(build, libm):
        folder = tmp_path_factory.mktemp(build) / "c"
        return compiled(folder, headers(libm).sources(), *BUILDS[build])

    return program


@pytest.fixture(scope="module")
def outputs(programs):
    """Results of the program of one build, which runs once."""

    @functools.cache
    def results(build, libm):
        program = programs(build, libm)
        rows = {name: rows for name, (rows, *_) in inputs().items()}
        noise = {name: noise for name, (_, noise, *_) in inputs().items()}
        masks = {name: masks for name, (*_, masks, _) in inputs().items()}
        return headers(libm).results(program, rows, noise, masks)

    return results


def ranges(graph, actions):
    """The range of each number of an action: where it has no bounds, what it takes."""
    bounded = np.isfinite(cases.widths(graph))
    return np.where(bounded, cases.span(graph), np.ptp(actions, axis=0))


def assert_acts_alike(graph, rows, want, got, tolerance=1e-5, masks=None):
    """`got` are the exact actions to 1e-5 of their range, where the policy's, `want`, in float32
    have errors of this size too; indices are the same unless two scores nearly tie."""
    assert not cases.forbidden(graph, got, masks)
    if graph.kind in ("box", "group"):
        rows, want, got, masks = _decided(graph, rows, want, got, masks)
        exact, span = cases.exact(graph, rows, None, masks), ranges(graph, want)
        assert (abs(got - exact) / span).max() < tolerance
        error = abs(got - want) / span
        assert (error > tolerance).mean() < 1e-3
        assert error.max() < 2 * tolerance
        return
    sure = decided(graph, rows, masks)
    assert (~sure).mean() < 0.005
    np.testing.assert_array_equal(got[sure], want[sure])
    assert (got == want).all(axis=-1).mean() > 0.999


def _decided(graph, rows, want, got, masks):
    """The rows whose indices do not nearly tie."""
    sure = decided(graph, rows, masks) if any(graph.whole) else np.ones(len(rows), bool)
    assert (~sure).mean() < 0.01
    return rows[sure], want[sure], got[sure], None if masks is None else masks[sure]


@every_build
@pytest.mark.parametrize("name", NAMES)
def test_actions_are_the_policys(outputs, build, libm, name):
    rows, _, masks, want = inputs()[name]
    got = outputs(build, libm)[name][2]
    assert_acts_alike(headers().models[name].graph, rows, want, got, masks=masks)


@every_build
@pytest.mark.parametrize("name", NAMES)
def test_sampled_actions_are_those_for_the_noise(outputs, build, libm, name):
    graph = headers().models[name].graph
    rows, noise, masks, _ = inputs()[name]
    got = outputs(build, libm)[name][3]
    if not graph.noise:
        assert got.size == 0
        return
    assert not cases.forbidden(graph, got, masks)
    want = graph(rows, noise, masks).reshape(N, -1)
    if graph.kind == "box":
        exact = cases.exact(graph, rows, noise)
        assert (abs(got - exact) / ranges(graph, want)).max() < 2e-5
        return
    whole = np.array(graph.whole)
    if not whole.all():
        exact = cases.exact(graph, rows, noise, masks)
        assert (abs(got - exact) / ranges(graph, want))[:, ~whole].max() < 2e-5
    near = [graph(rows, noise + np.float32(e), masks).reshape(N, -1) for e in (-1e-4, 1e-4)]
    near, got, want = [one[:, whole] for one in near], got[:, whole], want[:, whole]
    sure = decided(graph, rows, masks) & (near[0] == near[1]).all(axis=-1)
    assert sure.mean() > 0.98
    np.testing.assert_array_equal(got[sure], want[sure])
    assert (got == want).all(axis=-1).mean() > 0.999


@every_build
@pytest.mark.parametrize("name", NAMES)
def test_the_self_test_finds_no_error(outputs, build, libm, name):
    failures, largest, *_ = outputs(build, libm)[name]
    assert failures == 0
    assert largest < 1e-5


def test_headers_are_cplusplus_too(tmp_path):
    sources = headers(False).sources()
    sources["main.cpp"] = sources.pop("main.c")
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    for name, text in sources.items():
        (tmp_path / name).write_text(text)
    run(needed("g++"), *flags, tmp_path / "main.cpp")


def test_agents_of_every_algorithm_act_alike_in_episodes(tmp_path):
    agents = {case.replace("-", "_"): trained(case) for case in AGENTS}
    own = Headers({name: model_of(agent, episodes=2) for name, agent in agents.items()})
    rows, noise = {}, {}
    for name, agent in agents.items():
        model, limit = own.models[name], agent.max_episode_steps
        seen = play(model.graph, agent.policy, agent.evaluation_env(), 20, 0, limit).observations
        far = seen * np.random.default_rng(0).normal(0, 3, seen.shape)
        rows[name] = seen if model.graph.table is not None else np.float32([*seen, *far])
        noise[name] = draw_noise(model.graph, len(rows[name]), np.random.default_rng(1))
    results = own.results(compiled(tmp_path / "c", own.sources()), rows, noise)
    for name, agent in agents.items():
        want = cases.actions(agent.policy, rows[name]).reshape(len(rows[name]), -1)
        assert results[name][0] == 0
        assert len(want) > 300
        assert_acts_alike(own.models[name].graph, rows[name], want, results[name][2])


@pytest.mark.parametrize("case", cases.CASES)
def test_batches_hold_the_rows_that_they_are_made_of(case):
    policy = cases.policy(case)
    rows = cases.rows(policy, 20)
    x = policy.observations.encode(cases.batch(policy, rows))
    if policy.sizes is None:
        x = policy.encode(cases.batch(policy, rows))
    np.testing.assert_array_equal(graph_of(policy).decode(x), rows)


def bounds(graph):
    """The smallest and the largest value of each number of an action."""
    if graph.members:
        return [np.concatenate(each) for each in zip(*map(bounds, graph.members))]
    if graph.choices:
        return np.array(graph.start), np.array(graph.start) + graph.choices - 1
    return graph.low, graph.high


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_observations_that_are_not_finite_give_actions_within_the_bounds(programs, value):
    own = headers(False)
    rows = {name: np.float32([[value] * m.graph.numbers]) for name, m in own.models.items()}
    rows |= {name: np.float32([[7]]) for name in NAMES if name.startswith("table")}
    noise = {name: np.full((1, m.graph.noise), 0.5) for name, m in own.models.items()}
    results = own.results(programs("sanitized", False), rows, noise)
    for name, (_, _, action, sampled) in results.items():
        graph = own.models[name].graph
        low, high = bounds(graph)
        for a in (action, sampled) if graph.noise else (action,):
            assert ((a >= low) & (a <= high)).all(), name
