"""What every bandit has: rounds that all agents of a seed are given alike, and what an agent may know beforehand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Rounds:
    """What happens in one seed's rounds, whatever an agent does.

    Attributes:
        x: The contexts, shape ``(T, D)``.
        rewards: What each of K actions would give, shape ``(T, K)``.
        expected: The mean of that over the reward's own chance, shape ``(T, K)``.
    """

    x: np.ndarray
    rewards: np.ndarray
    expected: np.ndarray

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.rewards.shape != self.expected.shape or len(self.x) != len(self.rewards):
            shapes = self.x.shape, self.rewards.shape, self.expected.shape
            raise ValueError(f"(T, D), (T, K) and (T, K) expected; received {shapes}")

    def regret(self, actions: np.ndarray) -> np.ndarray:
        """Say what was lost against one who knows the means.

        Args:
            actions: Taken, ``(T,)``.

        Returns:
            Of each round, ``(T,)``, 0 or more.
        """
        return self.expected.max(axis=1) - self.expected[np.arange(len(actions)), actions]

    def prizes_taken(self, actions: np.ndarray) -> float:
        """Say how often the best action was taken, of the rounds of the second half in which it is not action 0.

        Args:
            actions: Taken, ``(T,)``.

        Returns:
            A share, 0 to 1; NaN if there is no such round.
        """
        best = self.expected.argmax(axis=1)
        late = np.flatnonzero(best)[np.flatnonzero(best) >= len(best) // 2]
        return float((actions[late] == best[late]).mean()) if len(late) else float("nan")


@dataclass(frozen=True)
class Problem:
    """A bandit, and the form in which agents see it.

    Attributes:
        name: Of the bandit.
        columns: Of a context, D.
        actions: Number K.
        blocks: Whether a network sees the context in columns of the action's own, ``(K D)``, or the context followed
            by one column for each action, ``(D + K)``.
        prizes: What it is to take another action than 0 where that is best, in two words.
        draw: Rounds, from their number and a seed.
        sha256: File name to hash, of what was read.
    """

    name: str
    columns: int
    actions: int
    blocks: bool
    prizes: str
    draw: Callable[[int, int], Rounds]
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def inputs(self) -> int:
        """Columns that a network sees."""
        return self.columns * self.actions if self.blocks else self.columns + self.actions

    def with_action(self, x: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Put the action to the context.

        Args:
            x: Contexts, ``(B, D)``.
            actions: ``(B,)``.

        Returns:
            Inputs of a network, ``(B, inputs)``.
        """
        chosen = np.eye(self.actions, dtype=np.float32)[actions]
        if self.blocks:
            return (chosen[:, :, None] * x[:, None, :]).reshape(len(x), self.inputs)
        return np.concatenate([x, chosen], axis=1)

    def each_action(self, x: np.ndarray) -> np.ndarray:
        """Put each action to each context.

        Args:
            x: Contexts, ``(B, D)``.

        Returns:
            Inputs, ``(B * K, inputs)``; a context's actions follow each other.
        """
        return self.with_action(np.repeat(x, self.actions, axis=0), np.tile(np.arange(self.actions), len(x)))
