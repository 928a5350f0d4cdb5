"""Occlusion, on networks whose answers are known by construction."""

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from deconvlib import deconvnet
from deconvlib.backend import keras
from deconvlib.experiments import occlusion, saliency, targets

RNG = np.random.default_rng(0)
CORNER = 4  # pixels a side of what the hand-built network looks at
IMAGES = np.zeros((2, 12, 12, 3), np.uint8)


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


def test_occlusion_finds_the_corner_and_only_it(corner):
    images = RNG.uniform(0.9, 1, (3, 15, 17, 3)).astype(np.float32)
    found = occlusion.measure(corner, images, np.ones(3, int), "corner", size=4, stride=4)
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
    found = occlusion.measure(corner, images, np.ones(2, int), "corner", channels=[0, 1], size=4, stride=1)
    table = occlusion.agreement(corner, images, found)
    assert table.columns.tolist() == ["image", "channel", "picture", "linear", "rank"] and len(table) == 2 * 2 * 4
    assert table["picture"].unique().tolist() == ["deconvnet", "guided", "gradient", "edges"]
    alive = table[table["channel"] == 0].set_index("picture")
    for rule in ("deconvnet", "guided", "gradient"):
        # what falls and what the projection holds are both the area of the corner under the square
        np.testing.assert_allclose(alive.loc[rule, ["linear", "rank"]].to_numpy(float), 1, atol=1e-5)
    assert (alive.loc["edges", "linear"] < 0).all()
    # on white, channel 1 is zero: there is nothing to project
    white = np.ones((1, 15, 17, 3), np.float32)
    table = occlusion.agreement(corner, white, occlusion.measure(corner, white, [1], "corner", channels=[1]))
    assert len(table) == 4 and table[["linear", "rank"]].isna().all(axis=None)


def test_pictures_of_the_channel_that_is_followed(network, drawn):
    images, labels = RNG.integers(0, 256, (2, 16, 16, 3), np.uint8), np.zeros(2, int)
    found = occlusion.measure(network, images, labels, "relu2", size=8, stride=4)
    methods = ("guided", "integrated gradients", "Grad-CAM")
    pictures = occlusion.pictures(network, images, found, methods)
    assert tuple(pictures) == methods
    for image, channel in enumerate(found.channel[:, 0]):
        one = images[[image]]
        (expected,) = deconvnet.project(network, one, "relu2", int(channel), "guided", whole_map=True)
        np.testing.assert_allclose(pictures["guided"][image], expected, atol=1e-5 * abs(expected).max())
        unit = targets.of_channels(network, one, "relu2", int(channel))
        for method in methods[1:]:
            (expected,) = saliency.attributions(network, one, unit, method)
            np.testing.assert_allclose(pictures[method][image], expected, atol=1e-5 * abs(expected).max())
    fig = drawn(occlusion.figure(images, found, pictures, ["a", "b"], list("wxyz")))
    titles = ["image, square", *methods, "map's sum", "its class", "most probable"]
    assert [ax.get_title() for ax in fig.axes[:7]] == titles
    said = fig.get_supxlabel().replace("\n", " ")
    assert "Maps of the channel: gray is zero" in said and saliency.LAID_OVER in said
    lowest = occlusion.measure(network, images, labels, "relu1", size=8, stride=4)
    assert list(occlusion.pictures(network, images, lowest, methods)) == ["guided", "integrated gradients"]


def test_maps_by_any_method_are_judged_alike(corner):
    images = np.ones((2, 15, 17, 3), np.float32)  # exact: equal falls are equal
    found = occlusion.measure(corner, images, np.ones(2, int), "corner", channels=[0, 1], size=4, stride=2)
    where = np.zeros((2, 15, 17))
    where[:, -CORNER:, -CORNER:] = -3  # its square is the energy
    table = occlusion.agreement_of({"corner": where, "nothing": np.zeros((2, 15, 17)), "rest": where == 0}, found)
    assert table.columns.tolist() == ["image", "channel", "picture", "linear", "rank"] and len(table) == 3 * 2 * 2
    alive = table[table["channel"] == 0].set_index("picture")
    np.testing.assert_allclose(alive.loc["corner", ["linear", "rank"]].to_numpy(float), 1, atol=1e-5)
    assert alive.loc["nothing", ["linear", "rank"]].isna().all(axis=None)
    np.testing.assert_allclose(alive.loc["rest", "linear"].to_numpy(float), -1, atol=1e-5)
    projected = deconvnet.project(corner, images, "corner", 0, "guided", whole_map=True)
    one = occlusion.agreement_of({"guided": np.sqrt((projected**2).sum(axis=3))}, found)
    other = occlusion.agreement(corner, images, found).query("picture == 'guided'")
    np.testing.assert_allclose(one["rank"].iloc[[0, 2]], other["rank"].iloc[[0, 2]], atol=1e-6)


