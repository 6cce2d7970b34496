"""```{side-by-side} dqn: the pseudocode of an algorithm beside its code, line linked with line."""

import html
import re
from pathlib import Path

from docutils import nodes
from pseudocode import BRACKET, first_line_of_code, numbers_of, pseudocode, regions
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from source_pages import page_of, relative
from sphinx.util.docutils import SphinxDirective
from words import word

ALGORITHMS = Path(__file__).resolve().parents[2] / "npr" / "algorithms"
COMMENT = re.compile(r'<span class="c1">(.*?)</span>')


def pseudocode_html(lines, name):
    """The pseudocode as HTML; a numbered line and those that continue it are one link."""
    blocks = []
    for line in lines:
        if line.number is None and blocks:
            blocks[-1][1].append(line.text)
        else:
            blocks.append((line.number, [line.text]))
    rows = []
    for number, texts in blocks:
        shown = "".join(
            f'<span class="row" style="--indent: {len(text) - len(text.lstrip())}ch">'
            f"{html.escape(text.strip())}</span>"
            for text in texts
        )
        rows.append(
            f'<a class="line" id="{name}-pseudocode-{number}" href="#{name}-line-{number}" '
            f'data-lines="{number}"><span class="number">{number}</span>{shown}</a>'
        )
    return "".join(rows)


def code_html(source, name):
    """The code after docstring and imports as HTML, with an element for each tagged region."""
    first = first_line_of_code(source)
    opened, closed = {}, {}
    for region in regions(source):
        opened.setdefault(region.first, []).append(region)
        closed[region.last] = closed.get(region.last, 0) + len(region.numbers)
    rows = []
    for n, line in enumerate(_highlighted(source), 1):
        if n < first:
            continue
        for region in opened.get(n, ()):
            together = " ".join(map(str, region.numbers))
            rows += [
                f'<span class="region" id="{name}-line-{number}" data-lines="{together}">'
                for number in region.numbers
            ]
        linked = COMMENT.sub(lambda match: _with_links(match[0], name), line)
        rows.append(f'<span class="line"><span class="number">{n}</span>{linked}\n</span>')
        rows.append("</span>" * closed.get(n, 0))
    return "".join(rows)


def _highlighted(source):
    """The lines of a source as HTML."""
    lexer = PythonLexer(stripnl=False, ensurenl=False)
    return highlight(source, lexer, HtmlFormatter(nowrap=True)).rstrip("\n").split("\n")


def _with_links(comment, name):
    """A comment whose tags link to the pseudocode."""

    def link(match):
        first, *_ = numbers_of(match[1])
        return f'<a class="tag" href="#{name}-pseudocode-{first}">{match[0]}</a>'

    return BRACKET.sub(link, comment)


class SideBySide(SphinxDirective):
    required_arguments = 1
    has_content = True

    def run(self):
        name = self.arguments[0]
        path = ALGORITHMS / f"{name}.py"
        if not path.exists():
            raise self.error(f"side-by-side: there is no npr/algorithms/{name}.py")
        source = path.read_text(encoding="utf-8")
        lines = pseudocode(source.split('"""')[1])
        if self.content:
            numbers = [line.number for line in lines if line.number]
            lines = pseudocode("\n".join(self.content))
            given = [line.number for line in lines if line.number]
            if given != numbers:
                raise self.error(
                    f"side-by-side: {name} has lines {numbers[0]} to {numbers[-1]}, the body of "
                    f"the directive has {given}"
                )
        self.env.note_dependency(str(path))
        self.env.source_files.setdefault(self.env.docname, set()).add(f"npr/algorithms/{name}.py")
        uri = relative(self.env.docname, page_of(path))
        file = f'<a href="{uri}">npr/algorithms/{name}.py</a>'
        title, code, colon = (word(self.config, text) for text in ("Pseudocode", "Code", ": "))
        text = (
            f'<div class="side-by-side">'
            f'<div class="pseudocode"><p class="caption">{title}</p>'
            f"<div class='lines'>{pseudocode_html(lines, name)}</div></div>"
            f'<div class="code"><p class="caption">{code}{colon}{file}</p>'
            f'<div class="highlight"><pre tabindex="0">{code_html(source, name)}</pre></div></div>'
            "</div>"
        )
        return [nodes.raw("", text, format="html")]


def setup(app):
    app.add_directive("side-by-side", SideBySide)
    app.add_js_file("side_by_side.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
