import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from bayesian_layers import errors, streams
from bayesian_layers.streams.base import shuffled

SRC = Path(__file__).parents[2] / "src"


def numbered(n, columns=3):
    """Rows that carry their number, so that it is seen where each one goes."""
    return np.arange(n, dtype=np.float32)[:, None] + np.zeros((1, columns), dtype=np.float32)


def small_blocks(monkeypatch, window=480, block=48):
    monkeypatch.setattr("bayesian_layers.streams.base._WINDOW", window)
    monkeypatch.setattr("bayesian_layers.streams.array_files._BLOCK", block)


def saved(folder, **arrays):
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return [folder / f"{name}.npy" for name in arrays]


def recorded(monkeypatch, stream):
    """Which blocks are read, as it goes."""
    read, original = [], stream.read
    monkeypatch.setattr(stream, "read", lambda blocks: read.append(blocks) or original(blocks))
    return read


def order_of(batches):
    return torch.cat([y for _, y, *_ in batches]).tolist()


def test_an_order_depends_on_its_key_and_nothing_else():
    assert sorted(shuffled(50, 0, 3)) == list(range(50))
    assert (shuffled(50, 0, 3) == shuffled(50, 0, 3)).all()
    for other in [(1, 3), (0, 4), (0, 3, 1)]:
        assert (shuffled(50, *other) != shuffled(50, 0, 3)).any()
    # pinned: a checkpoint of another NumPy or machine goes on in the same order
    assert shuffled(8, seed=7, epoch=2).tolist() == [4, 6, 5, 0, 1, 3, 2, 7]


def test_orders_are_uniform():
    orders = [tuple(shuffled(4, 5, epoch)) for epoch in range(24 * 200)]
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 7, 100])
def test_an_epoch_gives_every_row_once_and_keeps_x_and_y_together(tmp_path, monkeypatch, n):
    small_blocks(monkeypatch)
    x, y = saved(tmp_path, x=numbered(n), y=np.arange(n))
    stream = streams.arrays(x, y, batch_size=8, seed=1)
    batches = list(stream.epoch(0))
    assert stream.num_data == n
    assert stream.batch_rows == min(8, n)
    assert len(stream) == len(batches)
    assert [len(y) for _, y in batches[:-1]] == [8] * (len(batches) - 1)
    assert sorted(order_of(batches)) == list(range(n))
    assert all((x == y[:, None]).all() for x, y in batches)
    assert order_of(stream) == list(range(n))


def test_orders_of_epochs_and_seeds_differ(tmp_path, monkeypatch):
    small_blocks(monkeypatch)
    x, y = saved(tmp_path, x=numbered(100), y=np.arange(100))
    stream = streams.arrays(x, y, batch_size=8)
    first = order_of(stream.epoch(0))
    assert first == order_of(stream.epoch(0))
    assert first != order_of(stream.epoch(1))
    assert first != order_of(streams.arrays(x, y, batch_size=8, seed=1).epoch(0))


@pytest.mark.parametrize("batch_size", [3, 8, 30, 77])
@pytest.mark.parametrize("window", [100, 480, 10_000])
def test_starting_inside_an_epoch_gives_what_would_have_come(monkeypatch, batch_size, window):
    """The fast path's test is the slow obvious one; batches lie within, on and across windows."""
    small_blocks(monkeypatch, window)
    stream = streams.arrays(numbered(100), np.arange(100), batch_size=batch_size)
    whole = list(stream.epoch(4))
    for start in range(len(whole) + 1):
        rest = list(stream.epoch(4, start))
        assert len(rest) == len(whole) - start
        assert all(
            torch.equal(x, u) and torch.equal(y, v)
            for (x, y), (u, v) in zip(rest, whole[start:], strict=False)
        )


