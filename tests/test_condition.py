"""What a conditional network is told, and when: null conditions, tokens, dropped conditions, resume, bad input."""

import numpy as np
import pytest
from test_unet import shaken
from tiny import config, make_data

from minigen import Tensor, no_grad, ops
from minigen.data import to_model_range
from minigen.diffusion.editing import block_means
from minigen.models.conditional_unet import KINDS, TOKENS, ConditionalUNet
from minigen.models.unet import AttentionBlock, UNet
from minigen.random import Generator
from minigen.train import SettingError, resume, start
from minigen.train.checkpoint import read_checkpoint
from minigen.train.condition import condition_of, drop_some
from minigen.train.ddpm import DDPM, DDPMConfig
from minigen.train.edit import edit
from minigen.train.start import prepare

SMALL = {"channels": 8, "multipliers": (1, 2), "blocks": 1, "attention_levels": (1,), "heads": 2, "groups": 4}


def network_of(kind, classes=3, **settings):
    return shaken(ConditionalUNet(Generator(0), kind, classes, **{**SMALL, **settings}))


def inputs(kind, n=4, classes=3):
    rng = Generator(5)
    x, t, condition = rng.normal((n, 8, 8, 1)), np.arange(1, n + 1), {}
    if kind != "image":
        condition["labels"] = np.arange(n) % classes
    if kind in ("image", "hybrid"):
        condition["image"] = rng.normal(x.shape)
    return x, t, condition


