"""C headers of policies, compiled and run: many in one program, as compiling takes the time."""

import shutil
import subprocess

import numpy as np
import pytest

from npr.export.c import source

STRICT = (
    "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wdouble-promotion",
    "-Wshadow", "-Wvla", "-Wmissing-prototypes", "-Wstrict-prototypes",
)  # fmt: skip
SANITIZED = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# name of a build -> compiler, flags
BUILDS = {
    "gcc": ("gcc", (*STRICT, "-O2")),
    "clang": ("clang", (*STRICT, "-O2")),
    "sanitized": ("gcc", (*STRICT, *SANITIZED)),
}


def needed(program, package=None):
    """Skip the test if a program is not installed."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: apt-get install {package or program})")
    return program


def run(*command, data=b"", seconds=120):
    """The output of a command, which must succeed."""
    done = subprocess.run(
        [*map(str, command)], input=data, capture_output=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr.decode()[-4000:]}"
    return done.stdout


def compiled(folder, sources, compiler="gcc", flags=(*STRICT, "-O1"), package=None):
    """A program in a new folder from {name of a file: text}; those that are no headers are given
    to the compiler."""
    needed(compiler, package)
    folder.mkdir()
    for name, text in sources.items():
        (folder / name).write_text(text)
    files = [folder / name for name in sources if not name.endswith(".h")]
    run(compiler, *flags, "-I", folder, *files, "-lm", "-o", folder / "program")
    return folder / "program"


_DRIVER = """\
static void run_{name}(void)
{{
    int n;
    float worst;
    get(&n, sizeof n);
    const int failures = {name}_selftest(&worst);
    put(&failures, sizeof failures);
    put(&worst, sizeof worst);
    while (n-- > 0) {{
        float obs[{N}_OBS_DIM], action[{N}_ACT_DIM];
        get(obs, sizeof obs);
{mask}        {act}
        put(action, sizeof action);
{sample}    }}
}}
"""
STREAMS = """\
#include <stdio.h>
#include <stdlib.h>

static void get(void *to, size_t bytes)
{
    if (fread(to, bytes, 1, stdin) != 1) {
        exit(3);
    }
}

static void put(const void *from, size_t bytes)
{
    if (fwrite(from, bytes, 1, stdout) != 1) {
        exit(4);
    }
}

"""


class Headers:
    """Headers of several policies, by name, and a program that runs all of them.

    models   name -> Model; the names are the prefixes in C
    libm     as of `source`; actions are sampled too where a policy can
    """

    def __init__(self, models, libm=True):
        self.models = models
        self.texts = {
            name: source(model, stochastic=bool(model.graph.noise), libm=libm, name=name)
            for name, model in models.items()
        }

    def sources(self, texts=None):
        texts = self.texts if texts is None else texts
        files = {f"{name}.h": text for name, text in texts.items()}
        both = "".join(
            f'#define {name.upper()}_IMPLEMENTATION\n#include "{name}.h"\n' for name in texts
        )
        functions = [self._function(name) for name in texts]
        calls = "".join(f"    run_{name}();\n" for name in texts)
        main = f"int main(void)\n{{\n{calls}    return 0;\n}}\n"
        return {**files, "main.c": "\n".join([STREAMS, both, *functions, main])}

    def _function(self, name):
        graph = self.models[name].graph
        given = "(int)obs[0]" if graph.table is not None else "obs"
        mask = ""
        if graph.mask:
            mask = f"        unsigned char mask[{name.upper()}_MASK_DIM];\n"
            mask, given = f"{mask}        get(mask, sizeof mask);\n", f"{given}, mask"

        def call(function, *arguments):
            arguments = ", ".join([given, *arguments])
            if graph.kind == "discrete":
                return f"action[0] = (float){name}_{function}({arguments});"
            return f"{name}_{function}({arguments}, action);"

        sample = ""
        if graph.noise:
            lines = [
                f"float noise[{name.upper()}_NOISE_DIM];", "get(noise, sizeof noise);",
                call("sample", "noise"), "put(action, sizeof action);",
            ]  # fmt: skip
            inside = "".join(f"            {line}\n" for line in lines)
            sample = f"        {{\n{inside}        }}\n"
        return _DRIVER.format(
            name=name, N=name.upper(), act=call("act"), sample=sample, mask=mask
        )  # fmt: skip

    def results(self, program, rows, noise, masks=None):
        """Run a program of all policies, or of those in `rows`, on rows of numbers, noise, and
        masks where policies take them; None: ones.

        Returns name -> (failures of the self-test, its largest error, actions, sampled actions).
        """
        data = b""
        for name, x in rows.items():
            mask = (masks or {}).get(name)
            if mask is None:
                mask = np.ones((len(x), self.models[name].graph.mask))
            given = [x.astype(np.float32), mask.astype(np.uint8), noise[name].astype(np.float32)]
            widths = [one.shape[1] * one.itemsize for one in given]
            given = [
                np.ascontiguousarray(one).reshape(-1).view(np.uint8).reshape(len(x), width)
                for one, width in zip(given, widths)
            ]
            data += np.int32(len(x)).tobytes() + np.concatenate(given, axis=-1).tobytes()
        out, results = run(program, data=data), {}
        for name, x in rows.items():
            graph = self.models[name].graph
            failures, worst = np.frombuffer(out, np.int32, 1)[0], np.frombuffer(out, "f4", 2)[1]
            width = graph.actions * (2 if graph.noise else 1)
            actions = np.frombuffer(out, np.float32, width * len(x), 8).reshape(len(x), width)
            out = out[8 + actions.nbytes :]
            results[name] = (int(failures), float(worst), *np.split(actions, [graph.actions], 1))
        assert out == b""
        return results
