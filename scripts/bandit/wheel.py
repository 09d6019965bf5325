"""The wheel bandit, in which greedy agents miss the prizes; it needs no download.

A context is a uniform point of the unit disk. Action 0 pays 1.2 everywhere, the four others pay 1.0, with one
exception: outside the radius delta the action of the point's quadrant pays 50. All rewards have Gaussian noise of
standard deviation 0.01 (Riquelme, Tucker and Snoek 2018, arXiv 1802.09127, section 5.3). With delta 0.95 one round in
ten has a prize, so an agent that has not found one has good reason to believe that action 0 is the best.
"""

from __future__ import annotations

import numpy as np

from .rounds import Problem, Rounds

DELTA = 0.95
SAFE, OTHER, PRIZE, NOISE = 1.2, 1.0, 50.0, 0.01
ACTIONS = 5


def quadrants(points: np.ndarray) -> np.ndarray:
    """Return the action that wins the prize at each point, if it is outside the radius."""
    left, down = (points <= 0).astype(int).T
    return 1 + 2 * left + down


def draw_wheel(number: int, seed: int) -> Rounds:
    """Draw the rounds of a seed."""
    generator = np.random.default_rng([seed, 0])
    radius = generator.random(number) ** 0.5  # uniform over the area
    angle = 2 * np.pi * generator.random(number)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    mean = np.full((number, ACTIONS), OTHER)
    mean[:, 0] = SAFE
    outside = np.flatnonzero(radius > DELTA)
    mean[outside, quadrants(points)[outside]] = PRIZE
    rewards = mean + NOISE * generator.standard_normal(mean.shape)
    x = np.concatenate([np.ones((number, 1)), points], axis=1).astype(np.float32)
    return Rounds(x, rewards, mean)


WHEEL = Problem("wheel", columns=3, actions=ACTIONS, blocks=True, prizes="prizes taken", draw=draw_wheel)
