"""Image data sets as arrays: pictures (N, H, W, C) of uint8, channels last, and labels (N,) of int64.

    digits = load("mnist-mini")                        # ships with the package
    digits = load("mnist", data_dir="somewhere")       # files in somewhere/mnist, or in somewhere itself
    x = to_model_range(digits.images)                  # float32 in [-1, 1]

Models see [-1, 1]; files and pictures hold bytes. The two maps between them,

    x = byte / 127.5 - 1          byte = round((x + 1) * 127.5), clipped to 0..255

give back every one of the 256 bytes.

Sources  registry.py; CIFAR-10's binary layout: https://www.cs.toronto.edu/~kriz/cifar.html
"""

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..device import device_of
from ..random import Generator
from .checksums import OK, verify
from .idx import DAMAGED_GZIP, read_idx
from .registry import DATA_SETS, find_data_set
from .toy import TOY_CLASSES, load_points

SPLITS = ("train", "test")


@dataclass(frozen=True)
class ImageSet:
    """Labelled pictures: images (N, H, W, C) uint8, labels (N,) int64, an index into `classes`."""

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self):
        return len(self.images)


# ---------------------------------------------------------------- where the files are


def data_root(data_dir=None):
    """The folder that holds the data sets: `data_dir`, else $MINIGEN_DATA, else ~/.cache/minigen/data."""
    chosen = data_dir or os.environ.get("MINIGEN_DATA") or Path.home() / ".cache" / "minigen" / "data"
    return Path(chosen).expanduser()


def folders(entry, data_dir=None):
    """Where files of a data set are looked for, in this order: root/name, then the root itself."""
    if entry.embedded is not None:
        return [entry.embedded]
    root = data_root(data_dir)
    return [root / entry.name, root]


def locate(entry, file, data_dir=None):
    """The path of one file of a data set, packed or with its ".gz" removed; None where there is neither."""
    names = (file.name,) if file.name.endswith(".tar.gz") else (file.name, file.name.removesuffix(".gz"))
    candidates = (folder / name for folder in folders(entry, data_dir) for name in names)
    return next((path for path in candidates if path.is_file()), None)


def check(name, data_dir=None):
    """Every file of a data set: is it there, how large is it, does its digest match? -> list of Verdict."""
    entry = find_data_set(name)
    return [verify(locate(entry, file, data_dir), file) for file in entry.files]


# ---------------------------------------------------------------- loading


