"""What is wrong with inputs that a network does not accept, or with the network: one sentence, wherever they meet."""

import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.errors import DataError, NetworkError, ShapeError
from bayesian_layers.network import explain_errors

X = torch.linspace(-1, 1, 60).reshape(20, 3)
Y = X[:, 0].sin()

pytestmark = pytest.mark.filterwarnings(
    "ignore::bayesian_layers.errors.FitWarning"
)  # of chains with one iteration


def calls(network, likelihood=None):
    """All that meets a network and its inputs for the first time."""
    model = bl.BayesianModel(bl.bayesianize(network), likelihood or bl.likelihoods.Normal(0.3))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    return {
        "fit": lambda x, y=Y: bl.fit(model, x, y, max_steps=12, progress=False),
        "stream": lambda x, y=Y: bl.fit(model, [(x, y)], num_data=20, max_steps=12, progress=False),
        "prior_predict": lambda x, *_: model.prior_predict(x, 5),
        "predict": lambda x, *_: posterior.predict(x, 5),
        "loo": lambda x, y=Y: posterior.loo(x, y, 20),
        "pit": lambda x, y=Y: posterior.pit(x, y, 20),
        "refine": lambda x, y=Y: posterior.refine(x, y, iterations=1, num_chains=16, progress=False),
    }


CALLS = ["fit", "stream", "prior_predict", "predict", "loo", "pit", "refine"]


def dense():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def refusal(error, call, *arguments):
    with pytest.raises(error) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


# Outputs that are not a tensor.


class Returning(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.layer = nn.Linear(3, 1)
        self.change = change

    def forward(self, x):
        return self.change(self.layer(x))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("change", "received"),
    [
        (
            lambda f: (f, 1),
            r"received tuple (Tensor, int). For its first entry use nn.Sequential(network, bl.Take(0)).",
        ),
        (
            lambda f: [f],
            r"received list (Tensor). For its first entry use nn.Sequential(network, bl.Take(0)).",
        ),
        (
            lambda f: {"loc": f},
            r"received dict with the keys ['loc']. Wrap it in a module that returns a tensor.",
        ),
        (lambda _: None, r"received None. End its `forward` with `return`."),
        (lambda _: 1.0, r"received float. Wrap it in a module that returns a tensor."),
    ],
    ids=["tuple", "list", "dict", "None", "float"],
)
def test_a_network_returns_a_tensor(name, change, received, build):
    call = calls(build(lambda: Returning(change)))[name]
    assert refusal(NetworkError, call, X) == f"the network must return a tensor; {received}"


def test_the_tuple_of_an_lstm_needs_the_layer_that_the_sentence_names(build):
    x, y = X.reshape(20, 3, 1), Y[:, None].expand(20, 3)
    text = refusal(NetworkError, calls(build(lambda: nn.LSTM(1, 1, batch_first=True)))["fit"], x, y)
    assert (
        "received tuple (Tensor, tuple). For its first entry use nn.Sequential(network, bl.Take(0))" in text
    )
    network = build(lambda: nn.Sequential(nn.LSTM(1, 1, batch_first=True), bl.Take(0)))
    assert calls(network)["fit"](x, y).steps == 12


def test_functions_of_a_posterior_return_tensors_too(build):
    model = bl.BayesianModel(bl.bayesianize(build(lambda: Returning(lambda f: {"f": f}))))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    assert "received dict with the keys ['f']" in refusal(NetworkError, posterior.functions(3), X)


# Integers and floating point.


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.uint8, torch.uint16])
def test_a_network_of_floats_asks_for_floats(name, dtype, build):
    text = refusal(NetworkError, calls(build(dense))[name], (X > 0).to(dtype))
    assert text == (
        f"`x` must be floating point, as the network needs; received {dtype}, shape (N, 3). Pass x.float()."
    )


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 2)
        self.layer = nn.Linear(5, 1)

    def forward(self, index, x):
        return self.layer(torch.cat([self.embedding(index), x], 1))


