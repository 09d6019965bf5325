"""An agent's life in the rounds of a seed."""

from __future__ import annotations

import numpy as np

from .agents import Agent
from .rounds import Rounds

PULLS = 3  # of each action, in turn, before an agent is asked


def learning_rounds(number: int, every: int, actions: int) -> list[int]:
    """Say after how many rounds the agents learn.

    Args:
        number: Of rounds T.
        every: Most rounds between two learnings.
        actions: How many there are.

    Returns:
        Numbers of rounds, rising: often at first, when each round changes much.

    Raises:
        ValueError: If agents would learn less than twice, or never again.
    """
    first = PULLS * actions
    if number <= 2 * first or every < 1:
        raise ValueError(
            f"more than {2 * first} rounds, learnings 1 or more apart; received {number} and {every}"
        )
    at, gap = [first], first
    while at[-1] + gap < number:
        at.append(at[-1] + gap)
        gap = min(2 * gap, every)
    return at


def play(agent: Agent, rounds: Rounds, at: list[int]) -> np.ndarray:
    """Let an agent live through the rounds.

    Args:
        agent: New.
        rounds: What is shown, and what each action gives.
        at: After how many rounds it learns.

    Returns:
        What it did, ``(T,)``.
    """
    number = len(rounds.x)
    actions = np.arange(number) % rounds.rewards.shape[1]  # the first ones are as prescribed, in turn
    for start, end in zip(at, [*at[1:], number], strict=True):
        done = actions[:start]
        agent.learn(rounds.x[:start], done, rounds.rewards[np.arange(start), done])
        actions[start:end] = agent.choose(rounds.x[start:end])
    return actions
