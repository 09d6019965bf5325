"""Diagnostics against closed forms: k-hat, and calibration by simulation with right, narrow, wide and moved posteriors.

With ``y = X w + noise`` and ``w ~ N(0, 1)`` the posterior is Normal with precision ``A = X'X / sigma^2 + 1``, diagonal
where the columns of X are orthogonal: there a mean-field guide contains it.
"""

import numpy as np
import pytest
import torch
from scipy import stats

import bayesian_layers as bl
from bayesian_layers.inference_data import pareto_k_hat

SIGMA = 0.5
X = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64).repeat(5, 1)
RIGHT = "calibrated, as far as this shows"


@pytest.fixture
def model(build):
    layer = build(lambda: bl.Linear(2, 1, bias=False, dtype=torch.float64))
    return bl.BayesianModel(layer, bl.likelihoods.Normal(SIGMA))


def exact(model, x, y, scale=1.0, shift=0.0):
    """The posterior with standard deviations multiplied by ``scale`` and means moved by ``shift`` of them."""
    precision = x.T @ x / SIGMA**2 + torch.eye(2, dtype=x.dtype)
    assert torch.equal(precision, torch.diag(precision.diag()))
    std = precision.diag().rsqrt()
    guide = bl.guides.MeanFieldNormal(model)
    with torch.no_grad():
        guide.loc.copy_(x.T @ y / SIGMA**2 / precision.diag() + shift * std)
        guide.log_scale.copy_((scale * std).log())
    return bl.Posterior.from_guide(model, guide)


# --- k-hat --------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("scale", "low", "high"), [(1.0, 0.0, 0.0), (1.3, -np.inf, 0.5), (0.4, 0.7, np.inf)])
def test_k_hat_where_the_guide_contains_the_posterior_or_not(model, scale, low, high):
    """Exact: all ratios are equal, which is 0. Wider: they are bounded. Narrower: k = 1 - 0.4^2 = 0.84."""
    y = X @ torch.tensor([0.7, -1.2], dtype=torch.float64)
    k = exact(model, X, y, scale).k_hat(X, y, num_draws=4000)
    assert low <= k <= high


def test_k_hat_after_a_fit_of_what_mean_field_contains(model):
    y = X @ torch.tensor([0.7, -1.2], dtype=torch.float64)
    assert bl.fit(model, X, y, progress=False).posterior.k_hat(X, y) < 0.5


@pytest.mark.parametrize("ratio", [0.5, 0.7])
def test_k_hat_of_a_normal_that_is_too_narrow(ratio):
    """The weights N(0, 1) / N(0, r^2) are Pareto in the tail with k = 1 - r^2 (up to logarithms: hence 0.12)."""
    w = ratio * np.random.default_rng(0).normal(size=200_000)
    assert pareto_k_hat(stats.norm.logpdf(w) - stats.norm.logpdf(w, scale=ratio)) == pytest.approx(
        1 - ratio**2, abs=0.12
    )


def banana(num_draws, seed):
    """Log weights from the best mean-field guide to 25 bananas: u ~ N(0, 1), v | u ~ N(u^2 - 1, c^2).

    The ELBO, up to a constant log s + log t - s^2/2 - ((m - s^2 + 1)^2 + t^2 + 2 s^4) / (2 c^2), is largest where
    m = s^2 - 1, t = c and s^2 + (4 / c^2) s^4 = 1.
    """
    c = 0.5
    four = 4 / c**2
    s = np.sqrt((-1 + np.sqrt(1 + 4 * four)) / (2 * four))
    rng = np.random.default_rng(seed)
    u, v = s * rng.normal(size=(num_draws, 25)), s**2 - 1 + c * rng.normal(size=(num_draws, 25))
    log_p = stats.norm.logpdf(u) + stats.norm.logpdf(v, u**2 - 1, c)
    log_q = stats.norm.logpdf(u, scale=s) + stats.norm.logpdf(v, s**2 - 1, c)
    return (log_p - log_q).sum(1)


@pytest.mark.parametrize("seed", range(5))
def test_k_hat_on_a_50_dimensional_banana(seed):
    assert pareto_k_hat(banana(4000, seed)) > 0.7


def test_k_hat_of_a_50_dimensional_normal_that_the_guide_contains():
    w = np.random.default_rng(0).normal(size=(4000, 50))
    log_p = stats.norm.logpdf(w).sum(1)
    assert pareto_k_hat(log_p - log_p) == 0.0
    almost = stats.norm.logpdf(w, 0.01, 1.01).sum(1)
    assert pareto_k_hat(almost - log_p) < 0.5


# --- simulation-based calibration ---------------------------------------------------------------------


