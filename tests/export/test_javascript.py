"""Exported JavaScript computes what the policy does, in Node and in a browser."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from support import export_cases as cases
from support import node
from support.export_checks import HOSTILE, KINDS, TOLERANCE, expected, hostile, mutants

import npr
from npr.export.javascript import source

every_case = pytest.mark.parametrize("case", cases.CASES)
pytestmark = node.needs_node
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

ACT = """
import { readFileSync, writeFileSync } from "node:fs";
const floats = (path) => new Float32Array(new Uint8Array(readFileSync(path)).buffer);
const write = (path, rows) => writeFileSync(path, new Float64Array(rows.flat()));
const found = {};
for (const [name, n, k, m] of $CASES) {
  const policy = await import(`./${name}.js`);
  const observations = floats(`${name}.rows`), noise = floats(`${name}.noise`);
  const masks = m ? floats(`${name}.masks`) : [];
  const actions = [], sampled = [];
  for (let i = 0; i * n < observations.length; i++) {
    const obs = observations.subarray(i * n, i * n + n);
    const mask = m ? [masks.subarray(i * m, i * m + m)] : [];
    actions.push(policy.act(obs, ...mask));
    if (k) sampled.push(policy.sample(obs, noise.subarray(i * k, i * k + k), ...mask));
  }
  write(`${name}.actions`, actions);
  write(`${name}.sampled`, sampled);
  found[name] = [policy.selftest(), Object.keys(policy)];
}
console.log(JSON.stringify(found));
"""
SELFTESTS = """
const found = {};
for (const name of $CASES) {
  const policy = await import(`./${name}.js`);
  found[name] = [policy.selftest(), policy.meta];
}
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def acted(tmp_path_factory):
    """The folder of all cases, and their self-tests and names, from one run of Node."""
    folder, listed = tmp_path_factory.mktemp("policies"), []
    for case in cases.CASES:
        want = expected(case)
        graph = want.model.graph
        (folder / f"{case}.js").write_text(source(want.model, stochastic=True))
        want.rows.astype("<f4").tofile(folder / f"{case}.rows")
        want.noise.astype("<f4").tofile(folder / f"{case}.noise")
        if graph.mask:
            want.masks.astype("<f4").tofile(folder / f"{case}.masks")
        listed.append([case, graph.numbers, graph.noise, graph.mask])
    return folder, node.run(folder, ACT.replace("$CASES", json.dumps(listed)))


@every_case
def test_actions_are_the_policys(case, acted):
    folder, found = acted
    want = expected(case)
    selftest, names = found[case]
    sampled = ["sample"] if want.model.graph.noise else []
    assert names == ["act", "meta", *sampled, "selftest"]
    assert want.error(np.fromfile(folder / f"{case}.actions")) < TOLERANCE
    if sampled:
        assert want.error(np.fromfile(folder / f"{case}.sampled"), sampled=True) < TOLERANCE
    assert selftest < TOLERANCE


def selftests(folder, models):
    """name -> (the largest error, meta) of models by name, from one run of Node."""
    numbered = dict(enumerate(models))
    for i, name in numbered.items():
        (folder / f"{i}.js").write_text(source(models[name]))
    found = node.run(folder, SELFTESTS.replace("$CASES", json.dumps([*map(str, numbered)])))
    return {name: found[str(i)] for i, name in numbered.items()}


def test_a_mutant_fails_its_tests(tmp_path):
    wrong = {
        (case, name): mutant
        for case in cases.CASES
        for name, mutant in mutants(expected(case).model).items()
    }
    assert {name for _, name in wrong} == KINDS
    for name, (error, _) in selftests(tmp_path, wrong).items():
        assert error > 10 * TOLERANCE, name


def test_texts_of_the_policy_are_only_texts(tmp_path):
    models = {text: hostile(expected("categorical").model, text) for text in HOSTILE}
    for text, model in models.items():
        written = source(model, file=text)
        assert written.isascii() and "\r" not in written
        assert not re.search("</script|<!--", written, re.IGNORECASE)
    for text, (error, meta) in selftests(tmp_path, models).items():
        assert error < TOLERANCE
        assert meta["algorithm"] == meta["env"] == meta["npr"] == text


ERRORS = """
import { act, sample } from "./policy.js";
import { act as ofState } from "./table.js";
import { act as masked } from "./masked.js";
const message = (run) => { try { return String(run()); } catch (error) { return `${error}`; } };
console.log(JSON.stringify([
  message(() => act([0, 0, 0, 0, 0])), message(() => act(undefined)),
  message(() => act([0, 0, NaN, 0, 0, 0])), message(() => act([0, 0, 0, 0, 0, "x"])),
  message(() => sample([0, 0, 0, 0, 0, 0], [0])),
  message(() => ofState(2)), message(() => ofState(40)), message(() => ofState(3.5)),
  message(() => ofState(3) === ofState([3])),
  message(() => masked([0, 0, 0, 0, 0, 0], [1, 1])),
  message(() => masked([0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 1])),
  message(() => masked([0, 0, 0, 0, 0, 0], [0, 0, -Infinity, 0, 0, 0])),
  message(() => masked([0, 0, 0, 0, 0, 0], [false, true, false, true, false, true])),
  message(() => String(masked([0, 0, 0, 0, 0, 0])) === String(masked([0, 0, 0, 0, 0, 0], null))),
]));
"""


def test_an_observation_that_is_not_valid_is_an_error(tmp_path):
    (tmp_path / "policy.js").write_text(source(expected("gaussian").model, stochastic=True))
    (tmp_path / "table.js").write_text(source(expected("table-started").model))
    (tmp_path / "masked.js").write_text(source(expected("multi-masked").model))
    assert node.run(tmp_path, ERRORS) == [
        "RangeError: An observation has length 6, got 5.",
        "RangeError: An observation has length 6, got undefined.",
        "RangeError: Number 2 of the observation is NaN, not a finite float32.",
        "RangeError: Number 5 of the observation is x, not a finite float32.",
        "RangeError: Noise has length 3, got 1.",
        *(
            f"RangeError: Number 0 of the observation is {x}, not a whole number from 3 to 39."
            for x in ("2", "40", "3.5")
        ),
        "true",
        "RangeError: A mask has length 6, got 2.",
        "RangeError: The mask allows nothing in its numbers 3 to 4.",
        "RangeError: A mask has 1 for what is allowed and 0 for the rest, got -Infinity.",
        "1,5,-1",
        "true",
    ]


def test_export_writes_it(tmp_path):
    path = tmp_path / "policy.js"
    written = npr.export(cases.policy("tanh"), path)
    assert path.read_text() == source(written.model)
    assert "export function sample" not in path.read_text()
    npr.export(cases.policy("gaussian"), path, stochastic=True)
    assert "export function sample" in path.read_text()


PAGE = """<!doctype html><meta charset="utf-8"><pre id="result"></pre>
<script type="module">
$POLICY
document.querySelector("#result").textContent = JSON.stringify([selftest(), act($OBSERVATION)]);
</script>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt install chromium")
def test_it_runs_in_a_script_of_a_page(tmp_path):
    want = expected("tanh_gaussian")
    page = PAGE.replace("$OBSERVATION", json.dumps(want.rows[0].tolist()))
    (tmp_path / "page.html").write_text(page.replace("$POLICY", source(want.model)))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=2000",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         (tmp_path / "page.html").as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    shown = re.search('<pre id="result">(.*?)</pre>', done.stdout)[1]
    error, action = json.loads(html.unescape(shown))
    assert error < TOLERANCE
    np.testing.assert_allclose(action, want.actions[0], atol=1e-5)
