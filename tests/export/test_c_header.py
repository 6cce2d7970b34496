"""What stands in a header: sizes, names, comments, tables, and what its self-test finds."""

import dataclasses
import re

import numpy as np
import pytest
from support import export_cases as cases
from support.c_compiler import STRICT, compiled, needed, run
from support.small_agents import trained

import npr
from npr.errors import ConfigError
from npr.export import graph_of, model_of
from npr.export.c import source
from npr.export.c.acting import packed_bits
from npr.export.c.blocks import EXP_ERROR, SQRT_ERROR, TANH_ERROR, with_blocks
from npr.export.c.network import panels
from npr.export.c.writing import Tables, harmless, named, number
from npr.export.graph import Layer
from npr.export.model import with_tests


def model(case):
    return model_of(cases.policy(case), episodes=0)


def rebuilt(model, **changes):
    """A model with another graph or card, and new tests."""
    graph = dataclasses.replace(model.graph, **changes)
    return with_tests(model.policy, graph, model.card, None)


def program(folder, text, main, name="policy", flags=(*STRICT, "-O0"), head=""):
    """A program of one header and the body of main, compiled; its output."""
    body = f'{head}#define {name.upper()}_IMPLEMENTATION\n#include "{name}.h"\n#include <stdio.h>\n'
    body += f"int main(void)\n{{\n{main}\n}}\n"
    path = compiled(folder, {f"{name}.h": text, "main.c": body}, flags=flags)
    return run(path).decode()


SELFTEST = 'float e; int n = policy_selftest(&e); printf("%d %g", n, (double)e); return 0;'


# ---- a policy worked out by hand


def test_a_small_network_by_hand(tmp_path):
    first = np.array([[1.0, -2, 0, 0, 0, 0], [0, 1, 0, 0, 0, 3]])
    graph = dataclasses.replace(
        graph_of(cases.policy("gaussian-free-bounds")), norm=None,
        hidden=(Layer(first, np.array([0.5, -1]), "relu"),),
        output=Layer(np.array([[2.0, 1.0], [0.25, 0]]), np.array([0.0, 0.125])),
        log_std=np.log([0.5, 2.0]),
    )  # fmt: skip
    text = source(dataclasses.replace(model("gaussian-free-bounds"), graph=graph), stochastic=True)
    # hidden: 1 - 2 * 0.25 + 0.5 = 1 and 0.25 + 3 * 2 - 1 = 5.25
    main = """\
    const float obs[] = {1.0f, 0.25f, 0.0f, 9.0f, 9.0f, 2.0f}, noise[] = {-4.0f, 1.0f};
    float a[POLICY_ACT_DIM];
    policy_act(obs, a);
    printf("%g %g ", (double)a[0], (double)a[1]);
    policy_sample(obs, noise, a);
    printf("%g %g ", (double)a[0], (double)a[1]);
    printf("%d %d %d %d", POLICY_OBS_DIM, POLICY_MACS, POLICY_FLASH_BYTES, POLICY_RAM_BYTES);
    return 0;"""
    # weights 16, biases 4, deviations 2, bounds 8; hidden values 2
    assert program(tmp_path / "c", text, main) == "7.25 0.375 5.25 1 6 16 120 8"


def test_panels_are_groups_of_eight_rows_column_by_column():
    W = np.arange(33).reshape(11, 3)
    np.testing.assert_array_equal(
        panels(W), [*W[:8, 0], *W[:8, 1], *W[:8, 2], *W[8], *W[9], *W[10]]
    )


@pytest.mark.parametrize(
    ("compiler", "package", "target"),
    [
        ("avr-gcc", "gcc-avr avr-libc", ("-mmcu=atmega2560",)),
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi", ("-mcpu=cortex-m4", "-mthumb")),
    ],
)
def test_compilers_of_small_processors_have_no_warnings(compiler, package, target, tmp_path):
    needed(compiler, package)
    uses = []
    for case in (*cases.MASKED, *cases.NORMAL, "hybrid-tuple"):
        name = case.replace("-", "_")
        text = source(model(case), stochastic=True, name=name, libm=False)
        (tmp_path / f"{name}.h").write_text(text)
        uses.append(f'#define {name.upper()}_IMPLEMENTATION\n#include "{name}.h"\n')
    (tmp_path / "all.c").write_text("".join(uses))
    run(compiler, *target, *STRICT, "-O1", "-c", tmp_path / "all.c", "-o", tmp_path / "all.o")


