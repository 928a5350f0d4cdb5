"""Images a second in training: this project's `fit` beside plain Keras and PyTorch, on the tutorial's network; as a table.

`python tests/benchmarks/training.py`, and under `KERAS_BACKEND=jax` or `torch`. Each contender has a process of its own, and
they take turns: in each round each trains two epochs on the same images with Adam, of which the second counts, validation
and all. On a processor they get two cores. ×: times as fast as the contender, the median over the rounds.
"""

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from deconvlib import backend, data, networks, training
from deconvlib.backend import keras
from deconvlib.lab import record

AIMS = {"deconvlib": None, "keras": 1.0, "torch": 1.2}  # how many times as fast `fit` shall be
BATCH = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=6400)
    given = parser.parse_args()
    if not backend.accelerator() and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    os.environ |= {"TQDM_DISABLE": "1", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    print(record.hardware(), record.versions())
    print(f"The tutorial's network, {given.images} images of 32 × 32, batch {BATCH}; {given.rounds} rounds\n")
    spawn = multiprocessing.get_context("spawn")
    processes = {name: ProcessPoolExecutor(1, spawn) for name in AIMS}
    seconds = {name: [] for name in AIMS}
    for _ in range(given.rounds):
        for name, process in processes.items():
            # for the process that the first call starts: one with both TensorFlow and PyTorch crashes
            os.environ["KERAS_BACKEND"] = "torch" if name == "torch" else backend.NAME
            seconds[name].append(process.submit(epoch, name, given.images).result())
    print("| | images a second | × | aim |\n|---|--:|--:|---|")
    for name, aim in AIMS.items():
        times = np.median(np.divide(seconds[name], seconds["deconvlib"]))
        met = "" if aim is None else f"≥ {aim}: {'met' if times >= aim else 'missed'}"
        print(f"| {name} | {given.images / np.median(seconds[name]):,.0f} | {times:.2f} | {met} |")
    for process in processes.values():
        process.shutdown()


# in the contender's process


def epoch(name, images):
    """The seconds of an epoch after one that compiles."""
    return {"deconvlib": of_deconvlib, "keras": of_keras, "torch": of_torch}[name](data.shapes(images, 200))


def of_deconvlib(dataset):
    model = networks.tutorial(dataset.image_shape, dataset.num_classes)
    return training.fit(model, dataset, epochs=2, batch_size=BATCH, verbose=False)["seconds"].iloc[1]


def of_keras(dataset):
    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.begun = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            self.spent = time.perf_counter() - self.begun

    train, test = (images.astype(np.float32) / 255 for images in (dataset.x_train, dataset.x_test))
    model, clock = networks.tutorial(dataset.image_shape, dataset.num_classes), Clock()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    how = {"validation_data": (test, dataset.y_test), "callbacks": [clock], "verbose": 0}
    model.fit(train, dataset.y_train, BATCH, 2, **how)
    return clock.spent


def of_torch(dataset):
    import torch
    from torch import nn

    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = nn.Sequential(
        *(part for shape in ((3, 32), (32, 64), (64, 128)) for part in (nn.Conv2d(*shape, 3), nn.ReLU(), nn.MaxPool2d(2))),
        *(part for shape in ((128, 10), (10, 32), (32, 3)) for part in (nn.ConvTranspose2d(*shape, 3, padding=1), nn.ReLU())),
        *(nn.Flatten(), nn.Linear(2 * 2 * 3, 64), nn.ReLU(), nn.Linear(64, dataset.num_classes)),
    ).to(place)  # fmt: skip
    train, test = (
        (torch.tensor(images).permute(0, 3, 1, 2).float().div(255).contiguous().to(place), torch.tensor(labels).to(place))
        for images, labels in ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test))
    )
    optimizer, loss = torch.optim.Adam(model.parameters()), nn.CrossEntropyLoss()
    for _ in range(2):
        begun = time.perf_counter()
        for places in torch.randperm(len(train[0]), device=place).split(BATCH):
            optimizer.zero_grad()
            loss(model(train[0][places]), train[1][places]).backward()
            optimizer.step()
        with torch.no_grad():
            (model(test[0]).argmax(1) == test[1]).float().mean().item()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
