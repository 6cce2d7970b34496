"""The pages in Chinese are parallel to those in English, and their text is Chinese.

Sections and tables of the algorithm pages are in test_algorithm_pages.py; that the pages are built
without warnings, in `make docs`.
"""

import gettext
import re
from pathlib import Path

import pytest
from support import ROOT
from support.markdown import FENCE

from .test_algorithm_pages import LINK, anchors, formulas

ENGLISH = ROOT / "docs"
CHINESE = ENGLISH / "zh"
# these have a page in Chinese, too
NAMES = ["index.md", "start.md"] + [
    path.relative_to(ENGLISH).as_posix()
    for folder in ("lessons", "algorithms")
    for path in sorted((ENGLISH / folder).glob("*.md"))
]
PARALLEL = [name for name in NAMES if name != "index.md"]  # which lists fewer pages
LESSONS = [name for name in NAMES if re.match(r"lessons/\d", name)]
OWN = {"terms.md"}  # has no page in English

# blocks whose text is the same in both languages
CODE = ("{code-cell}", "python", "py", "bash")
EXERCISE = re.compile(r"\b[a-z]+(?:_[a-z]+)*-\d\b")
CJK = "一-鿿"
# other translations of terms; the pages use those of terms.md
OTHER_TERMS = {
    "经验回放": "回放池|经验池|回放缓冲|经验重放", "智能体": "代理", "奖励": "奖赏|回馈",
    "时序差分": "时间差分", "蒙特卡洛": "蒙特卡罗", "异策略": "离策略|离线策略|离轨",
    "同策略": "在线策略|同轨", "批量": "批次", "重要性采样": "重要性抽样", "评论员": "评论家",
    "学习率": "学习速率", "折扣因子": "折扣率|折扣系数", "截断": "截尾", "终止": "中止",
    "自举": "自助(?!法)", "观测": "观察", "裁剪": "剪裁", "采样": "抽样|取样",
    "状态价值": "状态值", "动作价值": "动作值", "激活函数": "激励函数",
}  # fmt: skip


def text_of(folder, name):
    return (folder / name).read_text(encoding="utf-8")


def both(name):
    return text_of(ENGLISH, name), text_of(CHINESE, name)


def front_matter(text):
    return (re.match(r"---\n.*?\n---\n", text, re.DOTALL) or [""])[0]


def prose(text):
    """The text without front matter and fenced blocks."""
    return FENCE.sub("", text.removeprefix(front_matter(text)))


def headings(text):
    """[(level, heading)]"""
    found = re.findall(r"^(#+) (.*)$", prose(text), re.MULTILINE)
    return [(len(marks), heading) for marks, heading in found]


def code(text):
    """[(kind, source)] of the blocks that are not translated."""
    blocks = [(fence[1].strip(), fence[2]) for fence in FENCE.finditer(text)]
    return [block for block in blocks if block[0].partition(" ")[0] in CODE]


def links(path, text):
    """[(text of the link, path of its target, anchor)] of the links within the repository."""
    found = []
    for label, link in re.findall(rf"\[([^\]]*){LINK.pattern}", prose(text)):
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        found.append((label, target, anchor))
    return found


