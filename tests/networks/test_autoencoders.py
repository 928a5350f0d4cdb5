"""Models from images to images: shapes, what they begin as, and that they learn."""

import numpy as np
import pytest

from deconvlib import data, networks, training
from deconvlib.backend import keras
from deconvlib.networks.autoencoders import Sampling


@pytest.fixture(scope="module")
def images():
    return data.shapes(120, 10).x_train[:, 8:24, 8:24] / np.float32(255)


@pytest.mark.parametrize("decoder", networks.OPERATORS)
@pytest.mark.parametrize("skips", [True, False])
def test_every_decoder_restores_the_size(decoder, skips):
    model = networks.encoder_decoder((16, 24, 3), 5, (4, 6), decoder=decoder, skips=skips, scale=2, normalization="batch")
    assert model.output_shape == (None, 32, 48, 5)
    assert training.predict(model, np.zeros((3, 16, 24, 3), np.float32)).shape == (3, 32, 48, 5)


def test_a_stage_may_have_several_convolutions():
    plain, deep = (
        networks.encoder_decoder((16, 16, 3), 5, filters, decoder="unpooling", normalization=normalization)
        for filters, normalization in (((4, 6), "batch"), ((4, [8, 6]), "deconvolution_and_batch"))
    )
    kinds = [[type(layer).__name__ for layer in model.layers] for model in (plain, deep)]
    assert kinds[0].count("Conv2D") == 6 and kinds[0].count("UnpoolingConv2D") == 2
    # two more, in the second stage and after it; the last one alone, which gives the classes, sees correlated maps
    assert kinds[1].count("DeconvolvedConv2D") == 7 and kinds[1].count("Conv2D") == 1
    assert deep.output_shape == (None, 16, 16, 5)


def test_what_is_not_missing_stays_as_it_is(images):
    model = networks.encoder_decoder((16, 16, 3), 3, (4,), correction=True, holes=True)
    model.get_layer("pixels").set_weights([np.ones((3, 3, 4, 3), np.float32), np.ones(3, np.float32)])
    damaged = np.maximum(images[:4], 1 / 255)
    damaged[:, 3:9, 5:8] = 0
    changed = np.any(training.predict(model, damaged) != damaged, axis=-1)
    np.testing.assert_array_equal(changed, np.all(damaged == 0, axis=-1))


def test_what_is_missing_begins_as_the_mean_of_what_is_known_near_it():
    model = networks.encoder_decoder((32, 32, 1), 1, (4,), correction=True, holes=True)
    damaged = np.linspace(0.2, 0.8, 32 * 32, dtype=np.float32).reshape(1, 32, 32, 1)
    damaged[0, 8:12, 20:24] = 0  # a hole
    damaged[0, 18:, :14] = 0  # wider than the square that is looked at
    begun = training.predict(model, damaged)[0, ..., 0]
    around = damaged[0, 5:14, 17:26, 0]  # 9 × 9 pixels around (9, 21)
    assert begun[9, 21] == pytest.approx(around[around > 0].mean(), abs=1e-6)
    assert begun[25, 5] == 0


def test_a_correction_begins_as_the_image(images):
    model = networks.encoder_decoder((16, 16, 3), 3, (4, 8), correction=True)
    np.testing.assert_allclose(training.predict(model, images[:5]), images[:5], atol=1e-6)
    enlarging = networks.encoder_decoder((32, 32, 1), 1, (4,), correction=True, scale=2)
    grey = np.full((2, 32, 32, 1), 0.3, np.float32)
    np.testing.assert_allclose(training.predict(enlarging, grey), np.full((2, 64, 64, 1), 0.3), atol=1e-6)


@pytest.mark.parametrize("decoder", networks.OPERATORS)
def test_learns_to_take_noise_away(images, decoder):
    model = networks.encoder_decoder((16, 16, 3), 3, (8, 16), decoder=decoder, correction=True)

    def make(numbers, rng):
        return np.clip(images[numbers] + rng.normal(0, 0.1, (len(numbers), 16, 16, 3)), 0, 1), images[numbers]

    history = training.fit_pairs(model, len(images), make, epochs=8, batch_size=20, learning_rate=5e-3, verbose=False)
    assert history["loss"].iloc[-1] < 0.8 * history["loss"].iloc[0]


