"""What every kind of environments looks like to a learner: one record per step.

It is (s2, r, terminated, truncated, valid), where s2 is the true next observation, also where the
episode ended. `envs.s` is the observation to act on next.
"""

import collections
import math
import time
import warnings

import numpy as np

from npr.backend import FLOAT
from npr.envs import workers
from npr.envs.contract import action_spec, finite, first, observation_spec, transition
from npr.envs.episode_log import EpisodeLog
from npr.envs.spaces import ACTION_KINDS, actions_from_spec, observations_from_spec
from npr.errors import (
    ConfigError,
    ConfigWarning,
    EnvContractError,
    EnvCrashedError,
    SpaceError,
)

RESETS = 3  # further ones where a first observation is not finite and nan_obs="terminate"
SECRET = "a VectorEnv, and workers (env_timeout), do not tell what their episodes began with"
LARGE = 1e6  # a reward beyond is warned of, once
CRASHES, HOUR = 10, 3600.0  # so many within so many seconds are let pass by on_env_error="reset"


_POSITION = {
    "open": (bool, ()), "episode": (np.int64, None), "next_episode": (np.int64, ()),
    "steps": (np.int64, ()), "returns": (np.float64, None), "lengths": (np.int64, None),
}  # fmt: skip


def check_position(state: dict) -> None:
    """Refuse, with ConfigError, what is no `state()` of any environments. None of its numbers is
    trusted for more: whether the episodes can be brought back is seen when they are played again.
    """
    n = len(state["episode"])
    for name, (dtype, shape) in _POSITION.items():
        held, shape = state[name], (n,) if shape is None else shape
        if held.dtype != dtype or held.shape != shape:
            raise ConfigError(
                f"The environments' {name!r} must be {np.dtype(dtype)}{shape}, got "
                f"{held.dtype}{held.shape}."
            )
        if not np.isfinite(held).all() or (name != "returns" and (held < 0).any()):
            raise ConfigError(f"The environments' {name!r} holds what it cannot count up to.")


