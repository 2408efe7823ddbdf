"""Training: settings, the loop, run folders and checkpoints, and the models that can be trained."""

from .checkpoint import CheckpointError
from .config import SettingError
from .ddpm import DDPM, DDPMConfig, DDPMTraining
from .loop import Diverged, Stopped
from .run_folder import RunError, RunFolder
from .start import MODELS, held_out, load, resume, start

__all__ = [
    "DDPM",
    "MODELS",
    "CheckpointError",
    "DDPMConfig",
    "DDPMTraining",
    "Diverged",
    "RunError",
    "RunFolder",
    "SettingError",
    "Stopped",
    "held_out",
    "load",
    "resume",
    "start",
]
