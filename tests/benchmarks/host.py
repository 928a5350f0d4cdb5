"""What `project_units` does beside its compiled call: microseconds a unit, and milliseconds a call.

`python tests/benchmarks/host.py`. The compiled call is replaced by one that gives zeros, so that what is left is the host's
share: checks, plans, windows cut out of the images, patches put together. On a GPU it is what the time of a unit cannot
fall below. Medians of 30 warm calls, for all units and for one. The aim, for block2_conv2, is 15 µs a unit plus 2 ms a call;
what the larger windows of the others take longer is copying.
"""

import time

import nets
import numpy as np
import peers

from deconvlib import deconvnet
from deconvlib.lab import record

CALLS = 30
LAYERS = {"block2_conv2": 64, "block3_conv3": 64, "block5_conv3": 8}  # channels that are projected, in 9 images each


def main():
    print(record.hardware(), record.versions())
    images = nets.noise(9, 224)
    for layer, channels in LAYERS.items():
        model = nets.vgg16()
        units = deconvnet.strongest(model, images, layer)[:channels]
        with peers.without_computing():
            every, one = (milliseconds(model, images, layer, some) for some in (units, units[:1, :1]))
        count, size = units.image.size, deconvnet.receptive_field.of(model, layer).size
        print(
            f"{layer}, {count} units of {size[0]} × {size[1]} pixels: {every:.2f} ms in all, of which {one:.2f} ms a call, "
            f"{1000 * (every - one) / (count - 1):.1f} µs a unit",
            flush=True,
        )


def milliseconds(model, images, layer, units):
    spent = []
    for _ in range(1 + CALLS):
        begun = time.perf_counter()
        deconvnet.project_units(model, images, layer, units)
        spent.append(1000 * (time.perf_counter() - begun))
    return float(np.median(spent[1:]))


if __name__ == "__main__":
    main()
