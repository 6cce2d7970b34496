"""DDPG: a deterministic actor that maximizes its critic; three settings make it TD3.

Lillicrap et al. 2016, eq. 4-6; twin critics, delay and target noise: Fujimoto et al. 2018.

     1  initialize critic theta and actor phi
     2  theta_bar <- theta, phi_bar <- phi
     3  replay buffer R
     4  for each episode: s <- reset, reset the noise; for each step:
     5      a <- mu(phi, s) + noise, clipped to [-1, 1]
     6      r, s2, terminated <- environment(a)
     7      store (s, a, r, s2, terminated) in R
     8      s <- s2
     9      update, every train_freq steps from learning_starts on:
    10          sample a batch from R
    11          y = r + gamma (1 - terminated) Q(theta_bar, s2, mu(phi_bar, s2))
    12          theta <- one step down the gradient of mean (y - Q(theta, s, a))^2
    13          phi <- one step up the gradient of mean Q(theta, s, mu(phi, s))
    14          theta_bar, phi_bar <- tau (theta, phi) + (1 - tau) (theta_bar, phi_bar)
    15  end

Departures from JoyRL's pseudocode: it has one loop, without episodes and resets of environment and
noise (4); terminated is stored and masks the target (7, 11); the assignment of 8 is reversed there;
13 is an ascent. The first learning_starts actions are uniform. In 11, TD3 uses the minimum of two
critics and adds clipped noise to the action; it runs 13 and 14 in every second update only. With
n_target_critics, 11 uses the minimum of so many critics, drawn for each update, and 13 the mean of
all.

Measured, mean return: Pendulum-v1 -153.6 in 15,000 steps (10 seeds); MountainCarContinuous-v0 93.2
in 40,000 steps (10 seeds); TD3: Pendulum-v1 -149.8 in 15,000 steps (10 seeds); DDPG:
LunarLanderContinuous-v3 172.9 in 300,000 steps (5 seeds); HalfCheetah-v5 5,026 in 100,000 steps (3
seeds); Hopper-v5 1,046 in 100,000 steps (3 seeds); Walker2d-v5 77.3 in 100,000 steps (3 seeds);
TD3: HalfCheetah-v5 5,060 in 100,000 steps (3 seeds); Hopper-v5 483.5 in 100,000 steps (3 seeds);
Walker2d-v5 381.1 in 100,000 steps (3 seeds).
"""

from typing import Literal

import numpy as np

from npr.algorithms.base import Algorithm
from npr.autodiff import clip, min, value_and_grad
from npr.backend import FLOAT
from npr.buffers import ReplayBuffer
from npr.critics import chosen
from npr.heads import TanhHead
from npr.losses import mse
from npr.noise import NOISES
from npr.optim import Adam, polyak
from npr.settings import ActorCritic, Critics, NetArch, Replay, Schedule, setting


class DDPG(Replay, Critics, ActorCritic, Algorithm):
    """Deep deterministic policy gradient, for bounded Box actions."""

    learning_rate: Schedule = 1e-3
    net_arch: NetArch = [256, 256]
    action_noise: Literal["normal", "ou"] = setting(
        "normal", "exploration noise; ou: Ornstein-Uhlenbeck", fixed=True
    )
    exploration_noise: float = setting(
        0.1, "scale of the noise, for actions in [-1, 1]", within="[0, inf)", fixed=True
    )
    n_critics: int = 1
    policy_delay: int = setting(
        1, "critic updates per update of actor and targets; TD3: 2", within="[1, inf)"
    )
    target_policy_noise: float = setting(
        0.0, "standard deviation of the target action's noise; TD3: 0.2", within="[0, inf)"
    )
    target_noise_clip: float = setting(0.5, "bound of the target action's noise", within="[0, inf)")

    networks = ("pi", "qf")
    rates = {"adam_phi": "actor_lr", "adam_theta": "critic_lr"}
    action_kinds = ("box",)
    needs_bounds = True

    def build(self):
        n, D, rng = self.observations.size, self.actions.size, self.rng["init"]
        rate = self.now(self.learning_rate)
        self.actor = self.network("pi", n, D, out="tanh")
        self.Q = self.action_critic(n, rows=self.n_critics)
        self.theta = self.Q.init(rng)  # [1]
        self.phi = self.actor.init(rng)
        self.theta_bar, self.phi_bar = self.theta.copy(), self.phi.copy()  # [2]
        self.adam_theta, self.adam_phi = Adam(self.theta, rate), Adam(self.phi, rate)
        self.buffer = ReplayBuffer(  # [3]
            self.buffer_size, self.row_size, (D,), FLOAT, self.gamma, self.n_step_return,
            self.obs_norm, self.reward_norm,
        )  # fmt: skip
        self.disturbance = NOISES[self.action_noise](D, self.exploration_noise)

    def mu(self, phi, s):
        """The action at s, in (-1, 1)."""
        return self.actor(phi, s)

    def acts_by(self):
        return TanhHead(self.actions), self.actor, self.phi

    def values_by(self):
        return self.Q, self.theta

    def _train(self, run):
        for transition in run.interact(self.explore):  # [4, 6]
            self.buffer.add(*transition)  # [7]; [8] is in interact
            for _ in range(run.updates_due()):  # [9]
                self.set_learning_rate()
                noise = self.target_noise(), self.target_critics()
                n, rng = self.batch_size, self.rng["sample"]
                *batch, some = self.buffer.sample(n, rng, noise)  # [10]
                delayed = self.n_updates % self.policy_delay > 0
                run.updated(self.update(*batch, delayed, some))
        # [15]

    def choose(self, s, noise):
        """Actions (n, D) at s (n, size); noise has no columns."""
        return self.mu(self.phi, s)  # [5], to which `disturbance` is added

    def target_noise(self):
        e = self.normal(self.batch_size, self.actions.size)
        bound = self.target_noise_clip
        return np.clip(self.target_policy_noise * e, -bound, bound)

    def update(self, s, a, r, s2, terminated, gamma, noise, delayed=False, some=None):
        a2 = clip(self.mu(self.phi_bar, s2) + noise, -1, 1)
        q2 = self.Q(chosen(self.theta_bar, some), s2, a2)
        y = r + gamma * (1 - terminated) * min(q2, axis=0)  # [11]

        def L(theta):
            return self.n_critics * mse(self.Q(theta, s, a), y)  # sum of the critics' means

        critic_loss, g = value_and_grad(L)(self.theta)
        self.adam_theta.step(self.theta, g)  # [12]
        if delayed:
            return {"critic_loss": critic_loss}

        def minus_J(phi):
            q = self.Q(self.theta, s, self.mu(phi, s))
            return -(q[0] if some is None else q).mean()

        actor_loss, g = value_and_grad(minus_J)(self.phi)
        self.adam_phi.step(self.phi, g)  # [13]
        polyak(self.theta_bar, self.theta, self.tau)  # [14]
        polyak(self.phi_bar, self.phi, self.tau)
        return {"critic_loss": critic_loss, "actor_loss": actor_loss}


class TD3(DDPG):
    """Twin delayed DDPG: DDPG with twin critics, a delayed actor and target noise."""

    n_critics: int = 2
    policy_delay: int = 2
    target_policy_noise: float = 0.2
