import copy

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.errors import DataError, ShapeError
from bayesian_layers.priors import recall

KINDS = (bl.RealNVP, bl.MADE, bl.MAF, bl.NeuralSpline)


def all_priors(flow):
    return {
        f"{path}.{name}": prior
        for path, module in flow.named_modules()
        for name, prior in recall(module).items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_networks_remember_priors_as_twins_do(build, kind):
    narrow, wide = bl.priors.Normal(scale=0.1), bl.priors.Normal(scale=9.0)
    for arguments, weight, bias in (
        ({}, bl.priors.default(), bl.priors.default()),
        ({"prior": wide, "bias_prior": narrow}, wide, narrow),
        ({"bias_prior": None}, bl.priors.default(), None),
    ):
        flow = build(lambda arguments=arguments: kind(2, (3,), **arguments))
        found = all_priors(flow)
        assert len(found) == len(list(flow.parameters()))
        assert {prior for name, prior in found.items() if name.endswith("weight")} == {weight}
        assert {prior for name, prior in found.items() if name.endswith("bias")} == {bias}


@pytest.mark.parametrize("kind", KINDS)
def test_point_flows_can_be_lifted(build, kind):
    flow = build(lambda: kind(2, (3,), prior="point"))
    assert all_priors(flow) == {}
    lifted = bl.bayesianize(flow, bl.priors.Normal(scale=2.0))
    assert all(row.status == "prior" for row in bl.lifting_report(lifted).rows)
    x = torch.ones(3, 2)
    assert torch.equal(lifted(x)[0], flow(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_device_and_dtype(kind):
    flow = kind(3, context=1, device="meta", dtype=torch.float64)
    assert {value.device.type for value in flow.state_dict().values()} == {"meta"}
    assert {value.dtype for value in flow.parameters()} == {torch.float64}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_any_shape_and_one_context_for_all(build, kind):
    flow = build(lambda: kind(2, (3,), context=1))
    x, c = torch.ones(5, 4, 2), torch.zeros(1)
    z, log_det = flow(x, c)
    assert (z.shape, log_det.shape) == ((5, 4, 2), (5, 4))
    assert torch.equal(flow(x[0, 0], c)[0], z[0, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_shapes_are_refused(build, kind):
    flow = build(lambda: kind(2, (3,), context=1))
    for call in (flow, flow.inverse):
        with pytest.raises(ShapeError, match="2"):
            call(torch.ones(4, 3), torch.ones(4, 1))
        with pytest.raises(ShapeError, match="context"):
            call(torch.ones(4, 2), torch.ones(4, 2))
        with pytest.raises(ShapeError, match="context"):
            call(torch.ones(4, 2))
    with pytest.raises(ShapeError, match="context"):
        build(lambda: kind(2, (3,)))(torch.ones(4, 2), torch.ones(4, 1))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"features": 0}, "features"),
        ({"features": 2, "hidden": ()}, "hidden"),
        ({"features": 2, "hidden": (3, 0)}, "hidden"),
        ({"features": 2, "hidden": 3}, "hidden"),
        ({"features": 2, "context": -1}, "context"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_sizes_are_refused(kind, arguments, name):
    with pytest.raises(DataError, match=name):
        kind(**arguments)


def test_other_wrong_arguments_are_refused(build):
    with pytest.raises(DataError, match="2 or more"):
        bl.RealNVP(1, context=3)
    for kind in (bl.RealNVP, bl.MAF, bl.NeuralSpline):
        with pytest.raises(DataError, match="layers"):
            kind(2, layers=0)
    for wrong in ({"bins": 1}, {"bins": 1000}, {"bound": 0.0}):
        with pytest.raises(DataError, match=next(iter(wrong))):
            bl.NeuralSpline(2, **wrong)
    with pytest.raises(TypeError, match=r"bl\.priors"):
        build(lambda: bl.MAF(2, prior=1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_used_flow_can_be_copied_and_shows_its_sizes(build, kind):
    flow = build(lambda: kind(2, (3,)))
    x = torch.ones(4, 2, requires_grad=True)
    flow(x)[0].sum().backward()
    twin = copy.deepcopy(flow)
    assert torch.equal(twin(x)[0], flow(x)[0])
    assert str(flow).startswith(f"{kind.__name__}(\n  2, hidden=(3,)")
    assert isinstance(flow, nn.Module)
