"""Event files of TensorBoard, written by its own EventFileWriter."""

import glob
import os
import time
from typing import Any

from npr.errors import ConfigError
from npr.loggers.lines import make_folder
from npr.loggers.output import Output, Values, setting_rows


class TensorBoard(Output):
    """Scalars for TensorBoard: a tag per key, at the env steps of the run.

    folder   of the event files, events.out.tfevents.*

    Needs the extra `tensorboard`, neither TensorFlow nor PyTorch. The settings are a text, with the
    tag "settings"; other texts, such as "no episode finished yet", are left out. A run that
    continues writes another file to the folder, which says where it goes on: TensorBoard drops
    later steps of earlier files. Values are stored in 32 bits.
    """

    def __init__(self, folder: str = "") -> None:
        self.path = os.path.join(folder, "events.out.tfevents.*")
        self.folder = folder or "."
        self._writer: Any = None
        self._event: Any = None  # tensorboard's class

    def held(self) -> list[str]:
        """Event files of earlier runs."""
        return sorted(glob.glob(os.path.join(glob.escape(self.folder), "events.out.tfevents.*")))

    def check(self) -> None:
        """Raise ConfigError if TensorBoard is missing."""
        try:
            import tensorboard.summary.writer.event_file_writer  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                f"The log output 'tensorboard' needs the package tensorboard ({error}): "
                "pip install 'npr-rl[tensorboard]'"
            ) from None

    def open(self, title: str, settings: dict[str, Any], step: int, episodes: int) -> None:
        """Open a file, and write the settings."""
        self.check()
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.plugins.text.summary_v2 import text_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        make_folder(self.path)
        self._event = Event
        self._writer = self._last_file(EventFileWriter)
        # what earlier files have from this step on is dropped by readers
        self._add(step + 1 if step else 0, session_log=SessionLog(status=SessionLog.START))
        rows = [f"|{name}|{value}|" for name, value in setting_rows(settings)]
        text = "\n".join([f"**{title}**\n", "|setting|value|", "|---|---|", *rows])
        self._add(step, summary=text_pb("settings", text))
        self._writer.flush()

    def write(self, values: Values, step: int) -> None:
        """Write a scalar per number."""
        summary = self._event(step=step, wall_time=time.time())
        for tag, value in values.items():
            if not isinstance(value, str):
                summary.summary.value.add(tag=tag, simple_value=float(value))
        self._writer.add_event(summary)
        self._writer.flush()  # raises what the writer's thread met

    def close(self) -> None:
        """Close the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def _last_file(self, writer_class: Any) -> Any:
        """A writer whose file is last by name, the order in which TensorBoard reads them.

        Names have the second of their creation, and within it a number that is compared as text.
        """
        before = self.held()
        for _ in range(15):
            writer = writer_class(self.folder)
            after = self.held()
            if not before or after[-1] not in before:
                break
            writer.close()
            os.remove(*set(after).difference(before))
            time.sleep(0.1)
        else:  # the clock of the machine that wrote another is ahead
            writer = writer_class(self.folder)
        return writer

    def _add(self, step: int, **content: Any) -> None:
        self._writer.add_event(self._event(step=step, wall_time=time.time(), **content))
