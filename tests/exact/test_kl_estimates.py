"""KL divergences from priors that are no Normals: against numerical integration and Pyro's own ELBO."""

import numpy as np
import pytest
import torch
from pyro.infer import TraceMeanField_ELBO
from scipy.special import dawsn
from torch import nn
from torch.func import grad, vmap

import bayesian_layers as bl
from bayesian_layers.fitting.budget import EvaluationPlan
from bayesian_layers.fitting.data.batches import make_batches
from bayesian_layers.fitting.evaluation import Evaluator, estimate_elbo
from bayesian_layers.noise import seeded, standard_normal

PRIORS = {
    "mixture": bl.priors.ScaleMixture(0.3, (1.0, 0.1)),
    "laplace": bl.priors.Laplace(0.3, 1.5),
    "log-uniform": bl.priors.LogUniform(),
    "mixture of near scales": bl.priors.ScaleMixture(0.8, (2.0, 0.5)),
}
SAMPLED = {name: prior for name, prior in PRIORS.items() if prior.kl == "sampled"}
AT = [(0.7, 0.3), (0.05, 0.02), (0.0, 1.0), (-2.0, 0.5)]  # mean and deviation of q
ENSEMBLE = lambda model: bl.guides.Ensemble(model, members=2)  # noqa: E731
FAMILIES = [
    bl.guides.MeanFieldNormal,
    bl.guides.FullRankNormal,
    bl.guides.LowRankNormal,
    bl.guides.BlockNormal,
    ENSEMBLE,
]
X = torch.linspace(-1, 1, 20, dtype=torch.float64).reshape(10, 2)
Y = X[:, 0] - 0.3


def one_weight(prior, build, bias=False):
    layer = build(lambda: bl.Linear(1, 1, bias=bias, prior=prior).double())
    return bl.BayesianModel(layer, bl.likelihoods.Normal(0.5))


def at(guide, loc, scale):
    with torch.no_grad():
        guide.loc.fill_(loc)
        guide.log_scale.fill_(np.log(scale))
    return guide


def kl_by_integration(prior, loc, log_scale):
    """Trapezoids over q's own axis, 12 deviations to each side; differentiable. Across a pole by the closed form."""
    if not prior.proper:
        return (
            -0.5 * np.log(2 * np.pi * np.e)
            - log_scale
            - prior.expected_log_density(loc, (2 * log_scale).exp())
        )
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    q = torch.exp(-0.5 * z.square()) / (2 * torch.pi) ** 0.5
    u = loc + log_scale.exp() * z
    return (
        torch.trapezoid(q * (-0.5 * z.square() - 0.5 * np.log(2 * np.pi) - prior.log_density(u, u)), z)
        - log_scale
    )


@pytest.mark.parametrize("prior", SAMPLED.values(), ids=SAMPLED)
@pytest.mark.parametrize(("loc", "scale"), AT)
def test_values_and_gradients_are_unbiased(prior, loc, scale, build):
    """One draw at a time, 20,000 of them, against integration: within 4.5 standard errors."""
    model = one_weight(prior, build)
    guide = at(bl.guides.MeanFieldNormal(model), loc, scale)
    priors = guide.flat_priors(model)
    state = {name: value.detach() for name, value in guide.named_parameters()}

    def kl(state, noise):
        return torch.func.functional_call(
            Estimate(guide, priors), {f"guide.{k}": v for k, v in state.items()}, noise
        )

    noise = standard_normal(1, 20_000, 1, dtype=torch.float64).unsqueeze(1)
    values = vmap(kl, in_dims=(None, 0))(state, noise)
    slopes = vmap(grad(kl), in_dims=(None, 0))(state, noise)
    exact_at = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (loc, np.log(scale))]
    exact = kl_by_integration(prior, *exact_at)
    exact.backward()
    compared = [
        (values, exact.detach()),
        (slopes["loc"][:, 0], exact_at[0].grad),
        (slopes["log_scale"][:, 0], exact_at[1].grad),
    ]
    for ours, theirs in compared:
        error = float(ours.std()) / 20_000**0.5
        assert abs(float(ours.mean() - theirs)) < 4.5 * error + 1e-9
        assert error < 0.06 * (1 + abs(float(theirs)))


