/* The policy's own tests, and further observations with the actions that are expected for them.
   Prints a word and whole numbers per line; floats by their bits. */
#include <math.h>
#include <string.h>

#include "act.h"
#include "port.h"
#include "vectors.h" /* VECTORS, observations, expected, ranges */

static float act_in[POLICY_OBS_DIM], act_out[POLICY_ACT_DIM];
static int act_index;

static void load(int i) {
  for (int j = 0; j < POLICY_OBS_DIM; j++)
    act_in[j] = CONSTANT_FLOAT(&observations[i * POLICY_OBS_DIM + j]);
  act_index = FORM == 0 ? (int)act_in[0] : 0;
}

static unsigned long bits(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof u);
  return u;
}

#ifdef TRACED
/* The instructions between these two are counted in a log of QEMU. */
NOINLINE void trace_begin(void) { __asm__ volatile("" ::: "memory"); }
NOINLINE void trace_end(void) { __asm__ volatile("" ::: "memory"); }

int main(void) {
  for (int i = 0; i < TRACED; i++) {
    load(i * (VECTORS / TRACED));
    trace_begin();
    ACT(act_in, act_out, act_index);
    trace_end();
  }
  return 0;
}
#else

/* Bytes below the stack pointer that a call of the policy writes; they are painted before. */
NOINLINE static unsigned long stack_of_act(void) {
  uint8_t *top = port_stack_pointer();
  volatile uint8_t *low = top - PAINTED;
  while (low < top) *low++ = 0xA5;
  ACT(act_in, act_out, act_index);
  low = top - PAINTED;
  while (low < top && *low == 0xA5) low++;
  return (unsigned long)(top - (uint8_t *)low);
}

#ifdef __AVR__
NOINLINE static unsigned long cycles_of(uint8_t called) {
  static const uint8_t selects[] = {3, 1};
  unsigned long n = 0;
  for (uint8_t i = 0; i < 2; i++) { /* finely, if the coarse count says that it fits */
    port_clock_start(selects[i]);
    if (called) ACT(act_in, act_out, act_index);
    n = port_clock_stop();
    if (!i) n = TIFR1 & (1 << TOV1) ? 0 : n * 64;
    if (!i && n > 60000) break;
  }
  return n;
}
#endif

#ifdef TIMED
#include <time.h>

/* Nanoseconds of an action, in the fastest of many blocks. */
static double nanoseconds(void) {
  double fastest = 1e30;
  for (int block = 0; block < 1000; block++) {
    struct timespec a, b;
    double each;
    load(block % VECTORS);
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 50; i++) {
      ACT(act_in, act_out, act_index);
      __asm__ volatile("" ::: "memory");
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    each = ((double)(b.tv_sec - a.tv_sec) * 1e9 + (double)(b.tv_nsec - a.tv_nsec)) / 50;
    fastest = each < fastest ? each : fastest;
  }
  return fastest;
}
#endif

int main(void) {
  float largest = 0;
  int failed, i, j, wrong = 0;

  port_start();
  failed = policy_selftest(&largest);
  PRINT("selftest %d %lx\n", failed, bits(largest));

  largest = 0;
  for (i = 0; i < VECTORS; i++) {
    load(i);
    ACT(act_in, act_out, act_index);
    if (FORM < 2) act_out[0] = (float)act_index;
    for (j = 0; j < POLICY_ACT_DIM; j++) {
      float e = fabsf(act_out[j] - CONSTANT_FLOAT(&expected[i * POLICY_ACT_DIM + j])) /
                CONSTANT_FLOAT(&ranges[j]);
      if (!(e <= largest)) largest = e;
      if (!(e <= TOLERANCE)) wrong++;
    }
  }
  PRINT("vectors %d %d %lx\n", VECTORS, wrong, bits(largest));

  load(0);
  PRINT("stack %lu\n", stack_of_act());
  PRINT("macros %ld %ld %ld\n", (long)POLICY_FLASH_BYTES, (long)POLICY_RAM_BYTES,
        (long)POLICY_MACS);
#ifdef __AVR__
  PRINT("cycles %lu %lu\n", cycles_of(1), cycles_of(0));
#endif
#ifdef TIMED
  PRINT("time %ld\n", (long)(nanoseconds() + 0.5));
#endif
  return port_stop();
}
#endif
