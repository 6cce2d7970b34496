"""Storage of experience: preallocated columns on the host, from which batches go to the device."""

import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from npr import mirror
from npr.backend import FLOAT, Array, check_array, on_device, to_device
from npr.data.transitions import (
    check_allowed,
    encoded_actions,
    encoded_masks,
    encoded_observations,
    flags,
    follows,
    numbers,
)
from npr.envs.spaces import INDEX_DTYPE, Actions, Observations
from npr.errors import ConfigError, ConfigWarning
from npr.kernels import replay
from npr.kernels.native import Native
from npr.kernels.returns import n_step_returns
from npr.kernels.rows import Block, Kept
from npr.kernels.sumtree import SumTree
from npr.mirror import Mirror
from npr.normalize import ObservationNorm, RewardNorm
from npr.system.memory import check_replay, format_bytes
from npr.system.staging import Download, downloads, upload

Batch = tuple[Any, ...]
_NAMES = ("s", "a", "r", "s2", "terminated")  # the columns of a transition
_ARRAYS = (np.ndarray,) * 5


class IntegerMap(dict[int, int]):
    """A map from integers to integers, e.g. from an episode's number to one of its actions."""

    group = "state"  # in an agent's file: npr.files.parts

    def state(self) -> dict[str, Array]:
        return {"items": np.array(list(self.items()), np.int64).reshape(-1, 2)}

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state; raises ConfigError if it is not one."""
        items = state["items"]
        check_array("The items of a map of integers", items, (len(items), 2), np.int64)
        self.clear()
        self.update(items.tolist())


class _Batch:
    """Memory for the batches of one size of a replay buffer, and the kernels that write to it.

    u         (size,) random numbers, in float64
    index     (size,) rows that the transitions start at
    last      (size,) rows that they end at
    returns   (size,) rewards of several steps
    gamma     (size,) discounts of what follows after several steps
    columns   s, a, r, s2, terminated

    It has no reference to the buffer, whose memory is freed with its last user.
    """

    def __init__(self, buffer: "ReplayBuffer", size: int) -> None:
        self._nothing = np.empty(0, FLOAT)
        self.u, self.index = np.empty(size), np.empty(size, np.int64)
        if buffer.n_step > 1:
            self.last = self.index.copy()
            self.returns, self.gamma = np.empty((2, size), FLOAT)
        types = buffer._types.values()
        self.columns = [np.empty((size, *x), dtype) for x, dtype in zip(buffer._shapes, types)]
        self.reward_scale = np.ones(1, FLOAT)
        self._summed: Any = None  # settings of the buffer that these calls were prepared for
        self._gathered: Any = None

    def add_up(self, b: "ReplayBuffer") -> None:
        """Compute returns, gamma and last."""
        settings = b.n_step, b.gamma
        if settings != self._summed:
            self._add_up = n_step_returns.prepared(
                b.r, b.next, self.index, b.n_step, b.gamma, self.returns, self.gamma, self.last
            )
            self._summed = settings
        self._add_up()

    def gather(self, b: "ReplayBuffer") -> None:
        """Write the columns."""
        mean = scale = self._nothing
        clip = reward_clip = 0.0
        several = b.n_step > 1
        if b.obs_norm is not None:
            mean, scale = b.obs_norm.scaling
            clip = b.obs_norm.clip
        if b.reward_norm is not None:
            self.reward_scale[0] = b.reward_norm.scale
            reward_clip = b.reward_norm.clip * b.n_step
        settings = several, id(mean), clip, b.reward_norm is None, reward_clip
        if settings != self._gathered:
            s, a, *others = self.columns
            self._gather = replay.gather_on_host.prepared(
                b._rows, b._rows[:0], 0, 0, self.index, self.last if several else self.index,
                self.returns if several else self._nothing, mean, scale,
                self._nothing if b.reward_norm is None else self.reward_scale, clip, reward_clip,
                s, a.reshape(len(a), math.prod(b._a_shape)), *others,
            )  # fmt: skip
            self._gathered = settings
        self._gather()


class ReplayBuffer:
    """The last `capacity` transitions (s, a, r, s2, terminated), in a ring.

    s_size       numbers per observation
    a_shape      () with a_dtype int64 for discrete actions, (D,) otherwise
    gamma        discount per env step
    n_step       a sample's reward is the discounted sum over up to n steps of its episode
    obs_norm     normalizes the observations of a batch; they are stored as they were
    reward_norm  normalizes the rewards of a batch

    A time-out is not stored: s2 is always the true next observation, and `terminated` alone
    decides whether its value counts.

    On a device the rows are there too, if they fit: a sample uploads those that were added since
    the last one and the numbers of the rows to draw, and a kernel gathers them. Rows are changed by
    `add` and `load` only.

    The arrays of a batch are valid until the next batch of that size, which is written to the same
    memory.

    Raises ConfigError if it would not fit into memory.
    """

    group = "buffer"  # in an agent's file: npr.files.parts
    _more_bytes = 0  # per transition, of a subclass

    def __init__(
        self, capacity: int, s_size: int, a_shape: tuple[int, ...] = (), a_dtype: Any = INDEX_DTYPE,
        gamma: float = 0.99, n_step: int = 1, obs_norm: ObservationNorm | None = None,
        reward_norm: RewardNorm | None = None,
    ) -> None:  # fmt: skip
        self.capacity, self.position, self.size = capacity, 0, 0
        self.gamma, self.n_step = gamma, n_step
        self.obs_norm, self.reward_norm = obs_norm, reward_norm
        # One row per transition: a draw reads memory in one place, and an upload is one block. An
        # index of an action is kept as a float, which is exact below 2^24.
        widths = {"s": s_size, "a": math.prod(a_shape), "r": 1, "s2": s_size, "terminated": 1}
        width = sum(widths.values())
        check_replay(capacity, width * FLOAT.itemsize + 8 * (n_step > 1) + self._more_bytes)
        self._rows: Array = np.zeros((capacity, width), FLOAT)
        self._spans: dict[str, Any] = {}  # name -> its columns
        start = 0
        for name, width in widths.items():
            one = name in ("r", "terminated") or (name == "a" and a_shape == ())
            self._spans[name] = start if one else slice(start, start + width)
            start += width
        self._s_size, self._a_shape = s_size, a_shape
        self._shapes = (s_size,), a_shape, (), (s_size,), ()  # of the columns, without rows
        self._types = {**dict.fromkeys(widths, FLOAT), "a": np.dtype(a_dtype)}
        self._spaces: tuple[Observations, Actions] | None = None
        self._mirror: Mirror | None = None  # the rows on a device
        self._on_host = False  # whether they do not fit there
        if n_step > 1:
            self.next: Array = np.full(capacity, -1)  # row of the same episode's next step, or -1
            self._types["next"] = self.next.dtype
            self._newest = IntegerMap()  # episode -> its newest row
        self._prepare()

    def __len__(self) -> int:
        return self.size

    def __bool__(self) -> bool:
        return True  # also when empty

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size:,} of {self.capacity:,} transitions)"

    def _prepare(self) -> None:
        """Name the columns of the rows, which are views, and the memory of batches."""
        self.columns = {name: self._rows[:, span] for name, span in self._spans.items()}
        self.s, self.a, self.r, self.s2, self.terminated = self.columns.values()
        if self.n_step > 1:
            self.columns["next"] = self.next
        self._code: Native | None = None  # that stores arrays of the usual types
        self._batches: Kept[int, _Batch] = Kept()

    def __getstate__(self) -> dict[str, Any]:
        made = "columns", *_NAMES, "_code", "_batches"  # by _prepare
        own = {name: value for name, value in vars(self).items() if name not in made}
        return {**own, "_mirror": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()  # for the copied rows

    def add(self, s: Array, a: Array, r: Array, s2: Array, terminated: Array,
            episode: Array | None = None) -> None:  # fmt: skip
        """Store transitions: s (N, ...), a (N, ...), r, s2, terminated (N,).

        episode   (N,) numbers of the episodes they belong to; needed for n_step > 1
        """
        n, start = len(r), self.position
        if not n:  # a step of learn_offline
            return
        if n > self.capacity:
            raise ConfigError(
                f"{n} transitions at once do not fit a replay buffer of {self.capacity}; "
                "raise buffer_size to at least n_envs."
            )
        code = self._code
        kinds = type(s), type(a), type(r), type(s2), type(terminated)
        # a call of the kernel, which looks at every argument, takes twice as long
        if (
            kinds != _ARRAYS
            or code is None
            or s.shape[1] != self._s_size  # the kernel takes it from the arguments
            or code.function(
                code.pack(id(self._rows), start, id(s), id(a), id(r), id(s2), id(terminated))
            )
        ):
            self._store(start, s, a, r, s2, terminated)
        if self.n_step > 1:
            self._link(range(start, start + n), episode)
        self.position = (start + n) % self.capacity
        self.size = min(self.size + n, self.capacity)
        if self._mirror is not None:
            self._mirror.unsent = min(self._mirror.unsent + n, self.capacity)

    def set_spaces(self, observations: Observations, actions: Actions) -> None:
        """Say what `add_batch` encodes transitions by."""
        self._spaces = observations, actions

    def add_batch(self, observations: Any, actions: Any, rewards: Any, next_observations: Any,
                  terminated: Any, truncated: Any = None, action_masks: Any = None,
                  next_action_masks: Any = None) -> int:  # fmt: skip
        """Store recorded transitions, in the units of the environment; returns how many.

        observations, next_observations   (B, ...), or dicts or tuples of such arrays
        actions                           (B, ...)
        rewards                           (B,)
        terminated, truncated             (B,) bool: the world ended, or a time limit did
        action_masks, next_action_masks   (B, mask_size), for an agent with action_masks=True; None:
                                          all actions were allowed

        With n_step > 1 a return goes on from one row to the next where no episode ended and the
        next observation is that of the next row: so rows of episodes in their order are needed. The
        running moments of normalize_obs and normalize_reward include the batch.

        Raises ConfigError, and stores nothing, for wrong shapes and types, numbers that are not
        finite, actions that are not in the space, and more transitions than the capacity.
        """
        if self._spaces is None:
            raise ConfigError("add_batch needs the buffer of an agent, agent.buffer; use add.")
        encoding, own = self._spaces
        s = encoded_observations("observations", observations, encoding)
        s2 = encoded_observations("next_observations", next_observations, encoding)
        a = encoded_actions("actions", actions, own)
        n = len(s)
        if not len(a) == len(s2) == n <= self.capacity:
            raise ConfigError(
                f"add_batch needs as many actions and next_observations as observations, and at "
                f"most buffer_size={self.capacity:,}; got {len(a):,}, {len(s2):,} and {n:,}."
            )
        r, ended = numbers("rewards", rewards, n), flags("terminated", terminated, n)
        cut = np.zeros(n, bool) if truncated is None else flags("truncated", truncated, n)
        goes_on = follows(s, s2, ended | cut)
        size = self._s_size - encoding.size  # of a mask
        masks = encoded_masks("action_masks", action_masks, n, own, size)
        next_masks = encoded_masks("next_action_masks", next_action_masks, n, own, size, ended)
        if size:
            check_allowed(a, masks, own)
            s, s2 = np.concatenate([s, masks], axis=1), np.concatenate([s2, next_masks], axis=1)
        rows = (self.position + np.arange(n)) % self.capacity
        newest = self._newest if self.n_step > 1 else None
        self.add(s, a, r, s2, ended, np.empty(0, np.int64))
        if newest is not None:
            self.next[rows] = np.where(goes_on, (rows + 1) % self.capacity, -1)
            lost = np.isin(list(newest.values()), rows)  # overwritten
            self._newest = IntegerMap(item for item, gone in zip(newest.items(), lost) if not gone)
        if self.obs_norm is not None:
            self.obs_norm.add(s)
        if self.reward_norm is not None:
            self.reward_norm.add_sequence(r, goes_on)
        return n

    def _store(self, start: int, *columns: Array) -> None:
        """Store transitions in columns of any kind, from row `start` on."""
        n = len(columns[2])
        arrays = []
        for x, shape in zip(map(np.asarray, columns), self._shapes):
            arrays.append(x if x.shape == (n, *shape) else np.broadcast_to(x, (n, *shape)))
        arguments = self._rows, start, *arrays
        replay.insert(*arguments)
        self._code = replay.insert.native(*arguments)

    def _link(self, rows: Iterable[int], episode: Any) -> None:
        """Link each new row with the row before it in the same episode."""
        newest = IntegerMap()
        for row, number in zip(rows, episode.tolist()):
            row %= self.capacity
            self.next[row] = -1
            newest[number] = row
        for number, row in newest.items():
            before = self._newest.get(number)
            if before is not None and before not in newest.values():  # a ring of one step
                self.next[before] = row
        self._newest = newest

    def sample(
        self, batch_size: int, rng: np.random.Generator, noise: Iterable[Array | None] = ()
    ) -> Batch:
        """A batch (s, a, r, s2, terminated, gamma) on the device, uniform with replacement.

        gamma is the discount of the value of s2: a number, or (B,) powers where n_step > 1, since a
        return is shorter where its episode ends.

        noise   arrays on the host, or None: the last elements of the batch, in the same upload
        """
        return self.gather(self._uniform(batch_size, rng), noise)

    def _uniform(self, batch_size: int, rng: np.random.Generator) -> Array:
        """Rows (B,), uniform with replacement, valid until the next ones."""
        if not self.size:
            raise ConfigError("The replay buffer is empty; add transitions before sampling.")
        held = self._batch(batch_size)
        rng.random(out=held.u)
        held.u *= self.size
        held.index[...] = held.u  # rounded down
        return held.index

    def _batch(self, size: int) -> _Batch:
        """The memory of batches of a size."""
        return self._batches.used(size, self._new_batch)

    def _new_batch(self, size: int) -> _Batch:
        return _Batch(self, size)

    def gather(self, index: Array, noise: Iterable[Array | None] = ()) -> Batch:
        """The batch of the transitions that start at rows `index` (B,); see `sample`."""
        if on_device() and (there := self._rows_on_device()) is not None:
            return self._gather_on_device(there, index, [*noise])
        held = self._batch(len(index))
        if index is not held.index:
            held.index[...] = index
        if self.n_step > 1:
            held.add_up(self)
        held.gather(self)
        batch = *held.columns, held.gamma if self.n_step > 1 else self.gamma, *noise
        return self._sent(batch) if on_device() else batch

    # ---- on a device

    def _sent(self, batch: Batch) -> Batch:
        """A batch of host arrays as one on the device; a number stays a number."""
        arrays = [x if isinstance(x, np.ndarray) else None for x in batch]
        sent = upload(*arrays)
        return tuple(x if there is None else there for x, there in zip(batch, sent))

    def _rows_on_device(self) -> Mirror | None:
        """The rows on the device, where they go at the first sample; None if they do not fit."""
        if self._mirror is None and not self._on_host:
            if mirror.fits(self._rows):
                self._mirror = Mirror(self._rows, self._s_size, self._a_shape, self._types["a"])
                self._mirror.unsent = self.size
                return self._mirror
            self._on_host = True
            warnings.warn(
                f"A replay buffer of {self.capacity:,} transitions, "
                f"{format_bytes(self._rows.nbytes)}, is too large for the free memory of the "
                "device: batches are gathered on the host, which is slower. Lower buffer_size.",
                ConfigWarning,
                stacklevel=5,
            )
        return self._mirror

    def _gather_on_device(
        self, there: Mirror, index: Array, noise: Sequence[Array | None]
    ) -> Batch:
        optional: dict[str, Array] = {}
        clip = reward_clip = 0.0
        if self.n_step > 1:
            held = self._batch(len(index))
            if index is not held.index:
                held.index[...] = index
            held.add_up(self)
            optional["returns"], optional["gamma"] = held.returns, held.gamma
            optional["last"] = held.last.astype(np.int32)
        if self.obs_norm is not None:
            optional["mean"], optional["scale"] = self.obs_norm.scaling
            clip = self.obs_norm.clip
        if self.reward_norm is not None:
            optional["reward_scale"] = np.full(1, self.reward_norm.scale, FLOAT)
            reward_clip = self.reward_norm.clip * self.n_step
        columns, sent, more = there.batch(
            self.position, index, optional, clip, reward_clip, [x for x in noise if x is not None]
        )
        others = iter(more)
        last_ones = (x if x is None else next(others) for x in noise)
        return (*columns, sent.get("gamma", self.gamma), *last_ones)

    # ---- files

    def state(self) -> dict[str, Array]:
        """The filled part of every column, and the row of the next transition."""
        arrays = {
            name: column[: self.size].astype(self._types[name])
            for name, column in self.columns.items()
        }
        arrays["position"] = np.array(self.position, np.int64)
        if self.n_step > 1:
            arrays["newest"] = self._newest.state()["items"]
        return arrays

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state; raises ConfigError, and changes nothing, if it is not valid."""
        position, size = int(state["position"]), len(state["r"])
        full = size == self.capacity
        if size > self.capacity or not (0 <= position < size if full else position == size):
            raise ConfigError(
                f"A replay of {size} does not fit buffer_size={self.capacity}, or cannot continue "
                f"at row {position}."
            )
        for name, column in self.columns.items():
            what = f"The replay's column {name!r}"
            check_array(what, state[name], column[:size].shape, self._types[name])
        links = state.get("next", np.array(-1))
        if (links < -1).any() or (links >= size).any():
            raise ConfigError("The replay's column 'next' has rows out of range.")
        if not np.isin(state["terminated"], (0, 1)).all():
            raise ConfigError("The replay's column 'terminated' has other numbers than 0 and 1.")
        self._check_masks(state)
        if self.n_step > 1:
            newest = IntegerMap()
            newest.load({"items": state["newest"]})
            if not all(0 <= row < size for row in newest.values()):
                raise ConfigError("The replay's newest rows are out of range.")
            self._newest = newest
        for name, column in self.columns.items():
            column[:size] = state[name]
        self.position, self.size = position, size
        if self._mirror is not None:
            self._mirror.unsent = size

    def _check_masks(self, state: dict[str, Array]) -> None:
        """Raise ConfigError for masks of actions in a state that are none, or forbid an action."""
        if self._spaces is None or self._s_size == self._spaces[0].size:
            return
        encoding, actions = self._spaces
        masks, next_masks = (
            encoded_masks(f"masks of the replay's column {name!r}", state[name][:, encoding.size :],
                          len(state["r"]), actions, actions.mask_size)
            for name in ("s", "s2")
        )  # fmt: skip
        check_allowed(state["a"], masks, actions)


