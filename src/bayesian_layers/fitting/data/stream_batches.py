"""Batches from a source: one of the library's streams, a ``DataLoader``, or any re-iterable."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ...arguments import check_integer
from ...errors import BayesianLayersError, DataError
from ...network import Inputs
from ...noise import seeded
from ...streams import Stream
from .batch import Batch, check_num_data, check_position, placed

Check = Callable[[Inputs, Tensor], None]
_END = object()
_ORDER, _ONCE = 1, 2  # keys of the random states for `next` and for `once`


class StreamBatches:
    """Batches of a stream, all with the same scale: N over the mean number of rows per batch."""

    # With m batches of B_j rows per epoch the scale is N m / sum_j B_j, so the mean over an epoch's steps is exactly
    # the full sum, in any order. A scale N / B_j would count the rows of a smaller last batch more than others, always
    # if the order is fixed. If the rows of an epoch are not known before it has ended (a foreign iterable), the first
    # epoch uses the mean of the batches so far.
    #
    # A foreign source has its own random state: the caller's is not changed, and a DataLoader shuffles by the fit's
    # seed. Other things that decide its order (workers, a generator of its own) cannot be controlled.

    def __init__(
        self,
        source: Any,
        *,
        network: nn.Module,
        seed: int = 0,
        num_data: int | None = None,
        third_is_weight: bool = False,
        check: Check | None = None,
    ) -> None:
        check_integer("seed", seed, least=0)
        _check_reiterable(source)
        self._network, self._check = network, check
        self.exact_order = isinstance(source, Stream)
        self.with_replacement = bool(getattr(getattr(source, "sampler", None), "replacement", False))
        self._named = isinstance(source, Stream) and source.weighted
        self.weighted = third_is_weight or self._named
        self._source = source if isinstance(source, Stream) else _ForeignSource(source, seed)
        self._seed = self._source.seed
        self._whole = _known_epoch(source)
        self.num_data = _num_data(source, num_data, self._whole)
        self._epoch = self._index = self._rows = self._counted = 0
        self._batches = self._source.epoch(0)
        first = next(self._batches, _END)
        if first is _END:
            raise DataError("the stream of batches must give at least one (x, y); it is empty")
        self.batch_rows = len(self._take(first, 0)[1])
        self._batches = chain([first], self._batches)

    @property
    def num_batches(self) -> int:
        """Number of batches per epoch; an estimate if it is not known before the first epoch has ended."""
        return self._whole[1] if self._whole else math.ceil(self.num_data / self.batch_rows)

    def next(self) -> Batch:
        """Return the next batch."""
        element = next(self._batches, _END)
        if element is _END:
            self._end_epoch()
            element = next(self._batches, _END)
        if element is _END:
            raise DataError(
                f"the stream of batches gave nothing in epoch {self._epoch}, after batches in the one before; it "
                "must start again with each `iter()`: pass a list, a DataLoader, or a class with `__iter__`"
            )
        x, y, weight = self._take(element, self._index)
        self._index += 1
        self._rows += len(y)
        check_num_data(self.num_data, self._rows, "one epoch of the stream")
        rows, count = self._whole or (self._rows, self._index)
        return Batch(x, y, weight, self.num_data * count / rows)

    def _end_epoch(self) -> None:
        if self._index:
            self._whole = self._rows, self._index
        self._epoch, self._index, self._rows = self._epoch + 1, 0, 0
        self._batches = self._source.epoch(self._epoch)

    def once(self) -> Iterator[Batch]:
        """Iterate over all rows once."""
        scale = self.num_data / self._whole[0] if self._whole else 1.0
        for index, element in enumerate(self._source):
            yield Batch(*self._take(element, index), scale)

    @property
    def rows_given(self) -> int:
        """Number of rows of one pass; the first time, it takes a pass if it is not known."""
        if self._whole:
            return self._whole[0]
        if not self._counted:
            self._counted = sum(len(batch.y) for batch in self.once())
        return self._counted

    def pick(self, index: Tensor) -> tuple[Batch, float]:
        """Return the rows with these numbers in the order of :meth:`once`, ascending, and the sum of all weights."""
        parts, start, total = [], 0, 0.0
        for batch in self.once():
            end = start + len(batch.y)
            first, last = torch.searchsorted(index, torch.tensor([start, end])).tolist()
            if first < last:
                parts.append(batch.take((index[first:last] - start).to(batch.y.device), 1.0))
            start, total = end, total + batch.weight_sum
        if start <= int(index[-1]):
            raise DataError(
                f"the stream of batches must give the same rows in each pass; it gave {start} in the last"
            )
        return _joined(parts, self.num_data / len(index)), total

    def _take(self, element: Any, index: int) -> tuple[Inputs, Tensor, Tensor | None]:
        try:
            x, y, *third = _items(element)
            _check_third(third, asked=self.weighted, named=self._named)
            batch = placed(x, y, third[0] if third else None, self._network)
            if self._check is not None:
                self._check(batch[0], batch[1])
        except (BayesianLayersError, TypeError) as error:
            error.add_note(f"In batch {index} of epoch {self._epoch} of the stream.")
            raise
        return batch

    def state(self) -> dict[str, int]:
        """Return the position."""
        rows, count = self._whole or (0, 0)
        return {
            "epoch": self._epoch,
            "index": self._index,
            "rows": self._rows,
            "epoch_rows": rows,
            "epoch_batches": count,
            "num_data": self.num_data,
            "batch_rows": self.batch_rows,
            "seed": self._seed,
        }

    def restore(self, state: Mapping[str, int]) -> None:
        """Go to a position."""
        check_position(state, self.state())
        self._epoch, self._index, self._rows = state["epoch"], state["index"], state["rows"]
        if state["epoch_batches"]:
            self._whole = state["epoch_rows"], state["epoch_batches"]
        self._batches = self._source.epoch(self._epoch, self._index)


def _joined(parts: list[Batch], scale: float) -> Batch:
    first = parts[0]
    if isinstance(first.x, tuple):
        x = tuple(torch.cat(each) for each in zip(*(part.x for part in parts), strict=True))
    else:
        x = torch.cat([part.x for part in parts if isinstance(part.x, Tensor)])
    weights = [part.weight for part in parts if part.weight is not None]
    return Batch(x, torch.cat([part.y for part in parts]), torch.cat(weights) if weights else None, scale)


class _ForeignSource:
    """Gives any re-iterable the interface of a stream."""

    def __init__(self, source: Any, seed: int) -> None:
        self._source = source
        self.seed = seed

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        return islice(self._isolated(epoch, _ORDER), start, None)

    def __iter__(self) -> Iterator[Any]:
        return self._isolated(0, _ONCE)

    def _isolated(self, *key: int) -> Iterator[Any]:
        """Iterate with a separate state of torch's global generator, from which a DataLoader draws."""
        with seeded(self.seed, *key):
            iterator = iter(self._source)
            state = torch.get_rng_state()
        while True:
            with torch.random.fork_rng(devices=[]):
                torch.set_rng_state(state)
                element = next(iterator, _END)
                state = torch.get_rng_state()
            if element is _END:
                return
            yield element


