"""Predictions in bounded memory: chunks change nothing, files and iterables are read, and functions of draws."""

import math
import sys
import tracemalloc

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from torch import nn

import bayesian_layers as bl
from bayesian_layers.model import sample
from bayesian_layers.network import call, evaluating, take_rows
from bayesian_layers.noise import seeded, standard_normal
from bayesian_layers.predicting import WeightDraws, mixture, plan
from bayesian_layers.predicting.dense_stack import DenseStack
from bayesian_layers.predicting.online_moments import OnlineMoments
from bayesian_layers.predicting.plan import Plan, Size

X = torch.linspace(-1, 1, 80).reshape(40, 2)


class Recurrent(nn.Module):
    """No rule for vmap: looped over draws."""

    def __init__(self):
        super().__init__()
        self.recurrent = nn.LSTM(1, 3, batch_first=True)
        self.head = nn.Linear(3, 1)

    def forward(self, x):
        return self.head(self.recurrent(x.unsqueeze(-1))[0][:, -1])


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 1), nn.Linear(3, 1)

    def forward(self, x, z):
        return self.a(x) * self.b(z)


NETWORKS = {
    "tanh": (lambda: nn.Sequential(bl.Linear(2, 4), nn.Tanh(), bl.Linear(4, 1)), X),
    "several activations": (
        lambda: nn.Sequential(
            nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 4, bias=False), nn.GELU()),
            nn.Dropout(0.5),
            bl.Linear(4, 3, bias_prior=None),
            nn.Sigmoid(),
            nn.Linear(3, 2),
        ),
        X,
    ),
    "batch norm": (lambda: nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)), X),
    "convolution": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 2)), nn.Conv1d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(3, 1)
        ),
        X,
    ),
    "recurrent": (Recurrent, X),
    "two inputs": (TwoInputs, (X, torch.cat([X, X[:, :1]], 1))),
}
LIKELIHOODS = {1: bl.likelihoods.Normal("learned"), 2: bl.likelihoods.Categorical()}


@pytest.fixture(params=NETWORKS)
def case(request, build):
    make, x = NETWORKS[request.param]
    network = build(lambda: bl.bayesianize(make())).double()
    x = tuple(part.double() for part in x) if isinstance(x, tuple) else x.double()
    with evaluating(network):
        outputs = network(*(x if isinstance(x, tuple) else (x,))).shape[1]
    model = bl.BayesianModel(network, LIKELIHOODS[outputs])
    return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.5)), x


@pytest.fixture
def posterior(build):
    model = bl.BayesianModel(build(NETWORKS["tanh"][0]), bl.likelihoods.Bernoulli())
    return bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.5))


def moments_by_pyro(posterior, x, num_draws, seed=0):
    """Through `pyro.infer.Predictive`, for the same draws."""
    draws = posterior.sample(num_draws, seed)
    f = sample(posterior.model, draws, x, "f")
    likelihood = posterior.model.likelihood
    own = {name: draws[name].unsqueeze(1) for name in likelihood.sites(f)}
    mean, variance = likelihood.moments(f, **own)
    return mean.mean(0), mean.std(0, correction=0), variance.expand_as(mean).mean(0).sqrt()


def fields(prediction):
    return prediction.mean, prediction.epistemic_std, prediction.aleatoric_std


def test_moments_are_those_of_pyros_predictive_on_the_same_draws(case):
    posterior, x = case
    for ours, theirs in zip(fields(posterior.predict(x, 30)), moments_by_pyro(posterior, x, 30), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("cache", "memory"), [(60, 2**28), (2**20, 4000), (1, 1)])
