"""Whether to believe a projection, asked of networks and maps of which the answer is known."""

import numpy as np
import pytest
import scipy.stats

from deconvlib import data, deconvnet, experiments, networks
from deconvlib.backend import keras

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)
MASKS = np.zeros((2, 8, 8), bool)
MASKS[:, 2:4, 3:6] = True


@pytest.fixture(scope="module")
def network():
    """With weights as after a training: away from those that its initializers gave."""
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8), dense_units=8, normalization="batch")
    rng = np.random.default_rng(1)
    model.set_weights(
        [np.abs(w + rng.normal(scale=0.3, size=w.shape)) * rng.choice([-1, 1], w.shape) for w in model.get_weights()]
    )
    for layer in model.layers:
        if layer.name.startswith("norm"):
            layer.moving_variance.assign(np.abs(layer.moving_variance) + 0.1)
    return model


@pytest.fixture(scope="module")
def scores(network):
    return experiments.randomization.cascade(network, IMAGES, "softmax", np.array([0, 1, 2, 3, 0]))


def values(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    return table["value"].to_numpy()


def test_saliency_is_the_sum_of_absolute_values_over_channels():
    np.testing.assert_array_equal(experiments.saliency.measure(np.array([[[[1.0, -2.0, 0.5]]]])), [[[3.5]]])


def test_edges_are_where_the_image_changes():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[:, :, 4:] = 200
    found = experiments.saliency.edges(image)[0]
    assert (found[:, 3:5] > 0).all() and not found[:, :3].any() and not found[:, 5:].any()


# Cascading randomization


def test_without_randomization_every_similarity_is_exactly_1(network, scores):
    hidden = experiments.randomization.cascade(network, IMAGES, "relu2", 3)
    for table in (scores, hidden):
        assert set(table["rule"]) == set(deconvnet.RULES)
        first = table[(table["depth"] == 0) & (table["reference"] == "unrandomized")]
        assert len(first) == 9 and (first[["value", "low", "high"]] == 1).all(axis=None)
        assert (table[(table["depth"] > 0) & (table["reference"] == "unrandomized")]["value"] < 1).all()


def test_layers_are_randomized_from_the_top_each_with_its_normalization(network, scores, monkeypatch):
    assert scores.drop_duplicates("depth")["layer"].tolist() == ["none", "logits", "dense1", "conv2", "conv1"]
    drawn, draw = [], experiments.randomization.initial_weights
    monkeypatch.setattr(faithfulness, "initial_weights", lambda layer, seed: drawn.append(layer.name) or draw(layer, seed))
    experiments.randomization.cascade(network, IMAGES, "relu2", 0, rules=("gradient",))
    assert drawn == ["conv2", "norm2", "conv1", "norm1"]


def test_the_unit_stays_the_same_one(network, monkeypatch):
    asked, project = [], deconvnet.project_units

    def record(model, images, layer, units, rule):
        asked.append(units)
        return project(model, images, layer, units, rule)

    monkeypatch.setattr(deconvnet, "project_units", record)
    experiments.randomization.cascade(network, IMAGES, "relu2", np.arange(5), rules=("gradient",))
    maps = keras.Model(network.input, network.get_layer("relu2").output).predict(IMAGES / np.float32(255), verbose=0)
    strongest = [np.unravel_index(maps[i, :, :, i].argmax(), maps.shape[1:3]) for i in range(5)]
    assert len(asked) == 4
    for units in asked:
        np.testing.assert_array_equal(np.stack([units.row, units.column], axis=1), strongest)
        np.testing.assert_array_equal(units.channel, np.arange(5))


def test_what_is_compared_is_what_project_shows(network):
    inner = keras.Sequential([keras.Input((16, 16, 3)), network])
    logits = keras.Model(network.input, network.get_layer("logits").output).predict(IMAGES / np.float32(255), verbose=0)
    classes = logits.argmax(axis=1)
    found, nested = (experiments.saliency.class_projections(model, IMAGES, classes) for model in (network, inner))
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
    np.testing.assert_allclose(experiments.saliency.class_projections(model, image, np.array([0]))["deconvnet"], [[[[1, -2]]]])


def test_of_a_linear_network_nothing_remains():
    # its gradient is its kernel: 768 numbers that are drawn anew, of which the rank correlation has an s.d. of 0.036
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(4, name="logits")])
    table = experiments.randomization.cascade(model, IMAGES, "logits", 2)
    for rule in deconvnet.RULES:
        was, now = values(table, rule=rule, measure="signed rank correlation", reference="unrandomized")
        assert was == 1 and abs(now) < 0.15


