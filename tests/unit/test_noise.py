import pytest
import torch
from scipy import stats

from bayesian_layers.noise import PairedNoise, seeded, standard_normal


def test_a_draw_depends_on_its_seed_and_number_alone():
    many = standard_normal(3, 100, 7, dtype=torch.float32)
    assert torch.equal(standard_normal(3, 10, 7, dtype=torch.float32), many[:10])
    assert not torch.equal(standard_normal(4, 100, 7, dtype=torch.float32), many)
    assert len(torch.unique(many)) == many.numel()


def test_draws_are_standard_normal_and_independent():
    draws = standard_normal(0, 20_000, 4, dtype=torch.float64)
    assert stats.kstest(draws.flatten().numpy(), "norm").pvalue > 1e-3
    assert (draws.T.corrcoef() - torch.eye(4)).abs().max() < 4 / 20_000**0.5
    # neighbouring draws of one coordinate, which consecutive counters could tie together
    neighbours = torch.stack([draws[:-1, 0], draws[1:, 0]]).corrcoef()[0, 1]
    assert neighbours.abs() < 4 / 20_000**0.5


def test_paired_noise_rows_are_standard_normal():
    noise = PairedNoise(3, 0, 4, dtype=torch.float64)
    rows = torch.stack([noise.at(step)[0] for step in range(5000)])
    assert torch.equal(rows[:, :2], -rows[:, 2:])
    for s in range(4):
        assert stats.kstest(rows[:, s, 0].numpy(), "norm").pvalue > 1e-3
    assert rows.isfinite().all()


def test_paired_noise_of_odd_and_single_rows_and_of_many_dimensions():
    assert PairedNoise(3, 0, 5, dtype=torch.float32).at(0).shape == (1, 5, 3)
    assert PairedNoise(3, 0, 1, dtype=torch.float32).at(7, 2).shape == (2, 1, 3)
    large = PairedNoise(30_000, 0, 2, dtype=torch.float32).at(0)[0]
    assert torch.equal(large[0], -large[1])
    assert stats.kstest(large[0].numpy(), "norm").pvalue > 1e-3
    assert PairedNoise(0, 0, 2, dtype=torch.float32).at(3).shape == (1, 2, 0)


@pytest.mark.parametrize("size", [3, 30_000])
def test_paired_noise_of_a_step_depends_on_seed_and_step_alone(size):
    noise, other = (PairedNoise(size, 4, 2, dtype=torch.float32) for _ in range(2))
    steps = [noise.at(step) for step in range(70)]
    for step in (69, 3, 65, 64, 0):  # forwards, backwards, within a block and over its end
        assert torch.equal(other.at(step), steps[step])
    assert len({float(step[0, 0, 0]) for step in steps}) == 70
    assert torch.equal(other.at(60, 8), torch.cat(steps[60:68]))  # over the end of a block


def test_a_long_rows_entries_are_uncorrelated_over_the_steps():
    """The table's stretches: over many steps mean, variance and covariance are those of independent rows."""
    noise = PairedNoise(22_000, 0, 1, dtype=torch.float64)
    rows = torch.stack([noise.at(step)[0, 0, :50] for step in range(4000)])
    assert rows.mean(0).abs().max() < 4.5 / 4000**0.5
    covariance = rows.T @ rows / 4000 - torch.eye(50)
    assert covariance.abs().max() < 5 * (2 / 4000) ** 0.5
    assert stats.kstest(rows[:, 0].numpy(), "norm").pvalue > 1e-3


def test_paired_noise_averages_a_quadratic_better_than_independent_rows():
    """What it is for: E[eps_j eps_k] over the steps of a fit."""
    noise, plain = PairedNoise(10, 0, 16, dtype=torch.float64), torch.Generator().manual_seed(0)
    rows = torch.cat([noise.at(step)[0, :8] for step in range(128)])
    independent = torch.randn(1024, 10, dtype=torch.float64, generator=plain)
    error, usual = ((it.T @ it / 1024 - torch.eye(10)).abs().mean() for it in (rows, independent))
    assert error < usual / 4


def test_seeded_gives_back_the_callers_state():
    with seeded(5):
        first = torch.rand(3)
    with seeded(5):
        assert torch.equal(torch.rand(3), first)
    with seeded(5, 1):
        assert not torch.equal(torch.rand(3), first)
