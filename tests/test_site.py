"""The documentation site: its directives, links and reference; slow: its pages in a browser."""

import ast
import contextlib
import importlib
import inspect
import pkgutil
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


# what an `__all__` names for other modules of npr only
INTERNAL = {"npr.distributed.engine"}
# pages that use the API, as against those that explain how npr is built
GUIDES = [
    page for folder in ("docs", "docs/extending") for page in sorted((ROOT / folder).glob("*.md"))
    if page.stem not in ("architecture", "changelog", "decisions", "readme")
]  # fmt: skip


def public_objects():
    """{name: object} of everything that `__all__` of npr and of its modules names."""
    found = {}
    for kind in (Evaluation, Inspection, Step):  # what methods of agents return
        found[f"{kind.__module__}.{kind.__name__}"] = kind
    for path in (ROOT / "npr").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if re.search("^__all__ = ", path.read_text(), re.MULTILINE) and name not in INTERNAL:
            module = importlib.import_module(name)
            found |= {f"{name}.{one}": getattr(module, one) for one in module.__all__}
    return found


def documented():
    """{name: object} of everything that the pages in docs/reference name."""
    reference = importlib.import_module("reference")
    text = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    found = {f"npr.{name}": getattr(npr, name) for name in re.findall(r"{agent} (\w+)", text)}
    for path in re.findall(r"^\.\. (?:auto\w+|py:data):: (\S+)", text, re.MULTILINE):
        found[path] = pkgutil.resolve_name(path)
    for path, body in re.findall(r"```{public} (\S+)\n(.*?)```", text, re.DOTALL):
        module = importlib.import_module(path)
        found[path] = module
        for name in body.split() or reference.public_names(module):
            found[f"{path}.{name}"] = getattr(module, name)
    return found


def used(page):
    """{name: object} of the names of npr in a page and of what its code imports, except modules
    of npr and what the page itself creates.
    """
    text = page.read_text()
    names = set(re.findall(r"\bnpr(?:\.[A-Za-z]\w*)+", text))
    for module, listed in re.findall(r"from (npr[\w.]*) import (\([^)]*\)|[^\n(]+)", text):
        listed = re.sub(r" as \w+|#.*", "", listed)
        names |= {f"{module}.{name}" for name in re.findall(r"[A-Za-z]\w*", listed)}
    found = {}
    for name in names:
        with contextlib.suppress(ImportError, AttributeError):
            found[name] = pkgutil.resolve_name(name)
    return {name: value for name, value in found.items() if sys.modules.get(name) is not value}


def undocumented(names, pages):
    """The names that are not in `pages`, which may have a function or class by another name."""
    same = {id(value) for value in pages.values() if callable(value) or inspect.ismodule(value)}
    return sorted(name for name, value in names.items() if not {name, id(value)} & {*pages, *same})


def test_everything_public_is_in_the_reference(sphinx):
    assert undocumented(public_objects(), documented()) == []


def test_names_in_guides_are_in_the_reference(sphinx):
    pages = documented()
    found = {page.name: used(page) for page in GUIDES}
    assert found["kernel.md"].keys() >= {"npr.backend.xp", "npr.kernels.jit.Kernel"}
    missing = {page: undocumented(names, pages) for page, names in found.items()}
    assert {page: names for page, names in missing.items() if names} == {}


def test_a_constant_does_not_document_another():
    assert undocumented({"npr.a": None, "npr.b": len}, {"npr.c": None, "npr.d": len}) == ["npr.a"]


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

SITE = ROOT / "build" / "site"
ENGLISH = [
    "index.html", "start.html", "architecture.html", "algorithms/dqn.html", "algorithms/sac.html",
    "lessons/05_dqn.html", "reference/agents.html", "results.html", "search.html",
    "source/npr/algorithms/dqn.py.html",
]  # fmt: skip
CHINESE = [
    "zh/index.html", "zh/start.html", "zh/terms.html", "zh/algorithms/index.html",
    "zh/algorithms/ppo.html", "zh/algorithms/sac.html", "zh/lessons/01_values.html",
    "zh/lessons/03_tape.html", "zh/lessons/05_dqn.html", "zh/search.html",
]  # fmt: skip
# pages of both languages, with the parts whose texts must be readable in all colors
COLORED = {
    "start.html": "pre span", "architecture.html": "svg.package-map text", "results.html": "td",
    "algorithms/dqn.html": ".side-by-side, math, svg.curve text, table.settings",
    "lessons/05_dqn.html": "details pre, .cell_output pre, math, img",
    "source/npr/algorithms/dqn.py.html": ".source .line", "zh/terms.html": "td",
    "zh/algorithms/sac.html": ".side-by-side, math, svg.curve text, table.settings",
}  # fmt: skip
PHONE, SCREEN = (390, 844), (1280, 900)
# how much wider than the window a page is, or what scrolls in its place on a phone
OVERFLOW = """Math.max(...[document.documentElement, ...document.querySelectorAll(".content")].map(
    (box) => box.scrollWidth - box.clientWidth))"""
