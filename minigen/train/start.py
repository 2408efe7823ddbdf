"""Starting a run, resuming it, and loading what it learned: the three ways into a run folder.

    run = start(DDPMConfig(steps=500))          # train; files in runs/ddpm-1
    resume(run.path)                            # go on after an interruption, bit for bit as if there had been none
    model = load(run.path)                      # the trained model, ready to sample
    images = model.sample(64)

Nothing is written before the settings are checked, the data is read and the networks are built.
"""

import sys
from dataclasses import replace

from ..data import Batches, Prefetched
from ..data import load as load_data
from ..device import device as find_device
from ..random import Generator
from .ae import AE, AEConfig, AETraining
from .ahead import compile_ahead
from .config import SettingError
from .ddpm import DDPM, DDPMConfig, DDPMTraining
from .gan import GAN, GANTraining
from .gan_config import GANConfig
from .loop import fit
from .run_folder import RunError, RunFolder, create_numbered
from .task import under
from .vae import VAE, VAETraining
from .vae_config import VAEConfig

MODELS = {  # by name: settings, model, training
    "ae": (AEConfig, AE, AETraining),
    "ddpm": (DDPMConfig, DDPM, DDPMTraining),
    "gan": (GANConfig, GAN, GANTraining),
    "vae": (VAEConfig, VAE, VAETraining),
}
RUNS = "runs"  # where numbered run folders go


def start(config, out=None, save_images=None):
    """Train a new model by `config` into the folder `out` (runs/<model>-<number> by default) -> its RunFolder.

    save_images   see loop.fit
    Raises FileExistsError where `out` is in use, and what loop.fit raises.
    """
    batches, task = prepare(config)
    run = create_numbered(RUNS, config.model) if out is None else RunFolder(out).create()
    with run.locked():
        run.write_config(config, batches.images.shape[1:])
        announce(f"{run}: {config.steps} steps of {config.batch_size} images from {config.data}")
        fit(task, batches, run, 0, save_images)
    return run


def resume(out, changes=(), save_images=None):
    """Go on with the run in `out` from its newest usable checkpoint -> its RunFolder.

    The settings are those of its config.json. `changes` {name: value} may repeat them; only the folder of the
    data and the number of steps may differ. (Another number of steps is another learning-rate schedule from
    here on; config.json then holds the new number.) A run without any checkpoint starts at step 0.
    Raises RunError, SettingError, and what loop.fit raises.
    """
    run = RunFolder(out)
    saved = run.read_config()
    with run.locked():
        config = changed(config_of(run, saved), dict(changes))
        batches, task = prepare(config)
        if list(batches.images.shape[1:]) != saved["image_shape"]:
            found, expected = batches.images.shape[1:], tuple(saved["image_shape"])
            raise RunError(f"{run}: trained on images {expected}, but {config.data} now has {found}")
        first = restore(task, run)
        if first > config.steps:
            raise SettingError(f"steps must be at least {first}, where the run stands, got {config.steps}")
        run.cut_metrics(first)
        run.write_config(config, batches.images.shape[1:])
        announce(f"{run}: resumed at step {first} of {config.steps}")
        fit(task, batches, run, first, save_images)
    return run


def load(out, weights="ema", device=None):
    """The trained model of a run, ready for `.sample(n)`. weights: "ema", the moving average, or "model", the last.

    device   "cpu" or "cuda"; where the run was trained by default
    Reads only, so the run may be training. Raises RunError where the folder holds no usable checkpoint, ValueError
    for other weights, NoGPU where the device is not there.
    """
    if weights not in ("ema", "model"):
        raise ValueError(f"weights must be 'ema' or 'model', got {weights!r}")
    run = RunFolder(out)
    saved = run.read_config()
    config = config_of(run, saved)
    if device is not None:
        config = replace(config, device=device)
    find_device(config.device)
    found = run.newest_checkpoint(announce)
    if found is None:
        raise RunError(f"{run}: has no checkpoint yet")
    arrays = found[0]
    model = MODELS[saved["model"]][1](config, saved["image_shape"], Generator(config.seed))
    for name, network in model.networks.items():
        average = under(f"ema/{name}/", arrays) if weights == "ema" else {}
        network.load_state_dict(under(f"model/{name}/", arrays) | average)  # buffers have no average
        network.eval()
    return model


def training_of(out):
    """Data and networks as the run in `out` began with them -> Batches, Task. Reads its settings and nothing else."""
    run = RunFolder(out)
    return prepare(config_of(run, run.read_config()))


def held_out(out):
    """The test images of the data set that the run in `out` learned from -> ImageSet."""
    run = RunFolder(out)
    config = config_of(run, run.read_config())
    return load_data(config.data, config.data_dir, "test")


def prepare(config):
    """Data and networks by the settings -> Batches, Task. Raises before anything is written, whatever is missing."""
    find_device(config.device)
    images = load_data(config.data, config.data_dir)
    batches = Batches(images.images, images.labels, config.batch_size, config.seed)
    compile_ahead(config)
    if config.device == "cuda":
        batches = Prefetched(batches)
    return batches, MODELS[config.model][2](config, batches.images.shape[1:])


def config_of(run, saved):
    """The settings object of a config.json. Raises RunError for a model that this minigen does not have."""
    if saved.get("model") not in MODELS:
        raise RunError(f"{run.config_file}: unknown model {saved.get('model')!r}: there are {', '.join(MODELS)}")
    return MODELS[saved["model"]][0].from_dict(saved["config"])


def changed(config, changes):
    """`config` with what a resumed run may change. Raises SettingError for the rest, unless the value is the same."""
    entries = config.__dataclass_fields__
    for name, value in changes.items():
        if name in entries and not entries[name].metadata["resumable"] and value != getattr(config, name):
            raise SettingError(
                f"{name} of a run cannot change: it began with {getattr(config, name)!r}, got {value!r}; "
                "leave it out to resume, or start a new run"
            )
    return type(config).from_dict(config.to_dict() | changes)


def restore(task, run):
    """Bring a new task to the newest usable checkpoint of its run -> the number of steps done."""
    found = run.newest_checkpoint(announce)
    run.set_aside(found[2] if found else ())
    if found is None:
        return 0
    arrays, header, _ = found
    task.load_state(arrays, header)
    return header["step"]


def announce(text):
    print(text, file=sys.stderr, flush=True)
