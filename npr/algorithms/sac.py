"""SAC: off-policy maximum-entropy actor-critic with a learned temperature.

Haarnoja et al. 2018b, eq. 5-10 and 18; squashed Gaussian: Haarnoja et al. 2018a, eq. 21; Discrete
actions: Christodoulou 2019.

     1  initialize theta_1, theta_2, phi and log alpha
     2  theta_bar_i <- theta_i
     3  replay buffer D
     4  for each episode:
     5      s <- reset
     6      for each step:
     7          a ~ pi(phi, s)
     8          r, s2, terminated <- environment(a)
     9          store (s, a, r, s2, terminated) in D
    10          s <- s2
    11          update, every train_freq steps from learning_starts on:
    12              a2 ~ pi(phi, s2);  y = r + gamma (1 - terminated) [min_i Q(theta_bar_i, s2, a2) - alpha log pi(a2|s2)]
                    theta_i <- one step down the gradient of 1/2 mean (Q(theta_i, s, a) - y)^2
    13              a' ~ pi(phi, s), reparameterized
                    phi <- one step down the gradient of mean [alpha log pi(a'|s) - min_i Q(theta_i, s, a')]
    14              log alpha <- one step down the gradient of -log alpha mean [log pi(a'|s) + H_bar]
    15              theta_bar_i <- tau theta_i + (1 - tau) theta_bar_i
    16      end
    17  end

Departures from JoyRL's pseudocode: terminated is stored and masks the target (9, 12); the
assignment of 10 is reversed there; target and actor use the minimum of both critics (12, 13); the
gradient of 13 is computed by autodiff. The first learning_starts actions are uniform. Actions are
in [-1, 1] per dimension, and log pi is their density; H_bar = -D. For Discrete actions the
expectations in 12-14 are exact, over all actions; H_bar is then 0.6 log K. With n_target_critics,
12 uses the minimum of so many critics, drawn for each update, and 13 the mean of all (REDQ, Chen et
al. 2021).

Measured, mean return: Pendulum-v1 -149.3 in 5,000 steps (10 seeds); MountainCarContinuous-v0 93.8
in 30,000 steps (10 seeds); LunarLanderContinuous-v3 -33.6 in 300,000 steps (1 seed); HalfCheetah-v5
4,880 in 100,000 steps (3 seeds); Hopper-v5 707.7 in 100,000 steps (3 seeds); Walker2d-v5 363.6 in
100,000 steps (3 seeds).
"""  # noqa: E501

import math
from typing import Literal

from npr.algorithms.base import Algorithm
from npr.autodiff import mean, min, value_and_grad
from npr.backend import FLOAT, to_host, xp
from npr.buffers import ReplayBuffer
from npr.critics import chosen
from npr.errors import ConfigError
from npr.heads import policy_head
from npr.losses import mse
from npr.noise import NOISES
from npr.optim import Adam, polyak
from npr.settings import ActorCritic, Critics, NetArch, Replay, Schedule, setting


