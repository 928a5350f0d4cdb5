"""Network deconvolution against NumPy: decorrelation of patches that loops cut out."""

import numpy as np
import pytest

from deconvlib import backend, deconvnet, networks
from deconvlib.backend import keras


def correlated(shape, seed=0):
    """Blurred random images with mixed channels and a mean: what network deconvolution is made for."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=shape)
    images = images + 0.7 * np.roll(images, 1, axis=1) + 0.7 * np.roll(images, 1, axis=2)
    return (images @ (np.eye(shape[-1]) + 0.3 * rng.random((shape[-1], shape[-1]))) + 0.5).astype(np.float32)


def cut_patches(images, kernel, strides, dilation, padding):
    """Every patch under a kernel, by loops: (n, rows, columns, kernel, kernel, channels)."""
    extent = (kernel - 1) * dilation + 1
    rows, columns = (-(-n // strides) if padding == "same" else (n - extent) // strides + 1 for n in images.shape[1:3])
    total = [max((o - 1) * strides + extent - n, 0) for o, n in zip((rows, columns), images.shape[1:3], strict=True)]
    pads = [(t // 2, t - t // 2) if padding == "same" else (0, 0) for t in total]
    padded = np.pad(images, ((0, 0), *pads, (0, 0)))
    cut = np.empty((len(images), rows, columns, kernel, kernel, images.shape[-1]), np.float64)
    for r in range(rows):
        for c in range(columns):
            top, left = r * strides, c * strides
            cut[:, r, c] = padded[:, top : top + extent : dilation, left : left + extent : dilation]
    return cut


def exact_inverse_root(patches, epsilon):
    """(mean, C^(-1/2)) of patches (n, size), by the eigenvalues."""
    mean = patches.mean(axis=0)
    values, vectors = np.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches) + epsilon * np.eye(len(mean)))
    return mean, vectors / np.sqrt(values) @ vectors.T


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def exact(layer, images, **settings):
    """A layer with statistics of every patch and iterations to the end, built and with a bias that is not zero."""
    layer = layer(**settings, sampling_stride=1, max_patches=None, iterations=25, epsilon=1e-3)
    layer.build((None, *images.shape[1:]))
    layer.bias.assign(np.arange(layer.filters) / 10)
    return layer


def test_the_inverse_square_root_is_that_of_the_eigenvalues():
    root = np.random.default_rng(0).normal(size=(3, 12, 12))
    matrices = (root @ root.transpose(0, 2, 1) + 0.5 * np.eye(12)).astype(np.float32)
    values, vectors = np.linalg.eigh(matrices.astype(np.float64))
    expected = vectors / np.sqrt(values)[:, None] @ vectors.transpose(0, 2, 1)
    np.testing.assert_allclose(numpy(networks.network_deconvolution.inverse_square_root(matrices, 20)), expected, atol=1e-4)


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_few_iterations_are_the_papers(iterations):
    """Against the iteration written as in the paper, Y ← Y (3 I - Z Y) / 2 and Z ← (3 I - Z Y) / 2 Z, in NumPy."""
    root = np.random.default_rng(0).normal(size=(12, 12))
    matrix = root @ root.T + 0.5 * np.eye(12)
    norm = np.linalg.norm(matrix)
    y, z = matrix / norm, np.eye(12)
    for _ in range(iterations):
        step = 1.5 * np.eye(12) - z @ y / 2
        y, z = y @ step, step @ z
    found = numpy(networks.network_deconvolution.inverse_square_root(matrix[None].astype(np.float32), iterations))
    np.testing.assert_allclose(found[0], z / np.sqrt(norm), rtol=1e-4, atol=1e-5)


PATCHES = [(3, 1, 1, "same"), (3, 1, 1, "valid"), (3, 2, 1, "same"), (2, 2, 1, "valid"), (3, 1, 2, "same"), (1, 1, 1, "same")]


@pytest.mark.parametrize(("kernel", "strides", "dilation", "padding"), PATCHES)
def test_as_explicitly_decorrelated_patches(kernel, strides, dilation, padding):
    """The convolution's outputs, and that its patches have the identity for a covariance."""
    images = correlated((24, 9, 8, 3))
    settings = {"kernel_size": kernel, "strides": strides, "dilation_rate": dilation, "padding": padding}
    layer = exact(networks.DeconvolvedConv2D, images, filters=5, **settings)
    patches = cut_patches(images, kernel, strides, dilation, padding)
    flat = patches.reshape(-1, kernel * kernel * 3)
    np.testing.assert_allclose(numpy(layer.patches(images))[0], flat, atol=1e-6)
    mean, matrix = exact_inverse_root(flat, layer.epsilon)
    decorrelated = (flat - mean) @ matrix
    expected = decorrelated @ numpy(layer.kernel).reshape(-1, 5) + numpy(layer.bias)
    found = numpy(layer(images, training=True))
    np.testing.assert_allclose(found, expected.reshape(found.shape), atol=1e-3)
    # the layer's own matrix, which an identity in the place of the kernel shows
    layer = exact(networks.DeconvolvedConv2D, images, filters=flat.shape[1], use_bias=True, **settings)
    layer.kernel.assign(np.eye(flat.shape[1]).reshape(layer.kernel.shape))
    layer.bias.assign(np.zeros(flat.shape[1]))
    seen = numpy(layer(images, training=True)).reshape(len(flat), -1).astype(np.float64)
    covariance = np.cov(seen, rowvar=False, bias=True) + layer.epsilon * matrix @ matrix  # epsilon is the layer's, too
    np.testing.assert_allclose(covariance, np.eye(len(covariance)), atol=1e-3)
    assert abs(seen.mean(axis=0)).max() < 1e-3
    assert abs(np.cov(flat, rowvar=False, bias=True) - np.eye(flat.shape[1])).max() > 0.1


