"""The documentation site: its directives, links and reference; slow: its pages in a browser."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
import types

import pytest
from support import ROOT

import npr
from npr.training.evaluation import Evaluation
from npr.training.inspecting import Inspection
from npr.training.run import Step

sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
import pseudocode

MISSING = "the extra npr-rl[docs] is not installed"
SOURCE = '''"""Title.

     1  theta <- 0
     2  for each step, of
        which there are many:
     3      y = r
     4  end
"""

import a
from b import c


x = f(  # [1]
    1,
    2,
)
def train(self):
    for t in c(
        3):  # [2]
        y = (1 +  # [3]
             2)
    # [4]
'''


def lines_of(source):
    """number -> the lines of code of its tags."""
    found = {}
    for region in pseudocode.regions(source):
        for number in region.numbers:
            found.setdefault(number, []).append((region.first, region.last))
    return found


def test_a_tag_belongs_to_its_statement_or_the_head_of_it():
    first = SOURCE.splitlines().index("x = f(  # [1]") + 1
    assert lines_of(SOURCE) == {
        1: [(first, first + 3)], 2: [(first + 5, first + 6)], 3: [(first + 7, first + 8)],
        4: [(first + 9, first + 9)],
    }  # fmt: skip
    assert pseudocode.first_line_of_code(SOURCE) == first


def test_a_tag_within_a_tagged_statement_is_its_own_line():
    source = "x = f(  # [1]\n    2,  # [2-3]\n    4)\ny = (\n    5,\n    6)  # [4]\n"
    assert lines_of(source) == {1: [(1, 3)], 2: [(2, 2)], 3: [(2, 2)], 4: [(4, 6)]}


def test_lines_that_continue_one_belong_to_it():
    lines = pseudocode.pseudocode(SOURCE.split('"""')[1])
    assert [line.number for line in lines] == [1, 2, None, 3, 4]
    assert [line.text for line in lines][1:4] == [
        "for each step, of", "which there are many:", "    y = r",
    ]  # fmt: skip


MODULES = sorted(
    path for path in (ROOT / "npr" / "algorithms").glob("[!_]*.py")
    if path.stem not in ("agent", "base")
)  # fmt: skip


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_lines_beside_the_pseudocode_are_those_with_the_tags(path):
    """By the tree of the source, not by its tokens."""
    source = path.read_text()
    spans = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            spans.append((node.lineno, body[0].lineno - 1 if body else node.end_lineno))
    found = lines_of(source)
    for line, numbers in pseudocode.tags(source):
        inside = [span for span in spans if span[0] <= line <= span[1]]
        for number in numbers:
            assert any(first <= line <= last for first, last in found[number])
            first = found[number][0][0]
            assert first == line or (inside and first == max(inside)[0]), (number, line)


# ---- the directives


@pytest.fixture(scope="module")
def sphinx():
    return pytest.importorskip("sphinx", reason=MISSING)


@pytest.fixture(scope="module")
def side_by_side(sphinx):
    return importlib.import_module("side_by_side")


def test_pseudocode_and_code_link_to_each_other(side_by_side):
    left = side_by_side.pseudocode_html(pseudocode.pseudocode(SOURCE.split('"""')[1]), "x")
    right = side_by_side.code_html(SOURCE, "x")
    ids = set(re.findall(r'id="([^"]+)"', left + right))
    links = set(re.findall(r'href="#([^"]+)"', left + right))
    assert links == ids == {f"x-{side}-{n}" for side in ("line", "pseudocode") for n in range(1, 5)}
    assert right.count("<span") == right.count("</span>")
    assert left.count('data-lines="') == 4 and "import" not in right


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_every_line_of_the_pseudocode_has_a_place_in_the_code(side_by_side, path):
    source = path.read_text()
    name = path.stem
    left = side_by_side.pseudocode_html(pseudocode.pseudocode(source.split('"""')[1]), name)
    right = side_by_side.code_html(source, name)
    ids = re.findall(r'id="([^"]+)"', right)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', left)) <= set(ids)
    assert right.count("<span") == right.count("</span>")


def test_settings_have_their_limits_in_both_languages(sphinx):
    table = importlib.import_module("settings_table")
    english, chinese = (types.SimpleNamespace(language=name) for name in ("en", "zh_CN"))
    tau = npr.DQN.settings["tau"]
    assert table.limits(tau, english) == ["in [0, 0.5] or 1"]
    assert table.limits(tau, chinese) == ["属于 [0, 0.5] 或 1"]
    names = [one.name for one in table.own_first(npr.DQN)]
    assert names.index("double") < names.index("tau") < names.index("gamma")
    assert sorted(names) == sorted(npr.DQN.settings)


