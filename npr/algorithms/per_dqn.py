"""PER-DQN: DQN with replay prioritized by TD error and corrected by importance weights.

Schaul et al. 2016, section 3.3-3.4 and algorithm 1; dueling: Wang et al. 2016.

     1  initialize theta
     2  theta_bar <- theta
     3  replay buffer D
     4  for each episode:
     5      s <- reset
     6      for each step:
     7          a <- epsilon-greedy in Q(theta, s)
     8          r, s2, terminated <- environment(a)
     9          store (s, a, r, s2, terminated) in D with the largest priority so far
    10          s <- s2
    11          update, every train_freq steps from learning_starts on:
    12              sample a batch from D with probabilities P(j) = p_j^alpha / sum_i p_i^alpha
    13              w_j = (N P(j))^-beta / max_i (N P(i))^-beta
    14              y = r + gamma (1 - terminated) max_a' Q(theta_bar, s2)[a']
    15              delta = y - Q(theta, s)[a];  p_j <- |delta_j| + epsilon_p
    16              one step down the gradient of the mean of w times the Huber loss
    17      end
    18      every C steps: theta_bar <- theta (or a soft update with tau)
    19  end

Departures from JoyRL's pseudocode: new transitions get the largest priority, since their TD error
is unknown (9); the maximum of 13 is over the unnormalized weights; delta needs y, so 14 and 15 are
swapped; the weight multiplies the loss of its sample and is not inside the square (16); double
Q-learning is on, as in the paper. As in DQN, terminated masks the target, which uses theta_bar, the
assignment of 10 is reversed there, and 18 counts environment steps.

Measured, mean return: CartPole-v1 498.7 in 50,000 steps (10 seeds); Acrobot-v1 -82.8 in 50,000
steps (10 seeds); LunarLander-v3 159.2 in 100,000 steps (5 seeds).
"""

from typing import Literal

from npr.algorithms.base import Algorithm
from npr.autodiff import max, mean, value_and_grad
from npr.backend import Array, to_device, to_host, xp
from npr.buffers import PrioritizedReplayBuffer
from npr.critics import pick
from npr.heads import ArgmaxHead, DuelingHead, masked, uniform_choice
from npr.losses import td_huber
from npr.optim import Adam, clip_norm, polyak
from npr.settings import EpsilonGreedy, Replay, Schedule, TargetNetwork, setting


class PERDQN(Replay, TargetNetwork, EpsilonGreedy, Algorithm):
    """Deep Q-learning with prioritized replay, for Discrete actions."""

    learning_rate: Schedule = 6.3e-4
    buffer_size: int = 50_000
    learning_starts: int = 1_000
    batch_size: int = 64
    train_freq: int = 4
    target_update_interval: int = 250
    tau: float = 1.0
    exploration_fraction: float = 0.2
    max_grad_norm: float = setting(10.0, "maximum norm of the gradient", within="(0, inf)")
    per_alpha: float = setting(
        0.6, "exponent of the priorities; 0: uniform sampling", within="[0, 1]", fixed=True
    )
    per_beta: float = setting(
        0.4, "initial exponent of the importance weights; 1 at the end", within="[0, 1]"
    )
    per_eps: float = setting(1e-6, "added to every |TD error|", within="(0, inf)", fixed=True)
    per_normalization: Literal["batch", "buffer"] = setting(
        "batch", "over what the maximum importance weight is taken", fixed=True
    )
    double: bool = setting(True, "double Q-learning: theta selects a', theta_bar evaluates it")
    dueling: bool = setting(
        False, "dueling network: Q = V + A - mean A, with shared hidden layers", fixed=True
    )

    networks = ("qf",)
    action_kinds = ("discrete",)

    def build(self):
        rate = self.now(self.learning_rate)
        outputs = self.actions.size + self.dueling
        self.net = self.network("qf", self.observations.size, outputs)
        self.theta = self.net.init(self.rng["init"])  # [1]
        self.theta_bar = self.theta.copy()  # [2]
        self.adam = Adam(self.theta, rate)
        self.buffer = PrioritizedReplayBuffer(  # [3]
            self.buffer_size, self.row_size, gamma=self.gamma, n_step=self.n_step_return,
            obs_norm=self.obs_norm, reward_norm=self.reward_norm,
            alpha=self.per_alpha, eps=self.per_eps, normalization=self.per_normalization,
        )  # fmt: skip

    def Q(self, theta, s):
        """The values of all actions at s, (B, K); -inf where a mask forbids one."""
        y = self.net(theta, s)
        if self.dueling:
            V, A = y[:, :1], y[:, 1:]
            y = V + A - mean(A, axis=-1, keepdims=True)
        return masked(y, self.mask(s))

    def acts_by(self):
        head = DuelingHead if self.dueling else ArgmaxHead
        return head(self.actions, self.exploration_final_eps), self.net, self.theta

    def _train(self, run):
        for transition in run.interact(self.explore):  # [4-8]
            self.buffer.add(*transition)  # [9]; [10] is in interact
            for _ in range(run.updates_due()):  # [11]
                self.set_learning_rate()
                beta = self.per_beta + (1 - self.per_beta) * self.progress
                *batch, index = self.buffer.sample(
                    self.batch_size, self.rng["sample"], beta
                )  # [12]
                metrics = self.update(*batch)
                delta = metrics.pop("delta")
                self.buffer.set_priorities(index, delta)  # [15]
                run.updated({**metrics, "td_error": abs(delta), "per_beta": beta})
            if run.every(self.target_update_interval):
                polyak(self.theta_bar, self.theta, self.tau)  # [18]
        # [17, 19]

    def explore(self, s):
        noise = to_device(self.rng["explore"].random((2, len(s))))
        return to_host(self.choose(to_device(s), noise, self.epsilon))

    def choose(self, s, noise, epsilon):
        """Actions (n,) at s (n, size), from uniform noise (2, n)."""
        other = uniform_choice(noise[1], self.actions.size, self.mask(s))
        return xp.where(noise[0] < epsilon, other, self.Q(self.theta, s).argmax(axis=-1))

    def target(self, r, s2, terminated, gamma) -> Array:
        """y of line 14, (B,); with double=True theta selects a'."""
        q2 = self.Q(self.theta_bar, s2)
        best = pick(q2, self.Q(self.theta, s2).argmax(axis=-1)) if self.double else max(q2, axis=-1)
        return r + gamma * (1 - terminated) * best

    def update(self, s, a, r, s2, terminated, gamma, w):  # [13] w: from the buffer
        y = self.target(r, s2, terminated, gamma)  # [14]

        def L(theta):
            return td_huber(self.Q(theta, s), a, y, w)

        (loss, q), g = value_and_grad(L, has_aux=True)(self.theta)
        self.adam.step(self.theta, clip_norm(g, self.max_grad_norm))  # [16]
        return {"loss": loss, "q_mean": q, "delta": y - q}
