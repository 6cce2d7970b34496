"""DDPG: a deterministic actor that climbs its critic; with three flags, TD3.

Lillicrap et al. 2016, eq. 4-6; twin critics, delay and target noise: Fujimoto et al. 2018.

     1  initialise critic theta and actor phi
     2  theta_bar <- theta, phi_bar <- phi
     3  replay buffer R
     4  for each episode: s <- reset, reset the noise; for each step:
     5      a <- mu(phi, s) + noise, clipped to [-1, 1]
     6      r, s2, terminated <- environment(a)
     7      store (s, a, r, s2, terminated) in R
     8      s <- s2
     9      update, every train_freq steps from learning_starts on:
    10          draw a batch from R
    11          y = r + gamma (1 - terminated) Q(theta_bar, s2, mu(phi_bar, s2))
    12          theta <- one step down the gradient of mean (y - Q(theta, s, a))^2
    13          phi <- one step up the gradient of mean Q(theta, s, mu(phi, s))
    14          theta_bar, phi_bar <- tau (theta, phi) + (1 - tau) (theta_bar, phi_bar)
    15  end

Departures from JoyRL's pseudocode: it has one loop, where episodes, resets and the noise's reset
are missing (4); terminated is stored and masks the target (7, 11); 8 assigns the other way round
there; 13 is an ascent. The first learning_starts actions are uniform. TD3 takes the smaller of two
critics in 11 and adds clipped noise to its action there, and does 13 and 14 every second time only.

Measured, mean return of 3 seeds: Pendulum-v1 -142.4 in 10,000 steps; MountainCarContinuous-v0 90.4
in 40,000 steps; LunarLanderContinuous-v3 252.5 in 300,000 steps (one seed); TD3: Pendulum-v1 -145.0
in 10,000 steps; LunarLanderContinuous-v3 127.9 in 300,000 steps (one seed).
"""

import numpy as np

from npr.algorithms.base import Algorithm
from npr.autodiff import clip, min, value_and_grad
from npr.backend import FLOAT, to_device, to_host
from npr.buffers import ReplayBuffer
from npr.heads import TanhHead
from npr.losses import mse
from npr.nn import MLP
from npr.noise import NOISES
from npr.optim import Adam, polyak


class DDPG(Algorithm):
    """Deep deterministic policy gradient, for bounded Box actions."""

    learning_rate: float | str | list = 1e-3  # of Adam, for critic and actor
    gamma: float = 0.99  # discount per env step
    tau: float = 0.005  # share taken into the targets per update
    net_arch: list | dict = [256, 256]  # hidden widths; {"pi": [...], "qf": [...]} as well
    activation: str = "relu"
    buffer_size: int = 1_000_000  # transitions
    learning_starts: int = 100  # env steps with uniform actions before the first update
    batch_size: int = 256
    train_freq: int = 1  # env steps between rounds of updates
    gradient_steps: int = 1  # updates per round; -1: one per env step
    n_step_return: int = 1  # env steps of reward in y, before the critic takes over
    action_noise: str = "normal"  # or "ou": Ornstein-Uhlenbeck, with dt = 0.01
    exploration_noise: float = 0.1  # its deviation, in units of the action in [-1, 1]
    n_critics: int = 1  # TD3: 2, and y takes the smaller value
    policy_delay: int = 1  # TD3: 2, critic updates per update of actor and targets
    target_policy_noise: float = 0.0  # TD3: 0.2, deviation of the noise on the target's action
    target_noise_clip: float = 0.5  # where that noise is clipped

    parts = ("pi", "qf")
    action_kinds = ("box",)
    needs_bounds = True

    def build(self):
        n, D, rng = self.observations.size, self.actions.size, self.rng["init"]
        rate = self.now(self.learning_rate)
        self.actor = MLP(n, self.widths("pi"), D, self.activation, out="tanh")
        self.Q = MLP([n, D], self.widths("qf"), None, self.activation, rows=self.n_critics)
        self.theta = self.Q.init(rng)  # [1]
        self.phi = self.actor.init(rng)
        self.theta_bar, self.phi_bar = self.theta.copy(), self.phi.copy()  # [2]
        self.adam_theta, self.adam_phi = Adam(self.theta, rate), Adam(self.phi, rate)
        self.buffer = ReplayBuffer(  # [3]
            self.buffer_size, n, (D,), FLOAT, self.gamma, self.n_step_return
        )
        self.disturbance = NOISES[self.action_noise](D, self.exploration_noise)

    def mu(self, phi, s):
        """The action at s, in (-1, 1)."""
        return self.actor(phi, s)

    def acts_by(self):
        return TanhHead(self.actions), self.actor, self.phi

    def train(self):
        for transition in self.interact(self.explore):  # [4, 6]
            self.buffer.add(*transition, self.last.episode)  # [7]; [8] is interact's
            for _ in range(self.updates_due()):  # [9]
                for adam in (self.adam_theta, self.adam_phi):
                    adam.learning_rate = self.now(self.learning_rate)
                batch = self.buffer.sample(self.batch_size, self.rng["sample"])  # [10]
                delayed = self.n_updates % self.policy_delay > 0
                self.log(self.update(*batch, self.target_noise(), delayed))
        # [15]

    def explore(self, s):
        rng = self.rng["explore"]
        if self.num_timesteps < self.learning_starts:
            return self.actions.uniform(rng, len(s))
        a = to_host(self.mu(self.phi, to_device(s)))
        return np.clip(a + self.disturbance(rng, self.envs.episode), -1, 1)  # [5]

    def target_noise(self):
        e = self.rng["noise"].standard_normal((self.batch_size, self.actions.size), FLOAT)
        bound = self.target_noise_clip
        return to_device(np.clip(self.target_policy_noise * e, -bound, bound))

    def update(self, s, a, r, s2, terminated, gamma, noise, delayed=False):
        a2 = clip(self.mu(self.phi_bar, s2) + noise, -1, 1)
        y = r + gamma * (1 - terminated) * min(self.Q(self.theta_bar, s2, a2), axis=0)  # [11]

        def L(theta):
            return self.n_critics * mse(self.Q(theta, s, a), y)  # the sum of their means

        critic_loss, g = value_and_grad(L)(self.theta)
        self.adam_theta.step(self.theta, g)  # [12]
        if delayed:
            return {"critic_loss": critic_loss}

        def minus_J(phi):
            return -self.Q(self.theta, s, self.mu(phi, s))[0].mean()

        actor_loss, g = value_and_grad(minus_J)(self.phi)
        self.adam_phi.step(self.phi, g)  # [13]
        polyak(self.theta_bar, self.theta, self.tau)  # [14]
        polyak(self.phi_bar, self.phi, self.tau)
        return {"critic_loss": critic_loss, "actor_loss": actor_loss}


class TD3(DDPG):
    """Twin delayed DDPG: the same with twin critics, a delayed actor and target noise."""

    n_critics: int = 2
    policy_delay: int = 2
    target_policy_noise: float = 0.2
