"""A report's folder: written whole or not at all, and never over something else."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import StorageError
from .page import plain

_METRICS, _PAGE = "metrics.json", "index.html"
_GENERATOR = "bayesian-layers"


def check_report_folder(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that :func:`write_report` would refuse, before the work whose result it is for."""
    target = Path(os.path.realpath(folder))
    try:
        if not target.exists() or (target.is_dir() and not any(target.iterdir())):
            return
        foreign = sorted({path.name for path in target.iterdir()} - _listed(target))
    except OSError as error:
        raise StorageError(f"{folder} must be a readable folder; received: {error.strerror}.") from error
    if foreign:
        raise StorageError(
            f"{folder} must hold only the files of a report; {foreign[0]} is none. Move it away."
        )


def write_report(
    folder: str | os.PathLike[str], page: str, pictures: Mapping[str, bytes], metrics: Mapping[str, Any]
) -> Path:
    """Write a report: ``index.html``, its pictures as PNG files, ``metrics.json``."""
    # The files go to a temporary sibling, which takes the folder's place by renaming.
    check_report_folder(folder)
    target = Path(os.path.realpath(folder))
    files = {_PAGE: page.encode("utf-8"), **{f"{name}.png": data for name, data in pictures.items()}}
    files[_METRICS] = _metrics_file(metrics, [*files, _METRICS])
    partial, previous = (
        target.with_name(f".{target.name}.{secrets.token_hex(8)}.{what}") for what in ("partial", "previous")
    )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        for name, data in files.items():
            (partial / name).write_bytes(data)
        _swap(partial, target, previous)
    except OSError as error:
        raise StorageError(
            f"{folder} must be writable; received: {error.strerror or error}. What was there is unchanged."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Path(folder) / _PAGE


def _metrics_file(metrics: Mapping[str, Any], names: list[str]) -> bytes:
    head = {"generator": f"{_GENERATOR} {__version__}", "files": sorted(names)}
    text = json.dumps({**head, **plain(metrics)}, indent=1, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def _listed(folder: Path) -> set[str]:
    """Names of the files of the report in a folder; an error if there is no report."""
    with contextlib.suppress(OSError, ValueError):
        document = json.loads((folder / _METRICS).read_text(encoding="utf-8"))
        if isinstance(document, dict) and str(document.get("generator", "")).startswith(_GENERATOR):
            return {str(name) for name in document.get("files", [])}
    raise StorageError(
        f"{folder} exists and must be a report that this library wrote; received another. "
        "Choose another name, or remove it yourself."
    )


def _swap(partial: Path, target: Path, previous: Path) -> None:
    if not target.exists():
        partial.rename(target)
        return
    target.rename(previous)
    try:
        partial.rename(target)
    except BaseException:
        previous.rename(target)
        raise
    shutil.rmtree(previous, ignore_errors=True)