class SAC(Replay, Critics, ActorCritic, Algorithm):
    """Soft actor-critic, for bounded Box actions and for Discrete ones."""

    net_arch: NetArch = [256, 256]
    ent_coef: float | str = setting(
        "auto",
        "temperature alpha; learned from 1 if 'auto', from 0.1 if 'auto_0.1'",
        within="[0, inf)",
        fixed=True,
    )
    action_noise: Literal["normal", "ou"] | None = setting(
        None, "exploration noise for Box actions; ou: Ornstein-Uhlenbeck", fixed=True
    )
    exploration_noise: float = setting(
        0.1, "scale of the noise, for actions in [-1, 1]", within="[0, inf)", fixed=True
    )
    target_entropy: float | Literal["auto"] = setting(
        "auto", "H_bar in nats; 'auto': -D for Box actions, 0.6 log K for Discrete ones", fixed=True
    )

    alpha_lr: Schedule | None = setting(
        None, "step size of alpha's optimizer; None: learning_rate", within="[0, 10]"
    )

    networks = ("pi", "qf")
    rates = {"adam_phi": "actor_lr", "adam_theta": "critic_lr", "adam_alpha": "alpha_lr"}
    action_kinds = ("box", "discrete")
    needs_bounds = True

    def check(self):
        super().check()
        first_alpha(self.ent_coef)
        if self.alpha_lr is not None and not isinstance(self.ent_coef, str):
            raise ConfigError(
                f"SAC: alpha_lr={self.alpha_lr!r} has no effect, since ent_coef={self.ent_coef!r} "
                "is a fixed temperature. Leave alpha_lr out, or use ent_coef='auto'."
            )

    def build(self):
        rate = self.now(self.learning_rate)
        n, rng = self.observations.size, self.rng["init"]
        self.head = policy_head(self.actions, squashed=True)
        self.actor = self.network("pi", n, self.head.outputs)
        self.Q = self.action_critic(n, rows=self.n_critics)
        self.phi = self.actor.init(rng)  # [1]
        self.theta = self.Q.init(rng)  # (n_critics, size): one row per critic
        self.log_alpha = xp.log(xp.full(1, first_alpha(self.ent_coef) or 1e-30, FLOAT))
        self.theta_bar = self.theta.copy()  # [2]
        self.adam_phi, self.adam_theta = Adam(self.phi, rate), Adam(self.theta, rate)
        self.adam_alpha = Adam(self.log_alpha, rate)
        self.buffer = ReplayBuffer(  # [3]
            self.buffer_size, self.row_size, *self.actions.columns(), self.gamma,
            self.n_step_return, self.obs_norm, self.reward_norm,
        )  # fmt: skip
        self.H_bar = self.entropy_target()
        if self.action_noise:
            self.disturbance = NOISES[self.action_noise](self.actions.size, self.exploration_noise)

    def entropy_target(self):
        """H_bar in nats: target_entropy, or the usual value for these actions."""
        D, discrete = self.actions.size, self.actions.enumerable
        usual = 0.6 * math.log(D) if discrete else -D
        H_bar = float(usual if self.target_entropy == "auto" else self.target_entropy)
        if discrete and (self.action_noise or H_bar >= math.log(D) > 0):
            raise ConfigError(
                f"SAC: action_noise={self.action_noise!r} and target_entropy={H_bar} do not "
                f"suit {D} Discrete actions: they take no noise, and an entropy below log {D} = "
                f"{math.log(D):.3f}."
            )
        return H_bar

    def entropy_at(self, s):
        """H_bar; with masks 0.6 log of the number of actions that are allowed at s, (B,)."""
        mask = self.mask(s)
        if mask is None or self.target_entropy != "auto":
            return self.H_bar
        return 0.6 * xp.log(mask.sum(axis=-1))

    @property
    def alpha(self) -> float:
        """The current temperature, a float."""
        if isinstance(self.ent_coef, str):
            return float(to_host(xp.exp(self.log_alpha))[0])
        return self.ent_coef

    def pi(self, phi, s):
        """The distribution of actions at s."""
        return self.head(self.actor(phi, s), self.mask(s))

    def acts_by(self):
        return self.head, self.actor, self.phi

    def values_by(self):
        return self.Q, self.theta

    def _train(self, run):
        for transition in run.interact(self.explore):  # [4-6, 8]
            self.buffer.add(*transition)  # [9]; [10] is in interact
            for _ in range(run.updates_due()):  # [11]
                self.set_learning_rate()
                noise = *self.noise(), self.target_critics()
                batch = self.buffer.sample(self.batch_size, self.rng["sample"], noise)
                run.updated(self.update(*batch))
        # [16, 17]

    def choose(self, s, noise):
        """Actions at s (n, size), from the random numbers of `head.noise`."""
        return self.pi(self.phi, s).choose(noise)  # [7]

    def noise(self):
        """Noise for two actions per row of a batch; Discrete actions need none."""
        if not self.head.noise_size:
            return None, None
        return self.normal(2, self.batch_size, self.head.noise_size)

    def soft_value(self, phi, theta, s, noise, over=min):
        """Expectations of min_i Q(theta_i, s, a) - alpha log pi(a|s) and of log pi(a|s), each (B,):
        for one a ~ pi(phi, s) from the noise, or exact for Discrete actions."""
        a, logp, E = self.pi(phi, s).expectation(noise)
        v = E(over(self.Q(theta, s, a), axis=0) - xp.exp(self.log_alpha) * logp)
        return v, E(logp)

    def update(self, s, a, r, s2, terminated, gamma, noise, noise2, some=None):
        v2, _ = self.soft_value(self.phi, chosen(self.theta_bar, some), s2, noise2)
        y = r + gamma * (1 - terminated) * v2

        def J_Q(theta):
            return self.n_critics / 2 * mse(self.Q(theta, s, a), y)  # sum of half the means

        critic_loss, g = value_and_grad(J_Q)(self.theta)
        self.adam_theta.step(self.theta, g)  # [12]

        def J_pi(phi):
            v, logp = self.soft_value(phi, self.theta, s, noise, min if some is None else mean)
            return -v.mean(), logp

        (actor_loss, logp), g = value_and_grad(J_pi, has_aux=True)(self.phi)
        self.adam_phi.step(self.phi, g)  # [13]

        metrics = {"critic_loss": critic_loss, "actor_loss": actor_loss}
        if isinstance(self.ent_coef, str):
            g = -(logp + self.entropy_at(s)).mean(keepdims=True)
            metrics["ent_coef_loss"] = self.log_alpha * g
            self.adam_alpha.step(self.log_alpha, g)  # [14]

        polyak(self.theta_bar, self.theta, self.tau)  # [15]
        return {**metrics, "ent_coef": xp.exp(self.log_alpha)}


def first_alpha(ent_coef):
    """The initial temperature. Raises ConfigError if ent_coef is not valid."""
    alpha = ent_coef
    if isinstance(ent_coef, str):
        _, auto, number = ent_coef.partition("auto")
        try:
            alpha = float(number.removeprefix("_")) if number else 1.0
        except ValueError:
            alpha = 0.0
        if not auto or not 0 < alpha < math.inf:
            alpha = -1.0
    if alpha < 0:
        raise ConfigError(
            "SAC: ent_coef must be a number of at least 0, 'auto' or 'auto_<initial value>', got "
            f"{ent_coef!r}."
        )
    return alpha
