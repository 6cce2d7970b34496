"""Layers of the package: what may import what, and the picture of what does.

A folder or module imports from its own layer or from lower ones, without cycles. Algorithms do not
import each other, and `autodiff` and `kernels` do not import each other. The picture in
docs/architecture.md is drawn from the imports in the source; this command rewrites it:

    python tests/test_layers.py
"""

import ast
import re
import sys

import pytest
from support import ROOT
from support.source_files import SOURCES, module_path

# Folders and modules of npr/ by layer.
LAYERS = {
    "errors": 0, "version": 0, "backend": 0,
    "system": 1, "files": 1, "autodiff": 1, "kernels": 1,
    "nn": 2, "own_network": 2, "optim": 2, "losses": 2, "noise": 2, "normalize": 2, "mirror": 2,
    "envs": 2,
    "heads": 3, "critics": 3, "buffers": 3, "one_row": 3, "policy": 3, "named_tensors": 3,
    "infer": 3, "data": 3, "traces": 3,
    "settings": 4, "presets": 4, "loggers": 4,
    "capture": 5, "distributed": 5, "export": 5, "plot": 5, "training": 5,
    "callbacks": 6, "algorithms": 6,
    "ensemble": 7, "loading": 7, "report": 7, "runs": 7, "tune": 7,
    "__init__": 8, "cli": 8, "__main__": 8, "lessons": 8,
}  # fmt: skip
DRAWING = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- begin: python tests/test_layers.py -->", "<!-- end -->"

MODULES = {module_path(path) for path in SOURCES} | {()}

# ---- imports


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


def node_of(module):
    """The key of LAYERS that a module belongs to."""
    assert module[0] in LAYERS, f"npr/{module[0]} has no layer: add it to LAYERS"
    return module[0]


def invalid_imports(source, module):
    """Imports of a higher layer, and of modules that must stay independent."""
    violations = []
    for target in sorted(imports(source, module)):
        upward = LAYERS[node_of(target)] > LAYERS[node_of(module)]
        separate = {module[0], target[0]} == {"autodiff", "kernels"}
        if module[0] == target[0] == "algorithms" and len(module) > 1:
            separate = target not in (("algorithms", "base"), ("algorithms", "agent"))
        if upward or separate:
            violations.append(f"{'.'.join(module)} imports {'.'.join(target)}")
    return violations


def import_graph():
    return {module_path(path): imports(path.read_text(), module_path(path)) for path in SOURCES}


def node_graph():
    """Key of LAYERS -> the other keys that it imports."""
    graph = {node: set() for node in LAYERS}
    for module, targets in import_graph().items():
        graph[node_of(module)] |= {node_of(target) for target in targets}
    return {node: targets - {node} for node, targets in graph.items()}


def find_cycle(graph):
    """The first cycle of a graph {node: nodes}, as a list of nodes, or []."""
    done, path = set(), []

    def visit(node):
        if node in path:
            return path[path.index(node) :]
        if node in done:
            return []
        path.append(node)
        cycle = next(filter(None, map(visit, sorted(graph[node]))), [])
        done.add(path.pop())
        return cycle

    return next(filter(None, map(visit, graph)), [])


# ---- rules


def test_every_folder_and_module_has_a_layer_and_every_layer_its_modules():
    assert {node_of(module) for module in MODULES if module} == set(LAYERS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: ".".join(module_path(path)))
def test_imports_come_from_the_same_layer_or_lower_ones(path):
    assert invalid_imports(path.read_text(), module_path(path)) == []


def test_modules_do_not_import_each_other_in_a_cycle():
    graph = import_graph()
    # a package re-exports names of its modules, which may import each other through it
    within = {module: targets - {module[:-1]} for module, targets in graph.items()}
    assert find_cycle(within) == []


def test_folders_do_not_import_each_other_in_a_cycle():
    assert find_cycle(node_graph()) == []


