"""What the examples share: the form of their result, and how it becomes a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bayesian_layers.reporting.extras import require
from bayesian_layers.reporting.page import Page, Points, Report, Section, render, to_json_types
from bayesian_layers.reporting.provenance import provenance, provenance_points


@dataclass(frozen=True)
class Example:
    """An example that was run."""

    # Of its page.
    title: str
    # What it is about.
    lead: str
    # What came out: headings and sentences.
    short: tuple[tuple[str, str], ...]
    # Pictures and tables.
    sections: tuple[Section, ...]
    # Every number, in JSON's types or arrays.
    metrics: dict[str, Any] = field(repr=False)
    # All that were used.
    seeds: tuple[int, ...]
    # SHA-256 of the data, by name.
    hashes: dict[str, str]


def report(example: Example, command: str) -> Report:
    """Lay an example out."""
    record = provenance(example.seeds, example.hashes, command)
    sections = (
        Section("In short", (Points(example.short),)),
        *example.sections,
        Section("How this was made", (Points(provenance_points(record)),)),
    )
    footer = (
        f"Made by bayesian-layers {record['versions'].get('bayesian-layers', '')} on {record['date']}. The"
        " numbers are in metrics.json."
    )
    page = Page(example.title, example.lead, sections, footer)
    return Report(render(page), page.pictures(), {"provenance": record, **to_json_types(example.metrics)})


def figure(width: float, height: float) -> Any:
    """Make an empty figure."""
    return require("matplotlib.figure", "matplotlib").Figure(figsize=(width, height), layout="constrained")


def column(values: Tensor) -> Tensor:
    """Make inputs of one feature."""
    return values.to(torch.float32).unsqueeze(1)
