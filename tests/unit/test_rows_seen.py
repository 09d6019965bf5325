import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

import bayesian_layers as bl
from bayesian_layers.fitting.data.batches import make_batches
from bayesian_layers.fitting.rows_seen import RowsSeen

N, NOISE = 400, 0.5
TERMS = torch.linspace(-3.0, 7.0, N, dtype=torch.float64).exp()  # a skewed population of rows
ALL = slice(None)


class Again:
    """A re-iterable whose number of rows is not known."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def seen(order, batch_rows=64, weight=None, **options):
    """See the rows of an order as a fit would, from batches of the row's numbers."""
    x = order.float()[:, None]
    batches = make_batches(
        x, order, network=nn.Module(), batch_size=batch_rows, sample_weight=weight, **options
    )
    found = RowsSeen(batches)
    for batch in batches.once():
        found.add(batch, TERMS[batch.y])
    return found


@pytest.mark.parametrize("batch_rows", [1, 64, 300, N])
def test_all_rows_leave_no_error(batch_rows):
    found = seen(torch.arange(N), batch_rows)
    assert (found.rows, found.stderr) == (N, 0.0)
    assert found.correction == pytest.approx(1.0)
    assert math.isnan(found.total_weight)


@pytest.mark.parametrize("batch_rows", [1, 64, 300])
def test_the_error_is_that_of_simple_random_samples(batch_rows):
    part = torch.arange(N)[::4][:90]
    found = seen(part, batch_rows, num_data=N)
    expected = N * float(TERMS[part].std()) / 90**0.5 * (1 - 90 / N) ** 0.5
    assert found.stderr == pytest.approx(expected)
    assert seen(part[:1], 1, num_data=N).stderr == math.inf


