"""Streams, graphs and memory of the strict CuPy double, see tests/strict_device/cupy/cuda.py."""

import contextlib

import numpy as np
import pytest
from support.double import new_double, small_array


@pytest.fixture
def cp(monkeypatch):
    monkeypatch.setenv("NPR_DTYPE", "float32")
    with new_double() as module:
        yield module


@pytest.fixture
def x(cp):
    return small_array(cp)


HOST = np.ones(3, np.float32)


@pytest.fixture
def record(cp):
    """Captures a function on a stream, within a pool of its own: its graph and what it returned."""

    def capture(function, *args):
        with cp.cuda.using_allocator(capture.pool.malloc), capture.stream:
            capture.stream.begin_capture()
            result = function(*args)
            return capture.stream.end_capture(), result

    capture.pool, capture.stream = cp.cuda.MemoryPool(), cp.cuda.Stream(non_blocking=True)
    return capture


def pinned(cp, values):
    """An array of pinned memory."""
    values = np.asarray(values, np.float32)
    memory = cp.cuda.alloc_pinned_memory(values.nbytes)
    host = np.frombuffer(memory, np.float32, values.size).reshape(values.shape)
    host[...] = values
    return host


def wait_for_event(cp, event):
    event.synchronize()


def wait_for_stream(cp, event):
    cp.cuda.get_current_stream().synchronize()


def wait_for_device(cp, event):
    cp.cuda.Device().synchronize()


def ask_an_event(cp, event):
    while not event.done:
        pass


WAITS = pytest.mark.parametrize(
    "wait", [wait_for_event, wait_for_stream, wait_for_device, ask_an_event]
)
UPLOADS = pytest.mark.parametrize(
    "upload", [lambda cp, x, host: cp.asarray(host), lambda cp, x, host: x.set(host)]
)


@WAITS
@UPLOADS
def test_r14_pinned_memory_must_not_change_while_it_is_uploaded(cp, x, upload, wait):
    host = pinned(cp, np.ones((2, 3)))
    y = upload(cp, x, host)
    event = cp.cuda.get_current_stream().record()
    host[0, 0] = 5
    with pytest.raises(cp.StagingError, match="before an event after its upload was waited for"):
        wait(cp, event)
    wait(cp, event)  # reported once
    assert cp.asnumpy(x if y is None else y).tolist() == [[1, 1, 1], [1, 1, 1]]


@WAITS
@UPLOADS
def test_r14_pinned_memory_may_change_after_the_wait(cp, x, upload, wait):
    host = pinned(cp, np.ones((2, 3)))
    for value in (2, 3):
        host[...] = value
        upload(cp, x, host)
        event = cp.cuda.Event()
        event.record()
        wait(cp, event)


def test_r14_an_event_knows_only_of_what_was_before_it(cp, x):
    event = cp.cuda.get_current_stream().record()
    host = pinned(cp, np.ones((2, 3)))
    x.set(host)
    event.synchronize()
    host[0] = 2
    with pytest.raises(cp.StagingError):
        x.set(host)  # which reads it again


def test_r14_an_event_of_another_stream_is_of_no_use_unless_it_waits(cp, x):
    first, second = cp.cuda.Stream(non_blocking=True), cp.cuda.Stream(non_blocking=True)
    host = pinned(cp, np.ones((2, 3)))
    x.set(host, stream=first)
    second.record().synchronize()
    second.wait_event(first.record())
    host[0] = 2
    with pytest.raises(cp.StagingError):
        second.record().synchronize()


def test_r14_ordinary_memory_is_copied_at_once(cp, x):
    host = np.ones((2, 3), np.float32)
    x.set(host)
    host[...] = 2
    cp.cuda.get_current_stream().synchronize()
    assert cp.asnumpy(x).max() == 1


