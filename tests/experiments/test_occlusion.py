"""Experiments on networks whose answers are known by construction."""

import numpy as np
import pytest
from scipy import ndimage

from deconvlib import deconvnet, experiments
from deconvlib.backend import keras

RNG = np.random.default_rng(0)
CORNER = 4  # pixels a side of what the hand-built network looks at


@pytest.fixture(scope="module")
def corner():
    """A network that looks at the lower right corner: bright is class 1."""
    images = keras.Input((15, 17, 3))
    x = keras.layers.Rescaling(1.0)(images)
    x = keras.layers.Cropping2D(((15 - CORNER, 0), (17 - CORNER, 0)))(x)
    x = keras.layers.Conv2D(2, 1, activation="relu", name="corner")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax", name="softmax")(x))
    # channel 0 is the brightness; channel 1 is what is missing, zero on white
    kernel = np.array([[1.0, 1, 1], [-1, -1, -1]], np.float32).T[None, None]
    model.set_weights([kernel, np.array([0, 3], np.float32), np.array([[0, 20], [0, 0]], np.float32), np.array([54, 0.0])])
    return model


@pytest.fixture(scope="module")
def network():
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            keras.layers.Conv2D(4, 3, activation="relu", padding="same", name="conv1"),
            keras.layers.MaxPooling2D(2, name="pool1"),
            keras.layers.Conv2D(6, 3, activation="relu", name="conv2"),
            keras.layers.GlobalAveragePooling2D(name="pooled"),
            keras.layers.Dense(5, activation="softmax", name="softmax"),
        ]
    )


def test_occlusion_finds_the_corner_and_only_it(corner):
    images = RNG.uniform(0.9, 1, (3, 15, 17, 3)).astype(np.float32)
    found = experiments.occlusion.measure(corner, images, np.ones(3, int), "corner", size=4, stride=4)
    # the last square is flush with the border, where multiples of the stride end before it
    assert found.row.tolist() == [0, 4, 8, 11] and found.column.tolist() == [0, 4, 8, 12, 13]
    assert (found.channel == 0).all() and (found.whole_predicted == 1).all()
    at_corner = np.outer(found.row + 3 >= 11, found.column + 3 >= 13)
    whole = found.whole_activation, found.whole_probability[:, None], found.whole_predicted[:, None]
    for measured, before in zip((found.activation[..., 0], found.probability, found.predicted), whole, strict=True):
        away = measured[:, ~at_corner]
        np.testing.assert_allclose(away, np.broadcast_to(before, away.shape), rtol=1e-6)  # of other batches
        assert (measured[:, at_corner] < before).all()
    # all of the corner is gray, 0.5, where the square lies on it: sixteen units of 1.5
    np.testing.assert_allclose(found.activation[:, -1, -1, 0], 24, rtol=1e-6)


def test_a_projection_agrees_with_the_occlusion_where_edges_do_not(corner):
    # the edges are where the network does not look
    images = np.full((2, 15, 17, 3), 0.95, np.float32)
    images[:, :8, ::2] = 0.0
    found = experiments.occlusion.measure(corner, images, np.ones(2, int), "corner", channels=[0, 1], size=4, stride=1)
    table = experiments.occlusion.agreement(corner, images, found)
    assert table.columns.tolist() == ["image", "channel", "picture", "linear", "rank"] and len(table) == 2 * 2 * 4
    assert table["picture"].unique().tolist() == ["deconvnet", "guided", "gradient", "edges"]
    alive = table[table["channel"] == 0].set_index("picture")
    for rule in ("deconvnet", "guided", "gradient"):
        # what falls and what the projection holds are both the area of the corner under the square
        np.testing.assert_allclose(alive.loc[rule, ["linear", "rank"]].to_numpy(float), 1, atol=1e-5)
    assert (alive.loc["edges", "linear"] < 0).all()
    # on white, channel 1 is zero: there is nothing to project
    white = np.ones((1, 15, 17, 3), np.float32)
    table = experiments.occlusion.agreement(
        corner, white, experiments.occlusion.measure(corner, white, [1], "corner", channels=[1])
    )
    assert len(table) == 4 and table[["linear", "rank"]].isna().all(axis=None)