def _check_reiterable(source: Any) -> None:
    if not hasattr(source, "__iter__") and not hasattr(source, "__getitem__"):
        raise TypeError(
            "`x` must be a tensor, a tuple of tensors, or a re-iterable of (x, y) batches; received "
            f"{type(source).__name__}"
        )
    if isinstance(source, Dataset) and not isinstance(source, IterableDataset):
        raise DataError(
            "a Dataset gives single rows, but a fit takes batches. Pass DataLoader(dataset, batch_size=..., "
            "shuffle=True)"
        )
    if hasattr(source, "__next__"):
        raise DataError(
            f"a {type(source).__name__} can be iterated only once, and a fit needs many epochs; pass a list, a "
            "DataLoader, or a class whose `__iter__` returns a new iterator"
        )


def _items(element: Any) -> tuple[Any, ...]:
    """Return an element as ``(x, y)`` or ``(x, y, third)``; a list of inputs, as DataLoaders give, becomes a tuple."""
    if not isinstance(element, tuple | list) or len(element) not in {2, 3}:
        what = f" of {len(element)}" if isinstance(element, tuple | list) else ""
        raise DataError(
            'a stream must give pairs (x, y), or (x, y, weight) with sample_weight="third"; received a '
            f"{type(element).__name__}{what}. Several inputs are a tuple: ((x0, x1), y)."
        )
    x = tuple(element[0]) if isinstance(element[0], list) else element[0]
    return (x, *element[1:])


def _check_third(third: list[Any], *, asked: bool, named: bool) -> None:
    """Raise DataError unless a batch has a third item if and only if weights were asked for, and it can be weights."""
    # If `named`, the source itself calls its third item weights: integers are counts.
    if not third:
        if asked:
            raise DataError(
                "each batch must be (x, y, weight), because sample weights were asked for; received (x, y). Leave "
                "`sample_weight` away if rows have no weights."
            )
        return
    kind = third[0].dtype if isinstance(third[0], Tensor) else type(third[0]).__name__
    integers = isinstance(third[0], Tensor) and not third[0].is_floating_point()
    if integers and not named:
        raise DataError(
            f"the third item of a batch can only be sample weights, which must be floating point; received {kind}. "
            "Leave row numbers, labels and masks out of the batches, with a collate_fn for instance; convert weights "
            'with .float() and pass sample_weight="third".'
        )
    if not asked:
        raise DataError(
            f"each batch must be (x, y); received a third item ({kind}). If it holds the sample weights of the rows, "
            'pass sample_weight="third"; otherwise leave it out of the batches.'
        )


def _known_epoch(source: Any) -> tuple[int, int] | None:
    """Return the rows and batches of an epoch, if the source knows them without being iterated."""
    if isinstance(source, Stream):
        return source.num_data, len(source)
    if isinstance(source, list | tuple):
        parts = [_items(element)[1] for element in source]
        return sum(_rows(y) for y in parts), len(parts)
    if isinstance(source, DataLoader) and source.batch_size is not None:
        n = _length(source.sampler)
        if n is None:
            return None
        full, rest = divmod(n, source.batch_size)
        return (full * source.batch_size, full) if source.drop_last or not rest else (n, full + 1)
    return None


def _rows(y: Any) -> int:
    """Return the number of rows of targets, which were not checked yet; 1 if they have none."""
    return len(y) if isinstance(y, Tensor) and not y.is_nested and y.dim() else 1


def _num_data(source: Any, num_data: int | None, known: tuple[int, int] | None) -> int:
    if num_data is None:
        num_data = _rows_of(source, known)
    if num_data is None:
        raise DataError(
            "`num_data` is missing: the number of rows of the whole data set, which scales the ELBO, is not known for "
            "this source; pass num_data=..."
        )
    num_data = check_integer("num_data", num_data, least=1)
    if known is not None:
        check_num_data(num_data, known[0], "one epoch of the stream")
    return num_data


def _rows_of(source: Any, known: tuple[int, int] | None) -> int | None:
    if not isinstance(source, DataLoader):
        return known[0] if known else None
    n = _length(source.dataset) if source.batch_sampler is not None else None
    # A custom sampler may take a part of the data set, or rows twice: then only the caller knows.
    return n if source.batch_size is not None and n == _length(source.sampler) else None


def _length(sized: Any) -> int | None:
    try:
        return len(sized)
    except TypeError:
        return None
