"""The `gpu` profile of notebook 03 on a GPU: accuracy, seconds from a cold and a warm compilation cache, images a second.

`KERAS_BACKEND=jax DECONVLIB_DATA=<folder> python tests/benchmarks/gpu_epoch.py [--peer "python airbench94.py"]`. Each fit has a
process of its own; the peer, a command that tells its own numbers, runs in the same call. Seconds are those of `fit`, with
compilation and validation; images a second those of the median epoch. Accuracy is that of the test images, which chose nothing,
as they are and averaged with their mirror images. Two minutes. Smaller: `--images 500 --epochs 2 --filters 8`.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

PROFILE = Path(__file__).parents[2] / "notebooks" / "profiles" / "gpu.yaml"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, help="training images; all where it is not given")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--filters", type=int, help="of two stages, in place of the profile's")
    parser.add_argument("--seeds", type=int, default=1, help="fits from the warm cache")
    parser.add_argument("--peer", help="a command that is run beside them")
    given = parser.parse_args()
    if given.peer:
        subprocess.run(shlex.split(given.peer), check=True)
    with tempfile.TemporaryDirectory() as cache:
        for seed in (0, *range(given.seeds)):
            own = {"JAX_COMPILATION_CACHE_DIR": cache, "BENCHMARK": json.dumps(vars(given) | {"seed": seed})}
            subprocess.run(
                [sys.executable, "-c", "import gpu_epoch; gpu_epoch.fit()"],
                env=os.environ | own,
                check=True,
                cwd=Path(__file__).parent,
            )


def fit():
    """Print one line of what the profile's training is, in a process of its own."""
    from deconvlib import data, networks, training
    from deconvlib.lab import record

    given = json.loads(os.environ["BENCHMARK"])
    how, seed = yaml.safe_load(PROFILE.read_text(encoding="utf-8"))["03_training"], given["seed"]
    how |= {
        "epochs": given["epochs"] or how["epochs"],
        "filters": 2 * [given["filters"]] if given["filters"] else how["filters"],
    }
    dataset = data.load("cifar10")
    dataset = dataset.take(given["images"], given["images"]) if given["images"] else dataset
    built = {name: how[name] for name in ("filters", "normalization", "dense_units")}
    model = networks.classifier(dataset.image_shape, dataset.num_classes, **built, seed=seed)
    names = ("optimizer", "learning_rate", "weight_decay", "label_smoothing", "epochs", "batch_size", "precision")
    settings = {name: how[name] for name in names} | {"schedule": "cosine", "seed": seed, "verbose": False}
    begun = time.perf_counter()
    history = training.fit(model, dataset, augmentation=training.augmentation(True, how["shift"], seed), **settings)
    spent = time.perf_counter() - begun
    plain, mirrored = (training.evaluate(model, dataset, mirrored=mirrored).accuracy for mirrored in (False, True))
    print(
        f"{record.hardware()['device']}, {record.versions()['backend']}, seed {seed}: {spent:.1f} s, the first epoch "
        f"{history['seconds'].iloc[0]:.1f} s, {len(dataset.x_train) / history['seconds'].median():,.0f} images a second; "
        f"accuracy {plain:.4f}, mirrored {mirrored:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
