"""The base class of batched environments, which return one record per step.

A record is (s2, r, terminated, truncated, valid), where s2 is the true next observation, also at
the end of an episode. `envs.s` is the observation to act on next.
"""

from __future__ import annotations

import abc
import collections
import contextlib
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

import numpy as np

from npr.backend import FLOAT
from npr.envs import state_check
from npr.envs.contract import NO_MASK, action_spec, all_finite, observation_spec, on_host
from npr.envs.gymnasium_internals import single_envs
from npr.envs.spaces import (
    ACTION_KINDS,
    DiscreteObservations,
    actions_from_spec,
    observations_from_spec,
)
from npr.envs.table_masks import TableMasks
from npr.errors import (
    ConfigError,
    ConfigWarning,
    EnvContractError,
    EnvCrashedError,
    ResumeWarning,
    SpaceError,
)

if TYPE_CHECKING:
    import gymnasium

MAX_RESETS = 3  # further resets after a first observation that is not finite, nan_obs="terminate"
MAX_CRASHES, CRASH_WINDOW = 10, 3600.0  # crashes per seconds tolerated with on_env_error="reset"
LARGE_REWARD = 1e6  # rewards beyond this magnitude give one warning
NOT_RESUMABLE = (
    "the generators of a VectorEnv, of worker processes and of actors with a replay buffer "
    "(n_workers) cannot be read, so their episodes cannot be repeated"
)

Record = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
State = dict[str, np.ndarray]

# name in state() -> dtype and shape; None stands for (n,)
_STATE: dict[str, tuple[type[np.generic] | type[bool], tuple[int, ...] | None]] = {
    "open": (bool, ()), "episode": (np.int64, None), "next_episode": (np.int64, ()),
    "steps": (np.int64, ()), "returns": (np.float64, None), "lengths": (np.int64, None),
}  # fmt: skip


@dataclass(frozen=True)
class ErrorPolicy:
    """How to handle faults of an environment.

    nan_obs         on a non-finite observation or reward: "raise", or "terminate" the episode,
                    which is then dropped, and reset the environment
    on_env_error    on an exception: "raise", or "reset" the environment and drop the episode
    learning        whether an agent learns in it, for the messages
    """

    nan_obs: Literal["raise", "terminate"] = "raise"
    on_env_error: Literal["raise", "reset"] = "raise"
    learning: bool = True


class Episode(NamedTuple):
    """The undiscounted return and the length of a finished episode.

    success   by info["is_success"] of its last step; None: the environment does not say
    """

    ret: float
    length: int
    success: bool | None


RAISE = ErrorPolicy()  # the default
EVALUATION = ErrorPolicy(learning=False)


