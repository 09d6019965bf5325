"""A report's folder: written whole or not at all, and never over other files."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import StorageError
from ..saving import atomic
from .page import to_json_types

_METRICS, _PAGE = "metrics.json", "index.html"
_GENERATOR = "bayesian-layers"


def check_report_folder(folder: str | os.PathLike[str]) -> None:
    """Raise StorageError if ``write_report`` could not write to this folder; call it before long work."""
    target = atomic.resolved(folder)
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
        foreign = sorted({path.name for path in target.iterdir()} - _report_files(target))
    except OSError as error:
        raise StorageError(f"{folder} must be a readable folder; received: {error.strerror}.") from error
    if foreign:
        raise StorageError(
            f"{folder} must contain only the files of a report; {foreign[0]} is not one of them. Move it away."
        )


def write_report(
    folder: str | os.PathLike[str], page: str, pictures: Mapping[str, bytes], metrics: Mapping[str, Any]
) -> Path:
    """Write ``index.html``, the pictures as PNG files and ``metrics.json``; return the path of the page."""
    check_report_folder(folder)
    files = {_PAGE: page.encode("utf-8"), **{f"{name}.png": data for name, data in pictures.items()}}
    head = {"generator": f"{_GENERATOR} {__version__}", "files": sorted([*files, _METRICS])}
    text = json.dumps({**head, **to_json_types(metrics)}, indent=1, allow_nan=False, ensure_ascii=False)
    files[_METRICS] = f"{text}\n".encode()
    atomic.write_folder(atomic.resolved(folder), files, _report_files)
    return Path(folder) / _PAGE


def _report_files(folder: Path) -> set[str]:
    """Return the names of the files of the report in a folder; raise StorageError if it contains no report."""
    with contextlib.suppress(OSError, ValueError):
        document = json.loads((folder / _METRICS).read_text(encoding="utf-8"))
        if isinstance(document, dict) and str(document.get("generator", "")).startswith(_GENERATOR):
            return {str(name) for name in document.get("files", [])}
    raise StorageError(
        f"{folder} exists and is not a report of this library. Choose another folder, or remove this one."
    )
