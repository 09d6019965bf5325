"""An effect handler with which tests run a program on the draws that our own code has made."""

from pyro.poutine.messenger import Messenger


class Substitute(Messenger):
    """Give latent sites the values of a mapping, reshaped to the sites' shapes, plates included.

    Unlike under ``poutine.condition`` the sites stay latent, so an ELBO still counts their KL. Sites that have a value
    already (in a replayed model), and names that the mapping lacks, are left alone.
    """

    def __init__(self, values):
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg):
        if not msg["done"] and not msg["is_observed"] and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]].reshape(msg["fn"].shape())
            msg["done"] = True