class PrioritizedReplayBuffer(ReplayBuffer):
    """A replay buffer that is sampled with probabilities p^alpha / sum p^alpha.

    alpha          0 draws uniformly, 1 in proportion to the priorities
    eps            added to every |TD error|, so that every transition can be drawn
    normalization  importance weights are divided by their maximum over the "batch" or the "buffer"

    New transitions get the largest priority so far, since their TD error is not known yet. It never
    decreases: after an outlier, new transitions are drawn early until their own error is known.
    Source: Schaul et al. 2016, section 3.3-3.4.
    """

    _more_bytes = 32  # of the tree, at most, when the capacity is just above a power of two

    def __init__(self, *args: Any, alpha: float = 0.6, eps: float = 1e-6,
                 normalization: str = "batch", **options: Any) -> None:  # fmt: skip
        super().__init__(*args, **options)
        self.alpha, self.eps, self.normalization = alpha, eps, normalization
        self._tree = SumTree(self.capacity)
        self._largest = 1.0
        # changes of priorities that follow TD errors which are on their way from a device: rows,
        # and the download of their errors; None: the rows are new
        self._waiting: list[tuple[Array, Download | None]] = []

    @property
    def tree(self) -> SumTree:
        """The priorities p^alpha of the rows."""
        self._settle()
        return self._tree

    @property
    def largest(self) -> float:
        """The largest priority p^alpha so far."""
        self._settle()
        return self._largest

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return super().__getstate__()

    def add(self, s: Array, a: Array, r: Array, s2: Array, terminated: Array,
            episode: Array | None = None) -> None:  # fmt: skip
        rows = np.arange(self.position, self.position + len(r)) % self.capacity
        super().add(s, a, r, s2, terminated, episode)
        if self._waiting:
            self._waiting.append((rows, None))
        else:
            self._tree.set(rows, self._largest)

    def sample(  # type: ignore[override]
        self, batch_size: int, rng: np.random.Generator, beta: float = 1.0
    ) -> Batch:
        """A batch as from ReplayBuffer, weights (B,) on the device and rows (B,) on the host.

        One draw in each of B equal shares of the total; beta is the exponent of the weights.
        """
        tree = self.tree
        total = tree.total
        if total > 0:
            index = tree.find((np.arange(batch_size) + rng.random(batch_size)) / batch_size * total)
        else:  # nothing was added, or all priorities are zero
            index = self._uniform(batch_size, rng).copy()
        probability = tree[index] / total if total > 0 else np.full(batch_size, 1 / self.size)
        w = (self.size * probability) ** -beta
        if self.normalization == "buffer" and total > 0:
            priorities = tree[: self.size]
            w /= (self.size * priorities[priorities > 0].min() / total) ** -beta
        else:
            w /= w.max()
        return (*self.gather(index, [w.astype(FLOAT)]), index)

    def set_priorities(self, index: Array, td_error: Array) -> None:
        """Set the priorities of the rows of a batch, a host array, from TD errors (B,).

        Errors on a device are copied to the host while it goes on, and are used when priorities are
        needed next: the next sample has them. Until then they must keep their values.

        For a repeated row the last one counts. Where the error is not finite the row keeps its
        priority, since the optimizer skipped the update too.
        """
        if isinstance(td_error, np.ndarray):
            self._settle()
            self._set(index, td_error)
        else:
            self._waiting.append((index, downloads.ask(td_error)))

    def _set(self, index: Array, td_error: Array) -> None:
        known = np.isfinite(td_error)
        priority = (np.abs(td_error[known]).astype(np.float64) + self.eps) ** self.alpha
        self._tree.set(index[known], priority)
        self._largest = max(self._largest, float(priority.max(initial=0.0)))

    def _settle(self) -> None:
        """Make the changes that wait, in their order."""
        while self._waiting:
            rows, td_error = self._waiting[0]
            if td_error is None:
                self._tree.set(rows, self._largest)
            else:
                self._set(rows, td_error.get())
            del self._waiting[0]  # not before: a download may fail, and be asked for again

    def state(self) -> dict[str, Array]:
        priorities = {"priority": self.tree[: self.size], "largest": np.array(self.largest)}
        return {**super().state(), **priorities}

    def load(self, state: dict[str, Array]) -> None:
        priority, largest = state["priority"], float(state["largest"])
        if priority.shape != state["r"].shape or not 0 < largest < np.inf:
            raise ConfigError("A prioritized replay needs one priority per transition.")
        tree, rows = SumTree(self.capacity), priority[: self.capacity]  # too many are refused below
        tree.set(np.arange(len(rows)), rows)
        super().load(state)
        self._waiting = []
        self._tree, self._largest = tree, largest


