"""What a classifier answers, and maps of it, on networks whose answers are known."""

import numpy as np
import pytest

from deconvlib import networks
from deconvlib.backend import keras
from deconvlib.experiments import answers, gradients, saliency, targets

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)
NAMES = ["a", "b$", "c", "a long name of many words"]


def test_maps_are_of_the_class_that_was_given(network):
    found = answers.measure(network, IMAGES, ("guided", "integrated gradients", "Grad-CAM"))
    expected = network.predict(IMAGES / np.float32(255), verbose=0)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    target = targets.of_classes(network, IMAGES, expected.argmax(axis=1))
    for method, maps in found.maps.items():
        np.testing.assert_allclose(maps, saliency.attributions(network, IMAGES, target, method), atol=1e-6 * abs(maps).max())
    _, change, gap = gradients.integrated_gradients(network, IMAGES, target)
    assert found.gap == pytest.approx(np.linalg.norm(gap) / np.linalg.norm(change)) and found.gap > 0
    assert answers.measure(network, IMAGES).gap is None


def test_of_a_linear_network_integrated_gradients_miss_nothing():
    layer = keras.layers.Dense(2, "softmax", use_bias=False)
    model = keras.Sequential([keras.Input((1, 1, 2)), keras.layers.Flatten(), layer])
    layer.set_weights([np.array([[1.0, 0], [-2.0, 0]])])
    found = answers.measure(model, np.array([[[[0.1, 0.9]]], [[[0.9, 0.1]]]], np.float32), ("integrated gradients",))
    np.testing.assert_allclose(found.maps["integrated gradients"][:, 0, 0], [[0, 0], [0.9, -0.2]], atol=1e-6)  # of b, of a
    assert found.gap < 1e-6
    assert (answers.percent(found.gap), answers.percent(None)) == (f"{100 * found.gap:.2g} %", "not measured")


GIVEN = answers.Answers(
    IMAGES,
    np.array([[0.9, 0.1, 0, 0], [0.04, 0.914, 0.046, 0], [0.001, 0.001, 0.998, 0], [0, 0, 0, 1], [0.4, 0.3, 0.2, 0.1]]),
    {"guided": RNG.normal(size=(5, 16, 16, 3)), "Grad-CAM": RNG.random((5, 16, 16, 1))},
    None,
)


def test_answers_in_a_table():
    found = answers.table(GIVEN, list("vwxyz"), NAMES, np.array([0, 0, 1, 1, 2]))
    assert found.columns.tolist() == ["image", "answer", "truth", "confidence"]
    assert found.iloc[1].tolist() == ["w", "b$", "a", 0.91] and found.iloc[3]["answer"] == NAMES[3]
    without = answers.table(GIVEN, range(5))
    assert without["answer"].tolist()[0] == "class 0" and (without["truth"] == "").all()


def test_each_answer_stands_over_its_maps(drawn):
    fig = drawn(answers.figure(GIVEN, NAMES, np.array([0, 0, 1, 1, 2])))
    axs = np.reshape(fig.axes, (3, 5))
    titles = [ax.get_title() for ax in axs[0]]
    assert titles[:3] == ["a, 90 %\nis a", "b\\$, 91 %\nis a", "c, 99.8 %\nis b\\$"]
    assert titles[3] == "a long name of many words,\n100 %\nis b\\$", "a long name is to stay above its image"
    assert [text.get_text() for ax in axs[:, 0] for text in ax.texts] == ["guided", "Grad-CAM"]
    assert [len(ax.images) for ax in axs[:, 0]] == [1, 1, 2]
    np.testing.assert_allclose(axs[2, 4].images[1].get_array().max(), 1)
    assert "Grad-CAM lies over" in fig.get_supxlabel().replace("\n", " ") and "Integrated" not in fig.get_supxlabel().replace(
        "\n", " "
    )


def test_many_images_stand_in_several_rows(drawn):
    images, chances = (part.repeat(2, axis=0)[:9] for part in GIVEN[:2])
    nine = answers.Answers(images, chances, {"guided": RNG.normal(size=(9, 16, 16, 3))}, None)
    axs = np.reshape(drawn(answers.figure(nine, NAMES)).axes, (4, 5))  # five and four, each over its maps
    assert [bool(ax.images) for ax in axs.flat] == [True] * 5 + [True] * 5 + [True] * 4 + [False] + [True] * 4 + [False]
    assert axs[2, 0].get_title() == "c, 99.8 %" and axs[2, 3].get_title() == "a, 40 %"


def test_one_image_stands_beside_what_else_it_may_be(drawn):
    one = answers.Answers(*(part[:1] for part in GIVEN[:2]), {m: maps[:1] for m, maps in GIVEN.maps.items()}, 0.0123)
    fig = drawn(answers.figure(one, NAMES, top=2))
    assert [ax.get_title() for ax in fig.axes] == ["a, 90 %", "probability", "guided", "Grad-CAM"]
    assert [bar.get_width() for bar in fig.axes[1].patches] == [0.9, 0.1]
    assert [label.get_text() for label in fig.axes[1].get_yticklabels()] == ["a", "b\\$"]
    assert "within 1.2 %." in fig.get_supxlabel().replace("\n", " ")


def test_logits_are_not_told_as_chances():
    logits = networks.classifier((16, 16, 3), 4, filters=(4,), dense_units=0)
    logits = keras.Model(logits.input, logits.get_layer("logits").output)
    with pytest.raises(ValueError, match="are not the probabilities of one class an image: end it in a softmax"):
        answers.measure(logits, np.zeros((2, 16, 16, 3), np.uint8), ("gradient",))
