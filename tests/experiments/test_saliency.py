"""Maps of what matters, against ones written by hand and against projections."""

import numpy as np
import pytest

from deconvlib import deconvnet
from deconvlib.backend import keras
from deconvlib.experiments import saliency

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)


def test_saliency_is_the_sum_of_absolute_values_over_channels():
    np.testing.assert_array_equal(saliency.measure(np.array([[[[1.0, -2.0, 0.5]]]])), [[[3.5]]])


def test_edges_are_where_the_image_changes():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[:, :, 4:] = 200
    found = saliency.edges(image)[0]
    assert (found[:, 3:5] > 0).all() and not found[:, :3].any() and not found[:, 5:].any()


def test_what_is_compared_is_what_project_shows(network):
    inner = keras.Sequential([keras.Input((16, 16, 3)), network])
    logits = keras.Model(network.input, network.get_layer("logits").output).predict(IMAGES / np.float32(255), verbose=0)
    classes = logits.argmax(axis=1)
    found, nested = (saliency.class_projections(model, IMAGES, classes) for model in (network, inner))
    for rule in deconvnet.RULES:
        for image, channel in enumerate(classes):  # of which the score is above 0: the seed of `project`
            expected = deconvnet.project(network, IMAGES[[image]], "softmax", channel, rule)[0] / logits[image, channel]
            # in float32; the largest difference measured over 18 networks and rules was 3e-7 of the largest value
            tolerance = 1e-5 * np.abs(expected).max()
            np.testing.assert_allclose(found[rule][image], expected, atol=tolerance)
            np.testing.assert_allclose(nested[rule][image], expected, atol=tolerance)
    assert (logits.max(axis=1) > 0).all()


def test_the_score_of_a_class_is_projected_also_where_it_is_negative():
    layer = keras.layers.Dense(2, name="logits")
    model = keras.Sequential([keras.Input((1, 1, 2)), keras.layers.Flatten(), layer, keras.layers.Softmax()])
    layer.set_weights([np.array([[1.0, 0], [-2.0, 0]]), np.zeros(2)])
    image = np.array([[[[0.1, 0.9]]]], np.float32)  # a score of 0.1 - 1.8
    np.testing.assert_allclose(saliency.class_projections(model, image, np.array([0]))["deconvnet"], [[[[1, -2]]]])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: saliency.class_projections(m, IMAGES, np.full(5, 4)), "label 4 of image 0 is not a class of this model"),
        (lambda m: saliency.class_projections(m, IMAGES, np.zeros(4, int)), "labels must be 5 integers"),
        (lambda m: saliency.class_projections(m, IMAGES, np.zeros(5, int), "guided"), "rules must be several names"),
        (lambda m: saliency.competing(m, IMAGES, np.zeros(5, int), "relu2", methods=("Grad-Cam",)), "did you mean 'Grad-CAM'"),
        (lambda m: saliency.measure(np.full((1, 2, 2, 3), np.inf)), "NaN or infinity"),
    ],
)
def test_refuses(network, call, said):
    with pytest.raises(ValueError, match=said):
        call(network)


def test_answers_stand_over_their_projections(network):
    classes = np.array([0, 1, 2, 3, 0])
    names = ["a", "b$", "c", "d"]
    fig = saliency.answers_figure(network, IMAGES, classes, np.full(5, 0.914), names, classes[::-1])
    titles = [ax.get_title() for ax in fig.axes]
    assert titles[:2] == ["a, 91 %\nis a", "b\\$, 91 %\nis d"] and titles[5:7] == ["for a", "for b\\$"]


def test_competing_maps_stand_beside_the_images(network, drawn):
    maps = saliency.competing(network, IMAGES[:2], np.zeros(2, int), "relu2")
    assert list(maps) == ["deconvnet", "guided", "gradient", "SmoothGrad", "integrated gradients", "Grad-CAM"]
    assert all(values.shape == (2, 16, 16) for values in maps.values())
    fig = drawn(saliency.figure(IMAGES[:2], maps, ["cat", "dog"]))
    assert len(fig.axes) == 2 * 7 and fig.axes[1].get_title() == "deconvnet"


def test_each_method_may_be_chosen_for_several_classes_of_an_image(network):
    classes = np.array([[0, 1], [2, 3]])
    maps = saliency.competing(network, IMAGES[:2], classes, "relu2", methods=saliency.METHODS)
    assert tuple(maps) == saliency.METHODS and len(maps) == 8
    assert all(values.shape == (2, 2, 16, 16) and values.min() >= 0 for values in maps.values())
    alone = saliency.competing(network, IMAGES[:2], classes[1], "relu2", methods=saliency.METHODS)
    for method, values in maps.items():
        np.testing.assert_allclose(values[1], alone[method], atol=1e-5 * values.max())


def test_networks_without_a_rectifier_have_the_smooth_methods(small):
    model = keras.models.clone_model(small)
    for name in ("conv1", "conv2"):
        model.get_layer(name).activation = keras.activations.gelu
    images, classes = IMAGES[:, :12, :12], np.zeros(5, int)
    maps = saliency.competing(model, images, classes, "conv2", methods=saliency.SMOOTH)
    assert all(np.isfinite(values).all() and values.any() for values in maps.values())
    for method in set(saliency.METHODS) - set(saliency.SMOOTH):
        with pytest.raises(ValueError, match="not defined"):
            saliency.competing(model, images, classes, "conv2", methods=(method,))