def test_chunks_change_nothing(case, cache, memory, monkeypatch):
    posterior, x = case
    x = take_rows(x, slice(15))
    whole, f = posterior.predict(x, 7), posterior.draws(x, 7).f
    monkeypatch.setattr(plan, "_CACHE", cache)
    monkeypatch.setattr(plan, "_WIDE", 4)
    for ours, expected in zip(fields(posterior.predict(x, 7, max_memory=memory)), fields(whole), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(posterior.draws(x, 7, max_memory=memory).f, f, rtol=1e-10, atol=1e-12)


def test_chunks_see_the_same_weights_to_the_last_bit(build):
    for family in (
        bl.guides.MeanFieldNormal,
        bl.guides.LowRankNormal,
        bl.guides.FullRankNormal,
        lambda model: bl.guides.Ensemble(model, members=3),
    ):
        model = bl.BayesianModel(build(lambda: bl.Linear(7, 3)), bl.likelihoods.Normal("learned"))
        guide = family(model)
        stored = bl.Posterior.from_samples(model, guide.draw(30, 1)).source
        for source in (guide, stored):
            whole = source.draw(100, 4)
            for start, count in ((0, 1), (5, 1), (31, 20), (64, 36), (15, 17)):
                part = source.draw(count, 4, start)
                assert all(
                    torch.equal(part[name], value[start : start + count]) for name, value in whole.items()
                )


def test_float32_chunks_agree_to_1e_6(posterior, monkeypatch):
    """Relative to the scale of each quantity, as float32 outputs have no more digits."""
    whole = posterior.predict(X, 200)
    monkeypatch.setattr(plan, "_CACHE", 300)
    for ours, expected in zip(fields(posterior.predict(X, 200, max_memory=9000)), fields(whole), strict=True):
        assert float(((ours - expected).abs() / expected).max()) < 1e-6


def test_online_moments_lose_no_digits(build):
    """A mean of 1e4 and a spread of 1e-3, in float64: sums of squares would leave nothing of it in float32."""
    values = 1e4 + 1e-3 * build(lambda: torch.randn(50, 4, 2, dtype=torch.float64))
    online = OnlineMoments(values, 4)
    for start, stop in ((0, 1), (1, 17), (17, 50)):
        online.add(slice(0, 3), start, values[start:stop, :3], values[start:stop, :3].square())
        online.add(slice(3, 4), start, values[start:stop, 3:], values[start:stop, 3:].square())
    result = online.prediction(50)
    torch.testing.assert_close(result.mean, values.mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(result.epistemic_std, (values - 1e4).std(0, correction=0), rtol=1e-8, atol=0)
    torch.testing.assert_close(result.aleatoric_std, values.square().mean(0).sqrt())


@pytest.mark.parametrize("name", ["tanh", "several activations"])
def test_a_stack_is_the_network(build, name):
    network = build(lambda: bl.bayesianize(NETWORKS[name][0]())).double().eval()
    assert DenseStack.fits(network, X)
    draws = {key: torch.stack([value, 2 * value, value + 1]) for key, value in network.named_parameters()}
    frozen = {key: value for key, value in draws.items() if not key.endswith("0.weight")}
    same = {
        key: value[1].expand(3, *value.shape[1:]) if key[0] == "0" else value for key, value in draws.items()
    }
    for values in (draws, frozen, same, {"0.bias": draws["0.bias"]} if "0.bias" in draws else draws):
        expected = call(network, {key: value.unsqueeze(1) for key, value in values.items()}, X.double())
        torch.testing.assert_close(DenseStack(network)(values, X.double()), expected, rtol=1e-12, atol=1e-14)


def test_a_stack_is_refused_where_more_could_happen(build):
    network = build(NETWORKS["tanh"][0])
    assert DenseStack.fits(network, X)
    assert not DenseStack.fits(network, (X, X))
    assert not DenseStack.fits(network, X.reshape(10, 4, 2))
    hook = network[1].register_forward_hook(lambda *_: None)
    assert not DenseStack.fits(network, X)
    hook.remove()
    network[0].forward = lambda x: x
    assert not DenseStack.fits(network, X)

    class Own(nn.Sequential):
        def forward(self, x):
            return 2 * super().forward(x)

    assert not DenseStack.fits(build(lambda: Own(nn.Linear(2, 1))), X)
    assert not DenseStack.fits(build(lambda: nn.Sequential(nn.Linear(2, 1), nn.LayerNorm(1))), X)


def test_a_module_at_two_places_is_one(build):
    def make():
        twice = nn.Linear(2, 2)
        return nn.Sequential(twice, nn.Tanh(), twice)

    model = bl.BayesianModel(build(lambda: bl.bayesianize(make())), bl.likelihoods.Normal(1.0))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.5))
    for ours, theirs in zip(fields(posterior.predict(X, 9)), moments_by_pyro(posterior, X, 9), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_only_the_noise_is_drawn(build):
    network = build(lambda: nn.Linear(2, 1)).requires_grad_(False)
    model = bl.BayesianModel(network, bl.likelihoods.Normal(bl.priors.LogNormal(0.0, 0.3)))
    p = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model)).predict(X, 50)
    torch.testing.assert_close(p.mean, network(X).squeeze(-1))
    assert float(p.epistemic_std.max()) < 1e-6
    assert (p.aleatoric_std > 0.5).all()


