import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

import bayesian_layers as bl
from bayesian_layers import errors, streams
from bayesian_layers.fitting.data.batches import FullBatch, ShuffledBatches, StreamBatches, make_batches

N = 50
X = torch.arange(float(N))[:, None]
Y = torch.arange(N)
VALUE = torch.linspace(-3.0, 7.0, N, dtype=torch.float64)  # plays the part of a row's log likelihood
TOTAL = float(VALUE.sum())


@pytest.fixture
def network(build):
    return build(lambda: nn.Linear(1, 1))


@pytest.fixture
def make(network):
    def call(x, y=None, **options):
        return make_batches(x, y, network=network, **options)

    return call


class Again:
    """A re-iterable that is neither a list nor a DataLoader."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def pairs(*sizes):
    return list(zip(X.split(sizes), Y.split(sizes), strict=True))


def loader(**options):
    return DataLoader(TensorDataset(X, Y), **{"batch_size": 8, "shuffle": True, **options})


def array_stream(batch_size=8):
    return streams.arrays(X.numpy(), Y.numpy(), batch_size=batch_size, seed=3)


SOURCES = {
    "all rows": lambda: (X, Y, {}),
    "tensors": lambda: (X, Y, {"batch_size": 8, "seed": 3}),
    "stream": lambda: (array_stream(), None, {}),
    "loader": lambda: (loader(), None, {"seed": 3}),
    "list": lambda: (pairs(8, 8, 8, 8, 8, 8, 2), None, {}),
    "iterable": lambda: (Again(pairs(8, 8, 8, 8, 8, 8, 2)), None, {"num_data": N}),
}


def term(batch):
    """The likelihood term of a step, for rows whose log likelihood is VALUE."""
    value = VALUE[batch.y]
    return float(batch.scale * (value if batch.weight is None else value * batch.weight.double()).sum())


def taken(batches, count):
    return [batches.next() for _ in range(count)]


def same(first, second):
    return torch.equal(first.x, second.x) and torch.equal(first.y, second.y) and first.scale == second.scale


@pytest.mark.parametrize("kind", SOURCES)
def test_an_epoch_gives_every_row_once(make, kind):
    x, y, options = SOURCES[kind]()
    batches = make(x, y, **options)
    assert batches.num_data == N
    for _ in range(3):
        epoch = taken(batches, batches.num_batches)
        assert len(epoch[0].y) == batches.batch_rows
        assert torch.cat([batch.y for batch in epoch]).sort().values.equal(Y)
        assert all(torch.equal(batch.x[:, 0], batch.y.float()) for batch in epoch)


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("steps", [0, 3, 7, 12, 14])
def test_restored_batches_are_those_that_would_have_come(make, kind, steps):
    x, y, options = SOURCES[kind]()
    whole = taken(make(x, y, **options), 25)
    before = make(x, y, **options)
    taken(before, steps)
    state = json.loads(json.dumps(before.state()))
    x, y, options = SOURCES[kind]()  # as another process builds it
    after = make(x, y, **options)
    taken(after, 2)
    after.restore(state)
    assert all(same(*both) for both in zip(taken(after, 25 - steps), whole[steps:], strict=True))


def test_which_orders_are_promised(make):
    promised = {}
    for kind, source in SOURCES.items():
        x, y, options = source()
        promised[kind] = make(x, y, **options).exact_order
    assert [kind for kind, exact in promised.items() if exact] == ["all rows", "tensors", "stream"]


def test_a_position_in_other_batches_is_refused(make):
    state = make(X, Y, batch_size=8, seed=3).state()
    with pytest.raises(errors.DataError, match="batch_rows 8; these have 9"):
        make(X, Y, batch_size=9, seed=3).restore(state)
    with pytest.raises(errors.DataError, match="seed 3; these have 4"):
        make(X, Y, batch_size=8, seed=4).restore(state)
    with pytest.raises(errors.DataError, match="seed 3; these have None"):
        make(X[:8], Y[:8], num_data=N).restore(state)
    with pytest.raises(errors.DataError, match="num_data 50; these have 60"):
        make(X, Y, batch_size=8, seed=3, num_data=60).restore(state)
    with pytest.raises(errors.DataError, match="must hold the numbers"):
        make(array_stream()).restore(state)
    with pytest.raises(errors.DataError, match="must hold the numbers"):
        make(X, Y, batch_size=8, seed=3).restore({**state, "epoch": -1})


# --- scales ---


@pytest.mark.parametrize("kind", SOURCES)
def test_once_sums_to_the_whole_data_set_and_does_not_change_the_position(make, kind):
    x, y, options = SOURCES[kind]()
    batches, untouched = make(x, y, **options), make(x, y, **options)
    taken(batches, 2), taken(untouched, 2)
    assert sum(map(term, batches.once())) == pytest.approx(TOTAL)
    if kind != "loader":
        assert torch.equal(torch.cat([batch.y for batch in batches.once()]), Y)
    assert all(same(*both) for both in zip(taken(batches, 20), taken(untouched, 20), strict=True))


SIZES = {"equal": (10,) * 5, "a smaller last": (16, 16, 16, 2), "two": (49, 1), "any": (1, 20, 3, 26)}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_mean_of_an_epoch_of_a_stream_is_exactly_the_full_sum(make, sizes):
    """In a fixed order, in which N / B_j would always be wrong."""
    batches = make(pairs(*sizes))
    for _ in range(2):
        epoch = taken(batches, len(sizes))
        assert np.mean([term(batch) for batch in epoch]) == pytest.approx(TOTAL)
    wrong = np.mean([N / len(batch.y) * float(VALUE[batch.y].sum()) for batch in epoch])
    assert (len(set(sizes)) == 1) == (wrong == pytest.approx(TOTAL))


@pytest.mark.parametrize("kind", ["stream", "loader"])
def test_the_same_for_the_librarys_streams_and_for_loaders_of_tensors(make, kind):
    x, y, options = SOURCES[kind]()
    batches = make(x, y, **options)
    for _ in range(3):
        assert np.mean([term(batch) for batch in taken(batches, 7)]) == pytest.approx(TOTAL)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_a_source_of_unknown_length_is_exact_from_its_second_epoch(make, sizes):
    batches = make(Again(pairs(*sizes)), num_data=N)
    first = taken(batches, len(sizes))
    assert first[0].scale == N / sizes[0]
    assert first[-1].scale == pytest.approx(len(sizes))
    assert np.mean([term(batch) for batch in taken(batches, len(sizes))]) == pytest.approx(TOTAL)
    assert batches.num_batches == len(sizes)


def test_each_step_on_shuffled_tensors_is_unbiased(make):
    """Also the step on the smaller last batch: a z-test at each position of an epoch."""
    batches = make(X, Y, batch_size=16, seed=0)
    terms = np.array([[term(batch) for batch in taken(batches, 4)] for _ in range(4000)])
    assert [batch.scale for batch in taken(batches, 4)] == [N / 16] * 3 + [N / 2]
    z = (terms.mean(0) - TOTAL) / (terms.std(0) / 4000**0.5)
    assert np.abs(z).max() < 4
    one_scale = terms.mean(0) * 4 * np.array([16, 16, 16, 2]) / N  # with the streams' scale
    assert abs(one_scale[-1] - TOTAL) > 0.5 * TOTAL


def test_the_scale_makes_up_for_rows_that_never_come(make):
    """`drop_last`, and data that are a part of more: the terms stand for all `num_data` rows."""
    dropping = make(loader(drop_last=True))
    assert dropping.num_data == N
    assert dropping.num_batches == 6
    assert dropping.next().scale == pytest.approx(N / 8)
    assert next(dropping.once()).scale == pytest.approx(N / 48)
    for options in [{}, {"batch_size": 8}]:
        part = make(X, Y, num_data=500, **options)
        assert sum(map(term, part.once())) == pytest.approx(10 * TOTAL)
        assert part.next().scale == 500 / part.batch_rows
    part = make(pairs(25, 25), num_data=500)
    assert part.next().scale == 500 / 25
    unknown = make(Again(pairs(20, 20, 10)[:2]), num_data=500)
    taken(unknown, 3)
    assert sum(map(term, unknown.once())) == pytest.approx(500 / 40 * float(VALUE[:40].sum()))


def test_a_weight_of_two_is_the_row_twice(make):
    counts = torch.arange(N) % 3
    repeated = VALUE.repeat_interleave(counts)
    full = make(X, Y, sample_weight=counts.double())
    assert full.weighted
    assert term(full.next()) == pytest.approx(float(repeated.sum()))
    shuffled = make(X, Y, sample_weight=counts.double(), batch_size=7)
    assert sum(map(term, shuffled.once())) == pytest.approx(float(repeated.sum()))
    assert all(torch.equal(batch.weight, (batch.y % 3).float()) for batch in taken(shuffled, 20))
    stream = make([(x, y, (y % 3).double()) for x, y in pairs(30, 20)], sample_weight="third")
    assert stream.weighted
    assert np.mean([term(batch) for batch in taken(stream, 2)]) == pytest.approx(float(repeated.sum()))
    assert not make(X, Y).weighted


def test_a_stream_that_names_its_weights_is_not_asked_again(make):
    weight = np.arange(N) % 3
    stream = streams.arrays(X.numpy(), Y.numpy(), weight=weight, batch_size=8)
    for options in ({}, {"sample_weight": "third"}):
        batches = make(stream, **options)
        assert batches.weighted
        assert all(torch.equal(batch.weight, (batch.y % 3).float()) for batch in batches.once())
    assert not array_stream().weighted


# --- contents of a batch ---


def test_dtype_and_device_are_the_networks(build):
    network = build(lambda: nn.Linear(1, 1, dtype=torch.float64))
    for x, y in [(X, Y.float()), (pairs(25, 25), None)]:
        batch = make_batches(x, y, network=network).next()
        assert batch.x.dtype == torch.float64
        assert batch.y.dtype == (torch.float64 if y is not None else torch.int64)
    weights = make_batches(X, Y, network=network, sample_weight=torch.ones(N)).next().weight
    assert weights.dtype == torch.float64


def test_several_inputs(make):
    both = (X, X.repeat(1, 2))
    tensors = make(both, Y, batch_size=8)
    stream = make(streams.arrays(tuple(part.numpy() for part in both), Y.numpy(), batch_size=8))
    collated = make(DataLoader([((x, x.repeat(2)), y) for x, y in zip(X, Y, strict=True)], batch_size=8))
    listed = make([((x, x.repeat(1, 2)), y) for x, y in pairs(25, 25)])
    for batches in (tensors, stream, collated, listed):
        for batch in [*taken(batches, 9), *batches.once()]:
            assert isinstance(batch.x, tuple)
            assert torch.equal(batch.x[1], batch.y[:, None].float().repeat(1, 2))
            assert torch.equal(batch.x[0][:, 0], batch.y.float())


def test_kinds(make):
    assert isinstance(make(X, Y), FullBatch)
    assert isinstance(make(X, Y, batch_size=N), FullBatch)
    assert isinstance(make(X, Y, batch_size=N - 1), ShuffledBatches)
    assert isinstance(make(array_stream()), StreamBatches)
    assert same(make(X, Y).next(), make(X, Y, seed=9).next())


def test_seeds_and_epochs_give_other_orders(make):
    for source in (lambda seed: make(X, Y, batch_size=8, seed=seed), lambda seed: make(loader(), seed=seed)):
        batches = source(0)
        first, second = ([batch.y.tolist() for batch in taken(batches, 7)] for _ in range(2))
        assert first != second
        assert first == [batch.y.tolist() for batch in taken(source(0), 7)]
        assert first != [batch.y.tolist() for batch in taken(source(1), 7)]


def test_the_callers_random_state_stays_and_does_not_matter(make):
    """The fixture `unchanged_global_state` looks at the end of the test; this looks in between."""
    first = [batch.y.tolist() for batch in taken(make(loader()), 10)]
    state = torch.get_rng_state()
    batches = make(loader())
    taken(batches, 3)
    next(batches.once())
    assert torch.equal(torch.get_rng_state(), state)
    try:
        torch.rand(100)
        rest = taken(batches, 7)
    finally:
        torch.set_rng_state(state)
    assert [batch.y.tolist() for batch in rest] == first[3:]


def test_check_sees_every_target(make):
    seen = []

    def check(x, y):
        seen.extend(y.tolist())
        if (y > 40).any():
            raise errors.DataError("too large")

    with pytest.raises(errors.DataError, match="too large"):
        make(X, Y, check=check, batch_size=7)
    assert seen == Y.tolist()
    with pytest.raises(errors.DataError, match="too large") as caught:
        taken(make(pairs(30, 20), check=check), 2)
    assert caught.value.__notes__ == ["In batch 1 of epoch 0 of the stream."]


# --- loaders ---


class Rows(IterableDataset):
    def __iter__(self):
        return iter(list(zip(X, Y, strict=True)))


def test_what_loaders_know_of_themselves(make):
    assert make(loader()).num_data == N
    assert make(loader(), num_data=500).num_data == 500
    assert make(DataLoader(Rows(), batch_size=8), num_data=N).num_batches == 7
    by_hand = DataLoader(pairs(30, 20), batch_size=None)
    assert make(by_hand, num_data=N).batch_rows == 30
    sampler = BatchSampler(RandomSampler(X), 8, drop_last=False)
    batches = make(DataLoader(TensorDataset(X, Y), batch_sampler=sampler), num_data=N)
    taken(batches, 7)
    assert np.mean([term(batch) for batch in taken(batches, 7)]) == pytest.approx(TOTAL)


def test_loaders_of_unknown_length_need_num_data(make):
    """With a sampler that takes a part, the length of the data set would inflate the ELBO."""
    part = SubsetRandomSampler(range(30))
    for source in (
        loader(shuffle=False, sampler=part),
        DataLoader(pairs(30, 20), batch_size=None),
        DataLoader(Rows(), batch_size=8),
        DataLoader(TensorDataset(X, Y), batch_sampler=BatchSampler(part, 8, drop_last=False)),
        Again(pairs(30, 20)),
    ):
        with pytest.raises(errors.DataError, match="`num_data` is missing"):
            make(source)
    assert make(loader(shuffle=False, sampler=part), num_data=30).next().scale == 30 * 4 / 30


def test_a_loader_with_workers(make):
    batches = make(loader(num_workers=1))
    assert torch.cat([batch.y for batch in taken(batches, 7)]).sort().values.equal(Y)


# --- refusals ---


def test_missing_targets(make):
    for x in (X, (X, X), X.numpy()):
        with pytest.raises(errors.DataError, match="`y` is missing: pass targets, or a source"):
            make(x)
    for source in (loader(), array_stream(), iter(pairs(25, 25))):
        with pytest.raises(errors.DataError, match="`y` must be None if `x` is a"):
            make(source, Y)


def test_settings_of_tensors_are_refused_for_sources(make):
    with pytest.raises(errors.DataError, match="`batch_size` is for tensors; received 4"):
        make(loader(), batch_size=4)
    for weight, words in [(torch.ones(N), "received a Tensor"), ("fourth", "received 'fourth'")]:
        with pytest.raises(
            errors.DataError, match=f'must be "third" or None with a source of batches.*{words}'
        ):
            make(loader(), sample_weight=weight)
    with pytest.raises(
        errors.DataError, match="one number per row if `x` and `y` are tensors; received 'third'"
    ):
        make(X, Y, sample_weight="third")


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize(
    ("third", "kind"),
    [(torch.arange(N), "torch.int64"), (Y > 3, "torch.bool"), (torch.zeros(N).byte(), "torch.uint8")],
)
def test_integers_are_never_sample_weights_of_a_batch(make, third, kind, asked):
    """Row numbers, labels and masks: a fit with them as weights would look like any other."""
    options = {"sample_weight": "third"} if asked else {}
    words = f"must be floating point; received {kind}. Leave row numbers"
    with pytest.raises(errors.DataError, match=words) as caught:
        make([(X, Y, third)], **options)
    assert caught.value.__notes__ == ["In batch 0 of epoch 0 of the stream."]
    with pytest.raises(errors.DataError, match=words):
        make(DataLoader(TensorDataset(X, Y, third), 8, shuffle=True), **options)


def test_a_third_item_is_a_weight_only_if_the_caller_says_so(make):
    for third, kind in [(torch.ones(N), "torch.float32"), (["a"] * N, "list"), (None, "NoneType")]:
        with pytest.raises(errors.DataError, match=rf'third item \({kind}\).*pass sample_weight="third"'):
            make([(X, Y, third)])
    with pytest.raises(
        errors.DataError, match=r"must be \(x, y, weight\), because sample weights were asked for"
    ):
        make(pairs(25, 25), sample_weight="third")


def test_sources_that_end(make):
    with pytest.raises(errors.DataError, match="a generator can be iterated only once"):
        make((pair for pair in pairs(25, 25)), num_data=N)
    with pytest.raises(errors.DataError, match="a list_iterator can be iterated only once"):
        make(iter(pairs(25, 25)), num_data=N)
    with pytest.raises(errors.DataError, match="is empty"):
        make([], num_data=N)

    class Once:
        def __init__(self):
            self.left = iter(pairs(25, 25))

        def __iter__(self):
            yield from self.left

    batches = make(Once(), num_data=N)
    taken(batches, 2)
    with pytest.raises(errors.DataError, match="gave nothing in epoch 1, after batches in the one before"):
        batches.next()


def test_num_data_below_the_rows_given(make):
    for x, y in [(X, Y), (pairs(25, 25), None), (loader(), None), (array_stream(), None)]:
        with pytest.raises(errors.DataError, match=r"at least the 50 rows of .*; received 49"):
            make(x, y, num_data=49)
    endless = make(Again(itertools.repeat(pairs(25, 25)[0])), num_data=60)
    with pytest.raises(
        errors.DataError, match="at least the 75 rows of one epoch of the stream; received 60"
    ):
        taken(endless, 3)


def test_elements_that_are_not_batches(make):
    for element, words in [
        (X, "received a Tensor"),
        ((X,), "received a tuple of 1"),
        ((X, Y, Y, Y), "received a tuple of 4"),
        ({"x": X, "y": Y}, "received a dict"),
    ]:
        with pytest.raises(errors.DataError, match=rf"must give pairs \(x, y\).*{words}"):
            make(Again([element]), num_data=N)
    with pytest.raises(errors.DataError, match=r"Pass DataLoader\(dataset"):
        make(TensorDataset(X, Y))
    with pytest.raises(TypeError, match=r"a re-iterable of .* batches; received int"):
        make(3)
    with pytest.raises(errors.DataError, match="received a third item") as caught:
        taken(make([(X, Y), (X, Y, torch.ones(N))]), 2)
    assert caught.value.__notes__ == ["In batch 1 of epoch 0 of the stream."]


@pytest.mark.parametrize(
    "wrap", [lambda x, y: (x, y), lambda x, y: ([(x, y)], None)], ids=["tensors", "list"]
)
def test_wrong_tensors(make, wrap):
    with pytest.raises(TypeError, match="`x` must be a torch tensor; received ndarray"):
        make(*wrap(X.numpy(), Y))
    with pytest.raises(TypeError, match="`y` must be a torch tensor; received ndarray"):
        make(*wrap(X, Y.numpy()))
    with pytest.raises(errors.ShapeError, match="`y` must have shape"):
        make(*wrap(X, Y[:-1]), num_data=100)
    with pytest.raises(errors.DataError, match="`x` has 1 values that are NaN"):
        make(*wrap(torch.where(X == 3, math.nan, X), Y))
    with pytest.raises(errors.DataError, match="`y` has 1 values that are NaN"):
        make(*wrap(X, torch.where(Y == 3, math.inf, Y)))


@pytest.mark.parametrize(
    ("weight", "error", "words"),
    [
        (np.ones(N), TypeError, "must be a torch tensor"),
        (torch.ones(N, 1), errors.ShapeError, "must have shape"),
        (torch.ones(N).index_fill(0, torch.tensor([3]), -1.0), errors.DataError, "received 1 that are not"),
        (torch.full((N,), math.nan), errors.DataError, "received 50 that are not"),
    ],
)
def test_wrong_weights(make, weight, error, words):
    with pytest.raises(error, match=words):
        make(X, Y, sample_weight=weight)
    with pytest.raises(error, match=words):
        make([(X, Y, weight)], sample_weight="third")


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"batch_size": 2.5}, {"num_data": 60.5}, {"seed": -1}]
)
def test_wrong_settings(make, options):
    with pytest.raises(errors.DataError, match="must be an integer"):
        make(X, Y, **{"batch_size": 4, **options})


def test_a_fit_of_a_model_on_batches_is_that_of_the_model(build):
    """For tensors `scale` is the Pyro program's own `num_data / B`."""
    model = bl.BayesianModel(build(lambda: bl.Linear(1, 1)), bl.likelihoods.Normal(1.0))
    batches = make_batches(X, Y.float(), network=model.network, batch_size=16, num_data=200)
    weights = {name: site.initial for name, site in model.sites().items()}
    for batch in taken(batches, 4):
        program = bl.model.poutine.condition(model, weights)
        site = bl.model.poutine.trace(program).get_trace(batch.x, batch.y, num_data=200).nodes["y"]
        assert site["scale"] == pytest.approx(batch.scale)
