"""Maps of what matters, against ones written by hand and against projections."""

import numpy as np
import pytest

from deconvlib import deconvnet, figures
from deconvlib.backend import keras
from deconvlib.experiments import grad_cam, gradients, saliency, targets

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)


def test_saliency_is_the_sum_of_absolute_values_over_channels():
    np.testing.assert_array_equal(saliency.measure(np.array([[[[1.0, -2.0, 0.5]]]])), [[[3.5]]])


def test_edges_are_where_the_image_changes():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[:, :, 4:] = 200
    found = saliency.edges(image)[0]
    assert (found[:, 3:5] > 0).all() and not found[:, :3].any() and not found[:, 5:].any()


def of_classes(model, images, classes, method):
    return saliency.attributions(model, images, targets.of_classes(model, images, classes), method)


def test_what_is_compared_is_what_project_shows(network):
    inner = keras.Sequential([keras.Input((16, 16, 3)), network])
    logits = keras.Model(network.input, network.get_layer("logits").output).predict(IMAGES / np.float32(255), verbose=0)
    classes = logits.argmax(axis=1)
    for rule in deconvnet.RULES:
        found, nested = (of_classes(model, IMAGES, classes, rule) for model in (network, inner))
        for image, channel in enumerate(classes):  # of which the score is above 0: the seed of `project`
            expected = deconvnet.project(network, IMAGES[[image]], "softmax", channel, rule)[0] / logits[image, channel]
            # in float32; the largest difference measured over 18 networks and rules was 3e-7 of the largest value
            tolerance = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(found[image], expected, atol=tolerance)
            np.testing.assert_allclose(nested[image], expected, atol=tolerance)
    assert (logits.max(axis=1) > 0).all()


def test_the_score_of_a_class_is_projected_also_where_it_is_negative():
    layer = keras.layers.Dense(2, name="logits")
    model = keras.Sequential([keras.Input((1, 1, 2)), keras.layers.Flatten(), layer, keras.layers.Softmax()])
    layer.set_weights([np.array([[1.0, 0], [-2.0, 0]]), np.zeros(2)])
    image = np.array([[[[0.1, 0.9]]]], np.float32)  # a score of 0.1 - 1.8
    np.testing.assert_allclose(of_classes(model, image, np.array([0]), "deconvnet"), [[[[1, -2]]]])


def without_maps():
    """Dense layers alone."""
    layers = [
        keras.layers.Flatten(),
        keras.layers.Dense(4, "relu", name="dense"),
        keras.layers.Dense(4, "softmax", name="scores"),
    ]
    return keras.Sequential([keras.Input((16, 16, 3)), *layers])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: saliency.competing(m, IMAGES, np.full(5, 4)), "label 4 of image 0 is not a class of this model"),
        (lambda m: saliency.competing(m, IMAGES, np.zeros(4, int)), "labels must be 5 integers"),
        (lambda m: saliency.competing(m, IMAGES, np.zeros(5, int), methods="guided"), r"methods must be .* like \('guided',\)"),
        (lambda m: of_classes(m, IMAGES, np.zeros(5, int), "guide"), "method 'guide' is not known; did you mean 'guided'"),
        (lambda m: saliency.choose(m, "guide"), "method 'guide' is not known; did you mean 'guided'"),
        (lambda m: saliency.choose(without_maps(), "Grad-CAM"), "needs a layer with feature maps, and there is none below 's"),
        (lambda m: saliency.spread_layers(without_maps(), "Grad-CAM", 3), r"below \['dense', 'scores'\] there are none"),
        (lambda m: of_classes(without_maps(), IMAGES, np.zeros(5, int), "Grad-CAM"), "units of 'scores', and there is none"),
        (lambda m: saliency.competing(m, IMAGES, np.zeros(5, int), "relu2", methods=("Grad-Cam",)), "did you mean 'Grad-CAM'"),
        (lambda m: saliency.measure(np.full((1, 2, 2, 3), np.inf)), "NaN or infinity"),
    ],
)
def test_refuses(network, call, said):
    with pytest.raises(ValueError, match=said):
        call(network)


