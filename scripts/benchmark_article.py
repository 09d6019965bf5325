#!/usr/bin/env python3
"""Measure the results of the default fit on the article's task over several seeds, in about a quarter of an hour.

Three parts: the article's recipe (test scores, map of the standard deviation), the ELBO of N(0, 1) on all 41 weights
and biases, and Pyro's Predictive compared with posterior.predict. With --reference, maps of the same recipe made
elsewhere (an .npz with `std` of shape (seeds, 2500) on the article's mesh) are compared too.
"""

import argparse
from pathlib import Path

from _environment import ensure

ensure("report")

import numpy as np
import torch
from pyro.infer import Predictive

import bayesian_layers as bl
from article.methods import article_recipe, mesh, near_and_far, normal_prior
from bayesian_layers.fitting.evaluation import estimate_elbo
from bayesian_layers.noise import seeded

X, Y = bl.datasets.parabola()
TEST = bl.datasets.parabola(20_000, seed=4243)


def measure_recipe(seeds: int, reference: Path | None) -> None:
    """Print the scores and the map of the standard deviation of the article's recipe, one line per seed."""
    print(
        "\nthe article's recipe: scores on 20,000 test rows, standard deviation near the parabola and far from it"
    )
    points = torch.from_numpy(mesh())
    known = None if reference is None else np.load(reference, allow_pickle=False)["std"].mean(0)
    rows = []
    for seed in range(seeds):
        model, options = article_recipe(seed)
        result = bl.fit(model, X, Y, seed=seed, progress=False, **options)
        p = result.posterior.predict(TEST.x).mean
        std = result.posterior.predict(points).epistemic_std.numpy()
        near, far = near_and_far(std)
        row = [bl.metrics.accuracy(TEST.y, p), bl.metrics.nll(TEST.y, p), near, far, near / far]
        row += [] if known is None else [float(np.corrcoef(std, known)[0, 1])]
        rows.append(row)
        print(f"seed {seed}: " + show(row) + f"  {result.seconds:.1f} s", flush=True)
    print(f"mean:   {show(np.mean(rows, axis=0))}")


def show(row: list[float] | np.ndarray) -> str:
    """Format a row of numbers."""
    names = ("accuracy", "NLL", "near", "far", "near/far", "correlation with the reference")
    return "  ".join(f"{name} {value:.4f}" for name, value in zip(names, row, strict=False))


def measure_elbo(seeds: int) -> None:
    """Print the ELBO of the default fit, on 100,000 new draws, one line per seed."""
    print("\nN(0, 1) on all 41, default fit: ELBO on 100,000 new draws")
    values = []
    for seed in range(seeds):
        model, options = normal_prior(seed)
        result = bl.fit(model, X, Y, seed=seed, progress=False, **options)
        posterior = result.posterior
        parts = [
            estimate_elbo(posterior.model, posterior.source, X, Y, num_draws=25_000, seed=1000 + i)
            for i in range(4)
        ]
        values.append(np.mean([elbo for elbo, _ in parts]))
        error = parts[0][1] / 2
        print(f"seed {seed}: ELBO {values[-1]:.3f} +- {error:.3f}  {result.seconds:.1f} s", flush=True)
    print(f"worst {min(values):.3f}, median {np.median(values):.3f}, best {max(values):.3f}")


def measure_predictive(pairs: int = 20) -> None:
    """Print the difference between Pyro's Predictive and posterior.predict, in Monte Carlo standard errors."""
    # The rows of one pair share their draws of the weights, so their differences are correlated; several pairs are
    # needed. If both agree, the root mean square is near 1.
    model, options = normal_prior(0)
    guide = bl.guides.MeanFieldNormal(model)
    posterior = bl.fit(model, X, Y, guide=guide, progress=False, **options).posterior
    theirs, ours = [], []
    for seed in range(pairs):
        with seeded(seed):
            drawn = Predictive(model, guide=guide, num_samples=1000, parallel=True)(X)
        theirs.append(torch.sigmoid(drawn["f"].squeeze(-1)))
        ours.append(posterior.predict(X, num_draws=1000, seed=seed))
    pooled = torch.cat(theirs)
    variance, fourth = pooled.var(0), ((pooled - pooled.mean(0)) ** 4).mean(0)
    # of the difference of two estimates from 1000 draws each; for the standard deviation by the delta method
    errors = (2 * variance / 1000).sqrt(), ((fourth / variance - variance) / 2000).sqrt()
    z_mean = torch.stack([p.mean(0) - q.mean for p, q in zip(theirs, ours, strict=True)]) / errors[0]
    z_std = torch.stack([p.std(0) - q.epistemic_std for p, q in zip(theirs, ours, strict=True)]) / errors[1]
    print(
        f"\nPyro's Predictive and posterior.predict, {pairs} pairs of 1000 draws, 200 rows: differences in standard "
        "errors"
    )
    for name, z in (("mean", z_mean), ("standard deviation", z_std)):
        print(f"{name}: root mean square {z.square().mean().sqrt():.2f}, largest {z.abs().max():.2f}")


def main() -> None:
    """Run the parts that are selected on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe-seeds", type=int, default=5, help="0 skips this part (%(default)s)")
    parser.add_argument("--elbo-seeds", type=int, default=20, help="0 skips this part (%(default)s)")
    parser.add_argument("--reference", type=Path, help=".npz with `std`, (seeds, 2500)")
    arguments = parser.parse_args()
    if arguments.recipe_seeds:
        measure_recipe(arguments.recipe_seeds, arguments.reference)
    if arguments.elbo_seeds:
        measure_elbo(arguments.elbo_seeds)
    measure_predictive()


if __name__ == "__main__":
    main()
