"""Outputs by name."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from npr.errors import ConfigError
from npr.loggers.console import Console, ConsoleFile
from npr.loggers.csv_file import CSVFile
from npr.loggers.json_lines import JSONLines
from npr.loggers.mlflow import MLflow
from npr.loggers.monitor import Monitor
from npr.loggers.output import Output
from npr.loggers.tensorboard import TensorBoard
from npr.loggers.wandb import WandB
from npr.settings.setting import near

_MAKE: dict[str, Callable[[str], Output]] = {
    "stdout": lambda folder: Console(),
    "log": ConsoleFile,
    "csv": CSVFile,
    "json": JSONLines,  # the name in Stable-Baselines3
    "jsonl": JSONLines,
    "monitor": Monitor,
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}
NAMES = tuple(_MAKE)


def configure(
    folder: str | os.PathLike[str] | None = None,
    formats: str | Output | Iterable[str | Output] = ("stdout", "csv"),
) -> list[Output]:
    """Outputs by name, for `agent.set_logger` and `learn(log=...)`.

    folder   folder of their files, made when a run begins; None: the working folder
    formats  a name or several; an Output is taken as it is:
        stdout       a table on the console
        log          the same tables in log.txt
        csv          progress.csv, a column per key
        jsonl, json  progress.jsonl, a JSON object per line
        monitor      monitor.csv, a line per episode, as Stable-Baselines3's Monitor writes it
        tensorboard  event files of TensorBoard
        wandb        a run of Weights & Biases
        mlflow       a run of MLflow

    Raises ConfigError for an unknown name.
    """
    place = os.fspath(folder) if folder is not None else ""
    several = isinstance(formats, Iterable) and not isinstance(formats, (str, Output))
    chosen: Any = formats if several else [formats]
    outputs: dict[object, Output] = {}  # "json" and "jsonl" are one
    for one in chosen:
        if isinstance(one, Output):
            outputs[one] = one
        elif isinstance(one, str) and one in _MAKE:
            outputs[_MAKE[one]] = _MAKE[one](place)
        else:
            raise ConfigError(_unknown(one))
    return list(outputs.values())


def _unknown(name: object) -> str:
    nearest = near(name, NAMES) if isinstance(name, str) else None
    advice = f"did you mean {nearest!r}?" if nearest else f"choose from {', '.join(NAMES)},"
    advice += "" if nearest else " or pass an npr.loggers.Output."
    return f"There is no log output {name!r}; {advice}"
