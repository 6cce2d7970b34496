"""A link from each page to the same page in the other language, and search in Chinese."""

import posixpath
import re
from pathlib import Path

from sphinx.locale import _
from sphinx.search import SearchLanguage
from words import THEME

DOCS = Path(__file__).resolve().parents[1]


def other_language(app, pagename, templatename, context, doctree):
    """Set `other_language`: the address of the page in the other language, where it has one."""
    chinese = app.config.language.startswith("zh")
    if chinese:
        context["_"] = lambda text: THEME[text] if text in THEME else _(text)
    folder = DOCS if chinese else DOCS / "zh"
    depth = pagename.count("/")
    above = [".."] * (depth + 1 if chinese else depth)
    inside = [] if chinese else ["zh"]
    exists = (folder / f"{pagename}.md").exists()
    if (DOCS / "zh" / "index.md").exists():
        page = pagename if exists else "index"
        context["other_language"] = posixpath.join(*above, *inside, f"{page}.html")
        context["other_is_index"] = not exists


class ChineseSearch(SearchLanguage):
    """Search by pairs of characters, as words are not separated: no dictionary is needed.

    The index has single characters, too, for searches of one. Sphinx's own class needs jieba.
    """

    lang = "zh"
    language_name = "Chinese"
    js_splitter_code = """
function splitQuery(query) {
  const parts = query.match(/[\\u4e00-\\u9fff]+|[A-Za-z0-9_]+/g) ?? [];
  return parts.flatMap((part) =>
    /^[\\u4e00-\\u9fff]{2,}$/.test(part)
      ? [...part].slice(1).map((character, i) => part[i] + character)
      : [part],
  );
}
"""

    def split(self, input):
        found = []
        for part in re.findall("[\u4e00-\u9fff]+|[A-Za-z0-9_]+", input):
            if part[0] < "\u4e00":
                found.append(part)
            else:
                found += [*part, *map("".join, zip(part, part[1:]))]
        return found

    def stem(self, word):
        return word.lower()


def setup(app):
    app.add_search_language(ChineseSearch)
    app.connect("html-page-context", other_language)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
