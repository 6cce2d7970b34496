"""Each algorithm has a page in English and one in Chinese, with the same sections in order.

That the directives work, and that every link has its page, is also checked when the site is built.
"""

import ast
import re
import sys
import tomllib

import pytest
from support import ROOT

import npr

sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
from pseudocode import pseudocode

DOCS = ROOT / "docs"
HEADINGS = {
    "en": [
        "Idea", "Equations", "Pseudocode of the source", "What was wrong in it",
        "Pseudocode and code", "Settings", "Quick facts", "Learning curves", "Exercises", "Papers",
    ],
    "zh": [
        "思想", "公式", "原书伪代码", "原书伪代码的错误",
        "伪代码与代码", "参数", "速查", "学习曲线", "练习", "论文",
    ],
}  # fmt: skip
CLASSES = {
    "q_learning": "QLearning", "sarsa": "Sarsa", "dqn": "DQN", "per_dqn": "PERDQN",
    "reinforce": "REINFORCE", "q_actor_critic": "QActorCritic", "a2c": "A2C", "ppo": "PPO",
    "ppo_kl": "PPOKL", "ddpg": "DDPG", "soft_q": "SoftQ", "sac_s": "SACS", "sac": "SAC",
}  # fmt: skip
LESSONS = {
    "q_learning": "02_td", "sarsa": "02_td", "dqn": "05_dqn", "per_dqn": "06_replay",
    "reinforce": "07_policy_gradient", "q_actor_critic": "08_q_actor_critic",
    "a2c": "08_q_actor_critic", "ppo": "09_ppo", "ppo_kl": "09_ppo", "ddpg": "10_ddpg",
    "soft_q": "11_soft_q", "sac_s": "12_sac", "sac": "12_sac",
}  # fmt: skip
NOT_IN_THE_SOURCE = {"a2c"}
DIRECTIVE = re.compile(r"^```\{([a-z-]+)\} ([\w-]+)$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")


# words in the formulas of the pseudocode; other words, of two letters or more, are prose
SYMBOLS = {
    "theta", "phi", "psi", "mu", "pi", "gamma", "alpha", "beta", "epsilon", "lambda", "tau",
    "delta", "Delta", "xi", "ratio", "terminated", "KL", "GAE", "min", "max", "mean", "clip",
    "log", "exp", "tanh", "du", "dphi",
}  # fmt: skip
TERMS = {"Actor", "Critic", "epoch", "greedy", "Huber"}  # prose of Chinese lines, too
PROSE = re.compile(r"'s\b|\ba (?=[a-z]{3})|\b(?:the mean|clip range)\b|\bepisode terminated\b")
TOKEN = re.compile(r"[A-Za-z](?:_\{[^}]*\}|[A-Za-z0-9_])*'?|\d+|<-|[^\w\s,:;，：；、]|[α-ωΑ-Ω]")
# lines that "Departures" names and that have another number in the source, or none
OTHER_NUMBERS = {
    "q_learning": {8, 10}, "sarsa": {9, 12}, "reinforce": {7}, "ppo_kl": {18, 20, 21, 22},
    "soft_q": {14, 15, 17},
}  # fmt: skip


def folder(language):
    return (DOCS if language == "en" else DOCS / "zh") / "algorithms"


def page_of(language, module):
    return (folder(language) / f"{module}.md").read_text(encoding="utf-8")


def sections(page):
    """{heading: text} of a page."""
    _, *parts = re.split(r"^## (.*)$", "\n" + page, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2]))


