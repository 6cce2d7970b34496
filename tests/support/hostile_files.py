"""Hostile files: consistent zips with valid checksums and malicious contents.

`load_watched` loads one while an audit hook (sys.addaudithook) records events.
"""

import hashlib
import io
import json
import os
import sys
import zipfile

import numpy as np
import pytest

import npr
from npr import CheckpointError

_RUNS = ("exec", "compile", "import", "pickle.find_class", "marshal.loads", "ctypes.dlopen",
         "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.posix_spawn")  # fmt: skip
_WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod",
           "os.truncate")  # fmt: skip
_FOR_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_watch = {"on": False, "seen": []}


def _audit(event, args):
    if _watch["on"]:
        writes = event == "open" and args[2] & _FOR_WRITING
        if event in _RUNS or event in _WRITES or event.startswith("socket.") or writes:
            _watch["seen"].append((event, str(args)[:200]))


sys.addaudithook(_audit)


def load_watched(load, path):
    """load(path), or None if it raised CheckpointError. Fails if code ran or a file was written."""
    _watch.update(on=True, seen=[])
    try:
        return load(path)
    except CheckpointError:
        return None
    finally:
        _watch["on"] = False
        assert not _watch["seen"], _watch["seen"]


def refused(path, match=None, infer=True):
    """Assert that npr.load raises CheckpointError, and infer.load too if `infer`."""
    for load in (npr.load, npr.infer.load) if infer else (npr.load,):
        assert load_watched(load, path) is None, f"{load.__module__} took it"
        with pytest.raises(CheckpointError, match=match):
            load(path)


def members_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def craft(path, members, manifest=None, text=None, compression=zipfile.ZIP_STORED, twice=(),
          change=lambda info: None):  # fmt: skip
    """Write a consistent zip, checksums included.

    change   function of the ZipInfo of every member, called before it is written
    """
    members = dict(members)
    manifest = manifest or json.loads(members["manifest.json"])
    manifest["sha256"] = {
        name: hashlib.sha256(data).hexdigest()
        for name, data in members.items()
        if name != "manifest.json"
    }
    members["manifest.json"] = text or json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in [*members, *twice]:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            change(info)
            archive.writestr(info, members[name])


def npy(array, allow_pickle=False):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def edited(path, edit):
    """Rewrite a file with its manifest changed by `edit`."""
    members = members_of(path)
    manifest = json.loads(members["manifest.json"])
    edit(manifest)
    craft(path, members, manifest)


def put(*keys):
    """An edit: put("policy", "head", "x") sets manifest["policy"]["head"] = "x"."""
    *way, last, value = keys

    def edit(manifest):
        for key in way:
            manifest = manifest[key]
        manifest[last] = value

    edit.__name__ = f"{'.'.join(keys[:-1])}={value!r}"
    return edit


def name_of(edit):
    return getattr(edit, "__name__", "")