# ---------------------------------------------------------------- the network


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_gets_a_gradient_from_a_batch_with_and_without_the_condition(kind):
    network = network_of(kind, patch=2)
    x, t, condition = inputs(kind)
    prediction = network(x, t, **condition, given=np.array([True, True, True, False]))
    ops.mse(prediction, Tensor(np.ones_like(x))).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None or not abs(p.grad.data).max() > 0]
    if kind == "class":  # every label and the null have a row of their own
        assert (abs(network.unet.label.weight.grad.data).max(1) > 0).all()
    if kind in ("tokens", "hybrid"):
        assert (abs(network.tokens.weight.grad.data).max(1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_given_changes_nothing(kind):
    """Where `given` is False the condition may be anything, or left out: the prediction is that of p(x)."""
    network = network_of(kind)
    x, t, condition = inputs(kind)
    given = np.array([True, False, True, False])
    other = {name: np.where(given.reshape((-1,) + (1,) * (v.ndim - 1)), v, v[::-1]) for name, v in condition.items()}
    with no_grad():
        mixed = network(x, t, **condition, given=given).data
        assert np.array_equal(network(x, t, **other, given=given).data, mixed)
        nothing, all_given = network(x, t).data, network(x, t, **condition).data
        assert np.array_equal(nothing, network(x, t, **condition, given=np.zeros(4, bool)).data)
    np.testing.assert_allclose(mixed[~given], nothing[~given], atol=1e-5)
    np.testing.assert_allclose(mixed[given], all_given[given], atol=1e-5)
    assert abs(all_given - nothing).max(axis=(1, 2, 3)).min() > 1e-3


def test_permuting_the_tokens_changes_nothing():
    rng = Generator(3)
    network = shaken(UNet(rng, context_width=6, **SMALL))
    x, t, tokens = rng.normal((2, 8, 8, 1)), np.array([3, 900]), rng.normal((2, 5, 6))
    with no_grad():
        y = network(x, t, context=Tensor(tokens)).data
        np.testing.assert_allclose(network(x, t, context=Tensor(tokens[:, [3, 1, 4, 0, 2]])).data, y, atol=2e-5)
        assert abs(network(x, t, context=Tensor(tokens + 1)).data - y).max() > 1e-3


def test_the_weights_of_each_pixel_over_the_tokens_sum_to_1():
    """Tokens that say the same are as good as one: their weights, whatever they are, add up to one."""
    rng = Generator(3)
    block = shaken(AttentionBlock(8, 2, 4, rng, context_width=6))
    x, token = Tensor(rng.normal((2, 4, 4, 8))), rng.normal((2, 1, 6))
    several = Tensor(token.repeat(7, axis=1))
    np.testing.assert_allclose(block(x, several).data, block(x, Tensor(token)).data, atol=1e-6)


def test_the_image_is_concatenated_and_the_tokens_are_asked():
    """Deck 004's three keys: concat doubles the input's channels, crossattn and hybrid have blocks that ask tokens."""
    for kind, channels, asking in [("class", 1, False), ("image", 2, False), ("tokens", 1, True), ("hybrid", 2, True)]:
        network = network_of(kind)
        assert network.unet.input.weight.shape[2] == channels
        assert (network.unet.middle.ask is not None) == asking
        assert (network.tokens is not None) == asking
    assert network.tokens.weight.shape == (3 + 1, TOKENS * network.width)


def test_the_unconditional_network_is_what_it_was():
    """Its parameters, so that older checkpoints load."""
    network = DDPM(DDPMConfig(), (28, 28, 1), Generator(0)).network
    assert type(network) is UNet
    assert sum(p.size for p in network.parameters()) == 652_772
    assert not [name for name, _ in network.named_parameters() if ".ask." in name or "label" in name]


# ---------------------------------------------------------------- training


def test_the_condition_is_dropped_at_the_stated_rate():
    rng, n = Generator(0), 20_000
    for share in (0.0, 0.1, 0.5):
        given = drop_some({"labels": np.zeros(n, int)}, share, rng)["given"]
        assert given.mean() == pytest.approx(1 - share, abs=4 * np.sqrt(share * (1 - share) / n))
    position = rng.state()
    assert drop_some({}, 0.1, rng) == {}  # nothing is drawn: an unconditional run is what it was
    assert rng.state() == position


def test_what_the_network_is_told_of_an_image():
    rng = Generator(0)
    x0, labels = rng.normal((2, 8, 8, 1)), np.array([3, 9])
    for kind, names in [("none", []), ("class", ["labels"]), ("tokens", ["labels"]), ("image", ["image"])]:
        assert list(condition_of(DDPMConfig(condition=kind), x0, labels)) == names
    told = condition_of(DDPMConfig(condition="hybrid"), x0, labels)
    assert np.array_equal(told["labels"], labels)
    assert np.array_equal(told["image"], block_means(x0, 4))


def test_a_training_step_tells_the_network_the_labels_and_drops_some(tmp_path, monkeypatch):
    batches, task = prepare(config(make_data(tmp_path / "d"), condition="class", condition_dropout=0.5))
    told = []
    forward = ConditionalUNet.forward
    monkeypatch.setattr(
        ConditionalUNet,
        "forward",
        lambda self, x, t, **condition: told.append(condition) or forward(self, x, t, **condition),
    )
    for index in range(5):
        task.step(batches, index)
        assert np.array_equal(told[-1]["labels"], batches.batch_at(index)[1])
    given = np.concatenate([condition["given"] for condition in told])
    assert 0.2 < given.mean() < 0.8


@pytest.mark.parametrize("kind", ["class", "hybrid"])
def test_a_conditional_run_resumes_bit_for_bit(kind, tmp_path):
    data = make_data(tmp_path / "d")
    whole = start(config(data, condition=kind, condition_dropout=0.5, steps=6), tmp_path / "whole")
    half = start(config(data, condition=kind, condition_dropout=0.5, steps=6, checkpoint_every=3), tmp_path / "half")
    half.checkpoint_files()[0][1].unlink()
    assert half.checkpoint_files()[0][0] == 3
    resume(half.path)
    (arrays, header), (expected, expected_header) = (read_checkpoint(r.checkpoint_files()[0][1]) for r in (half, whole))
    assert header == expected_header
    assert all(arrays[name].tobytes() == expected[name].tobytes() for name in expected)


# ---------------------------------------------------------------- sampling


def model_of(kind, **settings):
    tiny = {"T": 8, "channels": 8, "multipliers": (1,), "heads": 2, "groups": 4, "data": "mnist", **settings}
    model = DDPM(DDPMConfig(condition=kind, **tiny), (8, 8, 1), Generator(0))
    shaken(model.network)
    return model


@pytest.mark.parametrize("kind", ["class", "tokens"])
def test_samples_show_the_labels_that_are_asked_for(kind):
    model = model_of(kind)
    threes = model.sample(4, seed=1, label=(3,))
    assert not np.array_equal(threes, model.sample(4, seed=1, label=(4,)))
    in_turn, again = model.sample(4, seed=1), model.sample(4, seed=1, label=(0, 1, 2, 3))
    assert np.array_equal(in_turn, again)  # all classes in turn unless told
    np.testing.assert_allclose(model.sample(4, seed=1, label=(3,), batch_size=3), threes, atol=1e-5)
    assert not np.array_equal(threes, model.sample(4, seed=1, label=(3,), guidance=3.0))
    plain = model.sample(4, seed=1, label=(3,), guidance=0.0)
    assert np.array_equal(plain, model.sample(4, seed=1, label=(4,), guidance=0.0))


def test_a_model_that_enlarges_draws_its_sample_pictures_from_training_images(tmp_path, monkeypatch):
    batches, task = prepare(config(make_data(tmp_path / "d"), condition="hybrid", steps=2))
    task.step(batches, 0)
    assert task.sample(50, Generator(0)).shape == (50, 8, 8, 1)  # more than there are: 40, then from the start
    images = block_means(to_model_range(batches.images[:3]), 4)
    drawn = [task.model.sample(3, seed=1, image=sign * images) for sign in (1, -1)]
    assert drawn[0].shape == (3, 8, 8, 1)
    assert abs(drawn[0] - drawn[1]).max() > 1e-3

    asked = {}
    monkeypatch.setattr(task.model, "sample", lambda n, **how: asked.update(how))
    task.sample(3, Generator(0))
    assert asked["label"][:3] == tuple(batches.labels[:3]), "each picture with what it shows"
    np.testing.assert_array_equal(asked["image"], images)


def test_labels_go_on_where_the_batch_before_ended():
    model, seen = model_of("class"), []
    forward = model.network.forward
    model.network.forward = lambda x, t, **told: seen.append(told["labels"]) or forward(x, t, **told)
    model.sample(7, steps=1, label=(3, 5), batch_size=3)
    assert np.concatenate(seen).tolist() == [3, 5, 3, 5, 3, 5, 3]


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (
            "none",
            {"guidance": 2.0},
            "guidance needs a conditional model, and this one was trained with --condition n",
        ),
        ("none", {"label": (3,)}, "label needs a model that is told labels, or classifier_guidance"),
        ("class", {"label": (10,)}, "label must be below 10, the classes of mnist, got"),
        ("image", {"guidance": 2.0}, "it is told nothing, got guidance 2.0 and a model of --condition image"),
        ("hybrid", {"label": (3,)}, r"with a picture to enlarge, and there is none, got label \(3,\)"),
        ("class", {"classifier_guidance": 1.0}, "needs digits of 28 x 28 x 1, and this model draws mnist of 8 x 8 x 1"),
    ],
)
def test_a_wish_that_the_model_cannot_follow_is_refused(kind, settings, message):
    with pytest.raises(SettingError, match=message):
        model_of(kind).sample(2, **settings)


