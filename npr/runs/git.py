"""The commit of a Git repository, read from its files."""

import re
from pathlib import Path

_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def head(folder: Path) -> str | None:
    """The hash of the commit that is checked out in the repository that `folder` is in.

    None outside of a repository, before its first commit, or if its files cannot be read.
    """
    try:
        for parent in (folder, *folder.resolve().parents):
            if (parent / ".git").exists():
                return _head_of(_git_folder(parent / ".git"))
    except (OSError, ValueError):
        return None
    return None


def _git_folder(path: Path) -> Path:
    """Where HEAD is; in a worktree or submodule .git is a file with the path."""
    if path.is_dir():
        return path
    return path.parent / path.read_text().removeprefix("gitdir:").strip()


def _head_of(git: Path) -> str | None:
    text = (git / "HEAD").read_text().strip()
    if not text.startswith("ref:"):
        return _hash(text)
    name = text.removeprefix("ref:").strip()
    common = git / "commondir"  # of a worktree: the repository's own folder
    folders = [git, git / common.read_text().strip()] if common.exists() else [git]
    for folder in folders:
        if (folder / name).is_file():
            return _hash((folder / name).read_text().strip())
    for folder in folders:
        packed = folder / "packed-refs"
        for line in packed.read_text().splitlines() if packed.exists() else ():
            if line.endswith(f" {name}"):
                return _hash(line.split()[0])
    return None


def _hash(text: str) -> str | None:
    return text if _HASH.fullmatch(text) else None
