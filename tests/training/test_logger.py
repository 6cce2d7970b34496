"""The logger and the tables that `log_interval` prints."""

import io
import itertools

import numpy as np
import pytest
from support.small_agents import (
    BUDGET,
    CASES,
    small_agent,
)

from npr.training.logger import Logger

every_case = pytest.mark.parametrize("case", CASES)


KEYS_OF_SB3 = {
    "rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/success_rate",
    "rollout/exploration_rate", "time/fps", "time/iterations", "time/episodes",
    "time/time_elapsed", "time/total_timesteps", "train/learning_rate", "train/n_updates",
    "train/loss", "train/actor_loss", "train/critic_loss", "train/ent_coef",
    "train/ent_coef_loss", "train/policy_gradient_loss", "train/value_loss",
    "train/entropy_loss", "train/approx_kl", "train/clip_fraction", "train/clip_range",
    "train/explained_variance", "train/std",
}  # fmt: skip
KEYS_OF_NPR = {
    "train/td_error", "train/q_mean", "train/grad_norm", "time/peak_rss_mb", "train/kl_coef",
    "train/svgd_kernel_bandwidth",
}  # fmt: skip
GREEDY = {"rollout/exploration_rate", "train/learning_rate"}
POLICY = {"train/policy_gradient_loss", "train/entropy_loss", "train/learning_rate"}
ACTOR = {"train/critic_loss", "train/learning_rate"}
KEYS_OF = {
    "QLearning": GREEDY,
    "Sarsa": GREEDY,
    "DQN": GREEDY | {"train/loss"},
    "PERDQN": GREEDY | {"train/loss"},
    "REINFORCE": POLICY | {"train/value_loss"},
    "QActorCritic": POLICY | {"train/critic_loss"},
    "A2C": POLICY | {"train/value_loss"},
    "PPO": POLICY | {"train/value_loss", "train/approx_kl", "train/clip_fraction"},
    "PPOKL": POLICY | {"train/value_loss", "train/approx_kl", "train/kl_coef"},
    "DDPG": ACTOR | {"train/actor_loss"},
    "TD3": ACTOR,  # its actor is updated every second time
    "SoftQ": ACTOR,
    "SACS": ACTOR | {"train/actor_loss", "train/value_loss"},
    "SAC": ACTOR | {"train/actor_loss", "train/ent_coef"},
}


def tables(text):
    """The printed tables, each as {"rollout/ep_rew_mean": "12.5"}."""
    found = []
    for line, rows in itertools.groupby(text.splitlines(), lambda line: line.startswith("|")):
        if not line:
            continue
        table, group = {}, ""
        for row in rows:
            name, value = (cell.strip() for cell in row.strip("|").split("|"))
            if name.endswith("/"):
                group = name
            else:
                table[group + name] = value
        found.append(table)
    return found


@every_case
def test_log_interval_prints_a_table_with_the_keys_of_stable_baselines3(case, capsys):
    agent = small_agent(case, max_episode_steps=10).learn(BUDGET, log_interval=2)
    printed = tables(capsys.readouterr().out)
    assert len(printed) == agent.logger.episode_count // 2
    for n, table in enumerate(printed):
        assert set(table) <= KEYS_OF_SB3 | KEYS_OF_NPR
        assert table["time/episodes"] == str(2 * n + 2)
    last = printed[-1]
    common = {"rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "time/time_elapsed",
              "time/total_timesteps", "train/n_updates"}  # fmt: skip
    assert set(last) >= common | KEYS_OF[CASES[case][0]]
    returns, lengths = zip(*agent.logger.episodes)
    assert int(last["time/total_timesteps"]) == sum(lengths[: 2 * len(printed)])
    assert float(last["rollout/ep_rew_mean"]) == pytest.approx(
        np.mean(returns[: 2 * len(printed)]), rel=1e-3
    )


def test_no_table_is_printed_by_default(capsys):
    small_agent("DQN").learn(BUDGET)
    assert capsys.readouterr() == ("", "")


def test_a_table_before_the_first_episode():
    logger, stream = Logger(), io.StringIO()
    logger.record("train", {"loss": np.float32(0.123456), "n_updates": 3})
    logger.table(stream)
    assert stream.getvalue().splitlines() == [
        "--------------------------------------------",
        "| rollout/       |                         |",
        "|    ep_rew_mean | no episode finished yet |",
        "| train/         |                         |",
        "|    loss        | 0.1235                  |",
        "|    n_updates   | 3                       |",
        "--------------------------------------------",
    ]


def test_the_logger_averages_over_a_hundred_episodes():
    logger = Logger()
    assert logger.mean_return() is None
    for i in range(250):
        logger.episode((float(i), i))
    assert logger.episode_count == 250
    assert logger.mean_return() == np.mean(range(150, 250))
    assert logger.snapshot()["rollout/ep_len_mean"] == np.mean(range(150, 250))
