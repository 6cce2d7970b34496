"""The namespace cupy.cuda of the double: streams, graphs, events, memory and the device.

Everything is carried out at once and in the order of the program, whatever the stream. What is
simulated is when the host may know about it:

R14  a copy from or to pinned memory runs until an event that was recorded after it, or its stream,
     was waited for. Until then the target on the host is poisoned, and changing the source raises
     at that wait, or when the memory is uploaded again
R16  while a stream captures, its operations are recorded and leave no trace; transfers, reads of
     values, synchronization and calls of cuBLAS raise as in CuPy, and so do sorts and copies of
     which it is not known that they can be captured
R17  a graph raises if its memory may belong to others by now: if it was allocated from the default
     pool while capturing, if its pool was freed or used after the capture, or if an array that it
     uses was freed. Blocks that are freed while capturing may be used again by the same capture
"""

import contextlib
import gc
import sys
import types
import weakref
import zlib

import numpy as np

from . import _device
from ._device import StagingError, counts

__all__ = [
    "Device", "Event", "Graph", "Memory", "MemoryPointer", "MemoryPool", "PinnedMemoryPointer",
    "PinnedMemoryPool", "Stream", "alloc", "alloc_pinned_memory", "get_allocator",
    "get_current_stream", "get_elapsed_time", "is_available", "memory", "runtime", "set_allocator",
    "using_allocator",
]  # fmt: skip

STREAMS_CAPTURING = "operation not permitted when stream is capturing"


class CUDARuntimeError(RuntimeError):
    """An error of the driver; the text begins with its name."""


def is_available():
    return True


# ---- streams, events, graphs


class Stream:
    """A queue of work, whose order is that of the program here."""

    null = None  # set below

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr = 0 if null else id(self)
        self.device_id, self.is_non_blocking = -1 if null else 0, non_blocking
        self._capture = None
        self._copies = []  # that run until they were waited for
        _all.add(self)

    def __enter__(self):
        _streams.append(self)
        _select()
        return self

    def __exit__(self, error=None, *_):
        _streams.pop()
        if error is not None and self._capture is not None:
            self._capture.undo()
            self._capture = _device.Capture()
            self._capture.incomplete = True
        _select()

    def use(self):
        _streams[-1] = self
        _select()
        return self

    def __eq__(self, other):
        return isinstance(other, Stream) and self.ptr == other.ptr

    def __hash__(self):
        return self.ptr

    @property
    def done(self):
        """Whether all work is done: not when first asked for."""
        if self._capture is not None:
            self._capture.error = STREAMS_CAPTURING
            return False
        return self.record().done

    def synchronize(self):
        if self._capture is not None:
            self._capture.error = STREAMS_CAPTURING
            raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {STREAMS_CAPTURING}")
        counts.synchronizations += 1
        self._finish()

    def _finish(self):
        _finish(self._copies)
        self._copies = []

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        if self._capture is not None and event._capture is not self._capture:
            self._capture.error = "dependency created on uncaptured work in another stream"
            raise CUDARuntimeError(f"cudaErrorStreamCaptureIsolation: {self._capture.error}")
        self._copies += event._copies

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        if self._capture is not None:
            raise _illegal_state()
        if mode not in (None, *range(3)):
            raise CUDARuntimeError("cudaErrorInvalidValue: invalid argument")
        self._capture = _device.Capture()
        _select()

    def is_capturing(self):
        return self._capture is not None

    def end_capture(self):
        """The graph of what was recorded; raises if the capture is invalid."""
        capture, self._capture = self._capture, None
        if capture is None:
            raise _illegal_state()
        _select()
        capture.undo()
        if capture.error:
            raise CUDARuntimeError(
                "cudaErrorStreamCaptureInvalidated: operation failed due to a previous error "
                f"during capture ({capture.error})"
            )
        capture.end()
        graph = object.__new__(Graph)
        graph._capture = capture
        return graph


def _illegal_state():
    text = "the operation cannot be performed in the present state"
    return CUDARuntimeError(f"cudaErrorIllegalState: {text}")


_all = weakref.WeakSet()
Stream.null = Stream(null=True)
_streams = [Stream.null]  # the last one is the current stream


def get_current_stream():
    return _streams[-1]


def _select():
    """Record operations if the current stream is capturing."""
    _device.capture = _streams[-1]._capture


