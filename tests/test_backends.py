"""The library without TensorFlow: under JAX it is never imported, and gives the same projections."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("jax")

PROGRAM = """
import sys
import numpy as np
from deconvlib import data, deconvnet, exemplars, models, training
digits = data.load("digits")
model = models.classifier(digits.image_shape, digits.num_classes, filters=(8, 8), normalization="batch")
rng = np.random.default_rng(0)  # the backends draw their own initial weights
weights = [rng.normal(scale=0.3, size=weight.shape) for weight in model.weights]
names = [weight.name for weight in model.weights]
model.set_weights([abs(w) + 0.1 if name == "moving_variance" else w for w, name in zip(weights, names, strict=True)])
images = digits.x_test[:8]
found = [deconvnet.project(model, images, "relu2", 3, rule) for rule in deconvnet.RULES]
history = training.fit(model, digits, epochs=2, gradient_norms=True, augmentation=models.augmentation(flip=False))
training.evaluate(model, digits)
exemplars.strongest(model, images, ["relu1"], k=2)
model.save(sys.argv[1] + ".keras")
np.savez(sys.argv[1], *found, loss=history["loss"])
sys.exit(("tensorflow" in sys.modules) != (sys.argv[2] == "tensorflow"))
"""


def test_jax_agrees_and_imports_no_tensorflow(tmp_path):
    results = {}
    for name in ("tensorflow", "jax"):
        environment = {**os.environ, "KERAS_BACKEND": name}
        subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path / name), name], check=True, env=environment)
        results[name] = np.load(tmp_path / f"{name}.npz")
    for array in results["jax"].files:
        one, other = results["tensorflow"][array], results["jax"][array]
        if array == "loss":  # the two draw other random numbers while training
            assert (np.diff(one) < 0).all() and (np.diff(other) < 0).all()
        else:
            assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(one)
