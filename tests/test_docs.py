"""The pages in docs/: Python code runs; the page for users of Stable-Baselines3 is complete."""

import ast
import importlib
import inspect
import re
import sys

import gymnasium
import pytest
from support import ROOT
from support.markdown import FENCE, python_blocks, run
from support.small_agents import small_agent

import npr
from npr import callbacks
from npr.settings import sb3

# those in docs/extending are run by test_extending.py
PAGES = sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "design").glob("*.md")])
FROM_SB3 = (ROOT / "docs" / "from_sb3.md").read_text()
CODE = " ".join(re.findall(r"`([^`\n]+)`", FENCE.sub("", FROM_SB3)))  # in the text of the page
CALLBACKS = {
    "BaseCallback", "EventCallback", "CallbackList", "ConvertCallback", "EvalCallback",
    "CheckpointCallback", "EveryNTimesteps", "LogEveryNTimesteps", "StopTrainingOnRewardThreshold",
    "StopTrainingOnMaxEpisodes", "StopTrainingOnNoModelImprovement", "ProgressBarCallback",
}  # fmt: skip


@pytest.fixture
def registered(monkeypatch, tmp_path):
    """A page can import what it writes. What it registers is forgotten later."""
    before, modules = dict(gymnasium.registry), {*sys.modules}
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in {*sys.modules} - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if python_blocks(page.read_text())], ids=lambda page: page.stem
)
def test_the_python_blocks_of_a_page_run(page, registered):
    run(page.read_text(), page.name)


def test_the_code_for_stable_baselines3_is_python():
    blocks = [fence[2] for fence in FENCE.finditer(FROM_SB3) if fence[1] == "py"]
    assert len(blocks) == len(python_blocks(FROM_SB3)) == 3
    for source in blocks:
        compile(source, "from_sb3.md", "exec")


def words(text):
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("names", [sb3.SETTINGS, sb3.POLICY_KWARGS, vars(sb3.Methods), CALLBACKS],
                         ids=["settings", "policy_kwargs", "methods", "callbacks"])  # fmt: skip
def test_every_name_of_stable_baselines3_is_on_its_page(names):
    named = {name for name in names if not name.startswith("__")}
    assert named - words(CODE) == set()


def test_every_callback_of_npr_is_on_the_page():
    own = {
        name for name, value in vars(callbacks).items()
        if isinstance(value, type) and issubclass(value, callbacks.Callback)
    }  # fmt: skip
    assert own - words(CODE) - {"Callback", "FunctionCallback"} <= {"RecordVideo"}


def test_the_arguments_of_callbacks_in_the_table_are_accepted():
    """render=True, which is refused, is in the tests of callbacks."""
    found = re.findall(r"^\| `(\w+Callback)\((\w+=\.\.\..*?)\)`", FROM_SB3, re.MULTILINE)
    for name, arguments in found:
        kind = getattr(callbacks, name)
        assert {*re.findall(r"(\w+)=", arguments)} < {*inspect.signature(kind).parameters}
    assert [name for name, _ in found] == ["EvalCallback", "CheckpointCallback"]


def resolve(name):
    first, *rest = name.split(".")
    value = npr
    for i, part in enumerate(rest):
        if not hasattr(value, part):
            value = importlib.import_module(".".join([first, *rest[: i + 1]]))
        else:
            value = getattr(value, part)
    return value


def test_every_name_of_npr_on_the_page_exists():
    text = " ".join([CODE, *(source for _, source in python_blocks(FROM_SB3))])
    for name in sorted(set(re.findall(r"\bnpr(?:\.[A-Za-z_]\w*)+", text))):
        if not name.endswith(".npz"):
            assert resolve(name) is not None, name
    agents = [small_agent(case, normalize_obs=True) for case in ("PPO", "SAC", "DQN")]
    for name in sorted(set(re.findall(r"\bagent\.(\w+)", CODE))):
        assert any(hasattr(agent, name) for agent in agents), name


def table(text, name):
    """[cells] of the rows of a table between comments, without its head."""
    body = re.search(rf"<!-- begin: {name} -->\n(.*?)<!-- end: {name} -->", text, re.DOTALL)[1]
    return [[cell.strip() for cell in row.strip("| \n").split("|")] for row in body.splitlines()]


def test_the_defaults_on_the_page_are_those_of_npr():
    (_, *algorithms), _, *rows = table(FROM_SB3, "defaults")
    assert algorithms == ["PPO", "A2C", "DQN", "SAC", "TD3", "DDPG"] and len(rows) > 30
    held = {name: getattr(npr, name).defaults() | {"seed": None} for name in algorithms}
    for argument, *cells in rows:
        name = argument.strip("`")
        cells += [""] * (len(algorithms) - len(cells))
        for algorithm, cell in zip(algorithms, cells):
            if cell in ("", "not in npr"):
                assert name not in held[algorithm], (algorithm, name)
            else:
                value = cell.rpartition("npr ")[2].strip("`")
                value = re.sub(r"(?<=\d),(?=\d{3})", "", value)
                assert ast.literal_eval(value) == held[algorithm][name], (algorithm, name)
