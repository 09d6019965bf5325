"""Helpers that all benchmarks share: the command line, the head of the record, and the two files of results."""

from __future__ import annotations

import argparse
import datetime
import json
import platform
from pathlib import Path
from typing import Any

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
