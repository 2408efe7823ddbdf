"""The diffusion model as a whole: its settings in training, its samplers, its likelihood."""

import numpy as np
import pytest
from tiny import config, make_data

from minigen.data import to_model_range
from minigen.diffusion import SAMPLERS, bound
from minigen.diffusion.likelihood import VARIANCES
from minigen.random import Generator
from minigen.train import DDPM, SettingError
from minigen.train.start import prepare

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data") / "d")


def model_of(**changes):
    model = DDPM(config("d", dropout=0.0, **changes), SHAPE, Generator(0))
    shake = Generator(1)  # at its initialisation the network answers 0 to everything
    for parameter in model.network.parameters():
        parameter.assign(parameter.data + 0.1 * shake.normal(parameter.shape))
    return model


# ---------------------------------------------------------------- training


SETTINGS = [
    {"levels": "importance", "variance": "learned", "weighting": "vlb"},
    {"levels": "importance", "target": "mean", "weighting": "min-snr"},
    {"levels": "uniform", "target": "x0", "weighting": "eps", "variance": "learned"},
]


@pytest.mark.parametrize("changes", SETTINGS, ids=lambda changes: "-".join(changes.values()))
def test_training_resumes_bit_for_bit_with_the_history_of_its_levels(changes, data_dir):
    """12 steps: levels are drawn by importance from the 11th on, by losses seen before the checkpoint of step 6."""
    settings = config(data_dir, steps=12, multipliers=(1,), **changes)
    batches, whole = prepare(settings)
    metrics = [whole.step(batches, index) for index in range(12)]
    half, resumed, forgetful = (prepare(settings)[1] for _ in range(3))
    for index in range(6):
        half.step(batches, index)
    arrays, header = half.state()
    resumed.load_state(arrays, header)
    assert [resumed.step(batches, index) for index in range(6, 12)] == metrics[6:]
    (expected, _), (found, _) = whole.state(), resumed.state()
    assert expected.keys() == found.keys()
    assert all(np.array_equal(expected[name], found[name]) for name in expected)
    assert ("levels/losses" in expected) == (changes["levels"] == "importance")
    if changes["levels"] == "importance":
        forgetful.load_state({k: 0 * v if k.startswith("levels/") else v for k, v in arrays.items()}, header)
        assert [forgetful.step(batches, index) for index in range(6, 12)] != metrics[6:]


def test_importance_weights_multiply_the_losses_of_a_step(data_dir, monkeypatch):
    batches, task = prepare(config(data_dir, steps=3, levels="importance"))
    seen = []
    monkeypatch.setattr(task.levels, "draw", lambda n, rng: (np.arange(1, 9), np.array([8.0] + [0.0] * 7)))
    monkeypatch.setattr(task.levels, "update", lambda t, losses: seen.append((t, losses)))
    metrics = task.step(batches, 0)
    t, losses = seen[0]
    assert t.tolist() == list(range(1, 9))
    assert metrics["loss"] == pytest.approx(losses[0], rel=1e-6)


# ---------------------------------------------------------------- sampling


@pytest.mark.parametrize("variance", ["fixed", "learned"])
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_draws_the_same_images_for_the_same_seed(sampler, variance):
    model = model_of(variance=variance)
    for settings in ({}, {"steps": 3, "spacing": "quadratic"}):
        images = model.sample(3, sampler=sampler, seed=1, batch_size=2, **settings)
        assert images.shape == (3, *SHAPE)
        assert images.dtype == np.float32
        assert np.abs(images).max() <= 1 + 1e-5
        np.testing.assert_array_equal(images, model.sample(3, sampler=sampler, seed=1, batch_size=2, **settings))


def test_steps_0_is_every_level_for_ddpm_and_at_most_50_for_the_others():
    for T in (8, 55):
        model = model_of(T=T)
        for sampler in ("ddpm", "ddim"):
            chosen = model.sample(1, sampler=sampler, steps=T if sampler == "ddpm" else min(50, T))
            np.testing.assert_array_equal(model.sample(1, sampler=sampler), chosen)


