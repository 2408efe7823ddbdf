"""Networks: the U-Net of diffusion models, the classic U-Net, autoencoders, the digit classifier."""
