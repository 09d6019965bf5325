#!/usr/bin/env python3
"""Measure noise and cost of the gradient estimators, and write estimators.md and estimators.json.

For four networks, at initialisation and after some training: the trace of the variance of the gradient of the
expected log likelihood (loc and log_scale together), with the batch fixed and with the batch drawn anew each time, and
the cost of a recorded training step beside the same network's deterministic Adam step. The default of
`bl.fit(estimator=None)` rests on the products of the two.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _environment import ROOT, ensure

ensure("report")

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import bayesian_layers as bl
from bayesian_layers import estimators
from bayesian_layers.estimators import Estimator
from bayesian_layers.fitting.schedule import LEARNING_RATE, MAX_LEARNING_RATE
from bayesian_layers.noise import seeded
from bayesian_layers.reporting.provenance import hash_of
from bayesian_layers.saving.versions import versions
from benchmark_speed import cpu_model

Record = dict[str, Any]
Loss = Callable[[Tensor, Tensor], Tensor]

BLOCK = 10  # steps of ours, then as many deterministic ones
STAGES = ("init", "trained")


@dataclass(frozen=True)
class Task:
    """A network with its data."""

    # Of the network.
    name: str
    # Makes it.
    network: Callable[[], nn.Module]
    # Of the targets.
    likelihood: Any
    # What the deterministic network minimises.
    loss: Loss
    # Inputs.
    x: Tensor
    # Targets.
    y: Tensor
    # Rows a step; ``None`` takes all.
    batch_size: int | None
    # Numbers of draws a step.
    particles: tuple[int, ...]
    # Before the second measurement.
    train_steps: int
    # Gradients behind each variance.
    draws: int
    # Steps of each timed fit.
    time_steps: int

    @property
    def rows(self) -> int:
        """Rows a step."""
        return len(self.y) if self.batch_size is None else self.batch_size


@dataclass(frozen=True)
class Row:
    """What was measured of one estimator on one network."""

    # The network.
    task: str
    # Rows a step.
    rows: int
    # Whether these are all rows.
    full: bool
    # Its name.
    estimator: str
    # Draws a step.
    particles: int
    # Stage to the trace of the gradient's variance, on one batch.
    fixed: dict[str, float]
    # Stage to the same, with a new batch for each gradient; as `fixed` where the batch is all rows.
    redrawn: dict[str, float]
    # A recorded training step, milliseconds.
    ms: float
    # A step of Adam on the network without a posterior, milliseconds, at the same time.
    deterministic: float
    # The first over the second, block by block.
    ratio: float
    # Whether it is what `bl.fit` takes by itself.
    chosen: bool


def tasks(seed: int) -> Iterator[Task]:
    """Make the networks and their data."""
    g = torch.Generator().manual_seed(seed)
    x, y = bl.datasets.parabola()
    yield Task(
        "2-10-1 tanh, Bernoulli (the article)",
        lambda: nn.Sequential(nn.Linear(2, 10), nn.Tanh(), nn.Linear(10, 1)),
        bl.likelihoods.Bernoulli(),
        lambda f, y: nn.functional.binary_cross_entropy_with_logits(f.squeeze(-1), y),
        x, y, None, (1, 2, 8), 600, 200, 160,
    )  # fmt: skip
    x = torch.randn(900, 8, generator=g)
    y = torch.tanh(x[:, 0] * x[:, 1]) + 0.5 * x[:, 2] + 0.2 * torch.randn(900, generator=g)
    for batch_size in (None, 100):
        yield Task(
            "8-50-1 ReLU, regression",
            lambda: nn.Sequential(nn.Linear(8, 50), nn.ReLU(), nn.Linear(50, 1)),
            bl.likelihoods.Normal("learned"),
            lambda f, y: nn.functional.mse_loss(f.squeeze(-1), y),
            x, y, batch_size, (1, 2, 8), 600, 200, 160,
        )  # fmt: skip
    centres = torch.rand(10, 784, generator=g) * (torch.rand(10, 784, generator=g) < 0.3)
    y = torch.randint(0, 10, (2048,), generator=g)
    yield Task(
        "784-400-400-10 ReLU, 10 classes",
        lambda: nn.Sequential(
            nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 400), nn.ReLU(), nn.Linear(400, 10)
        ),
        bl.likelihoods.Categorical(),
        nn.functional.cross_entropy,
        (centres[y] + 0.5 * torch.randn(2048, 784, generator=g)).clamp(0, 1), y, 128, (1, 2), 400, 60, 50,
    )  # fmt: skip
    images, digits = load_digits(return_X_y=True)
    yield Task(
        "CNN on 8x8 digits: Conv 16, Conv 32, Linear",
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(128, 10)),
        ),
        bl.likelihoods.Categorical(),
        nn.functional.cross_entropy,
        # Whole batches only: a smaller last one would be recorded, and timed, apart.
        torch.from_numpy(images).float().view(-1, 1, 8, 8)[:1792] / 16, torch.from_numpy(digits)[:1792],
        64, (1, 2, 8), 250, 50, 50,
    )  # fmt: skip


def measure(task: Task, seed: int, rounds: int) -> list[Row]:
    """Measure all estimators on one network."""
    with seeded(seed):
        network = task.network()
    model = bl.BayesianModel(bl.bayesianize(network), task.likelihood)
    guide = bl.guides.MeanFieldNormal(model)
    few = task.x[:4], task.y[:4]
    made = {name: estimators.make(name, model, guide, *few) for name in estimators.NAMES}
    methods = {name: method for name, method in made.items() if method.name == name}
    fixed, redrawn = {}, {}
    for stage in STAGES:
        if stage == "trained":
            train(task, model, guide, made["local"], seed)
        fixed[stage] = {key: variance(task, guide, *key, methods, seed, False) for key in keys(task, methods)}
        redrawn[stage] = fixed[stage]
        if task.batch_size is not None:
            redrawn[stage] = {
                key: variance(task, guide, *key, methods, seed, True) for key in keys(task, methods)
            }
    times = cost(task, network, list(keys(task, methods)), seed, rounds)
    return [
        Row(
            task=task.name,
            rows=task.rows,
            full=task.batch_size is None,
            estimator=key[0],
            particles=key[1],
            fixed={stage: fixed[stage][key] for stage in STAGES},
            redrawn={stage: redrawn[stage][key] for stage in STAGES},
            **times[key],
            chosen=key[0] == estimators.DEFAULT,
        )
        for key in keys(task, methods)
    ]


def keys(task: Task, methods: dict[str, Estimator]) -> Iterator[tuple[str, int]]:
    """Give every estimator with every number of particles."""
    for particles in task.particles:
        for name in methods:
            yield name, particles


def train(task: Task, model: bl.BayesianModel, guide: Any, method: Estimator, seed: int) -> None:
    """Train by Adam at the fit's first learning rate: no evaluation, which would take most of the time."""
    rate = min(MAX_LEARNING_RATE, LEARNING_RATE / max(guide.layout.max_fan_in, 1))
    optimizer = torch.optim.Adam(guide.parameters(), rate, betas=(0.9, 0.99))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(task.train_steps):
        batch = torch.randperm(len(task.y), generator=generator)[: task.rows]
        value = estimate(task, guide, method, 2, batch, generator)
        optimizer.zero_grad()
        (guide.weighted_kl(model) - value).backward()
        optimizer.step()


