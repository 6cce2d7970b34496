"""Runs in folders: one training with its settings, logs, evaluations and checkpoints on disk.

    configs = npr.runs.grid(npr.runs.RunConfig("SAC", "Pendulum-v1"), learning_rate=[1e-3, 3e-4])
    npr.runs.run_all(configs, "runs", jobs=2)

`npr train` and `npr resume` call these functions, and `npr.sweep` is one. It imports the layers
below; Ray is imported where it is asked for.
"""

from npr.runs.config import RunConfig, grid, read_config
from npr.runs.parallel import resume_all, run_all
from npr.runs.sweep import SweepResult, SweepRow, sweep
from npr.runs.task import Outcome
from npr.runs.train import resume, train

__all__ = [
    "Outcome", "RunConfig", "SweepResult", "SweepRow", "grid", "read_config", "resume",
    "resume_all", "run_all", "sweep", "train",
]  # fmt: skip
