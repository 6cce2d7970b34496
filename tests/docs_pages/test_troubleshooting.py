"""The table of symptoms names settings that the algorithms of its rows have."""

import ast
import re

import pytest
from support import ROOT

import npr

ALGORITHMS = [name for name in npr.__all__ if hasattr(getattr(npr, name), "settings")]
WORDS = {
    **{name: [name] for name in ALGORITHMS}, "DQN": ["DQN", "PERDQN"], "PPO": ["PPO", "PPOKL"],
    "tables": ["QLearning", "Sarsa"], "Any algorithm": ALGORITHMS,
}  # fmt: skip
SETTINGS = {name for kind in ALGORITHMS for name in getattr(npr, kind).settings}
# `name` or `name=value` and, in parentheses, the algorithms that have it
CODE = re.compile(r"`(\w+)(?:=([^`]+))?`[^`(|;]*(?:\(([^)`]+)\))?")


def rows():
    """(cells, algorithms) of each row: those that its symptom ends with, or else the group's."""
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    table = text.split("## Symptom, cause, setting")[1].split("\n## ")[0]
    found, group = [], []
    for line in re.findall(r"^\| (.*) \|$", table, re.MULTILINE)[1:]:
        if name := re.match(r"\*\*(.*)\*\*", line):
            group = algorithms(name[1])
        else:
            cells = line.split(" | ")
            names = re.search(r"\(([^()]*)\)$", cells[0])
            found.append((cells, (names and algorithms(names[1])) or group))
    return found


def algorithms(names):
    """Those of names such as "DQN, tables"; empty if these are other words."""
    words = [WORDS.get(word) or WORDS.get(word.lower()) for word in names.split(", ")]
    return [name for word in words for name in word] if all(words) else []


def wrong(cells, group):
    """What a row says about settings that is not so."""
    found = []
    for column, cell in enumerate(cells):
        for name, value, names in CODE.findall(cell):
            if name not in SETTINGS:  # a key of the log, or a misspelled setting
                found += [f"{name} is no setting"] if value or column == 2 else []
                continue
            for algorithm in algorithms(names) or group:
                one = getattr(npr, algorithm).settings.get(name)
                if one is None:
                    found.append(f"{algorithm} has no {name}")
                elif value:
                    one.checked(algorithm, ast.literal_eval(value))
    return found


def test_the_algorithms_of_a_row_have_its_settings():
    table = rows()
    assert len(table) > 25 and all(group and len(cells) == 3 for cells, group in table)
    assert {cells[0]: wrong(cells, group) for cells, group in table if wrong(cells, group)} == {}


def test_a_wrong_setting_is_found():
    assert wrong(["", "", "`double=True` (DQN); `tau` lower"], ["DQN", "SoftQ"]) == []
    assert wrong(["", "", "`double=True`; `tua` lower"], ["DQN", "SoftQ"]) == [
        "SoftQ has no double", "tua is no setting",
    ]  # fmt: skip
    assert wrong(["`n_steps` (A2C), `ent_coef` (SAC)", "", ""], ["DQN"]) == []
    with pytest.raises(npr.ConfigError, match="ent_coef"):
        wrong(["", "", '`ent_coef="auto_0.1"`'], ["SAC", "SACS"])
