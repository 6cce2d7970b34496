"""Layers of the package: imports point to the same layer or to lower ones, without cycles."""

import ast

import pytest
from support.source_files import FILES, dotted

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
