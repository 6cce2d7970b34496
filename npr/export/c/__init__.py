"""C99: one header with the declarations, and the code where POLICY_IMPLEMENTATION is defined.

A header is written in pieces, in which @ stands for the prefix of all names: the comment, the
declarations, the tables, the network, the functions around it, and the self-test.
"""

from npr.errors import ConfigError
from npr.export.c.acting import declarations, network_functions, table_functions
from npr.export.c.blocks import LIBM, with_blocks
from npr.export.c.comment import comment
from npr.export.c.integer import integer_network
from npr.export.c.network import Network, float_network
from npr.export.c.selftest import selftest
from npr.export.c.writing import Tables, checked_name, named
from npr.export.integer import IntegerGraph
from npr.export.model import Model

_HEADER = """\
#ifndef @H
#define @H

#ifdef __cplusplus
extern "C" {{
#endif

{defines}

{declared}
#ifndef @NO_SELFTEST
/* The number of stored actions that come out differently, and the largest difference. */
int @selftest(float *max_err);
#endif

#ifdef __cplusplus
}}
#endif

#endif /* @H */

#if defined(@IMPLEMENTATION) && !defined(@IMPLEMENTED)
#define @IMPLEMENTED
{includes}
#ifndef @FLASH
#ifdef __AVR__
#include <avr/pgmspace.h>
#define @FLASH PROGMEM
#define @READ_FLOAT(p) pgm_read_float(p)
#define @READ_BYTE(p) pgm_read_byte(p)
#define @READ_WORD(p) pgm_read_word(p)
#define @READ_DWORD(p) pgm_read_dword(p)
#else
#define @FLASH
#define @READ_FLOAT(p) (*(p))
#define @READ_BYTE(p) (*(p))
#define @READ_WORD(p) (*(p))
#define @READ_DWORD(p) (*(p))
#endif
#endif

{tables}

{code}

#ifndef @NO_SELFTEST
{test_tables}

{selftest}
#endif

#endif /* @IMPLEMENTATION */
"""


def source(
    model: Model,
    *,
    stochastic: bool = False,
    libm: bool = True,
    name: str = "policy",
    file: str = "policy.h",
) -> str:
    """The header.

    stochastic   also write @sample
    libm         call tanhf and expf of math.h; else own approximations
    name         prefix of all names, in capitals for macros
    file         name of the file, for the comment

    Raises ConfigError for a name that is not one in C, and for a layer without units.
    """
    name, graph, tables, tests = checked_name(name), model.graph, Tables(), Tables()
    if graph.table is None and not all(len(layer.b) for layer in graph.hidden):
        raise ConfigError("A layer without units cannot be written to C; leave the layer out.")
    network, cost = Network("", 0, 0), model.card.quantized
    notes = [] if cost is None else [f"Integers, {cost.text}."]
    if graph.table is not None:
        code, ram = table_functions(graph, graph.table, stochastic, tables), 0
    else:
        if isinstance(graph, IntegerGraph):
            network = integer_network(graph, stochastic, tables)
        else:
            network = float_network(graph, stochastic, tables)
        code, ram = network_functions(graph, network, stochastic, tables)
    sizes = {
        "OBS_DIM": graph.numbers, "ACT_DIM": graph.actions, "FLASH_BYTES": tables.bytes,
        "RAM_BYTES": ram, "MACS": network.macs,
    }  # fmt: skip
    if stochastic:
        sizes["NOISE_DIM"] = graph.noise
    if graph.mask:
        sizes["MASK_DIM"] = graph.mask
    includes = [*network.includes, *(["math.h"] if libm and _calls_libm(code) else [])]
    text = _HEADER.format(
        defines="\n".join(f"#define @{key} {value}" for key, value in sizes.items()),
        declared="\n".join(f"{head};" for head in declarations(graph, stochastic)),
        includes="".join(f"\n#include <{one}>" for one in includes) + "\n" * bool(includes),
        tables=tables.text,
        code=with_blocks(code, libm),
        selftest=selftest(model, stochastic, tests),
        test_tables=tests.text,
    )
    return f"{comment(model, stochastic, libm, name, file, notes)}\n{named(text, name)}"


def _calls_libm(code: str) -> bool:
    whole = with_blocks(code, True)
    return any(f"{name}f(" in whole for name in LIBM)
