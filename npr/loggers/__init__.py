"""Where the logged values of a run go: the console, files, and services that collect runs.

`configure` makes outputs by name, for `learn(log=...)` and `agent.set_logger`; an output of your
own derives from `Output`. Imports the layers below. TensorBoard, W&B and MLflow are extras,
imported when a run opens an output that needs them.
"""

from npr.loggers.configure import NAMES, configure
from npr.loggers.output import Output, Outputs

__all__ = ["NAMES", "Output", "Outputs", "configure"]
