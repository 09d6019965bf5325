"""Convergence diagnostics of chains."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FEWEST = 4  # chains per superchain, and superchains


def nested_rhat(start: Tensor, end: Tensor) -> Tensor:
    """Compute the nested R-hat of C quantities, ``(C,)``, from each chain's first and last values, ``(S, C)``."""
    # Margossian et al. (2023), "Nested R-hat", arXiv 2110.13017, definition 2.1 and section 3: sqrt(1 + B / W), with
    # B the variance of the superchains' means and W the mean of the variances within them. Chains of a superchain
    # should start at one point. These start at draws of a guide, so a superchain is a group of chains whose starts of
    # the quantity are neighbours. If the start is forgotten, the expectation is about sqrt(1 + 1 / M) for M chains
    # per superchain. It is 1 for a quantity that is the same in all chains, and NaN with fewer than 16 chains.
    size = superchain_size(len(start))
    if not size:
        return end.new_full((end.shape[1],), math.nan)
    order = start.argsort(dim=0, stable=True)[: len(start) // size * size]
    groups = end.double().gather(0, order).unflatten(0, (-1, size))
    between, within = groups.mean(1).var(0), groups.var(1).mean(0)
    same = end.double().var(0) <= torch.finfo(end.dtype).eps ** 2 * end.double().square().mean(0)
    return torch.where(same, 1.0, (1 + between / within).sqrt()).to(end.dtype)


def superchain_size(num_chains: int) -> int:
    """Return the chains per superchain, about the square root of all; 0 if there are too few chains."""
    size = math.ceil(math.sqrt(num_chains))
    return size if num_chains // size >= _FEWEST else 0


def effective_sample_size(states: Tensor) -> Tensor:
    """Compute the effective sample size of C quantities, ``(C,)``, from N states of S chains, ``(N, S, C)``."""
    # The number of independent draws whose mean has the same error: S N / (1 + 2 sum_t (1 - t / N) rho_t). The
    # autocorrelations rho_t are about the mean of all chains and pooled over chains, so with many chains they are
    # well known even if chains are short. The sum ends where a pair of neighbours is no longer positive: Geyer
    # (1992), "Practical Markov chain Monte Carlo", section 3.3. Chains that do not move count for one draw each; a
    # quantity that does not vary has S N.
    length, chains, _ = states.shape
    centered = states.double() - states.double().mean((0, 1))
    variance = centered.square().mean((0, 1))
    total = torch.ones_like(variance)
    continues = variance > 0
    for lag in range(1, length, 2):
        pair = torch.zeros_like(total)
        weighted = torch.zeros_like(total)
        for t in (lag, lag + 1):
            if t < length:
                rho = (centered[t:] * centered[:-t]).mean((0, 1)) / variance
                pair, weighted = pair + rho, weighted + (1 - t / length) * rho
        continues &= pair > 0
        total = torch.where(continues, total + 2 * weighted, total)
        if not continues.any():
            break
    return length * chains / total.clamp(min=1 / length)