def test_activations_and_shared_work_are_counted_per_row(build):
    dense = build(lambda: nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 1)))
    sizes = {"outputs": 1, "number_bytes": 4, "input_bytes": 8}
    assert Size.of(dense, X, ["0.weight"]) == Size(shared=1, drawn=50, shared_work=0, **sizes)
    assert Size.of(dense, X, ["2.weight"]) == Size(shared=50, drawn=1, shared_work=100, **sizes)
    assert Size.of(dense, X, []) == Size(shared=50, drawn=1, shared_work=150, **sizes)
    images = build(lambda: nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Flatten(), nn.Linear(384, 10)))
    x = torch.zeros(5, 1, 8, 8, dtype=torch.float64)
    sizes = {"outputs": 10, "number_bytes": 8, "input_bytes": 512}
    assert Size.of(images.double(), x, ["0.bias"]) == Size(shared=1, drawn=384, shared_work=0, **sizes)
    assert Size.of(images, x, ["2.weight"]) == Size(shared=384, drawn=10, shared_work=64 * 54, **sizes)


class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)


def test_random_numbers_differ_between_draws(build):
    """Also in a network whose draws have the same weights."""
    network = build(lambda: nn.Sequential(nn.Linear(2, 50), Noisy(), nn.Linear(50, 1)))
    size = build(lambda: Size.of(network, X, []))
    assert (size.shared, size.drawn, size.shared_work) == (50, 50, 100)
    f = build(lambda: call(network, {"0.bias": network[0].bias.expand(4, 1, 50)}, X))
    assert f.shape == (4, 40, 1)
    assert len(f.flatten().unique()) == 160


@pytest.mark.parametrize("memory", [2**28, 2**22, 2**16, 1])
def test_a_plan_fits_the_memory(build, memory):
    network = build(lambda: nn.Linear(2, 300))
    weights = WeightDraws.of({"weight": torch.zeros(500, 300, 2), "bias": torch.zeros(500, 300)})
    p = Plan.of(network, weights, X, memory)
    pairs = p.rows * p.draws(p.rows)
    assert min(p.rows, p.draws(p.rows), p.weights, p.block, p.whole) >= 1
    assert pairs == 1 or pairs * 300 * 4 * 6 <= memory / 4
    assert p.weights == 1 or p.weights * 900 * 4 * 4 <= memory / 2
    assert p.whole == 1 or p.whole * 300 * 500 * 8 <= memory / 20
    for wrong in (0, -1, 2.0, True):
        with pytest.raises(bl.errors.DataError, match="max_memory"):
            Plan.of(network, weights, X, wrong)


