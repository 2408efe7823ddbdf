"""The command line: flags that are the settings, exit codes, suggestions, one-line errors, and pictures."""

import json
import os
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from minigen import cli, pictures
from minigen.cli.flags import in_a_file_name
from minigen.report import GAP, image_grid, save_images
from minigen.train import DDPM, DDPMConfig, RunFolder, SettingError
from minigen.train.config import TrainConfig

# ---------------------------------------------------------------- settings are flags


def test_every_setting_is_a_flag_with_its_help_and_default(minigen):
    code, out, _ = minigen("train", "ddpm", "--help")
    text = " ".join(out.split()).replace("- ", "-")
    assert code == 0
    for entry in fields(DDPMConfig):
        assert f"--{entry.name.replace('_', '-')} " in text
        assert entry.metadata["help"].replace("- ", "-") in text
    assert "[default: cosine]" in text


def test_flags_arrive_in_config_json_with_their_types(minigen, tiny_flags):
    code, out, _ = minigen(*tiny_flags, "--lr", "1e-4", "--multipliers", "2,3", "--attention-levels", "", "--out", "r")
    assert code == 0, out
    saved = json.loads(Path("r/config.json").read_text())["config"]
    assert (saved["lr"], saved["multipliers"], saved["attention_levels"], saved["T"]) == (1e-4, [2, 3], [], 8)
    assert saved.keys() == {entry.name for entry in fields(DDPMConfig)}
    assert "minigen sample r" in out


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("steps", 0, "steps must be at least 1, got 0"),
        ("steps", 2.0, "steps must be a whole number, got 2.0"),
        ("steps", True, "steps must be a whole number, got True"),
        ("lr", float("nan"), "lr must be at least 0, got nan"),
        ("lr", float("inf"), "lr must be at least 0, got inf"),
        ("lr", "fast", "lr must be a number, got 'fast'"),
        ("ema_decay", 1.0, "ema_decay must be at least 0 and below 1, got 1.0"),
        ("multipliers", (1, 0), r"multipliers must be at least 1, got \(1, 0\)"),
        ("multipliers", (), "multipliers must hold at least one number"),
        ("multipliers", 2, "multipliers must be whole numbers, got 2"),
        ("schedule", "cosin", "schedule must be one of linear, cosine, sigmoid, got 'cosin'; did you mean 'cosine'?"),
        ("data_dir", 3, "data_dir must be text, got 3"),
    ],
)
def test_settings_are_checked_wherever_they_come_from(setting, value, message):
    with pytest.raises(SettingError, match=message):
        DDPMConfig(**{setting: value})


def test_settings_from_json_name_what_they_do_not_know():
    with pytest.raises(SettingError, match="ddpm has no setting 'bach_size'; did you mean 'batch_size'?"):
        DDPMConfig.from_dict({"bach_size": 4})
    assert issubclass(DDPMConfig, TrainConfig)
    assert DDPMConfig.from_dict(json.loads(json.dumps(DDPMConfig(lr=1).to_dict()))) == DDPMConfig(lr=1)


# ---------------------------------------------------------------- wrong usage: exit code 2, with the nearest name


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["trian"], "train"),
        (["train", "dppm"], "ddpm"),
        (["train", "ddpm", "--stesp", "3"], "--steps"),
        (["train", "ddpm", "--data", "mnst"], "mnist"),
        (["train", "ddpm", "--schedule", "cosin"], "cosine"),
        (["data", "chek"], "check"),
        (["data", "check", "fashon-mnist"], "fashion-mnist"),
        (["data", "download", "cifar"], "cifar10"),
    ],
)
def test_a_misspelt_name_suggests_the_nearest(minigen, args, hint):
    code, _, err = minigen(*args)
    assert code == 2
    assert "did you mean" in err.lower()
    assert f"'{hint}'" in err.lower()


def test_an_existing_folder_needs_resume(minigen, tiny_flags):
    Path("r").mkdir()
    Path("r/mine").write_text("x")
    code, _, err = minigen(*tiny_flags, "--out", "r")
    assert code == 2
    assert "r exists already: add --resume" in err
    assert os.listdir("r") == ["mine"]


def test_wrong_values_are_usage_errors(minigen, tiny_flags):
    for wrong in (["--steps", "0"], ["--multipliers", "1,x"], ["--lr", "nan"], ["--multipliers", ""]):
        assert minigen(*tiny_flags, *wrong)[0] == 2
    assert minigen("train", "ddpm", "--resume")[0] == 2
    assert minigen("sample", "nowhere")[0] == 2
    assert minigen("sample", ".", "--out", "picture.jpg")[0] == 2
    assert not Path("runs").exists()


