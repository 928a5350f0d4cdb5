"""Trainings and runs that are killed at random moments, and started again with the same command, end as one that was not.

More of them than `make test` has time for: `python tests/kills.py --kills 200 --seed 1`.
"""

import argparse
import collections
import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

ROOT = Path(__file__).parents[1]
EPOCHS = 8  # of a training
RUNS = {
    "03_training": {
        **{"labels_per_class": "60", "batch_size": "30", "filters": "[16, 32, 64]", "dense_units": "0"},
        **{"learning_rate": "5e-3", "flip": "False", "shift": "0.0", "epochs": "4", "tutorial_epochs": "2"},
    },
    "08_restoration": {
        **{"dataset_name": "digits", "train_images": "100", "test_images": "20", "damages": '["noise"]', "no_skips": "[]"},
        **{"filters": "[4]", "epochs": "4"},
    },
}
TIMES = ("seconds", "images a second")  # of what is measured, these differ
# in the place of Python's own: a kernel starts with it as well
START = """
import json, os, sys
place, *fault = json.loads(os.environ["FAULT"])
if ("ipykernel_launcher" in sys.orig_argv) == (place == "kernel"):
    import kills
    kills.arm(*fault)
"""


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def arm(what, number, share=0.0):
    """Let this process kill itself.

    what: "writing", in the `number`-th writing of a backup, when `share` of its bytes are on the disk; "before" or "after"
    the `number`-th file takes its place; "step", after as many steps.
    """
    left = [number]

    def due():
        left[0] -= 1
        return not left[0]

    if what == "writing":

        def write(path, *arrays, savez=np.savez, **named):
            savez(path, *arrays, **named)
            if due():
                os.truncate(path, int(share * os.path.getsize(path)))
                kill()

        np.savez = write
    elif what == "step":
        from deconvlib.training import callbacks

        def end(log, batch, logs=None, on_train_batch_end=callbacks.Log.on_train_batch_end):
            on_train_batch_end(log, batch, logs)
            if due():
                kill()

        callbacks.Log.on_train_batch_end = end
    else:

        def move(*names, replace=os.replace, **options):
            fatal = due()
            if fatal and what == "before":
                kill()
            replace(*names, **options)
            if fatal:
                kill()

        os.replace = move


def train(folder, result, fault):
    """A training with everything that it draws at random and remembers; its history and weights go to `result`."""
    from small import keras, settings, small, training

    from deconvlib import data
    from deconvlib.training import device

    device.UNTOLD = 2**30  # under JAX, epochs on the device
    if fault:
        arm(*fault)
    digits = data.load("digits").take(train=150, test=50)
    model = small(digits, dropout=0.2)
    stop = keras.callbacks.EarlyStopping("val_accuracy", patience=EPOCHS - 2, restore_best_weights=True)
    how = settings() | {"callbacks": (stop,), "gradient_norms": True, "verbose": False}
    history = training.fit(model, digits, epochs=EPOCHS, batch_size=50, **how, backup_dir=folder)
    history.to_csv(result / "history.csv", index=False)
    np.save(result / "weights.npy", np.concatenate([weight.ravel() for weight in model.get_weights()]))


class Training:
    """Starts `train`, each in a process of its own, from one that has Keras imported."""

    def __init__(self):
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["small"])
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [paths, os.environ.get("PYTHONPATH")]))

    def draw(self, rng):
        """A fault; most of them lie within the writing of a backup, or beside it."""
        what = rng.choice(["writing", "writing", "before", "after", "step", "time"])
        if what == "time":
            return what, rng.uniform(0.0, 2.0)
        return what, rng.randint(1, 8 if what == "step" else 3), rng.random()

    def start(self, folder, fault=None):
        """True where the training came to its end, False where it was killed."""
        timed = fault is not None and fault[0] == "time"
        process = self.context.Process(target=train, args=(folder / "backup", folder, None if timed else fault))
        process.start()
        process.join(fault[1] if timed else 600)
        process.kill()  # where it has not ended
        process.join()
        assert process.exitcode in ((0, -signal.SIGKILL) if fault else (0,)), f"{fault}: exit code {process.exitcode}"
        return process.exitcode == 0

    def result(self, folder):
        return {"history": pd.read_csv(folder / "history.csv"), "weights": np.load(folder / "weights.npy")}