def test_the_model_is_unchanged_also_after_an_error(network, monkeypatch):
    weights, config, nodes = network.get_weights(), network.to_json(), [len(layer._inbound_nodes) for layer in network.layers]
    experiments.randomization.cascade(network, IMAGES, "relu1", 0, rules=("guided",))
    draw = experiments.randomization.initial_weights

    def fail(layer, seed):
        if layer.name == "conv2":
            raise RuntimeError("in the middle")
        return draw(layer, seed)

    monkeypatch.setattr(faithfulness, "initial_weights", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        experiments.randomization.cascade(network, IMAGES, "softmax", 0, rules=("guided",))
    assert all(np.array_equal(a, b) for a, b in zip(weights, network.get_weights(), strict=True))
    assert network.to_json() == config
    assert [len(layer._inbound_nodes) for layer in network.layers] == nodes


def test_the_seed_alone_decides(network):
    def last(seed):
        return experiments.randomization.cascade(network, IMAGES, "relu1", 0, ("guided",), seed=seed)["value"].to_numpy()

    np.testing.assert_array_equal(last(0), last(0))
    assert not np.array_equal(last(0), last(1))


def test_of_many_layers_some_depths_are_measured(network, scores):
    few = experiments.randomization.cascade(network, IMAGES, "softmax", np.array([0, 1, 2, 3, 0]), depths=3)
    assert sorted(set(few["depth"])) == [0, 2, 4]
    expected = scores[scores["depth"].isin([0, 2, 4])].reset_index(drop=True)
    np.testing.assert_allclose(few["value"], expected["value"], atol=1e-9)


def test_weights_are_drawn_from_the_layers_own_initializers():
    conv = keras.layers.Conv2D(64, 5, kernel_initializer=keras.initializers.GlorotUniform(seed=3), bias_initializer="ones")
    conv.build((None, 8, 8, 32))
    own = conv.get_weights()
    kernel, bias = experiments.randomization.initial_weights(conv, seed=0)
    # Glorot & Bengio 2010: uniform within the limit, s.d. limit / √3; of 51,200 numbers, to a percent
    limit = np.sqrt(6 / (25 * (32 + 64)))
    assert kernel.shape == own[0].shape and np.abs(kernel).max() <= limit
    assert np.std(kernel) == pytest.approx(limit / np.sqrt(3), rel=0.01)
    assert (bias == 1).all()
    # the initializer's own seed would give the weights that the training began from
    assert abs(np.corrcoef(kernel.ravel(), own[0].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(experiments.randomization.initial_weights(conv, seed=0)[0], kernel)
    assert not np.array_equal(experiments.randomization.initial_weights(conv, seed=1)[0], kernel)
    np.testing.assert_array_equal(conv.get_weights()[0], own[0])

    dense = keras.layers.Dense(100, kernel_initializer="he_normal")
    dense.build((None, 200))
    assert np.std(experiments.randomization.initial_weights(dense, seed=0)[0]) == pytest.approx(np.sqrt(2 / 200), rel=0.02)


def test_a_batch_normalization_begins_anew():
    norm = keras.layers.BatchNormalization()
    norm.build((None, 4, 4, 3))
    norm.set_weights([np.full(3, 7.0)] * 4)
    np.testing.assert_array_equal(experiments.randomization.initial_weights(norm, seed=0), [[1] * 3, [0] * 3, [0] * 3, [1] * 3])


def test_the_statistics_of_the_images_are_kept():
    rescale = keras.layers.Normalization(name="rescale")
    rescale.adapt(np.random.default_rng(0).normal(5, 3, (50, 8, 8, 3)).astype(np.float32))
    layers = [rescale, keras.layers.Conv2D(4, 3, activation="relu", name="conv1")]
    model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
    images = np.random.default_rng(1).normal(5, 3, (4, 8, 8, 3)).astype(np.float32)
    table = experiments.randomization.cascade(model, images, "conv1", 0, ("gradient",))
    assert table.drop_duplicates("depth")["layer"].tolist() == ["none", "conv1"]
    with_layer = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Flatten(), keras.layers.Dense(3)])
    expected = deconvnet.project(with_layer, images, with_layer.layers[-1].name, 1, "gradient")
    logits = with_layer.predict(images, verbose=0)[:, 1]
    found = experiments.saliency.class_projections(with_layer, images, np.ones(4, int), ("gradient",))["gradient"]
    np.testing.assert_allclose(found * logits[:, None, None, None], expected, atol=1e-5 * np.abs(expected).max())


def test_rank_correlation_is_spearmans():
    one, other = RNG.random((2, 6, 5, 4)).round(1)  # with ties
    expected = [scipy.stats.spearmanr(a, b, axis=None).statistic for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(experiments.randomization.rank_correlation(one, other), expected)
    assert (experiments.randomization.rank_correlation(one, one) == 1).all()
    assert (experiments.randomization.rank_correlation(one, np.ones_like(one)) == 0).all()
    assert (experiments.randomization.rank_correlation(np.zeros_like(one), np.ones_like(one)) == 1).all()


def test_ssim_does_not_depend_on_scale():
    one, other = RNG.random((2, 3, 9, 9))
    assert (experiments.randomization.ssim(one, one) == 1).all()
    np.testing.assert_allclose(
        experiments.randomization.ssim(one, other), experiments.randomization.ssim(one * 100, other / 100)
    )
    assert (np.abs(experiments.randomization.ssim(one, other)) < 0.5).all()


# Deletion and insertion


@pytest.fixture(scope="module")
def one_pixel():
    """A network that looks at pixel (3, 5) alone, at 1 or at 0.5 : class 1 has e^6 / (1 + e^6) or 1 / 2."""
    dense = keras.layers.Dense(2)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), dense, keras.layers.Softmax()])
    kernel = np.zeros((8, 8, 2))
    kernel[3, 5] = 0, 12
    dense.set_weights([kernel.reshape(64, 2), np.array([0, -6.0])])
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[0, :4], image[0, 3, 5] = 1, 1  # half the pixels, so that the mean is 0.5
    return model, image