def test_a_plan_takes_many_draws_of_few_rows_if_the_layers_below_take_the_time(build):
    network = build(lambda: nn.Sequential(nn.Linear(2, 3000), nn.Linear(3000, 3000), nn.Linear(3000, 10)))
    drawn = {"2.weight": torch.zeros(100, 10, 3000), "2.bias": torch.zeros(100, 10)}
    shared = {name: value.expand(100, *value.shape) for name, value in network.named_parameters()}
    p = Plan.of(network, WeightDraws.of({**shared, **drawn}), X, 2**28)
    assert p.draws(p.rows) == p.weights == 100
    assert p.rows == 2**20 // 3000  # whose shared activations fit
    p = Plan.of(network, WeightDraws.of(shared), X, 2**28)
    assert (p.draws(p.rows), p.rows) == (100, 2**20 // 3000)


def test_large_weights_are_drawn_again_and_never_all_in_memory(build):
    """500 draws of 10,100 weights take 20 MB; a tenth of that is allowed."""
    model = bl.BayesianModel(build(lambda: bl.Linear(100, 101)), bl.likelihoods.Normal(1.0))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    asked, draw = [], posterior.source.draw
    posterior.source.draw = lambda count, seed, start=0: (asked.append(count), draw(count, seed, start))[1]
    x = build(lambda: torch.randn(7, 100))
    p = posterior.predict(x, 500, max_memory=2**21)
    assert max(asked) * 10_201 * 4 <= 2**20 / 4
    assert sum(asked) == 502  # two to see what differs between draws, and how large it is
    del posterior.source.draw
    torch.testing.assert_close(p.std, posterior.predict(x, 500).std)


@pytest.mark.parametrize("memory", [2**28, 5000])
def test_iterables_are_concatenated(posterior, memory):
    whole = posterior.predict(X, 20)
    sizes = (1, 3, 30, 6)
    for blocks in (list(X.split(sizes)), iter(X.split(sizes)), (each for each in X.split(2))):
        p = posterior.predict(blocks, 20, max_memory=memory)
        torch.testing.assert_close(p.mean, whole.mean)
        torch.testing.assert_close(p.epistemic_std, whole.epistemic_std)


def test_iterables_of_tuples(build):
    model = bl.BayesianModel(build(lambda: bl.bayesianize(TwoInputs())), bl.likelihoods.Normal(1.0))
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    x = NETWORKS["two inputs"][1]
    blocks = zip(x[0].split(9), x[1].split(9), strict=True)
    torch.testing.assert_close(posterior.predict(blocks, 20).mean, posterior.predict(x, 20).mean)


def test_an_iterable_runs_in_the_callers_state(posterior):
    """Its random numbers are the caller's, and gradients are as the caller has them."""
    posterior.model.network.train()
    seen = []

    def blocks():
        for _ in range(3):
            seen.append((torch.is_grad_enabled(), posterior.model.network.training))
            yield torch.randn(5, 2)

    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = torch.cat([torch.randn(5, 2) for _ in range(3)])
        torch.manual_seed(5)
        p = posterior.predict(blocks(), 10)
    assert seen == [(True, True)] * 3
    torch.testing.assert_close(p.mean, posterior.predict(expected, 10).mean)
    assert posterior.model.network.training


def test_bad_rows_are_named(posterior):
    bad = X.clone()
    bad[33, 1] = math.nan
    for x in (bad, list(bad.split(5)), iter(bad.split(7))):
        with pytest.raises(bl.errors.DataError, match="in row 33"):
            posterior.predict(x, 5)


@pytest.mark.parametrize(
    ("x", "error", "match"),
    [
        (X.numpy(), TypeError, "`x` must be a torch tensor"),
        (3.0, TypeError, "`x` must be a torch tensor"),
        ([X.numpy()], TypeError, "`x` must be a torch tensor"),
        ([], bl.errors.ShapeError, "`x` must have shape"),
        ([X[:0]], bl.errors.ShapeError, "at least one row"),
        ((X, X[:3]), bl.errors.ShapeError, r"`x\[1\]`"),
        ("x.txt", bl.errors.DataError, "must end in .parquet or .csv"),
        ("none.csv", bl.errors.DataError, "none.csv must be readable; received: No such file"),
        ("none.parquet", bl.errors.DataError, "none.parquet is not a valid Parquet file"),
    ],
)
def test_wrong_rows_are_refused(posterior, x, error, match):
    with pytest.raises(error, match=match):
        posterior.predict(x, 5)


def test_a_network_that_mixes_rows_is_refused(build):
    network = build(lambda: nn.Sequential(nn.Linear(2, 1), nn.Flatten(0), nn.Unflatten(0, (1, -1))))
    model = bl.BayesianModel(bl.bayesianize(network), bl.likelihoods.Normal(1.0))
    with pytest.raises(bl.errors.ShapeError, match=r"network\(x\)"):
        model.prior_predict(X, 5)


@pytest.fixture(params=["csv", "parquet"])
def file(request, tmp_path):
    table = pyarrow.table({"a": pyarrow.array(X[:, 0].double().numpy()), "b": pyarrow.array(X[:, 1].numpy())})
    path = tmp_path / f"x.{request.param}"
    if request.param == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path, row_group_size=9)
    return path


