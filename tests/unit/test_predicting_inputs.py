"""Inputs, targets, seeds and contexts that predictions meet: each works, or is refused in one sentence."""

import functools

import numpy as np
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.errors import DataError, NetworkError, ShapeError
from bayesian_layers.noise import seeded
from unusual_tensors import nested, quantized

X = torch.linspace(-1, 1, 12).reshape(6, 2)
Y = X[:, 0].sin()


@pytest.fixture
def model(build):
    network = build(lambda: nn.Sequential(bl.Linear(2, 3), nn.Tanh(), bl.Linear(3, 1)))
    return bl.BayesianModel(network, bl.likelihoods.Normal(0.5))


@pytest.fixture
def posterior(model):
    return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.3))


@pytest.fixture
def embedding(build):
    network = build(lambda: nn.Sequential(bl.Embedding(4, 3), nn.Flatten(), bl.Linear(6, 1)))
    model = bl.BayesianModel(network, bl.likelihoods.Normal(0.5))
    return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.3))


def predictions(posterior):
    """Everything that takes `x` alone, and what also takes `y`."""
    return {
        "predict": lambda x: posterior.predict(x, 5),
        "blocks": lambda x: posterior.predict([x], 5),
        "draws": lambda x: posterior.draws(x, 5),
        "over_draws": lambda x: posterior.over_draws(lambda drawn: drawn.f[0], x, num_draws=5),
        "prior_predict": lambda x: posterior.model.prior_predict(x, 5),
        "loo": lambda x: posterior.loo(x, torch.zeros(6 if x.is_nested else len(x)), 5),
    }


@pytest.fixture(params=["predict", "blocks", "draws", "over_draws", "prior_predict", "loo"])
def predict(request, posterior):
    return predictions(posterior)[request.param]


def is_one_sentence(error):
    return "\n" not in str(error) and len(str(error)) < 400


OTHERS = {
    "int64": X.long(),
    "int32": X.int(),
    "bool": X > 0,
    "uint8": X.abs().byte(),
    "complex": X.cfloat(),
    "sparse": X.to_sparse(),
    "meta": X.to("meta"),
    "float8": X.to(torch.float8_e4m3fn),
    "nested": nested(X, X[:2]),
    "jagged": nested(X, X[:2], layout=torch.jagged),
    "quantized": quantized(X),
}


@pytest.mark.parametrize("name", OTHERS)
def test_tensors_that_the_network_cannot_take_are_refused_in_one_sentence(predict, name):
    with pytest.raises(DataError, match="`x`") as caught:
        predict(OTHERS[name])
    assert is_one_sentence(caught.value)


def test_integers_are_told_how_to_become_floats(predict):
    sentence = r"`x` must be floating point, .* received torch\.int64, shape \(N, 2\)\. Pass x\.float\(\)\.$"
    with pytest.raises(NetworkError, match=sentence) as caught:
        predict(X.long())
    assert "same dtype" in caught.value.reason
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("x", [torch.zeros(6, 5), torch.zeros(5), torch.zeros(6, 2, 3)])
def test_a_wrong_width_is_refused_in_one_sentence(predict, x):
    with pytest.raises((NetworkError, ShapeError), match=r"`x` (of|must have) shape \(N,.*\)") as caught:
        predict(x)
    assert is_one_sentence(caught.value)


def test_a_wrong_width_of_later_blocks_is_refused_as_well(posterior):
    with pytest.raises(ShapeError, match=r"`x` must have shape \(N, 2\); received \(4, 5\)"):
        posterior.predict(iter([X, torch.zeros(4, 5)]), 5)
    with pytest.raises(NetworkError, match=r"`x` of shape \(N, 5\)"):  # a block that is not joined to others
        posterior.predict(iter([torch.zeros(2**16, 2), torch.zeros(2**16, 5)]), 2)


def test_values_beyond_the_networks_dtype_are_refused(predict, posterior):
    huge = X.double()
    huge[3, 1] = -1e300
    with pytest.raises(DataError, match=r"`x` must be within the range of torch.float32.* up to 1e\+300"):
        predict(huge)
    wide = bl.Posterior.from_samples(
        bl.BayesianModel(posterior.model.network.double(), bl.likelihoods.Normal(0.5)), posterior.sample(5)
    )
    assert wide.predict(huge, 5).mean.isfinite().all()  # float64 holds them


def test_indices_of_embeddings_stay_integers(embedding):
    for dtype in (torch.int64, torch.int32):
        assert embedding.predict(torch.ones(6, 2, dtype=dtype), 5).mean.shape == (6,)
        assert embedding.model.prior_predict(torch.ones(6, 2, dtype=dtype), 5).mean.shape == (6,)
    integers = r"`x` must be integers, .*; received torch\.(float32|uint8), .*Pass x\.long\(\)\.$"
    general = "the network must accept the inputs"
    for wrong, sentence in (
        (torch.full((6, 2), 9), general),
        (torch.full((6, 2), -1), general),
        (torch.full((6, 2), 0.5), general),
        (torch.ones(6, 2), integers),
        (torch.ones(6, 2).byte(), integers),
    ):
        for predict in (embedding.predict, embedding.model.prior_predict):
            with pytest.raises(NetworkError, match=sentence) as caught:
                predict(wrong, 5)
            assert is_one_sentence(caught.value)


def test_an_error_of_the_networks_own_is_still_a_runtime_error(build):
    class Failing(nn.Linear):
        def forward(self, x):
            raise RuntimeError("too much\nand more")

    model = bl.BayesianModel(bl.bayesianize(build(lambda: Failing(2, 1))), bl.likelihoods.Normal(1.0))
    with pytest.raises(RuntimeError, match=r"it raised: too much\.$"):
        model.prior_predict(X, 5)


