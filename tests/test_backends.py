"""The library without TensorFlow: under JAX and Torch it is never imported, and the projections are the same."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import sys
import numpy as np
import pytest
from deconvlib import data, deconvnet, experiments, networks, training
from deconvlib.backend import keras




digits = data.load("digits")
model = networks.classifier(digits.image_shape, digits.num_classes, filters=(8, 8), normalization="batch")
rng = np.random.default_rng(0)  # the backends draw their own initial weights
weights = [rng.normal(scale=0.3, size=weight.shape) for weight in model.weights]
names = [weight.name for weight in model.weights]
model.set_weights([abs(w) + 0.1 if name == "moving_variance" else w for w, name in zip(weights, names, strict=True)])
images = digits.x_test[:8]
channel = int(np.argmax(deconvnet.strongest(model, images, ["relu2"], k=1)["relu2"].activation[:, 0]))
found = [deconvnet.project(model, images, "relu2", channel, rule) for rule in deconvnet.RULES]
found.append(deconvnet.project(model, images, "relu2", channel, switches=False))
units = deconvnet.strongest(model, images, ["relu1"], k=2)["relu1"]
found += [units.activation, deconvnet.project_units(model, images, "relu1", units).projections]
units = deconvnet.strongest(model, images, ["relu2"], k=8)["relu2"]  # of the same images
found += [deconvnet.project_units(model, images, "relu2", units, rule).projections for rule in ("deconvnet", "guided")]
entry = keras.Input(digits.image_shape)
x = keras.layers.Conv2D(8, 3, activation="relu6", name="low")(entry)
capped = keras.Model(entry, keras.layers.ReLU(6, name="high")(keras.layers.Conv2D(8, 3)(x)))
capped.set_weights([rng.normal(size=weight.shape) for weight in capped.weights])
units = deconvnet.strongest(capped, images, "high", k=2)
assert units.activation.max() > 6
for rule in ("guided", "gradient"):
    patches = deconvnet.project_units(capped, images, "high", units, rule)
    found += [patches.projections, deconvnet.project(capped, images, "high", channel, rule), patches.cropped(0.8).pixels]
found += [units.activation, deconvnet.receptive_field.effective(capped, "high", images)]
maps = experiments.grad_cam.grad_cam, experiments.grad_cam.guided
hidden = experiments.targets.of_channels(model, images, "relu2", channel)
for target in (experiments.targets.of_classes(model, images, np.array([digits.y_test[:8], range(8)])), hidden):
    found += [experiments.gradients.gradient_times_input(model, images, target)]
    found += experiments.gradients.integrated_gradients(model, images, target, steps=4)[:2]
    found += [experiments.gradients.smoothgrad(model, images, target, rule, 2) for rule in deconvnet.RULES]
    found += [kind(model, images, target, "relu1") for kind in maps]
units = deconvnet.strongest(model, images, ["relu2"], k=2)["relu2"][:3]
found.append(experiments.saliency.patches(model, images, "relu2", units, "integrated gradients").projections)
found.append(experiments.synthesis.maximize(model, "relu2", [channel], steps=5).images)
tuned = training.transfer.classifier(model, 3)
few = digits.take_classes(["1", "7", "4"]).take_per_class(9).hold_out(0.2)
training.transfer.fit_head(tuned, few)
assert training.transfer.unfreeze(tuned, "conv2") == ["conv2", "dense1", "head"]
assert training.evaluate(tuned, few).accuracy > 0.5
found.append(training.transfer.features(tuned, images))
if sys.argv[2] == "torch":
    np.savez(sys.argv[1], *found)
    sys.exit("tensorflow" in sys.modules)
labels = digits.y_test[:8]
occluded = experiments.occlusion.measure(model, images, labels, "relu2", size=3)
found += [occluded.activation, occluded.probability, experiments.occlusion.agreement(model, images, occluded)["rank"].fillna(0)]
found.append(experiments.invariance.measure(model, images[:2], labels[:2], ["relu1"])[["distance", "probability"]])
parts = {"centre": np.tile([2, 2, 5, 5], (8, 1))}
found.append(experiments.correspondence.measure(model, images, parts, ["relu2"])[["delta", "random"]])
snapshots = {0: [w * 0.9 for w in model.get_weights()], 3: model.get_weights()}
found.append(experiments.evolution.settling(model, snapshots, images, ["relu1", "dense1"]).correlation)
found.append(experiments.evolution.measure(model, snapshots, images, "relu1", [2, 3]).projections)
found.append(experiments.channels.measure(model, images)[["peak", "firing", "rms"]])
history = training.fit(model, digits, epochs=2, gradient_norms=True, augmentation=training.augmentation(flip=False))
training.evaluate(model, digits)
maps = rng.normal(size=(2, 4, 5, 2)).astype(np.float32)
for operator in networks.OPERATORS.values():
    layer = operator(3, 3, strides=2, padding="same")
    layer.build(maps.shape)
    layer.set_weights([rng.normal(size=weight.shape) for weight in layer.weights])
    found.append(layer(maps))
if sys.argv[2] == "jax":  # on a GPU the iterations would lose their way in TF32
    import jax
    assert "HIGHEST" in str(jax.make_jaxpr(networks.network_deconvolution.inverse_square_root)(np.eye(3, dtype=np.float32)))
model.save(sys.argv[1] + ".keras")
np.savez(sys.argv[1], *(np.asarray(array, float) for array in found), loss=history["loss"])
assert ("jax" in sys.modules) == (sys.argv[2] == "jax"), "TensorFlow imports JAX where it can"
sys.exit(("tensorflow" in sys.modules) != (sys.argv[2] == "tensorflow"))
"""


def test_backends_agree_and_import_no_tensorflow(tmp_path):
    names = ["tensorflow", *(name for name in ("jax", "torch") if importlib.util.find_spec(name))]
    if len(names) == 1:
        pytest.skip("neither JAX nor Torch is installed")
    results = {}
    for name in names:
        environment = {**os.environ, "KERAS_BACKEND": name}
        subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / name), name], check=True, env=environment)
        results[name] = np.load(tmp_path / f"{name}.npz")
    for name in names[1:]:
        for array in results[name].files:
            one, other = results["tensorflow"][array], results[name][array]
            if array == "loss":  # the two draw other random numbers while training
                assert (np.diff(one) < 0).all() and (np.diff(other) < 0).all()
            else:
                assert np.linalg.norm(one) > 0
                assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(one), name
