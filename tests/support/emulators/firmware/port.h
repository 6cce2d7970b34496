/* What differs between targets: the stack pointer, the way out, and a clock on AVR. */
#ifndef PORT_H
#define PORT_H
#include <stdint.h>

#define NOINLINE __attribute__((noinline, noclone))

static inline uint8_t *port_stack_pointer(void) {
#if defined(__AVR__)
  return (uint8_t *)(uintptr_t)(*(volatile uint16_t *)0x5d);
#else
  uint8_t *p;
#if defined(__arm__)
  __asm__ volatile("mov %0, sp" : "=r"(p));
#elif defined(__riscv)
  __asm__ volatile("mv %0, sp" : "=r"(p));
#else /* the host: below what a leaf function may use */
  p = (uint8_t *)__builtin_frame_address(0) - 512;
#endif
  return p;
#endif
}

#ifdef __AVR__
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
#include <stdio.h>

#define CONSTANT PROGMEM
#define CONSTANT_FLOAT(p) pgm_read_float(p)
#define PRINT(format, ...) printf_P(PSTR(format), __VA_ARGS__)

static int port_put(char c, FILE *file) {
  (void)file;
  while (!(UCSR0A & (1 << UDRE0))) {
  }
  UDR0 = (uint8_t)c;
  return 0;
}

static inline void port_start(void) {
  static FILE out = FDEV_SETUP_STREAM(port_put, 0, _FDEV_SETUP_WRITE);
  UCSR0B = 1 << TXEN0;
  stdout = &out;
}

static inline int port_stop(void) { /* simavr ends when the part sleeps without interrupts */
  cli();
  sleep_enable();
  sleep_cpu();
  return 0;
}

/* Timer 1, with the prescaler 1 (select 1) or 64 (select 3). */
static inline void port_clock_start(uint8_t select) {
  TCCR1A = 0;
  TCCR1B = 0;
  TCNT1 = 0;
  TIFR1 = 1 << TOV1;
  TCCR1B = select;
}
static inline uint16_t port_clock_stop(void) {
  uint16_t n = TCNT1;
  TCCR1B = 0;
  return n;
}
#else
#include <stdio.h>

#define CONSTANT
#define CONSTANT_FLOAT(p) (*(p))
#define PRINT(...) printf(__VA_ARGS__)

static inline void port_start(void) {}
static inline int port_stop(void) { return 0; }
#endif

#endif
