#!/usr/bin/env python3
"""Refine the article's posterior, and compare it with long chains of NUTS.

N(0, 1) on all 41 weights and biases, fitted by `bl.fit` as it comes, then refined for some seconds with 1000 chains.
`--reference` names an .npz file with NUTS' answer: `mesh` (M, 2), and `mean` and `std` of P(label = 1) there, (M,).
Without it only the chains' own figures are written. Writes refine.md and refine.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import warnings
from pathlib import Path
from typing import Any

from _environment import ROOT, ensure

ensure()

import numpy as np
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded
from bayesian_layers.saving.versions import versions

Record = dict[str, Any]

OFF, RATIO = 0.006, 0.05  # of the mean map, and of the mean deviation over NUTS'
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
    """Give the mesh that is answered for where there is no reference."""
    grid = np.meshgrid(np.linspace(-1, 1), -np.linspace(-1, 1))
    return np.stack([each.ravel() for each in grid], axis=1).astype(np.float32)


def fitted(seed: int) -> bl.Posterior:
    """Fit the article's network with the prior N(0, 1)."""
    with seeded(seed):
        network = nn.Sequential(bl.Linear(2, 10), nn.Tanh(), bl.Linear(10, 1))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    return bl.fit(model, *bl.datasets.parabola(), seed=seed, progress=False).posterior


def compare(posterior: bl.Posterior, reference: dict[str, np.ndarray], seed: int) -> Record:
    """Compare the maps of 1000 draws."""
    answer = posterior.predict(torch.from_numpy(reference["mesh"]), 1000, seed)
    deviation = float(answer.epistemic_std.mean())
    if "mean" not in reference:
        return {"deviation": deviation, "off": None, "ratio": None}
    off = float(np.abs(answer.mean.numpy() - reference["mean"]).mean())
    return {"deviation": deviation, "off": off, "ratio": deviation / float(reference["std"].mean())}


def measure(seed: int, seconds: float, chains: int, reference: dict[str, np.ndarray]) -> Record:
    """Fit, refine and compare."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is said is in the record too
        posterior = fitted(seed)
        refined = posterior.refine(
            *bl.datasets.parabola(), seconds=seconds, num_chains=chains, seed=seed, progress=False
        )
    record: Any = refined.refinement
    return {
        "seed": seed,
        "before": compare(posterior, reference, seed),
        "after": compare(refined, reference, seed) | record.to_document(),
    }


def met(row: Record) -> bool:
    """Tell whether a refinement is as near to NUTS as it should be."""
    return row["after"]["off"] <= OFF and abs(row["after"]["ratio"] - 1) <= RATIO


def outcome(rows: list[Record]) -> str:
    """Count the seeds that are as near as they should be."""
    return f"{sum(map(met, rows))} of {len(rows)} seeds are within {OFF} and {100 * RATIO:.0f} %."


def page(record: Record) -> str:
    """Write the report."""
    rows = record["rows"]
    named = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [
        "# From the mean field to the true posterior",
        "",
        f"Made by `{record['command']}` on {record['date']}, {record['threads']} threads. The article's task, "
        f"N(0, 1) on all 41 weights and biases; {record['chains']} chains, {record['seconds']:g} s. Off: mean absolute "
        "difference of the mean map on the 50 x 50 mesh from NUTS'; ratio: mean deviation over NUTS'. "
        + (outcome(rows) if rows[0]["after"]["off"] is not None else "No reference was given."),
        "",
        "| seed | mean field: off | ratio | refined: off | ratio | iterations | seconds | acceptance | nested R-hat | "
        "of single weights | ESS |",
        "|" + "---|" * 11,
        *(line(str(row["seed"]), [row]) for row in rows),
        line("mean", rows),
    ]
    return "\n".join([*lines, "", f"Versions: {named}."]) + "\n"


def line(name: str, rows: list[Record]) -> str:
    """Average some rows."""
    columns = [("before", "off"), ("before", "ratio"), *(("after", figure) for figure in FIGURES)]
    cells = []
    for (when, figure), digits in zip(columns, (4, 3, 4, 3, 0, 2, 2, 3, 3, 0), strict=True):
        values = [row[when][figure] for row in rows]
        cells.append("-" if None in values else f"{statistics.fmean(values):.{digits}f}")
    return f"| {name} | {' | '.join(cells)} |"


def main(words: list[str] | None = None) -> int:
    """Refine under every seed and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reference", type=Path, help="NUTS' answer, an .npz file")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "benchmarks")
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    reference = {"mesh": mesh()}
    if options.reference is not None:
        with np.load(options.reference, allow_pickle=False) as stored:
            reference = {name: stored[name] for name in ("mesh", "mean", "std")}
    told = f"--seeds {options.seeds} --seconds {options.seconds:g} --chains {options.chains}"
    told += " --reference NUTS" if options.reference is not None else ""
    record: Record = {
        "command": f"scripts/benchmark_refine.py {told} --threads {options.threads}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions(),
        "threads": options.threads,
        "chains": options.chains,
        "seconds": options.seconds,
        "rows": [measure(seed, options.seconds, options.chains, reference) for seed in range(options.seeds)],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "refine.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.output / "refine.md").write_text(page(record), encoding="utf-8")
    print(page(record))
    return int(options.reference is not None and not all(map(met, record["rows"])))


if __name__ == "__main__":
    raise SystemExit(main())
