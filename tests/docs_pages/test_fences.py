"""Each fenced block of a page has a language, or is a directive of the site."""

import re

import pytest
from support import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LANGUAGES = {"python", "py", "bash", "text", "toml", "c", "js", "diff", "mermaid"}


def fences(text):
    """[(line, language or directive)] of the fenced blocks of a text, also within lists."""
    found, marks = [], None
    for number, line in enumerate(text.splitlines(), 1):
        fence = re.match(r"[ >]*(`{3,}|~{3,})\s*(\S*)", line)
        if fence and marks is None:
            marks = fence[1]
            found.append((number, fence[2]))
        elif fence and fence[1].startswith(marks) and not fence[2]:
            marks = None
    assert marks is None, "a block is not closed"
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_blocks_of_a_page_have_a_language(path):
    found = fences(path.read_text(encoding="utf-8"))
    assert [fence for fence in found if fence[1] not in LANGUAGES and fence[1][:1] != "{"] == []


def test_blocks_are_found():
    text = "```py\n```\n1. a\n   ```\n   ```\n````text\n```\n````\n~~~ {note} b\n```\n~~~\n"
    assert fences(text) == [(1, "py"), (4, ""), (6, "text"), (9, "{note}")]
    with pytest.raises(AssertionError, match="not closed"):
        fences("````\n```\n")