def estimate(
    task: Task, guide: Any, method: Estimator, particles: int, batch: Tensor, generator: torch.Generator
) -> Tensor:
    """Estimate the expected log likelihood on a batch."""
    half = torch.randn((particles + 1) // 2, guide.noise_size, generator=generator)
    noise = torch.cat([half, -half])[:particles]
    row_noise = method.row_noise(particles, len(batch), generator)
    scale = len(task.y) / len(batch)
    return method(guide, noise, row_noise, task.x[batch], task.y[batch], scale=scale)


def variance(
    task: Task, guide: Any, name: str, particles: int, methods: dict[str, Estimator], seed: int, redraw: bool
) -> float:
    """Estimate the trace of the variance of the gradient of the likelihood term."""
    method = methods[name]
    generator = torch.Generator().manual_seed(seed)
    batch = torch.randperm(len(task.y), generator=generator)[: task.rows]
    total = squares = torch.zeros(2 * len(guide.loc), dtype=torch.float64)
    for _ in range(task.draws):
        if redraw:
            batch = torch.randperm(len(task.y), generator=generator)[: task.rows]
        value = estimate(task, guide, method, particles, batch, generator)
        gradient = torch.cat(torch.autograd.grad(value, [guide.loc, guide.log_scale])).double()
        total, squares = total + gradient, squares + gradient.square()
    mean = total / task.draws
    return float((squares / task.draws - mean.square()).sum()) * task.draws / (task.draws - 1)


def cost(
    task: Task, network: nn.Module, wanted: list[tuple[str, int]], seed: int, rounds: int
) -> dict[tuple[str, int], dict[str, float]]:
    """Time training steps as `bl.fit` takes them, every estimator in turn, each beside deterministic ones."""
    clocks = {key: _Clock(task, network) for key in wanted}
    for _ in range(rounds):
        for key, clock in clocks.items():
            name: Any = key[0]
            model = bl.BayesianModel(bl.bayesianize(network), task.likelihood)
            guide = bl.guides.MeanFieldNormal(model)
            with contextlib.suppress(_Enough):
                bl.fit(
                    model, task.x, task.y, guide=guide, seed=seed, batch_size=task.batch_size, estimator=name,
                    particles=key[1], progress=False, compile="captured", callbacks=[clock],
                )  # fmt: skip
    return {
        key: {
            "ms": statistics.median(clock.ours),
            "deterministic": statistics.median(clock.theirs),
            "ratio": statistics.median(a / b for a, b in zip(clock.ours, clock.theirs, strict=True)),
        }
        for key, clock in clocks.items()
    }


class _Enough(Exception):  # noqa: N818 - no error
    """Ends a timed fit without the evaluation at its end."""


class _Clock:
    """A callback that times a block of the fit's steps, then takes and times as many deterministic steps."""

    def __init__(self, task: Task, network: nn.Module) -> None:
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self._task = task
        with seeded(0):
            self._network = task.network()
        self._network.load_state_dict(network.state_dict())
        self._optimizer = torch.optim.Adam(self._network.parameters(), 1e-3)
        self._since = 0.0

    def __call__(self, progress: Any) -> None:
        now = time.perf_counter()
        if progress.step % BLOCK == 1:
            self._since = now
        if progress.step % BLOCK == 0:
            theirs = self._deterministic()
            if progress.step > BLOCK:  # in the first block steps are recorded
                self.ours.append(1e3 * (now - self._since) / (BLOCK - 1))
                self.theirs.append(1e3 * theirs / (BLOCK - 1))
        if progress.step >= self._task.time_steps:
            raise _Enough

    def _deterministic(self) -> float:
        task, since = self._task, 0.0
        for i in range(BLOCK):
            start = i * task.rows % len(task.y)
            part = slice(start, start + task.rows)
            loss = task.loss(self._network(task.x[part]), task.y[part])
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()
            if i == 0:
                since = time.perf_counter()
        return time.perf_counter() - since


def table(rows: list[Row]) -> list[str]:
    """Lay the rows of one network out."""
    plain = next(row for row in rows if row.estimator == estimators.NAMES[0] and row.particles == 1)
    lines = [
        "| estimator | particles | fixed batch, init | trained | new batch, init | trained | ms | x deterministic "
        "| variance x cost, init | trained |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [f"**{row.estimator}**" if row.chosen else row.estimator, str(row.particles)]
        cells += [f"{row.fixed[stage] / plain.fixed[stage]:.3f}" for stage in STAGES]
        cells += ["" if row.full else f"{row.redrawn[stage] / plain.redrawn[stage]:.3f}" for stage in STAGES]
        cells += [f"{row.ms:.2f}", f"{row.ratio:.2f}"]
        cells += [f"{product(row, plain, stage):.2f}" for stage in STAGES]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def product(row: Row, plain: Row, stage: str) -> float:
    """Multiply a variance, as an optimizer sees it, with the time that it costs."""
    return row.redrawn[stage] / plain.redrawn[stage] * row.ratio / plain.ratio


def page(record: Record, rows: list[Row]) -> str:
    """Write the report."""
    lines = [
        "# Gradient estimators",
        "",
        f"Made by `{record['command']}` on {record['date']}; {record['cpu']}, one thread. Every number is in "
        "`estimators.json`.",
        "",
        "Variance: the trace of the variance of the gradient of the expected log likelihood, loc and log_scale "
        "together, relative to plain reparameterization with one particle at the same parameters. With the batch "
        "FIXED only the estimator's noise is in it; with a NEW batch for each gradient the data's own too, which is "
        "what an optimizer sees in a minibatch fit. Particles come in antithetic pairs. Two moments: at "
        "initialisation, and after some training. ms: a recorded training step of `bl.fit`, median; beside it "
        "its ratio to a step of `torch.optim.Adam` on the same network without a posterior, in turns, blocks of "
        f"{BLOCK} steps. variance x cost (new batch, ratio): the time to the same noise; below 1 is better than "
        "plain with one particle. **Bold**: what `bl.fit` takes by itself (the particles are its schedule's choice).",
    ]
    for name, size in dict.fromkeys((row.task, row.rows) for row in rows):
        mine = [row for row in rows if (row.task, row.rows) == (name, size)]
        how = f"all {size} rows" if mine[0].full else f"batch {size}"
        lines += ["", f"## {name}, {how}", "", *table(mine)]
    lines += ["", "## Versions", "", *(f"- {name}: {found}" for name, found in record["versions"].items())]
    lines += [f"- SHA-256 of the data of {name}: {found}" for name, found in record["sha256"].items()]
    return "\n".join(lines) + "\n"


def write(folder: Path, record: Record, rows: list[Row]) -> None:
    """Write estimators.json and estimators.md."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "estimators.json": json.dumps({**record, "rows": [asdict(row) for row in rows]}, indent=1) + "\n",
        "estimators.md": page(record, rows),
    }
    for name, text in texts.items():
        temporary = folder / f"{name}.new"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(folder / name)


def main(words: list[str] | None = None) -> None:
    """Measure the networks one after the other; what is done is on the disk after each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2, help="timed fits of each estimator")
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "benchmarks")
    options = parser.parse_args(words)
    record: Record = {
        "command": f"scripts/benchmark_estimators.py --seed {options.seed} --rounds {options.rounds}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": cpu_model(),
        "versions": versions(),
        "sha256": {},
    }
    rows: list[Row] = []
    for task in tasks(options.seed):
        rows += measure(task, options.seed, options.rounds)
        record["sha256"][task.name] = hash_of(task.x, task.y)
        write(options.output, record, rows)
        print(f"{task.name}, {task.rows} rows: done", flush=True)
    print(page(record, rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with contextlib.suppress(KeyboardInterrupt):
        main()
