"""Single Gymnasium environments in this process, stepped in turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.backend import FLOAT
from npr.envs.batched import (
    LARGE_REWARD,
    MAX_RESETS,
    NOT_RESUMABLE,
    BatchedEnv,
    ErrorPolicy,
    Record,
    State,
    cause_of,
)
from npr.envs.contract import (
    action_mask,
    all_finite,
    checked_reset,
    checked_step,
    has_action_mask,
    success,
    unpacked_step,
)
from npr.envs.episode_log import MAX_ACTIONS, MAX_BYTES, TOO_LONG, EpisodeLog
from npr.envs.spaces import GroupActions
from npr.errors import ConfigError, EnvContractError, SpaceError, describe_error

if TYPE_CHECKING:
    import gymnasium

_End = tuple[bool, bool, bool | None]  # terminated, truncated, success (None: unknown)


class EnvList(BatchedEnv):
    """A list of environments, each reset in the step that ends its episode."""

    one_by_one = True

    def __init__(
        self,
        envs: list[gymnasium.Env[Any, Any]],
        seeds: np.random.SeedSequence,
        *,
        table: bool = False,
        scale_images: bool = False,
        error_policy: ErrorPolicy,
        owned: bool,
        action_masks: bool = False,
    ) -> None:
        self.envs = envs
        observation_space, action_space = envs[0].observation_space, envs[0].action_space
        for i, env in enumerate(envs[1:], 1):
            if env is envs[0]:
                raise ConfigError(
                    f"n_envs={len(envs)} needs different environments, but the function returned "
                    "the same one again. Make a new one in every call."
                )
            if env.observation_space != observation_space or env.action_space != action_space:
                raise SpaceError(
                    f"env {i} has the spaces {env.observation_space} and {env.action_space}, "
                    f"env 0 has {observation_space} and {action_space}. Give all the environments "
                    "the same spaces."
                )
        super().__init__(
            len(envs), observation_space, action_space, seeds, table=table,
            scale_images=scale_images, error_policy=error_policy, owned=owned,
            action_masks=action_masks,
        )  # fmt: skip
        # of a Dict or Tuple the agent's action is kept, which is one row of numbers
        group = self.actions if isinstance(self.actions, GroupActions) else None
        self._logs_rows = group is not None
        to_env = None if group is None else group.to_env
        self.logs = [EpisodeLog(env, to_env) for env in envs]

    def bases(self) -> Sequence[gymnasium.Env[Any, Any]]:
        return self.envs

    def described(self) -> Sequence[gymnasium.Env[Any, Any]]:
        return self.envs

    def reset(self) -> np.ndarray:
        self._start_statistics()
        s, self.s = self._empty_rows(), None
        for i in range(self.n):
            self._reset_env(i, s)
        self.s = s
        return s

    def _reset_env(self, i: int, s: np.ndarray) -> None:
        """Reset env i and write its first observation to row i of s."""
        resets = 0
        while True:
            self.logs[i].begin(self.seeds[i])
            try:
                result = self.envs[i].reset(seed=self.seeds[i])
            except Exception as error:
                if isinstance(error, TypeError) and "argument 'seed'" in str(error):
                    raise EnvContractError(
                        f"env {self.first + i}: reset() does not take a seed ({error}). This is "
                        "the API of old Gym; define reset(self, *, seed=None, options=None)."
                    ) from error
                self._crashed(i, False, error)
                continue
            self.seeds[i] = None
            try:
                observation = checked_reset(result)
            except EnvContractError as error:
                raise self._contract_error(i, error) from None
            self._write_row(s, i, observation)
            if self.mask_size:
                try:
                    mask = action_mask(self.envs[i], result[1])
                except Exception as error:
                    self._crashed(i, False, error)
                    continue
                self._write_mask(s, i, mask)
            elif not self.offers_masks:
                self.offers_masks = has_action_mask(self.envs[i], result[1])
            resets += 1
            if self.table or all_finite(s[i]):
                return
            if self.error_policy.nan_obs == "raise" or resets > MAX_RESETS:
                self.check_first(np.where(np.arange(self.n)[:, None] == i, s, 0))

    def step(self, a: np.ndarray) -> Record:
        actions = self._begin_step(a)
        s2, r = self._empty_rows(), np.zeros(self.n, FLOAT)
        ended: dict[int, _End] = {}
        lost: list[int] = []
        step = self._step_env
        if self.n == 1:
            rewards = [step(0, actions[0], s2, r, ended, lost)]
        else:
            rewards = [step(i, action, s2, r, ended, lost) for i, action in enumerate(actions)]
        # the same as below, in half the time; a sum with NaN is not less than anything
        if (
            not ended
            and not lost
            and sum(map(abs, rewards)) <= LARGE_REWARD
            and (self.table or all_finite(s2))
        ):
            for i, reward in enumerate(rewards):
                self.returns[i] += reward
                self.lengths[i] += 1
            self.s = s2
            return s2, r, self._all_false, self._all_false, self.all_valid
        # in order: episodes are numbered as if each environment were handled by itself
        lost = sorted(lost + self._nonfinite_rows(s2, r.tolist(), self.all_valid))
        if ended or lost:
            return self._begin_episodes(s2, r, rewards, ended, lost)
        self._count(rewards, self.all_valid)
        self.s = s2
        return s2, r, self._all_false, self._all_false, self.all_valid

    def _step_env(
        self, i: int, action: Any, s2: np.ndarray, r: np.ndarray, ended: dict[int, _End],
        crashed: list[int],
    ) -> float:  # fmt: skip
        """Step env i, write the observation and the reward to row i of s2 and r, and return the
        reward in double precision.

        How an episode ended is added to `ended`, an environment that failed to `crashed`.
        """
        self.logs[i].add(self._chosen[i] if self._logs_rows else action)
        try:
            result = self.envs[i].step(action)
        except Exception as error:
            return self._lost(i, error, s2, crashed)
        observation = None
        try:
            observation, reward, terminated, truncated = checked_step(result)
            self._write(s2, i, observation)
        except EnvContractError as error:
            raise self._contract_error(i, cause_of(error, observation)) from None
        if self.mask_size:
            try:
                mask = None if terminated else action_mask(self.envs[i], result[4])
            except Exception as error:
                return self._lost(i, error, s2, crashed)
            self._write_mask(s2, i, mask, terminated)
        r[i] = reward
        if terminated or truncated:
            ended[i] = terminated, truncated, success(result[4])
        return reward

    def _lost(self, i: int, error: Exception, s2: np.ndarray, crashed: list[int]) -> float:
        """Note that env i failed in a step; returns its reward."""
        self._crashed(i, True, error)
        s2[i] = 0
        crashed.append(i)
        return 0.0

    def _crashed(self, i: int, stepping: bool, error: Exception) -> None:
        """See `_handle_crash`, for an exception of env i."""
        if stepping and (fault := unpacked_step(error)):
            raise self._contract_error(i, fault) from error
        what = f"env {self.first + i} raised {describe_error(error)}"
        self._handle_crash(i, stepping, what, error)

    def _begin_episodes(
        self,
        s2: np.ndarray,
        r: np.ndarray,
        rewards: list[float],
        ended: dict[int, _End],
        lost: list[int],
    ) -> Record:
        """The record of a step in which episodes ended or were lost, after their next resets."""
        valid = self.all_valid
        if lost:
            valid, r = self._invalidate(lost, valid, r)
            ended = {i: end for i, end in ended.items() if valid[i]}
        self._count(rewards, valid)
        self._end_episodes({i: success for i, (*_, success) in ended.items()}, lost)
        s, (terminated, truncated) = s2.copy(), np.zeros((2, self.n), bool)
        for i, (terminates, truncates, _) in ended.items():
            terminated[i], truncated[i] = terminates, truncates
            self._reset_env(i, s)
        for i in lost:
            self._reset_env(i, s)
            s2[i] = s[i]
        self.s = s
        return s2, r, terminated, truncated, valid

    def state(self) -> State:
        state, logs = super().state(), self.logs
        if self.s is None:
            return state
        return {
            **state,
            "s": self.s,
            "seed": np.array([log.seed for log in logs], np.int64),
            "start": np.array([log.start for log in logs]),
            "taken": np.array([len(log) for log in logs]),  # actions since the reset
            "actions": np.concatenate([log.actions() for log in logs if len(log)] or [np.empty(0)]),
        }

    def _replay(self, state: State) -> str | None:
        if "taken" not in state:
            return NOT_RESUMABLE
        s, ends = self._empty_rows(), np.cumsum(state["taken"])
        for i, (log, end) in enumerate(zip(self.logs, ends)):
            taken = state["actions"][end - state["taken"][i] : end]
            seed = int(state["seed"][i])
            if seed == TOO_LONG:
                return (
                    f"the episode of env {i} is longer than {MAX_ACTIONS:,} steps or "
                    f"{MAX_BYTES >> 20} MB of actions, and no more are kept"
                )
            last = log.replay(seed, state["start"][i], taken)
            if last is None:
                return f"the actions of env {i} do not lead to the same step of its episode"
            observation, info = last
            self._write_row(s, i, observation)
            if self.mask_size:
                self._write_mask(s, i, action_mask(self.envs[i], info))
        if s.tobytes() != state["s"].tobytes():
            return (
                "its actions lead to other observations than before: it uses randomness or state "
                "besides np_random"
            )
        self.s, self.seeds = s, [None] * self.n
        return None

    def close(self) -> None:
        for env in self.envs:
            env.close()
