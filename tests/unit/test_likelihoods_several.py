"""Likelihoods beyond Bernoulli, Categorical and Normal: validation, messages, and finite densities."""

import json
import math

import numpy as np
import pytest
import torch
from scipy import special as scipys
from scipy import stats
from torch import nn

import bayesian_layers as bl
from bayesian_layers.fitting.checks import DataCheck
from bayesian_layers.likelihoods import (
    Beta,
    Categorical,
    DiscretizedMixtureOfLogistics,
    Gamma,
    HeteroscedasticNormal,
    LogNormal,
    MixtureOfLogistics,
    MixtureOfNormals,
    NegativeBinomial,
    Normal,
    Poisson,
    StudentT,
)
from bayesian_layers.likelihoods.mixtures import Logistic
from bayesian_layers.likelihoods.special import incomplete_beta, log_gamma_ratio, soft_clip
from bayesian_layers.noise import seeded

DOUBLE = torch.float64
PRIOR = bl.priors.LogNormal(-1.0, 0.5)


# --- shapes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("likelihood", "f", "y", "expected"),
    [
        (MixtureOfNormals(3), (5, 4), None, "MixtureOfNormals(3) needs 9 outputs per target: 9 for one, 18 for two."),
        (MixtureOfNormals(3), (5, 0), None, "`network(x)` must have shape (5, 9 K); received (5, 0)."),
        (HeteroscedasticNormal(), (5, 3), (5,), "HeteroscedasticNormal needs 2 outputs per target"),
        (HeteroscedasticNormal(), (5, 4), (5,), "`y` must have shape (5, 2); received (5,)."),
        (HeteroscedasticNormal(), (5, 2), (5, 1), "Use y.squeeze(-1)."),
        (HeteroscedasticNormal(), (5, 2), (5, 2), "so 2 outputs are for 1 targets."),
        (HeteroscedasticNormal(), (5, 6, 4, 4), (5, 3, 4, 4), 'pass output_axis="first"'),
        (HeteroscedasticNormal(output_axis="first"), (5, 4, 4, 6), (5, 4, 4, 3), 'pass output_axis="last"'),
        (Poisson(), (5, 2), (5,), "The network has outputs for 2 targets per row; `y` has one."),
    ],
)  # fmt: skip
def test_messages_state_how_many_outputs_per_target_are_needed(likelihood, f, y, expected):
    targets = None if y is None else torch.zeros(y)
    with pytest.raises(bl.errors.ShapeError) as caught:
        likelihood.check_shapes(torch.zeros(f), targets, output_axes=len(f) - 1)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("likelihood", "outputs", "targets"),
    [
        (HeteroscedasticNormal(), (2,), ()),
        (HeteroscedasticNormal(), (6,), (3,)),
        (HeteroscedasticNormal(), (7, 2), (7,)),
        (HeteroscedasticNormal(output_axis="first"), (2,), ()),
        (HeteroscedasticNormal(output_axis="first"), (6, 8, 9), (3, 8, 9)),
        (HeteroscedasticNormal(output_axis="first"), (2, 8, 9), (1, 8, 9)),
        (MixtureOfNormals(4), (12,), ()),
        (DiscretizedMixtureOfLogistics(2, output_axis="first"), (18, 8, 1), (3, 8)),
    ],
)
def test_the_shape_of_targets(likelihood, outputs, targets):
    assert likelihood.target_shape(outputs) == targets
    f = torch.zeros(4, 5, *outputs)  # four draws, five rows
    y = likelihood.distribution(f, output_axes=len(outputs))
    assert (y.batch_shape, y.event_shape) == ((4, 5), targets)
    likelihood.check_shapes(f, torch.zeros(5, *targets), output_axes=len(outputs))


