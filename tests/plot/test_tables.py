"""Value maps, by their cells, arrows and labels."""

import numpy as np
import pytest
from gymnasium import spaces
from support.small_agents import RandomEnv, small_agent

import npr
from npr.errors import ConfigError
from npr.plot import table
from npr.plot.tables import all_panels, panels


def tabular(env, Q=None, **settings):
    """A QLearning agent with this table."""
    agent = npr.QLearning(env, seed=0, verbose=0, **settings)
    if Q is not None:
        agent.Q[:] = Q
    return agent


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def arrows(ax):
    """(row, column) -> direction (down, right) of the arrows."""
    found = {}
    for one in ax.texts:
        if hasattr(one, "arrow_patch") and one.arrow_patch is not None:
            (x0, y0), (x1, y1) = one.xyann, one.xy
            cell = round((y0 + y1) / 2), round((x0 + x1) / 2)
            found[cell] = (round(np.sign(y1 - y0)), round(np.sign(x1 - x0)))
    return found


def greedy_walk(env, agent, seed=0):
    """The cells of a greedy episode and those that the arrows say, in the real environment."""
    import gymnasium

    made = gymnasium.make(env, is_slippery=False)
    (panel,) = panels(agent)
    rows, columns = panel.values.shape
    s, _ = made.reset(seed=seed)
    cells, predicted, over = [divmod(s, columns)], [divmod(s, columns)], False
    while not over:
        row, column = divmod(s, columns)
        down, right = panel.actions[panel.greedy(row, column)]
        predicted.append(
            (np.clip(row + down, 0, rows - 1), np.clip(column + right, 0, columns - 1))
        )
        s, _, terminated, truncated, _ = made.step(agent.act(s))
        cells.append(divmod(s, columns))
        over = terminated or truncated
    return cells, predicted


def random_arrows(agent):
    agent.Q[:] = np.random.default_rng(0).random(agent.Q.shape)
    return agent


def test_arrows_are_the_moves_of_frozen_lake():
    """The path of a solved 4x4 lake: down, down, right, down, right, right."""
    agent = tabular("FrozenLake-v1", env_kwargs={"is_slippery": False}, max_episode_steps=100)
    for s, a in {0: 1, 4: 1, 8: 2, 9: 1, 13: 2, 14: 2}.items():
        agent.Q[s, a] = 1
    cells, predicted = greedy_walk("FrozenLake-v1", agent)
    assert cells == predicted and cells[-1] == (3, 3)


def test_arrows_are_the_moves_of_cliff_walking():
    agent = tabular("CliffWalking-v1", max_episode_steps=100)
    for s, a in {36: 0, **dict.fromkeys(range(24, 35), 1), 35: 2}.items():
        agent.Q[s, a] = 1
    cells, predicted = greedy_walk("CliffWalking-v1", agent)
    assert cells == predicted and cells[-1] == (3, 11) and len(cells) == 14


def test_arrows_and_walls_are_those_of_taxi():
    """In every cell, and for every direction: the move of the environment, or a wall."""
    import gymnasium

    made = gymnasium.make("Taxi-v4").unwrapped
    made.reset(seed=0)
    to, _ = panels(tabular("Taxi-v4", max_episode_steps=9), passenger="R", destination="B")
    moves = 0
    for row in range(5):
        for column in range(5):
            for action, (down, right) in enumerate(to.actions):
                made.s = made.encode(row, column, 0, 3)
                now = list(made.decode(int(made.step(action)[0])))[:2]
                wall = (row, column if right > 0 else column - 1) in to.walls and right != 0
                target = [np.clip(row + down, 0, 4), np.clip(column + right, 0, 4)]
                assert now == ([row, column] if wall else target)
                moves += now != [row, column]
    assert moves == 2 * (20 + 20 - 6)


def test_the_panels_of_taxi_are_those_of_the_passenger():
    agent = tabular("Taxi-v4", max_episode_steps=9)
    agent.Q[:] = np.arange(500)[:, None] + np.eye(6)[4]
    to, there = panels(agent, passenger="B", destination="Y")
    for row, column in ((0, 0), (3, 1)):
        state = (row * 5 + column) * 20
        assert to.values[row, column] == state + 3 * 4 + 2 + 1
        assert there.values[row, column] == state + 4 * 4 + 2 + 1
    assert to.title == "QLearning on Taxi-v4: to the passenger at B"
    figure = table(agent, passenger="B", destination="Y")
    assert len([ax for ax in figure.axes if ax.get_title()]) == 2
    assert texts(figure.axes[0]).count("pick\nup") == 25


def test_values_and_marks_stand_in_their_cells():
    agent = random_arrows(tabular("FrozenLake-v1"))
    figure = table(agent)
    ax, bar = figure.axes
    values = np.asarray(ax.images[0].get_array())
    shown = np.isfinite(np.ma.filled(ax.images[0].get_array(), np.nan))
    best = agent.Q.max(axis=1).reshape(4, 4)
    np.testing.assert_array_equal(values[shown], best[shown])
    assert (~shown).sum() == 5  # four holes and the goal
    assert texts(ax).count("hole") == 4
    assert texts(ax).count("goal") == texts(ax).count("start") == 1
    assert f"{best[0, 0]:.3g}" in texts(ax)
    assert bar.get_ylabel() == "value: max Q(s, a) over actions a"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("column", "row")
    assert ax.get_title() == "QLearning on FrozenLake-v1"


