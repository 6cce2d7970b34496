"""Holds a pendulum up with a policy that npr trained on Pendulum-v1.

Channel 0 of an MCP3008: potentiometer at the axis, one turn over its range, 0.5 where the pendulum
is up. GPIO 18: direction of the motor driver, GPIO 19: its PWM.

    pip install gpiozero lgpio numpy && pip install --no-deps npr-rl
    python pendulum.py
"""

import math
import time

from gpiozero import MCP3008, PhaseEnableMotor

from npr import infer

PERIOD = 0.05  # seconds of a step of Pendulum-v1
LARGEST_SPEED, LARGEST_TORQUE = 8.0, 2.0


def angle(sensor):
    """Radians, 0 where the pendulum is up."""
    return (sensor.value - 0.5) * 2 * math.pi


def main():
    policy = infer.load("policy.npz")
    sensor, motor = MCP3008(channel=0), PhaseEnableMotor(phase=18, enable=19)
    before, due = angle(sensor), time.monotonic()
    try:
        while True:
            now = angle(sensor)
            moved = math.remainder(now - before, 2 * math.pi)
            before = now
            speed = min(max(moved / PERIOD, -LARGEST_SPEED), LARGEST_SPEED)
            (torque,) = policy([math.cos(now), math.sin(now), speed])
            motor.value = float(torque) / LARGEST_TORQUE
            due += PERIOD
            time.sleep(max(0.0, due - time.monotonic()))
    finally:
        motor.stop()


if __name__ == "__main__":
    main()
