#!/usr/bin/env python3
"""Measure what the evaluations of a fit take: their share of its time, and memory beyond that of its steps.

Three networks on random data: 784-1200-1200-10 with 30 steps of batch 128, a transformer encoder (4 layers, 128 wide)
on 320 images of 64 patches with 12 steps, and a small convolutional ResNet on 32 x 32 images. Evaluations may take 20 %
of the time and 256 MiB beyond a step. All run in this process, one after the other; memory is read from Linux's
/proc every few milliseconds. Prints a table; the exit status says whether a bound was broken.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

from _environment import ensure

ensure()

import torch
from torch import Tensor, nn

import bayesian_layers as bl
from bayesian_layers.fitting.evaluation import Evaluator
from bayesian_layers.noise import seeded

SHARE, MEMORY = 0.2, 256 * 2**20
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Meter:
    """Adds up time inside evaluations, and watches the largest memory inside and outside of them."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.calls = 0
        self.peaks = {True: 0, False: 0}
        self._inside = self._over = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the memory, and the evaluator's methods, for a block."""
        methods = {name: getattr(Evaluator, name) for name in ("__call__", "log_weights")}
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        for name, method in methods.items():
            setattr(Evaluator, name, self._timed(method))
        try:
            yield
        finally:
            for name, method in methods.items():
                setattr(Evaluator, name, method)
            self._over = True
            thread.join()

    def _watch(self) -> None:
        while not self._over:
            inside = self._inside
            resident = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE
            if inside == self._inside:
                self.peaks[inside] = max(self.peaks[inside], resident)
            time.sleep(0.003)

    def _timed(self, method: Any) -> Any:
        def call(*arguments: Any) -> Any:
            start, self._inside = time.perf_counter(), True
            try:
                return method(*arguments)
            finally:
                self._inside = False
                self.seconds += time.perf_counter() - start
                self.calls += 1

        return call

    @property
    def beyond(self) -> int:
        """Bytes that evaluations took beyond the rest of the fit."""
        return max(0, self.peaks[True] - self.peaks[False])


class Block(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.around = nn.Conv2d(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Add the block's output to its input."""
        return torch.relu(self.around(x) + self.second(torch.relu(self.first(x))))


class Encoder(nn.Module):
    """A transformer encoder of patches, with the mean over the patches as features."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 128)
        layer = nn.TransformerEncoderLayer(128, 4, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.head(self.encoder(self.embed(x)).mean(1))


def dense() -> tuple[nn.Module, tuple[int, ...], dict[str, int]]:
    """784-1200-1200-10."""
    sizes = (784, 1200, 1200, 10)
    layers = [part for pair in pairwise(sizes) for part in (nn.Linear(*pair), nn.ReLU())]
    return nn.Sequential(*layers[:-1]), (20_000, 784), {"batch_size": 128, "max_steps": 30}


def transformer() -> tuple[nn.Module, tuple[int, ...], dict[str, int]]:
    """A transformer encoder, all rows in each step."""
    return Encoder(), (320, 64, 16), {"max_steps": 12}


def resnet() -> tuple[nn.Module, tuple[int, ...], dict[str, int]]:
    """A small ResNet."""
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    network = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), *blocks, *head)
    return network, (2000, 3, 32, 32), {"batch_size": 64, "max_steps": 60}


PROBLEMS = {"dense": dense, "transformer": transformer, "resnet": resnet}


def measure(name: str) -> tuple[bl.FitResult, Meter]:
    """Fit one of the networks to random data."""
    with seeded(0):
        network, shape, options = PROBLEMS[name]()
        x, y = torch.randn(shape), torch.randint(10, shape[:1])
        model = bl.BayesianModel(bl.bayesianize(network), bl.likelihoods.Categorical())
    meter = Meter()
    with meter.watching():
        return bl.fit(model, x, y, progress=False, **options), meter


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("problems", nargs="*", choices=[*PROBLEMS, []], help="all by default")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", bl.errors.ConvergenceWarning)
    broken = 0
    for name in options.problems or PROBLEMS:
        result, meter = measure(name)
        share = meter.seconds / result.seconds
        broken += share > SHARE or meter.beyond > MEMORY
        print(
            f"{name}: {result.steps} steps in {result.seconds:.1f} s, {meter.calls} calls of evaluations "
            f"{meter.seconds:.2f} s = {share:.0%}, {meter.beyond / 2**20:.0f} MiB beyond the "
            f"{meter.peaks[False] / 2**20:.0f} MiB of the steps; {str(result).splitlines()[0]}; {result.convergence}"
        )
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
