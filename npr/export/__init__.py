"""Exports of trained policies: C, JavaScript, plain Python, ONNX, and files of the policy alone.

    agent.export("policy.h")
    npr.export("sac.npz", "policy.js")

The suffix decides. Every writer starts from the same description of a policy (graph.py) and takes a
`Model` (model.py): the graph, where it comes from, and tests that are written beside it. To add a
form, add a module with `source(model, **options)` and an entry in FORMS.
"""

import inspect
import os
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npr.envs.make import is_vector, make_env, not_registered
from npr.envs.state_check import in_use
from npr.errors import CheckpointError, ConfigError, EnvContractError, is_of_gymnasium
from npr.export import c, javascript, onnx, policy_file, python
from npr.export.accuracy import checked, checked_limit
from npr.export.c.writing import checked_name
from npr.export.card import Card
from npr.export.episodes import KEPT, Played, play, thinned
from npr.export.graph import Array, Graph, graph_of
from npr.export.model import Model, draw_masks, fingerprint, with_tests
from npr.export.quantize import DTYPES, quantized
from npr.export.sources import Source, source_of
from npr.files.archive import read_headers
from npr.files.atomic import check_folder, replacement
from npr.files.policy_file import is_policy
from npr.policy import Policy
from npr.settings.setting import checked_seed, whole
from npr.training.saving import check_path

__all__ = [
    "FORMS", "Exported", "Graph", "Model", "check", "export", "graph_of", "model_of", "write",
]  # fmt: skip


@dataclass(frozen=True)
class Form:
    """How files of one suffix are written.

    write     (model, **options) -> the content of the file
    options   the options of `export` that it takes, and "file": the name of the file
    dtypes    of the numbers that it can hold
    """

    write: Callable[..., str | bytes]
    options: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32",)