@pytest.mark.parametrize(
    "graph, cycle",
    [
        ({"a": {"b"}, "b": set()}, []),
        ({"a": {"b", "c"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}}, ["a", "b"]),
        ({"a": {"b"}, "b": {"c"}, "c": {"b"}}, ["b", "c"]),
    ],
)
def test_find_cycle_finds_cycles_and_nothing_else(graph, cycle):
    assert find_cycle(graph) == cycle


@pytest.mark.parametrize(
    "module, source",
    [
        (("nn",), "import npr.training.run"),
        (("nn",), "from npr.training import saving"),
        (("nn",), "from npr.algorithms.base import Algorithm"),
        (("nn",), "def f():\n    from npr.training.logger import Logger"),
        (("nn",), "from .training import run"),
        (("nn",), "import npr"),
        (("kernels", "dense"), "from npr.autodiff import Tensor"),
        (("kernels", "dense"), "from ..autodiff import Tensor"),
        (("autodiff", "ops"), "import npr.kernels.steps as steps"),
        (("files", "archive"), "from npr.buffers import ReplayBuffer"),
        (("files", "archive"), "from npr.training import saving"),
        (("algorithms", "sac"), "from npr.algorithms.dqn import DQN"),
        (("algorithms", "sac"), "from .dqn import DQN"),
        (("algorithms", "sac"), "from npr.algorithms import DQN"),
        (("algorithms", "base"), "from npr.cli import main"),
    ],
)
def test_an_invalid_import_is_found(module, source):
    assert len(invalid_imports(source, module)) == 1


FOLDERS = sorted(path.parent for path in SOURCES if path.name == "__init__.py")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_folder_says_what_it_is_for(folder):
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    assert len(re.findall(r"\.(?=\s|$)", docstring)) >= 2, (
        "say in two sentences or more what it is for and what it imports"
    )


# ---- the picture


def label(node):
    return "npr" if node == "__init__" else node


def reachable(graph, node):
    found = set()
    for target in graph[node]:
        found |= {target} | reachable(graph, target)
    return found


def direct(graph):
    """The graph without the edges that follow from others: a -> c where a -> b -> ... -> c."""
    return {
        node: {t for t in targets if not any(t in reachable(graph, other) for other in targets)}
        for node, targets in graph.items()
    }


def drawing(graph):
    """The picture in Markdown: a table of all imports, and a Mermaid graph of the direct ones."""
    by_layer = sorted(LAYERS, key=lambda node: (-LAYERS[node], label(node)))
    lines = ["| layer | folder or module | imports |", "|---|---|---|"]
    for node in by_layer:
        targets = sorted(graph[node], key=by_layer.index)
        names = ", ".join(label(target) for target in targets) or "nothing of npr"
        lines.append(f"| {LAYERS[node]} | {label(node)} | {names} |")
    lines += ["", "```mermaid", "flowchart TD"]
    for layer in sorted(set(LAYERS.values()), reverse=True):
        lines.append(f'    subgraph layer{layer}["layer {layer}"]')
        lines += [f"        {label(node)}" for node in by_layer if LAYERS[node] == layer]
        lines.append("    end")
    for node, targets in sorted(direct(graph).items(), key=lambda item: by_layer.index(item[0])):
        lines += [f"    {label(node)} --> {label(t)}" for t in sorted(targets, key=by_layer.index)]
    return "\n".join([*lines, "```"])


def redrawn(text):
    """The text of docs/architecture.md with the picture that the imports give."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{drawing(node_graph())}\n\n{END}{rest.split(END)[1]}"


def test_the_picture_in_the_documentation_is_that_of_the_imports():
    text = DRAWING.read_text()
    assert redrawn(text) == text, "imports have changed: run python tests/test_layers.py"


def test_the_picture_leaves_out_imports_that_follow_from_others():
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set()}
    assert direct(graph) == {"a": {"b"}, "b": {"c"}, "c": set()}


if __name__ == "__main__":
    if cycle := find_cycle(node_graph()):
        sys.exit(f"The imports have a cycle: {' -> '.join(cycle)}; remove it first.")
    DRAWING.write_text(redrawn(DRAWING.read_text()))
