#!/usr/bin/env python3
"""Measure noise and cost of the gradient estimators, and write estimators.md and estimators.json.

For four networks, at initialization and after some training: the trace of the variance of the gradient of the expected
log likelihood (loc and log_scale together), with a fixed batch and with a new batch for each gradient, and the cost of
a recorded training step relative to a deterministic Adam step of the same network. The default of
`bl.fit(estimator=None)` was chosen by the products of the two.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from _environment import ensure

ensure("report")

import torch
from torch import Tensor, nn

import bayesian_layers as bl
from _benchmarking import Record, benchmark_parser, cpu_model, record_head, write_results
from _hashing import hash_of
from bayesian_layers import estimators
from bayesian_layers.estimators import Estimator
from bayesian_layers.fitting.schedule import LEARNING_RATE, MAX_LEARNING_RATE
from bayesian_layers.lazy_imports import require
from bayesian_layers.noise import seeded

Loss = Callable[[Tensor, Tensor], Tensor]

BLOCK = 10  # steps of ours, then as many deterministic ones
STAGES = ("init", "trained")


@dataclass(frozen=True)
class Task:
    """A network with its data."""

    name: str
    network: Callable[[], nn.Module]
    likelihood: Any
    loss: Loss  # of the deterministic network
    x: Tensor
    y: Tensor
    batch_size: int | None  # None: all rows
    particles: tuple[int, ...]  # numbers of draws per step
    train_steps: int  # before the second measurement
    draws: int  # gradients per estimate of a variance
    time_steps: int  # of each timed fit

    @property
    def rows(self) -> int:
        """Rows per step."""
        return len(self.y) if self.batch_size is None else self.batch_size


@dataclass(frozen=True)
class Row:
    """The measurements of one estimator on one network."""

    task: str
    rows: int  # per step
    full: bool  # whether these are all rows
    estimator: str
    particles: int
    fixed: dict[str, float]  # stage to the trace of the gradient's variance, on one batch
    redrawn: dict[
        str, float
    ]  # the same with a new batch for each gradient; `fixed` where the batch is all rows
    ms: float  # of a recorded training step
    deterministic: float  # milliseconds of a step of Adam without a posterior, at the same time
    ratio: float  # of the two times, block by block
    chosen: bool  # whether `bl.fit` uses it by default


def tasks(seed: int) -> Iterator[Task]:
    """Yield the networks and their data."""
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
    images, digits = require("sklearn.datasets", "scikit-learn", "report").load_digits(return_X_y=True)
    yield Task(
        "CNN on 8x8 digits: Conv 16, Conv 32, Linear",
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(128, 10)),
        ),
        bl.likelihoods.Categorical(),
        nn.functional.cross_entropy,
        # Only complete batches: a smaller last batch would be recorded and timed separately.
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
    """Yield every estimator with every number of particles."""
    for particles in task.particles:
        for name in methods:
            yield name, particles


def train(task: Task, model: bl.BayesianModel, guide: Any, method: Estimator, seed: int) -> None:
    """Train by Adam at the initial learning rate of a fit, without its evaluations, which take most of the time."""
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
    """Time the training steps of `bl.fit` for all estimators in turns, each next to deterministic steps."""
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
    """Ends a timed fit without its final evaluation."""


class _Clock:
    """A callback that times a block of steps of the fit, then the same number of deterministic steps."""

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
            if progress.step > BLOCK:  # the first block records the steps, and is not counted
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
    """Return the table of one network."""
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
    """Return the time to the same noise, relative to plain reparameterization with one particle."""
    return row.redrawn[stage] / plain.redrawn[stage] * row.ratio / plain.ratio


def page(record: Record, rows: list[Row]) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Gradient estimators",
        "",
        f"Made by `{record['command']}` on {record['date']}; {record['cpu']}, one thread. Every number is in "
        "`estimators.json`.",
        "",
        "Variance: the trace of the variance of the gradient of the expected log likelihood, loc and log_scale "
        "together, relative to plain reparameterization with one particle at the same parameters. With the batch "
        "FIXED it is the noise of the estimator only; with a NEW batch for each gradient it includes the noise of the "
        "data, as in a minibatch fit. Particles are antithetic pairs. It is measured at initialization and after some "
        "training. ms: a recorded training step of `bl.fit`, median; x deterministic: its ratio to a step of "
        f"`torch.optim.Adam` on the same network without a posterior, in turns, in blocks of {BLOCK} steps. variance x "
        "cost (new batch, ratio): the time to the same noise; below 1 is better than plain reparameterization with one "
        "particle. **Bold**: the default of `bl.fit` (its schedule chooses the number of particles).",
    ]
    for name, size in dict.fromkeys((row.task, row.rows) for row in rows):
        mine = [row for row in rows if (row.task, row.rows) == (name, size)]
        how = f"all {size} rows" if mine[0].full else f"batch {size}"
        lines += ["", f"## {name}, {how}", "", *table(mine)]
    lines += ["", "## Versions", "", *(f"- {name}: {found}" for name, found in record["versions"].items())]
    lines += [f"- SHA-256 of the data of {name}: {found}" for name, found in record["sha256"].items()]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """Measure the networks one after the other; results are written after each."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2, help="timed fits of each estimator (%(default)s)")
    options = parser.parse_args(arguments)
    record: Record = {
        **record_head(f"scripts/benchmark_estimators.py --seed {options.seed} --rounds {options.rounds}"),
        "cpu": cpu_model(),
        "sha256": {},
    }
    rows: list[Row] = []
    for task in tasks(options.seed):
        rows += measure(task, options.seed, options.rounds)
        record["sha256"][task.name] = hash_of(task.x, task.y)
        everything = {**record, "rows": [asdict(row) for row in rows]}
        write_results(options.output, "estimators", everything, page(record, rows))
        print(f"{task.name}, {task.rows} rows: done", flush=True)
    print(page(record, rows))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with contextlib.suppress(KeyboardInterrupt):
        main()