class Records:
    """What both kinds share: encoding, episode statistics and checks.

    dropped    episodes that were broken off and not counted, by nan_obs or on_env_error
    owned      whether npr made the environments, and so closes them
    """

    resets = True  # whether npr can reset one environment at will
    replaces = True  # whether it can go on after one has crashed

    def __init__(
        self, n, observation_space, action_space, seeds, table, nan_obs, on_env_error, owned
    ):
        self.n, self.table, self.owned = n, table, owned
        self.nan_obs, self.on_env_error = nan_obs, on_env_error
        self.observations = observations_from_spec(observation_spec(observation_space))
        if not self.observations.size:
            raise SpaceError(
                f"An observation must hold a number at least, got {observation_space}; wrap the "
                "environment with gymnasium.wrappers.TransformObservation to make it a Box."
            )
        actions = action_spec(action_space)
        self.actions = actions_from_spec(actions) if actions["kind"] in ACTION_KINDS else None
        self.action_space = action_space
        self._seed_source = seeds
        self._draw_seeds()
        self.s = None
        self.all_valid, self._never = np.ones(n, bool), np.zeros(n, bool)
        self._never.flags.writeable = False  # handed out in every step that ends no episode
        self.steps, self.dropped = 0, 0
        self._next_episode = 0
        self._start_counting()
        self.finished = []  # (return, length) of the episodes that ended in the last step
        self._sent = None  # the environments' last actions
        self._crashes = collections.deque(maxlen=CRASHES + 1)  # when they were
        self._warned = self._warned_of_rewards = False

    def _draw_seeds(self):
        self.seeds = [int(one.generate_state(1)[0]) for one in self._seed_source.spawn(self.n)]

    def _blank(self):
        if self.table:
            return np.empty(self.n, np.int64)
        return np.empty((self.n, self.observations.size), FLOAT)

    def _write(self, rows, i, observation):
        try:
            if self.table:
                rows[i] = self.observations.index(observation)
            else:
                self.observations.row(observation, rows[i])
        except EnvContractError as error:
            raise self._named(i, error) from None

    def _named(self, i, error):
        """A breach of the contract, with where it happened; i is None where that is not known."""
        who = "vector environment" if i is None else f"env {i}"
        return EnvContractError(f"{who}, step {self.steps:,}: {error}")

    def _start_counting(self):
        self.returns, self.lengths = [0.0] * self.n, [0] * self.n
        # the number of the episode that each environment is in
        self.episode = np.arange(self._next_episode, self._next_episode + self.n)
        self._next_episode += self.n

    def _not_finite(self, s, rewards=None, stepped=None):
        """Rows to drop since a number in them is not finite; without nan_obs="terminate" refused.

        rewards, stepped    of a step: as a list, and which rows do not begin an episode
        """
        fine = self.table or finite(s)
        if fine and (rewards is None or all(map(math.isfinite, rewards))):
            return []
        bad = []
        for i in range(self.n):
            if not fine and not finite(s[i]):
                j = int(np.isfinite(s[i]).argmin())
                name, value = "observation", s[i, j]
                at = f"index {j} = {value}"
            elif rewards is not None and not math.isfinite(rewards[i]):
                name = "reward"
                at = value = rewards[i]
            else:
                continue
            bad.append(i)
            where = self._where(i, rewards is not None and bool(stepped[i]))
            large = " It may be a number too large for float32." if math.isinf(value) else ""
            text = f"env {i} returned a non-finite {name} ({at}) {where}.{large}"
            if self.nan_obs == "raise" or rewards is None:
                other = ", or pass nan_obs='terminate'" if self.nan_obs == "raise" else ""
                raise EnvContractError(
                    f"{text} Nothing of it was stored. Fix the environment"
                    f"{other if self.resets else ''}."
                )
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{text} Its episode was dropped and the environment reset, as "
                    "nan_obs='terminate' asks; what follows is counted in envs.dropped.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return bad

    def _where(self, i, stepping):
        """When env i did what an error tells; stepping: in a step, which is not counted yet."""
        text = f"at step {self.steps:,}"
        if i is None:
            return text
        steps = self.lengths[i] + stepping
        action = "" if not steps else f"; its last action was {_brief(self._sent[i])}"
        return f"{text}, {steps:,} steps into its episode{action}"

    def _crashed(self, i, stepping, what, error):
        """Refuse a crash of env i, or count it and return where on_env_error="reset"."""
        text = f"{what} {self._where(i, stepping)}. Nothing of that step was stored."
        if self.on_env_error == "raise":
            other = ", or pass on_env_error='reset'" if self.replaces else ""
            raise EnvCrashedError(f"{text} Fix the environment{other}.") from error
        self._crashes.append(time.monotonic())
        if len(self._crashes) > CRASHES and self._crashes[-1] - self._crashes[0] < HOUR:
            raise EnvCrashedError(
                f"{text} on_env_error='reset' lets {CRASHES} crashes within an hour pass, and this "
                "is one more. Fix the environment."
            ) from error
        warnings.warn(
            f"{text} Its episode was dropped and the environment reset.",
            RuntimeWarning,
            stacklevel=3,
        )

    def _count(self, rewards, valid=None):
        for i, reward in enumerate(rewards):
            if valid is None or valid[i]:
                self.returns[i] += reward
                self.lengths[i] += 1
                if not -LARGE <= reward <= LARGE and not self._warned_of_rewards:
                    self._warn_of_reward(i, reward)

    def _warn_of_reward(self, i, reward):
        self._warned_of_rewards = True
        warnings.warn(
            f"env {i} gave a reward of {reward:.3g} at step {self.steps:,}; beyond {LARGE:.0e} a "
            "loss in float32 loses its precision, and overflows in the end. Use "
            "normalize_reward=True, or divide the rewards in the environment.",
            ConfigWarning,
            stacklevel=2,
        )

    def state(self) -> dict:
        """Arrays that say where the environments are: counters and, where it can be told, how
        each came into the middle of its episode. `open` is 0 where the next step begins anew."""
        return {
            "open": np.array(self.s is not None),
            "episode": self.episode,
            "next_episode": np.array(self._next_episode),
            "steps": np.array(self.steps),
            "returns": np.array(self.returns, np.float64),
            "lengths": np.array(self.lengths, np.int64),
        }

    def resume(self, state: dict) -> str | None:
        """Go back to where a state was taken; returns why that cannot be, None where it could.

        Where it cannot, new episodes are to begin, whose numbers were never used.
        """
        self.steps, self._next_episode = int(state["steps"]), int(state["next_episode"])
        if not state["open"]:
            return None
        if len(state["episode"]) != self.n:
            return f"it had {len(state['episode'])} environments, now there are {self.n}"
        why = self._replay(state)
        if why is None:
            self.episode = state["episode"].copy()
            self._next_episode = int(state["next_episode"])
            self.returns, self.lengths = state["returns"].tolist(), state["lengths"].tolist()
        return why

    def _replay(self, state) -> str | None:
        return SECRET

    def _finish(self, i):
        self.finished.append((self.returns[i], self.lengths[i]))
        self._turn_page(i)

    def _drop(self, i):
        self.dropped += 1
        self._turn_page(i)

    def _turn_page(self, i):
        """Env i goes on to another episode."""
        self.returns[i], self.lengths[i] = 0.0, 0
        self.episode = self.episode.copy()  # the old array may have been handed out
        self.episode[i] = self._next_episode
        self._next_episode += 1


def _brief(action):
    return np.array2string(np.asarray(action), threshold=10, precision=4)