def words(text):
    """A paragraph without formulas, code and the addresses of links."""
    text = re.sub(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", "", text, flags=re.DOTALL)
    return re.sub(r"\]\([^)\s]*\)|https?://\S+", "", text)


def paragraphs(text):
    """Paragraphs, items of lists and rows of tables; not the references, which are in English."""
    text = re.split(r"^## 论文$", prose(text), flags=re.MULTILINE)[0]
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    return [part.strip() for part in re.split(r"\n\s*\n|\n(?=[-|:])", text) if part.strip()]


def faults(text):
    """What is wrong with the Chinese of a page, as sentences."""
    found = []
    for part in paragraphs(text):
        if len(words(part)) > 60 and not re.search(f"[{CJK}]", part):
            found.append(f"not translated: {part}")
        if re.search(f"[{CJK}，。：；、）”]\n *[{CJK}，。：；、（“]", part):
            found.append(f"a line ends within Chinese text, which shows as a space: {part}")
        if re.search(f"[{CJK}][,;:?!](?: |$)", words(part), re.MULTILINE):
            found.append(f"punctuation of Western texts after Chinese: {part}")
    for level, heading in headings(text)[1:]:
        if not re.search(f"[{CJK}]", heading):
            found.append(f"not translated: {'#' * level} {heading}")
    for term, others in OTHER_TERMS.items():
        found += [f"{other}: write {term}" for other in re.findall(others, prose(text))]
    left = "".join(words(part) for part in paragraphs(text))
    chinese, latin = (len(re.findall(f"[{letters}]", left)) for letters in (CJK, "A-Za-z"))
    if chinese < latin:
        found.append(f"{chinese} Chinese characters and {latin} Latin ones")
    return found


def broken(path, text):
    """The links of a page that lead nowhere, or to English where there is Chinese."""
    found = []
    for label, target, anchor in links(path, text):
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(f"{label}: {target}#{anchor}")
        elif target.is_relative_to(ENGLISH) and not target.is_relative_to(CHINESE):
            other = CHINESE / target.relative_to(ENGLISH)
            if other.exists() and not label.startswith("英文"):
                found.append(f"{label}: there is a page in Chinese, {other}")
    return found


def in_english(target):
    """The English page of a target that may be a Chinese one."""
    if target.is_relative_to(CHINESE):
        return ENGLISH / target.relative_to(CHINESE)
    return target


def test_the_chinese_pages_are_those_with_an_english_one():
    found = {path.relative_to(CHINESE).as_posix() for path in CHINESE.rglob("*.md")}
    assert found == {*NAMES} | OWN


@pytest.mark.parametrize("name", PARALLEL)
def test_a_chinese_page_has_the_same_headings(name):
    english, chinese = both(name)
    assert [level for level, _ in headings(chinese)] == [level for level, _ in headings(english)]
    named = [[EXERCISE.findall(heading) for _, heading in headings(text)] for text in both(name)]
    assert named[0] == named[1]


@pytest.mark.parametrize("name", NAMES)
def test_a_chinese_page_has_the_same_code(name):
    english, chinese = both(name)
    assert front_matter(chinese) == front_matter(english)
    assert code(chinese) == code(english)


@pytest.mark.parametrize("name", LESSONS)
def test_a_chinese_lesson_names_the_same_exercises_and_formulas(name):
    english, chinese = (prose(text) for text in both(name))
    assert sorted(EXERCISE.findall(chinese)) == sorted(EXERCISE.findall(english))
    assert formulas(chinese) == formulas(english)


@pytest.mark.parametrize("name", NAMES)
def test_a_chinese_page_links_to_the_same_lessons(name):
    english, chinese = (
        {in_english(target) for _, target, _ in links(folder / name, text_of(folder, name))}
        for folder in (ENGLISH, CHINESE)
    )
    lessons = {path for path in english | chinese if path.parent == ENGLISH / "lessons"}
    assert chinese & lessons == english & lessons


@pytest.mark.parametrize("name", [*NAMES, *sorted(OWN)])
def test_a_chinese_page_is_chinese_and_its_links_lead_somewhere(name):
    text = text_of(CHINESE, name)
    if name not in OWN:
        assert faults(text) == []
    assert broken(CHINESE / name, text) == []


def test_the_terms():
    rows = re.findall(r"^\| (.*?) \| (.*?) \|", text_of(CHINESE, "terms.md"), re.MULTILINE)
    terms = {english: chinese for english, chinese in rows if english != "英文"}
    assert len(terms) > 100 and len(terms) == sum(english != "英文" for english, _ in rows)
    assert all(re.search(f"[{CJK}]", chinese) for chinese in terms.values())
    assert all(term in "".join(terms.values()) for term in OTHER_TERMS)


def test_the_words_of_the_theme_are_translated():
    furo = pytest.importorskip("furo")
    sphinx = pytest.importorskip("sphinx")
    from words import LABELS, THEME

    templates = Path(furo.__file__).parent / "theme" / "furo"
    used = ("page.html", "search.html", "partials/icons.html", "sidebar/search.html")
    text = "".join(text_of(templates, name) for name in used)
    labels = re.findall(r'(?:aria-label="|<title>)([A-Z][^"<{]*)', text)
    assert len(labels) > 8 and {*labels} - {"On Read the Docs", "On GitHub"} <= {*LABELS}
    said = re.findall(r"\b_\([\"'](.*?)[\"']\)|\{%-? trans -?%\}\s*(.*?)\s*\{%", text)
    locale = Path(sphinx.__file__).parent / "locale"
    known = gettext.translation("sphinx", locale, ["zh_CN"]).gettext
    left = {one for one in map("".join, said) if known(one) == one} - {*map(str.strip, THEME)}
    assert len(said) > 8 and {one for one in left if not one.startswith("<a href=")} == set()


LONG = "Q-learning moves the entry of its table a little toward the target, which is an estimate."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"# 题目\n\n中文。\n\n{LONG}\n", "not translated"),
        (f"# 题目\n\n中文。\n\n- {LONG}\n- 中文\n", "not translated"),
        (f"# 题目\n\n| 中文 |\n|---|\n| {LONG} |\n", "not translated"),
        ("# 题目\n\n## The answer\n\n中文。\n", "not translated: ## The answer"),
        ("# 题目\n\n这一段文字分成\n两行。\n", "a line ends within"),
        ("# 题目\n\n这一段文字, 标点不对。\n", "punctuation"),
        ("# 题目\n\n从回放池中采样。\n", "回放池: write 经验回放"),
        (f"# 题目\n\n译文：{LONG}\n", "Chinese characters and"),
    ],
)
def test_faults_of_a_page_are_found(text, message):
    found = faults(text)
    assert found and message in "".join(found)


def test_a_page_without_faults():
    text = f"""---
a: b
---
# DQN

## 练习 dqn-1

用 $\\theta$ 表示参数，见 [第 2 课](02_td.md)：

$$y = \\mathrm{{{LONG}}}$$

- `{LONG}` 是代码
- $Q(s, a)$

```python
# {LONG}
```

## 论文

- {LONG}
"""
    assert faults(text) == []
    assert code(text) == [("python", f"# {LONG}\n")]
    assert headings(text) == [(1, "DQN"), (2, "练习 dqn-1"), (2, "论文")]
    assert EXERCISE.findall("练习 soft_q-4、values-2，npr-rl、2-3") == ["soft_q-4", "values-2"]


def test_broken_links_are_found(tmp_path):
    path = CHINESE / "lessons" / "01_values.md"
    assert broken(path, "[a](02_td.md) [b](../../resuming.md) [c](https://example.org/x.md)") == []
    assert broken(path, "[英文首页](../../index.md)") == []
    assert len(broken(path, "[a](../resuming.md) [b](02_td.md#nowhere)")) == 2
    assert "there is a page in Chinese" in broken(path, "[a](../../lessons/02_td.md)")[0]
    assert links(Path("/a/b.md"), "[a](c.md#d)") == [("a", Path("/a/c.md"), "d")]
