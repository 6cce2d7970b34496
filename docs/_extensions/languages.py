"""A link from each page to the same page in the other language."""

import posixpath
from pathlib import Path

from sphinx.locale import _

DOCS = Path(__file__).resolve().parents[1]
# of the theme, which has no Chinese
WORDS = {"On this page": "本页内容", "Next": "下一页", "Previous": "上一页", "Home": "首页"}


def other_language(app, pagename, templatename, context, doctree):
    """Set `other_language`: the address of the page in the other language, where it has one."""
    chinese = app.config.language.startswith("zh")
    if chinese:
        context["_"] = lambda text: WORDS[text] if text in WORDS else _(text)
    folder = DOCS if chinese else DOCS / "zh"
    depth = pagename.count("/")
    above = [".."] * (depth + 1 if chinese else depth)
    inside = [] if chinese else ["zh"]
    exists = (folder / f"{pagename}.md").exists()
    if (DOCS / "zh" / "index.md").exists():
        page = pagename if exists else "index"
        context["other_language"] = posixpath.join(*above, *inside, f"{page}.html")
        context["other_is_index"] = not exists


def setup(app):
    app.connect("html-page-context", other_language)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
