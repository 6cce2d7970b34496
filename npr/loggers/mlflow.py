"""MLflow."""

import os
import time
from typing import Any

from npr.errors import ConfigError
from npr.loggers.lines import make_folder
from npr.loggers.output import Output, Values, setting_rows
from npr.loggers.run_id import read_id, write_id

_LONGEST = 6000  # characters of a parameter that MLflow takes


class MLflow(Output):
    """A run of MLflow, at the env steps of the run.

    folder   of mlflow.db, unless a tracking server or store is set (MLFLOW_TRACKING_URI or
             mlflow.set_tracking_uri), and of mlflow_run_id.txt

    Needs the extra `mlflow`. The experiment is MLFLOW_EXPERIMENT_NAME, else "npr". Within a run
    that you began by mlflow.start_run, values go there, and it stays open. Texts, such as "no
    episode finished yet", are left out; settings become parameters.

    A run that continues goes on under its id. MLflow drops no values: those at steps after the last
    checkpoint are there twice, the same where the run goes on to the bit.
    """

    def __init__(self, folder: str = "") -> None:
        self.folder = folder or "."
        self._client: Any = None
        self._id = ""
        self._ours = False  # whether to end the run

    def check(self) -> None:
        """Raise ConfigError if MLflow is missing."""
        _imported()

    def open(self, title: str, settings: dict[str, Any], step: int, episodes: int) -> None:
        """Begin a run, or take the one that is active."""
        mlflow = _imported()
        id_file = os.path.join(self.folder, "mlflow_run_id.txt")
        known = read_id(id_file) if step else None
        active = mlflow.active_run()
        self._ours = active is None
        if active is not None:
            self._client, self._id = mlflow.MlflowClient(), active.info.run_id
        else:
            make_folder(id_file)
            place = os.path.abspath(os.path.join(self.folder, "mlflow.db"))
            uri = None if mlflow.is_tracking_uri_set() else f"sqlite:///{place}"
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            self._id = known or self._new_run(title)
            self._client.update_run(self._id, status="RUNNING")
            write_id(id_file, self._id)
        if not known:
            rows = setting_rows(settings)
            params = [mlflow.entities.Param(name, text[:_LONGEST]) for name, text in rows]
            self._client.log_batch(self._id, params=params)
        self._metric = mlflow.entities.Metric

    def write(self, values: Values, step: int) -> None:
        """Log the numbers."""
        now = int(time.time() * 1000)
        numbers = {key: float(x) for key, x in values.items() if not isinstance(x, str)}
        metrics = [self._metric(key, x, now, step) for key, x in numbers.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def close(self) -> None:
        """End the run, if this output began it."""
        client, self._client = self._client, None
        if client is not None and self._ours:
            client.set_terminated(self._id)

    def _new_run(self, title: str) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "npr")
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        run_id: str = self._client.create_run(experiment, run_name=title).info.run_id
        return run_id


def _imported() -> Any:
    try:
        import mlflow
    except ImportError as error:
        raise ConfigError(
            f"The log output 'mlflow' needs the package mlflow ({error}): "
            "pip install 'npr-rl[mlflow]'"
        ) from None
    return mlflow
