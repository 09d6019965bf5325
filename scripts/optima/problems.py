"""The suite: problems that users bring, from one hidden layer to four, convolutions, recurrence and attention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import Tensor, nn

import bayesian_layers as bl
from bayesian_layers import likelihoods
from bayesian_layers.noise import seeded
from optima import data

Likelihood = likelihoods.Likelihood


@dataclass(frozen=True)
class Problem:
    """Data, a network and a likelihood; ``uci`` is the name of a set that is read from a folder."""

    network: Callable[[], nn.Module]
    likelihood: Callable[[], Likelihood]
    data: Callable[[], data.Data] | None = None
    uci: str | None = None

    def load(self, folder: Path | None) -> data.Data:
        """Return inputs and targets; raise FileNotFoundError if they are in a folder that is missing."""
        if self.data is not None:
            return self.data()
        if folder is None or self.uci is None:
            raise FileNotFoundError(f"the UCI set {self.uci} needs --data FOLDER")
        return data.uci(folder, self.uci)

    def build(self, seed: int) -> bl.BayesianModel:
        """Build the model with a fresh initialization of its network."""
        with seeded(seed):
            return bl.BayesianModel(self.network(), self.likelihood())


def mlp(act: type[nn.Module], *widths: int) -> Callable[[], nn.Module]:
    """Return a function that builds a plain network."""

    def build() -> nn.Module:
        parts = [[bl.Linear(inputs, outputs), act()] for inputs, outputs in pairwise(widths)]
        return nn.Sequential(*[module for part in parts for module in part][:-1])

    return build


def convolutional(channels: int, side: int, outputs: int) -> Callable[[], nn.Module]:
    """Return a function that builds a small convolutional network for images of one channel."""
    half = side // 2
    return lambda: nn.Sequential(
        bl.Conv2d(1, channels, 3, padding=1),
        nn.ReLU(),
        bl.Conv2d(channels, channels, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        bl.Linear(channels * half * half, outputs),
    )


def recurrent(kind: type[nn.Module], inputs: int, hidden: int, outputs: int) -> Callable[[], nn.Module]:
    """Return a function that builds a recurrent network whose last step is read."""
    return lambda: nn.Sequential(
        kind(inputs, hidden, batch_first=True), bl.Take(0, step=-1), bl.Linear(hidden, outputs)
    )


class MeanOverItems(nn.Module):
    """The mean over the second axis."""

    def forward(self, x: Tensor) -> Tensor:
        """Average the items of each row."""
        return x.mean(1)


def attention(inputs: int, width: int, outputs: int) -> Callable[[], nn.Module]:
    """Return a function that builds one layer of a transformer's encoder between linear layers."""
    return lambda: nn.Sequential(
        bl.Linear(inputs, width),
        bl.TransformerEncoderLayer(width, 2, 2 * width, dropout=0.0, batch_first=True),
        MeanOverItems(),
        bl.Linear(width, outputs),
    )


def spline() -> Likelihood:
    """Return the likelihood that is a neural spline, with the network's two outputs as its context."""
    with seeded(0):
        return likelihoods.Flow(bl.NeuralSpline(1, (8,), layers=2, context=2, bins=4, bias_prior=None))


tanh, relu, gelu = nn.Tanh, nn.ReLU, nn.GELU
bernoulli, classes, varying = (
    likelihoods.Bernoulli,
    likelihoods.Categorical,
    likelihoods.HeteroscedasticNormal,
)
noise = partial(likelihoods.Normal, "learned")


def made(*arguments: Any) -> Callable[[], Any]:
    """Name data that a function of the data module makes from arguments."""
    return partial(data.made, *arguments)


def friedman(rows: int) -> Callable[[], Any]:
    """Name Friedman's function with so many rows."""
    return partial(data.friedman, rows)


def table(name: str) -> Callable[[], Any]:
    """Name one of scikit-learn's tables."""
    return partial(data.table, name)


def moons(rows: int) -> Callable[[], Any]:
    """Name two moons with so many rows."""
    return partial(data.moons, rows)


def digits(*shape: Any) -> Callable[[], Any]:
    """Name the digits, as images of a shape."""
    return partial(data.digits, *shape)


