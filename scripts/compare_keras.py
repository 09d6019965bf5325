#!/usr/bin/env python3
"""Compare with a Keras network: scripts/compare_keras.py data.csv --target y --out reports/mine/."""

import sys

from _environment import ensure

ensure("cli", "keras", "report")

from bayesian_layers.cli import main

sys.exit(main(["compare", *sys.argv[1:]]))
