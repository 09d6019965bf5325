"""Reversible layers against autograd: the inverse, the determinant, and which entries depend on which."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev, vmap

import bayesian_layers as bl

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
    """The flow away from the identity, at which it begins."""
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
    """With the parameters put in from outside, forward and inverse; the modules keep nothing of a call."""
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
    shift, log_scale, *_ = step._steered(x[:, :0], x[:, :0])
    outside = (x * log_scale.exp() + shift).abs() > 2
    torch.testing.assert_close(z[outside], (x * log_scale.exp() + shift)[outside], rtol=0, atol=0)
    # no jump of the slope at knots or ends: steps of 3e-4, times what it bends
    assert float(log_det.diff().abs().max()) < 0.1
