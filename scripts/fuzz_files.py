#!/usr/bin/env python3
"""Throw corrupted folders at `bl.load`, and write down what came of them.

Each run corrupts the folder of a small posterior (bytes, JSON values, the header of the arrays, the manifest, the
set of files), most often with a manifest made to agree, and loads it. It must be refused with a StorageError, or
give the same posterior (the change was harmless), or, where the manifest was made to agree, another sound one
(a weight became another number: nothing can tell). Audit events show whether code was run or a file written, and
the process's peak memory whether more than twice the declared limit was taken.

Corruptions are chosen by atheris (coverage-guided) with `--engine atheris`, for which `pip install atheris` is needed,
else by a seeded generator. Writes fuzz.md and fuzz.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from _environment import ROOT, ensure

ensure()

import torch

import bayesian_layers as bl
from _corruption import LIMIT, Bytes, Watch, attempt, corrupt, make_bases, mark, peak, sizes
from bayesian_layers.saving.versions import versions


class Fuzz:
    """Makes runs and counts what came of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "model"
        self.bases = make_bases(self.folder)
        self.files = [base.files for base in self.bases.values()]
        self.names = list(self.bases)
        self.watch = Watch()
        self.runs = 0
        self.counts: dict[str, Counter[str]] = {}
        self.refusals: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.wrong: list[str] = []
        # What is allocated once, and whatever is imported on first use; the trial of a network runs on `meta`.
        torch.nn.Linear(2, 2, device="meta")(torch.empty(1, 2, device="meta"))
        for i in range(300):
            self._attempt(random.Random(i))
        self.start, self.memory = time.process_time(), 0

    def _attempt(self, choose: random.Random) -> Any:
        base = self.bases[choose.choice(self.names)]
        case = corrupt(base.files, self.files, choose)
        return case, attempt(case, self.folder, base.network, base.whole, self.watch)

    def run(self, choose: random.Random) -> None:
        """Corrupt a folder and load it.

        Args:
            choose: Makes all choices.
        """
        before = mark()
        case, outcome = self._attempt(choose)
        grown = peak() - before
        self.runs += 1
        self.counts.setdefault(case.kind, Counter())[outcome.what] += 1
        if outcome.what == "refused":
            self.refusals[outcome.where] += 1
            self.examples.setdefault(outcome.where, outcome.says)
        elif outcome.what == "WRONG":
            self.wrong.append(outcome.says)
        if grown > 2 * LIMIT:
            self.wrong.append(f"{case.kind}: memory has grown by {grown} bytes, {outcome}")
        self.memory = max(self.memory, grown)

    def record(self, command: str) -> dict[str, Any]:
        """Gather what was counted.

        Args:
            command: What made the runs.

        Returns:
            Everything that the report says.
        """
        return {
            "command": command,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": versions(),
            "limit": LIMIT,
            "sizes": sizes(self.bases),
            "runs": self.runs,
            "cpu_seconds": time.process_time() - self.start,
            "memory": self.memory,
            "counts": {kind: dict(counts) for kind, counts in sorted(self.counts.items())},
            "refusals": dict(self.refusals.most_common()),
            "examples": self.examples,
            "wrong": self.wrong,
        }


OUTCOMES = ("refused", "the same posterior", "another sound posterior", "WRONG")


