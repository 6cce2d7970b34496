"""Networks of the user's own in net_arch: the same as npr's where they compute the same, in
learning, acting, files and copies; and what is refused."""

import copy
import pickle

import numpy as np
import pytest
from support.small_agents import (
    CASES,
    TABLES,
    assert_same_parameters,
    next_update,
    observations,
    parameters,
    small_agent,
)
from support.toy_envs import TwoStates

import npr
from npr.autodiff import concatenate, relu, tanh
from npr.errors import CheckpointError, ConfigError
from npr.files.archive import read_archive
from npr.runs import RunConfig

NETWORKS = [case for case in CASES if case not in TABLES]


class Dense:
    """npr's own network of one hidden layer, written with npr.autodiff."""

    def __init__(self, n, m, k, activation="relu", flat=False):
        self.n, self.m, self.k, self.activation, self.flat = n, m, k, activation, flat
        self.size = (n + 1) * m + (m + 1) * k

    def init(self, rng):
        return rng.uniform(-0.5, 0.5, self.size)

    def __call__(self, theta, *inputs):
        n, m, k = self.n, self.m, self.k
        x, at = concatenate(list(inputs), axis=-1), (n + 1) * m
        activation = {"relu": relu, "tanh": tanh}[self.activation]
        x = activation(x @ theta[: n * m].reshape(n, m) + theta[n * m : at])
        y = x @ theta[at : at + m * k].reshape(m, k) + theta[at + m * k :]
        return y[:, 0] if self.flat else y


def own_of(agent):
    """net_arch with networks like those of an agent."""
    nets = {"pi": ("actor", "f"), "qf": ("Q", "net"), "vf": ("critic", "V")}
    found = {}
    for name in agent.networks:
        net = next((vars(agent)[one] for one in nets[name] if one in vars(agent)), None)
        if net is None:  # such as the actor of SoftQ with Discrete actions
            found[name] = [8]
            continue
        n, m, k = net.sizes
        found[name] = Dense(n, m, k, agent.activation, net.outputs is None)
    return found


def same_start(case):
    """An agent with networks of npr, and one with own networks and the same parameters."""
    agent = small_agent(case)
    own = small_agent(case, net_arch=own_of(agent))
    for name, array in parameters(agent).items():
        getattr(own, name)[...] = array
    return agent, own


@pytest.mark.parametrize("case", NETWORKS)
def test_the_same_network_learns_and_acts_the_same(case):
    agent, own = same_start(case)
    batch = next_update(agent)
    agent.update(*batch)
    own.update(*batch)
    for name, array in parameters(agent).items():
        # Adam's first steps have the sign of the gradient, which may be rounding
        alike = np.isclose(parameters(own)[name], array, rtol=1e-3, atol=1e-5)
        assert alike.mean() > 0.97, name
    obs = observations(agent, 10)
    for one, other in zip(agent.act(obs), own.act(obs)):
        np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(own.act(obs[0]), own.act(obs)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["PPO-Box", "SAC"])
def test_a_run_resumes_to_the_bit_with_networks_that_are_given_again(case, tmp_path):
    path, arch = tmp_path / "agent.npz", own_of(small_agent(case))
    agent = small_agent(case, net_arch=arch).learn(60)
    agent.save(path)
    agent.learn(60, reset_num_timesteps=False)
    again = npr.load(path, net_arch=arch).learn(60, reset_num_timesteps=False)
    assert_same_parameters(agent, again)
    mine, theirs = (one.evaluate(episodes=1, seed=0).returns for one in (agent, again))
    np.testing.assert_array_equal(mine, theirs)


def test_copies_share_the_network():
    agent = small_agent("SAC", net_arch=own_of(small_agent("SAC")))
    for other in (copy.deepcopy(agent), npr.clone(agent)):
        assert other.net_arch["pi"].network is agent.net_arch["pi"].network
        assert_same_parameters(agent, other)
    assert_same_parameters(agent, pickle.loads(pickle.dumps(agent)))
    assert "own network" in repr(agent.policy) and "Dense" in repr(agent)


def test_several_critics_are_called_one_after_the_other():
    agent = small_agent("SAC", n_critics=3, n_target_critics=2, net_arch=own_of(small_agent("SAC")))
    agent.learn(60)
    s, a = np.zeros((5, 3), np.float32), np.zeros((5, 1), np.float32)
    q = agent.Q(agent.theta, s, a)
    assert q.shape == (3, 5)
    net = agent.net_arch["qf"].network
    np.testing.assert_array_equal(q[1], net(agent.theta[1], s, a))