class Steps(list[Any]):
    """Steps of all N environments that no rollout was made of yet, oldest first.

    Each is (s, a, r, s2, terminated, truncated, valid), arrays (N, ...) on the host; valid is
    False where a vector environment only reset itself, which is not a transition.
    """

    group = "state"  # in an agent's file: npr.files.parts
    NAMES = ("s", "a", "r", "s2", "terminated", "truncated", "valid")

    def __init__(
        self, N: int, s_size: int, a_shape: tuple[int, ...] = (), a_dtype: Any = INDEX_DTYPE
    ) -> None:
        super().__init__()
        self.N = N
        self._block = Block()
        self._types: dict[str, Any] = {
            "s": ((N, s_size), FLOAT), "a": ((N, *a_shape), np.dtype(a_dtype)), "r": ((N,), FLOAT),
            "s2": ((N, s_size), FLOAT), **dict.fromkeys(self.NAMES[4:], ((N,), np.dtype(bool))),
        }  # fmt: skip
        self._kept: Kept[int, dict[str, Array]] = Kept(1)

    def __repr__(self) -> str:
        return f"Steps({len(self):,} of {self.N} environments)"

    def end_episodes(self, whole: bool, of: Array | None = None) -> None:
        """Cut the open episodes, which will not go on: the last step counts as truncated.

        whole   make their steps invalid instead, as they are not complete episodes
        of      (N,) the environments whose episodes these are; None: of all
        """
        if not self:
            return
        of = np.ones(self.N, bool) if of is None else of
        *row, truncated, valid = self[-1]
        if not whole:
            self[-1] = (*row, truncated | of, valid)
            return
        complete = ~of
        for t in range(len(self) - 1, -1, -1):
            *row, terminated, truncated, valid = self[t]
            complete |= valid & (terminated | truncated)
            self[t] = (*row, terminated, truncated, valid & complete)

    def columns(self) -> dict[str, Array]:
        """Name -> (T, N, ...), newly allocated."""
        return self._written_to(self._new_columns(len(self)))

    def kept_columns(self) -> dict[str, Array]:
        """The same in memory that the next ones of this length are written to."""
        return self._written_to(self._kept.used(len(self), self._new_columns))

    def _new_columns(self, T: int) -> dict[str, Array]:
        return {name: np.empty((T, *shape), dtype) for name, (shape, dtype) in self._types.items()}

    def _written_to(self, columns: dict[str, Array]) -> dict[str, Array]:
        if self:
            for out, column in zip(columns.values(), zip(*self)):
                flat = out.reshape(-1, *out.shape[2:])
                np.concatenate(column, out=flat, casting="unsafe")
        return columns

    def state(self) -> dict[str, Array]:
        return self.columns()

    def load(self, state: dict[str, Array]) -> None:
        """Restore a state; raises ConfigError if it is not one of these environments."""
        for name, (shape, dtype) in self._types.items():
            T = len(state["r"])
            check_array(f"The steps' {name!r}", state[name], (T, *shape), dtype)
        self[:] = zip(*(state[name] for name in self.NAMES))


