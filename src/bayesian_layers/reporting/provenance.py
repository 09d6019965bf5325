"""Records where the numbers of a report come from."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

from ..saving.versions import versions

_PACKAGES = ("keras", "matplotlib", "scikit-learn", "pandas", "jinja2")


def provenance(seeds: Sequence[int], hashes: Mapping[str, str], command: str) -> dict[str, Any]:
    """Collect what is needed to make a report again."""
    found = versions()
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"seeds": [*seeds], "sha256": dict(hashes), "versions": found, "command": command, "date": date}


def hash_of_table(frame: Any) -> str:
    """Compute the SHA-256 of a table as a CSV file in UTF-8, without row numbers."""
    return hashlib.sha256(frame.to_csv(index=False, lineterminator="\n").encode("utf-8")).hexdigest()


def provenance_points(record: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return a record of ``provenance`` as headings and texts for a page."""
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return (
        ("Command:", record["command"] or "called from Python"),
        ("Seeds:", ", ".join(map(str, record["seeds"]))),
        *((f"SHA-256 of {name}:", value) for name, value in record["sha256"].items()),
        ("Versions:", versions),
        ("Date:", record["date"]),
    )


def footer(record: Mapping[str, Any], more: str = "") -> str:
    """Return the last line of a page: its maker, its date, and where its numbers are."""
    version = record["versions"].get("bayesian-layers", "")
    return (
        f"Made by bayesian-layers {version} on {record['date']}{more}. "
        "All numbers of this page are also in metrics.json."
    )
