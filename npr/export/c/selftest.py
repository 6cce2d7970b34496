"""The self-test in C: stored observations, and the actions that Python has for them."""

import numpy as np

from npr.export.c.writing import Tables
from npr.export.model import Model

TOLERANCE = "1e-5f"  # of the action's range


def selftest(model: Model, stochastic: bool, tables: Tables) -> str:
    """@selftest; its observations and actions are added to `tables`."""
    graph = model.graph
    n, d = graph.numbers, graph.actions
    box, table = graph.kind == "box", graph.table is not None
    tables.floats("test_observations", model.observations)
    tables.floats("test_actions", model.actions)
    cases = [("act", "test_actions", "")]
    if stochastic:
        tables.floats("test_noise", model.noise)
        tables.floats("test_sampled", model.sampled)
        cases.append(("sample", "test_sampled", "noise"))
    if box:
        with np.errstate(invalid="ignore"):
            span = graph.high - graph.low
        tables.floats("test_span", np.where(np.isfinite(span) & (span > 0), span, 1.0))
    body = []
    for function, expected, noise in cases:
        given = "(int)obs[0]" if table else "obs"
        given += f", {noise}" if noise else ""
        if graph.kind == "discrete":
            body += [f"action[0] = (float)@{function}({given});"]
        else:
            body += [f"@{function}({given}, action);"]
        difference = f"action[i] - @READ_FLOAT(@{expected} + {d} * t + i)"
        if box:
            difference = f"({difference}) / @READ_FLOAT(@test_span + i)"
        body += [
            "error = 0.0f;", f"for (i = 0; i < {d}; i++) {{",
            f"    float e = {difference};", "    e = e < 0.0f ? -e : e;",
            "    error = e <= error ? error : e == e ? e : 1e30f; /* NaN is an error too */", "}",
            f"failures += error > {TOLERANCE};", "worst = error > worst ? error : worst;",
        ]  # fmt: skip
    reads = [f"for (i = 0; i < {n}; i++) {{", "    obs[i] = @READ_FLOAT(at++);", "}"]
    declared = [f"float obs[{n}], action[{d}], error, worst = 0.0f;"]
    if stochastic:
        declared[0] = f"float obs[{n}], noise[{graph.noise}], action[{d}], error, worst = 0.0f;"
        index = f"@test_noise + {graph.noise} * t + i"
        reads += [f"for (i = 0; i < {graph.noise}; i++) {{"]
        reads += [f"    noise[i] = @READ_FLOAT({index});", "}"]
    lines = [
        *declared, "const float *at = @test_observations;", "int t, i, failures = 0;",
        f"for (t = 0; t < {len(model.observations)}; t++) {{",
        *(f"    {line}" for line in [*reads, *body]), "}",
        "if (max_err) {", "    *max_err = worst;", "}", "return failures;",
    ]  # fmt: skip
    text = "\n".join(f"    {line}" for line in lines)
    return f"int @selftest(float *max_err)\n{{\n{text}\n}}"
