"""NVIDIA's compiler of CUDA sources, from the package nvidia-cuda-nvrtc; needs no GPU."""

import ctypes
import functools
import os
import pickle
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

import pytest

from support.cuda import host_compiler

PACKAGE = "nvidia-cuda-nvrtc"
CUPY = ("-ftz=true", "--device-as-default-execution-space")


@functools.cache
def library():
    """NVRTC's library, or None if it is not installed."""
    try:
        found = [path.locate() for path in files(PACKAGE) or ()]
    except PackageNotFoundError:
        return None
    paths = [path for path in found if path.name.startswith("libnvrtc.so.")]
    return ctypes.CDLL(paths[0]) if paths else None


needs_nvrtc = pytest.mark.skipif(library() is None, reason="needs the package nvidia-cuda-nvrtc")


class CompileError(Exception):
    """What NVRTC says of a source with errors."""


@dataclass(frozen=True)
class Compiled:
    """What became of a source."""

    machine_code: bytes
    ptx: str  # the code in text that machine code is made from
    log: str


def compiled(source, options, architecture):
    """Compile a source for an architecture such as sm_80, with the options that CuPy adds.

    Results are cached in a folder of this user.
    """
    options = (f"--gpu-architecture={architecture}", *CUPY, *options)
    path = host_compiler().cache_file(source, *options, version(PACKAGE), suffix=".nvrtc")
    if path.exists():
        return pickle.loads(path.read_bytes())
    made = _compile(source, options)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = Path(folder) / "new"
        new.write_bytes(pickle.dumps(made))
        os.replace(new, path)
    return made


def _compile(source, options):
    nvrtc, program = library(), ctypes.c_void_p()
    words = [option.encode() for option in options]
    failed = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"source.cu", 0, None, None
    )
    assert not failed
    try:
        failed = nvrtc.nvrtcCompileProgram(
            program, len(words), (ctypes.c_char_p * len(words))(*words)
        )
        log = _text(program, "ProgramLog")
        if failed:
            raise CompileError(log or f"NVRTC's error {failed}")
        return Compiled(_read(program, "CUBIN"), _text(program, "PTX"), log)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _text(program, what):
    return _read(program, what).rstrip(b"\0").decode()


def _read(program, what):
    nvrtc, size = library(), ctypes.c_size_t()
    assert not getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    assert not getattr(nvrtc, f"nvrtcGet{what}")(program, text)
    return text.raw
