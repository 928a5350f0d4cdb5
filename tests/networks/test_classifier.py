"""Classifiers: shapes and counts known by hand, and what cannot be built."""

import numpy as np
import pytest

from deconvlib import networks
from deconvlib.backend import keras
from deconvlib.networks.classifier import ReconstructionLoss


def test_the_tutorials_network():
    table = networks.layer_table(networks.tutorial((32, 32, 3), 10)).set_index("layer")
    assert table["shape"].to_dict() == {
        "rescale": (32, 32, 3),
        "conv1": (30, 30, 32),
        "pool1": (15, 15, 32),
        "conv2": (13, 13, 64),
        "pool2": (6, 6, 64),
        "conv3": (4, 4, 128),
        "pool3": (2, 2, 128),
        "deconv1": (2, 2, 10),
        "deconv2": (2, 2, 32),
        "deconv3": (2, 2, 3),
        "flatten": (12,),
        "dense1": (64,),
        "logits": (10,),
        "softmax": (10,),
    }
    # 3·3·3·32 + 32, 3·3·32·64 + 64, 3·3·64·128 + 128, 3·3·128·10 + 10, 3·3·10·32 + 32, 3·3·32·3 + 3, 12·64 + 64, 64·10 + 10
    assert table["parameters"][table["parameters"] > 0].tolist() == [896, 18496, 73856, 11530, 2912, 867, 832, 650]


@pytest.mark.parametrize("strides", [1, 2, 3])
def test_each_transposed_convolution_multiplies_the_size(strides):
    model = networks.classifier((32, 32, 3), 10, decoder="transposed", decoder_strides=strides, decoder_filters=(4, 4))
    assert model.get_layer("deconv2").output.shape[1:] == (4 * strides**2, 4 * strides**2, 4)


def test_layers_have_the_names_of_the_text():
    model = networks.classifier((16, 16, 1), 3, filters=(4, 4), convolutions=2, normalization="batch", dropout=0.1)
    names = [layer.name for layer in model.layers[2:]]
    stages = [f"{kind}{n}" for n in (1, 2) for kind in ("conv", "norm", "relu")]
    assert names[:7] == [*stages, "pool1"]
    assert names[-6:] == ["flatten", "dropout1", "dense1", "dropout2", "logits", "softmax"]


def test_a_stage_may_have_convolutions_of_its_own():
    model = networks.classifier(
        (32, 32, 3), 10, filters=(4, (6, 8), [8]), convolutions=1, decoder="unpooling", decoder_filters=(8,)
    )
    widths = [layer.filters for layer in model.layers if layer.name.startswith("conv")]
    assert widths == [4, 6, 8, 8] and model.get_layer("conv3").output.shape[1:] == (16, 16, 8)
    twice = networks.classifier((32, 32, 3), 10, filters=((4, 4), (8, 8)))
    assert twice.to_json() == networks.classifier((32, 32, 3), 10, filters=(4, 8), convolutions=2).to_json()


def test_weights_come_from_the_seed():
    build = [networks.classifier((16, 16, 1), 3, filters=(4,), seed=seed).get_weights() for seed in (0, 0, 1)]
    assert all(np.array_equal(a, b) for a, b in zip(build[0], build[1], strict=True))
    assert not np.array_equal(build[0][0], build[2][0])


@pytest.mark.parametrize(
    ("decoder", "names"),
    [
        ("unpooling", ["unpool1", "deconv1", "unpool2", "deconv2"]),
        ("resize", ["upsample1", "deconv1", "upsample2", "deconv2"]),
        ("subpixel", ["deconv1", "shuffle1", "deconv2", "shuffle2"]),
    ],
)
def test_each_step_of_a_decoder_doubles_the_size(decoder, names):
    model = networks.classifier((32, 32, 3), 10, filters=(8, 16, 32), decoder=decoder, decoder_filters=(16, 8))
    found = [layer.name for layer in model.layers if layer.name.startswith(("unpool", "upsample", "deconv", "shuffle"))]
    assert found == names
    assert [model.get_layer(name).output.shape[1:] for name in names[1::2]] == [(8, 8, 16), (16, 16, 8)]
    # 3 × 3 kernels, whose every output sees as many places as every other
    assert model.get_layer("deconv1").kernel_size == (3, 3)


