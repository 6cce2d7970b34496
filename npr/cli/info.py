"""`npr info`: what a file or a run folder holds.

It is safe on files from others: it reads the manifest and what the arrays are, builds nothing, and
escapes what could control a terminal.
"""

import argparse
import csv
import io
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from npr.errors import CheckpointError, ConfigError
from npr.files import archive, checkpoint, policy_file
from npr.files.run_folder import BEST, CHECKPOINTS, CONFIG, FINAL, LATEST, PROGRESS
from npr.nn import described
from npr.runs.folder import check_is_run
from npr.system import streams
from npr.system.memory import format_bytes

HELP = "show what a file or a run folder holds, without building the agent"

_PART = 1 << 16  # bytes read at the beginning and the end of a table
_LARGEST_CONFIG = 1 << 20  # bytes
_LONGEST, _MOST = 300, 60  # characters of a value, and arrays, that are shown
_INVALID = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `npr info`."""
    parser.add_argument("file", metavar="FILE", help="file of an agent, or a run folder")
    parser.add_argument(
        "--verify", action="store_true", help="read all arrays and compare their checksums"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print what it holds. Raises CheckpointError for a file that is not npr's or is damaged, and
    ConfigError for a folder that is not of a run."""
    path = Path(args.file)
    kind = stat.S_IFMT(os.stat(path).st_mode)
    if kind not in (stat.S_IFDIR, stat.S_IFREG):  # reading a pipe or a device may never end
        raise ConfigError(f"{path} is neither a file nor a folder.")
    try:
        if kind == stat.S_IFDIR:
            found, lines = of_folder(path), _folder_lines
        else:
            found, lines = of_file(path, args.verify), _file_lines
        text = json.dumps(found) if args.json else "\n".join(lines(found))
    except (CheckpointError, ConfigError):
        raise
    except _INVALID as error:
        raise CheckpointError(
            f"{path} is not npr's: what it says about itself is not valid ({error!r:.80})."
        ) from None
    streams.show(text)
    return 0


# ---- the file of an agent


def of_file(path: Path, verify: bool = False) -> dict[str, Any]:
    """What the file of an agent holds, as plain data.

    verify   read all arrays, and compare them with their checksums

    Raises CheckpointError if it is not a file of npr, or damaged as far as it is read, and any
    exception of _INVALID if its manifest is not that of an agent.
    """
    if verify:
        archive.read_archive(path)
    manifest, headers = archive.read_headers(path)
    checkpoint.check_no_replay(path, manifest)
    policy = dict(manifest["policy"])
    theta = headers[manifest["policy_parameters"]]
    policy["parameters"] = theta.bytes // theta.dtype.itemsize
    alone = policy_file.is_policy(manifest)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "format": manifest["format"],
        "npr": manifest.get("npr"),
        **(_alone(path, manifest, headers) if alone else _agent(manifest)),
        "policy": policy,
        "arrays": {
            name: {"dtype": str(one.dtype), "shape": list(one.shape), "bytes": one.bytes}
            for name, one in headers.items()
        },
        "verified": verify,
    }


def _alone(path: Path, manifest: Mapping[str, Any], headers: Mapping[str, Any]) -> dict[str, Any]:
    """What the file of a policy alone says about it."""
    policy_file.check(path, dict(manifest), headers)
    card = dict(manifest["card"])
    named = {name: card[name] for name in ("algorithm", "env", "num_timesteps")}
    return {**named, "card": card}