def test_energy_within_squares_is_that_of_a_plain_sum():
    energy = RNG.random((2, 9, 11))
    squares = experiments.occlusion.Occlusion("", 4, np.array([0, 3, 5]), np.array([1, 7]), *[None] * 7)
    expected = [[[e[r : r + 4, c : c + 4].sum() for c in (1, 7)] for r in (0, 3, 5)] for e in energy]
    np.testing.assert_allclose(experiments.occlusion._within(energy, squares), expected)


@pytest.mark.parametrize("fill", experiments.occlusion.FILLS)
@pytest.mark.parametrize("channels", [None, [5, 2]])
def test_occlusion_is_that_of_one_image_at_a_time(network, fill, channels, monkeypatch):
    lengths = []
    monkeypatch.setattr(features, "BATCH", 7)
    monkeypatch.setattr(features, "reader", counting(deconvnet.activations.reader, lengths))
    images, labels = RNG.integers(0, 256, (3, 12, 12, 3), np.uint8), np.array([0, 4, 2])
    found = experiments.occlusion.measure(network, images, labels, "conv2", channels, size=5, stride=3, fill=fill)
    assert max(lengths) == 7  # whatever the number of squares
    whole = keras.Model(network.inputs[0], [network.get_layer("conv2").output, network.outputs[0]])
    floats = images.astype(np.float32) / 255
    for image, label, number in zip(floats, labels, range(3), strict=True):
        hidden = {
            "gray": np.full_like(image, 0.5),
            "mean": np.broadcast_to(image.mean(axis=(0, 1)), image.shape),
            "blur": np.stack([ndimage.gaussian_filter(image[..., c], 2.5, mode="nearest") for c in range(3)], axis=2),
        }[fill]
        maps, _ = whole(image[None])
        follow = [np.sum(maps, axis=(0, 1, 2)).argmax()] if channels is None else channels
        assert found.channel[number].tolist() == list(follow)
        for r, c in np.ndindex(found.predicted.shape[1:]):
            row, column = found.row[r], found.column[c]
            occluded = image.copy()
            occluded[row : row + 5, column : column + 5] = hidden[row : row + 5, column : column + 5]
            maps, chances = whole(occluded[None])
            sums = np.sum(maps, axis=(0, 1, 2))[follow]
            np.testing.assert_allclose(found.activation[number, r, c], sums, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found.probability[number, r, c], chances[0, label], rtol=1e-4)
            assert found.predicted[number, r, c] == np.argmax(chances)


def counting(reader, lengths):
    def wrapped(*arguments):
        read = reader(*arguments)
        return lambda images: lengths.append(len(images)) or read(images)

    return wrapped


@pytest.fixture(scope="module")
def invariant():
    """Looks for bright patches anywhere: its maximum over the image does not know where they are."""
    images = keras.Input((24, 24, 1))
    x = keras.layers.Conv2D(3, 3, padding="same", activation="relu", name="maps")(images)
    x = keras.layers.GlobalMaxPooling2D(name="maximum")(x)
    return keras.Model(images, keras.layers.Dense(3, activation="softmax", name="softmax")(x))


def test_a_translation_invariant_network_has_a_flat_curve(invariant):
    images = np.zeros((2, 24, 24, 1), np.float32)
    images[0, 9:14, 8:15] = RNG.random((5, 7, 1))
    images[1, 10:15, 10:13] = 1
    moves = np.arange(-6, 7)
    table = experiments.invariance.measure(
        invariant, images, [0, 2], ["maps", "maximum"], translation=moves, scale=(), rotation=()
    )
    assert len(table) == 13 * 2 * 2 and (table["transformation"] == "translation").all()
    flat = table[table["layer"] == "maximum"]
    np.testing.assert_allclose(flat["distance"], 0, atol=1e-6)
    expected = invariant.predict(images, verbose=0)[[0, 1], [0, 2]]
    for image, probability in enumerate(expected):
        np.testing.assert_allclose(table.loc[table["image"] == image, "probability"], probability, rtol=1e-5)
    moved = table[(table["layer"] == "maps") & (table["amount"] != 0)]
    assert (moved["distance"] > 0.1).all() and (moved["relative"] > 0.1).all()


