"""Exported policies act on emulated microcontrollers as they do here."""

import re

import numpy as np
import pytest
from support import export_cases as cases
from support.emulators.known import HEADER, ROW, Known, with_loop
from support.emulators.targets import TARGETS, Firmware

import npr
from npr.export import FORMS, model_of
from npr.export.model import decided


def checked(part, case, folder, n=200, change=None, **options):
    """The report of a part that has a policy of a case."""
    target = TARGETS[part]
    if target.missing:
        pytest.skip(target.missing)
    model = model_of(cases.policy(case), episodes=0)
    header = FORMS[".h"].write(model, **options)
    rows = cases.rows(model.policy, 4 * n)  # others than in the header
    rows = rows[decided(model.graph, rows)]
    rows = rows[:: len(rows) // n][:n]
    return Firmware(target, change(header) if change else header, model, rows, folder).check()


def all_well(result, n):
    assert (result.failed, result.wrong, result.vectors) == (0, 0, n), result
    assert max(result.error, result.worst) < 1e-5
    assert result.stack is None or result.ram <= result.stack < result.ram + 256


# by default: with an FPU, and with 8 bits
@pytest.mark.parametrize(
    "part, case",
    [("m4f", "tanh_gaussian"), ("m4f", "multi"), ("avr", "table"), ("avr", "argmax")],
)
def test_a_part_acts_as_the_policy_does(part, case, tmp_path):
    all_well(checked(part, case, tmp_path), 200)


@pytest.mark.slow
@pytest.mark.parametrize("case", cases.CASES)
@pytest.mark.parametrize("part", TARGETS)
def test_every_part_acts_as_every_policy_does(part, case, tmp_path):
    all_well(checked(part, case, tmp_path), 200)


@pytest.mark.slow
@pytest.mark.parametrize("part", TARGETS)
def test_every_part_acts_without_libm(part, tmp_path):
    all_well(checked(part, "tanh_gaussian-elu", tmp_path, libm=False), 200)


@pytest.mark.parametrize("name, env", [("SAC", "Pendulum-v1"), ("DQN", "CartPole-v1")])
def test_two_layers_of_64_take_less_than_30_000_cycles_of_a_cortex_m4f(name, env, tmp_path):
    target = TARGETS["m4f"]
    if target.missing:
        pytest.skip(target.missing)
    agent = getattr(npr, name)(env, net_arch=[64, 64], normalize_obs=True, seed=0)
    model = model_of(agent, episodes=0)
    header = FORMS[".h"].write(model)
    traced = Firmware(target, header, model, model.observations, tmp_path).trace(2)
    assert 4_000 < traced.instructions <= traced.cycles[0] <= traced.cycles[1] < 30_000


def one_weight(header):
    """The header with another first weight."""
    return re.sub(r"(policy_w0\[.*?\{\s*)[^,]+", r"\g<1>3.0f", header, count=1)


def swapped(header):
    """The header that reads the second number of an observation first."""
    return header.replace("policy_encode(const float *obs, float *x)\n{",
                          "policy_encode(const float *given, float *x)\n{\n"
                          "    const float obs[] = {given[1], given[0], given[2], given[3], "
                          "given[4], given[5]};")  # fmt: skip


def unscaled(header):
    """The header whose actions stay between -1 and 1."""
    return header.replace("policy_to_bounds(action);", "(void)policy_to_bounds;")


@pytest.mark.parametrize("change", [one_weight, swapped, unscaled])
def test_a_changed_header_fails_on_the_part(change, tmp_path):
    result = checked("m4f", "tanh_gaussian", tmp_path, change=change)
    assert result.failed > 0 and result.wrong > 0, result
    assert min(result.error, result.worst) > 1e-5


# ---- what is measured, against sizes that are known


@pytest.mark.parametrize("part", ["x86-64", "m4f", "avr"])
def test_sizes_and_errors_are_measured(part, tmp_path):
    target = TARGETS[part]
    if target.missing:
        pytest.skip(target.missing)
    known = Firmware(target, HEADER, Known(), np.repeat(ROW, 7, axis=0), tmp_path)
    result = known.check()
    assert (result.failed, result.error) == (3, 0.25)
    assert (result.vectors, result.wrong, result.worst) == (7, 0, 0.0)
    assert (result.flash, result.ram, result.macs) == (1000, 300, 0)
    assert result.stack is None if part == "x86-64" else 300 <= result.stack < 340
    flash, ram = known.size()
    assert 1_000 <= flash < 1_600
    assert 64 <= ram < 128


def test_cycles_are_counted_on_avr(tmp_path):
    target = TARGETS["avr"]
    if target.missing:
        pytest.skip(target.missing)
    counts = []
    for times in (200, 100):
        folder = tmp_path / str(times)
        folder.mkdir()
        header = with_loop("dec %0; brne 1b", times)
        counts.append(Firmware(target, header, Known(), ROW, folder).check().cycles)
    assert counts[0] - counts[1] == 100 * 3  # DEC takes one, BRNE two where it is taken


def test_a_program_that_cannot_be_measured_is_an_error(tmp_path):
    target = TARGETS["m4f"]
    if target.missing:
        pytest.skip(target.missing)
    header = "#include <stdlib.h>\n" + HEADER.replace("return 3;", "exit(0);")
    with pytest.raises(RuntimeError, match="ended too early"):
        Firmware(target, header, Known(), ROW, tmp_path).check()
    deep = (
        HEADER.replace("buffer[300]", "buffer[3000]")
        .replace("i < 300", "i < 3000")
        .replace("table[3 * i]", "table[i & 511]")
    )
    with pytest.raises(RuntimeError, match="more stack than the 2048 bytes"):
        Firmware(target, deep, Known(), ROW, tmp_path).check()
    with pytest.raises(RuntimeError, match="error: "):
        Firmware(target, "#error no policy", Known(), ROW, tmp_path).check()


def test_what_is_missing_is_said_in_a_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "")
    missing = TARGETS["avr"].missing
    assert missing == ("AVR ATmega2560 needs avr-gcc and simavr (Debian: gcc-avr avr-libc simavr).")
