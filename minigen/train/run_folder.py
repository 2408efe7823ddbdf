"""A run folder: all that one training run leaves behind.

    runs/ddpm-1/
        config.json                          the model's name, its settings, the shape of an image
        metrics.jsonl                        one JSON object a step
        checkpoints/step-00000500.safetensors   the last three (checkpoint.py)
        samples/step-00001000.png
        lock, lock.pid                       held by the process that writes here, and its number

The files agree with each other after any interruption: metrics are made durable before the checkpoint of
the same step, and a resumed run cuts `metrics.jsonl` back to the checkpoint it starts from, so no step is
missing and none appears twice.
"""

import json
import os
import re
from contextlib import contextmanager
from pathlib import Path

from .checkpoint import CheckpointError, read_checkpoint, write_checkpoint, write_whole

KEPT = 3  # checkpoints: the newest may turn out damaged, and so may the one before
CONFIG_VERSION = 1


class RunError(Exception):
    """A run folder that cannot be used: which one, and why."""


class RunFolder:
    """The files of one run, under `path`. Nothing is read or made until a method is called."""

    def __init__(self, path):
        self.path = Path(path)
        self.checkpoints, self.samples = self.path / "checkpoints", self.path / "samples"
        self.config_file, self.metrics_file = self.path / "config.json", self.path / "metrics.jsonl"

    def __str__(self):
        return str(self.path)

    # ------------------------------------------------------------ birth and ownership

    def create(self):
        """Make the empty folders. Raises FileExistsError if the path is there already and not an empty folder."""
        self.path.mkdir(parents=True, exist_ok=self.path.is_dir() and not any(self.path.iterdir()))
        self.checkpoints.mkdir()
        self.samples.mkdir()
        return self

    @contextmanager
    def locked(self):
        """Inside the block no other process writes to this run. Raises RunError, which names the process that does.

        The lock belongs to the process: however that ends, kill -9 included, the lock is gone with it.
        """
        from filelock import FileLock, Timeout

        lock, holder = FileLock(self.path / "lock"), self.path / "lock.pid"
        try:
            lock.acquire(blocking=False)
        except Timeout:
            number = holder.read_text() if holder.exists() else "(number not yet known)"
            raise RunError(f"{self.path}: in use by process {number}") from None
        try:
            holder.write_text(str(os.getpid()))
            yield self
        finally:
            holder.unlink(missing_ok=True)
            lock.release()

    # ------------------------------------------------------------ settings

    def write_config(self, config, image_shape):
        """config.json: the settings of a TrainConfig, and the (H, W, C) they are used at."""
        content = {"format_version": CONFIG_VERSION, "model": config.model, "image_shape": list(image_shape)}
        write_whole(self.config_file, json.dumps({**content, "config": config.to_dict()}, indent=2).encode() + b"\n")

    def read_config(self):
        """-> {"model", "image_shape", "config"}. Raises RunError where this is no run folder or of a later format."""
        try:
            content = json.loads(self.config_file.read_text())
        except FileNotFoundError:
            hint = "it has no config.json" if self.path.is_dir() else "there is no such folder"
            raise RunError(f"{self.path}: not a run folder: {hint}") from None
        except json.JSONDecodeError as error:
            raise RunError(f"{self.config_file}: not JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format_version") != CONFIG_VERSION:
            raise RunError(f"{self.config_file}: expected format version {CONFIG_VERSION}, found another")
        return content

    # ------------------------------------------------------------ metrics

    def append_metrics(self, row):
        """Add one JSON line; it outlives this process at once, and the machine after `sync_metrics`."""
        with open(self.metrics_file, "a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def sync_metrics(self):
        with open(self.metrics_file, "a") as file:
            os.fsync(file.fileno())

    def read_metrics(self):
        """The rows so far; a last line that was cut short is left out."""
        if not self.metrics_file.exists():
            return []
        lines = self.metrics_file.read_text().split("\n")[:-1]
        return [json.loads(line) for line in lines]

    def cut_metrics(self, step):
        """Drop the rows after `step`: a run resumed there writes them again."""
        rows = [row for row in self.read_metrics() if row["step"] <= step]
        write_whole(self.metrics_file, "".join(json.dumps(row) + "\n" for row in rows).encode())

    # ------------------------------------------------------------ checkpoints

    def checkpoint_files(self):
        """(step, path) of every checkpoint, the newest first."""
        found = ((re.fullmatch(r"step-(\d{8,})\.safetensors", p.name), p) for p in self.checkpoints.glob("*"))
        return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)

    def save_checkpoint(self, step, arrays, header):
        """Write the checkpoint of `step`; only when it is in place are those before the last three removed."""
        if self.metrics_file.exists():
            self.sync_metrics()
        path = self.checkpoints / f"step-{step:08d}.safetensors"
        write_checkpoint(path, arrays, {"step": step, **header})
        for _, old in self.checkpoint_files()[KEPT:]:
            old.unlink()
        return path

    def newest_checkpoint(self, report):
        """-> (arrays, header, damaged paths) of the newest usable checkpoint; None where there is none at all.

        report(text) is told of each newer one that is damaged. Raises RunError if every one is.
        """
        reasons, damaged = [], []
        for _, path in self.checkpoint_files():
            try:
                return (*read_checkpoint(path), damaged)
            except CheckpointError as error:
                report(f"{error}; trying the one before")
                reasons.append(str(error))
                damaged.append(path)
        if reasons:
            raise RunError(f"{self.path}: no usable checkpoint:\n  " + "\n  ".join(reasons))
        return None

    def set_aside(self, damaged):
        """Rename damaged checkpoints to *.damaged and clear what a killed writer left, before a resumed run goes on."""
        for path in damaged:
            path.rename(path.with_suffix(".damaged"))
        for path in (*self.path.glob("*.tmp"), *self.checkpoints.glob("*.tmp"), *self.samples.glob("*.tmp")):
            path.unlink()

    def samples_file(self, step):
        return self.samples / f"step-{step:08d}.png"


# ---------------------------------------------------------------- names


def numbered(parent, model):
    """(number, path) of the folders model-1, model-2, ... in `parent`, the newest first."""
    found = ((re.fullmatch(rf"{re.escape(model)}-(\d+)", p.name), p) for p in Path(parent).glob(f"{model}-*"))
    return sorted(((int(match[1]), path) for match, path in found if match), reverse=True)


def create_numbered(parent, model):
    """Make parent/model-N with the next free N -> RunFolder. Where another process takes N first, we take the next."""
    while True:
        taken = numbered(parent, model)
        run = RunFolder(Path(parent) / f"{model}-{taken[0][0] + 1 if taken else 1}")
        try:
            run.path.mkdir(parents=True)
            return run.create()
        except FileExistsError:
            continue
