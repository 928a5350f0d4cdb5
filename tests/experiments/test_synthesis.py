"""The image that a unit wants: by hand where the answer is known, and what holds of every ascent."""

import numpy as np
import pytest

from deconvlib import deconvnet, progress
from deconvlib.backend import keras
from deconvlib.experiments import synthesis

RNG = np.random.default_rng(0)
BIASES = np.float32([0.1, 0.2])


def one_convolution(*layers, size=4, channels=3, activation="relu"):
    """A net of one convolution that sees all of its image, behind `layers`; and its filters."""
    model = keras.Sequential([keras.Input((size, size, channels)), *layers, keras.layers.Conv2D(2, size, name="conv")])
    model.add(keras.layers.Activation(activation, name="out"))
    row, column = np.indices((size, size))
    signs = np.stack([np.where(column < 2, 1, -1), np.where((row % 3 > 0) & (column % 3 > 0), 1, -1)], axis=-1)
    signs = signs[:, :, None] * np.where(np.arange(channels) == 1, -1, 1)[:, None]  # an edge and a spot, green against others
    filters = (signs * np.random.default_rng(1).uniform(0.5, 1.5, signs.shape)).astype(np.float32)
    model.get_layer("conv").set_weights([filters, BIASES])
    return model, filters


@pytest.mark.parametrize(("size", "channels"), [(4, 1), (1, 3)])  # shapes, and colours
def test_one_convolution_wants_its_filter_up_to_the_bounds(size, channels):
    """Of pixels in [0, 1], Σ w · x is largest where x = 1 for w > 0 and 0 for w < 0: the sum of the positive weights."""
    model, filters = one_convolution(size=size, channels=channels)
    mixing = np.eye(channels) + 0.3 * np.eye(channels, k=1)
    made = synthesis.maximize(model, "out", [1, 0], steps=400, moves=0, colours=mixing)
    expected = np.moveaxis(filters[..., [1, 0]], 3, 0) > 0
    assert made.images.dtype == np.float32
    np.testing.assert_array_equal(made.images > 0.5, expected)
    largest = np.maximum(filters, 0).sum(axis=(0, 1, 2))[[1, 0]] + BIASES[[1, 0]]
    assert (made.activation > 0.97 * largest).all() and (made.activation <= largest + 1e-4).all(), made.activation / largest


@pytest.mark.parametrize(
    ("scaling", "low", "high"),
    [(None, 0, 1), ((2.0, -1.0), 0, 1), ((1 / 127.5, -1.0), 0, 255), ((1.0, 0.0), 0, 1)],
)
def test_the_images_are_pixels_whatever_the_model_takes(scaling, low, high):
    layers = [keras.layers.Rescaling(*scaling)] if scaling else []
    model, _ = one_convolution(*layers)
    made = synthesis.maximize(model, "out", [1], steps=20)
    assert 0 <= made.images.min() and made.images.max() <= 1
    answered = model.predict(low + (high - low) * made.images, verbose=0)[0, 0, 0, 1]
    np.testing.assert_allclose(made.activation, answered, rtol=1e-4)


def test_the_range_of_pixels_changes_no_image():
    """A slope for pixels in [0, 255] is 255 times smaller, where Adam's epsilon may be as large."""
    made = []
    for scale in (1, 1 / 255):
        model, filters = one_convolution(keras.layers.Rescaling(scale))
        model.get_layer("conv").set_weights([1e-4 * filters, BIASES])
        made.append(synthesis.maximize(model, "out", [0, 1], steps=20).images)
    np.testing.assert_allclose(*made, atol=1e-4)


def test_a_network_of_half_precision_is_answered_for_in_floats():
    """The mean over a map of 10,000 places, each of weight 1e-4, in float16."""
    images = keras.Input((100, 100, 1))
    layer = keras.layers.Conv2D(1, 1, dtype="mixed_float16", name="conv")
    model = keras.Model(images, layer(images))
    layer.set_weights([np.zeros((1, 1, 1, 1)), np.array([0.25])])
    made = synthesis.maximize(model, "conv", 0, steps=1)
    assert made.activation.dtype == made.history.dtype == np.float32
    np.testing.assert_allclose([made.activation, made.history[0]], 0.25, rtol=1e-5)


def test_a_silent_unit_is_woken():
    model, _ = one_convolution()
    model.get_layer("conv").bias.assign([-3.0, 0])
    made = synthesis.maximize(model, "out", 0, steps=200, moves=0)
    assert made.history[0] == 0 and made.activation > 0


