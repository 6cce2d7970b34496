"""Programs with an exported policy, built for a target and run in an emulator of it.

    firmware = Firmware(target, header, model, observations, folder)
    firmware.check()         # errors, stack and cycles, from inside the emulator
    firmware.size()          # bytes of flash and RAM that the policy adds
    firmware.trace()         # instructions of an action

The emulators are QEMU, whose semihosting prints, and simavr, which prints what the UART sends.
"""

import functools
import platform
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from support.emulators import cortex
from support.emulators.processes import run

SOURCES = Path(__file__).parent / "firmware"
PAINTED = 2048  # bytes of stack; more than any policy here needs


@dataclass(frozen=True)
class Target:
    """A part, its compiler and its emulator.

    name       of a row of a table
    prefix     of the compiler's programs
    flags      of the compiler
    link       further ones of the linker
    emulator   the command before the program's path; none: the program runs here
    packages   of Debian, of each program that is needed
    core       whose cycles are known per instruction (cortex.py); "": none
    """

    name: str
    prefix: str
    flags: tuple[str, ...]
    link: tuple[str, ...] = ()
    emulator: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    core: str = ""

    @property
    def missing(self) -> str:
        """What is not installed, as a sentence; "" if nothing is."""
        if not self.emulator and (sys.platform, platform.machine()) != ("linux", "x86_64"):
            return f"{self.name} is not this machine."
        wanted = [f"{self.prefix}gcc", *self.emulator[:1]]
        lacking = [name for name in wanted if not shutil.which(name)]
        if not lacking and not self._libraries():
            lacking = [f"a C library for {self.prefix}gcc"]
        if not lacking:
            return ""
        return f"{self.name} needs {' and '.join(lacking)} (Debian: {' '.join(self.packages)})."

    def _libraries(self) -> bool:
        """Whether an empty program can be linked."""
        return _links(self.prefix, self.flags + self.link)


@functools.cache
def _links(prefix: str, flags: tuple[str, ...]) -> bool:
    done = subprocess.run(
        [f"{prefix}gcc", *flags, "-x", "c", "-", "-o", "/dev/null"], capture_output=True,
        input=b"int main(void) { return 0; }", check=False,
    )  # fmt: skip
    return done.returncode == 0


def _memory(flash: int, flash_size: int, ram: int, ram_size: int) -> tuple[str, ...]:
    values = {"flash": flash, "flash_size": flash_size, "ram": ram, "ram_size": ram_size}
    symbols = (f"-Wl,--defsym=__{name}={value:#x}" for name, value in values.items())
    return "-Tpicolibc.ld", *symbols


def _qemu(program: str, *machine: str) -> tuple[str, ...]:
    return (
        f"qemu-system-{program}", "-M", *machine, "-nographic", "-monitor", "none",
        "-serial", "none", "-semihosting-config", "enable=on,target=native", "-kernel",
    )  # fmt: skip


_PICOLIBC = ("--specs=picolibc.specs", "--oslib=semihost")
_ARM = ("gcc-arm-none-eabi", "picolibc-arm-none-eabi", "qemu-system-arm")
_RISCV = ("gcc-riscv64-unknown-elf", "picolibc-riscv64-unknown-elf", "qemu-system-misc")
_AVR = ("gcc-avr", "avr-libc", "simavr")
_MPS2 = _memory(0, 0x40_0000, 0x2000_0000, 0x40_0000)
_VIRT = _memory(0x8000_0000, 0x40_0000, 0x8040_0000, 0x40_0000)
_V32 = ("virt", "-bios", "none")