# ---------------------------------------------------------------- failures: exit code 1 and one line


def one_line(err):
    lines = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in err
    assert len(lines) == 1
    return lines[0]


def test_missing_data_fails_before_anything_is_written(minigen, tiny_flags, tmp_path):
    code, _, err = minigen(*tiny_flags, "--data-dir", tmp_path / "empty", "--out", "r")
    assert code == 1
    assert "minigen data download mnist" in one_line(err)
    assert not Path("r").exists()


def test_a_batch_larger_than_the_data_fails_in_one_line(minigen, tiny_flags):
    code, _, err = minigen(*tiny_flags, "--batch-size", "41")
    assert code == 1
    assert "batch_size must lie in 1..40" in one_line(err)
    assert not Path("runs").exists()


def test_debug_shows_where_an_error_arose(minigen, tiny_flags, monkeypatch):
    monkeypatch.setenv("MINIGEN_DEBUG", "1")
    with pytest.raises(ValueError, match="batch_size must lie in"):
        cli.main([*tiny_flags, "--batch-size", "41"])


def test_a_diverging_run_fails_and_says_where(minigen, tiny_flags):
    code, _, err = minigen(*tiny_flags, "--steps", "9", "--lr", "3e38", "--warmup", "0", "--out", "r")
    assert code == 1
    assert "(batch_at(" in one_line(err)
    assert "unet." in one_line(err)
    assert RunFolder("r").checkpoint_files() == []


