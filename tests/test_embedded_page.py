"""The table of docs/embedded.md, from rows of benchmarks/embedded.py."""

import json
import sys

import numpy as np
import pytest
from support import ROOT, export_cases

sys.path.insert(0, str(ROOT / "benchmarks"))
import embedded
import embedded_hosts

from npr.errors import ConfigError
from npr.export import model_of

SAC = {"policy": "SAC, Pendulum-v1, 64-64"}
ROWS = [
    {**SAC, "form": "C float32", "target": "Cortex-M4F", "failed": 0, "error": 2.5e-7,
     "tables": 17_924, "flash": 19_472, "ram": 604, "instructions": 12_628,
     "cycles": [27_538, 29_100]},
    {**SAC, "form": "C int8", "target": "AVR ATmega2560", "failed": 0, "error": 0.0,
     "tables": 5_000, "flash": 6_000, "ram": 300, "cycles": [90_000, 90_000]},
    {**SAC, "form": "C q15", "target": "RISC-V RV32IMAC", "failed": 0, "error": 0.012,
     "tables": 9_000, "flash": 9_500, "ram": 300, "instructions": 40_000},
    {"policy": "DQN, CartPole-v1, 64-64", "form": "js", "target": "Node", "others": 0.0,
     "bytes": 34_648, "us": 8.84},
    {"policy": "DQN, CartPole-v1, 64-64", "form": "C int8", "target": "x86-64", "others": 0.015,
     "failed": 0, "tables": 5_000, "flash": 6_000, "us": 0.814},
]  # fmt: skip


def test_the_page_shows_every_row():
    lines = embedded.lines_of(ROWS)
    assert [line for line in lines if line.startswith("**")] == [
        "**SAC, Pendulum-v1, 64-64**", "**DQN, CartPole-v1, 64-64**"
    ]  # fmt: skip
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| C ")]
    assert cells == [
        ["C float32", "Cortex-M4F", "2.5e-07", "17,924", "19,472", "604", "12,628",
         "27,538 to 29,100 cycles"],
        ["C int8", "AVR ATmega2560", "0", "5,000", "6,000", "300", "-", "90,000 cycles"],
        ["C q15", "RISC-V RV32IMAC", "1.2e-02", "9,000", "9,500", "300", "40,000",
         "40,000 instructions"],
        ["C int8", "x86-64", "1.5% other", "5,000", "6,000", "-", "-", "0.814 us"],
    ]  # fmt: skip
    assert "| js | Node | none | - | 34,648 (file) | - | - | 8.84 us |" in lines


def test_the_page_is_that_of_its_record():
    page = (ROOT / "docs" / "embedded.md").read_text()
    assert embedded.page_with(page, json.loads(embedded.RECORD.read_text())) == page


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The command with one small policy, which is trained for a few steps."""
    one = embedded.Trained("DQN", "CartPole-v1", 200, (4, 4), ("x86-64", "avr"))
    monkeypatch.setattr(embedded, "POLICIES", [one])
    monkeypatch.setattr(embedded, "DTYPES", ("float32",))
    for name, path in {"BUILD": "build", "RECORD": "record.json", "PAGE": "page.md"}.items():
        monkeypatch.setattr(embedded, name, tmp_path / path)
    (tmp_path / "page.md").write_text("before\n<!-- table -->\nold\n<!-- /table -->\nafter\n")
    monkeypatch.setenv("PATH", "")  # nothing is installed
    return tmp_path


def test_what_is_not_installed_is_said_and_left_out(small, capsys):
    assert embedded.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.count("AVR ATmega2560 needs avr-gcc and simavr (Debian: gcc-avr") == 2
    assert not (small / "record.json").exists()
    assert "old" in (small / "page.md").read_text()
    (held,) = (small / "build").iterdir()
    written = held.stat().st_mtime_ns
    assert embedded.main(["--write"]) == 0
    assert held.stat().st_mtime_ns == written  # trained once
    assert json.loads((small / "record.json").read_text())["rows"] == []
    assert "old" not in (small / "page.md").read_text()


def test_a_failing_self_test_fails_the_command(small, monkeypatch, capsys):
    monkeypatch.setattr(embedded, "rows_of", lambda *given: [{**ROWS[0], "failed": 2}])
    assert embedded.main([]) == 1
    assert "FAILED: 2 self-tests of SAC, Pendulum-v1, 64-64, C float32, on Cortex-M4F" in (
        capsys.readouterr().out
    )


def test_a_form_that_is_refused_is_said(small, monkeypatch, capsys):
    def refused(*given, **options):
        raise ConfigError("the errors are too large")

    monkeypatch.setattr(embedded, "export", refused)
    monkeypatch.setattr(embedded, "observations_of", lambda path: None)
    assert embedded.main([]) == 0
    assert "no float32: the errors are too large" in capsys.readouterr().out


def test_errors_are_parts_of_the_range_or_shares():
    graph = model_of(export_cases.policy("tanh"), episodes=0).graph
    rows = np.zeros((2, 6), np.float32)
    right = graph(rows)
    wrong = right + [[0, 0, 0], [0.4, 0, 0]]  # of a range from -2 to 2
    assert embedded.compared(graph, right, rows) == {"error": 0.0}
    assert embedded.compared(graph, wrong, rows)["error"] == pytest.approx(0.1)
    graph = model_of(export_cases.policy("argmax"), episodes=0).graph
    assert embedded.compared(graph, graph(rows) + [0, 1], rows) == {"others": 0.5}


@pytest.mark.parametrize("form, target, measure", embedded_hosts.FORMS[:2])
def test_the_forms_on_this_machine_act(form, target, measure, small):
    path = embedded.trained(embedded.POLICIES[0])
    observations = embedded.observations_of(path)
    actions, us, size = measure(path, observations, small)
    graph = embedded.graph_of(embedded.npr.load(path).policy)
    assert embedded.compared(graph, actions, observations) == {"others": 0.0}
    assert us > 0 and size > 100


def test_node_is_missed_in_a_sentence(small):
    path = embedded.trained(embedded.POLICIES[0])
    with pytest.raises(embedded_hosts.Missing, match=r"need node \(Debian: nodejs\)"):
        embedded_hosts.node(path, np.zeros((1, 4), np.float32), small)
