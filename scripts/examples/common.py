"""What the examples share: the form of their result, and how it becomes a report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bayesian_layers.reporting.extras import require
from bayesian_layers.reporting.page import Page, Points, Report, Section, plain, render
from bayesian_layers.reporting.provenance import as_points, provenance


@dataclass(frozen=True)
class Example:
    """An example that was run.

    Attributes:
        title: Of its page.
        lead: What it is about.
        short: What came out: headings and sentences.
        sections: Pictures and tables.
        metrics: Every number, in JSON's types or arrays.
        seeds: All that were used.
        hashes: SHA-256 of the data, by name.
    """

    title: str
    lead: str
    short: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    metrics: dict[str, Any] = field(repr=False)
    seeds: tuple[int, ...]
    hashes: dict[str, str]


def report(example: Example, command: str) -> Report:
    """Lay an example out.

    Args:
        example: What was run.
        command: How.

    Returns:
        Page, pictures and numbers, for ``write_report``.
    """
    record = provenance(example.seeds, example.hashes, command)
    sections = (
        Section("In short", (Points(example.short),)),
        *example.sections,
        Section("How this was made", (Points(as_points(record)),)),
    )
    footer = (
        f"Made by bayesian-layers {record['versions'].get('bayesian-layers', '')} on {record['date']}. The"
        " numbers are in metrics.json."
    )
    page = Page(example.title, example.lead, sections, footer)
    return Report(render(page), page.pictures(), {"provenance": record, **plain(example.metrics)})


def figure(width: float, height: float) -> Any:
    """Make an empty figure.

    Args:
        width: In inches.
        height: In inches.

    Returns:
        A matplotlib figure.
    """
    return require("matplotlib.figure", "matplotlib").Figure(figsize=(width, height), layout="constrained")


def column(values: Tensor) -> Tensor:
    """Make inputs of one feature.

    Args:
        values: ``(N,)``.

    Returns:
        ``(N, 1)``, float32.
    """
    return values.to(torch.float32).unsqueeze(1)
