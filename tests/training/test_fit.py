"""Training: it learns, repeats and resumes as it says."""

import numpy as np
import pytest
from small import same, settings, small

from deconvlib import allowed, backend, deconvnet, experiments, networks, training
from deconvlib.backend import keras
from deconvlib.deconvnet import graph
from deconvlib.training.fit import Batches


def test_learns_and_says_so(digits, capsys):
    model = small(digits)
    history = training.fit(model, digits, epochs=4)
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["loss"].is_monotonic_decreasing and history["val_accuracy"].iloc[-1] > 0.85
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].startswith("epoch 1/4   loss ") and lines[0].endswith(" left")
    result = training.evaluate(model, digits)
    assert result.accuracy == pytest.approx(history["val_accuracy"].iloc[-1], abs=1e-6)


@pytest.mark.parametrize("optimizer", training.OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(digits, optimizer):
    rate = 0.01 if optimizer == "sgd" else 1e-3
    history = training.fit(small(digits), digits, epochs=2, optimizer=optimizer, learning_rate=rate, weight_decay=1e-4)
    assert history["loss"].iloc[1] < history["loss"].iloc[0]


def test_adamw_decays_only_where_it_is_asked_to(digits):
    """Keras' own default is 0.004."""
    weights = []
    for optimizer, decay in (("adam", 0.0), ("adamw", 0.0), ("adamw", 0.5)):
        model = small(digits)
        training.fit(model, digits, epochs=1, optimizer=optimizer, weight_decay=decay, images_per_epoch=640, verbose=False)
        weights.append(np.concatenate([weight.ravel() for weight in model.get_weights()]))
    np.testing.assert_allclose(weights[0], weights[1], atol=1e-6)
    assert not np.allclose(weights[1], weights[2], atol=1e-4)


@pytest.mark.skipif(backend.NAME != "tensorflow", reason="how often the step is traced is TensorFlow's")
def test_the_step_is_traced_once(digits, monkeypatch):
    """TensorFlow traces it again where it makes variables, as an optimizer that is not built does."""
    traced, step = [], keras.Sequential.train_step
    monkeypatch.setattr(keras.Sequential, "train_step", lambda self, data: traced.append(1) or step(self, data))
    training.fit(small(digits), digits, epochs=2, verbose=False)
    assert len(traced) == 1


def test_repeats_from_its_seed(digits, whole):
    again, other = (training.fit(small(digits, dropout=0.2), digits, epochs=4, **settings(), seed=seed) for seed in (0, 1))
    same(again, whole[1])
    assert not np.isclose(other["loss"], whole[1]["loss"]).all()


def test_an_early_stop_goes_by_the_held_out_images(digits):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=2)
    history = training.fit(small(digits), digits.hold_out(0.2), epochs=40, learning_rate=0.02, callbacks=(stop,))
    assert len(history) < 40
    assert history["val_loss"].argmin() == len(history) - 3


def test_balanced_weights_help_the_rare_class(digits):
    tail = digits.long_tail(60)
    rare = []
    for class_weight in (None, "balanced"):
        model = small(digits)
        training.fit(model, tail, epochs=6, class_weight=class_weight)
        rare.append(training.evaluate(model, tail).per_class[-3:].mean())
    assert rare[1] > rare[0]


def test_few_images_come_again_until_the_epoch_is_as_long_as_asked(digits):
    few = digits.take_per_class(3)
    batches = Batches(few.x_train, few.y_train, 8, seed=0, images_per_epoch=70)
    batches.shuffle(1)
    assert len(batches) == 9 and sum(len(batches[index][1]) for index in range(9)) == 70
    order = batches.places[:, 0]
    counts = np.bincount(order)
    assert len(counts) == 30 and set(counts) == {2, 3}  # all twice before any a third time
    assert np.bincount(order[:30]).tolist() == [1] * 30
    history = training.fit(small(digits), few, epochs=2, images_per_epoch=600)
    assert history["val_accuracy"].iloc[-1] > 0.5


