"""The horseshoe on outputs of which some are nothing but noise: it shuts these units off, and leaves the others."""

import pytest
import torch

import bayesian_layers as bl
from bayesian_layers.noise import seeded

ROWS, NOISE = 40, 0.5
ACTIVE = torch.tensor([True, False, True, False, False, True, False, False])


def fit(prior):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(ROWS, 6, generator=generator)
    weight = 2 * torch.randn(8, 6, generator=generator) * ACTIVE.unsqueeze(1)
    y = x @ weight.T + NOISE * torch.randn(ROWS, 8, generator=generator)
    with seeded(0), torch.no_grad():
        layer = bl.Linear(6, 8, bias=False, prior=prior)
        layer.weight.fill_(0.1)
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(NOISE))
    return bl.fit(model, x, y, progress=False), weight


def errors(result, weight):
    """Root mean square error of the mean weights: of the units that do something, and of those that do not."""
    off = (result.posterior.source.mean()["weight"] - weight).square()
    return float(off[ACTIVE].mean().sqrt()), float(off[~ACTIVE].mean().sqrt())


@pytest.fixture(scope="module")
def horseshoe():
    return fit(bl.priors.Horseshoe())


def test_scales_tell_the_units_apart(horseshoe):
    result, _ = horseshoe
    draws = result.posterior.sample(1000)
    scale = (draws["weight.unit_scale"] * draws["weight.layer_scale"].unsqueeze(1)).median(0).values
    assert scale[~ACTIVE].max() < 0.15 * scale[ACTIVE].min()


def test_the_horseshoe_is_nearer_to_the_truth_than_one_normal(horseshoe):
    """Least squares err by the noise over root N, 0.08; a learned scale of all units leaves the idle ones there."""
    active, idle = errors(*horseshoe)
    plain_active, plain_idle = errors(*fit(bl.priors.Normal(scale="learned")))
    assert idle < 0.5 * plain_idle
    assert active < 1.1 * plain_active
    assert horseshoe[0].elbo > fit(bl.priors.Normal(scale=1.0))[0].elbo