FORMS: dict[str, Form] = {
    ".h": Form(c.source, ("stochastic", "libm", "name", "file"), ("float32", *DTYPES)),
    ".py": Form(python.source, ("stochastic",)),
    ".js": Form(javascript.source, ("stochastic", "file")),
    ".onnx": Form(onnx.source, ("stochastic",)),
    ".npz": Form(policy_file.archive),
    ".safetensors": Form(policy_file.tensors),
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    path    of the file, which has so many `bytes`
    model   what it holds
    """

    path: str
    bytes: int
    model: Model

    def __repr__(self) -> str:
        card, graph = self.model.card, self.model.graph
        size = f"{self.bytes:,} bytes, {graph.macs:,} multiplications per action"
        cost = "" if card.quantized is None else f"\n{card.quantized.text}"
        return f"{self.path}: {card.title}\n{size}, {card.measured}{cost}"


def export(
    agent: Any,
    path: "str | os.PathLike[str]",
    *,
    stochastic: bool = False,
    libm: bool = True,
    name: str = "policy",
    env: Any = None,
    episodes: int = 20,
    seed: int | None = 0,
    observations: Any = None,
    dtype: str = "float32",
    max_error: float = 0.05,
    max_return_loss: float = 0.1,
) -> Exported:
    """Write a trained policy for use without npr. The suffix of the path decides the form.

    agent          an agent, the path of its file, or a policy
    path           *.h C99, *.py plain Python, *.js JavaScript, *.onnx, *.npz for `npr.infer`,
                   *.safetensors
    stochastic     also write a function that samples actions, from noise that its caller gives;
                   *.npz and *.safetensors hold all that sampling needs in any case
    libm           C calls math.h; False: it has own approximations of tanh and exp
    name           prefix of the names in C
    env            of the episodes: id, Env, VectorEnv or function; None: one like the agent's
    episodes       played with the policy as it is written, for the return in the file and for
                   observations of its tests; 0: none
    seed           of the episodes
    observations   a batch of observations for the tests and for the ranges of integers, instead of
                   those in the episodes; 10,000 of them, evenly spaced, if there are more
    dtype          of the parameters: float32, or in C int8 or q15 (16 bits), with which it computes
                   with integers, for processors without floating point or with little memory
    max_error      largest mean error of actions with integers: relative to the range of actions, or
                   the share of observations with another action
    max_return_loss  largest fall of the mean return with integers, relative to that with floats, in
                   the same episodes; two standard errors of the difference are always allowed

    Raises ConfigError for a path or options that are not valid, for a *.npz that holds an agent,
    for a policy that is not finite, and where integers lose more than they may, and
    FileNotFoundError for a file or folder that does not exist; nothing is written then.
    """
    check(path, dtype=dtype, libm=libm, name=name)
    model = model_of(
        agent, env=env, episodes=episodes, seed=seed, observations=observations,
        dtype=dtype, max_error=max_error, max_return_loss=max_return_loss,
    )  # fmt: skip
    return write(model, path, stochastic=stochastic, libm=libm, name=name)


def write(
    model: Model,
    path: "str | os.PathLike[str]",
    *,
    stochastic: bool = False,
    libm: bool = True,
    name: str = "policy",
) -> Exported:
    """Write a model to a file; arguments and errors as of `export`."""
    form = check(path, dtype=getattr(model.graph, "dtype", "float32"), libm=libm, name=name)
    if stochastic and not model.graph.noise:
        raise ConfigError(
            f"stochastic=True needs a policy that samples; the actions of {model.card.title} are "
            "deterministic. Leave it out."
        )
    path = os.fsdecode(path)
    given: dict[str, Any] = {"stochastic": stochastic, "libm": libm, "name": name}
    given["file"] = os.path.basename(path)
    content = form.write(model, **{key: given[key] for key in form.options})
    data = content.encode() if isinstance(content, str) else content
    with replacement(path) as file:
        file.write(data)
    return Exported(path, len(data), model)


def check(path: Any, *, dtype: str = "float32", libm: bool = True, name: str = "policy") -> Form:
    """The form of the file at this path, by its suffix.

    Raises ConfigError if it does not take these options, is a folder, or holds an agent, and
    FileNotFoundError if it is in no folder.
    """
    check_path("path", path)
    path = os.fsdecode(path)
    form = FORMS.get(os.path.splitext(path)[1].lower())
    if form is None:
        raise ConfigError(f"{path!r} must end with {', '.join(FORMS)}: the suffix decides.")
    if dtype not in form.dtypes:
        raise ConfigError(
            f"dtype={dtype!r} cannot be written to {path!r}, which takes "
            f"{' or '.join(form.dtypes)}. C headers (*.h) take float32, {' and '.join(DTYPES)}."
        )
    checked_name(name)
    for option, default, value in (("libm", True, libm), ("name", "policy", name)):
        if value != default and option not in form.options:
            raise ConfigError(
                f"{option}={value!r} is for C headers (*.h), {path!r} is none. Leave it out."
            )
    check_folder(path)
    _check_replaced(path)
    return form


def model_of(
    agent: Any,
    *,
    env: Any = None,
    episodes: int = 20,
    seed: int | None = 0,
    observations: Any = None,
    dtype: str = "float32",
    max_error: float = 0.05,
    max_return_loss: float = 0.1,
) -> Model:
    """The model that `export` writes, with the same arguments."""
    limits = (
        checked_limit("max_error", max_error),
        checked_limit("max_return_loss", max_return_loss),
    )
    source, episodes = source_of(agent), whole("episodes", episodes, 0)
    seed = checked_seed("export", seed)
    if seed is None:  # episodes that are compared are the same
        seed = int(np.random.SeedSequence().generate_state(1)[0])
    graph = graph_of(source.policy)
    given = None if observations is None else _given(source.policy, graph, observations)
    played, note = _played(source, graph, env, episodes, seed)
    seen = played.observations if given is None and played is not None else given
    if dtype == "float32":
        return with_tests(source.policy, graph, _card(source, graph, played, note), seen)
    if graph.table is None and seen is None:
        raise ConfigError(
            f"dtype={dtype!r} needs observations, for the ranges of integers, and there are no "
            f"episodes ({note}). Pass observations=, a batch of usual ones, or env=."
        )
    seen = np.zeros((0, 0)) if seen is None else seen
    integer = quantized(graph, dtype, seen)
    again, _ = _played(source, integer, env, episodes if played else 0, seed)
    before, after = (None if one is None else one.evaluation for one in (played, again))
    masks = None
    if graph.mask:
        masks = None if given is not None or played is None else played.masks
        if masks is None:
            masks = draw_masks(graph, len(seen), np.random.default_rng(0))
    cost = checked(graph, integer, seen, before, after, *limits, masks)
    card = replace(_card(source, integer, again, note), quantized=cost)
    return with_tests(source.policy, integer, card, seen)


def _check_replaced(path: str) -> None:
    """Raise ConfigError if an agent would be replaced by its policy, which cannot learn on."""
    if not path.lower().endswith(".npz") or not os.path.isfile(path):
        return
    try:
        manifest, _ = read_headers(path)
    except CheckpointError:  # no file of npr
        return
    if not is_policy(manifest):
        raise ConfigError(
            f"{path} holds an agent, which can learn on; the policy alone would replace it. Export "
            "to another path, or remove the file."
        )


def _played(
    source: Source, graph: Graph, env: Any, episodes: int, seed: int | None
) -> tuple[Played | None, str]:
    """Episodes with the graph, or None and why not."""
    if not episodes:
        return None, "episodes=0"
    limit = source.max_episode_steps
    if env is None:
        try:
            made = source.make_env()
        except (ConfigError, ModuleNotFoundError) as error:  # without Gymnasium
            return None, str(error)
        except Exception as error:
            if not is_of_gymnasium(error):
                raise
            return None, not_registered(error)
    elif is_vector(env):
        made = env
    else:
        made = make_env(env, limit if isinstance(env, str) else None)
    try:
        return play(graph, source.policy, made, episodes, seed, limit), ""
    finally:
        if made is not env and not in_use(made):  # a function may return one that exists
            made.close()


def _given(policy: Policy, graph: Graph, observations: Any) -> Array:
    """At most KEPT rows (B, numbers) of a batch of observations that the caller gives."""
    encode = policy.observations.encode if graph.table is None else policy.encode
    try:
        with np.errstate(over="ignore"):  # what is beyond float32 is not finite
            rows = graph.decode(thinned(encode(observations), KEPT))
    except (EnvContractError, ValueError) as error:  # ValueError: lists of unequal lengths
        raise ConfigError(f"observations= must be a batch of the policy's: {error}") from None
    if not (len(rows) and np.isfinite(rows).all()):
        raise ConfigError(
            "observations= must be a batch of the policy's, with finite numbers; got "
            f"{'NaN or infinite values, as float32. Leave these out.' if len(rows) else 'none.'}"
        )
    return rows


def _card(source: Source, graph: Graph, played: Played | None, note: str) -> Card:
    result = None if played is None else played.evaluation
    return Card(
        source.algorithm, source.env, source.num_timesteps,
        None if played is None else played.low, None if played is None else played.high,
        None if result is None else result.mean, None if result is None else result.std,
        0 if result is None else len(result.returns), note, fingerprint(graph),
    )  # fmt: skip


class Module(types.ModuleType):
    """A module that can be called: npr.export(agent, path)."""

    __call__ = staticmethod(export)


sys.modules[__name__].__class__ = Module
module: Module = sys.modules[__name__]  # type: ignore[assignment]
__signature__ = inspect.signature(export)  # of the module