# ---- masks of actions


def test_masks_by_hand(tmp_path):
    discrete, bits = model("argmax-linear"), model("bernoulli-masked")
    # scores 0, 2, 1 of the actions -1, 0, 1; log odds of bits -1, 1, -1, 1
    output = Layer(np.zeros((3, 5)), np.array([0.0, 2.0, 1.0]))
    discrete = dataclasses.replace(discrete.graph, output=output)
    hidden = bits.graph.hidden[0]
    output = Layer(np.zeros((4, len(hidden.b))), np.array([-1.0, 1.0, -1.0, 1.0]))
    bits = dataclasses.replace(bits.graph, output=output)
    sources = {
        "d.h": source(rebuilt_of("argmax-linear", discrete), stochastic=True, name="d"),
        "b.h": source(rebuilt_of("bernoulli-masked", bits), stochastic=True, name="b"),
    }
    main = """\
#include <stdio.h>
#define D_IMPLEMENTATION
#include "d.h"
#define B_IMPLEMENTATION
#include "b.h"
static void show(const unsigned char *mask)
{
    const float obs[D_OBS_DIM] = {0}, best[] = {0.9f, 0.0f}, any[] = {0.0f, 0.99f};
    printf("%d %d %d, ", d_act(obs, mask), d_sample(obs, mask, best), d_sample(obs, mask, any));
}
static void show_bits(const unsigned char *mask)
{
    const float obs[B_OBS_DIM] = {0}, noise[] = {0.1f, 0.1f, 0.9f, 0.9f};
    float a[B_ACT_DIM], c[B_ACT_DIM];
    int i;
    b_act(obs, mask, a);
    b_sample(obs, mask, noise, c);
    for (i = 0; i < 4; i++) {
        printf("%g%g ", (double)a[i], (double)c[i]);
    }
}
int main(void)
{
    const unsigned char none[8] = {0}, other[] = {1, 0, 1}, one[] = {1, 0, 0};
    const unsigned char bits[] = {1, 1, 1, 0, 0, 1, 0, 0};
    show(0);
    show(other);
    show(one);
    show(none);
    printf("%d %d %d %d: ", D_MASK_DIM, B_MASK_DIM, d_selftest(0), b_selftest(0));
    show_bits(0);
    show_bits(bits);
    return 0;
}
"""
    output = run(compiled(tmp_path / "c", {**sources, "main.c": main})).decode()
    assert output == (
        "0 0 1, 1 1 1, -1 -1 -1, -2 -2 -2, 3 8 0 0: "
        "01 11 00 10 01 00 11 -1-1 "
    )  # fmt: skip
    assert "The action is -2 if the mask allows nothing" in sources["d.h"]


def rebuilt_of(case, graph):
    """A model of a case with another graph, and new tests."""
    return with_tests(model(case).policy, graph, model(case).card, None)


# ---- tables


