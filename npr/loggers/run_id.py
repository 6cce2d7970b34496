"""The id that a service gave to a run, kept in the folder of its logs for when it continues."""

import contextlib
import re


def write_id(path: str, run_id: str) -> None:
    """Write an id; its folder exists."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(run_id + "\n")


def read_id(path: str) -> str | None:
    """The id in a file; None if there is none."""
    with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as file:
        text = file.read(200).strip()
        return text if re.fullmatch(r"[\w-]+", text) else None
    return None
