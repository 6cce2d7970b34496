"""Functions in C that networks and heads call. Those that a text names are written before it."""

from npr.kernels.mlp import EPSILON

# The largest errors of tanh, exp and sqrt below, in float32 arithmetic; the tests measure them.
TANH_ERROR = 6e-7
EXP_ERROR = 3e-7  # relative
SQRT_ERROR = 2e-7  # relative

_CLAMP = """\
/* x from low to high; low for NaN. */
static float @clamp(float x, float low, float high)
{
    return x >= low ? (x <= high ? x : high) : low;
}"""

_TANH = f"""\
/* tanh as a quotient of polynomials: the largest error is {TANH_ERROR:.0e}. */
static float @tanh(float x)
{{
    float z, p, q;
    x = @clamp(x, -7.9f, 7.9f);
    z = x * x;
    p = -6.140238e-09f;
    p = p * z + 7.150801e-06f;
    p = p * z + 0.0026935388f;
    p = p * z + 0.12708722f;
    p = p * z + 0.99999917f;
    q = 0.00019645596f;
    q = q * z + 0.022836028f;
    q = q * z + 0.46041745f;
    q = q * z + 1.0f;
    return @clamp(x * p / q, -1.0f, 1.0f);
}}"""

# The powers of two are multiplied one by one: bits of a float can be set in no way that is valid
# both in C and in C++ without a call of memcpy.
_EXP = f"""\
/* exp from -87 to 88: the largest error is {EXP_ERROR:.0e} of the result. */
static float @exp(float x)
{{
    float r, y, power;
    int k, n;
    x = @clamp(x, -87.0f, 88.0f);
    k = (int)(x * 1.44269504f + (x < 0.0f ? -0.5f : 0.5f));
    r = (x - (float)k * 0.693359375f) + (float)k * 2.12194440e-4f;
    y = 0.0013814467f;
    y = y * r + 0.008368781f;
    y = y * r + 0.041668393f;
    y = y * r + 0.1666652f;
    y = y * r + 0.49999994f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    power = k < 0 ? 0.5f : 2.0f;
    for (n = k < 0 ? -k : k; n > 0; n >>= 1) {{
        if (n & 1) {{
            y *= power;
        }}
        power *= power;
    }}
    return y;
}}"""

# expm1f is missing in the library for AVR
_EXPM1 = """\
static float @expm1(float x)
{
    return @exp(x) - 1.0f;
}"""

# Eight sums at once hide the latency of additions, and compilers put them into vector registers
# without having to reorder a sum. GCC from -O3 would make vectors along the sums instead, in
# their order, and take four times as long. On Cortex-M4 a fused multiplication and addition takes
# three cycles, and two instructions take one each.
_DENSE = """\
/* y = W x + b with n inputs and m outputs. The rows of W follow in groups of eight, each group
   column by column; rows that are left follow one by one. */
#if defined(__GNUC__) && !defined(__clang__)
#ifdef __ARM_ARCH_7EM__
__attribute__((optimize("no-tree-loop-vectorize", "fp-contract=off")))
#else
__attribute__((optimize("no-tree-loop-vectorize")))
#endif
#endif
static void @dense(const float *w, const float *b, const float *x, float *y, int n, int m)
{
    const int whole = n - n % 4;
    int i, j;
    for (i = 0; i + 8 <= m; i += 8, b += 8, y += 8) {
        float y0 = @READ_FLOAT(b), y1 = @READ_FLOAT(b + 1);
        float y2 = @READ_FLOAT(b + 2), y3 = @READ_FLOAT(b + 3);
        float y4 = @READ_FLOAT(b + 4), y5 = @READ_FLOAT(b + 5);
        float y6 = @READ_FLOAT(b + 6), y7 = @READ_FLOAT(b + 7);
        for (j = 0; j < n; j++, w += 8) {
            const float v = x[j];
            y0 += @READ_FLOAT(w) * v;
            y1 += @READ_FLOAT(w + 1) * v;
            y2 += @READ_FLOAT(w + 2) * v;
            y3 += @READ_FLOAT(w + 3) * v;
            y4 += @READ_FLOAT(w + 4) * v;
            y5 += @READ_FLOAT(w + 5) * v;
            y6 += @READ_FLOAT(w + 6) * v;
            y7 += @READ_FLOAT(w + 7) * v;
        }
        y[0] = y0;
        y[1] = y1;
        y[2] = y2;
        y[3] = y3;
        y[4] = y4;
        y[5] = y5;
        y[6] = y6;
        y[7] = y7;
    }
    for (; i < m; i++) {
        float y0 = @READ_FLOAT(b), y1 = 0.0f, y2 = 0.0f, y3 = 0.0f;
        for (j = 0; j < whole; j += 4, w += 4) {
            y0 += @READ_FLOAT(w) * x[j];
            y1 += @READ_FLOAT(w + 1) * x[j + 1];
            y2 += @READ_FLOAT(w + 2) * x[j + 2];
            y3 += @READ_FLOAT(w + 3) * x[j + 3];
        }
        for (; j < n; j++, w++) {
            y0 += @READ_FLOAT(w) * x[j];
        }
        *y++ = (y0 + y1) + (y2 + y3);
        b++;
    }
}"""