def test_tables_are_packed_to_the_bits_that_they_need(tmp_path):
    small, sources, main, wanted, sizes = model("table"), {}, [], [], []
    for n in (1, 2, 3, 5, 9, 16, 17, 129, 257, 300, 1000, 40_000, 70_000, 1 << 23):
        for start in (0, -7, 4):
            best = np.concatenate([[n - 1, 0], np.random.default_rng(n).integers(n, size=61)])
            part = dataclasses.replace(small.graph.parts[0], inputs=63, start=start)
            changed = rebuilt(small, table=best, choices=(n,), start=(-start,), parts=(part,))
            name = f"t{len(sources)}"
            sources[f"{name}.h"] = source(changed, name=name)
            main.append(
                f'for (s = -20; s < 80; s++) {{ printf("%d ", {name}_act(s)); }}\n'
                f'printf("%d %d\\n", {name.upper()}_FLASH_BYTES, {name}_selftest(0));'
            )
            states = np.clip(np.arange(-20, 80), start, start + 62)
            wanted.append([*(best[states - start] - start).tolist()])
            sizes.append(np.ceil(63 * (n - 1).bit_length() / 8))
    includes = "".join(
        f'#define {name[:-2].upper()}_IMPLEMENTATION\n#include "{name}"\n' for name in sources
    )
    body = "\n".join(["#include <stdio.h>", includes, "int main(void) { int s;", *main])
    path = compiled(tmp_path / "c", {**sources, "main.c": f"{body}\nreturn 0; }}\n"})
    lines = [[int(x) for x in line.split()] for line in run(path).decode().splitlines()]
    assert [line[:100] for line in lines] == wanted
    assert all(0 <= line[100] - size <= 3 for line, size in zip(lines, sizes))
    assert all(line[101] == 0 for line in lines)


def test_packed_bits():
    assert packed_bits(np.array([1, 2, 3]), 2).tolist() == [0b111001]
    assert packed_bits(np.array([5, 6, 7, 0]), 3).tolist() == [0b11110101, 0b1, 0]


# ---- approximations of tanh and exp


def approximation_errors(folder, step, first="0", last="0x7f800000"):
    """The largest errors of tanh, exp and sqrt over every `step`-th float32 of both signs, from the
    one with the bits `first` to below `last`."""
    text = "static float both(float x) { return @tanh(x) + @exp(x) + @sqrt(x); }\n"
    main = f"""\
#include <math.h>
#include <stdio.h>
#include <string.h>
{named(with_blocks(text, False), "own")}
int main(void)
{{
    double tanh_error = 0, exp_error = 0, sqrt_error = 0;
    for (unsigned long i = {first}; i < {last}; i += {step}) {{
        for (int sign = 0; sign < 2; sign++) {{
            const unsigned bits = (unsigned)i | (unsigned)sign << 31;
            float x;
            double e;
            memcpy(&x, &bits, 4);
            e = fabs((double)own_tanh(x) - tanh((double)x));
            tanh_error = e > tanh_error ? e : tanh_error;
            if (x > -87 && x < 88) {{
                e = fabs((double)own_exp(x) / exp((double)x) - 1);
                exp_error = e > exp_error ? e : exp_error;
            }}
            if (x > 1e-30) {{
                e = fabs((double)own_sqrt(x) / sqrt((double)x) - 1);
                sqrt_error = e > sqrt_error ? e : sqrt_error;
            }}
        }}
    }}
    printf("%g %g %g %g", tanh_error, exp_error, sqrt_error, (double)both(0));
    return 0;
}}
"""
    return [float(x) for x in run(compiled(folder, {"main.c": main}, flags=["-O2"])).split()]


def test_the_stated_errors_of_approximations(tmp_path):
    tanh, exp, sqrt, _ = approximation_errors(tmp_path / "c", 1009)
    assert TANH_ERROR / 2 < tanh <= TANH_ERROR
    assert EXP_ERROR / 4 < exp <= EXP_ERROR
    assert SQRT_ERROR / 4 < sqrt <= SQRT_ERROR


@pytest.mark.slow
def test_the_stated_errors_of_approximations_over_all_numbers(tmp_path):
    # from 1e-4 to 128; both are 0 or 1 to a better precision below, and constant above
    tanh, exp, sqrt, _ = approximation_errors(tmp_path / "c", 1, "0x38d1b717", "0x43000000")
    assert tanh <= TANH_ERROR
    assert exp <= EXP_ERROR
    assert sqrt <= SQRT_ERROR


# ---- what the self-test finds


def _scaled(text, table):
    """The text with the first weight of a table raised."""
    first = re.search(rf"policy_{table}\[\d+\] POLICY_FLASH = {{\s*(\S+)f,", text)
    value = float(first[1])
    return text[: first.start(1)] + number(value + 0.5) + "," + text[first.end(1) + 2 :]


