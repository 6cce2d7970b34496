"""NVIDIA's compiler of CUDA sources, from the package nvidia-cuda-nvrtc; needs no GPU."""

import ctypes
import functools
from importlib.metadata import PackageNotFoundError, files

import pytest

CUPY = ("-ftz=true", "--device-as-default-execution-space")  # options that CuPy adds


@functools.cache
def library():
    """NVRTC's library, or None if it is not installed."""
    try:
        found = [path.locate() for path in files("nvidia-cuda-nvrtc") or ()]
    except PackageNotFoundError:
        return None
    paths = [path for path in found if path.name.startswith("libnvrtc.so.")]
    return ctypes.CDLL(paths[0]) if paths else None


needs_nvrtc = pytest.mark.skipif(library() is None, reason="needs the package nvidia-cuda-nvrtc")


class CompileError(Exception):
    """What NVRTC says of a source with errors."""


def compiled(source, options, architecture):
    """(machine code, log) of a source for an architecture such as sm_80."""
    return _compile(source, (f"--gpu-architecture={architecture}", *options), "CUBIN")


def intermediate(source, options, architecture="compute_80"):
    """The code in text that machine code is made from, PTX."""
    code, _ = _compile(source, (f"--gpu-architecture={architecture}", *options), "PTX")
    return code.rstrip(b"\0").decode()


def _compile(source, options, result):
    nvrtc, program = library(), ctypes.c_void_p()
    words = [word.encode() for word in (*CUPY, *options)]
    failed = nvrtc.nvrtcCreateProgram(
        ctypes.byref(program), source.encode(), b"source.cu", 0, None, None
    )
    assert not failed
    try:
        failed = nvrtc.nvrtcCompileProgram(
            program, len(words), (ctypes.c_char_p * len(words))(*words)
        )
        log = _read(program, "ProgramLog").rstrip(b"\0").decode()
        if failed:
            raise CompileError(log or f"NVRTC's error {failed}")
        return _read(program, result), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _read(program, what):
    nvrtc, size = library(), ctypes.c_size_t()
    assert not getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    assert not getattr(nvrtc, f"nvrtcGet{what}")(program, text)
    return text.raw