def page(record: dict[str, Any]) -> str:
    """Write the report.

    Args:
        record: What was counted.

    Returns:
        Markdown.
    """
    rows = [(kind, [counts.get(what, 0) for what in OUTCOMES]) for kind, counts in record["counts"].items()]
    total = [sum(column) for column in zip(*(numbers for _, numbers in rows), strict=True)]
    lines = [
        "# Corrupted folders",
        "",
        f"`{record['command']}`, {record['date']}: {record['runs']} corrupted folders of {len(record['sizes'])} "
        f"posteriors, {record['runs'] / record['cpu_seconds']:.0f} a second of CPU time. "
        f"{len(record['wrong'])} outcomes were wrong.",
        "",
        f"Making and loading one folder took up to {record['memory'] / 2**20:.1f} MiB; allowed are twice the limit of "
        f"{record['limit'] / 2**20:.0f} MiB. An audit hook saw every load: code that is compiled, imported or "
        "unpickled, a process that is started, a file that is written, or one that is opened outside the folder would "
        "be an outcome that is wrong.",
        "",
        "| how it was corrupted | refused | same posterior | another sound one | wrong |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(f"| {kind} | " + " | ".join(map(str, numbers)) + " |" for kind, numbers in [*rows, ("all", total)]),
        "",
        "The same posterior came where the change was harmless: the model card, an unlisted file, the layout of the "
        "JSON, or a value that became itself. Another sound one came only where the manifest was made to agree with a "
        "change of a number within what it may be, which no reader can tell from a posterior that was meant so.",
        "",
        "| refused by | times | the first of them |",
        "| --- | ---: | --- |",
        *(
            f"| `{where}` | {times} | {record['examples'][where][:300].replace('|', '/').replace('<', '&lt;')} |"
            for where, times in record["refusals"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


def write(fuzz: Fuzz, command: str, output: Path) -> int:
    """Write the report.

    Args:
        fuzz: The runs.
        command: What made them.
        output: The folder of the reports.

    Returns:
        1 if something was wrong, else 0.
    """
    record = fuzz.record(command)
    output.mkdir(parents=True, exist_ok=True)
    (output / "fuzz.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (output / "fuzz.md").write_text(page(record), encoding="utf-8")
    print(page(record))
    for text in fuzz.wrong[:20]:
        print("WRONG", text, file=sys.stderr)
    return int(bool(fuzz.wrong))


def guided(fuzz: Fuzz, runs: int, seed: int, finish: Any) -> None:
    """Let atheris choose, by which code a corruption reaches.

    Args:
        fuzz: Makes the runs.
        runs: How many.
        seed: Of atheris.
        finish: Called after the last run; must end the process, which atheris does not leave alive.
    """
    import atheris

    package = str(Path(bl.__file__).parent)
    reads = ("saving", "draw_sources", "stored_network", "loading", "data_schema")
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None) or ""
        if path.startswith(package) and any(word in path for word in reads):
            own = [it for it in vars(module).values() if getattr(it, "__module__", None) == module.__name__]
            for function in own:
                if hasattr(function, "__code__"):
                    function.__code__ = atheris.instrument_func(function).__code__

    def one(data: bytes) -> None:
        fuzz.run(Bytes(data))
        if fuzz.runs == runs:
            finish()

    atheris.Setup([sys.argv[0], f"-seed={seed + 1}", "-max_len=400", "-len_control=0", "-verbosity=0"], one)
    atheris.Fuzz()


def main(words: list[str] | None = None) -> int:
    """Make the runs and write the report.

    Args:
        words: Of the command line; ``None`` takes the process's.

    Returns:
        1 if something was wrong, else 0.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", choices=("seeded", "atheris"), default="seeded")
    parser.add_argument("--output", type=Path, default=ROOT / "reports" / "benchmarks")
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    command = f"scripts/fuzz_files.py --runs {options.runs} --seed {options.seed} --engine {options.engine}"
    memory = Path("/dev/shm")
    place = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
    try:
        fuzz = Fuzz(place)
        if options.engine == "atheris":

            def finish() -> None:
                status = write(fuzz, command, options.output)
                sys.stdout.flush()
                shutil.rmtree(place, ignore_errors=True)
                os._exit(status)

            guided(fuzz, options.runs, options.seed, finish)
        for i in range(options.runs):
            fuzz.run(random.Random(options.seed * 2**40 + i))
            if sys.stderr.isatty() and i % 1000 == 0:
                print(f"\r{i}", end="", file=sys.stderr)
        return write(fuzz, command, options.output)
    finally:
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    raise SystemExit(main())