def test_skipped_windows_are_not_read(monkeypatch):
    small_blocks(monkeypatch)
    stream = streams.arrays(numbered(1000), np.arange(1000), batch_size=10)
    read = recorded(monkeypatch, stream)
    list(stream.epoch(0, 98))
    assert sum(len(blocks) for blocks in read) * stream._rows < 100


def test_rows_are_mixed_beyond_their_block(monkeypatch):
    """Sorted data: a batch must not be a stretch of them."""
    small_blocks(monkeypatch, window=16_000, block=160)  # 10 rows a block, 1000 a window
    stream = streams.arrays(numbered(10_000), np.arange(10_000.0), batch_size=100)
    stds = [float(y.std()) for _, y in stream.epoch(0)]
    assert min(stds) > 0.7 * 10_000 / 12**0.5


def test_windows_of_one_epoch_are_shuffled_apart(monkeypatch):
    small_blocks(monkeypatch, window=1600, block=1600)  # one block a window, 100 rows
    stream = streams.arrays(numbered(1000), np.arange(1000), batch_size=100)
    assert len({tuple((y % 100).tolist()) for _, y in stream.epoch(0)}) == 10


def test_several_inputs_weights_and_dtypes(tmp_path):
    image, label = np.zeros((6, 2, 4, 4), np.float16), np.arange(6, dtype=np.int32)
    big_endian, weight = np.arange(6, dtype=">f4")[:, None], np.arange(6.0)
    sources = saved(tmp_path, a=image, b=big_endian, y=label, w=weight)
    stream = streams.arrays(tuple(sources[:2]), sources[2], weight=sources[3], batch_size=4)
    (a, b), y, w = next(stream.epoch(0))
    assert a.shape == (4, 2, 4, 4)
    assert (a.dtype, b.dtype, y.dtype, w.dtype) == (torch.float16, torch.float32, torch.int32, torch.float64)
    assert (b[:, 0] == y).all()
    assert (w == y).all()


def test_memory_mapped_arrays_are_taken_as_they_are(tmp_path):
    x, y = saved(tmp_path, x=numbered(9), y=np.arange(9))
    mapped = streams.arrays(np.load(x, mmap_mode="r"), np.load(y, mmap_mode="r"), batch_size=4)
    assert order_of(mapped.epoch(0)) == order_of(streams.arrays(x, y, batch_size=4).epoch(0))
    next(mapped.epoch(0))[0].fill_(-1.0)  # a copy: the file stays
    assert (np.load(x) == numbered(9)).all()


def test_arrays_refuse_what_is_not_numbers(tmp_path):
    good = np.zeros(5)
    (pickled,) = saved(tmp_path, x=np.array([None] * 5))
    with pytest.raises(errors.DataError, match="pickled objects are never loaded"):
        streams.arrays(pickled, good, batch_size=2)
    (tmp_path / "text.npy").write_text("hello")
    with pytest.raises(errors.DataError, match=r"must be a .npy file of numbers"):
        streams.arrays(tmp_path / "text.npy", good, batch_size=2)
    with pytest.raises(errors.DataError, match=r"`y`: .* must be a readable .npy file"):
        streams.arrays(good, tmp_path / "none.npy", batch_size=2)
    np.savez(tmp_path / "many.npz", a=good)
    with pytest.raises(errors.DataError, match="archive of several"):
        streams.arrays(tmp_path / "many.npz", good, batch_size=2)
    with pytest.raises(errors.DataError, match="Save it as float32 or int64"):
        streams.arrays(good.astype(complex), good, batch_size=2)


def test_arrays_refuse_rows_and_settings_that_do_not_fit():
    with pytest.raises(errors.ShapeError, match=r"`x\[1\]` must have shape \(5, \.\.\.\); received \(4, 1\)"):
        streams.arrays((np.zeros((5, 1)), np.zeros((4, 1))), np.zeros(5), batch_size=2)
    with pytest.raises(errors.ShapeError, match="`y` must have shape"):
        streams.arrays(np.zeros((5, 1)), np.array(1.0), batch_size=2)
    with pytest.raises(errors.DataError, match="at least one row"):
        streams.arrays(np.zeros((0, 1)), np.zeros(0), batch_size=2)
    for setting in [{"batch_size": 0}, {"batch_size": 2.5}, {"batch_size": 2, "seed": -1}]:
        with pytest.raises(errors.DataError, match="must be an integer"):
            streams.arrays(np.zeros((5, 1)), np.zeros(5), **setting)