SUITE: dict[str, Problem] = {
    # One curve, from one hidden layer to four.
    "article": Problem(mlp(tanh, 2, 10, 1), bernoulli, lambda: tuple(bl.datasets.parabola())),
    "sine": Problem(mlp(tanh, 1, 30, 30, 1), noise, data.sine),
    "sine-50": Problem(mlp(relu, 1, 50, 1), noise, data.sine),
    "sine-gelu": Problem(mlp(gelu, 1, 20, 20, 1), noise, data.sine),
    "sine-3-hidden": Problem(mlp(gelu, 1, 20, 20, 20, 1), noise, data.sine),
    "sine-4-hidden": Problem(mlp(tanh, 1, 20, 20, 20, 20, 1), noise, data.sine),
    "sine-heteroscedastic": Problem(mlp(tanh, 1, 16, 16, 2), varying, data.heteroscedastic_curve),
    # Classes.
    "moons": Problem(mlp(relu, 2, 20, 20, 1), bernoulli, moons(300)),
    "moons-1000": Problem(mlp(tanh, 2, 50, 1), bernoulli, moons(1000)),
    "breast-cancer": Problem(mlp(relu, 30, 20, 1), bernoulli, table("breast_cancer")),
    "iris": Problem(mlp(tanh, 4, 10, 3), classes, table("iris")),
    "wine-cultivars": Problem(mlp(gelu, 13, 20, 20, 3), classes, table("wine")),
    "digits": Problem(mlp(relu, 64, 50, 50, 10), classes, digits(600, 64)),
    "digits-all": Problem(mlp(tanh, 64, 30, 10), classes, digits(1797, 64)),
    "blobs-20000": Problem(mlp(relu, 16, 50, 10), classes, data.blobs),
    # Tables, 100 to 50,000 rows.
    "diabetes": Problem(mlp(relu, 10, 20, 1), noise, table("diabetes")),
    "friedman-100": Problem(mlp(tanh, 10, 20, 1), noise, friedman(100)),
    "friedman-1000": Problem(mlp(relu, 10, 50, 1), noise, friedman(1000)),
    "friedman-1000-deep": Problem(mlp(gelu, 10, 20, 20, 20, 1), noise, friedman(1000)),
    "friedman-10000": Problem(mlp(relu, 10, 50, 1), noise, friedman(10_000)),
    "friedman-50000": Problem(mlp(tanh, 10, 30, 30, 1), noise, friedman(50_000)),
    # Every other likelihood.
    "student-t": Problem(mlp(tanh, 4, 20, 1), likelihoods.StudentT, made("student-t", 400, 4)),
    "student-t-deep": Problem(mlp(relu, 4, 20, 20, 1), likelihoods.StudentT, made("student-t", 1000, 4)),
    "gamma": Problem(mlp(tanh, 4, 20, 1), likelihoods.Gamma, made("gamma", 400, 4)),
    "log-normal": Problem(mlp(relu, 4, 20, 20, 1), likelihoods.LogNormal, made("log-normal", 400, 4)),
    "beta": Problem(mlp(gelu, 4, 20, 1), likelihoods.Beta, made("beta", 400, 4)),
    "poisson": Problem(mlp(tanh, 4, 20, 1), likelihoods.Poisson, made("poisson", 400, 4)),
    "poisson-5000": Problem(mlp(relu, 6, 20, 20, 1), likelihoods.Poisson, made("poisson", 5000, 6)),
    "negative-binomial": Problem(
        mlp(gelu, 4, 20, 1), likelihoods.NegativeBinomial, made("negative-binomial", 400, 4)
    ),
    "heteroscedastic": Problem(mlp(relu, 4, 16, 16, 2), varying, made("heteroscedastic", 500, 4)),
    "heteroscedastic-3000": Problem(mlp(gelu, 4, 30, 2), varying, made("heteroscedastic", 3000, 4)),
    "mixture-of-normals": Problem(
        mlp(tanh, 2, 20, 6), partial(likelihoods.MixtureOfNormals, 2), made("mixture-of-normals", 400, 2)
    ),
    "mixture-of-logistics": Problem(
        mlp(relu, 2, 20, 20, 6),
        partial(likelihoods.MixtureOfLogistics, 2),
        made("mixture-of-logistics", 800, 2),
    ),
    "discretized": Problem(
        mlp(tanh, 3, 20, 6),
        partial(likelihoods.DiscretizedMixtureOfLogistics, 2, levels=10),
        made("discretized", 400, 3),
    ),
    "spline": Problem(mlp(tanh, 2, 10, 2), spline, made("mixture-of-normals", 400, 2)),
    # Other architectures.
    "digits-convolutional": Problem(convolutional(8, 8, 10), classes, digits(1257, 1, 8, 8)),
    "spots-convolutional": Problem(convolutional(6, 12, 1), noise, data.spots),
    "digits-lstm": Problem(recurrent(bl.LSTM, 8, 16, 10), classes, digits(600, 8, 8)),
    "series-lstm": Problem(recurrent(bl.LSTM, 1, 10, 1), noise, data.series),
    "series-gru": Problem(recurrent(bl.GRU, 1, 10, 1), noise, data.series),
    "digits-attention": Problem(attention(8, 16, 10), classes, digits(600, 8, 8)),
    "lookups-attention": Problem(attention(4, 16, 1), noise, data.lookups),
    # UCI sets.
    "energy-heteroscedastic": Problem(mlp(relu, 8, 16, 16, 2), varying, uci="energy"),
    "concrete-heteroscedastic": Problem(mlp(relu, 8, 16, 16, 2), varying, uci="concrete"),
    "energy": Problem(mlp(relu, 8, 50, 1), noise, uci="energy"),
    "concrete": Problem(mlp(relu, 8, 50, 1), noise, uci="concrete"),
    "concrete-deep": Problem(mlp(relu, 8, 20, 20, 1), noise, uci="concrete"),
    "power-plant": Problem(mlp(relu, 4, 50, 1), noise, uci="power-plant"),
    "wine-quality": Problem(mlp(relu, 11, 50, 1), noise, uci="wine-quality-red"),
    "wine-quality-deep": Problem(mlp(gelu, 11, 16, 16, 16, 1), noise, uci="wine-quality-red"),
}


def described(x: Tensor, y: Tensor, model: bl.BayesianModel) -> str:
    """Describe what a best-known ELBO belongs to: another text means that it is of another problem."""
    target = y.double()
    entries = sum(parameter.numel() for parameter in model.network.parameters())
    mean, std = (round(float(value), 3) + 0.0 for value in (target.mean(), target.std()))
    return (
        f"{len(y)} rows x {tuple(x.shape[1:])}, {entries} parameters, {type(model.likelihood).__name__}, targets of "
        f"mean {mean:.3f} and standard deviation {std:.3f}"
    )


def is_regression(problem: Problem) -> bool:
    """Whether the root mean squared error of the mean says how good a fit is."""
    return isinstance(problem.likelihood(), likelihoods.Normal | likelihoods.HeteroscedasticNormal)
