"""Notebooks that run side by side: which of them wait, which want the machine to themselves, and whose threads are how many."""

import json
import os
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import psutil

from deconvlib.lab import record

LEFT = {"03_training": "network_of(", "13_your_photos": "photos.keras"}  # who leaves a network; how later ones name it
ALONE = '"alone"'  # tag of a cell that measures speed
THREADS = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")  # of a kernel


def reads(path, parameters):
    """The notebooks whose network this one loads."""
    told = f"{code_cells(path)} {parameters}"
    return {stem for stem, name in LEFT.items() if name in told and stem < path.stem}


def work_off(todo, needs, work, workers, stop):
    """work(path) for each, `workers` at a time, but after those of `todo` whose network it loads, needs[path].

    An interruption, or what `work` raises, ends all kernels and sets `stop`.
    """
    if workers == 1:
        for path in todo:
            work(path)
        return
    alone = {path: ALONE in path.read_text(encoding="utf-8") for path in todo}
    waiting, running = sorted(todo, key=alone.get), {}
    here, own = os.getcwd(), [name for name in THREADS if name not in os.environ]

    def may_begin(path):
        busy = list(running.values())
        if needs[path] & {other.stem for other in waiting + busy}:
            return False
        return len(busy) < workers and not (busy and any(alone[other] for other in [path, *busy]))

    with ThreadPoolExecutor(workers) as pool:
        try:
            record.fix_data_folder()
            if todo:
                os.chdir(record.home(todo[0].parent))  # papermill goes there and back, which mixes up threads
            while waiting or running:
                for path in filter(may_begin, list(waiting)):
                    waiting.remove(path)
                    # threads that wait for those of another kernel take longer than one
                    os.environ |= dict.fromkeys(own, str(max(1, record.cores() // (1 if alone[path] else workers))))
                    running[pool.submit(work, path)] = path
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[future]
                    future.result()
        except BaseException:
            stop.set()
            for kernel in psutil.Process().children():
                kernel.kill()
            raise
        finally:
            os.chdir(here)
            for name in own:
                os.environ.pop(name, None)


def code_cells(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
