"""What each operator that restores resolution costs, beside a bare convolution of as many FLOPs; as a table.

`python tests/benchmarks/operators.py`, and under `KERAS_BACKEND=jax` on a GPU. Notebook 11 explains the columns.
"""

from deconvlib import experiments, networks
from deconvlib.lab import record

SIDES, CHANNELS, BATCH = (16, 32), 64, 64
KERNELS = {"transposed, kernel 4": ("transposed", 4)}
KERNELS |= {f"{name}, kernel 3": (name, 3) for name in networks.OPERATORS}


def main():
    print(record.hardware(), record.versions())
    print(f"{CHANNELS} channels to {CHANNELS}, twice as high and wide, batch {BATCH}; ×: times the bare convolution's\n")
    print("| side | operator | MFLOPs | forward, ms | × | both, ms | × |\n|--:|---|--:|--:|--:|--:|--:|")
    for side in SIDES:
        built = {
            name: networks.OPERATORS[operator](CHANNELS, kernel, strides=2, padding="same")
            for name, (operator, kernel) in KERNELS.items()
        }
        for row in experiments.operators.costs(built, (side, side, CHANNELS), batch_size=BATCH, repeats=9).to_dict("records"):
            numbers = " | ".join(f"{row[name]:.2f}" for name in ("forward", "forward, ratio", "both", "both, ratio"))
            print(f"| {side} | {row['operator']} | {row['MFLOPs']:.0f} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
