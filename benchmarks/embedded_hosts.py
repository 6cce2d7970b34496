"""The forms of a policy that are no C, on this machine: their actions and the time of one.

FORMS lists (form, where it runs, measure); measure(path of the agent, observations, folder for what
is installed) gives the actions for the observations, microseconds of one and the file's bytes, and
raises Missing with a sentence where something is not installed.
"""

import json
import runpy
import shutil
import subprocess
import tempfile
import timeit
from pathlib import Path

import numpy as np

import npr

BLOCKS, ACTIONS = 30, 200  # of which the fastest counts
NPM = "@micropython/micropython-webassembly-pyscript@1.27.0"

_NODE = """
import { readFileSync } from "node:fs";
import { act } from "./policy.mjs";
const rows = JSON.parse(readFileSync("rows.json"));
const actions = rows.map((row) => act(row));
let fastest = Infinity;
for (let block = 0; block < 300; block++) {
  const start = process.hrtime.bigint();
  for (let i = 0; i < 200; i++) act(rows[i % rows.length]);
  fastest = Math.min(fastest, Number(process.hrtime.bigint() - start) / 200e3);
}
console.log(JSON.stringify({ actions, us: fastest }));
"""
_MICROPYTHON = """
import { readFileSync } from "node:fs";
import { loadMicroPython } from "MODULE";
let printed = "";
const mp = await loadMicroPython({
  heapsize: 32 * 1024 * 1024, linebuffer: true, stdout: (line) => { printed += line; },
});
mp.FS.writeFile("/policy.py", readFileSync("policy.py"));
mp.FS.writeFile("/rows.json", readFileSync("rows.json"));
mp.runPython(`
import json
import sys
sys.path.append("/")
from policy import act
with open("/rows.json") as file:
    rows = json.load(file)
print(json.dumps([act(row) for row in rows]))
`);
let fastest = Infinity;
for (let block = 0; block < 10; block++) {
  const start = process.hrtime.bigint();
  mp.runPython("for row in rows[:20]:\\n    act(row)");
  fastest = Math.min(fastest, Number(process.hrtime.bigint() - start) / 20e3);
}
console.log(JSON.stringify({ actions: JSON.parse(printed), us: fastest }));
"""


class Missing(Exception):
    """What is not installed, as a sentence."""


def _timed(act, observations):
    """Microseconds of an action, in the fastest block."""
    rows = iter(np.resize(observations, (BLOCKS * ACTIONS, observations.shape[-1])))
    timer = timeit.Timer("act(next(rows))", globals={"act": act, "rows": rows})
    return min(timer.timeit(ACTIONS) for _ in range(BLOCKS)) / ACTIONS * 1e6


def _exported(path, folder, name):
    """The file of a form of the agent."""
    file = Path(folder, name)
    npr.export(path, file, episodes=0)
    return file


def numpy(path, observations, build):
    with tempfile.TemporaryDirectory() as folder:
        file = _exported(path, folder, "policy.npz")
        policy, size = npr.infer.load(file), file.stat().st_size
    actions = [policy(row) for row in observations]
    return actions, _timed(policy, observations), size


def node(path, observations, build):
    return _in_node(path, observations, "policy.js", "policy.mjs", _NODE)


def micropython(path, observations, build):
    module = build / "node_modules" / NPM.rsplit("@", 1)[0] / "micropython.mjs"
    if not module.exists():
        if not shutil.which("npm"):
            raise Missing("MicroPython needs npm (Debian: npm), which installs its WebAssembly.")
        done = subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(build), NPM],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise Missing(f"MicroPython: npm cannot install {NPM}: {' '.join(last)}")
    program = _MICROPYTHON.replace("MODULE", module.as_uri())
    return _in_node(path, observations, "policy.py", "policy.py", program)


def _in_node(path, observations, name, stored, program):
    """Run a program in Node, in a folder with the file of a form and the observations."""
    if not shutil.which("node"):
        raise Missing("JavaScript and MicroPython need node (Debian: nodejs).")
    with tempfile.TemporaryDirectory() as folder:
        file = _exported(path, folder, name).rename(Path(folder, stored))
        Path(folder, "rows.json").write_text(json.dumps(observations.tolist()))
        Path(folder, "main.mjs").write_text(program)
        done = subprocess.run(
            ["node", "main.mjs"], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"node ended with {done.returncode}:\n{done.stderr}")
        said = json.loads(done.stdout)
        return said["actions"], said["us"], file.stat().st_size


def plain_python(path, observations, build):
    with tempfile.TemporaryDirectory() as folder:
        file = _exported(path, folder, "policy.py")
        act, size = runpy.run_path(str(file))["act"], file.stat().st_size
    return [act(row.tolist()) for row in observations], _timed(act, observations), size


def onnxruntime(path, observations, build):
    try:
        import onnxruntime as ort

        with tempfile.TemporaryDirectory() as folder:
            file = _exported(path, folder, "policy.onnx")
            size = file.stat().st_size
            session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except ImportError as error:
        raise Missing(f"onnxruntime needs {error.name} (pip install onnx onnxruntime).") from error

    def act(rows):
        return session.run(["action"], {"observation": rows})[0]

    return act(observations), _timed(lambda row: act(row[None]), observations), size


FORMS = [
    ("npz float32", "NumPy, npr.infer", numpy),
    ("py", "CPython", plain_python),
    ("py", "MicroPython, WebAssembly", micropython),
    ("js", "Node", node),
    ("onnx", "onnxruntime", onnxruntime),
]