class EnvironmentList(Records):
    """Single environments, stepped in turn and reset in the step that ends an episode."""

    def __init__(
        self, envs, seeds, table=False, nan_obs="raise", on_env_error="raise", owned=False
    ):
        one, *others = self.envs = envs
        self.logs = [EpisodeLog(env) for env in envs]
        seen, done = one.observation_space, one.action_space
        if any(other is one for other in others):
            raise ConfigError(
                f"n_envs={len(envs)} needs as many environments, but the function returned the "
                "same one again. Make a new one in every call."
            )
        for i, other in enumerate(others, 1):
            if other.observation_space != seen or other.action_space != done:
                raise SpaceError(
                    f"env {i} has the spaces {other.observation_space} and {other.action_space}, "
                    f"env 0 has {seen} and {done}. Give all the same."
                )
        super().__init__(len(envs), seen, done, seeds, table, nan_obs, on_env_error, owned)

    def reset(self):
        """Start every environment; the seeds count the first time only."""
        self._start_counting()
        s, self.s = self._blank(), None
        for i in range(self.n):
            self._begin(s, i)
        self.s = s

    def _begin(self, s, i):
        """Reset env i and write its first observation to its row of s."""
        resets = 0
        while True:
            self.logs[i].begin(self.seeds[i])
            try:
                result = self.envs[i].reset(seed=self.seeds[i])
            except Exception as error:
                if isinstance(error, TypeError) and "argument 'seed'" in str(error):
                    raise EnvContractError(
                        f"env {i}: reset() does not take a seed ({error}). This is the API of old "
                        "Gym; define reset(self, *, seed=None, options=None)."
                    ) from error
                self._crashed(i, 0, f"env {i} raised {workers.named(error)},", error)
                continue
            self.seeds[i] = None
            try:
                observation = first(result)
            except EnvContractError as error:
                raise self._named(i, error) from None
            self._write(s, i, observation)
            resets += 1
            if self.table or finite(s[i]):
                return
            if self.nan_obs == "raise" or resets > RESETS:
                self._not_finite(np.where(np.arange(self.n)[:, None] == i, s, 0))

    def step(self, a):
        """One step with the learner's actions a (n, ...): (s2, r, terminated, truncated, valid).

        s2 (n, size), or (n,) indices for a table: the true next observations. r (n,), and flags
        (n,); a row that is not valid is no experience. `self.s` is what to act on next.
        """
        s2, self.s = self._blank(), None  # if this step breaks off, the next one starts anew
        r, ends, lost = np.zeros(self.n, FLOAT), [], []
        self.finished = []
        self.steps += 1
        self._sent = self.actions.to_env_batch(a)
        for i, (env, action) in enumerate(zip(self.envs, self.actions.unstack(self._sent))):
            self.logs[i].actions.append(action)
            try:
                result = env.step(action)
            except Exception as error:
                self._crashed(i, 1, f"env {i} raised {workers.named(error)},", error)
                s2[i] = 0
                lost.append(i)
                continue
            try:
                observation, r[i], ended, cut = transition(result)
            except EnvContractError as error:
                raise self._named(i, error) from None
            self._write(s2, i, observation)
            if ended or cut:
                ends.append((i, ended, cut))
        rewards = r.tolist()
        lost += self._not_finite(s2, rewards, self.all_valid)
        s, terminated, truncated, valid = s2, self._never, self._never, self.all_valid
        if lost:
            valid = valid.copy()
            valid[lost], r[lost] = False, 0
        self._count(rewards, valid if lost else None)
        if ends or lost:
            s, (terminated, truncated) = s2.copy(), np.zeros((2, self.n), bool)
            for i, ended, cut in ends:
                if valid[i]:
                    terminated[i], truncated[i] = ended, cut
                    self._finish(i)
                    self._begin(s, i)
            for i in lost:
                self._drop(i)
                self._begin(s, i)
                s2[i] = s[i]
        self.s = s
        return s2, r, terminated, truncated, valid

    def state(self):
        state, logs = super().state(), self.logs
        if self.s is None:
            return state
        return {
            **state,
            "s": self.s,
            "seed": np.array([log.seed for log in logs], np.int64),
            "start": np.array([log.start for log in logs]),
            "taken": np.array([len(log.actions) for log in logs]),  # actions since, of each
            "actions": np.array([action for log in logs for action in log.actions]),
        }

    def _replay(self, state):
        if "taken" not in state:
            return SECRET
        s, ends = self._blank(), np.cumsum(state["taken"])
        actions = self.actions.unstack(state["actions"])
        for i, (log, end) in enumerate(zip(self.logs, ends)):
            taken = actions[end - state["taken"][i] : end]
            observation = log.replay(int(state["seed"][i]), state["start"][i], taken)
            if observation is None:
                return f"the episode of env {i} does not lead where it led"
            self._write(s, i, observation)
        if s.tobytes() != state["s"].tobytes():
            return (
                "its episodes look different when they are played again: it uses randomness "
                "or memory besides np_random"
            )
        self.s, self.seeds = s, [None] * self.n
        return None

    def close(self):
        """Close the environments."""
        for env in self.envs:
            env.close()
