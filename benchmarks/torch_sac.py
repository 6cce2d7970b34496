"""SAC in PyTorch, with the update of npr/algorithms/sac.py, for benchmarks/gpu_jobs.py."""

import copy
import math

import torch
from torch import nn


class TorchSAC:
    """Networks, target networks, temperature and optimizers of SAC with two hidden layers.

    inputs, actions   numbers per observation and per action
    adam              options of torch.optim.Adam, e.g. fused and capturable
    """

    def __init__(self, inputs, actions, width, device, **adam):
        def network(n, m):
            hidden = nn.Linear(n, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
            return nn.Sequential(*hidden, nn.Linear(width, m)).to(device)

        self.actions = actions
        self.actor = network(inputs, 2 * actions)
        self.critics = nn.ModuleList(network(inputs + actions, 1) for _ in range(2))
        self.targets = copy.deepcopy(self.critics)
        self.log_alpha = nn.Parameter(torch.zeros((), device=device))
        groups = (self.actor.parameters(), self.critics.parameters(), [self.log_alpha])
        self.adam_phi, self.adam_theta, self.adam_alpha = (
            torch.optim.Adam(group, lr=3e-4, **adam) for group in groups
        )

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


def _step(adam, loss):
    """One step down the gradient of the loss in the parameters of this optimizer alone."""
    parameters = adam.param_groups[0]["params"]
    for p, g in zip(parameters, torch.autograd.grad(loss, parameters)):
        p.grad = g
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