def test_the_layout_is_parameter_by_parameter():
    mean, log_scale = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, -1.0, 1.0]])
    found, variance = HeteroscedasticNormal().moments(torch.cat([mean, log_scale], -1))
    assert torch.equal(found, mean)
    torch.testing.assert_close(variance, (2 * log_scale).exp())
    logits, shift, log_scale = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0)).unbind()
    f = (
        torch.stack([logits, shift, log_scale]).flatten().unsqueeze(0)
    )  # one row: two components, four targets
    found, _ = MixtureOfNormals(2).moments(f)
    anchors = MixtureOfNormals(2).anchors(f).unsqueeze(1)
    torch.testing.assert_close(found, (logits.softmax(0) * (shift + anchors)).sum(0, keepdim=True))


# --- values and arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("likelihood", "good", "bad", "advice"),
    [
        (HeteroscedasticNormal(), [0.5, -2.0], [math.nan, math.inf, 1.0], "2 values that are NaN"),
        (StudentT(), [1e9], [-math.inf], "1 values"),
        (MixtureOfNormals(2), [0.0], [math.nan], "1 values"),
        (MixtureOfLogistics(2), [0.0], [math.nan], "1 values"),
        (Poisson(), [0.0, 3.0, 1e6], [0.5, -1.0, math.nan, 2.0], "3 of its 4"),
        (NegativeBinomial(), [0, 3], [-1, 3], "1 of its 2"),
        (Gamma(), [1e-300, 1e9], [0.0, -1.0, math.nan, math.inf, 1.0], "4 of its 5"),
        (LogNormal(), [1e-300, 1e9], [0.0, -1.0, math.nan, math.inf, 1.0], "4 of its 5"),
        (Beta(), [0.1, 1 - 1e-7], [0.0, 1.0, 0.5, math.nan], "3 of its 4"),
        (DiscretizedMixtureOfLogistics(2, levels=4), [0, 3], [4, -1, 2], "from 0 to 3; 2 of its 3"),
        (DiscretizedMixtureOfLogistics(2), [0.0, 255.0], [0.5, math.nan, 256.0, 1.0], "3 of its 4"),
    ],
)
def test_values_that_cannot_have_been_produced_are_refused(likelihood, good, bad, advice):
    likelihood.check_values(torch.tensor(good, dtype=None if isinstance(good[0], int) else DOUBLE), (1,))
    with pytest.raises(bl.errors.DataError) as caught:
        likelihood.check_values(torch.tensor(bad), (1,))
    assert advice in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: StudentT(df=0.0),
        lambda: StudentT(noise_scale=-1.0),
        lambda: StudentT(df="four"),
        lambda: NegativeBinomial(math.inf),
        lambda: NegativeBinomial(True),
        lambda: Gamma(dispersion=0.0),
        lambda: LogNormal(noise_scale=-1.0),
        lambda: Beta(bl.priors.Normal()),
        lambda: MixtureOfNormals(0),
        lambda: MixtureOfNormals(2.0),
        lambda: MixtureOfLogistics(True),
        lambda: DiscretizedMixtureOfLogistics(2, levels=1),
        lambda: DiscretizedMixtureOfLogistics(2, levels=2**16 + 1),
        lambda: HeteroscedasticNormal(output_axis="middle"),
    ],
)
def test_arguments_are_checked(make):
    with pytest.raises(bl.errors.DataError, match="`"):
        make()


OPTIONS = [
    HeteroscedasticNormal(output_axis="first"),
    StudentT(df="learned", noise_scale=PRIOR),
    NegativeBinomial(0.3),
    Beta(PRIOR),
    MixtureOfLogistics(2, output_axis="first"),
    DiscretizedMixtureOfLogistics(5, levels=16),
]


@pytest.mark.parametrize("likelihood", OPTIONS, ids=repr)
def test_specs_with_options_come_back(likelihood):
    assert bl.likelihoods.Likelihood.from_spec(json.loads(json.dumps(likelihood.spec()))) == likelihood


