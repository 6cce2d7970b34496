"""Learning curves, by the structure of the figure: axes, labels, lines, data."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from support.run_folders import write_run
from support.small_agents import small_agent

import npr
from npr.errors import ConfigError, ConfigWarning
from npr.plot import curves, curves_text, sparkline
from npr.plot.drawing import COLORS, shortened, wrapped


@pytest.fixture
def runs(tmp_path):
    """Two settings of two seeds each; every episode has 10 steps."""
    for rate, returns in ((0.1, ([1.0, 2, 3], [3.0, 4, 5])), (0.2, ([0.0, 0, 9], [2.0, 2, 1]))):
        for seed, one in enumerate(returns):
            write_run(
                tmp_path / f"rate{rate}_{seed}", seed=seed, settings={"learning_rate": rate},
                returns=one, evaluated=([10, 30], [[1.0 + seed], [3.0 + seed]]),
                rows={"time/total_timesteps": [15, 30], "train/loss": [2.0, 1.0]},
            )  # fmt: skip
    return tmp_path


def test_a_group_is_a_line_and_a_band_with_its_label(runs):
    figure = curves(runs, smooth=1)
    (ax,) = figure.axes
    assert [line.get_label() for line in ax.lines] == [
        "SAC, learning_rate=0.1 (2 seeds)", "SAC, learning_rate=0.2 (2 seeds)",
    ]  # fmt: skip
    assert [line.get_xdata().tolist() for line in ax.lines] == [[10, 20, 30]] * 2
    assert [line.get_ydata().tolist() for line in ax.lines] == [[2, 3, 4], [1, 1, 5]]
    assert [to_hex(line.get_color()).upper() for line in ax.lines] == [*COLORS[:2]]
    assert len(ax.collections) == 2  # the bands
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 1 and band[:, 1].max() == 5


def test_axes_are_labeled_with_words_and_units(runs):
    (ax,) = curves(runs).axes
    assert ax.get_xlabel() == "environment steps"
    assert ax.get_ylabel() == "return of an episode, mean of 10 episodes"
    assert ax.get_title() == "Pendulum-v1"
    assert ax.get_legend().get_title().get_text() == (
        "mean, 95% interval\nfewer than 5 runs: intervals are too narrow"
    )
    (ax,) = curves(runs, x="seconds", y="evaluation", center="iqm", interval=0.8, title="t").axes
    assert ax.get_xlabel() == "time since the start of the run in seconds"
    assert ax.get_ylabel() == "return of evaluation episodes"
    assert ax.get_title() == "t"
    assert ax.get_legend().get_title().get_text().startswith("interquartile mean, 80% interval\n")
    (ax,) = curves(runs, y="train/loss", interval=None).axes
    assert ax.get_ylabel() == "train/loss"
    assert not ax.collections and ax.get_legend().get_title().get_text() == "mean"


def test_each_run_can_be_drawn_too(runs):
    (ax,) = curves(runs, smooth=1, each=True).axes
    assert len(ax.lines) == 6
    assert sorted(line.get_ydata().tolist() for line in ax.lines[:2]) == [[1, 2, 3], [3, 4, 5]]
    assert len(ax.get_legend().get_texts()) == 2


def test_environments_have_panels(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", env="CartPole-v1")
    write_run(tmp_path / "c", algorithm="PPO")
    titles = {ax.get_title(): ax for ax in curves(tmp_path).axes}
    assert [*titles] == ["Pendulum-v1", "CartPole-v1"]
    assert [line.get_label() for line in titles["Pendulum-v1"].lines] == [
        "SAC (1 seed)", "PPO (1 seed)",
    ]  # fmt: skip
    colors = [ax.lines[-1].get_color() for ax in titles.values()]
    assert colors[0] == COLORS[1] and colors[1] == COLORS[0]  # one color per label


def test_curves_are_drawn_into_given_axes(runs):
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert curves({"a": runs}, ax=axes[1]) is figure
    assert not axes[0].lines and axes[1].lines[0].get_label() == "a (4 runs)"


def test_eight_groups_have_distinct_colors_and_the_legend_beside(runs):
    (ax,) = curves({str(i): runs for i in range(8)}, interval=None).axes
    assert len({line.get_color() for line in ax.lines}) == 8
    (ax,) = curves({str(i): runs for i in range(9)}, interval=None).axes
    assert ax.lines[8].get_color() == COLORS[0] and ax.lines[8].get_linestyle() == "--"


def test_many_or_long_labels_are_below_panels_that_keep_their_size(tmp_path):
    """In pixels: the legend is inside of the picture and below the axes' labels."""
    settings = {f"a_setting_with_a_name_{i}": 0 for i in range(3)}
    for i in range(8):
        for env in ("Pendulum-v1", "CartPole-v1"):
            name = f"{env}{i}"
            changed = dict(zip(settings, (i % 2, i // 2 % 2, i // 4)))
            write_run(tmp_path / name, env=env, settings=changed)
    figure = curves(tmp_path, normalize={"Pendulum-v1": (0, 2), "CartPole-v1": (0, 1)})
    figure.draw_without_rendering()
    assert len(figure.axes) == 2
    for ax in figure.axes:
        legend = ax.get_legend().get_window_extent()
        assert len(ax.get_legend().get_texts()) == 8
        assert legend.y1 < ax.xaxis.label.get_window_extent().y0
        assert 0 <= legend.x0 < legend.x1 <= figure.bbox.width
        assert legend.y0 >= 0
        assert ax.bbox.width > 350 and ax.bbox.height > 250
        label = ax.yaxis.label.get_window_extent()
        assert label.height < figure.bbox.height and label.y1 <= figure.bbox.height
        assert label.y0 >= legend.y1


def test_labels_lose_their_middle_and_are_numbered_if_they_become_equal():
    assert shortened(["abc", "abcdefghij"], 10) == ["abc", "abcdefghij"]
    assert shortened(["abc", "abcdefghij"], 7) == ["abc", "abc…hij"]
    assert shortened(["abcdXefghi", "abcdYefghi"], 7) == ["1 ab…hi", "2 ab…hi"]


def test_a_wrapped_label_keeps_its_number_of_runs_together():
    assert wrapped("SAC, gamma=0.9 (3 seeds)", 17) == "SAC, gamma=0.9\n(3 seeds)"


@pytest.mark.parametrize(
    "given, message",
    [
        ({"smooth": 0}, "smooth must be a whole number of at least 1, got 0"),
        ({"smooth": -1}, "smooth must be a whole number of at least 1, got -1"),
        ({"interval": 2}, "interval must be between 0 and 1, got 2"),
        ({"interval": "95"}, "interval must be between 0 and 1, got '95'"),
    ],
)
def test_numbers_out_of_range_are_refused(given, message, runs):
    for function in (curves, curves_text):
        with pytest.raises(ConfigError, match=message):
            function(runs / "rate0.1_0", **given)


def test_a_run_that_has_just_begun_is_left_out_with_a_warning(runs):
    write_run(runs / "rate0.2_2", seed=2, settings={"learning_rate": 0.2}, returns=[])
    write_run(runs / "other", algorithm="PPO", returns=[])
    with pytest.warns(ConfigWarning, match="no finished episodes.*It is left out") as caught:
        (ax,) = curves(runs).axes
    assert len(caught) == 2
    assert [line.get_label()[-9:] for line in ax.lines] == ["(2 seeds)"] * 2
    with pytest.raises(ConfigError, match="other has no finished episodes"):
        curves(runs / "other")


@pytest.mark.parametrize(
    "name, begin", [("c.png", b"\x89PNG"), ("c.SVG", b"<?xml"), ("c.pdf", b"%PDF")]
)
def test_a_picture_is_written_by_its_suffix_and_is_the_same_each_time(runs, name, begin):
    curves(runs, path=runs / name)
    data = (runs / name).read_bytes()
    assert data.startswith(begin)
    curves(runs, path=runs / name)
    assert (runs / name).read_bytes() == data
    if begin == b"<?xml":
        assert ElementTree.fromstring(data).tag.endswith("svg")


def test_other_suffixes_are_refused_before_anything_is_read():
    with pytest.raises(ConfigError, match=r"written to .png, .svg or .pdf; got 'c.gif'"):
        curves("nothing", path="c.gif")


def test_pyplot_and_the_backend_are_left_alone(runs):
    script = (
        "import sys, npr; npr.plot.curves(sys.argv[1], path='c.png')\n"
        "print('matplotlib.pyplot' in sys.modules, 'gymnasium' in sys.modules)\n"
        "import matplotlib; print(matplotlib.rcParams._get_backend_or_none())"
    )
    command = [sys.executable, "-c", script, str(runs)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout.split() == ["False", "False", "None"], run.stderr


def test_without_matplotlib_an_error_names_the_extra_and_text_remains(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'npr-rl\[plot\]'.*curves_text"):
        curves(runs)
    assert "SAC, learning_rate=0.1 (2 seeds)" in curves_text(runs)


# ---- agents


@pytest.fixture(scope="module")
def agents():
    return [small_agent("QLearning", seed=seed).learn(240) for seed in (0, 1)]


def test_agents_are_drawn_from_their_history(agents):
    (ax,) = curves(agents, smooth=1).axes
    (line,) = ax.lines
    rows = [agent.logger.history.rows() for agent in agents]
    np.testing.assert_array_equal(line.get_xdata(), rows[0][:, 0])  # all episodes have 30 steps
    np.testing.assert_allclose(line.get_ydata(), np.mean([one[:, 1] for one in rows], axis=0))
    assert (line.get_label(), ax.get_title()) == ("QLearning (2 seeds)", "CliffWalking-v1")


def test_an_agent_plots_itself(agents, tmp_path):
    figure = agents[0].plot(tmp_path / "a.png", x="episodes", smooth=3)
    (line,) = figure.axes[0].lines
    assert line.get_xdata().tolist() == [*range(1, 9)]
    assert line.get_label() == "QLearning (1 seed)"
    assert (tmp_path / "a.png").stat().st_size > 5_000


def test_an_agent_without_episodes_is_refused():
    with pytest.raises(ConfigError, match="the agent QLearning has no finished episodes"):
        npr.QLearning("CliffWalking-v1", verbose=0).plot()


def test_a_long_history_counts_the_episodes_that_a_row_stands_for(agents, monkeypatch):
    history = agents[0].logger.history
    monkeypatch.setattr(history, "per_row", 4)
    (ax,) = curves(agents[0], x="episodes", smooth=8).axes
    x, y = ax.lines[0].get_data()
    assert x.tolist() == [4 * i for i in range(1, 9)]
    returns = history.rows()[:, 1]
    assert y[1] == returns[:2].mean() and y[-1] == returns[-2:].mean()


# ---- text


def test_a_sparkline_goes_from_the_lowest_to_the_highest_block():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 0]) == "█▁"
    assert sparkline([3, 3, 3]) == "▄▄▄"
    assert sparkline([]) == ""
    assert sparkline([np.nan, np.nan]) == "  "


def test_a_block_is_the_mean_of_its_values():
    assert sparkline([0, 2, 5, 7, np.nan, np.nan, 7, np.inf], width=4) == "▁▇ █"
    with pytest.raises(ConfigError, match="width must be at least 1, got 0"):
        sparkline([1, 2], width=0)


def test_text_has_a_line_per_group_with_its_numbers(runs):
    text = curves_text(runs, smooth=1, width=3)
    assert [" ".join(line.split()) for line in text.splitlines()] == [
        "return over steps mean IQM 95% interval",
        "SAC, learning_rate=0.1 (2 seeds) 4 4 [3, 5] ▁▅█",
        "SAC, learning_rate=0.2 (2 seeds) 5 5 [1, 9] ▁▁█",
        "Fewer than 5 runs: intervals are too narrow.",
    ]
    text = curves_text(runs, smooth=1, interval=None)
    assert "interval" in text.splitlines()[0] and len(text.splitlines()) == 3


def test_lines_of_text_fit_into_the_columns_of_a_terminal(runs):
    text = curves_text(runs, columns=60)
    assert max(map(len, text.splitlines())) == 60
    assert "SAC, learning…0.1 (2 seeds)" in text and "SAC, learning…0.2 (2 seeds)" in text
    wide = curves_text(runs, columns=200)
    assert wide == curves_text(runs)


def test_five_runs_are_enough_for_an_interval(runs):
    for n, noted in ((4, True), (5, False)):
        given = {"a": [runs / "rate0.1_0"] * n}
        (ax,) = curves(given).axes
        title = ax.get_legend().get_title().get_text()
        assert ("too narrow" in title, "too narrow" in curves_text(given)) == (noted, noted)


def test_text_names_the_environment_if_there_are_several(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", env="CartPole-v1")
    _, first, second = curves_text(tmp_path, smooth=1).splitlines()
    assert first.startswith("SAC (1 seed), Pendulum-v1 ")
    assert second.startswith("SAC (1 seed), CartPole-v1 ")