def test_each_block_of_channels_has_its_own_covariance():
    images = correlated((32, 6, 6, 4))
    layer = exact(networks.DeconvolvedConv2D, images, filters=3, kernel_size=2, block=2)
    assert layer.blocks == 2
    patches = cut_patches(images, 2, 1, 1, "valid")
    expected = 0
    for channels in (slice(0, 2), slice(2, 4)):
        flat = patches[..., channels].reshape(-1, 8)
        mean, matrix = exact_inverse_root(flat, layer.epsilon)
        expected = expected + (flat - mean) @ matrix @ numpy(layer.kernel)[:, :, channels].reshape(-1, 3)
    found = numpy(layer(images, training=True))
    np.testing.assert_allclose(found, expected.reshape(found.shape) + numpy(layer.bias), atol=1e-3)


def test_dense_blocks_share_one_covariance():
    x = correlated((64, 1, 1, 6))[:, 0, 0]
    layer = networks.DeconvolvedDense(4, block=3, iterations=25, epsilon=1e-3)
    layer.build(x.shape)
    flat = x.reshape(-1, 3).astype(np.float64)
    mean, matrix = exact_inverse_root(flat, 1e-3)
    expected = ((flat - mean) @ matrix).reshape(len(x), 6) @ numpy(layer.kernel)
    np.testing.assert_allclose(numpy(layer(x, training=True)), expected, atol=1e-3)


def test_patches_are_sampled_by_places_and_by_images():
    images = correlated((16, 10, 10, 2))
    layer = networks.DeconvolvedConv2D(3, 3, strides=2, padding="same", sampling_stride=2, max_patches=30)
    layer.build((None, *images.shape[1:]))
    every = cut_patches(images, 3, 2, 1, "same")
    # 5 places of the output, each second: 3 × 3 patches of an image; 30 // 9 images
    np.testing.assert_allclose(numpy(layer.patches(images))[0], every[:3, ::2, ::2].reshape(27, -1), atol=1e-6)


def test_a_size_that_is_not_known_changes_nothing():
    images = correlated((4, 9, 9, 2))
    pixels = keras.Input((None, None, 2))
    layer = networks.DeconvolvedConv2D(3, 3, padding="same", max_patches=None)
    model = keras.Model(pixels, layer(pixels))
    np.testing.assert_allclose(numpy(model(images, training=True)), numpy(layer(images, training=True)), atol=1e-5)
    model.compile("sgd", "mse")
    model.fit(images, np.zeros((4, 9, 9, 3)), verbose=0)


def test_inference_goes_by_running_averages():
    images = correlated((16, 8, 8, 2))
    layer = networks.DeconvolvedConv2D(3, 3, sampling_stride=1, momentum=0.5)
    first = numpy(layer(images, training=True))
    assert not np.allclose(numpy(layer(images)), first, atol=1e-2)  # half of the averages is the beginning
    for _ in range(20):
        layer(images, training=True)
    kept = [numpy(weight) for weight in layer.weights]
    np.testing.assert_allclose(numpy(layer(images)), first, atol=1e-4)
    # another batch changes nothing, neither an image's answer nor the averages
    other = np.concatenate([images[:1], correlated((7, 8, 8, 2), seed=1) * 3])
    np.testing.assert_allclose(numpy(layer(other))[0], first[0], atol=1e-4)
    layer.trainable = False
    layer(other, training=True)
    assert all(np.array_equal(old, numpy(weight)) for old, weight in zip(kept, layer.weights, strict=True))