_SQRT = f"""\
/* The square root of a number from 0, by Newton's method: the largest error is {SQRT_ERROR:.0e} of
   the result. */
static float @sqrt(float x)
{{
    float power = 1.0f, y;
    int n;
    if (!(x > 0.0f && x <= 3.4028235e38f)) {{
        return x;
    }}
    for (; x < 0.25f; x *= 4.0f) {{
        power *= 0.5f;
    }}
    for (; x > 1.0f; x *= 0.25f) {{
        power *= 2.0f;
    }}
    y = 0.35f + 0.66f * x;
    for (n = 0; n < 3; n++) {{
        y = 0.5f * (y + x / y);
    }}
    return y * power;
}}"""

_NORMALIZE = f"""\
/* Layer normalization: x without its mean, divided by its deviation, times gain, plus b. */
static void @normalize(float *x, const float *gain, const float *b, int n)
{{
    float mean = 0.0f, squares = 0.0f, deviation;
    int i;
    for (i = 0; i < n; i++) {{
        mean += x[i];
    }}
    mean /= (float)n;
    for (i = 0; i < n; i++) {{
        x[i] -= mean;
        squares += x[i] * x[i];
    }}
    deviation = @sqrt(squares / (float)n + {EPSILON}f);
    for (i = 0; i < n; i++) {{
        x[i] = x[i] / deviation * @READ_FLOAT(gain + i) + @READ_FLOAT(b + i);
    }}
}}"""


def _each(name: str, value: str) -> str:
    """A function that replaces each of n numbers."""
    return f"""\
static void @{name}(float *x, int n)
{{
    int i;
    for (i = 0; i < n; i++) {{
        x[i] = {value};
    }}
}}"""


_ONE_HOT = """\
/* n numbers: 1 at the place of the index, 0 elsewhere. */
static void @one_hot(float index, float *x, int n)
{
    int i;
    for (i = 0; i < n; i++) {
        x[i] = 0.0f;
    }
    x[(int)@clamp(index, 0.0f, (float)(n - 1))] = 1.0f;
}"""

_START = """\
/* y = b */
static void @start(const float *b, float *y, int m)
{
    int i;
    for (i = 0; i < m; i++) {
        y[i] = @READ_FLOAT(b + i);
    }
}"""

_ADD_ROW = """\
/* y += the row at the index, of n rows of m numbers. */
static void @add_row(const float *w, float index, float *y, int n, int m)
{
    int i;
    w += (int)@clamp(index, 0.0f, (float)(n - 1)) * m;
    for (i = 0; i < m; i++) {
        y[i] += @READ_FLOAT(w + i);
    }
}"""

_BEST = """\
/* The first of the largest scores. */
static int @best(const float *y, int n)
{
    int i, best = 0;
    for (i = 1; i < n; i++) {
        if (y[i] > y[best]) {
            best = i;
        }
    }
    return best;
}"""