def test_a_smoothed_label_is_divided_among_all_classes(digits):
    model = small(digits)
    history = training.fit(model, digits, epochs=1, learning_rate=1e-12, label_smoothing=0.2)
    probabilities = model.predict(deconvnet.inputs.as_input(model, digits.x_test), verbose=0)
    wanted = 0.8 * np.eye(10)[digits.y_test] + 0.2 / 10
    expected = -(wanted * np.log(probabilities)).sum(axis=1).mean()
    assert history["val_loss"].iloc[0] == pytest.approx(expected, rel=1e-4)


def branched(dataset, weight):
    settings = {"decoder": "resize", "decoder_filters": (4,), "reconstruction_weight": weight}
    return networks.classifier(dataset.image_shape, dataset.num_classes, filters=(8, 8), **settings)


def test_images_without_labels_count_in_the_reconstruction_alone(digits):
    few = digits.take_per_class(5)
    settings = {"epochs": 2, "optimizer": "sgd", "learning_rate": 0.05}
    with_them, without = (branched(digits, 1e-9) for _ in range(2))
    history = training.fit(with_them, few, **settings, unlabelled=digits.x_train)
    plain = training.fit(without, few, **settings)
    for one, other in zip(with_them.get_weights()[:4], without.get_weights()[:4], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(history[["loss", "accuracy"]], plain[["loss", "accuracy"]], rtol=1e-4)
    # and there they do count
    errors = []
    for unlabelled in (None, digits.x_train):
        model = branched(digits, 10.0)
        alone = {"batch_size": 4, "images_per_epoch": 4 * 60, "epochs": 1}  # 60 steps of the same four images
        training.fit(model, few.take(train=4), **alone, learning_rate=5e-3, unlabelled=unlabelled)
        _, reconstruction, original = model.get_layer("reconstruction").input
        inside = keras.Model(model.inputs, [reconstruction, original])
        made, true = inside.predict(deconvnet.inputs.as_input(model, digits.x_test), verbose=0)
        errors.append(np.square(made - true).mean())
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("precision", allowed.PRECISIONS)
def test_the_model_is_float32_after_any_precision(digits, precision):
    model = small(digits)
    training.fit(model, digits, epochs=1, precision=precision)
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    assert training.evaluate(model, digits).accuracy > 0.3


def test_speed_is_told_and_the_model_stays_as_it_was():
    model = networks.classifier((8, 8, 1), 3, filters=(4,), normalization="batch")
    before = model.get_weights()
    assert training.images_per_second(model) > 0
    assert all(np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"optimizer": "adams"}, "optimizer 'adams' is not known; did you mean 'adam'"),
        ({"schedule": "step"}, "schedule 'step' is not known"),
        ({"precision": "float16"}, "precision 'float16' is not known"),
        ({"learning_rate": 0}, "learning_rate must be a number above 0, not 0"),
        ({"epochs": 0}, "epochs must be a whole number of 1 or more, not 0"),
        ({"label_smoothing": 1.0}, "label_smoothing must be a number of 0 or more and below 1"),
        ({"images_per_epoch": -1}, "images_per_epoch must be a whole number of 0 or more"),
        ({"unlabelled": np.zeros((4, 8, 8, 1), np.uint8)}, "give networks.classifier reconstruction_weight"),
        ({"unlabelled": np.zeros((4, 9, 8, 1), np.uint8)}, "do not fit this model"),
    ],
)
def test_refuses(digits, arguments, said):
    with pytest.raises(ValueError, match=said):
        training.fit(small(digits), digits, **arguments)


def test_refuses_a_model_for_other_data(digits):
    with pytest.raises(ValueError, match=r"takes images of \(16, 16, 1\), digits has \(8, 8, 1\)"):
        training.fit(networks.classifier((16, 16, 1), 10), digits)
    with pytest.raises(ValueError, match="the model has 3 classes, digits has 10"):
        training.fit(networks.classifier((8, 8, 1), 3, filters=(4,)), digits)


