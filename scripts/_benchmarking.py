"""Helpers that all benchmarks share: the command line, the head of the record, and the files of results."""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import bayesian_layers as bl
from _environment import ROOT
from bayesian_layers.saving import atomic
from bayesian_layers.saving.versions import versions

Record = dict[str, Any]


def benchmark_parser(description: str | None) -> argparse.ArgumentParser:
    """Make a parser with the option ``--output``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / "reports" / "benchmarks", help="folder to write the results to"
    )
    return parser


def record_head(command: str) -> Record:
    """Return what every record starts with."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"command": command, "date": date, "versions": versions()}


def write_results(folder: Path, name: str, record: Record, page: str) -> None:
    """Write NAME.json and NAME.md."""
    folder.mkdir(parents=True, exist_ok=True)
    for ending, text in (("json", json.dumps(record, indent=1) + "\n"), ("md", page)):
        with atomic.new_file(folder / f"{name}.{ending}") as file:
            file.write(text.encode())


def append(path: Path, row: Record) -> None:
    """Add a result to the file, on a new line even after an incomplete one."""
    cut = path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
    with path.open("a", encoding="utf-8") as file:
        file.write(("\n" if cut else "") + json.dumps(row) + "\n")


def read_lines(path: Path) -> list[Record]:
    """Read what :func:`append` wrote; a line that was cut off by the end of its run is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def code_hash() -> str:
    """Compute the SHA-256 of the library's code, so that results of different versions are not mixed."""
    folder = Path(bl.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def listed_versions(record: Record) -> str:
    """List the versions of a record in a sentence."""
    return ", ".join(f"{name} {version}" for name, version in record["versions"].items())


def cpu_model() -> str:
    """Return the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown processor"