@pytest.mark.parametrize(("rank", "fall"), [(0, 1), (20, 21), (63, 64)])
def test_the_curve_falls_where_the_pixel_that_counts_is_deleted(one_pixel, rank, fall):
    model, image = one_pixel
    order = -np.arange(64.0)
    order[[3 * 8 + 5, rank]] = order[[rank, 3 * 8 + 5]]
    curve = experiments.deletion.deletion(model, image, order.reshape(1, 8, 8), np.array([1]), steps=64)
    high = np.exp(6) / (1 + np.exp(6))
    np.testing.assert_allclose(curve.share, np.arange(65) / 64)
    np.testing.assert_allclose(curve.probability[0], [high] * fall + [0.5] * (65 - fall), atol=1e-6)
    np.testing.assert_allclose(curve.auc, (high * (fall - 0.5) + 0.5 * (64 - fall + 0.5)) / 64, atol=1e-6)


def test_the_curve_rises_where_the_pixel_that_counts_comes_back(one_pixel):
    best = np.zeros((1, 8, 8))
    best[0, 3, 5] = 1
    curve = experiments.deletion.insertion(one_pixel[0], best[..., None], best, np.array([1]), steps=16)
    begin, *after = curve.probability[0]
    assert begin < 0.1  # blurred by a pixel, of 1 there remains about 1 / 2π
    np.testing.assert_allclose(after, np.exp(6) / (1 + np.exp(6)), atol=1e-6)


def test_curves_do_not_depend_on_the_batches(network, monkeypatch):
    maps, classes = RNG.random((5, 16, 16)), np.arange(5) % 4
    whole = experiments.deletion.deletion(network, IMAGES, maps, classes, steps=7)
    monkeypatch.setattr(faithfulness, "BATCH", 3)
    parts = experiments.deletion.deletion(network, IMAGES, maps, classes, steps=7)
    np.testing.assert_allclose(parts.probability, whole.probability, atol=1e-6)
    expected = network.predict(IMAGES / np.float32(255), verbose=0)[np.arange(5), classes]
    np.testing.assert_allclose(whole.probability[:, 0], expected, atol=1e-6)


