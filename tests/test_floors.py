"""The house stands: what may import what, what may not be written, what a fresh import costs.

Nothing of npr runs in the first half of this file; it reads the source as a syntax tree. Each
rule is a function from source text to a list of complaints, so that each can be shown to bite.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import numpy as np
import pytest
from tiny import CASES, observations, trained

HOUSE = Path(__file__).parent.parent / "npr"
FILES = sorted(HOUSE.rglob("*.py"))

# a folder or a module at the top -> its layer: imports go to the same layer or to a lower one
FLOORS = {
    "errors": 0, "version": 0, "backend": 0,
    "system": 1, "files": 1, "autodiff": 1, "kernels": 1,
    "nn": 2, "optim": 2, "losses": 2, "noise": 2, "normalize": 2, "envs": 2,
    "heads": 3, "buffers": 3, "policy": 3, "infer": 3,
    "settings": 4, "presets": 4,
    "training": 5,
    "algorithms": 6,
    "__init__": 7, "cli": 7,
}  # fmt: skip


def dotted(path):
    """npr/kernels/jit.py -> ("kernels", "jit");  npr/kernels/__init__.py -> ("kernels",)"""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts


MODULES = {dotted(path) for path in FILES} | {()}


def imports(source, module):
    """The modules of npr that a source imports, anywhere in it, as ("kernels", "jit")."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = (node.module or "").split(".") if node.module else []
            if node.level:
                inside = module if module + ("__init__",) in MODULES else module[:-1]
                package = ["npr", *inside[: len(inside) + 1 - node.level], *package]
            names = [[*package, alias.name] for alias in node.names]
        else:
            continue
        for head, *rest in names:
            if head == "npr":
                target = tuple(rest)
                while target not in MODULES:  # the last part is a name in the module
                    target = target[:-1]
                found.add(target or ("__init__",))
    return found - {module}


def floor(module):
    assert module[0] in FLOORS, f"npr/{module[0]} has no floor; give it one here"
    return FLOORS[module[0]]


def misplaced(source, module):
    """Complaints about imports that go up, or sideways where that is not allowed."""
    complaints = []
    for target in sorted(imports(source, module)):
        here, there = floor(module), floor(target)
        sideways = {module[0], target[0]} == {"autodiff", "kernels"}
        if module[0] == target[0] == "algorithms" and len(module) > 1:
            sideways = target != ("algorithms", "base")
        if there > here or sideways:
            complaints.append(f"{'.'.join(module)} imports {'.'.join(target)}")
    return complaints


@pytest.mark.parametrize("path", FILES, ids=lambda path: ".".join(dotted(path)))
def test_imports_go_down_only(path):
    assert misplaced(path.read_text(), dotted(path)) == []


def test_no_module_imports_itself_through_others():
    graph = {dotted(path): imports(path.read_text(), dotted(path)) for path in FILES}
    done, open_ = set(), []

    def visit(module):
        assert module not in open_, f"a circle of imports: {open_[open_.index(module) :]}"
        if module not in done:
            open_.append(module)
            for target in sorted(graph[module]):
                if target != module[:-1]:  # a package names its parts, and its parts their package
                    visit(target)
            done.add(open_.pop())

    for module in graph:
        if module != ("__init__",):
            visit(module)


@pytest.mark.parametrize(
    "module, source",
    [
        (("nn",), "import npr.training.run"),
        (("nn",), "from npr import checkpoint"),
        (("nn",), "from npr.algorithms.base import Algorithm"),
        (("nn",), "def f():\n    from npr.training.logger import Logger"),
        (("nn",), "from .training import run"),
        (("nn",), "import npr"),
        (("kernels", "dense"), "from npr.autodiff import Tensor"),
        (("kernels", "dense"), "from ..autodiff import Tensor"),
        (("autodiff", "ops"), "import npr.kernels.steps as steps"),
        (("algorithms", "sac"), "from npr.algorithms.dqn import DQN"),
        (("algorithms", "sac"), "from .dqn import DQN"),
        (("algorithms", "sac"), "from npr.algorithms import DQN"),
        (("algorithms", "base"), "from npr.cli import main"),
    ],
)
def test_a_misplaced_import_is_seen(module, source):
    assert len(misplaced(source, module)) == 1


# ---- what may not be written

RUNS_CODE = {
    "pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "runpy",
    "imp", "subprocess",
}  # fmt: skip
GENERATORS = {"default_rng", "Generator", "SeedSequence", "BitGenerator", "PCG64"}


def forbidden(source, lazy=False):
    """Complaints about a source: code from data, the global generator, assert.

    lazy    importlib is allowed, for modules of npr that the source itself names
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
        if RUNS_CODE & set(names) or ("importlib" in names and not lazy):
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
                complaints.append("imports by a name that is not npr's")
    return complaints


@pytest.mark.parametrize("path", FILES, ids=lambda path: ".".join(dotted(path)))
def test_no_code_from_data_no_global_generator_no_assert(path):
    assert forbidden(path.read_text(), lazy=dotted(path) == ("__init__",)) == []


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
def test_what_is_forbidden_is_seen(source):
    assert len(forbidden(source)) == 1


def test_importlib_is_for_npr_s_own_modules_where_it_is_allowed():
    assert forbidden("importlib.import_module('npr.errors')", lazy=True) == []
    assert forbidden("from importlib.metadata import version") == []
    assert forbidden("importlib.import_module(f'npr.{name}')", lazy=True) == []
    assert len(forbidden("importlib.import_module(name)", lazy=True)) == 1
    assert len(forbidden("importlib.import_module(f'{name}.npr')", lazy=True)) == 1


def test_no_room_is_called_utils():
    names = {part for path in FILES for part in dotted(path)}
    assert not names & {"util", "utils", "helpers", "misc", "common"}


# ---- the pseudocode and the code beside it

ALGORITHMS = sorted({*(HOUSE / "algorithms").glob("[!_]*.py")} - {HOUSE / "algorithms/base.py"})
BRACKET = re.compile(r"\[\s*(\d+(?:\s*[-,]\s*\d+)*)\s*\]")


def numbered_lines(source):
    """[(13, "y = r + gamma ...")] of the pseudocode in a module's docstring."""
    text = ast.get_docstring(ast.parse(source), clean=False)
    found = re.findall(r"^\s*(\d+)  \s*(.*)", text, re.MULTILINE)
    return [(int(number), line) for number, line in found]


