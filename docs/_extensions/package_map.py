"""The layers of the package, the imports in its source, and the picture of them.

For tests/test_layers.py, which holds that no import breaks the layers, and for the site, where the
Mermaid graph of docs/architecture.md is an SVG. The functions for tests need the standard library
only.
"""

import ast
import functools
import html
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "npr"
SOURCES = sorted(PACKAGE.rglob("*.py"))

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


def module_path(path):
    """npr/kernels/jit.py -> ("kernels", "jit");  npr/kernels/__init__.py -> ("kernels",)"""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts


MODULES = {module_path(path) for path in SOURCES} | {()}


# ---- imports


@functools.cache
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


def import_graph():
    return {module_path(path): imports(path.read_text(), module_path(path)) for path in SOURCES}


def node_graph():
    """Key of LAYERS -> the other keys that it imports."""
    graph = {node: set() for node in LAYERS}
    for module, targets in import_graph().items():
        graph[node_of(module)] |= {node_of(target) for target in targets}
    return {node: targets - {node} for node, targets in graph.items()}


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


def by_layer():
    """The keys of LAYERS from the highest layer to the lowest."""
    return sorted(LAYERS, key=lambda node: (-LAYERS[node], label(node)))


def mermaid(graph):
    """The graph of direct imports for Mermaid, as lines."""
    order = by_layer()
    lines = ["flowchart TD"]
    for layer in sorted(set(LAYERS.values()), reverse=True):
        lines.append(f'    subgraph layer{layer}["layer {layer}"]')
        lines += [f"        {label(node)}" for node in order if LAYERS[node] == layer]
        lines.append("    end")
    for node, targets in sorted(direct(graph).items(), key=lambda item: order.index(item[0])):
        lines += [f"    {label(node)} --> {label(t)}" for t in sorted(targets, key=order.index)]
    return lines


# ---- as SVG

CHARACTER, PAD, GAP, BOX, ROW, LEFT = 8.0, 9, 14, 28, 84, 78  # in pixels


def positions(graph):
    """node -> (x, y, width), and the size of the picture.

    A row per layer; within a row, nodes are sorted by the mean position of what imports them.
    """
    layers = sorted(set(LAYERS.values()), reverse=True)
    rows = {layer: [node for node in by_layer() if LAYERS[node] == layer] for layer in layers}
    importers = {node: [m for m in graph if node in graph[m]] for node in graph}
    widths = {node: CHARACTER * len(label(node)) + 2 * PAD for node in LAYERS}
    broad = max(sum(widths[node] + GAP for node in row) for row in rows.values())
    placed = {}

    def place(layer, row):
        free = (broad - sum(widths[node] for node in row)) / (len(row) + 1)
        x = LEFT + free
        for node in row:
            placed[node] = (x, 14 + ROW * (layers[0] - layer), widths[node])
            x += widths[node] + free

    def middle(node, others):
        xs = [placed[m][0] + placed[m][2] / 2 for m in others if m in placed]
        return sum(xs) / len(xs) if xs else placed.get(node, (0, 0, 0))[0]

    for layer in layers:
        place(layer, rows[layer])
    for _ in range(8):
        for layer in layers:
            rows[layer].sort(key=lambda node: middle(node, [*importers[node], *graph[node]]))
            place(layer, rows[layer])
    return placed, LEFT + broad, 14 + ROW * len(layers) - (ROW - BOX) + 26


def svg(graph, address):
    """The picture of a graph {node: nodes} as SVG: a row per layer, an arrow per import.

    address  (node) -> where its box links to
    """
    placed, width, height = positions(graph)
    parts = [
        f'<svg class="package-map" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'style="min-width: {width:.0f}px" '
        'aria-label="The folders and modules of npr in layers, and what imports what">'
    ]
    for layer in sorted(set(LAYERS.values()), reverse=True):
        y = 14 + ROW * (max(LAYERS.values()) - layer)
        parts.append(
            f'<rect class="layer" x="2" y="{y - 8}" width="{width - 4:.0f}" height="{BOX + 16}" '
            f'rx="6"/><text class="layer" x="12" y="{y + BOX / 2 + 4}">layer {layer}</text>'
        )
    for node in by_layer():  # lower boxes cover the arrows of higher ones
        arrows = "".join(_arrow(placed[node], placed[t]) for t in sorted(graph[node]))
        x, y, wide = placed[node]
        parts.append(
            f'<g class="node">{arrows}<a href="{html.escape(address(node))}">'
            f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{BOX}" rx="5"/>'
            f'<text x="{x + wide / 2:.1f}" y="{y + BOX / 2 + 4.5}">{label(node)}</text></a></g>'
        )
    return "".join([*parts, "</svg>"])


def _arrow(start, end):
    """A curve from the box of what imports to the box of what is imported, with a dot at it."""
    (x, y, wide), (x2, y2, wide2) = start, end
    x, x2 = x + wide / 2, x2 + wide2 / 2
    if y == y2:  # of one layer: an arc below
        path = (
            f"M{x:.1f} {y + BOX} C{x:.1f} {y + BOX + 22} {x2:.1f} {y + BOX + 22} {x2:.1f} {y + BOX}"
        )
        return f'<path d="{path}"/><circle cx="{x2:.1f}" cy="{y + BOX}" r="3"/>'
    bend = (y2 - y - BOX) / 2
    path = f"M{x:.1f} {y + BOX} C{x:.1f} {y + BOX + bend} {x2:.1f} {y2 - bend} {x2:.1f} {y2}"
    return f'<path d="{path}"/><circle cx="{x2:.1f}" cy="{y2}" r="3"/>'


def setup(app):
    from docutils import nodes
    from source_pages import page_of, relative
    from sphinx.util.docutils import SphinxDirective

    class Mermaid(SphinxDirective):
        """The graph of docs/architecture.md, which Mermaid draws on GitHub."""

        has_content = True

        def run(self):
            graph = node_graph()
            if [*self.content][:2] != mermaid(graph)[:2]:
                raise self.error("mermaid: the site draws one graph only, that of the imports")
            docname = self.env.docname

            def address(node):
                path = PACKAGE / node
                path = path if path.is_dir() else PACKAGE / f"{node}.py"
                self.env.source_files.setdefault(docname, set()).add(f"npr/{path.name}")
                return relative(docname, page_of(path))

            picture = f'<div class="wide">{svg(direct(graph), address)}</div>'
            return [nodes.raw("", picture, format="html")]

    app.add_directive("mermaid", Mermaid)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
