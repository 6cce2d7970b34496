"""The network of a policy as C code of emlearn, with the functions that npr's headers have.

emlearn knows networks, not policies: it has no normalization, so that this is folded into the first
layer without its clipping, and neither scales nor clips actions, which is done around it here.
"""

from pathlib import Path

import numpy as np

_HEADER = """
#ifndef POLICY_H
#define POLICY_H
#define POLICY_OBS_DIM {inputs}
#define POLICY_ACT_DIM 1
#define POLICY_FLASH_BYTES {flash}
#define POLICY_RAM_BYTES 0
#define POLICY_MACS {macs}
{head};
int policy_selftest(float *max_err);
#endif
#ifdef POLICY_IMPLEMENTATION
{code}
{head}
{{
    {body}
}}

int policy_selftest(float *max_err)
{{
    *max_err = 0;
    return 0;
}}
#endif
"""


def emlearn_header(graph):
    """The header, and the folder of those that it includes. Raises ImportError without emlearn.

    graph   of a policy with one index or one number as its action
    """
    import emlearn
    from emlearn.net import c_generate_net_loadable

    layers = [*graph.hidden, graph.output]
    weights = [np.asarray(layer.W.T, np.float64) for layer in layers]
    biases = [np.asarray(layer.b, np.float64) for layer in layers]
    if graph.norm is not None:
        biases[0] = biases[0] - (graph.norm.mean * graph.norm.scale) @ weights[0]
        weights[0] = weights[0] * graph.norm.scale[:, None]
    last = "identity" if graph.kind == "discrete" or graph.head == "gaussian" else "tanh"
    activations = [*(layer.activation for layer in graph.hidden), last]
    code = c_generate_net_loadable(activations, weights, biases, "peer")
    if graph.kind == "discrete":
        head = "int policy_act(const float *obs)"
        body = f"return (int)peer_predict(obs, {graph.numbers});"
    else:
        head = "void policy_act(const float *obs, float *action)"
        half, middle = float(graph.half[0]), float(graph.middle[0])
        body = f"action[0] = peer_regress1(obs, {graph.numbers}) * {half}f + {middle}f;"
    flash = 4 * sum(one.size for one in (*weights, *biases))
    header = _HEADER.format(
        inputs=graph.numbers, flash=flash, macs=graph.macs, head=head, body=body, code=code
    )
    return header, Path(emlearn.includedir)
