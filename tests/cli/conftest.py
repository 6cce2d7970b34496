"""Files of agents and run folders, made once, and a way to run commands in this process."""

import warnings

import pytest
from support.small_agents import CASES, small_agent

from npr import cli, runs


@pytest.fixture
def npr(capsys):
    """npr("eval", file, ...) -> (exit status, standard output, standard error)."""

    def run(*words):
        capsys.readouterr()
        status = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="package")
def agents(tmp_path_factory):
    """The folder of sac.npz on Pendulum-v1, and lake.npz, a table, on FrozenLake-v1."""
    folder = tmp_path_factory.mktemp("agents")
    small_agent("SAC").learn(96).save(folder / "sac.npz")
    kwargs = {"is_slippery": False}
    small_agent("QLearning", "FrozenLake-v1", env_kwargs=kwargs).learn(500).save(
        folder / "lake.npz"
    )
    return folder


@pytest.fixture(scope="package")
def trained_runs(tmp_path_factory):
    """A folder of three run folders: small0 and small1, two seeds, and wide0, another net_arch."""
    folder = tmp_path_factory.mktemp("runs")
    settings = {**CASES["SAC"][2], "verbose": 0}
    for name, seed, width in (("small0", 0, 8), ("small1", 1, 8), ("wide0", 0, 16)):
        config = runs.RunConfig(
            "SAC", "Pendulum-v1", settings={**settings, "net_arch": [width]}, seed=seed,
            total_timesteps=80, eval_freq=40, eval_episodes=1, save_freq=30, log_interval=1,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            runs.train(config, folder / name)
    return folder
