"""Compiles CUDA sources for the host, by g++ and host_cuda.h, and caches what becomes of them."""

import functools
import hashlib
import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

HEADER = Path(__file__).with_name("host_cuda.h")
COMPILER = ("g++", "-O2", "-fPIC", "-shared", "-ffp-contract=off", "-fcf-protection=none",
            "-U_FORTIFY_SOURCE", "-std=c++17", "-Wall", "-Wno-unknown-pragmas",
            "-Wno-sign-compare", "-Wno-unused-function")  # fmt: skip
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\((\w+)\)\s+)?(\w+)')


class CompileException(Exception):
    """A source that cannot be compiled; CuPy's is cupy.cuda.compiler.CompileException."""


def kernels_in(code):
    """{name: number of threads in __launch_bounds__, "" without one} of the kernels of a source."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/", " ", code, flags=re.DOTALL)
    return {name: bounds for bounds, name in KERNEL.findall(code)}


def compiled(code, options=()):
    """The path of the library of this source; compiles it unless it is cached."""
    known = ("-D", "-U", "-I", "--std=", "-std=")
    if unknown := [option for option in options if not option.startswith(known)]:
        raise CompileException(f"unknown options {unknown}; known are {known}")
    source = "\n".join([HEADER.read_text(), "namespace {", '#line 1 "source.cu"', code, "}"]
                       + [f"KERNEL({name})" for name in kernels_in(code)])  # fmt: skip
    command = [*COMPILER, *(option.replace("--std", "-std") for option in options)]
    library = cache_file(source, *command, compiler_version(), suffix=".so")
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=library.parent) as folder:
            new, log = Path(folder) / "new.so", Path(folder) / "log"
            ran = subprocess.run(
                [*command, "-x", "c++", "-", "-o", str(new)],
                input=source,
                capture_output=True,
                text=True,
                check=False,
            )
            if ran.returncode:
                raise CompileException(ran.stderr)
            log.write_text(ran.stderr)
            os.replace(log, library.with_suffix(".log"))
            os.replace(new, library)
    return library


@functools.cache
def compiler_version():
    """What `g++ --version` says; raises without a g++."""
    if sys.platform != "linux":
        raise CompileException("CUDA sources run on the host on Linux only")
    try:
        return subprocess.run([COMPILER[0], "--version"], capture_output=True, text=True,
                              check=True).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        raise CompileException(
            f"CUDA sources run on the host by g++, which fails: {error}"
        ) from error


def cache_file(*texts, suffix):
    """The path in the cache of what is made from these texts."""
    key = hashlib.sha256("\0".join(texts).encode()).hexdigest()
    return cache_folder() / f"{key[:32]}{suffix}"


@functools.cache
def cache_folder():
    """A folder that only this user may write."""
    folder = Path(tempfile.gettempdir()) / f"npr-strict-device-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.stat(follow_symlinks=False)
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid() or state.st_mode & 0o077:
        raise CompileException(f"{folder} must be a folder of this user alone.")
    return folder
