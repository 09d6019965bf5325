"""A table to tensors, by a schema that is learned once and kept with the model, and predictions back.

pandas is imported on first use only: it belongs to the extra ``cli``.
"""

from .columns import CategoricalColumn, NumericColumn
from .reading import read_table
from .schema import TableSchema
from .table_model import TableModel, fit_table, make_network
from .target import ClassTarget, RegressionTarget

__all__ = [
    "CategoricalColumn",
    "ClassTarget",
    "NumericColumn",
    "RegressionTarget",
    "TableModel",
    "TableSchema",
    "fit_table",
    "make_network",
    "read_table",
]
