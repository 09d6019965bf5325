"""bayesian-torch: a network converted by `dnn_to_bnn`, its KL by `get_kl_loss`."""

import mnist
from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss
from protocol import serve
from torch import nn

PARAMETERS = {
    "prior_mu": 0.0,
    "prior_sigma": 1.0,
    "posterior_mu_init": 0.0,
    "posterior_rho_init": -3.0,
    "type": "Reparameterization",
    "moped_enable": False,
    "moped_delta": 0.5,
}


def linear(inputs, outputs):
    """Convert a linear layer as the library's introduction does."""
    layer = nn.Sequential(nn.Linear(inputs, outputs))
    dnn_to_bnn(layer, PARAMETERS)
    return layer


def mnist_step(request):
    """Time a minibatch step, in milliseconds."""
    return mnist.compare(request, linear, get_kl_loss)


if __name__ == "__main__":
    serve({"mnist_step": mnist_step})
