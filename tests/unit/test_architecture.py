"""Networks in JSON's types and back: what is described, what is refused, and what a description may cost."""

import copy

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.errors import StorageError
from bayesian_layers.saving import architecture
from bayesian_layers.saving.architecture import known

DESCRIBED = {
    "bilinear": lambda k: k.Bilinear(2, 3, 4, bias=False),
    "convolution": lambda k: k.Conv2d(2, 4, (3, 2), (1, 2), (1, 0), 1, 2, False, "circular"),
    "same": lambda k: k.Conv1d(2, 4, 3, padding="same"),
    "transposed": lambda k: k.ConvTranspose2d(4, 2, 3, 2, 1, 1, 2, False, 2),
    "embedding": lambda k: k.Embedding(5, 3, padding_idx=-1),
    "lstm": lambda k: k.LSTM(
        2, 3, 2, bias=False, batch_first=True, dropout=0.1, bidirectional=True, proj_size=2
    ),
    "gru": lambda k: k.GRU(2, 3, bidirectional=True),
    "rnn": lambda k: k.RNN(2, 3, nonlinearity="relu"),
    "attention": lambda k: k.MultiheadAttention(
        4, 2, 0.2, False, True, True, kdim=3, vdim=5, batch_first=True
    ),
    "transformer": lambda k: k.TransformerEncoderLayer(4, 2, 5, 0.2, "gelu", 1e-4, True, True, False),
    "layer norm": lambda k: k.LayerNorm((2, 3), 1e-4, bias=False),
    "group norm": lambda k: k.GroupNorm(2, 4, affine=False),
    "batch norm": lambda k: k.BatchNorm1d(3, 1e-4, None, track_running_stats=False),
    "self attention": lambda k: bl.SelfAttention(k.MultiheadAttention(4, 2, batch_first=True)),
    "take": lambda _: bl.Take(0, step=-2, batch_first=False),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nn, bl], ids=["torch", "twins"])
@pytest.mark.parametrize("name", DESCRIBED)
def test_a_layer_comes_back_with_all_its_arguments(name, kind, build):
    network = build(lambda: nn.Sequential(DESCRIBED[name](kind), nn.Identity()))
    document = architecture.describe(network)
    assert document is not None
    twin = architecture.build(document)
    assert type(twin[0]) is type(network[0])
    assert [(n, v.shape) for n, v in twin.state_dict().items()] == [
        (n, v.shape) for n, v in network.state_dict().items()
    ]
    assert all(value.is_meta for value in twin.state_dict().values())
    assert architecture.describe(twin) == document
    assert str(twin).splitlines()[1].split(" ~ ")[0] == str(network).splitlines()[1].split(" ~ ")[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer.dropout1, "p", 0.7),
        lambda layer: setattr(layer, "linear1", nn.Sequential(layer.linear1)),
        lambda layer: setattr(layer, "linear2", bl.Linear(5, 4)),
        lambda layer: setattr(layer, "activation", torch.tanh),
        lambda layer: setattr(layer, "activation", nn.GELU()),
        lambda layer: layer.linear1.register_forward_hook(lambda *_: None),
        lambda layer: setattr(layer.norm2, "eps", 0.1),
        lambda layer: layer.register_parameter("more", nn.Parameter(torch.ones(1))),
        lambda layer: setattr(layer.linear2, "bias", layer.norm1.bias),
    ],
)
def test_a_layer_that_its_arguments_do_not_say_is_not_described(change, build):
    layer = build(lambda: bl.TransformerEncoderLayer(4, 2, 5))
    assert architecture.describe(layer) is not None
    build(lambda: change(layer))
    assert architecture.describe(layer) is None


def lstm(**changes):
    arguments = {"input_size": 2, "hidden_size": 3, "num_layers": 1}
    return {"class": "bayesian_layers.LSTM", "arguments": arguments | changes}


@pytest.mark.parametrize(
    "document",
    [
        lstm(num_layers=10**6),
        lstm(num_layers=True),
        lstm(dropout=float("nan")),
        lstm(prior={"name": "Normal"}),
        lstm(device="cuda"),
        lstm(hidden_size=0),
        {
            "class": "bayesian_layers.Embedding",
            "arguments": {"num_embeddings": 2, "embedding_dim": 2, "max_norm": 1.0},
        },
        {
            "class": "bayesian_layers.Embedding",
            "arguments": {"num_embeddings": 2, "embedding_dim": 2, "_weight": [1.0]},
        },
        {"class": "bayesian_layers.SelfAttention", "arguments": {"attention": lstm()}},
        {"class": "bayesian_layers.SelfAttention", "arguments": {"attention": None}},
        {"class": "bayesian_layers.SelfAttention", "arguments": {}},
        {"class": "bayesian_layers.Take", "arguments": {"entry": 0.0}},
        {"class": "bayesian_layers.flows"},
        {"class": "torch.nn.Module", "arguments": {}},
    ],
)
def test_descriptions_of_nothing_are_refused(document):
    with pytest.raises(StorageError):
        architecture.build(document)


def test_a_description_that_nests_without_end_is_refused():
    document = {"class": "torch.nn.Identity", "arguments": {}}
    for _ in range(80):
        document = {"class": "bayesian_layers.SelfAttention", "arguments": {"attention": document}}
    for ask in (architecture.build, architecture.most_memory):
        with pytest.raises(StorageError, match="nest"):
            ask(document)


def test_memory_is_bounded_by_what_layers_make_inside():
    one, many = (architecture.most_memory(lstm(num_layers=n)) for n in (1, 500))
    assert many == 500 * one
    inside = {"class": "bayesian_layers.MultiheadAttention", "arguments": {"embed_dim": 4, "num_heads": 2}}
    outside = {"class": "bayesian_layers.SelfAttention", "arguments": {"attention": inside}}
    assert architecture.most_memory(outside) > architecture.most_memory(inside)


def test_the_modules_counted_are_at_least_those_there_are(build):
    for name, make in DESCRIBED.items():
        layer = build(lambda make=make: make(bl))
        arguments = {n: known.argument(layer, n) for n in known.arguments_of(type(layer))}
        inside = sum(
            1
            for value in arguments.values()
            for _ in (value.modules() if isinstance(value, nn.Module) else ())
        )
        own = sum(1 for _ in layer.modules()) - inside
        assert known.modules_in(type(layer), arguments) >= own, name


def test_priors_of_layers_inside_a_layer_are_described(build, tmp_path):
    layer = build(
        lambda: bl.TransformerEncoderLayer(4, 2, 5, batch_first=True, prior=bl.priors.Normal(scale=0.3))
    )
    network = nn.Sequential(layer, nn.Flatten(), build(lambda: bl.Linear(8, 1)))
    bayesian = bl.bayesianize(copy.deepcopy(network), only=nn.LayerNorm)
    model = bl.BayesianModel(bayesian, bl.likelihoods.Normal(1.0))
    bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model)).save(tmp_path / "p")
    loaded = bl.load(tmp_path / "p").model.sites()
    assert {n: site.prior for n, site in loaded.items()} == {
        n: site.prior for n, site in model.sites().items()
    }
