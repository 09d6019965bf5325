import math

import numpy as np
import pytest
import torch
from scipy import stats

import bayesian_layers as bl
from bayesian_layers.likelihoods import Bernoulli, Categorical, Normal, Prediction

F = torch.tensor([[[0.3], [-2.0]], [[1.0], [0.5]], [[0.0], [4.0]]], dtype=torch.float64)  # (S=3, N=2, 1)


def moments(likelihood, f, latents):
    """The law of total variance over draws, in one step."""
    mean, variance = likelihood.moments(f, **latents)
    return Prediction(mean.mean(0), mean.std(0, correction=0), variance.expand_as(mean).mean(0).sqrt())


def test_log_densities_equal_scipys():
    y = torch.tensor([1.0, 0.0])
    p = 1 / (1 + np.exp(-F.squeeze(-1).numpy()))
    np.testing.assert_allclose(
        Bernoulli().distribution(F).log_prob(y), stats.bernoulli.logpmf(y, p), rtol=1e-6
    )
    ours = Normal(0.7).distribution(F).log_prob(torch.tensor([0.1, 0.2], dtype=torch.float64))
    np.testing.assert_allclose(ours, stats.norm.logpdf([0.1, 0.2], F.squeeze(-1), 0.7), rtol=1e-6)
    f = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]])
    ours = Categorical().distribution(f).log_prob(torch.tensor([2, 0]))
    np.testing.assert_allclose(
        ours, np.log([np.exp(2) / np.exp([0, 1, 2]).sum(), np.exp(3) / (np.exp(3) + 2)]), rtol=1e-6
    )


def test_several_targets_are_one_event():
    f, y = torch.zeros(4, 5, 3), torch.ones(5, 3)
    for likelihood in (Bernoulli(), Normal(1.0)):
        assert likelihood.distribution(f).log_prob(y).shape == (4, 5)
    scale = torch.full((4, 1), 2.0)
    expected = 3 * stats.norm.logpdf(1, 0, 2)
    learned = Normal("learned").distribution(f, noise_scale=scale).log_prob(y)
    np.testing.assert_allclose(learned, expected, rtol=1e-6)


def test_moments_of_bernoulli_follow_the_law_of_total_variance():
    p = torch.sigmoid(F.squeeze(-1))
    prediction = moments(Bernoulli(), F, {})
    torch.testing.assert_close(prediction.mean, p.mean(0))
    torch.testing.assert_close(prediction.epistemic_std, p.std(0, correction=0))
    torch.testing.assert_close(prediction.std**2, p.mean(0) * (1 - p.mean(0)))


def test_moments_of_normal_with_a_scale_per_draw():
    scale = torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64)
    prediction = moments(Normal("learned"), F, {"noise_scale": scale})
    assert prediction.mean.shape == (2,)
    torch.testing.assert_close(
        prediction.aleatoric_std, torch.full((2,), math.sqrt(5.25 / 3), dtype=torch.float64)
    )
    torch.testing.assert_close(prediction.std**2, F.squeeze(-1).var(0, correction=0) + 5.25 / 3)


def test_moments_of_categorical_are_probabilities():
    f = torch.tensor([[[0.0, 1.0, 2.0]], [[2.0, 1.0, 0.0]]])
    prediction = moments(Categorical(), f, {})
    assert prediction.mean.shape == (1, 3)
    torch.testing.assert_close(prediction.mean.sum(-1), torch.ones(1))
    torch.testing.assert_close(prediction.mean, f.softmax(-1).mean(0))
    torch.testing.assert_close(prediction.std**2, prediction.mean * (1 - prediction.mean))


@pytest.mark.parametrize(
    ("likelihood", "outputs", "y", "expected"),
    [
        (Bernoulli(), 1, (5, 1), "must have shape (5,); received (5, 1). Use y.squeeze(-1)."),
        (Bernoulli(), 1, (4,), "must have shape (5,); received (4,)"),
        (Normal(1.0), 2, (5,), "must have shape (5, 2); received (5,)"),
        (Normal(1.0), 1, (5, 2), "must have shape (5,); received (5, 2)"),
        (Categorical(), 3, (5, 3), "must have shape (5,); received (5, 3)"),
    ],
)
def test_shapes_are_checked_never_broadcast(likelihood, outputs, y, expected):
    with pytest.raises(bl.errors.ShapeError) as caught:
        likelihood.check_shapes(torch.zeros(7, 5, outputs), torch.zeros(y))
    assert expected in str(caught.value)
    assert caught.value.received == y


def test_an_output_without_its_axis_is_refused():
    with pytest.raises(bl.errors.ShapeError, match="axis of outputs"):
        Normal(1.0).check_shapes(torch.zeros(5), None)


@pytest.mark.parametrize(
    ("likelihood", "y", "outputs"),
    [
        (Bernoulli(), torch.tensor([0.0, 0.5]), 1),
        (Bernoulli(), torch.tensor([0.0, math.nan]), 1),
        (Bernoulli(), torch.tensor([0, 2]), 1),
        (Categorical(), torch.tensor([0, 3]), 3),
        (Categorical(), torch.tensor([-1, 0]), 3),
        (Categorical(), torch.tensor([0.5, 0.0]), 3),
        (Categorical(), torch.tensor([0, 0]), 1),
        (Normal(1.0), torch.tensor([math.inf]), 1),
    ],
)
def test_values_that_cannot_have_been_produced_are_refused(likelihood, y, outputs):
    with pytest.raises(bl.errors.DataError):
        likelihood.check_values(y, (outputs,))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, "learnt", None, bl.priors.Normal()])
def test_an_invalid_noise_scale_is_refused(scale):
    with pytest.raises(bl.errors.DataError, match="noise_scale"):
        Normal(scale)


def test_noise_sites():
    like = torch.zeros((), dtype=torch.float64)
    assert Normal(0.1).sites(like) == {}
    learned = Normal("learned").sites(like)["noise_scale"]
    assert (learned.prior, learned.positive, learned.initial.dtype) == (None, True, torch.float64)
    prior = bl.priors.LogNormal(-2.0, 0.3)
    site = Normal(prior).sites(like)["noise_scale"]
    assert site.prior == prior
    assert float(site.initial) == pytest.approx(math.exp(-2))


def test_prediction_fields_must_agree():
    with pytest.raises(bl.errors.ShapeError):
        bl.Prediction(torch.zeros(3), torch.zeros(3), torch.zeros(3, 1))


@pytest.mark.parametrize(
    "document",
    [1, {}, {"name": "Cauchy"}, {"name": "Normal", "noise_scale": "no"}, {"name": "Bernoulli", "a": 1}],
)
def test_a_bad_spec_is_refused(document):
    with pytest.raises(bl.errors.StorageError):
        bl.likelihoods.Likelihood.from_spec(document)
