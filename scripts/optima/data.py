"""The data of the suite: made ones from fixed seeds, those that scikit-learn contains, and UCI sets from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from awkward.problems import FAMILIES, make_signals

Data = tuple[Tensor, Tensor]
Array = np.ndarray


def tensors(x: Array, y: Array) -> Data:
    """Turn arrays into tensors; integer targets stay integers."""
    kind = torch.int64 if np.issubdtype(y.dtype, np.integer) else torch.float32
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=kind)


def standardized(values: Array) -> Array:
    """Shift and scale each column to mean 0 and standard deviation 1."""
    std = values.std(0)
    return (values - values.mean(0)) / np.where(std > 0, std, 1.0)


def sine() -> Data:
    """Return 750 rows of sin(2 x) with noise of standard deviation 0.1."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(750, 1, generator=generator) * 6 - 3
    y = torch.sin(2 * x[:, 0]) + 0.1 * torch.randn(750, generator=generator)
    return x, y - y.mean()


def moons(rows: int) -> Data:
    """Return two half circles that overlap."""
    from sklearn.datasets import make_moons

    x, y = make_moons(rows, noise=0.2, random_state=0)
    return tensors(x, y.astype(float))


def digits(rows: int, *shape: int) -> Data:
    """Return handwritten digits of 8 x 8 pixels."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = tensors((x[:rows] / 16 - 0.3) / 0.4, y[:rows])
    return x.reshape(len(x), *shape), y


def table(name: str) -> Data:
    """Return a table of scikit-learn: standardized inputs, and standardized targets or classes."""
    from sklearn import datasets

    x, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    if name == "diabetes":
        y = standardized(y)
    return tensors(standardized(x), y.astype(float) if name == "breast_cancer" else y)


def friedman(rows: int) -> Data:
    """Return Friedman's first function of 5 of 10 inputs, with noise; standardized."""
    random = np.random.default_rng(1)
    x = random.uniform(size=(rows, 10))
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2 + 10 * x[:, 3] + 5 * x[:, 4]
    return tensors(standardized(x), standardized(y + random.normal(size=rows)))


def made(family: str, rows: int, inputs: int) -> Data:
    """Return smooth functions of the inputs, seen through a likelihood of the awkward problems."""
    random = np.random.default_rng([2, rows, inputs])
    x = random.normal(size=(rows, inputs))
    return tensors(x, FAMILIES[family].targets(random, make_signals(random, x, "plain"), 1.0))


def heteroscedastic_curve() -> Data:
    """Return 500 rows whose noise grows with the input."""
    random = np.random.default_rng(3)
    x = random.uniform(-2, 2, size=(500, 1))
    return tensors(x, np.sin(2 * x[:, 0]) + np.exp(x[:, 0] - 2) * random.normal(size=500))


def blobs() -> Data:
    """Return 20,000 rows of 10 classes, each of three clusters."""
    random = np.random.default_rng(4)
    centres = 1.2 * random.normal(size=(30, 16))
    cluster = random.integers(30, size=20_000)
    return tensors(centres[cluster] + random.normal(size=(20_000, 16)), cluster % 10)


def spots() -> Data:
    """Return 1000 images of a bright spot; the target is the product of its coordinates."""
    random = np.random.default_rng(5)
    place = random.uniform(-1, 1, size=(1000, 2))
    grid = np.linspace(-1.2, 1.2, 12)
    x = np.exp(-8 * ((grid[:, None] - place[:, 0, None, None]) ** 2 + (grid - place[:, 1, None, None]) ** 2))
    y = standardized(place.prod(1)) + 0.1 * random.normal(size=1000)
    return tensors((x + 0.1 * random.normal(size=x.shape))[:, None], y)


def series() -> Data:
    """Return 500 series of 12 steps; the target depends on the steps with weights that decay."""
    random = np.random.default_rng(6)
    x = random.normal(size=(500, 12, 1))
    y = np.tanh(x[:, :, 0] @ 0.7 ** np.arange(12)[::-1]) + 0.1 * random.normal(size=500)
    return tensors(x, standardized(y))


def lookups() -> Data:
    """Return 500 sets of 6 items; the target is the value of the item whose key is largest."""
    random = np.random.default_rng(7)
    x = random.normal(size=(500, 6, 4))
    y = x[np.arange(500), x[:, :, 0].argmax(1), 1] + 0.1 * random.normal(size=500)
    return tensors(x, y)


def uci(folder: Path, name: str) -> Data:
    """Read a UCI set, standardized."""
    with np.load(folder / "uci" / f"{name}.npz", allow_pickle=False) as arrays:
        x, y = (arrays[key].astype(float) for key in ("x", "y"))
    return tensors(standardized(x), standardized(y.reshape(-1)))
