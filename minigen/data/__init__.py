"""Data: image sets by name, their download and checks, toy sets with known truth, and batches that resume exactly."""

from .batches import Batches
from .checksums import Verdict
from .download import DownloadError, download
from .idx import IdxError, read_idx, write_idx
from .prefetch import Prefetched
from .registry import DATA_SETS
from .sets import ImageSet, check, class_count, load, to_model_range, to_uint8
from .toy import GAUSSIAN1D, GRID25, MODES, RING8, TOY_SETS, Mixture1d, Modes, PointSet

__all__ = [
    "DATA_SETS",
    "GAUSSIAN1D",
    "GRID25",
    "MODES",
    "RING8",
    "TOY_SETS",
    "Batches",
    "DownloadError",
    "IdxError",
    "ImageSet",
    "Mixture1d",
    "Modes",
    "PointSet",
    "Prefetched",
    "Verdict",
    "check",
    "class_count",
    "download",
    "load",
    "read_idx",
    "to_model_range",
    "to_uint8",
    "write_idx",
]
