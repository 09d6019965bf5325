"""One draw is one function: as a plain module, alone and S at once, under autograd, torch.export and ONNX."""

import copy
import gc
import os
import subprocess
import sys
import textwrap
import weakref

import pytest
import torch
from torch import nn
from torch.func import jacrev, vmap

import bayesian_layers as bl
from bayesian_layers.errors import DataError, ShapeError
from bayesian_layers.noise import stream
from bayesian_layers.posterior.fixed_networks import Functions, fixed


class Recurrent(nn.Module):
    """A network for which vmap has no rule."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


class Tied(nn.Module):
    """One weight at two places, and one module at two places."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.again = self.second

    def forward(self, x):
        return self.again(torch.tanh(self.second(torch.tanh(self.first(x)))))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(3, 2), nn.Linear(2, 2)

    def forward(self, x, z):
        return self.left(x) * self.right(z)


def partly_frozen():
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    return network


def normalised():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    network[1].running_mean += 0.3
    network[1].running_var *= 2.0
    return network


NETWORKS = {
    "dense": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), (3,)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv1d(2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(9, 2)),
        (2, 4),
    ),
    "batch norm and dropout": (normalised, (3,)),
    "partly frozen": (partly_frozen, (3,)),
    "tied": (Tied, (3,)),
    "recurrent": (Recurrent, (5, 3)),
}


def inputs(*shape):
    return torch.randn(6, *shape, generator=stream(1))


@pytest.fixture
def posterior_of(build):
    """An untrained guide, whose standard deviations are far above 0, so draws are different functions."""

    def make(network, seed=0):
        model = bl.BayesianModel(bl.bayesianize(build(network, seed)), bl.likelihoods.Normal("learned"))
        return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))

    return make


@pytest.fixture
def posterior(posterior_of):
    return posterior_of(NETWORKS["dense"][0])


@pytest.mark.parametrize("name", NETWORKS)
def test_each_function_is_the_network_with_its_draw(posterior_of, name):
    network, shape = NETWORKS[name]
    posterior, x = posterior_of(network), inputs(*shape)
    before = torch.get_rng_state()
    functions = posterior.functions(5, seed=3)
    f = functions(x)
    draws = posterior.sample(5, seed=3)
    for s in range(5):
        plain = copy.deepcopy(posterior.model.network)
        for key, parameter in plain.named_parameters():
            if parameter.requires_grad:
                parameter.data.copy_(draws[key][s])
        torch.testing.assert_close(f[s], plain(x))
    # One kernel for S draws and another for one: the last bits may differ, the weights may not.
    torch.testing.assert_close(f[0], posterior.function(seed=3)(x))
    assert f.shape[0] == functions.num_draws == 5
    assert float(f.std(dim=0).min().detach()) > 1e-4
    assert torch.equal(functions(x), f)
    assert torch.equal(torch.get_rng_state(), before)


def test_fewer_functions_are_the_start_of_more(posterior):
    few, many = posterior.functions(10, seed=4), posterior.functions(100, seed=4)
    for name, value in few.state_dict().items():
        assert torch.equal(value, many.state_dict()[name][:10])
    torch.testing.assert_close(few(inputs(3)), many(inputs(3))[:10])
    other = posterior.functions(10, seed=5)(inputs(3))
    assert not torch.isclose(few(inputs(3)), other).any()


def test_the_weights_are_those_of_sample_to_the_bit(posterior):
    draws, held = posterior.sample(7, seed=2), posterior.functions(7, seed=2).state_dict()
    assert {f"network.{name}" for name in draws} - held.keys() == {"network.noise_scale"}
    for name, value in held.items():
        assert torch.equal(value, draws[name.removeprefix("network.")])


def test_several_inputs(posterior_of):
    posterior = posterior_of(TwoInputs)
    x, z = inputs(3), inputs(2)
    f = posterior.functions(4, seed=1)(x, z)
    assert f.shape == (4, 6, 2)
    torch.testing.assert_close(f[0], posterior.function(seed=1)(x, z))


def test_a_network_without_latent_weights_is_the_same_function_each_time(build):
    network = build(lambda: nn.Linear(3, 2)).requires_grad_(False)
    functions = Functions(network, {"noise_scale": torch.ones(4)})
    f = functions(inputs(3))
    assert f.shape == (4, 6, 2)
    assert torch.equal(f[3], network(inputs(3)))


def test_wrong_draws_are_refused(posterior):
    network = posterior.model.network
    with pytest.raises(DataError, match="num_draws"):
        posterior.functions(0)
    with pytest.raises(DataError, match="seed"):
        posterior.functions(3, seed=-1)
    with pytest.raises(ShapeError, match=r"0\.bias"):
        Functions(network, {"0.weight": torch.zeros(5, 4, 3), "0.bias": torch.zeros(4, 4)})
    with pytest.raises(ShapeError, match=r"0\.weight"):
        Functions(network, {"0.weight": torch.zeros(5, 3, 4)})
    with pytest.raises(DataError, match="received none"):
        Functions(network, {})
    with pytest.raises(ShapeError, match=r"0\.bias"):
        fixed(network, {"0.bias": torch.zeros(1)})  # would broadcast


def test_gradients_with_respect_to_inputs(posterior):
    """Against the derivative written down: W2 diag(1 - tanh^2) W1."""
    functions, x = posterior.functions(5, seed=3).double(), inputs(3).double().requires_grad_()
    draws = {name: value.double() for name, value in posterior.sample(5, seed=3).items()}
    hidden = torch.einsum("nd,shd->snh", x, draws["0.weight"]) + draws["0.bias"].unsqueeze(1)
    expected = torch.einsum(
        "skh,snh,shd->snkd", draws["2.weight"], 1 - torch.tanh(hidden) ** 2, draws["0.weight"]
    )
    jacobian = vmap(jacrev(lambda row: functions(row.unsqueeze(0))[:, 0]))(x).transpose(0, 1)
    torch.testing.assert_close(jacobian, expected)
    (gradient,) = torch.autograd.grad(functions(x).sum(), x)
    torch.testing.assert_close(gradient, expected.sum(dim=(0, 2)))
    assert not functions(x.detach()).requires_grad  # the weights are fixed