class Estimate(nn.Module):
    def __init__(self, guide, priors):
        super().__init__()
        self.guide, self.priors = guide, priors

    def forward(self, noise):
        return self.guide.kl_estimate(self.priors, noise)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_weighted_kl_is_near_the_integral_for_every_guide(family, prior, build):
    """The guides begin as independent Normals, so that the KL is twice that of one weight; error by the 16 sets."""
    model = one_weight(prior, build, bias=True)
    guide = family(model)
    with torch.no_grad():
        guide.loc.fill_(0.4)
    scale = guide.log_scale.detach().flatten()[0] if not hasattr(guide, "rank") else None
    if scale is None:  # at its start, a factor beside the scales: deviations as all others
        scale = guide.variance().detach()[0].log() / 2
    exact = 2 * float(kl_by_integration(prior, torch.tensor(0.4, dtype=torch.float64), scale.double()))
    kls = guide.kl_replicates(model).detach()
    error = float(kls.std()) / 4
    # a correlation of the two weights, as a low rank begins with, costs 0.5 log(1 - r^2)
    correlation = (
        (guide.half_log_det() - guide.variance().log().sum() / 2).detach()
        if hasattr(guide, "half_log_det")
        else 0.0
    )
    assert abs(float(kls.mean() + correlation) - exact) < 4.5 * error + 1e-6 * abs(exact)
    assert float(guide.weighted_kl(model).detach()) == pytest.approx(float(kls.mean()), rel=1e-12)
    assert float(guide.weighted_kl(model, 0.25).detach()) == pytest.approx(
        0.25 * float(kls.mean()), rel=1e-12
    )


def network(prior, build):
    return build(lambda: nn.Sequential(bl.Linear(2, 3, prior=prior), nn.Tanh(), bl.Linear(3, 1)).double())


@pytest.mark.slow
@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_pyros_elbo_is_ours_in_expectation(prior, build):
    model = bl.BayesianModel(network(prior, build), bl.likelihoods.Normal("learned"))
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.2)
    theirs_of = TraceMeanField_ELBO(num_particles=500, vectorize_particles=True, max_plate_nesting=1)(
        model, guide
    )
    with seeded(2), torch.no_grad():
        theirs = torch.stack([-theirs_of(X, Y) for _ in range(20)])
    ours, error = estimate_elbo(model, guide, X, Y, num_draws=4000, seed=3)
    both = np.hypot(error, float(theirs.std()) / 20**0.5)
    assert abs(ours - float(theirs.mean())) < 4.5 * both
    assert both < 0.3


@pytest.mark.parametrize("family", FAMILIES)
def test_each_set_of_draws_has_its_own_kl(family, build):
    """The evaluation's KL belongs to the draws of its log likelihoods, so that the error of both is in the spread."""
    model = bl.BayesianModel(network(PRIORS["mixture"], build), bl.likelihoods.Normal(0.5))
    guide = family(model)
    batches = make_batches(X, Y, network=model.network, batch_size=None, seed=0)
    multiple = guide.particle_multiple
    plan = EvaluationPlan(sets=16, draws=8 * multiple)
    evaluator = Evaluator(model, batches, 0.5, plan, seed=0, multiple=multiple)
    found = evaluator(guide)
    priors = guide.flat_priors(model)
    for i in range(16):
        noise = evaluator.noise(guide, i)
        expected = guide.kl_estimate(priors, noise)
        flat, point = guide.unconstrained(noise), guide.points(len(noise))
        ratio = priors.log_ratio(flat, point).mean()
        torch.testing.assert_close(expected, guide.kl_to(priors) - ratio)
        torch.testing.assert_close(found.kl[i], expected.detach())
        torch.testing.assert_close(found.weighted_kl[i], 0.5 * expected.detach())
    assert float(found.kl.std()) > 0
    assert found.elbo_stderr == pytest.approx(float((found.log_likelihoods.mean(1) - found.kl).std()) / 4)


