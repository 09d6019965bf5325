"""Hamiltonian Monte Carlo: many chains in one batch, with a step size that they find together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Density = Callable[[Tensor], tuple[Tensor, Tensor]]
ACCEPTANCE = 0.8  # what the step size is adapted to
_JITTER = 0.3  # so that no trajectory keeps coming back to where it began
# Hoffman and Gelman's rate and decay. Their offset of 10 damps the noise of one chain's acceptance: many have little.
_GAMMA, _DECAY, _OFFSET = 0.05, 0.75, 10
_DIVERGED = 1000.0  # nats by which the energy is off: the step is far too long for that place


@dataclass(frozen=True)
class State:
    """Where the chains stand.

    Attributes:
        position: Unconstrained, ``(S, P)``.
        log_density: Nats, ``(S,)``.
        gradient: Of the log density, ``(S, P)``.
    """

    position: Tensor
    log_density: Tensor
    gradient: Tensor

    @classmethod
    def at(cls, density: Density, position: Tensor) -> State:
        """Evaluate the density at a position."""
        return cls(position, *density(position))


@dataclass(frozen=True)
class Moved:
    """What one transition did.

    Attributes:
        state: Where the chains stand now.
        acceptance: Probability with which each chain's proposal was accepted, ``(S,)``; 0 where it diverged.
        divergent: Number of chains whose trajectory left what numbers can hold, or the energy's level.
    """

    state: State
    acceptance: Tensor
    divergent: int


def transition(
    density: Density,
    state: State,
    step_size: float,
    scale: Tensor,
    *,
    leapfrog_steps: int,
    generator: torch.Generator,
) -> Moved:
    r"""Move every chain by one trajectory, and accept or reject it chain by chain.

    In the coordinates u / scale the masses are 1; with the gradient g of the log density and a step e,

    .. math:: p \leftarrow p + \tfrac{e}{2} s g(u), \quad u \leftarrow u + e s p, \quad
              p \leftarrow p + \tfrac{e}{2} s g(u)

    A chain that meets a number which is not finite stays where it was, and touches no other.

    Args:
        density: Gives log densities and gradients.
        state: Where the chains stand.
        step_size: The step; each chain takes its own, up to 30 % longer or shorter.
        scale: Square roots of the inverse masses, ``(P,)``.
        leapfrog_steps: Steps of a trajectory.
        generator: Of the randomness; its numbers are made on its own device.

    Returns:
        Where the chains stand afterwards.

    References:
        Duane et al. (1987), "Hybrid Monte Carlo"; Neal (2011), arXiv 1206.1901.
    """
    noise, uniform = _random(state.position, generator)
    step = step_size * (1 + _JITTER * (2 * uniform[:, :1] - 1)) * scale
    there, lost = state, torch.zeros_like(state.log_density, dtype=torch.bool)
    momentum = noise + 0.5 * step * there.gradient
    for i in range(leapfrog_steps):
        there, astray = _advance(density, there.position + step * momentum, state)
        lost |= astray
        momentum = momentum + (0.5 if i == leapfrog_steps - 1 else 1.0) * step * there.gradient
    gain = there.log_density - state.log_density + 0.5 * (noise.square() - momentum.square()).sum(1)
    gain = gain.masked_fill(lost, -math.inf).nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf)
    acceptance = gain.clamp(max=0).exp()
    chosen = _choose(uniform[:, 1] < acceptance, there, state)
    return Moved(chosen, acceptance, int((gain < -_DIVERGED).sum()))


def _advance(density: Density, position: Tensor, start: State) -> tuple[State, Tensor]:
    """Evaluate a position; chains that are astray go on from their start, for there numbers are finite."""
    there = State.at(density, torch.where(_finite(position), position, start.position))
    good = _finite(position) & _finite(there.gradient) & there.log_density.isfinite().unsqueeze(1)
    good = good.squeeze(1)
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
    """Momenta, and for each chain the jitter and the number that decides."""
    noise = torch.randn(like.shape, generator=generator, dtype=like.dtype)
    uniform = torch.rand(len(like), 2, generator=generator, dtype=like.dtype)
    return noise.to(like.device), uniform.to(like.device)


class StepSize:
    r"""Adapts the step size to a mean acceptance, by dual averaging.

    .. math:: \log e_{t+1} = \mu - \frac{\sqrt t}{\gamma} \bar H_t, \quad
              \bar H_t = \left(1 - \tfrac{1}{t + t_0}\right) \bar H_{t-1} + \tfrac{1}{t + t_0} (0.8 - a_t)

    Args:
        first: The step size to begin with.

    Attributes:
        value: The step size for the next transition.

    References:
        Hoffman & Gelman (2014), arXiv 1111.4246, section 3.2.
    """

    def __init__(self, first: float) -> None:
        self.value = first
        self._center = math.log(first)
        self._error = 0.0
        self._count = 0
        self._average = 0.0

    def update(self, acceptance: float) -> None:
        """Learn from a transition."""
        self._count += 1
        t = self._count
        rate = 1 / (t + _OFFSET)
        self._error += rate * (ACCEPTANCE - acceptance - self._error)
        logarithm = self._center - math.sqrt(t) / _GAMMA * self._error
        self._average += t**-_DECAY * (logarithm - self._average)
        self.value = math.exp(logarithm)

    def finalize(self) -> None:
        """End the adaptation: from now on the step size is the average of the adapted ones."""
        if self._count:
            self.value = math.exp(self._average)