def test_a_ceiling_and_a_softmax_within_a_layer_are_left_out():
    """As `deconvnet.strongest` ranks units; at a ceiling, and at a probability of 1, the gradient would be 0."""
    entry = keras.Input((1, 1, 1))
    x = keras.layers.Conv2D(1, 1, activation="relu6", name="conv")(entry)
    model = keras.Model(entry, keras.layers.Dense(2, activation="softmax", name="out")(keras.layers.Flatten()(x)))
    model.set_weights([np.full((1, 1, 1, 1), 20), np.zeros(1), np.array([[0.5, -0.5]]), np.zeros(2)])
    capped = synthesis.maximize(model, "conv", [0], steps=300, moves=0)
    np.testing.assert_allclose(capped.activation, 20 * capped.images.ravel(), rtol=1e-5)
    assert 19 < capped.activation[0] <= 20
    score = synthesis.maximize(model, "out", [1, 0], steps=300, moves=0)
    x = np.minimum(20 * score.images.ravel(), 6)
    np.testing.assert_allclose(score.activation, [-0.5 * x[0], 0.5 * x[1]], rtol=1e-5)


def test_activations_grow(network):
    for layer, place in (("relu2", "mean"), ("relu2", "centre"), ("relu2", (0, 7)), ("softmax", "mean")):
        made = synthesis.maximize(network, layer, [0, 3], place, steps=60)
        assert made.images.shape == (2, 16, 16, 3) and made.history.shape == (60, 2)
        early, late = made.history[:20].mean(axis=0), made.history[40:].mean(axis=0)  # each step's moves are others
        assert (late > early).all() and (early > made.history[0]).all() and (made.activation > made.history[0]).all()


def test_what_it_answers_is_what_the_layer_gives(network):
    made = synthesis.maximize(network, "relu2", [1, 4], steps=10)
    maps = keras.Model(network.input, network.get_layer("relu2").output).predict(made.images, verbose=0)
    np.testing.assert_allclose(made.activation, maps.mean(axis=(1, 2))[[0, 1], [1, 4]], rtol=1e-4)
    made = synthesis.maximize(network, "relu2", [1, 4], (2, 5), steps=10)
    maps = keras.Model(network.input, network.get_layer("relu2").output).predict(made.images, verbose=0)
    np.testing.assert_allclose(made.activation, maps[[0, 1], 2, 5, [1, 4]], rtol=1e-4)
    made = synthesis.maximize(network, "softmax", [1, 3], steps=10)
    scores = keras.Model(network.input, network.get_layer("logits").output).predict(made.images, verbose=0)
    np.testing.assert_allclose(made.activation, scores[[0, 1], [1, 3]], rtol=1e-4)


def test_a_synthesized_image_excites_more_than_any_of_many(network):
    images = RNG.integers(0, 256, (500, 16, 16, 3), np.uint8)
    units = deconvnet.strongest(network, images, "relu2", k=1)
    made = synthesis.maximize(network, "relu2", range(8), "centre")
    assert (made.activation > units.activation[:, 0]).sum() >= 7


