"""The `minigen` command: `lab` opens the lessons, `doctor` examines the install, `show` draws a data set.

It starts fast: whatever needs PyTorch is imported inside the sub-command that needs it.
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from minigen import __version__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:  # one sentence instead of the usage and a sentence
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="minigen", description="A notebook course in image generation.")
    parser.add_argument("--version", action="version", version=f"minigen {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    commands.add_parser(
        "lab",
        help="open the lessons in JupyterLab",
        description="Open the lessons in JupyterLab. Whatever else you write is passed on to it, such as "
        "--no-browser, --port=9000 or the name of a notebook.",
    )

    doctor = commands.add_parser(
        "doctor",
        help="examine the installation",
        description="Say what is installed and found, and for whatever is wrong its cure. The exit status is "
        "0 when nothing is wrong, and 1 otherwise.",
    )
    doctor.add_argument("--json", action="store_true", help="print the report as JSON")

    show = commands.add_parser(
        "show",
        help="draw pictures of a data set with their captions",
        description="Draw pictures of a data set in a grid, each with its caption, into a file.",
    )
    show.add_argument(
        "dataset",
        metavar="DATASET",
        help="glyphs, scenes, photos, paintings, mnist, fashion-mnist, cifar10, or the path of a folder of "
        "your own with pictures and a metadata.csv or metadata.jsonl",
    )
    show.add_argument("--out", metavar="FILE", required=True, help="the file to write; its ending names the format")
    show.add_argument("--count", metavar="N", type=int, default=16, help="how many pictures (default: 16)")
    show.add_argument("--seed", metavar="N", type=int, default=0, help="which pictures are drawn (default: 0)")
    show.add_argument("--split", metavar="S", help="the part of the data set, such as train or test")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 well, 1 the doctor found a problem, 2 a wrong request."""
    parser = _parser()
    args, extra = parser.parse_known_args(argv)
    if extra and args.command != "lab":
        parser.error(f"{extra[0]!r} is not understood")
    try:
        if args.command == "lab":
            from minigen.cli.lab import open_lab

            return open_lab(extra)
        if args.command == "doctor":
            from minigen.cli.doctor import run

            return run(as_json=args.json)
        if args.command == "show":
            from minigen.cli.show import show

            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", UserWarning)
                line = show(args.dataset, args.out, count=args.count, seed=args.seed, split=args.split)
            for warning in caught:
                if warning.category is UserWarning:  # another library's deprecations are no news to a user
                    _complain(str(warning.message))
            print(line)
            return 0
    except ImportError as error:
        _complain(f"{error}: run `minigen doctor`, which names what is missing and its cure")
        return 2
    except (
        ValueError,
        OSError,
    ) as error:  # what the package raises for a bad value, or a file it cannot read or write
        _complain(str(error))
        return 2
    except KeyboardInterrupt:
        return 130
    parser.print_help()
    return 0


def _complain(sentence: str) -> None:
    print(f"minigen: {' '.join(sentence.split())}", file=sys.stderr)
