"""A program whose sizes, errors and cycles are known, in place of a policy."""

import numpy as np


class Identity:
    """A policy whose action is its observation, as far as Firmware looks at it."""

    table, kind, actions = None, "box", 1
    low = high = np.zeros(1)

    def __call__(self, rows):
        return rows


class Known:
    """A model of it."""

    graph = Identity()


ROW = np.ones((1, 1), np.float32)  # an observation

# 1,000 bytes of flash, 64 of RAM, 300 of stack; the self-test has 3 failures of a quarter
HEADER = """
#define POLICY_OBS_DIM 1
#define POLICY_ACT_DIM 1
#define POLICY_FLASH_BYTES 1000
#define POLICY_RAM_BYTES 300
#define POLICY_MACS 0
void policy_act(const float *obs, float *action);
int policy_selftest(float *max_err);
#ifdef POLICY_IMPLEMENTATION
#ifdef __AVR__
#include <avr/pgmspace.h>
#define FLASH PROGMEM
#define READ(p) pgm_read_byte(p)
#else
#define FLASH
#define READ(p) (*(p))
#endif
static const unsigned char table[1000] FLASH = {1};
static volatile unsigned char held[64];

void policy_act(const float *obs, float *action)
{
    volatile unsigned char buffer[300];
    unsigned n = 0;
    int i;
    for (i = 0; i < 300; i++) {
        buffer[i] = READ(&table[3 * i]);
    }
    held[buffer[0]] = buffer[1];
    /* assembly */
    action[0] = n ? obs[0] : obs[0];
}

int policy_selftest(float *max_err)
{
    *max_err = 0.25f;
    return 3;
}
#endif
"""


def with_loop(instructions: str, times: int) -> str:
    """HEADER with a loop in assembly, which counts n (%0) down."""
    lines = instructions.replace("; ", "\\n")
    return HEADER.replace("n = 0", f"n = {times}").replace(
        "/* assembly */", f'__asm__ volatile("1: {lines}" : "+r"(n));'
    )
