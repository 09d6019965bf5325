"""Hamiltonian Monte Carlo: many chains in one batch, with one adaptive step size."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Density = Callable[[Tensor], tuple[Tensor, Tensor]]
ACCEPTANCE = 0.8  # what the step size is adapted to
_JITTER = 0.3  # of the step sizes, so that no trajectory always ends where it started
# Hoffman and Gelman's rate and decay. Their offset of 10 damps the noise of the acceptance, which is small for many
# chains.
_GAMMA, _DECAY, _OFFSET = 0.05, 0.75, 10
_DIVERGED = 1000.0  # error of the energy, in nats, above which a transition is divergent


@dataclass(frozen=True)
class State:
    """Positions of the chains, with log density and gradient there."""

    position: Tensor  # unconstrained, (S, P)
    log_density: Tensor  # nats, (S,)
    gradient: Tensor  # of the log density, (S, P)

    @classmethod
    def at(cls, density: Density, position: Tensor) -> State:
        """Evaluate the density at a position."""
        return cls(position, *density(position))


@dataclass(frozen=True)
class Transition:
    """Result of one transition."""

    state: State
    acceptance: Tensor  # probability with which each chain's proposal was accepted, (S,); 0 where it diverged
    divergent: (
        int  # number of chains that met a number that is not finite, or an energy error above 1000 nats
    )


def transition(
    density: Density,
    state: State,
    step_size: float,
    scale: Tensor,
    *,
    leapfrog_steps: int,
    generator: torch.Generator,
) -> Transition:
    """Move every chain by one trajectory, and accept or reject it per chain."""
    # Leapfrog steps in the coordinates u / scale, in which the masses are 1; `scale` are square roots of the inverse
    # masses, (P,). Each chain has a step size of its own, up to 30 % longer or shorter. A chain that meets a number
    # that is not finite stays where it was and affects no other. Duane et al. (1987); Neal (2011), arXiv 1206.1901.
    noise, uniform = _random(state.position, generator)
    step = step_size * (1 + _JITTER * (2 * uniform[:, :1] - 1)) * scale
    there, failed = state, torch.zeros_like(state.log_density, dtype=torch.bool)
    momentum = noise + 0.5 * step * there.gradient
    for i in range(leapfrog_steps):
        there, not_finite = _advance(density, there.position + step * momentum, state)
        failed |= not_finite
        momentum = momentum + (0.5 if i == leapfrog_steps - 1 else 1.0) * step * there.gradient
    gain = there.log_density - state.log_density + 0.5 * (noise.square() - momentum.square()).sum(1)
    gain = gain.masked_fill(failed, -math.inf).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    acceptance = gain.clamp(max=0).exp()
    chosen = _choose(uniform[:, 1] < acceptance, there, state)
    return Transition(chosen, acceptance, int((gain < -_DIVERGED).sum()))


def _advance(density: Density, position: Tensor, start: State) -> tuple[State, Tensor]:
    """Evaluate a position; return which chains have numbers that are not finite, and put these back to their start."""
    there = State.at(density, torch.where(_finite(position), position, start.position))
    good = (_finite(position) & _finite(there.gradient)).squeeze(1) & there.log_density.isfinite()
    return (there if bool(good.all()) else _choose(good, there, start)), ~good


def _finite(rows: Tensor) -> Tensor:
    return rows.isfinite().all(1, keepdim=True)


def _choose(first: Tensor, one: State, other: State) -> State:
    column = first.unsqueeze(1)
    return State(
        torch.where(column, one.position, other.position),
        torch.where(first, one.log_density, other.log_density),
        torch.where(column, one.gradient, other.gradient),
    )


def _random(like: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw momenta, ``(S, P)``, and uniform numbers for jitter and acceptance, ``(S, 2)``."""
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype)
    uniform = torch.rand(len(like), 2, generator=generator, dtype=like.dtype)
    return noise.to(like.device), uniform.to(like.device)


class StepSize:
    """Adapts the step size to a mean acceptance of 0.8 by dual averaging: Hoffman & Gelman (2014), section 3.2."""

    def __init__(self, first: float) -> None:
        self.value = first
        self._center = math.log(first)
        self._count, self._error, self._average = 0, 0.0, 0.0

    def update(self, acceptance: float) -> None:
        """Adapt to the mean acceptance of a transition."""
        self._count += 1
        t = self._count
        rate = 1 / (t + _OFFSET)
        self._error += rate * (ACCEPTANCE - acceptance - self._error)
        logarithm = self._center - math.sqrt(t) / _GAMMA * self._error
        self._average += t**-_DECAY * (logarithm - self._average)
        self.value = math.exp(logarithm)

    def finalize(self) -> None:
        """End the adaptation: use the average of the adapted step sizes."""
        if self._count:
            self.value = math.exp(self._average)
