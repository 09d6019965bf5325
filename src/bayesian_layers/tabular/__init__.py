"""Tables to tensors, by a schema that is inferred once and saved with the model, and predictions as tables.

pandas belongs to the extra ``cli``; it is imported on first use.
"""

from .columns import CategoricalColumn, NumericColumn
from .reading import read_table
from .schema import TableSchema
from .table_model import TableModel, fit_table, make_network
from .target import ClassTarget, RegressionTarget
from .writing import csv_text, write_csv

__all__ = [
    "CategoricalColumn",
    "ClassTarget",
    "NumericColumn",
    "RegressionTarget",
    "TableModel",
    "TableSchema",
    "csv_text",
    "fit_table",
    "make_network",
    "read_table",
    "write_csv",
]