def test_each_image_is_judged_by_its_own_edges(corner):
    # ndimage.sobel over a stack of images once mixed each with its neighbours
    images = RNG.random((3, 15, 17, 3)).astype(np.float32)

    def edges(some):
        table = occlusion.agreement(corner, some, occlusion.measure(corner, some, [1] * len(some), "corner", size=4))
        return table.loc[table["picture"] == "edges", "rank"].tolist()

    np.testing.assert_allclose(edges(images), [edges(images[[index]])[0] for index in range(3)], atol=1e-6)


def test_energy_within_squares_is_that_of_a_plain_sum():
    energy = RNG.random((2, 9, 11))
    squares = occlusion.Occlusion("", 4, np.array([0, 3, 5]), np.array([1, 7]), *[None] * 7)
    expected = [[[e[r : r + 4, c : c + 4].sum() for c in (1, 7)] for r in (0, 3, 5)] for e in energy]
    np.testing.assert_allclose(occlusion._within(energy, squares), expected)


@pytest.mark.parametrize("fill", occlusion.FILLS)
@pytest.mark.parametrize("channels", [None, [5, 2]])
def test_occlusion_is_that_of_one_image_at_a_time(small, fill, channels, monkeypatch):
    lengths = []
    monkeypatch.setattr(deconvnet.activations, "BATCH", 7)
    monkeypatch.setattr(deconvnet.activations, "reader", counting(deconvnet.activations.reader, lengths))
    images, labels = RNG.integers(0, 256, (3, 12, 12, 3), np.uint8), np.array([0, 4, 2])
    found = occlusion.measure(small, images, labels, "conv2", channels, size=5, stride=3, fill=fill)
    assert max(lengths) == 7  # whatever the number of squares
    whole = keras.Model(small.inputs[0], [small.get_layer("conv2").output, small.outputs[0]])
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


def test_one_unit_is_followed_instead_of_the_sum_of_its_channel(corner):
    images = np.full((1, 15, 17, 3), 0.75, np.float32)
    images[0, -2, -3] = 1  # a unit of 3, where the others have 2.25
    found = occlusion.measure(corner, images, [1], "corner", size=1, stride=1, unit=True)
    assert found.channel.tolist() == [[0]] and found.whole_activation.tolist() == [[3]]
    expected = np.full((15, 17), 3.0)
    expected[-2, -3] = 1.5  # gray
    np.testing.assert_allclose(found.activation[0, ..., 0], expected)
    both = occlusion.measure(corner, images, [1], "corner", channels=[1, 0], size=1, stride=1, unit=True)
    assert both.whole_activation.tolist() == [[0.75, 3]]  # of what is missing to white


def counting(reader, lengths):
    def wrapped(*arguments):
        read = reader(*arguments)
        return lambda images: lengths.append(len(images)) or read(images)

    return wrapped


OCCLUDED = occlusion.Occlusion(
    "conv1",
    size=4,
    row=np.array([0, 2, 4]),
    column=np.array([0, 3, 4]),
    channel=np.zeros((2, 1), int),
    activation=np.array([2.0, 0.0]).reshape(2, 1, 1, 1) * RNG.random((2, 3, 3, 1)),
    probability=RNG.random((2, 3, 3)),
    predicted=np.arange(18).reshape(2, 3, 3) % 2,
    whole_activation=np.array([[2.0], [0.0]]),
    whole_probability=np.ones(2),
    whole_predicted=np.zeros(2, int),
)


def test_an_occlusion_is_drawn_where_the_squares_were(drawn):
    fig = drawn(occlusion.figure(RNG.random((2, 8, 8, 3)), OCCLUDED, RNG.normal(size=(2, 8, 8, 3)), ["a", "b"], ("cat", "dog")))
    mesh = fig.axes[2].collections[0]
    np.testing.assert_allclose(mesh.get_array(), OCCLUDED.activation[0, ..., 0] / 2)
    corners = mesh.get_coordinates()
    # square 1 of three begins at row 2 and is 4 pixels a side: its centre lies between pixels 3 and 4
    assert corners[1, 0, 1] < 3.5 < corners[2, 0, 1] and corners[0, 1, 0] < 4.5 < corners[0, 2, 0]
    dead = fig.axes[7].collections[0]  # a map that is zero before stays what it was
    assert (dead.get_array() == 1).all()
    assert mesh.norm.vcenter == dead.norm.vcenter == 1  # what hiding does not change is in the middle of the colours


