"""A data schema from an untrusted description."""

import pytest
import torch

from bayesian_layers.data_schema import DataSchema
from bayesian_layers.errors import StorageError


@pytest.mark.parametrize("part", ["inputs", "target"])
def test_names_that_do_not_fit_are_refused_as_a_damaged_file(part):
    spec = DataSchema.of(torch.zeros(3, 2), torch.zeros(3, 2)).spec()
    array = spec["target"] if part == "target" else spec["inputs"][0]
    array["names"] = []
    with pytest.raises(StorageError, match="data schema is not valid: `names` must name the 2 entries"):
        DataSchema.from_spec(spec)
