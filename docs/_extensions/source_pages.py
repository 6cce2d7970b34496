"""Links from a page to files of the repository, such as ../npr/nn.py, as pages of the site.

On GitHub such a link shows the file; here it shows source/npr/nn.py.html, with the anchors #L12
that GitHub has. A link to a folder lists its files. Links to README.md, CHANGELOG.md and
CONTRIBUTING.md show the pages of the site that have their text, and objects of the reference link
to their source.
"""

import html
import importlib
import inspect
import os
import posixpath
import re
from pathlib import Path

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from words import word

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
COPIED = {".npz", ".png", ".gif", ".svg", ".webp", ".ipynb", ".mp4", ".html"}
# pages of the site whose text is that of a file of the repository
PAGES = {"readme": "README.md", "changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}


def resolved(target, docname, srcdir):
    """The path in the repository that a link of a page means, or None."""
    path = Path(os.path.normpath(Path(srcdir, posixpath.dirname(docname), target)))
    if not path.exists() or not path.is_relative_to(ROOT):
        return None
    return path


def page_of(path):
    """The page of the site for a file of the repository: npr/nn.py -> source/npr/nn.py."""
    return f"source/{path.relative_to(ROOT).as_posix()}"


def relative(docname, page):
    """The address of a page as seen from another one."""
    return posixpath.relpath(f"{page}.html", posixpath.dirname(docname) or ".")


class Links(SphinxTransform):
    """Replaces links to files that are no pages of the site."""

    default_priority = 870  # before files are collected for download

    def apply(self, **options):
        srcdir = self.env.srcdir
        found = [*self.document.findall(addnodes.download_reference)]
        found += [
            node
            for node in self.document.findall(addnodes.pending_xref)
            if node.get("reftype") == "myst"
        ]
        for node in found:
            target, _, anchor = node["reftarget"].partition("#")
            if node.get("refdomain") == "doc":  # without its suffix, and as MyST resolves it
                if not os.path.isabs(target):
                    continue
                target += ".md"
            path = resolved(target, self.env.docname, srcdir) if target else None
            if path is None or path.suffix in COPIED:
                continue
            if new := self.link(path, node):
                anchor = anchor or node.get("reftargetid") or ""
                new["refuri"] += f"#{anchor}" if anchor else ""
                new += node.children
                node.replace_self(new)

    def link(self, path, node):
        docname = self.env.docname
        name = path.relative_to(ROOT).as_posix()
        for page, file in PAGES.items():
            if name == file:
                uri = relative(docname, page)
                if Path(self.env.srcdir) != DOCS:
                    uri = f"../{uri}"
                return nodes.reference("", "", refuri=uri, internal=True)
        if path.is_relative_to(DOCS) and path.suffix == ".md":
            return self.other_language(path)
        self.env.source_files.setdefault(docname, set()).add(name)
        uri = relative(docname, page_of(path))
        return nodes.reference("", "", refuri=uri, internal=True, classes=["source"])

    def other_language(self, path):
        """A page in docs/ that is not of this language."""
        here = Path(self.env.srcdir).relative_to(DOCS)
        page = path.relative_to(DOCS).with_suffix("").as_posix()
        if here == Path("."):
            there = page  # zh/dqn, from the English page
        else:
            there = posixpath.join(*[".."] * len(here.parts), page)
        return nodes.reference("", "", refuri=relative(self.env.docname, there), internal=True)


# ---- objects of the reference


def source_of(module, name):
    """(path in the repository, line) where an object is defined, or None."""
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = inspect.getattr_static(found, part) if inspect.isclass(found) else getattr(
                found, part
            )  # fmt: skip
        found = getattr(found, "__func__", found)
        found = getattr(found, "fget", found)
        path = Path(inspect.getsourcefile(inspect.unwrap(found))).resolve()
        line = inspect.getsourcelines(inspect.unwrap(found))[1]
    except (AttributeError, ImportError, OSError, TypeError):
        return None
    return (path, max(line, 1)) if path.is_relative_to(ROOT) else None


def link_objects(app, doctree):
    """Put a link to the source after each signature of the reference."""
    docname = app.env.docname
    for desc in doctree.findall(addnodes.desc):
        if desc.get("domain") != "py":
            continue
        for signature in desc.findall(addnodes.desc_signature):
            if signature.parent is not desc or not signature.get("module"):
                continue
            place = source_of(signature["module"], signature["fullname"])
            if place:
                path, line = place
                app.env.source_files.setdefault(docname, set()).add(
                    path.relative_to(ROOT).as_posix()
                )
                uri = f"{relative(docname, page_of(path))}#L{line}"
                text = word(app.config, "[source]")
                signature += nodes.reference(
                    "", text, refuri=uri, internal=True, classes=["viewcode-link"]
                )


# ---- the pages


def body_of(path, docname):
    """The HTML of the page of a file or a folder."""
    if path.is_dir():
        return f"<ul>{''.join(_entries(path, docname))}</ul>"
    source = path.read_text(encoding="utf-8")
    try:
        lexer = get_lexer_for_filename(path.name, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    lines = highlight(source, lexer, HtmlFormatter(nowrap=True)).rstrip("\n").split("\n")
    numbered = "".join(
        f'<span class="line" id="L{n}"><a class="number" href="#L{n}">{n}</a>{line}\n</span>'
        for n, line in enumerate(lines, 1)
    )
    return f'<div class="source highlight"><pre tabindex="0">{numbered}</pre></div>'


def _entries(path, docname):
    for one in sorted(path.iterdir()):
        if one.is_file() and one.suffix not in COPIED:
            uri = relative(docname, page_of(one))
            yield f'<li><a href="{html.escape(uri)}">{html.escape(one.name)}</a></li>'


PAGE = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{name} - npr</title>
<link rel="stylesheet" href="{root}_static/pygments.css">
<link rel="stylesheet" href="{root}_static/styles/furo.css">
<link rel="stylesheet" href="{root}_static/npr.css"></head>
<body><script>document.body.dataset.theme = localStorage.getItem("theme") || "auto";</script>
<div class="source-page"><p><a href="{root}index.html">npr</a></p><h1>{name}</h1>
{body}</div></body></html>
"""


def write_pages(app, exception):
    """Write the pages of all files that are linked. They have no sidebars: that is a fourth of the
    time of a build, for pages that are left by "back"."""
    if exception or app.builder.format != "html":
        return
    names = set().union(*app.env.source_files.values())
    for folder in [ROOT / name for name in names if (ROOT / name).is_dir()]:
        files = [one for one in folder.iterdir() if one.is_file() and one.suffix not in COPIED]
        names |= {one.relative_to(ROOT).as_posix() for one in files}
    for name in sorted(names):
        page = page_of(ROOT / name)
        path = Path(app.outdir, f"{page}.html")
        path.parent.mkdir(parents=True, exist_ok=True)
        text = PAGE.format(
            lang=app.config.language, name=html.escape(name), body=body_of(ROOT / name, page),
            root="../" * page.count("/"),
        )  # fmt: skip
        path.write_text(text, encoding="utf-8")


def texts(app, docname, source):
    """The text of README.md and others for the pages that show them."""
    if docname in PAGES and Path(app.srcdir) == DOCS:
        text = (ROOT / PAGES[docname]).read_text(encoding="utf-8")
        app.env.note_dependency(str(ROOT / PAGES[docname]))
        source[0] = re.sub(r"(\]\(|(?:src|srcset|href)=\")(?!#|/|\w+:)", r"\1../", text)
        source[0] = re.sub(r"(\]\(|(?:src|srcset|href)=\")\.\./docs/", r"\1", source[0])


def begin(app):
    if not hasattr(app.env, "source_files"):
        app.env.source_files = {}


def purge(app, env, docname):
    getattr(env, "source_files", {}).pop(docname, None)


def merge(app, env, docnames, other):
    env.source_files |= {name: other.source_files.get(name, set()) for name in docnames}


def setup(app):
    app.add_transform(Links)
    app.connect("builder-inited", begin)
    app.connect("source-read", texts)
    app.connect("doctree-read", link_objects)
    app.connect("env-purge-doc", purge)
    app.connect("env-merge-info", merge)
    app.connect("build-finished", write_pages)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
