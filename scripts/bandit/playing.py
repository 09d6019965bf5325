"""Plays an agent through the rounds of a seed."""

from __future__ import annotations

import numpy as np

from .agents import Agent
from .rounds import Rounds

PULLS = 3  # of each action, in turn, before the agents choose


def learning_rounds(number: int, every: int, actions: int) -> list[int]:
    """Return after how many rounds the agents learn: often at first, then `every` rounds."""
    first = PULLS * actions
    if number <= 2 * first or every < 1:
        raise ValueError(
            f"there must be more than {2 * first} rounds, and 1 or more between two times of learning; received "
            f"{number} and {every}"
        )
    at, gap = [first], first
    while at[-1] + gap < number:
        at.append(at[-1] + gap)
        gap = min(2 * gap, every)
    return at


def play(agent: Agent, rounds: Rounds, at: list[int]) -> np.ndarray:
    """Play the rounds, and return the actions (T,)."""
    number = len(rounds.x)
    actions = np.arange(number) % rounds.rewards.shape[1]  # the first actions are prescribed, in turn
    for start, end in zip(at, [*at[1:], number], strict=True):
        done = actions[:start]
        agent.learn(rounds.x[:start], done, rounds.rewards[np.arange(start), done])
        actions[start:end] = agent.choose(rounds.x[start:end])
    return actions
