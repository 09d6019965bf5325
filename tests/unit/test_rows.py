import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers import errors
from bayesian_layers.network import evaluating
from bayesian_layers.network.rows import close, draws_random_numbers, reordered, treats_rows_alone


class Calls(nn.Module):
    """A function of the output of a layer, as a network."""

    def __init__(self, layer, function):
        super().__init__()
        self.layer, self.function = layer, function

    def forward(self, x):
        return self.function(self.layer(x))


class Two(nn.Module):
    def forward(self, x0, x1):
        return x0 * x1.mean(1, keepdim=True)


def linear(function):
    return Calls(nn.Linear(4, 3), function)


def last(sequence):
    return sequence[0][:, -1]


ALONE = {
    "dense": (lambda: nn.Sequential(nn.Linear(4, 200), nn.Tanh(), nn.Linear(200, 3)), (6, 4)),
    "dropout in eval mode": (lambda: nn.Sequential(nn.Linear(4, 30), nn.Dropout(0.5), nn.Linear(30, 3)), (6, 4)),
    "images": (lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten()), (6, 3, 9, 9)),
    "recurrent": (lambda: Calls(nn.GRU(4, 5, bidirectional=True, batch_first=True), last), (6, 7, 4)),
    "attention": (lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (6, 7, 4)),
    "softmax of outputs": (lambda: linear(lambda f: f.softmax(1)), (6, 4)),
    "all outputs are 0": (lambda: linear(lambda f: 0 * f), (6, 4)),
    "one row": (lambda: linear(torch.tanh), (1, 4)),
}  # fmt: skip

MIXED = {
    "rows are time": (lambda: Calls(nn.GRU(4, 5), last), (6, 7, 4)),
    "rows are time, both ways": (lambda: Calls(nn.LSTM(4, 5, bidirectional=True), last), (6, 7, 4)),
    "attention over rows": (lambda: nn.TransformerEncoderLayer(4, 2, 8), (6, 7, 4)),
    "batch statistics": (lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, track_running_stats=False)), (6, 4)),
    "softmax over rows": (lambda: linear(lambda f: f.softmax(0)), (6, 4)),
    "the mean is taken off": (lambda: linear(lambda f: f - f.mean(0)), (6, 4)),
    "earlier rows": (lambda: linear(lambda f: f.cumsum(0)), (6, 4)),
    "the row before": (lambda: linear(lambda f: f.roll(1, 0)), (6, 4)),
    "the largest row": (lambda: linear(lambda f: f / f.abs().amax()), (6, 4)),
    "the number of rows": (lambda: linear(lambda f: f * len(f)), (6, 4)),
    "rows by twos": (lambda: linear(lambda f: f.unflatten(0, (-1, 2)).softmax(1).flatten(0, 1)), (6, 4)),
    "an even number of rows": (lambda: linear(lambda f: f.unflatten(0, (-1, 2)).flatten(0, 1)), (8, 4)),
    "one row": (lambda: linear(lambda f: f.softmax(0)), (1, 4)),
}  # fmt: skip


def judged(build, make, shape, dtype=torch.float32):
    network = build(make).to(dtype)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    with evaluating(network):
        return treats_rows_alone(network, x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", ALONE)
def test_networks_that_treat_rows_alone(build, case, dtype):
    assert judged(build, *ALONE[case], dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", MIXED)
def test_networks_that_mix_rows(build, case, dtype):
    assert not judged(build, *MIXED[case], dtype)


def test_several_inputs():
    x = torch.arange(12.0).reshape(4, 3)
    assert treats_rows_alone(lambda x: Two()(*x), (x, x + 1))
    assert not treats_rows_alone(lambda x: Two()(x[0], x[1].flip(0)), (x, x + 1))


def test_a_network_with_noise_of_its_own_is_told_from_one_that_mixes_rows():
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    assert not draws_random_numbers(lambda x: x.cumsum(0), x)
    assert draws_random_numbers(lambda x: x + torch.randn_like(x), x)
    assert not treats_rows_alone(lambda x: x + torch.randn_like(x), x)


def test_each_row_has_another_place_and_one_comes_twice():
    assert reordered(torch.arange(4)).tolist() == [3, 2, 1, 0, 3]
    assert reordered(torch.arange(1)).tolist() == [0, 0]


def test_rounding_is_not_a_difference():
    one = torch.tensor([1.0, 1e-6])
    assert close(one + torch.tensor([0.0, 1e-5]), one)
    assert not close(one + torch.tensor([0.0, 1e-3]), one)
    assert not close(torch.full((2,), torch.nan), one)
    assert close(torch.empty(0), torch.empty(0))


@pytest.mark.parametrize(
    ("make", "warned"),
    [
        (lambda: Calls(nn.GRU(4, 1), last), True),
        (lambda: Calls(nn.GRU(4, 1, batch_first=True), last), False),
        (lambda: Calls(nn.GRU(4, 1, batch_first=True), lambda f: last(f) + 0.1 * torch.randn(1)), False),
    ],
    ids=["rows are time", "rows are rows", "noise"],
)
def test_a_fit_says_that_rows_are_mixed(build, make, warned):
    x = torch.randn(40, 6, 4, generator=torch.Generator().manual_seed(0))
    model = bl.BayesianModel(bl.bayesianize(build(make)), bl.likelihoods.Normal(0.3))
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(errors.FitWarning) as caught:
        result = bl.fit(model, x, x[:, :, 0].mean(1), max_steps=3, progress=False)
    words = "output on a row depends on the other rows of the batch"
    assert sum(words in str(warning.message) for warning in caught) == warned
    assert (words in str(result)) == warned
    assert all(module.training for module in model.modules())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_what_a_fit_warns_of_is_what_predictions_do(build):
    """Predictions of the first rows with and without the others, where the fit warned and where it did not."""
    x = torch.randn(40, 6, 4, generator=torch.Generator().manual_seed(0))
    for batch_first in (False, True):
        network = build(lambda first=batch_first: Calls(nn.GRU(4, 1, batch_first=first), last))
        model = bl.BayesianModel(bl.bayesianize(network), bl.likelihoods.Normal(0.3))
        with pytest.warns(errors.FitWarning):
            posterior = bl.fit(model, x, x[:, :, 0].mean(1), max_steps=3, progress=False).posterior
        alone, among = (posterior.predict(rows, num_draws=5).mean[-5:] for rows in (x[-5:], x))
        assert torch.allclose(alone, among, atol=1e-5) == batch_first