def test_network_deconvolution_is_in_every_layer():
    model = networks.classifier((16, 16, 1), 3, filters=(4, 4), normalization="deconvolution", decoder="resize")
    kinds = {layer.name: type(layer).__name__ for layer in model.layers if layer.weights}
    assert kinds.pop("dense1") == kinds.pop("logits") == "DeconvolvedDense"
    assert set(kinds.values()) == {"DeconvolvedConv2D"} and len(kinds) == 4


def test_network_deconvolution_of_the_first_layer_alone():
    model = networks.classifier((16, 16, 1), 3, filters=(4, 4), normalization="deconvolution_then_batch")
    kinds = {layer.name: type(layer).__name__ for layer in model.layers if layer.weights}
    assert kinds == {
        **{"conv1": "DeconvolvedConv2D", "norm1": "BatchNormalization", "conv2": "Conv2D", "norm2": "BatchNormalization"},
        **{"dense1": "Dense", "logits": "Dense"},
    }


def trained(**settings):
    """A classifier after three steps, so that its running statistics are no longer those that it began with."""
    model = networks.classifier((12, 12, 3), 3, dense_units=8, **settings)
    rng = np.random.default_rng(0)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(rng.random((24, 12, 12, 3), np.float32), np.arange(24) % 3, batch_size=8, verbose=0)
    return model, rng.random((5, 12, 12, 3), np.float32)


@pytest.mark.parametrize("decoder", ["unpooling", "subpixel"])
def test_a_branch_reconstructs_the_image(decoder, tmp_path):
    """Its error is in the loss that fit and evaluate show, and not in the way of what the network says."""
    settings = {"filters": (4, 6), "decoder": decoder, "decoder_filters": (4,)}
    model, images = trained(reconstruction_weight=10.0, **settings)
    labels = np.zeros(5, int)
    model.compile(loss="sparse_categorical_crossentropy")
    reconstructed = keras.Model(model.inputs, model.get_layer("reconstruction").input[1]).predict(images, verbose=0)
    assert reconstructed.shape == images.shape and reconstructed.min() < 0 < reconstructed.max()
    probabilities = model.predict(images, verbose=0)
    expected = -np.log(probabilities[:, 0]).mean() + 10 * np.square(reconstructed - (2 * images - 1)).mean()
    assert model.evaluate(images, labels, verbose=0) == pytest.approx(expected, rel=1e-4)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(networks.load(tmp_path / "model.keras").predict(images, verbose=0), probabilities, atol=1e-6)


@pytest.mark.parametrize("decoder", ["unpooling", "transposed"])
def test_every_stage_is_reconstructed_where_all_are(decoder):
    settings = {"filters": (4, 6, 8), "decoder": decoder, "decoder_filters": (6, 4), "reconstruction_weight": 2.0}
    model = networks.classifier((16, 16, 3), 3, reconstructed="all", **settings)
    parts = model.get_layer("reconstruction").input[1:]
    images = np.random.default_rng(0).random((5, 16, 16, 3), np.float32)
    values = keras.Model(model.inputs, parts).predict(images, verbose=0)
    assert [value.shape[1:] for value in values[::2]] == [(16, 16, 3), (4, 4, 6), (8, 8, 4)]
    for value, name in zip(values[3::2], ("pool2", "pool1"), strict=True):
        inside = keras.Model(model.inputs, model.get_layer(name).output)
        np.testing.assert_allclose(value, inside.predict(images, verbose=0), atol=1e-6)
    model(images)
    errors = [np.square(one - other).mean() for one, other in zip(values[::2], values[1::2], strict=True)]
    assert float(sum(model.losses)) == pytest.approx(2 * sum(errors), rel=1e-4)