DARK = "getComputedStyle(document.body).backgroundColor !== 'rgb(255, 255, 255)'"
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
    for source, output in (("docs", SITE), ("docs/zh", SITE / "zh")):
        done = subprocess.run(
            [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-j", "2", "-b", "html",
             "-d", f"build/doctrees/{'zh' if output.name == 'zh' else 'en'}", source, output],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    return SITE


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


# ---- in a browser


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    from support.browser import CHROMIUM, Browser

    if not CHROMIUM:
        pytest.skip("there is no Chromium")
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(chromium, site):
    """For pages of the site, in light colors at first."""
    chromium.look()
    visit(chromium, "index.html")
    chromium.evaluate("localStorage.clear()")
    return chromium


def visit(browser, page, size=SCREEN, end=""):
    """Open a page of the site; `end` is that of its address."""
    browser.open((SITE / page).as_uri() + end, *size)


FAULTS = """<body style="color: #767676"><script>nothing()</script>
<p>readable <b style="color: #777">faint</b> <i style="opacity: 0.9">faint</i>
<s style="visibility: hidden; color: #fff">hidden</s></p>
<p style="background: #000c"><u style="background: #fff2">faint</u></p>
<svg><rect width="300" height="90"/><text y="40" fill="#fff">readable</text>
<text x="100" y="110" fill="#fff">faint</text></svg>
<div class="content" style="overflow-x: auto"><p style="width: 3000px">readable</p></div>"""


@pytest.mark.slow
def test_faults_of_a_page_are_found(chromium, tmp_path):
    (tmp_path / "faults.html").write_text(FAULTS)
    chromium.open((tmp_path / "faults.html").as_uri(), *PHONE)
    assert chromium.evaluate(OVERFLOW) > 2000 and len(chromium.problems) == 1
    number, faint = chromium.texts()
    assert number == 7
    assert [re.search(r"(\w+): faint$", text)[1] for text in faint] == ["b", "i", "u", "text"]


@pytest.mark.slow
@pytest.mark.parametrize("pages", [ENGLISH, CHINESE], ids=["English", "Chinese"])
def test_pages_have_no_errors_and_do_not_scroll_sideways(browser, pages):
    assert len(pages) == 10
    found = {}
    for page in pages:
        for size in (PHONE, SCREEN):
            visit(browser, page, size)
            if (over := browser.evaluate(OVERFLOW)) > 0 or browser.problems:
                found[page, size] = over, browser.problems
    assert found == {}


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["auto", "light", "dark"])
@pytest.mark.parametrize("system", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(browser, system, chosen):
    """What the system prefers holds, unless the reader has chosen."""
    browser.look(dark=system == "dark")
    visit(browser, "index.html")
    browser.evaluate(f"localStorage.setItem('theme', '{chosen}')")
    dark = "dark" in (chosen, system if chosen == "auto" else "")
    for page, parts in COLORED.items():
        visit(browser, page)
        assert browser.evaluate(DARK) == dark, page
        browser.evaluate("document.querySelectorAll('details').forEach((e) => (e.open = true))")
        browser.evaluate(
            "document.querySelectorAll('[data-lines]').forEach((e) => e.classList.add('marked'))"
        )
        for part in parts.split(", "):
            assert browser.evaluate(f"document.querySelectorAll('{part}').length"), (page, part)
        number, faint = browser.texts()
        assert number > 100 and faint == [], page


@pytest.mark.slow
def test_a_button_changes_the_colors_of_all_pages(browser):
    visit(browser, "start.html")
    browser.click("document.querySelector('.theme-toggle-content button')")
    browser.wait("document.body.dataset.theme === 'dark'")
    for page in ("start.html", "zh/index.html", "source/npr/algorithms/dqn.py.html"):
        visit(browser, page)
        assert browser.evaluate(DARK), page


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "text"), [("search.html", "bootstrap"), ("zh/search.html", "经验回放")]
)
def test_a_search_finds_pages(browser, page, text):
    visit(browser, page, PHONE, f"?q={text}")
    browser.wait("document.querySelectorAll('#search-results li a').length > 2")
    visit(browser, page, PHONE, "?q=xyzzyx")
    browser.wait("document.querySelector('#search-results .search-summary')?.textContent")
    assert browser.evaluate("document.querySelectorAll('#search-results li').length") == 0


# ---- pseudocode and code in a browser

DQN = (ROOT / "npr" / "algorithms" / "dqn.py").read_text(encoding="utf-8")
# the numbers of the lines that are seen to be marked: of the pseudocode, and of the code
MARKED = """[".pseudocode .line", ".code .line"].map((lines) =>
    [...document.querySelectorAll(lines)].filter((line) => {
        for (let part = line; !part.matches("pre, .lines"); part = part.parentElement) {
            if (getComputedStyle(part).backgroundColor !== "rgba(0, 0, 0, 0)") return true;
        }
    }).map((line) => Number(line.querySelector(".number").textContent)))"""


def line(number):
    """A line of the pseudocode, for the browser."""
    return f"document.getElementById('dqn-pseudocode-{number}')"


