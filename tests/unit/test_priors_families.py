"""Priors that are no Normals, and scales a unit: densities, files, Pyro's programs and everything after a fit."""

import copy
import json
import math
import re

import numpy as np
import pytest
import scipy.stats
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, Predictive
from torch import nn

import bayesian_layers as bl
from bayesian_layers import priors
from bayesian_layers.noise import seeded, standard_normal

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
WEIGHTS = {
    "mixture": DENSITIES["mixture"][0],
    "laplace": DENSITIES["laplace"][0],
    "log-uniform": bl.priors.LogUniform(),
    "horseshoe": bl.priors.Horseshoe(1.0, 0.5),
    "half-cauchy scale": bl.priors.HierarchicalNormal(scale=bl.priors.HalfCauchy(0.5)),
}
PROPER = {name: prior for name, prior in WEIGHTS.items() if prior.proper}


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
        (lambda: bl.priors.ScaleMixture(1.0), "`weight` of a ScaleMixture must be a number between 0 and 1"),
        (lambda: bl.priors.ScaleMixture("0.5"), "received '0.5'"),
        (lambda: bl.priors.ScaleMixture(0.5, 1.0), "`scales` of a ScaleMixture must be two"),
        (lambda: bl.priors.ScaleMixture(0.5, (1.0, 0.0)), "finite number above 0; received 0.0"),
        (lambda: bl.priors.Laplace(scale=-1), "finite number above 0; received -1"),
        (lambda: bl.priors.Laplace(loc=math.inf), "`loc` of a prior must be a finite number"),
        (lambda: bl.priors.HalfCauchy(math.nan), "finite number above 0"),
        (lambda: bl.priors.Horseshoe(0.0), "the `unit_scale` of a prior"),
        (lambda: bl.priors.Horseshoe(layer_scale=None), "the `layer_scale` of a prior"),
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
    from bayesian_layers.posterior.arviz_groups import prior_draws

    return prior_draws(posterior, 2000, 3)


@pytest.mark.parametrize("prior", PROPER.values(), ids=PROPER)
def test_draws_from_the_prior_depend_on_their_number_alone(prior, build):
    model = regression(prior, build)
    few, many = model.prior_draws(3, seed=5), model.prior_draws(5, seed=5)
    assert all(torch.equal(few[name], many[name][:3]) for name in few)
    assert model.prior_predict(X, num_draws=20).std.isfinite().all()


@pytest.mark.parametrize("prior", WEIGHTS.values(), ids=WEIGHTS)
def test_priors_are_saved_and_loaded(prior, build, tmp_path):
    assert priors.Prior.from_spec(json.loads(json.dumps(prior.spec()))) == prior
    assert copy.deepcopy(prior) == prior
    network = build(lambda: nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)).double())
    model = bl.BayesianModel(bl.bayesianize(network, prior), bl.likelihoods.Normal("learned"))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p")
    ours, theirs = posterior.model.sites(), loaded.model.sites()
    assert {n: (s.prior, s.scale_sites) for n, s in ours.items()} == {
        n: (s.prior, s.scale_sites) for n, s in theirs.items()
    }
    draws = posterior.sample(4)
    assert all(torch.equal(value, draws[name]) for name, value in loaded.sample(4).items())
    assert type(prior).__name__ in str(bl.bayesianize_report(model.network))
    assert type(prior).__name__ in (tmp_path / "p" / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize("prior", PROPER.values(), ids=PROPER)
def test_chains_and_refinement_are_finite(prior, build):
    model = regression(prior, build)
    with seeded(1):
        mcmc = MCMC(NUTS(model, max_tree_depth=3), num_samples=4, warmup_steps=4, disable_progbar=True)
        mcmc.run(X, Y)
    drawn = bl.Posterior.from_samples(model, mcmc.get_samples())
    assert drawn.predict(X, num_draws=4).std.isfinite().all()
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.2))
    with pytest.warns(bl.errors.FitWarning):  # so few iterations do not mix
        refined = posterior.refine(X, Y, iterations=4, num_chains=32, progress=False)
    assert refined.predict(X, num_draws=32).std.isfinite().all()


@pytest.mark.parametrize("prior", WEIGHTS.values(), ids=WEIGHTS)
def test_what_comes_after_a_fit(prior, build):
    model = regression(prior, build)
    with pytest.warns(bl.errors.ConvergenceWarning):
        result = bl.fit(model, X, Y, max_steps=20, compile="eager", progress=False)
    posterior = result.posterior
    assert math.isfinite(result.elbo)
    assert math.isfinite(posterior.k_hat(X, Y, num_draws=200))
    assert posterior.predict(X, num_draws=16).std.isfinite().all()
    assert len(posterior.summary(num_draws=20)) == sum(
        v.numel() for v in model.sites().values() for v in [v.initial]
    )
    table = posterior.weight_table()
    assert np.isfinite(table.kl).all()
    assert (table.kl > 0).all()
    groups = posterior.to_arviz(X, Y, num_draws=20)
    assert ("prior" in groups) == prior.proper


def test_the_kl_in_tables_is_the_guides(build):
    """Of independent Normals the table has the KL itself, by integration where it has no closed form."""
    for prior in WEIGHTS.values():
        model = regression(prior, build)
        guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
        table = bl.Posterior.from_guide(model, guide).weight_table()
        if not prior.hypers(LIKE):
            ours = {name: float(kl.detach()) for name, kl in guide.kl_divergence(model).items()}
            errors = dict.fromkeys(ours, 0.0)
            if prior.kl == "sampled":
                noise = standard_normal(0, 20_000, guide.noise_size, dtype=torch.float64)
                ratios = guide.flat_priors(model).log_ratios(guide.unconstrained(noise), guide.points(20_000))
                kls = {}
                for name, ratio in ratios.items():
                    alone = guide.flat_priors(model, {other: float(other == name) for other in ours})
                    kls[name] = (guide.kl_to(alone) - ratio).detach()
                ours = {name: float(kl.mean()) for name, kl in kls.items()}
                errors = {name: float(kl.std()) / 20_000**0.5 for name, kl in kls.items()}
            for name, kl in zip(table.names, table.kl, strict=True):
                assert abs(kl - ours[name]) < 4.5 * errors[name] + 1e-5 * kl


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
