"""What a map is made of: classes and units, by number, and what is refused."""

import numpy as np
import pytest

from deconvlib import deconvnet
from deconvlib.experiments import targets

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)


def test_several_classes_of_each_image_are_units_of_the_last_layer(network):
    classes = np.array([[0, 1, 2, 3, 0], [3, 3, 3, 3, 3]])
    layer, units = targets.of_classes(network, IMAGES, classes)
    assert layer == "softmax"
    np.testing.assert_array_equal(units.channel, classes)
    np.testing.assert_array_equal(units.image, [[0, 1, 2, 3, 4]] * 2)


def test_the_strongest_unit_of_a_channel_in_each_image(network):
    units = targets.of_channels(network, IMAGES, "relu1", 2).units
    # the k strongest of all images, at most one an image: all of them
    expected = deconvnet.strongest(network, IMAGES, "relu1", k=5)[2]
    order = np.argsort(expected.image)
    for part in ("image", "row", "column", "channel", "activation"):
        np.testing.assert_array_equal(getattr(units, part), getattr(expected, part)[order])
    several = targets.of_channels(network, IMAGES, "relu1", np.array([[2] * 5, [0] * 5])).units
    assert several.row.shape == (2, 5)
    np.testing.assert_array_equal(several.activation[0], units.activation)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: targets.of_classes(m, IMAGES, np.full(5, 4)), "label 4 of image 0 is not a class of this model"),
        (lambda m: targets.of_classes(m, IMAGES, np.zeros((5, 2), int)), "labels must be 5 integers"),
        (lambda m: targets.of_classes(m, IMAGES, 1), "labels must be 5 integers"),
        (lambda m: targets.of_channels(m, IMAGES, "relu9", 0), "'relu9' is not in this model; did you mean"),
        (lambda m: targets.of_channels(m, IMAGES, "relu1", 6), "channel 6 is not in layer 'relu1'; its channels are 0 to 5"),
        (lambda m: targets.of_channels(m, IMAGES, "relu1", np.zeros(4, int)), "one for each of the 5 images"),
        (lambda m: targets.of_channels(m, IMAGES[0], "relu1", 0), "of one image give image\\[None\\]"),
    ],
)
def test_refuses(network, call, said):
    with pytest.raises(ValueError, match=said):
        call(network)