def test_arrays_say_where_a_value_is_not_finite(monkeypatch):
    small_blocks(monkeypatch)
    x = numbered(100)
    x[57, 1] = np.nan
    stream = streams.arrays(x, np.arange(100), batch_size=8)
    with pytest.raises(errors.DataError, match="`x`, rows 56 to 57, has 1 values that are NaN or infinite"):
        list(stream.epoch(0))


def test_a_file_that_changes_is_noticed(tmp_path):
    x, y = saved(tmp_path, x=numbered(9), y=np.arange(9))
    stream = streams.arrays(x, y, batch_size=4)
    saved(tmp_path, x=numbered(8))
    with pytest.raises(
        errors.DataError, match=r"`x` must not change .* was \(9, 3\) of float32 and is now \(8, 3\)"
    ):
        next(stream.epoch(0))


@pytest.mark.slow
def test_memory_stays_while_200_mb_pass(tmp_path):
    """Law: data larger than memory. In a process of its own, whose peak is the kernel's own figure."""
    program = """
        import resource, sys
        from bayesian_layers import streams
        import numpy as np
        x, y = np.lib.format.open_memmap(sys.argv[1], "w+", "f4", (2_000_000, 25)), np.zeros(2_000_000, "f4")
        for start in range(0, len(x), 100_000):  # in pieces, and closed: else writing it would be the peak
            x[start : start + 100_000] = 1.0
            x.flush()
            x = np.lib.format.open_memmap(sys.argv[1], "r+")
        del x
        stream = streams.arrays(sys.argv[1], y, batch_size=1000)
        next(streams.arrays(np.zeros((9, 1)), np.zeros(9), batch_size=2).epoch(0))  # what a first use loads
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        total = sum(float(x[:, 0].sum()) for x, y in stream.epoch(0))
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(total, (after - before) / 1024)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "x.npy")],
        env={"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    total, grown = map(float, run.stdout.split())
    assert total == 2_000_000
    assert grown < 60


@pytest.fixture
def table(tmp_path):
    """A Parquet file of 100 rows in row groups of 8, whose columns carry the row's number."""
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    def write(n=100, group=8, **columns):
        made = {"a": np.arange(float(n)), "b": np.arange(n), "even": np.arange(n) % 2 == 0, "y": np.arange(n)}
        path = tmp_path / "table.parquet"
        parquet.write_table(arrow.table({**made, **columns}), path, row_group_size=group)
        return path

    return write


@pytest.mark.parametrize("window", [64, 320, 10_000])
def test_parquet_gives_every_row_once_from_any_start(table, monkeypatch, window):
    small_blocks(monkeypatch, window)
    stream = streams.parquet(table(), inputs=["a", "b", "even"], target="y", batch_size=7, seed=3)
    whole = list(stream.epoch(1))
    assert sorted(order_of(whole)) == list(range(100))
    assert order_of(stream) == list(range(100))
    for x, y in whole:
        assert (x.dtype, y.dtype) == (torch.float64, torch.int64)
        assert torch.equal(x, torch.stack([y, y, 1 - y % 2], 1).double())
    for start in range(len(whole) + 1):
        assert order_of([*stream.epoch(1, start), (0, torch.tensor([]))]) == order_of(
            [*whole[start:], (0, torch.tensor([]))]
        )
    assert order_of(stream.epoch(2)) != order_of(whole)


