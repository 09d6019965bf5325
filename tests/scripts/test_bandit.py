"""The bandit: its rounds, its agents, the sentences about them, and a small run of the script."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from bayesian_layers.guides import FullRankNormal

TABLE = "".join(f"{'ab'[i % 2]},{'xyz'[i % 3]},{'pe'[i % 2]}\n" for i in range(60))  # `a` is poisonous


@pytest.fixture
def rounds():
    from bandit.mushroom import draw_rounds, read_mushrooms

    return draw_rounds(read_mushrooms(TABLE), 400, seed=1)


@pytest.fixture
def mushrooms():
    from bandit.mushroom import mushroom_problem, read_mushrooms

    return mushroom_problem(read_mushrooms(TABLE))


@pytest.fixture
def one_column(mushrooms):
    return replace(mushrooms, columns=1)


def test_a_table_becomes_columns_of_0_and_1():
    from bandit.mushroom import read_mushrooms

    table = read_mushrooms(TABLE)
    assert table.x.shape == (60, 5)
    assert (table.x.sum(axis=1) == 2).all()
    assert (table.x[:, 0] == table.poisonous).all()
    with pytest.raises(ValueError, match="edible"):
        read_mushrooms("a,b\nc,d\n")
    with pytest.raises(ValueError, match="shape"):
        read_mushrooms("a,e\nc,d,p\n")


def test_rewards_and_regret(rounds):
    from bandit.mushroom import EAT

    poisonous = rounds.x[:, 0] == 1
    assert set(rounds.rewards[poisonous, EAT]) == {5.0, -35.0}
    assert set(rounds.rewards[~poisonous, EAT]) == {5.0}
    ill = (rounds.rewards[poisonous, EAT] < 0).mean()
    assert abs(ill - 0.5) < 4 * 0.5 / poisonous.sum() ** 0.5
    eat, leave = (np.full(400, action) for action in (1, 0))
    assert (rounds.regret(eat) == np.where(poisonous, 15.0, 0.0)).all()
    assert (rounds.regret(leave) == np.where(poisonous, 0.0, 5.0)).all()
    assert (rounds.regret((~poisonous).astype(int)) == 0).all()


def test_the_wheel_pays_by_region():
    """The rim has 1 - 0.95^2 of the disk, each quadrant a quarter of it; the prize is that of the quadrant's action."""
    from bandit.wheel import draw_wheel

    rounds = draw_wheel(20_000, seed=5)
    ones, across, up = rounds.x.T
    assert (ones == 1).all()
    radius = np.hypot(across, up)
    assert radius.max() <= 1 + 1e-6
    for inner in (0.5, 0.95):
        share = (radius > inner).mean()
        assert abs(share - (1 - inner**2)) < 4 * (inner**2 * (1 - inner**2) / 20_000) ** 0.5
    plain = np.tile([1.2, 1.0, 1.0, 1.0, 1.0], (20_000, 1))
    for action, signs in enumerate([(1, 1), (1, -1), (-1, 1), (-1, -1)], start=1):
        there = (radius > 0.95) & (np.sign(across) == signs[0]) & (np.sign(up) == signs[1])
        assert abs(there.sum() - 20_000 * 0.0975 / 4) < 4 * (20_000 * 0.0975 / 4) ** 0.5
        plain[there, action] = 50.0
    assert (rounds.expected == plain).all()
    noise = rounds.rewards - rounds.expected
    assert abs(noise.std() - 0.01) < 4 * 0.01 / 200_000**0.5
    assert (np.abs(noise.mean(axis=0)) < 4 * 0.01 / 20_000**0.5).all()


def test_the_wheels_optimum_loses_nothing():
    from bandit.wheel import draw_wheel

    rounds = draw_wheel(2000, seed=5)
    outside = np.hypot(*rounds.x[:, 1:].T) > 0.95
    best = np.where(outside, 1 + 2 * (rounds.x[:, 1] < 0) + (rounds.x[:, 2] < 0), 0)
    assert (rounds.regret(best) == 0).all()
    assert rounds.prizes_taken(best) == 1
    safe = np.zeros(2000, dtype=int)
    assert rounds.regret(safe) == pytest.approx(np.where(outside, 48.8, 0.0))
    assert rounds.prizes_taken(safe) == 0
    assert rounds.regret(np.where(outside, best % 4 + 1, 1)) == pytest.approx(np.where(outside, 49.0, 0.2))


def test_the_wheel_is_the_same_again_by_seed_alone():
    from bandit.wheel import draw_wheel

    one, again, other = (draw_wheel(50, seed) for seed in (5, 5, 6))
    assert (one.x == again.x).all()
    assert (one.rewards == again.rewards).all()
    assert (one.x[:, 1:] != other.x[:, 1:]).all()


def test_actions_have_their_own_columns_or_one_column_each(mushrooms):
    from bandit.wheel import WHEEL

    x = np.array([[1, 0.5, -0.5], [1, 0.25, 0]], dtype=np.float32)
    seen = WHEEL.with_action(x, np.array([0, 4]))
    assert seen.shape == (2, WHEEL.inputs)
    assert seen.reshape(2, 5, 3)[[0, 1], [0, 4]].tolist() == x.tolist()
    assert (seen != 0).sum() == 5
    each = WHEEL.each_action(x)
    assert each.shape == (10, 15)
    assert (each[[0, 9]] == seen).all()
    x = np.ones((1, 5), dtype=np.float32)
    assert mushrooms.inputs == 7
    assert mushrooms.each_action(x).tolist() == [[1] * 5 + [1, 0], [1] * 5 + [0, 1]]


def test_the_wheel_takes_no_table(tmp_path):
    from bandit.problems import find_problem

    with pytest.raises(ValueError, match="mushroom"):
        find_problem("wheel", tmp_path / "table.dat")