def test_the_words_of_the_directives_are_translated(sphinx):
    """`word` raises KeyError in a build where one is missing; here, without a build."""
    words = importlib.import_module("words")
    assert words.word(types.SimpleNamespace(language="zh_CN"), "Setting") == "参数"
    for path in (ROOT / "docs" / "_extensions").glob("*.py"):
        for text in re.findall(r'\b(?:say|word\(self\.config,)\(?"([^"]+)"\)', path.read_text()):
            assert text in words.CHINESE, (path.name, text)


def test_chinese_is_searched_by_pairs_of_characters(sphinx):
    search = importlib.import_module("languages").ChineseSearch({})
    assert search.split("用 DQN 学习值") == ["用", "DQN", "学", "习", "值", "学习", "习值"]


# ---- formulas


@pytest.mark.parametrize(
    "latex, expected",
    [
        (r"\frac{1}{2}", "<mfrac><mrow><mn>1</mn></mrow><mrow><mn>2</mn></mrow></mfrac>"),
        (r"\hat\theta", "<mover"),
        (r"\sum_{t=0}^T r_t", "<munderover>"),
        (r"\max_{a} Q", "<munder><mi>max</mi>"),
        (r"\begin{aligned} a &= b \\ c &= d \end{aligned}", "<mtable"),
        (r"\begin{cases} a & b \\ c & d \end{cases}", 'columnalign="left"'),
        (r"\mathrm{clip}(x)", "<mi>clip</mi>"),
        (r"\alpha\log\pi", '<mspace width="0.167em" /><mi>log</mi><mspace width="0.167em" />'),
    ],
)
def test_formulas_are_mathml(sphinx, latex, expected):
    pytest.importorskip("latex2mathml", reason=MISSING)
    assert expected in importlib.import_module("mathml").mathml(latex, display=True)


@pytest.mark.parametrize("latex", [r"\nosuchmacro{x}", r"\frac{1", "a & b"])
def test_a_formula_that_cannot_be_read_is_an_error(sphinx, latex):
    pytest.importorskip("latex2mathml", reason=MISSING)
    with pytest.raises(ValueError, match="cannot be read"):
        importlib.import_module("mathml").mathml(latex)


# ---- docstrings

DOCSTRING = """What it does: x * y, and `npr.load(path)`.

name         what it means,
             in two lines
other        |x| or *args
a_longer_name_than_the_others
             its meaning
Source: nobody.

    code = 1
""".splitlines()


def test_docstrings_become_paragraphs_lists_and_code():
    docstrings = importlib.import_module("docstrings")
    text = "\n".join(docstrings.converted(DOCSTRING))
    assert "``name``\n    what it means, in two lines" in text
    assert "``other``\n    \\|x\\| or \\*args" in text
    assert "``a_longer_name_than_the_others``\n    its meaning" in text
    assert "\nSource: nobody.\n\n::\n\n        code = 1" in text
    assert r"x \* y" in text and "``npr.load(path)``" in text


# ---- the reference


def public_objects():
    """{name: object} of everything that `__all__` of npr and of its packages names."""
    found = {f"npr.{name}": getattr(npr, name) for name in npr.__all__}
    for kind in (Evaluation, Inspection, Step):  # what methods of agents return
        found[f"{kind.__module__}.{kind.__name__}"] = kind
    for init in (ROOT / "npr").rglob("*.py"):
        parts = init.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if "__all__" in init.read_text() and len(parts) == 2:
            module = importlib.import_module(".".join(parts))
            found |= {f"{module.__name__}.{one}": getattr(module, one) for one in module.__all__}
    return found


def documented():
    """{name: object} of everything that the pages in docs/reference name."""
    reference = importlib.import_module("reference")
    text = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    found = {f"npr.{name}": getattr(npr, name) for name in re.findall(r"{agent} (\w+)", text)}
    for path, body in re.findall(r"```{public} (\S+)\n(.*?)```", text, re.DOTALL):
        module = importlib.import_module(path)
        found[path] = module
        for name in body.split() or reference.public_names(module):
            found[f"{path}.{name}"] = getattr(module, name)
    return found


def test_everything_public_is_in_the_reference(sphinx):
    pages = documented()
    same = {id(value) for value in pages.values()}
    missing = [
        name for name, value in public_objects().items()
        if name not in pages and id(value) not in same
    ]  # fmt: skip
    assert missing == []


# ---- links from pages to files


def test_links_to_files_exist():
    link = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")
    broken = []
    for page in (ROOT / "docs").rglob("*.md"):
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        broken += [
            f"{page.relative_to(ROOT)}: {target}" for target in link.findall(text)
            if not (page.parent / target).exists()
        ]  # fmt: skip
    assert broken == []


def test_a_link_to_a_file_is_one_to_its_page(sphinx):
    pages = importlib.import_module("source_pages")
    path = pages.resolved("../../npr/nn.py", "algorithms/dqn", ROOT / "docs")
    assert path == ROOT / "npr" / "nn.py"
    assert pages.relative("algorithms/dqn", pages.page_of(path)) == "../source/npr/nn.py.html"
    assert pages.resolved("../../../etc/passwd", "algorithms/dqn", ROOT / "docs") is None
    body = pages.body_of(path, "source/npr/nn.py")
    assert body.count('<span class="line"') == len(path.read_text().splitlines())


