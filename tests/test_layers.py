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

sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
from package_map import (
    LAYERS,
    MODULES,
    SOURCES,
    by_layer,
    direct,
    import_graph,
    imports,
    label,
    mermaid,
    module_path,
    node_graph,
    node_of,
)  # fmt: skip

DRAWING = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- begin: python tests/test_layers.py -->", "<!-- end -->"


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


def drawing(graph):
    """The picture in Markdown: a table of all imports, and a Mermaid graph of the direct ones."""
    lines = ["| layer | folder or module | imports |", "|---|---|---|"]
    for node in by_layer():
        targets = sorted(graph[node], key=by_layer().index)
        names = ", ".join(label(target) for target in targets) or "nothing of npr"
        name = label(node).replace("__", r"\_\_")  # else bold
        lines.append(f"| {LAYERS[node]} | {name} | {names} |")
    return "\n".join([*lines, "", "```mermaid", *mermaid(graph), "```"])


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
