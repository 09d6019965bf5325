"""Every prior through one table of checks: described, saved, drawn from, and in everything after a fit."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from pyro.infer import MCMC, NUTS

import bayesian_layers as bl
from bayesian_layers.noise import seeded, standard_normal
from contract_tables import PRIORS
from contract_tables.priors import layer_with
from contract_tables.problems import REAL, X

LEARNABLE = {name: prior for name, prior in PRIORS.items() if not prior.drawn}
PROPER = {name: prior for name, prior in LEARNABLE.items() if prior.proper}
LIKE = torch.zeros(1, 2, dtype=torch.float64)  # the weight of `layer_with`


def regression(prior, build, **options):
    return bl.BayesianModel(build(lambda: layer_with(prior, **options)), bl.likelihoods.Normal(0.3))


def over(priors):
    return pytest.mark.parametrize("prior", priors.values(), ids=priors)


@over(PRIORS)
def test_specs_and_copies_come_back(prior):
    spec = json.loads(json.dumps(prior.spec()))
    built = bl.priors.Prior.from_spec(spec, like=LIKE)
    arrays = prior.arrays(LIKE)
    assert (built.with_arrays(arrays) if arrays else built) == prior
    assert copy.deepcopy(prior) == prior


@over(PRIORS)
def test_densities_references_and_ratios_agree(prior):
    scale = torch.tensor(0.7, dtype=torch.float64) if prior.hypers(LIKE) else None
    if len(prior.hypers(LIKE)) > 1:
        scale = torch.tensor([0.7], dtype=torch.float64)  # per unit
    u = LIKE + torch.tensor([0.3, -1.2], dtype=torch.float64)
    density = prior.log_density(u, LIKE, scale)
    torch.testing.assert_close(prior.distribution(LIKE, scale).log_prob(u), density.sum())
    loc, std = prior.unconstrained(LIKE, scale)
    if std.isfinite().all():
        reference = torch.distributions.Normal(loc, std).log_prob(u)
        torch.testing.assert_close(prior.log_ratio(u, LIKE, scale), density - reference)


@pytest.mark.slow
@over(PROPER)
def test_draws_from_the_prior_depend_on_their_number_alone(prior, build):
    model = regression(prior, build)
    few, many = model.prior_draws(3, seed=5), model.prior_draws(5, seed=5)
    assert all(torch.equal(few[name], many[name][:3]) for name in few)
    assert model.prior_predict(X, num_draws=20).std.isfinite().all()


@over(PRIORS)
def test_priors_are_saved_and_loaded(prior, build, tmp_path):
    model = regression(prior, build)
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


@pytest.mark.slow
@over(PROPER)
def test_chains_and_refinement_are_finite(prior, build):
    model = regression(prior, build)
    with seeded(1):
        mcmc = MCMC(NUTS(model, max_tree_depth=3), num_samples=4, warmup_steps=4, disable_progbar=True)
        mcmc.run(X, REAL)
    drawn = bl.Posterior.from_samples(model, mcmc.get_samples())
    assert drawn.predict(X, num_draws=4).std.isfinite().all()
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.2))
    with pytest.warns(bl.errors.FitWarning):  # so few iterations do not mix
        refined = posterior.refine(X, REAL, iterations=4, num_chains=32, progress=False)
    assert refined.predict(X, num_draws=32).std.isfinite().all()


@pytest.mark.slow
@over(LEARNABLE)
@pytest.mark.filterwarnings("ignore::bayesian_layers.errors.ConvergenceWarning")
def test_what_comes_after_a_fit(prior, build):
    model = regression(prior, build)
    result = bl.fit(model, X, REAL, max_steps=20, compile="eager", progress=False)
    posterior = result.posterior
    assert math.isfinite(result.elbo)
    assert math.isfinite(posterior.k_hat(X, REAL, num_draws=200))
    assert posterior.predict(X, num_draws=16).std.isfinite().all()
    assert len(posterior.summary(num_draws=20)) == sum(s.initial.numel() for s in model.sites().values())
    table = posterior.weight_table()
    assert np.isfinite(table.kl).all()
    assert (table.kl > 0).all()
    groups = posterior.to_arviz(X, REAL, num_draws=20)
    assert ("prior" in groups) == prior.proper


@over(LEARNABLE)
def test_the_kl_in_tables_is_the_guides(prior, build):
    """Of independent Normals the table has the KL itself, by integration where it has no closed form."""
    if prior.hypers(LIKE):
        return  # the KL is an expectation over the scales too: tests/exact/test_kl_estimates.py
    model = regression(prior, build)
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
    table = bl.Posterior.from_guide(model, guide).weight_table()
    ours = {name: float(kl.detach()) for name, kl in guide.kl_divergence(model).items()}
    errors = dict.fromkeys(ours, 0.0)
    if prior.kl == "sampled":
        noise = standard_normal(0, 20_000, guide.noise_size, dtype=torch.float64)
        ratios = guide.flat_priors(model).log_ratios(guide.unconstrained(noise), guide.points(20_000))
        for name, ratio in ratios.items():
            alone = guide.flat_priors(model, {other: float(other == name) for other in ours})
            kl = (guide.kl_to(alone) - ratio).detach()
            ours[name], errors[name] = float(kl.mean()), float(kl.std()) / 20_000**0.5
    for name, kl in zip(table.names, table.kl, strict=True):
        assert abs(kl - ours[name]) < 4.5 * errors[name] + 1e-5 * kl
