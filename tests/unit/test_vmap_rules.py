"""What vmap has no rule for: S draws at once against torch's own function, draw by draw, values and gradients."""

import pytest
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from bayesian_layers.network import call
from bayesian_layers.network.vmap_rules import vmap_rules

S, N, T = 3, 4, 5


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Whole(nn.Module):
    """All that a layer returns, in one tensor with the rows in front."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        output, states = self.layer(x)
        return torch.cat([output, *_by_rows(states)], -1)


def _by_rows(states):
    for state in states if isinstance(states, tuple) else (states,):
        yield state.movedim(0, 1).flatten(1).unsqueeze(1).expand(-1, T, -1)


class Packed(nn.Module):
    """Sequences of several lengths, behind a layer that has weights itself."""

    def __init__(self, layer, total_length=T):
        super().__init__()
        self.layer = layer
        self.before = nn.Linear(2, 2)
        self.total_length = total_length

    def forward(self, x):
        first = self.layer.batch_first
        x = self.before(x) if first else self.before(x).transpose(0, 1)
        packed = pack_padded_sequence(x, torch.tensor([2, 4, 1, 3]), batch_first=first, enforce_sorted=False)
        output, states = self.layer(packed)
        f = pad_packed_sequence(output, batch_first=first, padding_value=0.5, total_length=self.total_length)[
            0
        ]
        return torch.cat([f if first else f.transpose(0, 1), *_by_rows(states)], -1)


class Cell(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell = cell

    def forward(self, x):
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return torch.cat(state, -1) if isinstance(state, tuple) else state


class Attention(nn.Module):
    """Torch's attention, with masks and weights."""

    def __init__(self, options, **call):
        super().__init__()
        self.attention = nn.MultiheadAttention(2, 2, batch_first=True, **options)
        self.call = call

    def forward(self, x):
        f, weights = self.attention(x, x.flip(1), x, **self.call)
        return f if weights is None else torch.cat([f, weights], -1)


class Own(nn.Module):
    """An attention that somebody wrote with torch's function."""

    def __init__(self, heads=2, **options):
        super().__init__()
        self.qkv = nn.Linear(2, 4 * (2 + 2 * heads) // 2)
        self.heads = heads
        self.options = options

    def forward(self, x):
        parts = self.qkv(x).unflatten(-1, (-1, 2)).mT.swapaxes(-1, -3).swapaxes(-1, -2)
        q, k, v = parts.split([2, self.heads, self.heads], dim=1)
        f = functional.scaled_dot_product_attention(q, k, v, **self.options)
        return f.movedim(1, 2).flatten(2)


CAUSAL = nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64)
SEEN = torch.ones(T, T, dtype=torch.bool).tril(1)
PADDING = torch.where(torch.arange(T) < torch.tensor([[2], [5], [1], [3]]), 0.0, -torch.inf).double()