@WAITS
def test_r14_a_download_is_not_there_before_the_wait(cp, x, wait):
    host = pinned(cp, np.zeros((2, 3)))
    x.get(out=host, blocking=False)
    event = cp.cuda.get_current_stream().record()
    x.fill(7.0)
    assert np.isnan(host).all()
    wait(cp, event)
    assert host.tolist() == [[0, 1, 2], [3, 4, 5]], "what was in the array when it was asked for"


def test_r14_an_event_before_a_download_is_of_no_use(cp, x):
    host = pinned(cp, np.zeros((2, 3)))
    x.set(pinned(cp, np.ones((2, 3))))
    event = cp.cuda.get_current_stream().record()
    x.get(out=host, blocking=False)
    event.synchronize()
    assert np.isnan(host).all()


def test_r14_a_download_that_blocks_waits_for_what_was_before(cp, x):
    first, host = pinned(cp, np.zeros((2, 3))), np.zeros((2, 3), np.float32)
    x.get(out=first, blocking=False)
    x.get(out=host)
    assert first.tolist() == host.tolist()


def test_r14_a_download_that_blocks_is_there(cp, x):
    host = pinned(cp, np.zeros((2, 3)))
    assert x.get(out=host) is host and host.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_r14_pinned_memory_is_larger_than_asked_for(cp):
    memory = cp.cuda.alloc_pinned_memory(600)
    assert np.frombuffer(memory, np.uint8).size == memory.size() == 1024


def test_waiting_is_counted(cp, x):
    cp.counts.reset()
    event = cp.cuda.get_current_stream().record()
    event.synchronize()
    assert (cp.counts.synchronizations, cp.counts.waits) == (0, 1)
    cp.cuda.get_current_stream().synchronize()
    cp.cuda.Device().synchronize()
    assert (cp.counts.synchronizations, cp.counts.waits) == (2, 1)
    event.record()
    assert [event.done, event.done] == [False, True], "a busy device"


def chain(cp, x):
    """A function with operations of every kind: results, views, writes in place."""
    y = x * 2 + 1
    z = cp.empty_like(y)
    z[...] = y
    z[0] += x[1]
    flat = z.T.reshape(6)
    cp.add.at(flat, cp.arange(2), 0.5)
    cp.copyto(y, cp.where(z > 3, z, -z))
    x += cp.concatenate([y, z]).sum(axis=0)
    x[1, 2].fill(9.0)
    return y, z, flat, x[1, 2], z.max(axis=1), cp.take(x, cp.arange(3)).astype(np.int32)


def test_r16_a_graph_does_what_was_captured(cp, x, record):
    other = x.copy()
    graph, results = record(chain, cp, x)
    for _ in range(3):
        graph.launch()
        expected = chain(cp, other)
        for mine, right in zip((*results, x), (*expected, other), strict=True):
            assert cp.asnumpy(mine).tolist() == cp.asnumpy(right).tolist()


def test_r16_a_graph_reads_its_memory_when_launched(cp, x, record):
    graph, y = record(lambda: x + 1)
    x.fill(4.0)
    graph.launch()
    assert cp.asnumpy(y).tolist() == [[5, 5, 5], [5, 5, 5]]


def test_r16_capturing_executes_nothing(cp, x, record):
    before, seen = cp.asnumpy(x), cp.zeros(2, np.float32)
    view = x[0]
    _, results = record(lambda: (chain(cp, x), cp.add(1, 1.0, out=seen), view.fill(3.0))[0])
    assert cp.asnumpy(x).tolist() == before.tolist() and not cp.asnumpy(seen).any()
    assert all(np.isnan(cp.asnumpy(y)).all() for y in results[:3]), "new memory is undefined"
    assert cp.asnumpy(results[-1]).max() == np.iinfo(np.int32).min


def test_r16_memory_that_a_graph_does_not_write_is_undefined_at_each_launch(cp, x, record):
    def keep():
        y = cp.empty(2, np.float32)
        y[0] = 1.0
        return y, y * 2

    graph, (y, twice) = record(keep)
    for _ in range(2):
        graph.launch()
        assert cp.asnumpy(twice)[0] == 2 and np.isnan(cp.asnumpy(twice)[1])
        y.fill(1.0)


