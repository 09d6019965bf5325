"""The command line: ``bayesian-layers fit|predict|summarize|compare``.

Exit status 0 is success, 2 a mistake that the message explains (nothing is written then), 130 an
interruption. What is asked for goes to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from . import saving
from .errors import BayesianLayersError, FitWarning, TableError
from .tabular import TableModel, TableSchema, fit_table, read_table

if TYPE_CHECKING:
    import pandas

_TASKS = ("binary", "multiclass", "regression")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command."""
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has seen enough
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
    _say(schema.task_line)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FitWarning)  # the result prints them
        model, result = fit_table(
            frame,
            schema,
            hidden=arguments.hidden,
            prior_scale=arguments.prior_scale,
            seed=arguments.seed,
            max_steps=arguments.max_steps,
            learning_rate=arguments.learning_rate,
            batch_size=arguments.batch_size,
            progress=not arguments.quiet,
        )
    model.save(arguments.out)
    _say(f"{result}\nsaved to {arguments.out}")


def _predict(arguments: argparse.Namespace) -> None:
    model = TableModel.load(arguments.model)
    predictions = model.predict(read_table(arguments.table), arguments.draws, arguments.seed)
    if arguments.out is None:
        predictions.to_csv(sys.stdout, index=False)
    else:
        _write_csv(predictions, arguments.out)
        _say(f"{len(predictions)} predictions written to {arguments.out}")


def _summarize(arguments: argparse.Namespace) -> None:
    model = TableModel.load(arguments.model)
    posterior = model.posterior
    table = posterior.summary(arguments.draws, arguments.seed, arguments.interval)
    shown = table.head(arguments.rows) if arguments.rows else table
    elbo = "not known" if posterior.elbo is None else f"{posterior.elbo:.2f} nats"
    print(f"{model.schema.task_line.split(';')[0]}\ninputs: {', '.join(model.schema.input_names)}")
    print(f"ELBO: {elbo}; fitted with {posterior.describe_fit()}\n{posterior.model.network}\n")
    print(shown.to_string(float_format=lambda value: f"{value:.3f}"))
    if len(shown) < len(table):
        print(f"... and {len(table) - len(shown)} more rows; --rows 0 shows all")


def _compare(arguments: argparse.Namespace) -> None:
    from .reporting.comparison import write_comparison  # its libraries belong to an extra

    page = write_comparison(
        read_table(arguments.table),
        arguments.target,
        arguments.out,
        task=arguments.task,
        splits=arguments.splits,
        hidden=arguments.hidden,
        prior_scale=arguments.prior_scale,
        keras_epochs=arguments.epochs,
        seed=arguments.seed,
        name=arguments.table.stem,
        command=_command(arguments),
    )
    _say(f"open {page}")


def _command(arguments: argparse.Namespace) -> str:
    """The command without the folders of this machine, to be printed in a report."""
    options = {
        name: ",".join(map(str, value)) if isinstance(value, list) else value
        for name, value in vars(arguments).items()
        if name not in ("run", "table", "out") and value is not None
    }
    said = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in options.items())
    return f"bayesian-layers compare {arguments.table.name} {said}"


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _write_csv(frame: pandas.DataFrame, path: Path) -> None:
    """Write beside the target, then rename: a reader never sees half a file."""
    if path.is_dir():
        raise TableError(f"{path} is a folder; --out must name a file")
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", newline="") as file:
            frame.to_csv(file, index=False)
        Path(partial).chmod(0o666 & ~_umask())
        Path(partial).replace(path)
    finally:
        Path(partial).unlink(missing_ok=True)


def _umask() -> int:
    """The process's mask can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _units(text: str) -> list[int]:
    units = [int(word) for word in text.split(",")]
    if min(units) < 1:
        raise ValueError
    return units


_units.__name__ = "list of units, as 20 or 20,20"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bayesian-layers", description="Bayesian networks for tables.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="fit a Bayesian network to a table", description=_fit_help())
    _add_table_and_model(fit)
    fit.add_argument("--out", type=Path, required=True, help="folder for the model")
    fit.add_argument("--max-steps", type=int, help="steps of the fit (default: chosen for the problem)")
    fit.add_argument("--learning-rate", type=float, help="Adam's first rate (default: chosen)")
    fit.add_argument("--batch-size", type=int, help="rows a step (default: all up to 4096, else 1024)")
    fit.add_argument("--quiet", action="store_true", help="no progress bar")
    fit.set_defaults(run=_fit)

    predict = commands.add_parser("predict", help="predict the rows of a table")
    predict.add_argument("model", type=Path, help="folder that fit wrote")
    predict.add_argument("table", type=Path, help="CSV, TSV or Parquet file with the input columns")
    predict.add_argument("--out", type=Path, help="CSV file (default: standard output)")
    _add_draws(predict)
    predict.set_defaults(run=_predict)

    summarize = commands.add_parser("summarize", help="print a model and the table of its weights")
    summarize.add_argument("model", type=Path, help="folder that fit wrote")
    summarize.add_argument(
        "--interval", type=float, default=0.94, help="probability of the intervals (%(default)s)"
    )
    summarize.add_argument("--rows", type=int, default=50, help="weights to print, 0 for all (%(default)s)")
    _add_draws(summarize)
    summarize.set_defaults(run=_summarize)

    compare = commands.add_parser("compare", help="compare with a Keras network, as a report")
    _add_table_and_model(compare)
    compare.add_argument("--out", type=Path, required=True, help="folder for the report")
    compare.add_argument("--splits", type=int, default=5, help="train/test splits (%(default)s)")
    compare.add_argument("--epochs", type=int, default=1000, help="most epochs of Keras (%(default)s)")
    compare.set_defaults(run=_compare)
    return parser


def _fit_help() -> str:
    return (
        "Numeric columns are standardized, text and true/false columns become categories. The task is found out "
        "from the target column. Everything is kept in a folder of safetensors and JSON files."
    )


def _add_table_and_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path, help="CSV, TSV or Parquet file")
    parser.add_argument("--target", required=True, help="name of the column to predict")
    parser.add_argument("--task", choices=_TASKS, help="default: found out from the target")
    parser.add_argument(
        "--hidden", type=_units, default=[20], help="units of the hidden layers (default: 20)"
    )
    parser.add_argument(
        "--prior-scale", type=float, default=1.0, help="deviation of the weights' prior (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random (%(default)s)")


def _add_draws(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--draws", type=int, default=1000, help="draws of the weights (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="which draws (%(default)s)")
