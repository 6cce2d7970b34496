"""Instructions and cycles of Cortex-M programs, against counts by hand."""

from array import array

import numpy as np
import pytest
from support.emulators import cortex
from support.emulators.known import ROW, Known, with_loop
from support.emulators.targets import TARGETS, Firmware

# as objdump prints them; branches to 10 are taken where the sequence says so
LISTING = """
00000000 <f>:
   0:\tldr\tr0, [r1, #4]
   2:\tadds\tr0, #1
   4:\tmla\tr0, r1, r2, r3
   8:\tcbz\tr0, 10 <f+0x10>
   a:\tudiv\tr0, r0, r1
   e:\tit\tne
  10:\tvldr\ts0, [r1]
  14:\tvldmia\tr1!, {s1-s4}
  18:\tvmul.f32\ts5, s0, s1
  1c:\tvadd.f32\ts6, s5, s2
  20:\tvfma.f32\ts7, s0, s1
  24:\tvdiv.f32\ts8, s1, s2
  28:\tpush\t{r4-r7, lr}
  2a:\tumull\tr0, r1, r2, r3
  2e:\tpop\t{r4-r7, pc}
  30:\tbl\t0 <f>
  34:\tmuls\tr0, r1
  36:\tvcmpe.f32\ts0, s1
  3a:\tnop
"""
EVERY = sorted(cortex.parsed(LISTING))


def cost(core, first, second):
    return cortex.cycles(cortex.parsed(LISTING), array("L", [first, second]), core)


@pytest.mark.parametrize(
    "core, first, second, counted",
    [
        ("m4", 0x00, 0x02, (1, 2)),  # a load
        ("m4", 0x02, 0x04, (1, 1)),
        ("m4", 0x04, 0x08, (1, 1)), ("m3", 0x04, 0x08, (2, 2)),  # MLA
        ("m4", 0x08, 0x0A, (1, 1)), ("m4", 0x08, 0x10, (2, 4)),  # not taken, taken
        ("m4", 0x0A, 0x0E, (2, 12)), ("m4", 0x0E, 0x10, (0, 1)),  # a division, IT
        ("m4", 0x10, 0x14, (2, 2)), ("m4", 0x14, 0x18, (5, 5)),  # one float, four
        ("m4", 0x18, 0x1C, (2, 2)),  # the next one uses its result
        ("m4", 0x1C, 0x20, (1, 1)), ("m4", 0x20, 0x24, (3, 3)), ("m4", 0x24, 0x28, (14, 14)),
        ("m4", 0x28, 0x2A, (6, 6)), ("m0", 0x28, 0x2A, (6, 6)),  # push of five
        ("m4", 0x2A, 0x2E, (1, 1)), ("m3", 0x2A, 0x2E, (3, 5)),  # UMULL
        ("m4", 0x2E, 0x10, (7, 9)), ("m0", 0x2E, 0x10, (9, 9)),  # pop of five, with pc
        ("m4", 0x30, 0x00, (2, 4)), ("m0", 0x30, 0x00, (4, 4)),  # BL
        ("m0", 0x00, 0x02, (2, 2)), ("m0", 0x08, 0x10, (3, 3)), ("m0", 0x34, 0x36, (1, 1)),
        ("m4", 0x36, 0x3A, (1, 1)),
    ],
)  # fmt: skip
def test_the_cycles_of_one_instruction_are_those_of_the_manual(core, first, second, counted):
    assert cost(core, first, second) == counted


def test_a_sequence_costs_the_sum_of_its_instructions():
    passed = [a for a in EVERY if a not in (0x0A, 0x0E)]
    passed = passed[: passed.index(0x30) + 1]
    whole = cortex.cycles(cortex.parsed(LISTING), array("L", passed), "m4")
    parts = [cost("m4", *pair) for pair in zip(passed, passed[1:])]
    np.testing.assert_array_equal(whole, np.sum(parts, axis=0))


@pytest.mark.parametrize(
    "part, loop, low, high",
    [
        ("m4f", "subs %0, #1; bne 1b", 1 + 2, 1 + 4),
        ("m0", "sub %0, #1; bne 1b", 1 + 3, 1 + 3),
        ("rv32imac", "addi %0, %0, -1; bnez %0, 1b", None, None),
    ],
)
def test_a_loop_of_two_instructions_is_counted(part, loop, low, high, tmp_path):
    target = TARGETS[part]
    if target.missing:
        pytest.skip(target.missing)
    counts = []
    for times in (100, 200):
        folder = tmp_path / str(times)
        folder.mkdir()
        counts.append(Firmware(target, with_loop(loop, times), Known(), ROW, folder).trace())
    few, many = counts
    assert many.instructions - few.instructions == 100 * 2
    if low is not None:
        np.testing.assert_array_equal(np.subtract(many.cycles, few.cycles), (100 * low, 100 * high))