@pytest.mark.skipif(backend.NAME != "tensorflow", reason="the others compute a step a call, or as many as fit")
def test_several_steps_a_call_change_nothing(digits, monkeypatch):
    def trained(at_once):
        monkeypatch.setitem(training.fit.__globals__, "AT_ONCE", at_once)
        model, heard = small(digits, dropout=0.2, normalization="batch"), []
        hearing = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: heard.append(batch))
        history = training.fit(model, few, batch_size=10, epochs=2, **settings(), callbacks=(hearing,), verbose=False)
        return history, model, heard

    few = digits.take(train=1005, test=50)
    (one, model, heard), (several, other, fewer) = trained(1), trained(8)
    assert heard == 2 * list(range(101)) and len(fewer) == 2 * 13 and fewer[:2] == [7, 15]
    same(one, several)
    for weight, expected in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    monkeypatch.setitem(training.fit.__globals__, "CALL", 1.0)
    assert trained(8)[2] == heard, "large networks can be paused at each step"


# Pairs


def test_the_loss_of_an_image_is_minus_its_psnr(images):
    spoiled = np.clip(images[:9] + np.random.default_rng(0).normal(0, 0.1, images[:9].shape), 0, 1).astype(np.float32)
    loss = float(training.psnr_loss(images[:9], spoiled))
    assert loss == pytest.approx(-experiments.quality.of_images(spoiled, images[:9])["PSNR"].mean(), abs=0.01)
    assert float(training.psnr_loss(images[:9], images[:9])) == pytest.approx(-60)


def test_training_in_16_bits_leaves_a_model_of_32(images):
    def make(numbers, rng):
        return images[numbers] + rng.normal(0, 0.1, (len(numbers), 16, 16, 3)).astype(np.float32), images[numbers]

    model = networks.encoder_decoder((16, 16, 3), 3, (8, 16), correction=True)
    settings = {"batch_size": 10, "learning_rate": 5e-3, "verbose": False}
    settings |= {"precision": "mixed_bfloat16", "loss": training.psnr_loss}
    history = training.fit_pairs(model, len(images), make, epochs=3, **settings)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0] - 0.5
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}
    assert training.predict(model, images[:2]).dtype == np.float32
    with pytest.raises(ValueError, match="precision 'float16' is not known"):
        training.fit_pairs(model, len(images), make, precision="float16")


def test_training_on_nan_stops_with_the_good_weights(images):
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Conv2D(3, 3, padding="same")])

    def make(numbers, rng):
        return images[numbers] * (np.nan if numbers[0] % 2 else 1), images[numbers]

    with pytest.raises(FloatingPointError, match="smaller learning_rate"):
        training.fit_pairs(model, len(images), make, verbose=False)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    with pytest.raises(ValueError, match="count must be a whole number of 1 or more, not 0"):
        training.fit_pairs(model, 0, make)


def test_layers_within_layers_compute_in_the_precision_too():
    """They stand in a list that is private in Keras."""
    inner = networks.DeconvolvedConv2D(4, 3)
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.Sequential([keras.Input((8, 8, 3)), inner])])
    assert {inner, inner.decorrelation} <= set(graph.layers(model)), "Keras lists layers otherwise now: see graph.layers"
    assert graph.layers(model)[0] is model


def test_a_model_of_bytes_is_trained_on_bytes(digits):
    """Its first layer says what it takes: it becomes the same network as one that takes [0, 1]."""
    networks_ = [
        keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Rescaling(scale), keras.layers.Flatten(), keras.layers.Dense(10)]
        )
        for scale in (1 / 255, 1.0)
    ]
    models = [keras.Sequential([network, keras.layers.Softmax()]) for network in networks_]
    models[1].set_weights(models[0].get_weights())
    histories = [training.fit(model, digits.take(200, 50), epochs=2, verbose=False) for model in models]
    np.testing.assert_allclose(*(history[["loss", "val_loss"]] for history in histories), rtol=1e-4)
    assert training.evaluate(models[0], digits).accuracy == training.evaluate(models[1], digits).accuracy


def test_logits_and_labels_are_not_trained_as_probabilities(digits):
    for output, said in ((None, "end it in a softmax"), ("sigmoid", "several labels")):
        model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10, output)])
        with pytest.raises(ValueError, match=said):
            training.fit(model, digits, epochs=1)
        with pytest.raises(ValueError, match=said):
            training.evaluate(model, digits)


def test_a_model_of_any_size_is_trained(digits):
    images = keras.Input((None, None, 1))
    maps = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(images))
    model = keras.Model(images, keras.layers.Dense(10, activation="softmax")(maps))
    assert len(training.fit(model, digits.take(100, 50), epochs=1, verbose=False)) == 1