class Event:
    """A point in a stream. `done` is False when first asked for, as on a busy device."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        if interprocess and not disable_timing:
            raise ValueError("Timing must be disabled for interprocess events")
        self._copies, self._capture, self._asked = [], None, True

    def record(self, stream=None):
        stream = stream or get_current_stream()
        stream._copies = [copy for copy in stream._copies if not copy.done]
        self._copies, self._capture, self._asked = [*stream._copies], stream._capture, False

    @property
    def done(self):
        self._check()
        if not self._asked:
            self._asked = True
            return False
        _finish(self._copies)
        return True

    def synchronize(self):
        self._check()
        counts.waits += 1
        self._asked = True
        _finish(self._copies)

    def _check(self):
        if self._capture is not None:
            text = "operation not permitted on an event last recorded in a capturing stream"
            raise CUDARuntimeError(f"cudaErrorCapturedEvent: {text}")


def get_elapsed_time(start_event, end_event):
    """Milliseconds between two events: always 0."""
    return 0.0


class Graph:
    """What a stream has captured; `launch` carries it out."""

    def __init__(self):
        raise NotImplementedError(
            "currently this class cannot be initiated by the user and must be created via stream "
            "capture"
        )

    def launch(self, stream=None):
        if (stream or get_current_stream()).is_capturing():
            raise NotImplementedError("a graph within another is not simulated")
        counts.launches += 1
        counts.graph_launches += 1
        counts.graph_nodes += self._capture.launches
        self._capture.replay()

    def upload(self, stream=None):
        pass


# ---- asynchronous copies


class _Upload:
    """A copy from pinned memory, which must not change until it is done."""

    def __init__(self, host, place):
        self.done, self.place = False, place
        self._host, self._sum = host, zlib.crc32(host)

    def check(self, host):
        """Raise if the source shares memory with this array and was changed."""
        if np.may_share_memory(host, self._host) and zlib.crc32(self._host) != self._sum:
            self.done = True
            raise StagingError(
                f"Pinned memory of an array {self._host.dtype}{self._host.shape} was changed "
                "before an event after its upload was waited for; see R14."
            )

    def finish(self):
        self.check(self._host)


class _Download:
    """A copy to pinned memory, which is poisoned until it is done."""

    def __init__(self, content, host):
        self.done, self.place = False, None
        self._content, self._host = content.copy(), host
        host.fill(_device.poison(host.dtype))

    def check(self, host):
        pass

    def finish(self):
        np.copyto(self._host, self._content)


def _finish(copies):
    for copy in copies:
        if not copy.done:
            copy.finish()
            copy.done = True


def upload(host, stream=None):
    """Note that `host`, contiguous, is copied to the device."""
    _device.transfer("H2D")
    counts.uploads += 1
    if not is_pinned(host):
        return  # CuPy or the driver have copied it before they return
    stream = stream or get_current_stream()
    for copy in stream._copies:
        if not copy.done:
            copy.check(host)
    place = address(host), host.nbytes
    stream._copies = [copy for copy in stream._copies if not copy.done and copy.place != place]
    stream._copies.append(_Upload(host, place))


def download(content, host, stream=None, blocking=True):
    """Copy the content of device memory to `host`."""
    _device.transfer("D2H")
    counts.downloads += 1
    counts.launches += not content.flags.c_contiguous  # it is copied within the device first
    stream = stream or get_current_stream()
    if blocking:
        stream._finish()
    if blocking or not is_pinned(host):
        np.copyto(host, content)
    else:
        stream._copies.append(_Download(content, host))


class PinnedMemoryPointer(bytearray):
    """Memory of the host that the device reads by itself."""

    ptr = property(lambda self: address(np.frombuffer(self, np.uint8)))
    mem = property(lambda self: self)

    def size(self):
        return len(self)


_pinned = weakref.WeakValueDictionary()  # address -> PinnedMemoryPointer


def alloc_pinned_memory(size):
    """Pinned memory for np.frombuffer, larger than asked for: a power of 2, at least 512."""
    memory = PinnedMemoryPointer(max(512, 1 << (size - 1).bit_length()) if size else 0)
    _pinned[memory.ptr] = memory
    return memory


def is_pinned(host):
    if not _pinned:
        return False
    first = address(host)
    return any(ptr <= first < ptr + len(memory) for ptr, memory in [*_pinned.items()])


def address(host):
    return host.__array_interface__["data"][0]


class PinnedMemoryPool:
    """The pool that all pinned memory comes from."""

    def n_free_blocks(self):
        return 0

    def free_all_blocks(self):
        pass


# ---- memory of the device


class OutOfMemoryError(MemoryError):
    """There is not enough memory; the arguments are CuPy's, in bytes."""

    def __init__(self, size, total, limit=0):
        self._size, self._total, self._limit = size, total, limit
        text = f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes"
        super().__init__(text + (f", limit set to: {limit:,} bytes)." if limit else ")."))


class Memory:
    """A block of memory: of a pool, or of the array that made it."""

    def __init__(self, size, pool=None, holder=None):
        self.size, self.pool, self.device_id = size, pool, 0
        self._array = holder
        self._host = None if holder is None else _device.owner_of(holder._host)

    @property
    def _holder(self):
        """What dies when the memory is freed."""
        return self if self._array is None else self._array

    def _bind(self, host):
        """Be the memory of this array, for which it was allocated."""
        if self._host is not None or host.nbytes > self.size:
            raise ValueError("An allocator returned memory that is in use or too small.")
        self._host = host

    def _bytes(self):
        if self._host is None:
            self._host = _device.empty(self.size, np.uint8)
        return self._host.reshape(-1, order="A").view(np.uint8)

    ptr = property(lambda self: address(self._bytes()))

    def __del__(self):
        if self.pool is not None and self.pool() is not None:
            self.pool()._free(self.size)


