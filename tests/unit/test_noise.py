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
    noise = PairedNoise(3, 0, dtype=torch.float64)
    rows = torch.stack([noise(4) for _ in range(5000)])
    assert torch.equal(rows[:, :2], -rows[:, 2:])
    for s in range(4):
        assert stats.kstest(rows[:, s, 0].numpy(), "norm").pvalue > 1e-3
    assert rows.isfinite().all()


def test_paired_noise_of_odd_and_single_rows_and_of_many_dimensions():
    assert PairedNoise(3, 0, dtype=torch.float32)(5).shape == (5, 3)
    assert PairedNoise(3, 0, dtype=torch.float32)(1).shape == (1, 3)
    large = PairedNoise(30_000, 0, dtype=torch.float32)(2)
    assert torch.equal(large[0], -large[1])
    assert stats.kstest(large[0].numpy(), "norm").pvalue > 1e-3
    assert PairedNoise(0, 0, dtype=torch.float32)(2).shape == (2, 0)


def test_paired_noise_averages_a_quadratic_better_than_independent_rows():
    """What it is for: E[eps_j eps_k] over the steps of a fit."""
    noise, plain = PairedNoise(10, 0, dtype=torch.float64), torch.Generator().manual_seed(0)
    rows = torch.cat([noise(16)[:8] for _ in range(128)])
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
