"""What the modules of the double share: counts, errors, the work of the device and its recording.

All work of the simulated device goes through `new`, `write` and `empty`: they count it, do it, and
record it while the current stream captures a graph. Memory is that of NumPy arrays; the one that
owns its memory stands for it.
"""

import contextlib
import weakref
from dataclasses import dataclass, fields

import numpy as np


class SynchronizationError(RuntimeError):
    """Something would have made the CPU wait for the GPU (R4, R5)."""


class PrecisionError(RuntimeError):
    """A float64 array was made where the compute type is float32 (R10)."""


class StagingError(RuntimeError):
    """Pinned memory was changed while a copy from it may still have been running (R14)."""


class GraphError(RuntimeError):
    """A graph uses memory that CuPy may have given to others (R17)."""


# ---- counts


@dataclass
class Counts:
    """What a program asked of the device since `reset`."""

    uploads: int = 0
    downloads: int = 0
    synchronizations: int = 0  # operations that wait for the device, including those that raised
    waits: int = 0  # for an event
    launches: int = 0  # kernels, copies within the device, fills and graphs
    products: int = 0  # those that call cuBLAS
    graph_launches: int = 0  # those of graphs
    graph_nodes: int = 0  # kernels, copies and fills within these graphs

    def reset(self):
        for field in fields(self):
            setattr(self, field.name, 0)

    def transfers(self):
        """The first three, in which the host and the device meet."""
        names = ("uploads", "downloads", "synchronizations")
        return {name: getattr(self, name) for name in names}


counts = Counts()
_sync_allowed = False


@contextlib.contextmanager
def allow_sync():
    """Within this block the host may read values; each read is still counted."""
    global _sync_allowed
    before, _sync_allowed = _sync_allowed, True
    try:
        yield
    finally:
        _sync_allowed = before


def read(what):
    """Allow the host to wait for a value, or raise."""
    counts.synchronizations += 1
    transfer("D2H")
    if not _sync_allowed:
        raise SynchronizationError(f"{what} of a device array makes the CPU wait for the GPU.")


def transfer(direction):
    """Raise while a graph is captured, as CuPy's copies between host and device do (R16)."""
    if capture is not None:
        raise RuntimeError(
            f"the current stream is capturing, so {direction} transfers are disallowed"
        )


def product():
    """Call cuBLAS, which CuPy refuses while a graph is captured (R16)."""
    counts.products += 1
    if capture is not None:
        raise NotImplementedError(
            "calling cuBLAS API during stream capture is currently unsupported"
        )


# ---- memory

allocate = None  # what `cuda.using_allocator` has set: size in bytes -> MemoryPointer


def poison(kind):
    """The value of memory that nothing was written to (R9): NaN, the smallest integer, True."""
    return np.nan if kind.kind in "fc" else np.iinfo(kind).min if kind.kind in "iu" else True


def owner_of(host):
    """The array that owns the memory of this one."""
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


def allocated(array):
    """Account for the memory of a new device array; returns what the allocator returned."""
    if allocate is None and capture is None:
        return None
    pointer = None
    if array.nbytes and allocate is not None:
        pointer = allocate(array.nbytes)
        pointer.mem._bind(owner_of(array._host))
    if capture is not None:
        capture.made(array, pointer)
    return pointer


# ---- work


def empty(shape, dtype):
    """New memory, whose content is undefined."""
    kind = np.dtype(dtype)
    value = poison(kind)
    host = np.full(shape, value, kind)
    if capture is not None:
        capture.record(lambda: host.fill(value), 0)
    return host


def new(function, *args, launches=1, **options):
    """The result of a function in new memory, which `launches` kernels compute.

    The result is C-contiguous (R13).
    """
    counts.launches += launches
    host = np.asarray(function(*args, **options))
    if not host.flags.c_contiguous:
        host = np.ascontiguousarray(host)
    if capture is not None:
        capture.record(lambda: np.copyto(host, function(*args, **options)), launches)
    return host


def write(function, *targets, launches=1):
    """Do work that writes to the memory of the NumPy arrays `targets`, in `launches` kernels.

    function   takes no arguments; it must hold the arrays that it uses
    """
    counts.launches += launches
    if capture is not None:
        capture.keep(targets)
    function()
    if capture is not None:
        capture.record(function, launches)


def run(function, *arrays):
    """Launch one kernel: `function()` may write to the memory of these device arrays.

    function   takes no arguments; it must hold the arrays' NumPy arrays, as `host_of` gives them
    """
    write(function, *map(host_of, arrays))


def host_of(array):
    """The NumPy array of a device array that an operation uses."""
    if capture is not None:
        capture.use(array)
    return array._host


# ---- recording

capture = None  # the Capture of the current stream, while it captures


class Capture:
    """The operations between begin_capture and end_capture, and the memory that they use.

    They are carried out at once, so that shapes and types are known; at the end memory is given
    back the content that it had, and new memory is poisoned: a real capture executes nothing.
    """

    def __init__(self):
        self.operations, self.launches = [], 0
        self.error = None  # of an operation that invalidates the capture
        self.incomplete = False  # whether an exception left it
        self.pools = {}  # of new memory: weak reference -> blocks that it had freed before
        self._before = {}  # id of memory -> the memory, its content
        self._new = {}  # id of memory -> the memory
        self._used = []  # weak references to what must live on, what it is
        self._allocations = {}  # pool -> how often it had given memory at the end
        self._last = {}  # id -> the last weak reference for it

    def record(self, function, launches):
        self.operations.append(function)
        self.launches += launches

    def made(self, array, pointer):
        """New memory, from this pointer; None: from the default pool."""
        memory = owner_of(array._host)
        self._new[id(memory)] = memory
        pool = pointer and pointer.mem.pool
        if array.nbytes:
            self.pools[pool] = pool and pool()._blocks_freed

    def use(self, array):
        """Memory that must still be there when the graph is launched."""
        if id(owner_of(array._host)) not in self._new:
            holder = array._holder()
            known = self._last.get(id(holder))
            if known is None or known() is not holder:  # the id may be that of a dead object
                self._last[id(holder)] = known = weakref.ref(holder)
                self._used.append((known, f"{array.dtype}{array.shape}"))

    def keep(self, targets):
        """Note the content of memory before the first operation that writes to it."""
        for target in targets:
            memory = owner_of(target)
            if id(memory) not in self._new and id(memory) not in self._before:
                self._before[id(memory)] = memory, memory.copy()

    def undo(self):
        """Give memory the content that it would have without the operations."""
        for memory, content in self._before.values():
            memory[...] = content
        for memory in self._new.values():
            memory.fill(poison(memory.dtype))

    def end(self):
        """The capture is complete: raise if it cannot be launched. From now on its pools must not
        give memory to others."""
        if None in self.pools:
            raise GraphError(
                "A graph was captured with memory of the default pool, which is handed out again "
                "when an array dies. Allocate from a pool of its own: `with "
                "cuda.using_allocator(pool.malloc)`; it must live as long as the graph."
            )
        self._allocations = {pool: pool()._allocations for pool in self.pools if pool()}

    def replay(self):
        if self.incomplete:
            raise GraphError("The capture of a graph was left by an exception.")
        for reference, what in self._used:
            if reference() is None:
                raise GraphError(f"A graph uses memory that was freed, of an array {what}.")
        for pool, freed in self.pools.items():
            if pool() is None or pool()._blocks_freed != freed:
                raise GraphError("The pool of a graph's memory was freed.")
            if pool()._allocations != self._allocations[pool]:
                raise GraphError("The pool of a graph's memory was used after the capture.")
        for operation in self.operations:
            operation()
