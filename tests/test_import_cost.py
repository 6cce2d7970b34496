"""What a fresh `import npr` imports."""

import subprocess
import sys

import numpy as np
from support.small_agents import CASES, observations, trained

# ---- what an import costs

HEAVY = ("numba", "gymnasium", "cupy", "matplotlib")

FRESH = """
import sys
def stage(name):
    held = [heavy for heavy in {heavy} if heavy in sys.modules]
    print(name, *held)

import npr
stage("import")
names = [getattr(npr, name) for name in npr.__all__]
stage("names")
import numpy as np
for path, observation in {files}:
    print(np.asarray(npr.infer.load(path)(np.array(observation))).tolist())
stage("infer")
"""


def test_a_fresh_import_brings_numpy_alone_and_so_does_a_policy(tmp_path):
    """Gymnasium comes with the first agent, Numba with the first kernel, a policy needs neither."""
    files, actions = [], []
    for case in CASES:
        agent, path = trained(case), str(tmp_path / f"{case}.npz")
        agent.save(path)
        observation = observations(agent, 1)[0]
        files.append((path, observation.tolist()))
        actions.append(str(np.asarray(agent.act(observation)).tolist()))
    script = FRESH.format(heavy=HEAVY, files=files)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["import", "names", *actions, "infer"]
