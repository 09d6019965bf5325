"""Work in processes of its own while the caller works on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_at_a_time() -> Iterator[ThreadPoolExecutor]:
    """Open a queue that runs one job at a time beside the block; if the block fails."""
    # No further one begins.
    # Meanwhile torch takes one thread less in this process: where there are as many threads as processors
    # and a job on top, torch's threads wait for each other at every operation, and a fit takes three times
    # as long.
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
