"""The virtual environments of the peers: their packages, how they are made, and whether they can be used.

Each peer has its own virtual environment, `.peers/NAME` in the repository's root, so that the pins of one do not affect
the versions of another. Only the standard library is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".peers"
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
INTERRUPTED = "its installation was interrupted"


@dataclass(frozen=True)
class Peer:
    """A library to compare with."""

    packages: tuple[str, ...]  # installed with their dependencies
    imports: tuple[str, ...]  # modules that must be importable
    # Installed after that without dependencies: their requirements are wrong, or far more than what they import.
    alone: tuple[str, ...] = ()


PEERS = {
    "numpyro": Peer(("numpyro",), ("numpyro", "jax")),
    "pyro": Peer(("torch", "pyro-ppl", "numpy"), ("pyro", "torch")),
    # tf-keras requires the build with CUDA in addition to the build without it.
    "tfp": Peer(
        ("tensorflow-cpu", "tensorflow-probability"), ("tensorflow_probability", "tf_keras"), ("tf-keras",)
    ),
    "bayesian-torch": Peer(("torch", "numpy"), ("bayesian_torch.layers", "torch"), ("bayesian-torch",)),
    "torchbnn": Peer(("torch", "numpy"), ("torchbnn", "torch"), ("torchbnn",)),
    # It requires torchvision, which only its examples import.
    "blitz": Peer(("torch", "numpy"), ("blitz.modules", "torch"), ("blitz-bayesian-pytorch",)),
}


def interpreter(name: str) -> Path:
    """Return the path of a peer's Python."""
    return FOLDER / name / "bin" / "python"


def why_unavailable(name: str) -> str | None:
    """Return why a peer cannot be used, or None."""
    state = _read_state(name)
    if state is None:
        made = interpreter(name).exists()
        return INTERRUPTED if made else f"it is not installed (scripts/setup_peers {name})"
    if state["reason"] is None and not interpreter(name).exists():
        return "its environment has been deleted"
    return state["reason"]


def versions(name: str) -> dict[str, str]:
    """Return the installed versions of a peer."""
    state = _read_state(name)
    return {} if state is None else state["versions"]


def set_up(name: str, *, again: bool = False) -> str | None:
    """Make a peer's environment if there is none; return why it failed, or None."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / ".gitignore").write_text("*\n")
    with (FOLDER / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = _read_state(name)
        current = state is not None and state["inputs"] == _inputs(name) and interpreter(name).exists()
        if state is not None and current and not (again and state["reason"]):
            return state["reason"]
        start = time.monotonic()
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        _state_file(name).unlink(missing_ok=True)
        reason = _install(name)
        _write_state(name, reason)
        say(f"{name}: {reason or 'installed'} ({time.monotonic() - start:.0f} s, {size_of(name):.0f} MB)")
        return reason


def size_of(name: str) -> float:
    """Return the size of a peer's environment in MB."""
    files = (path for path in (FOLDER / name).rglob("*") if path.is_file() and not path.is_symlink())
    return sum(path.stat().st_size for path in files) / 1e6


def say(text: str) -> None:
    """Write a line to standard error."""
    print(f"[peers] {text}", file=sys.stderr, flush=True)


def _install(name: str) -> str | None:
    peer = PEERS[name]
    say(f"{name}: installing (this may take some minutes)")
    environment = [sys.executable, "-m", "venv", str(FOLDER / name)]
    pip = [str(interpreter(name)), "-m", "pip", "install", "-q", "--no-input", "--disable-pip-version-check"]
    pip += ["-c", str(CONSTRAINTS)]
    steps = [environment, [*pip, *peer.packages]]
    if peer.alone:
        steps.append([*pip, "--no-deps", *peer.alone])
    # This also compiles the modules, so that no benchmark spends time on it.
    steps.append([str(interpreter(name)), "-W", "ignore", "-c", "import " + ", ".join(peer.imports)])
    for step in steps:
        done = subprocess.run(
            step, stdin=subprocess.DEVNULL, stdout=2, stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            sys.stderr.write(done.stderr)
            return reason_of(done.stderr)
    return None


def reason_of(output: str) -> str:
    """Return the line of an error message with the reason."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    found = (errors or lines[-1:] or ["it ended without a word"])[-1 if not errors else 0]
    return found if len(found) <= 200 else f"{found[:197]}..."


def _state_file(name: str) -> Path:
    return FOLDER / f"{name}.json"


def _read_state(name: str) -> dict[str, Any] | None:
    try:
        return json.loads(_state_file(name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_state(name: str, reason: str | None) -> None:
    state = {"inputs": _inputs(name), "reason": reason, "versions": {} if reason else _installed(name)}
    temporary = _state_file(name).with_suffix(".new")
    temporary.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    Path(temporary).replace(_state_file(name))


def _installed(name: str) -> dict[str, str]:
    code = (
        "from importlib.metadata import distributions as d; print(*(f'{i.name}=={i.version}' for i in d()))"
    )
    done = subprocess.run(
        [str(interpreter(name)), "-I", "-c", code], capture_output=True, text=True, check=True
    )
    return dict(sorted(word.split("==") for word in done.stdout.split()))


def _inputs(name: str) -> str:
    text = f"{sys.version_info[:2]} {PEERS[name]} {CONSTRAINTS.read_text(encoding='utf-8')}"
    return hashlib.sha256(text.encode()).hexdigest()
