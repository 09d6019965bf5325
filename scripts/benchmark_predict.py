#!/usr/bin/env python3
"""Measure posterior.predict: its speed relative to torch.tanh, and its memory for many rows.

The mesh: 1000 draws of the article's network, 2-10-1, on 50 x 50 points with one thread, compared with `torch.tanh` of
the 25 million numbers that its hidden layer computes, in turns in one process; the target is a ratio of 2.5. Rows:
100,000 and 1,000,000 rows and 1000 draws, each in a fresh process that loads the posterior from its folder. The peak
of memory above the initial memory, without the returned arrays, must be at most 400 MiB for both, and the throughput at
least 0.8 times that of the mesh. Writes predict.md and predict.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _environment import ensure

ensure()

import torch
from torch import nn

import bayesian_layers as bl
from _benchmarking import Record, benchmark_parser, listed_versions, record_head, write_results
from bayesian_layers.noise import seeded

DRAWS, WIDTH, SIDE = 1000, 10, 50
MESHES = 9
RATIO, MEMORY, SLOWEST = 2.5, 400, 0.8  # relative to tanh; MiB; relative to the mesh's throughput


def article() -> bl.Posterior:
    """Fit the article's network to its data."""
    with seeded(0):
        network = nn.Sequential(bl.Linear(2, WIDTH), nn.Tanh(), bl.Linear(WIDTH, 1))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    return bl.fit(model, *bl.datasets.parabola(), seed=0, progress=False).posterior


