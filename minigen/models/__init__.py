"""Networks: the U-Net of diffusion models, the classic U-Net, the digit classifier."""
