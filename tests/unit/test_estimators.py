"""What each estimator covers, and its arithmetic against a second, slow implementation."""

import copy

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import bayesian_layers as bl
from bayesian_layers.estimators import NAMES, Reparameterization, make
from bayesian_layers.handlers import LogLikelihood
from bayesian_layers.noise import seeded
from substitute import Substitute


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def problem(network, *shape, likelihood=None, batch=5):
    """A Bayesian network with a guide away from its start, and a batch of inputs and targets."""
    model = bl.BayesianModel(bl.bayesianize(network).double(), likelihood or bl.likelihoods.Normal(0.5))
    guide = bl.guides.MeanFieldNormal(model, init_scale=0.3)
    with torch.no_grad():
        guide.log_scale += 0.3 * randn(len(guide.log_scale), seed=1)
    x = randn(batch, *shape, seed=2)
    with seeded(0), torch.no_grad():
        outputs = copy.deepcopy(network).double().eval()(x).shape[-1]
    return model, guide, x, randn(*((batch,) if outputs == 1 else (batch, outputs)), seed=3)


def run(estimator, guide, x, y, *, particles=1, scale=1.0, weight=None, seed=4):
    """Value and gradients on noise of a seed."""
    generator = torch.Generator().manual_seed(seed)
    noise = randn(particles, guide.noise_size, seed=seed + 1)
    row_noise = estimator.row_noise(particles, len(y), generator)
    value = estimator(guide, noise, row_noise, x, y, scale=scale, weight=weight)
    return value.detach(), slopes(value, guide), noise, row_noise


def slopes(value, guide):
    """Gradient for the guide's parameters, flat."""
    return torch.cat(
        torch.autograd.grad(value, list(guide.parameters()), allow_unused=True, materialize_grads=True)
    )


def dense():
    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))


def tied():
    network = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3), nn.Linear(3, 1))
    network[2].weight = network[0].weight
    network[2].bias = network[0].bias
    return network


