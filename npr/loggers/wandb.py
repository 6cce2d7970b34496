"""Weights & Biases."""

import os
from typing import Any

from npr.errors import ConfigError
from npr.loggers.lines import make_folder
from npr.loggers.output import Output, Values
from npr.loggers.run_id import read_id, write_id


class WandB(Output):
    """A run of Weights & Biases, at the env steps of the run.

    folder   of W&B's own files, in wandb/, and of wandb_run_id.txt

    Needs the extra `wandb`. Project, mode and account are those of W&B's environment variables
    (WANDB_PROJECT, else "npr"; WANDB_MODE=offline needs no account). Within a run that you began by
    wandb.init, values go there, and it stays open. Texts, such as "no episode finished yet", are
    left out.

    A run that continues goes on under its id. W&B ignores rows at steps that it has, which are the
    same where the run goes on to the bit; in offline mode, send the parts by `wandb sync --append`.
    """

    def __init__(self, folder: str = "") -> None:
        self.folder = folder or "."
        self._run: Any = None
        self._ours = False  # whether to finish the run

    def check(self) -> None:
        """Raise ConfigError if W&B is missing."""
        _imported()

    def open(self, title: str, settings: dict[str, Any], step: int, episodes: int) -> None:
        """Begin a run, or take the one that is active."""
        wandb = _imported()
        self._run, self._ours = wandb.run, wandb.run is None
        if not self._ours:
            self._run.config.update(settings, allow_val_change=True)
            return
        id_file = os.path.join(self.folder, "wandb_run_id.txt")
        make_folder(id_file)  # W&B uses another one where there is none
        known = read_id(id_file) if step else None
        project = os.environ.get("WANDB_PROJECT", "npr")
        self._run = wandb.init(
            project=project, name=title, dir=self.folder, config=settings, id=known, resume="allow"
        )
        write_id(id_file, self._run.id)

    def write(self, values: Values, step: int) -> None:
        """Log the numbers."""
        numbers = {key: value for key, value in values.items() if not isinstance(value, str)}
        self._run.log(numbers, step=step)

    def close(self) -> None:
        """Finish the run, if this output began it."""
        run, self._run = self._run, None
        if run is not None and self._ours:
            run.finish()


def _imported() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(
            f"The log output 'wandb' needs the package wandb ({error}): pip install 'npr-rl[wandb]'"
        ) from None
    return wandb