# ---- the whole site

PAGES = [
    "index.html", "start.html", "architecture.html", "algorithms/dqn.html", "algorithms/sac.html",
    "lessons/05_dqn.html", "reference/agents.html", "results.html", "search.html",
    "source/npr/algorithms/dqn.py.html",
]  # fmt: skip
SIZES = [(390, 844), (1280, 900)]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
FOUND = """new Promise((done) => setTimeout(
    () => done(document.querySelectorAll("#search-results li").length), 3000
))"""
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)[^>]*\ssrc=["'](?:https?:)?//[^"']*|"""
    r"""<link(?=[^>]*rel=["'](?:stylesheet|preload|icon)["'])[^>]*href=["'](?:https?:)?//[^"']*|"""
    r"""url\(["']?https?:[^)]*|@import\s+["']https?:[^"']*""",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def site(sphinx):
    """The site, built as `make docs` does, both languages."""
    for package in ("furo", "myst_nb", "latex2mathml", "ziamath"):
        pytest.importorskip(package, reason=MISSING)
    target = ROOT / "build" / "site"
    for source, output in (("docs", target), ("docs/zh", target / "zh")):
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "2", "-b", "html",
             "-d", f"build/doctrees/{'zh' if output.name == 'zh' else 'en'}", source, output],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
    return target


@pytest.mark.slow
def test_pages_load_nothing_from_a_network(site):
    found = {
        str(path.relative_to(site)): LOADED.findall(path.read_text(encoding="utf-8"))
        for path in [*site.rglob("*.html"), *site.rglob("*.css")]
    }
    assert {name: loaded for name, loaded in found.items() if loaded} == {}


@pytest.mark.slow
def test_links_within_the_site_have_their_targets(site):
    ids, broken = {}, []

    def ids_of(path):
        if path not in ids:
            text = path.read_text(encoding="utf-8")
            ids[path] = set(re.findall(r'\b(?:id|name)="([^"]+)"', text))
        return ids[path]

    for page in site.rglob("*.html"):
        for target in set(re.findall(r'<a[^>]*\shref="([^"]+)"', page.read_text("utf-8"))):
            address, _, anchor = target.partition("#")
            if re.match(r"\w+:", address):
                continue
            path = (page.parent / address).resolve() if address else page
            if not path.exists() or (
                anchor and path.suffix == ".html" and anchor not in ids_of(path)
            ):
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == []


@pytest.mark.slow
def test_pages_in_a_browser_have_no_errors_and_do_not_scroll_sideways(site, tmp_path):
    from support.browser import CHROMIUM, Browser

    if not CHROMIUM:
        pytest.skip("there is no Chromium")
    (tmp_path / "wide.html").write_text("<script>nothing()</script><p style='width: 3000px'>x")
    found = {}
    with Browser(tmp_path / "profile") as browser:
        browser.open((tmp_path / "wide.html").as_uri(), 390, 844)
        assert browser.evaluate(OVERFLOW) > 2000 and len(browser.problems) == 1
        chinese = [f"zh/{page}" for page in PAGES if (site / "zh" / page).exists()]
        for page in [*PAGES, *chinese]:
            for width, height in SIZES:
                browser.open((site / page).as_uri(), width, height)
                over = browser.evaluate(OVERFLOW)
                if over > 0 or browser.problems:
                    found[page, width] = over, browser.problems
        assert found == {}
        browser.open((site / "algorithms" / "dqn.html").as_uri() + "#dqn-line-13", 1280, 900)
        marked = browser.evaluate(
            "[...document.querySelectorAll('.side-by-side .marked')].map((e) => e.id)"
        )
        assert sorted(marked) == ["dqn-line-13", "dqn-pseudocode-13"]
        browser.open((site / "search.html").as_uri() + "?q=bootstrap", 1280, 900)
        assert browser.evaluate(FOUND) > 2
        browser.open((site / "zh" / "search.html").as_uri() + "?q=经验回放", 1280, 900)
        assert browser.evaluate(FOUND) > 2


def test_what_a_page_loads_from_a_network_is_found():
    assert LOADED.findall('<script async src="https://cdn.example/x.js">')
    assert LOADED.findall('<link href="//fonts.example/a.css" rel="stylesheet">')
    assert not LOADED.findall('<a href="https://example.org">x</a><img src="_images/a.png">')


def test_sphinx_is_optional():
    """Modules that tests of other things need import without it."""
    code = "import pseudocode, package_map, docstrings, sys; assert 'sphinx' not in sys.modules"
    folder = ROOT / "docs" / "_extensions"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    assert inspect.getdoc(importlib.import_module("package_map"))
