"""python -m deconvlib run, or sweep: the notebooks without a browser, once or over a grid of parameters."""

import sys

# what runs and pages need of extra `lab`
LAB = ("ipyevents", "ipywidgets", "latex2mathml", "nbconvert", "papermill", "psutil", "yaml")


def main(arguments=None) -> int:
    try:
        return _main(arguments)
    except KeyboardInterrupt:
        import logging

        logging.getLogger("asyncio").disabled = True  # it would tell of nbclient's task, whose kernel died
        print("deconvlib: interrupted; run the same command again to continue", file=sys.stderr)
        return 130


def _main(arguments):
    # imported here: a Ctrl-C meanwhile is one line too
    import importlib.util

    given = _parser().parse_args(arguments)
    if missing := [name for name in LAB if importlib.util.find_spec(name) is None]:
        print(f"deconvlib: {', '.join(missing)} missing: pip install 'deconvlib[lab]'", file=sys.stderr)
        return 2
    from deconvlib.lab.parameters import UserError

    try:
        if given.command == "sweep":
            from deconvlib.lab.sweep import sweep

            return sweep(given.grid, given.scheduler, given.workers, given.out, given.failed, timeout=given.timeout)
        from deconvlib.lab.run import run

        names = [name for name, _ in given.p]
        if twice := [name for name in names if names.count(name) > 1]:
            raise UserError(f"parameter {twice[0]!r} is given twice: say one -p {twice[0]} VALUE")
        return run(
            given.notebooks, given.profile, dict(given.p), given.out, given.fresh, timeout=given.timeout, workers=given.workers
        )
    except UserError as error:
        print(f"deconvlib: {error}", file=sys.stderr)
        return 2


def _parser():
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="python -m deconvlib", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    series = commands.add_parser("run", help="run the series, or some of it, and write a report")
    series.add_argument("notebooks", nargs="*", help="names, or their beginnings: 03; all where none is given")
    series.add_argument("--profile", default="quick", help="a file of notebooks/profiles, without .yaml (default: quick)")
    series.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="set a parameter wherever it occurs"
    )
    series.add_argument("--out", type=Path, help="folder of the results (default: reports/PROFILE beside notebooks)")
    series.add_argument("--fresh", action="store_true", help="run also what finished earlier with the same parameters")
    series.add_argument("--workers", type=int, default=1, help="notebooks at a time, each in a process of its own (default: 1)")
    grid = commands.add_parser("sweep", help="run a grid of notebooks and parameters, here or on a Dask cluster")
    grid.add_argument("grid", type=Path, help="a YAML file, as in notebooks/grids")
    where = grid.add_mutually_exclusive_group()
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler, tcp://host:8786 (default: workers here)")
    where.add_argument("--workers", type=int, help="processes on this machine (default: one a GPU, else one for two cores)")
    grid.add_argument("--out", type=Path, help="folder of the results (default: reports/NAME-OF-THE-GRID beside notebooks)")
    grid.add_argument("--failed", action="store_true", help="run also what failed earlier with the same parameters")
    for command in (series, grid):
        command.add_argument(
            "--timeout", type=int, metavar="SECONDS", help="end a notebook of which a cell takes longer (default: none does)"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
