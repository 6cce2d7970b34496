"""Where experience is kept: preallocated columns on the host; batches go to the device."""

import math

import numpy as np

from npr.backend import FLOAT, to_device, xp
from npr.envs.spaces import INDEX_DTYPE
from npr.errors import ConfigError
from npr.kernels.returns import n_step_returns
from npr.kernels.sumtree import SumTree
from npr.normalize import ObservationNorm, RewardNorm
from npr.system.memory import check_replay


class IntegerMap(dict):
    """Whole numbers by whole numbers, e.g. an action by the number of its episode."""

    group = "state"  # in an agent's file: npr.files.parts

    def state(self) -> dict:
        return {"items": np.array(list(self.items()), np.int64).reshape(-1, 2)}

    def load(self, state: dict) -> None:
        """Take over a state; raises ConfigError if it is not one."""
        items = state["items"]
        if items.dtype != np.int64 or items.ndim != 2 or items.shape[1] != 2:
            raise ConfigError(f"A map of whole numbers must be int64(K, 2), got {items.shape}.")
        self.clear()
        self.update(items.tolist())


class ReplayBuffer:
    """The last `capacity` transitions (s, a, r, s2, terminated), in a ring.

    s_size    numbers per observation
    a_shape   () with a_dtype int64 for discrete actions, (D,) otherwise
    gamma     discount per env step
    n_step    a sample's reward is the discounted sum over up to n steps of its episode
    obs_norm, reward_norm  normalize batches before they go to the device; None: as stored

    A time-out is not stored: s2 is always the true next observation, and `terminated` alone
    decides whether its value counts.

    Raises ConfigError where it would not fit into memory.
    """

    group = "buffer"  # in an agent's file: npr.files.parts
    _more_bytes = 0  # per transition, of a subclass

    def __init__(
        self, capacity: int, s_size: int, a_shape=(), a_dtype=INDEX_DTYPE, gamma=0.99, n_step=1,
        obs_norm: ObservationNorm | None = None, reward_norm: RewardNorm | None = None,
    ):  # fmt: skip
        self.capacity, self.position, self.size = capacity, 0, 0
        self.gamma, self.n_step = gamma, n_step
        self.obs_norm, self.reward_norm = obs_norm, reward_norm
        # A row per transition: drawing one is one visit to memory, and a batch is one upload. A
        # choice is kept as a float, exact below 2^24.
        widths = {"s": s_size, "a": math.prod(a_shape), "r": 1, "s2": s_size, "terminated": 1}
        width = sum(widths.values())
        check_replay(capacity, width * FLOAT.itemsize + 8 * (n_step > 1) + self._more_bytes)
        self._rows = np.zeros((capacity, width), FLOAT)
        self._spans: dict = {}  # name -> its columns
        start = 0
        for name, width in widths.items():
            one = name in ("r", "terminated") or (name == "a" and a_shape == ())
            self._spans[name] = start if one else slice(start, start + width)
            start += width
        self._types = {**dict.fromkeys(widths, FLOAT), "a": np.dtype(a_dtype)}
        self.columns = {name: self._rows[:, span] for name, span in self._spans.items()}
        self.s, self.a, self.r, self.s2, self.terminated = self.columns.values()
        if n_step > 1:
            self.next = np.full(capacity, -1)  # row of the same episode's next step, or -1
            self.columns["next"], self._types["next"] = self.next, self.next.dtype
            self._newest = IntegerMap()  # episode -> its newest row

    def add(self, s, a, r, s2, terminated, episode=None) -> None:
        """Store transitions: s (N, ...), a (N, ...), r, s2, terminated (N,).

        episode   (N,) numbers of the episodes they belong to; needed for n_step > 1
        """
        n, start = len(r), self.position
        if n > self.capacity:
            raise ConfigError(
                f"{n} transitions at once do not fit a replay buffer of {self.capacity}; "
                "raise buffer_size to at least n_envs."
            )
        end = start + n
        rows = slice(start, end) if end <= self.capacity else np.arange(start, end) % self.capacity
        self.s[rows], self.a[rows], self.r[rows] = s, a, r
        self.s2[rows], self.terminated[rows] = s2, terminated
        if self.n_step > 1:
            self._link(range(start, end), episode)
        self.position = end % self.capacity
        self.size = min(self.size + n, self.capacity)

    def _link(self, rows, episode):
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

    def sample(self, batch_size: int, rng: np.random.Generator) -> tuple:
        """A batch (s, a, r, s2, terminated, gamma) on the device, uniform with replacement.

        gamma is what the value of s2 is discounted by: a number, or (B,) powers where n_step > 1,
        since a return is cut short where its episode ends.
        """
        return self.gather(self._uniform(batch_size, rng))

    def _uniform(self, batch_size, rng):
        """Rows (B,), all alike."""
        if not self.size:
            raise ConfigError("The replay buffer is empty; add transitions before sampling.")
        return (rng.random(batch_size) * self.size).astype(np.int64)

    def gather(self, index: np.ndarray) -> tuple:
        """The batch of the transitions that start at rows `index` (B,); see `sample`."""
        rows, gamma = self._rows.take(index, axis=0), self.gamma
        if self.n_step > 1:
            r, power = np.empty(len(index), FLOAT), np.empty(len(index), FLOAT)
            last = np.empty_like(index)
            n_step_returns(self.r, self.next, index, self.n_step, self.gamma, r, power, last)
            rows[:, self._spans["r"]], gamma = r, to_device(power)
            follow = self._spans["s2"].start  # s2 and terminated, to the end
            rows[:, follow:] = self._rows.take(last, axis=0)[:, follow:]
        if self.obs_norm is not None:
            for name in ("s", "s2"):
                rows[:, self._spans[name]] = self.obs_norm(rows[:, self._spans[name]])
        if self.reward_norm is not None:
            rows[:, self._spans["r"]] = self.reward_norm(rows[:, self._spans["r"]])
        rows = to_device(rows)
        s, a, r, s2, terminated = [rows[:, span] for span in self._spans.values()]
        a = a.astype(self._types["a"], copy=False)
        return xp.ascontiguousarray(s), a, r, xp.ascontiguousarray(s2), terminated, gamma

    def state(self) -> dict:
        """The filled part of every column, and where the next transition goes."""
        arrays = {
            name: column[: self.size].astype(self._types[name])
            for name, column in self.columns.items()
        }
        arrays["position"] = np.array(self.position, np.int64)
        if self.n_step > 1:
            arrays["newest"] = self._newest.state()["items"]
        return arrays

    def load(self, state: dict) -> None:
        """Take over a state; raises ConfigError, and changes nothing, if it is not a whole one."""
        position, size = int(state["position"]), len(state["r"])
        full = size == self.capacity
        if size > self.capacity or not (0 <= position < size if full else position == size):
            raise ConfigError(
                f"A replay of {size} does not fit buffer_size={self.capacity}, or cannot go on at "
                f"row {position}."
            )
        for name, column in self.columns.items():
            held, dtype = state[name], self._types[name]
            if held.shape != column[:size].shape or held.dtype != dtype:
                raise ConfigError(
                    f"A replay's column {name!r} must be {dtype}{column[:size].shape}, got "
                    f"{held.dtype}{held.shape}."
                )
            if held.dtype.kind == "f" and not np.isfinite(held).all():
                raise ConfigError(f"A replay's column {name!r} holds numbers that are not finite.")
        links = state.get("next", np.array(-1))
        if (links < -1).any() or (links >= size).any():
            raise ConfigError("A replay's column `next` leads outside of it.")
        if self.n_step > 1:
            newest = state["newest"]
            self._newest.load({"items": newest})
            if (newest[:, 1] < 0).any() or (newest[:, 1] >= size).any():
                raise ConfigError("A replay's newest rows lie outside of it.")
        for name, column in self.columns.items():
            column[:size] = state[name]
        self.position, self.size = position, size


