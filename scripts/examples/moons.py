"""Two moons: a density by RealNVP with Bayesian couplings, and its uncertainty."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

import bayesian_layers as bl
from _hashing import hash_of
from bayesian_layers.noise import seeded
from bayesian_layers.reporting.figures import METHOD_COLOURS, png
from bayesian_layers.reporting.page import Gallery, Picture, Section, Table
from bayesian_layers.reporting.scores import estimate

from .common import Example, figure

ROWS, UNSEEN, DRAWS = 1000, 2000, 100
SEEDS = (2, 3)  # of training and test points; flows and KL weight were chosen on seeds 0 and 1
KL_WEIGHT, STEPS = 0.1, 2500
EDGE = 2.5  # of the pictures, in all directions
NOISE = 0.1
TRUE = "the true density"
FLOW, FULL, SPLINE = f"RealNVP, KL weight {KL_WEIGHT}", "RealNVP, full KL", "neural spline, full KL"


def moons(rows: int, seed: int) -> Tensor:
    """Draw points (N, 2) of two half circles with Normal noise, near unit scale."""
    with seeded(seed):
        angle = torch.pi * torch.rand(rows)
        lower = torch.rand(rows) < 0.5
        noise = NOISE * torch.randn(rows, 2)
    return torch.where(lower[:, None], _arc(angle, lower=True), _arc(angle, lower=False)) + noise


def _arc(angle: Tensor, *, lower: bool) -> Tensor:
    x, y = (1 - angle.cos(), 0.5 - angle.sin()) if lower else (angle.cos(), angle.sin())
    return torch.stack([x - 0.5, 2 * (y - 0.25)], 1)


def true_log_density(y: Tensor) -> Tensor:
    """Compute the log density of ``moons`` at points (N, 2), by the midpoints of 2000 parts of the half circles."""
    angle = torch.pi * (torch.arange(1000) + 0.5) / 1000
    centres = torch.cat([_arc(angle, lower=True), _arc(angle, lower=False)])
    parts = torch.distributions.Normal(centres, NOISE).log_prob(y[:, None]).sum(-1)
    return parts.logsumexp(1) - math.log(len(centres))


def run(quick: bool) -> Example:
    """Fit the densities, and a Normal distribution for comparison."""
    y, unseen = (
        moons(rows // (20 if quick else 1), seed) for rows, seed in zip((ROWS, UNSEEN), SEEDS, strict=True)
    )
    draws, steps = (4, 20) if quick else (DRAWS, STEPS)
    fits = {name: fit(name, y, steps) for name in (FLOW, FULL, SPLINE)}
    scores = {
        TRUE: true_log_density(unseen),
        **{name: log_densities(result.posterior, unseen, draws)[0] for name, result in fits.items()},
        "Normal": torch.distributions.MultivariateNormal(y.mean(0), y.T.cov()).log_prob(unseen),
    }
    scores = {name: score.numpy() for name, score in scores.items()}
    gain = estimate(scores[FLOW] - scores["Normal"])
    return Example(
        title="Two moons by RealNVP",
        lead="A density without a formula: an invertible network maps points to noise (Dinh et al. 2017). Its "
        "couplings are Bayesian, so every draw of their weights is a density.",
        summary=_summary(scores),
        sections=(
            Section(
                "The density", (Gallery((_picture(fits[FLOW].posterior, y, draws, 40 if quick else 120),)),)
            ),
            Section("Comparison", (_table(scores, fits),)),
        ),
        metrics={
            "unseen_log_density": {name: float(score.mean()) for name, score in scores.items()},
            "gain": {"mean": gain.mean, "error": gain.error, "points": UNSEEN},
            "elbo": {name: result.elbo for name, result in fits.items()},
            "converged": {name: result.converged for name, result in fits.items()},
            "steps": {name: result.steps for name, result in fits.items()},
        },
        seeds=SEEDS,
        hashes={"points": hash_of(y.numpy()), "unseen points": hash_of(unseen.numpy())},
    )


def _summary(scores: dict[str, np.ndarray]) -> tuple[tuple[str, str], ...]:
    gain, full = (estimate(scores[name] - scores["Normal"]) for name in (FLOW, FULL))
    texts = {name: estimate(score).text(3) for name, score in scores.items()}
    return (
        ("Test points:", f"RealNVP reaches {texts[FLOW]} nats per point, which is {gain.text(3, sign=True)} more "
         f"than a Normal distribution of full covariance; the true density has {texts[TRUE]}."),
        ("Uncertainty:", "the draws of the density agree where there are points, and differ where there are none: "
         "there the density is not known to be zero, it is unknown."),
        ("A cold posterior:", f"the KL has weight {KL_WEIGHT}. With the full KL, a mean-field posterior of RealNVP "
         f"differs from the Normal by {full.text(3, sign=True)}, because the noise of its couplings multiplies. A "
         "neural spline works with the full KL."),
    )  # fmt: skip


def _table(scores: dict[str, np.ndarray], fits: dict[str, bl.FitResult]) -> Table:
    return Table(
        ("density", "nats per point", "more than the Normal", "ELBO", "the fit"),
        tuple(
            (
                name,
                estimate(score).text(3),
                "" if name == "Normal" else estimate(score - scores["Normal"]).text(3, sign=True),
                f"{fits[name].elbo:.0f}" if name in fits else "",
                _end(fits[name]) if name in fits else "",
            )
            for name, score in scores.items()
        ),
        f"Log density of {UNSEEN} test points, mean ± standard error: higher is better. Each fit used {ROWS} points "
        f"and at most {STEPS} steps. The ELBO is at KL weight 1.",
    )


def _picture(posterior: bl.Posterior, y: Tensor, draws: int, side: int) -> Picture:
    mesh = _mesh(side)
    log_p, spread = log_densities(posterior, mesh, draws)
    return Picture(
        "density",
        _maps(true_log_density(mesh), log_p, spread, y),
        "Three maps of the plane: the true density, the density of the flow, and its standard deviation over draws.",
        f"The true density; the predictive density (the mean over {draws} functions of the posterior) with the {ROWS} "
        "points; and the standard deviation of the log density over the functions, in nats (100 and more have the same "
        "colour).",
        whole_row=True,
    )


def fit(name: str, y: Tensor, steps: int) -> bl.FitResult:
    """Fit one of the densities."""
    with seeded(0):
        if name == SPLINE:
            flow = bl.NeuralSpline(2, hidden=(16,), layers=2)
        else:
            flow = bl.RealNVP(2, hidden=(32,), layers=6, prior=bl.priors.Normal(scale="fan_in"))
    model = bl.BayesianModel(bl.NoContext(), bl.likelihoods.Flow(flow))
    weight = KL_WEIGHT if name == FLOW else 1.0
    return bl.fit(model, torch.empty(len(y), 0), y, kl_weight=weight, seed=0, progress=False, max_steps=steps)


def _end(result: bl.FitResult) -> str:
    state = "converged" if result.converged else "not converged"
    return f"{state} after {result.steps} steps"


def log_densities(posterior: bl.Posterior, y: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """Compute the log of the mean density over functions of the posterior, and the std of the log densities."""
    from bayesian_layers.model import log_likelihood

    each = log_likelihood(posterior.model, posterior.sample(draws), torch.empty(len(y), 0), y)
    return each.logsumexp(0) - torch.tensor(float(draws)).log(), each.std(0)


def _mesh(side: int) -> Tensor:
    axis = torch.linspace(-EDGE, EDGE, side)
    return torch.cartesian_prod(axis, axis)


def _maps(true: Tensor, log_p: Tensor, spread: Tensor, y: Tensor) -> bytes:
    canvas = figure(12, 3.7)
    panels = canvas.subplots(1, 3)
    box: Any = (-EDGE, EDGE, -EDGE, EDGE)
    side = int(len(true) ** 0.5)
    most = float(true.exp().max())
    for panel, log_density, title in zip(
        panels, (true, log_p), ("Density of the points", "Predictive density"), strict=False
    ):
        shown = log_density.exp().reshape(side, side).T
        drawn = panel.imshow(shown, origin="lower", extent=box, cmap="viridis", vmin=0, vmax=most)
        panel.set_title(title, fontsize=11)
        canvas.colorbar(drawn, ax=panel, label="1 / area")
    panels[1].scatter(*y.T, s=2, color="white", alpha=0.35, linewidths=0)
    shown = spread.reshape(side, side).T.clamp(max=100)
    drawn = panels[2].imshow(shown, origin="lower", extent=box, cmap="magma", norm="log")
    panels[2].scatter(*y.T, s=2, color=METHOD_COLOURS[2], alpha=0.6, linewidths=0)
    panels[2].set_title("Standard deviation of the log density", fontsize=11)
    canvas.colorbar(drawn, ax=panels[2], label="nats")
    return png(canvas)
