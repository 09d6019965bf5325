#!/usr/bin/env python3
"""Write two real tables from scikit-learn as CSV files: scripts/write_tables.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from _environment import ensure

ensure("cli", "report")

from sklearn import datasets

if TYPE_CHECKING:
    import pandas

# The names of scikit-learn's columns s1 to s6, from the description of the data.
DIABETES_NAMES = {
    "bp": "blood_pressure",
    "s1": "cholesterol",
    "s2": "ldl",
    "s3": "hdl",
    "s4": "cholesterol_to_hdl",
    "s5": "log_triglycerides",
    "s6": "glucose",
}


def breast_cancer() -> pandas.DataFrame:
    """Return measurements of cell nuclei; the target `diagnosis` is malignant or benign."""
    bunch = datasets.load_breast_cancer(as_frame=True)
    frame = bunch.data.rename(columns=lambda name: name.replace(" ", "_"))
    return frame.assign(diagnosis=bunch.target_names[bunch.target])


def diabetes() -> pandas.DataFrame:
    """Return data of patients, in clinical units; the target `progression` is measured a year later."""
    bunch = datasets.load_diabetes(as_frame=True, scaled=False)
    return bunch.data.rename(columns=DIABETES_NAMES).assign(progression=bunch.target)


TABLES = {"breast_cancer": (breast_cancer, "diagnosis"), "diabetes": (diabetes, "progression")}


def write(folder: Path) -> dict[str, Path]:
    """Write the tables, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.csv" for name in TABLES}
    for name, path in paths.items():
        TABLES[name][0]().to_csv(path, index=False)
    return paths


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    for written in write(Path(sys.argv[1])).values():
        print(written)
