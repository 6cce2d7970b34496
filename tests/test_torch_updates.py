"""The updates in PyTorch that benchmarks/gpu.py times are those of npr."""

import importlib
import sys

import numpy as np
import pytest
from support import ROOT

from npr.kernels.mlp import layers

sys.path.insert(0, str(ROOT / "benchmarks"))
import gpu_report
from gpu_report import ACTIONS, INPUTS

torch = pytest.importorskip("torch")
torch_updates = importlib.import_module("torch_updates")  # imports torch

BATCH, WIDTH = 12, 8


def copy(theta, sizes, network):
    """Put npr's parameters of a network into one of PyTorch."""
    dense = [module for module in network if isinstance(module, torch.nn.Linear)]
    for (W, b), module in zip(layers(theta, sizes), dense, strict=True):
        module.weight.data = torch.tensor(W.T.copy())
        module.bias.data = torch.tensor(b.copy())


def flat(network):
    """The parameters of a network of PyTorch in npr's order."""
    dense = [module for module in network if isinstance(module, torch.nn.Linear)]
    pairs = [(module.weight.detach().numpy().T, module.bias.detach().numpy()) for module in dense]
    return np.concatenate([x.ravel() for pair in pairs for x in pair])


def tensors(batch):
    return [torch.tensor(x) if isinstance(x, np.ndarray) else x for x in batch]


def assert_alike(mine, theirs, start):
    """Within 1 % of how far the updates have moved the parameters: most is rounding."""
    moved = np.abs(mine - start).max()
    assert moved > 0 and np.abs(mine - theirs).max() <= 0.01 * moved


def test_sac():
    agent, draw = gpu_report.sac(BATCH, WIDTH)
    other = torch_updates.TorchSAC(INPUTS, ACTIONS, WIDTH, "cpu")
    copy(agent.phi, agent.actor.sizes, other.actor)
    for networks, theta in ((other.critics, agent.theta), (other.targets, agent.theta_bar)):
        for network, row in zip(networks, theta, strict=True):
            copy(row, agent.Q.sizes, network)
    before = [x.copy() for x in (agent.phi, agent.theta, agent.theta_bar, agent.log_alpha)]
    for _ in range(3):
        s, a, r, s2, terminated, gamma, noise, noise2 = batch = draw()
        assert gamma == 0.99
        other.update(*tensors([s, a, r, s2, terminated, noise, noise2]))
        agent.update(*batch)
    phi, theta, theta_bar, log_alpha = before
    assert_alike(agent.phi, flat(other.actor), phi)
    for i in range(2):
        assert_alike(agent.theta[i], flat(other.critics[i]), theta[i])
        assert_alike(agent.theta_bar[i], flat(other.targets[i]), theta_bar[i])
    assert_alike(agent.log_alpha, [other.log_alpha.item()], log_alpha)


def test_ppo():
    agent, draw = gpu_report.ppo(BATCH, WIDTH)
    other = torch_updates.TorchPPO(INPUTS, ACTIONS, WIDTH, "cpu")
    copy(agent.theta[:-ACTIONS], agent.actor.sizes, other.actor)
    copy(agent.phi, agent.critic.sizes, other.critic)
    assert not agent.theta[-ACTIONS:].any(), "log standard deviations, as those of TorchPPO"
    theta, phi = agent.theta.copy(), agent.phi.copy()
    for _ in range(3):
        batch = draw()
        other.update(*tensors(batch))
        agent.update(*batch)
    log_std = other.log_std.detach().numpy()
    assert_alike(agent.theta, np.append(flat(other.actor), log_std), theta)
    assert_alike(agent.phi, flat(other.critic), phi)


@pytest.mark.parametrize("kind", [torch_updates.TorchSAC, torch_updates.TorchPPO])
def test_random_batches_are_arguments_of_an_update(kind):
    agent = kind(INPUTS, ACTIONS, WIDTH, "cpu")
    before = agent.actor[0].weight.detach().clone()
    agent.update(*agent.random_batch(BATCH))
    assert not torch.equal(agent.actor[0].weight, before)
    assert all(p.isfinite().all() for p in agent.actor.parameters())
