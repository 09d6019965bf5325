"""A gap between the data: the predictions of a mean-field network, a Gaussian process and a deep one inside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

import bayesian_layers as bl
from _hashing import hash_of
from bayesian_layers.noise import seeded
from bayesian_layers.reporting.figures import METHOD_COLOURS, png
from bayesian_layers.reporting.page import Gallery, Picture, Section, Table
from bayesian_layers.reporting.scores import estimate

from .common import Example, column, figure

ROWS, NOISE, DRAWS = 60, 0.1, 1000
SEEDS = range(5)
GAP = (-0.35, 0.35)  # where standard deviations are averaged; all data are outside
DATA = (0.6, 1.4)  # distance of the data from 0
MEAN_FIELD, PROCESS, DEEP = "mean-field network", "GP layer", "deep GP"


def curve(x: Tensor) -> Tensor:
    """Return the noise-free target."""
    return torch.sin(3 * x) + 0.5 * x


def sample(seed: int) -> tuple[Tensor, Tensor]:
    """Draw data on both sides of the gap."""
    low, high = DATA
    with seeded(seed):
        side = torch.where(torch.arange(ROWS) % 2 == 0, 1.0, -1.0)
        x = side * (low + (high - low) * torch.rand(ROWS))
        return column(x), curve(x) + NOISE * torch.randn(ROWS)


def dense(_x: Tensor, seed: int) -> nn.Module:
    """Build the mean-field network, 1-10-1; with 50 units under this prior most units would be pruned."""
    with seeded(seed):
        return nn.Sequential(bl.Linear(1, 10), nn.ReLU(), bl.Linear(10, 1))


def process(x: Tensor, _seed: int) -> nn.Module:
    """Build the Gaussian process."""
    return bl.GaussianProcess.from_data(x, 1, num_inducing=15, num_frequencies=16)


def deep(x: Tensor, _seed: int) -> nn.Module:
    """Build the deep Gaussian process, of two layers."""
    return nn.Sequential(
        bl.GaussianProcess.from_data(x, 1, num_inducing=15, num_frequencies=16, mean="linear"),
        bl.GaussianProcess.from_data(x, 1, num_inducing=15, num_frequencies=16),
    )


NETWORKS: dict[str, Callable[[Tensor, int], nn.Module]] = {MEAN_FIELD: dense, PROCESS: process, DEEP: deep}


def run(quick: bool) -> Example:
    """Fit all three on each seed's data."""
    seeds = SEEDS[:1] if quick else SEEDS
    grid = column(torch.linspace(-2, 2, 161))
    inside = ((grid > GAP[0]) & (grid < GAP[1])).squeeze(1)
    found: dict[str, list[dict[str, np.ndarray]]] = {name: [] for name in NETWORKS}
    for seed in seeds:
        x, y = sample(seed)
        for name, build in NETWORKS.items():
            model = bl.BayesianModel(build(x, seed), bl.likelihoods.Normal(NOISE))
            options = {"max_steps": 20} if quick else {}
            posterior = bl.fit(model, x, y, seed=seed, progress=False, **options).posterior
            outputs = posterior.draws(grid, num_draws=20 if quick else DRAWS).f.squeeze(-1)
            near = posterior.predict(x, num_draws=20 if quick else DRAWS).epistemic_std
            found[name].append({
                "mean": outputs.mean(0).numpy(),
                "std": outputs.std(0).numpy(),
                "functions": outputs[:8].numpy(),
                "gap": outputs.std(0)[inside].mean().numpy(),
                "data": near.mean().numpy(),
            })  # fmt: skip
    return _example(found, tuple(seeds), grid.squeeze(1).numpy())


def _example(
    found: dict[str, list[dict[str, np.ndarray]]], seeds: tuple[int, ...], grid: np.ndarray
) -> Example:
    gaps = {name: np.array([each["gap"] for each in several]) for name, several in found.items()}
    ratios = {name: gaps[name] / gaps[MEAN_FIELD] for name in (PROCESS, DEEP)}
    summary = (
        *(
            (f"{name}:", f"its standard deviation in the gap is {estimate(ratios[name]).text(1)} times that of the "
             f"{MEAN_FIELD}; at least {ratios[name].min():.1f} times in each of {len(seeds)} data sets.")
            for name in ratios
        ),
        ("Why:", "a mean-field Normal over the weights of a network with one hidden layer cannot be sure on both "
         "sides and unsure in between (Foong et al. 2020, arXiv 1909.00719, prove this for rectified units), "
         "however long it is fitted. A posterior refined by HMC can, and so can a layer whose posterior is over "
         "functions."),
    )  # fmt: skip
    rows = tuple(
        (
            name,
            estimate(gaps[name]).text(3),
            estimate(np.array([each["data"] for each in several])).text(3),
            "" if name == MEAN_FIELD else estimate(ratios[name]).text(1),
        )
        for name, several in found.items()
    )
    table = Table(
        ("network", "std in the gap", "std at the data", "gap, relative to mean field"),
        rows,
        f"Standard deviation (std) of the noise-free function, in the units of y, averaged over {GAP[0]} to {GAP[1]} "
        f"and over the data. The noise has standard deviation {NOISE}. Means over the data sets ± their standard "
        "errors.",
    )
    x, y = sample(seeds[0])
    alt = "Three panels: data left and right of a gap, with the mean, a band and eight functions of each posterior."
    caption = (
        "The mean, a band of two standard deviations, eight functions of each posterior, and the noise-free target "
        "(dashed)."
    )
    picture = Picture(
        "gap", _picture(found, grid, x.squeeze(1).numpy(), y.numpy()), alt, caption, whole_row=True
    )
    return Example(
        title="Between the data",
        lead="There are data on the left and on the right, and none in the middle. How unsure is a posterior there?",
        summary=summary,
        sections=(Section("The gap", (Gallery((picture,)), table)),),
        metrics={"gap": gaps, "gap_over_mean_field": ratios},
        seeds=seeds,
        hashes={f"data of seed {seed}": hash_of(*(part.numpy() for part in sample(seed))) for seed in seeds},
    )


def _picture(
    found: dict[str, list[dict[str, np.ndarray]]], grid: np.ndarray, x: np.ndarray, y: np.ndarray
) -> bytes:
    canvas = figure(11, 3.8)
    panels = canvas.subplots(1, len(found), sharey=True)
    for panel, colour, (name, several) in zip(panels, METHOD_COLOURS, found.items(), strict=False):
        mean, std = several[0]["mean"], several[0]["std"]
        panel.axvspan(*GAP, color="#eeeeee", lw=0)
        panel.fill_between(grid, mean - 2 * std, mean + 2 * std, color=colour, alpha=0.2, lw=0)
        panel.plot(grid, several[0]["functions"].T, color=colour, lw=0.5, alpha=0.6)
        panel.plot(grid, mean, color=colour, lw=1.8)
        panel.plot(grid, curve(torch.from_numpy(grid)).numpy(), color="black", ls="--", lw=1)
        panel.plot(x, y, "k.", ms=3)
        panel.set(title=name, xlabel="x", ylim=(-4, 4), xlim=(grid[0], grid[-1]))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("y")
    return png(canvas)
