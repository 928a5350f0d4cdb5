"""The panel that explains an answer, moved as in a browser."""

import numpy as np
import pytest
from moving import moves

from deconvlib import data, networks
from deconvlib.experiments import saliency
from deconvlib.lab import explaining


@pytest.fixture(scope="module")
def classifier():
    dataset = data.load("shapes").take(train=1, test=4)
    return networks.classifier(dataset.image_shape, dataset.num_classes, filters=(4, 6), dense_units=0), dataset


def test_an_image_a_class_a_method_and_a_layer_are_chosen(classifier):
    model, dataset = classifier
    panel = explaining.explain(model, dataset.x_test, dataset.class_names, ["conv1", "conv2"])
    assert panel.values == {"image": 0, "of": explaining.ANSWER, "method": saliency.METHODS[0], "layer": "conv2"}
    answer = int(model.predict(dataset.x_test[:1] / np.float32(255), verbose=0).argmax())
    moves(panel, of=(answer + 1) % 10, image=3, method="Grad-CAM", layer="conv1")


def test_the_answer_is_explained_at_first_and_another_class_when_it_is_chosen(classifier, monkeypatch):
    model, dataset = classifier
    asked, competing = [], saliency.competing
    monkeypatch.setattr(saliency, "competing", lambda *given, **how: asked.append(int(given[2][0])) or competing(*given, **how))
    panel = explaining.explain(model, dataset.x_test, dataset.class_names, ["conv2"], methods=("gradient",))
    answers = model.predict(dataset.x_test / np.float32(255), verbose=0).argmax(axis=1)
    panel.controls["image"].value = 2
    assert panel.wait()
    panel.controls["of"].value = 7
    assert panel.wait() and asked == [answers[0], answers[2], 7]
    axes = panel.figure.axes
    assert axes[0].get_title().startswith(f"the answer: {dataset.class_names[answers[2]]}: ")
    assert f"for {dataset.class_names[7]}, " in axes[1].get_title()


def test_it_offers_the_methods_that_are_given_and_begins_with_the_first(classifier):
    model, dataset = classifier
    panel = explaining.explain(model, dataset.x_test, dataset.class_names, ["conv2"], saliency.SMOOTH)
    assert panel.values["method"] == saliency.SMOOTH[0] and tuple(panel.controls["method"].options) == saliency.SMOOTH


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"methods": ("gradients",)}, "did you mean 'gradient'"),
        ({"methods": ("gradient", "gradients")}, "did you mean 'gradient'"),
        ({"layers": ["relu9"]}, "'relu9' is not in this model"),
        ({"layers": []}, "layers must be a list or tuple of 1 or more names"),
        ({"names": ["one", "two"]}, "names must be of the model's 10 classes, and are 2"),
    ],
)
def test_refuses(classifier, given, said):
    model, dataset = classifier
    with pytest.raises(ValueError, match=said):
        explaining.explain(model, dataset.x_test, **({"names": dataset.class_names, "layers": ["conv2"]} | given))
