"""Scores of generated images (summary.py: all at once), of toy points, and of pictures that have a true one."""

from .baseline import PCAGaussian
from .features import look
from .frechet import fid, frechet_distance
from .inception import inception_score
from .interval import Score, bootstrap
from .manifold import precision, recall
from .modes import ModeCount, count_modes, mode_scores
from .recognition import Recognition, acceptance_of_impostors, recognise
from .similarity import psnr, ssim
from .summary import context, scores, scores_in_context, table
from .wasserstein import sliced_wasserstein

__all__ = [
    "ModeCount",
    "PCAGaussian",
    "Recognition",
    "Score",
    "acceptance_of_impostors",
    "bootstrap",
    "context",
    "count_modes",
    "fid",
    "frechet_distance",
    "inception_score",
    "look",
    "mode_scores",
    "precision",
    "psnr",
    "recall",
    "recognise",
    "scores",
    "scores_in_context",
    "sliced_wasserstein",
    "ssim",
    "table",
]
