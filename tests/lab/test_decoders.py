"""The panels of 08, 09 and 10, driven from Python: what their controls draw."""

import numpy as np
import pytest

from deconvlib import networks
from deconvlib.lab import decoders

RNG = np.random.default_rng(0)
IMAGES = RNG.random((4, 16, 16, 3), np.float32)


def drawn(panel, **values):
    """The bytes of the picture after these controls were moved."""
    for name, value in values.items():
        panel.controls[name].value = value
    assert panel.wait() and panel.error is None
    return bytes(panel.picture.value)


def test_a_restored_image_stands_beside_its_quality():
    asked = []

    def leave(damaged, strength):
        asked.append(strength)
        return damaged

    panel = decoders.restore({"noise": {"damaged": leave}, "JPEG": {"damaged": leave}}, IMAGES)
    titles = [ax.get_title() for ax in panel.figure.axes]
    assert titles[0] == "original\nstandard deviation 0.1" and titles[1].endswith("dB") and asked == [0.1]
    assert drawn(panel, strength=4) != drawn(panel, image=2) != drawn(panel, damage="JPEG")
    assert asked == [0.1, 0.2, 0.2, 5]


def test_a_walk_ends_at_its_two_images():
    parts = networks.variational((16, 16, 3), 3, (4,), num_classes=2)
    panel = decoders.walk(parts, IMAGES, ("cat", "dog"))
    (picture,) = panel.figure.axes[0].images
    sheet = picture.get_array()
    np.testing.assert_allclose(sheet[:16, :16], IMAGES[0], atol=1e-6)
    np.testing.assert_allclose(sheet[:16, 17:33], IMAGES[1], atol=1e-6)
    assert drawn(panel, share=0.9) != drawn(panel, label="dog") != drawn(panel, towards=3)
    drawn(panel, share=0.0)
    sheet = panel.figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(sheet[:16, 34:50], sheet[17:33, :16], atol=1e-6)  # here is where it begins


def test_the_probability_of_a_class_is_drawn_for_each_network():
    likely = {name: RNG.dirichlet(np.ones(3), (4, 16, 16)) for name in ("unpooling", "resize")}
    truth = RNG.integers(0, 3, (4, 16, 16))
    panel = decoders.segment(likely, IMAGES, truth, ("ground", "disk", "ring"))
    drawn(panel, scene=2, label="ring")
    maps = {ax.get_title(): ax.images[0].get_array() for ax in panel.figure.axes if ax.get_title()}
    assert list(maps) == ["scene", "truth", "unpooling", "resize"]
    np.testing.assert_array_equal(maps["truth"], truth[2] == 2)
    np.testing.assert_allclose(maps["resize"], likely["resize"][2, ..., 2])


@pytest.mark.parametrize("number", [2, 30])
def test_each_class_has_its_colour_and_its_name(number):
    from deconvlib.experiments import segmentation

    names = [f"class {index}" for index in range(number)]
    masks = RNG.integers(0, number, (4, 16, 16))
    fig = segmentation.figure(IMAGES, {"truth": masks}, names)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == names
    shown = fig.axes[0].images[0].get_array()[17:33, :16]
    np.testing.assert_allclose(shown, segmentation.colours(number)[masks[0]], atol=1e-6)
