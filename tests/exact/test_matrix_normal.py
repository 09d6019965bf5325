"""MatrixNormal against one Gaussian over all entries, whose covariance is written out by Kronecker products."""

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

import bayesian_layers as bl


@pytest.fixture
def guide(build):
    network = build(
        lambda: torch.nn.Sequential(bl.Linear(3, 2), torch.nn.Tanh(), bl.Conv1d(1, 2, 2)).double()
    )
    model = bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal()))
    guide = bl.guides.MatrixNormal(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in guide.parameters():
            value += 0.5 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return guide, model


def triangular(entries, size):
    matrix = torch.eye(size, dtype=entries.dtype)
    below = [(i, j) for i in range(size) for j in range(i)]
    for place, value in zip(below, entries.tolist(), strict=True):
        matrix[place] = value
    return matrix


def whole(guide):
    """The same Gaussian, from loops over sites and entries."""
    rows, columns, blocks = guide.row_factor.detach(), guide.column_factor.detach(), []
    for name in guide.layout.random:
        shape = guide.layout.shapes[name]
        r, c = (shape[0], shape[1:].numel()) if shape else (1, 1)
        a, rows = triangular(rows[: r * (r - 1) // 2], r), rows[r * (r - 1) // 2 :]
        b, columns = triangular(columns[: c * (c - 1) // 2], c), columns[c * (c - 1) // 2 :]
        blocks.append(torch.kron(a @ a.T, b @ b.T))
    assert len(rows) == len(columns) == 0
    scale = guide.log_scale.detach().exp()
    return MultivariateNormal(guide.loc.detach(), scale.outer(scale) * torch.block_diag(*blocks))


def test_density_moments_and_kl_are_those_of_the_whole_gaussian(guide):
    guide, model = guide
    other = whole(guide)
    flat = other.loc + torch.linspace(-1, 1, 4 * len(other.loc), dtype=torch.float64).view(4, -1)
    torch.testing.assert_close(guide.log_density(flat), other.log_prob(flat))
    torch.testing.assert_close(guide.variance(), other.variance)
    index = torch.tensor([0, 5, len(other.loc) - 1])
    torch.testing.assert_close(guide.covariance_rows(index), other.covariance_matrix[index])
    torch.testing.assert_close(guide.half_log_det(), other.scale_tril.logdet())
    prior = MultivariateNormal(torch.zeros_like(other.loc), torch.eye(len(other.loc), dtype=torch.float64))
    torch.testing.assert_close(guide.kl_to(guide.flat_priors(model)), kl_divergence(other, prior))


def test_the_posteriors_marginals_are_exact(guide):
    guide, model = guide
    ratios = bl.Posterior.from_guide(model, guide).signal_to_noise()
    expected = guide.layout.split(guide.loc.abs() / whole(guide).stddev, guide.layout.random)
    for name, ratio in ratios.items():
        torch.testing.assert_close(ratio, expected[name].detach())


def test_noise_and_draws_are_each_others_inverse_and_have_the_covariance(guide):
    guide, _ = guide
    noise = torch.eye(guide.own_noise_size, dtype=torch.float64)
    torch.testing.assert_close(guide.to_noise(guide.from_noise(noise)), noise)
    columns = guide.from_noise(noise) - guide.loc  # the rows of the transposed factor of the covariance
    torch.testing.assert_close(columns.T @ columns, whole(guide).covariance_matrix)


def test_it_finds_correlations_that_mean_field_misses(build):
    """Linear regression on equal columns: their weights are anticorrelated, which one column factor can express."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 1, generator=generator, dtype=torch.float64).expand(-1, 2).contiguous()
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 1, bias=False).double()), bl.likelihoods.Normal(0.5))
    y = x.sum(1)
    elbos = [
        bl.fit(model, x, y, guide=kind(model), seed=0, progress=False).elbo
        for kind in (bl.guides.MatrixNormal, bl.guides.FullRankNormal, bl.guides.MeanFieldNormal)
    ]
    assert elbos[0] == pytest.approx(elbos[1], abs=0.01)
    assert elbos[0] > elbos[2] + 1


def test_files_keep_the_guide(guide, tmp_path):
    guide, model = guide
    posterior = bl.Posterior.from_guide(model, guide)
    posterior.save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p")
    assert all(torch.equal(value, loaded.sample(5)[name]) for name, value in posterior.sample(5).items())


def test_factors_that_take_too_much_memory_are_refused(build):
    model = bl.BayesianModel(build(lambda: bl.Linear(8500, 1)))
    with pytest.raises(bl.errors.DataError, match="at most 33554432 numbers"):
        bl.guides.MatrixNormal(model)