def test_cells_whose_actions_are_equal_have_no_arrow():
    agent = tabular("FrozenLake-v1")
    agent.Q[1] = [0, 0, 5, 0]
    agent.Q[5] = [0, 0, 5, 0]  # a hole
    ax = table(agent).axes[0]
    assert arrows(ax) == {(0, 1): (0, 1)}


def test_a_table_of_equal_values_is_drawn():
    assert not arrows(table(tabular("CliffWalking-v1")).axes[0])


def test_a_file_gives_the_same_map_as_its_agent(tmp_path):
    agent = random_arrows(tabular("FrozenLake8x8-v1"))
    agent.save(tmp_path / "a.npz")
    (one,), (other,) = panels(agent), panels(tmp_path / "a.npz")
    np.testing.assert_array_equal(one.q, other.q)
    assert (one.title, one.cells) == (other.title, other.cells)
    table(tmp_path / "a.npz", path=tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    "kwargs, rows",
    [({"map_name": "8x8"}, 8), ({"desc": ["SFF", "FHF", "FFG"], "map_name": None}, 3), ({}, 4)],
)
def test_the_map_of_a_lake_is_in_its_arguments(tmp_path, kwargs, rows):
    agent = tabular("FrozenLake-v1", env_kwargs=kwargs)
    agent.save(tmp_path / "a.npz")
    for source in (agent, tmp_path / "a.npz"):
        (panel,) = panels(source)
        assert panel.values.shape == (rows, rows)
        desc = agent.envs.bases()[0].unwrapped.desc
        assert ["".join(map(bytes.decode, row)) for row in desc] == list(panel.cells)


def test_a_random_map_is_that_of_the_open_environment_and_not_in_a_file(tmp_path):
    agent = tabular("FrozenLake-v1", env_kwargs={"map_name": None})
    (panel,) = panels(agent)
    assert panel.values.shape == (8, 8)
    agent.save(tmp_path / "a.npz")
    with pytest.raises(ConfigError, match="was drawn at random and is not in the file"):
        panels(tmp_path / "a.npz")
    own = panels(tmp_path / "a.npz", grid=panel.cells, actions=["left", "down", "right", "up"])
    assert own[0].cells == panel.cells


def test_several_agents_share_the_colors_and_have_titles():
    agents = {"one": tabular("CliffWalking-v1"), "two": tabular("CliffWalking-v1")}
    agents["two"].Q[0] = 3
    figure = table(agents)
    titles = [ax.get_title() for ax in figure.axes[:2]]
    assert titles == ["one", "two"]
    assert [ax.images[0].get_clim() for ax in figure.axes[:2]] == [(0, 3)] * 2
    assert len(figure.axes) == 3


def test_equal_titles_get_the_names_of_the_files(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        tabular("CliffWalking-v1").save(f"{folder}/final.npz")
    files = ["a/final.npz", "b/final.npz"]
    titles = [ax.get_title() for ax in table(files).axes[:2]]
    assert titles == [f"QLearning on CliffWalking-v1 ({file})" for file in files]
    agents = [tabular("CliffWalking-v1") for _ in range(2)]
    titles = [panel.title for panel in all_panels(agents, "t")]
    assert titles == ["t (1)", "t (2)"]


# ---- what cannot be drawn


def test_an_agent_with_a_network_is_refused(tmp_path):
    agent = small_agent("DQN")
    with pytest.raises(ConfigError, match="DQN has a network and no table of values"):
        table(agent)
    with pytest.raises(ConfigError, match="draws agents or their files, got 3"):
        table(3)


def test_a_grid_of_your_own_needs_its_cells_and_actions():
    agent = tabular("CliffWalking-v1")
    grid = ["." * 12] * 3 + ["S" + "#" * 10 + "G"]
    names = ["up", "right", "down", "left"]
    (panel,) = panels(agent, grid=grid, actions=names)
    assert panel.actions == [*panels(agent)[0].actions]
    with pytest.raises(ConfigError, match="a direction for each of the 4 actions, of left, down"):
        panels(agent, grid=grid, actions=["up", "west", "down", "left"])
    with pytest.raises(ConfigError, match="48 states, which do not fill a grid"):
        panels(agent, grid=grid[1:], actions=names)


def test_an_unknown_environment_asks_for_the_grid():
    agent = tabular(lambda: RandomEnv(spaces.Discrete(4), spaces.Discrete(2)))
    with pytest.raises(ConfigError, match=r"is not a grid that npr knows.*Pass grid="):
        panels(agent)


@pytest.mark.parametrize(
    "stops, message",
    [({"passenger": "X"}, "passenger must be one of R, G, Y, B; got 'X'"),
     ({"destination": "Y"}, "must differ, got 'Y' for both")],
)  # fmt: skip
def test_invalid_stops_of_taxi_are_refused(stops, message):
    with pytest.raises(ConfigError, match=message):
        panels(tabular("Taxi-v4"), **stops)


def test_a_table_of_another_shape_than_taxis_is_refused():
    agent = tabular("Taxi-v4")
    agent.Q = np.zeros((10, 6))
    agent.observations.n = agent.observations.size = 10
    with pytest.raises(ConfigError, match=r"The table of Taxi has shape \(500, 6\), got \(10, 6\)"):
        panels(agent)