def test_parquet_shapes_and_dtypes(table):
    path = table(c=np.arange(100, dtype=np.float32), w=np.ones(100, dtype=np.float32))
    stream = streams.parquet(path, inputs=(["a"], ["c", "c"]), target=["c", "a"], weight="w", batch_size=7)
    (first, second), y, weight = next(stream.epoch(0))
    assert first.shape == (7, 1)
    assert second.shape == (7, 2)
    assert second.dtype == torch.float32
    assert y.shape == (7, 2)
    assert y.dtype == torch.float64
    assert weight.shape == (7,)
    labels = streams.parquet(path, inputs=["a"], target="even", batch_size=7)
    assert next(labels.epoch(0))[1].dtype == torch.int64
    real = streams.parquet(path, inputs=["a"], target="c", batch_size=7)
    assert next(real.epoch(0))[1].dtype == torch.float32


def test_parquet_names_column_and_row_group_of_a_bad_value(table):
    with_null = table(a=[None if i == 17 else float(i) for i in range(100)])
    with pytest.raises(
        errors.DataError,
        match=r"column 'a' of .*, row group 2, has 1 nulls, the first at position 1; remove or impute",
    ):
        list(streams.parquet(with_null, inputs=["a"], target="y", batch_size=7).epoch(0))
    with_nan = table(a=[np.nan if i == 90 else float(i) for i in range(100)])
    with pytest.raises(errors.DataError, match=r"column 'a' of .*, row group 11, has 1 values that are NaN"):
        list(streams.parquet(with_nan, inputs=["a"], target="y", batch_size=7).epoch(0))


def test_parquet_refuses_what_does_not_fit(table, tmp_path):
    path = table(name=["x"] * 100)
    options = {"target": "y", "batch_size": 7}
    with pytest.raises(errors.DataError, match=r"one column 'z'; its columns are \['a', 'b'"):
        streams.parquet(path, inputs=["z"], **options)
    with pytest.raises(
        errors.DataError, match=r"column 'name' of .* must hold numbers or booleans; received string"
    ):
        streams.parquet(path, inputs=["name"], **options)
    for inputs in ["a", ("a", "b"), (["a"], "b")]:
        with pytest.raises(errors.DataError, match="a list of columns, or a tuple of such lists"):
            streams.parquet(path, inputs=inputs, **options)
    with pytest.raises(errors.DataError, match="at least one column each"):
        streams.parquet(path, inputs=[], **options)
    (tmp_path / "text.parquet").write_text("hello")
    for wrong in ["text.parquet", "none.parquet"]:
        with pytest.raises(errors.DataError, match="is not a valid Parquet file"):
            streams.parquet(tmp_path / wrong, inputs=["a"], **options)


def test_parquet_reads_one_row_group_at_a_time_where_they_are_large(table, monkeypatch):
    small_blocks(monkeypatch, window=64)
    stream = streams.parquet(table(), inputs=["a"], target="y", batch_size=7)
    read = recorded(monkeypatch, stream)
    list(stream.epoch(0))
    assert sorted(read) == [[i] for i in range(13)]


def test_parquet_says_which_extra_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(errors.MissingExtraError, match=r"pyarrow.*bayesian-layers\[parquet\]"):
        streams.parquet(tmp_path / "a.parquet", inputs=["a"], target="y", batch_size=7)


def test_a_stream_of_ones_own_needs_only_read():
    class Squares(streams.Stream):
        def __init__(self):
            super().__init__([10, 5, 10], row_bytes=4, batch_size=6, seed=0)

        def read(self, blocks):
            starts = [0, 10, 15]
            x = torch.cat([torch.arange(starts[b], starts[b] + (10, 5, 10)[b]) for b in blocks])
            return x.float()[:, None], x**2

    stream = Squares()
    assert order_of(stream) == [i**2 for i in range(25)]
    assert sorted(order_of(stream.epoch(0))) == [i**2 for i in range(25)]
    assert [len(y) for _, y in stream.epoch(3)] == [6, 6, 6, 6, 1]