@pytest.mark.parametrize("seed", [2**63 - 2, 2**63 - 1, 2**63, 2**64 - 1, np.int64(3), np.uint64(2**64 - 1)])
def test_seeds_of_64_bits_work_everywhere(posterior, seed):
    for call in (posterior.predict, posterior.model.prior_predict):
        assert torch.equal(call(X, 5, seed).mean, call(X, 5, int(seed)).mean)
    for call in (posterior.to_arviz, posterior.pit, posterior.loo):
        call(X, Y, 5, seed)
    posterior.predictive_check(X, Y, num_draws=5, seed=seed)
    bl.Posterior.from_samples(posterior.model, posterior.sample(5)).predict(X, 5, seed)
    drawn = posterior.draws(X, 5, seed)
    bl.predictive.crps(drawn, Y, seed)


@pytest.mark.parametrize("seed", [-1, 2**64, 2**130, 1.0, True, "0", None])
def test_other_seeds_are_refused(posterior, seed):
    for call in (posterior.predict, posterior.model.prior_predict):
        with pytest.raises(DataError, match="`seed` must be an integer from 0"):
            call(X, 5, seed)
    for call in (posterior.sample, posterior.summary, posterior.functions):
        with pytest.raises(DataError, match="`seed` must be an integer from 0"):
            call(5, seed)
    with pytest.raises(DataError, match="`seed` must be an integer from 0"):
        posterior.pit(X, Y, 5, seed)
    with pytest.raises(DataError, match="`seed` must be an integer from 0"):
        posterior.refine(X, Y, seed=seed, progress=False)
    with pytest.raises(DataError, match="`seed` must be an integer from 0"):
        bl.metrics.pit(Y, posterior.draws(X, 5).f[..., 0], seed)


@pytest.mark.parametrize("num_draws", [0, -1, 2.0, True, None])
def test_numbers_of_draws_are_checked(posterior, num_draws):
    for call in (posterior.predict, posterior.model.prior_predict):
        with pytest.raises(DataError, match="`num_draws` must be an integer, 1 or more"):
            call(X, num_draws)


CONTEXTS = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": functools.partial(torch.autocast, "cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_contexts_of_torch_change_no_number(posterior, embedding, name):
    def numbers():
        drawn = posterior.draws(X, 5)
        yield posterior.predict(X, 5).std
        yield posterior.predict([X[:2], X[2:]], 5, max_memory=5000).std
        yield posterior.model.prior_predict(X, 5).std
        yield embedding.predict(torch.ones(3, 2, dtype=torch.int64), 5).std  # by vmap
        yield bl.predictive.log_prob(drawn, Y)
        yield bl.predictive.quantiles(drawn, [0.1, 0.9])
        yield posterior.over_draws(bl.predictive.crps, X, Y, num_draws=5)

    expected = list(numbers())
    with CONTEXTS[name]():
        found = list(numbers())
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (Y.numpy(), TypeError, "must be a torch tensor; received ndarray. Use torch.as_tensor"),
        (Y.tolist(), TypeError, "must be a torch tensor; received list"),
        (Y.cfloat(), DataError, "real numbers; received torch.complex64"),
        (Y.to_sparse(), DataError, "dense tensor"),
        (Y.to("meta"), DataError, "with values"),
        (Y[:5], ShapeError, "must have shape"),
    ],
)
def test_targets_of_another_kind_are_refused(posterior, y, error, match):
    drawn = posterior.draws(X, 5)
    for call in (bl.predictive.log_prob, bl.predictive.crps):
        with pytest.raises(error, match=f"`y` .*{match}"):
            call(drawn, y)
    with pytest.raises(error, match=rf"`per_row\[0\]` .*{match}"):
        posterior.over_draws(bl.predictive.log_prob, X, y, num_draws=5)
    for call in (
        posterior.loo,
        posterior.k_hat,
        posterior.to_arviz,
        posterior.pit,
        posterior.predictive_check,
    ):
        with pytest.raises(error, match=f"`y` .*{match}"):
            call(X, y, num_draws=5)


@pytest.mark.parametrize(
    "likelihood", [bl.likelihoods.Bernoulli(), bl.likelihoods.Poisson(), bl.likelihoods.StudentT(3.0)]
)
def test_complex_targets_are_refused_by_the_program_too(model, likelihood):
    model = bl.BayesianModel(model.network, likelihood)
    with seeded(0), pytest.raises(DataError, match=r"`y` must be a tensor of real numbers"):
        model(X, torch.ones(6).cfloat())


def test_samples_of_another_kind_are_refused(model, posterior):
    draws = posterior.sample(5)

    def changed(change):
        return {**draws, "0.weight": change(draws["0.weight"])}

    for change, match in (
        (torch.Tensor.cfloat, "real numbers; received torch.complex64"),
        (lambda value: value.to("meta"), "with values"),
        (torch.Tensor.to_sparse, "dense tensor"),
        (lambda value: value.double() * 1e300, "NaN or infinite"),  # as float32
        (lambda value: value * torch.nan, "NaN or infinite"),
    ):
        with pytest.raises(DataError, match=rf"`samples\['0.weight'\]` .*{match}"):
            bl.Posterior.from_samples(model, changed(change))
    plain = {name: value.numpy() for name, value in draws.items()}  # as NUTS in JAX or NumPy gives them
    stored = bl.Posterior.from_samples(model, plain)
    torch.testing.assert_close(stored.predict(X, 5).mean, posterior.predict(X, 5).mean)


def test_draws_take_what_predict_takes(posterior):
    whole = posterior.draws(X, 5)
    for x in ([X[:1], X[1:]], iter(X.split(4))):
        torch.testing.assert_close(posterior.draws(x, 5).f, whole.f)
