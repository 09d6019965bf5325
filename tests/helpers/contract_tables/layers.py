"""The table of layers for ``tests/contract/test_layers.py``: one row per layer, with a small network that contains it.

By default inputs are standard normal, targets are standard normal in the shape of the outputs, and the likelihood is
Normal with learned noise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

import bayesian_layers as bl
from bayesian_layers.noise import seeded

N = 6


@dataclass(frozen=True)
class Row:
    """One layer in a small network.

    Attributes:
        build: Makes the network, of the library's layers.
        shape: Shape of one row's input; or the inputs, a tensor or a tuple of tensors of N rows.
        torchs: Makes the same network of torch's own layers, for ``bayesianize``; ``None`` for a layer that torch
            does not have.
        covers: The sites that each estimator treats; all other sites are reparameterized.
        likelihood: The likelihood of the model.
        y: Targets.
        stored: Whether files describe the network, so that ``bl.load`` needs none.
    """

    build: Callable[[], nn.Module]
    shape: Any
    torchs: Callable[[], nn.Module] | None = None
    covers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    likelihood: Any = field(default_factory=lambda: bl.likelihoods.Normal("learned"))
    y: Tensor | None = None
    stored: bool = True

    def network(self, dtype=torch.float64):
        return self._made(self.build, dtype)

    def torchs_network(self, dtype=torch.float64):
        return self._made(self.torchs, dtype)

    def _made(self, build, dtype):
        with seeded(1):
            network = build().to(dtype)
            if any(name.endswith("running_mean") for name, _ in network.named_buffers()):
                network(self.inputs(dtype))  # batch normalisation sees data before a fit
        return network.eval()

    def inputs(self, dtype=torch.float64):
        def cast(part):
            return part.to(dtype) if part.is_floating_point() else part

        if isinstance(self.shape, Tensor):
            return cast(self.shape)
        if isinstance(self.shape[0], Tensor):
            return tuple(map(cast, self.shape))
        return randn(N, *self.shape).to(dtype)

    def targets(self, dtype=torch.float64):
        if self.y is not None:
            return self.y.to(dtype) if self.y.is_floating_point() else self.y
        x = self.inputs()
        f = self.network()(*(x if isinstance(x, tuple) else (x,)))
        return randn(*(f.shape[:-1] if f.shape[-1] == 1 else f.shape), seed=3).to(dtype)

    def model(self, dtype=torch.float64):
        return bl.BayesianModel(self.network(dtype), self.likelihood)


def randn(*shape, seed=2):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def both(build):
    """One network, of the library's layers (where there are any) and of torch's."""
    return {"build": lambda: build(bl), "torchs": lambda: build(nn)}


def headed(layer, size, *between):
    """A network that ends in a dense layer of either kind."""
    return lambda kind: nn.Sequential(
        layer(kind), *(part() for part in between), nn.Flatten(), kind.Linear(size, 1)
    )


TOKENS = torch.arange(3 * N).reshape(N, 3) % 5  # row 0 is padding
HEAD = ("2.weight",)
CONVOLVED = {"local": ("3.weight", "3.bias"), "flipout": ("0.weight", "3.weight")}


class Pair(nn.Module):
    """Two inputs into a bilinear layer."""

    def __init__(self, kind):
        super().__init__()
        self.layer = kind.Bilinear(2, 3, 2)

    def forward(self, a, b):
        return self.layer(a, b)


class Padded(nn.Module):
    """A transformer that does not look at padding."""

    def __init__(self, kind):
        super().__init__()
        self.layer = kind.TransformerEncoderLayer(4, 2, 5, batch_first=True)
        self.head = kind.Linear(4, 1)

    def forward(self, x, padding):
        h = self.layer(x, src_key_padding_mask=padding)
        return self.head((h * ~padding.unsqueeze(-1)).sum(1))


class Packed(nn.Module):
    """A recurrent layer on sequences of several lengths."""

    def __init__(self, kind):
        super().__init__()
        self.layer = kind.GRU(2, 3, batch_first=True)
        self.head = kind.Linear(3, 1)

    def forward(self, x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return self.head(self.layer(packed)[1][-1])


class Steps(nn.Module):
    """A recurrent cell in a loop over time."""

    def __init__(self, kind, cell):
        super().__init__()
        self.cell = getattr(kind, cell)(2, 3)
        self.head = kind.Linear(3, 1)

    def forward(self, x):
        state = None
        for part in x.unbind(1):
            state = self.cell(part, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class Tied(nn.Module):
    """An embedding whose weight is the decoder's too."""

    def __init__(self, kind):
        super().__init__()
        self.encoder = kind.Embedding(5, 3, padding_idx=0)
        self.decoder = kind.Linear(3, 5)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        return self.decoder(self.encoder(x).mean(1).tanh())


