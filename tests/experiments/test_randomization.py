"""The cascade, on networks whose answers are known by construction."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from deconvlib import deconvnet, networks
from deconvlib.backend import keras
from deconvlib.experiments import gradients, randomization, saliency, targets

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)
CASCADE = pd.DataFrame(
    {"method": ["guided"] * 4, "depth": [0, 1] * 2, "layer": ["none", "conv1"] * 2, "measure": ["SSIM"] * 4}
    | {"reference": ["unrandomized"] * 2 + ["edge detector"] * 2, "value": [1, 0.5, 0.2, 0.1]}
    | {"low": [1, 0.4, 0.1, 0.0], "high": [1, 0.6, 0.3, 0.2]}
)


@pytest.fixture(scope="module")
def scores(network):
    return randomization.cascade(network, IMAGES, "softmax", np.array([0, 1, 2, 3, 0]))


def values(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    return table["value"].to_numpy()


def test_without_randomization_every_similarity_is_exactly_1(network, scores):
    hidden = randomization.cascade(network, IMAGES, "relu2", 3)
    for table in (scores, hidden):
        assert set(table["method"]) == set(deconvnet.RULES)
        first = table[(table["depth"] == 0) & (table["reference"] == "unrandomized")]
        assert len(first) == 9 and (first[["value", "low", "high"]] == 1).all(axis=None)
        assert (table[(table["depth"] > 0) & (table["reference"] == "unrandomized")]["value"] < 1).all()


def test_layers_are_randomized_from_the_top_each_with_its_normalization(network, scores, monkeypatch):
    assert scores.drop_duplicates("depth")["layer"].tolist() == ["none", "logits", "dense1", "conv2", "conv1"]
    drawn, draw = [], randomization.initial_weights
    monkeypatch.setattr(randomization, "initial_weights", lambda layer, seed: drawn.append(layer.name) or draw(layer, seed))
    randomization.cascade(network, IMAGES, "relu2", 0, methods=("gradient",))
    assert drawn == ["conv2", "norm2", "conv1", "norm1"]


def test_the_unit_stays_the_same_one(network, monkeypatch):
    asked, project = [], deconvnet.project_units

    def record(model, images, layer, units, rule, signal):
        asked.append(units)
        return project(model, images, layer, units, rule, signal=signal)

    monkeypatch.setattr(deconvnet.projection, "project_units", record)
    randomization.cascade(network, IMAGES, "relu2", np.arange(5), methods=("gradient",))
    maps = keras.Model(network.input, network.get_layer("relu2").output).predict(IMAGES / np.float32(255), verbose=0)
    strongest = [np.unravel_index(maps[i, :, :, i].argmax(), maps.shape[1:3]) for i in range(5)]
    assert len(asked) == 4
    for units in asked:
        np.testing.assert_array_equal(np.stack([units.row, units.column], axis=1), strongest)
        np.testing.assert_array_equal(units.channel, np.arange(5))


def test_of_a_linear_network_nothing_remains():
    # its gradient is its kernel: 768 numbers that are drawn anew, of which the rank correlation has an s.d. of 0.036
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(4, name="logits")])
    table = randomization.cascade(model, IMAGES, "logits", 2)
    for rule in deconvnet.RULES:
        was, now = values(table, method=rule, measure="signed rank correlation", reference="unrandomized")
        assert was == 1 and abs(now) < 0.15


def test_maps_by_any_method_are_followed():
    """Of a network that no rule covers: at first they are themselves, at last those of the random network."""
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8), activation="gelu", normalization="batch")
    methods, classes = saliency.choose(model), np.array([0, 1, 2, 3, 0])
    table = randomization.cascade(model, IMAGES, "softmax", classes, (*methods, "SmoothGrad"))
    assert table["method"].unique().tolist() == ["integrated gradients", "Grad-CAM", "SmoothGrad"]
    for method in methods:
        first, *others = values(table, method=method, measure="SSIM", reference="unrandomized")
        assert first == 1 and max(others) < 1
    assert len(randomization.figure(table).axes[0].lines) == 2 * 3 + 1

    def maps(model):
        found = gradients.integrated_gradients(model, IMAGES, targets.of_classes(model, IMAGES, classes), steps=16).maps
        return saliency.measure(found)

    fresh, seeds = keras.models.clone_model(model), np.random.default_rng(0).integers(2**31, size=(5, 2)).tolist()
    drawn = [["logits"], ["dense1"], ["conv2", "norm2"], ["conv1", "norm1"]]
    for layers, each in zip(drawn, seeds[1:], strict=True):
        for layer, seed in zip(layers, each, strict=False):
            fresh.get_layer(layer).set_weights(randomization.initial_weights(model.get_layer(layer), seed))
    expected = randomization.ssim(maps(fresh), maps(model)).mean()
    assert values(table, method=methods[0], measure="SSIM", reference="unrandomized")[-1] == pytest.approx(expected, abs=1e-4)


def test_the_model_is_unchanged_also_after_an_error(network, monkeypatch):
    weights, config, nodes = network.get_weights(), network.to_json(), [len(layer._inbound_nodes) for layer in network.layers]
    randomization.cascade(network, IMAGES, "relu1", 0, methods=("guided",))
    draw = randomization.initial_weights

    def fail(layer, seed):
        if layer.name == "conv2":
            raise RuntimeError("in the middle")
        return draw(layer, seed)

    monkeypatch.setattr(randomization, "initial_weights", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        randomization.cascade(network, IMAGES, "softmax", 0, methods=("guided",))
    assert all(np.array_equal(a, b) for a, b in zip(weights, network.get_weights(), strict=True))
    assert network.to_json() == config
    assert [len(layer._inbound_nodes) for layer in network.layers] == nodes


def test_the_seed_alone_decides(network):
    def last(seed):
        return randomization.cascade(network, IMAGES, "relu1", 0, ("guided",), seed=seed)["value"].to_numpy()

    np.testing.assert_array_equal(last(0), last(0))
    assert not np.array_equal(last(0), last(1))


def test_of_many_layers_some_depths_are_measured(network, scores):
    few = randomization.cascade(network, IMAGES, "softmax", np.array([0, 1, 2, 3, 0]), depths=3)
    assert sorted(set(few["depth"])) == [0, 2, 4]
    expected = scores[scores["depth"].isin([0, 2, 4])].reset_index(drop=True)
    np.testing.assert_allclose(few["value"], expected["value"], atol=1e-9)


def test_weights_are_drawn_from_the_layers_own_initializers():
    conv = keras.layers.Conv2D(64, 5, kernel_initializer=keras.initializers.GlorotUniform(seed=3), bias_initializer="ones")
    conv.build((None, 8, 8, 32))
    own = conv.get_weights()
    kernel, bias = randomization.initial_weights(conv, seed=0)
    # Glorot & Bengio 2010: uniform within the limit, s.d. limit / √3; of 51,200 numbers, to a percent
    limit = np.sqrt(6 / (25 * (32 + 64)))
    assert kernel.shape == own[0].shape and np.abs(kernel).max() <= limit
    assert np.std(kernel) == pytest.approx(limit / np.sqrt(3), rel=0.01)
    assert (bias == 1).all()
    # the initializer's own seed would give the weights that the training began from
    assert abs(np.corrcoef(kernel.ravel(), own[0].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(randomization.initial_weights(conv, seed=0)[0], kernel)
    assert not np.array_equal(randomization.initial_weights(conv, seed=1)[0], kernel)
    np.testing.assert_array_equal(conv.get_weights()[0], own[0])

    dense = keras.layers.Dense(100, kernel_initializer="he_normal")
    dense.build((None, 200))
    assert np.std(randomization.initial_weights(dense, seed=0)[0]) == pytest.approx(np.sqrt(2 / 200), rel=0.02)


def test_a_batch_normalization_begins_anew():
    norm = keras.layers.BatchNormalization()
    norm.build((None, 4, 4, 3))
    norm.set_weights([np.full(3, 7.0)] * 4)
    np.testing.assert_array_equal(randomization.initial_weights(norm, seed=0), [[1] * 3, [0] * 3, [0] * 3, [1] * 3])


def test_the_statistics_of_the_images_are_kept():
    rescale = keras.layers.Normalization(name="rescale")
    rescale.adapt(np.random.default_rng(0).uniform(0, 10, (50, 8, 8, 3)).astype(np.float32))
    layers = [rescale, keras.layers.Conv2D(4, 3, activation="relu", name="conv1")]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    images = np.random.default_rng(1).uniform(0, 10, (4, 8, 8, 3)).astype(np.float32)
    table = randomization.cascade(model, images, "conv1", 0, ("gradient",))
    assert table.drop_duplicates("depth")["layer"].tolist() == ["none", "conv1"]
    with_layer = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Flatten(), keras.layers.Dense(3)])
    expected = deconvnet.project(with_layer, images, with_layer.layers[-1].name, 1, "gradient")
    logits = with_layer.predict(images, verbose=0)[:, 1]
    found = saliency.attributions(with_layer, images, targets.of_classes(with_layer, images, np.ones(4, int)), "gradient")
    np.testing.assert_allclose(found * logits[:, None, None, None], expected, atol=1e-5 * np.abs(expected).max())


def test_rank_correlation_is_spearmans():
    one, other = RNG.random((2, 6, 5, 4)).round(1)  # with ties
    expected = [scipy.stats.spearmanr(a, b, axis=None).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(randomization.rank_correlation(one, other), expected)
    assert (randomization.rank_correlation(one, one) == 1).all()
    assert (randomization.rank_correlation(one, np.ones_like(one)) == 0).all()
    assert (randomization.rank_correlation(np.zeros_like(one), np.ones_like(one)) == 1).all()


def test_ssim_does_not_depend_on_scale():
    one, other = RNG.random((2, 3, 9, 9))
    assert (randomization.ssim(one, one) == 1).all()
    np.testing.assert_allclose(randomization.ssim(one, other), randomization.ssim(one * 100, other / 100))
    assert (np.abs(randomization.ssim(one, other)) < 0.5).all()


def test_a_cascade_shows_both_references_and_names_the_layers(drawn):
    fig = drawn(randomization.figure(CASCADE))
    (ax,) = fig.axes
    trained, outlines, *_ = ax.lines
    assert trained.get_ydata().tolist() == [1, 0.5] and outlines.get_ydata().tolist() == [0.2, 0.1]
    assert (trained.get_linestyle(), outlines.get_linestyle()) == ("-", "--")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["none", "conv1"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda m: randomization.cascade(m, IMAGES, "relu1", 6),
            "channel 6 is not in layer 'relu1'; its channels are 0 to 5",
        ),
        (lambda m: randomization.cascade(m, IMAGES, "relu1", np.zeros(3, int)), "one for each of the 5 images"),
        (lambda m: randomization.cascade(m, IMAGES, "relu9", 0), "'relu9' is not in this model; did you mean 'relu"),
        (lambda m: randomization.cascade(m, IMAGES, "relu1", 0, methods=("guide",)), "method 'guide'"),
        (lambda m: randomization.cascade(m, IMAGES, "relu1", 0, methods="guided"), "methods must be a list or tuple of"),
        (lambda m: randomization.cascade(m, IMAGES, "relu1", 0, methods=("Grad-CAM",)), "maps below the units of"),
        (lambda m: randomization.cascade(m, IMAGES[:, :8], "relu1", 0), "do not fit this model"),
        (lambda m: randomization.cascade(m, IMAGES, "relu1", 0, depths=1), "depths must be 2 or more"),
        (lambda m: randomization.cascade(m, IMAGES, "rescale", 0), "no weights between the pixels and this layer"),
        (lambda m: randomization.ssim(np.zeros((2, 2, 8)), np.zeros((2, 2, 8))), "3 × 3 is the least"),
        (lambda m: randomization.rank_correlation(np.zeros((2, 4)), np.zeros((2, 5))), "cannot be compared"),
    ],
)
def test_refuses(network, call, said):
    with pytest.raises(ValueError, match=said):
        call(network)


def test_refuses_what_cannot_be_randomized():
    fixed = keras.layers.Conv2D(2, 3, kernel_initializer=keras.initializers.Constant(0.5), name="fixed")
    model = keras.Sequential([keras.Input((16, 16, 3)), fixed])
    with pytest.raises(ValueError, match="'fixed' cannot be randomized: its initializer gives the kernel that it has"):
        randomization.cascade(model, IMAGES, "fixed", 0)
    gelu = networks.classifier((16, 16, 3), 4, filters=(6,), activation="gelu")
    with pytest.raises(ValueError, match="'conv1' applies gelu"):
        randomization.cascade(gelu, IMAGES, "conv1", 0)


def test_without_its_classes_a_copy_keeps_its_features_and_the_model_everything(network):
    before = network.get_weights()
    found = randomization.without_classes(network, seed=0)
    for old, now in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, now)
    for layer in found.layers:
        pairs = zip(layer.get_weights(), network.get_layer(layer.name).get_weights(), strict=True)
        assert all(np.array_equal(*pair) for pair in pairs) == (layer.name != "logits"), layer.name
