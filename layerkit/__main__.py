"""``python -m layerkit demo``: real handwritten digits, learned in under a minute."""

from __future__ import annotations

import argparse
from pathlib import Path

from layerkit.demo import demo


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m layerkit", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("demo", help="learn handwritten digits and show the result")
    command.add_argument(
        "--out", type=Path, default=Path("demo_output"), metavar="DIR", help="where pictures go"
    )
    options = parser.parse_args(arguments)
    demo(options.out)


if __name__ == "__main__":
    main()
