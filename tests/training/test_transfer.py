"""A pretrained network with a new head: what is frozen stays, what is trained is what was named."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from deconvlib import deconvnet, networks, training
from deconvlib.backend import keras
from deconvlib.training import transfer


@pytest.fixture(scope="module")
def base(digits):
    model = networks.classifier(digits.image_shape, 10, filters=(8, 16), normalization="batch", dense_units=12, dropout=0.1)
    training.fit(model, digits, epochs=4, learning_rate=3e-3, verbose=False)
    return model


@pytest.fixture
def few(digits):
    return digits.take_classes(["1", "7", "4"]).take_per_class(30).hold_out(0.2)


def weights(model):
    return {layer.name: layer.get_weights() for layer in model.layers if layer.name != "head"}


def changed(before, after):
    return [name for name in before if not all(map(np.array_equal, before[name], after[name]))]


def test_the_head_is_new_and_the_rest_a_frozen_copy(base):
    model, again, other = (transfer.classifier(base, 3, seed=seed) for seed in (0, 0, 1))
    assert model.output_shape == (None, 3) and [layer.name for layer in model.layers if layer.trainable] == ["head"]
    assert not changed({name: weights(base)[name] for name in weights(model)}, weights(model))
    assert base.output_shape == (None, 10) and all(layer.trainable for layer in base.layers)
    kernels = [each.get_layer("head").get_weights()[0] for each in (model, again, other)]
    assert np.array_equal(*kernels[:2]) and not np.allclose(*kernels[1:])


@pytest.mark.parametrize("classes", [["1", "7"], ["1", "7", "4"]])
def test_the_model_answers_as_the_regression_on_its_features(base, digits, classes):
    few = digits.take_classes(classes).take_per_class(30).hold_out(0.2)
    model = transfer.classifier(base, len(classes))
    before = weights(model)
    table = transfer.fit_head(model, few)
    assert not changed(before, weights(model))
    assert table.loc[table["chosen"], "val_loss"].item() == table["val_loss"].min()
    x, held = (transfer.features(model, images) for images in (few.x_train, few.x_test))
    assert x.shape == (len(few.x_train), 12)
    own = LogisticRegression(C=table.loc[table["chosen"], "strength"].item(), max_iter=300).fit(x, few.y_train)
    chances = training.predict(model, few.x_test / np.float32(255))
    np.testing.assert_allclose(chances, own.predict_proba(held), atol=1e-4)
    assert training.evaluate(model, few).accuracy > 0.8
    known = transfer.classifier(base, len(classes))
    transfer.fit_head(known, few, computed=(x, held))
    np.testing.assert_array_equal(known.get_layer("head").get_weights()[0], model.get_layer("head").get_weights()[0])


def test_what_is_unfrozen_trains_and_batch_normalization_stays(base, few):
    model = transfer.classifier(base, 3)
    assert transfer.unfreeze(model, "conv2") == ["conv2", "dense1", "head"]
    before = weights(model)
    training.fit(model, few, epochs=1, learning_rate=0.01, verbose=False)
    assert changed(before, weights(model)) == ["conv2", "dense1"]
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) >= 2 and not any(layer.trainable for layer in norms)


def test_a_frozen_batch_normalization_normalizes_as_at_inference(base, few):
    model, images = transfer.classifier(base, 3), few.x_train[:8] / np.float32(255)
    read = keras.Model(model.input, model.get_layer("norm2").output)
    trained, alone = (keras.ops.convert_to_numpy(read(images[:n], training=True))[:4] for n in (8, 4))
    np.testing.assert_allclose(trained, alone, atol=1e-5)


def test_contributions_are_weights_times_means(base, few):
    model = transfer.classifier(base, 3)
    kernel = np.arange(36, dtype=np.float32).reshape(12, 3)
    model.get_layer("head").set_weights([kernel, np.zeros(3)])
    means = transfer.features(model, few.x_train[:5]).mean(axis=0)
    found = transfer.contributions(model, few.x_train[:5])
    assert found.shape == (12, 3) and found[4, 1] == pytest.approx(means[4] * 13)


def test_it_can_be_saved_and_looked_into(base, few, tmp_path):
    model = transfer.classifier(base, 3)
    transfer.fit_head(model, few)
    model.save(tmp_path / "photos.keras")
    again = networks.load(tmp_path / "photos.keras")
    images = few.x_test[:4] / np.float32(255)
    np.testing.assert_allclose(training.predict(again, images), training.predict(model, images), atol=1e-6)
    assert deconvnet.project(again, few.x_test[:2], "relu2", 0).shape == (2, *few.image_shape)


def test_what_cannot_be_is_refused_in_one_line(base, few, digits):
    with pytest.raises(ValueError, match=r"'conv7' is not in this model; did you mean .*conv2"):
        transfer.unfreeze(transfer.classifier(base, 3), "conv7")
    with pytest.raises(ValueError, match="is called 'head'"):
        twice = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(name="head"), keras.layers.Dense(2)])
        transfer.classifier(twice, 3)
    with pytest.raises(ValueError, match="no dense layer to replace"):
        transfer.classifier(keras.Sequential([keras.Input((4, 4, 2)), keras.layers.GlobalAveragePooling2D()]), 3)
    without = few._only("train", few.y_train != 1)
    with pytest.raises(ValueError, match="class '7' of digits has no training image"):
        transfer.fit_head(transfer.classifier(base, 3), without)
