"""Native code of kernels: the types of arguments, its files, threads."""

import ctypes
import errno
import os
import re
import struct
import threading
import types
import warnings

import numpy as np
import pytest
from support.kernel_cases import CASES, KERNELS, Draw

from npr.kernels import abi, native, object_files, sumtree
from npr.kernels.abi import DONE, OTHER_TYPES, RAISED
from npr.kernels.jit import ActionIndexError, Kernel

pytest.importorskip("numba")

REFERENCE_RAN = []  # the arguments of the reference, which native code does not report


def scale_reference(x, factor, out):
    """out <- factor x, for axes up to two; a negative number in x is refused."""
    REFERENCE_RAN.append((x, factor, out))
    if (x < 0).any():
        raise ActionIndexError("negative")
    out[...] = factor * x


def scale_loop(x, factor, out):
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            if x[i, j] < 0:
                raise ActionIndexError("negative")
            out[i, j] = factor * x[i, j]


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """An empty folder for object files, no warnings so far, and compiled kernels on any backend."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(native, "_warned", set())
    monkeypatch.setattr("npr.kernels.jit.NUMBA", True)
    REFERENCE_RAN.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def files(folder):
    return sorted(folder.rglob(f"*{object_files.SUFFIX}"))


def scale():
    return Kernel(scale_loop, scale_reference)


TABLE = np.arange(6.0).reshape(2, 3)


# ---- types of arguments

NATIVE = {
    "float64": (TABLE, 2.0),
    "float32": (TABLE.astype(np.float32), 2.0),
    "int32": (TABLE.astype(np.int32), 2),
    "uint8": (TABLE.astype(np.uint8), 2),
    "bool": (TABLE > 2, True),
    "long long": (TABLE.astype(np.longlong), 2),
    "Fortran order": (np.asfortranarray(TABLE), 2.0),
    "strided": (np.arange(24.0).reshape(4, 6)[::2, ::2], 2.0),
    "backwards": (TABLE[::-1], 2.0),
    "no rows": (TABLE[:0], 2.0),
    "a NumPy float32": (TABLE, np.float32(0.1)),
    "a NumPy float64": (TABLE, np.float64(0.1)),
    "a NumPy int16": (TABLE, np.int16(-3)),
    "a NumPy bool": (TABLE, np.True_),
}


@pytest.mark.parametrize("name", NATIVE)
def test_native_code_computes_what_the_reference_does(name):
    x, factor = NATIVE[name]
    kernel, out, expected = scale(), np.zeros(x.shape), np.zeros(x.shape)
    scale_reference(x, factor, expected)
    REFERENCE_RAN.clear()
    for _ in range(2):  # the first call, and one of the same types
        out[:] = 0
        kernel(x, factor, out)
        np.testing.assert_array_equal(out, expected)
    assert REFERENCE_RAN == []


UNALIGNED = np.frombuffer(b"\0" + TABLE.tobytes(), np.uint8)[1:].view(float)
OTHERS = {
    "swapped bytes": (TABLE.astype(">f8"), 2.0),
    "unaligned": (UNALIGNED.reshape(2, 3), 2),
    "float16": (TABLE.astype(np.float16), 2.0),
    "complex": (TABLE + 0j, 2.0),
    "objects": (TABLE.astype(object), 2.0),
    "masked": (np.ma.masked_array(TABLE), 2.0),
    "a complex number": (TABLE, 2 + 0j),
    "uint64": (TABLE, np.uint64(2**63)),
    "a large int": (TABLE, 2**64),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_reference_runs_for_other_arguments(name):
    x, factor = OTHERS[name]
    complex_ = np.iscomplexobj(x) or isinstance(factor, complex)
    out = np.zeros((2, 3), complex if complex_ else float)
    kernel = scale()
    kernel(TABLE, 2.0, np.zeros((2, 3)))  # native code for other types exists
    assert REFERENCE_RAN == []
    kernel(x, factor, out)
    assert len(REFERENCE_RAN) == 1
    np.testing.assert_array_equal(out, np.asarray(x).astype(out.dtype) * factor)


def test_a_large_int_is_given_to_the_reference_after_small_ones():
    kernel, out = scale(), np.zeros((2, 3))
    for factor in (2, 2**70, -(2**70), 3):
        kernel(TABLE, factor, out)
        np.testing.assert_array_equal(out, factor * TABLE)
    assert [factor for _, factor, _ in REFERENCE_RAN] == [2**70, -(2**70)]
    assert kernel.is_compiled(TABLE, 2**70, out)


def needs_the_runtime(x):
    x[:] = np.zeros(len(x))


class NoLibrary:
    name = "library"

    def symbols(self):
        return None


WHY_NOT = {
    "no array of >f8": (scale, (TABLE.astype(">f8"), 2.0, TABLE)),
    "no array of float64, not aligned": (scale, (UNALIGNED.reshape(2, 3), 2.0, TABLE)),
    "no complex": (scale, (TABLE, 2j, TABLE)),
    "no int of more than 64 bits": (scale, (TABLE, 2**64, TABLE)),
    "no MaskedArray": (scale, (np.ma.masked_array(TABLE), 2, TABLE)),
    "it is no loop": (lambda: Kernel(None, scale_reference), (TABLE,)),
    r"Numba cannot compile it for f2C \(": (
        lambda: Kernel(needs_the_runtime, needs_the_runtime), (np.ones((1, 1), np.float32),)
    ),
    "there is no library": (
        lambda: Kernel(scale_loop, scale_reference, library=NoLibrary()), (TABLE, 2, TABLE)
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", WHY_NOT)
def test_a_kernel_says_why_it_has_no_native_code(reason):
    make, args = WHY_NOT[reason]
    kernel = make()
    if kernel.loop is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert kernel.native(*args) is None
    assert re.search(reason, kernel.why_not(*args))


def test_a_kernel_says_that_numba_is_off_or_missing(monkeypatch):
    kernel, args = scale(), (TABLE, 2.0, TABLE.copy())
    monkeypatch.setattr(native, "_binding", lambda: None)
    assert kernel.native(*args) is None and kernel.why_not(*args) == "Numba cannot be used"
    monkeypatch.setattr("npr.kernels.jit.NUMBA", False)
    assert kernel.why_not(*args) == "Numba is switched off"


def test_kernels_have_names_for_messages():
    assert KERNELS["forward"].__name__ == "forward" and scale().__name__ == "scale"


def test_a_warning_points_at_the_line_that_called_npr(monkeypatch):
    monkeypatch.setattr(object_files.os, "access", lambda *_: False)
    with pytest.warns(RuntimeWarning) as caught:
        doubled()
    assert caught[0].filename == __file__


def test_types_may_change_between_calls(tmp_path):
    kernel = scale()
    for dtype in (np.float32, np.float64, np.float32, np.int64, np.float64):
        for x in (TABLE.astype(dtype), TABLE.astype(dtype)[:, ::-1]):
            out = np.zeros((2, 3), dtype)
            kernel(x, 2, out)
            np.testing.assert_array_equal(out, 2 * x)
    assert REFERENCE_RAN == [] and len(files(tmp_path)) == 6


def test_a_read_only_array_is_not_written_to():
    kernel, out = scale(), np.zeros((2, 3))
    out.flags.writeable = False
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            kernel(TABLE, 2.0, out)
    assert not out.any()
    x = TABLE.copy()
    x.flags.writeable = False
    kernel(x, 2.0, np.zeros((2, 3)))  # an input may be
    assert len(REFERENCE_RAN) == 2


def test_the_reference_raises_the_error_of_a_loop():
    kernel = scale()
    for _ in range(2):
        with pytest.raises(ActionIndexError, match="negative"):
            kernel(-TABLE, 2.0, np.zeros((2, 3)))


def test_the_status_says_what_native_code_did():
    kernel, out = scale(), np.zeros((2, 3))
    code = kernel.native(TABLE, 2.0, out)
    assert code.format == "QdQ"
    function = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_char_p)(code.address)

    def call(x, factor):
        return function(struct.pack("QdQ", id(x), factor, id(out)))

    assert call(TABLE, 3.0) == DONE and out.tolist() == (3 * TABLE).tolist()
    assert call(-TABLE, 3.0) == RAISED
    whole, flat = TABLE.astype(np.int64), TABLE.ravel()
    for other in (whole, flat, TABLE[:, ::2], TABLE.astype(">f8")):
        assert call(other, 3.0) == OTHER_TYPES
    assert kernel.native(TABLE, 2.0, "text") is None


@pytest.mark.parametrize("name", [name for name in CASES if KERNELS[name].loop is not None])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_loop_has_native_code_that_knows_its_outputs(name, dtype, monkeypatch):
    """What a loop writes to is found in its source; here, by running it."""
    from npr.kernels.emit import written

    monkeypatch.delenv("NUMBA_CACHE_DIR")  # the kernels that other tests use
    kernel, changed = KERNELS[name], set()
    for seed in range(20):
        arguments = CASES[name][1](Draw(seed, 4, 3, dtype))
        before = [x.copy() if isinstance(x, np.ndarray) else x for x in arguments]
        kernel.loop(*arguments)
        for i, (x, y) in enumerate(zip(arguments, before)):
            if isinstance(x, np.ndarray) and not np.array_equal(x, y):
                changed.add(i)
    arrays = {i for i, x in enumerate(arguments) if isinstance(x, np.ndarray)}
    assert written(kernel.loop) & arrays == changed
    assert kernel.native(*CASES[name][1](Draw(0, 4, 3, dtype))) is not None


def set_first(value, x):
    x[0] = value


def fills(x, y, n):
    x.fill(3.0)


def sorts_a_row(x, y, n):
    x[0].sort()


def fills_a_view(x, y, n):
    row = y.reshape(-1)
    row.T.fill(3.0)


def adds(x, y, n):
    x += 1
    n += 1


def calls_with_keywords(x, y, n):
    set_first(x=y, value=x[0])


def calls_with_a_list(x, y, n):
    set_first(*(n, x))


def adds_into(x, y, n):
    np.add(x, x, y)


def adds_into_out(x, y, n):
    np.add(x, x, out=y)


def copies(x, y, n):
    np.copyto(x, n)


def walks(x, y, n):
    for a, (_, b) in zip(x, enumerate(y)):
        b[0] = a[0]


def reads(x, y, n):
    return np.exp(abs(max(x[0], y.shape[0]))) + float(n) + x.dtype.type(len(y))


WRITES = {
    fills: {0}, sorts_a_row: {0}, fills_a_view: {1}, adds: {0, 2}, calls_with_keywords: {1},
    calls_with_a_list: {0, 2}, adds_into: {1}, adds_into_out: {1}, copies: {0, 2},
    walks: {0, 1}, reads: set(),
}  # fmt: skip


@pytest.mark.parametrize("function", WRITES)
def test_what_a_function_writes_to_is_found(function):
    from npr.kernels.emit import written

    assert written(function) == WRITES[function]


def fill(x):
    x.fill(3.0)


def fill_by_keyword(x):
    set_first(x=x, value=3.0)


@pytest.mark.parametrize("loop", [fill, fill_by_keyword])
def test_a_loop_that_writes_in_another_way_leaves_read_only_arrays_alone(loop):
    kernel, x, other = Kernel(loop, loop, calls=(set_first,)), np.zeros(2), np.zeros(2)
    x.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        kernel(x)
    kernel(other)
    assert not x.any() and other[0] == 3 and kernel.native(other) is not None


def test_the_tree_has_native_code():
    from npr.kernels.emit import written

    assert written(sumtree._set.loop) == {0} and written(sumtree._find.loop) == {2}
    tree, leaves, numbers = np.zeros(8), np.zeros(1, np.int64), np.zeros(1)
    assert sumtree._set.native(tree, leaves, numbers) is not None
    assert sumtree._find.native(tree, numbers, leaves) is not None


# ---- arguments of other kinds


class Recorded:
    """Neither an array nor a number."""

    def __kernel__(self, kernel, args):
        return self, kernel, args


def test_an_argument_may_say_what_a_kernel_does():
    kernel, recorded = scale(), Recorded()
    kernel(TABLE, 2.0, np.zeros((2, 3)))
    args = TABLE, recorded, recorded
    assert kernel(*args) == (recorded, kernel, args)


def test_a_kernel_without_a_loop_gives_any_argument_to_its_reference():
    args = TABLE, Recorded(), TABLE.copy()
    assert Kernel(None, lambda *given: given)(*args) == args


# ---- threads


def test_threads_may_use_a_new_kernel_at_once():
    kernel, errors = scale(), []
    begin = threading.Barrier(8)

    def work(k):
        x = TABLE.astype([np.float32, np.float64][k % 2]) + k
        begin.wait()
        for i in range(200):
            out = np.zeros_like(x)
            kernel(x, i, out)
            if not np.array_equal(out, i * x):
                errors.append((k, i))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and REFERENCE_RAN == []


# ---- files


def double_loop(x):
    for i in range(x.shape[0]):
        x[i] *= 2


def doubled(kernel=None):
    """The result of a new kernel, as another process has one."""
    kernel, x = kernel or Kernel(double_loop, double_loop), np.ones(1)
    kernel(x)
    return x[0]


def test_code_is_compiled_once(tmp_path, monkeypatch):
    assert doubled() == 2
    (file,) = files(tmp_path)
    monkeypatch.setattr(native, "_compile", None)
    assert doubled() == 2
    assert files(tmp_path) == [file]


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "a byte changed": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "garbage": lambda data: bytes(range(256)),
    "zeros": lambda data: bytes(len(data)),
    "without its checksum": lambda data: data.partition(b"\n")[2],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_again_and_replaced(damage, tmp_path, monkeypatch):
    doubled()
    (file,) = files(tmp_path)
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    with pytest.warns(RuntimeWarning, match="cannot be cached .*damaged.*; compiling again"):
        assert doubled() == 2
    monkeypatch.setattr(native, "_compile", None)
    assert doubled() == 2


def test_a_file_that_cannot_be_read_is_compiled_again(tmp_path):
    doubled()
    (file,) = files(tmp_path)
    file.unlink()
    file.mkdir()
    with pytest.warns(RuntimeWarning, match="compiling again"):
        assert doubled() == 2


def test_a_full_disk_is_one_warning(tmp_path, monkeypatch):
    def refuse(path, mode):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(object_files, "replacement", refuse)
    with pytest.warns(RuntimeWarning) as caught:
        assert doubled() == doubled() == 2
    assert len(caught) == 1 and "No space left on device" in str(caught[0].message)
    assert files(tmp_path) == []


def test_a_folder_that_cannot_be_written_to_is_one_warning(monkeypatch):
    monkeypatch.setattr(object_files.os, "access", lambda *_: False)
    with pytest.warns(RuntimeWarning) as caught:
        assert doubled() == doubled() == 2
    assert len(caught) == 1 and "no folder can be written to" in str(caught[0].message)


def test_a_function_without_a_file_is_one_warning():
    namespace = {}
    exec("def loop(x):\n    for i in range(len(x)):\n        x[i] *= 2\n", namespace)
    with pytest.warns(RuntimeWarning) as caught:
        for _ in range(2):
            assert doubled(Kernel(namespace["loop"], double_loop)) == 2
    assert len(caught) == 1


def place():
    return object_files.path_for("kernel", ["f1C"], [double_loop])


@pytest.fixture
def forgetful():
    """Digests of sources and of the machine are computed again."""
    digests = object_files._machine, object_files._source
    for digest in digests:
        digest.cache_clear()
    yield
    for digest in digests:
        digest.cache_clear()


CHANGES = {
    "processor": ("llvmlite.binding.get_host_cpu_name", lambda: "i386"),
    "numba": ("npr.kernels.object_files.installed", lambda package: "0.1"),
    "llvmlite": ("llvmlite.__version__", "0.1"),
    "NumPy": ("numpy.__version__", "0.1"),
    "Python": ("sys.version", "4.0"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_file_depends_on_versions_and_on_the_processor(change, forgetful, monkeypatch):
    before = place()
    object_files._machine.cache_clear()
    assert place() == before
    monkeypatch.setattr(*CHANGES[change])
    object_files._machine.cache_clear()
    assert place() != before


def test_the_file_depends_on_options_of_numba(forgetful, monkeypatch):
    before = place()
    monkeypatch.setenv("NUMBA_OPT", "1")
    object_files._machine.cache_clear()
    assert place() != before


def test_the_file_depends_on_types():
    one, other = (object_files.path_for("kernel", [kind], [double_loop]) for kind in ("f1C", "f1A"))
    assert one != other


def test_a_change_in_a_file_that_a_loop_calls_is_compiled(tmp_path, forgetful):
    file = tmp_path / "factors.py"

    def outcome(body):
        """The result of a loop that calls a function in the file, and the files of object code."""
        object_files._source.cache_clear()
        file.write_text(f"def scale(x):\n    return {body}\n")
        called = {}
        exec(compile(file.read_text(), str(file), "exec"), called)

        scale = called["scale"]
        loop = types.FunctionType(call_loop.__code__, {"scale": scale}, "call_loop")
        return doubled(Kernel(loop, loop, calls=(scale,))), [file.name for file in files(tmp_path)]

    first, second, third = outcome("3 * x"), outcome("30 * x"), outcome("3 * x")
    assert [value for value, _ in (first, second, third)] == [3, 30, 3]
    assert first == third and first[1] != second[1]
    assert len(second[1]) == 1, "the file of the earlier source is removed"


def call_loop(x):
    x[0] = scale(x[0])  # noqa: F821  a global of the copy that is compiled


def test_loops_of_one_factory_have_files_of_their_own(tmp_path, monkeypatch):
    def make(c):
        def loop(x):
            for i in range(x.shape[0]):
                x[i] = c

        return Kernel(loop, loop)

    for _ in range(2):  # compiled, then loaded
        assert [doubled(make(c)) for c in (2.0, 3.0, 4)] == [2, 3, 4]
        assert len(files(tmp_path)) == 3
        monkeypatch.setattr(native, "_compile", None)


FACTOR = 2.0
HIDDEN = types.ModuleType("hidden")


def times_global(x):
    x[0] = FACTOR * x[0]


def times_attribute(x):
    x[0] = HIDDEN.factor * x[0]


def test_the_file_depends_on_plain_globals_and_attributes_of_modules(monkeypatch):
    here = times_global.__globals__
    for loop, namespace, name in (
        (times_global, here, "FACTOR"),
        (times_attribute, vars(HIDDEN), "factor"),
    ):
        paths = set()
        for value in (2.0, 3.0, 2, True, np.float32(2), (2.0,), None, 2.0):
            monkeypatch.setitem(namespace, name, value)
            paths.add(object_files.path_for("kernel", ["f1C"], [loop]))
        assert len(paths) == 7


def test_the_file_depends_on_constants_and_on_functions_that_are_called():
    def paths(texts, **others):
        for text in texts:
            code = compile(text, __file__, "eval")
            function = types.FunctionType(code, others)
            yield object_files.path_for("kernel", ["f1C"], [function])

    texts = ["1", "1.0", "True", "2", "a + 1", "b + 1", "'a'", "(1, 2)", "[x + 1 for x in a]",
             "[x + 2 for x in a]", "x in {1, 2}"]  # fmt: skip
    found = [path for _ in range(2) for path in paths(texts)]
    assert len(set(found)) == len(texts)
    called = [types.FunctionType(compile(text, __file__, "eval"), {}) for text in texts]
    outside = [next(paths(["f(x)"], f=function)) for function in called]
    assert len(set(outside)) == len(texts)


def test_a_value_without_a_stable_text_is_compiled_in_memory(tmp_path):
    table = np.array([3.0])

    def loop(x):
        x[0] *= table[0]

    with pytest.warns(RuntimeWarning, match="cannot be cached .table is a ndarray"):
        assert doubled(Kernel(loop, loop)) == 3
    assert files(tmp_path) == []


posix = pytest.mark.skipif(os.name != "posix", reason="file modes are not informative here")


@posix
@pytest.mark.parametrize("umask", [0, 0o077])
def test_files_have_the_same_mode_whatever_the_umask(tmp_path, monkeypatch, umask):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "a" / "b"))
    before = os.umask(umask)
    try:
        doubled()
    finally:
        os.umask(before)
    (file,) = files(tmp_path)
    assert file.stat().st_mode & 0o7777 == 0o644
    for folder in (file.parent, *file.parent.parents[:2]):
        assert folder.stat().st_mode & 0o7777 == 0o755 & ~umask


def by_link(file):
    file.rename(file.parent / "target")
    file.symlink_to("target")


def by_another_name(file):
    """A file of another kernel under this one's name."""
    other = object_files.path_for("other", ["f1C"], [double_loop])
    object_files.write(other, *object_files.read(file))
    other.rename(file)


