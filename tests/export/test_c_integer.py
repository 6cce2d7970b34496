"""Quantized policies in C compute the integers of npr.export.integer to the bit, for every head,
activation and observation, and their actions."""

import functools
import re
import subprocess

import numpy as np
import pytest
from support import export_cases as cases
from support.c_compiler import BUILDS, STREAMS, STRICT, compiled, needed, run
from support.small_agents import small_agent

from npr.export import model_of
from npr.export.c import source
from npr.export.integer import IntegerLayer
from npr.export.model import draw_masks, draw_noise

N = 10_000  # observations of each policy
DTYPES = ("int8", "q15")
NAMES = {
    f"{dtype}_{case.replace('-', '_')}": (case, dtype)
    for case in cases.NETWORKS
    for dtype in DTYPES
}

_DRIVER = """\
static void run_{name}(void)
{{
    int n, failures;
    float worst = 0.0f;
    get(&n, sizeof n);
    failures = {name}_selftest(&worst);
    put(&failures, sizeof failures);
    put(&worst, sizeof worst);
    while (n-- > 0) {{
        float x[{numbers}], y[{outputs}]{log_std}, action[{actions}];
        unsigned char mask[{mask} + 1];
        get(x, sizeof x);
        get(mask, sizeof mask);
        {name}_network(x, y{spread});
        put(y, sizeof y);
        {act}
        put(action, sizeof action);{sample}
    }}
}}
"""


@functools.cache
def model(name):
    """The model of a case, its ranges those of usual observations."""
    case, dtype = NAMES[name]
    policy = cases.policy(case)
    usual = cases.batch(policy, cases.rows(policy, 1_000)[:500])
    return model_of(policy, dtype=dtype, observations=usual, episodes=0, max_error=float("inf"))


def models(names=tuple(NAMES)):
    return {name: model(name) for name in names}


def program(models):
    """The text of a program that runs all policies."""
    parts = [STREAMS]
    for name, model in models.items():
        graph = model.graph
        spread = isinstance(graph.log_std, IntegerLayer)
        discrete = graph.kind == "discrete"

        def call(function, *given, name=name, discrete=discrete, graph=graph):
            given = ["x", *(["mask"] if graph.mask else []), *given]
            call = f"{name}_{function}({', '.join(given)}"
            return f"action[0] = (float){call});" if discrete else f"{call}, action);"

        sample = f"\n        {call('sample', f'x + {graph.numbers}')}"
        sample += "\n        put(action, sizeof action);"
        parts.append(f'#define {name.upper()}_IMPLEMENTATION\n#include "{name}.h"\n')
        parts.append(
            _DRIVER.format(
                name=name,
                numbers=graph.numbers + graph.noise,
                outputs=len(graph.output.b),
                log_std=f", log_std[{graph.actions}]" * spread,
                spread=", log_std" * spread,
                actions=graph.actions,
                mask=graph.mask,
                act=call("act"),
                sample=sample if graph.noise else "",
            )  # fmt: skip
        )
    calls = "\n".join(f"    run_{name}();" for name in models)
    return "\n".join([*parts, f"int main(void)\n{{\n{calls}\n    return 0;\n}}\n"])


def headers(models, libm=True):
    return {
        f"{name}.h": source(model, stochastic=bool(model.graph.noise), name=name, libm=libm)
        for name, model in models.items()
    }


def results(program, inputs):
    """name -> (failures of the self-test, its largest error, outputs, actions, samples)."""
    data = b""
    for x, masks in inputs.values():
        given = [x.view(np.uint8).reshape(len(x), -1), masks, np.zeros((len(x), 1), np.uint8)]
        data += np.int32(len(x)).tobytes() + np.concatenate(given, axis=-1).tobytes()
    out, found = run(program, data=data), {}
    for name, (x, _) in inputs.items():
        graph = model(name).graph
        failures, worst = np.frombuffer(out, np.int32, 1)[0], np.frombuffer(out, "f4", 2)[1]
        widths = [len(graph.output.b), graph.actions, graph.actions * bool(graph.noise)]
        rows = np.frombuffer(out, np.float32, len(x) * sum(widths), 8).reshape(len(x), -1)
        out = out[8 + rows.nbytes :]
        found[name] = int(failures), float(worst), *np.split(rows, np.cumsum(widths)[:-1], axis=-1)
    assert out == b""
    return found


