"""What the presets promise: mean deterministic return over three seeds.

The quick rows run always, the others with `make test-slow`. `python benchmarks/presets.py` prints
the same figures with the worst seed and the seconds.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npr

EXAMPLES = Path(__file__).parent.parent / "examples"
slow = pytest.mark.slow

GATES = [
    ("QLearning", "CliffWalking-v1", -13.0),
    ("Sarsa", "CliffWalking-v1", -17.0),
    ("DQN", "CartPole-v1", 475),
    ("PPO", "CartPole-v1", 475),
    ("DDPG", "Pendulum-v1", -200),
    ("SAC", "Pendulum-v1", -200),
    pytest.param("TD3", "Pendulum-v1", -200, marks=slow),
    pytest.param("QLearning", "FrozenLake-v1", 0.70, marks=slow),
    pytest.param("QLearning", "Taxi-v4", 7.7, marks=slow),
    pytest.param("Sarsa", "FrozenLake-v1", 0.65, marks=slow),
    pytest.param("Sarsa", "Taxi-v4", 7.0, marks=slow),
    pytest.param("DQN", "Acrobot-v1", -100, marks=slow),
    pytest.param("PERDQN", "CartPole-v1", 475, marks=slow),
    pytest.param("PERDQN", "Acrobot-v1", -100, marks=slow),
    pytest.param("PPO", "Acrobot-v1", -100, marks=slow),
    pytest.param("PPO", "Pendulum-v1", -300, marks=slow),
]


@pytest.mark.parametrize(("algorithm", "env", "gate"), GATES)
def test_preset_reaches_its_gate(algorithm, env, gate):
    means = []
    for seed in range(3):
        agent = getattr(npr, algorithm)(env, seed=seed, verbose=0).learn()
        means.append(agent.evaluate(episodes=1_000 if agent.table else 100, seed=100 + seed).mean)
    assert np.mean(means) >= gate, means


def test_every_preset_has_a_gate():
    gated = {(g.values if hasattr(g, "values") else g)[:2] for g in GATES}
    assert gated == {(name, env) for name, table in npr.presets.PRESETS.items() for env in table}


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_examples_run(example, tmp_path):
    """With a budget of a few steps in place of the preset's."""
    code = (
        "import runpy, npr.presets as p\n"
        "for table in p.PRESETS.values():\n"
        "    for preset in table.values(): preset['total_timesteps'] = 600\n"
        f"runpy.run_path({str(example)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    assert "Evaluation(mean=" in done.stdout
    assert (tmp_path / f"{example.stem}.npz").exists()