TAKEN = {
    "a link": by_link,
    "all may write": lambda file: file.chmod(0o646),
    "the group may write": lambda file: file.chmod(0o664),
    "of another kernel": by_another_name,
}


@posix
@pytest.mark.parametrize("how", TAKEN)
def test_a_file_that_others_may_have_written_is_compiled_again_and_replaced(
    how, tmp_path, monkeypatch
):
    doubled()
    (file,) = files(tmp_path)
    TAKEN[how](file)
    assert object_files.exists(file) == (how == "of another kernel")
    with pytest.warns(RuntimeWarning, match="cannot be cached .*; compiling again"):
        assert doubled() == 2
    assert not file.is_symlink() and file.stat().st_mode & 0o7777 == 0o644
    monkeypatch.setattr(native, "_compile", None)
    assert doubled() == 2


@posix
def test_a_file_of_another_user_is_not_read(tmp_path, monkeypatch):
    doubled()
    (file,) = files(tmp_path)
    monkeypatch.setattr(object_files, "_trusted", lambda: {file.stat().st_uid + 1})
    with pytest.raises(PermissionError, match="other users may have written it"):
        object_files.read(file)
    with pytest.raises(object_files.UnusableFolder, match="other users"):
        object_files.folder()


@posix
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PermissionError):
        object_files.read(tmp_path / "pipe")


# ---- what may be missing


def test_code_that_needs_an_unknown_function_is_not_loaded(monkeypatch):
    compile_ = native._compile

    def needy(*args):
        code, symbols = compile_(*args)
        return code, [*symbols, "npr_unknown"]

    monkeypatch.setattr(native, "_compile", needy)
    with pytest.warns(RuntimeWarning, match="cannot be loaded .*there is no npr_unknown"):
        assert doubled() == 2


def test_a_loop_that_needs_the_runtime_of_numba_is_refused():
    def allocates(x):
        y = np.zeros(len(x))
        x[:] = y

    kernel, x = Kernel(allocates, allocates), np.ones(2)
    with pytest.warns(RuntimeWarning, match="Numba cannot compile .*allocates"):
        kernel(x)
    assert not x.any()


def test_an_unknown_layout_of_arrays_is_noticed(monkeypatch):
    abi.check_layout()
    monkeypatch.setattr(abi, "FLAGS", abi.NDIM)
    with pytest.raises(RuntimeError, match="not laid out as expected"):
        abi.check_layout()
