"""The description of a policy that all writers start from computes what the policy does."""

from dataclasses import replace

import numpy as np
import pytest
from support import export_cases as cases
from support.small_agents import CASES as AGENTS
from support.small_agents import small_agent, trained

from npr.errors import ConfigError
from npr.export import graph_of, model_of
from npr.export.graph import _HEADS
from npr.export.model import decided, draw_noise, fingerprint
from npr.heads import HEADS, GaussianHead

every_case = pytest.mark.parametrize("case", cases.CASES)


class Given:
    """A generator that gives the noise of an export, in the order in which heads draw."""

    def __init__(self, graph, noise):
        self.graph, self.left = graph, [*noise.T]

    def random(self, shape):
        columns = [self.left.pop(0) for _ in range(int(np.prod(shape)) // len(self.left[0]))]
        return np.stack(columns, axis=-1).reshape(shape).astype(np.float64)

    def integers(self, n, size):
        return np.floor(self.left.pop(0).astype(np.float64) * n).astype(np.int64)

    def standard_normal(self, shape, dtype):
        columns = [self.left.pop(0) for _ in range(shape[-1])]
        return np.stack(columns, axis=-1).reshape(shape).astype(dtype)


def compare(policy, noise=False, masked=True):
    graph = graph_of(policy)
    rows = cases.rows(policy)
    masks = cases.masks(graph, rows) if masked else None
    sure = decided(graph, rows, masks)
    rows, masks = rows[sure], None if masks is None else masks[sure]
    observations = [cases.observation(policy, row) for row in rows]
    x = np.concatenate([policy.encode(one) for one in observations])
    drawn = draw_noise(graph, len(rows), np.random.default_rng(2)) if noise else None
    given = Given(graph, drawn) if noise else None
    want = cases.flat(policy.actions.to_env_batch(policy.choose(x, not noise, given, masks)))
    got = graph(rows, drawn, masks)
    assert len(got) > 30 and not cases.forbidden(graph, got, masks)
    if graph.table is not None and graph.mask and noise:  # numbers of random actions differ
        random = drawn[:, 0] < graph.epsilon
        got, want = got[~random], want[~random]
    if graph.kind in ("box", "group"):
        error = abs(got - want.reshape(got.shape)) / cases.span(graph)
        assert error.max() < 1e-5
    else:
        np.testing.assert_array_equal(got, want.reshape(got.shape))


@every_case
def test_deterministic_actions_are_the_policys(case):
    compare(cases.policy(case))
    compare(cases.policy(case), masked=False)


@every_case
def test_sampled_actions_are_the_policys_for_the_same_noise(case):
    policy = cases.policy(case)
    if not graph_of(policy).noise:
        pytest.skip("this head does not sample")
    compare(policy, noise=True)


@every_case
def test_decode_is_the_inverse_of_the_encoding(case):
    policy = cases.policy(case)
    graph, rows = graph_of(policy), cases.rows(policy, 50)
    observations = [cases.observation(policy, row) for row in rows]
    if policy.sizes is None:
        encoded = np.array([policy.observations.index(one) for one in observations])
    else:
        encoded = np.concatenate([policy.observations.encode(one) for one in observations])
    np.testing.assert_array_equal(graph.decode(encoded), rows)


@pytest.mark.parametrize("case", AGENTS)
def test_every_algorithm_has_a_graph_and_tests(case):
    agent = trained(case)
    model = model_of(agent, episodes=2)
    assert model.card.algorithm == AGENTS[case][0] and model.card.env == AGENTS[case][1]
    assert model.card.episodes == 2 and np.isfinite(model.card.mean)
    assert len(model.card.low) == model.graph.numbers == len(model.card.high)
    rows = model.observations
    assert len(rows) == 32 == len(np.unique(rows, axis=0))
    observations = rows if agent.policy.sizes else rows[:, 0].astype(int)
    want = agent.policy(observations).reshape(model.actions.shape)
    np.testing.assert_allclose(model.actions, want, atol=1e-5)


def test_the_measured_return_is_that_of_evaluate():
    agent = trained("SAC")
    card = model_of(agent, episodes=3, seed=5).card
    result = agent.evaluate(episodes=3, seed=5)
    assert (card.mean, card.std) == pytest.approx((result.mean, result.std), rel=1e-4)


def test_the_tests_contain_extreme_actions_and_observations():
    model = model_of(cases.policy("tanh_gaussian"))
    low, high = abs(model.actions - model.graph.low), abs(model.actions - model.graph.high)
    assert min(low.min(), high.min()) < 1e-3
    encoded = model.graph.encode(model.observations)
    assert abs(encoded).max() == model.graph.norm.clip


def test_a_near_tie_is_not_decided():
    graph = graph_of(cases.policy("argmax"))
    W, b = np.zeros_like(graph.output.W), np.zeros_like(graph.output.b)
    b[1], b[2] = 1.0, 1.0 - 1e-5
    import dataclasses

    tied = dataclasses.replace(graph, output=dataclasses.replace(graph.output, W=W, b=b))
    assert not decided(tied, np.zeros((3, graph.numbers), np.float32)).any()
    b[2] = 0.9
    assert decided(tied, np.zeros((3, graph.numbers), np.float32)).all()


def test_the_fingerprint_depends_on_every_parameter():
    policy = cases.policy("tanh_gaussian")
    first = fingerprint(graph_of(policy))
    assert fingerprint(graph_of(cases.policy("tanh_gaussian"))) == first
    for i in range(0, policy.theta.size, 97):
        policy.theta[i] += 1e-3
        assert fingerprint(graph_of(policy)) != first
        policy.theta[i] -= 1e-3


# ---- masks of actions


@pytest.mark.parametrize("case", ["table-started", "argmax-linear"])
def test_random_actions_are_uniform_among_those_that_a_mask_allows(case):
    policy = cases.policy(case)
    if policy.sizes is None:
        policy.theta[:] = [[0.5, 1.0, 0.0]]
    graph = graph_of(policy)
    u = ((np.arange(600) + 0.5) / 600).astype(np.float32)
    row = np.repeat(cases.rows(cases.policy(case), 1), 600, axis=0)
    noise = np.stack([np.zeros(600, np.float32), u], axis=-1)
    for mask in ([1, 0, 1], [0, 1, 0], [1, 1, 1]):
        got, counts = np.unique(graph(row, noise, np.tile(mask, (600, 1))), return_counts=True)
        assert got.tolist() == [a - 1 for a in range(3) if mask[a]]  # the smallest is -1
        assert (counts == 600 // sum(mask)).all()


def test_the_last_noise_below_one_gives_an_allowed_action():
    policy = cases.policy("categorical-identity")
    graph, rows = graph_of(policy), cases.rows(policy, 200)
    masks = np.tile([1, 1, 0], (200, 1))
    for u in (0.0, np.nextafter(np.float32(1), np.float32(0)), 1.0):
        noise = np.full((200, 1), u, np.float32)
        assert not cases.forbidden(graph, graph(rows, noise, masks), masks)


@pytest.mark.parametrize("case", cases.MASKED)
def test_a_mask_that_allows_nothing_gives_one_less_than_the_smallest(case):
    policy = cases.policy(case)
    graph, rows = graph_of(policy), cases.rows(policy, 20)
    noise = draw_noise(graph, 20, np.random.default_rng(0))
    nothing = np.zeros((20, graph.mask))
    for got in (graph(rows, None, nothing), graph(rows, noise, nothing)):
        whole = got.reshape(20, -1)[:, graph.whole]
        np.testing.assert_array_equal(whole, np.tile(graph.smallest, (20, 1)) - 1)


@pytest.mark.parametrize("case", cases.MASKED)
def test_masks_of_the_tests_change_actions(case):
    model = model_of(cases.policy(case))
    assert not cases.forbidden(model.graph, model.actions, model.masks)
    assert not cases.forbidden(model.graph, model.sampled, model.masks)
    free = model.graph(model.observations)
    assert (model.actions != free).reshape(len(free), -1).any(axis=-1).mean() > 0.2


def test_a_digest_is_the_same_as_before_there_were_masks():
    assert fingerprint(graph_of(cases.policy("gaussian")))[:16] == "056d324b2c7c7092"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_parameters_that_are_not_finite_are_refused(value):
    policy = cases.policy("tanh")
    policy.theta[3] = value
    with pytest.raises(ConfigError, match="NaN or infinite.*diverged"):
        graph_of(policy)


@pytest.mark.parametrize("case", ["argmax", "dueling", "categorical", "bernoulli"])
def test_tests_of_choices_show_the_sign_of_most_weights(case):
    model, rng = model_of(cases.policy(case)), np.random.default_rng(0)
    found = []
    for _ in range(60):
        first = model.graph.hidden[0]
        W = first.W.copy()
        W[rng.integers(W.shape[0]), rng.integers(W.shape[1])] *= -1
        hidden = (replace(first, W=W), *model.graph.hidden[1:])
        wrong = replace(model.graph, hidden=hidden)
        found.append((wrong(model.observations) != model.actions).any())
    assert np.mean(found) > (0.55 if case == "bernoulli" else 0.85)  # images are nearly constant


def test_a_head_that_is_not_nprs_is_refused():
    """Its actions would be computed as another head's."""

    class Own(GaussianHead):
        name = "own"

    policy = small_agent("PPO-Box").policy
    policy.head = Own(policy.actions)  # nothing else differs
    with pytest.raises(ConfigError, match="The head 'own', a Own, cannot be exported: .* argmax"):
        graph_of(policy)


def test_every_head_of_npr_has_code():
    assert {*HEADS} <= {*_HEADS}