def test_at_inference_it_is_the_ordinary_layer_that_it_says():
    """What it gives, and what is projected through it."""
    images = correlated((16, 8, 8, 2))

    def model(convolution, dense):
        layers = [
            convolution(4, 3, strides=2, activation="relu", name="conv1"),
            keras.layers.Flatten(),
            dense(5, name="logits"),
        ]
        return keras.Sequential([keras.Input((8, 8, 2)), *layers])

    own = model(networks.DeconvolvedConv2D, networks.DeconvolvedDense)
    own(images, training=True)
    plain = model(keras.layers.Conv2D, keras.layers.Dense)
    for name in ("conv1", "logits"):
        plain.get_layer(name).set_weights([numpy(part) for part in own.get_layer(name).transformed()])
    np.testing.assert_allclose(numpy(own(images)), numpy(plain(images)), atol=1e-5)
    for name in ("conv1", "logits"):
        one, other = (deconvnet.project(net, images, name, 1) for net in (own, plain))
        assert np.abs(one).max() > 0
        np.testing.assert_allclose(one, other, atol=1e-4 * np.abs(one).max())


def network(**settings):
    settings = {"filters": (8,), "normalization": "deconvolution", "dense_units": 8} | settings
    return networks.classifier((16, 16, 3), 4, **settings)


IMAGES = np.random.default_rng(0).random((32, 16, 16, 3), np.float32)


LABELS = np.arange(32) % 4


def trained(model, **settings):
    model.compile("adam", "sparse_categorical_crossentropy", **settings)
    history = model.fit(IMAGES, LABELS, batch_size=16, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    return model


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_step_of_training(jit_compile):
    model = network()
    before = model.get_weights()
    trained(model, jit_compile=jit_compile)
    assert all(not np.array_equal(old, new) for old, new in zip(before, model.get_weights(), strict=True))


def test_gradients_flow_through_the_statistics():
    """To scale what a deconvolved layer reads changes nothing that it says, so the derivative by the scale is zero."""
    images = keras.ops.convert_to_tensor(correlated((16, 8, 8, 2)))
    layer = networks.DeconvolvedConv2D(3, 3, sampling_stride=1, iterations=20)
    layer.build(images.shape)

    def loss(scale):
        return keras.ops.sum(keras.ops.square(layer(images * scale, training=True))[..., 0])

    value, pull = backend.vjp(loss, keras.ops.ones(()))
    assert abs(float(pull(keras.ops.ones_like(value)))) < 1e-2 * float(value)


def test_mixed_precision_keeps_statistics_in_float32():
    layer = networks.DeconvolvedConv2D(4, 3, sampling_stride=1, dtype="mixed_bfloat16")
    images = correlated((16, 8, 8, 2))
    found = layer(images, training=True)
    assert keras.backend.standardize_dtype(found.dtype) == "bfloat16"
    assert {weight.dtype for weight in layer.weights} == {"float32"}
    full = networks.DeconvolvedConv2D(4, 3, sampling_stride=1)
    full.build(images.shape)
    full.kernel.assign(layer.kernel)
    wanted = numpy(full(images, training=True))
    # bfloat16 has 8 bits: spread 0.02 on values of about 1
    np.testing.assert_allclose(numpy(keras.ops.cast(found, "float32")), wanted, atol=0.1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: networks.DeconvolvedConv2D(4, 3, groups=2), "groups must be 1, not 2"),
        (lambda: networks.DeconvolvedConv2D(4, 3, data_format="channels_first"), "'channels_last'"),
        (lambda: networks.DeconvolvedConv2D(4, 3, block=0), "block must be a whole number of 1 or more, not 0"),
        (lambda: networks.DeconvolvedConv2D(4, 3, sampling_stride=1.5), "sampling_stride must be a whole number"),
        (lambda: networks.DeconvolvedConv2D(4, 3, max_patches=0), "max_patches must be a whole number"),
        (lambda: networks.DeconvolvedConv2D(4, 3, epsilon=0), "epsilon must be above 0"),
        (lambda: networks.DeconvolvedDense(4, momentum=1.0), r"momentum in \[0, 1\)"),
        (lambda: networks.DeconvolvedDense(4, iterations=0), "iterations must be"),
    ],
)
def test_refuses(make, said):
    with pytest.raises(ValueError, match=said):
        make()
