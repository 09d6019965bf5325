"""Law 2: models and guides are ordinary Pyro programs, for every network and likelihood of this table."""

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
from bayesian_layers.noise import seeded

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
    "lifted": (
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


def ensemble_of_two(model):
    return bl.guides.Ensemble(model, members=2)


GUIDES = (bl.guides.MeanFieldNormal, bl.guides.LowRankNormal, bl.guides.FullRankNormal, ensemble_of_two)


@pytest.fixture(params=CASES)
def problem(request, build):
    make, likelihood, y = CASES[request.param]
    return bl.BayesianModel(build(make), likelihood), y


@pytest.fixture(params=GUIDES, ids=lambda guide: guide.__name__)
def case(request, problem):
    model, y = problem
    return model, request.param(model), y


def test_svi_moves_the_parameters_and_raises_the_elbo(case):
    model, guide, y = case
    before = {name: value.detach().clone() for name, value in guide.named_parameters()}
    with seeded(0):
        svi = SVI(model, guide, Adam({"lr": 0.04}), TraceMeanField_ELBO())
        losses = [svi.step(X, y) for _ in range(100)]
    pyro.clear_param_store()
    assert sum(losses[-30:]) < sum(losses[:30])
    for name, value in guide.named_parameters():
        assert value.numel() == 0 or not torch.equal(value, before[name])


@pytest.mark.parametrize("loss", [TraceMeanField_ELBO, Trace_ELBO])
def test_vectorized_elbo_equals_the_mean_over_single_ones(case, loss):
    """In expectation; the standard error is that of the single ones."""
    model, guide, y = case
    with seeded(1), torch.no_grad():
        single = torch.stack([loss()(model, guide)(X, y) for _ in range(60)])
        many = loss(num_particles=3000, vectorize_particles=True, max_plate_nesting=1)(model, guide)(X, y)
    error = float(single.std()) * (1 / 60 + 1 / 3000) ** 0.5
    assert abs(float(many - single.mean())) < 4 * error + 1e-9


@pytest.mark.parametrize("loss", [TraceMeanField_ELBO, Trace_ELBO])
def test_pyros_elbo_is_ours_in_expectation(case, loss):
    """Law 2: likelihood of our draws less our KL, against programs alone; standard errors of both."""
    model, guide, y = case
    elbo = loss(num_particles=500, vectorize_particles=True, max_plate_nesting=1)(model, guide)
    with seeded(4), torch.no_grad():
        theirs = torch.stack([-elbo(X, y) for _ in range(40)])
    log_p = log_likelihood(model, guide.draw(20_000, seed=5), X, y).sum(1)
    ours = float(log_p.mean() - guide.weighted_kl(model).detach())
    error = float((theirs.var() / 40 + log_p.var() / 20_000).sqrt())
    assert abs(float(theirs.mean()) - ours) < 4.5 * error
    assert error < 0.3  # a forgotten Jacobian or entropy costs more


def test_torch_optimizers_train_the_guide_and_the_store_stays_empty(case):
    model, guide, y = case
    elbo = TraceMeanField_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1)(model, guide)
    with seeded(0):
        elbo(X, y).backward()
    for parameter in guide.parameters():
        assert parameter.numel() == 0 or float(parameter.grad.abs().sum()) > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert list(pyro.get_param_store().keys()) == []


@pytest.mark.parametrize("parallel", [True, False])
def test_predictive_gives_the_posteriors_moments(case, parallel):
    model, guide, _ = case
    size = 4000 if parallel else 200
    with seeded(2):
        drawn = Predictive(model, guide=guide, num_samples=size, parallel=parallel)(X)
    ours = bl.Posterior.from_guide(model, guide).predict(X, num_draws=4000)
    y = drawn["y"].double()
    if isinstance(model.likelihood, bl.likelihoods.Categorical):
        y = nn.functional.one_hot(drawn["y"], 3).double()
    error = (1 / size + 1 / 4000) ** 0.5
    assert ((y.mean(0) - ours.mean).abs() < 4.5 * error * ours.std).all()
    assert drawn["f"].shape == (size, *model.network(X).shape)
    theirs = model.likelihood.moments(
        drawn["f"],
        output_axes=drawn["f"].dim() - 2,
        **{k: v.reshape(-1, 1) for k, v in drawn.items() if k == "noise_scale"},
    )
    # 5 standard errors of a deviation, which for heavy tails is over 1 / sqrt(2 S)
    assert (theirs[0].std(0) / ours.epistemic_std - 1).abs().max() < 5 * error


