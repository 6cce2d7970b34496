"""Settings of networks, from the constructor to files and policies: layer normalization, an
activation for each layer, several critics."""

import numpy as np
import pytest
from support.small_agents import (
    CASES,
    TABLES,
    assert_same_parameters,
    observations,
    small_agent,
    trained,
)

import npr
from npr.errors import ConfigError
from npr.export import graph_of
from npr.named_tensors import policy_of, tensors_of
from npr.nn import MLP

NETWORKS = [case for case in CASES if case not in TABLES]
SETTINGS = {"layer_norm": True, "net_arch": [8, 6], "activation": ["tanh", "elu"]}


def outputs(agent, rows):
    """Of the policy's network, as it is trained; the noise of a sampler is zero."""
    head, network, theta = agent.acts_by()
    noise = np.zeros((len(rows), head.noise_inputs), rows.dtype)
    return network(theta, np.concatenate([rows, noise], axis=-1))


@pytest.mark.parametrize("case", NETWORKS)
def test_every_algorithm_learns_and_acts_with_normalized_layers(case):
    agent = trained(case, **SETTINGS)
    networks = [value for value in vars(agent).values() if isinstance(value, MLP)]
    assert networks and all(
        (net.layer_norm, net.activation, net.sizes[1:-1]) == (True, ["tanh", "elu"], [8, 6])
        for net in networks
    )
    assert all(np.isfinite(x).all() for x in vars(agent).values() if isinstance(x, np.ndarray))
    rows = observations(agent, 20)
    shape = len(rows), agent.policy.head.noise_inputs
    acted = agent.policy.outputs(np.concatenate([rows, np.zeros(shape, rows.dtype)], axis=-1))
    acted = np.tanh(acted) if agent.policy.head.name == "tanh" else acted
    np.testing.assert_allclose(acted, outputs(agent, rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["PPO-Box", "SoftQ"])
def test_files_have_normalized_layers(case, tmp_path):
    agent, path = trained(case, normalize_obs=True, **SETTINGS), tmp_path / "agent.npz"
    agent.save(path)
    assert "-".join(SETTINGS["activation"]) + ", layer_norm" in repr(agent.policy)
    obs = observations(agent, 20)
    expected = agent.policy(obs)
    again, policy = npr.load(path), npr.infer.load(path)
    assert (again.layer_norm, again.activation) == (True, ["tanh", "elu"])
    for one in (again.policy, policy):
        np.testing.assert_array_equal(one(obs), expected)
        for x, action in zip(obs, expected):
            np.testing.assert_array_equal(one(x), one.actions.to_env(one.choose(one.encode(x))[0]))
            np.testing.assert_allclose(one(x), action, rtol=1e-5, atol=1e-5)
    graph, rows = graph_of(agent.policy), np.concatenate([obs] * 2)
    np.testing.assert_allclose(graph(rows), agent.policy(rows), rtol=1e-5, atol=1e-6)
    for suffix in (".npz", ".safetensors"):
        if suffix == ".safetensors":
            pytest.importorskip("safetensors")
        agent.export(tmp_path / f"policy{suffix}", episodes=1)
        loaded = npr.infer.load(tmp_path / f"policy{suffix}")
        np.testing.assert_array_equal(loaded(obs), expected)


def test_tensors_have_the_names_of_pytorch():
    policy = trained("PPO-Box", **SETTINGS).policy
    named = tensors_of(policy)
    assert {name: array.shape for name, array in named.items()} == {
        "layers.0.weight": (8, 3), "layer_norms.0.weight": (8,), "layer_norms.0.bias": (8,),
        "layers.1.weight": (6, 8), "layer_norms.1.weight": (6,), "layer_norms.1.bias": (6,),
        "layers.2.weight": (1, 6), "layers.2.bias": (1,), "log_std": (1,),
    }  # fmt: skip
    again = policy_of(policy.spec, named)
    np.testing.assert_array_equal(again.theta, policy.theta)


def test_a_layer_is_that_of_pytorch():
    torch = pytest.importorskip("torch")
    policy = trained("SAC", **SETTINGS).policy
    named = {name: torch.tensor(array) for name, array in tensors_of(policy).items()}
    x = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    h = torch.tensor(x)
    for i, activation in enumerate([torch.nn.Tanh(), torch.nn.ELU()]):
        h = torch.nn.functional.linear(h, named[f"layers.{i}.weight"])
        gain, bias = named[f"layer_norms.{i}.weight"], named[f"layer_norms.{i}.bias"]
        h = activation(torch.nn.functional.layer_norm(h, gain.shape, gain, bias))
    y = torch.nn.functional.linear(h, named["layers.2.weight"], named["layers.2.bias"])
    np.testing.assert_allclose(policy.outputs(x), y.numpy(), rtol=1e-4, atol=1e-5)


def test_integers_without_layer_normalization_are_refused(tmp_path):
    agent = small_agent("SAC", **SETTINGS)
    with pytest.raises(ConfigError, match="dtype='int8' cannot hold layer normalization"):
        agent.export(tmp_path / "policy.h", dtype="int8")
    assert not [*tmp_path.iterdir()]


def test_networks_may_have_other_activations(tmp_path):
    activation = {"pi": "elu", "qf": ["tanh", "relu"]}
    agent = trained("SAC", net_arch=[8, 6], activation=activation)
    assert (agent.actor.activation, agent.Q.activation) == ("elu", ["tanh", "relu"])
    assert agent.policy.spec["activation"] == "elu"
    agent.save(tmp_path / "agent.npz")
    assert npr.load(tmp_path / "agent.npz").activation == activation


def test_equal_activations_are_one_and_change_no_bit():
    one, other = (trained("SAC", net_arch=[8, 6], activation=a) for a in ("elu", ["elu", "elu"]))
    np.testing.assert_array_equal(one.theta, other.theta)
    assert other.policy.spec == one.policy.spec


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("gelu", r"activation must be 'relu' or .*, a list with one for each.*; got 'gelu'"),
        (["relu", "gelu"], r"a dict of these for pi and qf; got \['relu', 'gelu'\]"),
        ({"pi": "relu"}, r"a dict of these for pi and qf; got \{'pi': 'relu'\}"),
        ({"pi": "relu", "qf": [["tanh"]]}, "a dict of these for pi and qf"),
        (["relu"], r"activation=\['relu'\] has 1 names for 2 hidden layers"),
        (3, "activation must be str or list or dict, got 3"),
    ],
)
def test_other_activations_are_refused(activation, message):
    with pytest.raises(ConfigError, match=message):
        small_agent("SAC", net_arch=[8, 8], activation=activation)