def _without_clamp(text, start):
    """The first clamp behind a text left out: clamp(x, low, high) -> (x)"""
    pattern = re.escape(start) + r"policy_clamp\((.*), [^,;]*, [^,;]*\);"
    return re.sub(pattern, lambda found: f"{start}({found[1]});", text)


MUTATIONS = {
    "a weight of the first layer": ("tanh", lambda text: _scaled(text, "w0")),
    "a weight of the output": ("tanh", lambda text: _scaled(text, "wy")),
    "a bias": ("tanh_gaussian", lambda text: _scaled(text, "b1")),
    "a mean of the normalization": ("gaussian", lambda text: _scaled(text, "mean")),
    "two swapped numbers of the observation": (
        "gaussian", lambda text: text.replace("(obs[i] -", "(obs[i ^ 1] -"),
    ),
    "two swapped numbers, not normalized": (
        "tanh", lambda text: text.replace("policy_network(obs", "policy_network(swapped(obs)"),
    ),
    "no clip of the action": ("gaussian", lambda text: _without_clamp(text, "action[i] = ")),
    "no clip of the normalization": ("gaussian", lambda text: _without_clamp(text, "x[i] = ")),
    "no activation": ("dueling", lambda text: text.replace("policy_elu_all(a, 12);", "")),
    "no tanh": ("tanh", lambda text: text.replace("tanhf(a)", "a")),
    "no scale of the action": ("tanh", lambda text: text.replace("tanhf(a) * half", "tanhf(a)")),
    "an image that is not divided": ("bernoulli", lambda text: text.replace("/ 255.0f", "/ 1.0f")),
    "an action that starts elsewhere": ("table-started", lambda text: text.replace(" - 1;", ";")),
    "an entry of a table": (
        "table", lambda text: re.sub(r"(_table\[\d+\] \w+ = {\s*\d+, )(\d+)", r"\1 255 - \2", text)
    ),
}  # fmt: skip

SWAPPED = """\
static const float *swapped(const float *obs)
{
    static float x[6];
    for (int i = 0; i < 6; i++) { x[i] = obs[i < 2 ? 1 - i : i]; }
    return x;
}
"""


@pytest.fixture(scope="module")
def failures(tmp_path_factory):
    """What the self-tests of all mutated headers find, and of those that they are made from."""
    calls, sources, bodies = [], {}, ["#include <stdio.h>", SWAPPED]
    for i, (case, mutate) in enumerate(MUTATIONS.values()):
        whole = source(model(case))
        mutated = mutate(whole)
        assert mutated != whole, list(MUTATIONS)[i]
        for prefix, text in ((f"m{i}", mutated), (f"w{i}", whole)):
            renamed = text.replace("policy_", f"{prefix}_").replace("POLICY_", f"{prefix.upper()}_")
            sources[f"{prefix}.h"] = renamed
            bodies.append(f'#define {prefix.upper()}_IMPLEMENTATION\n#include "{prefix}.h"')
            calls.append(f'printf("%d ", {prefix}_selftest(0));')
    main = "\n".join([*bodies, "int main(void) {", *calls, "return 0; }"])
    # a mutated text need not be clean
    path = compiled(
        tmp_path_factory.mktemp("c") / "c", {**sources, "main.c": main}, flags=("-std=c99", "-O1")
    )
    found = [int(n) for n in run(path).split()]
    return dict(zip(MUTATIONS, zip(found[::2], found[1::2])))


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_self_test_finds(failures, mutation):
    mutated, whole = failures[mutation]
    assert mutated > 0 and whole == 0


# ---- symbols, sizes

MATHS = {"tanhf", "expf"}