def test_of_two_inputs_the_one_that_is_wrong_is_named(build):
    call = calls(build(TwoInputs))["predict"]
    index = torch.arange(20) % 5
    assert call((index, X)).mean.shape == (20,)
    assert refusal(NetworkError, call, (index.byte(), X)).startswith(
        "`x[0]` must be integers, as the network"
    )
    text = refusal(NetworkError, calls(build(lambda: nn.Bilinear(3, 3, 1)))["predict"], (X, (X > 0).long()))
    assert text.startswith("`x[1]` must be floating point, as the network needs; received torch.int64")


def test_a_network_that_takes_integers_is_only_told_its_own_error(build):
    call = calls(build(lambda: nn.Sequential(nn.Embedding(5, 2), nn.Flatten(), nn.Linear(6, 1))))["predict"]
    assert call((X > 0).int()).mean.shape == (20,)
    text = refusal(NetworkError, call, torch.full((20, 3), 5))
    assert "it raised: index out of range in self" in text


# Rows.


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("width", [2, 3])  # torch applies a Linear(2, 1) to two rows of two numbers as to one
def test_one_row_needs_its_axis(name, width, build):
    call = calls(build(lambda: nn.Sequential(nn.Linear(width, 4), nn.Tanh(), nn.Linear(4, 1))))[name]
    text = refusal(ShapeError, call, X[0, :width], Y[:width])
    assert text.startswith("`x` must have shape (N, ")
    assert text.endswith(
        f"received ({width},). The first axis is that of the rows: for one row pass x[None]."
    )


@pytest.mark.parametrize("name", CALLS)
def test_one_image_needs_the_axis_of_rows(name, build):
    network = build(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 1)))
    text = refusal(ShapeError, calls(network)[name], torch.zeros(1, 6, 6), Y[:1])
    assert text == (
        "`x` must have shape (N, 1, 6, 6); received (1, 6, 6). The first axis is that of the rows: "
        "for one row pass x[None]."
    )


@pytest.mark.parametrize("name", CALLS)
def test_one_number_per_row_needs_the_axis_of_inputs(name, build):
    text = refusal(ShapeError, calls(build(lambda: nn.Linear(1, 1)))[name], X[:, 0])
    assert text == "`x` must have shape (N, 1); received (20,). For one number per row pass x[:, None]."


@pytest.mark.parametrize("name", CALLS)
def test_one_number_is_not_a_row(name, build):
    text = refusal(ShapeError, calls(build(dense))[name], torch.tensor(1.0), torch.tensor(1.0))
    assert (
        "received (). The first axis is that of the rows: for one row of one number pass x.reshape(1, 1)"
        in text
    )


def test_one_row_of_a_fitted_posterior_and_its_target(build):
    call = calls(build(dense))["fit"]
    posterior = call(X).posterior
    assert "for one row pass x[None]" in refusal(ShapeError, posterior.predict, X[0], 5)
    assert posterior.predict(X[0][None], 5).mean.shape == posterior.predict(X[:1], 5).mean.shape == (1,)
    assert "for one row pass x[None] and y[None]" in refusal(ShapeError, call, X[0], Y[0])


def test_a_long_input_is_not_tried_as_one_row(build):
    tried = []

    class Failing(nn.Linear):
        def forward(self, x):
            tried.append(tuple(x.shape))
            raise RuntimeError("too large")

    network = build(lambda: Failing(2, 1))
    with (
        pytest.raises(NetworkError, match="it raised: too large"),
        explain_errors(network, torch.zeros(5000, 2)),
    ):
        network(torch.zeros(5000, 2))
    assert (1, 5000, 2) not in tried


# Dtypes of the network.


def mixed(first, second):
    network = dense()
    network[0].to(first)
    network[2].to(second)
    return network