def _agent(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the file of an agent says about it."""
    counters = manifest["counters"]
    skipped = {name: int(n) for name, (n, _) in counters.get("skipped", {}).items()}
    settings = dict(manifest["settings"])
    return {
        "algorithm": str(manifest["algorithm"]),
        "env": manifest["env"],
        "env_description": manifest.get("env_description"),
        "seed": manifest["seed"],
        "num_timesteps": checkpoint.count(counters["num_timesteps"]),
        "end": checkpoint.count(counters["end"]),
        "n_updates": checkpoint.count(counters["n_updates"]),
        "episodes": checkpoint.count(counters["episodes"]),
        "skipped_updates": sum(skipped.values()),
        "settings": settings,
        "changed_settings": _changed(str(manifest["algorithm"]), settings),
        "made_with": dict(manifest.get("made_with") or {"numpy": manifest["numpy"]}),
    }


def _changed(algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings that differ from the algorithm's defaults; None for an unknown algorithm."""
    import npr.algorithms  # noqa: F401  (fills the registry)
    from npr.algorithms.base import REGISTRY

    if algorithm not in tuple(REGISTRY):
        return None
    defaults = REGISTRY[algorithm].defaults()
    return {k: v for k, v in settings.items() if k not in defaults or defaults[k] != v}


def _file_lines(found: Mapping[str, Any]) -> list[str]:
    policy = found["policy"]
    file = f"{found['file']}, {_size(found['bytes'])}, format {found['format']}"
    if found["npr"]:
        file += f", written by npr {found['npr']}"
    sizes = policy["sizes"]
    layers = described(policy["activation"], "layer_norm" in policy)
    network = "table" if sizes is None else f"{' -> '.join(map(str, sizes))}, {layers}"
    normalized = ", normalized observations" if policy.get("normalize") else ""
    arrays = found["arrays"]
    total = sum(one["bytes"] for one in arrays.values())
    checked = "checksums correct" if found["verified"] else "checksums not compared: --verify"
    spaces = [
        _line("policy", f"{network}, head {policy['head']}, {policy['parameters']:,} parameters"
                        f"{normalized}"),
        _line("observe", _space(policy["observations"])),
        _line("act", _space(policy["actions"])),
    ]  # fmt: skip
    lines = [
        _line("file", file),
        *(_alone_lines(found, spaces) if "card" in found else _agent_lines(found, spaces)),
        _line("arrays", f"{len(arrays)}, {_size(total)}, {checked}"),
    ]
    for name, one in [*arrays.items()][:_MOST]:
        shape = f"({', '.join(map(str, one['shape']))})"
        lines.append(
            streams.printable(f"  {name:<28} {one['dtype']:<8} {shape:<16} {_size(one['bytes'])}")
        )
    if len(arrays) > _MOST:
        lines.append(f"  and {len(arrays) - _MOST:,} more: --json shows all")
    return lines


def _alone_lines(found: Mapping[str, Any], spaces: list[str]) -> list[str]:
    steps, card = found["num_timesteps"], found["card"]
    trained = "" if steps is None else f", trained for {steps:,} env steps"
    result = f"mean {card.get('mean')}, deviation {card.get('std')}"
    measured = f"{result}, {card.get('episodes')} episodes"
    return [
        _line(
            "agent",
            f"the policy alone, {found['algorithm'] or 'unknown'} on "
            f"{found['env'] or 'an unnamed environment'}{trained}",
        ),
        *spaces,
        _line("return", measured if card.get("episodes") else f"not measured: {card.get('note')}"),
        _line("sha256", f"{card.get('sha256')}"),
    ]


def _agent_lines(found: Mapping[str, Any], spaces: list[str]) -> list[str]:
    counts = f"{found['episodes']:,} episodes, {found['n_updates']:,} updates"
    if found["skipped_updates"]:
        counts += f", {found['skipped_updates']:,} updates skipped"
    return [
        _line("agent", f"{found['algorithm']} on {found['env']}, seed {found['seed']}"),
        _line("trained", f"{found['num_timesteps']:,} of {found['end']:,} env steps, {counts}"),
        *spaces,
        _line("env", _environment(found["env_description"])),
        _line("settings", _settings(found)),
        _line("made with", _pairs(found["made_with"], " ")),
    ]


def _settings(found: Mapping[str, Any]) -> str:
    changed = found["changed_settings"]
    if changed is None:
        return f"{_pairs(found['settings'])}; this npr does not know the algorithm"
    return f"{_pairs(changed) or 'none changed'}; the others are {found['algorithm']}'s defaults"


def _space(spec: Any) -> str:
    from npr.envs.spaces import described

    try:
        return described(spec)
    except _INVALID:
        return f"not a valid space: {spec}"


def _environment(described: Any) -> str:
    if not isinstance(described, Mapping):
        return "not described: the file has an older format"
    if "unknown" in described:
        return f"not described: {described['unknown']}"
    parts = [f"{described.get('id')}"]
    if described.get("kwargs"):
        parts.append(f"arguments {described['kwargs']}")
    if described.get("wrappers"):
        parts.append(f"wrappers {[one[0] for one in described['wrappers']]}")
    if described.get("vector"):
        parts.append(f"vector environment {described['vector']}")
    return ", ".join(parts)


# ---- a run folder


def of_folder(path: Path) -> dict[str, Any]:
    """What a run folder holds, as plain data. Raises ConfigError if it is none, and CheckpointError
    if its config.json is not that of a run."""
    check_is_run(path)
    with open(path / CONFIG, "rb") as file:
        text = file.read(_LARGEST_CONFIG + 1)
    try:
        if len(text) > _LARGEST_CONFIG:
            raise ValueError("it has more than 1 MiB")
        config = json.loads(text)
        found = {name: config[name] for name in ("algorithm", "env", "seed", "settings")}
        changed = _changed(str(found["algorithm"]), dict(found["settings"]))
    except _INVALID as error:
        raise CheckpointError(f"{path / CONFIG} is not that of a run: {error!r:.80}.") from None
    checkpoints = path / CHECKPOINTS
    return {
        "folder": str(path),
        **found,
        "changed_settings": changed,
        "config": config,
        "progress": _last_values(path / PROGRESS),
        "files": {one.name: one.stat().st_size for one in sorted(path.iterdir()) if one.is_file()},
        "checkpoints": sorted(p.name for p in checkpoints.glob("*.npz")),
        "agents": {
            name: _steps(path / file)
            for name, file in (
                ("best", BEST), ("final", FINAL), ("latest", f"{CHECKPOINTS}/{LATEST}")
            )
            if (path / file).is_file()
        },
    }  # fmt: skip


def _steps(path: Path) -> int | str:
    """The env steps of the agent in a file, or why it cannot be read."""
    try:
        return int(of_file(path)["num_timesteps"])
    except (*_INVALID, OSError) as error:
        return f"cannot be read: {error!s:.200}"


def _last_values(path: Path) -> dict[str, str] | None:
    """The last value in each column of a CSV file, by its header; None if there is none.

    Rows need not have all values: those of evaluations have no losses.
    """
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        header = file.readline(_PART)
        begin = max(len(header), os.fstat(file.fileno()).st_size - _PART)
        file.seek(begin)
        end = file.read(_PART)
    lines = end.decode(errors="replace").splitlines()
    if begin > len(header):
        lines = lines[1:]  # it may begin within a row
    found: dict[str, str] = {}
    try:
        names, *rows = csv.reader(io.StringIO("\n".join([header.decode().strip(), *lines])))
        for row in rows:
            if len(row) == len(names):
                found.update({name: value for name, value in zip(names, row) if value})
    except (ValueError, csv.Error):
        return None
    return found or None


def _folder_lines(found: Mapping[str, Any]) -> list[str]:
    config = found["config"]
    agents = found["agents"]
    budget = config.get("total_timesteps")
    state = "finished" if "final" in agents else "not finished; npr resume continues it"
    made = _pairs({k: config[k] for k in ("npr", "git", "started") if config.get(k)}, " ")
    lines = [
        _line("run", f"{found['folder']}, {state}"),
        _line("agent", f"{found['algorithm']} on {found['env']}, seed {found['seed']}"),
        _line("budget", f"{budget} env steps" if budget else "the preset's"),
        _line("settings", _settings(found)),
        _line("made with", made or "unknown"),
    ]
    for name, steps in agents.items():
        lines.append(_line(name, f"{steps:,} env steps" if isinstance(steps, int) else steps))
    lines.append(_line("checkpoints", ", ".join(found["checkpoints"]) or "none"))
    files = ", ".join(f"{name} ({_size(size)})" for name, size in found["files"].items())
    lines.append(_line("files", files, longest=10 * _LONGEST))
    if found["progress"] is None:
        lines.append(_line("progress", "no row was logged"))
    else:
        lines.append("progress    the last values:")
        lines += [
            streams.printable(f"  {k:<28} {v}") for k, v in [*found["progress"].items()][:_MOST]
        ]
    return lines


# ---- text


def _line(topic: str, text: str, longest: int = _LONGEST) -> str:
    if len(text) > longest:
        text = f"{text[:longest]} ..."
    return f"{topic:<11} {streams.printable(text)}"


def _pairs(values: Mapping[str, Any], sign: str = "=") -> str:
    return ", ".join(f"{name}{sign}{value}" for name, value in values.items())


def _size(n: int) -> str:
    return f"{n:,} bytes" if n < 100_000 else format_bytes(n)
