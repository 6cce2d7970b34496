"""What of gpiozero the example uses: a sensor that turns by a script, a motor that prints."""


class MCP3008:
    def __init__(self, channel):
        self.reads = -1

    @property
    def value(self):
        self.reads += 1
        return self.reads * 37 % 101 / 101


class PhaseEnableMotor:
    def __init__(self, phase, enable):
        self.left, self._value = 40, 0.0

    @property
    def value(self):
        return self._value

    @value.setter
    def value(self, value):
        if not -1 <= value <= 1:
            raise ValueError(f"value must be between -1 and 1, got {value}")
        print("drive", value)
        self._value, self.left = value, self.left - 1
        if not self.left:
            raise KeyboardInterrupt

    def stop(self):
        print("stopped")