def test_agents_learn_from_the_past_alone(rounds):
    from bandit.playing import learning_rounds, play

    seen = []

    class Recorder:
        def choose(self, x):
            seen.append(("choose", len(x)))
            return np.ones(len(x), dtype=int)

        def learn(self, x, actions, rewards):
            assert len(x) == len(actions) == len(rewards)
            assert (rewards == rounds.rewards[np.arange(len(x)), actions]).all()
            seen.append(("learn", len(x)))

    at = learning_rounds(400, 100, 2)
    assert at == [6, 12, 24, 48, 96, 192, 292, 392]
    actions = play(Recorder(), rounds, at)
    assert actions[:6].tolist() == [0, 1, 0, 1, 0, 1]
    assert (actions[6:] == 1).all()
    assert seen[:4] == [("learn", 6), ("choose", 6), ("learn", 12), ("choose", 12)]
    assert seen[-2:] == [("learn", 392), ("choose", 8)]


@pytest.mark.parametrize(("number", "every", "actions"), [(12, 100, 2), (30, 100, 5), (400, 0, 2)])
def test_too_few_rounds_are_refused(number, every, actions):
    from bandit.playing import learning_rounds

    with pytest.raises(ValueError, match="received"):
        learning_rounds(number, every, actions)


def test_the_linear_agent_chooses_with_its_posteriors_probability(one_column):
    """One column of ones, so the value of each arm is Normal: P(eat) = Phi(difference of means / its std)."""
    from bandit.agents import LinearThompson, Settings

    settings = Settings(noise_scale=0.5, linear_scale=0.5)
    agent = LinearThompson(one_column, settings, seed=0)
    actions, rewards = np.array([0, 1, 1]), np.array([0.0, 5.0, -2.0])
    agent.learn(np.ones((3, 1), dtype=np.float32), actions, rewards)
    precision = np.array([1 / 0.25 + 1 / 0.25, 2 / 0.25 + 1 / 0.25])
    mean = np.array([0.0, 0.3 / 0.25]) / precision
    expected = float(torch.special.ndtr(torch.tensor((mean[1] - mean[0]) / (1 / precision).sum() ** 0.5)))
    share = agent.choose(np.ones((20_000, 1), dtype=np.float32)).mean()
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 20_000) ** 0.5


def test_each_round_has_its_own_function(mushrooms):
    """Fifty rounds with the same mushroom: different actions at first, and the same again with the same seed."""
    from bandit.agents import BayesianThompson, Settings

    x = np.ones((50, 5), dtype=np.float32)
    agent, again = (BayesianThompson(mushrooms, Settings(hidden=8), seed=3) for _ in range(2))
    assert isinstance(agent._guide, FullRankNormal)
    actions = agent.choose(x)
    assert 0 < actions.sum() < 50
    assert (again.choose(x) == actions).all()
    assert (agent.choose(x) != actions).any()


@pytest.mark.slow
def test_ours_learns_what_is_to_be_eaten(rounds, mushrooms):
    from bandit.agents import BayesianThompson, Settings

    agent = BayesianThompson(mushrooms, Settings(hidden=8), seed=0)
    x, actions = rounds.x[:300], np.arange(300) // 7 % 2
    rewards = rounds.rewards[np.arange(300), actions]
    for _ in range(5):
        agent.learn(x, actions, rewards)
    right = rounds.expected[300:].argmax(axis=1)
    assert 0 < right.sum() < 100
    assert (agent.choose(rounds.x[300:]) == right).mean() > 0.95


@pytest.mark.parametrize(
    ("gain", "amount", "verdict"),
    [
        (50.0, "lost 200 ± 3 less (", "a clear difference; it lost less in 10 of 10"),
        (-50.0, "lost 200 ± 3 more (", "a clear difference; it lost less in 0 of 10"),
        (0.0, "lost 0 ± 3 ", "no clear difference; it lost less in 5 of 10"),
    ],
)
def test_the_page_tells_who_won(mushrooms, gain, amount, verdict):
    from bandit.agents import Settings
    from bandit.bandit_report import BanditRun, summary

    noise = np.tile([[1.0], [-1.0]], (5, 4))
    regret = {"thompson": 60.0 + noise, "greedy": 60.0 + gain - noise}
    run = BanditRun(regret, {}, {}, mushrooms, [6, 12], Settings(), {})
    ((heading, sentence),) = summary(run)
    assert heading == "Against greedy, Keras:"
    assert amount in sentence
    assert verdict in sentence
    assert run.gain("greedy").mean == pytest.approx(4 * gain)


def test_mushrooms_are_found_by_name_and_table(tmp_path):
    from bandit.problems import find_problem, settings_of

    (tmp_path / "table.dat").write_text(TABLE)
    problem = find_problem("mushroom", tmp_path / "table.dat")
    assert (problem.inputs, problem.actions, settings_of(problem).hidden) == (7, 2, 50)
    assert problem.draw(30, 1).x.shape == (30, 5)


@pytest.mark.slow
def test_a_small_run_of_the_wheel(script, tmp_path):
    done = script("compare_bandit.py", "--agents", "thompson", "greedy", "linear", "uniform",
                  "--rounds", 31, "--steps", 2, "--seeds", 1, "--out", "report")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Against uniform:" in done.stdout
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["problem"] == "wheel"
    assert metrics["learnings"] == [15, 30]
    assert metrics["provenance"]["command"].startswith("scripts/compare_bandit.py --agents thompson")
    assert set(metrics["regret"]) == {"thompson", "greedy", "linear", "uniform"}
    assert {path.name for path in (tmp_path / "report").iterdir()} == set(metrics["files"])
