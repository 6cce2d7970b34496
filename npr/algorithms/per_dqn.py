"""PER-DQN: DQN whose replay is drawn by TD error, corrected by importance weights.

Schaul et al. 2016, section 3.3-3.4 and algorithm 1; dueling: Wang et al. 2016.

     1  initialise theta
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
    12              draw a batch from D with chances P(j) = p_j^alpha / sum_i p_i^alpha
    13              w_j = (N P(j))^-beta / max_i (N P(i))^-beta
    14              y = r + gamma (1 - terminated) max_a' Q(theta_bar, s2)[a']
    15              delta = y - Q(theta, s)[a];  p_j <- |delta_j| + epsilon_p
    16              one step down the gradient of the mean of w times the Huber loss
    17      end
    18      every C steps: theta_bar <- theta (or a share tau of it)
    19  end

Departures from JoyRL's pseudocode: new transitions get the largest priority, since their TD error
is not known (9); the maximum of 13 is over weights that are not normalised yet; delta needs y, so
14 and 15 have changed places; the weight multiplies the loss of its sample and does not stand
inside the square (16); double Q is on, as in the paper; and as in DQN, terminated masks the
target, which is theta_bar's, 10 assigns the other way round there, and 18 counts environment
steps.

Measured, mean return of 3 seeds: CartPole-v1 498.6 in 20,000 steps; Acrobot-v1 -89.6 in 30,000
steps; LunarLander-v3 195.8 in 100,000 steps (one seed).
"""

import numpy as np

from npr.algorithms.base import Algorithm
from npr.autodiff import max, mean, pick, value_and_grad
from npr.backend import Array, to_device, to_host
from npr.buffers import PrioritizedReplayBuffer
from npr.envs.spaces import INDEX_DTYPE
from npr.heads import ArgmaxHead, DuelingHead
from npr.losses import td_huber
from npr.nn import MLP
from npr.optim import Adam, clip_norm, polyak


class PERDQN(Algorithm):
    """Deep Q-learning with prioritised replay, for Discrete actions."""

    learning_rate: float | str | list = 6.3e-4  # of Adam
    gamma: float = 0.99  # discount per env step
    net_arch: list | dict = [64, 64]  # hidden widths; {"qf": [...]} as well
    activation: str = "relu"
    buffer_size: int = 50_000  # transitions
    learning_starts: int = 1_000  # env steps before the first update
    batch_size: int = 64
    train_freq: int = 4  # env steps between rounds of updates
    gradient_steps: int = 1  # updates per round; -1: one per env step
    target_update_interval: int = 250  # C, env steps
    tau: float = 1.0  # share of theta taken into theta_bar every C steps; 1 is a copy
    exploration_initial_eps: float = 1.0
    exploration_final_eps: float = 0.05
    exploration_fraction: float = 0.2  # of the budget, until epsilon is final
    max_grad_norm: float = 10.0
    n_step_return: int = 1  # env steps of reward in y, before Q(theta_bar) takes over
    per_alpha: float = 0.6  # 0 draws uniformly, 1 in proportion to the TD errors
    per_beta: float = 0.4  # exponent of the importance weights at the start; 1 at the end
    per_eps: float = 1e-6  # added to every |TD error|
    per_normalization: str = "batch"  # weights are divided by the largest of the batch or "buffer"
    double: bool = True  # choose a' by theta, value it by theta_bar
    dueling: bool = False  # Q(s)[a] = V(s) + A(s)[a] - mean A(s), on shared hidden layers

    parts = ("qf",)
    action_kinds = ("discrete",)

    def build(self):
        rate = self.now(self.learning_rate)
        outputs = self.actions.n + self.dueling
        self.net = MLP(self.observations.size, self.widths("qf"), outputs, self.activation)
        self.theta = self.net.init(self.rng["init"])  # [1]
        self.theta_bar = self.theta.copy()  # [2]
        self.adam = Adam(self.theta, rate)
        self.buffer = PrioritizedReplayBuffer(  # [3]
            self.buffer_size, self.observations.size, gamma=self.gamma, n_step=self.n_step_return,
            alpha=self.per_alpha, eps=self.per_eps, normalization=self.per_normalization,
        )  # fmt: skip

    def Q(self, theta, s):
        """The values of all actions at s, (B, K)."""
        y = self.net(theta, s)
        if not self.dueling:
            return y
        V, A = y[:, :1], y[:, 1:]
        return V + A - mean(A, axis=-1, keepdims=True)

    def acts_by(self):
        head = DuelingHead if self.dueling else ArgmaxHead
        return head(self.actions, self.exploration_final_eps), self.net, self.theta

    def train(self):
        for transition in self.interact(self.explore):  # [4-8]
            self.buffer.add(*transition, self.last.episode)  # [9]; [10] is interact's
            for _ in range(self.updates_due()):  # [11]
                self.adam.learning_rate = self.now(self.learning_rate)
                beta = self.per_beta + (1 - self.per_beta) * self.progress
                *batch, index = self.buffer.sample(
                    self.batch_size, self.rng["sample"], beta
                )  # [12]
                metrics = self.update(*batch)
                self.buffer.set_priorities(index, to_host(metrics.pop("delta")))  # [15]
                self.log(metrics)
            if self.every(self.target_update_interval):
                polyak(self.theta_bar, self.theta, self.tau)  # [18]
        # [17, 19]

    def explore(self, s):
        rng, n = self.rng["explore"], self.actions.n
        chance, choice = rng.random((2, len(s)))
        a = to_host(self.Q(self.theta, to_device(s)).argmax(axis=-1))
        np.copyto(a, (choice * n).astype(INDEX_DTYPE), where=chance < self.epsilon)
        return a

    def target(self, r, s2, terminated, gamma) -> Array:
        """y of line 14, (B,); with double=True the choice of a' is theta's."""
        q2 = self.Q(self.theta_bar, s2)
        best = pick(q2, self.Q(self.theta, s2).argmax(axis=-1)) if self.double else max(q2, axis=-1)
        return r + gamma * (1 - terminated) * best

    def update(self, s, a, r, s2, terminated, gamma, w):  # [13] w: the buffer's
        y = self.target(r, s2, terminated, gamma)  # [14]

        def L(theta):
            return td_huber(self.Q(theta, s), a, y, w)

        (loss, q), g = value_and_grad(L, has_aux=True)(self.theta)
        self.adam.step(self.theta, clip_norm(g, self.max_grad_norm))  # [16]
        return {"loss": loss, "q_mean": q, "delta": y - q}
