"""Q-learning: off-policy temporal-difference learning with a table.

Sutton and Barto 2018, section 6.5, eq. 6.8.

     1  Q(s, a) <- 0
     2  for each episode:
     3      s <- reset
     4      for each step:
     5          a <- epsilon-greedy in Q(s, .)
     6          r, s2, terminated <- environment(a)
     7          update:
     8              y = r + gamma (1 - terminated) max_a' Q(s2, a')
                    Q(s, a) <- Q(s, a) + alpha [y - Q(s, a)]
     9          s <- s2
    10      end, also if the episode terminated or was truncated
    11  end

Departures from JoyRL's pseudocode: the value of a terminal state is masked rather than kept at
zero in the table (8); the assignment of 9 is reversed there; episodes can also be truncated, which
is not terminal (10); ties are broken at random, and epsilon follows a schedule (5).

Siblings: double=True keeps two tables; a random one is updated, with the other's value of its own
best a' (8), and actions are chosen by their mean (van Hasselt 2010). trace_decay > 0 is Watkins's
Q(lambda), whose traces are cut at actions that are not the best (Sutton and Barto 2018, 12.10).

Measured, mean return: CliffWalking-v1 -13.0 in 20,000 steps (10 seeds); FrozenLake-v1 0.74 in
300,000 steps (10 seeds); FrozenLake8x8-v1 0.87 in 1,000,000 steps (10 seeds); Taxi-v4 7.92 in
300,000 steps (10 seeds).
"""

import numpy as np

from npr.algorithms.base import Algorithm
from npr.heads import TableHead
from npr.settings import Schedule, Tabular, setting


class QLearning(Tabular, Algorithm):
    """Tabular Q-learning, for Discrete observations and actions."""

    learning_rate: Schedule = setting(0.5, "step size alpha", within="[0, 10]")
    double: bool = setting(False, "two tables: one chooses a', the other has its value", fixed=True)

    action_kinds = ("discrete",)
    table = off_policy = True

    def build(self):
        self.Q = self.zeros()  # [1]

    def acts_by(self):
        return TableHead(self.actions, self.exploration_final_eps), None, self.Q

    def _train(self, run):
        rows = self.returns(run.transitions(self.explore))  # [2-4, 6]
        for s, a, r, s2, terminated, episode, gamma in rows:
            self.update(s, a, r, s2, terminated, gamma, episode, self.coin())
        # [9-11] are in transitions: it continues from s2, or from a reset

    def explore(self, s):
        return np.array([self.epsilon_greedy(self.Q[x]) for x in s.tolist()])  # [5]

    def update(self, s, a, r, s2, terminated, gamma, episode, coin=0):  # [7]
        Q, other = (self.tables[coin], self.tables[1 - coin]) if self.double else (self.Q, self.Q)
        y = r + gamma * (1 - terminated) * other.item(s2, Q[s2].argmax())
        self.credit(s, a, y, episode, coin)  # [8]
