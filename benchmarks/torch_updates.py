"""SAC and PPO in PyTorch, with the updates of npr's algorithms, for benchmarks/gpu_timing.py."""

import copy
import math

import torch
from torch import nn


def network(n, width, m, activation, device):
    """n -> width -> width -> m."""
    hidden = nn.Linear(n, width), activation(), nn.Linear(width, width), activation()
    return nn.Sequential(*hidden, nn.Linear(width, m)).to(device)


class TorchSAC:
    """Networks, target networks, temperature and optimizers of SAC with two hidden layers.

    inputs, actions   numbers per observation and per action
    adam              options of torch.optim.Adam, e.g. fused and capturable
    """

    def __init__(self, inputs, actions, width, device, **adam):
        self.inputs, self.actions, self.device = inputs, actions, device
        self.actor = network(inputs, width, 2 * actions, nn.ReLU, device)
        self.critics = nn.ModuleList(
            network(inputs + actions, width, 1, nn.ReLU, device) for _ in range(2)
        )
        self.targets = copy.deepcopy(self.critics)
        self.log_alpha = nn.Parameter(torch.zeros((), device=device))
        groups = (self.actor.parameters(), self.critics.parameters(), [self.log_alpha])
        self.adam_phi, self.adam_theta, self.adam_alpha = (
            torch.optim.Adam(group, lr=3e-4, **adam) for group in groups
        )

    def random_batch(self, batch):
        """Arguments of an update."""
        sizes = (self.inputs, self.actions, self.inputs, self.actions, self.actions)
        s, a, s2, noise, noise2 = (torch.randn(batch, n, device=self.device) for n in sizes)
        r, terminated = torch.randn(batch, device=self.device), torch.zeros_like(s[:, 0])
        return s, a.tanh(), r, s2, terminated, noise, noise2

    def sample(self, s, noise):
        """(a, log pi(a|s)) of the tanh-Gaussian policy."""
        mean, log_std = self.actor(s).chunk(2, dim=-1)
        log_std = log_std.clamp(-20, 2)
        u = mean + log_std.exp() * noise
        normal = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        log_slope = 2 * (math.log(2) - u - nn.functional.softplus(-2 * u))
        return u.tanh(), (normal - log_slope).sum(dim=-1)

    @staticmethod
    def Q(critics, s, a):
        x = torch.cat([s, a], dim=-1)
        return torch.stack([critic(x).squeeze(-1) for critic in critics])  # (2, B)

    def update(self, s, a, r, s2, terminated, noise, noise2):
        alpha = self.log_alpha.detach().exp()
        with torch.no_grad():
            a2, logp2 = self.sample(s2, noise2)
            v2 = self.Q(self.targets, s2, a2).amin(dim=0) - alpha * logp2
            y = r + 0.99 * (1 - terminated) * v2
        _step(self.adam_theta, (self.Q(self.critics, s, a) - y).square().mean())
        a1, logp = self.sample(s, noise)
        _step(self.adam_phi, (alpha * logp - self.Q(self.critics, s, a1).amin(dim=0)).mean())
        _step(self.adam_alpha, -self.log_alpha * (logp.detach() - self.actions).mean())
        with torch.no_grad():
            targets, critics = [*self.targets.parameters()], [*self.critics.parameters()]
            torch._foreach_lerp_(targets, critics, 0.005)


class TorchPPO:
    """Networks and optimizers of PPO with a Gaussian policy and two hidden layers.

    inputs, actions   numbers per observation and per action
    adam              options of torch.optim.Adam, e.g. fused and capturable
    """

    def __init__(self, inputs, actions, width, device, **adam):
        self.inputs, self.actions, self.device = inputs, actions, device
        self.actor = network(inputs, width, actions, nn.Tanh, device)
        self.critic = network(inputs, width, 1, nn.Tanh, device)
        self.log_std = nn.Parameter(torch.zeros(actions, device=device))
        groups = ([*self.actor.parameters(), self.log_std], self.critic.parameters())
        self.adam_theta, self.adam_phi = (
            torch.optim.Adam(group, lr=3e-4, eps=1e-5, **adam) for group in groups
        )

    def random_batch(self, batch):
        """Arguments of an update."""
        s, a = (torch.randn(batch, n, device=self.device) for n in (self.inputs, self.actions))
        A, R = torch.randn(2, batch, device=self.device)
        with torch.no_grad():
            return s, a, A, R, self.log_prob(s, a) - 0.3 * A

    def log_prob(self, s, a):
        z = (a - self.actor(s)) * (-self.log_std).exp()
        return -(0.5 * z.square() + self.log_std + 0.5 * math.log(2 * math.pi)).sum(dim=-1)

    def update(self, s, a, A, R, logp_old, epsilon=0.2, ent_coef=0.01, vf_coef=0.5, max_norm=0.5):
        A = (A - A.mean()) / (A.std() + 1e-8)
        ratio = (self.log_prob(s, a) - logp_old).exp()
        L = torch.minimum(ratio * A, ratio.clamp(1 - epsilon, 1 + epsilon) * A).mean()
        entropy = (self.log_std + 0.5 * (math.log(2 * math.pi) + 1)).sum()
        _step(self.adam_theta, -(L + ent_coef * entropy), max_norm)
        error = self.critic(s).squeeze(-1) - R
        _step(self.adam_phi, vf_coef * error.square().mean(), max_norm)


def _step(adam, loss, max_norm=None):
    """One step down the gradient of the loss in the parameters of this optimizer alone.

    max_norm   the largest norm of the gradient; None: any
    """
    parameters = adam.param_groups[0]["params"]
    for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
        p.grad = g
    if max_norm is not None:
        nn.utils.clip_grad_norm_(parameters, max_norm)
    adam.step()


def captured(run):
    """The kernels that run() launches, as a CUDA graph: a function that replays it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(5):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay
