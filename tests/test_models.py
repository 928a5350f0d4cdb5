"""Networks: shapes and counts known by hand, and what cannot be built."""

import subprocess
import sys

import numpy as np
import pytest

from deconvlib import models
from deconvlib.backend import keras


def test_the_tutorials_network():
    table = models.layer_table(models.tutorial((32, 32, 3), 10)).set_index("layer")
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
    # 2 · weights without bias · positions of the output, of the input where transposed
    assert table.loc["conv1", "FLOPs"] == 2 * 864 * 900
    assert table.loc["deconv1", "FLOPs"] == 2 * 11520 * 4
    assert table.loc["logits", "FLOPs"] == 2 * 640


@pytest.mark.parametrize("strides", [1, 2, 3])
def test_each_transposed_convolution_multiplies_the_size(strides):
    model = models.classifier((32, 32, 3), 10, decoder="transposed", decoder_strides=strides, decoder_filters=(4, 4))
    assert model.get_layer("deconv2").output.shape[1:] == (4 * strides**2, 4 * strides**2, 4)


def test_layers_have_the_names_of_the_text():
    model = models.classifier((16, 16, 1), 3, filters=(4, 4), convolutions=2, normalization="batch", dropout=0.1)
    names = [layer.name for layer in model.layers[2:]]
    stages = [f"{kind}{n}" for n in (1, 2) for kind in ("conv", "norm", "relu")]
    assert names[:7] == [*stages, "pool1"]
    assert names[-6:] == ["flatten", "dropout1", "dense1", "dropout2", "logits", "softmax"]


def test_weights_come_from_the_seed():
    build = [models.classifier((16, 16, 1), 3, filters=(4,), seed=seed).get_weights() for seed in (0, 0, 1)]
    assert all(np.array_equal(a, b) for a, b in zip(build[0], build[1], strict=True))
    assert not np.array_equal(build[0][0], build[2][0])


def test_a_saved_model_loads_in_a_fresh_process(tmp_path):
    model = models.classifier((16, 16, 1), 3, filters=(4,), normalization="batch", decoder="transposed", l2=1e-4)
    images = np.random.default_rng(0).random((2, 16, 16, 1), dtype=np.float32)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    code = (
        "import sys, numpy as np; from deconvlib.backend import keras\n"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras')\n"
        "np.save(sys.argv[1] + '/out.npy', model.predict(np.load(sys.argv[1] + '/images.npy'), verbose=0))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), model.predict(images, verbose=0), atol=1e-6)


def test_penalties_act():
    model = models.classifier((16, 16, 1), 3, filters=(4,), l1=0.1)
    kernels = [weight for weight in model.trainable_variables if weight.path.endswith("kernel")]
    expected = sum(0.1 * np.abs(keras.ops.convert_to_numpy(kernel)).sum() for kernel in kernels)
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu"])
@pytest.mark.parametrize("pooling", ["max", "average"])
def test_probabilities(activation, pooling):
    model = models.classifier((16, 16, 3), 5, filters=(4, 4), activation=activation, pooling=pooling)
    probabilities = model.predict(np.ones((2, 16, 16, 3), np.float32), verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"decoder": "transpose"}, "decoder 'transpose' is not known; did you mean 'transposed'"),
        ({"activation": "rulu"}, "activation 'rulu' is not known; did you mean 'relu'"),
        ({"pooling": "mean"}, r"pooling 'mean' is not known\. Known: 'max', 'average'"),
        ({"normalization": "layer"}, "normalization 'layer' is not known"),
        ({"filters": ()}, "filters must be whole numbers of 1 or more"),
        ({"filters": (8, 0)}, "filters must be whole numbers of 1 or more"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"l2": -1.0}, "must not be negative"),
        ({"filters": (4,) * 6}, r"stage 6 cannot halve a map of 1 × 1: .* 32 × 32 are too small for 6 stages.*use 5 stages"),
        ({"padding": "valid", "kernel_size": 9}, "stage 3 cannot convolve a map of 2 × 2"),
        ({"decoder": "transposed", "decoder_filters": ()}, "decoder_filters must be"),
    ],
)
def test_refuses(settings, said):
    with pytest.raises(ValueError, match=said):
        models.classifier((32, 32, 3), 10, **settings)


def test_images_become_what_the_model_takes():
    model = models.classifier((16, 16, 1), 3, filters=(4,))
    bytes_, floats = np.full((1, 16, 16, 1), 255, np.uint8), np.full((1, 16, 16, 1), 0.5)
    assert models.as_input(model, bytes_).max() == 1 and models.as_input(model, floats).dtype == np.float32
