"""Reversible layers against autograd: the inverse, the determinant, and which entries depend on which."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

import bayesian_layers as bl
from bayesian_layers.fitting.evaluation import estimate_elbo
from bayesian_layers.noise import seeded

FLOWS = {
    "RealNVP": lambda **kwargs: bl.RealNVP(4, (8, 8), **kwargs),
    "RealNVP, odd": lambda **kwargs: bl.RealNVP(3, (8,), layers=3, **kwargs),
    "MADE": lambda **kwargs: bl.MADE(4, (9,), **kwargs),
    "MADE, reverse": lambda **kwargs: bl.MADE(3, (4, 3), reverse=True, **kwargs),
    "MADE, one feature": lambda **kwargs: bl.MADE(1, (4,), **kwargs),
    "MAF": lambda **kwargs: bl.MAF(4, (9, 9), layers=3, **kwargs),
    "MAF, narrow": lambda **kwargs: bl.MAF(5, (3,), **kwargs),
    "NeuralSpline": lambda **kwargs: bl.NeuralSpline(3, (8,), bins=5, bound=2.0, **kwargs),
    "NeuralSpline, one feature": lambda **kwargs: bl.NeuralSpline(1, (8,), **kwargs),
}


def moved(flow, scale=0.2, seed=0):
    """The flow away from the identity, at which it starts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return flow


@pytest.fixture(params=FLOWS)
def make(request, build):
    return lambda **kwargs: moved(build(lambda: FLOWS[request.param](**kwargs)))


