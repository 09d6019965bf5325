"""Work in processes of its own while the caller works on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def one_at_a_time() -> Iterator[ThreadPoolExecutor]:
    """Open a queue that runs one job at a time beside the block; if the block fails, no further one begins.

    Yields:
        The queue.
    """
    pool = ThreadPoolExecutor(max_workers=1)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