def test_an_agreement_has_a_bar_at_the_mean_of_each_picture(drawn):
    table = pd.DataFrame({"picture": ["a", "a", "edges"], "linear": [1, 0, np.nan], "rank": [0.5, 0.7, np.nan]})
    fig = drawn(occlusion.agreement_figure(table))
    for ax, mean in zip(fig.axes, (0.5, 0.6), strict=True):
        (bar,) = ax.collections  # none where nothing agrees or disagrees
        assert bar.get_segments()[0][0, 0] == pytest.approx(mean)
        (said,) = ax.texts
        assert said.get_text().startswith(f"{mean:.2f} ± ")


def test_the_projection_shown_is_that_of_the_followed_channels_strongest_unit(corner):
    images = RNG.uniform(0.9, 1, (2, 15, 17, 3)).astype(np.float32)
    images[1] = 0.1  # channel 1 answers to what is missing
    found = occlusion.measure(corner, images, np.ones(2, int), "corner", size=4, stride=11)
    assert found.channel[:, 0].tolist() == [0, 1]
    expected = [deconvnet.project(corner, images[[n]], "corner", n)[0] for n in range(2)]
    np.testing.assert_array_equal(occlusion.projections(corner, images, found), expected)


def test_importance_is_the_mean_fall_over_the_squares_that_hide_a_pixel():
    found = OCCLUDED._replace(row=np.array([0, 1]), column=np.array([0]), size=2, whole_probability=np.array([0.9]))
    found = found._replace(probability=np.array([[[0.9], [0.5]]]))
    expected = [[0, 0, 0], [0.2, 0.2, 0], [0.4, 0.4, 0]]  # the middle row lies under both squares, the last column under none
    np.testing.assert_allclose(occlusion.importance(found, (3, 3))[0], expected, atol=1e-12)


def no_softmax(model):
    return keras.Model(model.inputs, keras.layers.Dense(5, bias_initializer="ones")(model.layers[-2].output))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: occlusion.measure(m, IMAGES, [0, 1], "conv9"), "'conv9' is not in this model; did you mean 'conv"),
        (lambda m: occlusion.measure(m, IMAGES, [0, 1], "conv1", size=13), "13 pixels does not fit .* its size is 1 to 12"),
        (lambda m: occlusion.measure(m, IMAGES, [0, 1], "conv1", stride=0), "stride is 1 pixel or more, not 0"),
        (lambda m: occlusion.measure(m, IMAGES, [0, 1], "conv1", fill="grey"), "'grey' is not known; did you mean 'gray'"),
        (lambda m: occlusion.measure(m, IMAGES, [0, 1], "conv1", channels=[1, 4]), "channel 4 is not in layer .* are 0 to 3"),
        (lambda m: occlusion.measure(m, IMAGES, [0, 1], "conv1", channels=[]), r"channel"),
        (lambda m: occlusion.measure(m, IMAGES, [0, 5], "conv1"), "label 5 of image 1 is not a class .* classes are 0 to 4"),
        (lambda m: occlusion.measure(m, IMAGES, [0], "conv1"), "labels must be 2 integers"),
        (lambda m: occlusion.measure(m, np.full((1, 12, 12, 3), np.nan), [0], "conv1"), "image 0 holds NaN"),
        (lambda m: occlusion.measure(no_softmax(m), IMAGES, [0, 1], "conv1"), "not the probabilities.*end it in a softmax"),
        (lambda m: occlusion.measure(keras.Model(m.inputs, m.layers[0].output), IMAGES, [0, 1], "conv1"), "a classifier"),
        (
            lambda m: occlusion.agreement(m, IMAGES[:1], occlusion.measure(m, IMAGES, [0, 1], "conv1")),
            "1 images, but 2 were occluded",
        ),
        (
            lambda m: occlusion.agreement_of({"a": np.zeros((2, 12, 11))}, occlusion.measure(m, IMAGES, [0, 1], "conv1")),
            r"maps must be \(2, 12, 12\)",
        ),
    ],
)
def test_refuses(small, call, said):
    with pytest.raises(ValueError, match=said):
        call(small)