def docstring_of(module):
    source = (ROOT / "npr" / "algorithms" / f"{module}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source))


def formula(line):
    """The names, numbers and operators of a line of pseudocode, without words and commas."""
    line = PROSE.sub(" ", line.replace("（", "(").replace("）", ")"))
    line = re.sub(r"(?<=[a-z])-(?=[a-z])", " ", line)  # epsilon-greedy, n-step
    return [token for token in TOKEN.findall(line) if not is_prose(token)]


def is_prose(token):
    return token.isalpha() and token.isascii() and len(token) > 1 and token not in SYMBOLS


def listed(text):
    """[(number, formula)] of the lines of pseudocode in a text."""
    return [(line.number, formula(line.text)) for line in pseudocode(text)]


def departures(docstring):
    """The numbers of lines that the paragraph of a module's departures names."""
    (text,) = re.findall(r"^Departures .*?(?=\n\n)", docstring, re.MULTILINE | re.DOTALL)
    # without the numbers of formulas, years, decimal fractions and intervals
    text = re.sub(r"[<>=] \d+|\d+ [/-] |\b(?:19|20)\d\d\b|[\w.-]*\d[.e]\S*|\[.*?\]", "", text)
    spans = re.findall(r"(?<![\w=.-])(\d+)(?:-(\d+))?(?![\w.]\w)", text)
    return {n for first, last in spans for n in range(int(first), int(last or first) + 1)}


def numbers(listing):
    """The numbers at the beginning of lines, as "12: y = r"."""
    return [int(n) for n in re.findall(r"^ *(\d+):", listing, re.MULTILINE)]


def rows(table):
    """The cells of the rows of a table, without its head."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


each_page = pytest.mark.parametrize(
    ("language", "module"),
    [(language, module) for language in HEADINGS for module in CLASSES],
    ids=lambda name: name,
)


@each_page
def test_a_page_has_the_sections_in_order(language, module):
    page = page_of(language, module)
    assert [*sections(page)] == HEADINGS[language]
    title = page.splitlines()[0].removeprefix("# ")
    assert docstring_of(module).startswith(f"{title}: ")


@each_page
def test_a_page_names_its_module_and_class_in_the_directives(language, module):
    page = page_of(language, module)
    own = CLASSES[module]
    expected = [("side-by-side", module), ("settings", own), ("facts", own), ("curves", own)]
    found = DIRECTIVE.findall(page)
    assert found == expected + [("curves", "TD3")] * (module == "ddpg")
    assert issubclass(getattr(npr, own), npr.algorithms.base.Algorithm)


@each_page
def test_the_errata_are_about_lines_of_the_quoted_pseudocode(language, module):
    page = sections(page_of(language, module))
    source, wrong = page[HEADINGS[language][2]], page[HEADINGS[language][3]]
    listings = re.findall(r"^```text\n(.*?)^```$", source, re.MULTILINE | re.DOTALL)
    if module in NOT_IN_THE_SOURCE:
        assert not listings and not rows(wrong)
        return
    (listing,) = listings
    lines = numbers(listing)
    assert lines == list(range(1, len(lines) + 1))
    table = rows(wrong)
    assert table and all(len(row) == 4 and all(row) for row in table)
    named = [[int(n) for n in re.split(r"[,、]\s*", row[0])] for row in table]
    assert {*sum(named, [])} <= {*lines}
    assert [group[0] for group in named] == sorted(group[0] for group in named)


@pytest.mark.parametrize("module", CLASSES)
def test_both_languages_have_the_same_errata_and_formulas(module):
    english, chinese = ([*sections(page_of(language, module)).values()] for language in HEADINGS)
    assert [row[0] for row in rows(english[3])] == [
        row[0].replace("、", ", ") for row in rows(chinese[3])
    ]
    assert formulas(english[1]) == formulas(chinese[1])


@each_page
def test_the_errata_are_about_the_lines_that_the_module_departs_from(language, module):
    wrong = sections(page_of(language, module))[HEADINGS[language][3]]
    found = {int(n) for n in re.findall(r"\d+", " ".join(row[0] for row in rows(wrong)))}
    if module == "ddpg":  # those of TD3 are below the table
        found |= {int(n) for n in re.findall(r"\d+", wrong.rpartition("TD3")[2])}
    if module not in NOT_IN_THE_SOURCE:
        assert departures(docstring_of(module)) - found == OTHER_NUMBERS.get(module, set())


@pytest.mark.parametrize("module", CLASSES)
def test_the_chinese_pseudocode_has_the_formulas_of_the_module(module):
    text = sections(page_of("zh", module))["伪代码与代码"]
    chinese = listed(re.search(r"^```\{side-by-side\}.*?\n(.*?)^```$", text, re.M | re.S)[1])
    assert chinese == listed(docstring_of(module))
    left = {word for line in pseudocode(text) for word in TOKEN.findall(line.text)}
    assert {word for word in left if is_prose(word)} <= TERMS


def formulas(text):
    """The formulas on lines of their own, without the words in them."""
    return [re.sub(r"\\text\{.*?\}", "", formula) for formula in text.split("$$")[1::2]]


@each_page
def test_a_page_links_to_the_exercises_of_its_lesson(language, module):
    text = sections(page_of(language, module))
    exercises = text[HEADINGS[language][8]]
    assert f"(../lessons/{LESSONS[module]}.md)" in exercises
    lesson = (DOCS / "lessons" / f"{LESSONS[module]}.md").read_text(encoding="utf-8")
    asked = re.findall(r"^### Exercise ([a-z_]+-\d+)$", lesson, re.MULTILINE)
    kind, _ = asked[0].split("-")
    assert list(dict.fromkeys(re.findall(rf"\b{kind}-\d+\b", exercises))) == asked


@each_page
def test_the_links_of_a_page_lead_somewhere(language, module):
    assert_links_exist(folder(language) / f"{module}.md")


@pytest.mark.parametrize("language", HEADINGS)
def test_the_index_has_every_algorithm(language):
    path = folder(language) / "index.md"
    page = path.read_text(encoding="utf-8")
    assert_links_exist(path)
    assert re.findall(r"^\| \[[^\]]+\]\((\w+)\.md\) \|", page, re.MULTILINE) == [*CLASSES]
    (toctree,) = re.findall(r"^```\{toctree\}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^(?!:)(?:.+ <)?(\w+)>?$", toctree, re.MULTILINE) == [*CLASSES]


def assert_links_exist(path):
    for link in LINK.findall(path.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = (path.parent / name) if name else path
        assert target.exists(), f"{path.name}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{path.name}: {link}"


def anchors(path):
    """The anchors of a page's headings, as GitHub and MyST name them."""
    found = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_every_module_of_the_package_has_a_page():
    modules = {path.stem for path in (ROOT / "npr" / "algorithms").glob("[!_]*.py")}
    assert modules - {"agent", "base"} == {*CLASSES}


def test_every_meaning_of_a_setting_has_a_chinese_one():
    chinese = tomllib.loads((DOCS / "zh" / "settings.toml").read_text(encoding="utf-8"))
    classes = [getattr(npr, name) for name in (*CLASSES.values(), "TD3")]
    english = {setting.doc for one in classes for setting in one.settings.values()}
    assert {*chinese} == english
    assert all(re.search(r"[一-鿿]", text) for text in chinese.values())


def test_what_the_helpers_read():
    page = "# T\n\n## One\na\n## Two\n| l | s |\n|--:|---|\n| 3 | `a \\| b` |\n"
    assert [*sections(page)] == ["One", "Two"]
    assert rows(sections(page)["Two"]) == [["3", "`a \\| b`"]]
    line = "the episode terminated; y = r + gamma (1 - terminated) Q(s2)[a'], a soft step"
    assert " ".join(formula(line)) == "y = r + gamma ( 1 - terminated ) Q ( s2 ) [ a' ]"
    assert formula("对 s：γ <- p_j^-beta（第 2 步）") == [
        "s", "γ", "<-", "p_j", "^", "-", "beta", "(", "2", ")",
    ]  # fmt: skip
    text = "Departures from: a (9, 11-12); 1 / q of Liu 2015; at 1.5 and n=3, 4 is\nno.\n\n5"
    assert departures(text) == {4, 9, 11, 12}
    assert numbers(" 1: a\n    b\n 2: c\nnote 2: x\n") == [1, 2]
    assert LINK.findall("[a](b.md#c), [d](https://e.org), [f](#g)") == ["b.md#c", "#g"]
