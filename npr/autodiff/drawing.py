"""The graph of a tape as SVG: entries in layers from top to bottom, and arrows between them.

Entries are below all that they were computed from. An arrow that passes layers has a point in each
of them; within its layer everything is sorted by the mean place of its neighbors, which leaves few
crossings (Sugiyama et al. 1981), and placed as near to them as the widths allow.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from npr.autodiff.nodes import Node, text

_SIZE, _LINE, _CHAR = 12, 16, 7.3  # of the font: its size, the height and the width of a character
_PAD, _GAP, _BETWEEN = 8, 22, 40  # within a box, between boxes of a layer, between layers
_LONGEST = 64  # characters of a line
_SWEEPS = 12
_FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_COLORS = {"input": ("#e8f0fe", "#1a56b0"), "result": ("#e6f4ea", "#1b7f3b")}  # fill, border
_OTHER = ("#ffffff", "#5f6368")
_VALUE, _COTANGENT, _MUTED = "#202124", "#b3261e", "#5f6368"


@dataclass
class _Box:
    """An entry in the drawing, or a point of an arrow that passes a layer (no lines)."""

    lines: list[tuple[str, str]] = field(default_factory=list)  # text, color
    node: Node | None = None
    kind: str = ""
    above: list["_Box"] = field(default_factory=list)
    below: list["_Box"] = field(default_factory=list)
    x: float = 0.0  # its center
    y: float = 0.0  # its upper edge

    @property
    def width(self) -> float:
        longest = max((len(line) for line, _ in self.lines), default=0)
        return longest * _CHAR + 2 * _PAD if self.lines else 4.0

    @property
    def height(self) -> float:
        return len(self.lines) * _LINE + 2 * _PAD if self.lines else 0.0


def draw(
    heading: str, nodes: Sequence[Node], notes: Sequence[str], result: int | None, limit: int
) -> str:
    """A picture of these entries, in their order. All text is escaped.

    heading, notes   text above and below
    result           number of the entry that is the result
    limit            numbers of an array that is written out
    """
    boxes = {node.number: _box(node, result, limit) for node in nodes}
    layers, edges = _layers(boxes)
    _sort(layers)
    _place(layers)
    left = min(box.x - box.width / 2 for layer in layers for box in layer)
    right = max(box.x + box.width / 2 for layer in layers for box in layer)
    lines = [part for note in notes for part in _wrapped(note, max(60, int((right - left) / 6)))]
    words = max(len(heading) * _CHAR, max(map(len, lines), default=0) * _CHAR * 0.92)
    width = max(right - left, words) + 2 * _GAP
    shift = _GAP - left + (width - 2 * _GAP - (right - left)) / 2
    top = 2 * _GAP + _LINE
    heights = [max(box.height for box in layer) for layer in layers]
    y, lower = float(top), {}
    for layer, tall in zip(layers, heights):
        for box in layer:
            box.x, box.y = box.x + shift, y
            lower[id(box)] = y + tall
        y += tall + _BETWEEN
    bottom = y - _BETWEEN + _GAP
    height = bottom + len(lines) * _LINE + _GAP / 2
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-size="{_SIZE}" '
        f'font-family="{_FONT}" style="max-width: 100%; height: auto">',
        f"<title>The tape of {_plain(heading)}</title>",
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="6" fill="#ffffff"/>',
        _text(_GAP, _GAP + _SIZE, heading, _VALUE, bold=True),
    ]
    for path, ends in zip(edges, _ports(edges)):
        out += _arrow(path, ends, lower)
    for box in boxes.values():
        out += _rectangle(box)
    for i, line in enumerate(lines):
        out.append(_text(_GAP, bottom + (i + 0.7) * _LINE, line, _MUTED, size=11))
    return "\n".join([*out, "</svg>"]) + "\n"


def _box(node: Node, result: int | None, limit: int) -> _Box:
    lines = [(f"#{node.number} {node.name}", _VALUE)]
    if node.arguments:
        lines.append((f"of {node.arguments}", _MUTED))
    if node.shape:
        lines.append((f"shape {node.shape}", _MUTED))
    for name, x, color in (
        ("value", node.value, _VALUE),
        ("cotangent", node.cotangent, _COTANGENT),
    ):
        rows = text(x, limit).replace("], [", "],\n [").split("\n")  # those of a matrix
        lines += [
            (f"{name if i == 0 else '':{len(name)}} {row}", color) for i, row in enumerate(rows)
        ]
    kind = "" if node.arguments else "input"
    kind = "result" if node.number == result and node.arguments else kind
    cut = [(x if len(x) <= _LONGEST else x[: _LONGEST - 1] + "\u2026", color) for x, color in lines]
    return _Box(cut, node, kind)


# ---- layout


def _layers(boxes: dict[int, _Box]) -> tuple[list[list[_Box]], list[list[_Box]]]:
    """The layers from above, and each arrow as the boxes that it passes, from parent to child."""
    depth: dict[int, int] = {}
    for number, box in boxes.items():  # parents come first
        node = box.node
        known = [depth[p] + 1 for p in node.parents if p in depth] if node else []
        depth[number] = max(known, default=0 if not node or not node.arguments else 1)
    layers: list[list[_Box]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for number, box in boxes.items():
        layers[depth[number]].append(box)
    layers = [layer for layer in layers if layer]
    level = {id(box): i for i, layer in enumerate(layers) for box in layer}
    edges = []
    for box in boxes.values():
        for parent in box.node.parents if box.node else ():
            if parent not in boxes:
                continue
            path = [boxes[parent]]
            for i in range(level[id(boxes[parent])] + 1, level[id(box)]):
                layers[i].append(_Box())
                path.append(layers[i][-1])
            path.append(box)
            edges.append(path)
            for upper, lower in zip(path, path[1:]):
                upper.below.append(lower)
                lower.above.append(upper)
    return layers, edges


def _sort(layers: list[list[_Box]]) -> None:
    """Order the boxes of each layer for few crossings."""
    best, fewest = [list(layer) for layer in layers], _crossings(layers)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for layer in layers[1:] if down else layers[-2::-1]:
            place = {id(box): i for one in layers for i, box in enumerate(one)}

            def mean(box: _Box, down: bool = down, place: dict[int, int] = place) -> float:
                near = box.above if down else box.below
                return sum(place[id(b)] for b in near) / len(near) if near else place[id(box)]

            layer.sort(key=mean)
        crossed = _crossings(layers)
        if crossed < fewest:
            best, fewest = [list(layer) for layer in layers], crossed
    for layer, order in zip(layers, best):
        layer[:] = order


def _crossings(layers: list[list[_Box]]) -> int:
    total = 0
    for upper, lower in zip(layers, layers[1:]):
        place = {id(box): i for i, box in enumerate(lower)}
        ends = [sorted(place[id(b)] for b in box.below) for box in upper]
        seen: list[int] = []
        for one in ends:
            total += sum(other > end for end in one for other in seen)
            seen += one
    return total


def _place(layers: list[list[_Box]]) -> None:
    """Set the centers: each box as near to its neighbors as its layer allows."""
    for layer in layers:
        _settle(layer, [0.0] * len(layer))
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 0
        for layer in layers[1:] if down else layers[-2::-1]:
            wanted = []
            for box in layer:
                near = (box.above if down else box.below) or [box]
                wanted.append(sum(b.x for b in near) / len(near))
            _settle(layer, wanted)


def _settle(layer: Sequence[_Box], wanted: Sequence[float]) -> None:
    """Centers in the layer's order, without overlaps, with the least squared distance to those
    wanted: the pool-adjacent-violators algorithm on the centers less the widths before them."""
    offset, offsets = 0.0, []
    for i, box in enumerate(layer):
        offset += (layer[i - 1].width + box.width) / 2 + _GAP if i else 0.0
        offsets.append(offset)
    blocks: list[tuple[float, int]] = []  # sum, number
    for want, before in zip(wanted, offsets):
        total, count = want - before, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            more, n = blocks.pop()
            total, count = total + more, count + n
        blocks.append((total, count))
    centers = [total / count for total, count in blocks for _ in range(count)]
    for box, center, before in zip(layer, centers, offsets):
        box.x = center + before


# ---- SVG


def _ports(edges: list[list[_Box]]) -> list[tuple[float, float]]:
    """Where each arrow begins and ends on the edges of its boxes: from left to right as the boxes
    are that it goes to or comes from."""
    places = []
    for end, beside in ((0, 1), (-1, -2)):
        at: dict[int, list[int]] = {}
        for i in sorted(range(len(edges)), key=lambda i: edges[i][beside].x):
            at.setdefault(id(edges[i][end]), []).append(i)
        x: dict[int, float] = {}
        for group in at.values():
            box = edges[group[0]][end]
            room = min(16.0, (box.width - 2 * _PAD) / len(group))
            x |= {i: box.x + (n - (len(group) - 1) / 2) * room for n, i in enumerate(group)}
        places.append(x)
    return [(places[0][i], places[1][i]) for i in range(len(edges))]


def _arrow(path: list[_Box], ends: tuple[float, float], lower: dict[int, float]) -> list[str]:
    """An arrow from the lower edge of the first box to the upper edge of the last.

    lower   by box: the lower edge of its layer
    """
    (x, last), y = ends, path[0].y + path[0].height
    steps = [f"M{x:.1f} {y:.1f}"]
    for before, box in zip(path, path[1:]):
        if lower[id(before)] > y:  # straight through the layer
            y = lower[id(before)]
            steps.append(f"V{y:.1f}")
        end, goal = (last, box.y - 7) if box is path[-1] else (box.x, box.y)
        middle = (y + goal) / 2
        steps.append(f"C{x:.1f} {middle:.1f} {end:.1f} {middle:.1f} {end:.1f} {goal:.1f}")
        x, y = end, goal
    return [
        f'<path d="{" ".join(steps)}" fill="none" stroke="{_MUTED}" stroke-width="1.2"/>',
        f'<path d="M{x - 4:.1f} {y - 1:.1f}h8l-4 8z" fill="{_MUTED}"/>',
    ]


def _rectangle(box: _Box) -> list[str]:
    fill, border = _COLORS.get(box.kind, _OTHER)
    x, node = box.x - box.width / 2, box.node
    shape = f'x="{x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}"'
    out = [f'<g><rect {shape} rx="5" fill="{fill}" stroke="{border}" stroke-width="1.5"/>']
    if node and node.fused:  # a second border
        inner = f'x="{x + 3:.1f}" y="{box.y + 3:.1f}" width="{box.width - 6:.1f}"'
        out.append(
            f'<rect {inner} height="{box.height - 6:.1f}" rx="3" fill="none" stroke="{border}"/>'
        )
    for i, (line, color) in enumerate(box.lines):
        y = box.y + _PAD + (i + 0.75) * _LINE
        out.append(_text(x + _PAD, y, line, color, bold=i == 0))
    return [*out, "</g>"]


def _text(x: float, y: float, words: str, color: str, bold: bool = False, size: int = 0) -> str:
    weight = ' font-weight="bold"' if bold else ""
    other = f' font-size="{size}"' if size else ""
    place = f'x="{x:.1f}" y="{y:.1f}"'
    space = ' xml:space="preserve"' if words[:1] == " " else ""
    return f'<text {place} fill="{color}"{weight}{other}{space}>{_plain(words)}</text>'


def _plain(words: str) -> str:
    """Text for SVG: escaped, and without characters that XML does not allow."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in words))


def _wrapped(words: str, width: int) -> list[str]:
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
