"""Gymnasium's vector environments as a BatchedEnv, in any autoreset mode."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npr.backend import FLOAT
from npr.envs import envpool, workers
from npr.envs.batched import LARGE_REWARD, MAX_RESETS, BatchedEnv, ErrorPolicy, Record
from npr.envs.contract import (
    NO_MASK,
    action_mask,
    all_finite,
    checked_reset,
    on_host,
    success,
    unpacked_step,
)
from npr.envs.gymnasium_internals import (
    error_origin,
    last_observations,
    retains_autoreset,
    single_envs,
    stalls_while_resetting,
    takes_seed_list,
)
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, describe_error

if TYPE_CHECKING:
    import gymnasium

_NO_LAST_MASK = (
    "action_masks=True needs the mask at the last step of an episode that was truncated, which a "
    "method action_masks() no longer has in autoreset mode SAME_STEP: return it in "
    'info["action_mask"], or use AutoresetMode.NEXT_STEP.'
)


class VectorEnvAdapter(BatchedEnv):
    """A gymnasium VectorEnv, in the autoreset mode that it declares.

    reopen    makes a new one after a crash; None: it is the user's and cannot be replaced
    """

    def __init__(
        self,
        env: gymnasium.vector.VectorEnv[Any, Any, Any],
        seeds: np.random.SeedSequence,
        *,
        table: bool = False,
        scale_images: bool = False,
        error_policy: ErrorPolicy,
        action_masks: bool = False,
        reopen: Callable[[], gymnasium.vector.VectorEnv[Any, Any, Any]] | None = None,
    ) -> None:
        mode = env.metadata.get("autoreset_mode")
        self.mode = getattr(mode, "name", mode)
        if envpool.is_pool(env) and reopen is None:
            envpool.check_pool(env)
        if stalls_while_resetting(env):
            raise EnvContractError(
                f"{type(env.unwrapped).__name__} does not step the others while it resets one of "
                "its environments, which gives transitions that did not happen; pass the id with "
                "n_envs."
            )
        self._check_support(error_policy, reopen is not None)
        self.can_reset_one = self.mode == "DISABLED"
        self.can_replace = reopen is not None
        self.env, self._reopen = env, reopen
        super().__init__(
            env.num_envs, *envpool.spaces_of(env), seeds, table=table,
            scale_images=scale_images, error_policy=error_policy, owned=self.can_replace,
            action_masks=action_masks,
        )  # fmt: skip
        self._resetting = np.zeros(self.n, bool)  # NEXT_STEP: rows that the next step only resets

    def _check_support(self, error_policy: ErrorPolicy, can_replace: bool) -> None:
        if self.mode not in ("NEXT_STEP", "SAME_STEP", "DISABLED"):
            raise EnvContractError(
                "This vector environment does not declare metadata['autoreset_mode'] (NEXT_STEP, "
                "SAME_STEP or DISABLED), so the ends of its episodes are unknown. Set it, or "
                "pass an id with n_envs."
            )
        if error_policy.nan_obs == "terminate" and self.mode != "DISABLED":
            advice = (
                "Use vectorization='sync' or 'async'."
                if can_replace
                else "Pass an id or a function with n_envs, or make it with AutoresetMode.DISABLED."
            )
            raise ConfigError(
                "nan_obs='terminate' needs environments that npr resets, but this VectorEnv resets "
                f"them itself (autoreset mode {self.mode}). {advice}"
            )
        if error_policy.on_env_error == "reset" and not can_replace:
            raise ConfigError(
                "on_env_error='reset' needs environments that npr makes, got a VectorEnv. Pass an "
                "id or a function with n_envs."
            )

    def bases(self) -> Sequence[Any]:
        return [self.env.unwrapped, *single_envs(self.env.unwrapped)]

    def reset(self) -> np.ndarray:
        self.s = None
        while self.s is None:
            self._start_statistics()
            self._reopen_if_closed()
            try:
                self.s = self._reset_all()
            except Exception as error:
                self._handle_error(error, stepping=False)
        return self.s

    def _reopen_if_closed(self) -> None:
        if not getattr(self.env.unwrapped, "closed", False):
            return
        if self._reopen is None:
            raise EnvCrashedError(
                "This vector environment is closed, and npr cannot make another. Save the agent "
                "and load it with a new one: npr.load(path, env=...)."
            )
        self.env = self._reopen()
        self._draw_seeds()

    def _reset_all(self) -> np.ndarray:
        base = self.env.unwrapped
        pool = workers.pool_of(base)
        if pool is not None:
            pool.drain()
        seed: Any = self.seeds if takes_seed_list(base) else self.seeds[0]
        # the seeds of an EnvPool are fixed when it is made
        result = self.env.reset(seed=None if envpool.is_pool(base) else seed)
        self.seeds = [None] * self.n
        if not retains_autoreset(base):
            self._resetting = np.zeros(self.n, bool)
        s = self._with_masks(self._encode(checked_reset(result)), result[1])
        self.offers_masks = "action_mask" in result[1]
        return self._finite_reset(s)

    def _reset_rows(self, s: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """s with first observations of new episodes in `rows`, (n,) bools."""
        result = self.env.reset(options={"reset_mask": rows.copy()})
        first = self._with_masks(self._encode(checked_reset(result)), result[1], ~rows)
        return np.where(rows if self.table else rows[:, None], first, s)

    def _finite_reset(self, s: np.ndarray) -> np.ndarray:
        """First observations; with nan_obs="terminate" rows that are not finite are reset again."""
        if self.error_policy.nan_obs == "terminate" and not self.table:
            for _ in range(MAX_RESETS):
                bad = ~np.isfinite(s).all(axis=1)
                if not bad.any():
                    break
                s = self._reset_rows(s, bad)
        self.check_first(s)
        return s

    def step(self, a: np.ndarray) -> Record:
        actions = self._begin_step(a)
        try:
            result = self.env.step(actions)
        except Exception as error:
            return self._restart(error, stepping=True)
        observation, rewards, terminated, truncated, info = self._checked_step(result)
        r = rewards.astype(FLOAT, copy=False)
        valid = ~self._resetting if self._resetting.any() else self.all_valid
        done = terminated | truncated
        if self.mode == "NEXT_STEP":
            self._resetting = done
        same_step = self.mode == "SAME_STEP"  # then s and info are those after the reset
        s = self._with_masks(self._encode(observation), info, None if same_step else terminated)
        s2 = self._final_observations(s, terminated, truncated, info) if same_step else s
        lost: list[int] = []
        if not (all_finite(r) and (self.table or all_finite(s2))):
            lost = self._nonfinite_rows(s2, r.tolist(), valid)
            valid, r = self._invalidate(lost, valid, r)
            terminated, truncated = terminated & valid, truncated & valid
        self._add(rewards, valid)
        if lost or True in done.tolist():  # faster than any()
            ended = np.flatnonzero(valid & done).tolist()
            self._end_episodes({i: self._success(info, i) for i in ended}, lost)
        if self.mode == "DISABLED" and (done.any() or lost):
            try:
                s = self._finite_reset(self._reset_rows(s2, done | ~valid))
            except Exception as error:
                return self._restart(error, stepping=False)
            s2[lost] = s[lost]
        elif s is not s2:
            self.check_first(s)
        self.s = s
        return s2, r, terminated, truncated, valid

    def _checked_step(self, result: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, Any]:
        """What step() returned, with its columns as arrays; rewards in their own precision."""
        if not isinstance(result, tuple) or len(result) != 5:
            raise self._contract_error(
                None, f"step() must return five values, got {reprlib.repr(result)}."
            )
        observation, *columns, info = result
        names, kinds_of = ("rewards", "terminated", "truncated"), ("fiub", "b", "b")
        arrays = [np.asarray(on_host(x, "step()", name)) for name, x in zip(names, columns)]
        for name, column, kinds in zip(names, arrays, kinds_of):
            if column.shape != (self.n,) or column.dtype.kind not in kinds:
                kind = "numbers" if name == "rewards" else "bools"
                raise self._contract_error(
                    None,
                    f"step() must return {name} as {kind} of shape ({self.n},), got "
                    f"{column.dtype}{column.shape}. Fix the vector environment.",
                )
        r, terminated, truncated = arrays
        return observation, r, terminated, truncated, info

    def _start_statistics(self) -> None:
        super()._start_statistics()
        self.returns, self.lengths = np.zeros(self.n), np.zeros(self.n, np.int64)

    def longest(self) -> int:
        return int(self.lengths.max())

    def _add(self, rewards: np.ndarray, valid: np.ndarray) -> None:
        """Add the rewards of a step to the returns, where it is valid."""
        np.add(self.returns, rewards, out=self.returns, where=valid)
        self.lengths += valid
        if not self._warned_of_reward and abs(rewards).max() > LARGE_REWARD:
            for i in np.flatnonzero(valid & (abs(rewards) > LARGE_REWARD)).tolist()[:1]:
                self._warn_of_reward(i, float(rewards[i]))

    def _final_observations(
        self, s: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, info: Any
    ) -> np.ndarray:
        """True next observations in SAME_STEP mode, where s holds those after the reset."""
        done = terminated | truncated
        if not done.any():
            return s
        s2 = s.copy()
        for i in np.flatnonzero(done).tolist():
            self._write_row(s2, i, info["final_obs"][i] if "final_obs" in info else None)
            if self.mask_size:
                masks = (info.get("final_info") or {}).get("action_mask")
                if masks is None and not terminated[i]:
                    raise self._contract_error(i, _NO_LAST_MASK)
                mask = None if masks is None else masks[i]
                self._write_mask(s2, i, mask, bool(terminated[i]))
        return s2

    def _with_masks(
        self, rows: np.ndarray, info: Any, over: np.ndarray | None = None
    ) -> np.ndarray:
        """Rows of observations with the masks of the actions that are allowed next.

        over   (n,) rows whose masks do not matter; None: all do
        """
        if not self.mask_size:
            return rows
        masks, known = self._masks_of(info)
        if over is not None:
            known = known | over
        if not known.all():
            raise self._contract_error(int((~known).argmax()), NO_MASK)
        out = rows
        if not self.table:
            out = np.ones((self.n, self.row_size), FLOAT)
            out[:, : self.observations.size] = rows[:, : self.observations.size]
        for i, mask in enumerate(masks):
            self._write_mask(out, i, mask, over is not None and bool(over[i]))
        return out

    def _masks_of(self, info: Any) -> tuple[Any, np.ndarray]:
        """The mask of each environment, and whether it is known (n,)."""
        if isinstance(info, dict) and "action_mask" in info:
            return info["action_mask"], np.asarray(info.get("_action_mask", self.all_valid))
        base = self.env.unwrapped
        inner = single_envs(base)
        if inner:
            masks = [self._asked(i, env) for i, env in enumerate(inner)]
        elif isinstance(info, dict) and hasattr(base, "call"):
            try:
                masks = base.call("action_masks")
            except Exception as error:  # of any library
                raise self._contract_error(None, NO_MASK) from error
        else:
            masks = [None] * self.n
        return masks, np.array([mask is not None for mask in masks])

    def _asked(self, i: int, env: Any) -> Any:
        """The mask that the method of env i returns; None: it has none."""
        try:
            return action_mask(env, {})
        except Exception as error:  # its environments cannot be reset one by one
            text = f"action_masks() raised {describe_error(error)}. Fix the environment."
            raise self._contract_error(i, text) from error

    def _success(self, info: Any, i: int) -> bool | None:
        """Whether the episode of env i, which has ended, was a success; None: unknown."""
        if self.mode == "SAME_STEP" and isinstance(info, dict):
            info = info.get("final_info")
        if not isinstance(info, dict) or "is_success" not in info:
            return None
        value = np.asarray(info["is_success"])
        known = np.asarray(info.get("_is_success", self.all_valid))
        if value.shape[:1] != (self.n,) or known.shape != (self.n,) or not known[i]:
            return None
        return success({"is_success": value[i]})

    def _restart(self, error: Exception, stepping: bool) -> Record:
        """Reset everything after an error; returns a record without a valid row."""
        self._handle_error(error, stepping)
        self.dropped += self.n
        return (
            self.reset(),
            np.zeros(self.n, FLOAT),
            self._all_false,
            self._all_false,
            ~self.all_valid,
        )

    def _handle_error(self, error: Exception, stepping: bool) -> None:
        """Find the environment that raised an error, and handle it as a crash."""
        if isinstance(error, (EnvContractError, ConfigError)):
            raise error
        if isinstance(error, workers.WorkerError):
            cause = error.__cause__
            if isinstance(cause, EnvContractError):
                raise self._contract_error(error.env, cause) from cause
            self._handle_crash(error.env, stepping, str(error), cause)
            return
        base, text = self.env.unwrapped, describe_error(error)
        i, origin = error_origin(error, base)
        if stepping and (fault := unpacked_step(error)):
            raise self._contract_error(i, fault) from error
        if origin == "result":
            raise self._contract_error(i, f"What it returned cannot be used: {text}.") from error
        if origin == "batch":  # raises EnvContractError if an observation does not fit the space
            for j, observation in enumerate(last_observations(base)):
                self._write_row(self._empty_rows(), j, observation)
        who = "the vector environment" if i is None else f"env {self.first + i}"
        self._handle_crash(i, stepping, f"{who} raised {text}", error)

    def close(self) -> None:
        pool = workers.pool_of(self.env.unwrapped)
        if pool is not None:
            pool.close()
        self.env.close()
