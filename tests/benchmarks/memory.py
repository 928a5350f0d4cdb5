"""Memory that 20,000 photographs take beside 200 of them, into reports/benchmarks: `python tests/benchmarks/memory.py`.

Each step of `work` for both folders, each folder in a process of its own with an empty cache. Memory is RssAnon, what the
process holds itself: the pages of a file that is mapped are not in it, as the system takes them back where it needs them. It
is read every few milliseconds, so that Linux is needed, and 4 GB of disk in TMPDIR. The aim: at no step is the peak of the
many more than AIM above that of the few.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from deconvlib import data, deconvnet, networks, progress, training
from deconvlib.lab import record

SIDE = 224
AIM = 0.5  # GB
PAGE = Path(__file__).parents[2] / "reports" / "benchmarks" / "memory.md"
TEXT = """# Memory: photographs that need not fit in it

`make benchmark` measures this anew, by `python tests/benchmarks/memory.py`: the peak, at each step, of the memory that the
process holds itself (RssAnon; the mapped pages of a file are not in it), for a folder of few photographs and for one of many.
They are JPEG files of {side} × {side} pixels, crops of the photographs that packages bring. Decoded, the many take
{gigabytes:.2f} GB. The aim is a difference of {aim} GB at most.

{about}.

| | {few:,} photographs | {many:,} photographs | difference | seconds, {many:,} |
|---|--:|--:|--:|--:|
{rows}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs=2, default=(200, 20_000), metavar=("FEW", "MANY"))
    few, many = parser.parse_args().counts
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as place:
        runs = [measured(photographs(Path(place) / str(n), n), Path(place) / f"cache of {n}") for n in (few, many)]
    rows, worst = [], 0
    for step, (peak, seconds) in runs[1].items():
        less = runs[0][step][0]
        worst = max(worst, (peak - less) / 1e9)
        rows.append(f"| {step} | {less / 1e9:.2f} GB | {peak / 1e9:.2f} GB | {(peak - less) / 1e9:+.2f} GB | {seconds:.0f} |")
    machine, versions = record.hardware(), record.versions()
    about = f"{machine['device']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
    about += ", ".join(f"{name} {version}" for name, version in versions.items())
    size = many * SIDE * SIDE * 3 / 1e9
    text = TEXT.format(side=SIDE, gigabytes=size, aim=AIM, about=about, few=few, many=many, rows="\n".join(rows))
    print(text)
    print(f"largest difference {worst:+.2f} GB; the aim of {AIM} GB is {'met' if worst <= AIM else 'missed'}")
    record.write(PAGE, text)


def photographs(folder: Path, count: int) -> Path:
    """A folder of `count` square crops of the photographs, a folder for each of them."""
    rng, wholes = np.random.default_rng(0), [data.photograph(name) for name in data.PHOTOGRAPHS]
    for number in progress.steps(range(count), "photographs", "image"):
        label = number % len(wholes)
        height, width = wholes[label].shape[:2]
        side = int(rng.integers(SIDE, min(height, width), endpoint=True))
        row, column = rng.integers(height - side, endpoint=True), rng.integers(width - side, endpoint=True)
        crop = Image.fromarray(wholes[label][row : row + side, column : column + side])
        path = folder / list(data.PHOTOGRAPHS)[label] / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.resize((SIDE, SIDE)).save(path, quality=90)
    return folder


def measured(folder, cache) -> dict:
    """{step: (peak of RssAnon in bytes, seconds)} of a process that works on the photographs of `folder`."""
    context = multiprocessing.get_context("spawn")
    own, its = context.Pipe()
    os.environ["DECONVLIB_CACHE"] = str(cache)
    process = context.Process(target=work, args=(folder, its))
    process.start()
    found, peak = {}, 0
    while process.is_alive() or own.poll():
        peak = max(peak, anonymous(process.pid))
        if own.poll(0.003):
            step, seconds = own.recv()
            found[step], peak = (peak, seconds), 0
    if process.exitcode:
        raise SystemExit(f"the process that works on {folder} has ended with {process.exitcode}")
    return found


def anonymous(pid):
    """Its RssAnon in bytes; 0 where it has ended."""
    try:
        told = Path(f"/proc/{pid}/status").read_text().partition("RssAnon:")[2]
    except FileNotFoundError:
        told = ""
    return int(told.split()[0]) * 1024 if told else 0


def work(folder, pipe):
    """In the process of its own; says through the pipe when a step is done."""
    begun = time.perf_counter()

    def done(step):
        nonlocal begun
        pipe.send((step, time.perf_counter() - begun))
        time.sleep(0.1)  # the next peak is that of the next step
        begun = time.perf_counter()

    done("start")
    dataset = data.load(folder)
    done("loading")
    model = networks.classifier(dataset.image_shape, dataset.num_classes, filters=(8, 16, 32), dense_units=0)
    with tempfile.TemporaryDirectory() as backup:
        training.fit(model, dataset, epochs=1, backup_dir=backup, verbose=False)
    done("one epoch, its test and its backup")
    training.evaluate(model, dataset)
    done("evaluate")
    units = deconvnet.strongest(model, dataset.x_train, ["conv1", "conv2", "conv3"])
    done("strongest")
    deconvnet.project_units(model, dataset.x_train, "conv3", units["conv3"])
    done("project_units")


if __name__ == "__main__":
    main()
