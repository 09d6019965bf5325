"""Runs one task of one program in a fresh process, on as many cores as threads."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .environments import interpreter, reason_of, why_unavailable

FOLDER = Path(__file__).resolve().parent
OURS = "ours"


def unavailable(name: str) -> str | None:
    """Return why a program cannot be run, or None."""
    return None if name == OURS else why_unavailable(name)


def call(name: str, request: dict[str, Any], *, timeout: float = 1800.0) -> dict[str, Any]:
    """Run a request by a program's worker in a fresh process with empty caches."""
    if reason := unavailable(name):
        return {"error": reason}
    python = sys.executable if name == OURS else str(interpreter(name))
    worker = FOLDER / f"{name.replace('-', '_')}_worker.py"
    with tempfile.TemporaryDirectory() as empty, cores(request["threads"]):
        try:
            done = subprocess.run(
                [python, "-W", "ignore", str(worker)],
                input=json.dumps(request),
                capture_output=True,
                text=True,
                env=worker_environment(request["threads"], empty),
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"no result after {timeout:.0f} s"}
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"error": f"it ended with status {done.returncode}: {reason_of(done.stderr)}"}


def worker_environment(threads: int, empty: str) -> dict[str, str]:
    """Return the environment variables of a worker: the number of threads for every library, and empty caches."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")
    counts += ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(counts, str(threads)),
        "TORCHINDUCTOR_CACHE_DIR": empty,
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "JAX_PLATFORMS": "cpu",
    }


@contextlib.contextmanager
def cores(threads: int) -> Iterator[None]:
    """Restrict processes started in the block to as many cores as threads; compilers start threads of their own."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)