def test_weights_of_sites_and_kl_by_site(build):
    model = bl.BayesianModel(network(PRIORS["mixture"], build), bl.likelihoods.Normal(0.5))
    guide = bl.guides.MeanFieldNormal(model)
    by_site = {name: float(kl.detach()) for name, kl in guide.kl_divergence(model).items()}
    assert float(guide.weighted_kl(model).detach()) == pytest.approx(sum(by_site.values()), rel=1e-9)
    weights = {"0.weight": 0.3, "2.bias": 0.0}
    expected = sum(weights.get(name, 1.0) * kl for name, kl in by_site.items())
    assert float(guide.weighted_kl(model, weights).detach()) == pytest.approx(expected, rel=1e-9)


def test_an_ensemble_weighs_its_members(build):
    """By equal weights its KL is the mean of the members', each on the draws that the noise gives it."""
    model = bl.BayesianModel(network(PRIORS["mixture"], build), bl.likelihoods.Normal(0.5))
    guide = bl.guides.Ensemble(model, members=2)
    with torch.no_grad():
        guide.loc[1] += 1.0
    alone = bl.guides.MeanFieldNormal(model, init_scale=guide.init_scale)
    kls, errors = [], []
    for loc in guide.loc.detach():
        with torch.no_grad():
            alone.loc.copy_(loc)
        found = alone.kl_replicates(model).detach()
        kls.append(float(found.mean())), errors.append(float(found.std()) / 4)
    assert abs(float(guide.weighted_kl(model).detach()) - np.mean(kls)) < 6 * np.hypot(*errors)
    assert kls[1] > kls[0] + 12 * np.hypot(*errors)  # so that the members are told apart
    # with no data, weights are the softmax of minus the KLs
    guide.finalize(torch.zeros(2, dtype=torch.float64), model)
    gap = float(guide.log_weight[0] - guide.log_weight[1])
    assert abs(gap - (kls[1] - kls[0])) < 6 * np.hypot(*errors)


@pytest.mark.parametrize("family", [*FAMILIES[1:], bl.guides.MeanFieldNormal])
def test_where_all_priors_are_normal_no_noise_counts(family, build):
    model = bl.BayesianModel(network(bl.priors.HierarchicalNormal(), build), bl.likelihoods.Normal("learned"))
    guide = family(model)
    priors = guide.flat_priors(model)
    nothing = torch.full((4, guide.noise_size), torch.nan, dtype=torch.float64)
    assert torch.equal(guide.kl_estimate(priors, nothing), guide.kl_to(priors))
    assert torch.equal(guide.kl_replicates(model), guide.weighted_kl(model).expand(16))
    assert not guide.estimates_kl(priors)


def test_estimators_that_need_no_noise_get_it_for_the_kl(build):
    """`local` has noise of its own; without the guide's, the KL would be taken at the means alone, far off."""
    prior = bl.priors.ScaleMixture(0.05, (1.0, 0.1))
    layer = build(lambda: bl.Linear(2, 1, prior=prior).double())
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(3.0))
    guide = at(bl.guides.MeanFieldNormal(model), 0.0, 0.6)
    square = (Y.square() + 0.6**2 * (1 + X.square().sum(1))).sum()
    log_p = -float(square / 18) - 10 * np.log(3 * (2 * np.pi) ** 0.5)
    zero, log_scale = (torch.tensor(v, dtype=torch.float64) for v in (0.0, np.log(0.6)))
    exact = 3 * float(kl_by_integration(prior, zero, log_scale)) - log_p
    priors = guide.flat_priors(model)
    noise = standard_normal(5, 2000, 3, dtype=torch.float64)
    error = float(priors.log_ratio(guide.unconstrained(noise), guide.points(2000)).detach().std()) / 2000**0.5
    at_means = float((guide.kl_estimate(priors, torch.zeros_like(noise)) - log_p).detach())
    options = {"estimator": "local", "particles": 2000, "max_steps": 1, "compile": "eager", "progress": False}
    with pytest.warns(bl.errors.ConvergenceWarning):
        first = bl.fit(model, X, Y, guide=guide, **options).history[0]
    assert abs(first - exact) < 4.5 * error < 0.5 * abs(at_means - exact)


