"""SoftQ: soft Q-learning, with a network that learns to sample from exp(Q / alpha).

Haarnoja et al. 2017, eq. 10-14; SVGD: Liu and Wang 2016.

     1  initialize theta and phi
     2  theta_bar <- theta
     3  replay buffer D
     4  for each episode: s <- reset
     5      for each step:
     6          a <- tanh f(phi, s, xi), xi ~ N(0, I)
     7          r, s2, terminated <- environment(a)
     8          store (s, a, r, s2, terminated) in D
     9          s <- s2; update, every train_freq steps from learning_starts on:
    10              sample a batch from D
    11              sample actions a' from q, uniform in the box
    12              V = alpha log mean_a' [exp(Q(theta_bar, s2, a') / alpha) / q(a')]
    13              y = r + gamma (1 - terminated) V;  J = 1/2 mean (y - Q(theta, s, a))^2
    14              theta <- one step down the gradient of J
    15              for each s, sample xi ~ N(0, I) for all particles:
    16                  u = f(phi, s, xi): fixed particles u_j and updated particles u_i
    17                  p(u) = exp(Q(theta, s, tanh u) / alpha) |d tanh u / du|
    18                  Delta_i = mean_j [k(u_j, u_i) d log p(u_j) / du_j + d k(u_j, u_i) / du_j]
    19              g = mean_i Delta_i du_i / dphi
    20              phi <- one step up along g
    21          end
    22          every C steps:
    23              theta_bar <- theta (or a soft update with tau)
    24  end

Departures from JoyRL's pseudocode: episodes are not reset there (4), and their number is also the
number of samples (11, 15). The first learning_starts actions are uniform (6). V is the value of the
next state with theta_bar, and its importance weight 1 / q, the volume of the box, is not dropped
(12); terminated is stored and masks the target (8, 13); the assignment of 9 is reversed there; 14
is a descent, and 20 an ascent along Delta, which reduces the KL divergence; 23 counts steps, not
episodes. The particles are values before tanh, and their density includes its derivative (16-18).
With particles in action space, as in the paper
(svgd_space="legacy"), the sampler learns exp(Q / alpha) (1 - a^2); without the derivative
(svgd_space="a") it concentrates at the bounds. Discrete actions need no sampler:
V = alpha log sum exp(Q / alpha), and actions are sampled from softmax(Q / alpha).

Measured, mean return: CartPole-v1 487.3 in 30,000 steps (10 seeds); Pendulum-v1 -152.7 in 8,000
steps (10 seeds).
"""

import math
from typing import Literal

from npr.algorithms.base import Algorithm
from npr.autodiff import grad, log, logsumexp, sum, tanh, value_and_grad, vjp
from npr.backend import xp
from npr.buffers import ReplayBuffer
from npr.errors import ConfigError
from npr.heads import Categorical, CategoricalHead, SamplerHead, log_slope, masked
from npr.kernels import svgd_bandwidth, svgd_direction
from npr.losses import mse
from npr.optim import Adam, polyak
from npr.settings import ActorCritic, NetArch, Replay, TargetNetwork, setting