def read(path):
    table = pyarrow.csv.read_csv(path) if path.suffix == ".csv" else pyarrow.parquet.read_table(path)
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_in_and_out(posterior, file, tmp_path, kind):
    expected = posterior.predict(X, 20)
    torch.testing.assert_close(posterior.predict(file, 20).std, expected.std)
    torch.testing.assert_close(posterior.predict(str(file), 20).mean, expected.mean)
    out = tmp_path / f"out.{kind}"
    assert posterior.predict_to(out, file, 20, max_memory=9000) == 40
    written = read(out)
    assert list(written) == ["mean", "epistemic_std", "aleatoric_std", "std"]
    for name, values in written.items():
        np.testing.assert_allclose(values, getattr(expected, name).numpy(), rtol=2e-6)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted({file.name, out.name})


def test_several_targets_have_columns_of_their_own(build, tmp_path):
    model = bl.BayesianModel(build(lambda: bl.Linear(2, 3)).double(), bl.likelihoods.Categorical())
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model))
    assert posterior.predict_to(tmp_path / "p.parquet", X, 20) == 40
    written = read(tmp_path / "p.parquet")
    assert list(written)[:4] == ["mean_0", "mean_1", "mean_2", "epistemic_std_0"]
    np.testing.assert_array_equal(written["mean_1"], posterior.predict(X, 20).mean[:, 1].numpy())


def test_a_failed_write_leaves_what_was_there(posterior, tmp_path):
    out = tmp_path / "p.csv"
    out.write_text("before")
    with pytest.raises(bl.errors.DataError, match="row 40"):
        posterior.predict_to(out, iter([X, X.log()]), 5)
    assert out.read_text() == "before"
    assert [each.name for each in tmp_path.iterdir()] == ["p.csv"]
    with pytest.raises(bl.errors.DataError, match="must end in"):
        posterior.predict_to(tmp_path / "p.txt", X, 5)
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(bl.errors.StorageError, match="it is a folder"):
        posterior.predict_to(tmp_path / "d.csv", X, 5)


def test_files_of_other_things_are_refused(posterior, tmp_path):
    path = tmp_path / "x.csv"
    for text, match in (
        ("a,b\n1,2\n3,\n", "has no value in row 1"),
        ("a,b\n1,2\n3,nan\n", "in row 1"),
        ("a,b\n1,2\n3,red\n", r"column 'b' of .* must hold numbers; received 'red' in row 1"),
        ("a,b\n1,2\n3,4,5\n", "Expected 2 fields in line 3, saw 3"),
        ("a,a\n1,2\n", "different names"),
        ("", "it is empty"),
    ):
        path.write_text(text)
        with pytest.raises(bl.errors.DataError, match=match):
            posterior.predict(path, 5)
    pyarrow.parquet.write_table(pyarrow.table({"a": [1.0], "b": ["red"]}), tmp_path / "x.parquet")
    with pytest.raises(bl.errors.DataError, match="column 'b'"):
        posterior.predict(tmp_path / "x.parquet", 5)


