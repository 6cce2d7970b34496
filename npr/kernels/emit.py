"""Compiles loops with Numba to object code. Only imported where there is no file of it.

This uses parts of Numba that have no stable interface; native.py falls back to the reference
implementations where a version of Numba has changed them.
"""

import ast
import builtins
import functools
import inspect
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import compiler, registry
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import register_jitable
from numba.np.arrayobj import make_array, populate_array
from numba.np.numpy_support import from_dtype

from npr.kernels import abi
from npr.kernels.abi import Loop

_i8, _i32, _i64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_C_CONTIGUOUS, _ALIGNED, _WRITABLE = 0x1, 0x100, 0x400  # flags of NumPy


def object_code(kernel: Loop, kinds: Sequence[str]) -> tuple[bytes, list[str]]:
    """Object code of a loop for these kinds of arguments, and the symbols that it needs.

    Raises what Numba raises if the loop cannot be compiled for them.
    """
    with global_compiler_lock:
        return _object_code(kernel, kinds)


def _object_code(kernel: Loop, kinds: Sequence[str]) -> tuple[bytes, list[str]]:
    if kernel.library is not None:
        kernel.library.declare()
    for function in kernel.calls:
        _register(function)
    for function in kernel.sums:
        _register(function, fastmath=True)
    target = registry.cpu_target
    typing, context = target.typing_context, target.target_context
    typing.refresh()
    context.refresh()
    flags: Any = compiler.Flags()
    flags.error_model = "numpy"
    flags.nrt = False  # loops allocate nothing
    flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
    arguments = [_numba_type(kind) for kind in kinds]
    compiled = compiler.compile_extra(typing, context, kernel.loop, arguments, None, flags, {})
    library = compiled.library
    library.add_ir_module(_entry(context, compiled.fndesc, kinds, written(kernel.loop)))
    library.finalize()
    return library._get_compiled_object(), _needed(library._final_module)


@functools.cache
def _register(function: Any, fastmath: bool = False) -> None:
    """Let loops call a function; `fastmath`: its sums may be reordered."""
    options: dict[str, Any] = {"fastmath": {"reassoc"}} if fastmath else {}
    register_jitable(_nrt=False, **options)(function)


def _numba_type(kind: str) -> Any:
    number: Any = from_dtype(np.dtype(kind[0]))
    layout: Any = kind[-1]
    return number if len(kind) == 1 else types.Array(number, int(kind[1:-1]), layout)


def _needed(module: Any) -> list[str]:
    """The external functions and variables of a module, without LLVM's own."""
    declared = [x.name for x in (*module.functions, *module.global_variables) if x.is_declaration]
    names = [name for name in declared if not name.startswith("llvm.")]
    of_numba = [name for name in names if name.startswith(("numba_", "NRT_", "Py", "_Py"))]
    if of_numba:
        raise RuntimeError(f"the loop needs {', '.join(of_numba)}")
    return names


def _entry(context: Any, of_loop: Any, kinds: Sequence[str], outputs: set[int]) -> Any:
    """The C function that checks arrays, and calls the loop with what the words are."""
    module = context.create_module("entry")
    signature = context.call_conv.get_function_type(of_loop.restype, of_loop.argtypes)
    loop = ir.Function(module, signature, of_loop.llvm_func_name)
    entry = ir.Function(module, ir.FunctionType(_i64, [_i64.as_pointer()]), abi.ENTRY)
    builder = ir.IRBuilder(entry.append_basic_block())
    words = [builder.load(builder.gep(entry.args[0], [_i64(i)])) for i in range(len(kinds))]
    for i, (kind, word) in enumerate(zip(kinds, words)):
        if len(kind) > 1:
            fits = _is_of_kind(builder, kind, word, i in outputs)
            with builder.if_then(builder.not_(fits), likely=False):
                builder.ret(_i64(abi.OTHER_TYPES))
    values = [
        _array(context, builder, type_, word)
        if isinstance(type_, types.Array)
        else _number(context, builder, type_, word)
        for type_, word in zip(of_loop.argtypes, words)
    ]
    status, _ = context.call_conv.call_function(
        builder, loop, of_loop.restype, of_loop.argtypes, values
    )
    builder.ret(builder.zext(status.is_error, _i64))  # RAISED or DONE
    return module


