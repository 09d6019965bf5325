"""The table of the likelihoods: how many outputs each takes per target, and targets that it can have produced."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded

# A network with m outputs per target, the shape of a row's inputs, and that of its targets.
SHAPES = {
    "(N,)": (lambda m: nn.Linear(3, m), (3,), ()),
    "(N, T)": (lambda m: nn.Linear(3, m), (4, 3), (4,)),
    "(N, K)": (lambda m: nn.Linear(3, 2 * m), (3,), (2,)),
    "(N, T, K)": (lambda m: nn.Linear(3, 2 * m), (4, 3), (4, 2)),
}


@dataclass(frozen=True)
class LikelihoodRow:
    """One likelihood."""

    likelihood: bl.likelihoods.Likelihood
    outputs: int = 1  # per target
    targets: Callable[[Tensor], Tensor] = torch.clone  # of real numbers makes those of the likelihood
    shapes: tuple[str, ...] = ("(N,)", "(N, K)", "(N, T, K)")  # which of SHAPES it takes
    joint: bool = False  # whether the targets of a row depend on each other


def _counts(real):
    return (2 * real).abs().round()


def _levels(real):
    return (real + 2).round().clamp(0, 5)


def _flow(kind, features, **options):
    with seeded(0):
        return kind(features, (3,), layers=2, context=features, bias_prior=None, **options).double()


LIKELIHOODS: dict[str, LikelihoodRow] = {
    "Bernoulli": LikelihoodRow(bl.likelihoods.Bernoulli(), 1, lambda real: (real > 0.1).double()),
    "Categorical": LikelihoodRow(
        bl.likelihoods.Categorical(), 3, lambda real: _counts(real).long() % 3, ("(N,)", "(N, T)")
    ),
    "Normal": LikelihoodRow(bl.likelihoods.Normal(0.3)),
    "Normal, learned": LikelihoodRow(bl.likelihoods.Normal("learned")),
    "Normal, prior": LikelihoodRow(bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.5))),
    "HeteroscedasticNormal": LikelihoodRow(bl.likelihoods.HeteroscedasticNormal(), 2),
    "StudentT": LikelihoodRow(bl.likelihoods.StudentT(df=4.0)),
    "StudentT, learned": LikelihoodRow(bl.likelihoods.StudentT("learned", bl.priors.LogNormal(0.5, 0.3))),
    "Poisson": LikelihoodRow(bl.likelihoods.Poisson(), 1, _counts),
    "NegativeBinomial": LikelihoodRow(bl.likelihoods.NegativeBinomial(), 1, _counts),
    "NegativeBinomial, prior": LikelihoodRow(
        bl.likelihoods.NegativeBinomial(bl.priors.LogNormal(0.5, 0.3)), 1, lambda real: _counts(real).long()
    ),
    "Gamma": LikelihoodRow(bl.likelihoods.Gamma(), 1, torch.exp),
    "LogNormal": LikelihoodRow(bl.likelihoods.LogNormal(), 1, torch.exp),
    "Beta": LikelihoodRow(bl.likelihoods.Beta(), 1, torch.sigmoid),
    "MixtureOfNormals": LikelihoodRow(bl.likelihoods.MixtureOfNormals(2), 6),
    "MixtureOfLogistics": LikelihoodRow(bl.likelihoods.MixtureOfLogistics(3), 9),
    "DiscretizedMixtureOfLogistics": LikelihoodRow(
        bl.likelihoods.DiscretizedMixtureOfLogistics(2, levels=6), 6, _levels
    ),
    "Flow": LikelihoodRow(bl.likelihoods.Flow(_flow(bl.NeuralSpline, 1, bins=3)), shapes=("(N,)", "(N, T)")),
    "Flow, two features": LikelihoodRow(
        bl.likelihoods.Flow(_flow(bl.RealNVP, 2)), shapes=("(N, K)", "(N, T, K)"), joint=True
    ),
}