def test_without_pyarrow_parquet_names_its_extra_and_text_works(posterior, file, monkeypatch, tmp_path):
    for module in ("pyarrow", "pyarrow.parquet", "pyarrow.csv"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(bl.errors.MissingExtraError, match=r"bayesian-layers\[parquet\]"):
        posterior.predict_to(tmp_path / "out.parquet", X, 5)
    assert [each.name for each in tmp_path.iterdir()] == [file.name]
    if file.suffix == ".parquet":
        with pytest.raises(bl.errors.MissingExtraError, match=r"bayesian-layers\[parquet\]"):
            posterior.predict(file, 5)
    else:  # text needs no extra
        assert posterior.predict_to(tmp_path / "out.csv", file, 5) == 40


def test_draws_are_the_functions(posterior):
    drawn = posterior.draws(X, 4, seed=3)
    assert drawn.f.shape == (4, 40, 1)
    torch.testing.assert_close(drawn.f[0], posterior.function(seed=3)(X))
    with pytest.raises(bl.errors.ShapeError, match="latents"):
        bl.PredictiveDraws(drawn.f, drawn.likelihood, {"noise_scale": torch.ones(3)})
    with pytest.raises(bl.errors.ShapeError, match="`f`"):
        bl.PredictiveDraws(drawn.f[0], drawn.likelihood, {})
    with pytest.raises(bl.errors.DataError, match="num_draws"):
        WeightDraws(0, lambda *_: {})


@pytest.mark.slow
@pytest.mark.parametrize("memory", [2**28, 30_000, 1])
def test_functions_over_blocks_are_functions_of_the_whole(case, memory):
    posterior, x = case
    x = take_rows(x, slice(12))
    drawn = posterior.draws(x, 11)
    y = drawn.moments()[0][0]
    y = y.argmax(-1) if isinstance(posterior.model.likelihood, bl.likelihoods.Categorical) else y
    whole = bl.predictive.log_prob(drawn, y)
    blocks = posterior.over_draws(bl.predictive.log_prob, x, y, num_draws=11, max_memory=memory)
    torch.testing.assert_close(blocks, whole, rtol=1e-10, atol=1e-12)
    both = posterior.over_draws(bl.predictive.interval, x, num_draws=11, max_memory=memory)
    for ours, expected in zip(both, bl.predictive.interval(drawn), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_rows_that_do_not_belong_together_are_refused(posterior):
    y = torch.zeros(40)
    for x, wrong in ((X, y[:39]), (iter(X.split(9)), y[:39]), (iter(X.split(9)), torch.zeros(41))):
        with pytest.raises(bl.errors.ShapeError, match=r"per_row\[0\]"):
            posterior.over_draws(bl.predictive.log_prob, x, wrong, num_draws=5)
    with pytest.raises(bl.errors.ShapeError, match="rows must come first"):
        posterior.over_draws(lambda drawn: drawn.f, X, num_draws=5)
    with pytest.raises(bl.errors.ShapeError, match="`y`"):
        bl.predictive.log_prob(posterior.draws(X, 5), y[:39])


def classes(build, draws=50, rows=6, k=4):
    return bl.PredictiveDraws(
        2 * build(lambda: torch.randn(draws, rows, k, dtype=torch.float64)), bl.likelihoods.Categorical(), {}
    )


def test_entropies_of_classes(build):
    drawn = classes(build)
    p = drawn.f.softmax(-1)
    torch.testing.assert_close(bl.predictive.probabilities(drawn), p.mean(0))
    total, expected = -(p.mean(0) * p.mean(0).log()).sum(-1), -(p * p.log()).sum(-1).mean(0)
    torch.testing.assert_close(bl.predictive.entropy(drawn), total)
    torch.testing.assert_close(bl.predictive.expected_entropy(drawn), expected)
    divergence = (p * (p / p.mean(0)).log()).sum(-1).mean(0)  # BALD as a mean of divergences
    torch.testing.assert_close(bl.predictive.mutual_information(drawn), divergence)
    same = bl.PredictiveDraws(drawn.f[:1].expand(9, -1, -1), drawn.likelihood, {})
    assert float(bl.predictive.mutual_information(same).max()) < 1e-12
    assert float(bl.predictive.mutual_information(same).min()) >= 0


def test_labels_are_classes_of_two(build):
    logit = 3 * build(lambda: torch.randn(30, 5, 1, dtype=torch.float64))
    label = bl.PredictiveDraws(logit, bl.likelihoods.Bernoulli(), {})
    two = bl.PredictiveDraws(
        torch.cat([torch.zeros_like(logit), logit], -1), bl.likelihoods.Categorical(), {}
    )
    for name in ("entropy", "expected_entropy", "mutual_information"):
        function = getattr(bl.predictive, name)
        torch.testing.assert_close(function(label), function(two))
    torch.testing.assert_close(bl.predictive.probabilities(label), bl.predictive.probabilities(two)[:, 1])
    y = torch.tensor([0, 1, 1, 0, 1])
    torch.testing.assert_close(bl.predictive.log_prob(label, y), bl.predictive.log_prob(two, y))
    torch.testing.assert_close(bl.predictive.crps(label, y), bl.predictive.crps(two, y))
    p = logit.sigmoid().mean(0).squeeze(-1)
    torch.testing.assert_close(bl.predictive.crps(label, y), (p - y).square())
    levels = (0.05, 0.3, 0.8)
    q = bl.predictive.quantiles(label, levels)
    assert torch.equal(q, bl.predictive.quantiles(two, levels))
    assert torch.equal(q, (1 - p.unsqueeze(-1) < torch.tensor(levels)).double())


def test_ranked_score_of_classes_by_hand():
    p = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    drawn = bl.PredictiveDraws(p.log().expand(1, 3, 3), bl.likelihoods.Categorical(), {})
    score = bl.predictive.crps(drawn, torch.tensor([0, 1, 2]))
    expected = torch.tensor([0.8**2 + 0.3**2, 0.2**2 + 0.3**2, 0.2**2 + 0.7**2], dtype=torch.float64)
    torch.testing.assert_close(score, expected)


class Tagger(nn.Module):
    """Sequences (N, T) to outputs (N, T, K)."""

    def __init__(self, outputs):
        super().__init__()
        self.hidden, self.head = nn.Linear(1, 4), nn.Linear(4, outputs)

    def forward(self, x):
        return self.head(self.hidden(x.unsqueeze(-1)).tanh())


@pytest.mark.parametrize(
    ("likelihood", "outputs"),
    [(bl.likelihoods.Normal("learned"), 2), (bl.likelihoods.Bernoulli(), 1)],
)
def test_outputs_beyond_a_row_of_numbers(build, likelihood, outputs):
    """One sequence per row equals its steps as rows, except that a row's log density is their joint one."""
    model = bl.BayesianModel(build(lambda: bl.bayesianize(Tagger(outputs))).double(), likelihood)
    posterior = bl.Posterior.from_guide(model, bl.guides.MeanFieldNormal(model, init_scale=0.5))
    x = build(lambda: torch.randn(6, 5, dtype=torch.float64))
    whole, drawn = posterior.predict(x, 30), posterior.draws(x, 30)
    steps = bl.PredictiveDraws(drawn.f.flatten(1, 2), likelihood, drawn.latents)
    mean, variance = steps.moments()
    expected = mean.mean(0), mean.std(0, correction=0), variance.mean(0).sqrt()
    for ours, theirs in zip(fields(whole), expected, strict=True):
        torch.testing.assert_close(ours.flatten(0, 1), theirs)
    y = (drawn.moments()[0][0] > 0.5).double()
    flat = y.flatten(0, 1)
    one, other = (torch.cat(bl.predictive.interval(each)) for each in (drawn, steps))
    torch.testing.assert_close(one.flatten(), other.flatten())
    score = bl.predictive.crps(drawn, y)
    torch.testing.assert_close(score.flatten(0, 1), bl.predictive.crps(steps, flat))
    each = mixture.joint_log_prob(steps, flat).unflatten(1, (6, 5))
    torch.testing.assert_close(bl.predictive.log_prob(drawn, y), each.sum(2).logsumexp(0) - math.log(30))
    blocks = posterior.over_draws(bl.predictive.crps, x, y, num_draws=30, max_memory=50_000)
    torch.testing.assert_close(blocks, score)


def test_functions_of_classes_refuse_real_targets():
    drawn = bl.PredictiveDraws(torch.zeros(3, 2, 1), bl.likelihoods.Normal(0.5), {})
    for function in (bl.predictive.probabilities, bl.predictive.entropy, bl.predictive.mutual_information):
        with pytest.raises(bl.errors.DataError, match="Bernoulli or Categorical"):
            function(drawn)
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    torch.testing.assert_close(bl.predictive.expected_entropy(drawn), torch.full((2,), entropy))


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, math.nan])
def test_levels_are_probabilities(level):
    drawn = bl.PredictiveDraws(torch.zeros(3, 2, 1), bl.likelihoods.Normal(0.5), {})
    with pytest.raises(bl.errors.DataError, match="between 0 and 1"):
        bl.predictive.quantiles(drawn, [0.5, level])
    with pytest.raises(bl.errors.DataError, match="between 0 and 1"):
        bl.predictive.interval(drawn, level)