class BatchedEnv(abc.ABC):
    """n environments that are stepped together: encoding, episode statistics and checks.

    n               number of environments
    s               observations to act on next, as returned by step; None before the first reset
                    and after a step that failed
    steps           number of calls of step
    episode         (n,) number of the current episode of each environment, never used twice
    returns         (n,) sum of its rewards so far; lengths: (n,) its steps
    finished        the episodes that ended in the last step
    dropped         number of episodes that were dropped because of `error_policy`
    owned           whether npr made the environments and closes them
    all_valid       (n,) True; step returns this same object as `valid` if all rows are valid
    one_by_one      whether the environments are stepped in turn, and not by one call
    acts            whether the environments choose the actions, see npr.distributed
    offers_masks    whether the environments are known to say which actions are allowed
    observed        whether somebody else steps them, see npr.envs.observed
    mask_size       numbers of a mask of actions at the end of each row of s; 0: there is none
    masks           those of a table, whose rows have none; None: there are none
    first           the number of the first environment in messages
    """

    one_by_one: ClassVar[bool] = False
    offers_masks = False
    acts: ClassVar[bool] = False
    observed: ClassVar[bool] = False
    masks: TableMasks | None = None

    can_reset_one = True  # whether npr can reset one environment at any time
    can_replace = True  # whether it can continue after one has crashed

    def __init__(
        self,
        n: int,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        seeds: np.random.SeedSequence,
        *,
        table: bool,
        scale_images: bool,
        error_policy: ErrorPolicy,
        owned: bool,
        action_masks: bool = False,
    ) -> None:
        self.observations = observations_from_spec(
            observation_spec(observation_space, scale_images)
        )
        if not self.observations.size:
            raise SpaceError(
                f"An observation must hold at least one number, got {observation_space}; wrap the "
                "environment with gymnasium.wrappers.TransformObservation to make it a Box."
            )
        self.observation_space, self.action_space = observation_space, action_space
        spec = action_spec(action_space)
        self.actions = actions_from_spec(spec) if spec["kind"] in ACTION_KINDS else None
        self.mask_size = self._size_of_masks(action_masks)
        self._prepare(n, table, error_policy, owned)
        self._seed_source = seeds
        self._draw_seeds()

    def _prepare(self, n: int, table: bool, error_policy: ErrorPolicy, owned: bool) -> None:
        """Set what does not depend on Gymnasium, of environments with `observations`."""
        self.n, self.table, self.error_policy, self.owned = n, table, error_policy, owned
        if table and self.mask_size:
            self.masks = TableMasks(self.observations.size, self.mask_size)
        self._write = self._writer()
        self.s: np.ndarray | None = None
        self.all_valid, self._all_false = np.ones(n, bool), np.zeros(n, bool)
        self._all_false.flags.writeable = False  # returned by every step that ends no episode
        self.steps, self.dropped = 0, 0
        self._next_episode = 0
        self._start_statistics()
        self.finished: list[Episode] = []
        self._chosen = np.empty(0)  # (n, ...), the agent's actions of the last step
        self._crash_times: collections.deque[float] = collections.deque(maxlen=MAX_CRASHES + 1)
        self._warned_of_nan = self._warned_of_reward = False
        self.first = 0
        self._left: bytes | None = None  # fingerprint of the environments at the end of a run

    @abc.abstractmethod
    def bases(self) -> Sequence[Any]:
        """The environments of Gymnasium that are stepped."""

    def holds(self, env: Any) -> bool:
        """Whether an Env or VectorEnv is one of these environments, or has one of them."""
        mine = [one.unwrapped for one in self.bases()]
        theirs = [env.unwrapped, *(one.unwrapped for one in single_envs(env.unwrapped))]
        return any(one is other for one in mine for other in theirs)

    def __repr__(self) -> str:
        spaces = f"observations {self.observations}, actions {self.actions or self.action_space}"
        return f"{type(self).__name__}({self.n} environments, {spaces})"

    @abc.abstractmethod
    def reset(self) -> np.ndarray:
        """Start a new episode in every environment; returns their first observations, `s`.

        The seeds are used the first time only.
        """

    @abc.abstractmethod
    def step(self, a: np.ndarray) -> Record:
        """One step with the agent's actions a (n, ...): (s2, r, terminated, truncated, valid).

        s2 (n, size), or (n,) indices for a table: the true next observations. r (n,), flags (n,).
        A row that is not valid is not a transition and must not be learned from.
        """

    def described(self) -> Sequence[Any]:
        """Single environments of this process that say how these are made."""
        return ()

    def metrics(self) -> dict[str, float]:
        """What a row of a log has about them, besides episodes."""
        return {}

    @abc.abstractmethod
    def close(self) -> None:
        """Close the environments, and end their processes if they have any."""

    def longest(self) -> int:
        """The number of steps of the longest current episode."""
        return max(self.lengths)  # type: ignore[no-any-return]

    def claim(self) -> None:
        """Begin to use the environments. If anybody else has stepped or reset them since the last
        use, new episodes begin, with a ResumeWarning."""
        left, self._left = self._left, None
        changed = left is not None and state_check.fingerprint(self.bases()) != left
        if self.s is not None and (changed or self.used_by_others()):
            self.s = None
            warnings.warn(
                "The environment was stepped, reset or changed by others since the agent's last "
                "step, so its episode cannot be continued: a new one begins.",
                ResumeWarning,
                stacklevel=5,
            )
        state_check.claim(self.bases(), self)

    def leave(self) -> None:
        """Note the state of the environments, for the next `claim`. Raises nothing."""
        with contextlib.suppress(Exception):  # of the environment's attributes
            self._left = None if self.s is None else state_check.fingerprint(self.bases())

    def used_by_others(self) -> bool:
        """Whether another agent or an evaluation has used one of the environments since `claim`."""
        return not state_check.are_claimed_by(self.bases(), self)

    def _draw_seeds(self) -> None:
        children = self._seed_source.spawn(self.n)
        self.seeds: list[int | None] = [int(child.generate_state(1)[0]) for child in children]

    def _empty_rows(self) -> np.ndarray:
        if self.table:
            return np.empty(self.n, np.int64)
        return np.empty((self.n, self.row_size), FLOAT)

    @property
    def row_size(self) -> int:
        """Numbers per row of `s`: an observation, then the mask of the actions that are allowed."""
        return self.observations.size + self.mask_size

    def _size_of_masks(self, action_masks: bool) -> int:
        if not action_masks:
            return 0
        size = 0 if self.actions is None else self.actions.mask_size
        if not size:
            raise SpaceError(
                f"action_masks=True needs Discrete, MultiDiscrete or MultiBinary actions, alone or "
                f"in a Dict or Tuple, got {self.action_space}. Leave it out."
            )
        return size

    def _writer(self) -> Callable[[np.ndarray, int, Any], None]:
        """Writes one observation to row i of rows."""
        observations = self.observations
        if self.table:
            return observations.write_index
        if not self.mask_size:
            return observations.write
        return lambda rows, i, one: observations.write(rows[:, : observations.size], i, one)

    def _write_row(self, rows: np.ndarray, i: int, observation: Any) -> None:
        try:
            self._write(rows, i, observation)
        except EnvContractError as error:
            raise self._contract_error(i, cause_of(error, observation)) from None

    def _write_mask(self, rows: np.ndarray, i: int, mask: Any, terminated: bool = False) -> None:
        """Write the mask of env i to the end of its row; all ones if its episode is over. That of a
        table is noted, and depends on its observation."""
        table = self.masks
        out = rows[i, -self.mask_size :] if table is None else np.empty(self.mask_size, FLOAT)
        if terminated:
            out[...] = 1
        else:
            try:
                if mask is None:
                    raise EnvContractError(NO_MASK)
                self.actions.write_mask(mask, out)  # type: ignore[union-attr]
                if table is not None:
                    table.note(int(rows[i]), out)
            except EnvContractError as error:
                raise self._contract_error(i, error) from None

    def _encode(self, observation: Any) -> np.ndarray:
        """Rows (n, ...) of a batch of observations."""
        observation = on_host(observation, "the environment", "observations")
        if self.observations.kind == "discrete" and np.shape(observation) == (self.n,):
            discrete = cast(DiscreteObservations, self.observations)
            indices = discrete.indices(np.asarray(observation))
            if indices is not None:  # else the rows say which environment returned what
                return indices if self.table else np.eye(discrete.size, dtype=FLOAT)[indices]
        if self.observations.kind in ("box", "image"):
            try:
                s = self.observations.encode(observation)
            except EnvContractError as error:
                raise self._contract_error(None, error) from None
            count = len(s)
        else:
            rows = self.observations.rows(observation)
            s, count = self._empty_rows(), len(rows)
            for i, row in enumerate(rows[: self.n]):
                self._write_row(s, i, row)
        if count != self.n:
            raise self._contract_error(
                None,
                f"Got observations of {count} environments, it has {self.n}. "
                "Fix what its reset() and step() return.",
            )
        return s

    def _begin_step(self, a: np.ndarray) -> Any:
        """Convert the agent's actions to the environments' actions, a sequence or an array."""
        if self.actions is None:
            raise SpaceError(
                f"npr needs an action space of kind {' or '.join(ACTION_KINDS)}, got "
                f"{self.action_space}; wrap the environment."
            )
        self.s = None  # if this step fails, the next one begins new episodes
        self.finished = []
        self.steps += 1
        convert = self.actions.to_envs if self.one_by_one else self.actions.to_env_batch
        self._chosen = a
        return convert(a)

    def _invalidate(
        self, rows: list[int], valid: np.ndarray, r: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Copies of valid and r, False and 0 in the given rows."""
        valid, r = valid.copy(), r.copy()
        valid[rows], r[rows] = False, 0
        return valid, r

    def _start_statistics(self) -> None:
        self.returns: Any = [0.0] * self.n
        self.lengths: Any = [0] * self.n
        self.episode = np.arange(self._next_episode, self._next_episode + self.n)
        self._next_episode += self.n

    def _count(self, rewards: list[float], valid: np.ndarray) -> None:
        all_valid = valid is self.all_valid
        for i, reward in enumerate(rewards):
            if all_valid or valid[i]:
                self.returns[i] += reward
                self.lengths[i] += 1
                if not -LARGE_REWARD <= reward <= LARGE_REWARD and not self._warned_of_reward:
                    self._warn_of_reward(i, reward)

    def _warn_of_reward(self, i: int, reward: float) -> None:
        self._warned_of_reward = True
        warnings.warn(
            f"env {self.first + i} returned a reward of {reward:.3g} at step {self.steps:,}; "
            f"beyond {LARGE_REWARD:.0e} losses in float32 lose precision and may overflow. Use "
            "normalize_reward=True, or scale the rewards in the environment.",
            ConfigWarning,
            stacklevel=2,
        )

    def _end_episodes(self, ended: Mapping[int, bool | None], dropped: Sequence[int]) -> None:
        """Count the episodes that ended, and those that were dropped, and number the next ones.

        ended   environment -> whether its episode was a success; None: unknown
        """
        for i, success in ended.items():
            self.finished.append(Episode(float(self.returns[i]), int(self.lengths[i]), success))
        over = *ended, *dropped
        for i in over:
            self.returns[i], self.lengths[i] = 0.0, 0
        self._number_next(over)
        self.dropped += len(dropped)

    def _number_next(self, over: Sequence[int]) -> None:
        """Give the next episodes of these environments their numbers, in this order."""
        self.episode = self.episode.copy()  # the old array may be held by a caller
        for i in over:
            self.episode[i] = self._next_episode
            self._next_episode += 1

    def _contract_error(self, i: int | None, error: object) -> EnvContractError:
        """An error that names the environment (None: unknown) and the step."""
        who = "vector environment" if i is None else f"env {self.first + i}"
        return EnvContractError(f"{who}, step {self.steps:,}: {error}")

    def _nonfinite_rows(
        self, s: np.ndarray, rewards: list[float], stepped: np.ndarray
    ) -> list[int]:
        """Rows of a step with non-finite numbers; raises unless nan_obs="terminate".

        stepped    (n,) False where the step has only reset the environment
        """
        if (self.table or all_finite(s)) and all(map(math.isfinite, rewards)):
            return []
        rows = []
        for i in range(self.n):
            fault = _nonfinite(s[i], rewards[i])
            if fault is not None:
                rows.append(i)
                self._handle_nonfinite(i, *fault, stepping=bool(stepped[i]))
        return rows

    def check_first(self, s: np.ndarray) -> None:
        """Raise EnvContractError for non-finite first observations, whatever nan_obs is."""
        if self.table or all_finite(s):
            return
        for i in range(self.n):
            fault = _nonfinite(s[i])
            if fault is not None:
                self._handle_nonfinite(i, *fault, stepping=False, tolerate=False)

    def _handle_nonfinite(
        self, i: int, what: str, value: float, *, stepping: bool, tolerate: bool = True
    ) -> None:
        """Raise EnvContractError, or warn once if nan_obs="terminate" and `tolerate`."""
        hint = " It may be too large for float32." if math.isinf(value) else ""
        text = f"env {self.first + i} returned a non-finite {what} {self._when(i, stepping)}.{hint}"
        terminate = self.error_policy.nan_obs == "terminate"
        if not (terminate and tolerate):
            suggest = self.can_reset_one and not terminate
            advice = self._advice(", or pass nan_obs='terminate'" if suggest else "")
            raise EnvContractError(f"{text} {advice}")
        if not self._warned_of_nan:
            self._warned_of_nan = True
            warnings.warn(
                f"{text} Its episode was dropped and the environment reset (nan_obs='terminate'); "
                "further cases are only counted in envs.dropped.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _advice(self, other: str) -> str:
        if not self.error_policy.learning:
            return "Fix the environment."
        return f"The step was not stored. Fix the environment{other}."

    def _when(self, i: int | None, stepping: bool) -> str:
        """When env i failed; stepping: in a step, which `lengths` does not count yet."""
        text = f"at step {self.steps:,}"
        if i is None:
            return text
        steps = self.lengths[i] + stepping
        text += f", {steps:,} steps into its episode"
        if not steps or self.actions is None:
            return text
        return f"{text}; its last action was {_brief(self.actions.to_env(self._chosen[i]))}"

    def _handle_crash(
        self, i: int | None, stepping: bool, what: str, error: BaseException | None
    ) -> None:
        """Raise EnvCrashedError, or count the crash and return if on_env_error="reset"."""
        text = f"{what}, {self._when(i, stepping)}."
        if self.error_policy.on_env_error == "raise":
            advice = self._advice(", or pass on_env_error='reset'" if self.can_replace else "")
            raise EnvCrashedError(f"{text} {advice}") from error
        text += " The step was not stored."
        times = self._crash_times
        times.append(time.monotonic())
        if len(times) > MAX_CRASHES and times[-1] - times[0] < CRASH_WINDOW:
            raise EnvCrashedError(
                f"{text} on_env_error='reset' tolerates {MAX_CRASHES} crashes within an hour, and "
                "this is one more. Fix the environment."
            ) from error
        warnings.warn(
            f"{text} Its episode was dropped and the environment reset.",
            RuntimeWarning,
            stacklevel=3,
        )

    def state(self) -> State:
        """The position of the environments, as arrays: counters and, if known, the seed and the
        actions of each current episode. `open` is False if the next step begins new episodes."""
        return {
            "open": np.array(self.s is not None),
            "episode": self.episode,
            "next_episode": np.array(self._next_episode),
            "steps": np.array(self.steps),
            "returns": np.array(self.returns, np.float64),
            "lengths": np.array(self.lengths, np.int64),
        }

    @staticmethod
    def check_state(state: State) -> None:
        """Raise ConfigError unless these are valid counters of a `state()`. `resume` checks whether
        the episodes can be continued."""
        n = len(state["episode"])
        for name, (dtype, shape) in _STATE.items():
            array, shape = state[name], (n,) if shape is None else shape
            if array.dtype != dtype or array.shape != shape:
                raise ConfigError(
                    f"The environments' {name!r} must be {np.dtype(dtype)}{shape}, got "
                    f"{array.dtype}{array.shape}."
                )
            if not np.isfinite(array).all() or (name != "returns" and (array < 0).any()):
                raise ConfigError(
                    f"The environments' {name!r} must be finite"
                    f"{'' if name == 'returns' else ' and not negative'}, got {array}."
                )

    def resume(self, state: State) -> str | None:
        """Restore a position. Returns None, or the reason if that is not possible: then the caller
        begins new episodes, whose numbers are not in use."""
        self.steps, self._next_episode = int(state["steps"]), int(state["next_episode"])
        if not state["open"]:
            return None
        if len(state["episode"]) != self.n:
            return f"it had {len(state['episode'])} environments, now there are {self.n}"
        if "begins" in state and not self.observed:
            return "its caller stepped the environments, with agent.observe()"
        state_check.claim(self.bases(), self)
        reason = self._replay(state)
        if reason is None:
            self.episode = state["episode"].copy()
            self._next_episode = int(state["next_episode"])
            self.returns, self.lengths = state["returns"].tolist(), state["lengths"].tolist()
        return reason

    def _replay(self, state: State) -> str | None:
        """Restore the episodes of the environments; returns the same as `resume`."""
        return NOT_RESUMABLE


def cause_of(error: EnvContractError, observation: Any) -> EnvContractError:
    """The reason why an observation could not be written: its device, or what the error says."""
    try:
        on_host(observation, "the environment", "observations")
    except EnvContractError as reason:
        return reason
    return error


def _nonfinite(row: np.ndarray, reward: float = 0.0) -> tuple[str, float] | None:
    """A description and the value of a non-finite entry in an observation or reward, if any."""
    if not all_finite(row):
        j = int(np.isfinite(row).argmin())
        return f"observation (index {j} = {row[j]})", float(row[j])
    if not math.isfinite(reward):
        return f"reward ({reward})", reward
    return None


def _brief(action: Any) -> str:
    return np.array2string(np.asarray(action), threshold=10, precision=4)