def flat(layer, size):
    return nn.Sequential(layer, nn.Tanh(), nn.Flatten(), nn.Linear(size, 1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 2, batch_first=True)
        self.head = nn.Linear(2, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Positions(nn.Module):
    """A layer at every position of a sequence, then the mean over positions."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        return self.head(self.layer(x).tanh().mean(1))


class Products(nn.Module):
    """A bilinear layer of an input and what a dense layer makes of it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 3)
        self.layer = nn.Bilinear(3, 2, 2)
        self.head = nn.Linear(2, 1)

    def forward(self, x):
        return self.head(self.layer(self.inner(x), x).tanh())


class Through(nn.Module):
    """A layer whose weight goes through a function first, or is used by one besides."""

    def __init__(self, way):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.head = nn.Linear(2, 1)
        self.way = way

    def forward(self, x):
        return self.head(self.way(self.inner, x).tanh())


# --- the plain one -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("particles", [1, 4])
@pytest.mark.parametrize("make_network", [dense, Recurrent, tied], ids=["dense", "lstm", "tied"])
def test_the_plain_estimator_is_the_likelihood_term_of_pyros_elbo(build, make_network, particles):
    shape = {dense: (2,), Recurrent: (4, 2), tied: (3,)}[make_network]
    noisy = bl.likelihoods.Normal(bl.priors.LogNormal(-0.5, 0.3))
    model, guide, x, y = problem(build(make_network), *shape, likelihood=noisy)
    ours, gradient, noise, row_noise = run(
        make("reparameterization", model, guide, x, y), guide, x, y, particles=particles, scale=4.0
    )
    assert row_noise == ()
    # With KL weight 0 the objective is the likelihood term alone.
    elbo = TraceMeanField_ELBO(num_particles=particles, vectorize_particles=True, max_plate_nesting=1)
    with seeded(0), Substitute(guide.transform(noise)):
        loss = elbo(bl.temper(model, 0.0), bl.temper(guide, 0.0))(x, y, num_data=20)
    theirs = slopes(-loss, guide)
    torch.testing.assert_close(ours, -loss.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, theirs, rtol=1e-10, atol=1e-10)


def test_learned_and_hierarchical_prior_scales_run(build):
    for scale in ("learned", bl.priors.LogNormal()):
        prior = (
            bl.priors.Normal(scale=scale) if scale == "learned" else bl.priors.HierarchicalNormal(scale=scale)
        )
        network = build(lambda prior=prior: bl.Linear(2, 1, prior=prior, dtype=torch.float64))
        model = bl.BayesianModel(network, bl.likelihoods.Normal(0.5))
        guide = bl.guides.MeanFieldNormal(model)
        x, y = randn(5, 2), randn(5)
        for name in NAMES:
            value, _, _, _ = run(make(name, model, guide, x, y), guide, x, y, particles=3)
            assert value.isfinite()


def test_log_likelihood_leaves_conditioned_sites_alone_and_keeps_scale_and_mask():
    def program():
        z = pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
        with (
            pyro.plate("data", 3),
            poutine.scale(scale=2.0),
            poutine.mask(mask=torch.tensor([1, 1, 0]).bool()),
        ):
            pyro.sample("y", pyro.distributions.Normal(z, 1.0), obs=torch.tensor([0.0, 1.0, 2.0]))

    def expected(z):
        return 2 * torch.distributions.Normal(z, 1.0).log_prob(torch.tensor([0.0, 1.0])).sum()

    with LogLikelihood({"z": torch.tensor(0.5)}) as likelihood:
        program()
    torch.testing.assert_close(likelihood.log_prob, expected(0.5))
    with LogLikelihood({"z": torch.tensor(0.5)}) as likelihood:
        poutine.condition(program, {"z": torch.tensor(-1.0)})()
    torch.testing.assert_close(likelihood.log_prob, expected(-1.0))


# --- arithmetic ----------------------------------------------------------------------------------------------


def log_prob(f, y):
    return torch.distributions.Normal(f.squeeze(-1), 0.5).log_prob(y).sum()


@pytest.mark.parametrize("particles", [1, 3])
def test_local_is_its_formula(build, particles):
    model, guide, x, y = problem(build(dense), 2)
    estimator = make("local", model, guide, x, y)
    assert (estimator.name, estimator.note, estimator.uses_noise) == ("local", "", False)
    assert estimator.supported == ("0.weight", "0.bias", "2.weight", "2.bias")
    value, gradient, noise, row_noise = run(estimator, guide, x, y, particles=particles, scale=4.0)
    h, m = x.repeat(particles, 1), guide.moments()
    for name, epsilon in zip("02", row_noise, strict=True):
        (w, w_scale), (b, b_scale) = m[f"{name}.weight"], m[f"{name}.bias"]
        h = h @ w.T + b + (h**2 @ (w_scale**2).T + b_scale**2).sqrt() * epsilon
        h = h.tanh() if name == "0" else h
    by_hand = 20 / 5 / particles * log_prob(h, y.repeat(particles))
    torch.testing.assert_close(value, by_hand.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, slopes(by_hand, guide), rtol=1e-10, atol=1e-10)
    free = torch.zeros((), dtype=torch.float64).expand(noise.shape)
    assert torch.equal(estimator(guide, free, row_noise, x, y, scale=4.0), value)


def test_local_of_a_bilinear_layer_is_its_formula(build):
    model, guide, x, y = problem(build(Products), 2)
    estimator = make("local", model, guide, x, y)
    assert (estimator.note, len(estimator.supported)) == ("", 6)
    value, gradient, _, row_noise = run(estimator, guide, x, y, particles=2, scale=4.0)
    m, x = guide.moments(), x.repeat(2, 1)

    def through(name, inputs, epsilon):
        (w, w_scale), (b, b_scale) = m[f"{name}.weight"], m[f"{name}.bias"]
        deviation = (inputs**2 @ (w_scale**2).flatten(1).T + b_scale**2).sqrt()
        return inputs @ w.flatten(1).T + b + deviation * epsilon

    h = through("inner", x, row_noise[0])
    h = through("layer", (h[:, :, None] * x[:, None]).flatten(1), row_noise[1]).tanh()
    by_hand = 20 / 5 / 2 * log_prob(through("head", h, row_noise[2]), y.repeat(2))
    torch.testing.assert_close(value, by_hand.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, slopes(by_hand, guide), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("random", ["weight", "bias"])
def test_local_where_only_weight_or_bias_is_random(build, random):
    network = build(lambda: nn.Linear(2, 1).double())
    bl.priors.set_priors(network, {"weight": None, "bias": None, random: bl.priors.Normal()})
    model = bl.BayesianModel(network, bl.likelihoods.Normal(0.5))
    guide = bl.guides.MeanFieldNormal(model)
    x, y = randn(5, 2), randn(5)
    estimator = make("local", model, guide, x, y)
    assert estimator.supported == (random,)
    value, _, _, (epsilon,) = run(estimator, guide, x, y)
    scale = guide.moments()[random][1]
    variance = x**2 @ (scale**2).T if random == "weight" else scale**2
    f = network(x) + variance.sqrt() * epsilon
    torch.testing.assert_close(value, log_prob(f, y).detach(), rtol=1e-10, atol=1e-10)


def test_a_row_of_zeros_has_a_finite_gradient(build):
    network = build(
        lambda: nn.Sequential(bl.Linear(2, 3, bias_prior=None), nn.ReLU(), bl.Linear(3, 1, bias_prior=None))
    )
    model = bl.BayesianModel(network, bl.likelihoods.Normal(0.5))
    guide = bl.guides.MeanFieldNormal(model)
    x, y = torch.zeros(4, 2, requires_grad=True), torch.ones(4)
    estimator = make("local", model, guide, x, y)
    assert estimator.supported == ("0.weight", "2.weight")
    row_noise = estimator.row_noise(1, 4, torch.Generator().manual_seed(0))
    value = estimator(guide, torch.zeros(1, guide.noise_size), row_noise, x, y, scale=1.0)
    gradients = torch.autograd.grad(value, [x, *guide.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert value.isfinite()


FLIPOUT = {
    "linear": (dense, (2,)),
    "bilinear": (Products, (2,)),
    "sequence": (Positions, (4, 2)),
    "images of features": (lambda: nn.Sequential(nn.Linear(2, 3), nn.Flatten(), nn.Linear(18, 1)), (3, 2, 2)),
    "conv1d": (lambda: flat(nn.Conv1d(2, 3, 2), 9), (2, 4)),
    "conv1d circular": (lambda: flat(nn.Conv1d(2, 3, 3, padding=1, padding_mode="circular"), 12), (2, 4)),
    "conv2d": (lambda: flat(nn.Conv2d(4, 6, 2, stride=2, padding=1, groups=2), 24), (4, 3, 2)),
    "conv2d same": (lambda: flat(nn.Conv2d(2, 2, 3, padding="same", dilation=2), 12), (2, 3, 2)),
    "conv3d": (lambda: flat(nn.Conv3d(2, 2, 2, bias=False), 8), (2, 2, 3, 3)),
    "conv_transpose1d": (lambda: flat(nn.ConvTranspose1d(2, 3, 2, stride=2), 18), (2, 3)),
    "conv_transpose2d": (
        lambda: flat(nn.ConvTranspose2d(4, 6, 2, stride=2, output_padding=1, groups=2), 150),
        (4, 2, 2),
    ),
    "conv_transpose3d": (lambda: flat(nn.ConvTranspose3d(2, 2, 2), 54), (2, 2, 2, 2)),
}


def signs_of_weight(module, signs_in, signs_out):
    """The sign of each entry of a weight for one row, entry by entry."""
    if isinstance(module, nn.Bilinear):
        return torch.einsum("o,i->oi", signs_out, signs_in)[:, :, None].expand_as(module.weight)
    signs = torch.empty_like(module.weight)
    groups = getattr(module, "groups", 1)
    for i in range(signs.shape[0]):
        for j in range(signs.shape[1]):
            group = i // (
                signs.shape[0] // groups
            )  # the first axis runs over all groups, the second within one
            other = group * signs.shape[1] + j
            transposed = isinstance(module, nn.modules.conv._ConvTransposeNd)
            signs[i, j] = signs_in[i] * signs_out[other] if transposed else signs_out[i] * signs_in[other]
    return signs


@pytest.mark.parametrize("particles", [1, 2])
@pytest.mark.parametrize("name", FLIPOUT)
def test_flipout_is_a_weight_of_its_own_for_each_row(build, name, particles):
    make_network, shape = FLIPOUT[name]
    model, guide, x, y = problem(build(make_network), *shape, batch=3)
    estimator = make("flipout", model, guide, x, y)
    weights = [key for key in guide.shapes if key.endswith("weight")]
    assert list(estimator.supported) == weights
    value, gradient, noise, row_noise = run(estimator, guide, x, y, particles=particles, scale=3.0)
    drawn = {key: value[0] for key, value in guide.transform(noise).items()}
    total = 0
    for row in range(3 * particles):
        values = dict(drawn)
        for i, key in enumerate(weights):
            module = model.network.get_submodule(key.removesuffix(".weight"))
            loc = guide.moments()[key][0]
            signs = signs_of_weight(
                module.requires_grad_(False), row_noise[2 * i][row], row_noise[2 * i + 1][row]
            )
            values[key] = loc + (drawn[key] - loc) * signs
        n = row % 3
        total = total + log_prob(functional_call(model.network, values, (x[n : n + 1],)), y[n : n + 1])
    by_hand = 9 / 3 / particles * total
    torch.testing.assert_close(value, by_hand.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient, slopes(by_hand, guide), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("particles", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_weights_of_rows(build, name, particles):
    model, guide, x, y = problem(build(dense), 2)
    estimator = make(name, model, guide, x, y)

    def value(weight):
        return run(estimator, guide, x, y, particles=particles, weight=weight)[0]

    weight = torch.tensor([1.0, 0.0, 2.0, 0.5, 3.0]).double()
    by_row = torch.stack([value(one) for one in torch.eye(5).double()])
    torch.testing.assert_close(value(weight), weight @ by_row, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(value(None), by_row.sum(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["local", "flipout"])
@pytest.mark.parametrize("particles", [1, 2, 3, 4])
def test_particles_come_in_antithetic_pairs(build, name, particles):
    model, guide, x, y = problem(build(lambda: nn.Linear(2, 1)), 2)
    estimator = make(name, model, guide, x, y)
    row_noise = estimator.row_noise(particles, 5, torch.Generator().manual_seed(0))
    assert all(len(part) == particles * 5 for part in row_noise)
    half = (particles + 1) // 2
    behind = row_noise[-1].view(particles, 5, -1)  # local's only noise, flipout's signs behind the layer
    assert torch.equal(behind[half:], -behind[: particles - half])
    if name == "flipout":
        before = row_noise[0].view(particles, 5, -1)
        assert torch.equal(before[half:], before[: particles - half])
    assert particles < 3 or not torch.equal(behind[0], behind[1])


@pytest.mark.parametrize("name", ["local", "flipout"])
def test_row_noise_is_of_the_generator_alone_and_of_the_right_kind(build, name):
    model, guide, x, y = problem(build(dense), 2)
    estimator = make(name, model, guide, x, y)
    one, other = (estimator.row_noise(2, 500, torch.Generator().manual_seed(7)) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    shapes = {"local": [3, 1], "flipout": [2, 3, 3, 1]}[name]
    assert [part.shape for part in one] == [(1000, size) for size in shapes]
    assert all(part.dtype == torch.float64 for part in one)
    every = torch.cat([part.flatten() for part in one])
    assert abs(every.mean()) < 4 / len(every) ** 0.5
    assert every.square().mean() == pytest.approx(1.0, abs=6 * 2**0.5 / len(every) ** 0.5)
    assert set(one[0].unique().tolist()) == {-1.0, 1.0} or name == "local"


# --- coverage ------------------------------------------------------------------------------------------------


def weight_norm():
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)), nn.Linear(2, 1))


def encoder():
    layer = nn.TransformerEncoderLayer(4, 2, 3, batch_first=True, dropout=0.0)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 1))


def frozen():
    network = dense()
    network[0].weight.requires_grad_(False)
    return network


WAYS = {
    "penalty": lambda layer, x: layer(x) + layer.weight.square().sum(),
    "detached": lambda layer, x: nn.functional.linear(x, layer.weight.detach(), layer.bias),
    "viewed": lambda layer, x: nn.functional.linear(x, layer.weight.T, layer.bias),
    "cloned": lambda layer, x: nn.functional.linear(x, layer.weight.clone(), layer.bias),
    "as input": lambda layer, x: nn.functional.linear(layer.weight, layer.weight).sum() + layer(x) + layer.bias,
    "by @": lambda layer, x: x @ layer.weight + layer.bias,
    "not at all": lambda _, x: x,
    "value read": lambda layer, x: layer(x) * float(layer.weight.detach()[0, 0] > 0) + layer.bias,
    "five, but not the rows": lambda layer, x: layer(x.new_ones(5, 2)).sum() + x,
    "in no_grad": lambda layer, x: checkpoint(layer, x, use_reentrant=True),
}  # fmt: skip

BIAS_COVERED = {
    "penalty",
    "detached",
    "viewed",
    "cloned",
}  # there the bias alone goes straight into the layer

# network, shape of a row, what local and flipout cover
COVERAGE = {
    "dense": (dense, (2,), ["0.weight", "0.bias", "2.weight", "2.bias"], ["0.weight", "2.weight"]),
    "tied": (tied, (3,), ["3.weight", "3.bias"], ["3.weight"]),
    "sequence": (Positions, (4, 2), ["head.weight", "head.bias"], ["layer.weight", "head.weight"]),
    "conv": (FLIPOUT["conv1d"][0], (2, 4), ["3.weight", "3.bias"], ["0.weight", "3.weight"]),
    "lstm": (Recurrent, (4, 2), ["head.weight", "head.bias"], ["head.weight"]),
    "attention": (encoder, (3, 4), ["2.weight", "2.bias"], ["0.linear1.weight", "0.linear2.weight", "2.weight"]),
    "weight norm": (weight_norm, (2,), ["0.bias", "1.weight", "1.bias"], ["1.weight"]),
    "frozen": (frozen, (2,), ["0.bias", "2.weight", "2.bias"], ["2.weight"]),
    "eval batch norm": (
        lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)).eval(), (2,),
        ["0.weight", "0.bias", "2.weight", "2.bias"], ["0.weight", "2.weight"],
    ),
    "dropout": (
        lambda: nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5), nn.Linear(3, 1)), (2,),
        ["0.weight", "0.bias", "2.weight", "2.bias"], ["0.weight", "2.weight"],
    ),
    **{
        way: (
            lambda way=way: Through(WAYS[way]), (2,),
            [*(["inner.bias"] if way in BIAS_COVERED else []), "head.weight", "head.bias"],
            ["head.weight"],
        )
        for way in WAYS
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("case", COVERAGE)
def test_what_is_covered_and_that_the_rest_is_said(build, case):
    make_network, shape, local, flipout = COVERAGE[case]
    model, guide, x, y = problem(build(make_network), *shape)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    for name, expected in (("local", local), ("flipout", flipout)):
        estimator = make(name, model, guide, x, y)
        assert estimator.name == name
        assert sorted(estimator.supported) == sorted(expected)
        missing = [key for key in guide.moments() if key not in expected]
        assert estimator.uses_noise == bool(missing) == bool(estimator.note)
        assert not missing or f"`{missing[0]}`" in estimator.note
        with seeded(0):
            value, gradient, _, _ = run(estimator, guide, x, y, particles=2)
        assert value.isfinite()
        assert gradient.isfinite().all()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]


