#!/usr/bin/env python3
"""Print a fitted model and its weights: scripts/summarize_posterior.py model/."""

import sys

from _environment import ensure

ensure("cli")

from bayesian_layers.cli import main

sys.exit(main(["summarize", *sys.argv[1:]]))