def vectors(flow, dtype=torch.float64, rows=20):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, flow.features, generator=generator, dtype=dtype)
    return x, torch.randn(rows, flow.context, generator=generator, dtype=dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("context", [0, 2])
def test_inverse_undoes_forward(make, dtype, tolerance, context):
    flow = make(context=context, dtype=dtype)
    x, given = vectors(flow, dtype)
    with torch.no_grad():
        z, log_det = flow(x, given)
        back, back_log_det = flow.inverse(z, given)
    assert z.dtype == log_det.dtype == dtype
    assert log_det.shape == (20,)
    assert float((z - x).abs().max()) > 0.1  # it is not the identity
    torch.testing.assert_close(back, x, rtol=0, atol=tolerance)
    torch.testing.assert_close(back_log_det, -log_det, rtol=0, atol=10 * tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("context", [0, 2])
def test_log_determinant_is_that_of_autograds_jacobian(make, context):
    flow = make(context=context, dtype=torch.float64)
    x, given = vectors(flow)
    for direction in (flow.forward, flow.inverse):
        jacobian = vmap(jacrev(lambda one, c, f=direction: f(one, c)[0]))(x, given)
        sign, expected = torch.linalg.slogdet(jacobian)
        assert bool((sign == 1).all())
        torch.testing.assert_close(direction(x, given)[1], expected, rtol=1e-9, atol=1e-9)


def test_it_begins_as_the_identity(build):
    for name, make in FLOWS.items():
        flow = build(lambda make=make: make(dtype=torch.float64))
        x, _ = vectors(flow)
        z, log_det = flow(x)
        torch.testing.assert_close(z, x, rtol=1e-12, atol=1e-12, msg=name)
        torch.testing.assert_close(log_det, torch.zeros_like(log_det), rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("hidden", [(7,), (2, 3), (30, 30, 30)])
@pytest.mark.parametrize("context", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_made_is_autoregressive(build, hidden, context, reverse):
    """The Jacobian is triangular in the order, and below the diagonal nothing else is 0."""
    flow = moved(build(lambda: bl.MADE(5, hidden, context, reverse, dtype=torch.float64)))
    x, given = vectors(flow, rows=50)
    jacobian = vmap(jacrev(lambda one, c: flow(one, c)[0]))(x, given).abs().amax(0)
    lower = jacobian.flip(0, 1) if reverse else jacobian
    assert bool((lower.triu(1) == 0).all())
    assert bool((lower.diagonal() > 0).all())
    # Narrow layers cannot let every entry through; wide ones must.
    allowed = torch.ones(5, 5, dtype=torch.bool).tril()
    if min(hidden) >= 5:
        assert bool((lower[allowed] > 0).all())
    if context:
        by_context = vmap(jacrev(lambda c, one: flow(one, c)[0]))(given, x).abs().amax(0)
        assert bool((by_context > 0).all())


def test_draws_by_vmap_are_a_loop_over_draws(make):
    """With given parameters, forward and inverse; the modules keep no state of a call."""
    flow = make(context=2, dtype=torch.float64)
    x, given = vectors(flow)

    class Inverse(nn.Module):
        def __init__(self):
            super().__init__()
            self.flow = flow

        def forward(self, *inputs):
            return self.flow.inverse(*inputs)

    for module, prefix in ((flow, ""), (Inverse(), "flow.")):
        draws = {
            prefix + name: torch.stack([p, 0.9 * p, 1.1 * p]).detach() for name, p in flow.named_parameters()
        }
        many = vmap(lambda w, module=module: functional_call(module, w, (x, given)))(draws)
        for i in range(3):
            one = functional_call(module, {name: value[i] for name, value in draws.items()}, (x, given))
            for a, b in zip(many, one, strict=True):
                torch.testing.assert_close(a[i], b, rtol=1e-10, atol=1e-10)
    assert all(isinstance(value, nn.Parameter) for value in flow.parameters())


def test_a_spline_is_the_identity_outside_its_box_and_increases(build):
    flow = moved(
        build(lambda: bl.NeuralSpline(1, (8,), layers=1, bins=6, bound=2.0, dtype=torch.float64)), 0.4
    )
    step = flow.steps[0]
    flow.requires_grad_(False)
    x = torch.linspace(-6, 6, 40_001, dtype=torch.float64).unsqueeze(1)
    z, log_det = flow(x)
    assert bool((z.diff(dim=0) > 0).all())
    shift, log_scale, *_ = step._map_parameters(x[:, :0], x[:, :0])
    outside = (x * log_scale.exp() + shift).abs() > 2
    torch.testing.assert_close(z[outside], (x * log_scale.exp() + shift)[outside], rtol=0, atol=0)
    # no jump of the slope at knots or ends: steps of 3e-4, times what it bends
    assert float(log_det.diff().abs().max()) < 0.1


def integral(density, context):
    """Of a density of one or two features over a square well beyond all draws, by the trapezoid rule."""
    features = density.flow.features
    with seeded(0):
        reach = 1.5 * float(density.distribution(context).sample((20_000,)).abs().max())
    axis = torch.linspace(-reach, reach, (6001, 601)[features - 1], dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * features)
    y = density.distribution(context.expand(len(grid), -1))
    return float(y.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** features)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "features"),
    [(bl.NeuralSpline, 1), (bl.NeuralSpline, 2), (bl.RealNVP, 2), (bl.MAF, 1), (bl.MAF, 2)],
)
@pytest.mark.parametrize("context", [0, 1])
def test_densities_integrate_to_one(build, kind, features, context):
    flow = moved(build(lambda: kind(features, (8,), layers=2, context=context, dtype=torch.float64)))
    density = bl.likelihoods.Flow(flow.requires_grad_(False))
    for c in (-1.0, 2.0)[: 1 + context]:
        total = integral(density, torch.full((1, context), c, dtype=torch.float64))
        assert total == pytest.approx(1, abs=1e-3)  # the trapezoid's error at a spline's knots


def test_moments_are_exact_for_a_flow_that_is_affine_in_the_noise(build):
    """A MADE without hidden layers' bends: mean and variance in closed form, by its own Jacobian."""
    flow = build(lambda: bl.MADE(3, (8,), dtype=torch.float64)).requires_grad_(False)
    flow.network[-1].linear.bias.copy_(torch.tensor([0.1, -0.2, 0.3, 0.5, -0.5, 0.2], dtype=torch.float64))
    y = bl.likelihoods.Flow(flow).distribution(torch.empty(2, 0, dtype=torch.float64))
    shift, log_scale = torch.tensor([[0.1, -0.2, 0.3], [0.5, -0.5, 0.2]], dtype=torch.float64)
    log_scale = 3 * (log_scale / 3).tanh()
    torch.testing.assert_close(y.mean[0], -shift * (-log_scale).exp())
    torch.testing.assert_close(y.variance[0], (-2 * log_scale).exp())


def test_moments_and_quantiles_of_a_bent_flow_are_those_of_its_draws(build):
    flow = moved(build(lambda: bl.NeuralSpline(1, (8,), bins=5, bound=3.0, dtype=torch.float64)), 0.4)
    flow.requires_grad_(False)
    y = bl.likelihoods.Flow(flow).distribution(torch.empty(1, 0, dtype=torch.float64))
    axis = torch.linspace(-12, 12, 20_001, dtype=torch.float64).unsqueeze(1)
    weight = y.log_prob(axis).exp() * (axis[1] - axis[0])
    mean = (weight * axis).sum()
    std = ((weight * (axis - mean).square()).sum()) ** 0.5
    assert float((y.mean - mean).abs()) < 0.05 * std  # "some percent of a standard deviation"
    assert float((y.variance**0.5 / std - 1).abs()) < 0.05
    levels = torch.tensor([[0.05], [0.3], [0.5], [0.99]], dtype=torch.float64)
    quantiles = y.icdf(levels)
    torch.testing.assert_close(y.cdf(quantiles), levels)
    below = torch.stack([weight[axis.squeeze(1) < float(q)].sum() for q in quantiles])
    torch.testing.assert_close(below, levels.squeeze(1), rtol=0, atol=1e-3)


def moons(size, seed):
    """Two half circles that interlock, standardized."""
    generator = np.random.default_rng(seed)
    angle, upper = generator.uniform(0, np.pi, size), generator.random(size) < 0.5
    arc = np.stack([np.cos(angle), np.sin(angle)], 1)
    points = np.where(upper[:, None], arc, [1, 0.5] - arc) + 0.1 * generator.standard_normal((size, 2))
    return torch.as_tensor((points - [0.5, 0.25]) / [0.87, 0.5], dtype=torch.float32)


def mean_log_prob(result, x, y):
    return float(result.posterior.over_draws(bl.predictive.log_prob, x, y, num_draws=20).mean())


@pytest.mark.filterwarnings("ignore:no parameter has a prior")
def test_a_flow_of_two_moons_beats_a_gaussian(build):
    y, test = moons(500, 0), moons(2000, 1)
    gaussian = torch.distributions.MultivariateNormal(y.mean(0), torch.cov(y.T)).log_prob(test).mean()
    flow = build(lambda: bl.RealNVP(2, (16,), layers=4, prior="point"))
    model = bl.BayesianModel(bl.NoContext(), bl.likelihoods.Flow(flow))
    result = bl.fit(model, y, y, seed=0, particles=1, max_steps=400, progress=False)
    assert mean_log_prob(result, test, test) > float(gaussian) + 0.3


def bimodal(size, seed):
    """Two branches that part with x, and noise that grows with it."""
    generator = np.random.default_rng(seed)
    x = generator.uniform(-1, 1, size)
    y = generator.choice([-1.0, 1.0], size) * (x + 1) / 2 + (
        0.05 + 0.1 * (x > 0)
    ) * generator.standard_normal(size)
    return tuple(torch.as_tensor(each, dtype=torch.float32) for each in (x[:, None], y / 0.6))


@pytest.mark.filterwarnings("ignore:no parameter has a prior")
def test_a_conditional_flow_of_two_branches_beats_normal_noise(build):
    """Also against the best Normal of each x, whose mean is 0 and whose standard deviation is known."""
    (x, y), (new_x, new_y) = bimodal(500, 0), bimodal(2000, 1)
    flow = build(lambda: bl.NeuralSpline(1, (16,), layers=1, context=1, prior="point"))
    model = bl.BayesianModel(nn.Identity(), bl.likelihoods.Flow(flow))
    result = bl.fit(model, x, y, seed=0, particles=1, max_steps=400, progress=False)
    noise = (0.05 + 0.1 * (new_x[:, 0] > 0)) / 0.6
    best_normal = (
        torch.distributions.Normal(0, torch.hypot((new_x[:, 0] + 1) / 1.2, noise)).log_prob(new_y).mean()
    )
    assert mean_log_prob(result, new_x, new_y) > float(best_normal) + 0.2


@pytest.fixture(scope="module")
def regression():
    """A linear regression with correlated inputs and known noise, and its log marginal likelihood."""
    generator = np.random.default_rng(0)
    common, own = generator.standard_normal((40, 1)), generator.standard_normal((40, 3))
    design = torch.as_tensor(np.hstack([common + 0.2 * own, np.ones((40, 1))]))
    y = design @ torch.tensor([0.5, -1.0, 0.3, 0.4], dtype=torch.float64) + 0.3 * torch.as_tensor(
        generator.standard_normal(40)
    )
    covariance = design @ design.T + 0.09 * torch.eye(40, dtype=torch.float64)
    evidence = torch.distributions.MultivariateNormal(torch.zeros_like(y), covariance).log_prob(y)
    return design[:, :3], y, float(evidence)


@pytest.mark.slow
def test_the_guide_finds_a_correlated_posterior(build, regression):
    """Its ELBO is the log marginal likelihood within 0.1 nats, where independent Normals are more than 1 nat away."""
    x, y, evidence = regression
    layer = build(lambda: bl.Linear(3, 1, prior=bl.priors.Normal()).double())
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(0.3))
    mean_field = bl.fit(model, x, y, seed=0, progress=False)
    assert mean_field.elbo < evidence - 1
    result = bl.fit(model, x, y, guide=bl.guides.Flow(model, layers=2, hidden=(16,)), seed=0, progress=False)
    assert result.elbo == pytest.approx(evidence, abs=0.1)
    # the ELBO of the fit agrees with an estimate on other draws
    guide = result.posterior.source
    elbo, stderr = estimate_elbo(model, guide, x, y, num_draws=4000, seed=9)
    assert abs(elbo - evidence) < 0.1 + 4 * stderr


class Banana(nn.Module):
    """Observes w1 + w0**2 alone: the posterior lies along a parabola."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, 0.0], dtype=torch.float64))

    def forward(self, x):
        return (self.w[1] + self.w[0] ** 2).expand(len(x), 1)


@pytest.mark.slow
def test_the_guide_bends_along_a_banana():
    """A full covariance loses more than a nat there; the evidence is by quadrature."""
    model = bl.BayesianModel(
        bl.bayesianize(Banana(), bl.priors.Normal(scale=2.0)), bl.likelihoods.Normal(0.3)
    )
    x, y = torch.zeros(4, 1, dtype=torch.float64), torch.tensor([0.8, 1.0, 1.1, 1.1], dtype=torch.float64)
    axis = torch.linspace(-12, 12, 2001, dtype=torch.float64)
    a, b = torch.meshgrid(axis, axis, indexing="ij")
    normal = torch.distributions.Normal
    log_joint = normal(0.0, 2.0).log_prob(a) + normal(0.0, 2.0).log_prob(b)
    log_joint = log_joint + sum(normal(b + a**2, 0.3).log_prob(each) for each in y)
    evidence = float(log_joint.flatten().logsumexp(0) + 2 * (axis[1] - axis[0]).log())
    elbos = {}
    for guide in (bl.guides.FullRankNormal(model), bl.guides.Flow(model, hidden=(16,))):
        elbos[type(guide)] = bl.fit(model, x, y, guide=guide, seed=0, progress=False).elbo
    assert elbos[bl.guides.FullRankNormal] < evidence - 1
    assert elbos[bl.guides.Flow] > evidence - 0.1
    assert elbos[bl.guides.Flow] > elbos[bl.guides.FullRankNormal] + 1