_DRAWN = """\
/* A choice with the probabilities exp(y) / sum of exp(y). */
static int @drawn(const float *y, int n, float noise)
{
    const float top = y[@best(y, n)];
    float sum = 0.0f, reached = 0.0f;
    int i;
    for (i = 0; i < n; i++) {
        sum += @exp(y[i] - top);
    }
    for (i = 0; i < n - 1; i++) {
        reached += @exp(y[i] - top);
        if (reached > noise * sum) {
            break;
        }
    }
    return i;
}"""

_BEST_ALLOWED = """\
/* The first of the largest scores that the mask allows; -1 if it allows none. */
static int @best_allowed(const float *y, const unsigned char *mask, int n)
{
    int i, best = -1;
    for (i = 0; i < n; i++) {
        if ((!mask || mask[i]) && (best < 0 || y[i] > y[best])) {
            best = i;
        }
    }
    return best;
}"""

_DRAWN_ALLOWED = """\
/* A choice that the mask allows, with the probabilities exp(y) / sum of exp(y) of those; -1 if it
   allows none. */
static int @drawn_allowed(const float *y, const unsigned char *mask, int n, float noise)
{
    const int best = @best_allowed(y, mask, n);
    float sum = 0.0f, reached = 0.0f;
    int i, last = best;
    for (i = 0; i < n; i++) {
        if (!mask || mask[i]) {
            sum += @exp(y[i] - y[best]);
        }
    }
    for (i = 0; i < n; i++) {
        if (!mask || mask[i]) {
            last = i;
            reached += @exp(y[i] - y[best]);
            if (reached > noise * sum) {
                break;
            }
        }
    }
    return last;
}"""

_ANY_ALLOWED = """\
/* A choice that the mask allows, all with the same probability; -1 if it allows none. */
static int @any_allowed(const unsigned char *mask, int n, float noise)
{
    int i, left = 0;
    for (i = 0; i < n; i++) {
        left += !mask || mask[i];
    }
    left = (int)@clamp(noise * (float)left, 0.0f, (float)(left - 1));
    for (i = 0; i < n; i++) {
        if ((!mask || mask[i]) && left-- == 0) {
            return i;
        }
    }
    return -1;
}"""

_BIT_ALLOWED = """\
/* A bit: `on` if the mask allows 0 and 1, else what it allows; -1 if it allows neither. */
static float @bit_allowed(int on, const unsigned char *mask)
{
    if (mask && !(mask[0] && mask[1])) {
        return mask[1] ? 1.0f : mask[0] ? 0.0f : -1.0f;
    }
    return on ? 1.0f : 0.0f;
}"""

# Each calls only those before it.
_BLOCKS = {
    "clamp": _CLAMP, "tanh": _TANH, "exp": _EXP, "expm1": _EXPM1, "sqrt": _SQRT, "dense": _DENSE,
    "normalize": _NORMALIZE,
    "relu_all": _each("relu_all", "x[i] > 0.0f ? x[i] : 0.0f"),
    "tanh_all": _each("tanh_all", "@tanh(x[i])"),
    "elu_all": _each("elu_all", "x[i] > 0.0f ? x[i] : @expm1(x[i])"),
    "one_hot": _ONE_HOT, "start": _START, "add_row": _ADD_ROW, "best": _BEST, "drawn": _DRAWN,
    "best_allowed": _BEST_ALLOWED, "drawn_allowed": _DRAWN_ALLOWED, "any_allowed": _ANY_ALLOWED,
    "bit_allowed": _BIT_ALLOWED,
}  # fmt: skip
LIBM = ("tanh", "exp", "sqrt")  # also functions of math.h, with an f behind their names


def with_blocks(text: str, libm: bool) -> str:
    """A text after the functions that it calls, or with calls of math.h."""
    found: list[str] = []
    for name, block in reversed(_BLOCKS.items()):
        if f"@{name}(" in text + "".join(found) and not (libm and name in LIBM):
            found.append(block)
    whole = "\n\n".join([*reversed(found), text])
    if libm:
        for name in LIBM:
            whole = whole.replace(f"@{name}(", f"{name}f(")
    return whole
