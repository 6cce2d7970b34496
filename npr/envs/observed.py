"""Environments that the caller of an agent steps, as a BatchedEnv of the agent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npr.backend import FLOAT, check_array
from npr.envs.batched import BatchedEnv, ErrorPolicy, Record, State
from npr.envs.contract import on_host
from npr.envs.spaces import Actions, Observations, as_array
from npr.errors import ConfigError

_NO_MASK = (
    "action_masks=True needs the actions that are allowed next: select_action(observation, "
    "action_masks) and observe(..., action_masks=...) for the next observation."
)
_ENDED = "begins"  # in state(): the environments whose next observation begins an episode


class ObservedEnvs(BatchedEnv):
    """n environments that are stepped elsewhere: a robot, a game, or any loop that is not npr's.

    `see` takes what the agent acts on next, `take` what followed, and `advance` returns that as the
    step of a run.

    own         the environments that the agent steps in `learn`; None: they are not open
    mask_size   numbers of a mask of actions; 0: there is none
    waiting     whether a step was taken that `advance` did not return yet
    others      as for BatchedEnv
    """

    acts = observed = True

    def __init__(
        self,
        n: int,
        observations: Observations,
        actions: Actions,
        own: BatchedEnv | None,
        mask_size: int,
        *,
        table: bool,
        error_policy: ErrorPolicy,
    ) -> None:
        self.observations, self.actions, self.own = observations, actions, own
        self.mask_size = mask_size
        self._prepare(n, table, error_policy, owned=own is not None and own.owned)
        self.waiting = False
        self._begins = ~self.all_valid

    def bases(self) -> Sequence[Any]:
        return () if self.own is None else self.own.bases()

    def described(self) -> Sequence[Any]:
        return () if self.own is None else self.own.described()

    def close(self) -> None:
        if self.own is not None:
            self.own.close()

    def claim(self) -> None:
        """Nobody else steps these environments by npr."""

    def leave(self) -> None:
        """See `claim`."""

    def used_by_others(self) -> bool:
        return False

    def reset(self) -> np.ndarray | None:  # type: ignore[override]
        """Number new episodes, which begin with the observations seen next."""
        self._start_statistics()
        self._begins = self.all_valid.copy()
        return self.s

    def step(self, a: np.ndarray) -> Record:
        raise NotImplementedError("These environments are stepped elsewhere: use `take`.")

    # ---- observations

    def is_batch(self, observation: Any) -> bool:
        """Whether these are n observations, and not a single one."""
        return self.n > 1 or self.observations.batched(observation)

    def encoded(self, observation: Any, batched: bool) -> np.ndarray:
        """n observations, or one that is not batched, as rows without masks: (n, size), or (n,)
        indices for a table. Raises ConfigError or EnvContractError."""
        if batched:
            if self.n > 1 and not self.observations.batched(observation):
                raise ConfigError(
                    f"The agent has n_envs={self.n}: pass a batch of {self.n} observations, or "
                    "build it with n_envs=1 to learn in one environment."
                )
            rows = self._encode(observation)
        else:
            rows = self._empty_rows()
            self._write_row(rows, 0, observation)
        return self._without_masks(rows)

    def _without_masks(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.table else rows[:, : self.observations.size]

    def rows(self, observation: Any, batched: bool, masks: Any, over: np.ndarray) -> np.ndarray:
        """Rows (n, ...) of observations, as `s`, with masks for all but those that are `over` (n,).

        masks   of n environments, or one that is not batched; None if there are none

        Raises ConfigError or EnvContractError.
        """
        encoded = self.encoded(observation, batched)
        if not self.mask_size:
            if masks is not None:
                raise ConfigError(
                    "action_masks were given to an agent that was not built with action_masks=True."
                )
            return encoded
        given = [None] * self.n if masks is None else masks if batched else [masks]
        several = isinstance(given, (list, tuple)) or np.ndim(given) > 0
        if not several or len(given) != self.n:
            got = f"{len(given)}" if several else f"{given!r:.80}"
            raise ConfigError(f"{self.n} masks of actions are needed, got {got}.")
        rows = encoded
        if not self.table:
            rows = np.empty((self.n, self.row_size), FLOAT)
            rows[:, : self.observations.size] = encoded
        for i, mask in enumerate(given):
            if mask is None and not over[i]:
                raise ConfigError(_NO_MASK)
            self._write_mask(rows, i, mask, bool(over[i]))
        return rows

    def is_seen(self, observation: Any, batched: bool) -> bool:
        """Whether `s` is of these observations."""
        known = self._without_masks(self.s)  # type: ignore[arg-type]
        return self.encoded(observation, batched).tobytes() == known.tobytes()

    def cut(self, s: np.ndarray) -> np.ndarray | None:
        """The environments (n,) whose episodes were left, since s (n, ...) does not follow their
        last step. New ones are numbered; None: there are none."""
        if self.s is None or s.tobytes() == self.s.tobytes():
            return None
        other: np.ndarray = self._without_masks(s) != self._without_masks(self.s)
        other = (other if self.table else other.any(axis=1)) & ~self._begins
        rows = np.flatnonzero(other).tolist()
        for i in rows:
            self.returns[i], self.lengths[i] = 0.0, 0
        if rows:
            self._number_next(rows)
        return other if rows else None

    def see(self, s: np.ndarray) -> None:
        """Act on s (n, ...) next."""
        self.s = s
        self._begins = ~self.all_valid

    # ---- steps

    def take(
        self, a: np.ndarray, rewards: Any, observation: Any, batched: bool, terminated: Any,
        truncated: Any, valid: Any, masks: Any,
    ) -> None:  # fmt: skip
        """Take a step at `s` that was done elsewhere.

        a              (n, ...) the agent's actions
        rewards        (n,), or one number if n = 1; terminated, truncated: bools of this shape
        observation    the true next ones, or one that is not batched
        valid          (n,) False where the step only reset an environment; None: nowhere
        masks          of the next actions, as for `rows`

        Raises ConfigError or EnvContractError if they do not fit or, with nan_obs="raise", are not
        finite; then nothing has changed.
        """
        exact = self._column("reward", rewards, "fiub")
        over = [
            self._column(name, flags, "b")
            for name, flags in (("terminated", terminated), ("truncated", truncated))
        ]
        known = self.all_valid
        if valid is not None and not (stepped := self._column("valid", valid, "b")).all():
            known = stepped
        s2 = self.rows(observation, batched, masks, over[0])
        self._chosen = a
        r = exact.astype(FLOAT)
        lost = self._nonfinite_rows(s2, r.tolist(), known)
        if lost:
            known, r = self._invalidate(lost, known, r)
            s2[lost] = self.s[lost]  # type: ignore[index]
        if known is not self.all_valid:
            over = [flags & known for flags in over]
        self._taken: tuple[Any, ...] = a, exact.tolist(), lost, (s2, r, *over, known)
        self.waiting = True

    def _column(self, name: str, values: Any, kinds: str) -> np.ndarray:
        """One number or flag for each environment, as an array (n,)."""
        if self.n == 1 and values.__class__ is (bool if kinds == "b" else float):
            return np.array([values])
        array = as_array(on_host(values, "observe()", name))
        if not array.ndim and self.n == 1:
            array = array[None]
        if array.shape != (self.n,) or array.dtype.kind not in kinds:
            one, many = ("a bool", "bools") if kinds == "b" else ("a number", "numbers")
            needed = one if self.n == 1 else f"{many} of shape ({self.n},)"
            raise ConfigError(
                f"observe() needs {name} as {needed}, got {values!r:.80} ({array.dtype}"
                f"{array.shape}). Nothing was learned from this step."
            )
        return array

    def advance(self, *_: Any) -> tuple[Any, ...]:
        """(s, a, episode, record) of the step that was taken, which is counted."""
        a, rewards, lost, record = self._taken
        s2, _, terminated, truncated, valid = record
        done = terminated | truncated
        s, episode = self.s, self.episode
        self.waiting = False
        self.steps += 1
        self.finished = []
        self._count(rewards, valid)
        if lost or True in done.tolist():
            self._end_episodes(dict.fromkeys(np.flatnonzero(done).tolist()), lost)
        self.s, self._begins = s2, done | ~valid
        return s, a, episode, record

    # ---- positions

    def state(self) -> State:
        state = super().state()
        return state if self.s is None else {**state, "s": self.s, _ENDED: self._begins}

    def _replay(self, state: State) -> str | None:
        """Go on where the observations seen next are those that follow."""
        if "s" in state:
            rows = self._empty_rows()
            check_array("The environments' 's'", state["s"], rows.shape, rows.dtype)
            begins = state.get(_ENDED, ~self.all_valid)
            check_array(f"The environments' {_ENDED!r}", begins, (self.n,), bool)
            self.s, self._begins = state["s"].copy(), begins.copy()
        return None