def test_the_error_is_the_spread_of_the_sum_over_random_parts():
    """The mean of the estimated variance over 400 parts of 300 rows is the variance of the estimates."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randperm(N, generator=generator)[:300] for _ in range(400)]
    sums = np.array([N / 300 * float(TERMS[part].sum()) for part in parts])
    estimated = np.mean([seen(part, num_data=N).stderr ** 2 for part in parts])
    true = float(TERMS.var()) * N**2 / 300 * (1 - 300 / N)
    assert estimated == pytest.approx(true, rel=0.02)
    assert sums.var() == pytest.approx(true, rel=4 * (2 / 400) ** 0.5)


def test_weights_are_summed_over_the_whole_data_set():
    assert seen(torch.arange(N), weight=torch.arange(float(N))).total_weight == N * (N - 1) / 2
    part = torch.arange(100)
    assert seen(part, weight=torch.full((100,), 0.5), num_data=N).total_weight == pytest.approx(0.5 * N)


# --- fits ---


def data(seed, n=N):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 3, generator=generator)
    return x, x @ torch.tensor([1.0, 0.25, -0.5]) + 0.2 + NOISE * torch.randn(n, generator=generator)


def optimum(x, y):
    """The ELBO of the best mean-field Normal of linear regression under N(0, 1) weights."""
    a, y = torch.cat([x, torch.ones(len(x), 1)], 1).double(), y.double()
    cov = NOISE**2 * torch.eye(len(y), dtype=torch.float64) + a @ a.T
    evidence = torch.distributions.MultivariateNormal(torch.zeros_like(y), cov).log_prob(y)
    precision = torch.eye(4, dtype=torch.float64) + a.T @ a / NOISE**2
    return float(evidence - 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision)))


def regression(build):
    return bl.BayesianModel(build(lambda: bl.Linear(3, 1)), bl.likelihoods.Normal(NOISE))


def fitted(build, source, **options):
    return bl.fit(regression(build), source, progress=False, **{"max_steps": 800, **options})


@pytest.mark.filterwarnings("ignore:the fit did not converge")
def test_the_error_of_the_elbo_covers_the_optimum_of_loaders_that_drop_rows(build):
    """Over 8 data sets the standardised errors have mean 0 and standard deviation 1, within 4 standard errors."""
    z = []
    for seed in range(8):
        x, y = data(seed)
        loader = DataLoader(TensorDataset(x, y), 150, shuffle=True, drop_last=True)
        result = fitted(build, loader, seed=seed, max_steps=300)
        assert result.rows_seen == 300
        assert "\nELBO estimated from 300 of 400 rows" in str(result)
        assert 4 < result.elbo_stderr < 12
        z.append((result.elbo - optimum(x, y)) / result.elbo_stderr)
    z = np.array(z)
    assert abs(z.mean()) < 4 / 8**0.5
    assert abs(z.std() - 1) < 4 / 16**0.5
    assert np.abs(z).max() < 4  # with the Monte Carlo error alone it is over 100


@pytest.mark.filterwarnings("ignore:the fit did not converge")
@pytest.mark.parametrize("drop_last", [False, True])
def test_where_all_rows_are_seen_the_error_is_monte_carlo_alone(build, drop_last):
    x, y = data(1)
    result = fitted(
        build, DataLoader(TensorDataset(x, y), 100, shuffle=True, drop_last=drop_last), max_steps=600
    )
    assert result.rows_seen == N
    assert result.elbo_stderr < 0.1
    assert abs(result.elbo - optimum(x, y)) < 0.5
    assert "estimated from" not in str(result)


@pytest.mark.filterwarnings("ignore:the fit did not converge")
def test_rows_with_replacement_are_never_all_rows(build):
    x, y = data(2)
    rows = TensorDataset(x, y)
    source = DataLoader(rows, 100, sampler=RandomSampler(rows, replacement=True))
    result = fitted(build, source)
    assert 8 < result.elbo_stderr < 30
    assert abs(result.elbo - optimum(x, y)) < 4 * result.elbo_stderr


@pytest.mark.filterwarnings("ignore:the fit did not converge")
def test_the_closed_form_is_for_epochs_of_the_same_rows(build):
    """One batch per epoch of 300 of the 400 rows, other ones each time."""
    x, y = data(3)
    dropping = DataLoader(TensorDataset(x, y), 300, shuffle=True, drop_last=True)
    assert fitted(build, dropping, max_steps=20).steps == 20
    assert fitted(build, DataLoader(TensorDataset(x, y), N, shuffle=True), max_steps=20).steps == 0
    part = bl.fit(regression(build), x[:300], y[:300], num_data=N, progress=False)
    assert part.steps == 0
    assert part.elbo_stderr > 4


@pytest.mark.filterwarnings("ignore:the fit did not converge")
def test_the_elbo_stands_for_all_rows_before_their_number_is_known(build):
    """A source of unknown length, 200 of 400 rows, in a fit that stops before its first epoch has ended."""
    x, y = data(4)
    pairs = [(x[at : at + 50], y[at : at + 50]) for at in range(0, 200, 50)]
    unknown, known = (fitted(build, source, max_steps=1, num_data=N) for source in (Again(*pairs), pairs))
    assert unknown.elbo == pytest.approx(known.elbo, rel=1e-6)
    assert unknown.elbo_stderr == pytest.approx(known.elbo_stderr, rel=1e-6)


@pytest.mark.filterwarnings("ignore:the fit did not converge")
def test_estimators_with_noise_by_row_count_the_rows(build):
    x, y = data(5, 120)
    process = build(lambda: bl.GaussianProcess(3, 1, num_inducing=8))
    model = bl.BayesianModel(process, bl.likelihoods.Normal(NOISE))
    loader = DataLoader(TensorDataset(x, y), 50, shuffle=True, drop_last=True)
    result = bl.fit(model, loader, max_steps=60, progress=False)
    assert result.rows_seen == 100
    whole = bl.fit(model, x, y, max_steps=60, progress=False)
    assert result.elbo_stderr > 5 * whole.elbo_stderr
    assert whole.rows_seen == 120
