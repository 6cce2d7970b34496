"""Cycles of a sequence of instructions on a Cortex-M, from the timings that Arm documents.

QEMU counts instructions. Which were executed is in its log, and the technical reference manuals say
what each costs with memory that has no wait states: Cortex-M4 (100166, tables 3-1 and 7-1),
Cortex-M3 (100165, table 3-1), Cortex-M0 (DDI 0432, table 3-1). Where a cost depends on what is not
in the log there are two figures, the least and the most:

    taken branch (M3, M4)   1 + P, P = 1 to 3 to refill the pipeline
    LDR, STR (M3, M4)       1 if it overlaps with a load or store beside it, else 2
    IT                      0 if it is folded into the instruction before, else 1
    SDIV, UDIV              2 to 12, by the operands
    UMULL, SMULL            3 to 5 on M3 (with accumulation 4 to 7), 1 on M4
    MUL on M0               1: the fast multiplier, which is an option of the core

VMUL, VADD, VMLA and their like take one more cycle if the next instruction uses their result.
Flash with wait states, interrupts and bus traffic of other masters come on top.
"""

import re
from array import array
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from support.emulators.processes import run


class Instruction(NamedTuple):
    """At an address: bytes, the name without .n and .w, and the operands as they are listed."""

    size: int
    name: str
    operands: str

    @property
    def registers(self) -> int:
        """How many are in its braces."""
        inside = re.search(r"\{(.*?)\}", self.operands)
        return sum(map(_width, inside[1].split(","))) if inside else 0


def _width(one: str) -> int:
    """The number of registers in "r4", "s16" or "r4-r7"; a double one counts as two."""
    ends = [int(n) for n in re.findall(r"[rsd](\d+)", one)] or [0]
    return (ends[-1] - ends[0] + 1) * (2 if one.strip().startswith("d") else 1)


def steps(log: Path, begin: int, end: int) -> list[array]:
    """The addresses of the instructions between each pass of `begin` and the next of `end`.

    log   of qemu -d exec,nochain with one instruction per block
    """
    found: list[array] = []
    within: array | None = None
    with log.open() as lines:
        for line in lines:
            if not line.startswith("Trace"):
                continue
            address = int(line.split("[", 1)[1].split("/", 2)[1], 16)
            if within is None:
                if address == begin:
                    within = array("L")
            elif address == end:
                found.append(within)
                within = None
            else:
                within.append(address)
    return found


def listing(objdump: str, program: Path) -> dict[int, Instruction]:
    """The instructions of a program by address."""
    text = run(objdump, "-d", "--no-show-raw-insn", str(program))
    return parsed(text)


def parsed(text: str) -> dict[int, Instruction]:
    """The instructions in what objdump -d --no-show-raw-insn prints."""
    found = [
        (int(m[1], 16), m[2], m[3].split(";")[0].split("<")[0].strip())
        for m in re.finditer(r"^ *([0-9a-f]+):\t(\S+)(.*)$", text, re.MULTILINE)
    ]
    addresses = [address for address, _, _ in found] + [found[-1][0] + 2]
    held = {}
    for (address, name, operands), after in zip(found, addresses[1:]):
        size = 4 if after - address == 4 or name.endswith(".w") else 2
        held[address] = Instruction(size, re.sub(r"\.[nw]$", "", name), operands)
    return held


def cycles(listing: dict[int, Instruction], addresses: array, core: str) -> tuple[int, int]:
    """The least and the most cycles of an executed sequence on a core: m0, m3 or m4."""
    low = high = 0
    known: dict[tuple[int, int], tuple[int, int]] = {}
    for pair in pairwise(addresses):
        if pair not in known:
            one, after = (listing[address] for address in pair)
            taken = pair[1] != pair[0] + one.size
            known[pair] = _on_m0(one, taken) if core == "m0" else _on_m3(one, after, taken, core)
        least, most = known[pair]
        low, high = low + least, high + most
    return low, high


_CONDITION = "(eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"


def _is(one: Instruction, *names: str) -> bool:
    return any(re.fullmatch(f"{name}s?{_CONDITION}(\\..*)?", one.name) for name in names)


def _on_m0(one: Instruction, taken: bool) -> tuple[int, int]:
    if _is(one, "push", "pop", "ldmia", "stmia", "ldm", "stm"):
        n = one.registers + (4 if "pc" in one.operands else 1)
    elif _is(one, "bl"):
        n = 4
    elif taken:
        n = 3
    elif _is(one, "ldr[shb]*", "str[hb]?"):
        n = 2
    elif _is(one, "mrs", "msr", "dmb", "dsb", "isb"):
        n = 4
    else:
        n = 1
    return n, n


def _on_m3(one: Instruction, after: Instruction, taken: bool, core: str) -> tuple[int, int]:
    low, high = _straight(one, after, core)
    return (low + 1, high + 3) if taken else (low, high)


def _straight(one: Instruction, after: Instruction, core: str) -> tuple[int, int]:
    """Without the refill after a branch."""
    if one.name.startswith("v"):
        n = _floating(one)
        n += n != 2 and _arithmetic(one) and _uses(after, one.operands.split(",")[0])
        return n, n
    if _is(one, "push", "pop", "ldmia", "stmia", "ldmdb", "stmdb", "ldm", "stm"):
        return 1 + one.registers, 1 + one.registers
    if _is(one, "ldrd", "strd"):
        return 3, 3
    if _is(one, "ldr[shb]*", "str[hb]*"):
        return 1, 2
    if _is(one, "tbb", "tbh"):
        return 2, 2
    if re.fullmatch("it[te]*", one.name):
        return 0, 1
    if _is(one, "sdiv", "udiv"):
        return 2, 12
    if core == "m3":
        if _is(one, "mla", "mls"):
            return 2, 2
        if _is(one, "umull", "smull"):
            return 3, 5
        if _is(one, "umlal", "smlal"):
            return 4, 7
    return 1, 1


def _floating(one: Instruction) -> int:
    if _is(one, "vldr", "vstr"):
        return 3 if one.operands.startswith("d") else 2
    if _is(one, "vldmia", "vldmdb", "vstmia", "vstmdb", "vpush", "vpop"):
        return 1 + one.registers
    if _is(one, "vdiv", "vsqrt"):
        return 14
    if _is(one, "vf?n?m[as]", "vn?ml[as]"):
        return 3
    if _is(one, "vmov"):
        return 2 if one.operands.count(",") >= 2 else 1
    return 1


def _arithmetic(one: Instruction) -> bool:
    return not _is(one, "v(ldr|str|ldm..|stm..|push|pop|mov|cmpe?|mrs|msr)")


def _uses(one: Instruction, register: str) -> bool:
    """Whether an instruction reads a register."""
    names = one.operands.split(",")
    accumulates = _is(one, "vf?n?m[as]", "vn?ml[as]", "vstr", "vcmpe?", "vpush", "vstmia")
    read = ",".join(names if accumulates else names[1:])
    return re.search(rf"\b{register.strip()}\b", read) is not None