def test_closed_forms_are_exact(build):
    """Value and slopes by each parameter, against integration, whose trapezoids err by 2e-5 across the kink."""
    prior = PRIORS["laplace"]
    model = one_weight(prior, build)
    guide = bl.guides.MeanFieldNormal(model)
    for loc, scale in [(0.7, 0.3), (0.05, 0.02), (-2.0, 0.5), (3.0, 0.25), (1.0, 10.0), (0.3, 0.3)]:
        at(guide, loc, scale)
        guide.zero_grad()
        ours = guide.weighted_kl(model)
        ours.backward()
        exact_at = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (loc, np.log(scale))]
        exact = kl_by_integration(prior, *exact_at)
        exact.backward()
        pairs = [(ours, exact), (guide.loc.grad, exact_at[0].grad), (guide.log_scale.grad, exact_at[1].grad)]
        for one, two in pairs:
            assert float(one.detach()) == pytest.approx(float(two.detach()), rel=5e-5, abs=5e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_kl_from_the_log_uniform_is_dawsons_integral(dtype):
    """2 int_0^z D and its slope by the logarithm of the variance, -z D(z), from z = 1e-4 to 1e4; finite beyond."""
    prior = bl.priors.LogUniform()
    z = torch.cat([torch.zeros(1), torch.logspace(-4, 4, 801)]).double()
    nodes, weights = np.polynomial.legendre.leggauss(16)
    ends = np.concatenate([[0.0], z[1:].numpy()])
    middles, halves = (ends[1:] + ends[:-1]) / 2, np.diff(ends) / 2
    parts = (dawsn(middles[:, None] + halves[:, None] * nodes) * weights).sum(1) * halves
    exact = np.concatenate([[0.0], 2 * np.cumsum(parts)])
    loc = (z * 2**0.5).to(dtype)
    log_variance = torch.zeros_like(loc, requires_grad=True)
    entropy = 0.5 * (1 + np.log(2 * np.pi) + log_variance)
    kl = -entropy - prior.expected_log_density(loc, log_variance.exp())
    (slope,) = torch.autograd.grad(kl.sum(), log_variance)
    np.testing.assert_allclose(kl.detach().double(), exact, atol=1e-6 if dtype == torch.float64 else 4e-6)
    np.testing.assert_allclose(slope.double(), -z.numpy() * dawsn(z.numpy()), atol=4e-6)
    far = torch.tensor([1e12, 0.0], dtype=dtype), torch.tensor([1e-8, 1e8], dtype=dtype)
    assert prior.expected_log_density(*far).isfinite().all()


@pytest.mark.slow
def test_the_kl_from_the_log_uniform_is_that_of_its_density(build):
    """E_q[log q - log p] over 200,000 draws: the constant is the density's, and the least KL is 0."""
    prior = bl.priors.LogUniform()
    model = one_weight(prior, build)
    for loc, scale in AT:
        z = standard_normal(3, 200_000, 1, dtype=torch.float64)
        w = loc + scale * z
        log_q = -0.5 * z.square() - np.log(scale * (2 * np.pi) ** 0.5)
        difference = log_q - prior.log_density(w, w)
        guide = at(bl.guides.MeanFieldNormal(model), loc, scale)
        kl = float(guide.kl_divergence(model)["weight"].detach())
        assert abs(float(difference.mean()) - kl) < 4.5 * float(difference.std()) / 200_000**0.5
        assert kl >= -1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [bl.guides.FullRankNormal, bl.guides.LowRankNormal, bl.guides.MeanFieldNormal, ENSEMBLE]
)
def test_scales_of_units_and_layers(family, build):
    """E_q[-log p(w | scales)] of a horseshoe in closed form, against 200,000 draws; scales and weights tied."""
    layer = build(lambda: bl.Linear(2, 3, prior=bl.priors.Horseshoe(1.0, 0.5), bias_prior=None).double())
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(0.5))
    guide = family(model)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in guide.named_parameters():
            if name != "point":
                parameter += 0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        guide.log_scale += 0.8
    size, sites = 200_000, model.sites()
    noise = standard_normal(4, size, guide.noise_size, dtype=torch.float64)
    flat = guide.unconstrained(noise).detach()
    values = {name: value.detach() for name, value in guide.layout.values(flat, guide.points(size)).items()}
    log_p = sites["weight"].distribution(sites["weight"].scale(values)).log_prob(values["weight"])
    for name in ("weight.unit_scale", "weight.layer_scale"):
        reference = torch.distributions.Normal(*sites[name].prior.unconstrained(sites[name].initial))
        log_p = log_p + reference.log_prob(values[name].log()).reshape(size, -1).sum(1)
    difference = log_q(guide, flat).detach() - log_p
    error = float(difference.std()) / size**0.5
    ours = float(guide.kl_to(guide.flat_priors(model)).detach())
    assert abs(float(difference.mean()) - ours) < 4.5 * error
    assert error < 0.02 * abs(ours)


