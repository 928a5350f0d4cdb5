"""What a trained model gets right and wrong, counted by hand."""

import numpy as np
import pytest

from deconvlib import data, networks, training
from deconvlib.backend import keras


def test_evaluation_by_hand():
    entry = keras.Input((1, 1, 2))  # the two channels are the probabilities
    model = keras.Model(entry, keras.layers.Reshape((2,))(entry))
    pixels = np.array([[230, 25], [204, 51], [51, 204], [153, 102]], np.uint8).reshape(4, 1, 1, 2)  # 0.9, 0.8, 0.2, 0.6
    labels = np.array([0, 1, 1, 0])
    result = training.evaluate(model, data.Dataset("hand", pixels, labels, pixels, labels, ("a", "b")))
    assert result.accuracy == 0.75 and result.confusion.tolist() == [[2, 0], [1, 1]]
    assert result.per_class.tolist() == [1, 0.5] and result.balanced_accuracy == 0.75
    assert result.mistakes.tolist() == [1]
    # one bin each: |0.902 - 1|, {0.8, 0.8} with accuracy 0.5, |0.6 - 1|
    assert result.calibration_error == pytest.approx((0.098 + 2 * 0.3 + 0.4) / 4, abs=1e-3)


def test_mirrored_evaluation_averages_an_image_and_its_mirror_image():
    entry = keras.Input((1, 2, 2))
    left = keras.layers.Cropping2D(((0, 0), (0, 1)))(entry)  # the network looks at the left pixel alone
    model = keras.Model(entry, keras.layers.Reshape((2,))(left))
    pixels = np.array([[230, 25], [51, 204]], np.uint8).reshape(1, 1, 2, 2)
    result = training.evaluate(
        model, data.Dataset("hand", pixels, np.array([0]), pixels, np.array([0]), ("a", "b")), mirrored=True
    )
    assert result.confidence[0] == pytest.approx((230 + 51) / 2 / 255, abs=1e-6)


def test_views_are_eight_and_turn_back():
    images = np.random.default_rng(0).random((120, 32, 32, 3), np.float32)
    views = {training.turned(images[:1], number).tobytes() for number in range(8)}
    assert len(views) == 8
    np.testing.assert_allclose(training.mean_of_views(lambda x: 2 * x, images[:3]), 2 * images[:3], rtol=1e-6)
    masks = training.turned(images[:3, ..., 0], 6)
    np.testing.assert_array_equal(masks, training.turned(images[:3], 6)[..., 0])
    wide = images[:, :8]
    np.testing.assert_array_equal(training.turned(wide, 2), wide[:, ::-1, ::-1])
    np.testing.assert_array_equal(training.mean_of_views(lambda x: x, wide, [0]), wide)
    with pytest.raises(ValueError, match="only square ones"):
        training.turned(wide, 1)


def test_refuses_a_model_for_other_classes(digits):
    with pytest.raises(ValueError, match="the model has 3 classes, digits has 10"):
        training.evaluate(networks.classifier((8, 8, 1), 3, filters=(4,)), digits)


def test_a_model_of_bytes_is_evaluated_on_bytes():
    """Its first layers say that it takes 0 to 255."""
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), dtype=np.uint8)
    model = keras.Sequential(
        [
            *(keras.Input((4, 4, 1)), keras.layers.RandomFlip(), keras.layers.Rescaling(1 / 255), keras.layers.Flatten()),
            keras.layers.Dense(2, activation="softmax", name="answer"),
        ]
    )
    model.get_layer("answer").set_weights([np.tile([-1.0, 1.0], (16, 1)), np.array([8.0, -8.0])])
    labels = model.predict(images.astype(np.float32), verbose=0).argmax(axis=1)
    assert 10 < labels.sum() < 30
    assert training.evaluate(model, data.Dataset("own", images, labels, images, labels, ("dark", "bright"))).accuracy == 1
    table = training.evaluation.readings(model, images, labels).set_index("pixels")
    assert table["accuracy"].idxmax() == "0 to 255" and table.loc["0 to 255", "accuracy"] == 1
    assert "accuracy" not in training.evaluation.readings(model, images)


def test_what_is_no_classifier_is_told_at_once():
    images = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(images)
    for output, said in {
        keras.layers.Conv2D(3, 1, activation="softmax")(images): "a classifier, with a probability for each class",
        keras.layers.Dense(1)(flat): "a classifier, with a probability for each class",
        keras.layers.Dense(3, activation="sigmoid")(flat): "not the probabilities of one class.*several labels",
        keras.layers.Dense(3)(flat): "end it in a softmax",
    }.items():
        with pytest.raises(ValueError, match=said):
            training.evaluation.check_classifier(keras.Model(images, output))
    training.evaluation.check_classifier(keras.Model(images, keras.layers.Dense(3, activation="softmax")(flat)))


def test_confusion_is_in_percent_of_the_true_class():
    texts = [text.get_text() for text in training.confusion(np.array([[3, 1], [0, 8]]), ("a", "b")).axes[0].texts]
    assert texts == ["75", "25", "100"]
