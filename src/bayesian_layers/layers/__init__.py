"""Layers whose parameters have priors: drop-in versions of torch's layers, and layers of the library's own.

A new layer is one file here and its name in ``__all__``, which the package and saved files use. If local
reparameterization or Flipout can treat it, it also needs a rule in ``estimators.operations``. The file may hold three
tables for saved files; most layers need only the first:

- ``ARGUMENTS``: the schema of each new constructor argument, by name (``saving.architecture`` has the common ones);
- ``READ``: how to read an argument from a module that has no attribute of the same name, by name;
- ``MODULES``: the number of modules in a layer, by class, as a function of the constructor's arguments.

The tables leave out ``device``, ``dtype`` and keyword-only arguments whose name ends in ``prior``.
"""

from ..saving.architecture import register
from .activation import PReLU
from .adapters import SelfAttention, Take
from .attention import MultiheadAttention, TransformerEncoderLayer
from .base import NORMALISATION_LAYERS as NORMALISATION_LAYERS
from .cells import GRUCell, LSTMCell, RNNCell
from .convolution import Conv1d, Conv2d, Conv3d
from .embedding import Embedding
from .embedding import check_embeddings as check_embeddings
from .embedding import padding_rows as padding_rows
from .flows import MADE, MAF, NeuralSpline, NoContext, RealNVP
from .gaussian_process import GaussianProcess
from .linear import Bilinear, Linear
from .normalisation import BatchNorm1d, BatchNorm2d, BatchNorm3d, GroupNorm, LayerNorm
from .recurrent import GRU, LSTM, RNN
from .rms_norm import RMSNorm
from .transposed_convolution import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

__all__ = [
    "GRU",
    "LSTM",
    "MADE",
    "MAF",
    "RNN",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Embedding",
    "GRUCell",
    "GaussianProcess",
    "GroupNorm",
    "LSTMCell",
    "LayerNorm",
    "Linear",
    "MultiheadAttention",
    "NeuralSpline",
    "NoContext",
    "PReLU",
    "RMSNorm",
    "RNNCell",
    "RealNVP",
    "SelfAttention",
    "Take",
    "TransformerEncoderLayer",
]

for _name in __all__:
    register(globals()[_name])  # saved files may contain this layer
