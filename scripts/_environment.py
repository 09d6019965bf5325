"""See to it that the scripts of this folder run where the package and its extras are installed.

A script begins with::

    from _environment import ensure

    ensure("cli", "keras")

The interpreter that runs it is kept if the package is importable there. Otherwise `.venv` in the
repository's root is made, or brought up to date, and the script starts again under its interpreter.
A shell script says `python3 scripts/_environment.py dev` and then uses `.venv/bin`.

Only the standard library of a bare Debian is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
CONSTRAINTS = ROOT / "scripts" / "constraints.txt"
# What this file knows of .venv. It is written before the first change and again after the last, so
# that an interruption shows.
STATE = VENV / "bayesian-layers.json"

# The modules whose presence stands for an extra.
MODULES = {
    "cli": ["pandas"],
    "keras": ["keras"],
    "report": ["matplotlib", "jinja2", "sklearn"],
    "parquet": ["pyarrow"],
    "dev": ["pytest"],
}
# `dev` asks for these in pyproject.toml.
PARTS_OF_DEV = {"cli", "keras", "report", "parquet"}


def ensure(*extras: str) -> None:
    """Return if the package with these extras can be imported; otherwise start the script again.

    Args:
        extras: Names of extras of pyproject.toml.
    """
    in_venv = VENV.exists() and VENV.samefile(sys.prefix)
    if in_venv and STATE.exists():
        if _is_ready(_read_state(), extras):
            return
    elif _importable(extras):
        return
    set_up(*extras)
    # Also from .venv's own interpreter: it has looked for modules before they were installed.
    os.execv(PYTHON, [str(PYTHON), *sys.orig_argv[1:]])


def set_up(*extras: str) -> None:
    """Make `.venv` hold the package with these extras, at the versions of constraints.txt.

    Args:
        extras: Names of extras of pyproject.toml.
    """
    if _is_ready(_read_state(), extras):
        return
    start = time.monotonic()
    try:
        with _alone():
            state = _read_state()
            if _is_ready(state, extras):  # another start has done it meanwhile
                return
            if not _is_usable(state):
                state = _make()
            elif state is None:
                state = {"ours": False, "extras": []}
            _install(state, sorted({*state["extras"], *extras}))
    except KeyboardInterrupt:
        sys.exit(130)  # the next start sees what is half-made
    _say(f".venv is ready after {time.monotonic() - start:.0f} s")


def _importable(extras: Iterable[str]) -> bool:
    # find_spec on top-level names looks at the file system only: nothing is imported.
    names = ["bayesian_layers", *(module for extra in extras for module in MODULES[extra])]
    return all(importlib.util.find_spec(name) is not None for name in names)


def _read_state() -> dict[str, Any] | None:
    try:
        return json.loads(STATE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_state(state: dict[str, Any]) -> None:
    temporary = STATE.with_suffix(".new")
    temporary.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    temporary.replace(STATE)


def _inputs() -> str:
    both = (ROOT / "pyproject.toml").read_bytes() + b"\0" + CONSTRAINTS.read_bytes()
    return hashlib.sha256(both).hexdigest()


def _is_ready(state: dict[str, Any] | None, extras: Iterable[str]) -> bool:
    if state is None or not state["complete"] or not PYTHON.exists():
        return False
    held = {*state["extras"], *(PARTS_OF_DEV if "dev" in state["extras"] else ())}
    return state["root"] == str(ROOT) and state["inputs"] == _inputs() and held.issuperset(extras)


def _is_usable(state: dict[str, Any] | None) -> bool:
    # True: pip can go on in .venv. False: .venv is to be made anew.
    if not VENV.exists() or not any(VENV.iterdir()):
        return False
    check = "import sys, pip; sys.exit(sys.version_info < (3, 11))"
    works = PYTHON.exists() and _succeeds(PYTHON, "-c", check)
    if state is None:
        if works:
            return True
        _stop(
            f"{VENV} was not made by these scripts, and holds no Python 3.11 or later with pip.\n"
            "Move it away or delete it, and start again."
        )
    if works and state["complete"] and state["root"] == str(ROOT):
        return True
    # After an interruption pip takes a package for installed whose files are half there. And an
    # environment that was moved still points to where it stood.
    if not state["ours"]:
        _stop(f"An installation into {VENV} was interrupted.\nDelete that folder, and start again.")
    _say(".venv was left half-made, or was moved: it is deleted and made again")
    shutil.rmtree(VENV)
    return False


def _make() -> dict[str, Any]:
    python = _find_python()
    _provide_ensurepip(python)
    _say(f"making .venv with {python} (about 5 s)")
    VENV.mkdir(exist_ok=True)
    state = {"complete": False, "ours": True, "root": str(ROOT), "inputs": "", "extras": []}
    _write_state(state)
    if _run([python, "-m", "venv", str(VENV)]) != 0:
        _stop(f"{python} could not make .venv (see above).")
    return state


def _install(state: dict[str, Any], extras: list[str]) -> None:
    state = {**state, "complete": False, "root": str(ROOT), "extras": extras}
    _write_state(state)
    inputs = _inputs()  # before pip reads them: what is edited meanwhile is installed next time
    package = f"bayesian-layers[{','.join(extras)}]" if extras else "bayesian-layers"
    _say(f"installing {package} under scripts/constraints.txt (new: about a minute, mostly PyTorch)")
    # -qq leaves errors. --no-compile: pip would compile all of PyTorch, SciPy, ... on one core, of
    # which a third is ever imported; _compile does that third.
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check"]
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    before = _distributions()
    if _run([*pip, "--no-compile", "-c", str(CONSTRAINTS), "-e", target]) != 0:
        if not state["ours"]:
            STATE.unlink()  # pip gave up by itself: a stranger's environment is as whole as it was
        _stop("pip could not install the package (see above).")
    if _distributions() != before:
        _compile(extras)
    _write_state({**state, "complete": True, "inputs": inputs})


def _distributions() -> set[str]:
    return {path.name for path in VENV.glob("lib/python*/site-packages/*.dist-info")}


def _compile(extras: list[str]) -> None:
    # Python compiles what it imports, and writes the result beside it: two imports side by side use
    # two cores. They also show that what was installed works.
    _say("importing everything once, so that later starts are quick (about 20 s)")
    wanted = {*extras, *(PARTS_OF_DEV if "dev" in extras else ())}
    first = ["torch", "pyro.infer", "torch.fx.experimental.proxy_tensor", "safetensors.numpy"]
    second = ["arviz"]
    if "keras" in wanted:
        first.append("keras")
    if "cli" in wanted:
        second.append("pandas")
    if "report" in wanted:
        second += ["matplotlib.pyplot", "jinja2", "sklearn.datasets", "sklearn.model_selection"]
    # Where bytecode is not to be written, it is not: but what pip would have compiled anyway is.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment.update(KERAS_BACKEND="torch", MPLBACKEND="agg")
    processes = [
        subprocess.Popen(
            [str(PYTHON), "-W", "ignore", "-c", "import " + ", ".join(modules)],
            env=environment,
            cwd=str(VENV),  # a file of the caller's folder must not pass for a module
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for modules in (first, second)
    ]
    errors = [process.communicate()[1].decode(errors="replace") for process in processes]
    if any(process.returncode != 0 for process in processes):
        _stop("".join(errors) + "What was installed into .venv cannot be imported (see above).")


def _find_python() -> str:
    # First python3.11: PyTorch without CUDA may be at hand for one version of Python only.
    names = ["python3.11", sys.executable, "python3", *(f"python3.{minor}" for minor in range(12, 20))]
    for name in names:
        found = shutil.which(name)
        # A name on PATH may be a shim that fails: only a run tells.
        if found and _succeeds(found, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"):
            break
    else:
        _stop("bayesian-layers needs Python 3.11 or later, and none was found on PATH.")
    return found


def _provide_ensurepip(python: str) -> None:
    if _succeeds(python, "-c", "import ensurepip, venv"):
        return
    version = "import sys; print('python%d.%d-venv' % sys.version_info[:2])"
    package = (
        subprocess.run([python, "-c", version], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    )
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        _stop(
            f"{python} cannot make virtual environments: its module `ensurepip` is missing.\n"
            f"On Debian or Ubuntu: sudo apt-get install {package}; then start again."
        )
    _say(f"installing {package} with apt-get, which {python} lacks (about 20 s)")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run(["apt-get", "update", "-qq"], environment)
    _run(["apt-get", "install", "-qq", "--no-install-recommends", package], environment)
    if not _succeeds(python, "-c", "import ensurepip, venv"):
        _stop(f"apt-get did not give {python} the module `ensurepip` (see above).")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    # The lock is on this folder itself: no file is left behind, and it ends with the last process that
    # holds it. pip inherits it, and so keeps it if this process is killed alone.
    descriptor = os.open(Path(__file__).resolve().parent, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another start is setting up .venv: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _succeeds(*command: Any) -> bool:
    try:
        done = subprocess.run(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0


def _run(command: list[str], environment: dict[str, str] | None = None) -> int:
    # Standard output belongs to the script that is to run: all of this goes to standard error.
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=2, env=environment, close_fds=False, check=False
    )
    return done.returncode


def _say(text: str) -> None:
    print(f"[environment] {text}", file=sys.stderr, flush=True)


def _stop(text: str) -> NoReturn:
    _say(text)
    sys.exit(2)


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(MODULES)
    if unknown:
        _stop(f"unknown extras: {', '.join(sorted(unknown))}; known are {', '.join(sorted(MODULES))}")
    set_up(*sys.argv[1:])