def _at(builder: Any, address: Any, offset: int, type_: Any) -> Any:
    """The value at an address."""
    place = builder.inttoptr(builder.add(address, _i64(offset)), type_.as_pointer())
    return builder.load(place)


def _is_of_kind(builder: Any, kind: str, array: Any, is_output: bool) -> Any:
    """Whether an array has this type and number of axes, and the flags that the loop needs."""
    contiguous, writable = kind[-1] == "C", is_output
    wanted = _ALIGNED | _C_CONTIGUOUS * contiguous | _WRITABLE * writable
    dtype = np.dtype(kind[0])
    descr = _at(builder, array, abi.DESCR, _i64)
    flags = builder.and_(_at(builder, array, abi.FLAGS, _i32), _i32(wanted))
    facts = [
        (_at(builder, descr, abi.TYPE_NUMBER, _i32), _i32(dtype.num)),
        (_at(builder, descr, abi.BYTE_ORDER, _i8), _i8(ord(dtype.byteorder))),
        (_at(builder, array, abi.NDIM, _i32), _i32(int(kind[1:-1]))),
        (flags, _i32(wanted)),
    ]
    equal = [builder.icmp_signed("==", found, expected) for found, expected in facts]
    return functools.reduce(builder.and_, equal)


def _array(context: Any, builder: Any, type_: Any, address: Any) -> Any:
    """Numba's array from the address of a PyArrayObject."""
    data = _at(builder, address, abi.DATA, context.get_data_type(type_.dtype).as_pointer())
    pointers = [_at(builder, address, at, _i64) for at in (abi.SHAPE, abi.STRIDES)]
    shape, strides = (
        [_at(builder, pointer, 8 * axis, _i64) for axis in range(type_.ndim)]
        for pointer in pointers
    )
    itemsize = _i64(context.get_abi_sizeof(context.get_data_type(type_.dtype)))
    if type_.layout == "C":  # computed, so that the compiler knows them
        strides, step = [], itemsize
        for length in reversed(shape):
            strides.insert(0, step)
            step = builder.mul(step, length)
    array = make_array(type_)(context, builder)
    populate_array(array, data, shape, strides, itemsize, None)
    return array._getvalue()


def _number(context: Any, builder: Any, type_: Any, word: Any) -> Any:
    """A number from its word."""
    if isinstance(type_, types.Float):
        double = builder.bitcast(word, ir.DoubleType())
        return double if type_.bitwidth == 64 else builder.fptrunc(double, ir.FloatType())
    if isinstance(type_, types.Boolean):
        return builder.trunc(word, ir.IntType(1))
    return word if type_.bitwidth == 64 else builder.trunc(word, ir.IntType(type_.bitwidth))


# ---- which arguments a loop writes to


_FACTS = ("dtype", "shape", "strides", "ndim", "size", "itemsize")  # attributes that are no views
_READING = ("reshape", "ravel", "transpose", "view", "copy", "astype", "item", "sum", "mean", "min",
            "max", "all", "any", "argmin", "argmax")  # fmt: skip
_HARMLESS = ("math", "builtins")  # modules whose functions write to no array