@pytest.mark.parametrize("libm", [True, False])
def test_objects_hold_constants_and_functions_only(tmp_path, libm):
    """No variables, so all functions can run at once; FLASH_BYTES are the bytes of the tables; and
    without math.h nothing is needed from elsewhere."""
    names = ["tanh_gaussian", "categorical", "multi", "bernoulli", "table", "gaussian_two"]
    for name in names:
        text = source(model(name.replace("_two", "-two")), stochastic=True, libm=libm)
        (tmp_path / "policy.h").write_text(text)
        (tmp_path / "one.c").write_text('#define POLICY_IMPLEMENTATION\n#include "policy.h"\n')
        run(needed("gcc"), *STRICT, "-O0", "-c", tmp_path / "one.c", "-o", tmp_path / "one.o")
        table = run("nm", "-S", tmp_path / "one.o").decode()
        symbols = [line.split() for line in table.splitlines()]
        undefined = {s[-1] for s in symbols if s[-2] == "U"}
        assert {s[-2] for s in symbols} <= {"r", "t", "T", "U"}
        assert undefined - {"_GLOBAL_OFFSET_TABLE_"} <= (MATHS if libm else set())
        flash = sum(int(s[1], 16) for s in symbols if s[-2] == "r" and "_test_" not in s[-1])
        assert f"#define POLICY_FLASH_BYTES {flash}\n" in text
        assert ("math.h>" in text) is (libm and name not in ("table",))


def test_the_stack_holds_the_stated_buffers(tmp_path):
    for case in ("tanh_gaussian", "categorical", "gaussian-two", "sampler"):
        text = source(model(case), stochastic=True)
        (tmp_path / "policy.h").write_text(text)
        (tmp_path / "one.c").write_text('#define POLICY_IMPLEMENTATION\n#include "policy.h"\n')
        run(needed("gcc"), "-O1", "-fno-inline", "-fno-stack-protector", "-fstack-usage", "-c",
            "-DPOLICY_NO_SELFTEST", tmp_path / "one.c", "-o", tmp_path / "one.o")  # fmt: skip
        used = {
            line.split()[0].split(":")[-1]: int(line.split()[1])
            for line in (tmp_path / "one.su").read_text().splitlines()
        }
        stack = used["policy_sample"] + used["policy_network"]
        stated = int(re.search(r"RAM_BYTES (\d+)", text)[1])
        assert stated <= stack <= stated + 200, case  # registers are saved there too


def test_the_header_can_be_included_again_and_the_self_test_left_out(tmp_path):
    text = source(model("argmax"), name="robot")
    twice = '#include "robot.h"\n#include "robot.h"\n'
    main = "int other(const float *obs);\nint main(void) { const float obs[6] = {0}; "
    main += "return robot_act(obs) - other(obs); }\n"
    other = "int other(const float *obs);\nint other(const float *obs) { return robot_act(obs); }\n"
    define = "#define ROBOT_NO_SELFTEST\n#define ROBOT_IMPLEMENTATION\n"
    files = {"robot.h": text, "main.c": define + twice + main, "other.c": twice + other}
    path = compiled(tmp_path / "c", files)
    assert run(path) == b""
    assert b"selftest" not in run("nm", path)


def test_tables_can_be_put_and_read_elsewhere(tmp_path):
    head = 'static int reads;\n#define POLICY_FLASH __attribute__((section("flash")))\n'
    head += "#define POLICY_READ_FLOAT(p) (reads++, *(p))\n"
    text = source(model("tanh"))
    main = (
        'const float obs[6] = {0}; float a[3]; policy_act(obs, a); printf("%d", reads); return 0;'
    )
    weights = 16 * 7 + 3 * 17
    assert program(tmp_path / "c", text, main, head=head) == str(weights + 4 * 3)


# ---- names and comments