def test_the_best_input_of_each_function_is_found_by_gradient(build):
    r"""Thompson sampling over a continuous choice: :math:`-(x - a_s)^2` is largest at :math:`a_s`."""

    class Hill(nn.Module):
        def __init__(self):
            super().__init__()
            self.top = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            return -((x - self.top) ** 2)

    tops = torch.tensor([[-1.0], [0.5], [2.0]])
    functions = Functions(build(Hill), {"top": tops})
    x = torch.zeros(3, 1, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.25)
    for _ in range(60):
        optimizer.zero_grad()
        (-functions(x).diagonal(dim1=0, dim2=1).sum()).backward()  # row s under function s alone
        optimizer.step()
    torch.testing.assert_close(x.detach(), tops, atol=1e-5, rtol=0)


def test_thompson_choices_have_the_posteriors_probability(build):
    """Two arms with independent Normal values: P(the first is chosen) = Phi((m1 - m2) / sqrt(v1 + v2))."""
    model = bl.BayesianModel(
        build(lambda: bl.Linear(1, 2, bias=False, dtype=torch.float64)), bl.likelihoods.Normal(1.0)
    )
    guide = bl.guides.MeanFieldNormal(model)
    with torch.no_grad():
        guide.loc.copy_(torch.tensor([0.3, 0.0]))
        guide.log_scale.copy_(torch.tensor([0.5, 1.2]).log())
    functions = bl.Posterior.from_guide(model, guide).functions(20_000, seed=0)
    share = (functions(torch.ones(1, 1, dtype=torch.float64))[:, 0].argmax(dim=-1) == 0).double().mean()
    expected = torch.special.ndtr(torch.tensor(0.3 / 1.3, dtype=torch.float64))
    stderr = (expected * (1 - expected) / 20_000) ** 0.5
    assert abs(share - expected) < 4 * stderr


def test_copies_state_and_dtype(posterior):
    functions, x = posterior.functions(5, seed=3), inputs(3)
    f = functions(x)
    copied = copy.deepcopy(functions)
    assert torch.equal(copied(x), f)
    other = posterior.functions(5, seed=9)
    assert not torch.equal(other(x), f)
    other.load_state_dict(functions.state_dict())
    assert torch.equal(other(x), f)
    double = copied.to(torch.float64)
    assert double(x.double()).dtype == torch.float64
    torch.testing.assert_close(double(x.double()).float(), f)
    assert {str(each.device) for each in copied.to("meta").buffers()} == {"meta"}
    assert torch.equal(functions(x), f)  # a copy shares nothing


def test_one_tied_weight_is_one_buffer_and_stays_one(posterior_of):
    functions = posterior_of(Tied).functions(4)
    network = functions.network
    assert network.first.weight is network.second.weight
    assert network.again is network.second
    assert len(list(functions.buffers())) == 3
    moved = copy.deepcopy(functions)
    assert moved.network.first.weight is moved.network.second.weight


def test_nothing_is_to_be_trained_and_modes_are_fixed(posterior_of):
    posterior = posterior_of(normalised)
    posterior.model.network.train()
    functions, function = posterior.functions(4), posterior.function()
    for module in (*functions.modules(), *function.modules()):
        assert not module.training
    assert list(functions.parameters()) == []
    before = {name: value.clone() for name, value in functions.state_dict().items()}
    functions(inputs(3) + 5.0)
    for name, value in functions.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("make", ["function", "functions"])
def test_functions_do_not_keep_the_posterior(posterior_of, make):
    posterior = posterior_of(NETWORKS["dense"][0])
    held = [weakref.ref(each) for each in (posterior.model, posterior.source, posterior.model.network)]
    made = getattr(posterior, make)()
    f = made(inputs(3))
    del posterior
    gc.collect()
    assert [each() for each in held] == [None, None, None]
    assert torch.equal(made(inputs(3)), f)


# A process of its own: the exporters import torch's compiler and change filters and loggers.
EXPORT = """
    import numpy as np
    import onnxruntime
    import torch
    from torch import nn

    import bayesian_layers as bl
    from bayesian_layers.noise import seeded, stream

    with seeded(0):
        network = nn.Sequential(bl.Linear(3, 4), nn.Tanh(), bl.Linear(4, 2))
    model = bl.BayesianModel(network, bl.likelihoods.Normal("learned"))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    few, many = (torch.randn(rows, 3, generator=stream(rows)) for rows in (4, 17))
    rows = {0: torch.export.Dim("rows")}
    for module, shape in ((posterior.function(seed=3), (17, 2)), (posterior.functions(5, seed=3), (5, 17, 2))):
        f = module(many)
        assert f.shape == shape
        program = torch.export.export(module, (few,), dynamic_shapes=(rows,))
        torch.testing.assert_close(program.module()(many), f)
        file = torch.onnx.export(program, input_names=["x"], output_names=["f"], verbose=False)
        session = onnxruntime.InferenceSession(file.model_proto.SerializeToString())
        (answer,) = session.run(["f"], {"x": many.numpy()})
        np.testing.assert_allclose(answer, f.numpy(), rtol=1e-5, atol=1e-6)
    print("both exported")
"""


@pytest.mark.slow
def test_export_and_onnx_with_any_number_of_rows():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(EXPORT)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "both exported\n"
