"""What a quantized policy computes: integers between its inputs and its outputs.

    a = clip(round((number - center) * gain), -most, most)              of each input
    z = clip(b + requantized(sum of w * a), -32767, 32767)              of each row of a layer
    requantized(v) = v / 2**shift                                       q15
    requantized(v) = (v / 2**shift) * factor / 2**after                 int8

Sums fit 32 bits, activations 16. Divisions by powers of two round to nearest, halves away from
zero. tanh and elu are read from tables between whose entries lines are drawn. `IntegerGraph`
computes this with NumPy, and its integers are those of the program in C.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from npr.export.graph import Array, Graph, Layer

LARGEST = 32767  # of activations and biases
ONE = 1 << 15  # 1.0 in tables
STEPS = 5  # a table has 2**5 entries per unit

# tanh(i / 32) up to 6, and 1 - exp(-i / 32) up to 9, in units of 2**-15. With lines between them
# the largest error is 1.2e-4 and 1.4e-4
TANH = np.minimum(np.rint(ONE * np.tanh(np.arange(6 * 32 + 1) / 32)), LARGEST).astype(np.int16)
ELU = np.rint(-ONE * np.expm1(-np.arange(9 * 32 + 1) / 32)).astype(np.int16)


@dataclass(frozen=True, kw_only=True)
class IntegerLayer(Layer):
    """A layer of integers.

    W           (m, n), int8 or int16
    b           (m,) int16, in units of the rows' results
    activation  identity, relu, tanh or elu
    shift       uint8, one per row or one (1,) for all: divides sums by 2**shift
    factor      (m,) uint8, or None: multiplies what is left
    after       divides that by 2**after
    point       tanh and elu: results z stand for z / 2**point
    down        tanh and elu: values of the table are divided by 2**down
    most        the largest output
    scale       outputs a stand for scale * a
    """

    shift: Array
    factor: Array | None
    after: int
    point: int = 0
    down: int = 0
    most: int = LARGEST
    scale: float = 1.0

    def __call__(self, x: Array) -> Array:
        """What the outputs (B, m) for integers x (B, n) stand for, float32."""
        y: Array = self.integers(x).astype(np.float32) * np.float32(self.scale)
        return y

    def integers(self, x: Array) -> Array:
        """The outputs (B, m) for integers x (B, n), as int64."""
        z = np.clip(self.requantized(x) + self.b, -LARGEST, LARGEST)
        if self.activation == "tanh":
            a: Array = np.sign(z) * divided(between(TANH, abs(z), self.point), self.down)
        elif self.activation == "elu":
            below = divided(between(ELU, abs(z), self.point), self.down)
            a = np.where(z < 0, -below, np.minimum(z, self.most))
        else:
            a = np.clip(z, 0 if self.activation == "relu" else -self.most, self.most)
        return a

    def requantized(self, x: Array) -> Array:
        """The sums (B, m) in units of the results, before biases are added."""
        r: Array = divided(self.sums(x), self.shift.astype(np.int64))
        if self.factor is not None:
            r = divided(r * self.factor.astype(np.int64), self.after)
        return r

    def sums(self, x: Array) -> Array:
        """The accumulators (B, m) as int64."""
        # floats hold sums of 32 bits exactly, and their product is the faster one
        y: Array = (x.astype(np.float64) @ self.W.T.astype(np.float64)).astype(np.int64)
        return y


@dataclass(frozen=True, kw_only=True)
class IntegerGraph(Graph):
    """A policy of integers; see Graph for what is not listed. `hidden`, `output`, and `log_std`
    where it is a layer, are IntegerLayers.

    dtype         int8 or q15
    center, gain  of each number of the network's inputs (n,), float32. They contain the
                  normalization. Indices are one-hot: inputs 0 or `most`
    most          the largest input
    noise_gain    sampler: gain of the noise
    """

    dtype: str
    center: Array
    gain: Array
    most: int
    noise_gain: float

    hidden: tuple[IntegerLayer, ...]
    output: IntegerLayer

    def encode(self, observations: Array) -> Array:
        """The integers (B, n) for rows of numbers, as int64."""
        return rounded(self.inputs(observations), self.center, self.gain, self.most)

    def choose(self, x: Array, noise: Array | None = None, mask: Array | None = None) -> Array:
        if self.squashed and not (noise is not None and self.head == "tanh_gaussian"):
            z = self.output.integers(self.features(x, noise))
            a = np.sign(z) * between(TANH, abs(z), self.output.point)
            squashed: Array = a.astype(np.float32) / np.float32(ONE)
            return squashed
        return super().choose(x, noise, mask)

    def features(self, x: Array, noise: Array | None = None) -> Array:
        """The last hidden integers (B, m)."""
        if self.head == "sampler":
            drawn = np.zeros((len(x), self.noise), np.float32) if noise is None else noise
            drawn = rounded(drawn, 0.0, self.noise_gain, self.most)
            x = np.concatenate([x, drawn], axis=-1)
        for layer in self.hidden:
            x = layer.integers(x)
        return x


def rounded(x: Array, center: Any, gain: Any, most: int) -> Array:
    """clip(round((x - center) * gain), -most, most) in float32, as int64; NaN becomes -most."""
    with np.errstate(over="ignore", invalid="ignore"):  # infinite numbers are clipped
        t = (x.astype(np.float32) - np.float32(center)) * np.float32(gain)
    bound = np.float32(most)
    t = np.where(t > -bound, np.minimum(t, bound), -bound)
    # positive numbers, so that truncation rounds down
    integers: Array = (t + np.float32(ONE + 0.5)).astype(np.int64) - ONE
    return integers


def divided(v: Array, shift: Any) -> Array:
    """v / 2**shift, rounded to nearest, halves away from zero."""
    half = np.left_shift(1, shift) >> 1
    rounded: Array = np.sign(v) * ((abs(v) + half) >> shift)
    return rounded


def between(table: Array, z: Array, point: int) -> Array:
    """The table's function at z / 2**point, for integers z >= 0 and a point >= STEPS."""
    bits = point - STEPS
    i = np.minimum(z >> bits, len(table) - 2)
    rest = np.minimum(z - (i << bits), 1 << bits)
    values = table.astype(np.int64)
    found: Array = values[i] + divided((values[i + 1] - values[i]) * rest, bits)
    return found