def test_r16_a_launch_is_counted_once(cp, x, record):
    cp.counts.reset()
    graph, _ = record(lambda: cp.exp(x) + x.std())
    assert cp.counts.launches == 6
    cp.counts.reset()
    graph.upload()
    graph.launch()
    assert (cp.counts.launches, cp.counts.graph_launches, cp.counts.graph_nodes) == (1, 1, 6)


REFUSED = {
    "upload": (RuntimeError, "H2D", lambda cp, x: cp.asarray(HOST)),
    "set": (RuntimeError, "H2D", lambda cp, x: x.copy().set(np.ones((2, 3), np.float32))),
    "download": (RuntimeError, "D2H", lambda cp, x: cp.asnumpy(x)),
    "get": (RuntimeError, "D2H", lambda cp, x: x.get(blocking=False)),
    "read": (RuntimeError, "D2H", lambda cp, x: float(x[0, 0])),
    "mask": (RuntimeError, "D2H", lambda cp, x: x[x > 1]),
    "@": (NotImplementedError, "cuBLAS", lambda cp, x: x @ x.T),
    "batched": (NotImplementedError, "cuBLAS", lambda cp, x: x[None] @ x.T),
    "dot": (NotImplementedError, "cuBLAS", lambda cp, x: cp.dot(x, x.T)),
    "tensordot": (NotImplementedError, "cuBLAS", lambda cp, x: cp.tensordot(x, x.T, 1)),
    "einsum": (NotImplementedError, "cuBLAS", lambda cp, x: cp.einsum("ij,kj->ik", x, x)),
    "sort": (RuntimeError, "not known", lambda cp, x: cp.sort(x)),
    "argsort": (RuntimeError, "not known", lambda cp, x: cp.argsort(x)),
    "nine arrays": (RuntimeError, "H2D", lambda cp, x: cp.stack([x] * 9)),
    "event": (RuntimeError, "cudaErrorCapturedEvent",
              lambda cp, x: cp.cuda.get_current_stream().record().synchronize()),
}  # fmt: skip
INVALID = {
    "stream": lambda cp, x: cp.cuda.get_current_stream().synchronize(),
    "device": lambda cp, x: cp.cuda.Device().synchronize(),
    "event of another stream": lambda cp, x: cp.cuda.get_current_stream().wait_event(
        cp.cuda.Event()
    ),
}


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("name", REFUSED)
def test_r16_what_cannot_be_captured_raises(cp, x, record, name, allowed):
    error, text, call = REFUSED[name]
    with cp.allow_sync() if allowed else contextlib.nullcontext():
        call_outside = name != "event" and (allowed or name not in ("read", "mask"))
        if call_outside:
            call(cp, x)

        def both():
            with pytest.raises(error, match=text):
                call(cp, x)
            return x + 1

        graph, y = record(both)  # CuPy does not call CUDA, so that the capture goes on
    graph.launch()
    assert cp.asnumpy(y).max() == 6


@pytest.mark.parametrize("name", INVALID)
def test_r16_waiting_invalidates_a_capture(cp, x, record, name):
    invalid = pytest.raises(RuntimeError, match="cudaErrorStreamCaptureInvalidated")
    with invalid, record.stream:
        record.stream.begin_capture()
        with pytest.raises(RuntimeError, match="cudaErrorStreamCapture"):
            INVALID[name](cp, x)
        x.fill(1.0)
        record.stream.end_capture()
    assert not record.stream.is_capturing() and cp.asnumpy(x).max() == 5
    INVALID[name](cp, x)
    graph, _ = record(x.fill, 1.0)
    graph.launch()
    assert cp.asnumpy(x).max() == 1


