"""A fit of each likelihood to data that it has made finds the parameters again, within the errors that theory gives."""

import pytest
import torch
from torch.autograd.functional import hessian

import bayesian_layers as bl
from bayesian_layers import likelihoods
from bayesian_layers.noise import seeded

N = 200
X = torch.linspace(-2, 2, N, dtype=torch.float64)

# A likelihood, its outputs at x = 0, their slopes, and the values of its own sites.
CASES = {
    "heteroscedastic": (likelihoods.HeteroscedasticNormal(), [0.5, -1.0], [1.0, 0.5], {}),
    "student t": (likelihoods.StudentT("learned"), [0.5], [1.0], {"noise_scale": 0.3, "df": 3.0}),
    "poisson": (likelihoods.Poisson(), [1.0], [0.7], {}),
    "negative binomial": (likelihoods.NegativeBinomial(), [1.5], [0.7], {"dispersion": 0.4}),
    "gamma": (likelihoods.Gamma(), [0.5], [1.0], {"dispersion": 0.3}),
    "log-normal": (likelihoods.LogNormal(), [0.5], [1.0], {"noise_scale": 0.4}),
    "beta": (likelihoods.Beta(), [0.5], [1.0], {"precision": 20.0}),
    "normals": (likelihoods.MixtureOfNormals(2), [0.3, -0.3, -1, 1, -2, -1], [0.0, 0, 1, -1, 0, 0], {}),
    "logistics": (
        likelihoods.MixtureOfLogistics(2),
        [0.3, -0.3, -1, 1, -2.5, -1.5],
        [0.0, 0, 1, -1, 0, 0],
        {},
    ),
    "discretized": (
        likelihoods.DiscretizedMixtureOfLogistics(1, levels=64),
        [0.0, 0.1, -2.0],
        [0.0, 0.3, 0.3],
        {},
    ),
}


def log_likelihood(likelihood, values, names, y):
    """Of the true model as a function of all parameters: outputs at 0, slopes, logarithms of sites."""
    size = (len(values) - len(names)) // 2
    f = values[:size] + X.unsqueeze(1) * values[size : 2 * size]
    latents = dict(zip(names, values[2 * size :].exp(), strict=True))
    return likelihood.distribution(f, **latents).log_prob(y).sum()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_fit_recovers_the_truth(name):
    """Within 4 standard errors: the inverse of the information in data and N(0, 1) priors, at the truth."""
    likelihood, at_zero, slopes, latents = CASES[name]
    truth = torch.tensor(
        [*at_zero, *slopes, *torch.tensor(list(latents.values())).log()], dtype=torch.float64
    )
    with seeded(1):
        layer = bl.Linear(1, len(at_zero)).double()
        size = len(at_zero)
        f = truth[:size] + X.unsqueeze(1) * truth[size : 2 * size]
        sites = {site: torch.tensor(value, dtype=torch.float64) for site, value in latents.items()}
        y = likelihood.distribution(f, **sites).sample()
    information = torch.eye(len(truth), dtype=torch.float64)
    information[2 * size :, 2 * size :] = 0  # the sites are point estimates, without a prior
    information -= hessian(lambda values: log_likelihood(likelihood, values, latents, y), truth)
    errors = information.inverse().diagonal().sqrt()
    result = bl.fit(bl.BayesianModel(layer, likelihood), X.unsqueeze(1), y, progress=False)
    draws = result.posterior.sample(200)
    found = torch.cat(
        [
            draws["bias"].mean(0),
            draws["weight"].mean(0).squeeze(1),
            *(draws[site].log().mean(0, keepdim=True) for site in latents),
        ]
    )
    assert result.converged
    assert "captured" in str(result)
    assert ((found - truth).abs() < 4 * errors).all(), (found - truth) / errors


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", [likelihoods.StudentT("learned"), likelihoods.NegativeBinomial()])
def test_a_fit_ends_where_the_data_want_the_simpler_likelihood(likelihood):
    """Normal and Poisson are limits of the other two: in float32, where their textbook densities are noise there."""
    x = X.float().unsqueeze(1)
    with seeded(1):
        layer = bl.Linear(1, 1)
        normal = x.squeeze(1) + 0.3 * torch.randn(N)
        y = (
            normal
            if isinstance(likelihood, likelihoods.StudentT)
            else torch.poisson((x.squeeze(1) + 1).exp())
        )
    result = bl.fit(bl.BayesianModel(layer, likelihood), x, y, progress=False)
    values = {name: float(value) for name, value in result.posterior.sample(1).items() if value.numel() == 1}
    assert result.converged
    # What 200 rows cannot tell from the limit: kurtosis 0.5 +- 0.35, and rates that vary by 17 %.
    assert values["df"] > 15 if "df" in values else values["dispersion"] < 0.03