def test_equals_are_deleted_in_random_order(one_pixel):
    model, image = one_pixel
    flat = np.ones((40, 8, 8))
    found = experiments.deletion.deletion(model, image.repeat(40, axis=0), flat, np.ones(40, int), steps=64)
    fell = (found.probability > 0.75).sum(axis=1)  # uniform on 1 to 64: mean 32.5, of 40 with an s.d. of 2.9
    assert abs(fell.mean() - 32.5) < 9 and len(set(fell)) > 10


# Localization


def test_a_perfect_localizer():
    masks = data.shapes(train=1, test=100).masks_test
    table = experiments.localization.measure({"perfect": masks.astype(float)}, masks)
    assert table["value"].tolist() == [1, 1, 1, 1]
    assert table["high"].tolist() == [1, 1, 1, 1]


def test_a_random_localizer_finds_the_masks_share_of_the_image():
    masks = data.shapes(train=1, test=500).masks_test
    maps = experiments.saliency.baselines(np.zeros((500, 32, 32, 3)))["random"]
    table = experiments.localization.measure({"random": maps}, masks).set_index("measure")
    for measure in ("pointing game", "energy in mask"):
        assert table.loc[measure, "low"] < masks.mean() < table.loc[measure, "high"]


def test_intervals_cover_what_they_should():
    # 300 experiments of 40 images: of 95 % intervals, 285 ± 3.8 hold the truth; Wilson's are a little conservative here
    rng = np.random.default_rng(0)
    share, mean = [], []
    for _ in range(300):
        _, low, high = experiments.statistics.share(rng.random(40) < 0.3)
        share.append(low <= 0.3 <= high)
        _, low, high = experiments.statistics.mean(rng.normal(2, 1, 40))
        mean.append(low <= 2 <= high)
    assert 0.92 < np.mean(share) < 0.98 and 0.92 < np.mean(mean) < 0.98


def test_a_map_that_is_the_same_everywhere_finds_nothing():
    flat = np.zeros((2, 8, 8))
    assert not experiments.localization.pointing_game(flat, MASKS).any()
    assert not experiments.localization.energy_in_mask(flat, MASKS).any()
    np.testing.assert_array_equal(experiments.localization.boxes(flat), [[0, 0, 8, 8]] * 2)


def test_energy_by_hand():
    values = np.zeros((1, 8, 8))
    values[0, 2, 3], values[0, 0, 0], values[0, 7, 7] = 3, 1, -5
    np.testing.assert_allclose(experiments.localization.energy_in_mask(values, MASKS[:1]), [0.75])
    assert experiments.localization.pointing_game(values, MASKS[:1]) == [True]


def test_a_box_holds_the_component_with_most_energy_and_its_specks():
    values = np.zeros((1, 16, 16))
    values[0, 1, 1] = 1.0  # the maximum, alone
    values[0, [8, 8, 11], [9, 12, 12]] = 0.5  # gaps of two pixels
    values[0, 10, 10] = 0.3  # below the threshold
    np.testing.assert_array_equal(experiments.localization.boxes(values), [[8, 9, 12, 13]])
    np.testing.assert_array_equal(experiments.localization.boxes(values, threshold=0.6), [[1, 1, 2, 2]])


