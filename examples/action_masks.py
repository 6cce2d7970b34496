"""PPO learns a card game in which few cards may be played: train with masks, evaluate, save, load.
About half a minute on two cores."""

import gymnasium as gym
import numpy as np

import npr

SUITS, RANKS, HAND = 4, 6, 6
CARDS = SUITS * RANKS  # card = suit * RANKS + rank


class Tricks(gym.Env):
    """Six tricks against an opponent who leads a random card each time. A card of that suit must be
    followed by one of it, if there is one in the hand, and the higher rank wins: reward 1. Breaking
    the rules loses the game: reward -1.

    The observation says which cards are in the hand, led, and gone.
    """

    def __init__(self):
        self.observation_space = gym.spaces.Box(0, 1, (3 * CARDS,), np.float32)
        self.action_space = gym.spaces.Discrete(CARDS)

    def _observation(self):
        led = np.zeros(CARDS)
        if self.opponent.any():
            led[self.led] = 1
        return np.concatenate([self.hand, led, self.gone]).astype(np.float32)

    def action_masks(self):
        """The cards that may be played."""
        suit = np.arange(CARDS) // RANKS == self.led // RANKS
        following = (self.hand > 0) & suit
        return following if following.any() else self.hand > 0

    def _lead(self):
        if self.opponent.any():
            self.led = int(self.np_random.choice(np.flatnonzero(self.opponent)))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        dealt = self.np_random.permutation(CARDS)
        self.hand, self.opponent, self.gone = np.zeros((3, CARDS))
        self.hand[dealt[:HAND]], self.opponent[dealt[HAND : 2 * HAND]] = 1, 1
        self._lead()
        return self._observation(), {}

    def step(self, action):
        if not self.action_masks()[action]:
            return self._observation(), -1.0, True, False, {}
        won = action // RANKS == self.led // RANKS and action > self.led
        self.hand[action] = self.opponent[self.led] = 0
        self.gone[[action, self.led]] = 1
        self._lead()
        return self._observation(), float(won), not self.hand.any(), False, {}


def main():
    agent = npr.PPO(Tricks, seed=0, action_masks=True)
    agent.learn(50_000)
    print(agent.evaluate(episodes=1000, seed=1))

    agent.save("action_masks.npz")
    policy = npr.infer.load("action_masks.npz")
    env = Tricks()
    observation, _ = env.reset(seed=2)
    print("plays card", policy(observation, action_masks=env.action_masks()))


if __name__ == "__main__":
    main()