def test_nothing_changes_where_nothing_is_done(network):
    images = RNG.random((2, 12, 12, 3), np.float32)
    table = experiments.invariance.measure(
        network, images, [0, 1], ["conv1", "pooled"], translation=[0], scale=[1], rotation=[0, 360]
    )
    np.testing.assert_allclose(table["distance"], 0, atol=1e-5)
    assert set(experiments.invariance.measure(network, images, [0, 1], ["conv1"])["transformation"].value_counts()) == {
        34,
        72,
        14,
    }


def test_distances_are_euclidean_and_relative_to_the_original(network):
    images = RNG.random((1, 12, 12, 3), np.float32)
    table = experiments.invariance.measure(network, images, [3], ["conv2"], translation=[2], scale=(), rotation=())
    read = keras.Model(network.inputs, network.get_layer("conv2").output)
    moved = np.concatenate([images[:, 1::-1], images[:, :-2]], axis=1)  # mirrored at the border
    before, after = (read.predict(pixels, verbose=0) for pixels in (images, moved))
    expected = np.linalg.norm(after - before)
    np.testing.assert_allclose(
        table.loc[0, ["distance", "relative"]].to_numpy(float), [expected, expected / np.linalg.norm(before)], rtol=1e-4
    )


def test_transformations_go_where_they_say():
    image = RNG.random((9, 9, 2)).astype(np.float32)
    down = experiments.invariance.transformed(image, "translation", 3)
    np.testing.assert_allclose(down[3:], image[:-3], atol=1e-6)
    turned = experiments.invariance.transformed(image, "rotation", 90)
    np.testing.assert_allclose(turned, np.rot90(image), atol=1e-5)  # counterclockwise
    twice = experiments.invariance.transformed(image, "scale", 2)
    np.testing.assert_allclose(twice[::2, ::2], image[2:7, 2:7], atol=1e-6)


@pytest.fixture(scope="module")
def linear():
    images = keras.Input((16, 16, 1))
    x = keras.layers.Flatten()(images)
    x = keras.layers.Dense(400, name="features", kernel_initializer=keras.initializers.RandomNormal(seed=0))(x)
    return keras.Model(images, keras.layers.Dense(3, activation="softmax", name="softmax")(x))


def test_the_same_part_changes_a_linear_layer_alike_and_random_parts_do_not(linear):
    images = RNG.random((6, 16, 16, 1)).astype(np.float32)
    images[:, 3:8, 5:9] = RNG.random((5, 4, 1))  # the same part in all
    mask = np.zeros((6, 16, 16), bool)
    mask[:, 3:8, 5:9] = True
    table = experiments.correspondence.measure(
        linear, images, {"part": mask, "box": np.tile([3, 5, 8, 9], (6, 1))}, ["features"]
    )
    assert table["part"].tolist() == ["part", "box"] and table["layer"].tolist() == ["features"] * 2
    assert (table["delta"] == 0).all() and (table["deviation"] == 0).all()
    # signs of independent changes differ in half of the units; places drawn at random overlap now and then
    assert table["random"].between(0.4, 0.52).all() and (table["random_deviation"] > 0).all()


def test_delta_of_changes_written_by_hand():
    images = keras.Input((2, 2, 1))
    flat = keras.layers.Flatten(name="flat")(images)
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax")(flat))
    pixels = np.array([[0.9, 0.9, 0.9, 0.9], [0.1, 0.9, 0.5, 0.9], [0.9, 0.1, 0.9, 0.9]], np.float32).reshape(3, 2, 2, 1)
    upper = np.tile([0, 0, 1, 2], (3, 1))
    # signs of the changes: ++00, -+00, +-00: one, one and two of four differ
    row = experiments.correspondence.measure(model, pixels, {"upper": upper}, ["flat"], draws=1).loc[0]
    np.testing.assert_allclose([row["delta"], row["deviation"]], [1 / 3, np.std([0.25, 0.25, 0.5])])