def test_r16_products_without_cublas_can_be_captured(cp, x, record):
    def products():
        whole = x.astype(np.int32)
        return x[0] @ x[1], cp.tensordot(x, x), whole @ whole.T

    graph, results = record(products)
    graph.launch()
    assert [cp.asnumpy(y).tolist() for y in results] == [14, 55, [[5, 14], [14, 50]]]
    assert cp.counts.products == 0


@pytest.mark.parametrize("end", [True, False])
def test_r16_the_double_survives_an_exception_while_capturing(cp, x, record, end):
    with pytest.raises(ZeroDivisionError), record.stream:
        record.stream.begin_capture()
        x.fill(1.0)
        try:
            raise ZeroDivisionError
        finally:
            if end:
                record.stream.end_capture()
    assert cp.asnumpy(x).max() == 5, "nothing was executed"
    assert record.stream.is_capturing() is not end, "it must be ended, as in CuPy"
    if not end:
        with pytest.raises(cp.GraphError, match="left by an exception"):
            record.stream.end_capture().launch()
    graph, _ = record(x.fill, 2.0)
    graph.launch()
    assert cp.asnumpy(x).max() == 2


def test_r16_only_operations_of_the_capturing_stream_are_recorded(cp, x, record):
    y = x.copy()

    def both():
        with cp.cuda.Stream():
            y.fill(1.0)
        x.fill(1.0)

    graph, _ = record(both)
    assert cp.asnumpy(y).max() == 1 and cp.asnumpy(x).max() == 5
    y.fill(3.0)
    graph.launch()
    assert cp.asnumpy(y).max() == 3 and cp.asnumpy(x).max() == 1


def test_r16_begin_and_end_must_match(cp, record):
    stream = record.stream
    with pytest.raises(RuntimeError, match="default"):
        cp.cuda.Stream.null.begin_capture()
    with pytest.raises(RuntimeError, match="cudaErrorIllegalState"):
        stream.end_capture()
    stream.begin_capture()
    assert stream.is_capturing() and not cp.cuda.Stream.null.is_capturing()
    with pytest.raises(RuntimeError, match="cudaErrorIllegalState"):
        stream.begin_capture()
    stream.end_capture()
    with pytest.raises(NotImplementedError, match="created via stream capture"):
        cp.cuda.Graph()


def test_r17_a_graph_needs_memory_of_its_own(cp, x, record):
    with pytest.raises(cp.GraphError, match="memory of the default pool"), record.stream:
        record.stream.begin_capture()
        cp.exp(x)
        record.stream.end_capture()
    record.stream.begin_capture()
    with record.stream:
        x *= 2  # needs no memory
    record.stream.end_capture().launch()
    assert cp.asnumpy(x).max() == 10


def test_r17_the_memory_that_a_graph_uses_must_live(cp, x, record):
    sources = [x.copy()]
    part = sources[0][0]
    graph, y = record(lambda: sources[0] + 1)
    sources.clear()
    graph.launch()
    assert cp.asnumpy(y).max() == 6, "a view holds the memory"
    address = part.data
    del part
    graph.launch()
    del address
    with pytest.raises(cp.GraphError, match=r"memory that was freed, of an array float32\(2, 3\)"):
        graph.launch()


def test_r17_results_and_temporary_arrays_may_die(cp, x, record):
    total = cp.zeros((), np.float32)
    graph, _ = record(lambda: cp.sum(x * x + 1, out=total))
    graph.launch()
    assert cp.asnumpy(total) == 61


@pytest.mark.parametrize("how", ["the pool is gone", "its blocks are freed"])
def test_r17_the_pool_of_a_graph_must_live(cp, x, record, how):
    graph, y = record(lambda: x * x + 1)
    graph.launch()
    if how == "the pool is gone":
        record.pool = None
    else:
        record.pool.free_all_blocks()
    with pytest.raises(cp.GraphError, match="pool of a graph's memory was freed"):
        graph.launch()


