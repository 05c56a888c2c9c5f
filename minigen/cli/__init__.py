"""The `minigen` command: `lab` opens the lessons, `doctor` examines the install, `show` shows a data set,
`draw` draws what a caption says, `stylize` paints a photo in the manner of a painting, `student` and `teacher`
copy the lessons for a class, `handout` exports them as pages, `new` begins a project.

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
    _add_draw(commands)
    _add_stylize(commands)
    _add_copies(commands)

    new = commands.add_parser(
        "new",
        help="begin a project of your own",
        description="Write a folder with a small project that trains a network on your own pictures, so that it draws "
        "what a caption says: a script, a notebook, a test, and a README with an outline of a report.",
    )
    new.add_argument("name", metavar="NAME", help="of the folder: letters, digits and _, such as my_flowers")
    return parser


def _add_draw(commands: argparse._SubParsersAction) -> None:
    draw = commands.add_parser(
        "draw",
        help="draw what a caption says",
        description="Draw what a caption says, in English or Chinese, such as 'a small cat above a large rocket on a "
        "blue background'. A caption with a word that the network does not know is refused, and the word named; any "
        "other is drawn. One picture is written by itself, several in a grid under the caption.",
    )
    draw.add_argument("caption", metavar="CAPTION", help="what to draw, in quotes")
    draw.add_argument("--out", metavar="FILE", required=True, help="the file to write; its ending names the format")
    draw.add_argument("--count", metavar="N", type=int, default=4, help="how many pictures, from 1 to 64 (default: 4)")
    draw.add_argument(
        "--guidance",
        metavar="S",
        type=float,
        help="how much the caption counts, from 0 to 20: 0 is no caption, 1 the caption alone, above 1 more of what it "
        "says and less of everything else (default: 4)",
    )
    draw.add_argument(
        "--steps", metavar="K", type=int, help="from noise to the picture, from 1 to 1000; more is finer (default: 20)"
    )
    draw.add_argument(
        "--seed",
        metavar="N",
        type=int,
        default=0,
        help="of the first picture, the next one has the next seed (default: 0)",
    )
    draw.add_argument("--start", metavar="PICTURE", help="begin with a picture of your own, or its middle square")
    draw.add_argument(
        "--strength",
        metavar="S",
        type=float,
        help="how much of that picture is drawn anew, above 0 and up to 1, which forgets it (default: 0.7)",
    )


def _add_stylize(commands: argparse._SubParsersAction) -> None:
    stylize = commands.add_parser(
        "stylize",
        help="paint a photo in the manner of a painting",
        description="Paint a photo in the manner of a painting, or of several. A photo or painting of the course is "
        "called by its name, and a wrong name is answered with all of them; what is no such name, or has a slash or an "
        "ending such as .jpg, is the path of a picture.",
    )
    stylize.add_argument("content", metavar="CONTENT", help="the photo: a name such as chelsea, or a path")
    stylize.add_argument(
        "--style",
        metavar="STYLE[=WEIGHT]",
        action="append",
        required=True,
        help="the painting: a name such as impasto, or a path; give --style several times for a mixture, "
        "each with its weight, as in --style impasto=2 --style ink (default: 1)",
    )
    stylize.add_argument("--out", metavar="FILE", required=True, help="the file to write; its ending names the format")
    stylize.add_argument(
        "--strength", metavar="S", type=float, default=1.0, help="how much of the style, from 0 to 1 (default: 1)"
    )
    stylize.add_argument(
        "--size",
        metavar="N",
        type=int,
        default=256,
        help="scale a larger photo down to a shorter side of N pixels, from 32 to 1024; a smaller one stays as it is, "
        "or is enlarged to 32; no side may be longer than 2048 (default: 256)",
    )
    stylize.add_argument("--keep-colour", action="store_true", help="keep the colours of the photo")
    stylize.add_argument("--steps", metavar="N", type=int, help="of each of the two scales (default: 150)")
    stylize.add_argument("--seed", metavar="N", type=int, help="of the small shifts between the steps (default: 0)")
    stylize.add_argument(
        "--content-weight", metavar="W", type=float, help="how much the content counts, from 0 to 1000 (default: 0.1)"
    )
    stylize.add_argument(
        "--fast",
        action="store_true",
        help="paint at once, by a network that was trained for some of the course's paintings; "
        "then --steps, --seed and --content-weight mean nothing",
    )


def _add_copies(commands: argparse._SubParsersAction) -> None:
    student = commands.add_parser(
        "student",
        help="copy the lessons without their solutions, for a class or for yourself",
        description="Copy the lessons into a new folder as a class gets them: with a stub in place of each solution, "
        "and without outputs but for the pictures that a right answer draws. nbgrader can grade what comes back.",
    )
    teacher = commands.add_parser(
        "teacher",
        help="copy the lessons with their teaching notes, for a teacher",
        description="Copy the lessons into a new folder as their teacher gets them: complete, with outputs, and with "
        "the teaching notes unfolded.",
    )
    handout = commands.add_parser(
        "handout",
        help="export the lessons as pages to read and to print",
        description="Export every lesson, as it was last run, as a page of HTML that opens without a network, and an "
        "index.html that lists them.",
    )
    for parser in (student, teacher, handout):
        parser.add_argument("out", metavar="OUT", help="the folder to write: a new one, or one that is empty")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 well, 1 the doctor found a problem, 2 a wrong request."""
    parser = _parser()
    args, extra = parser.parse_known_args(argv)
    if extra and args.command != "lab":
        quotes = args.command == "draw" and not extra[0].startswith("-")
        parser.error(f"{extra[0]!r} is not understood" + (": put the whole caption in quotes" if quotes else ""))
    try:
        if args.command == "lab":
            from minigen.cli.lab import open_lab

            return open_lab(extra)
        if args.command == "handout":
            from minigen.cli.handout import export

            print(export(args.out))
            return 0
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
        if args.command == "draw":
            from minigen.cli.draw import draw

            print(draw(args))
            return 0
        if args.command == "stylize":
            from minigen.cli.stylize import stylize

            print(stylize(args))
            return 0
        if args.command == "student":
            from minigen.cli.student import student

            print(student(args.out))
            return 0
        if args.command == "teacher":
            from minigen.cli.student import teacher

            print(teacher(args.out))
            return 0
        if args.command == "new":
            from minigen.cli.new import new

            print(new(args.name))
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
        if args.command in ("draw", "handout", "stylize"):
            _complain("stopped, and nothing was written")
        return 130
    parser.print_help()
    return 0


def _complain(sentence: str) -> None:
    print(f"minigen: {' '.join(sentence.split())}", file=sys.stderr)