def test_a_random_part_keeps_its_form():
    masks = np.zeros((1, 10, 12), bool)
    masks[0, 2:5, 4:6] = [[True, False], [True, True], [False, True]]
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(300):
        (moved,) = experiments.correspondence._moved(masks, rng)
        row, column = np.nonzero(moved.any(axis=1))[0][0], np.nonzero(moved.any(axis=0))[0][0]
        np.testing.assert_array_equal(moved[row : row + 3, column : column + 2], masks[0, 2:5, 4:6])
        assert moved.sum() == 4
        places.add((row, column))
    assert {row for row, _ in places} == set(range(8)) and {column for _, column in places} == set(range(11))


IMAGES = np.zeros((2, 12, 12, 3), np.uint8)


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        (
            lambda m: experiments.occlusion.measure(m, IMAGES, [0, 1], "conv9"),
            "'conv9' is not in this model; did you mean 'conv",
        ),
        (
            lambda m: experiments.occlusion.measure(m, IMAGES, [0, 1], "conv1", size=13),
            "13 pixels does not fit .* its size is 1 to 12",
        ),
        (lambda m: experiments.occlusion.measure(m, IMAGES, [0, 1], "conv1", stride=0), "stride is 1 pixel or more, not 0"),
        (
            lambda m: experiments.occlusion.measure(m, IMAGES, [0, 1], "conv1", fill="grey"),
            "'grey' is not known; did you mean 'gray'",
        ),
        (lambda m: experiments.occlusion.measure(m, IMAGES, [0, 1], "conv1", channels=[1, 4]), r"\[1, 4\] .* are 0 to 3"),
        (
            lambda m: experiments.occlusion.measure(m, IMAGES, [0, 1], "conv1", channels=[]),
            r"channels \[\] are not all in layer",
        ),
        (lambda m: experiments.occlusion.measure(m, IMAGES, [0, 5], "conv1"), "label 5 is not a class .* classes are 0 to 4"),
        (lambda m: experiments.occlusion.measure(m, IMAGES, [0], "conv1"), "labels must be 2 integers"),
        (lambda m: experiments.occlusion.measure(m, np.full((1, 12, 12, 3), np.nan), [0], "conv1"), "image 0 holds NaN"),
        (
            lambda m: experiments.occlusion.measure(no_softmax(m), IMAGES, [0, 1], "conv1"),
            "not probabilities; end it in a softmax",
        ),
        (
            lambda m: experiments.occlusion.measure(keras.Model(m.inputs, m.layers[0].output), IMAGES, [0, 1], "conv1"),
            "a classifier",
        ),
        (
            lambda m: experiments.occlusion.agreement(m, IMAGES[:1], experiments.occlusion.measure(m, IMAGES, [0, 1], "conv1")),
            "1 images, but 2 were occluded",
        ),
        (lambda m: experiments.invariance.measure(m, IMAGES, [0, 1], ["conv1"], scale=[0.0]), "scale 0 leaves no image"),
        (lambda m: experiments.invariance.measure(m, IMAGES, [0, 1], ["conv1"], rotation=[np.inf]), "NaN or infinite"),
        (lambda m: experiments.invariance.measure(m, IMAGES, [0, 1], ["conv9"]), "'conv9' is not in this model"),
        (lambda m: experiments.correspondence.measure(m, IMAGES[:1], {}, ["conv1"]), "pairs of images; 1 image has none"),
        (lambda m: part(m, np.zeros((2, 12, 12), bool)), "part 'p' is empty in image 0"),
        (lambda m: part(m, np.zeros((2, 12, 11), bool)), r"part 'p' must be booleans \(2, 12, 12\) or integers \(2, 4\)"),
        (lambda m: part(m, np.array([[0, 0, 2, 2], [0, 0, 2, 13]])), r"part 'p' of image 1, \[0, 0, 2, 13\], reaches out"),
        (lambda m: part(m, np.array([[0, 0, 2, 2], [4, 0, 2, 8]])), "part 'p' is empty in image 1"),
    ],
)
def test_refuses(network, experiment, said):
    with pytest.raises(ValueError, match=said):
        experiment(network)


def part(model, masks):
    return experiments.correspondence.measure(model, IMAGES, {"p": masks}, ["conv1"])


def no_softmax(model):
    return keras.Model(model.inputs, keras.layers.Dense(5, bias_initializer="ones")(model.layers[-2].output))
