#!/usr/bin/env python3
"""Predict the rows of a table: scripts/predict.py model/ new.csv --out predictions.csv."""

import sys

from _environment import ensure

ensure("cli")

from bayesian_layers.cli import main

sys.exit(main(["predict", *sys.argv[1:]]))
