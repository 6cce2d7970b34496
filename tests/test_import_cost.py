"""Modules that `import npr`, its names and `npr.infer` import."""

import subprocess
import sys

import numpy as np
from support.small_agents import CASES, observations, trained

HEAVY = (
    "numba", "gymnasium", "cupy", "matplotlib", "tensorboard", "wandb", "mlflow", "optuna", "tqdm",
)  # fmt: skip

SCRIPT = """
import sys
def stage(name):
    loaded = [module for module in {heavy} if module in sys.modules]
    print(name, *loaded)

import npr
stage("import")
names = [getattr(npr, name) for name in npr.__all__]
stage("names")
import numpy as np
for path, observation in {files}:
    print(np.asarray(npr.infer.load(path)(np.array(observation))).tolist())
stage("infer")
"""


def test_import_npr_and_infer_need_numpy_alone(tmp_path):
    """The first agent imports Gymnasium, the first kernel Numba; a policy needs neither."""
    files, actions = [], []
    for case in CASES:
        agent, path = trained(case), str(tmp_path / f"{case}.npz")
        agent.save(path)
        observation = observations(agent, 1)[0]
        files.append((path, observation.tolist()))
        actions.append(str(np.asarray(agent.act(observation)).tolist()))
    script = SCRIPT.format(heavy=HEAVY, files=files)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["import", "names", *actions, "infer"]
