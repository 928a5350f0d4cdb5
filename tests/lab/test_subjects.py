"""The notebooks' own panels, where a browser does not see them: what a move that cannot be drawn says, what a click means."""

import threading

import numpy as np
import pytest
import yaml

from deconvlib import data, deconvnet, networks, training
from deconvlib.experiments import synthesis
from deconvlib.lab import building, controls, features, panels


@pytest.fixture(autouse=True)
def forget():
    yield
    controls.newest.clear()  # errors that are shown on purpose


@pytest.fixture(scope="module")
def few():
    return data.load("digits").take(80, 60, seed=0)


@pytest.fixture(scope="module")
def searched(few):
    """(model, images, {layer: their strongest units})."""
    model = networks.classifier(few.image_shape, few.num_classes, filters=(4, 6), seed=0)
    layers = deconvnet.rectified_convolutions(model)
    return model, few.x_test, deconvnet.strongest(model, few.x_test, layers, k=4)


def moved(panel, **values):
    for name, value in values.items():
        panel.controls[name].value = value
    assert panel.wait()
    return panel


def test_one_unit_is_projected_where_it_sees(searched):
    model, images, strongest = searched
    layer = next(iter(strongest))
    units = strongest[layer][2, :1]
    image = images[units.image[0]]
    one, box = features.one_unit(model, image, layer, 2)
    whole = deconvnet.project(model, image[None], layer, 2)[0]
    np.testing.assert_allclose(one, whole, atol=1e-5 * np.abs(whole).max())
    row, column, height, width = box
    outside = one.copy()
    outside[row : row + height, column : column + width] = 0
    assert not outside.any()
    _, other = features.one_unit(model, image, layer, 2, point=(0, 0))
    assert other[:2] == (0, 0)


def test_a_click_on_the_sheet_chooses_its_image_and_on_the_image_its_unit(searched):
    model, images, strongest = searched
    panel = panels.features(model, images, strongest, ["a digit"] * len(images))
    layer, channel = panel.values["layer"], panel.values["channel"]
    assert panel.values["image"] == strongest[layer].image[channel, 0]
    assert panel.clicked("strongest", 1.2, 0.4, panel.values)["image"] == strongest[layer].image[channel, 1]
    assert panel.clicked("image", 3.2, 1.6, panel.values) == {"unit": "above the point", "row": 2, "column": 3}
    for unit in ("above the point", "the whole map"):
        assert moved(panel, unit=unit, channel=99).error is None  # beyond the last channel: the last
    for method in ("deconvnet", "integrated gradients"):
        assert moved(panels.channels(model, images, strongest, method), channel=99).error is None


def test_images_grow_beside_the_patches_of_their_channels(searched):
    model, images, strongest = searched
    first, last = strongest
    panel = panels.synthesize(model, images, strongest, steps=16)
    made, patches = panel.made
    assert made.layer == last and len(made.channels) == 2 and made.history.shape == (16, 2) and made.place == "centre"
    assert made.channels[0] == strongest[last].activation[:, 0].argmax() or made.channels[0] == 4
    for name, value in {"layer": first, "channel": 2, "several": 6, "place": "mean", "moves": 0.0, "seed": 5}.items():
        panel.controls[name].value = value
    panel.start()
    assert panel.wait() and panel.error is None
    made, patches = panel.made
    colours = synthesis.colours(images)
    expected = synthesis.maximize(model, first, [2, 3], "mean", steps=16, moves=0, colours=colours, seed=5)
    np.testing.assert_array_equal(made.images, expected.images)
    np.testing.assert_array_equal(patches.units.image, strongest[first].image[2:])
    panel.controls["channel"].value = 99  # beyond the last channel: the last
    panel.start()
    assert panel.wait() and panel.made[0].channels.tolist() == [3]


def test_an_image_that_is_stopped_stays_as_far_as_it_is(searched):
    model, images, strongest = searched
    panel = panels.synthesize(model, images, strongest, steps=16, several=1)
    panel.controls["steps"].value = 1024
    panel.start()
    for _ in range(600):
        if "left" in panel.status.value:
            break
        threading.Event().wait(0.05)
    panel.stop()
    assert panel.wait() and panel.error is None and "stopped after" in panel.status.value
    made, _ = panel.made
    steps = len(made.history)
    assert 1 <= steps < 1024
    colours = synthesis.colours(images)
    short = synthesis.maximize(model, made.layer, made.channels, "centre", steps=steps, colours=colours)
    np.testing.assert_allclose(made.activation, short.activation, rtol=1e-4)


def test_images_are_browsed_by_class_and_likeness(few, tmp_path):
    panel = panels.browse(few, tmp_path)
    chosen = panel.clicked("tiles", 2.5, 1.5, panel.values)
    assert chosen["order"] == "nearest to the picked" and 0 <= chosen["picked"] < 80
    assert moved(panel, class_name="3", **chosen).error is None
    assert "choose that part" in str(moved(panel, order="confident mistakes").error)
    assert "notebook 03 leaves one there" in str(moved(panel, part="test").error)
    networks.classifier(few.image_shape, few.num_classes, filters=(4,)).save(tmp_path / "classifier.keras")
    assert moved(panel, order="random").error is None and moved(panel, order="confident mistakes").error is None
    assert "end with number 59" in str(moved(panel, picked=70, order="nearest to the picked").error)


def test_less_of_a_data_set_and_more_of_an_image(few):
    assert moved(panels.shortage(few, labels_per_class=2, imbalance=3.0), labels_per_class=1).error is None
    assert moved(panels.augmentation(few), flip=False, shift=0.0).error is None


def test_what_is_built_is_written_as_a_cell_and_as_a_profile():
    given = {"filters": "8, 16", "decoder_filters": "4", "dropout": 0.25}
    assert building.as_cell(**given) == "filters = [8, 16]\ndecoder_filters = [4]\ndropout = 0.25\n"
    settings = {"filters": [8, 16], "decoder_filters": [4], "dropout": 0.25}
    assert yaml.safe_load(building.as_profile(**given)) == {"02_model": settings, "03_training": {"network": settings}}
    with pytest.raises(ValueError, match="whole numbers with commas between"):
        building.chosen(filters="8; 16", decoder_filters="4")


def test_confusions_of_the_surer_images(few, searched):
    result = training.evaluate(searched[0], few)
    assert moved(panels.confusion(result, few.y_test, few.class_names), surer_than=99).error is None
