// What of the Arduino core the example uses.
#ifndef ARDUINO_H
#define ARDUINO_H

#include <math.h>
#include <stdint.h>

#define A0 54
#define OUTPUT 1
#define LOW 0
#define HIGH 1
#define PI 3.1415926535897932384626433832795
#define TWO_PI 6.283185307179586476925286766559
#define F(text) (text)
#define constrain(x, low, high) ((x) < (low) ? (low) : ((x) > (high) ? (high) : (x)))

struct HardwareSerial {
  void begin(unsigned long baud);
  void println(const char *text);
};
extern HardwareSerial Serial;

void pinMode(uint8_t pin, uint8_t mode);
int analogRead(uint8_t pin);
void analogWrite(uint8_t pin, int value);
void digitalWrite(uint8_t pin, uint8_t value);
unsigned long micros();

#endif
