// Runs the sketch: the sensor turns by a script, and the motor's settings are printed.
#include <Arduino.h>
#include <stdio.h>

#include "pendulum.ino"

static int reads;
static uint8_t direction;

HardwareSerial Serial;
void HardwareSerial::begin(unsigned long) {}
void HardwareSerial::println(const char *text) { printf("%s\n", text); }

void pinMode(uint8_t, uint8_t) {}
void digitalWrite(uint8_t, uint8_t value) { direction = value; }
void analogWrite(uint8_t, int value) { printf("drive %d\n", direction ? -value : value); }
int analogRead(uint8_t) { return (int)((long)(reads++ * 37 % 101) * 1024 / 101); }

unsigned long micros() {
  static unsigned long now;
  return now += 60000;
}

#ifdef __AVR__
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

static int put(char c, FILE *) {
  while (!(UCSR0A & (1 << UDRE0))) {
  }
  UDR0 = (uint8_t)c;
  return 0;
}
#endif

int main() {
#ifdef __AVR__
  UCSR0B = 1 << TXEN0;
  fdevopen(put, 0);
#endif
  setup();
  for (int i = 0; i < STEPS; i++) loop();
#ifdef __AVR__
  cli();
  sleep_enable();
  sleep_cpu();
#endif
  return 0;
}