def test_competing_maps_stand_beside_the_images(network, drawn):
    maps = saliency.competing(network, IMAGES[:2], np.zeros(2, int), "relu2")
    assert tuple(maps) == saliency.METHODS and all(values.shape == (2, 16, 16) for values in maps.values())
    maps |= saliency.baselines(IMAGES[:2])
    assert tuple(maps)[8:] == saliency.BASELINES
    fig = drawn(saliency.figure(IMAGES[:2], maps, ["cat", "dog"]))
    assert len(fig.axes) == 2 * 11 and fig.axes[1].get_title() == "deconvnet"


def test_each_method_may_be_chosen_for_several_classes_of_an_image(network):
    classes = np.array([[0, 1], [2, 3]])
    maps = saliency.competing(network, IMAGES[:2], classes, "relu2", methods=saliency.METHODS)
    assert tuple(maps) == saliency.METHODS and len(maps) == 8
    assert all(values.shape == (2, 2, 16, 16) and values.min() >= 0 for values in maps.values())
    alone = saliency.competing(network, IMAGES[:2], classes[1], "relu2", methods=saliency.METHODS)
    for method, values in maps.items():
        np.testing.assert_allclose(values[1], alone[method], atol=1e-5 * values.max())


def test_a_hidden_unit_has_maps_too(network):
    unit = targets.of_channels(network, IMAGES, "relu2", 3)
    maps = saliency.competing(network, IMAGES, unit, "relu1")
    assert tuple(maps) == saliency.METHODS and all(values.shape == (5, 16, 16) for values in maps.values())
    expected = saliency.measure(gradients.projected(network, IMAGES, unit, "guided"))
    np.testing.assert_allclose(maps["guided"], expected, atol=1e-5 * expected.max())
    np.testing.assert_allclose(maps["Grad-CAM"], grad_cam.grad_cam(network, IMAGES, unit, "relu1"), atol=1e-6)


def test_a_map_is_laid_over_its_image(drawn):
    values = np.zeros((4, 4))
    values[1, 2], values[3, 3] = 2.0, -1.0  # below zero is white
    fig = drawn(saliency.overlaid(IMAGES[0, :4, :4], values, ["one", "two", "three"]))
    _, over, alone = fig.axes
    assert [ax.get_title() for ax in fig.axes] == ["one", "two", "three"]
    gray, laid = over.images
    np.testing.assert_allclose(gray.get_array(), IMAGES[0, :4, :4].mean(axis=2) / 255, atol=1e-6)
    expected = (values == 2).astype(float)
    np.testing.assert_allclose(alone.images[0].get_array(), values)
    assert alone.images[0].norm.vmin == 0 and alone.images[0].norm.vmax == 2
    np.testing.assert_allclose(laid.get_alpha(), 0.8 * expected)
    drawn(saliency.overlaid(IMAGES[0, :4, :4, :1], np.zeros((4, 4)), ["", "", ""]))  # gray, and a map of nothing


def smooth(small):
    """A copy with GELU in place of its rectifiers."""
    model = keras.models.clone_model(small)
    model.set_weights(small.get_weights())
    for name in ("conv1", "conv2"):
        model.get_layer(name).activation = keras.activations.gelu
    return model


def test_networks_without_a_rectifier_have_the_smooth_methods(small):
    model = smooth(small)
    images, classes = IMAGES[:, :12, :12], np.zeros(5, int)
    maps = saliency.competing(model, images, classes, "conv2", methods=saliency.SMOOTH)
    assert all(np.isfinite(values).all() and values.any() for values in maps.values())
    for method in set(saliency.METHODS) - set(saliency.SMOOTH):
        with pytest.raises(ValueError, match="not defined"):
            saliency.competing(model, images, classes, "conv2", methods=(method,))