def test_a_network_whose_parameter_has_the_name_of_a_site_is_refused():
    class Clash(nn.Module):
        def __init__(self, name):
            super().__init__()
            self.register_parameter(name, nn.Parameter(torch.zeros(1)))

        def forward(self, x):
            return x

    for likelihood, name in (
        (StudentT("learned"), "df"),
        (StudentT(), "noise_scale"),
        (NegativeBinomial(), "dispersion"),
        (Beta(PRIOR), "precision"),
        (Poisson(), "y"),
    ):
        with pytest.raises(bl.errors.SiteError, match=name):
            bl.BayesianModel(Clash(name), likelihood)
    bl.BayesianModel(Clash("df"), StudentT(4.0))  # there is no such site


def test_first_values_of_sites():
    like = torch.zeros((), dtype=DOUBLE)
    assert {name: float(site.initial) for name, site in StudentT("learned").sites(like).items()} == {
        "noise_scale": 1.0,
        "df": 4.0,
    }
    site = Beta().sites(like)["precision"]
    assert (float(site.initial), site.initial.dtype, site.prior, site.positive) == (10.0, DOUBLE, None, True)
    site = NegativeBinomial(PRIOR).sites(like)["dispersion"]
    assert float(site.initial) == pytest.approx(math.exp(-1.0))
    assert site.prior == PRIOR


# --- tails and scales ---------------------------------------------------------------------------------------------


def test_infinite_and_missing_moments_are_reported():
    f = torch.zeros(2, 3, 1)
    with pytest.warns(bl.errors.FitWarning, match="infinite standard deviation"):
        mean, variance = StudentT(df=2.0, noise_scale=1.0).moments(f)
    assert torch.equal(mean, torch.zeros(2, 3))
    assert (variance == math.inf).all()
    with pytest.raises(bl.errors.DataError, match="no mean"):
        StudentT(df=1.0, noise_scale=1.0).moments(f)
    with pytest.raises(bl.errors.DataError, match=r"df = 0\.5"):
        StudentT("learned", 1.0).moments(f, df=torch.tensor([[3.0], [0.5]]))


def test_quantiles_where_there_is_no_mean():
    """Cauchy's, in closed form, far into the tails."""
    draws = bl.PredictiveDraws(torch.zeros(1, 1, 1, dtype=DOUBLE), StudentT(df=1.0, noise_scale=2.0), {})
    levels = [1e-6, 0.25, 0.5, 0.999]
    found = bl.predictive.quantiles(draws, levels).squeeze(0).numpy()
    np.testing.assert_allclose(found, stats.cauchy(scale=2.0).ppf(levels), rtol=1e-9, atol=1e-11)


def test_only_likelihoods_of_unit_scale_warn_of_targets(build):
    x = torch.linspace(-1, 1, 8).unsqueeze(1)
    y = torch.arange(8.0) * 1000
    for likelihood, outputs, warns in (
        (Normal(), 1, True),
        (StudentT(), 1, True),
        (MixtureOfNormals(2), 6, True),
        (Poisson(), 1, False),
        (NegativeBinomial(), 1, False),
        (DiscretizedMixtureOfLogistics(2, levels=2**16), 6, False),
    ):
        check = DataCheck(bl.BayesianModel(build(lambda k=outputs: bl.Linear(1, k)), likelihood), 0)
        check(x, y)
        assert bool(check.warnings) == warns, likelihood
    check = DataCheck(bl.BayesianModel(build(lambda: bl.Linear(1, 1)), Beta()), 0)
    check(x, torch.full((8,), 0.01))
    assert not check.warnings


@pytest.mark.parametrize("likelihood", [Gamma(0.5), LogNormal(0.5)])
def test_positive_targets_are_checked_on_the_scale_of_their_logarithm(build, likelihood):
    x = torch.linspace(-1, 1, 8).unsqueeze(1)
    for y, warns in (((3 * x).exp().squeeze(1), False), (1e6 * (0.1 * x).exp().squeeze(1), True)):
        check = DataCheck(bl.BayesianModel(build(lambda: bl.Linear(1, 1)), likelihood), 0)
        check(x, y)
        assert ["`log(y)` is far from unit scale" in text for text in check.warnings] == [True] * warns


