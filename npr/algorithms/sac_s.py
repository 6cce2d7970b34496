"""SAC-S: the original soft actor-critic, with a value network and a fixed temperature.

Haarnoja et al. 2018a, eq. 5-13, algorithm 1.

     1  initialize psi, theta_1, theta_2 and phi;  psi_bar <- psi;  replay buffer D
     2  for each episode: s <- reset
     3      for each step:
     4          a ~ pi(phi, s)
     5          r, s2, terminated <- environment(a)
     6          store (s, a, r, s2, terminated) in D
     7          s <- s2
     8          update, every train_freq steps from learning_starts on:
     9              a' ~ pi(phi, s), reparameterized
                    v = min_i Q(theta_i, s, a') - alpha log pi(a'|s)
                    psi <- one step down the gradient of 1/2 mean (V(psi, s) - v)^2
    10              y = r + gamma (1 - terminated) V(psi_bar, s2)
                    theta_i <- one step down the gradient of 1/2 mean (Q(theta_i, s, a) - y)^2
    11              phi <- one step down the gradient of mean [alpha log pi(a'|s) - min_i Q(theta_i, s, a')]
    12              psi_bar <- tau psi + (1 - tau) psi_bar
    13      end
    14  end

Departures from JoyRL's pseudocode: it does not define the three losses of 9-11, and 1 lacks the
second critic, psi_bar <- psi and D; the episodes are not reset there (2); terminated is stored and
masks the target (6, 10); the assignment of 7 is reversed there. The target of 9 contains no reward
and no discount, and its actions are sampled from the current policy; the target of 10 needs no
action. The paper scales the reward by 1 / alpha instead. The first learning_starts actions are
uniform. Actions are in [-1, 1] per dimension, and log pi is their density. With n_target_critics, 9
uses the minimum of so many critics, drawn for each update, and 11 the mean of all.

Measured, mean return: Pendulum-v1 -145.9 in 10,000 steps (10 seeds); HalfCheetah-v5 4,387 in
100,000 steps (1 seed); Hopper-v5 316.1 in 100,000 steps (1 seed).
"""  # noqa: E501

from npr.algorithms.base import Algorithm
from npr.autodiff import mean, min, value_and_grad
from npr.buffers import ReplayBuffer
from npr.critics import chosen
from npr.heads import policy_head
from npr.losses import mse
from npr.optim import Adam, polyak
from npr.settings import ActorCritic, Critics, NetArch, Replay, setting


class SACS(Replay, Critics, ActorCritic, Algorithm):
    """Soft actor-critic with a value network, for bounded Box actions."""

    net_arch: NetArch = [256, 256]
    ent_coef: float = setting(0.2, "temperature alpha, in units of reward", within="[0, inf)")

    networks = ("pi", "qf", "vf")
    rates = {"adam_phi": "actor_lr", "adam_theta": "critic_lr", "adam_psi": "critic_lr"}
    action_kinds = ("box",)
    needs_bounds = True

    def build(self):
        rate = self.now(self.learning_rate)
        n, rng = self.observations.size, self.rng["init"]
        self.head = policy_head(self.actions, squashed=True)
        self.actor = self.network("pi", n, self.head.outputs)
        self.Q = self.action_critic(n, rows=self.n_critics)
        self.V = self.network("vf", n)
        self.phi = self.actor.init(rng)
        self.theta = self.Q.init(rng)  # (n_critics, size): one row per critic
        self.psi = self.V.init(rng)
        self.psi_bar = self.psi.copy()
        self.adam_phi, self.adam_theta = Adam(self.phi, rate), Adam(self.theta, rate)
        self.adam_psi = Adam(self.psi, rate)
        self.buffer = ReplayBuffer(  # [1]
            self.buffer_size, self.row_size, *self.actions.columns(), self.gamma,
            self.n_step_return, self.obs_norm, self.reward_norm,
        )  # fmt: skip

    def pi(self, phi, s):
        """The distribution of actions at s."""
        return self.head(self.actor(phi, s), self.mask(s))

    @property
    def alpha(self) -> float:
        """The temperature, ent_coef."""
        return self.ent_coef

    def acts_by(self):
        return self.head, self.actor, self.phi

    def values_by(self):
        return self.Q, self.theta

    def state_values_by(self):
        return self.V, self.psi

    def _train(self, run):
        for transition in run.interact(self.explore):  # [2, 3, 5]
            self.buffer.add(*transition)  # [6]; [7] is in interact
            for _ in range(run.updates_due()):  # [8]
                self.set_learning_rate()
                noise = self.noise(), self.target_critics()
                batch = self.buffer.sample(self.batch_size, self.rng["sample"], noise)
                run.updated(self.update(*batch))
        # [13, 14]

    def choose(self, s, noise):
        """Actions at s (n, size), from the random numbers of `head.noise`."""
        return self.pi(self.phi, s).choose(noise)  # [4]

    def noise(self):
        """Noise for one action per row of a batch."""
        return self.normal(self.batch_size, self.head.noise_size)

    def soft_value(self, phi, theta, s, noise, over=min):
        """min_i Q(theta_i, s, a) - alpha log pi(a|s), (B,), for a ~ pi(phi, s) from the noise."""
        a, logp = self.pi(phi, s).sample(noise)
        return over(self.Q(theta, s, a), axis=0) - self.ent_coef * logp

    def update(self, s, a, r, s2, terminated, gamma, noise, some=None):
        v = self.soft_value(self.phi, chosen(self.theta, some), s, noise)

        def J_V(psi):
            return 0.5 * mse(self.V(psi, s), v)

        value_loss, g = value_and_grad(J_V)(self.psi)
        self.adam_psi.step(self.psi, g)  # [9]

        y = r + gamma * (1 - terminated) * self.V(self.psi_bar, s2)

        def J_Q(theta):
            return self.n_critics / 2 * mse(self.Q(theta, s, a), y)  # sum of half the means

        critic_loss, g = value_and_grad(J_Q)(self.theta)
        self.adam_theta.step(self.theta, g)  # [10]

        def J_pi(phi):
            over = min if some is None else mean
            return -self.soft_value(phi, self.theta, s, noise, over).mean()

        actor_loss, g = value_and_grad(J_pi)(self.phi)
        self.adam_phi.step(self.phi, g)  # [11]

        polyak(self.psi_bar, self.psi, self.tau)  # [12]
        return {"value_loss": value_loss, "critic_loss": critic_loss, "actor_loss": actor_loss}
