"""Priors that are no Normals, and scales a unit: densities and draws; ``tests/contract`` has what all priors share."""

import math
import re

import numpy as np
import pytest
import scipy.stats
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, Predictive

import bayesian_layers as bl
from bayesian_layers import priors
from bayesian_layers.noise import seeded

LIKE = torch.zeros(3, 2, dtype=torch.float64)
X = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(12, 2)
Y = X[:, 0] - 0.5 * X[:, 1]


def mixture_pdf(w):
    return 0.3 * scipy.stats.norm.pdf(w, scale=1.5) + 0.7 * scipy.stats.norm.pdf(w, scale=0.2)


DENSITIES = {
    "mixture": (bl.priors.ScaleMixture(0.3, (1.5, 0.2)), lambda w: np.log(mixture_pdf(w))),
    "laplace": (
        bl.priors.Laplace(0.4, 2.0),
        lambda w: scipy.stats.laplace.logpdf(w, loc=0.4, scale=math.sqrt(2)),
    ),
    "half-cauchy": (bl.priors.HalfCauchy(0.5), lambda w: scipy.stats.halfcauchy.logpdf(w, scale=0.5)),
}


@pytest.mark.parametrize(("prior", "log_pdf"), DENSITIES.values(), ids=DENSITIES)
def test_densities_are_scipys(prior, log_pdf):
    w = np.geomspace(1e-3, 50, 40) if prior.positive else np.linspace(-8, 8, 41)
    u = torch.as_tensor(np.log(w) if prior.positive else w)
    jacobian = np.log(w) if prior.positive else 0.0
    like = torch.zeros(len(w), dtype=torch.float64)
    np.testing.assert_allclose(prior.log_density(u, like), log_pdf(w) + jacobian, rtol=1e-9, atol=1e-12)
    ours = prior.distribution(torch.zeros((), dtype=torch.float64)).log_prob(torch.as_tensor(w))
    np.testing.assert_allclose(ours, log_pdf(w), rtol=1e-9, atol=1e-12)
    reference = torch.distributions.Normal(*prior.unconstrained(like)).log_prob(u)
    torch.testing.assert_close(prior.log_ratio(u, like), prior.log_density(u, like) - reference)


@pytest.mark.parametrize(("prior", "log_pdf"), DENSITIES.values(), ids=DENSITIES)
def test_draws_are_of_the_density(prior, log_pdf):
    """Kolmogorov and Smirnov, against the CDF by trapezoids."""
    with seeded(0):
        one = prior.distribution(torch.zeros(4000, dtype=torch.float64)).sample()
        noise = torch.randn(4000, dtype=torch.float64)
    two = prior.from_normal(noise, noise)
    grid = np.geomspace(1e-6, 1e7, 40_001) if prior.positive else np.linspace(-40, 40, 40_001)
    pdf = np.exp(log_pdf(grid))
    cdf = np.concatenate([[0.0], np.cumsum(np.diff(grid) * (pdf[1:] + pdf[:-1]) / 2)])
    assert cdf[-1] == pytest.approx(1, abs=1e-4)
    for drawn in (one, two.exp() if prior.positive else two):
        assert scipy.stats.kstest(drawn.numpy(), lambda w: np.interp(w, grid, cdf)).pvalue > 1e-3


def test_references_have_the_moments_of_what_they_stand_for():
    """On the unconstrained axis; for the half-Cauchy that is pi / 2 on the logarithm."""
    for prior, _ in DENSITIES.values():
        loc, scale = (float(v) for v in prior.unconstrained(torch.zeros((), dtype=torch.float64)))
        u = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
        p = prior.log_density(u, u).exp()
        mean = torch.trapezoid(u * p, u)
        assert float(mean) == pytest.approx(loc, abs=1e-6)
        assert float(torch.trapezoid((u - mean).square() * p, u)) == pytest.approx(scale**2, rel=1e-6)


