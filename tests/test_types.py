"""What editors and type checkers see: completed settings, errors for wrong calls, typed results.

mypy checks a script as a user writes it; its messages are the assertions.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.markdown import python_blocks

import npr
from npr.nn import ACTIVATIONS
from npr.settings.groups import Networks

ROOT = Path(__file__).parent.parent
MYPY = sys.executable, "-m", "mypy", "--config-file", str(ROOT / "setup.cfg")
pytest.importorskip("mypy", reason="mypy is in the lint extra")

SCRIPT = """
import numpy as np
import npr
from npr.autodiff import gradcheck, value_and_grad
from npr.kernels import SumTree, gae

agent = npr.SAC("Pendulum-v1", seed=0, net_arch=[64, 64], learning_rate="linear:3e-4")
reveal_type(agent)  # npr.algorithms.sac.SAC
reveal_type(agent.learn(2_000))  # npr.algorithms.sac.SAC
reveal_type(agent.evaluate(episodes=5).mean)  # float
reveal_type(agent.predict(np.zeros(3)))  # tuple[Any, Any]
reveal_type(agent.gamma)  # float
reveal_type(agent.alpha)  # float
reveal_type(agent.get_params())  # dict[str, Any]
reveal_type(agent.set_params(gamma=0.9))  # npr.algorithms.sac.SAC
reveal_type(agent.score(episodes=2))  # float
reveal_type(agent.export("policy.h"))  # npr.export.Exported
reveal_type(npr.export(agent, "policy.h").bytes)  # int
reveal_type(npr.clone(agent, seed=1))  # npr.algorithms.sac.SAC
reveal_type(npr.SAC("Pendulum-v1", actor_lr=1e-3, alpha_lr="linear:1e-3").actor_lr)  # float | str
npr.PPO("CartPole-v1", policy_kwargs={"net_arch": [8]})
npr.PPO("CartPole-v1", alpha_lr=1.0)  # error: Unexpected keyword argument "alpha_lr"
reveal_type(npr.load("sac.npz"))  # npr.algorithms.base.Algorithm
reveal_type(npr.infer.load("sac.npz"))  # npr.policy.Policy
reveal_type(npr.PPO("CartPole-v1", n_envs=4).n_steps)  # int
reveal_type(npr.optim.Adam(np.zeros(3)).learning_rate)  # float
reveal_type(npr.nn.MLP(3, [4], 2).size)  # int
reveal_type(SumTree(8).total)  # float
npr.DQN("CartPole-v1", callback=print)  # error: Unexpected keyword argument "callback"
npr.DQN("CartPole-v1", sed=0)  # error: Unexpected keyword argument "sed"
npr.DQN("CartPole-v1", gamma="high")  # error: Argument "gamma" to "DQN"
npr.DQN("CartPole-v1", activation="rellu")  # error: Argument "activation" to "DQN"
agent.lerning_rate = 1.0  # error: "SAC" has no attribute "lerning_rate"
npr.DQN(env=3)  # error: Argument "env" to "DQN"
agent.learn("long")  # error: Argument 1 to "learn"
"""


def messages(script, folder):
    """{line: message} of mypy for a script, with npr from this checkout."""
    path = folder / "script.py"
    path.write_text(script)
    done = subprocess.run([*MYPY, str(path)], cwd=ROOT, capture_output=True, text=True)
    found = re.findall(r"script\.py:(\d+): (?:note: Revealed type is|error:) (.*)", done.stdout)
    assert found, done.stdout + done.stderr
    return {int(line): text for line, text in found}


SNIPPETS = [
    source for page in ("README.md", "docs/usage.md")
    for _, source in python_blocks((ROOT / page).read_text())
]  # fmt: skip


# functions of a snippet need no annotations; npr is checked as by `make lint`, with its cache
SNIPPET = """
[mypy-snippet]
disallow_untyped_defs = False
disallow_untyped_calls = False
disallow_incomplete_defs = False
"""


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_the_snippets_of_readme_and_usage_have_no_type_errors(number, tmp_path):
    path, config = tmp_path / "snippet.py", tmp_path / "mypy.cfg"
    path.write_text(SNIPPETS[number])
    config.write_text((ROOT / "setup.cfg").read_text() + SNIPPET)
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_script_has_types(tmp_path):
    found = messages(SCRIPT, tmp_path)
    for number, line in enumerate(SCRIPT.splitlines(), 1):
        if "  # " not in line:
            assert number not in found, found.get(number)
            continue
        expected = line.split("  # ")[1]
        text = found[number].replace("builtins.", "")
        assert expected.removeprefix("error: ") in text, (line, text)


def test_editors_see_every_name_of_npr():
    """`__all__`, which is imported lazily, and the imports for type checkers are the same names."""
    source = (ROOT / "npr" / "__init__.py").read_text()
    block = source[source.index("if TYPE_CHECKING:") : source.index("__all__")]
    typed = set(re.findall(r"\b[A-Za-z]\w+\b", re.sub(r"from [\w.]+ import|#.*", "", block)))
    assert set(npr.__all__) - {"clone", "load"} <= typed


def test_the_activations_that_editors_complete_are_those_of_networks():
    assert Networks.settings["activation"].choices == tuple(ACTIVATIONS)