@pytest.mark.parametrize("likelihood", [Gamma(0.5), LogNormal(0.5)])
def test_rounding_does_not_put_positive_targets_on_0(likelihood):
    rounded = likelihood.observed(torch.zeros(2, 1), torch.tensor([1e-60, 1.0], dtype=DOUBLE))
    assert rounded.dtype == torch.float32
    assert likelihood.distribution(torch.zeros(2, 1)).log_prob(rounded).isfinite().all()


def test_rounding_does_not_put_proportions_on_the_border():
    y = torch.tensor([1e-60, 0.5, 1 - 1e-12], dtype=DOUBLE)
    Beta().check_values(y, (1,))
    f = torch.zeros(3, 1)
    rounded = Beta().observed(f, y)
    assert rounded.dtype == torch.float32
    assert Beta(2.0).distribution(f).log_prob(rounded).isfinite().all()


@pytest.mark.parametrize(
    ("likelihood", "outputs", "y"), [(Beta(2.0), 1, 0.0), (Poisson(), 1, 0.5), (Categorical(), 3, 0.5)]
)
def test_scores_refuse_targets_before_they_are_rounded(likelihood, outputs, y):
    draws = bl.PredictiveDraws(torch.zeros(2, 1, outputs), likelihood, {})
    with pytest.raises(bl.errors.DataError):
        bl.predictive.log_prob(draws, torch.tensor([y]))


# --- numbers -----------------------------------------------------------------------------------------------------

EXTREMES = [
    (HeteroscedasticNormal(), 2, [0.0, 1e3, -1e3]),
    (StudentT(df=3.0, noise_scale=0.1), 1, [0.0, 1e6]),
    (Poisson(), 1, [0.0, 1.0, 1e6]),
    (NegativeBinomial(1e-8), 1, [0.0, 1.0, 1e6]),
    (NegativeBinomial(1e4), 1, [0.0, 1.0, 1e6]),
    (Beta(5.0), 1, [1e-6, 0.5, 1 - 1e-6]),
    (Beta(1e5), 1, [1e-6, 0.5, 1 - 1e-6]),
    (Gamma(1e-5), 1, [1e-6, 1.0, 1e6]),
    (Gamma(10.0), 1, [1e-6, 1.0, 1e6]),
    (LogNormal(0.1), 1, [1e-6, 1.0, 1e6]),
    (MixtureOfNormals(2), 6, [0.0, 1e3, -1e3]),
    (MixtureOfLogistics(2), 6, [0.0, 1e3, -1e3]),
    (DiscretizedMixtureOfLogistics(2), 6, [0.0, 1.0, 128.0, 255.0]),
]


@pytest.mark.parametrize(("likelihood", "outputs", "y"), EXTREMES, ids=lambda value: str(value)[:30])
def test_densities_and_gradients_are_finite_at_extreme_outputs(likelihood, outputs, y):
    """In float32, with each output by itself and all of them far away."""
    far = torch.tensor([0.0, 15.0, 100.0, 1e4])
    values = torch.cat([-far, far])
    single = torch.eye(outputs).unsqueeze(1) * values.unsqueeze(1)
    rows = torch.cat([single.reshape(-1, outputs), values.unsqueeze(1).expand(-1, outputs)])
    for target in y:
        f = rows.clone().requires_grad_()
        log_prob = likelihood.distribution(f).log_prob(torch.full((len(f),), target))
        (slope,) = torch.autograd.grad(log_prob.sum(), f)
        assert log_prob.isfinite().all()
        assert slope.isfinite().all()
    mean, variance = likelihood.moments(rows.double())
    assert mean.isfinite().all()
    assert variance.isfinite().all()


def test_a_rate_that_went_too_far_is_pulled_back():
    f = torch.tensor([[50.0], [-50.0]], requires_grad=True)
    log_prob = Poisson().distribution(f).log_prob(torch.tensor([3.0, 3.0]))
    (slope,) = torch.autograd.grad(log_prob.sum(), f)
    assert slope[0] < 0 < slope[1]