@pytest.mark.parametrize("name", ["fit", "stream", "prior_predict", "predict", "loo", "pit"])
@pytest.mark.parametrize(
    "dtypes",
    [(torch.float64, torch.float32), (torch.float32, torch.float64), (torch.float32, torch.bfloat16)],
    ids=str,
)
def test_a_network_of_two_dtypes_is_named(name, dtypes, build):
    text = refusal(NetworkError, calls(build(lambda: mixed(*dtypes)))[name], X)
    assert text == (
        "the parameters of the network must have one dtype, that of inputs and draws; received `0.weight` of "
        f"{dtypes[0]} and `2.weight` of {dtypes[1]}. Convert all of them, for instance by network.float()."
    )


class Casting(nn.Module):
    """Two layers of different dtypes, between which the network converts."""

    def __init__(self, frozen):
        super().__init__()
        self.first = nn.Linear(3, 4).bfloat16().requires_grad_(not frozen)
        self.second = nn.Linear(4, 1)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x.bfloat16())).float())


def test_frozen_parameters_of_another_dtype_stay(build):
    named = calls(build(lambda: Casting(frozen=True)))
    assert named["fit"](X).steps == 12
    for name in CALLS[2:]:
        named[name](X)
    text = refusal(NetworkError, named["predict"], torch.zeros(20, 5))
    assert "it raised: mat1 and mat2 shapes" in text  # not the dtypes


@pytest.mark.parametrize("name", ["fit", "predict", "loo", "refine"])
def test_draws_have_one_dtype_so_trained_parameters_must(name, build):
    text = refusal(NetworkError, calls(build(lambda: Casting(frozen=False)))[name], X)
    assert "received `first.weight` of torch.bfloat16 and `second.weight` of torch.float32" in text


class Buffered(nn.Module):
    def __init__(self, buffer):
        super().__init__()
        self.register_buffer("factor", buffer)
        self.layer = nn.Linear(3, 1)

    def forward(self, x):
        return self.layer((x * self.factor).abs())


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64])
def test_complex_and_integer_buffers_stay(dtype, build):
    named = calls(build(lambda: Buffered(torch.ones(3, dtype=dtype))))
    for name in CALLS:
        named[name](X)


def test_a_buffer_of_another_dtype_is_named(build):
    text = refusal(NetworkError, calls(build(lambda: Buffered(torch.ones(3).double())))["fit"], X)
    assert "received `layer.weight` of torch.float32 and `factor` of torch.float64" in text


class Elementwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.shift = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x):
        return (x * self.weight).sum(1, keepdim=True) + self.shift


def test_dtypes_that_torch_promotes_are_no_error():
    named = calls(Elementwise())
    for name in CALLS:
        named[name](X)


# Targets.


@pytest.mark.parametrize("name", ["fit", "stream", "loo", "pit", "refine"])
def test_targets_are_within_the_range_of_the_network(name, build):
    text = refusal(DataError, calls(build(dense))[name], X, Y.double() * 1e300)
    assert text.startswith(
        "`y` must be within the range of torch.float32, the dtype of the network; received values"
    )
    wide = bl.BayesianModel(bl.bayesianize(build(dense).double()), bl.likelihoods.Normal(1e100))
    posterior = bl.Posterior.from_guide(wide, bl.guides.MeanFieldNormal(wide))
    assert posterior.loo(X, Y.double() * 1e100, 20).pointwise.shape == (20,)


def test_held_out_targets_and_weights_are_within_the_range_too(build):
    model = bl.BayesianModel(bl.bayesianize(build(dense)), bl.likelihoods.Normal(0.3))
    huge = torch.full((20,), 1e300, dtype=torch.float64)
    for name, options in {"y": {"validation": (X, huge)}, "sample_weight": {"sample_weight": huge}}.items():
        with pytest.raises(
            DataError, match=rf"`{name}` must be within the range of torch.float32.* up to 1e\+300"
        ):
            bl.fit(model, X, Y, max_steps=1, progress=False, **options)
