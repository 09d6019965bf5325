"""blitz: `BayesianLinear`, and the log densities at the draw that each layer keeps."""

import mnist
from blitz.losses import kl_divergence_from_nn
from blitz.modules import BayesianLinear
from protocol import serve


def mnist_step(request):
    """Milliseconds a minibatch step."""
    return mnist.compare(request, BayesianLinear, kl_divergence_from_nn)


if __name__ == "__main__":
    serve({"mnist_step": mnist_step})