def test_soft_clip_is_the_identity_within_and_increasing_beyond():
    inside = torch.linspace(-10, 10, 101, dtype=DOUBLE)
    assert torch.equal(soft_clip(inside, 10.0), inside)
    far = torch.tensor([-1e9, -100.0, -10.5, 0.0, 10.5, 100.0, 1e9], dtype=DOUBLE, requires_grad=True)
    value = soft_clip(far, 10.0)
    (slope,) = torch.autograd.grad(value.sum(), far)
    assert (value.diff() > 0).all()
    assert (slope > 0).all()
    torch.testing.assert_close(value.exp()[5], torch.tensor(math.exp(10) * 91, dtype=DOUBLE))


def test_log_gamma_ratio_equals_pochhammers_symbol():
    for r in (1e-3, 0.5, 9.99, 10.01, 300.0):
        for y in (0.0, 0.5, 1.0, 7.0, 150.0):
            ours = log_gamma_ratio(torch.tensor(y, dtype=DOUBLE), torch.tensor(r, dtype=DOUBLE))
            expected = scipys.gammaln(r + y) - scipys.gammaln(r) - y * math.log(r)
            assert float(ours) == pytest.approx(expected, rel=1e-9, abs=1e-10)


@pytest.mark.parametrize("r", [1e2, 1e4, 1e7, 1e12])
def test_log_gamma_ratio_keeps_its_digits_in_float32(r):
    """By the sum over the factors 1 + k / r; the difference of log gammas is off by 1 nat at r = 1e7."""
    for y in (1, 5, 40):
        ours = log_gamma_ratio(torch.tensor(float(y)), torch.tensor(r))
        assert float(ours) == pytest.approx(sum(math.log1p(k / r) for k in range(y)), rel=1e-4, abs=2e-6 * y)


def test_small_dispersions_have_poissons_limit_in_float32():
    """Value, and the slope by the dispersion, whose limit at 0 is ((y - m)^2 - y) / 2."""
    y, m = torch.tensor([0.0, 2.0, 9.0]), torch.tensor([1.5, 2.5, 4.0])
    dispersion = torch.full((3,), 1e-3, requires_grad=True)
    log_prob = NegativeBinomial().distribution(m.log().unsqueeze(1), dispersion=dispersion).log_prob(y)
    exact = stats.nbinom(1e3, 1 / (1 + 1e-3 * m.numpy().astype(float))).logpmf(y.numpy())
    np.testing.assert_allclose(log_prob.detach(), exact, rtol=1e-5)
    (slope,) = torch.autograd.grad(log_prob.sum(), dispersion)
    np.testing.assert_allclose(slope, ((y - m) ** 2 - y) / 2, rtol=0.02)


def test_small_dispersions_of_gamma_have_the_normal_limit_in_float32():
    """Its textbook formula is off by nats there: (y - m) / (sqrt(phi) m) is standard normal."""
    z, phi, m = torch.tensor([0.0, 1.0, -2.0]), 1e-8, 2.0
    log_prob = Gamma(phi).distribution(torch.full((3, 1), m).log()).log_prob(m + m * phi**0.5 * z)
    # the spacing of float32 near m is 0.001 standard deviations
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(z) - np.log(m * phi**0.5), atol=5e-3)


@pytest.mark.parametrize("dispersion", [3.0, 0.7, 0.01])
def test_the_entropy_of_gamma(dispersion):
    f = np.array([0.3, -2.0])
    expected = stats.gamma(1 / dispersion, scale=dispersion * np.exp(f)).entropy()
    ours = Gamma(dispersion).distribution(torch.as_tensor(f).unsqueeze(1)).entropy()
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_log_normal_is_normal_for_the_logarithm():
    f, y = torch.tensor([[0.3], [-2.0], [5.0]], dtype=DOUBLE), torch.tensor([1.5, 0.2, 90.0], dtype=DOUBLE)
    ours = LogNormal(0.5).distribution(f).log_prob(y)
    torch.testing.assert_close(ours, Normal(0.5).distribution(f).log_prob(y.log()) - y.log())


