"""The ELBO of a mean-field fit of the article's network, by the same independent formula for every program."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_CHUNK = 2000  # draws at once: 16 MB for the hidden layer


def elbo(
    loc: Mapping[str, Any],
    scale: Mapping[str, Any],
    x: Tensor,
    y: Tensor,
    draws: int = 100_000,
    seed: int = 1,
) -> tuple[float, float]:
    """Estimate the ELBO under N(0, 1) priors on all 41 weights and biases, in nats of the whole data set."""
    # the mean over draws of sum log p(y_n | x_n, w), minus sum ((scale² + loc² - 1) / 2 - log scale)
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    means = {name: torch.tensor(loc[name], dtype=torch.float64) for name in names}
    scales = {name: torch.tensor(scale[name], dtype=torch.float64) for name in names}
    kl = sum(
        float(((s.square() + means[name].square() - 1) / 2 - s.log()).sum()) for name, s in scales.items()
    )
    generator = torch.Generator().manual_seed(seed)
    log_p = []
    for start in range(0, draws, _CHUNK):
        size = min(_CHUNK, draws - start)
        w = {
            name: (means[name] + scales[name] * noise(generator, size, means[name])).float() for name in names
        }
        hidden = torch.tanh(x @ w["0.weight"].mT + w["0.bias"].unsqueeze(1))
        f = (hidden @ w["2.weight"].mT + w["2.bias"].unsqueeze(1)).squeeze(-1)
        rows = -F.binary_cross_entropy_with_logits(f, y.expand_as(f), reduction="none")
        log_p.append(rows.double().sum(1))
    values = torch.cat(log_p)
    return float(values.mean()) - kl, float(values.std()) / math.sqrt(draws)


def noise(generator: torch.Generator, draws: int, like: Tensor) -> Tensor:
    """Draw standard normal numbers."""
    return torch.randn(draws, *like.shape, generator=generator, dtype=torch.float64)