def log_q(guide, flat):
    """Of an Ensemble the density of the member whose draw it is."""
    if not isinstance(guide, bl.guides.Ensemble):
        return guide.log_density(flat)
    member = torch.arange(len(flat)) % guide.members
    return torch.distributions.Normal(guide.loc[member], guide.log_scale.exp()[member]).log_prob(flat).sum(1)


def test_the_kl_of_a_horseshoe_site_by_site(build):
    layer = build(lambda: bl.Linear(2, 3, prior=bl.priors.Horseshoe(1.0, 0.5)).double())
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(0.5))
    guide = bl.guides.MeanFieldNormal(model)
    by_site = {name: float(kl.detach()) for name, kl in guide.kl_divergence(model).items()}
    assert float(guide.weighted_kl(model).detach()) == pytest.approx(sum(by_site.values()), rel=1e-9)
    for name, kl in by_site.items():
        alone = {other: float(other == name) for other in by_site}
        assert float(guide.weighted_kl(model, alone).detach()) == pytest.approx(kl, rel=1e-9)


def test_priors_of_several_kinds_side_by_side(build):
    """Sites that lie together, apart and between others; torch's own KL, site by site and with weights."""
    laplace, other = bl.priors.Laplace(0.1, 1.5), bl.priors.Laplace(0.0, 0.5)
    model = bl.BayesianModel(
        build(
            lambda: nn.Sequential(
                bl.Linear(2, 3, prior=laplace),
                nn.Tanh(),
                bl.Linear(3, 3, prior=bl.priors.Normal(), bias_prior=laplace),
                bl.Linear(3, 1, prior=other, bias_prior=None),
            ).double()
        ),
        bl.likelihoods.Normal(bl.priors.LogNormal()),
    )
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
    expected = {}
    for name, (loc, scale) in guide.moments().items():
        prior = model.sites()[name].prior
        kind = torch.distributions.Normal if prior == bl.priors.Normal() else torch.distributions.Laplace
        width = prior.scale if kind is torch.distributions.Normal else prior.scale / 2**0.5
        q = torch.distributions.Normal(loc.detach(), scale.detach())
        expected[name] = float(torch.distributions.kl_divergence(q, kind(prior.loc + 0 * q.loc, width)).sum())
    found = {name: float(kl.detach()) for name, kl in guide.kl_divergence(model).items()}
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    assert float(guide.weighted_kl(model).detach()) == pytest.approx(sum(found.values()), rel=1e-9)
    weights = {name: 0.1 * (i + 1) for i, name in enumerate(found)}
    tempered = sum(weights[name] * kl for name, kl in found.items())
    assert float(guide.weighted_kl(model, weights).detach()) == pytest.approx(tempered, rel=1e-9)
