"""How a worker is spoken to: one request in JSON on standard input, one answer on standard output.

Only the standard library is used: a worker runs under the interpreter of its peer.
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
    """Read a request, do its task, write the answer; an exception becomes the answer's `error`."""
    # What libraries print must not mix with the answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = json.load(sys.stdin)
    try:
        answer = tasks[request["task"]](request)
    except Exception as error:
        traceback.print_exc()
        answer = {
            "error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
        }
    json.dump(answer, answers)
    answers.close()


def clock() -> tuple[float, float]:
    """Read the clocks."""
    return time.perf_counter(), time.process_time()


def since(start: tuple[float, float]) -> dict[str, float]:
    """Read the clocks again."""
    wall, process = clock()
    return {"seconds": wall - start[0], "cpu_seconds": process - start[1]}


def step_ms(run: Callable[[int], Any], steps: int, blocks: int = 5) -> float:
    """Time warm steps."""
    run(steps)
    return statistics.median(_block_ms(run, steps) for _ in range(blocks))


def interleaved_ms(
    first: Callable[[int], Any], second: Callable[[int], Any], steps: int, blocks: int = 7
) -> tuple[float, float]:
    """Time warm steps of two programs in turns, so that what else the machine does meets both."""
    first(steps), second(steps)
    pairs = [(_block_ms(first, steps), _block_ms(second, steps)) for _ in range(blocks)]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)


def _block_ms(run: Callable[[int], Any], steps: int) -> float:
    start = time.perf_counter()
    run(steps)
    return 1000 * (time.perf_counter() - start) / steps
