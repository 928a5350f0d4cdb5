"""python -m deconvlib run: the notebooks without a browser."""

import argparse
import sys
from pathlib import Path

from deconvlib import batch


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deconvlib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="run the series, or some of it, and write a report")
    run.add_argument("notebooks", nargs="*", help="names, or their beginnings: 03; all where none is given")
    run.add_argument("--profile", default="quick", help="a file of notebooks/profiles, without .yaml (default: quick)")
    run.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter wherever it occurs"
    )
    run.add_argument("--out", type=Path, help="folder of the results (default: reports/PROFILE)")
    run.add_argument("--fresh", action="store_true", help="run also what finished earlier with the same parameters")
    given = parser.parse_args(arguments)
    try:
        return batch.run(given.notebooks, given.profile, dict(given.p), given.out, given.fresh)
    except batch.UserError as error:
        print(f"deconvlib: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("deconvlib: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
