import numpy as np
import pytest
import torch
from torch import nn

from bayesian_layers.errors import DataError
from bayesian_layers.fitting.data.batches import make_batches
from bayesian_layers.fitting.set_rows import SetRows, part_of

N = 100
X, Y, WEIGHT = torch.arange(float(N))[:, None], torch.arange(N), torch.arange(float(N)) / N


class Again:
    """A re-iterable whose number of rows is not known."""

    def __init__(self, batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def stream(rows=7, weighted=True):
    parts = range(0, N, rows)
    cut = [(X[i : i + rows], Y[i : i + rows], WEIGHT[i : i + rows]) for i in parts]
    return cut if weighted else [each[:2] for each in cut]


SOURCES = {
    "all rows": {"x": X, "y": Y, "sample_weight": WEIGHT},
    "batches": {"x": X, "y": Y, "sample_weight": WEIGHT, "batch_size": 9},
    "list": {"x": stream(), "sample_weight": "third"},
    "unknown length": {"x": Again(stream()), "num_data": N, "sample_weight": "third"},
}


@pytest.mark.parametrize("rows", [1, 10, 30, N])
def test_a_part_is_drawn_without_replacement_and_uniformly(rows):
    parts = [part_of(N, rows, 3, i) for i in range(2000)]
    assert all(len(set(part.tolist())) == rows for part in parts)
    assert np.array_equal(part_of(N, rows, 3, 5), parts[5])
    counts = np.bincount(np.concatenate(parts), minlength=N)
    spread = np.sqrt(2000 * rows / N * (1 - rows / N))
    assert np.abs(counts - 2000 * rows / N).max() <= 4.5 * spread


@pytest.mark.parametrize("source", SOURCES)
def test_parts_are_the_same_from_every_source(source):
    rows = SetRows(make_batches(network=nn.Module(), **SOURCES[source]), 4, 20, seed=1)
    pieces = {sets[0]: batch for sets, batch in rows.pieces(range(4))}
    for i, batch in pieces.items():
        assert sorted(batch.y.tolist()) == sorted(part_of(N, 20, 1, i).tolist())
        assert torch.equal(batch.x[:, 0].long(), batch.y)
        assert torch.equal(batch.weight, WEIGHT[batch.y])
        assert batch.scale == N / 20
    seen = rows.seen()
    assert seen.rows == len(set().union(*(batch.y.tolist() for batch in pieces.values())))
    assert seen.total_weight == pytest.approx(float(WEIGHT.double().sum()))
    assert seen.correction == 1.0
    again = [batch.y for _, batch in rows.pieces(range(1, 3))]
    assert torch.equal(again[1], pieces[2].y)


def test_the_error_of_rows_that_were_not_given_stays():
    batches = make_batches(X, Y, network=nn.Module(), num_data=4 * N)
    rows = SetRows(batches, 4, 50, seed=1)
    seen = rows.seen()
    for _, batch in rows.pieces(range(4)):
        seen.add(batch, batch.y.double())
    exact = 4 * N * float(Y.double().std()) * (1 / N * (1 - 1 / 4)) ** 0.5
    assert seen.stderr == pytest.approx(exact, rel=0.1)


def test_a_source_that_becomes_shorter_is_refused():
    source = stream(weighted=False)
    batches = make_batches(source, network=nn.Module())
    del source[3:]
    with pytest.raises(DataError, match="same rows in each pass"):
        list(SetRows(batches, 4, 50, seed=1).pieces(range(4)))


def test_several_inputs_stay_together():
    batches = make_batches([((X, -X), Y)], network=nn.Module())
    ((_, batch),) = SetRows(batches, 1, 5, seed=1).pieces(range(1))
    assert torch.equal(batch.x[1], -batch.x[0])
    assert torch.equal(batch.x[0][:, 0].long(), batch.y)
