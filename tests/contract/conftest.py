"""The table of the contract: networks with their likelihoods, and guides; every test here runs on all of it."""

import pytest
import torch
from pyro.poutine.messenger import Messenger
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded
from substitute import Substitute

X = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(12, 2)
LABELS = (X[:, 0] > 0.1).double()
REAL = X[:, 0] - 0.5 * X[:, 1]


def dense(outputs, **options):
    return nn.Sequential(bl.Linear(2, 4, **options), nn.Tanh(), bl.Linear(4, outputs, **options)).double()


CASES = {
    "bernoulli": (lambda: dense(1), bl.likelihoods.Bernoulli(), LABELS),
    "bernoulli, point biases": (lambda: dense(1, bias_prior=None), bl.likelihoods.Bernoulli(), LABELS),
    "labels": (lambda: dense(2), bl.likelihoods.Bernoulli(), torch.stack([LABELS, 1 - LABELS], 1)),
    "categorical": (lambda: dense(3), bl.likelihoods.Categorical(), torch.arange(12) % 3),
    "normal": (lambda: dense(1), bl.likelihoods.Normal(0.3), REAL),
    "normal, learned noise": (lambda: dense(1), bl.likelihoods.Normal("learned"), REAL),
    "normal, noise with a prior": (
        lambda: dense(1),
        bl.likelihoods.Normal(bl.priors.LogNormal(-1, 0.5)),
        REAL,
    ),
    "normal, two targets": (
        lambda: dense(2),
        bl.likelihoods.Normal("learned"),
        torch.stack([REAL, -REAL], 1),
    ),
    "heteroscedastic, two targets": (
        lambda: dense(4),
        bl.likelihoods.HeteroscedasticNormal(),
        torch.stack([REAL, -REAL], 1),
    ),
    "counts": (lambda: dense(1), bl.likelihoods.NegativeBinomial(), torch.arange(12) % 4),
    "prior scales learned": (
        lambda: dense(1, prior=bl.priors.Normal(scale="learned")),
        bl.likelihoods.Normal("learned"),
        REAL,
    ),
    "prior scales with priors": (
        lambda: dense(1, prior=bl.priors.HierarchicalNormal(scale=bl.priors.LogNormal(0.0, 0.5))),
        bl.likelihoods.Bernoulli(),
        LABELS,
    ),
    "mixture of scales": (
        lambda: bl.Linear(2, 1, prior=bl.priors.ScaleMixture(0.5, (1.0, 0.3))).double(),
        bl.likelihoods.Normal("learned"),
        REAL,
    ),
    "horseshoe": (
        lambda: bl.Linear(2, 1, prior=bl.priors.Horseshoe(1.0, 0.5), bias_prior=bl.priors.Laplace()).double(),
        bl.likelihoods.Normal("learned"),
        REAL,
    ),
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
    "images": (
        lambda: bl.bayesianize(
            nn.Sequential(
                nn.Unflatten(1, (1, 1, 2)), nn.Conv2d(1, 2, 1), nn.Tanh(), nn.Conv2d(2, 2, 3, padding=1)
            ).double()
        ),
        bl.likelihoods.Normal(0.5),
        torch.stack([X, X.flip(1)], 1).unsqueeze(2),
    ),
}


def flow(features, context):
    with seeded(0):
        return bl.RealNVP(features, (3,), layers=2, context=context, bias_prior=None).double()


CASES |= {
    "flow": (lambda: dense(2), bl.likelihoods.Flow(flow(2, context=2)), torch.stack([REAL, -REAL], 1)),
    "density": (
        lambda: bl.NoContext().double(),
        bl.likelihoods.Flow(flow(2, context=0)),
        torch.stack([REAL, -REAL], 1),
    ),
}


def ensemble_of_two(model):
    return bl.guides.Ensemble(model, members=2)


def flow_of_two(model):
    """Away from the identity, at which it begins: there only the couplings' last layers have a gradient."""
    guide = bl.guides.Flow(model, layers=2, hidden=(4,))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in guide.flow.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return guide


GUIDES = (
    bl.guides.MeanFieldNormal,
    bl.guides.BlockNormal,
    bl.guides.LowRankNormal,
    bl.guides.FullRankNormal,
    bl.guides.MatrixNormal,
    ensemble_of_two,
    flow_of_two,
)


@pytest.fixture(params=CASES)
def problem(request, build):
    make, likelihood, y = CASES[request.param]
    return bl.BayesianModel(build(make), likelihood), y


@pytest.fixture(params=GUIDES, ids=lambda guide: guide.__name__)
def case(request, problem):
    model, y = problem
    return model, request.param(model), y


@pytest.fixture
def x():
    """Inputs of every problem, ``(12, 2)``."""
    return X


@pytest.fixture
def real():
    """Real targets, ``(12,)``."""
    return REAL


class Noted(Messenger):
    """Keeps what a program draws."""

    def __init__(self):
        super().__init__()
        self.values = {}

    def _pyro_post_sample(self, msg):
        self.values[msg["name"]] = msg["value"]


@pytest.fixture
def particles():
    """Pyro's estimate on a few particles at once, and the mean of its estimates on each of these alone."""

    def estimates(kind, model, guide, x, y, count=4):
        def elbo(handler, **options):
            def program(*args):
                with handler:
                    guide(*args)

            with seeded(0), torch.no_grad():
                return kind(**options).differentiable_loss(model, program, x, y)

        noted = Noted()
        together = elbo(noted, num_particles=count, vectorize_particles=True, max_plate_nesting=1)

        def one(value, s):
            drawn = value.dim() > 1 and value.shape[:2] == (count, 1)  # a point estimate has no axis of draws
            return value[s] if drawn else value

        single = [
            elbo(Substitute({name: one(value, s) for name, value in noted.values.items()}))
            for s in range(count)
        ]
        return together, sum(single) / count

    return estimates