class MemoryPointer:
    """An address within a block."""

    def __init__(self, mem, offset):
        self.mem, self._offset = mem, offset

    ptr = property(lambda self: self.mem.ptr + self._offset)
    device_id = 0

    def __int__(self):
        return self.ptr

    def __add__(self, offset):
        return MemoryPointer(self.mem, self._offset + offset)

    __radd__ = __add__


class MemoryPool:
    """A pool that keeps freed blocks for arrays of the same size.

    allocator   is asked for new blocks, which are not used; once more without memory, after all
                free blocks were freed
    """

    def __init__(self, allocator=None):
        self._allocator = allocator or (lambda size: None)
        self._allocations = 0
        self._used = self._total = self._blocks_freed = 0
        self._blocks = {}  # size -> number of blocks that are free

    def malloc(self, size):
        size = -(-size // 512) * 512
        if self._blocks.get(size):
            self._blocks[size] -= 1
        else:
            try:
                self._allocator(size)
            except OutOfMemoryError:
                self.free_all_blocks()
                self._allocator(size)
            self._total += size
        self._used += size
        self._allocations += 1
        return MemoryPointer(Memory(size, weakref.ref(self)), 0)

    def _free(self, size):
        self._used -= size
        self._blocks[size] = self._blocks.get(size, 0) + 1

    def used_bytes(self):
        return self._used

    def total_bytes(self):
        return self._total

    def free_bytes(self):
        return self.total_bytes() - self.used_bytes()

    def n_free_blocks(self):
        return sum(self._blocks.values())

    def free_all_blocks(self, stream=None):
        self._blocks_freed += self.n_free_blocks()
        self._total, self._blocks = self._used, {}


class _DefaultPool(MemoryPool):
    """The pool of arrays that were made without `using_allocator`; they are counted when asked."""

    def malloc(self, size):
        return MemoryPointer(Memory(size), 0)

    def used_bytes(self):
        kind = sys.modules[__package__].ndarray
        arrays = (x for x in gc.get_objects() if type(x) is kind)
        owned = {id(m := _device.owner_of(x._host)): m.nbytes for x in arrays if not x._memory}
        used = sum(-(-size // 512) * 512 for size in owned.values())
        self._total = max(self._total, used)
        return used

    def total_bytes(self):
        self.used_bytes()
        return self._total

    def free_all_blocks(self, stream=None):
        self._total = 0


TOTAL = 80 * 2**30  # bytes of the simulated device
_pool, _pinned_pool = _DefaultPool(), PinnedMemoryPool()


def set_allocator(allocator=None):
    """Allocate new arrays by this function from a size in bytes to a MemoryPointer."""
    if allocator is None:
        raise NotImplementedError("memory without a pool is not simulated")
    default = getattr(allocator, "__self__", None) is _pool
    _device.allocate = None if default else allocator


def get_allocator():
    return _device.allocate or _pool.malloc


@contextlib.contextmanager
def using_allocator(allocator=None):
    before = get_allocator()
    set_allocator(allocator)
    try:
        yield
    finally:
        set_allocator(before)


def alloc(size):
    """Memory from the current allocator."""
    return get_allocator()(size)


# ---- the device


class Device:
    """The simulated device."""

    compute_capability, mem_info = "90", (TOTAL * 3 // 4, TOTAL)

    def __init__(self, device=0):
        self.id = int(device)
        if self.id != 0:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def use(self):
        pass

    def synchronize(self):
        for stream in _all:
            if stream.is_capturing():
                stream.synchronize()  # raises
        counts.synchronizations += 1
        for stream in _all:
            stream._finish()


runtime = types.SimpleNamespace(
    CUDARuntimeError=CUDARuntimeError,
    memGetInfo=lambda: Device.mem_info,
    getDeviceProperties=lambda device: {
        "name": b"the strict double of CuPy", "major": 9, "minor": 0, "multiProcessorCount": 132,
        "totalGlobalMem": TOTAL,
    },
    getDeviceCount=lambda: 1,
    getDevice=lambda: 0,
    deviceSynchronize=lambda: Device().synchronize(),
    driverGetVersion=lambda: 13000,
    runtimeGetVersion=lambda: 13000,
    streamCaptureModeGlobal=0,
    streamCaptureModeThreadLocal=1,
    streamCaptureModeRelaxed=2,
    is_hip=False,
)  # fmt: skip
memory = types.SimpleNamespace(
    OutOfMemoryError=OutOfMemoryError, MemoryPool=MemoryPool, MemoryPointer=MemoryPointer
)