def code(number):
    """A line of the code, which is that of the file."""
    first = pseudocode.first_line_of_code(DQN)
    return f"document.querySelectorAll('.code .line')[{number - first}]"


# whether the element of this name begins in the window
IN_WINDOW = """(() => {{
    const {{ top, height }} = document.getElementById("{}").getBoundingClientRect();
    return height > 0 && top >= 0 && top < innerHeight;
}})()"""
# the last #anchor that scripts of the page have heard of
WATCH = "addEventListener('hashchange', () => (window.heard = location.hash))"
CAPTION = "document.querySelector('.side-by-side .caption')"


def places(*numbers):
    """What is to be marked for lines of the pseudocode: [their numbers, the lines of code]"""
    found = {
        n
        for number in numbers
        for first, last in lines_of(DQN)[number]
        for n in range(first, last + 1)
    }
    return [sorted(numbers), sorted(found)]


@pytest.mark.slow
def test_the_mouse_over_a_line_marks_what_belongs_to_it(browser):
    visit(browser, "algorithms/dqn.html")
    assert browser.evaluate(MARKED) == [[], []]
    assert len(lines_of(DQN)) > 10
    for number in lines_of(DQN):
        browser.hover(line(number))
        assert browser.evaluate(MARKED) == places(number)
        assert browser.texts("document.querySelector('.side-by-side')")[1] == []
    tagged = pseudocode.regions(DQN)
    for region in tagged:
        inside = max(one for one in tagged if one.first <= region.first <= one.last)
        browser.hover(code(region.first))
        assert browser.evaluate(MARKED) == places(*inside.numbers)
    browser.hover(CAPTION)
    assert browser.evaluate(MARKED) == [[], []]


@pytest.mark.slow
def test_a_click_marks_until_the_next_one(browser):
    visit(browser, "algorithms/dqn.html")
    browser.evaluate(WATCH)
    browser.click(line(13))
    browser.wait("window.heard === '#dqn-line-13'")
    browser.hover(line(2))
    assert browser.evaluate(MARKED) == places(2)
    browser.hover(CAPTION)
    assert browser.evaluate(MARKED) == places(13)
    browser.click(CAPTION)
    assert browser.evaluate(MARKED) == [[], []]
    browser.evaluate(f"{line(4)}.focus()")
    assert browser.evaluate(MARKED) == places(4)


@pytest.mark.slow
def test_a_tap_marks_what_belongs_to_a_line(browser):
    visit(browser, "algorithms/dqn.html", PHONE)
    browser.evaluate(WATCH)
    browser.tap(line(13))
    browser.wait("window.heard === '#dqn-line-13'")
    assert browser.evaluate(MARKED) == places(13)
    browser.wait(IN_WINDOW.format("dqn-line-13"))
    region = pseudocode.regions(DQN)[0]
    browser.tap(code(region.first))
    browser.wait(f"{line(region.numbers[0])}.matches('.marked')")
    assert browser.evaluate(MARKED) == places(*region.numbers)


@pytest.mark.slow
def test_an_address_marks_a_line(browser):
    visit(browser, "algorithms/dqn.html", end="#dqn-line-13")
    assert browser.evaluate(MARKED) == places(13)
    browser.wait(IN_WINDOW.format("dqn-line-13"))


@pytest.mark.slow
@pytest.mark.parametrize("size", [PHONE, SCREEN], ids=["phone", "screen"])
def test_pages_work_without_javascript(browser, size):
    browser.look(scripts=False)
    visit(browser, "algorithms/dqn.html", size)
    assert browser.evaluate("document.documentElement.className") == "no-js"
    browser.hover(line(4))
    assert browser.evaluate(MARKED) == [[], []]
    for number in lines_of(DQN):
        browser.click(line(number))
        browser.wait(f"location.hash === '#dqn-line-{number}'")
        browser.wait(IN_WINDOW.format(f"dqn-line-{number}"))
        assert browser.evaluate(MARKED) == [[], places(number)[1]]
    back = "[...document.querySelectorAll('.code .tag')]"
    for i in range(browser.evaluate(f"{back}.length")):
        browser.click(f"{back}[{i}]")
        browser.wait(f"location.href === {back}[{i}].href")
        browser.wait("document.querySelector(':target').matches('.pseudocode .line')")
    for page in ("algorithms/dqn.html", "zh/lessons/05_dqn.html"):
        visit(browser, page, size)
        formulas = browser.evaluate(
            """[...document.querySelectorAll("math")].map((formula) => {
                const { width, height } = formula.getBoundingClientRect();
                return formula.checkVisibility() && width > 4 && height > 4;
            })"""
        )
        assert len(formulas) > 10 and all(formulas)
    solutions = "[...document.querySelectorAll('details.hide')]"
    for i in range(browser.evaluate(f"{solutions}.length")):
        solution = f"{solutions}[{i}].querySelector('pre')"
        assert not browser.evaluate(f"{solution}.checkVisibility()")
        browser.click(f"{solutions}[{i}].querySelector('summary')")
        browser.wait(f"{solution}.checkVisibility()")


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