def load(name="mnist-mini", data_dir=None, split="train"):
    """One split ("train" or "test") of a data set of the registry -> ImageSet; of a toy set (toy.py) -> PointSet.

    Raises ValueError for an unknown name or split, for files that contradict each other or belong to another
    set, and for a data_dir with a set that needs none; FileNotFoundError, with what to do, where files are missing;
    IdxError (a ValueError) for a damaged file.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if name in TOY_CLASSES:
        if data_dir is not None:
            raise ValueError(f"{name} is computed and has no data_dir, got {data_dir}")
        return load_points(name, split)
    entry = find_data_set(name)
    if entry.embedded is not None and data_dir is not None:
        raise ValueError(f"{name} ships with the package and has no data_dir, got {data_dir}; did you mean 'mnist'?")
    paths = _needed_files(entry, data_dir, split)
    images, labels = _read_cifar10(*paths, split) if name == "cifar10" else _read_idx_pair(entry, *paths)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(entry.classes):
        raise ValueError(f"{paths[-1]}: labels must lie in 0..{len(entry.classes) - 1}, found {labels.max()}")
    images = tint(images, Generator(0).child(split)) if entry.tinted else images
    return ImageSet(name, images, labels.astype(np.int64), entry.classes)


def class_count(name):
    """How many classes the labels of a data set have, without loading it. Raises ValueError for an unknown name."""
    return TOY_CLASSES[name] if name in TOY_CLASSES else len(find_data_set(name).classes)


def _needed_files(entry, data_dir, split):
    prefix = {"train": "t10k", "test": "train"}[split]  # the IDX files of the other split are not needed
    needed = [file for file in entry.files if not file.name.startswith(prefix)]
    paths = [locate(entry, file, data_dir) for file in needed]
    missing = [file.name for file, path in zip(needed, paths, strict=True) if path is None]
    if missing:
        looked = " or ".join(str(folder) for folder in folders(entry, data_dir))
        into = f" --data-dir {data_dir}" if data_dir else ""
        raise FileNotFoundError(
            f"{entry.name}: found no {', '.join(missing)} (packed or not) in {looked}; "
            f"fetch with: minigen data download {entry.name}{into}"
        )
    return paths


def _read_idx_pair(entry, images_path, labels_path):
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(f"{images_path}: expected uint8 images (N, H, W), found {images.dtype} {images.shape}")
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"{labels_path}: expected {len(images)} uint8 labels, as many as {images_path} has images, "
            f"found {labels.dtype} {labels.shape}"
        )
    _refuse_namesake(entry, labels_path)
    return images[..., None], labels


def _refuse_namesake(entry, path):
    """MNIST and Fashion-MNIST name their files alike: digits must not pass for clothing. Labels are quick to hash."""
    for other in DATA_SETS.values():
        for file in other.files:
            if other.files != entry.files and "labels" in file.name and verify(path, file).status == OK:
                raise ValueError(f"{path} belongs to {other.name}, not to {entry.name}: give the folder of that")


def _read_cifar10(path, split):
    """Records of 3073 bytes: a label, then 32 x 32 red, green and blue -> (N, 32, 32, 3), (N,)."""
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    try:
        with tarfile.open(path, "r:gz") as archive:
            content = [_read_member(archive, f"cifar-10-batches-bin/{name}") for name in names]
    except (tarfile.TarError, KeyError, *DAMAGED_GZIP) as error:
        raise ValueError(f"{path}: expected a tar.gz that holds {', '.join(names)}: {error}") from error
    for name, data in zip(names, content, strict=True):
        if not data or len(data) % 3073:
            raise ValueError(f"{path}: {name} must hold whole records of 3073 bytes, found {len(data)} bytes")
    records = np.frombuffer(b"".join(content), np.uint8).reshape(-1, 3073)
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0]


def _read_member(archive, name):
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(f"{name} is not a regular file")
    return stream.read()


def tint(images, generator):
    """Every grey picture in a colour of its own on black: (N, H, W, 1) uint8 -> (N, H, W, 3) uint8.

    colour (r, g, b) uniform in (0, 1)^3, scaled so that its largest part is 1        pixel = grey * colour, rounded
    The colour has nothing to do with the class: what a grey picture shows says which shapes, not which colour.
    """
    colour = generator.uniform((len(images), 1, 1, 3))
    return np.rint(images * (colour / colour.max(axis=-1, keepdims=True))).astype(np.uint8)


# ---------------------------------------------------------------- bytes and the models' range


def to_model_range(images):
    """uint8 0..255 -> float32 in [-1, 1], where the images are. Raises TypeError for another type: scaled already?"""
    images = device_of(images).xp.asarray(images)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, got {images.dtype}")
    return images.astype(np.float32) / np.float32(127.5) - np.float32(1)


def to_uint8(x):
    """Floats in [-1, 1] -> uint8, rounded to the nearest; beyond the range clipped.

    Raises TypeError unless x is floating point, ValueError for a NaN.
    """
    x = np.asarray(x)
    if not np.issubdtype(x.dtype, np.floating):
        raise TypeError(f"x must be floating point in [-1, 1], got {x.dtype}")
    if np.isnan(x).any():
        raise ValueError(f"x must not hold NaN, found {np.isnan(x).sum()} in {x.size} values")
    return np.rint(np.clip((x + 1) * 127.5, 0, 255)).astype(np.uint8)
