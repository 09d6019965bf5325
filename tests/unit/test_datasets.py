import numpy as np
import pytest
import torch

import bayesian_layers as bl


def test_parabola_is_the_articles_data_bit_for_bit():
    state = np.random.get_state()
    np.random.seed(999)
    x = np.random.random((200, 2)) * 2 - 1
    noisy = x.copy() + np.random.normal(scale=0.1, size=(200, 2))
    np.random.set_state(state)
    label = (noisy[:, 0] ** 2 < noisy[:, 1]).astype(np.float32)
    data = bl.datasets.parabola()
    assert data.x.dtype == data.y.dtype == torch.float32
    assert data.x.numpy().tobytes() == x.astype(np.float32).tobytes()
    assert data.y.numpy().tobytes() == label.tobytes()


def test_parabola_leaves_numpys_generator_alone():
    before = np.random.get_state()[1].copy()
    bl.datasets.parabola(50, seed=1)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": 2.0}, {"seed": -1}, {"seed": 2**32}, {"seed": 2**128}])
def test_numbers_out_of_range_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(bl.errors.DataError, match=f"`{name}` must be an integer"):
        bl.datasets.parabola(**arguments)
