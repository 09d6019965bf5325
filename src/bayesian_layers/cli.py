"""The command line: ``bayesian-layers fit|predict|summarize|compare``.

The exit status is 0 for success, 2 for a mistake that the message explains (then nothing is written), and 130 for an
interruption. Results are printed to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import saving
from .errors import BayesianLayersError, FitWarning
from .tabular import TableModel, TableSchema, csv_text, fit_table, read_table, write_csv
from .tabular.target import TASKS

Commands = Any  # argparse's class of subparsers is private
_FIT = (
    "Fit a Bayesian network to a table. Numeric columns are standardized; text and true/false columns become "
    "categories. The task is inferred from the target column. The model is saved in a folder of safetensors and JSON "
    "files."
)
_PREDICT = (
    "Predict the rows of a table, as CSV. Class names that a spreadsheet would take for a formula (they start with "
    "=, +, - or @) get a leading apostrophe; numbers stay as they are."
)
_COMPARE = (
    "Compare a Bayesian network with a Keras network on random splits of a table, and write a report: a web page, its "
    "pictures, and all numbers as JSON."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (BayesianLayersError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    return 0


def _fit(arguments: argparse.Namespace) -> None:
    saving.check_replaceable(arguments.out, "posterior")
    frame = read_table(arguments.table)
    schema = TableSchema.infer(frame, arguments.target, arguments.task)
    _print(schema.task_line)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # they are part of the printed result
        names = ("hidden", "prior_scale", "seed", "max_steps", "learning_rate", "batch_size")
        options = {name: getattr(arguments, name) for name in names}
        model, result = fit_table(frame, schema, progress=not arguments.quiet, **options)
    model.save(arguments.out)
    _print(f"{result}\nsaved to {arguments.out}")


def _predict(arguments: argparse.Namespace) -> None:
    model = TableModel.load(arguments.model)
    predictions = model.predict(read_table(arguments.table), arguments.draws, arguments.seed)
    if arguments.out is None:
        sys.stdout.write(csv_text(predictions))
    else:
        write_csv(predictions, arguments.out)
        _print(f"{len(predictions)} predictions written to {arguments.out}")


def _summarize(arguments: argparse.Namespace) -> None:
    model = TableModel.load(arguments.model)
    posterior = model.posterior
    table = posterior.summary(arguments.draws, arguments.seed, arguments.interval)
    shown = table.head(arguments.rows) if arguments.rows else table
    elbo = "unknown" if posterior.elbo is None else f"{posterior.elbo:.2f} nats"
    print(f"{model.schema.task_line.split(';')[0]}\ninputs: {', '.join(model.schema.input_names)}")
    print(f"ELBO: {elbo}; fitted with {posterior.describe_fit()}\n{posterior.model.network}\n")
    print(shown.to_string(float_format=lambda value: f"{value:.3f}"))
    if len(shown) < len(table):
        print(f"... and {len(table) - len(shown)} more rows; --rows 0 shows all")


def _compare(arguments: argparse.Namespace) -> None:
    from .reporting.comparison import write_comparison  # needs the libraries of an extra

    options = {name: getattr(arguments, name) for name in ("task", "splits", "hidden", "prior_scale", "seed")}
    options |= {"keras_epochs": arguments.epochs, "command": _command(arguments)}
    frame = read_table(arguments.table)
    page = write_comparison(frame, arguments.target, arguments.out, name=arguments.table.stem, **options)
    _print(f"open {page}")


def _command(arguments: argparse.Namespace) -> str:
    """Return the command for a report, without the folders of this machine."""
    options = {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name not in ("run", "table", "out") and value is not None
    }
    words = (f"--{name.replace('_', '-')} {value}" for name, value in options.items())
    return " ".join(["bayesian-layers compare", arguments.table.name, *words])


def _print(text: str) -> None:
    print(text, file=sys.stderr)


def _units(text: str) -> list[int]:
    units = [int(word) for word in text.split(",")]
    if min(units) < 1:
        raise ValueError
    return units


_units.__name__ = "list of units, such as 20 or 20,20"  # argparse shows it in its message


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bayesian-layers", description="Fit Bayesian networks to tables, and predict with them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_fit(commands)
    _add_predict(commands)
    _add_summarize(commands)
    _add_compare(commands)
    return parser


def _add_fit(commands: Commands) -> None:
    fit = commands.add_parser("fit", help="fit a Bayesian network to a table", description=_FIT)
    _add_table_and_model(fit)
    fit.add_argument("--out", type=Path, required=True, help="folder to save the model in")
    chosen = "(default: chosen for the problem)"
    fit.add_argument("--max-steps", type=int, help=f"largest number of steps {chosen}")
    fit.add_argument("--learning-rate", type=float, help=f"initial learning rate of Adam {chosen}")
    fit.add_argument("--batch-size", type=int, help="rows per step (default: all rows up to 4096, else 1024)")
    fit.add_argument("--quiet", action="store_true", help="show no progress bar")
    fit.set_defaults(run=_fit)


def _add_predict(commands: Commands) -> None:
    predict = commands.add_parser("predict", help="predict the rows of a table", description=_PREDICT)
    predict.add_argument("model", type=Path, help="folder written by fit")
    predict.add_argument("table", type=Path, help="CSV, TSV or Parquet file with the input columns")
    predict.add_argument("--out", type=Path, help="CSV file to write (default: print to standard output)")
    _add_draws(predict)
    predict.set_defaults(run=_predict)


def _add_summarize(commands: Commands) -> None:
    summarize = commands.add_parser("summarize", help="print a model and a table of its weights")
    summarize.add_argument("model", type=Path, help="folder written by fit")
    _add_number(summarize, "--interval", 0.94, "probability of the credible intervals")
    _add_number(summarize, "--rows", 50, "number of weights to print, 0 for all")
    _add_draws(summarize)
    summarize.set_defaults(run=_summarize)


def _add_compare(commands: Commands) -> None:
    compare = commands.add_parser("compare", help="compare with Keras in a report", description=_COMPARE)
    _add_table_and_model(compare)
    compare.add_argument("--out", type=Path, required=True, help="folder to write the report to")
    _add_number(compare, "--splits", 5, "number of random train/test splits")
    _add_number(compare, "--epochs", 1000, "largest number of epochs of Keras")
    compare.set_defaults(run=_compare)


def _add_table_and_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path, help="CSV, TSV or Parquet file")
    parser.add_argument("--target", required=True, help="name of the column to predict")
    parser.add_argument("--task", choices=TASKS, help="kind of target (default: inferred from the target)")
    hidden = "units of the hidden layers, such as 20 or 20,20 (default: 20)"
    parser.add_argument("--hidden", type=_units, default=[20], help=hidden)
    _add_number(parser, "--prior-scale", 1.0, "standard deviation of the prior of the weights")
    _add_number(parser, "--seed", 0, "seed of all random numbers")


def _add_draws(parser: argparse.ArgumentParser) -> None:
    _add_number(parser, "--draws", 1000, "number of draws of the weights")
    _add_number(parser, "--seed", 0, "seed of the draws")


def _add_number(parser: argparse.ArgumentParser, name: str, default: float, text: str) -> None:
    parser.add_argument(name, type=type(default), default=default, help=f"{text} (default: %(default)s)")
