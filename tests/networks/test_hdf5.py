"""Models in HDF5 files: in the words of Keras 2, which are written here by hand, and as Keras 3 saves them."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from deconvlib import deconvnet, networks
from deconvlib.backend import keras

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3)).astype(np.float32)


def written(path, config, weights, version="2.15.0", engine="tensorflow"):
    """An .h5 file as Keras 2 writes it. weights: {layer: {name: array}}, in its order: trainable ones first."""
    with h5py.File(path, "w") as held:
        held.attrs["model_config"] = json.dumps(config)
        group = held.create_group("model_weights")
        group.attrs["keras_version"], group.attrs["backend"] = version, engine
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for layer, arrays in weights.items():
            inner = group.create_group(layer)
            inner.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                inner[name] = np.asarray(array, np.float32)
    return path


def layer(kind, name, *reads, **settings):
    """One layer of a graph; reads: (layer, which call of it, 0, keywords of this call)."""
    described = {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32"} | settings, "name": name}
    return described | {"inbound_nodes": [[list(read) for read in reads]] if reads else []}


def operation(function, name, read):
    described = layer("TFOpLambda", name, function=function)
    return described | {"inbound_nodes": [list(read)]}


def graph(name, layers, first, last):
    config = {"name": name, "trainable": True, "layers": layers, "input_layers": [[*first]], "output_layers": [[*last]]}
    return {"class_name": "Functional", "config": config, "name": name}


def sequence(*layers, shape=(None, 6, 6, 3)):
    """A Sequential of (class, arguments), as older files have it: the shape stands with the first layer."""
    described = [{"class_name": kind, "config": {"name": f"l{i}"} | config} for i, (kind, config) in enumerate(layers)]
    described[0]["config"]["batch_input_shape"] = shape
    return {"class_name": "Sequential", "config": {"name": "sequential", "layers": described}}


def convolution(kind, name, *reads, **settings):
    settings = {"kernel_size": [1, 1], "strides": [1, 1], "padding": "same", "use_bias": False, "groups": 1} | settings
    return layer(kind, name, *reads, kernel_initializer={"class_name": "VarianceScaling", "config": {"scale": 1}}, **settings)


def normalized(x, gamma, beta, mean, variance):
    return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta


def test_a_fine_tuned_model_of_keras_2(tmp_path):
    """Augmentation, preprocessing by functions of TensorFlow, a nested base half of which is frozen, one sigmoid."""
    rng = np.random.default_rng(0)
    kernels = {name: rng.normal(size=shape) for name, shape in {"a": (1, 1, 3, 4), "b": (1, 1, 4, 1), "c": (4, 1)}.items()}
    first, second = rng.uniform(0.5, 1.5, (2, 4, 4))  # gamma, beta, mean, variance: all of one shape
    base = graph(
        "base",
        [
            layer("InputLayer", "images", batch_input_shape=[None, 6, 6, 3], sparse=False, ragged=False),
            convolution("Conv2D", "stem/conv", ["images", 0, 0, {}], filters=4, trainable=False),
            layer("BatchNormalization", "norm1", ["stem/conv", 0, 0, {}], axis=[3], trainable=False),
            layer("ReLU", "relu1", ["norm1", 0, 0, {}], max_value=6.0, negative_slope=0.0, threshold=0.0),
            convolution("DepthwiseConv2D", "depthwise", ["relu1", 0, 0, {}], depth_multiplier=1),
            layer("BatchNormalization", "norm2", ["depthwise", 0, 0, {}], axis=[3], fused=True),
            layer("ReLU", "relu2", ["norm2", 0, 0, {}]),
        ],
        ["images", 0, 0],
        ["relu2", 0, 0],
    )
    flip = {"class_name": "RandomFlip", "config": {"name": "flip", "rng_type": "stateful", "mode": "horizontal", "seed": None}}
    augment = sequence(("InputLayer", {}), shape=[None, 6, 6, 3])
    augment["config"] |= {"name": "augment", "layers": [*augment["config"]["layers"], flip]}
    layers = [
        layer("InputLayer", "photo", batch_input_shape=[None, 6, 6, 3]),
        augment | {"name": "augment", "inbound_nodes": [[["photo", 0, 0, {}]]]},
        operation("math.truediv", "tf.math.truediv", ["augment", 1, 0, {"y": 127.5, "name": None}]),
        operation("math.subtract", "tf.math.subtract", ["tf.math.truediv", 0, 0, {"y": 1.0, "name": None}]),
        base | {"inbound_nodes": [[["tf.math.subtract", 0, 0, {"training": False}]]]},
        layer("GlobalAveragePooling2D", "pool", ["base", 1, 0, {}], keepdims=False),
        layer("Dropout", "dropout", ["pool", 0, 0, {}], rate=0.5, noise_shape=None, seed=None),
        layer("Dense", "dense", ["dropout", 0, 0, {}], units=1, activation="sigmoid", use_bias=False),
    ]
    names = ("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0")
    inner = {"depthwise/depthwise_kernel:0": kernels["b"], "norm2/gamma:0": second[0], "norm2/beta:0": second[1]}
    inner |= {"stem/conv/kernel:0": kernels["a"], **{f"norm1/{name}": array for name, array in zip(names, first, strict=True)}}
    inner |= {"norm2/moving_mean:0": second[2], "norm2/moving_variance:0": second[3]}
    weights = {"photo": {}, "augment": {}, "base": inner, "dense": {"dense/kernel:0": kernels["c"]}}
    path = written(tmp_path / "m.h5", graph("model", layers, ["photo", 0, 0], ["dense", 0, 0]), weights)

    model = networks.load(path)
    x = np.clip(normalized((IMAGES / 127.5 - 1) @ kernels["a"][0, 0], *first), 0, 6)
    x = np.maximum(normalized(x * kernels["b"][0, 0, :, 0], *second), 0).mean(axis=(1, 2))
    wanted = 1 / (1 + np.exp(-(x @ kernels["c"])))
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(model.predict(IMAGES, verbose=0), np.concatenate([1 - wanted, wanted], axis=1), atol=1e-5)
    assert deconvnet.inputs.pixel_range(model) == (0, 255)
    assert deconvnet.strongest(model, IMAGES, "relu2", 2).activation.shape == (4, 2)


@pytest.mark.parametrize(
    ("described", "value"),
    [
        (("Activation", {"activation": "hard_sigmoid"}), lambda x: np.clip(0.2 * x + 0.5, 0, 1)),  # Keras 3: x / 6 + 0.5
        (("ThresholdedReLU", {"theta": 100.0}), lambda x: x * (x > 100)),
        (("LeakyReLU", {"alpha": 0.25}), lambda x: np.where(x > 0, x, x / 4)),
        (("SpatialDropout2D", {"rate": 0.5, "trainable": True, "noise_shape": None}), lambda x: x),
        (("RandomZoom", {"height_factor": 0.1, "rng_type": "stateful"}), lambda x: x),
        (("Activation", {"activation": {"class_name": "ReLU", "config": {"max_value": 9.0}}}), lambda x: np.clip(x, 0, 9)),
        (("Permute", {"dims": [1, 2, 3], "dtype": {"class_name": "Policy", "config": {"name": "float32"}}}), lambda x: x),
    ],
    ids=lambda part: part[0] if isinstance(part, tuple) else "",
)
def test_a_layer_does_what_it_did_in_keras_2(described, value, tmp_path):
    config = sequence(described, ("GlobalAveragePooling2D", {}), ("Softmax", {}))
    model = networks.load(written(tmp_path / "m.h5", config, {}))
    signed = IMAGES - 120
    before = keras.Model(model.inputs, model.layers[-2].output).predict(signed, verbose=0)
    np.testing.assert_allclose(before, value(signed).mean(axis=(1, 2)), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "read", "value"),
    [
        ("__operators__.add", ["x", 0, 0, {"y": 3.0, "name": None}], lambda x: x + 3),
        ("math.subtract", ["_CONSTANT_VALUE", -1, 7.0, {"y": ["x", 0, 0], "name": None}], lambda x: 7 - x),
        ("math.multiply", ["x", 0, 0, {"y": ["x", 0, 0], "name": None}], lambda x: x * x),
        ("math.multiply", ["x", 0, 0, {"y": 0.5}], lambda x: x / 2),
        ("nn.relu6", ["x", 0, 0, {"name": None}], lambda x: np.clip(x, 0, 6)),
    ],
)
def test_a_function_of_tensorflow_is_a_layer_where_that_is_exact(function, read, value, tmp_path):
    layers = [
        layer("InputLayer", "x", batch_input_shape=[None, 6, 6, 3]),
        operation(function, "tf.op", read),
        layer("GlobalAveragePooling2D", "pool", ["tf.op", 0, 0, {}]),
        layer("Softmax", "softmax", ["pool", 0, 0, {}]),
    ]
    model = networks.load(written(tmp_path / "m.h5", graph("m", layers, ["x", 0, 0], ["softmax", 0, 0]), {}))
    before = keras.Model(model.inputs, model.get_layer("pool").output).predict(IMAGES - 120, verbose=0)
    np.testing.assert_allclose(before, value(IMAGES - 120).mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("function", "read"),
    [
        ("math.truediv", ["_CONSTANT_VALUE", -1, 7.0, {"y": ["x", 0, 0]}]),
        ("nn.bias_add", ["x", 0, 0, {"bias": [1.0, 2.0, 3.0]}]),
        ("math.add", ["x", 0, 0, {"y": [1.0, 2.0, 3.0]}]),
    ],
)
def test_any_other_function_of_tensorflow_is_refused_by_name(function, read, tmp_path):
    layers = [layer("InputLayer", "x", batch_input_shape=[None, 6, 6, 3]), operation(function, "tf.op", read)]
    path = written(tmp_path / "m.h5", graph("m", layers, ["x", 0, 0], ["tf.op", 0, 0]), {})
    with pytest.raises(ValueError, match=rf"TensorFlow's '{function}'.*then model.load_weights\('m.h5'\)"):
        networks.load(path)


@pytest.mark.parametrize("kind", ["Sequential", "Functional"])
def test_a_nested_model_may_be_the_last_layer_and_be_called_twice(kind, tmp_path):
    head = sequence(("Softmax", {}), shape=[None, 3])
    if kind == "Functional":
        entry = layer("InputLayer", "maps", batch_input_shape=[None, 3])
        head = graph("head", [entry, layer("Softmax", "softmax", ["maps", 0, 0, {}])], ["maps", 0, 0], ["softmax", 0, 0])
    head["config"]["name"] = "head"
    layers = [
        layer("InputLayer", "x", batch_input_shape=[None, 6, 6, 3]),
        layer("GlobalAveragePooling2D", "mean", ["x", 0, 0, {}]),
        # Keras 2 counts the calls of a nested model from 1
        head | {"name": "head", "inbound_nodes": [[["mean", 0, 0, {}]], [["head", 1, 0, {}]]]},
    ]
    path = written(tmp_path / "m.h5", graph("m", layers, ["x", 0, 0], ["head", 2, 0]), {})
    once = keras.ops.softmax(IMAGES.mean(axis=(1, 2)) / 100)
    np.testing.assert_allclose(networks.load(path).predict(IMAGES / 100, verbose=0), keras.ops.softmax(once), rtol=1e-5)


DENSE = sequence(("Flatten", {}), ("Dense", {"units": 2, "activation": "softmax", "use_bias": True}))
KERNEL, BIAS = np.ones((108, 2)), np.zeros(2)


@pytest.mark.parametrize(
    ("config", "weights", "said"),
    [
        (DENSE, {"l1": {"l1/kernel:0": KERNEL.T, "l1/bias:0": BIAS}}, r"'l1/kernel:0' of layer 'l1' have shape \(2, 108\)"),
        (DENSE, {"l1": {"l1/kernel:0": KERNEL}}, "holds 1 weights of layer 'l1', which has 2"),
        (DENSE, {"l1": {"l1/gamma:0": KERNEL, "l1/bias:0": BIAS}}, "holds 'l1/gamma:0' where layer 'l1' has"),
        (DENSE, {}, "no weights of layer 'l1'"),
        (DENSE, {"l1": {"l1/kernel:0": KERNEL * np.nan, "l1/bias:0": BIAS}}, "NaN or infinity"),
        (sequence(("LocallyConnected2D", {"filters": 2})), {}, "class 'LocallyConnected2D'"),
        (sequence(("Activation", {"activation": "mine"})), {}, "function 'mine'"),
        (sequence(("Dense", {"units": 2, "lattice": 5})), {}, "cannot be loaded.*lattice"),
        ({"class_name": "Sequential"}, {}, "not a whole .h5 file"),
        ([1, 2], {}, "not a whole .h5 file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(config, weights, said, tmp_path):
    with pytest.raises(ValueError, match=said) as error:
        networks.load(written(tmp_path / "m.h5", config, weights))
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_versions_that_are_not_read(tmp_path):
    with pytest.raises(ValueError, match=r"is not read: Keras 1 wrote it.*set_weights"):
        networks.load(written(tmp_path / "one.h5", DENSE, {}, version="1.2.2"))
    with pytest.raises(ValueError, match=r"is not read: Theano wrote it.*set_weights"):
        networks.load(written(tmp_path / "t.h5", DENSE, {}, version="2.0.5", engine="theano"))


@pytest.mark.parametrize(
    "code", [{"class_name": "__lambda__", "config": {"code": "4wEA", "defaults": None}}, ["4wEA", None, None]]
)
def test_a_lambda_is_refused_by_its_name(code, tmp_path):
    path = written(tmp_path / "m.h5", sequence(("Lambda", {"name": "evil", "function": code, "function_type": "lambda"})), {})
    with pytest.raises(ValueError, match=r"the Lambda layer 'evil'.*nothing of it was run"):
        networks.load(path)


def test_a_class_of_another_module_is_refused(tmp_path):
    described = ("TimeDistributed", {"layer": {"module": "subprocess", "class_name": "Popen", "config": {"args": "true"}}})
    with pytest.raises(ValueError, match="class 'Popen'"):
        networks.load(written(tmp_path / "m.h5", sequence(described), {}))


def test_weights_in_another_file_are_not_read(tmp_path):
    path = written(tmp_path / "m.h5", DENSE, {"l1": {"l1/kernel:0": KERNEL, "l1/bias:0": BIAS}})
    assert networks.load(path).output_shape == (None, 2)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["secret"] = KERNEL
    with h5py.File(path, "a") as held:
        del held["model_weights/l1/l1/kernel:0"]
        held["model_weights/l1/l1/kernel:0"] = h5py.ExternalLink("other.h5", "secret")
    with pytest.raises(ValueError, match="lie in another file"):
        networks.load(path)


class Halved(keras.layers.Layer):
    def call(self, x):
        return x / 2


def test_a_custom_layer_is_taken_once_it_is_registered(tmp_path):
    config = sequence(("Halved", {}), ("Flatten", {}), ("Softmax", {}))
    path = written(tmp_path / "m.h5", config, {})
    with pytest.raises(ValueError, match=r"class 'Halved'.*register_keras_serializable"):
        networks.load(path)
    with keras.saving.custom_object_scope({"Custom>Halved": Halved}):
        assert networks.load(path).output_shape == (None, 108)


@pytest.mark.filterwarnings("ignore:You are saving")
def test_files_that_are_cut_short_or_hold_no_model(tmp_path):
    model = networks.classifier((16, 16, 1), 3, filters=(4,))
    model.save(tmp_path / "whole.h5")
    held = (tmp_path / "whole.h5").read_bytes()
    (tmp_path / "short.h5").write_bytes(held[: len(held) // 2])
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.hdf5").write_text("no model")
    model.save_weights(tmp_path / "own.weights.h5")
    with h5py.File(tmp_path / "table.h5", "w") as table:
        table["x"] = np.zeros(3)
    for name, said in {
        "short.h5": "not a whole .h5 file.*truncated",
        "empty.h5": "not a .h5 file, or it is cut short",
        "text.hdf5": "not a .hdf5 file, or it is cut short",
        "own.weights.h5": r"weights without layers.*weights='own.weights.h5'.*model.load_weights\('own.weights.h5'\)",
        "table.h5": "weights without layers",
    }.items():
        with pytest.raises(ValueError, match=said) as error:
            networks.load(tmp_path / name)
        assert "\n" not in str(error.value) and len(str(error.value)) < 600
    (tmp_path / "whole.h5").rename(tmp_path / "named.model")  # the content tells
    assert networks.load(tmp_path / "named.model").output_shape == (None, 3)


def transfer(operations):
    """What people make of a pretrained network; random weights, in which no two are alike."""
    base = keras.applications.MobileNetV2(input_shape=(96, 96, 3), include_top=False, weights=None)
    for part in base.layers[:100]:
        part.trainable = False
    images = keras.Input((96, 96, 3))
    augment = keras.Sequential([keras.layers.RandomFlip("horizontal"), keras.layers.RandomRotation(0.1)], name="augment")
    x = augment(images)
    preprocess = keras.applications.mobilenet_v2.preprocess_input if operations else keras.layers.Rescaling(1 / 127.5, -1)
    x = keras.layers.GlobalAveragePooling2D()(base(preprocess(x), training=False))
    model = keras.Model(images, keras.layers.Dense(1)(keras.layers.Dropout(0.2)(x)))
    rng = np.random.default_rng(0)
    for weight in model.weights:
        inputs = np.prod(weight.shape[: 2 if "depthwise" in weight.path else -1])
        drawn = rng.normal(0, 1 / np.sqrt(inputs), weight.shape)
        weight.assign(1 + np.abs(drawn) if "variance" in weight.name or "gamma" in weight.name else drawn)
    return model, base


@pytest.mark.filterwarnings("ignore:You are saving")
@pytest.mark.parametrize(("operations", "ending"), [(True, "keras"), (True, "h5"), (False, "h5")])
def test_a_pretrained_base_with_preprocessing_inside(operations, ending, tmp_path):
    model, base = transfer(operations)
    path = Path(tmp_path / f"transfer.{ending}")
    model.save(path)
    rng = np.random.default_rng(0)
    images = (255 * rng.random((4, 96, 96, 3)) * rng.random((4, 1, 1, 3))).astype(np.uint8)
    logits = model.predict(images.astype(np.float32), verbose=0)[:, 0]
    assert np.ptp(logits) > 1e-3
    loaded = networks.load(path)
    given = loaded.predict(deconvnet.inputs.as_input(loaded, images), verbose=0)
    np.testing.assert_allclose(given[:, 1], 1 / (1 + np.exp(-logits)), atol=1e-5)
    assert deconvnet.inputs.pixel_range(loaded) == (0, 255)

    name = "block_3_expand_relu"  # a layer of the base, by its own name
    alone = base.get_layer(name).output
    maps = keras.Model(base.inputs, alone).predict(images / 127.5 - 1, verbose=0)
    units = deconvnet.strongest(loaded, images, name, 2)
    reached = np.minimum(units.activation[:, 0], 6)  # units are ranked by what the ReLU6 is given
    np.testing.assert_allclose(reached, maps.max(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    assert deconvnet.receptive_field.of(loaded, name).size == deconvnet.receptive_field.of(base, name).size
    assert deconvnet.coverage(loaded, deconvnet.graph.steps(loaded)[-1].name)["covered"].sum() >= 35
    projected = deconvnet.project(loaded, images, name, int(units.activation[:, 0].argmax()), "gradient")
    assert projected.shape == images.shape and np.isfinite(projected).all() and np.abs(projected).max() > 0
