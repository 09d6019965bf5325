"""A bandit: its rounds, which are the same for all agents of a seed, and how agents see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Rounds:
    """The T rounds of one seed: contexts with D columns, and the rewards of K actions."""

    x: np.ndarray  # contexts, (T, D)
    rewards: np.ndarray  # of each action, (T, K)
    expected: np.ndarray  # mean of the rewards over their noise, (T, K)

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.rewards.shape != self.expected.shape or len(self.x) != len(self.rewards):
            shapes = self.x.shape, self.rewards.shape, self.expected.shape
            raise ValueError(f"shapes must be (T, D), (T, K) and (T, K); received {shapes}")

    def regret(self, actions: np.ndarray) -> np.ndarray:
        """Return the expected reward of the best action less that of the action taken, for each round."""
        return self.expected.max(axis=1) - self.expected[np.arange(len(actions)), actions]

    def prizes_taken(self, actions: np.ndarray) -> float:
        """Return how often a best action other than 0 was taken, as a share of such rounds in the second half."""
        best = self.expected.argmax(axis=1)
        late = np.flatnonzero(best)[np.flatnonzero(best) >= len(best) // 2]
        return float((actions[late] == best[late]).mean()) if len(late) else float("nan")


@dataclass(frozen=True)
class Problem:
    """A bandit, and the form in which agents see it."""

    name: str
    columns: int  # D of the contexts
    actions: int  # K
    # True: a network sees the context in columns of the action, (K D). False: the context, followed by one column for
    # each action, (D + K).
    blocks: bool
    prizes: str  # the page's name for taking a best action other than 0
    draw: Callable[[int, int], Rounds]  # from the number of rounds and a seed
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Number of inputs of a network."""
        return self.columns * self.actions if self.blocks else self.columns + self.actions

    def with_action(self, x: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Return the inputs for one action per context."""
        chosen = np.eye(self.actions, dtype=np.float32)[actions]
        if self.blocks:
            return (chosen[:, :, None] * x[:, None, :]).reshape(len(x), self.inputs)
        return np.concatenate([x, chosen], axis=1)

    def each_action(self, x: np.ndarray) -> np.ndarray:
        """Return the inputs for each action in each context."""
        return self.with_action(np.repeat(x, self.actions, axis=0), np.tile(np.arange(self.actions), len(x)))