class SoftQ(Replay, TargetNetwork, ActorCritic, Algorithm):
    """Soft Q-learning, for bounded Box actions and for Discrete ones."""

    net_arch: NetArch = [128, 128]
    learning_starts: int = 1_000
    batch_size: int = 128
    tau: float = 1.0
    ent_coef: float = setting(0.2, "temperature alpha, in units of reward", within="[1e-6, inf)")
    value_n_particles: int = setting(
        16, "actions a' in V, shared by the whole batch", within="[1, inf)"
    )
    n_particles: int = setting(16, "SVGD particles per state", within="[1, inf)")
    kernel_update_ratio: float = setting(0.5, "fraction of updated particles", within="[0, 1]")
    svgd_space: Literal["u", "a", "legacy"] = setting(
        "u", "space of the particles, see the module's docstring"
    )

    networks = ("pi", "qf")
    rates = {"adam_phi": "actor_lr", "adam_theta": "critic_lr"}
    action_kinds = ("box", "discrete")
    needs_bounds = True

    @property
    def n_updated_particles(self):
        """The number of particles that are updated."""
        return int(self.n_particles * self.kernel_update_ratio)

    def check(self):
        updated = self.n_updated_particles
        if updated < 1 or self.n_particles - updated < 2:
            raise ConfigError(
                f"SoftQ: n_particles={self.n_particles} and kernel_update_ratio="
                f"{self.kernel_update_ratio} give {updated} updated and "
                f"{self.n_particles - updated} fixed particles; at least 1 and 2 are needed."
            )

    def build(self):
        rate = self.now(self.learning_rate)
        n, D, rng = self.observations.size, self.actions.size, self.rng["init"]
        self.Q = self.action_critic(n)
        self.theta = self.Q.init(rng)  # [1]
        self.theta_bar = self.theta.copy()  # [2]
        self.adam_theta = Adam(self.theta, rate)
        self.sampled = not self.actions.enumerable
        if not self.sampled and self.actor_lr is not None:
            raise ConfigError(
                f"SoftQ: actor_lr={self.actor_lr!r} has no effect: Discrete actions need no "
                "sampler, so that there is no actor. Leave it out."
            )
        if self.sampled:
            self.f = self.network("pi", [n, D], D)
            self.phi = self.f.init(rng)
            self.adam_phi = Adam(self.phi, rate)
        self.buffer = ReplayBuffer(  # [3]
            self.buffer_size, self.row_size, *self.actions.columns(), self.gamma,
            self.n_step_return, self.obs_norm, self.reward_norm,
        )  # fmt: skip

    @property
    def alpha(self) -> float:
        """The temperature, ent_coef."""
        return self.ent_coef

    def acts_by(self):
        if self.sampled:
            return SamplerHead(self.actions), self.f, self.phi
        return CategoricalHead(self.actions, temperature=self.ent_coef), self.Q, self.theta

    def values_by(self):
        return self.Q, self.theta

    def state_values_by(self):
        return None if self.sampled else (lambda theta, s: self.V(theta, s, None), self.theta)

    def _train(self, run):
        for transition in run.interact(self.explore):  # [4, 5, 7]
            self.buffer.add(*transition)  # [8]
            for _ in range(run.updates_due()):  # [9]
                self.set_learning_rate()
                noise = self.noise()
                batch = self.buffer.sample(self.batch_size, self.rng["sample"], noise)  # [10]
                run.updated(self.update(*batch))
            if run.every(self.target_update_interval):  # [22]
                polyak(self.theta_bar, self.theta, self.tau)  # [23]
        # [24]

    def choose(self, s, xi):
        """Actions at s (n, size), from the random numbers of `head.noise`."""
        if not self.sampled:
            return Categorical(self.Q_all(self.theta, s) / self.ent_coef).choose(xi)
        return tanh(self.f(self.phi, s, xi))  # [6]

    def noise(self):
        """Actions (K, D) of line 11 and noise (B, n_particles, D) of line 15."""
        if not self.sampled:
            return None, None
        a2 = self.actions.uniform(self.rng["noise"], self.value_n_particles)
        return a2, self.normal(self.batch_size, self.n_particles, self.actions.size)

    def Q_particles(self, theta, s, a):
        """Q(theta, s, a) (B, K) for actions (B, K, D), or (K, D) that are shared by all s."""
        K, D = a.shape[-2:]
        s = xp.broadcast_to(s[:, None], (len(s), K, s.shape[1]))
        return self.Q(theta, s, a if a.ndim == 3 else xp.broadcast_to(a, (len(s), K, D)))

    def Q_all(self, theta, s):
        """Q of all Discrete actions at s, (B, K); -inf where a mask forbids one."""
        return masked(self.Q(theta, s), self.mask(s))

    def V(self, theta, s, a):
        """The soft value of s (B,), from actions a (K, D) drawn uniformly in [-1, 1]^D."""
        alpha = self.ent_coef
        if not self.sampled:
            return alpha * logsumexp(self.Q_all(theta, s) / alpha, axis=-1)
        K, D = a.shape
        log_mean = logsumexp(self.Q_particles(theta, s, a) / alpha, axis=-1) - math.log(K)
        return alpha * (log_mean + D * math.log(2))  # q is 2^-D

    def update(self, s, a, r, s2, terminated, gamma, a2, xi):
        v2 = self.V(self.theta_bar, s2, a2)  # [11, 12]
        y = r + gamma * (1 - terminated) * v2

        def J(theta):
            q = self.Q(theta, s, a)
            return 0.5 * mse(q, y), q  # [13]

        (critic_loss, q), g = value_and_grad(J, has_aux=True)(self.theta)
        self.adam_theta.step(self.theta, g)  # [14]
        metrics = {"critic_loss": critic_loss, "q_mean": q}
        if self.sampled:
            metrics["svgd_kernel_bandwidth"] = self.update_sampler(s, xi)
        return metrics

    def update_sampler(self, s, xi):
        """One gradient step of the sampler; returns the mean bandwidth of the kernel."""
        xi_updated, xi_fixed = xi[:, : self.n_updated_particles], xi[:, self.n_updated_particles :]

        def particles(phi, xi):  # [15, 16]
            states = xp.broadcast_to(s[:, None], (*xi.shape[:2], s.shape[1]))
            u = self.f(phi, states, xi)
            return u if self.svgd_space == "u" else tanh(u)

        fixed = particles(self.phi, xi_fixed)
        x, pullback = vjp(lambda phi: particles(phi, xi_updated), self.phi)
        h = svgd_bandwidth(fixed, x)
        score = grad(lambda x: self.log_p(s, x).sum())(fixed)
        Delta = svgd_direction(fixed, x, score, h)  # [18]
        g = pullback(Delta / (x.shape[0] * x.shape[1]))  # [19]
        self.adam_phi.step(self.phi, -g)  # [20, 21]
        return h.mean()

    def log_p(self, s, x):
        """Log density (B, K) of particles, up to a constant."""
        a = tanh(x) if self.svgd_space == "u" else x
        energy = self.Q_particles(self.theta, s, a) / self.ent_coef
        if self.svgd_space == "a":
            return energy
        slope = log_slope(x) if self.svgd_space == "u" else log(1 - x**2 + 1e-6)
        return energy + sum(slope, axis=-1)  # [17]
