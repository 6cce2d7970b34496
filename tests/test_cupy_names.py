"""What npr uses of its array module exists in the real CuPy, with the same parameters.

The double in tests/strict_device offers a subset of CuPy's names, by its own account; here they are
looked up in the package itself, which imports without a GPU. Checked are names of `xp`, arguments
of calls, methods of arrays, and attributes of variables that hold an object of CuPy's.
"""

import ast
import inspect
import re

import numpy as np
import pytest
from support.source_files import PACKAGE, SOURCES

cupy = pytest.importorskip("cupy", exc_type=ImportError)

OWN = {"_on_device", "_on_host"}  # of the switch in npr.backend
# what is used of arrays that are always NumPy's, by file
HOST = {"kernels/rows.py": {"x.take with mode="}}
RETURNS = {  # the classes of what functions of CuPy return
    "alloc_pinned_memory": "cuda.PinnedMemoryPointer",
    "end_capture": "cuda.Graph",
    "get_current_stream": "cuda.Stream",
    "get_default_memory_pool": "cuda.MemoryPool",
    "record": "cuda.Event",
}


class Census(ast.NodeVisitor):
    """Collects what a source uses of CuPy that does not exist there.

    missing   (line, text) of each
    used      the number of uses that were looked up
    """

    def __init__(self, source):
        self.missing, self.used = set(), 0
        self.types = {}  # the classes of variables' values, None if unknown, by their text
        tree = ast.parse(source)
        self.imported = {
            (alias.asname or alias.name).split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        if "xp" in self.imported:
            self._within(tree, re.compile(r"\w+"))

    def visit_ClassDef(self, node):
        self._within(node, re.compile(r"self\.\w+"))

    def visit_FunctionDef(self, node):
        self._within(node, re.compile(r"\w+"))

    def _within(self, scope, names):
        """Visit what is in a scope, which has variables of these names."""
        before, self.types = self.types, dict(self.types)
        inside = scope.body if isinstance(scope, ast.Module) else ast.walk(scope)
        assigned = [node for node in inside if isinstance(node, ast.Assign)]
        for node in sorted(assigned, key=lambda node: node.lineno):
            made = self._made(node.value)
            for target in map(ast.unparse, node.targets):
                if names.fullmatch(target):
                    self.types[target] = made
        self.generic_visit(scope)
        self.types = before

    def visit_Attribute(self, node):
        self.generic_visit(node)
        owner = self._owner(node)
        if owner is not None and node.attr not in OWN:
            self.used += 1
            if not hasattr(owner, node.attr):
                self.missing.add((node.lineno, ast.unparse(node)))

    def visit_Call(self, node):
        self.generic_visit(node)
        function = self._value(node.func)
        if function is None or (known := parameters(function)) is None:
            return
        positional, names = known
        text = ast.unparse(node.func)
        given = [x for x in node.args if not isinstance(x, ast.Starred)]
        if len(given) > len(positional):
            self.missing.add((node.lineno, f"{text} with {len(given)} arguments"))
        for keyword in node.keywords:
            if keyword.arg not in (*names, None):
                self.missing.add((node.lineno, f"{text} with {keyword.arg}="))

    def _value(self, node):
        """What an expression such as xp.add.at is in CuPy; None if unknown or missing."""
        if isinstance(node, ast.Name):
            return cupy if node.id == "xp" else self.types.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        made = self.types.get(ast.unparse(node))
        if made is None and (owner := self._owner(node)) is not None:
            made = getattr(owner, node.attr, None)
        return None if inspect.isdatadescriptor(made) else made  # a value, such as x.T

    def _owner(self, node):
        """The module or class of CuPy that has this attribute; None if unknown."""
        value = self._value(node.value)
        if value is not None and not inspect.ismethoddescriptor(value):
            return value
        root, name = ast.unparse(node.value).split(".")[0], node.attr
        of_arrays = hasattr(np.ndarray, name) and not name.startswith("__")
        # any object with the name of a method is taken for an array
        return cupy.ndarray if of_arrays and root not in {*self.imported, "super()"} else None

    def _made(self, value):
        """The class of a call's result, if it is one of CuPy's other than arrays."""
        if not isinstance(value, ast.Call) or (function := self._value(value.func)) is None:
            return None
        name = value.func.attr if isinstance(value.func, ast.Attribute) else ""
        if name in RETURNS:
            return getattr(*_split(RETURNS[name]))
        return function if inspect.isclass(function) else None


def _split(path):
    module, name = path.split(".")
    return getattr(cupy, module), name


def parameters(function):
    """(the positional ones, all) of a function of CuPy; None where it takes any.

    By its signature, or that in the first line of its docstring, which compiled code has.
    """
    try:
        known = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        text = re.match(r"[\w.]+\((.*?)\)( ->.*)?$", (function.__doc__ or "").split("\n")[0])
        if not text:
            return None
        names = [part.partition("=")[0].split()[-1] for part in text[1].split(", ") if part]
        names = [name.replace("\\", "") for name in names if name not in ("self", "/")]
        positional = names[: names.index("*")] if "*" in names else names
        return positional, [name for name in names if name != "*"]
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in known):
        return None
    names = [p.name for p in known if p.name != "self"]
    return [p.name for p in known if p.kind != p.KEYWORD_ONLY and p.name in names], names


