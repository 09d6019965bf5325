"""The number of threads of torch's operations during a fit: one for small steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Multiplications of a step. Below it most operations are too short to be shared: on two idle cores, two threads are 0.9
# to 1.2 times as fast as one, and 1.4 times for a wide layer on few inputs, whose time is that of its activations.
# Beside busy processes they are 20 to 300 times slower: at the end of each operation one thread waits for the other,
# which waits for its turn on a core. Two cores, torch 2.13; scripts/benchmark_threads.py compares the two situations.
SMALL_STEP = 2**20
_LOCK = threading.Lock()


def threads_of(work: int) -> int:
    """Return the number of threads for steps with so many multiplications."""
    return 1 if work < SMALL_STEP else current()


def current() -> int:
    """Return the calling thread's number; a thread that has not used torch yet gets the usual one, for good."""
    with _LOCK:  # while it is set for another thread, it is the usual one for a moment
        return torch.get_num_threads()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run a block with a number of threads of torch's operations; other threads of the process keep their number."""
    before = current()
    try:
        if count != before:
            _set(count)
        yield
    finally:
        if count != before:
            _set(before)


def _set(count: int) -> None:
    """Set the number of the calling thread alone."""
    # torch.set_num_threads sets it for the calling thread and, as the usual one, for all threads that use torch for the
    # first time later. Such a thread reads the usual number before, and makes it the usual one again after.
    known, done = threading.Event(), threading.Event()

    def keep_usual() -> None:
        usual = torch.get_num_threads()
        known.set()
        done.wait()
        torch.set_num_threads(usual)

    with _LOCK:
        keeper = threading.Thread(target=keep_usual, daemon=True)
        keeper.start()
        try:
            known.wait()
            torch.set_num_threads(count)
        finally:
            done.set()
            keeper.join()
