"""GANs: losses, gradient penalties, networks, and what can be done with latent vectors."""
