"""The protocol of a worker: one JSON request on standard input, one JSON result on standard output.

Only the standard library is used, because a worker runs under the interpreter of its peer.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

Task = Callable[[dict[str, Any]], dict[str, Any]]


def serve(tasks: dict[str, Task]) -> None:
    """Read a request, run its task, write the result; an exception becomes the `error` of the result."""
    # The output of libraries must not mix with the result.
    results = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    try:
        result = tasks[request["task"]](request)
    except Exception as error:
        traceback.print_exc()
        result = {
            "error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
        }
    json.dump(result, results)
    results.close()


def clock() -> tuple[float, float]:
    """Return wall and CPU time."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> dict[str, float]:
    """Return wall and CPU seconds since a time of ``clock``."""
    wall, process = clock()
    return {"seconds": wall - start[0], "cpu_seconds": process - start[1]}


def step_ms(run: Callable[[int], Any], steps: int, blocks: int = 5) -> float:
    """Return milliseconds per warm step."""
    run(steps)
    return statistics.median(_block_ms(run, steps) for _ in range(blocks))


def interleaved_ms(
    first: Callable[[int], Any], second: Callable[[int], Any], steps: int, blocks: int = 7
) -> tuple[float, float]:
    """Return milliseconds per warm step of two programs, in turns, so that other processes slow both."""
    first(steps), second(steps)
    pairs = [(_block_ms(first, steps), _block_ms(second, steps)) for _ in range(blocks)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def _block_ms(run: Callable[[int], Any], steps: int) -> float:
    start = time.perf_counter()
    run(steps)
    return 1000 * (time.perf_counter() - start) / steps