def test_the_code_is_the_mean_and_the_class_matters(images):
    parts = networks.variational((16, 16, 3), 6, (4, 8), num_classes=3)
    codes = training.predict(parts.encoder, images[:4])
    assert codes.shape == (4, 6)
    told = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    drawn = training.predict(parts.decoder, codes, told)
    assert drawn.shape == (4, 16, 16, 3) and drawn.min() >= 0 and drawn.max() <= 1
    assert (drawn != training.predict(parts.decoder, codes, told[::-1])).any()
    np.testing.assert_allclose(training.predict(parts.whole, images[:4], told), drawn, atol=1e-6)


def test_the_divergence_is_that_of_normal_distributions():
    """Of deviation 2 and mean 1 from 1 and 0: (1 + 4 - 1) / 2 - ln 2 a number."""
    layer = Sampling(0.5)
    mean, log_variance = np.ones((3, 2), np.float32), np.full((3, 2), np.log(4), np.float32)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer([mean, log_variance])), mean)
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(0.5 * 2 * (2 - np.log(2)))
    drawn = keras.ops.convert_to_numpy(
        layer([np.ones((4000, 2), np.float32), np.full((4000, 2), np.log(4), np.float32)], training=True)
    )
    assert drawn.mean() == pytest.approx(1, abs=0.1) and drawn.std() == pytest.approx(2, abs=0.1)


def test_a_variational_network_learns_and_repeats(images):
    def train():
        parts = networks.variational((16, 16, 3), 8, (8, 16))
        make = lambda numbers, rng: (images[numbers], images[numbers])  # noqa: E731
        return training.fit_pairs(parts.whole, len(images), make, epochs=3, batch_size=20, verbose=False)["loss"]

    one, same = train(), train()
    assert one.is_monotonic_decreasing
    np.testing.assert_allclose(one, same, rtol=1e-5)


def test_the_seed_decides_the_weights_and_the_draws_of_the_code(images):
    def drawn(seed, like=None):
        whole = networks.variational((16, 16, 3), 8, (8, 16), seed=seed).whole
        whole.set_weights(like or whole.get_weights())
        return whole.get_weights(), keras.ops.convert_to_numpy(whole(images[:5], training=True))

    (weights, one), (_, same), (others, _) = drawn(0), drawn(0), drawn(1)
    np.testing.assert_array_equal(one, same)
    assert not any(np.array_equal(a, b) for a, b in zip(weights, others, strict=True) if a.ndim > 1)
    assert not np.array_equal(one, drawn(1, weights)[1])


def test_a_saved_network_gives_the_same(images, tmp_path):
    parts = networks.variational((16, 16, 3), 4, (4,), decoder="subpixel")
    parts.whole.save(tmp_path / "model.keras")
    loaded = networks.load(tmp_path / "model.keras")
    np.testing.assert_allclose(training.predict(loaded, images[:3]), training.predict(parts.whole, images[:3]), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"decoder": "transpose"}, "did you mean 'transposed'"),
        ({"image_shape": (30, 32, 3)}, "cannot be halved 2 times: use 1 stages"),
        ({"scale": 3}, "power of 2"),
        ({"correction": True, "channels": 4}, "image's 3 channels"),
        ({"holes": True}, "correction=True and scale=1"),
        ({"holes": True, "correction": True, "scale": 2}, "correction=True and scale=1"),
        ({"filters": (8, 0)}, "must be a"),
        ({"filters": (8, (8, 0))}, "must be a"),
        ({"normalization": "layer"}, "Known: 'none', 'batch'"),
    ],
)
def test_says_what_works(settings, said):
    with pytest.raises(ValueError, match=said):
        networks.encoder_decoder(**{"image_shape": (32, 32, 3), "channels": 3} | settings)


def test_a_variational_network_says_what_works():
    with pytest.raises(ValueError, match="cannot be halved"):
        networks.variational((28, 28, 1), filters=(4, 4, 4))
    with pytest.raises(ValueError, match="divergence_weight"):
        networks.variational((32, 32, 1), divergence_weight=-1)