def test_r17_a_block_that_was_freed_may_be_used_again_by_the_same_capture_only(cp, x, record):
    def chain():
        y = x
        for _ in range(50):
            y = y + 1
        return y

    graph, y = record(chain)
    graph.launch()
    assert (cp.asnumpy(y) == cp.asnumpy(x) + 50).all()
    assert record.pool.total_bytes() < 10 * 512, "blocks are used again"
    record.pool.malloc(8)
    with pytest.raises(cp.GraphError, match="used after the capture"):
        graph.launch()


def test_a_pool_asks_its_allocator_again_after_it_has_freed_its_blocks(cp):
    fails = [False]

    def allocate(size):
        if fails.pop():
            raise cp.cuda.memory.OutOfMemoryError(size, 0)
        return cp.cuda.MemoryPointer(cp.cuda.Memory(size), 0)

    pool = cp.cuda.MemoryPool(allocate)
    pool.malloc(100)  # and freed
    assert pool.n_free_blocks() == 1
    fails += [False, True]
    pool.malloc(1000)
    assert not fails and pool.n_free_blocks() == 1 and pool.total_bytes() == 1024


def test_a_pool_keeps_what_was_freed(cp, record):
    pool, default = record.pool, cp.get_default_memory_pool()
    before = default.used_bytes()
    with cp.cuda.using_allocator(pool.malloc):
        x = cp.zeros(200, np.float32)
        y = x + 1
    assert (pool.used_bytes(), pool.total_bytes()) == (2048, 2048)
    address, z = y.data.ptr, y[100:]
    assert z.data.ptr == address + 400 and z.base is y and y.base is None
    del y
    assert pool.used_bytes() == 2048, "a view holds the memory"
    del z
    assert (pool.used_bytes(), pool.free_bytes()) == (1024, 1024)
    with cp.cuda.using_allocator(pool.malloc):
        z = x + 1
    assert (pool.total_bytes(), default.used_bytes()) == (2048, before)
    del x, z
    pool.free_all_blocks()
    assert pool.total_bytes() == 0


def test_the_default_pool_knows_the_arrays_that_live(cp):
    pool = cp.get_default_memory_pool()
    before = pool.used_bytes()
    x = cp.zeros(1000, np.float32)
    parts = [x[i:] for i in range(10)]
    assert pool.used_bytes() == before + 4096
    del x, parts
    assert pool.used_bytes() == before and pool.total_bytes() == before + 4096
    pool.free_all_blocks()
    assert pool.total_bytes() == before


def test_an_array_may_be_made_in_given_memory(cp, record):
    memory = cp.cuda.alloc(64)
    whole = cp.ndarray(8, np.float32, memptr=memory)
    part = cp.ndarray((2, 2), np.float32, memptr=memory + 16)
    whole[...] = cp.arange(8, dtype=np.float32)
    assert cp.asnumpy(part).tolist() == [[4, 5], [6, 7]]
    assert part.data.ptr == whole.data.ptr + 16


def test_memory_can_be_short(cp, x):
    cp.largest_array = 100
    y = cp.zeros(25, np.float32)
    for make in (
        lambda: cp.zeros(26, np.float32),
        lambda: cp.ndarray(26, np.float32),
        lambda: cp.asarray(np.zeros(26, np.float32)),
        lambda: cp.concatenate([y, y]),
    ):
        with pytest.raises(cp.cuda.memory.OutOfMemoryError, match="Out of memory allocating 1|2"):
            make()
    assert issubclass(cp.cuda.memory.OutOfMemoryError, MemoryError)
    assert str(cp.cuda.memory.OutOfMemoryError(4096, 1024)) == (
        "Out of memory allocating 4,096 bytes (allocated so far: 1,024 bytes)."
    )
    assert str(cp.cuda.memory.OutOfMemoryError(4096, 1024, 2048)) == (
        "Out of memory allocating 4,096 bytes (allocated so far: 1,024 bytes, "
        "limit set to: 2,048 bytes)."
    )
