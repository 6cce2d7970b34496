"""Files of safetensors with a policy: named tensors, and its description as metadata.

The metadata has the key "npr": strict JSON with the format, the spec of the policy and its card.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from npr.errors import CheckpointError, ConfigError
from npr.files.archive import FORMAT, Arrays, Manifest, Path, decode_json
from npr.files.policy_file import check_card
from npr.version import __version__

_MANIFEST = {"format", "npr", "policy", "card"}


def encoded(spec: Mapping[str, Any], card: Any, tensors: Arrays) -> bytes:
    """The content of a file. Raises ConfigError if the package safetensors is not installed."""
    manifest = {"format": FORMAT, "npr": __version__, "policy": spec, "card": card}
    text = json.dumps(manifest, allow_nan=False)
    decode_json("The file", text.encode())  # a manifest that cannot be read is not written
    data: bytes = _library().numpy.save(tensors, metadata={"npr": text})
    return data


def read(path: Path) -> tuple[Manifest, Arrays]:
    """The manifest and the tensors of a file.

    Raises FileNotFoundError if there is no file, ConfigError if the package safetensors is not
    installed, and CheckpointError if the file is damaged or is not npr's.
    """
    path, library = os.fsdecode(path), _library()
    try:
        with library.safe_open(path, framework="numpy") as file:
            held = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (library.SafetensorError, OSError, TypeError, ValueError, MemoryError) as error:
        raise CheckpointError(f"{path} is damaged or is not safetensors: {error}.") from error
    if "npr" not in held:
        raise CheckpointError(
            f"{path} was not written by npr: its metadata lacks the key 'npr', which describes the "
            "policy. npr.export(agent, 'policy.safetensors') writes such a file."
        )
    manifest = decode_json(path, held["npr"].encode("ascii", "replace"))
    if set(manifest) != _MANIFEST or manifest["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: the metadata of npr must have {sorted(_MANIFEST)} with format {FORMAT}; got "
            f"{sorted(manifest)[:9]} with format {manifest.get('format')!r:.20}."
        )
    check_card(path, manifest["card"])
    return manifest, tensors


def _library() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ConfigError("*.safetensors needs: pip install 'npr-rl[safetensors]'") from None
    return safetensors