def test_a_seed_gives_the_same_image_alone_or_beside_others(network):
    weights = network.get_weights()
    first = synthesis.maximize(network, "relu2", [1, 4], steps=10, seed=3)
    again = synthesis.maximize(network, "relu2", [1, 4], steps=10, seed=3)
    np.testing.assert_array_equal(first.images, again.images)
    alone = synthesis.maximize(network, "relu2", [4], steps=10, seed=3)
    # sums of another order: Adam divides by gradients that may be small; 2e-5 was measured
    np.testing.assert_allclose(alone.images[0], first.images[1], atol=1e-3)
    other = synthesis.maximize(network, "relu2", [1, 4], steps=10, seed=4)
    assert np.abs(other.images - first.images).max() > 0.01
    for before, after in zip(weights, network.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_batches_join(network, monkeypatch):
    whole = synthesis.maximize(network, "relu2", [1, 4, 5], steps=5)
    monkeypatch.setattr(synthesis, "_batch_size", lambda *_: 2)
    parts = synthesis.maximize(network, "relu2", [1, 4, 5], steps=5)
    np.testing.assert_allclose(parts.images, whole.images, atol=1e-3)
    np.testing.assert_allclose(parts.history, whole.history, rtol=1e-3, atol=1e-5)


def test_whoever_hears_of_the_steps_may_end_them(network):
    heard = []

    def tell(what, done, total):
        heard.append((what, done, total))
        if done == 3:
            raise InterruptedError

    expected = synthesis.maximize(network, "relu2", [1], steps=6)
    with pytest.raises(InterruptedError), progress.to(tell):
        synthesis.maximize(network, "relu2", [1], steps=6)
    assert heard == [("images for relu2", done, 6) for done in range(4)]
    np.testing.assert_array_equal(synthesis.maximize(network, "relu2", [1], steps=6).images, expected.images)


def test_whoever_watches_sees_the_images_grow_and_may_end_there(network):
    seen = []

    def watch(made):
        seen.append(made)
        return len(seen) == 3

    ended = synthesis.maximize(network, "relu2", [1, 4], "centre", steps=6, watch=watch)
    whole = synthesis.maximize(network, "relu2", [1, 4], "centre", steps=6, watch=lambda made: False)
    short = synthesis.maximize(network, "relu2", [1, 4], "centre", steps=3)
    assert (ended.layer, ended.channels.tolist(), ended.place) == ("relu2", [1, 4], "centre")
    assert [len(made.history) for made in seen] == [1, 2, 3] and whole.history.shape == (6, 2)
    for made in (ended, seen[-1]):
        np.testing.assert_array_equal(made.images, short.images)
        np.testing.assert_array_equal(made.history, whole.history[:3])
    np.testing.assert_array_equal(ended.activation, short.activation)
    np.testing.assert_array_equal(seen[1].activation, whole.history[1])
    assert np.abs(seen[1].images - seen[0].images).max() > 0


def test_a_move_is_what_it_says():
    image = RNG.random((1, 32, 32, 2))
    size = image.shape[1:3]
    np.testing.assert_allclose(synthesis._apply(synthesis._moved(size, np.zeros(4)), image), image, atol=1e-6)
    shifted = synthesis._apply(synthesis._moved(size, np.array([1, -1, 0, 0])), image)  # a sixteenth: two pixels
    np.testing.assert_allclose(shifted[:, :-2, 2:], image[:, 2:, :-2], atol=1e-6)
    np.testing.assert_allclose(shifted[:, -1, 2:], image[:, -1, :-2], atol=1e-6)  # the border goes on
    ramp = np.indices(size)[0][None, :, :, None] - 15.5
    middle = np.s_[:, 8:24, 8:24]
    larger = synthesis._apply(synthesis._moved(size, np.array([0, 0, 1, 0])), ramp)
    np.testing.assert_allclose(larger[middle], 1.05 * ramp[middle], rtol=1e-5)
    turned = synthesis._apply(synthesis._moved(size, np.array([0, 0, 0, 1])), ramp)
    across = np.swapaxes(ramp, 1, 2)
    angle = np.radians(5)
    np.testing.assert_allclose(turned[middle], (np.cos(angle) * ramp + np.sin(angle) * across)[middle], rtol=1e-4, atol=1e-5)


def test_colours_are_a_root_of_their_covariance():
    images = RNG.integers(0, 256, (20, 8, 8, 3), np.uint8)
    images[..., 1] = images[..., 0] // 2
    root = synthesis.colours(images)
    np.testing.assert_allclose(root @ root.T, np.cov(images.reshape(-1, 3).astype(float), rowvar=False), atol=1e-6)
    assert synthesis.colours(images[..., :1]).shape == (1, 1)


def test_some_of_many_pixels_are_enough_for_their_colours(monkeypatch):
    images = RNG.integers(0, 256, (60, 32, 32, 3), np.uint8)
    images[..., 1] = images[..., 0] // 2
    images[:, :, ::2] //= 4  # every second column is dark: a step of two would see only one kind
    every = synthesis.colours(images)
    monkeypatch.setattr(synthesis, "SAMPLED", 40_000)  # of 61,440
    some = synthesis.colours(images)
    assert not np.array_equal(some, every)
    np.testing.assert_allclose(some @ some.T, every @ every.T, rtol=0.05, atol=20)


def test_images_have_the_colours_that_are_asked_for(network):
    gray = np.repeat(RNG.integers(0, 256, (20, 8, 8, 1), np.uint8), 3, axis=3)
    made = synthesis.maximize(network, "relu2", [1], steps=10, colours=synthesis.colours(gray))
    np.testing.assert_allclose(made.images[..., 1:], made.images[..., :-1], atol=1e-3)
    coloured = synthesis.maximize(network, "relu2", [1], steps=10)
    assert np.ptp(coloured.images, axis=3).max() > 0.05


def test_a_model_of_any_size_takes_one():
    model = keras.Sequential([keras.Input((None, None, 1)), keras.layers.Conv2D(2, 3, activation="gelu", name="conv")])
    assert synthesis.maximize(model, "conv", [0], steps=3, size=(9, 12)).images.shape == (1, 9, 12, 1)
    with pytest.raises(ValueError, match="images of any size: give size="):
        synthesis.maximize(model, "conv", [0])


@pytest.mark.parametrize(
    ("layer", "channels", "settings", "said"),
    [
        ("relu9", [0], {}, "layer 'relu9' is not in this model; did you mean"),
        ("relu2", [8], {}, "channel 8 is not in layer 'relu2'; its channels are 0 to 7"),
        ("relu2", [0.5], {}, "channel must be whole numbers"),
        ("relu2", [], {}, "channels must be one or more whole numbers from 0 to 7"),
        ("softmax", [4], {}, "channel 4 is not in layer 'softmax'; its channels are 0 to 3"),
        ("relu2", [0], {"place": "center"}, "place 'center' is not known; did you mean 'centre'"),
        ("relu2", [0], {"place": (0, 99)}, "column 99 is not in layer 'relu2'"),
        ("relu2", [0], {"place": (1,)}, r"place must be 'mean', 'centre' or \(row, column\)"),
        ("relu2", [0], {"place": 3}, r"place must be 'mean', 'centre' or \(row, column\)"),
        ("relu2", [0], {"size": 16}, r"size must be \(height, width\), two whole numbers of 1 or more, not 16"),
        ("relu2", [0], {"steps": 0}, "steps must be a whole number of 1 or more, not 0"),
        ("relu2", [0], {"rate": 0.0}, "rate must be a number above 0, not 0.0"),
        ("relu2", [0], {"moves": -1}, "moves must be a number 0 or more, not -1"),
        ("relu2", [0], {"colours": np.eye(2)}, "colours must be what synthesis.colours"),
        ("relu2", [0], {"size": (32, 32)}, "takes images of 16 × 16 pixels, not "),
    ],
)
def test_refuses(network, layer, channels, settings, said):
    with pytest.raises(ValueError, match=said) as refused:
        synthesis.maximize(network, layer, channels, **settings)
    assert "\n" not in str(refused.value)


def test_the_image_stands_beside_patches_and_projections(network, drawn):
    images = RNG.integers(0, 256, (12, 16, 16, 3), np.uint8)
    units = deconvnet.strongest(network, images, "relu2", k=4)
    patches = deconvnet.project_units(network, images, "relu2", units[[1, 4, 5]])
    made = synthesis.maximize(network, "relu2", [1, 4, 5], steps=3)
    fig = drawn(synthesis.figure(made, patches))
    titles = [ax.get_title() for ax in fig.axes]
    assert titles[:3] == [f"channel 1: {made.activation[0]:.3g}", f"strongest: {units.activation[1, 0]:.3g}", "projected"]
    assert titles[3] == f"channel 4: {made.activation[1]:.3g}" and not titles[9]
    assert "of the patches" in fig.get_supxlabel()
    np.testing.assert_array_equal(fig.axes[3].images[0].get_array(), made.images[1])
    unit = synthesis.maximize(network, "relu2", [1], "centre", steps=1)
    fig = drawn(synthesis.figure(unit, deconvnet.project_units(network, images, "relu2", units[[1]]), ["a"]))
    assert len(fig.axes) == 3 and fig.axes[0].get_title().startswith("a: ") and "of one unit" in fig.get_supxlabel()
    with pytest.raises(ValueError, match=r"channels \[1, 4\] of layer 'relu2', the units are not"):
        synthesis.figure(synthesis.maximize(network, "relu2", [1, 4], steps=1), patches)


def some_units(channels, images, activations):
    images = np.array(images)
    return deconvnet.Units(images, 0 * images, 0 * images, np.array(channels)[:, None] + 0 * images, np.array(activations))


def test_what_a_channel_answers_stands_under_its_image(drawn):
    answers = np.float32([4, 6])
    made = synthesis.Synthesized(RNG.random((2, 8, 8, 3)), "relu2", np.array([3, 5]), "centre", answers, answers[None])
    known = some_units([3, 5], [[9, 8], [7, 9]], [[3.0, 2.0], [7.0, 1.0]])
    among = some_units([3, 5], [[0, 1], [1, 0]], [[4.5, 1.5], [6.5, 2.5]])
    fig = drawn(synthesis.answers_figure(made, known, among))
    assert [ax.get_title() for ax in fig.axes[:2]] == ["channel 3", "channel 5"]
    shown = [[line.get_ydata().tolist() for line in ax.lines] for ax in fig.axes[2:]]
    assert shown == [[[1.5], [4.0], [3.0, 2.0]], [[2.5], [6.0], [7.0, 1.0]]]
    assert fig.axes[2].get_ylim() == fig.axes[3].get_ylim()
    for given in ((known[:1], among), (known, among[::-1])):
        with pytest.raises(ValueError, match="the units are not"):
            synthesis.answers_figure(made, *given)
