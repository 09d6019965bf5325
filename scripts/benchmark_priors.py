#!/usr/bin/env python3
"""Compare priors for the library's default: ELBO and cross-validated log likelihood, on training rows alone.

The article's data and network, and the four UCI sets with the configuration of scripts/benchmark_quality.py, of
which the test rows of the first split are left out and at most so many rows are taken as `--rows` says. For each
prior a fit on all these rows gives the ELBO; fits without a fold each give the log likelihood of the fold. Results
are written line by line to priors.jsonl, and a run that is started again goes on; then priors.md and priors.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

from _environment import ROOT, ensure

ensure()

import numpy as np
import torch
from torch import nn

import bayesian_layers as bl
import benchmark_quality as quality
from bayesian_layers.model import log_likelihood
from bayesian_layers.noise import seeded
from bayesian_layers.saving.versions import versions

Record = dict[str, Any]

CANDIDATES = ("normal:1", "normal:2", "fan_in", "learned", "hierarchical")
TASKS = ("article", *quality.FILES)


def rows_of(task: str, folder: Path, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the training rows of a task."""
    if task == "article":
        x, y = bl.datasets.parabola()
        return x.numpy(), y.numpy()
    x, y, masks = quality.load(folder, task)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(~masks[0]))[:most]
    return x[chosen], y[chosen]


def build(task: str, inputs: int, prior: str, seed: int) -> bl.BayesianModel:
    """Build the model of a task."""
    if task != "article":
        return quality.build(inputs, prior, seed)
    of_layers = quality.parse_prior(prior)
    with seeded(seed):
        network = nn.Sequential(
            bl.Linear(inputs, 10, prior=of_layers), nn.Tanh(), bl.Linear(10, 1, prior=of_layers)
        )
    return bl.BayesianModel(network, bl.likelihoods.Bernoulli())


def scale(task: str, train: np.ndarray, other: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Standardize by the training rows, but for the article's data, which are what they are."""
    if task == "article":
        return torch.as_tensor(train), torch.as_tensor(other), 0.0
    (one, two), _, deviation = quality.standardize(train, other)
    return one, two, float(np.log(deviation)) if deviation.ndim == 0 else 0.0


def fit_and_judge(
    task: str,
    prior: str,
    train: tuple[np.ndarray, np.ndarray],
    held: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> Record:
    """Fit on some rows, and judge on others."""
    x, x_held, _ = scale(task, train[0], held[0])
    y, y_held, log_deviation = scale(task, train[1], held[1])
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bl.errors.FitWarning)  # `converged` says it
        result = bl.fit(build(task, x.shape[1], prior, seed), x, y, seed=seed, progress=False)
    posterior = result.posterior
    row = {"elbo": result.elbo, "converged": result.converged, "seconds": time.perf_counter() - start}
    if len(y_held):
        log_p = log_likelihood(posterior.model, posterior.sample(quality.DRAWS), x_held, y_held)
        row["log_likelihood"] = (
            float((log_p.double().logsumexp(0) - math.log(len(log_p))).mean()) - log_deviation
        )
    return row


def measure(task: str, prior: str, fold: int, options: argparse.Namespace) -> Record:
    """Fit without one fold, or for fold -1 with all rows."""
    x, y = rows_of(task, options.data, options.rows)
    folds = np.random.default_rng(1).permutation(len(y)) % options.folds
    out = folds == fold
    return fit_and_judge(task, prior, (x[~out], y[~out]), (x[out], y[out]), seed=fold + 1)


def page(record: Record) -> str:
    """Write the report."""
    lines = [
        "# Priors for the default",
        "",
        f"Made by `{record['command']}` on {record['date']}. No test row of the UCI splits was seen.",
    ]
    for title, key, digits in (
        ("ELBO on all training rows, nats of the standardized targets", "elbo", 1),
        (
            f"Log likelihood of {record['folds']} held-out folds, nats a row in the units of y",
            "log_likelihood",
            3,
        ),
    ):
        lines += ["", f"## {title}", "", f"| prior | {' | '.join(TASKS)} |", "|---|" + "---|" * len(TASKS)]
        for prior in CANDIDATES:
            cells = [cell(record["rows"], task, prior, key, digits) for task in TASKS]
            lines.append(f"| {prior} | {' | '.join(cells)} |")
    named = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines += ["", f"In brackets: fits of these that said they had not converged. Versions: {named}."]
    return "\n".join(lines) + "\n"


def cell(rows: list[Record], task: str, prior: str, key: str, digits: int) -> str:
    """Put one prior's scores on one task in words."""
    wanted = [
        r for r in rows if (r["task"], r["prior"]) == (task, prior) and (r["fold"] < 0) == (key == "elbo")
    ]
    if not wanted:
        return ""
    flagged = sum(not row["converged"] for row in wanted)
    return f"{statistics.fmean(row[key] for row in wanted):.{digits}f}" + (f" ({flagged})" if flagged else "")


def main(words: list[str] | None = None) -> None:
    """Measure what is not measured yet, and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with one .npz a UCI set")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1500, help="of a set, at most")
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "benchmarks")
    options = parser.parse_args(words)
    options.output.mkdir(parents=True, exist_ok=True)
    path, code = options.output / "priors.jsonl", quality.code_hash()
    known = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    setting = {"folds": options.folds, "rows": options.rows, "code": code}
    rows = [row for row in known if row.items() >= setting.items()]
    for fold in range(-1, options.folds):
        for task in TASKS:
            for prior in CANDIDATES:
                key = {"task": task, "prior": prior, "fold": fold}
                if any(row.items() >= key.items() for row in rows):
                    continue
                rows.append({**key, **measure(task, prior, fold, options), **setting})
                quality.append(path, rows[-1])
                print(json.dumps(rows[-1]), flush=True)
    record = {
        "command": f"scripts/benchmark_priors.py --data DATA --folds {options.folds} --rows {options.rows}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions(),
        **setting,
        "rows": rows,
    }
    (options.output / "priors.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.output / "priors.md").write_text(page(record), encoding="utf-8")
    print(page(record))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