@pytest.mark.parametrize("data", ["fashion-mnist", "mnist-mini-color"])
def test_the_digit_classifier_guides_digits_alone(data):
    model = DDPM(DDPMConfig(T=8, channels=8, groups=4, data=data), (28, 28, 3 if "color" in data else 1), Generator(0))
    with pytest.raises(SettingError, match=f"classifier_guidance needs digits of 28 x 28 x 1, .* draws {data} of 28 x"):
        model.sample(1, classifier_guidance=1.0)


@pytest.mark.parametrize("kind", ["none", "class", "tokens"])
def test_a_picture_is_for_models_that_enlarge(kind):
    with pytest.raises(ValueError, match=f"image is for a model of --condition image or hybrid, .* --condition {kind}"):
        model_of(kind).sample(2, image=np.zeros((2, 8, 8, 1), np.float32))


# ---------------------------------------------------------------- without the condition


@pytest.mark.parametrize("kind", ["image", "hybrid"])
def test_a_model_that_enlarges_draws_without_a_picture_too(kind):
    """By its null condition, whatever the picture would be."""
    model, image = model_of(kind), np.full((2, 8, 8, 1), 0.5, np.float32)
    plain = model.sample(2, seed=1)
    assert np.array_equal(plain, model.sample(2, seed=1, guidance=0.0))
    assert np.array_equal(plain, model.sample(2, seed=1, guidance=0.0, image=image))
    assert abs(plain - model.sample(2, seed=1, image=image)).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", ["inpaint", "sdedit"])
