"""PyTorch's side of the MLP VAE, as its users write it, with the fused Adam."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.paired import Work
from benchmarks.sides.data import vae_batch
from benchmarks.sides.torch_forms import compiled, gradients, load_weights, ours, tensor


class VAE(nn.Module):
    def __init__(self, hidden, latent):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(784, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, 784))

    def forward(self, x, eps):
        mu, logvar = self.encoder(x).chunk(2, 1)
        logits = self.decoder(mu + torch.exp(0.5 * logvar) * eps)
        reconstruction = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return reconstruction - 0.5 * torch.sum(1 + logvar - mu * mu - logvar.exp())


def prepare(case, form, folder):
    torch.manual_seed(0)
    x, eps = (tensor(a) for a in vae_batch(case))
    network = VAE(case["shape"]["hidden"], case["shape"]["latent"])
    names = [(name, name.replace(".layers", "")) for name in np.load(folder / "vae.npz").files]
    load_weights(network, folder / "vae.npz", names)
    optimizer, loss_of = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True), compiled(network, form)

    def train(eps):
        loss = loss_of(x, eps)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return ours(loss)

    def check():
        first = {"loss": train(eps), **gradients(network, folder / "vae.npz", names)}
        return {**first, "loss after the step": train(eps)}

    return Work(lambda: train(torch.randn_like(eps)), check)
