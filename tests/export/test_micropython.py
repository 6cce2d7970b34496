"""Exported Python runs under MicroPython, as its WebAssembly package of npm, in Node."""

import json

import numpy as np
import pytest
from support import export_cases as cases
from support import node
from support.export_checks import TOLERANCE, expected
from support.proof_size import n_trials

from npr.export.python import source

pytestmark = [node.needs_node, pytest.mark.slow]
PACKAGE = "@micropython/micropython-webassembly-pyscript", "1.27.0"
N = n_trials(500, 2_000)  # it takes a millisecond and more for each

ACT = """
import { readFileSync, writeFileSync } from "node:fs";
import { loadMicroPython } from "$PACKAGE/micropython.mjs";
const found = {};
for (const name of $CASES) {
  const lines = [];
  const python = await loadMicroPython({ heapsize: 64 << 20, stdout: (line) => lines.push(line) });
  python.FS.writeFile("/policy.py", readFileSync(`${name}.py`, "utf-8"));
  python.FS.writeFile("/given.json", readFileSync(`${name}.json`, "utf-8"));
  python.runPython(`
import json, sys
sys.path.append("/")
import policy
with open("/given.json") as file:
    rows, noise = json.load(file)
print(policy.selftest())
print(json.dumps([policy.act(row) for row in rows]))
print(json.dumps([policy.sample(row, z) for row, z in zip(rows, noise)]))
`);
  found[name] = lines.map((line) => JSON.parse(line));
}
console.log(JSON.stringify(found));
"""


@pytest.fixture(scope="module")
def acted(tmp_path_factory):
    """What every case does, from one run of Node."""
    package = node.package(*PACKAGE)
    folder = tmp_path_factory.mktemp("policies")
    for case in cases.CASES:
        want = expected(case).first(N)
        (folder / f"{case}.py").write_text(source(want.model, stochastic=True))
        noise = want.noise.tolist() if want.model.graph.noise else []
        (folder / f"{case}.json").write_text(json.dumps([want.rows.tolist(), noise]))
    script = ACT.replace("$PACKAGE", package.as_uri()).replace("$CASES", json.dumps([*cases.CASES]))
    return node.run(folder, script, seconds=3_000)


@pytest.mark.parametrize("case", cases.CASES)
def test_actions_are_the_policys(case, acted):
    want = expected(case).first(N)
    selftest, actions, sampled = acted[case]
    assert selftest < TOLERANCE
    assert want.error(np.array(actions)) < TOLERANCE
    if want.model.graph.noise:
        assert want.error(np.array(sampled), sampled=True) < TOLERANCE