def test_hidden_units_have_maps_too(network):
    unit = targets.of_channels(network, IMAGES, "relu2", 3)
    maps = saliency.competing(network, IMAGES, unit, methods=("guided", "Grad-CAM"))
    np.testing.assert_array_equal(maps["guided"], saliency.measure(gradients.projected(network, IMAGES, unit, "guided")))
    np.testing.assert_array_equal(maps["Grad-CAM"], grad_cam.grad_cam(network, IMAGES, unit, "pool1"))


def test_the_best_method_is_one_that_the_layers_allow(network, small):
    assert saliency.choose(network) == ("deconvnet", "Grad-CAM")
    assert saliency.choose(network, "Grad-CAM") == ("Grad-CAM",)
    assert saliency.choose(network, "SmoothGrad") == ("SmoothGrad", "Grad-CAM")
    assert saliency.choose(without_maps()) == ("guided",)
    model = smooth(small)
    assert saliency.choose(model) == ("integrated gradients", "Grad-CAM")
    for method in saliency.METHODS:
        if method in saliency.SMOOTH:
            assert saliency.choose(model, method) == tuple(dict.fromkeys((method, "Grad-CAM")))
        else:
            with pytest.raises(ValueError, match=f"'{method}' needs rectifiers, and layer 'conv1' applies gelu: use one of"):
                saliency.choose(model, method)


def test_grad_cam_is_of_layers_that_have_maps_below(network):
    assert saliency.spread_layers(network, "guided", 3) == deconvnet.spread_layers(network, 3) == ["relu1", "relu2"]
    assert saliency.spread_layers(network, "Grad-CAM", 3) == ["relu2"]


def test_patches_by_any_method_are_cut_from_maps_of_whole_images(small):
    model, images = smooth(small), IMAGES[:, :12, :12]
    units = deconvnet.strongest(model, images, "conv2", k=2)[:3]
    found = saliency.patches(model, images, "conv2", units, "integrated gradients")
    assert found.layer == "conv2" and found.units is units and found.pixels.shape == found.projections.shape == (3, 2, 8, 8, 3)
    for place in np.ndindex(3, 2):
        alone = targets.Target("conv2", units[place][None])
        whole = gradients.integrated_gradients(model, images, alone, steps=16).maps[0]
        corner = np.s_[found.row[place] : found.row[place] + 8, found.column[place] : found.column[place] + 8]
        np.testing.assert_array_equal(found.pixels[place], images[units.image[place]][corner])
        np.testing.assert_allclose(found.projections[place], whole[corner], atol=1e-6 * abs(whole).max())
        assert abs(whole).sum() == pytest.approx(abs(whole[corner]).sum())  # beyond what the unit sees there is nothing
    coarse = saliency.patches(model, images, "conv2", units, "Grad-CAM").projections
    assert coarse.shape == found.pixels.shape and (coarse == coarse[..., :1]).all() and coarse.any()


def test_patches_by_a_rule_are_projections(network):
    units = deconvnet.strongest(network, IMAGES, "relu2", k=2)
    found = saliency.patches(network, IMAGES, "relu2", units, "guided", signal=2.0)
    expected = deconvnet.project_units(network, IMAGES, "relu2", units, "guided", signal=2.0)
    np.testing.assert_array_equal(found.projections, expected.projections)


def test_a_map_lies_over_its_gray_image(drawn):
    values = np.zeros((4, 4))
    values[1, 2], values[3, 3] = 2.0, -1.0  # below zero is as zero
    fig, ax = figures.one(2)
    saliency.lay_over(ax, IMAGES[0, :4, :4] / 255, values)
    gray, laid = drawn(fig).axes[0].images
    np.testing.assert_allclose(gray.get_array(), IMAGES[0, :4, :4].mean(axis=2) / 255)
    np.testing.assert_allclose(laid.get_array(), values == 2)
    np.testing.assert_allclose(laid.get_alpha(), 0.8 * (values == 2))
