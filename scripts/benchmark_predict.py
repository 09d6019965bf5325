#!/usr/bin/env python3
"""Measure posterior.predict: its speed beside torch.tanh, and its memory over many rows.

The mesh: 1000 draws of the article's network, 2-10-1, on 50 x 50 points, one thread, beside `torch.tanh` of the
25 million numbers that its hidden layer computes, in turn in one process; the target is 2.5 times. Rows: 100,000 and
1,000,000
of them x 1000 draws, each in a fresh process that loads the posterior from its folder; the peak of memory above
what was there before, less the returned arrays, must be at most 400 MiB and the same for both, and a throughput
at least 0.8 of the mesh's. Writes predict.md and predict.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _environment import ROOT, ensure

ensure()

import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded
from bayesian_layers.saving.versions import versions

Record = dict[str, Any]

DRAWS, WIDTH, SIDE = 1000, 10, 50
MESHES = 9
RATIO, MEMORY, SLOWEST = 2.5, 400, 0.8  # times tanh; MiB; of the mesh's throughput


def article() -> bl.Posterior:
    """Fit the article's network to its data, in few steps: predictions cost the same whatever the weights."""
    with seeded(0):
        network = nn.Sequential(bl.Linear(2, WIDTH), nn.Tanh(), bl.Linear(WIDTH, 1))
    model = bl.BayesianModel(network, bl.likelihoods.Bernoulli())
    return bl.fit(model, *bl.datasets.parabola(), seed=0, progress=False).posterior


def mesh() -> torch.Tensor:
    """Give the article's points."""
    axis = torch.linspace(-3, 3, SIDE)
    return torch.cartesian_prod(axis, axis)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Time a call."""
    start, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - start, time.process_time() - cpu


def speed(posterior: bl.Posterior, repeats: int) -> Record:
    """Time the mesh and tanh in turn."""
    x = mesh()
    numbers = torch.randn(DRAWS * SIDE**2 * WIDTH, generator=torch.Generator().manual_seed(0))
    room = torch.empty_like(numbers)
    works = {
        "predict": lambda: posterior.predict(x, DRAWS),
        "tanh": lambda: torch.tanh(numbers),
        "tanh into memory that is there": lambda: torch.tanh(numbers, out=room),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        for name, work in works.items():
            passed = seconds(work)
            if turn:  # the first is for warming up
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
    """Read this process's resident memory."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(which))


def worker(folder: Path, rows: int) -> None:
    """Predict in a process of its own, and print what it took; afterwards the mesh, for its speed."""
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
    # The mesh's cost for as many rows, over the cost of these.
    found["throughput"] = found["mesh_cpu_seconds"] / SIDE**2 * rows / cpu
    print(json.dumps(found))


def measure_rows(folder: Path, rows: int) -> Record:
    """Run a worker."""
    command = [sys.executable, __file__, "--worker", str(folder), "--rows", str(rows)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def misses(record: Record) -> list[str]:
    """Name the targets that were missed."""
    found = []
    ratio = record["speed"]["ratios"]["cpu"]["tanh"]
    if ratio > RATIO:
        found.append(f"the mesh takes {ratio:.2f} times tanh, more than {RATIO}")
    for row in record["rows"]:
        if row["mib_above"] > MEMORY:
            found.append(f"{row['rows']} rows take {row['mib_above']:.0f} MiB, more than {MEMORY}")
        if row["throughput"] < SLOWEST:
            found.append(f"{row['rows']} rows have {row['throughput']:.2f} of the mesh's throughput")
    return found


def page(record: Record) -> str:
    """Write the report."""
    speed = record["speed"]
    lines = [
        "# Predictions: speed and memory",
        "",
        f"Made by `{record['command']}` on {record['date']}. The article's network, 2-{WIDTH}-1, fitted to "
        f"its data; {DRAWS} draws; moments only; one thread.",
        "",
        f"## {SIDE} x {SIDE} points beside `torch.tanh` of {DRAWS * SIDE**2 * WIDTH / 1e6:.0f} million floats",
        "",
        f"Medians of {speed['repeats']} turns, one after the other in one process; processor seconds leave out what "
        f"else ran on the machine. The target is {RATIO} times `torch.tanh(x)`; into memory that is there, tanh is "
        "spared the making of 100 MB of it.",
        "",
        "| | seconds | processor seconds | predict over it, seconds | processor seconds |",
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
        f"Memory is the peak above what was resident before, less the returned arrays; the target is {MEMORY} MiB, "
        "the same for both. Throughput is the mesh's processor seconds a row, measured in the same process, over "
        f"these; the target is {SLOWEST}.",
        "",
        "| rows | seconds | processor seconds | MiB above | MiB returned | throughput of the mesh's |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['rows']:,} | {row['seconds']:.1f} | {row['cpu_seconds']:.1f} | {row['mib_above']:.0f} | "
            f"{row['mib_returned']:.1f} | {row['throughput']:.2f} |"
            for row in record["rows"]
        ),
        "",
        f"Missed: {'; '.join(misses(record)) or 'nothing'}.",
        "",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in record["versions"].items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def main(words: list[str] | None = None) -> int:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=15, help="of the mesh and of tanh")
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "benchmarks")
    options = parser.parse_args(words)
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
        "command": f"scripts/benchmark_predict.py --repeats {options.repeats} --rows {named}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": versions(),
        "speed": speed(posterior, options.repeats),
        "rows": rows,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "predict.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (options.output / "predict.md").write_text(page(record), encoding="utf-8")
    print(page(record))
    return int(bool(misses(record)))


if __name__ == "__main__":
    raise SystemExit(main())