class PrioritizedReplayBuffer(ReplayBuffer):
    """A replay buffer that is drawn from with chances p^alpha / sum p^alpha.

    alpha          0 draws uniformly, 1 in proportion to the priorities
    eps            added to every |TD error|, so that nothing is never drawn
    normalization  importance weights are divided by their maximum over the "batch" or the "buffer"

    New transitions get the largest priority so far: their TD error is not known yet. It never
    falls again, so that after an outlier each of them is drawn early, until its own is known.
    Source: Schaul et al. 2016, section 3.3-3.4.
    """

    _more_bytes = 32  # of the tree, at most: just above a power of two

    def __init__(self, *args, alpha=0.6, eps=1e-6, normalization="batch", **options):
        super().__init__(*args, **options)
        self.alpha, self.eps, self.normalization = alpha, eps, normalization
        self.tree = SumTree(self.capacity)
        self.largest = 1.0  # of the priorities so far, to the power of alpha

    def add(self, s, a, r, s2, terminated, episode=None) -> None:
        rows = np.arange(self.position, self.position + len(r)) % self.capacity
        super().add(s, a, r, s2, terminated, episode)
        self.tree.set(rows, self.largest)

    def sample(self, batch_size: int, rng: np.random.Generator, beta: float = 1.0) -> tuple:
        """A batch as of ReplayBuffer, then weights (B,) on the device and rows (B,) on the host.

        One draw in each of B equal shares of the total; beta is the exponent of the weights.
        """
        total = self.tree.total
        if total > 0:
            index = self.tree.find(
                (np.arange(batch_size) + rng.random(batch_size)) / batch_size * total
            )
        else:  # nothing was added, or all priorities are zero
            index = self._uniform(batch_size, rng)
        chance = self.tree[index] / total if total > 0 else np.full(batch_size, 1 / self.size)
        w = (self.size * chance) ** -beta
        if self.normalization == "buffer" and total > 0:
            priorities = self.tree[: self.size]
            w /= (self.size * priorities[priorities > 0].min() / total) ** -beta
        else:
            w /= w.max()
        return (*self.gather(index), to_device(w.astype(FLOAT)), index)

    def set_priorities(self, index, td_error) -> None:
        """Take |TD error| (B,), a host array, for the rows of a batch; of a row twice the last.

        Where it is not finite the row keeps its priority: the update was skipped as well.
        """
        known = np.isfinite(td_error)
        priority = (np.abs(td_error[known]).astype(np.float64) + self.eps) ** self.alpha
        self.tree.set(index[known], priority)
        self.largest = max(self.largest, float(priority.max(initial=0.0)))

    def state(self) -> dict:
        priorities = {"priority": self.tree[: self.size], "largest": np.array(self.largest)}
        return {**super().state(), **priorities}

    def load(self, state: dict) -> None:
        priority, largest = state["priority"], float(state["largest"])
        if priority.shape != state["r"].shape or not 0 < largest < np.inf:
            raise ConfigError("A prioritised replay needs one priority per transition.")
        super().load(state)
        self.tree = SumTree(self.capacity)
        self.tree.set(np.arange(self.size), priority)
        self.largest = largest