def normalised(layer, *shape):
    """A convolution of so many axes, normalised."""

    def build(kind):
        convolve = getattr(kind, f"Conv{len(shape)}d")
        return nn.Sequential(
            convolve(1, 2, 1), layer(kind), nn.Tanh(), nn.Flatten(), kind.Linear(2 * 2 ** len(shape), 1)
        )

    return build


BEHIND_NORM = {"local": ("4.weight", "4.bias"), "flipout": ("0.weight", "4.weight")}
COUPLED = tuple(f"0.steps.{i}.network.{j}.weight" for i in (0, 1) for j in (0, 2))
MASK = torch.tensor([[False, False, i % 2 == 0] for i in range(N)])

LAYERS: dict[str, Row] = {
    "Linear": Row(
        **both(lambda kind: nn.Sequential(kind.Linear(2, 3), nn.Tanh(), kind.Linear(3, 1))),
        shape=(2,),
        covers={"local": ("0.weight", "0.bias", "2.weight", "2.bias"), "flipout": ("0.weight", "2.weight")},
    ),
    "Linear on sequences": Row(
        **both(lambda kind: nn.Sequential(kind.Linear(2, 2), nn.Tanh(), nn.Flatten(), kind.Linear(6, 1))),
        shape=(3, 2),
        covers=CONVOLVED,
    ),
    "Bilinear": Row(
        **both(Pair),
        shape=(randn(N, 2), randn(N, 3, seed=5)),
        stored=False,
        covers={"local": ("layer.weight", "layer.bias"), "flipout": ("layer.weight",)},
    ),
    **{
        f"Conv{axes}d": Row(
            **both(headed(lambda kind, axes=axes: getattr(kind, f"Conv{axes}d")(2, 2, 2), 2, nn.Tanh)),
            shape=(2, *[2] * axes),
            covers=CONVOLVED,
        )
        for axes in (1, 2, 3)
    },
    **{
        f"ConvTranspose{axes}d": Row(
            **both(
                headed(
                    lambda kind, axes=axes: getattr(kind, f"ConvTranspose{axes}d")(2, 1, 2), 3**axes, nn.Tanh
                )
            ),
            shape=(2, *[2] * axes),
            covers=CONVOLVED,
        )
        for axes in (1, 2, 3)
    },
    "Embedding": Row(
        **both(headed(lambda kind: kind.Embedding(5, 2, padding_idx=0), 6)),
        shape=TOKENS,
        covers={"local": ("2.weight", "2.bias"), "flipout": ("2.weight",)},
    ),
    "Embedding, tied": Row(**both(Tied), shape=TOKENS, stored=False, covers={"local": ("decoder.bias",)}),
    "LSTM": Row(
        lambda: nn.Sequential(bl.LSTM(2, 2, batch_first=True), bl.Take(0, step=-1), bl.Linear(2, 1)),
        (3, 2),
        lambda: nn.Sequential(nn.LSTM(2, 2, batch_first=True), bl.Take(0, step=-1), nn.Linear(2, 1)),
        covers={"local": ("2.weight", "2.bias"), "flipout": HEAD},
    ),
    "GRU, bidirectional": Row(
        lambda: nn.Sequential(
            bl.GRU(2, 2, num_layers=2, bidirectional=True, batch_first=True),
            bl.Take(0, step=0),
            bl.Linear(4, 1),
        ),
        (3, 2),
        lambda: nn.Sequential(
            nn.GRU(2, 2, num_layers=2, bidirectional=True, batch_first=True),
            bl.Take(0, step=0),
            nn.Linear(4, 1),
        ),
        covers={"local": ("2.weight", "2.bias"), "flipout": HEAD},
    ),
    "GRU, packed": Row(
        **both(Packed),
        shape=(randn(N, 3, 2), torch.tensor([3, 1, 2, 3, 2, 1])),
        stored=False,
        covers={"local": ("head.weight", "head.bias"), "flipout": ("head.weight",)},
    ),
    "RNN": Row(
        lambda: nn.Sequential(
            bl.RNN(2, 2, nonlinearity="relu", batch_first=True), bl.Take(0, step=-1), bl.Linear(2, 1)
        ),
        (3, 2),
        lambda: nn.Sequential(
            nn.RNN(2, 2, nonlinearity="relu", batch_first=True), bl.Take(0, step=-1), nn.Linear(2, 1)
        ),
        covers={"local": ("2.weight", "2.bias"), "flipout": HEAD},
    ),
    **{
        cell: Row(
            **both(lambda kind, cell=cell: Steps(kind, cell)),
            shape=(3, 2),
            stored=False,
            covers={"local": ("head.weight", "head.bias"), "flipout": ("head.weight",)},
        )
        for cell in ("LSTMCell", "GRUCell", "RNNCell")
    },
    "MultiheadAttention": Row(
        lambda: nn.Sequential(
            bl.SelfAttention(bl.MultiheadAttention(4, 2, batch_first=True)), nn.Flatten(), bl.Linear(12, 1)
        ),
        (3, 4),
        lambda: nn.Sequential(
            bl.SelfAttention(nn.MultiheadAttention(4, 2, batch_first=True)), nn.Flatten(), nn.Linear(12, 1)
        ),
        covers={"local": ("2.weight", "2.bias"), "flipout": HEAD},
    ),
    "TransformerEncoderLayer": Row(
        **both(headed(lambda kind: kind.TransformerEncoderLayer(4, 2, 5, batch_first=True), 12)),
        shape=(3, 4),
        covers={
            "local": ("2.weight", "2.bias"),
            "flipout": ("0.linear1.weight", "0.linear2.weight", "2.weight"),
        },
    ),
    "TransformerEncoderLayer, padded": Row(
        **both(Padded),
        shape=(randn(N, 3, 4), MASK),
        stored=False,
        covers={
            "local": ("head.weight", "head.bias"),
            "flipout": ("layer.linear1.weight", "layer.linear2.weight", "head.weight"),
        },
    ),
    "PReLU": Row(
        **both(lambda kind: nn.Sequential(kind.Linear(2, 3), kind.PReLU(3), kind.Linear(3, 1))),
        shape=(2,),
        covers={
            "local": ("0.weight", "0.bias", "1.weight", "2.weight", "2.bias"),
            "flipout": ("0.weight", "1.weight", "2.weight"),
        },
    ),
    "PReLU, one slope for an image": Row(
        **both(headed(lambda kind: kind.Conv2d(2, 2, 1), 8, lambda: bl.PReLU())),
        shape=(2, 2, 2),
        covers={"local": ("3.weight", "3.bias"), "flipout": ("0.weight", "1.weight", "3.weight")},
    ),
    "LayerNorm": Row(
        **both(
            lambda kind: nn.Sequential(kind.Linear(2, 3), kind.LayerNorm(3), nn.Tanh(), kind.Linear(3, 1))
        ),
        shape=(2,),
        covers={"local": ("0.weight", "0.bias", "3.weight", "3.bias"), "flipout": ("0.weight", "3.weight")},
    ),
    "RMSNorm": Row(
        **both(lambda kind: nn.Sequential(kind.Linear(2, 3), kind.RMSNorm(3), nn.Tanh(), kind.Linear(3, 1))),
        shape=(2,),
        covers={"local": ("0.weight", "0.bias", "3.weight", "3.bias"), "flipout": ("0.weight", "3.weight")},
    ),
    "GroupNorm": Row(
        **both(normalised(lambda kind: kind.GroupNorm(1, 2), 2)), shape=(1, 2), covers=BEHIND_NORM
    ),
    **{
        f"BatchNorm{axes}d": Row(
            **both(normalised(lambda kind, axes=axes: getattr(kind, f"BatchNorm{axes}d")(2), *[2] * axes)),
            shape=(1, *[2] * axes),
            covers=BEHIND_NORM,
        )
        for axes in (1, 2, 3)
    },
    "LayerNorm with a prior": Row(
        lambda: nn.Sequential(
            bl.Linear(2, 3), bl.LayerNorm(3, prior=bl.priors.Normal(1.0, 0.5)), bl.Linear(3, 1)
        ),
        (2,),
        covers={"local": ("0.weight", "0.bias", "2.weight", "2.bias"), "flipout": ("0.weight", "2.weight")},
    ),
    "GaussianProcess": Row(
        lambda: bl.GaussianProcess(2, 1, num_inducing=4, kernel="matern32", num_frequencies=5),
        (2,),
        covers={"local": ("inducing_values",)},
    ),
    "GaussianProcess, deep": Row(
        lambda: nn.Sequential(
            bl.GaussianProcess(2, 3, num_inducing=4, mean="linear", num_frequencies=5),
            bl.GaussianProcess(
                3, 2, num_inducing=4, num_frequencies=5, lengthscale_prior=bl.priors.LogNormal()
            ),
        ),
        (2,),
        covers={"local": ("0.inducing_values", "1.inducing_values")},
    ),
    "GaussianProcess, behind a dense layer": Row(
        lambda: nn.Sequential(
            bl.Linear(2, 3),
            nn.Tanh(),
            bl.GaussianProcess(3, 1, num_inducing=4, kernel="matern52", num_frequencies=5),
        ),
        (2,),
        covers={"local": ("0.weight", "0.bias", "2.inducing_values"), "flipout": ("0.weight",)},
    ),
    **{
        kind: Row(
            lambda kind=kind, options=options: nn.Sequential(
                getattr(bl, kind)(2, (3,), **options), bl.Take(0), bl.Linear(2, 1)
            ),
            (2,),
            covers={
                "local": (
                    *coupled,
                    *(weight.replace("weight", "bias") for weight in coupled),
                    *HEAD,
                    "2.bias",
                ),
                "flipout": (*coupled, *HEAD),
            },
        )
        for kind, options, coupled in (
            ("RealNVP", {"layers": 2}, COUPLED),
            ("NeuralSpline", {"layers": 2, "bins": 3}, COUPLED),
        )
    },
    **{
        kind: Row(  # masked weights do not go straight into their layer
            lambda kind=kind, options=options: nn.Sequential(
                getattr(bl, kind)(2, (3,), **options), bl.Take(0), bl.Linear(2, 1)
            ),
            (2,),
            covers={"local": (*biases, *HEAD, "2.bias"), "flipout": HEAD},
        )
        for kind, options, biases in (
            ("MADE", {}, ("0.network.0.linear.bias", "0.network.2.linear.bias")),
            (
                "MAF",
                {"layers": 2},
                tuple(f"0.steps.{i}.network.{j}.linear.bias" for i in (0, 1) for j in (0, 2)),
            ),
        )
    },
    "a sentence": Row(
        lambda: nn.Sequential(
            bl.Embedding(5, 2, padding_idx=0),
            bl.LSTM(2, 2, batch_first=True),
            bl.Take(0, step=-1),
            bl.Linear(2, 1),
        ),
        TOKENS,
        covers={"local": ("3.weight", "3.bias"), "flipout": ("3.weight",)},
    ),
}
