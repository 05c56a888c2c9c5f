"""`minigen draw`: pictures of what a caption says, into a file, by the shipped network of lesson 06."""

import io
import sys
import time
from argparse import Namespace
from pathlib import Path

from PIL import Image
from torch import Tensor
from tqdm import tqdm

from minigen import data, images, pretrained, runtime
from minigen.painter import Painter

MOST_LETTERS = 500  # of a caption, punctuation included; the tokenizer counts its words
MOST_PICTURES = 64
MOST_STEPS = 1000
MOST_GUIDANCE = 20
STRENGTH = 0.7  # where only --start is given
ALONE, IN_GRID = 512, 256  # pixels that a picture is enlarged to: what it is drawn at is too small to look at
DPI = 100


def draw(args: Namespace) -> str:
    """Draw what `args.caption` says into the file `args.out`; return a line that says so.

    All that can be wrong is found out before the work begins: raises ValueError or OSError, with nothing written.
    """
    begun = time.perf_counter()
    _check_numbers(args)
    images.check_can_save(args.out)
    painter = _painter()
    start = None if args.start is None else _start(args, painter.size)

    pictures = _painted(painter, start, args)
    whole = _enlarged(pictures[0], ALONE) if args.count == 1 else _grid(pictures, args.caption)
    images.save_image(whole, args.out)
    drawn = f"{args.count} pictures, seeds {args.seed} to {args.seed + args.count - 1}"
    if args.count == 1:
        drawn = f"1 picture, seed {args.seed}"
    size = f"{whole.shape[2]} x {whole.shape[1]} pixels"
    return f"wrote {args.out}: {drawn}, {size}, {time.perf_counter() - begun:.1f} s. {data.EmojiScenes.credit}"


def _painter() -> Painter:
    device = runtime.pick_device()
    return Painter(**pretrained.load("caption_diffusion").to(device), codec=pretrained.load("codec").to(device))


def _painted(painter: Painter, start: Tensor | None, args: Namespace) -> Tensor:
    """The pictures [N,3,H,W] after all steps, which are counted on stderr."""
    given = {"guidance_scale": args.guidance, "num_inference_steps": args.steps}
    if start is not None:
        given |= {"start": start, "strength": STRENGTH if args.strength is None else args.strength}
    options = {option: value for option, value in given.items() if value is not None}
    states = painter.paint_steps([args.caption] * args.count, seed=args.seed, **options)
    state = next(states)  # reads the caption first; only now is it known how many steps there are
    with tqdm(total=state.num_steps, initial=1, unit="step", mininterval=0.5) as bar:
        for state in states:
            bar.update(state.step - bar.n)
    return state.images.cpu()


# --- what the user asked for ------------------------------------------------------------------------------------


def _check_numbers(args: Namespace) -> None:
    if len(args.caption) > MOST_LETTERS:
        raise ValueError(
            f"the caption has {len(args.caption):,} letters, expected at most {MOST_LETTERS:,}: say it in one sentence"
        )
    if not 1 <= args.count <= MOST_PICTURES:
        raise ValueError(f"--count is {args.count}, expected 1 to {MOST_PICTURES} pictures")
    if args.guidance is not None and not 0 <= args.guidance <= MOST_GUIDANCE:
        raise ValueError(
            f"--guidance is {args.guidance:g}, expected 0 (the caption is not heeded) to {MOST_GUIDANCE} (far too much)"
        )
    if args.steps is not None and not 1 <= args.steps <= MOST_STEPS:
        raise ValueError(f"--steps is {args.steps}, expected 1 to {MOST_STEPS:,}")
    if not 0 <= args.seed < 2**63:
        raise ValueError(f"--seed is {args.seed}, expected a whole number from 0 to 2^63 - 1")
    if args.strength is not None and args.start is None:
        raise ValueError("--strength means nothing without --start: give a picture to begin with, or leave it out")
    if args.strength is not None and not 0 < args.strength <= 1:
        raise ValueError(f"--strength is {args.strength:g}, expected above 0 and up to 1 (the picture is forgotten)")


def _start(args: Namespace, size: int) -> Tensor:
    """The middle square of the picture to begin with, [3,size,size] in [0,1]."""
    start = images.load_image(args.start, size)
    if Path(args.out).exists() and Path(args.out).samefile(args.start):
        raise ValueError(f"--out {args.out} would overwrite {args.start}, the picture to begin with: name another file")
    return start


# --- what the user gets -----------------------------------------------------------------------------------------


def _enlarged(picture: Tensor, side: int) -> Tensor:
    """Each pixel as a square of pixels, so many that the picture comes up to `side`."""
    scale = max(1, side // picture.shape[2])
    return picture.repeat_interleave(scale, dim=1).repeat_interleave(scale, dim=2)


def _grid(pictures: Tensor, caption: str) -> Tensor:
    """The pictures [N,3,H,W] in rows, the caption above them, as one picture [3,H',W']."""
    larger = [_enlarged(picture, IN_GRID) for picture in pictures]
    inches = larger[0].shape[2] / DPI
    figure = images.image_grid(larger, title=caption, inches=inches)
    if any("□" in text.get_text() for text in figure.axes[0].texts):  # which stands for a letter that no font has
        print(
            "minigen: no font here has every letter of the caption, so the pictures stand without it: "
            "install one with Chinese, such as Noto Sans CJK SC",
            file=sys.stderr,
        )
        figure = images.image_grid(larger, inches=inches)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    with Image.open(file) as drawn:
        return images.from_pil(drawn)
