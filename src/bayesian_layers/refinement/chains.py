"""What chains say about themselves: arrays in, numbers out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FEWEST = 4  # chains in a superchain, and superchains


def nested_rhat(start: Tensor, end: Tensor) -> Tensor:
    r"""Tell how much where chains are still depends on where they began: the nested R-hat of one state a chain.

    .. math:: \sqrt{1 + \hat B / \hat W}

    with :math:`\hat B` the variance of the superchains' means and :math:`\hat W` the mean of the variances inside
    them. Chains of a superchain should begin at one point; these begin at draws of a guide, so a superchain is a
    group of chains with neighbouring starts of the quantity itself. Where the start is forgotten the expectation
    is about :math:`\sqrt{1 + 1/M}` for M chains a superchain.

    Args:
        start: Each chain's first value of C quantities, ``(S, C)``.
        end: Each chain's last value of them, ``(S, C)``.

    Returns:
        One number a quantity, ``(C,)``; 1 where the quantity is the same in all chains, NaN with fewer than 16 chains.

    References:
        Margossian et al. (2023), "Nested R-hat", arXiv 2110.13017, definition 2.1 and section 3.
    """
    size = superchain_size(len(start))
    if not size:
        return end.new_full((end.shape[1],), math.nan)
    order = start.argsort(dim=0, stable=True)[: len(start) // size * size]
    groups = end.double().gather(0, order).unflatten(0, (-1, size))
    between, within = groups.mean(1).var(0), groups.var(1).mean(0)
    same = end.double().var(0) <= torch.finfo(end.dtype).eps ** 2 * end.double().square().mean(0)
    return torch.where(same, 1.0, (1 + between / within).sqrt()).to(end.dtype)


def superchain_size(num_chains: int) -> int:
    """Divide chains into about as many superchains as each has chains."""
    size = math.ceil(math.sqrt(num_chains))
    return size if num_chains // size >= _FEWEST else 0


def effective_sample_size(states: Tensor) -> Tensor:
    r"""Count how many independent draws would know the mean of a quantity as well as all states of the chains.

    .. math:: \frac{S N}{1 + 2 \sum_{t=1}^{T} (1 - t / N) \rho_t}

    with the autocorrelations :math:`\rho_t` about the mean of all chains, pooled over chains: with many chains each is
    well known, however short the chains. The sum ends where a pair of neighbours is not positive any more. Chains
    that do not move at all count for one draw each.

    Args:
        states: N states of S chains, ``(N, S, C)``.

    Returns:
        One number a quantity, ``(C,)``; S N where the quantity does not vary.

    References:
        Geyer (1992), "Practical Markov chain Monte Carlo", section 3.3.
    """
    length, chains, _ = states.shape
    centered = states.double() - states.double().mean((0, 1))
    variance = centered.square().mean((0, 1))
    total = torch.ones_like(variance)
    going = variance > 0
    for lag in range(1, length, 2):
        pair = torch.zeros_like(total)
        weighted = torch.zeros_like(total)
        for t in (lag, lag + 1):
            if t < length:
                rho = (centered[t:] * centered[:-t]).mean((0, 1)) / variance
                pair, weighted = pair + rho, weighted + (1 - t / length) * rho
        going &= pair > 0
        total = torch.where(going, total + 2 * weighted, total)
        if not going.any():
            break
    return length * chains / total.clamp(min=1 / length)