def run(model, scale=1.0, shift=0.0, **settings):
    infer = lambda model, x, y, _: exact(model, x, y, scale, shift)  # noqa: E731
    settings = {"num_simulations": 60, "num_draws": 200, "weights": True, "progress": False, **settings}
    return bl.calibrate(model, X, infer, at=X[:1], **settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "shift", "verdict"),
    [
        (1.0, 0.0, RIGHT),
        (0.5, 0.0, "too narrow (over-confident)"),
        (2.0, 0.0, "too wide (under-confident)"),
        (1.0, 0.7, "biased upwards"),
    ],
)
def test_verdicts_tell_right_narrow_wide_and_biased_apart(model, scale, shift, verdict):
    found = run(model, scale, shift)
    assert found.names == ("f[0]", "weight[0, 0]", "weight[0, 1]")
    assert found.verdicts() == (verdict,) * 3
    # the z-score of the truth is N(-shift / scale, 1 / scale^2); 4 standard errors, and 6 % since ranks
    # among 200 draws reach 2.6 standard deviations only
    np.testing.assert_allclose(found.spread, 1 / scale, rtol=4 / np.sqrt(120) + 0.06)
    np.testing.assert_allclose(found.shift, -shift / scale, atol=4 / np.sqrt(60) / scale)
    assert np.all((found.symmetry_p_values < 0.01) == (shift != 0))
    assert np.all((found.uniformity_p_values < 0.03) == (verdict != RIGHT))


def test_vsbc_p_values_are_those_of_probabilities_and_their_mirror_image(model):
    """Yao et al. (2018): p and 1 - p are compared; the largest distance of the two steps functions, by sorting."""
    found = run(model, shift=0.2, num_simulations=40)
    for p, value in zip(found.probabilities.T, found.symmetry_p_values, strict=True):
        grid = np.sort(np.concatenate([p, 1 - p]))
        distance = max(abs(np.mean(p <= t) - np.mean(1 - p <= t)) for t in grid)
        signs = np.random.default_rng(0).choice([-1, 1], (20_000, 40))
        largest = np.abs(np.cumsum(signs, axis=1)).max(axis=1) / 40
        assert value == pytest.approx(np.mean(largest >= distance - 1e-9), abs=4 * np.sqrt(0.25 / 20_000))


def test_simulations_depend_on_seed_and_number_alone(model):
    many, few, other = (
        run(model, num_simulations=6),
        run(model, num_simulations=3),
        run(model, num_simulations=3, seed=1),
    )
    np.testing.assert_array_equal(many.probabilities[:3], few.probabilities)
    assert not np.array_equal(few.probabilities, other.probabilities)


def test_by_default_it_fits_and_only_reads_the_model(model):
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    found = bl.calibrate(model, X, num_simulations=2, num_draws=20, progress=False)
    assert found.names == ("f[0]", "f[1]", "f[2]", "f[3]", "f[4]")
    assert found.converged.all()
    assert all(torch.equal(before[name], value) for name, value in model.network.state_dict().items())


def test_a_noise_scale_with_a_prior_is_tested_too(build):
    layer = build(lambda: bl.Linear(2, 1))
    model = bl.BayesianModel(layer, bl.likelihoods.Normal(bl.priors.LogNormal(-1.0, 0.5)))

    def infer(model, x, y, seed):
        draw = torch.Generator().manual_seed(seed)
        noise = {
            name: torch.randn(100, *site.initial.shape, generator=draw)
            for name, site in model.sites().items()
        }
        return bl.Posterior.from_samples(
            model, noise | {"noise_scale": (0.5 * noise["noise_scale"] - 1.0).exp()}
        )

    found = bl.calibrate(
        model, X.float(), infer, at=X[:1].float(), num_simulations=30, num_draws=100, progress=False
    )
    assert found.names == ("f[0]", "noise_scale")
    # the prior itself is calibrated: it was drawn from
    assert found.verdicts() == (RIGHT, RIGHT)


def test_summary_warns_of_few_simulations_and_fits_that_failed():
    p = np.random.default_rng(0).uniform(size=(20, 1))
    found = bl.CalibrationResult(p, ("f[0]",), np.arange(20) > 2, 100, 0)
    assert "20 simulations show only gross errors" in str(found)
    assert "3 of 20 fits did not converge" in str(found)


@pytest.mark.parametrize(
    ("p", "converged", "problem"),
    [
        (np.full((5, 2), 0.5), np.ones(5, bool), bl.errors.ShapeError),
        (np.full((5, 1), 0.5), np.ones(4, bool), bl.errors.ShapeError),
        (np.full((1, 1), 0.5), np.ones(1, bool), bl.errors.DataError),
        (np.full((5, 1), 1.0), np.ones(5, bool), bl.errors.DataError),
    ],
)
def test_an_invalid_result_cannot_be_built(p, converged, problem):
    with pytest.raises(problem):
        bl.CalibrationResult(p, ("f[0]",), converged, 100, 0)


def test_refused(model, build):
    with pytest.raises(bl.errors.DataError, match="num_simulations"):
        bl.calibrate(model, X, num_simulations=1)
    with pytest.raises(bl.errors.SiteError, match="no likelihood"):
        bl.calibrate(bl.BayesianModel(model.network), X)
    with pytest.raises(TypeError, match=r"bl\.Posterior"):
        bl.calibrate(model, X, lambda *_: None, progress=False)
    plain = bl.BayesianModel(build(lambda: torch.nn.Linear(2, 1)).double(), bl.likelihoods.Normal(1.0))
    with pytest.raises(bl.errors.SiteError, match="prior"):
        bl.calibrate(plain, X)
