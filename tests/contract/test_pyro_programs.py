"""Models and guides are ordinary Pyro programs, for every guide, prior and likelihood of the tables."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.contrib.autoname import scope
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO, TraceMeanField_ELBO
from pyro.optim import Adam
from torch import nn

import bayesian_layers as bl
from bayesian_layers.model import log_likelihood
from bayesian_layers.noise import seeded, standard_normal


@pytest.mark.slow
def test_svi_moves_the_parameters_and_raises_the_elbo(case, x):
    model, guide, y = case
    before = {name: value.detach().clone() for name, value in guide.named_parameters()}
    loss = TraceMeanField_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
    with seeded(0):
        svi = SVI(model, guide, Adam({"lr": 0.05}), loss)
        losses = [svi.step(x, y) for _ in range(20)]
    pyro.clear_param_store()
    assert sum(losses[-6:]) < sum(losses[:6])
    for name, value in guide.named_parameters():
        assert value.numel() == 0 or not torch.equal(value, before[name])


@pytest.mark.slow
def test_the_vectorized_elbo_is_the_mean_over_single_ones(case, x, particles):
    model, guide, y = case
    torch.testing.assert_close(*particles(TraceMeanField_ELBO, model, guide, x, y))


@pytest.mark.slow
def test_the_vectorized_elbo_by_densities_is_the_mean_over_single_ones(case_of_sites, x, particles):
    model, guide, y = case_of_sites
    torch.testing.assert_close(*particles(Trace_ELBO, model, guide, x, y))


@pytest.mark.slow
def test_pyros_elbo_is_ours_in_expectation(case, x):
    assert_elbo_is_ours(TraceMeanField_ELBO, *case, x)


@pytest.mark.slow
def test_pyros_elbo_by_densities_is_ours_in_expectation(case_of_sites, x):
    """Of the sites' densities in place of their KL; a likelihood enters both ELBOs alike."""
    assert_elbo_is_ours(Trace_ELBO, *case_of_sites, x)


def assert_elbo_is_ours(loss, model, guide, y, x):
    """Likelihood of our draws less our KL, against programs alone; standard errors of both."""
    elbo = loss(num_particles=500, vectorize_particles=True, max_plate_nesting=1)(model, guide)
    with seeded(4), torch.no_grad():
        theirs = torch.stack([-elbo(x, y) for _ in range(10)])
    log_p = log_likelihood(model, guide.draw(4000, seed=5), x, y).sum(1)
    noise = standard_normal(5, 4000, guide.noise_size, dtype=guide.loc.dtype)
    priors = guide.flat_priors(model)
    with torch.no_grad():  # the same number each time, where the KL has a closed form
        kl = torch.stack([guide.kl_estimate(priors, part) for part in noise.split(200)])
    ours = float(log_p.mean() - kl.mean())
    error = float((theirs.var() / 10 + log_p.var() / 4000 + kl.var() / len(kl)).sqrt())
    assert abs(float(theirs.mean()) - ours) < 4.5 * error
    assert error < 0.3  # a forgotten Jacobian or entropy costs more


