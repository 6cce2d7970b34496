"""A link from each page to the same page in the other language, the theme's words, and search."""

import posixpath
import re
from pathlib import Path

from sphinx.jinja2glue import BuiltinTemplateLoader
from sphinx.locale import _
from sphinx.search import SearchLanguage
from words import LABELS, THEME

DOCS = Path(__file__).resolve().parents[1]
LABEL = re.compile(rf'(aria-label="|<title>)({"|".join(map(re.escape, LABELS))})')


def other_language(app, pagename, templatename, context, doctree):
    """Set `other_language`: the address of the page in the other language, or of its index."""
    chinese = app.config.language.startswith("zh")
    folder = DOCS if chinese else DOCS / "zh"
    depth = pagename.count("/")
    above = [".."] * (depth + 1 if chinese else depth)
    inside = [] if chinese else ["zh"]
    page = pagename if (folder / f"{pagename}.md").exists() else "index"
    context["other_language"] = posixpath.join(*above, *inside, f"{page}.html")


def translated(text):
    return THEME[text] if text in THEME else _(text)


class Templates(BuiltinTemplateLoader):
    """Templates whose own words are in the language of the site."""

    def render(self, template, context):
        if not context["language"].startswith("zh"):
            return super().render(template, context)
        page = super().render(template, context | {"_": translated, "gettext": translated})
        return LABEL.sub(lambda label: label[1] + LABELS[label[2]], page)


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