def test_many_degrees_of_freedom_have_the_normal_limit_in_float32():
    f, y = torch.zeros(3, 1), torch.tensor([0.0, 1.0, -3.0])
    ours = StudentT(df=1e8, noise_scale=1.0).distribution(f).log_prob(y)
    np.testing.assert_allclose(ours, stats.norm.logpdf(y), rtol=1e-5)


def beta_cdf(a, b, x):
    return incomplete_beta(*(torch.as_tensor(each, dtype=DOUBLE) for each in (a, b, x, 1 - x)))


X = np.array([0.0, 1e-300, 1e-9, 0.1, 0.49, 0.51, 0.9, 1 - 1e-9, 1.0])


@pytest.mark.parametrize("a", [1e-6, 0.3, 2.0, 40.0, 1e4, 1e9])
def test_incomplete_beta_is_a_power_where_one_argument_is_1(a):
    np.testing.assert_allclose(beta_cdf(a, 1.0, X), X**a, rtol=1e-9, atol=1e-300)
    expected = np.append(-np.expm1(a * np.log1p(-X[:-1])), 1.0)
    np.testing.assert_allclose(beta_cdf(1.0, a, X), expected, rtol=1e-9, atol=1e-300)


def test_incomplete_beta_of_halves_is_an_arcsine():
    np.testing.assert_allclose(
        beta_cdf(0.5, 0.5, X), 2 / np.pi * np.arcsin(np.sqrt(X)), rtol=1e-9, atol=1e-300
    )


@pytest.mark.parametrize(("a", "b"), [(2, 3), (7, 1), (40, 11), (3, 60)])
def test_incomplete_beta_of_integers_is_a_binomial_tail(a, b):
    n = a + b - 1
    expected = [sum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1)) for x in X]
    np.testing.assert_allclose(beta_cdf(a, b, X), expected, rtol=1e-7, atol=1e-300)


def test_incomplete_beta_takes_the_complement_where_x_is_1_to_rounding():
    """I_x(a, 1/2) near x = 1, with 1 - x = 1e-20: 1 - 2 sqrt(1 - x) / B(a, 1/2), in the dtype of x."""
    a, x, complement = (torch.tensor(each, dtype=DOUBLE) for each in (3.0, 1.0, 1e-20))
    below = incomplete_beta(complement.new_tensor(0.5), a, complement, x)
    assert float(below) == pytest.approx(2e-10 * 15 / 16, rel=1e-6)
    assert float(incomplete_beta(a, a.new_tensor(0.5), x, complement)) == pytest.approx(
        1 - float(below), abs=1e-15
    )
    assert incomplete_beta(a.float(), a.float(), x.float(), complement.float()).dtype == torch.float32


def test_draws_of_logistics_are_finite():
    """Torch's uniform numbers start at 0, whose quantile is minus infinity."""
    u = Logistic(torch.zeros(1), torch.ones(1))
    with seeded(0):
        assert u.sample((2**20,)).isfinite().all()
    low = torch.finfo(torch.float32).tiny
    assert torch.tensor(low).logit().isfinite()


def test_distributions_expand():
    for likelihood, outputs in (
        (Poisson(), 1),
        (NegativeBinomial(0.5), 1),
        (Gamma(0.5), 1),
        (LogNormal(0.5), 1),
        (DiscretizedMixtureOfLogistics(2), 6),
    ):
        f = torch.zeros(5, outputs)
        wide = likelihood.distribution(f).expand((3, 5))
        y = torch.arange(1.0, 6.0)
        assert wide.log_prob(y).shape == (3, 5)
        torch.testing.assert_close(wide.log_prob(y)[1], likelihood.distribution(f).log_prob(y))


def test_the_axis_of_classes_is_not_that_of_outputs():
    """Categorical keeps its own argument: stored documents and users know it by that name."""
    assert Categorical(class_axis="first").outputs_per_target == "classes"
    assert Normal().outputs_per_target == 1
    assert MixtureOfNormals(4).outputs_per_target == 12