HOSTILE = [
    "*/ int main(void) { evil(); } /*", "a\nb */", "/* nested", "??/\n*??/\n/ int x;", "\\", "**//",
    "end*", "/", "*", "\u202e evil \u2066", "\u00e9\u4e2d", "*\\\n/", "\x00\x1b[31m",
    "a" * 500, "??/",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_from_files_cannot_end_the_comment(text):
    plain = harmless(text)
    assert "*/" not in f"({plain}" and "/*" not in plain and "??" not in plain
    assert plain.isascii() and plain.isprintable() and "\\" not in plain and len(plain) <= 100


def test_harmless_texts_stay_as_they_are():
    assert harmless("SAC on dm_control/walker-v1, 5,000 steps") == (
        "SAC on dm_control/walker-v1, 5,000 steps"
    )


def test_hostile_names_of_environments_and_parts_compile(tmp_path):
    sources, main = {}, []
    for i, text in enumerate(HOSTILE):
        one = model("categorical")
        parts = [dataclasses.replace(part, name=text) for part in one.graph.parts]
        one = dataclasses.replace(
            one, graph=dataclasses.replace(one.graph, parts=tuple(parts)),
            card=dataclasses.replace(one.card, algorithm=text, env=text, note=text, npr=text),
        )  # fmt: skip
        written = source(one, name=f"h{i}", file=text)
        code = written.partition("*/")[2]
        assert code == source(model("categorical"), name=f"h{i}").partition("*/")[2]
        sources[f"h{i}.h"] = written
        main.append(f'#include "h{i}.h"')
    main.append("int main(void) { return 0; }\n")
    compiled(tmp_path / "c", {**sources, "main.c": "\n".join(main)}, flags=(*STRICT, "-trigraphs"))


@pytest.mark.parametrize(
    "name", ["", "2x", "a b", "int", "class", "a-b", "_x", "é", "x;", "a" * 33, None, 3, "x\n"]
)
def test_names_that_are_not_valid_in_c_are_refused(name):
    with pytest.raises(ConfigError, match="must be a name in C"):
        source(model("tanh"), name=name)


def test_the_comment_says_what_the_policy_takes_and_gives():
    text = source(model_of(trained("PPO-Box"), episodes=2), stochastic=True)
    comment = text.partition("*/")[0]
    card = model_of(trained("PPO-Box"), episodes=2).card
    for part in (
        "PPO on Pendulum-v1, 96 steps", f"return {card.mean:.2f}", card.sha256, f"npr {card.npr}",
        "obs[0] to obs[1]  -1 to 1", "obs[2]            -8 to 8", "action[0]  -2 to 2",
        "standard normal", "POLICY_IMPLEMENTATION", "policy_act(obs, action);",
    ):  # fmt: skip
        assert part in comment, part
    assert "obs[0] to obs[15]  0 to 255\n" in source(model("bernoulli"))
    names = source(model("categorical")).partition("*/")[0]
    assert "goal, a whole number from 0 to 3" in names
    assert "pose.0[2]" in names and "pose.1[3]" in names
    assert "Action: a whole number, 0 to 4." in names
    table = source(model("table-started")).partition("*/")[0]
    assert "3 to 39; one outside counts as the nearest" in table and "-1 to 1" in table
    assert "largest error of tanh is 6e-07" in source(model("tanh"), libm=False)


# ---- limits


def test_numbers_are_the_shortest_that_give_the_float():
    for x in (0.1, 1e-45, 3.4e38, -2.5, np.pi):
        assert np.float32(number(x).rstrip("f")) == np.float32(x)
    assert number(0.1) == "0.1f" and number(3) == "3.0f"
    with pytest.raises(ConfigError, match="cannot hold"):
        number(1e39)


def test_integers_count_their_bytes():
    tables = Tables()
    tables.integers("w", np.array([[1, -2], [3, 4]]), "int16_t")
    assert tables.bytes == 8
    assert tables.text == "static const int16_t @w[4] @FLASH = {\n    1, -2, 3, 4\n};"


def test_export_writes_the_same_header_each_time(tmp_path):
    first = npr.export(cases.policy("gaussian"), tmp_path / "a.h", episodes=0, stochastic=True)
    (tmp_path / "b").mkdir()
    npr.export(cases.policy("gaussian"), tmp_path / "b" / "a.h", episodes=0, stochastic=True)
    text = (tmp_path / "a.h").read_text()
    assert text == (tmp_path / "b" / "a.h").read_text() and text.isascii()
    assert first.bytes == len(text)
    npr.export(cases.policy("gaussian"), tmp_path / "c.h", episodes=0, libm=False, name="robot")
    other = (tmp_path / "c.h").read_text()
    assert "math.h>" not in other and "void robot_act(const float *obs, float *action);" in other