class Run:
    """Starts `python -m deconvlib run`, of one notebook made small."""

    def __init__(self, stem):
        self.stem, self.seconds = stem, 60.0
        parts = [part for name, value in RUNS[stem].items() for part in ("-p", name, value)]
        self.command = [sys.executable, "-m", "deconvlib", "run", stem, *parts, "--out"]

    def draw(self, rng):
        what = rng.choice(["writing", "writing", "before", "after", "time", "time"])
        if what == "time":
            return what, rng.uniform(0.2, 1.0) * self.seconds, rng.choice(["kernel", "runner", "both"])
        place = "kernel" if what == "writing" else rng.choice(["kernel", "runner"])
        return place, what, rng.randint(1, 5 if place == "kernel" else 4), rng.random()

    def start(self, folder, fault=None):
        environment = dict(os.environ)
        timed = fault is not None and fault[0] == "time"
        if fault and not timed:
            (folder / "start").mkdir(exist_ok=True)
            (folder / "start" / "sitecustomize.py").write_text(START)
            paths = [str(folder / "start"), str(ROOT), str(ROOT / "tests"), environment.get("PYTHONPATH")]
            environment |= {"FAULT": json.dumps(fault), "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        with (folder / "log.txt").open("w") as log:
            begun = time.monotonic()
            process = subprocess.Popen([*self.command, folder / "out"], cwd=ROOT, env=environment, stdout=log, stderr=log)
            try:
                code = process.wait(fault[1] if timed else 1200)
            except subprocess.TimeoutExpired:
                code = self._kill(process, fault[2] if timed else "both")
        said = (folder / "log.txt").read_text()
        assert code == 0 or (fault and (code == -signal.SIGKILL or "died" in said)), f"{fault}: exit code {code}\n{said}"
        if not fault:
            self.seconds = time.monotonic() - begun
        return code == 0

    def _kill(self, process, whom):
        kernels = psutil.Process(process.pid).children(recursive=True)
        for one in (*(kernels if whom != "runner" else ()), *([process] if whom != "kernel" else ())):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        return process.wait(600)

    def result(self, folder):
        found = json.loads((folder / "out" / self.stem / "metrics.json").read_text())["metrics"]
        result = {name: value for name, value in found.items() if not any(time in name for time in TIMES)}
        if self.stem == "03_training":
            from small import keras

            result["history"] = pd.read_csv(folder / "out" / "history.csv")
            weights = keras.models.load_model(folder / "out" / "classifier.keras").get_weights()
            result["weights"] = np.concatenate([weight.ravel() for weight in weights])
        assert not (folder / "out" / self.stem / "backup").exists(), "a run that ended would go on"
        return result


def compare(found, expected):
    """Asserts that two results are the same but for the time they took."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        if isinstance(value, pd.DataFrame):
            columns = [column for column in value if column != "seconds"]
            pd.testing.assert_frame_equal(found[name][columns], value[columns], rtol=1e-5)
        elif isinstance(value, str | list):
            assert found[name] == value, name
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def chain(subject, faults, folder, expected):
    """Kill `subject` by each of the faults, one start after the other, then let it end; returns how many killed it."""
    folder.mkdir()
    killed = 0
    for fault in faults:
        if subject.start(folder, fault):
            break  # it ended before the fault
        killed += 1
    subject.start(folder)
    compare(subject.result(folder), expected)
    return killed


def undisturbed(subject, folder):
    folder.mkdir()
    subject.start(folder)
    return subject.result(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="in all; a tenth of each notebook, the others of `fit`")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as where:
        for name, subject, wanted in (
            ("fit", Training(), given.kills - 2 * (given.kills // 10)),
            *((stem, Run(stem), given.kills // 10) for stem in RUNS),
        ):
            if not wanted:
                continue
            rng, folder, begun = random.Random(f"{given.seed} {name}"), Path(where) / name, time.monotonic()
            folder.mkdir()
            expected = undisturbed(subject, folder / "undisturbed")
            for number in range(10 * wanted):
                if counts[name] >= wanted:
                    break
                faults = [subject.draw(rng) for _ in range(min(5, wanted - counts[name]))]
                counts[name] += chain(subject, faults, folder / str(number), expected)
                print(
                    f"{name}: {counts[name]} kills, {number + 1} times the same end, {time.monotonic() - begun:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    sys.modules["kills"] = sys.modules["__main__"]
    main()
