"""``python -m layerkit``: a demonstration, and kernels compiled ahead of time."""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from layerkit import kernels
from layerkit.demo import demo


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m layerkit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("demo", help="learn handwritten digits and show the result")
    command.add_argument(
        "--out", type=Path, default=Path("demo_output"), metavar="DIR", help="where pictures go"
    )
    commands.add_parser("warmup", help="compile all common kernels, for images and CI")
    options = parser.parse_args(arguments)
    if "out" in options:
        demo(options.out)
    else:
        warmup()


def warmup() -> None:
    """Compile for both dtypes, and say where it is kept."""
    if find_spec("numba") is None:
        raise SystemExit("nothing to compile: pip install 'layerkit[fast]' installs Numba")
    kernels.use("numba")
    started = time.perf_counter()
    for number, dtype in enumerate(("float32", "float64"), start=1):
        print(f"{number} of 2: kernels for {dtype}", end=" ", flush=True)
        kernels.warmup(dtype)
        print(f"{time.perf_counter() - started:.0f} s", flush=True)
    print(f"kept in {cache_folder() or 'no folder: none can be written'}")


def cache_folder() -> str | None:
    """Return where compiled kernels lie, if anywhere."""
    compiled = import_module("layerkit.kernels._numba.activations").relu_loop
    return getattr(compiled._cache, "cache_path", None)


if __name__ == "__main__":
    main()