@functools.cache
def written(function: Any) -> set[int]:
    """The indices of the arguments to which a function writes, or functions that it calls.

    Found in its source: assignments to entries of an argument, or of a view of one. Views are
    made by slices, by methods, and by functions whose first argument is the array. A method of an
    argument, and a function without source, write to all that they are given, unless known.
    """
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except OSError:  # it is not from a file, and may write to all of them
        return set(range(len(names)))
    views = {name: {name} for name in names}  # name -> the arguments that it may be a view of

    def origins(node: Any) -> set[str]:
        match node:
            case ast.Name():
                return views.get(node.id, set())
            case ast.Attribute(attr=name) if name in _FACTS:
                return set()
            case ast.Subscript() | ast.Attribute() | ast.Starred() | ast.NamedExpr():
                return origins(node.value)
            case ast.Tuple() | ast.List():
                return set().union(*map(origins, node.elts))
            case ast.IfExp():
                return origins(node.body) | origins(node.orelse)
            case ast.Call(func=ast.Name(id="zip" | "enumerate")):
                return set().union(*map(origins, node.args))
            case ast.Call() if _is_harmless(function, node):
                return set()
            case ast.Call():  # such as matrix(work, n, m) and x.reshape(n)
                return origins(node.func).union(*map(origins, node.args[:1]))
        return set()

    def assigned(target: Any, value: Any) -> None:
        if isinstance(target, ast.Tuple):
            several = isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts)
            for one, of in zip(target.elts, value.elts if several else [value] * len(target.elts)):
                assigned(one, of)
        elif isinstance(target, ast.Name):
            views[target.id] = views.get(target.id, set()) | origins(value)

    found, nodes, before = set[str](), list(ast.walk(tree)), None
    while before != (before := (str(sorted(map(str, views.items()))), len(found))):
        for node in nodes:
            match node:
                case ast.Subscript(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()):
                    found |= origins(node.value)
                case ast.AugAssign(target=ast.Name(id=name)) if name in names:
                    found.add(name)  # in place, if it is an array
                case ast.Assign():
                    for target in node.targets:
                        assigned(target, node.value)
                case ast.AnnAssign() | ast.NamedExpr() if node.value is not None:
                    assigned(node.target, node.value)
                case ast.For():
                    assigned(node.target, node.iter)
                case ast.Call():
                    for argument in _written_by(function, node):
                        found |= origins(argument)
    return {i for i, name in enumerate(names) if name in found}


def _is_harmless(function: Any, call: ast.Call) -> bool:
    """Whether a call in a function neither writes to arrays nor returns a view."""
    match call.func:
        case ast.Attribute(value=ast.Attribute(attr=name)) if name in _FACTS:  # x.dtype.type(0)
            return True
    called = _named(function, call.func)
    return isinstance(called, type) or getattr(called, "__module__", "") in _HARMLESS


def _written_by(function: Any, call: ast.Call) -> list[Any]:
    """The nodes within a call in a function to which it may write."""
    if _is_harmless(function, call):
        return []
    given = [*call.args, *(keyword.value for keyword in call.keywords)]
    called = _named(function, call.func)
    match call.func:
        case ast.Attribute(attr=name, value=of) if called is None:  # a method
            plain = name in _READING and not call.keywords  # such as out=
            return [] if plain else [*given, of]
    inputs = 2 if called is np.dot else getattr(called, "nin", None)  # of a ufunc
    if inputs is not None:  # outputs are what follows them
        return [*call.args[inputs:], *(keyword.value for keyword in call.keywords)]
    if not inspect.isfunction(called):
        return given
    starred = any(isinstance(x, ast.Starred) for x in call.args)
    if starred or any(keyword.arg is None for keyword in call.keywords):
        return given
    keywords: dict[Any, Any] = {keyword.arg: keyword.value for keyword in call.keywords}
    bound = inspect.signature(called).bind_partial(*call.args, **keywords)
    if any(isinstance(x, (tuple, dict)) for x in bound.arguments.values()):  # *args, **kwargs
        return given
    changed = {called.__code__.co_varnames[i] for i in written(called)}
    return [node for name, node in bound.arguments.items() if name in changed]


def _named(function: Any, node: Any) -> Any:
    """What a node in a function names outside of it, also in a module; None if nothing."""
    match node:
        case ast.Name(id=name):
            cells = zip(function.__code__.co_freevars, function.__closure__ or ())
            closure = {name: cell.cell_contents for name, cell in cells}
            return {**vars(builtins), **function.__globals__, **closure}.get(name)
        case ast.Attribute(value=of, attr=name):
            module = _named(function, of)
            return getattr(module, name, None) if inspect.ismodule(module) else None
    return None