class Laplacian(bl.likelihoods.Normal):
    """A likelihood of the user's own, whose distribution has no CDF that we take."""

    def distribution(self, f, **latents):
        return NoCdf(f.squeeze(-1), torch.ones((), dtype=f.dtype))


class NoCdf(torch.distributions.Laplace):
    def icdf(self, value):
        raise NotImplementedError


def test_without_a_cdf_targets_are_drawn():
    """Against Laplace(0, 1) in closed form: quantile 0.9 at log 5, CRPS of 0 is E|z| - E|z - z'| / 2 = 1 - 3/4."""
    drawn = bl.PredictiveDraws(torch.zeros(40_000, 1, 1), Laplacian(), {})
    q = bl.predictive.quantiles(drawn, [0.9], seed=1)
    assert abs(float(q) - math.log(5)) < 4 * (0.09**0.5 / 0.1) / 200  # its standard deviation
    assert abs(float(bl.predictive.crps(drawn, torch.zeros(1), seed=1)) - 0.25) < 4 / 200
    assert torch.equal(q, bl.predictive.quantiles(drawn, [0.9], seed=1))


def test_the_fair_score_of_draws_is_unbiased_for_few():
    """Three draws at a time: the mean over many rows is that of infinitely many draws; the plain one is higher."""
    with seeded(0):
        f = torch.zeros(3, 60_000, 1)
    drawn = bl.PredictiveDraws(f, Laplacian(), {})
    score = bl.predictive.crps(drawn, torch.zeros(60_000))
    assert abs(float(score.mean()) - 0.25) < 4 * float(score.std()) / 60_000**0.5
    assert float(score.std()) / 60_000**0.5 * 4 < 0.25 / 3  # the plain estimator is 3/4 / 3 off
    with pytest.raises(bl.errors.ShapeError, match="more draws"):
        bl.predictive.crps(bl.PredictiveDraws(f[:1], Laplacian(), {}), torch.zeros(60_000))


def test_noise_in_pieces_is_the_noise():
    whole = standard_normal(7, 50, 3, dtype=torch.float32)
    assert torch.equal(standard_normal(7, 20, 3, 11, dtype=torch.float32), whole[11:31])


def test_numbers_of_python_stay_few(posterior):
    """A hundred thousand rows leave no list of Python objects behind (tensors' memory is measured by the benchmark)."""
    x = torch.zeros(100_000, 2)
    tracemalloc.start()
    try:
        posterior.predict(x, 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20
