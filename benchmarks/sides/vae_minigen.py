"""Our side of the MLP VAE: 784 - hidden - latent - hidden - 784, Adam, and the sum of both terms of the bound."""

from benchmarks.paired import Work
from benchmarks.sides.data import vae_batch
from benchmarks.sides.minigen_networks import gradients, share_weights
from minigen import Tensor, nn, ops
from minigen.optim import Adam
from minigen.random import Generator


class VAE(nn.Module):
    """Kingma and Welling, 2014, appendix C: loss = -ln p(x | z) + KL(q(z | x) || N(0, 1)), z = mu + sigma eps"""

    def __init__(self, hidden, latent, generator):
        self.encoder = nn.Sequential(
            nn.Linear(784, hidden, generator), ops.relu, nn.Linear(hidden, 2 * latent, generator)
        )
        self.decoder = nn.Sequential(nn.Linear(latent, hidden, generator), ops.relu, nn.Linear(hidden, 784, generator))

    def forward(self, x, eps):
        mu, logvar = ops.split(self.encoder(x), 2, axis=1)
        z = mu + ops.exp(0.5 * logvar) * eps
        reconstruction = ops.bce_with_logits(self.decoder(z), x, reduction="sum")
        return reconstruction + ops.kl_gaussian(mu, logvar, reduction="sum")


def prepare(case, form, folder):
    shape, generator, (x, eps) = case["shape"], Generator(1), vae_batch(case)
    network = VAE(shape["hidden"], shape["latent"], Generator(0))
    optimizer = Adam(network.parameters(), lr=1e-3)
    share_weights(case, folder, vae=network)
    x = Tensor(x)

    def train(eps):
        loss = network(x, Tensor(eps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.data

    def check():
        return {"loss": train(eps), **gradients(network), "loss after the step": train(eps)}

    return Work(lambda: train(generator.normal(eps.shape)), check)
