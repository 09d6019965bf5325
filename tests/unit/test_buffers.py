import math

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers import errors
from bayesian_layers.fitting.buffers import keep_buffers
from bayesian_layers.fitting.evaluation import estimate_elbo

X = torch.randn(60, 3, generator=torch.Generator().manual_seed(3))
Y = torch.tanh(X @ torch.tensor([1.0, -1.0, 0.5]))
WORDS = "write to buffers in training mode"


class Centred(nn.Module):
    """Takes a running mean off, which it learns in training mode, or always."""

    def __init__(self, always=False):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.dropout = nn.Dropout(0.5)
        self.always = always

    def forward(self, x):
        if self.training or self.always:
            self.mean.lerp_(x.detach().mean(0), 0.1)
        return self.dropout(x) - self.mean


class Reassigned(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("seen", None)
        self.register_buffer("step", torch.zeros(()), persistent=False)

    def forward(self, x):
        if self.training:
            self.step = self.step + 1
        return x * (1 + self.step)


class Outer(nn.Module):
    """Writes to a buffer of the module in it."""

    def __init__(self):
        super().__init__()
        self.inner, self.dropout = Centred(), nn.Dropout(0.5)
        self.inner.eval()

    def forward(self, x):
        if self.training:
            self.inner.mean.copy_(x.detach().mean(0))
        return self.dropout(self.inner(x))


class Frozen(nn.Module):
    """Keeps its scale in a parameter without a gradient, and sets it from the first rows."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x):
        if self.training:
            self.scale.data.copy_(x.detach().std(0))
        return x / self.scale


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.calls += 1
        return x


def spectral(wrap):
    return nn.Sequential(wrap(nn.Linear(3, 20)), nn.Tanh(), nn.Dropout(0.0), nn.Linear(20, 1))


NETWORKS = {
    "spectral norm": (
        lambda: spectral(nn.utils.parametrizations.spectral_norm), ["0.parametrizations.weight.0"],
    ),
    "spectral norm by hooks": (lambda: spectral(nn.utils.spectral_norm), ["0"]),
    "running mean": (lambda: nn.Sequential(Centred(), nn.Linear(3, 1)), ["0"]),
    "reassigned": (lambda: nn.Sequential(Reassigned(), nn.Linear(3, 1)), ["0"]),
    "of another module": (lambda: nn.Sequential(nn.Linear(3, 3), Outer(), nn.Linear(3, 1)), ["", "1", "1.inner"]),
    "frozen parameter": (lambda: nn.Sequential(Frozen(), nn.Linear(3, 1)), ["0"]),
}  # fmt: skip


@pytest.mark.parametrize("case", NETWORKS)
def test_modules_that_write_buffers_are_stopped_and_others_keep_their_mode(build, case):
    make, stopped = NETWORKS[case]
    network = build(make)
    before = {name: module.training for name, module in network.named_modules()}
    state = {name: value.clone() for name, value in network.state_dict().items()}
    (text,) = keep_buffers(network, X[:5])
    assert WORDS in text
    assert all(repr(name or "the network itself") in text for name in stopped)
    after = {name: module.training for name, module in network.named_modules()}
    assert after == {name: mode and name not in stopped for name, mode in before.items()}
    assert keep_buffers(network, X[:5]) == []
    build(lambda: network(X))
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())


@pytest.mark.filterwarnings("ignore:the fit did not converge")
@pytest.mark.filterwarnings("ignore:.*output on a row depends")
@pytest.mark.parametrize("case", [case for case in NETWORKS if "hooks" not in case])
def test_what_was_fitted_is_what_predicts(build, case):
    """The ELBO of the posterior's own model and guide is the fit's, below the functions' mean log likelihood."""
    network = bl.bayesianize(build(NETWORKS[case][0]))
    model = bl.BayesianModel(network, bl.likelihoods.Normal(0.3))
    state = {name: value.clone() for name, value in network.state_dict().items()}
    guide = bl.guides.MeanFieldNormal(model)
    with pytest.warns(errors.FitWarning, match=WORDS):
        result = bl.fit(model, X, Y, guide=guide, max_steps=300, progress=False)
    assert all(module.training for module in model.modules() if not isinstance(module, Centred | nn.Dropout))
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
    posterior = result.posterior
    elbo, stderr = estimate_elbo(posterior.model, guide, X, Y, num_draws=2000, seed=1)
    assert abs(result.elbo - elbo) < 5 * math.hypot(stderr, result.elbo_stderr)
    f = torch.stack([posterior.function(k)(X).squeeze(-1).detach() for k in range(200)])
    log_p = torch.distributions.Normal(f, 0.3).log_prob(Y).sum(1)
    assert result.elbo < float(log_p.mean()) + 4 * float(log_p.std()) / 200**0.5


def test_buffers_that_are_written_in_evaluation_mode_are_refused(build):
    model = bl.BayesianModel(
        nn.Sequential(Centred(always=True), build(lambda: bl.Linear(3, 1))), bl.likelihoods.Normal(0.3)
    )
    with pytest.raises(
        errors.DataError, match=r"must not change tensors.*\['0.mean'\], also in evaluation mode"
    ):
        bl.fit(model, X, Y, max_steps=3, progress=False)


def test_buffers_on_which_nothing_depends_may_be_written(build):
    for first in (Counter(), nn.Dropout(0.5)):
        network = nn.Sequential(first, build(lambda: nn.Linear(3, 1)))
        assert keep_buffers(network, X[:5]) == []
        assert all(module.training for module in network.modules())


def test_a_network_in_evaluation_mode_needs_no_word(build):
    network = build(lambda: spectral(nn.utils.parametrizations.spectral_norm)).eval()
    assert keep_buffers(network, X[:5]) == []
    assert keep_buffers(build(lambda: nn.Linear(3, 1)), X[:5]) == []
