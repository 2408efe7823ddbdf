"""Training: settings, the loop, run folders and checkpoints, and the models that can be trained."""

from .ae import AE, AEConfig, AETraining
from .checkpoint import CheckpointError
from .config import SettingError
from .ddpm import DDPM, DDPMConfig, DDPMTraining
from .gan import GAN, GANTraining
from .gan_config import GANConfig
from .loop import Diverged, Stopped
from .run_folder import RunError, RunFolder
from .start import MODELS, held_out, load, resume, start
from .vae import VAE, VAETraining
from .vae_config import VAEConfig

__all__ = [
    "AE",
    "DDPM",
    "GAN",
    "MODELS",
    "VAE",
    "AEConfig",
    "AETraining",
    "CheckpointError",
    "DDPMConfig",
    "DDPMTraining",
    "Diverged",
    "GANConfig",
    "GANTraining",
    "RunError",
    "RunFolder",
    "SettingError",
    "Stopped",
    "VAEConfig",
    "VAETraining",
    "held_out",
    "load",
    "resume",
    "start",
]
