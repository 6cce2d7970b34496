"""Constructs that the source must not use."""

import ast

import pytest
from support.source_files import SOURCES, module_path

RUNS_CODE = {
    "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "runpy",
    "imp", "subprocess",
}  # fmt: skip
IMPORTERS = {("__init__",), ("cli",)}  # modules that import others of npr by name
STARTS = ("capture", "compiling")  # starts this interpreter with a program that it holds
TYPED = ("runs", "typed")  # imports what the user has typed, in one place
GENERATORS = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64"}


def forbidden(source, lazy=False, typed=0, starts=False):
    """Violations in a source: code from data, the global generator, assert.

    lazy    importlib is allowed, for modules of npr that the source itself names
    typed   number of imports by another name that are allowed
    starts  subprocess is allowed
    """
    complaints = []
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
            if "random" in names:
                complaints.append("the global generator of Python")
            if any(alias.name == "numpy.random" for alias in node.names):
                complaints.append("numpy.random by another name")
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
            if node.module == "importlib.metadata":  # reads versions, imports nothing
                continue
            if node.module == "random" or node.module == "numpy.random":
                complaints.append(f"from {node.module} import ...")
        allowed = {"subprocess"} if starts else set()
        if RUNS_CODE & set(names) - allowed or ("importlib" in names and not lazy):
            complaints.append(f"imports {', '.join(names)}")
        if isinstance(node, ast.Assert):
            complaints.append("assert: raise an error that says what was got and what to do")
        if isinstance(node, ast.Name) and node.id in ("eval", "exec", "compile", "__import__"):
            complaints.append(node.id)
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            complaints += [] if ast.unparse(node.value) == "False" else ["allow_pickle"]
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner in ("np.random", "numpy.random", "xp.random") and node.attr not in GENERATORS:
                complaints.append(f"the global generator: {owner}.{node.attr}")
            if owner == "os" and node.attr in ("system", "popen"):
                complaints.append(f"os.{node.attr}")
            if owner == "builtins" and node.attr in ("eval", "exec", "compile", "__import__"):
                complaints.append(f"builtins.{node.attr}")
            if owner in ("np", "numpy") and node.attr in ("load", "fromfile", "memmap"):
                complaints.append(f"{owner}.{node.attr}: files are read by npr.files.archive")
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            name = node.args[0]
            if isinstance(name, ast.JoinedStr):
                name = name.values[0]
            if not (isinstance(name, ast.Constant) and str(name.value).startswith("npr.")):
                typed -= 1
                complaints += ["imports by a name that is not npr's"] if typed < 0 else []
    return complaints


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(module_path(path)))
def test_the_source_has_no_forbidden_constructs(path):
    module = module_path(path)
    lazy = module in {*IMPORTERS, TYPED}
    starts = module == STARTS
    assert forbidden(path.read_text(), lazy, int(module == TYPED), starts) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import importlib",
        "from importlib import import_module",
        "eval(text)",
        "exec(text)",
        "run = eval",
        "__import__(name)",
        "read_array(file, allow_pickle=True)",
        "np.load(path, None, True)",
        "builtins.eval(text)",
        "np.random.seed(0)",
        "x = np.random.randn(3)",
        "from numpy.random import randn",
        "import numpy.random as npr",
        "import random",
        "assert x > 0",
        "os.system(text)",
    ],
)
def test_forbidden_constructs_are_found(source):
    assert len(forbidden(source)) == 1


def test_importlib_may_import_modules_of_npr_only():
    assert forbidden("importlib.import_module('npr.errors')", lazy=True) == []
    assert forbidden("from importlib.metadata import version") == []
    assert forbidden("importlib.import_module(f'npr.{name}')", lazy=True) == []
    assert len(forbidden("importlib.import_module(name)", lazy=True)) == 1
    assert len(forbidden("importlib.import_module(f'{name}.npr')", lazy=True)) == 1
    twice = "importlib.import_module(name)\nimportlib.import_module(name)"
    assert len(forbidden(twice, lazy=True, typed=1)) == 1


def test_no_module_is_called_utils():
    names = {part for path in SOURCES for part in module_path(path)}
    assert not names & {"util", "utils", "helpers", "misc", "common"}