def test_settings_fit_a_command_line():
    from npr.cli.flags import parse

    settings = npr.SAC.settings
    for word, value in (
        ("tanh", "tanh"), ('["tanh", "relu"]', ["tanh", "relu"]),
        ('{"pi": "elu", "qf": ["relu"]}', {"pi": "elu", "qf": ["relu"]}),
    ):  # fmt: skip
        assert parse(npr.SAC, settings["activation"], word) == value
    assert parse(npr.SAC, settings["layer_norm"], "true") is True


# ---- several critics


REDQ = {"n_critics": 4, "n_target_critics": 2}


@pytest.mark.parametrize("case", ["SAC-Discrete", "SACS", "TD3"])
def test_a_run_with_several_critics_resumes_to_the_bit(case, tmp_path):
    agent = small_agent(case, **REDQ)
    assert agent.theta.shape == (4, agent.Q.size)
    agent.learn(60).save(tmp_path / "agent.npz")
    agent.learn(60, reset_num_timesteps=False)
    again = npr.load(tmp_path / "agent.npz").learn(60, reset_num_timesteps=False)
    assert_same_parameters(agent, again)


def test_the_critics_of_a_target_are_distinct_and_uniform():
    agent = small_agent("SAC", **REDQ)
    drawn = np.array([agent.target_critics() for _ in range(6_000)])
    assert drawn.shape == (6_000, 2) and (drawn[:, 0] != drawn[:, 1]).all()
    pairs = np.bincount(np.sort(drawn, axis=1) @ [4, 1], minlength=16)
    expected = np.zeros(16)
    expected[[1, 2, 3, 6, 7, 11]] = 1_000
    assert np.abs(pairs - expected).max() < 5 * np.sqrt(1_000)
    assert small_agent("SAC", n_critics=4).target_critics() is None


def test_a_target_without_a_number_of_critics_draws_nothing():
    """So that the noise of others stays what it was."""
    agent = small_agent("TD3")
    before = agent.rng["noise"].bit_generator.state
    agent.target_critics()
    assert agent.rng["noise"].bit_generator.state == before


@pytest.mark.parametrize("case", ["SAC", "SACS", "DDPG", "TD3"])
def test_a_target_cannot_ask_more_critics_than_there_are(case):
    message = "n_target_critics=3 is more than n_critics=2; a target uses some of them, or all"
    with pytest.raises(ConfigError, match=message):
        small_agent(case, n_critics=2, n_target_critics=3)
    agent = small_agent(case, n_critics=2)
    with pytest.raises(ConfigError, match=message):
        agent.n_target_critics = 3
    assert agent.n_target_critics is None
    with pytest.raises(ConfigError, match="n_target_critics must be at least 1, got 0"):
        agent.n_target_critics = 0