def test_a_branch_of_another_size_is_resized():
    model = networks.classifier(
        (14, 14, 1), 3, filters=(4, 4), decoder="resize", decoder_filters=(4,), reconstruction_weight=1.0
    )
    assert model.get_layer("reconstruct").output.shape[1:] == (12, 12, 1)
    assert model.get_layer("resize").output.shape[1:] == (14, 14, 1)


def test_a_branch_teaches_the_encoder():
    settings = {"filters": (4, 4), "decoder": "resize", "decoder_filters": (4,)}
    kernels = [trained(reconstruction_weight=w, **settings)[0].get_layer("conv1").get_weights()[0] for w in (1e-9, 100.0)]
    assert not np.allclose(*kernels, atol=1e-4)


def test_penalties_act():
    model = networks.classifier((16, 16, 1), 3, filters=(4,), l1=0.1)
    kernels = [weight for weight in model.trainable_variables if weight.path.endswith("kernel")]
    expected = sum(0.1 * np.abs(keras.ops.convert_to_numpy(kernel)).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_probabilities(activation, pooling):
    model = networks.classifier((16, 16, 3), 5, filters=(4, 4), activation=activation, pooling=pooling)
    probabilities = model.predict(np.ones((2, 16, 16, 3), np.float32), verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"decoder": "transpose"}, "decoder 'transpose' is not known; did you mean 'transposed'"),
        ({"activation": "rulu"}, "activation 'rulu' is not known; did you mean 'relu'"),
        ({"pooling": "mean"}, r"pooling 'mean' is not known\. Known: 'max', 'average'"),
        ({"normalization": "layer"}, "normalization 'layer' is not known"),
        ({"filters": ()}, "filters must be a list of 1 or more entries, each a whole number from 1"),
        ({"filters": (8, 0)}, "filters must be a list of 1 or more entries, each a whole number from 1"),
        ({"dropout": 1.0}, "dropout must be a number of 0 or more and below 1"),
        ({"l2": -1.0}, "must be a number of 0 or more"),
        ({"filters": (4,) * 6}, r"stage 6 cannot halve a map of 1 × 1: .* 32 × 32 are too small for 6 stages.*use 5 stages"),
        ({"padding": "valid", "kernel_size": 9}, "stage 3 cannot convolve a map of 2 × 2"),
        ({"decoder": "transposed", "decoder_filters": ()}, "decoder_filters must be"),
        ({"decoder": "unpooling", "decoder_filters": (32, 64)}, r"must begin as \(64, 32\) does.*not \(32, 64\)"),
        ({"decoder": "unpooling", "pooling": "average"}, "'unpooling' needs pooling='max'"),
        ({"decoder": "unpooling", "decoder_filters": (64, 32, 8), "reconstruction_weight": 1.0}, "at most 2 entries"),
        ({"filters": (8, ())}, "filters must be a list of 1 or more entries, each a whole number from 1"),
        ({"decoder": "resize", "reconstruction_weight": 1.0, "reconstructed": "some"}, "reconstructed 'some' is not known"),
        (
            {"decoder": "resize", "decoder_filters": (9,), "reconstruction_weight": 1.0, "reconstructed": "all"},
            r"must give \[\(8, 8, 64\), \(16, 16, 32\)\], not \[\(8, 8, 9\)\]",
        ),
        ({"reconstruction_weight": 1.0}, "needs a decoder that reconstructs: transposed, unpooling"),
        ({"decoder": "resize", "reconstruction_weight": -1.0}, "must be a number of 0 or more"),
    ],
)
def test_refuses(settings, said):
    with pytest.raises(ValueError, match=said):
        networks.classifier((32, 32, 3), 10, **settings)


def test_the_reconstruction_is_part_of_the_loss():
    reconstruction, images = np.full((2, 4, 4, 1), 0.5, np.float32), np.zeros((2, 4, 4, 1), np.float32)
    layer = ReconstructionLoss(3.0)
    outputs = np.ones((2, 5), np.float32)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer([outputs, reconstruction, images])), outputs)
    assert [float(loss) for loss in layer.losses] == [0.75]


def test_a_reconstruction_counts_by_a_weight_above_0():
    with pytest.raises(ValueError, match="weight must be above 0"):
        ReconstructionLoss(0)