@pytest.mark.slow
def test_torch_optimizers_train_the_guide_and_the_store_stays_empty(case, x):
    model, guide, y = case
    elbo = TraceMeanField_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)(model, guide)
    with seeded(0):
        elbo(x, y).backward()
    for parameter in guide.parameters():
        assert parameter.numel() == 0 or float(parameter.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert list(pyro.get_param_store().keys()) == []


def test_the_prior_program_runs_in_parallel(problem, x):
    model, _ = problem
    if any(site.prior is not None and not site.prior.proper for site in model.sites().values()):
        with pytest.raises(bl.errors.SiteError, match="improper"), seeded(3):
            Predictive(model, num_samples=50, parallel=True)(x)
        return
    with seeded(3):
        drawn = Predictive(model, num_samples=50, parallel=True)(x)
    assert drawn["f"].shape[:2] == (50, 12)


@pytest.mark.slow
def test_nuts_draws_are_taken_back(real):
    """Against a conjugate posterior: Bayesian linear regression in closed form."""
    with seeded(0):
        layer = bl.Linear(2, 1).double()
        x = torch.randn(12, 2, dtype=torch.float64)  # the table's columns nearly coincide: long paths
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(0.3))
    with seeded(1):
        mcmc = MCMC(NUTS(model), num_samples=400, warmup_steps=200, disable_progbar=True)
        mcmc.run(x, real)
    posterior = bl.Posterior.from_samples(model, mcmc.get_samples())
    design = torch.cat([x, torch.ones(12, 1, dtype=torch.float64)], 1)
    covariance = (design.T @ design / 0.09 + torch.eye(3, dtype=torch.float64)).inverse()
    mean = design @ (covariance @ design.T @ real / 0.09)
    std = (design @ covariance * design).sum(1).sqrt()
    ours = posterior.predict(x, num_draws=400)
    # NUTS draws are nearly independent here; half as many effective ones leave a wide margin
    assert ((ours.mean - mean).abs() < 5 * std / 200**0.5).all()
    assert (ours.epistemic_std / std - 1).abs().max() < 5 / 400**0.5


def test_nuts_runs_on_learned_noise_and_point_estimates(build, x, real):
    model = bl.BayesianModel(
        build(lambda: bl.Linear(2, 1, bias_prior=None).double()), bl.likelihoods.Normal("learned")
    )
    with seeded(1):
        mcmc = MCMC(NUTS(model, max_tree_depth=3), num_samples=5, warmup_steps=5, disable_progbar=True)
        mcmc.run(x, real)
    draws = mcmc.get_samples()
    assert (draws["noise_scale"] > 0).all()
    assert bl.Posterior.from_samples(model, draws).predict(x, num_draws=5).mean.shape == (12,)


@pytest.mark.slow
def test_two_networks_in_a_larger_program(build, x, real):
    """A network for the mean, one for the noise; both called `weight` and `bias`, told apart by scope."""
    mean = bl.BayesianModel(build(lambda: bl.Linear(2, 1).double()))
    noise = bl.BayesianModel(build(lambda: bl.Linear(2, 1).double()))
    guides = bl.guides.MeanFieldNormal(mean), bl.guides.MeanFieldNormal(noise)

    class Model(nn.Module):
        def forward(self, x, y=None):
            with scope(prefix="mean"):
                f = mean(x)
            with scope(prefix="noise"):
                g = noise(x)
            with pyro.plate("rows", len(x), dim=-1):
                return pyro.sample("y", dist.Normal(f.squeeze(-1), g.squeeze(-1).exp()), obs=y)

    class Guide(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = nn.ModuleList(guides)

        def forward(self, x, y=None):
            for prefix, part in zip(("mean", "noise"), self.parts, strict=True):
                with scope(prefix=prefix):
                    part(x, y)

    model, guide = Model(), Guide()
    with seeded(0):
        svi = SVI(model, guide, Adam({"lr": 0.02}), TraceMeanField_ELBO())
        losses = [svi.step(x, real) for _ in range(300)]
    pyro.clear_param_store()
    assert sum(losses[-50:]) < sum(losses[:50]) - 50
    elbo = TraceMeanField_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)(model, guide)
    with seeded(0):
        assert elbo(x, real).isfinite()
        drawn = Predictive(model, guide=guide, num_samples=7, parallel=True)(x)
    assert {"mean/weight", "noise/weight", "y"} <= drawn.keys()
    assert not torch.equal(guides[0].loc, guides[1].loc)


def test_conditioning_on_a_weight(problem, x):
    model, y = problem
    name = next(iter(dict(model.network.named_parameters())), list(model.sites())[-1])  # no scale of a prior
    value = torch.zeros_like(model.sites()[name].initial)
    with seeded(0):
        trace = pyro.poutine.trace(pyro.condition(model, {name: value})).get_trace(x, y)
    assert trace.nodes[name]["is_observed"]
    assert torch.equal(trace.nodes[name]["value"], value)
