"""The result of an example, and its report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bayesian_layers.lazy_imports import require
from bayesian_layers.reporting.page import Page, Points, Report, Section
from bayesian_layers.reporting.provenance import footer, provenance, provenance_points


@dataclass(frozen=True)
class Example:
    """The result of an example."""

    title: str
    lead: str
    summary: tuple[tuple[str, str], ...]  # headings and sentences
    sections: tuple[Section, ...]
    metrics: dict[str, Any] = field(repr=False)
    seeds: tuple[int, ...]
    hashes: dict[str, str]  # SHA-256 of the data, by name


def build_example_report(example: Example, command: str) -> Report:
    """Build the report of an example."""
    record = provenance(example.seeds, example.hashes, command)
    sections = (
        Section("Summary", (Points(example.summary),)),
        *example.sections,
        Section("How this report was made", (Points(provenance_points(record)),)),
    )
    page = Page(example.title, example.lead, sections, footer(record))
    return page.report({"provenance": record, **example.metrics})


def figure(width: float, height: float) -> Any:
    """Make an empty figure; sizes are in inches."""
    return require("matplotlib.figure", "matplotlib", "report").Figure(
        figsize=(width, height), layout="constrained"
    )


def column(values: Tensor) -> Tensor:
    """Return values (N,) as inputs with one feature, float32 (N, 1)."""
    return values.to(torch.float32).unsqueeze(1)
