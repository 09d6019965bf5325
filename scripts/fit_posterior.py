#!/usr/bin/env python3
"""Fit a Bayesian network to a table: scripts/fit_posterior.py data.csv --target y --out model/."""

import sys

from _environment import ensure

ensure("cli")

from bayesian_layers.cli import main

sys.exit(main(["fit", *sys.argv[1:]]))