def test_only_priors_with_a_closed_form_give_one():
    with pytest.raises(NotImplementedError, match="no closed form for ScaleMixture"):
        bl.priors.ScaleMixture().expected_log_density(LIKE, LIKE + 1)
    assert torch.equal(bl.priors.Normal().log_ratio(LIKE + 3, LIKE), LIKE)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: bl.priors.ScaleMixture(1.0), "`weight` must be a number between 0 and 1"),
        (lambda: bl.priors.ScaleMixture("0.5"), "received '0.5'"),
        (lambda: bl.priors.ScaleMixture(0.5, 1.0), "`scales` must be two"),
        (lambda: bl.priors.ScaleMixture(0.5, (1.0, 0.0)), "finite number above 0; received 0.0"),
        (lambda: bl.priors.Laplace(scale=-1), "finite number above 0; received -1"),
        (lambda: bl.priors.Laplace(loc=math.inf), "`loc` must be a finite number"),
        (lambda: bl.priors.HalfCauchy(math.nan), "finite number above 0"),
        (lambda: bl.priors.Horseshoe(0.0), "`unit_scale` must be a finite number above 0"),
        (lambda: bl.priors.Horseshoe(layer_scale=None), "`layer_scale` must be a finite number above 0"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(make, sentence):
    with pytest.raises(bl.errors.DataError, match=re.escape(sentence)):
        make()


@pytest.mark.parametrize("shape", [(3, 2), (3,), (3, 2, 4, 4), ()])
@pytest.mark.parametrize("batch", [(), (5,), (5, 1)])
def test_the_horseshoe_has_a_scale_for_each_unit(shape, batch):
    prior = bl.priors.Horseshoe(2.0, 0.5)
    like = torch.zeros(shape, dtype=torch.float64)
    hypers = prior.hypers(like)
    assert {name: tuple(site.initial.shape) for name, site in hypers.items()} == {
        "unit_scale": shape[:1],
        "layer_scale": (),
    }
    assert [site.prior for site in hypers.values()] == [bl.priors.HalfCauchy(2.0), bl.priors.HalfCauchy(0.5)]
    site = priors.Site(like, prior, scale_sites={"u": len(shape[:1]), "l": 0})
    units = torch.rand((*batch, *shape[:1]), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layer = torch.full(batch, 0.1, dtype=torch.float64)
    p = site.distribution(site.scale({"u": units, "l": layer}))
    assert (p.batch_shape, p.event_shape) == (batch, shape)
    axes = [1] * (len(shape) - len(shape[:1]))
    expected = (units * 0.1).reshape((*units.shape, *axes)).expand((*batch, *shape))
    assert torch.equal(p.stddev, expected)


def test_horseshoes_sites_come_first_and_in_the_files_names(build):
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 3, prior=bl.priors.Horseshoe(), bias_prior=None)))
    sites = model.sites()
    assert list(sites) == ["weight.unit_scale", "weight.layer_scale", "weight", "bias"]
    assert sites["weight"].scale_sites == {"weight.unit_scale": 1, "weight.layer_scale": 0}
    with seeded(0):
        trace = poutine.trace(model).get_trace(X.float())
    assert [name for name in trace.nodes if name in sites] == list(sites)


def regression(prior, build, **options):
    layer = build(lambda: bl.Linear(2, 1, prior=prior, **options).double())
    return bl.BayesianModel(layer, bl.likelihoods.Normal(0.3))


def test_prior_draws_have_half_cauchy_scales(build):
    """Quartiles of |w| / (unit scale * layer scale), which is half-normal, and of the scales; 4 standard errors."""
    model = regression(bl.priors.Horseshoe(2.0, 0.1), build, bias=False)
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    for draws in (model.prior_draws(100, seed=1), arviz_draws(posterior)):
        error = len(draws["weight"]) ** -0.5
        assert torch.median(draws["weight.unit_scale"]) == pytest.approx(2.0, rel=4 * math.pi / 2 * error)
        assert torch.median(draws["weight.layer_scale"]) == pytest.approx(0.1, rel=4 * math.pi / 2 * error)
        scale = draws["weight.unit_scale"].unsqueeze(-1) * draws["weight.layer_scale"].reshape(-1, 1, 1)
        assert float((draws["weight"] / scale).square().mean()) == pytest.approx(1, abs=4 * error)


def arviz_draws(posterior):
    from bayesian_layers.posterior.simulated_data import prior_draws

    return prior_draws(posterior.model, posterior.source, 2000, 3)


def test_an_improper_prior_has_no_draws_and_no_chains(build):
    model = regression(bl.priors.LogUniform(), build)
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    attempts = [
        lambda: model.prior_draws(2, seed=0),
        lambda: model.prior_predict(X),
        lambda: Predictive(model, num_samples=2)(X),
        lambda: MCMC(NUTS(model), num_samples=2, disable_progbar=True).run(X, Y),
        lambda: posterior.prior_check(X, Y),
        lambda: posterior.refine(X, Y, progress=False),
    ]
    for attempt in attempts:
        with pytest.raises(bl.errors.SiteError, match="improper"), seeded(0):
            attempt()
    # but what has values needs no draws
    with seeded(0):
        assert Predictive(model, posterior.sample(3))(X)["f"].shape == (3, 12, 1)


@pytest.mark.parametrize(
    "prior",
    [
        bl.priors.Normal(1e300),
        bl.priors.HierarchicalNormal(scale=bl.priors.LogNormal(1e300)),
        bl.priors.Laplace(-1e39),
    ],
)
def test_numbers_that_the_dtype_cannot_hold_are_refused(prior):
    with seeded(0):
        layer = torch.nn.Linear(2, 1)
    with pytest.raises(bl.errors.DataError, match=r"within the range of torch\.float32; received"):
        bl.BayesianModel(bl.bayesianize(layer, prior), bl.likelihoods.Normal(1.0)).prior_draws(2, seed=0)
