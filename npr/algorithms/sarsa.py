"""Sarsa: on-policy temporal-difference learning with a table.

Sutton and Barto 2018, section 6.4, eq. 6.7.

     1  Q(s, a) <- 0
     2  for each episode:
     3      s <- reset
     4      a <- epsilon-greedy in Q(s, .)
     5      for each step:
     6          r, s2, terminated <- environment(a)
     7          a2 <- epsilon-greedy in Q(s2, .)
     8          update:
     9              y = r + gamma (1 - terminated) Q(s2, a2)
                    Q(s, a) <- Q(s, a) + alpha [y - Q(s, a)]
    10          s <- s2
    11          a <- a2: the action that is taken next
    12      end, also if the episode terminated or was truncated
    13  end

Departures from JoyRL's pseudocode: the value of a terminal state is masked rather than kept at
zero in the table (9); the assignments of 10 and 11 are reversed there; episodes can also be
truncated, which is not terminal: then a2 is sampled for bootstrapping only (7, 12). With
expected=True the target is the mean over a2 instead of a sample.

Siblings: n_step_return > 1 is n-step Sarsa (Sutton and Barto 2018, 7.2), trace_decay > 0 is
Sarsa(lambda) (12.7): then the error in (9) moves every pair of the episode, by its trace.

Measured, mean return: CliffWalking-v1 -17.0 in 50,000 steps (10 seeds); FrozenLake-v1 0.72 in
300,000 steps (10 seeds); Taxi-v4 7.74 in 300,000 steps (10 seeds).
"""

import numpy as np

from npr.algorithms.base import Algorithm
from npr.buffers import IntegerMap
from npr.heads import TableHead
from npr.settings import Schedule, Tabular, setting


class Sarsa(Tabular, Algorithm):
    """Tabular Sarsa, for Discrete observations and actions."""

    learning_rate: Schedule = setting(0.5, "step size alpha", within="[0, 10]")
    expected: bool = setting(False, "Expected Sarsa: the mean over a2 instead of a sample")

    action_kinds = ("discrete",)
    table = True

    def build(self):
        self.Q = self.zeros()  # [1]
        self.chosen = IntegerMap()  # number of an episode -> its next action

    def acts_by(self):
        return TableHead(self.actions, self.exploration_final_eps), None, self.Q

    def _train(self, run):
        rows = self.returns(run.transitions(self.explore))  # [2, 3, 5, 6]
        for s, a, r, s2, terminated, episode, gamma in rows:
            a2 = self.epsilon_greedy(self.Q[s2])  # [7]
            self.update(s, a, r, s2, a2, terminated, gamma, episode)
            self.chosen[episode] = a2  # [10, 11]; [12, 13] are in transitions

    def explore(self, s):
        """The action chosen in line 7, or at the start of an episode a new one."""
        a = [self.chosen.get(e) for e in self.envs.episode.tolist()]
        self.chosen.clear()
        return np.array([self.epsilon_greedy(self.Q[x]) if b is None else b  # [4]
                         for x, b in zip(s.tolist(), a)])  # fmt: skip

    def update(self, s, a, r, s2, a2, terminated, gamma, episode):  # [8]
        v = self.expectation(self.Q[s2]) if self.expected else self.Q.item(s2, a2)
        y = r + gamma * (1 - terminated) * v
        self.credit(s, a, y, episode)  # [9]
