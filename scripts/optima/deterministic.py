"""Training of the same network without uncertainty: plain torch, Adam, until the loss is on a plateau."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor, nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded

RATE = 0.01  # of Adam; constant
BATCH, MOST_ROWS = 256, 2048  # rows of a minibatch; up to so many rows a step takes all
SHARE = 0.01  # of the whole improvement
FEWEST, MOST_EPOCHS, MOST_SECONDS = 200, 20_000, 120.0  # of a run


@dataclass(frozen=True)
class Plateau:
    """How a run went; the losses are means per row, in nats."""

    seconds: float  # until the plateau was reached
    epochs: int  # until the plateau was reached
    first_loss: float
    loss: float  # the best one


class Training(nn.Module):
    """The mean loss per row of a copy of the network, with the parameters of the likelihood."""

    def __init__(self, model: bl.BayesianModel) -> None:
        super().__init__()
        if model.likelihood is None:
            raise ValueError("the model must have a likelihood")
        self.network, self._likelihood = copy.deepcopy(model.network), model.likelihood
        like = next(self.network.parameters())
        sites = model.likelihood.sites(like.detach().new_empty(()))
        self._names, self._positive = list(sites), [site.positive for site in sites.values()]
        starts = (site.initial.log() if site.positive else site.initial for site in sites.values())
        self.own = nn.ParameterList(nn.Parameter(start.detach().clone()) for start in starts)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the mean negative log likelihood."""
        values = [
            value.exp() if positive else value
            for value, positive in zip(self.own, self._positive, strict=True)
        ]
        f = self.network(x)
        latents = dict(zip(self._names, values, strict=True))
        return -self._likelihood.distribution(f, output_axes=f.dim() - 1, **latents).log_prob(y).mean()


def batches(rows: int) -> Iterator[Tensor | slice]:
    """Return the rows of each step of one epoch."""
    if rows <= MOST_ROWS:
        yield slice(None)
    else:
        yield from torch.randperm(rows).split(BATCH)


def epochs(training: Training, x: Tensor, y: Tensor) -> Iterator[float]:
    """Train, and return the mean loss of each epoch; weight decay 1 / N is the gradient of N(0, 1) priors."""
    weights, own = list(training.network.parameters()), list(training.own)
    optimizer = torch.optim.Adam([{"params": weights, "weight_decay": 1 / len(y)}, {"params": own}], lr=RATE)
    while True:
        losses = []
        for rows in batches(len(y)):
            optimizer.zero_grad()
            loss = training(x[rows], y[rows])
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        yield sum(losses) / len(losses)


def on_plateau(best: Sequence[float]) -> bool:
    """Whether the second half of the epochs brought at most 1 % of the improvement, by the best losses so far."""
    if len(best) < FEWEST:
        return False
    return best[len(best) // 2] - best[-1] <= SHARE * (best[0] - best[-1])


def reached(losses: Sequence[float]) -> int:
    """Return the first epoch whose loss is within 1 % of the whole improvement of the best one."""
    best = min(losses)
    limit = best + SHARE * (losses[0] - best)
    return next(i for i, loss in enumerate(losses) if loss <= limit)


def run(model: bl.BayesianModel, x: Tensor, y: Tensor, seed: int) -> Plateau:
    """Train to the plateau: when 1 % of the whole improvement was left, timed after the fact."""
    losses, best, times = [], [], []
    start = time.perf_counter()
    with seeded(seed), pyro.validation_enabled(False):
        for loss in epochs(Training(model), x, y):
            losses.append(loss)
            best.append(min(loss, best[-1]) if best else loss)
            times.append(time.perf_counter() - start)
            if on_plateau(best) or len(losses) == MOST_EPOCHS or times[-1] > MOST_SECONDS:
                break
    at = reached(losses)
    return Plateau(times[at], at + 1, losses[0], best[-1])


def trained(model: bl.BayesianModel, x: Tensor, y: Tensor, steps: int, seed: int) -> bl.BayesianModel:
    """Return the model with its network near the posterior's mode."""
    training, left = (
        Training(model),
        max(1, steps // max(1, -(-len(y) // BATCH) if len(y) > MOST_ROWS else 1)),
    )
    with seeded(seed), pyro.validation_enabled(False):
        for _, _ in zip(range(left), epochs(training, x, y), strict=False):
            pass
    return bl.BayesianModel(training.network, model.likelihood)
