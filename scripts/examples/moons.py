"""Two moons: a density by RealNVP whose couplings are Bayesian, and what it does not know."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import bayesian_layers as bl
from bayesian_layers.noise import seeded
from bayesian_layers.reporting.figures import METHOD_COLOURS, png
from bayesian_layers.reporting.page import Gallery, Picture, Section
from bayesian_layers.reporting.provenance import hash_of

from .common import Example, figure

ROWS, UNSEEN, DRAWS = 400, 2000, 100


def moons(rows: int, seed: int) -> Tensor:
    """Draw points of two half circles, each as likely, with Normal noise of deviation 0.1; near unit scale.

    Args:
        rows: Number N.
        seed: Of the points.

    Returns:
        ``(N, 2)``.
    """
    with seeded(seed):
        angle = torch.pi * torch.rand(rows)
        lower = torch.rand(rows) < 0.5
        noise = 0.1 * torch.randn(rows, 2)
    x = torch.where(lower, 1 - angle.cos(), angle.cos())
    y = torch.where(lower, 0.5 - angle.sin(), angle.sin())
    return torch.stack([x - 0.5, 2 * (y - 0.25)], 1) + noise


def run(quick: bool) -> Example:
    """Fit the density, and a Normal beside it.

    Args:
        quick: Few steps.

    Returns:
        The example.
    """
    y, unseen = moons(ROWS, seed=0), moons(UNSEEN, seed=1)
    with seeded(0):
        flow = bl.RealNVP(2, hidden=(32,), layers=6, prior=bl.priors.Normal(scale="fan_in"))
    model = bl.BayesianModel(bl.NoContext(), bl.likelihoods.Flow(flow))
    result = bl.fit(model, torch.empty(ROWS, 0), y, seed=0, progress=False, max_steps=20 if quick else 6000)
    posterior = result.posterior
    draws = 4 if quick else DRAWS
    ours = log_densities(posterior, unseen, draws)
    normal = torch.distributions.MultivariateNormal(y.mean(0), y.T.cov()).log_prob(unseen)
    gain = ours[0] - normal
    error = float(gain.std() / len(gain) ** 0.5)
    mesh = _mesh(40 if quick else 120)
    log_p, spread = log_densities(posterior, mesh, draws)
    short = (
        ("Unseen points:", f"the flow gives {float(ours[0].mean()):.3f} nats a point, a Normal of full covariance "
         f"{float(normal.mean()):.3f}; difference {float(gain.mean()):+.3f} ± {error:.3f} ({UNSEEN} points)."),
        ("What it does not know:", "the deviation over functions of the posterior is large where there are no data: "
         "the density there is not zero for sure, it is unknown."),
        ("The fit:", str(result).splitlines()[1]),
    )  # fmt: skip
    side = int(len(mesh) ** 0.5)
    picture = _picture(log_p.reshape(side, side), spread.reshape(side, side), y)
    alt = (
        "Two maps of the plane: the mean density, which follows both moons, and its deviation over the draws."
    )
    caption = (
        f"Left: the predictive density, the mean over {draws} functions, with the {ROWS} data. Right: "
        "deviation of log density over the functions, in nats."
    )
    return Example(
        title="Two moons by RealNVP",
        lead="A density without a formula: a reversible network turns points into noise (Dinh et al. "
        "2017). Its couplings are "
        "Bayesian, so every density is a distribution over densities.",
        short=short,
        sections=(
            Section("The density", (Gallery((Picture("density", picture, alt, caption, whole_row=True),)),)),
        ),
        metrics={
            "unseen_log_density": {"flow": float(ours[0].mean()), "normal": float(normal.mean())},
            "gain": {"mean": float(gain.mean()), "error": error, "points": UNSEEN},
            "elbo": result.elbo,
            "converged": result.converged,
            "steps": result.steps,
        },
        seeds=(0, 1),
        hashes={"points": hash_of(y.numpy()), "unseen points": hash_of(unseen.numpy())},
    )


def log_densities(posterior: bl.Posterior, y: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    r"""Compute the log of the mean density over functions of the posterior, and the spread of log densities.

    Args:
        posterior: Of a density.
        y: Points, ``(N, 2)``.
        draws: Functions S.

    Returns:
        Nats, ``(N,)``, and a standard deviation over the functions, nats, ``(N,)``.
    """
    from bayesian_layers.model import log_likelihood

    each = log_likelihood(posterior.model, posterior.sample(draws), torch.empty(len(y), 0), y)
    return each.logsumexp(0) - torch.tensor(float(draws)).log(), each.std(0)


def _mesh(side: int) -> Tensor:
    axis = torch.linspace(-3, 3, side)
    return torch.cartesian_prod(axis, axis)


def _picture(log_p: Tensor, spread: Tensor, y: Tensor) -> bytes:
    canvas = figure(10, 4.6)
    left, right = canvas.subplots(1, 2)
    box: Any = (-3, 3, -3, 3)
    first = left.imshow(log_p.exp().T, origin="lower", extent=box, cmap="viridis")
    left.scatter(*y.T, s=3, color="white", alpha=0.5, linewidths=0)
    left.set_title("Predictive density", fontsize=11)
    canvas.colorbar(first, ax=left, label="density, 1 / area")
    second = right.imshow(spread.T, origin="lower", extent=box, cmap="magma", norm="log")
    right.scatter(*y.T, s=3, color=METHOD_COLOURS[2], alpha=0.6, linewidths=0)
    right.set_title("Deviation of log density over the posterior", fontsize=11)
    canvas.colorbar(second, ax=right, label="nats")
    return png(canvas)
