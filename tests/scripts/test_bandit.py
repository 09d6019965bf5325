"""The bandit: its rounds, its agents, what is said of them, and a small run of the script."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bayesian_layers.guides import FullRankNormal

SCRIPTS = Path(__file__).parents[2] / "scripts"
TABLE = "".join(f"{'ab'[i % 2]},{'xyz'[i % 3]},{'pe'[i % 2]}\n" for i in range(60))  # `a` is poisonous


@pytest.fixture(autouse=True)
def beside_scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def rounds():
    from bandit.problem import draw_rounds, read_mushrooms

    return draw_rounds(read_mushrooms(TABLE), 400, seed=1)


def test_a_table_becomes_columns_of_0_and_1():
    from bandit.problem import read_mushrooms

    table = read_mushrooms(TABLE)
    assert table.x.shape == (60, 5)
    assert (table.x.sum(axis=1) == 2).all()
    assert (table.x[:, 0] == table.poisonous).all()
    with pytest.raises(ValueError, match="edible"):
        read_mushrooms("a,b\nc,d\n")
    with pytest.raises(ValueError, match="shape"):
        read_mushrooms("a,e\nc,d,p\n")


def test_rewards_and_regret(rounds):
    from bandit.problem import EAT

    poisonous = rounds.x[:, 0] == 1
    assert set(rounds.rewards[poisonous, EAT]) == {5.0, -35.0}
    assert set(rounds.rewards[~poisonous, EAT]) == {5.0}
    ill = (rounds.rewards[poisonous, EAT] < 0).mean()
    assert abs(ill - 0.5) < 4 * 0.5 / poisonous.sum() ** 0.5
    eat, leave = (np.full(400, action) for action in (1, 0))
    assert (rounds.regret(eat) == np.where(poisonous, 15.0, 0.0)).all()
    assert (rounds.regret(leave) == np.where(poisonous, 0.0, 5.0)).all()
    assert (rounds.regret((~poisonous).astype(int)) == 0).all()


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

    at = learning_rounds(400, 100)
    assert at == [6, 12, 24, 48, 96, 192, 292, 392]
    actions = play(Recorder(), rounds, at)
    assert actions[:6].tolist() == [0, 1, 0, 1, 0, 1]
    assert (actions[6:] == 1).all()
    assert seen[:4] == [("learn", 6), ("choose", 6), ("learn", 12), ("choose", 12)]
    assert seen[-2:] == [("learn", 392), ("choose", 8)]


@pytest.mark.parametrize(("number", "every"), [(12, 100), (400, 0)])
def test_too_few_rounds_are_refused(number, every):
    from bandit.playing import learning_rounds

    with pytest.raises(ValueError, match="received"):
        learning_rounds(number, every)


def test_the_linear_agent_chooses_with_its_posteriors_probability():
    """One column of ones, so each arm's value is one Normal: P(eat) = Phi(difference of means / its deviation)."""
    from bandit.agents import LinearThompson, Settings

    settings = Settings(noise_scale=0.5, linear_scale=0.5)
    agent = LinearThompson(1, settings, seed=0)
    actions, rewards = np.array([0, 1, 1]), np.array([0.0, 5.0, -2.0])
    agent.learn(np.ones((3, 1), dtype=np.float32), actions, rewards)
    precision = np.array([1 / 0.25 + 1 / 0.25, 2 / 0.25 + 1 / 0.25])
    mean = np.array([0.0, 0.3 / 0.25]) / precision
    expected = float(torch.special.ndtr(torch.tensor((mean[1] - mean[0]) / (1 / precision).sum() ** 0.5)))
    share = agent.choose(np.ones((20_000, 1), dtype=np.float32)).mean()
    assert abs(share - expected) < 4 * (expected * (1 - expected) / 20_000) ** 0.5


def test_each_round_is_decided_by_a_function_of_its_own():
    """Fifty rounds with one and the same mushroom: undecided at first, and the same again with the same seed."""
    from bandit.agents import BayesianThompson, Settings

    x = np.ones((50, 4), dtype=np.float32)
    agent, again = (BayesianThompson(4, Settings(hidden=8), seed=3) for _ in range(2))
    assert isinstance(agent._guide, FullRankNormal)
    actions = agent.choose(x)
    assert 0 < actions.sum() < 50
    assert (again.choose(x) == actions).all()
    assert (agent.choose(x) != actions).any()


def test_ours_learns_what_is_to_be_eaten(rounds):
    from bandit.agents import BayesianThompson, Settings

    agent = BayesianThompson(rounds.x.shape[1], Settings(hidden=8), seed=0)
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
def test_the_page_says_who_won(gain, amount, verdict):
    from bandit.agents import Settings
    from bandit.page import Outcome, in_short

    noise = np.tile([[1.0], [-1.0]], (5, 4))
    regret = {"thompson": 60.0 + noise, "greedy": 60.0 + gain - noise}
    run = Outcome(regret, {}, {}, [6, 12], Settings(), {})
    ((heading, sentence),) = in_short(run)
    assert heading == "Against greedy, Keras:"
    assert amount in sentence
    assert verdict in sentence
    assert run.gain("greedy").mean == pytest.approx(4 * gain)


def test_a_small_run(script, tmp_path):
    (tmp_path / "table.dat").write_text(TABLE)
    done = script("compare_bandit.py", "--agents", "thompson", "greedy", "linear", "uniform",
                  "--rounds", 20, "--seeds", 2, "--table", "table.dat", "--out", "report")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Against uniform:" in done.stdout
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert metrics["learnings"] == [6, 12]
    assert metrics["provenance"]["seeds"] == [100, 101]
    assert metrics["provenance"]["command"].startswith("scripts/compare_bandit.py --agents thompson")
    assert set(metrics["regret"]) == {"thompson", "greedy", "linear", "uniform"}
    assert {path.name for path in (tmp_path / "report").iterdir()} == set(metrics["files"])
