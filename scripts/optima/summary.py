"""The figures of the suite: how many fits are near the best-known ELBO, how many claim it wrongly, their times."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from typing import Any

from _benchmarking import Record, listed_versions

Best = Mapping[str, Any]

ERRORS = 2.0  # standard errors by which a fit must be better than the best known to take its place
NATS, SHARE = 1.0, 0.005  # a fit is near if it is within one of these of the best
NEAR, SILENT, RATIO = 0.9, 0.01, 4.0  # the figures to aim at
QUICK_NATS, QUICK_PER_ROW = 1.0, 1e-4  # how near a fit must be for its time to count
HETEROSCEDASTIC = {"energy-heteroscedastic": 0.1, "concrete-heteroscedastic": 0.35}  # the largest RMSE
LARGEST_STDERR, SPREAD = 2.0, 0.01  # nats; relative to the best
SINE_RMSE, SINE_NATS, SINE_SECONDS = 0.105, 2.0, 6.0


def best_of(name: str, rows: list[Record], known: Mapping[str, Best]) -> float:
    """Return the best ELBO of a problem: the known one, unless a fit is better by two standard errors; or NaN."""
    mine = [row for row in rows if row["problem"] == name]
    lower = [row["elbo"] - ERRORS * row["stderr"] for row in mine if "elbo" in row]
    elbos = [value for value in lower if math.isfinite(value)]
    if name in known and all(row["is"] == known[name]["problem"] for row in mine):
        elbos.append(known[name]["elbo"])
    return max(elbos, default=math.nan)


def judged(rows: list[Record], known: Mapping[str, Best]) -> list[Record]:
    """Add to each row the best ELBO, whether it is near it, and its time relative to a deterministic run."""
    found = []
    for row in rows:
        best = best_of(row["problem"], rows, known)
        missing = best - row.get("elbo", math.nan)
        quick = missing <= QUICK_NATS + QUICK_PER_ROW * row["rows"]
        found.append({
            **row,
            "best": best,
            "missing": missing,
            "near": missing <= max(NATS, SHARE * abs(best)),  # False if either is NaN
            "ratio": row["seconds"] / row["deterministic_seconds"] if quick else math.inf,
        })  # fmt: skip
    return found


def figures(rows: list[Record]) -> Record:
    """Compute the figures over all judged rows; the share of silent misses is one of those that are not near."""
    near = sum(row["near"] for row in rows)
    silent = sum(not row["near"] and row.get("converged", False) for row in rows)
    return {
        "fits": len(rows),
        "problems": len({row["problem"] for row in rows}),
        "near": near,
        "near_share": near / max(len(rows), 1),
        "silent": silent,
        "silent_share": silent / max(len(rows) - near, 1),
        "median_ratio": statistics.median(row["ratio"] for row in rows) if rows else math.nan,
    }


def reached(rows: list[Record]) -> bool:
    """Whether all three figures are as good as they should be."""
    found = figures(rows)
    return found["near_share"] >= NEAR and found["silent_share"] <= SILENT and found["median_ratio"] <= RATIO


def heteroscedastic_line(name: str, rows: list[Record]) -> str | None:
    """Return the line of one of the two tables with noise that depends on the inputs."""
    mine = [row for row in rows if row["problem"] == name and "elbo" in row]
    if not mine:
        return None
    elbos, rmse = [row["elbo"] for row in mine], max(row["rmse"] for row in mine)
    stderr, best = max(row["stderr"] for row in mine), mine[0]["best"]
    spread = (best - min(elbos)) / abs(best)
    met = rmse <= HETEROSCEDASTIC[name] and stderr < LARGEST_STDERR and spread <= SPREAD
    return (
        f"- {name}, {len(mine)} fits: largest RMSE {rmse:.3f} (aim {HETEROSCEDASTIC[name]}), largest standard error "
        f"{stderr:.2g} nats (aim {LARGEST_STDERR:g}), farthest from the best {spread:.1%} (aim {SPREAD:.0%}): "
        f"{'met' if met else 'not met'}."
    )


def sine_line(rows: list[Record]) -> str | None:
    """Return the line of the sine."""
    mine = [row for row in rows if row["problem"] == "sine" and "elbo" in row]
    if not mine:
        return None
    rmse, seconds = max(row["rmse"] for row in mine), max(row["seconds"] for row in mine)
    missing = max(row["missing"] for row in mine)
    met = rmse <= SINE_RMSE and missing <= SINE_NATS and seconds <= SINE_SECONDS
    return (
        f"- sine, {len(mine)} fits: largest RMSE {rmse:.3f} (aim {SINE_RMSE}), farthest from the best {missing:.1f} "
        f"nats (aim {SINE_NATS:g}), longest {seconds:.1f} s (aim {SINE_SECONDS:g}): {'met' if met else 'not met'}."
    )


def summary(rows: list[Record]) -> list[str]:
    """Return the lines that say what was aimed at and what came."""
    found = figures(rows)
    lines = [
        f"- Within {NATS:g} nat or {SHARE:.1%} of the best known: {found['near']} of {found['fits']} fits, "
        f"{found['near_share']:.0%}; the aim is {NEAR:.0%}.",
        f"- Reported as converged among the others: {found['silent']} of {found['fits'] - found['near']}, "
        f"{found['silent_share']:.0%}; the aim is {SILENT:.0%}.",
        f"- Time of a fit that came within {QUICK_NATS:g} nat + {QUICK_PER_ROW:g} nats per row, over that of the "
        f"deterministic run; a fit that did not come there counts as infinite: median {found['median_ratio']:.1f}; "
        f"the aim is {RATIO:g}.",
    ]
    special = [*(heteroscedastic_line(name, rows) for name in HETEROSCEDASTIC), sine_line(rows)]
    return [*lines, *(line for line in special if line is not None)]


def table(rows: list[Record]) -> list[str]:
    """Return one line per fit."""
    lines = [
        "| problem | seed | ELBO | best known | missing | near | converged | steps | seconds | deterministic run, "
        "seconds | ratio | RMSE |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        head = f"| {row['problem']} | {row['seed']} |"
        if "error" in row:
            lines.append(
                f"{head} {row['error']} | {row['best']:.2f} | | no | | | {row['seconds']:.1f} | | | |"
            )
            continue
        ratio = f"{row['ratio']:.1f}" if math.isfinite(row["ratio"]) else "not reached"
        rmse = f"{row['rmse']:.3f}" if "rmse" in row else ""
        lines.append(
            f"{head} {row['elbo']:.2f} ± {row['stderr']:.2f} | {row['best']:.2f} | {row['missing']:.2f} | "
            f"{yes(row['near'])} | {yes(row['converged'])} | {row['steps']} | {row['seconds']:.1f} | "
            f"{row['deterministic_seconds']:.2f} | {ratio} | {rmse} |"
        )
    return lines


def yes(value: bool) -> str:
    """Return the word for a truth value."""
    return "yes" if value else "no"


def page(record: Record) -> str:
    """Return the report as Markdown."""
    rows = record["rows"]
    known = record["best_known"]
    without = sorted({row["problem"] for row in rows} - set(known))
    ahead = sorted({
        row["problem"]
        for row in rows
        if row["problem"] in known and row["best"] > known[row["problem"]]["elbo"]
    })  # fmt: skip
    lines = [
        "# `bl.fit` at its defaults, compared with the best ELBO known of each problem",
        "",
        f"Made by `{record['command']}` on {record['date']}, on one core. The deterministic run: Adam, rate 0.01, "
        "weight decay 1 / N, all rows per step up to 2048 rows, else minibatches of 256; its time is that until 1 % of "
        "its whole improvement was left.",
        "",
        *summary(rows),
        "",
        *(f"- Left out: {text}." for text in record["left_out"]),
        *(
            [f"- Without a best-known ELBO (the best of these fits is used): {', '.join(without)}."]
            if without
            else []
        ),
        *([f"- Better than the best-known ELBO: {', '.join(ahead)}."] if ahead else []),
        "",
        *table(rows),
        "",
        "How the best-known ELBOs were found is in `scripts/optima/best_known.json`.",
        "",
        f"- Versions: {listed_versions(record)}",
        f"- SHA-256 of the library's code: {record['code']}",
    ]
    return "\n".join(lines) + "\n"
