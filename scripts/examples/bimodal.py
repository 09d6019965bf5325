"""A target with two branches: a Normal likelihood, and a mixture of logistics whose weights the network predicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import bayesian_layers as bl
from _hashing import hash_of
from bayesian_layers.likelihoods import Likelihood
from bayesian_layers.noise import seeded
from bayesian_layers.reporting.figures import METHOD_COLOURS, png
from bayesian_layers.reporting.page import Gallery, Picture, Section

from .common import Example, column, figure

ROWS, UNSEEN, DRAWS = 1000, 2000, 200
SEEDS = (2, 3)  # of training and test data; network and prior were chosen on seeds 0 and 1
LEAD = (
    "Where one input has two typical targets, their mean is neither of them. With a mixture likelihood the network "
    "predicts weights, means and scales (Salimans et al. 2017), and the posterior is over all of them."
)
OUTPUTS = {"Normal": 1, "mixture of logistics": 6}
LIKELIHOODS: dict[str, Likelihood] = {
    "Normal": bl.likelihoods.Normal("learned"),
    "mixture of logistics": bl.likelihoods.MixtureOfLogistics(2),
}


def sample(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw from two branches that are equally likely and separate as x increases."""
    with seeded(seed):
        x = 4 * torch.rand(rows) - 2
        branch = torch.where(torch.rand(rows) < 0.5, 1.0, -1.0)
        noise = 0.1 * torch.randn(rows)
    return column(x), 0.4 * torch.sin(2 * x) + branch * (0.4 + 0.3 * x).clamp(min=0) + noise


def run(quick: bool) -> Example:
    """Fit the same network with both likelihoods."""
    (x, y), unseen = (
        sample(rows // (20 if quick else 1), seed) for rows, seed in zip((ROWS, UNSEEN), SEEDS, strict=True)
    )
    draws = 4 if quick else DRAWS
    grid, levels = torch.linspace(-2, 2, 40 if quick else 121), torch.linspace(-2, 2, 40 if quick else 121)
    nats, maps, summary = {}, {}, []
    for name, likelihood in LIKELIHOODS.items():
        with seeded(0):
            prior = bl.priors.Normal(scale="learned")
            network = nn.Sequential(
                bl.Linear(1, 30, prior=prior), nn.Tanh(), bl.Linear(30, OUTPUTS[name], prior=prior)
            )
        model = bl.BayesianModel(network, likelihood)
        options = {"max_steps": 20} if quick else {}
        result = bl.fit(model, x, y, seed=0, progress=False, **options)
        nats[name] = bl.predictive.log_prob(result.posterior.draws(unseen[0], num_draws=draws), unseen[1])
        maps[name] = _density(result.posterior, grid, levels, draws)
        summary.append(
            (
                f"{name}:",
                f"{float(nats[name].mean()):.3f} nats per test row. The fit: {str(result).splitlines()[1]}.",
            )
        )
    gain = nats["mixture of logistics"] - nats["Normal"]
    error = float(gain.std() / len(gain) ** 0.5)
    summary.append(("Difference:", f"{float(gain.mean()):+.3f} ± {error:.3f} nats per row ({UNSEEN} rows)."))
    alt = "Two maps of the predictive density over x and y: one broad band, and two branches that separate."
    caption = (
        "Predictive density p(y | x), the mean over the posterior, with the data. Both have the same hidden layer "
        "of 30 units and the same priors."
    )
    return Example(
        title="Two branches by a mixture of logistics",
        lead=LEAD,
        summary=tuple(summary),
        sections=(
            Section(
                "Predictive densities",
                (Gallery((Picture("density", _picture(maps, x, y), alt, caption, whole_row=True),)),),
            ),
        ),
        metrics={
            "unseen_nats_a_row": {name: float(each.mean()) for name, each in nats.items()},
            "gain": {"mean": float(gain.mean()), "error": error, "rows": UNSEEN},
        },
        seeds=SEEDS,
        hashes={
            "data": hash_of(x.numpy(), y.numpy()),
            "unseen data": hash_of(*(part.numpy() for part in unseen)),
        },
    )


def _density(posterior: bl.Posterior, grid: Tensor, levels: Tensor, draws: int) -> Tensor:
    """Compute the predictive density at each pair of an input and a target, (targets, inputs)."""
    outputs = posterior.draws(column(grid), num_draws=draws)
    rows = [bl.predictive.log_prob(outputs, level.expand(len(grid))) for level in levels]
    return torch.stack(rows).exp()


def _picture(maps: dict[str, Tensor], x: Tensor, y: Tensor) -> bytes:
    canvas = figure(10, 4.4)
    panels = canvas.subplots(1, 2, sharey=True)
    largest = max(float(each.max()) for each in maps.values())
    for panel, (name, each) in zip(panels, maps.items(), strict=True):
        shown = panel.imshow(
            each, origin="lower", extent=(-2, 2, -2, 2), cmap="viridis", vmin=0, vmax=largest, aspect="auto"
        )
        panel.plot(x, y, ".", color=METHOD_COLOURS[1], ms=2, alpha=0.7)
        panel.set(title=name, xlabel="x", xlim=(-2, 2), ylim=(-2, 2))
    panels[0].set_ylabel("y")
    canvas.colorbar(shown, ax=panels, label="density, 1 / unit of y")
    return png(canvas)