def test_intersection_over_union_by_hand():
    one = np.array([[0, 0, 4, 4], [0, 0, 2, 2], [1, 1, 3, 3]])
    other = np.array([[2, 2, 6, 6], [2, 2, 4, 4], [1, 1, 3, 3]])
    np.testing.assert_allclose(experiments.localization.box_iou(one, other), [4 / 28, 0, 1])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda m: experiments.randomization.cascade(m, IMAGES, "relu1", 6),
            "channel 6 is not in layer 'relu1'; its channels are 0 to 5",
        ),
        (lambda m: experiments.randomization.cascade(m, IMAGES, "relu1", np.zeros(3, int)), "one for each of the 5 images"),
        (
            lambda m: experiments.randomization.cascade(m, IMAGES, "relu9", 0),
            "'relu9' is not in this model; did you mean 'relu",
        ),
        (lambda m: experiments.randomization.cascade(m, IMAGES, "relu1", 0, rules=("guide",)), "rule 'guide'"),
        (lambda m: experiments.randomization.cascade(m, IMAGES, "relu1", 0, rules="guided"), "rules must be several names"),
        (lambda m: experiments.randomization.cascade(m, IMAGES[:, :8], "relu1", 0), "do not fit this model"),
        (lambda m: experiments.randomization.cascade(m, IMAGES, "relu1", 0, depths=1), "depths must be 2 or more"),
        (lambda m: experiments.randomization.cascade(m, IMAGES, "rescale", 0), "no weights between the pixels and this layer"),
        (lambda m: experiments.saliency.class_projections(m, IMAGES, np.full(5, 4)), "class 4 of image 0 is not in the model"),
        (lambda m: experiments.saliency.class_projections(m, IMAGES, np.zeros(4, int)), "classes must be 5 integers"),
        (
            lambda m: experiments.deletion.deletion(m, IMAGES, np.zeros((5, 8, 8)), np.zeros(5, int)),
            r"maps must be \(5, 16, 16\)",
        ),
        (lambda m: experiments.deletion.deletion(m, IMAGES, np.zeros((5, 16, 16, 3)), np.zeros(5, int)), r"with saliency\(\)"),
        (
            lambda m: experiments.deletion.insertion(m, IMAGES, np.full((5, 16, 16), np.nan), np.zeros(5, int)),
            "map 0 holds NaN",
        ),
        (
            lambda m: experiments.deletion.deletion(m, IMAGES, np.zeros((5, 16, 16)), np.zeros(5, int), steps=0),
            "steps must be from 1",
        ),
        (lambda m: experiments.saliency.measure(np.full((1, 2, 2, 3), np.inf)), "NaN or infinity"),
        (lambda m: experiments.localization.pointing_game(np.zeros((2, 8, 8)), np.zeros((2, 8, 8), bool)), "mask 0 is empty"),
        (lambda m: experiments.localization.energy_in_mask(np.zeros((2, 8, 8)), np.ones((2, 8, 8))), "masks must be bool"),
        (lambda m: experiments.localization.energy_in_mask(np.zeros((2, 9, 8)), MASKS), r"maps must be \(2, 8, 8\)"),
        (lambda m: experiments.localization.measure({"guided": np.full((2, 8, 8), np.nan)}, MASKS), "guided: map 0 holds NaN"),
        (
            lambda m: experiments.localization.boxes(np.zeros((2, 8, 8)), threshold=0),
            r"share of the map's maximum in \(0, 1\], not 0",
        ),
        (lambda m: experiments.randomization.ssim(np.zeros((2, 2, 8)), np.zeros((2, 2, 8))), "3 × 3 is the least"),
        (lambda m: experiments.randomization.rank_correlation(np.zeros((2, 4)), np.zeros((2, 5))), "cannot be compared"),
    ],
)
def test_refuses(network, call, said):
    with pytest.raises(ValueError, match=said):
        call(network)


def test_refuses_what_cannot_be_answered(one_pixel):
    fixed = keras.layers.Conv2D(2, 3, kernel_initializer=keras.initializers.Constant(0.5), name="fixed")
    model = keras.Sequential([keras.Input((16, 16, 3)), fixed])
    with pytest.raises(ValueError, match="'fixed' cannot be randomized: its initializer gives the kernel that it has"):
        experiments.randomization.cascade(model, IMAGES, "fixed", 0)
    gelu = networks.classifier((16, 16, 3), 4, filters=(6,), activation="gelu")
    with pytest.raises(ValueError, match="'conv1' applies gelu"):
        experiments.randomization.cascade(gelu, IMAGES, "conv1", 0)
    logits = keras.Model(one_pixel[0].inputs, one_pixel[0].layers[-1].input)
    with pytest.raises(ValueError, match="end it with a softmax"):
        experiments.deletion.deletion(logits, one_pixel[1], np.zeros((1, 8, 8)), np.array([1]))