NETWORKS = {
    "lstm": lambda: Whole(nn.LSTM(2, 3, batch_first=True)),
    "lstm, all options": lambda: Whole(nn.LSTM(2, 3, 2, batch_first=True, bidirectional=True, proj_size=2)),
    "lstm, projected, no bias": lambda: Whole(nn.LSTM(2, 3, batch_first=True, bias=False, proj_size=1)),
    "gru": lambda: Whole(nn.GRU(2, 3, 2, batch_first=True, bidirectional=True)),
    "gru, no bias": lambda: Whole(nn.GRU(2, 3, batch_first=True, bias=False)),
    "rnn": lambda: Whole(nn.RNN(2, 3, 2, batch_first=True)),
    "rnn, relu": lambda: Whole(nn.RNN(2, 3, nonlinearity="relu", batch_first=True, bias=False)),
    "lstm, packed": lambda: Packed(nn.LSTM(2, 3, 2, batch_first=True, bidirectional=True)),
    "gru, packed": lambda: Packed(nn.GRU(2, 3)),
    "lstm cell": lambda: Cell(nn.LSTMCell(2, 3)),
    "gru cell": lambda: Cell(nn.GRUCell(2, 3, bias=False)),
    "rnn cell": lambda: Cell(nn.RNNCell(2, 3)),
    "rnn cell, relu": lambda: Cell(nn.RNNCell(2, 3, nonlinearity="relu")),
    "attention": lambda: Attention({}, need_weights=False),
    "attention with weights": lambda: Attention({"add_bias_kv": True, "add_zero_attn": True}),
    "attention, each head's weights": lambda: Attention(
        {"bias": False}, average_attn_weights=False, need_weights=False
    ),
    "attention, causal": lambda: Attention({}, need_weights=False, attn_mask=CAUSAL, is_causal=True),
    "attention, padded": lambda: Attention(
        {}, need_weights=False, attn_mask=CAUSAL, key_padding_mask=PADDING
    ),
    "encoder layer": lambda: nn.TransformerEncoderLayer(2, 2, 3, batch_first=True, norm_first=True),
    "encoder": lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(2, 2, 3, batch_first=True), 2),
    "own attention": lambda: Own(),
    "own attention, causal": lambda: Own(is_causal=True),
    "own attention, masked": lambda: Own(attn_mask=SEEN),
    "own attention, masked by numbers": lambda: Own(attn_mask=CAUSAL, scale=0.3),
    "own attention, grouped": lambda: Own(heads=1, enable_gqa=True),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", NETWORKS)
def test_draws_at_once_equal_torchs_function_draw_by_draw(name, build):
    network = build(lambda: NETWORKS[name]().double().eval())
    x = randn(N, T, 2)
    draws = {
        n: randn(S, *p.shape, seed=i).requires_grad_() for i, (n, p) in enumerate(network.named_parameters())
    }
    many = call(network, {n: value[:, None] for n, value in draws.items()}, x)
    single = torch.stack(
        [functional_call(network, {n: v[s] for n, v in draws.items()}, (x,)) for s in range(S)]
    )
    torch.testing.assert_close(many, single)
    weight = randn(*single.shape, seed=99)
    slopes = (torch.autograd.grad((f * weight).sum(), list(draws.values())) for f in (many, single))
    torch.testing.assert_close(*slopes)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_without_gradients_the_fused_kernels_are_not_asked(build):
    """In evaluation torch's transformer takes a kernel that vmap would loop over, with a warning: an error here."""
    network = build(lambda: NETWORKS["encoder"]().double().eval())
    draws = {n: randn(S, 1, *p.shape, seed=i) for i, (n, p) in enumerate(network.named_parameters())}
    x = randn(N, T, 2)
    before = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        many = call(network, draws, x)
        single = [call(network, {n: v[s, 0] for n, v in draws.items()}, x) for s in range(S)]
    torch.testing.assert_close(many, torch.stack(single))
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_dropout_between_layers_and_on_attention_differs_from_draw_to_draw(build):
    x = randn(N, T, 2)
    for make in (
        lambda: Whole(nn.LSTM(2, 3, 2, batch_first=True, dropout=0.5)),
        lambda: Attention({"dropout": 0.5}, need_weights=False),
    ):
        network = build(lambda make=make: make().double().train())
        same = {n: p.detach().expand(S, 1, *p.shape) for n, p in network.named_parameters()}
        f = build(lambda network=network, same=same: call(network, same, x))
        assert not torch.allclose(f[0], f[1])
        torch.testing.assert_close(*(call(network.eval(), same, x)[s] for s in (0, 1)))


def test_networks_that_vmap_knows_pay_nothing():
    plain = nn.Sequential(nn.Linear(2, 2, device="meta"), nn.ReLU())
    assert type(vmap_rules(plain)).__name__ == "nullcontext"
    assert type(vmap_rules(nn.Sequential(plain, nn.LSTM(2, 2, device="meta")))).__name__ != "nullcontext"
