"""Jobs in the background, while the caller works on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def background_queue() -> Iterator[ThreadPoolExecutor]:
    """Open a queue that runs one job at a time while the block runs; if the block fails, no further job starts."""
    # Meanwhile torch uses one thread less in this process. With as many threads as processors, and a job in
    # addition, torch's threads wait for each other at every operation, and a fit takes three times as long.
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(max_workers=1)
    torch.set_num_threads(max(1, threads - 1))
    done = False
    try:
        yield pool
        done = True
    finally:
        torch.set_num_threads(threads)
        pool.shutdown(cancel_futures=not done)
