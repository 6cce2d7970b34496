"""Gymnasium's vector environments as records: any autoreset mode, workers that die or hang."""

import reprlib

import numpy as np

from npr.backend import FLOAT
from npr.envs import gymnasium_internals, workers
from npr.envs.batched import RESETS, Records
from npr.envs.contract import first
from npr.errors import ConfigError, EnvContractError, EnvCrashedError, describe_error


class VectorEnvironments(Records):
    """A gymnasium VectorEnv, in the autoreset mode that it declares.

    reopen    makes another one after a crash; None: the user's own, which cannot be replaced
    """

    def __init__(self, env, seeds, table=False, nan_obs="raise", on_env_error="raise", reopen=None):
        mode = env.metadata.get("autoreset_mode")
        self.mode = getattr(mode, "name", mode)
        if self.mode not in ("NEXT_STEP", "SAME_STEP", "DISABLED"):
            raise EnvContractError(
                "This vector environment does not declare metadata['autoreset_mode'] (NEXT_STEP, "
                "SAME_STEP or DISABLED), so where an episode ends cannot be known. Set it, or "
                "pass an id with n_envs."
            )
        self.resets = self.mode == "DISABLED"
        if nan_obs == "terminate" and not self.resets:
            raise ConfigError(
                "nan_obs='terminate' needs environments that npr resets, but this VectorEnv resets "
                f"them itself (autoreset mode {self.mode}). Pass an id or a function with n_envs, "
                "or make it with AutoresetMode.DISABLED."
            )
        if on_env_error == "reset" and reopen is None:
            raise ConfigError(
                "on_env_error='reset' needs environments that npr makes, got a VectorEnv. Pass an "
                "id or a function with n_envs."
            )
        self.env, self._reopen, self.replaces = env, reopen, reopen is not None
        super().__init__(
            env.num_envs, env.single_observation_space, env.single_action_space, seeds, table,
            nan_obs, on_env_error, owned=self.replaces,
        )  # fmt: skip
        self._dead = np.zeros(self.n, bool)  # NEXT_STEP: the coming step only resets

    def _encode(self, observation):
        """Rows (n, ...) of a batch of observations."""
        if self.observations.kind == "box":
            try:
                s = self.observations.encode(observation)
            except EnvContractError as error:
                raise self._named(None, error) from None
            count = len(s)
        else:
            ones = self.observations.rows(observation)
            s, count = self._blank(), len(ones)
            for i, one in enumerate(ones[: self.n]):
                self._write(s, i, one)
        if count != self.n:
            raise self._named(
                None,
                f"Got observations of {count} environments, it has {self.n}. "
                "Fix what its reset() and step() return.",
            )
        return s

    def reset(self):
        """Start every environment; the seeds count the first time only."""
        self.s = None
        while True:
            self._start_counting()
            base = self.env.unwrapped
            if getattr(base, "closed", False):
                if self._reopen is None:
                    raise EnvCrashedError(
                        "This vector environment is closed, and npr cannot make another. Save the "
                        "agent and go on with a new one: npr.load(path, env=...)."
                    )
                self.env = base = self._reopen()
                self._draw_seeds()
            try:
                pool = workers.pool_of(base)
                if pool is not None:
                    pool.drain()
                many = gymnasium_internals.takes_seed_list(base) or self.seeds is None
                result = self.env.reset(seed=self.seeds if many else self.seeds[0])
                self.seeds = None
                if not gymnasium_internals.retains_autoreset(base):
                    self._dead = np.zeros(self.n, bool)
                self.s = self._usable(self._encode(first(result)))
                return
            except Exception as error:
                self._broke_off(error, 0)

    def step(self, a):
        """One step with the learner's actions a (n, ...): (s2, r, terminated, truncated, valid).

        s2 (n, size), or (n,) indices for a table: the true next observations. r (n,), and flags
        (n,); a row that is not valid is no experience. `self.s` is what to act on next.
        """
        self.steps += 1
        self.s = None  # if this step breaks off, the next one starts anew
        self.finished = []
        self._sent = self.actions.to_env_batch(a)
        try:
            result = self.env.step(self._sent)
        except Exception as error:
            return self._anew(error, 1)
        observation, r, terminated, truncated, info = self._checked(result)
        valid = ~self._dead if self._dead.any() else self.all_valid
        done = terminated | truncated
        if self.mode == "NEXT_STEP":
            self._dead = done
        s = s2 = self._encode(observation)
        if self.mode == "SAME_STEP" and done.any():
            s2 = s.copy()
            for i in np.flatnonzero(done):
                self._write(s2, i, info["final_obs"][i] if "final_obs" in info else None)
        rewards = r.tolist()
        lost = self._not_finite(s2, rewards, valid)
        if lost:
            valid, r = valid.copy(), r.copy()
            valid[lost], r[lost] = False, 0
            terminated, truncated = terminated & valid, truncated & valid
        self._count(rewards, None if valid is self.all_valid else valid)
        for i in np.flatnonzero(valid & done):
            self._finish(i)
        for i in lost:
            self._drop(i)
        if self.mode == "DISABLED" and (done.any() or lost):
            try:
                s = self._usable(self._begun(s2, done | ~valid))
            except Exception as error:
                return self._anew(error, 0)
            s2[lost] = s[lost]
        elif s is not s2:
            self._not_finite(s)
        self.s = s
        return s2, r, terminated, truncated, valid

    def _checked(self, result):
        """What step() returned, with its columns as arrays."""
        if not isinstance(result, tuple) or len(result) != 5:
            raise self._named(None, f"step() must return five values, got {reprlib.repr(result)}.")
        observation, *columns, info = result
        columns = [np.asarray(column) for column in columns]
        names = ("rewards", "terminated", "truncated")
        for name, column, kinds in zip(names, columns, ("fiub", "b", "b")):
            if column.shape != (self.n,) or column.dtype.kind not in kinds:
                kind = "numbers" if name == "rewards" else "bools"
                raise self._named(
                    None,
                    f"step() must return {name} as {kind} of shape ({self.n},), got "
                    f"{column.dtype}{column.shape}. Fix the vector environment.",
                )
        r, *flags = columns
        return observation, r.astype(FLOAT, copy=False), *flags, info

    def _begun(self, s, over):
        """s with the first observations of new episodes where `over`, (n,) bools."""
        first_ones = self._encode(first(self.env.reset(options={"reset_mask": over.copy()})))
        return np.where(over if self.table else over[:, None], first_ones, s)

    def _usable(self, s):
        """First observations; where nan_obs="terminate", those that are not finite anew."""
        for _ in range(RESETS if self.nan_obs == "terminate" and not self.table else 0):
            bad = ~np.isfinite(s).all(axis=1)
            if not bad.any():
                break
            s = self._begun(s, bad)
        self._not_finite(s)
        return s

    def _anew(self, error, stepping):
        """The record of a step that broke off, where learning may go on: nothing valid in it."""
        self._broke_off(error, stepping)
        self.dropped += self.n
        self.reset()
        return self.s, np.zeros(self.n, FLOAT), self._never, self._never, ~self.all_valid

    def _broke_off(self, error, stepping):
        """Name the environment that an error came from: see _crashed."""
        if isinstance(error, (EnvContractError, ConfigError)):
            raise error
        if isinstance(error, workers.WorkerError):
            cause = error.__cause__
            if isinstance(cause, EnvContractError):
                raise self._named(error.env, cause) from cause
            self._crashed(error.env, stepping, f"{error},", cause)
            return
        base = self.env.unwrapped
        i, origin = gymnasium_internals.error_origin(error, base)
        text = describe_error(error)
        if origin == "result":
            raise self._named(i, f"What step() returned cannot be used: {text}.") from error
        if origin == "batch":  # does one of them not fit the space?
            for j, observation in enumerate(gymnasium_internals.last_observations(base)):
                self._write(self._blank(), j, observation)
        who = "the vector environment" if i is None else f"env {i}"
        self._crashed(i, stepping, f"{who} raised {text},", error)

    def close(self):
        """Close the environments, and end what processes they have."""
        pool = workers.pool_of(self.env.unwrapped)
        if pool is not None:
            pool.close()
        self.env.close()