def test_moments_are_predictives_on_the_same_draws(case):
    model, guide, _ = case
    draws = guide.draw(50, seed=6)
    given = {name: value.unsqueeze(1) for name, value in draws.items()}  # that axis is the rows'
    with seeded(2):
        f = Predictive(model, given, parallel=True, return_sites=("f",))(X)["f"]
    latents = {name: given[name] for name in model.likelihood.sites(X)}
    mean, variance = model.likelihood.moments(f, output_axes=f.dim() - 2, **latents)
    ours = bl.Posterior.from_guide(model, guide).predict(X, 50, seed=6)
    torch.testing.assert_close(ours.mean, mean.mean(0), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(ours.epistemic_std, mean.std(0, correction=0), rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(
        ours.aleatoric_std, variance.expand_as(mean).mean(0).sqrt(), rtol=1e-5, atol=1e-9
    )


def test_the_prior_program_runs_in_parallel(problem):
    model, _ = problem
    with seeded(3):
        drawn = Predictive(model, num_samples=50, parallel=True)(X)
    assert drawn["f"].shape[:2] == (50, 12)


def test_nuts_draws_are_taken_back():
    """Against a conjugate posterior: Bayesian linear regression in closed form."""
    with seeded(0):
        layer = bl.Linear(2, 1).double()
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(0.3))
    with seeded(1):
        mcmc = MCMC(NUTS(model), num_samples=400, warmup_steps=200, disable_progbar=True)
        mcmc.run(X, REAL)
    posterior = bl.Posterior.from_samples(model, mcmc.get_samples())
    design = torch.cat([X, torch.ones(12, 1, dtype=torch.float64)], 1)
    covariance = (design.T @ design / 0.09 + torch.eye(3, dtype=torch.float64)).inverse()
    mean = design @ (covariance @ design.T @ REAL / 0.09)
    std = (design @ covariance * design).sum(1).sqrt()
    ours = posterior.predict(X, num_draws=400)
    # NUTS draws are nearly independent here; half as many effective ones leave a wide margin
    assert ((ours.mean - mean).abs() < 5 * std / 200**0.5).all()
    assert (ours.epistemic_std / std - 1).abs().max() < 5 / 400**0.5


def test_nuts_runs_on_learned_noise_and_point_estimates(build):
    model = bl.BayesianModel(build(lambda: dense(1, bias_prior=None)), bl.likelihoods.Normal("learned"))
    with seeded(1):
        mcmc = MCMC(NUTS(model, max_tree_depth=3), num_samples=5, warmup_steps=5, disable_progbar=True)
        mcmc.run(X, REAL)
    draws = mcmc.get_samples()
    assert (draws["noise_scale"] > 0).all()
    assert bl.Posterior.from_samples(model, draws).predict(X, num_draws=5).mean.shape == (12,)


def test_two_networks_in_a_larger_program(build):
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
        losses = [svi.step(X, REAL) for _ in range(300)]
    pyro.clear_param_store()
    assert sum(losses[-50:]) < sum(losses[:50]) - 50
    elbo = TraceMeanField_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)(model, guide)
    with seeded(0):
        assert elbo(X, REAL).isfinite()
        drawn = Predictive(model, guide=guide, num_samples=7, parallel=True)(X)
    assert {"mean/weight", "noise/weight", "y"} <= drawn.keys()
    assert not torch.equal(guides[0].loc, guides[1].loc)


def test_conditioning_on_a_weight(problem):
    model, y = problem
    name = next(iter(dict(model.network.named_parameters())))
    value = torch.zeros_like(model.sites()[name].initial)
    with seeded(0):
        trace = pyro.poutine.trace(pyro.condition(model, {name: value})).get_trace(X, y)
    assert trace.nodes[name]["is_observed"]
    assert torch.equal(trace.nodes[name]["value"], value)
