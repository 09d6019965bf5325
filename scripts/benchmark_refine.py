#!/usr/bin/env python3
"""Refine the article's posterior, and compare it with long chains of NUTS.

N(0, 1) on all 41 weights and biases, fitted by `bl.fit` at its defaults, then refined for some seconds with 1000
chains. `--reference` is an .npz file with the results of NUTS: `mesh` (M, 2), and `mean` and `std` of P(label = 1)
there, (M,). Without it, only figures about the chains are written. Writes refine.md and refine.json.
"""

from __future__ import annotations

import statistics
import warnings
from pathlib import Path
from typing import Any

from _environment import ensure

ensure()

import numpy as np
import torch
from torch import nn

import bayesian_layers as bl
from _benchmarking import Record, benchmark_parser, listed_versions, record_head, write_results
from bayesian_layers.noise import seeded

OFF, RATIO = 0.006, 0.05  # largest distance of the mean map from NUTS, largest relative error of the mean std
FIGURES = (
    "off",
    "ratio",
    "iterations",
    "seconds",
    "acceptance",
    "rhat",
    "weights_rhat",
    "effective_sample_size",
)


def mesh() -> np.ndarray:
    """Return the mesh that is used without a reference."""
    grid = np.meshgrid(np.linspace(-1, 1), -np.linspace(-1, 1))
    return np.stack([each.ravel() for each in grid], axis=1).astype(np.float32)


def fitted(seed: int) -> bl.Posterior:
    """Fit the article's network with the prior N(0, 1)."""
    with seeded(seed):
        network = nn.Sequential(bl.Linear(2, 10), nn.Tanh(), bl.Linear(10, 1))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    return bl.fit(model, *bl.datasets.parabola(), seed=seed, progress=False).posterior


def compare(posterior: bl.Posterior, reference: dict[str, np.ndarray], seed: int) -> Record:
    """Compare the maps of 1000 draws with the reference."""
    prediction = posterior.predict(torch.from_numpy(reference["mesh"]), 1000, seed)
    std = float(prediction.epistemic_std.mean())
    if "mean" not in reference:
        return {"deviation": std, "off": None, "ratio": None}
    off = float(np.abs(prediction.mean.numpy() - reference["mean"]).mean())
    return {"deviation": std, "off": off, "ratio": std / float(reference["std"].mean())}


def measure(seed: int, seconds: float, chains: int, reference: dict[str, np.ndarray]) -> Record:
    """Fit, refine and compare."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the record contains the warnings
        posterior = fitted(seed)
        refined = posterior.refine(
            *bl.datasets.parabola(), seconds=seconds, num_chains=chains, seed=seed, progress=False
        )
    record: Any = refined.refinement
    return {
        "seed": seed,
        "before": compare(posterior, reference, seed),
        "after": compare(refined, reference, seed) | record.spec(),
    }


def met(row: Record) -> bool:
    """Check whether a refinement is as close to NUTS as it should be."""
    return row["after"]["off"] <= OFF and abs(row["after"]["ratio"] - 1) <= RATIO


def outcome(rows: list[Record]) -> str:
    """Count the seeds that are as close as they should be."""
    return f"{sum(map(met, rows))} of {len(rows)} seeds are within {OFF} and {100 * RATIO:.0f} %."


def page(record: Record) -> str:
    """Return the report as Markdown."""
    rows = record["rows"]
    lines = [
        "# From mean field to the exact posterior",
        "",
        f"Made by `{record['command']}` on {record['date']}, {record['threads']} threads. The article's task, "
        f"N(0, 1) on all 41 weights and biases; {record['chains']} chains, {record['seconds']:g} s. Off: mean absolute "
        "difference of the mean map from that of NUTS on the 50 x 50 mesh; ratio: mean standard deviation relative "
        "to that of NUTS. "
        + (outcome(rows) if rows[0]["after"]["off"] is not None else "No reference was given."),
        "",
        "| seed | mean field: off | ratio | refined: off | ratio | iterations | seconds | acceptance | nested R-hat | "
        "of single weights | ESS |",
        "|" + "---|" * 11,
        *(line(str(row["seed"]), [row]) for row in rows),
        line("mean", rows),
    ]
    return "\n".join([*lines, "", f"Versions: {listed_versions(record)}."]) + "\n"


def line(name: str, rows: list[Record]) -> str:
    """Return the means over some rows as a line of the table."""
    columns = [("before", "off"), ("before", "ratio"), *(("after", figure) for figure in FIGURES)]
    cells = []
    for (when, figure), digits in zip(columns, (4, 3, 4, 3, 0, 2, 2, 3, 3, 0), strict=True):
        values = [row[when][figure] for row in rows]
        cells.append("-" if None in values else f"{statistics.fmean(values):.{digits}f}")
    return f"| {name} | {' | '.join(cells)} |"


def main(arguments: list[str] | None = None) -> int:
    """Refine under every seed, write the report, and return the exit status."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--reference", type=Path, help=".npz file with the results of NUTS")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    reference = {"mesh": mesh()}
    if options.reference is not None:
        with np.load(options.reference, allow_pickle=False) as stored:
            reference = {name: stored[name] for name in ("mesh", "mean", "std")}
    options_text = f"--seeds {options.seeds} --seconds {options.seconds:g} --chains {options.chains}"
    options_text += " --reference NUTS" if options.reference is not None else ""
    record: Record = {
        **record_head(f"scripts/benchmark_refine.py {options_text} --threads {options.threads}"),
        "threads": options.threads,
        "chains": options.chains,
        "seconds": options.seconds,
        "rows": [measure(seed, options.seconds, options.chains, reference) for seed in range(options.seeds)],
    }
    write_results(options.output, "refine", record, page(record))
    print(page(record))
    return int(options.reference is not None and not all(map(met, record["rows"])))


if __name__ == "__main__":
    raise SystemExit(main())