def tags(source):
    """[(line of the file, [9, 11, 12])] for each bracket `[9, 11-12]` in a comment."""
    found = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        for bracket in BRACKET.findall(token.string):
            numbers = []
            for span in bracket.split(","):
                first, _, last = span.partition("-")
                numbers += range(int(first), int(last or first) + 1)
            found.append((token.start[0], numbers))
    return found


def untrue_tags(source):
    """Complaints about the tags: a line left out or tagged twice, or out of order in a method.

    A method runs down the pseudocode: the last line of each bracket lies below the one before.
    Between methods nothing is asked: `train` closes its loops before `update` is written. Lines
    that the pseudocode itself calls "(once, before the epochs)" may stand where they are run.
    """
    lines, brackets = [n for n, _ in numbered_lines(source)], tags(source)
    once = {n for n, text in numbered_lines(source) if text.startswith("(once, ")}
    complaints = []
    if lines != list(range(1, len(lines) + 1)):
        complaints.append(f"the pseudocode is numbered {lines}")
    tagged = [number for _, numbers in brackets for number in numbers]
    counts = {n: tagged.count(n) for n in lines}
    complaints += [f"[{n}] is tagged {count} times" for n, count in counts.items() if count != 1]
    complaints += [f"[{n}] is no line of the pseudocode" for n in sorted({*tagged} - {*lines})]
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = range(function.lineno, _end(function, source) + 1)
            last = [ns[-1] for line, ns in brackets if line in inside and not once & {*ns}]
            if last != sorted(last):
                complaints.append(f"{function.name} tags its lines in the order {last}")
    return complaints


def _end(function, source):
    """The last line of a function, with the comments that close it."""
    end, lines = function.end_lineno, source.splitlines()
    indent = " " * (function.col_offset + 1)
    while end < len(lines) and lines[end].startswith(indent):
        end += 1
    return end


@pytest.mark.parametrize("path", ALGORITHMS, ids=lambda path: path.stem)
def test_every_line_of_the_pseudocode_is_tagged_once_and_in_order(path):
    source = path.read_text()
    assert numbered_lines(source), "the module's docstring holds no numbered pseudocode"
    assert untrue_tags(source) == []


PAGE = '''"""Title.

     1  initialise theta
     2  for each step:
     3      s <- s2
     4      (once, before the steps) update
     5  end
"""
theta = 0  # [1]
def train():
    update()  # [4]
    for t in steps:  # [2] a share in [0, 1)
        s = s2  # [3]
    # [5]
'''


@pytest.mark.parametrize(
    "right, wrong, complaint",
    [
        ("# [3]", "#", r"\[3\] is tagged 0 times"),
        ("# [3]", "# [3-4]", r"\[4\] is tagged 2 times"),
        ("# [1]", "# [1, 7]", r"\[7\] is no line"),
        ("     5  end", "     6  end", r"numbered \[1, 2, 3, 4, 6\]"),
        ("# [3]", "# [1]", r"\[1\] is tagged 2 times"),
        ("# [2]", "# [5]", r"train tags its lines in the order \[5, 3, 5\]"),
        ("(once, before the steps) ", "", r"train tags its lines in the order \[4, 2, 3, 5\]"),
    ],
)
def test_a_wrong_tag_is_seen(right, wrong, complaint):
    assert untrue_tags(PAGE) == []
    assert any(re.search(complaint, c) for c in untrue_tags(PAGE.replace(right, wrong)))


# ---- what an import costs

HEAVY = ("numba", "gymnasium", "cupy", "matplotlib")

FRESH = """
import sys
def stage(name):
    held = [heavy for heavy in {heavy} if heavy in sys.modules]
    print(name, *held)

import npr
stage("import")
names = [getattr(npr, name) for name in npr.__all__]
stage("names")
import numpy as np
for path, observation in {files}:
    print(np.asarray(npr.infer.load(path)(np.array(observation))).tolist())
stage("infer")
"""


def test_a_fresh_import_brings_numpy_alone_and_so_does_a_policy(tmp_path):
    """Gymnasium comes with the first agent, Numba with the first kernel, a policy needs neither."""
    files, actions = [], []
    for case in CASES:
        agent, path = trained(case), str(tmp_path / f"{case}.npz")
        agent.save(path)
        observation = observations(agent, 1)[0]
        files.append((path, observation.tolist()))
        actions.append(str(np.asarray(agent.act(observation)).tolist()))
    script = FRESH.format(heavy=HEAVY, files=files)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["import", "names", *actions, "infer"]
