"""The self-test in C: stored observations, and the actions that Python has for them."""

import numpy as np

from npr.export.c.writing import Tables
from npr.export.graph import ranges
from npr.export.model import Model

TOLERANCE = "1e-5f"  # of the action's range

_DIFFERENCE = """\
/* The largest difference of numbers of an action, {unit}; 1e30 if one is NaN. */
static float @difference(const float *action, const float *want)
{{
    float e, largest = 0.0f;
    int i;
    for (i = 0; i < {d}; i++) {{
        e = action[i] - @READ_FLOAT(want + i);
        e = e < 0.0f ? -e : e;
{scale}        largest = e <= largest ? largest : e == e ? e : 1e30f;
    }}
    return largest;
}}"""

_SCALE = """\
        {
            const float range = @READ_FLOAT(@test_ranges + i), size = @READ_FLOAT(want + i);
            e /= range > 0.0f ? range : @clamp(size < 0.0f ? -size : size, 1.0f, 3.4e38f);
        }
"""

_SELFTEST = """\
int @selftest(float *max_err)
{{
    float obs[{n}], action[{d}], error, worst = 0.0f;
{mask}    const float *given = @test_observations, *want = @test_actions;
    int t, i, failures = 0;
    for (t = 0; t < {tests}; t++, want += {d}) {{
        for (i = 0; i < {n}; i++) {{
            obs[i] = @READ_FLOAT(given++);
        }}
{masked}        {act}
        error = @difference(action, want);
        failures += error > {tolerance};
        worst = error > worst ? error : worst;
    }}
{sampled}    if (max_err) {{
        *max_err = worst;
    }}
    return failures;
}}"""

_SAMPLED = """\
    given = @test_observations;
    want = @test_sampled;
    for (t = 0; t < {tests}; t++, want += {d}) {{
        float noise[{noise}];
        for (i = 0; i < {n}; i++) {{
            obs[i] = @READ_FLOAT(given++);
        }}
        for (i = 0; i < {noise}; i++) {{
            noise[i] = @READ_FLOAT(@test_noise + {noise} * t + i);
        }}
{masked}        {sample}
        error = @difference(action, want);
        failures += error > {tolerance};
        worst = error > worst ? error : worst;
    }}
"""

_MASKED = """\
        for (i = 0; i < {k}; i++) {{
            mask[i] = @READ_BYTE(@test_masks + {k} * t + i);
        }}
"""


def selftest(model: Model, stochastic: bool, tables: Tables) -> str:
    """@selftest; its observations and actions are added to `tables`."""
    graph = model.graph
    tables.floats("test_observations", model.observations)
    tables.floats("test_actions", model.actions)
    scale, unit = "", "in units"
    if not all(graph.whole):
        tables.floats("test_ranges", np.array([unit or 0.0 for unit in ranges(graph)]))
        scale, unit = _SCALE, "in parts of their range"
    given, mask, masked = "(int)obs[0]" if graph.table is not None else "obs", "", ""
    if graph.mask:
        tables.integers("test_masks", model.masks, "unsigned char")
        mask, masked = f"    unsigned char mask[{graph.mask}];\n", _MASKED.format(k=graph.mask)
        given += ", mask"

    def call(function: str, *arguments: str) -> str:
        listed = ", ".join([given, *arguments])
        if graph.kind == "discrete":
            return f"action[0] = (float)@{function}({listed});"
        return f"@{function}({listed}, action);"

    words = {
        "n": graph.numbers, "d": graph.actions, "noise": graph.noise, "scale": scale, "unit": unit,
        "tests": len(model.observations), "tolerance": TOLERANCE,
        "act": call("act"), "sample": call("sample", "noise"), "mask": mask, "masked": masked,
    }  # fmt: skip
    sampled = ""
    if stochastic:
        tables.floats("test_noise", model.noise)
        tables.floats("test_sampled", model.sampled)
        sampled = _SAMPLED.format(**words)
    return "\n\n".join([_DIFFERENCE.format(**words), _SELFTEST.format(sampled=sampled, **words)])