def test_cuda_without_cupy_names_the_extra(minigen, tiny_flags, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    code, _, err = minigen(*tiny_flags, "--device", "cuda")
    assert code == 1
    assert "pip install 'minigen[cuda12x]'" in one_line(err)
    assert not Path("runs").exists()


def test_a_folder_that_is_no_run_fails_in_one_line(minigen, tmp_path):
    code, _, err = minigen("sample", tmp_path)
    assert code == 1
    assert "not a run folder" in one_line(err)


# ---------------------------------------------------------------- train, resume, sample


def test_train_resume_sample_from_the_shell(minigen, tiny_flags):
    assert minigen(*tiny_flags)[0] == 0
    assert minigen(*tiny_flags)[0] == 0
    assert sorted(os.listdir("runs")) == ["ddpm-1", "ddpm-2"]
    assert os.listdir("runs/ddpm-2/samples") == ["step-00000002.png"]

    code, _, err = minigen("train", "ddpm", "--resume", "--steps", "3")
    assert code == 0
    assert "runs/ddpm-2: resumed at step 2 of 3" in err
    code, _, err = minigen(*tiny_flags, "--resume", "--out", "runs/ddpm-1")  # the same command again, with --resume
    assert code == 0
    assert "resumed at step 2 of 2" in err
    assert minigen("train", "ddpm", "--resume", "--lr", "0.3")[0] == 2

    code, out, _ = minigen("sample", "runs/ddpm-1", "--n", "5", "--steps", "4", "--out", "five.png")
    assert (code, out.strip()) == (0, "five.png")
    assert Image.open("five.png").size == (3 * (8 + GAP) + GAP, 2 * (8 + GAP) + GAP)
    code, out, _ = minigen("sample", "runs/ddpm-1", "--n", "2", "--sampler", "ddpm", "--weights", "model")
    assert (code, out.strip()) == (0, "runs/ddpm-1/samples/2-seed-0-model-sampler-ddpm.png")
    assert Path(out.strip()).exists()
    code, _, err = minigen("sample", "runs/ddpm-1", "--steps", "9")
    assert code == 2
    assert "steps must be at most 8" in err
    code, out, _ = minigen("sample", "--n", "2", "runs/ddpm-1", "--help")
    assert code == 0
    assert all(f"--{entry.name.replace('_', '-')} " in out for entry in fields(DDPM.Sampling))
    code, _, err = minigen("sample", "runs/ddpm-1", "--sampler", "dimm")
    assert code == 2
    assert "did you mean 'ddim'" in err
    code, _, err = minigen("sample", "runs/ddpm-1", "--eta", "1.5")
    assert code == 2
    assert "eta must be at least 0 and at most 1, got 1.5" in err


def test_settings_of_a_sample_are_in_its_name():
    assert in_a_file_name({}) == ""
    assert in_a_file_name({"eta": 1.0, "label": (3, 7)}) == "-eta-1.0-label-3,7"


# ---------------------------------------------------------------- eval, plot


class Scored:
    """A model with a likelihood, in place of the one that a run holds."""

    def nll(self, images, generator, samples=None, progress=False):
        return {"nll": float(len(images)), "samples": samples or 7, "seed": generator.seed}


def test_eval_prints_and_writes_what_the_model_says_of_the_test_images(minigen, tiny_flags, monkeypatch):
    assert minigen(*tiny_flags, "--out", "r")[0] == 0
    assert minigen("eval", "r")[0] == 2
    monkeypatch.setattr("minigen.train.held_out", lambda run: SimpleNamespace(images=np.zeros(20)))
    monkeypatch.setattr("minigen.train.load", lambda run, weights, device: Scored())
    code, out, _ = minigen("eval", "r", "--nll", "--seed", "3", "--json", "n.json")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [["nll", "20"], ["samples", "7"], ["seed", "3"]]
    assert json.loads(Path("n.json").read_text()) == {"nll": 20.0, "samples": 7, "seed": 3}
    code, out, _ = minigen("eval", "r", "--nll", "--n", "5", "--samples", "9")
    assert "5\n" in out and "9\n" in out
    code, _, err = minigen("eval", "r", "--nll", "--eta", "1")
    assert code == 2 and "--eta says nothing about --nll" in err
    code, _, err = minigen("eval", "r", "--scores", "--samples", "9")
    assert code == 2 and "--samples says nothing about --scores" in err
    monkeypatch.setattr("minigen.train.load", lambda run, weights, device: object())
    code, _, err = minigen("eval", "r", "--nll")
    assert code == 2
    assert "has no likelihood" in err


class Drawing:
    """A model that draws what it is told: the training images from `skip` on."""

    config = SimpleNamespace(data="mnist-mini", data_dir=None)

    def sample(self, n, seed=0, progress=False, eta=0.0):
        from minigen.data import load

        return load().images[round(1000 * eta) :][:n]


def test_eval_scores_generated_images_beside_the_floor(minigen, tiny_flags, monkeypatch):
    from minigen.data import load

    assert minigen(*tiny_flags, "--out", "r")[0] == 0
    monkeypatch.setattr("minigen.train.held_out", lambda run: load(split="test"))
    monkeypatch.setattr("minigen.train.load", lambda run, weights, device: Drawing())
    monkeypatch.setattr("minigen.metrics.interval.REPLICATES", 20)
    code, out, err = minigen("eval", "r", "--scores", "--n", "60", "--eta", "0.5", "--json", "s.json")
    assert code == 0, err
    assert out.splitlines()[0].split() == ["n", "=", "60", "samples", "training", "images", "PCA-Gaussian"]
    found = json.loads(Path("s.json").read_text())
    assert set(found) == {"samples", "training images", "PCA-Gaussian"}
    assert found["samples"]["FID"]["n"] == 60
    assert found["samples"]["FID"]["value"] < found["PCA-Gaussian"]["FID"]["value"]
    assert f"FID         {found['samples']['FID']['value']:.4g} [" in out
    for arguments in (["--scores", "--n", "3000"], ["--scores", "--nll"]):
        code, _, err = minigen("eval", "r", *arguments)
        assert code == 2
        assert "--n must lie between 4 and 2000" in err or "--nll or --scores" in err


def test_eval_refuses_to_score_what_the_classifier_does_not_know(minigen, tiny_flags, monkeypatch):
    assert minigen(*tiny_flags, "--out", "r")[0] == 0
    monkeypatch.setattr("minigen.train.held_out", lambda run: SimpleNamespace(images=np.zeros((20, 8, 8, 1), np.uint8)))
    code, _, err = minigen("eval", "r", "--scores")
    assert code == 2
    assert "28 x 28 x 1" in err


PICTURE = np.arange(12, dtype=np.uint8).reshape(3, 4, 1)


def test_plot_refuses_a_file_that_is_no_picture_before_it_draws(minigen, tiny_flags, monkeypatch):
    assert minigen(*tiny_flags, "--out", "r")[0] == 0
    monkeypatch.setattr("minigen.pictures.find_picture", lambda *wanted: pytest.fail("it was drawn"))
    code, _, err = minigen("plot", "r", "forward", "--out", "strip.jpg")
    assert code == 2 and "--out must end in .png, or in .gif for a film, got strip.jpg" in err


@pytest.mark.parametrize(("picture", "suffix"), [(PICTURE, ".png"), ([PICTURE, PICTURE + 1], ".gif")])
def test_plot_writes_a_picture_or_a_film(minigen, tiny_flags, monkeypatch, picture, suffix):
    assert minigen(*tiny_flags, "--out", "r")[0] == 0
    monkeypatch.setattr("minigen.train.held_out", lambda run: None)
    monkeypatch.setitem(pictures.PICTURES, "ddpm", {"strip": "nowhere:strip"})
    monkeypatch.setattr(pictures, "import_module", lambda *_: SimpleNamespace(strip=lambda *_: picture))
    code, out, _ = minigen("plot", "r", "strip")
    assert (code, out.strip()) == (0, f"r/strip{suffix}")
    image = Image.open(out.strip())
    assert getattr(image, "n_frames", 1) == (2 if suffix == ".gif" else 1)
    np.testing.assert_array_equal(np.asarray(image.convert("L")), PICTURE[..., 0])
    code, _, err = minigen("plot", "r", "stirp")
    assert code == 2
    assert "there are: strip; did you mean 'strip'?" in err
    assert minigen("plot", "r", "strip", "--out", "strip.bmp")[0] == 2


def test_profile_shows_where_a_step_goes_and_leaves_the_run_alone(minigen, tiny_flags):
    assert minigen(*tiny_flags)[0] == 0
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    code, out, _ = minigen("profile", "runs/ddpm-1", "--steps", "1")
    assert code == 0
    assert "Conv2d" in out and out.splitlines()[-1] == "runs/ddpm-1/profile.png"
    assert Image.open("runs/ddpm-1/profile.png").size > (500, 100)
    assert {path: path.read_bytes() for path in before} == before
    code, out, _ = minigen("profile", "runs/ddpm-1", "--steps", "1", "--by", "module", "--out", "p.png")
    assert code == 0 and "UNet.output" in out and Path("p.png").exists()
    code, _, err = minigen("profile", "runs")
    assert code == 1 and "not a run folder" in one_line(err)


# ---------------------------------------------------------------- data, info, help


def test_data_list_and_check(minigen, data_dir):
    code, out, _ = minigen("data", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [
        "mnist-mini",
        "mnist-mini-color",
        "mnist",
        "fashion-mnist",
        "cifar10",
    ]
    code, out, _ = minigen("data", "check", "mnist-mini")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["ok"] * 4
    code, out, err = minigen("data", "check", "mnist", "--data-dir", data_dir)
    assert code == 1
    assert [line.split()[0] for line in out.splitlines()] == ["mismatch", "mismatch", "missing", "missing"]
    assert "minigen data download mnist" in err


def test_info_names_versions_kernels_blas_threads_and_gpu(minigen):
    code, out, _ = minigen("info")
    assert code == 0
    for name in ("minigen", "numpy", "numba", "CPU kernels", "threads", "BLAS", "GPU"):
        assert any(line.startswith(name) for line in out.splitlines()), name


def test_help_loads_nothing_of_the_library_and_is_quick():
    script = (
        "import sys; from minigen.cli import main\ntry: main(['--help'])\n"
        "finally: print(sorted({'numba', 'scipy', 'safetensors', 'minigen.train', 'matplotlib'} & set(sys.modules)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    spent = []
    for _ in range(3):  # the best of three: other programs may be busy
        began = time.perf_counter()
        out = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        spent.append(time.perf_counter() - began)
    assert out.stdout.splitlines()[-1] == "[]"
    assert "train" in out.stdout
    assert min(spent) < 1.0


# ---------------------------------------------------------------- pictures


def test_a_grid_holds_every_image_at_its_place():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((5, 3, 4, 1), np.uint8)
    grid = image_grid(images, columns=2)
    assert grid.shape == (3 * (3 + GAP) + GAP, 2 * (4 + GAP) + GAP, 1)
    for i in range(5):
        top, left = i // 2 * (3 + GAP) + GAP, i % 2 * (4 + GAP) + GAP
        np.testing.assert_array_equal(grid[top : top + 3, left : left + 4], images[i])
    assert (grid == 255).sum() == grid.size - 5 * 12


def test_a_picture_file_holds_the_grid(tmp_path):
    for channels in (1, 3):
        images = np.random.default_rng(0).uniform(-1, 1, (3, 5, 5, channels))
        save_images(tmp_path / "p.png", images)
        found = np.asarray(Image.open(tmp_path / "p.png")).reshape(image_grid(images).shape)
        np.testing.assert_array_equal(found, image_grid(images))


@pytest.mark.parametrize("shape", [(4, 5, 5), (0, 5, 5, 1), (4, 5, 5, 2)])
def test_a_grid_of_something_else_is_refused(shape):
    with pytest.raises(ValueError, match=r"images must be \(n, H, W, C\)"):
        image_grid(np.zeros(shape))