def test_cupy_has_all_that_npr_uses():
    found, used = {}, 0
    for path in SOURCES:
        census = Census(path.read_text())
        name = path.relative_to(PACKAGE).as_posix()
        used += census.used
        host = HOST.get(name, set())
        assert host <= {text for _, text in census.missing}, f"{name} uses no more {host}"
        wrong = sorted(item for item in census.missing if item[1] not in host)
        found.update({name: wrong} if wrong else {})
    assert not found
    assert used > 200


@pytest.mark.parametrize(
    "line, missing",
    [
        ("xp.nothing", "xp.nothing"),
        ("xp.linalg.nothing(x)", "xp.linalg.nothing"),
        ("xp.cuda.nothing()", "xp.cuda.nothing"),
        ("f = xp.nothing", "xp.nothing"),
        ("xp.sum(x, where=y)", "xp.sum with where="),
        ("xp.sum(x, 0, None, None, False, 1)", "xp.sum with 6 arguments"),
        ("xp.exp(x, where=y)", "xp.exp with where="),
        ("x.max(initial=0)", "x.max with initial="),
        ("x[0].T.sum(1, where=y)", "x[0].T.sum with where="),
        ("x.setflags(write=False)", "x.setflags"),
        ("s = xp.cuda.Stream(nothing=True)", "xp.cuda.Stream with nothing="),
        ("s = xp.cuda.Stream(); s.nothing()", "s.nothing"),
        ("s = xp.cuda.Stream(); g = s.end_capture(); g.nothing", "g.nothing"),
        ("class A:\n def f(self): self.s = xp.cuda.Event()\n def g(self): self.s.record(no=1)",
         "self.s.record with no="),
    ],
)  # fmt: skip
def test_what_cupy_lacks_is_found(line, missing):
    assert {text for _, text in Census(f"from npr.backend import xp\n{line}").missing} == {missing}


@pytest.mark.parametrize(
    "line",
    [
        "xp.add.at(x, i, y)",
        "xp.exp(x, out=y, dtype=xp.float32)",
        "x.sum(*axes, **options)",
        "x.sum(axis=0, keepdims=True).max(0).astype(d, copy=False)",
        "np.max(x, initial=0)",
        "s = xp.cuda.Stream(True); s.begin_capture(); g = s.end_capture(); g.launch(stream=s)",
        "e = xp.cuda.Event(disable_timing=True); e.record(s); e.synchronize()",
        "xp.RawModule(code=text, options=o).get_function(name)",
        "json.dumps(a, indent=2)",
        "object.__setattr__(a, 'name', b)",
        "def f():\n  s = xp.cuda.Stream()\ndef g(s): s.nothing()",
        "class A:\n def f(self): self.s = xp.cuda.Event()\nclass B:\n def f(self): self.s.no()",
    ],
)
def test_what_cupy_has_is_not(line):
    assert (
        Census(f"import json\nimport numpy as np\nfrom npr.backend import xp\n{line}").missing
        == set()
    )
