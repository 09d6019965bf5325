"""Small problems for the checks of whole programs: one per likelihood, one per prior, and some kinds of networks."""

import torch
from torch import nn

import bayesian_layers as bl

from .likelihoods import LIKELIHOODS
from .priors import PRIORS, layer_with

X = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(12, 2)
REAL = X[:, 0] - 0.5 * X[:, 1]
TWO = torch.stack([REAL, -REAL], 1)


def dense(outputs, **options):
    return nn.Sequential(bl.Linear(2, 4, **options), nn.Tanh(), bl.Linear(4, outputs, **options)).double()


def all_kinds_of_sites():
    """Each kind of site that a guide holds: random, point estimates, learned and random scales, sampled KLs."""
    return nn.Sequential(
        bl.Linear(2, 3, prior=bl.priors.Normal(scale="learned"), bias_prior=None),
        nn.Tanh(),
        bl.Linear(3, 1, prior=PRIORS["LogNormal"], bias_prior=bl.priors.Laplace()),
    ).double()


def images():
    network = nn.Sequential(
        nn.Unflatten(1, (1, 1, 2)), nn.Conv2d(1, 2, 1), nn.Tanh(), nn.Conv2d(2, 2, 3, padding=1)
    )
    return bl.bayesianize(network.double())


def _of_likelihood(row):
    if "(N,)" in row.shapes:
        return (lambda: dense(row.outputs)), row.likelihood, row.targets(REAL)
    return (lambda: dense(2 * row.outputs)), row.likelihood, row.targets(TWO)


# A function that makes a network of two inputs, its likelihood, and 12 targets.
NETWORKS = {
    "all kinds of sites": (
        all_kinds_of_sites,
        bl.likelihoods.Normal(bl.priors.LogNormal(-0.5, 0.5)),
        REAL,
    ),
    "point biases": (lambda: dense(1, bias_prior=None), bl.likelihoods.Bernoulli(), (REAL > 0.1).double()),
    "two layers with learned scales": (
        lambda: dense(1, prior=bl.priors.Normal(scale="learned")),
        bl.likelihoods.Normal("learned"),
        REAL,
    ),
    "labels": (lambda: dense(2), bl.likelihoods.Bernoulli(), (TWO > 0.1).double()),
    "two targets": (lambda: dense(2), bl.likelihoods.Normal("learned"), TWO),
    "two targets, two outputs each": (lambda: dense(4), bl.likelihoods.HeteroscedasticNormal(), TWO),
    "bayesianize": (
        lambda: bl.bayesianize(nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)).double()),
        bl.likelihoods.Normal("learned"),
        REAL,
    ),
    "sequences": (
        lambda: nn.Sequential(nn.Unflatten(1, (2, 1)), bl.Linear(1, 3), nn.Tanh(), bl.Linear(3, 2)).double(),
        bl.likelihoods.Normal("learned"),
        torch.stack([X, -X], 2),
    ),
    "images": (images, bl.likelihoods.Normal(0.5), torch.stack([X, X.flip(1)], 1).unsqueeze(2)),
    "density": (
        lambda: bl.NoContext().double(),
        bl.likelihoods.Flow(
            bl.RealNVP(2, (3,), layers=2, prior=bl.priors.Normal(), bias_prior=None).double()
        ),
        TWO,
    ),
    "GaussianProcess": (
        lambda: bl.GaussianProcess(2, 1, num_inducing=4, num_frequencies=5).double(),
        bl.likelihoods.Normal("learned"),
        REAL,
    ),
}
PROBLEMS = {
    **NETWORKS,
    **{f"likelihood {name}": _of_likelihood(row) for name, row in LIKELIHOODS.items()},
    **{
        f"prior {name}": (lambda prior=prior: layer_with(prior), bl.likelihoods.Normal("learned"), REAL)
        for name, prior in PRIORS.items()
        if not prior.drawn  # of noise nothing is learned: "GaussianProcess" has it
    },
}
# Those that differ in what a guide must hold: every guide meets these, and MeanFieldNormal meets all problems. What a
# likelihood or a network does with the values of the sites does not depend on the guide that they come from.
SITE_KINDS = (
    "likelihood Bernoulli",
    "all kinds of sites",
    "prior Horseshoe",
    "prior ScaleMixture",
    "density",
    "GaussianProcess",
)
