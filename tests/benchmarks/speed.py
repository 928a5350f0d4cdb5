"""Time and memory of deconvlib beside its bare cost and other tools, into reports/benchmarks: `make benchmark`.

Each contender has a process of its own, and they take turns, so that what else the machine does falls on all alike. On a
processor they get two cores. With KERAS_BACKEND=jax on a GPU, PyTorch works there too, and what needs TensorFlow says so.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import nets
import numpy as np
import peers
import table

from deconvlib import backend, data, deconvnet
from deconvlib.experiments import targets
from deconvlib.lab import record

FOLDER = Path(__file__).parents[2] / "reports" / "benchmarks"
ROUNDS = 3
IMAGES = 9


class Case(NamedTuple):
    """What the contenders do; the first is this project."""

    title: str
    net: str
    layer: str | list[str]
    channels: int  # in one run of the first two contenders; the others project one
    aims: dict[str, float]  # {contender: the least number of times as long as the first that it shall take}
    contenders: tuple[str, ...] = ("deconvlib", "bare_cost", "captum", "captum_cut", "xplique", "tf_keras_vis")
    classes: int = 0  # whose maps all contenders make, instead of projections
    images: int = IMAGES


CONVOLUTIONS = [f"conv{i}" for i in range(1, 7)]
CASES = [
    Case("VGG16, block2_conv2", "vgg16", "block2_conv2", 64, {"bare_cost": 0.8, "captum": 300}),
    Case("VGG16, block3_conv3", "vgg16", "block3_conv3", 64, {"bare_cost": 0.8, "captum": 40}),
    Case("VGG16, block5_conv3", "vgg16", "block5_conv3", 8, {"bare_cost": 0.8, "captum": 2}),
    Case("Recommended network, relu6", "recommended", "relu6", 64, {"bare_cost": 0.8}),
    Case("Strongest units of all convolutions", "recommended", CONVOLUTIONS, 0, {"predict": 0.8}, ("strongest", "predict")),
    Case(
        *("Recommended network, Grad-CAM of 10 classes", "recommended", "pool3", 0, {"class_passes": 1 / 1.5}),
        *(("grad_cam", "class_passes", "captum_grad_cam"), 10, 100),
    ),
    Case(
        *("Recommended network, integrated gradients of a class", "recommended", "pool3", 0, {}),
        *(("integrated_gradients", "captum_integrated"), 1),
    ),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--channels", type=int, help="that deconvlib projects of each layer, times 9 images")
    channels = parser.parse_args().channels
    # for the processes of the contenders, which share a GPU where there is one
    os.environ |= {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
    gpu = backend.accelerator()
    if not gpu and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    installed = {dist.name.lower(): dist.version for dist in importlib.metadata.distributions()}
    versions = {name: installed[name] for name in ("torch", "captum", "xplique", "tf-keras-vis") if name in installed}
    found = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": record._commit()}
    found |= {"hardware": record.hardware(), "versions": record.versions() | versions, "cases": []}
    for case in CASES:
        found["cases"].append(measure(case, channels or case.channels))
        print(table.of_case(found["cases"][-1]), flush=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = f"{backend.NAME}-{'gpu' if gpu else 'cpu'}.json"
    record.write(FOLDER / name, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    record.write(FOLDER / "README.md", table.page(FOLDER))


def measure(case: Case, channels: int) -> dict:
    """{title, on: what the contenders worked on, rows: one for each, with its times or why there are none}."""
    model = getattr(nets, case.net)()
    noise, units = nets.noise(case.images, model.input.shape[1]), None
    images, on = (noise, f"{case.images} images of noise") if case.channels or case.classes else _many_images()
    if case.channels:
        units = deconvnet.strongest(model, images, [case.layer], IMAGES)[case.layer]
    if case.classes:
        units = targets.of_classes(model, images, np.arange(case.classes)[:, None].repeat(case.images, axis=1)).units
    contenders = []
    for index, name in enumerate(case.contenders):
        some = units and units[: case.classes or (channels if index < 2 else 1)]
        process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        row = {"contender": name, "units": some.image.size if some else len(images), "aim": case.aims.get(name)}
        contenders.append((process, process.submit(prepare, name, case.net, images, case.layer, some), row, []))
    for _, ready, row, _ in contenders:
        row["error"] = ready.result()
    working = [(process, row, times) for process, _, row, times in contenders if not row["error"]]
    for _ in range(1 + ROUNDS):
        for process, _, times in working:
            times.append(process.submit(seconds).result())
    for process, row, (first, *times) in working:
        row |= {"first_run_seconds": first, "seconds": [spent / row["units"] for spent in times]}
        row["peak_bytes"] = process.submit(peak).result()
    for process, *_ in contenders:
        process.shutdown()
    return {"title": case.title, "on": on, "rows": [row for _, _, row, _ in contenders]}


def _many_images():
    if "DECONVLIB_DATA" in os.environ:
        return data.load("cifar10").x_test.astype(np.float32) / 255, "The 10,000 test images of CIFAR-10"
    return data.shapes(10, 10_000).x_test.astype(np.float32) / 255, "10,000 generated images of shapes, 32 × 32"


# in the contender's process


def prepare(name, net, images, layer, units):
    """Why the contender cannot work; None where it can."""
    global call, before
    try:
        call = getattr(peers, name)(getattr(nets, net)(), images, layer, units)
    except ImportError as error:
        return f"not installed: {error.name}" if error.name else str(error)
    before = _most_memory(anew=True)


def seconds():
    """Of one run, the mean of as many as fit in a second."""
    start, runs = time.perf_counter(), 0
    while not runs or time.perf_counter() - start < 1:
        call()
        runs += 1
    return (time.perf_counter() - start) / runs


def peak():
    return _most_memory() - before


def _most_memory(anew=False):
    """The most bytes in use until now, of the GPU where there is one; anew: counted from now on."""
    if not backend.accelerator():
        if anew:
            Path("/proc/self/clear_refs").write_text("5")
        return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    if "torch" in sys.modules:
        if anew:
            sys.modules["torch"].cuda.reset_peak_memory_stats()
        return sys.modules["torch"].cuda.max_memory_allocated()
    return sys.modules["jax"].devices()[0].memory_stats()["peak_bytes_in_use"]


if __name__ == "__main__":
    main()