TARGETS = {
    "x86-64": Target("x86-64", "", (), ("-lm",), (), ("gcc",)),
    "m4f": Target(
        "Cortex-M4F", "arm-none-eabi-",
        ("-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", *_PICOLIBC),
        ("--crt0=semihost", *_MPS2), _qemu("arm", "mps2-an386"), _ARM, "m4",
    ),
    "m3": Target(
        "Cortex-M3", "arm-none-eabi-", ("-mcpu=cortex-m3", "-mthumb", *_PICOLIBC),
        ("--crt0=semihost", *_MPS2), _qemu("arm", "mps2-an385"), _ARM, "m3",
    ),
    "m0": Target(
        "Cortex-M0", "arm-none-eabi-", ("-mcpu=cortex-m0", "-mthumb", *_PICOLIBC),
        ("--crt0=semihost", *_memory(0, 0x4_0000, 0x2000_0000, 0x4000)),
        _qemu("arm", "microbit"), _ARM, "m0",
    ),
    "rv32imac": Target(
        "RISC-V RV32IMAC", "riscv64-unknown-elf-",
        ("-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany", *_PICOLIBC),
        ("--crt0=semihost", *_VIRT), _qemu("riscv32", *_V32), _RISCV,
    ),
    "rv32imafc": Target(
        "RISC-V RV32IMAFC", "riscv64-unknown-elf-",
        ("-march=rv32imafc", "-mabi=ilp32f", "-mcmodel=medany", *_PICOLIBC),
        ("--crt0=semihost", *_VIRT), _qemu("riscv32", *_V32), _RISCV,
    ),
    "avr": Target(
        "AVR ATmega2560", "avr-", ("-mmcu=atmega2560",), ("-lm",),
        ("simavr", "-m", "atmega2560", "-f", "16000000"), _AVR,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Checked:
    """What a program says of itself in the emulator.

    failed       of the policy's own tests, whose largest error is `error`
    wrong        of the `vectors` further observations, whose largest error is `worst`; errors are
                 parts of the actions' range, or differences of indices
    stack        bytes that an action writes; None: not on the host
    flash, ram, macs   what the header says
    cycles       of an action; None: not counted
    ns           of an action, where this machine is the target and it was asked for
    """

    failed: int
    error: float
    vectors: int
    wrong: int
    worst: float
    stack: int | None
    flash: int
    ram: int
    macs: int
    cycles: int | None
    ns: int | None = None


class Firmware:
    """A policy on a target.

    header         the exported text
    model          the npr.export.Model that it was written from
    observations   (B, numbers) which are tried besides those in the header
    folder         an empty one, for the files
    tolerance      error of an action, as a part of its range
    include        folders of what the header includes
    """

    def __init__(
        self, target: Target, header: str, model: Any, observations: Any, folder: Path,
        tolerance: float = 1e-5, include: tuple[Path, ...] = (),
    ):  # fmt: skip
        self.target, self.folder, self.tolerance = target, folder, tolerance
        self.include = [f"-I{one}" for one in (folder, SOURCES, *include)]
        graph = model.graph
        self.form = 0 if graph.table is not None else 1 if graph.kind == "discrete" else 2
        (folder / "policy.h").write_text(header)
        actions = np.reshape(graph(observations), (len(observations), -1))
        if graph.kind == "box":
            span = np.asarray(graph.high, np.float64) - graph.low
            largest = np.maximum(abs(actions).max(axis=0), 1)  # where there is no range
            ranges = np.where(np.isfinite(span) & (span > 0), span, largest)
        else:
            ranges = np.ones(graph.actions)
        (folder / "vectors.h").write_text(_vectors(observations, actions, ranges))

    def check(self, timed: bool = False) -> Checked:
        """Run the tests. Raises RuntimeError if the program does not end as it should.

        timed   also measure nanoseconds, if there is no emulator
        """
        flags = ["-DTIMED"] if timed and not self.target.emulator else []
        program = self._build("check", ["check.c", "policy.c"], *flags)
        printed = self._run(program)
        said = dict(re.findall(r"^(\w+) ([-0-9a-f ]+)", printed, re.MULTILINE))
        if "macros" not in said:
            raise RuntimeError(f"{program} ended too early:\n{printed}")
        failed, error = said["selftest"].split()
        vectors, wrong, worst = said["vectors"].split()
        flash, ram, macs = map(int, said["macros"].split())
        stack = int(said["stack"]) if self.target.emulator else None
        if stack == PAINTED:
            raise RuntimeError(f"An action needs more stack than the {PAINTED} bytes looked at.")
        cycles = None
        if "cycles" in said:
            called, empty = map(int, said["cycles"].split())
            cycles = called - empty if called else None
        return Checked(
            int(failed), _float(error), int(vectors), int(wrong), _float(worst),
            stack, flash, ram, macs, cycles, int(said["time"]) if flags else None,
        )  # fmt: skip

    def size(self, *flags: str) -> tuple[int, int]:
        """Bytes of flash and of static RAM that the policy adds to a program that does nothing."""
        with_policy = self._sections(["size.c", "policy.c"], self.form, *flags)
        without = self._sections(["size.c"], -1)
        return with_policy[0] - without[0], with_policy[1] - without[1]

    def trace(self, actions: int = 1) -> "Traced":
        """The instructions of actions for so many of the observations, as QEMU logs them."""
        program = self._build("trace", ["check.c", "policy.c"], f"-DTRACED={actions}")
        symbols = _symbols(self.target, program)
        log = self.folder / "trace.log"
        self._run(program, "-d", "exec,nochain", "-D", str(log), *_one_by_one(self.target.emulator))
        steps = cortex.steps(log, symbols["trace_begin"], symbols["trace_end"])
        log.unlink()
        count = sum(map(len, steps))
        bounds = None
        if self.target.core:
            listing = cortex.listing(f"{self.target.prefix}objdump", program)
            pairs = [cortex.cycles(listing, one, self.target.core) for one in steps]
            low, high = np.sum(pairs, axis=0) // actions
            bounds = int(low), int(high)
        return Traced(count // actions, bounds)

    # ---- programs

    def _build(self, name: str, sources: list[str], *flags: str) -> Path:
        program = self.folder / f"{name}.elf"
        run(
            f"{self.target.prefix}gcc", *self.target.flags, "-std=gnu99", "-O2", "-Wall", "-Wextra",
            "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", *self.include,
            f"-DFORM={self.form}", f"-DPAINTED={PAINTED}",
            f"-DTOLERANCE={self.tolerance!r}f", *flags,
            *(str(SOURCES / source) for source in sources), "-o", str(program), *self.target.link,
        )  # fmt: skip
        return program

    def _sections(self, sources: list[str], form: int, *flags: str) -> tuple[int, int]:
        flags = f"-UFORM -DFORM={form} -DPOLICY_NO_SELFTEST".split() + list(flags)
        program = self._build("size", sources, *flags)
        printed = run(f"{self.target.prefix}size", "-A", str(program))
        sizes = {name: int(n) for name, n in re.findall(r"^(\.\S+) +(\d+)", printed, re.MULTILINE)}
        text = ("text", "rodata", "init", "init_array", "fini_array", "eh_frame", "plt", "got")
        data, bss = sizes.get(".data", 0), sizes.get(".bss", 0)
        return sum(sizes.get(f".{name}", 0) for name in text) + data, data + bss

    def _run(self, program: Path, *options: str) -> str:
        before, path = self.target.emulator, str(program)
        printed = run(*before[:1], *options, *before[1:], path)
        return re.sub(r"\x1b\[\d+m", "", printed)  # simavr colors what the UART sends


@dataclass(frozen=True)
class Traced:
    """Instructions of an action, and (least, most) cycles where the core's timings are known."""

    instructions: int
    cycles: tuple[int, int] | None


def _one_by_one(emulator: tuple[str, ...]) -> tuple[str, ...]:
    """The option that makes QEMU log every instruction."""
    version = re.search(r"version (\d+)\.(\d+)", run(emulator[0], "--version"))
    if version is None or tuple(map(int, version.groups())) >= (8, 1):
        return "-accel", "tcg,one-insn-per-tb=on"
    return ("-singlestep",)


def _symbols(target: Target, program: Path) -> dict[str, int]:
    lines = run(f"{target.prefix}nm", str(program)).splitlines()
    found = [line.split() for line in lines if len(line.split()) == 3]
    return {name: int(address, 16) & ~1 for address, _, name in found}


def _float(bits: str) -> float:
    (value,) = struct.unpack(">f", bytes.fromhex(bits.zfill(8)))
    return float(value)


def _vectors(observations: Any, actions: Any, ranges: Any) -> str:
    arrays = {"observations": observations, "expected": actions, "ranges": ranges}
    lines = [f"#define VECTORS {len(observations)}"]
    for name, array in arrays.items():
        numbers = ", ".join(f"{float(x).hex()}f" for x in np.ravel(array).astype(np.float32))
        lines.append(f"static const float {name}[] CONSTANT = {{{numbers}}};")
    return "\n".join(lines) + "\n"
