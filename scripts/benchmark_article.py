#!/usr/bin/env python3
"""Measure what the default fit reaches on the article's task, over seeds: a quarter of an hour.

Three parts: the article's recipe (test scores, deviation map), the ELBO of N(0, 1) on all 41 weights and biases,
and Pyro's own Predictive beside posterior.predict. With --reference, maps of the same recipe made elsewhere
(an .npz with `std` of shape (seeds, 2500) on the article's mesh) are compared too.
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
    """Print scores and the deviation map of the article's recipe, one line a seed."""
    print("\nthe article's recipe: scores on 20,000 test rows, deviation near and far of the parabola")
    points = torch.from_numpy(mesh())
    known = None if reference is None else np.load(reference, allow_pickle=False)["std"].mean(0)
    rows = []
    for seed in range(seeds):
        model, options = article_recipe(seed)
        result = bl.fit(model, X, Y, seed=seed, progress=False, **options)
        p = result.posterior.predict(TEST.x).mean
        deviation = result.posterior.predict(points).epistemic_std.numpy()
        near, far = near_and_far(deviation)
        row = [bl.metrics.accuracy(TEST.y, p), bl.metrics.nll(TEST.y, p), near, far, near / far]
        row += [] if known is None else [float(np.corrcoef(deviation, known)[0, 1])]
        rows.append(row)
        print(f"seed {seed}: " + show(row) + f"  {result.seconds:.1f} s", flush=True)
    print(f"mean:   {show(np.mean(rows, axis=0))}")


def show(row: list[float] | np.ndarray) -> str:
    """Put a row of numbers in words."""
    names = ("accuracy", "NLL", "near", "far", "near/far", "correlation with the reference")
    return "  ".join(f"{name} {value:.4f}" for name, value in zip(names, row, strict=False))


def measure_elbo(seeds: int) -> None:
    """Print the ELBO of the default fit, on 100,000 fresh draws, one line a seed."""
    print("\nN(0, 1) on all 41, default fit: ELBO on 100,000 fresh draws")
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
    """Print how far Pyro's Predictive and posterior.predict are apart, in Monte Carlo standard errors."""
    # The rows of one pair share their draws of the weights and move together, so there are several pairs: alike means a
    # root mean square near 1.
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
    # of a difference of two estimates of 1000 draws each; that of a deviation by the delta method
    errors = (2 * variance / 1000).sqrt(), ((fourth / variance - variance) / 2000).sqrt()
    z_mean = torch.stack([p.mean(0) - q.mean for p, q in zip(theirs, ours, strict=True)]) / errors[0]
    z_std = torch.stack([p.std(0) - q.epistemic_std for p, q in zip(theirs, ours, strict=True)]) / errors[1]
    print(
        f"\nPyro's Predictive beside posterior.predict, {pairs} pairs of 1000 draws, 200 rows: in standard errors"
    )
    for name, z in (("mean", z_mean), ("deviation", z_std)):
        print(f"{name}: root mean square {z.square().mean().sqrt():.2f}, largest {z.abs().max():.2f}")


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe-seeds", type=int, default=5, help="0 leaves the part out")
    parser.add_argument("--elbo-seeds", type=int, default=20, help="0 leaves the part out")
    parser.add_argument("--reference", type=Path, help=".npz with `std`, (seeds, 2500)")
    arguments = parser.parse_args()
    if arguments.recipe_seeds:
        measure_recipe(arguments.recipe_seeds, arguments.reference)
    if arguments.elbo_seeds:
        measure_elbo(arguments.elbo_seeds)
    measure_predictive()


if __name__ == "__main__":
    main()