class Steps(list):
    """Steps of all N environments that no rollout was made of yet, oldest first.

    Each is (s, a, r, s2, terminated, truncated, valid), arrays (N, ...) on the host; valid is
    False where a vector environment only reset itself: that is not an experience.
    """

    group = "state"  # in an agent's file: npr.files.parts
    NAMES = ("s", "a", "r", "s2", "terminated", "truncated", "valid")

    def __init__(self, N: int, s_size: int, a_shape=(), a_dtype=INDEX_DTYPE):
        super().__init__()
        self.N = N
        self._types = {
            "s": ((N, s_size), FLOAT), "a": ((N, *a_shape), np.dtype(a_dtype)), "r": ((N,), FLOAT),
            "s2": ((N, s_size), FLOAT), **dict.fromkeys(self.NAMES[4:], ((N,), np.dtype(bool))),
        }  # fmt: skip

    def columns(self) -> dict:
        """Name -> (T, N, ...), newly allocated."""
        held = zip(*self) if self else [[]] * len(self.NAMES)
        return {
            name: np.array(column, dtype).reshape(len(self), *shape)
            for (name, (shape, dtype)), column in zip(self._types.items(), held)
        }

    def state(self) -> dict:
        return self.columns()

    def load(self, state: dict) -> None:
        """Take over a state; raises ConfigError if it is not one of these environments."""
        for name, (shape, dtype) in self._types.items():
            held = state[name]
            if held.shape != (len(state["r"]), *shape) or held.dtype != dtype:
                raise ConfigError(
                    f"The steps' {name!r} must be {dtype} of shape (T, *{shape}), got "
                    f"{held.dtype}{held.shape}."
                )
            if held.dtype.kind == "f" and not np.isfinite(held).all():
                raise ConfigError(f"The steps' {name!r} holds numbers that are not finite.")
        self[:] = zip(*(state[name] for name in self.NAMES))


class Rollout:
    """T steps of N environments as the environments told them: columns (T, N, ...).

    done        terminated or truncated: a trace is cut after this step
    s2          the true next observation, also where the episode ended here
    valid       0 where a vector environment only reset itself: not an experience
    """

    def __init__(self, steps: Steps):
        columns = steps.columns()
        self.s, self.a, self.r, self.s2 = (columns[name] for name in ("s", "a", "r", "s2"))
        self.valid = columns["valid"]
        # a row that is not valid cuts every trace, that of the step before it too
        self.terminated = (columns["terminated"] | ~self.valid).astype(FLOAT)
        done = columns["terminated"] | columns["truncated"] | ~self.valid
        done[:-1] |= ~self.valid[1:]
        self.done = done.astype(FLOAT)

    def arrays(self) -> tuple:
        """(s, a, r, s2, terminated, done) on the device, each (T, N, ...)."""
        columns = (self.s, self.a, self.r, self.s2, self.terminated, self.done)
        return tuple(to_device(column) for column in columns)

    def steps(self):
        """(T, N), on the host: how many steps of its episode came before each, from row 0 on."""
        t = np.arange(len(self.r))[:, None]
        begins = np.zeros(self.r.shape, np.int64)
        begins[1:] = np.where(self.done[:-1] > 0, t[1:], 0)
        return (t - np.maximum.accumulate(begins)).astype(FLOAT)

    def rows(self):
        """The valid steps as indices of columns flattened to (T N, ...), on the device."""
        return to_device(np.flatnonzero(self.valid))

    def minibatches(self, batch_size: int, rng: np.random.Generator):
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
