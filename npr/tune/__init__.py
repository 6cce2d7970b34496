"""Search for settings with Optuna: `npr.tune.tune("SAC", "Pendulum-v1", trials=50)`.

Trials train agents with settings from a search space (`SPACES`), in one process or several; the
best are trained again with fresh seeds. Imports algorithms and the layers below. Optuna is imported
when a search starts; it is in the extra `tune`.
"""

from npr.tune.result import Candidate, TuneResult
from npr.tune.search import tune
from npr.tune.spaces import SPACES

__all__ = ["SPACES", "Candidate", "TuneResult", "tune"]