def test_eta_and_variance_reach_their_samplers():
    plain, learned = model_of(), model_of(variance="learned")
    different = [plain.sample(1, eta=eta) for eta in (0.0, 0.5, 1.0)]
    different += [plain.sample(1, sampler="ddpm", variance=variance) for variance in ("beta", "posterior")]
    np.testing.assert_allclose(different[2], different[4], atol=1e-5)  # eta = 1 is the posterior's variance
    assert len({image.tobytes() for image in different[:4]}) == 4
    by_name = {v: learned.sample(1, sampler="ddpm", variance=v).tobytes() for v in ("model", *VARIANCES)}
    assert by_name["model"] == by_name["learned"] != by_name["beta"]
    assert plain.sample(1, sampler="ddpm").tobytes() == different[3].tobytes()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"steps": 9}, "steps must be at most 8, the model's noise levels, got 9"),
        ({"sampler": "heun", "steps": 9}, "steps must be at most 8"),
        ({"steps": -1}, "steps must be at least 0, got -1"),
        ({"eta": 1.5}, "eta must be at least 0 and at most 1, got 1.5"),
        ({"sampler": "ddmp"}, "sampler must be one of .* did you mean 'ddpm'"),
        ({"spacing": "cubic"}, "spacing must be one of linear, quadratic, got 'cubic'"),
        ({"sampler": "heun", "eta": 0.5}, "eta says nothing about sampler heun: leave it out"),
        ({"variance": "beta"}, "variance says nothing about sampler ddim: leave it out"),
        ({"guidance": float("nan")}, "guidance must be a finite number, got nan"),
        ({"sampler": "ddpm", "variance": "learned"}, "variance is 'learned', but this model has learned none"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings, error):
    with pytest.raises(SettingError, match=error):
        model_of().sample(1, **settings)


# ---------------------------------------------------------------- likelihood


@pytest.mark.parametrize("variance", ["fixed", "learned"])
def test_the_likelihood_is_a_table_of_numbers_that_add_up(variance):
    model = model_of(variance=variance)
    images = np.random.default_rng(0).integers(0, 256, (5, *SHAPE)).astype(np.uint8)
    table = model.nll(images, Generator(2), batch_size=2)
    assert table["images"] == 5
    assert table["levels an image"] == 8
    parts = sum(table[f"{name} bits/dim"] for name in ("L_T", "L_t", "L_0"))
    assert table["bits/dim"] == pytest.approx(parts, rel=1e-9)
    assert table["nats"] == pytest.approx(table["bits/dim"] * 64 * np.log(2), rel=1e-9)
    assert table["standard error"] > 0
    assert all(type(float(value)) is float for value in table.values())
    model.network.train()
    assert table == model.nll(images, Generator(2), batch_size=2)
    assert model.network.training
    assert model.nll(images, Generator(2), samples=4)["levels an image"] == 4
    for samples in (0, 1, 9):
        with pytest.raises(SettingError, match=f"samples must lie in 2 ... T = 8, the network's calls, got {samples}"):
            model.nll(images, Generator(2), samples=samples)


def test_the_likelihood_is_the_mean_of_the_images_bounds_and_its_error_theirs():
    """In parts of 2, 2 and 1, whose random numbers follow each other."""
    model = model_of()
    images = np.random.default_rng(0).integers(0, 256, (5, *SHAPE)).astype(np.uint8)
    table, rng, nats = model.nll(images, Generator(2), batch_size=2), Generator(2), []
    for part in (images[:2], images[2:4], images[4:]):
        terms = bound(model.process, model.network.eval(), to_model_range(part), rng, 8, "posterior")
        nats += list(sum(terms.values()))
    assert table["nats"] == pytest.approx(np.mean(nats), rel=1e-9)
    error = np.std(nats, ddof=1) / np.sqrt(5)
    assert table["standard error"] == pytest.approx(error / (64 * np.log(2)), rel=1e-9)


def test_a_network_that_knows_nothing_needs_about_8_bits_or_more():
    """Uniform noise in 8 bits cannot be had below 8 bits a pixel: no bound may claim it."""
    images = np.random.default_rng(0).integers(0, 256, (8, *SHAPE)).astype(np.uint8)
    table = model_of().nll(images, Generator(1))
    assert table["bits/dim"] - 4 * table["standard error"] > 8