def test_a_file_has_the_name_of_the_class_and_loads_with_the_network_alone(tmp_path):
    path, arch = tmp_path / "agent.npz", own_of(small_agent("SAC"))
    agent = small_agent("SAC", net_arch={**arch, "qf": [8]})
    agent.save(path)
    manifest, _ = read_archive(path)
    assert manifest["settings"]["net_arch"] == {"pi": {"own": "Dense"}, "qf": [8]}
    with pytest.raises(CheckpointError, match=r"\(path, net_arch=\{'pi': Dense\(\.\.\.\)\}\)"):
        npr.load(path)
    with pytest.raises(CheckpointError, match=r"npr\.load\(path, net_arch="):
        npr.load(path, net_arch=[8])
    with pytest.raises(CheckpointError, match=r"own code, which no file holds; npr\.load takes it"):
        npr.infer.load(path)
    with pytest.raises(ConfigError, match="net_arch takes effect when the agent is built"):
        npr.load(path, net_arch={**arch, "qf": [9]})
    smaller = Dense(3, 7, 2)
    with pytest.raises(CheckpointError, match="phi.* must be"):
        npr.load(path, net_arch={"pi": smaller, "qf": [8]})
    for given in ({"pi": arch["pi"], "qf": [8]}, {"pi": arch["pi"]}):
        assert_same_parameters(agent, npr.load(path, net_arch=given))


@pytest.mark.parametrize("suffix", [".h", ".py", ".js", ".onnx", ".npz", ".safetensors"])
def test_an_own_network_cannot_be_exported(suffix, tmp_path):
    agent = small_agent("SAC", net_arch=own_of(small_agent("SAC")))
    with pytest.raises(ConfigError, match="your own code cannot be exported"):
        agent.export(tmp_path / f"policy{suffix}", episodes=0)


def test_an_own_critic_needs_no_export(tmp_path):
    agent = small_agent("SAC", net_arch={"pi": [8], "qf": own_of(small_agent("SAC"))["qf"]})
    agent.export(tmp_path / "policy.py", episodes=0)
    agent.save(tmp_path / "agent.npz")
    obs = observations(agent, 5)
    np.testing.assert_array_equal(npr.infer.load(tmp_path / "agent.npz")(obs), agent.act(obs))


class Wrong(Dense):
    def __init__(self, change, *sizes, **options):
        super().__init__(*sizes, **options)
        self.change = change

    def __call__(self, theta, *inputs):
        return self.change(super().__call__(theta, *inputs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda y: y[:, :1], r"net_arch\['pi'\], Wrong, must return float32\(\d+, 2\) for a batch"),
        (lambda y: y.reshape(-1), r"must return float32\(\d+, 2\)"),
        (lambda y: None, r"must return float32\(\d+, 2\) for a batch of \d+, got NoneType"),
        (lambda y: y[:, 0], r"got float32\(\d+,\)"),
    ],
)
def test_outputs_of_another_shape_are_refused(change, message):
    agent = small_agent("SAC", net_arch={"pi": Wrong(change, 3, 8, 2), "qf": [8]})
    with pytest.raises(ConfigError, match=message):
        agent.act(np.zeros(3, np.float32))


def test_outputs_of_another_type_are_refused():
    wrong = Wrong(lambda y: y.astype(np.float64), 3, 8, 2)
    with pytest.raises(ConfigError, match=r"must return float32\(1, 2\).*got float64\(1, 2\)"):
        small_agent("SAC", net_arch={"pi": wrong, "qf": [8]}).act(np.zeros(3, np.float32))


def test_a_size_and_parameters_that_do_not_match_are_refused():
    net = Dense(3, 8, 2)
    net.init = lambda rng: np.zeros(5)
    with pytest.raises(ConfigError, match=r"must draw \d+ floats, .* returned float64\(5,\)"):
        small_agent("SAC", net_arch={"pi": net, "qf": [8]})
    net.size = 2.5
    with pytest.raises(ConfigError, match=r"size must be a whole number above 0, got 2\.5"):
        small_agent("SAC", net_arch={"pi": net, "qf": [8]})


@pytest.mark.parametrize("arch", [{"pi": Dense, "qf": [8]}, {"pi": len, "qf": [8]}])
def test_other_values_are_refused(arch):
    with pytest.raises(ConfigError, match=r"net_arch must be .*networks with size, init\(rng\)"):
        small_agent("SAC", net_arch=arch)


class Sized(TwoStates):
    def __init__(self, part):
        super().__init__()
        self.part = part


def test_an_argument_of_an_environment_is_no_network():
    agent = npr.PPO(Sized, env_kwargs={"part": Dense(3, 8, 2)}, verbose=0)
    assert type(agent.envs.bases()[0].unwrapped.part) is Dense


def test_one_network_alone_has_no_name():
    message = r"SAC: net_arch must be a dict where .*, \{'pi': \.\.\., 'qf': \.\.\.\} with"
    with pytest.raises(ConfigError, match=message):
        small_agent("SAC", net_arch=Dense(3, 8, 2))


@pytest.mark.parametrize("setting", ["net_arch", "activation"])
def test_own_and_different_layers_are_not_shared(setting):
    net = Dense(3, 8, 1)
    different = {"net_arch": {"pi": net, "vf": net}, "activation": {"pi": "elu", "vf": "relu"}}
    different = {setting: different[setting]}
    with pytest.raises(ConfigError, match="vf_share_layers=True needs equal hidden layers"):
        small_agent("PPO-Box", vf_share_layers=True, **different)


def test_a_run_that_a_file_describes_cannot_have_one():
    config = RunConfig("SAC", "Pendulum-v1", settings={"net_arch": own_of(small_agent("SAC"))})
    with pytest.raises(ConfigError, match="cannot hold a network of your own code"):
        config.checked()