@functools.cache
def inputs():
    """name -> numbers of observations (N, numbers), usual and far away, with noise after them; and
    masks (N, mask)."""
    found = {}
    for name, model in models().items():
        policy, noise = model.policy, draw_noise(model.graph, N, np.random.default_rng(4))
        rows = np.concatenate([cases.rows(policy, N - N // 4), cases.corners(policy, N // 4)])
        x = np.concatenate([rows, noise], axis=-1).astype(np.float32)
        found[name] = x, draw_masks(model.graph, N, np.random.default_rng(5))
    return found


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    @functools.cache
    def of(build):
        files = {**headers(models()), "main.c": program(models())}
        folder = tmp_path_factory.mktemp(build) / "c"
        return results(compiled(folder, files, *BUILDS[build]), inputs())

    return of


@pytest.mark.parametrize(
    "build", ["sanitized", *(pytest.param(one, marks=pytest.mark.slow) for one in ("gcc", "clang"))]
)
@pytest.mark.parametrize("name", NAMES)
def test_integers_in_c_are_those_in_python(build, name, outputs):
    graph, (x, masks) = model(name).graph, inputs()[name]
    failures, worst, y, actions, samples = outputs(build)[name]
    rows, noise = np.split(x, [graph.numbers], axis=-1)
    h = graph.features(graph.encode(rows), noise if graph.head == "sampler" else None)
    np.testing.assert_array_equal(y, graph.output(h))
    mask = masks if graph.mask else None
    want = graph(rows, None, mask).reshape(N, -1)
    assert not cases.forbidden(graph, actions, mask)
    if graph.kind == "box":  # rounding of float32 in the last steps
        assert (abs(actions - want) / cases.span(graph)).max() < 1e-6
    else:
        np.testing.assert_array_equal(actions, want)
    assert failures == 0 and worst < 1e-6
    if graph.noise:
        want = graph(rows, noise, mask).reshape(N, -1)
        assert not cases.forbidden(graph, samples, mask)
        same = (
            abs(samples - want) <= 1e-5 * cases.span(graph)
            if graph.kind == "box"
            else samples == want
        )
        assert same.mean() > 0.999


# ---- one policy


@functools.cache
def pendulum(dtype):
    """The model of a policy with two layers of 64."""
    agent = small_agent("SAC", net_arch=[64, 64]).learn(200)
    return model_of(agent, dtype=dtype, episodes=2)


def test_int8_takes_less_than_a_third_of_the_flash():
    sizes = {}
    for dtype in ("float32", *DTYPES):
        text = source(pendulum(dtype))
        sizes[dtype] = int(re.search(r"POLICY_FLASH_BYTES (\d+)", text)[1])
        assert "POLICY_MACS 4352\n" in text
    assert sizes["int8"] <= 0.3 * sizes["float32"]
    assert sizes["q15"] <= 0.55 * sizes["float32"]


def test_the_comment_says_what_integers_cost():
    written = pendulum("int8")
    text = " ".join(source(written).split())
    assert f"Integers, {written.card.quantized.text}." in text
    assert "of their range in the mean" in text and "return with float32 -" in text


@pytest.mark.parametrize(
    ("compiler", "package", "target"),
    [
        ("avr-gcc", "gcc-avr avr-libc", ("-mmcu=atmega2560",)),
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi", ("-mcpu=cortex-m0", "-mthumb")),
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi", ("-mcpu=cortex-m3", "-mthumb")),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_compilers_of_small_processors_have_no_warnings(compiler, package, target, dtype, tmp_path):
    needed(compiler, package)
    names = [
        f"{dtype}_{case}" for case in ("gaussian_two", "tanh_gaussian_elu", "multi", "sampler")
    ]
    files = headers(models(names), libm=False)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    uses = [f'#define {name.upper()}_IMPLEMENTATION\n#include "{name}.h"\n' for name in names]
    (tmp_path / "all.c").write_text("".join(uses))
    run(compiler, *target, *STRICT, "-O2", "-c", tmp_path / "all.c", "-o", tmp_path / "all.o")


_SELFTEST = """\
#define POLICY_IMPLEMENTATION
#include "policy.h"

int main(void)
{
    return policy_selftest(0) != 0;
}
"""
# name of a mutation -> what is replaced, and by what
MUTATIONS = {
    "none": ("", ""),
    "a weight": (r"(_w1\[\d+\] POLICY_FLASH = {\s+)-?\d+", r"\g<1>100"),
    "a factor": (r"(_f0\[\d+\] POLICY_FLASH = {\s+)\d+", r"\g<1>0"),
    "a bias": (r"(_by\[\d+\] POLICY_FLASH = {\s+)-?\d+", r"\g<1>30000"),
    "two numbers swapped": (r"x\[0 \+ i\]", "x[2 - i]"),
    "no rounding": (r">> 1;", ">> 2;"),
    "no clip of inputs": (r"policy_clamp\((\(x - center\) \* gain), [^;]*;", r"\g<1>;"),
    "no clip of results": (r"y\[i\] = z < low.*;", "y[i] = (int16_t)z;"),
    "no line between entries": (r"rest = z - i \* one;", "rest = 0;"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_selftest_finds_a_mutation(mutation, tmp_path):
    old, new = MUTATIONS[mutation]
    text = source(model("int8_tanh_gaussian"))
    mutated = re.sub(old, new, text) if old else text
    assert (mutated == text) == (not old)
    files = {"policy.h": mutated, "main.c": _SELFTEST}
    program = compiled(tmp_path / "c", files, flags=("-O0", "-w"))
    failed = subprocess.run([program], check=False).returncode
    assert failed == (mutation != "none")
