"""Headers in C act as the policies that they are written from: every head, space and activation,
compiled by gcc and clang with all warnings, and with sanitizers."""

import functools

import numpy as np
import pytest
from support import export_cases as cases
from support.c_compiler import BUILDS, Headers, compiled, needed, run
from support.small_agents import CASES as AGENTS
from support.small_agents import trained

from npr.export import model_of
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
    """name -> rows of numbers, noise, and the actions of the policy for these rows."""
    drawn = {}
    for name, model in headers().models.items():
        usual = cases.rows(model.policy, N - N // 4)
        rows = np.concatenate([usual, cases.corners(model.policy, N // 4)])
        noise = draw_noise(model.graph, N, np.random.default_rng(4))
        drawn[name] = rows, noise, cases.actions(model.policy, rows).reshape(N, -1)
    return drawn


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Results of the program with all policies of one build, which runs once."""

    @functools.cache
    def results(build, libm):
        folder = tmp_path_factory.mktemp(build) / "c"
        program = compiled(folder, headers(libm).sources(), *BUILDS[build])
        rows = {name: rows for name, (rows, *_) in inputs().items()}
        noise = {name: noise for name, (_, noise, _) in inputs().items()}
        return headers(libm).results(program, rows, noise)

    return results


def ranges(graph, actions):
    """The range of each number of an action: where it has no bounds, what it takes."""
    bounded = np.isfinite(graph.high - graph.low)
    return np.where(bounded, cases.span(graph), np.ptp(actions, axis=0))


def assert_acts_alike(graph, rows, want, got, tolerance=1e-5):
    """`got` are the exact actions to 1e-5 of their range, where the policy's, `want`, in float32
    have errors of this size too; indices are the same unless two scores nearly tie."""
    if graph.kind == "box":
        exact, span = cases.exact(graph, rows), ranges(graph, want)
        assert (abs(got - exact) / span).max() < tolerance
        error = abs(got - want) / span
        assert (error > tolerance).mean() < 1e-3
        assert error.max() < 2 * tolerance
        return
    sure = decided(graph, rows)
    assert (~sure).mean() < 0.005
    np.testing.assert_array_equal(got[sure], want[sure])
    assert (got == want).all(axis=-1).mean() > 0.999


@every_build
@pytest.mark.parametrize("name", NAMES)
def test_actions_are_the_policys(outputs, build, libm, name):
    rows, _, want = inputs()[name]
    assert_acts_alike(headers().models[name].graph, rows, want, outputs(build, libm)[name][2])


@every_build
@pytest.mark.parametrize("name", NAMES)
def test_sampled_actions_are_those_for_the_noise(outputs, build, libm, name):
    graph = headers().models[name].graph
    rows, noise, _ = inputs()[name]
    got = outputs(build, libm)[name][3]
    if not graph.noise:
        assert got.size == 0
        return
    want = graph(rows, noise).reshape(N, -1)
    if graph.kind == "box":
        exact = cases.exact(graph, rows, noise)
        assert (abs(got - exact) / ranges(graph, want)).max() < 2e-5
        return
    near = [graph(rows, noise + np.float32(e)).reshape(N, -1) for e in (-1e-4, 1e-4)]
    sure = decided(graph, rows) & (near[0] == near[1]).all(axis=-1)
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


def test_agents_of_every_algorithm_act_alike(tmp_path):
    agents = {case.replace("-", "_"): trained(case) for case in AGENTS}
    own = Headers({name: model_of(agent, episodes=2) for name, agent in agents.items()})
    rows, noise = {}, {}
    for name, model in own.models.items():
        rows[name] = np.repeat(model.observations, 10, axis=0)
        if model.graph.table is None:
            rows[name] *= np.random.default_rng(0).normal(1, 0.3, rows[name].shape)
        noise[name] = draw_noise(model.graph, len(rows[name]), np.random.default_rng(1))
    results = own.results(compiled(tmp_path / "c", own.sources()), rows, noise)
    for name, agent in agents.items():
        model = own.models[name]
        observations = rows[name] if agent.policy.sizes else rows[name][:, 0].astype(int)
        want = np.reshape(agent.policy(observations), (len(rows[name]), -1))
        assert results[name][0] == 0
        assert_acts_alike(model.graph, rows[name], want, results[name][2])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_observations_that_are_not_finite_give_actions_within_the_bounds(tmp_path, value):
    some = {name: headers(False).models[name] for name in NAMES if not name.startswith("table")}
    rows = {name: np.float32([[value] * m.graph.numbers]) for name, m in some.items()}
    noise = {name: np.full((1, m.graph.noise), 0.5) for name, m in some.items()}
    own = Headers(some, libm=False)
    # main.c of a program that is compiled once for the three values
    folder = tmp_path.parent / "not_finite"
    program = folder / "program"
    if not program.exists():
        compiled(folder, own.sources(), *BUILDS["sanitized"])
    for name, (_, _, action, sampled) in own.results(program, rows, noise).items():
        graph = some[name].graph
        low, high = graph.low, graph.high
        if graph.choices:
            low, high = np.array(graph.start), np.array(graph.start) + graph.choices - 1
        for a in (action, sampled) if graph.noise else (action,):
            assert ((a >= low) & (a <= high)).all(), name