def test_an_edit_tells_no_label_that_was_not_asked_for(kind, task):
    """Every version is drawn from p(x | what is known), and not, in turn, from p(x | class 0), p(x | class 1) ..."""
    model, told = model_of(kind), []
    forward = model.network.forward
    model.network.forward = lambda x, t, **given: told.append(given) or forward(x, t, **given)
    picture, mask = np.zeros((8, 8, 1), np.float32), np.eye(8, dtype=bool) if task == "inpaint" else None
    edit(model, task, picture, mask, n=3, steps=2)
    assert told
    assert all(not call.pop("given").any() and not call for call in told)
    if kind in ("class", "tokens"):
        told.clear()
        edit(model, task, picture, mask, n=3, steps=2, label=(3, 5))
        assert all(call["given"].all() and call["labels"].tolist() == [3, 5, 3] for call in told)


@pytest.mark.parametrize("kind", ["image", "hybrid"])
def test_upscale_tells_the_model_the_picture_and_keeps_its_block_means(kind):
    model, small = model_of(kind), np.linspace(-1, 1, 4, dtype=np.float32).reshape(2, 2, 1)
    label = {"label": (3,)} if kind == "hybrid" else {}
    one, other = (edit(model, "upscale", sign * small, n=2, steps=2, **label)[0] for sign in (1, -1))
    np.testing.assert_allclose(one.reshape(2, 2, 4, 2, 4, 1).mean((2, 4))[0], small, atol=1e-5)
    details = [x - block_means(x, 4) for x in (one, other)]
    assert abs(details[0] - details[1]).max() > 1e-3


def test_what_a_wish_for_an_edit_lacks_is_named():
    small, picture = np.zeros((2, 2, 1), np.float32), np.zeros((28, 28, 1), np.float32)
    digits = DDPM(DDPMConfig(T=8, channels=8, groups=4), (28, 28, 1), Generator(0))
    with pytest.raises(SettingError, match="label must say what the picture shows"):
        edit(model_of("hybrid"), "upscale", small, steps=2)
    with pytest.raises(SettingError, match="classifier_guidance needs a label to guide to, got none"):
        edit(digits, "sdedit", picture, steps=2, classifier_guidance=1.0)


def test_a_model_without_a_trained_null_condition_is_not_asked_for_it():
    model = model_of("class", condition_dropout=0.0)
    model.sample(1, label=(3,))
    images = np.zeros((2, 8, 8, 1), np.uint8)
    for ask in (
        lambda: model.sample(1, label=(3,), guidance=3.0),
        lambda: model.sample(1, guidance=0.0),
        lambda: edit(model, "sdedit", to_model_range(images[0]), steps=2),
        lambda: model.nll(images, Generator(0)),
    ):
        with pytest.raises(SettingError, match="was never trained: condition_dropout was 0"):
            ask()


def test_bad_conditions_are_named():
    x, t, condition = inputs("hybrid")
    network = network_of("hybrid")
    for call, message in [
        (lambda: ConditionalUNet(Generator(0), "text", 3, **SMALL), "kind must be one of class, tokens, image, hybrid"),
        (lambda: network(x, t, labels=condition["labels"]), "image must be given to a network of kind 'hybrid'"),
        (lambda: network(x, t, image=condition["image"]), "labels must be given to a network of kind 'hybrid'"),
        (lambda: network(x, t, **{**condition, "labels": np.array([0, 1, 2, 3])}), "whole numbers 0 ... 2"),
        (lambda: network(x, t, **{**condition, "image": x[:, :4]}), "image must have the shape of x"),
        (lambda: network(x, t, **condition, given=np.ones(4)), r"given must be bool\(4,\), one a sample, got float64"),
        (lambda: network_of("class")(x, t, **condition), "image given, but a network of kind 'class' takes none"),
        (lambda: UNet(Generator(0), **SMALL)(x, t, context=x), "context must be given exactly when the network has"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
