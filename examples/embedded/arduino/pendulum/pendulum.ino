// Holds a pendulum up with a policy that npr trained on Pendulum-v1.
//
// A0: potentiometer at the axis, one turn over its range, 512 where the pendulum is up
// 8:  direction of the motor driver    9: its PWM

#define POLICY_IMPLEMENTATION
#include "policy.h"

const int ANGLE_PIN = A0, DIRECTION_PIN = 8, PWM_PIN = 9;
const unsigned long PERIOD = 50000;  // microseconds of a step of Pendulum-v1
const float LARGEST_SPEED = 8.0, LARGEST_TORQUE = 2.0;  // of Pendulum-v1

unsigned long next;
float before;

// Radians, 0 where the pendulum is up.
float angle() {
  return (analogRead(ANGLE_PIN) - 512) * (TWO_PI / 1024);
}

void setup() {
  Serial.begin(115200);
  pinMode(DIRECTION_PIN, OUTPUT);
  pinMode(PWM_PIN, OUTPUT);
  float error;
  if (policy_selftest(&error) != 0) {
    Serial.println(F("policy.h does not compute what npr did; the motor stays off"));
    for (;;) {
    }
  }
  before = angle();
  next = micros();
}

void loop() {
  if ((long)(micros() - next) < 0) return;
  next += PERIOD;

  float now = angle();
  float moved = now - before;
  if (moved > PI) moved -= TWO_PI;
  if (moved < -PI) moved += TWO_PI;
  before = now;

  float speed = constrain(moved * (1e6 / PERIOD), -LARGEST_SPEED, LARGEST_SPEED);
  float obs[POLICY_OBS_DIM] = {(float)cos(now), (float)sin(now), speed};
  float torque[POLICY_ACT_DIM];
  policy_act(obs, torque);

  digitalWrite(DIRECTION_PIN, torque[0] < 0 ? HIGH : LOW);
  analogWrite(PWM_PIN, (int)(fabs(torque[0]) * (255 / LARGEST_TORQUE)));
}