class Rollout:
    """T steps of N environments, as columns (T, N, ...).

    done        terminated or truncated: a trace is cut after this step
    s2          the true next observation, also where the episode ended here
    valid       False where a vector environment only reset itself, which is not a transition

    They are valid until the next rollout of these environments, as they are in the same memory.
    """

    def __init__(self, steps: Steps) -> None:
        self.s, self.a, self.r, self.s2, *flags = steps.kept_columns().values()
        terminated, truncated, self.valid = flags
        done = terminated | truncated
        if not self.valid.all():
            # a row that is not valid cuts its trace and that of the step before it
            terminated, done = terminated | ~self.valid, done | ~self.valid
            done[:-1] |= ~self.valid[1:]
        self.terminated, self.done = terminated.astype(FLOAT), done.astype(FLOAT)
        self._sent: list[Array] = []  # mask, rows and steps, on a device
        self._block = steps._block

    def __repr__(self) -> str:
        T, N = self.r.shape
        return f"Rollout({T:,} steps of {N} environments)"

    def arrays(self, *noise: Array) -> Batch:
        """(s, a, r, s2, terminated, done) on the device, each (T, N, ...).

        noise   arrays on the host: the last elements of the result, in the same upload
        """
        columns = (self.s, self.a, self.r, self.s2, self.terminated, self.done, *noise)
        if not on_device():
            return columns
        sent = upload(*columns, self.valid, np.flatnonzero(self.valid), self._steps())
        self._sent = sent[len(columns) :]
        return tuple(sent[: len(columns)])

    def mask(self) -> Array:
        """`valid` (T, N), on the device."""
        return self._sent[0] if self._sent else to_device(self.valid)

    def rows(self) -> Array:
        """The valid steps as indices of columns flattened to (T N, ...), on the device."""
        return self._sent[1] if self._sent else to_device(np.flatnonzero(self.valid))

    def steps(self) -> Array:
        """(T, N), on the device: how many steps of its episode came before each, since row 0."""
        return self._sent[2] if self._sent else to_device(self._steps())

    def _steps(self) -> Array:
        t = np.arange(len(self.r))[:, None]
        begins = np.zeros(self.r.shape, np.int64)
        begins[1:] = np.where(self.done[:-1] > 0, t[1:], 0)
        return (t - np.maximum.accumulate(begins)).astype(FLOAT)

    def flat(self, *columns: Array) -> list[Array]:
        """The valid steps of columns (T, N, ...), as (T N, ...) with fewer rows.

        On the host they are valid until the next ones of as many rows, and batches of `batches` if
        their columns have the same shapes and types.
        """
        flat, rows = [x.reshape(-1, *x.shape[2:]) for x in columns], self.rows()
        if on_device():
            return [x.take(rows, axis=0) for x in flat]
        return self._block.taker(flat)(rows)

    def minibatches(self, batch_size: int, rng: np.random.Generator) -> list[Array]:
        """Indices as `rows`, in arrays that visit every valid step once, in random order.

        A last minibatch of a single step joins the one before it: one step has no standard
        deviation.
        """
        index = np.flatnonzero(self.valid)
        rng.shuffle(index)
        cuts = list(range(0, len(index), batch_size)) + [len(index)]
        if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
            del cuts[-2]
        order = to_device(index)
        return [order[i:j] for i, j in zip(cuts, cuts[1:])]

    def batches(
        self, columns: Sequence[Array], batch_size: int, rng: np.random.Generator
    ) -> Iterator[list[Array]]:
        """The rows of columns (T N, ...) in the minibatches of `minibatches`.

        A batch is valid until the next one of its size, which is written to the same memory.
        """
        order = self.minibatches(batch_size, rng)
        take = self._block.taker(columns)
        return (take(i) for i in order)