class Coupled(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return self.layer(x - x.mean(0))


class ByVmap(nn.Module):
    """A weight that a row uses twice, once where no torch function sees it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        inner = torch.vmap(lambda row, weight: (weight * row).sum(-1, keepdim=True), in_dims=(None, 0))
        return self.layer(x) + inner(x, self.layer.weight).sum(0)


class Recomputed(nn.Module):
    """Its forward pass is run again inside the backward pass."""

    def __init__(self):
        super().__init__()
        self.inner = dense()

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1, bias=False)

    def forward(self, x):
        return x @ self.layer.weight.T


PLAIN = {
    "batch norm in training": (
        lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1)),
        "batch normalisation `1`",
    ),
    "batch norm without running statistics": (
        lambda: nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 1)).eval(),
        "batch normalisation `1`",
    ),
    "coupled rows": (Coupled, "depends on the other rows"),
    "hidden use": (ByVmap, "plain reparameterization"),
    "recomputed": (Recomputed, "plain reparameterization"),
    "nothing to cover": (Product, "not passed unchanged to a layer"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["local", "flipout"])
@pytest.mark.parametrize("case", PLAIN)
def test_where_it_would_be_wrong_the_plain_one_comes_and_says_why(build, case, name):
    make_network, reason = PLAIN[case]
    model, guide, x, y = problem(build(make_network), 2)
    state = copy.deepcopy(model.state_dict())
    estimator = make(name, model, guide, x, y)
    assert isinstance(estimator, Reparameterization)
    assert (estimator.supported, estimator.uses_noise) == ((), True)
    assert reason in estimator.note
    assert name in estimator.note
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_a_guide_without_independent_normals_gets_the_plain_one(build):
    model, guide, x, y = problem(build(dense), 2)

    class Correlated:
        transform, noise_size = guide.transform, guide.noise_size

        def moments(self):
            return None

    estimator = make("local", model, Correlated(), x, y)
    assert isinstance(estimator, Reparameterization)
    assert "Correlated" in estimator.note


def test_sites_that_are_no_weights_are_plain_and_named(build):
    noisy = bl.likelihoods.Normal(bl.priors.LogNormal())
    model, guide, x, y = problem(build(dense), 2, likelihood=noisy)
    estimator = make("local", model, guide, x, y)
    assert estimator.uses_noise
    assert (
        estimator.note
        == "plain reparameterization instead of local for `noise_scale` (not a parameter of the network)"
    )


@pytest.mark.parametrize("change", ["twice", "rows"])
def test_a_network_that_changes_its_ways_is_an_error(build, change):
    ways = [lambda layer, x: layer(x)]
    model, guide, x, y = problem(build(lambda: Through(lambda layer, x: ways[-1](layer, x))), 2)
    estimator = make("local", model, guide, x, y)
    ways.append(
        {"twice": lambda layer, x: layer(layer(x)), "rows": lambda layer, x: layer(torch.cat([x, x]))[:5]}[
            change
        ]
    )
    with pytest.raises(bl.errors.SiteError, match=r"`inner\.weight` differently"):
        run(estimator, guide, x, y)


def test_several_inputs(build):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(2, 1), nn.Linear(3, 1)

        def forward(self, x, z):
            return self.one(x) + self.two(z)

    model = bl.BayesianModel(bl.bayesianize(build(Two)).double(), bl.likelihoods.Normal(0.5))
    guide = bl.guides.MeanFieldNormal(model)
    x, y = (randn(4, 2), randn(4, 3)), randn(4)
    for name in NAMES:
        value, _, _, _ = run(make(name, model, guide, x, y), guide, x, y, particles=3)
        assert value.isfinite()


def test_an_unknown_name_is_refused(build):
    model, guide, x, y = problem(build(dense), 2)
    with pytest.raises(bl.errors.DataError, match="must be one of"):
        make("pathwise", model, guide, x, y)


class NoValues(TorchDispatchMode):
    """Fails where a recorded step would: when Python looks at a number."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default
        assert func is not torch.ops.aten.is_nonzero.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("particles", [1, 4])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_looks_at_values(build, name, particles):
    model, guide, x, y = problem(build(dense), 2)
    estimator = make(name, model, guide, x, y)
    with pyro.validation_enabled(False), NoValues():
        value, _, _, _ = run(estimator, guide, x, y, particles=particles)
    assert value.shape == ()


def test_local_has_less_variance_than_plain_on_a_minibatch(build):
    model, guide, x, y = problem(build(dense), 2, batch=20)
    variance = {}
    for name in NAMES:
        estimator = make(name, model, guide, x, y)
        gradients = torch.stack([run(estimator, guide, x, y, seed=10 * i)[1] for i in range(100)])
        variance[name] = gradients.var(0).sum()
    assert variance["local"] < 0.5 * variance["reparameterization"]
    assert variance["local"] < variance["flipout"]