def mesh() -> torch.Tensor:
    """Return a mesh of points."""
    axis = torch.linspace(-3, 3, SIDE)
    return torch.cartesian_prod(axis, axis)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of a call."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def speed(posterior: bl.Posterior, repeats: int) -> Record:
    """Time the mesh and tanh in turns."""
    x = mesh()
    numbers = torch.randn(DRAWS * SIDE**2 * WIDTH, generator=torch.Generator().manual_seed(0))
    room = torch.empty_like(numbers)
    works = {
        "predict": lambda: posterior.predict(x, DRAWS),
        "tanh": lambda: torch.tanh(numbers),
        "tanh into memory that exists": lambda: torch.tanh(numbers, out=room),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            passed = seconds(work)
            if turn:  # the first turn is for warming up
                times[name].append(passed)
    names = ("wall", "cpu")
    medians = {
        clock: {name: statistics.median(t[i] for t in taken) for name, taken in times.items()}
        for i, clock in enumerate(names)
    }
    ratios = {
        clock: {name: medians[clock]["predict"] / medians[clock][name] for name in works if name != "predict"}
        for clock in names
    }
    return {"repeats": repeats, "medians": medians, "ratios": ratios}


def resident(which: str) -> int:
    """Return the resident memory of this process, or its peak, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(which))


def worker(folder: Path, rows: int) -> None:
    """Predict many rows, then the mesh, and print time and memory; this runs in a separate process."""
    torch.set_num_threads(1)
    posterior = bl.load(folder)
    x = torch.randn(rows, 2, generator=torch.Generator().manual_seed(1))
    before, kept = resident("VmRSS"), []
    wall, cpu = seconds(lambda: kept.append(posterior.predict(x, DRAWS)))
    p = kept[0]
    returned = sum(each.numel() * each.element_size() for each in (p.mean, p.epistemic_std, p.aleatoric_std))
    above = resident("VmHWM") - before - returned
    times = [seconds(lambda: posterior.predict(mesh(), DRAWS)) for _ in range(MESHES)]
    found = {
        "rows": rows,
        "seconds": wall,
        "cpu_seconds": cpu,
        "mib_above": above / 2**20,
        "mib_returned": returned / 2**20,
        "mesh_seconds": statistics.median(wall for wall, _ in times),
        "mesh_cpu_seconds": statistics.median(cpu for _, cpu in times),
        "mean": float(p.mean.double().mean()),
    }
    # The CPU time that the mesh would take for this number of rows, relative to the time of these rows.
    found["throughput"] = found["mesh_cpu_seconds"] / SIDE**2 * rows / cpu
    print(json.dumps(found))


def measure_rows(folder: Path, rows: int) -> Record:
    """Run a worker, and return its result."""
    command = [sys.executable, __file__, "--worker", str(folder), "--rows", str(rows)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def misses(record: Record) -> list[str]:
    """List the targets that were missed."""
    found = []
    ratio = record["speed"]["ratios"]["cpu"]["tanh"]
    if ratio > RATIO:
        found.append(f"the mesh takes {ratio:.2f} times as long as tanh, more than {RATIO}")
    for row in record["rows"]:
        if row["mib_above"] > MEMORY:
            found.append(f"{row['rows']} rows take {row['mib_above']:.0f} MiB, more than {MEMORY}")
        if row["throughput"] < SLOWEST:
            found.append(f"{row['rows']} rows have {row['throughput']:.2f} times the throughput of the mesh")
    return found


def page(record: Record) -> str:
    """Return the report as Markdown."""
    speed = record["speed"]
    lines = [
        "# Predictions: speed and memory",
        "",
        f"Made by `{record['command']}` on {record['date']}. The article's network, 2-{WIDTH}-1, fitted to "
        f"its data; {DRAWS} draws; moments only; one thread.",
        "",
        f"## {SIDE} x {SIDE} points, compared with `torch.tanh` of {DRAWS * SIDE**2 * WIDTH / 1e6:.0f} million floats",
        "",
        f"Medians of {speed['repeats']} turns in one process; CPU seconds do not include other processes. The target "
        f"is {RATIO} times the CPU time of `torch.tanh(x)`. With memory that exists, tanh does not have to allocate "
        "100 MB.",
        "",
        "| | seconds | CPU seconds | predict relative to it, seconds | CPU seconds |",
        "|---|---|---|---|---|",
    ]
    for name in speed["medians"]["cpu"]:
        taken = [f"{speed['medians'][clock][name]:.3f}" for clock in ("wall", "cpu")]
        ratios = [
            f"{speed['ratios'][clock][name]:.2f}" if name in speed["ratios"][clock] else ""
            for clock in ("wall", "cpu")
        ]
        lines.append(f"| {name} | {' | '.join([*taken, *ratios])} |")
    lines += [
        "",
        "## Many rows, each in a fresh process that loads the posterior",
        "",
        f"Memory is the peak above the initial resident memory, without the returned arrays; the target is {MEMORY} "
        "MiB for both. Throughput is relative to the mesh in the same process, by CPU seconds per row; the target "
        f"is {SLOWEST}.",
        "",
        "| rows | seconds | CPU seconds | MiB above | MiB returned | relative throughput |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['rows']:,} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['mib_above']:.0f} | "
            f"{row['mib_returned']:.1f} | {row['throughput']:.2f} |"
            for row in record["rows"]
        ),
        "",
        f"Missed: {'; '.join(misses(record)) or 'nothing'}.",
        "",
        f"Versions: {listed_versions(record)}.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the report, and return the exit status."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="turns of the mesh and of tanh (%(default)s)")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        worker(options.worker, options.rows[0])
        return 0
    torch.set_num_threads(1)
    posterior = article()
    with tempfile.TemporaryDirectory() as folder:
        posterior.save(Path(folder) / "posterior")
        rows = [measure_rows(Path(folder) / "posterior", n) for n in options.rows]
    named = " ".join(map(str, options.rows))
    record: Record = {
        **record_head(f"scripts/benchmark_predict.py --repeats {options.repeats} --rows {named}"),
        "speed": speed(posterior, options.repeats),
        "rows": rows,
    }
    write_results(options.output, "predict", record, page(record))
    print(page(record))
    return int(bool(misses(record)))


if __name__ == "__main__":
    raise SystemExit(main())
