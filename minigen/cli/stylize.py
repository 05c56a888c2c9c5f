"""`minigen stylize`: a photo in the manner of a painting, into a file; by optimisation or by the shipped network."""

import math
import time
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from minigen import data, images, pretrained, runtime, style
from minigen.data.gallery import Gallery

SMALLEST, LARGEST = 32, 1024  # pixels of the shorter side that is worked on
LONGEST = 2048  # pixels of the longer side: a picture of 1024 x 2048 already takes 4 GB
MOST_STEPS = 10_000
MOST_CONTENT_WEIGHT = 1000
SLOW_ONLY = ("steps", "seed", "content_weight")  # what the network, which does it at once, has no use for


class Opened(NamedTuple):
    """A picture [3,H,W] in [0,1], what the user calls it, and the line of attribution that it asks for."""

    name: str
    picture: Tensor
    credit: str


def stylize(args: Namespace) -> str:
    """Paint `args.content` in the manner of `args.style` into the file `args.out`; return a line that says so.

    All that can be wrong is found out before the work begins: raises ValueError or OSError, with nothing written.
    """
    begun = time.perf_counter()
    _check_numbers(args)
    shares = _shares(args.style)
    images.check_can_save(args.out)
    photos, paintings = data.photos(), data.paintings()
    network = _network_for(shares) if args.fast else None
    content = _open(args.content, photos, "photo")
    styles = [] if args.fast else [_open(name, paintings, "painting") for name in shares]
    _refuse_to_overwrite(args.out, [args.content, *shares])
    fitted = _fitted(content, args.size)
    manners = [_fitted(opened, min(fitted.shape[1:])) for opened in styles]
    for opened, picture in zip([content, *styles], [fitted, *manners], strict=True):
        if opened is content or picture.shape[1] > opened.picture.shape[1]:  # styles are always shrunk to the content
            _say_change(opened, picture)

    device = runtime.pick_device()
    if network is not None:
        strengths = {name: args.strength * share for name, share in shares.items()}
        picture = network.to(device).paint(fitted[None].to(device), **strengths)[0]
    else:
        picture = _optimised(fitted.to(device), [manner.to(device) for manner in manners], list(shares.values()), args)
    if args.keep_colour:
        picture = style.keep_colour(picture, fitted.to(device))
    images.save_image(picture, args.out)
    line = f"wrote {args.out}: {_size(picture)} pixels, {time.perf_counter() - begun:.1f} s"
    credits = [content.credit, *(opened.credit for opened in styles), paintings.credit if args.fast else ""]
    return ". ".join([line, *dict.fromkeys(credit for credit in credits if credit)])


def _optimised(content: Tensor, styles: list[Tensor], weights: list[float], args: Namespace) -> Tensor:
    """The picture [3,H,W] after all steps, which are counted on stderr."""
    given = {"num_steps": args.steps, "content_weight": args.content_weight}
    states = style.stylize(
        content,
        styles,
        pretrained.feature_extractor().to(content.device),
        style_weights=weights,
        strength=args.strength,
        generator=torch.Generator().manual_seed(args.seed or 0),
        **{option: value for option, value in given.items() if value is not None},
    )
    state = next(states)  # only now is it known how many steps there are, and that they can be done
    with tqdm(total=state.num_steps, initial=1, unit="step", mininterval=0.5) as bar:
        for state in states:
            bar.set_postfix(loss=state.losses["loss"], refresh=False)
            bar.update()
    return state.picture


# --- what the user asked for ------------------------------------------------------------------------------------


def _check_numbers(args: Namespace) -> None:
    if not 0 <= args.strength <= 1:
        raise ValueError(f"--strength is {args.strength:g}, expected 0 (the photo as it is) to 1 (all of the style)")
    if not SMALLEST <= args.size <= LARGEST:
        raise ValueError(f"--size is {args.size}, expected {SMALLEST} to {LARGEST} pixels")
    for option in SLOW_ONLY:
        if args.fast and getattr(args, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} means nothing to --fast: leave one of the two out")
    if args.steps is not None and not 1 <= args.steps <= MOST_STEPS:
        raise ValueError(f"--steps is {args.steps}, expected 1 to {MOST_STEPS:,}")
    if args.seed is not None and not 0 <= args.seed < 2**63:
        raise ValueError(f"--seed is {args.seed}, expected a whole number from 0 to 2^63 - 1")
    if args.content_weight is not None and not 0 <= args.content_weight <= MOST_CONTENT_WEIGHT:
        raise ValueError(f"--content-weight is {args.content_weight:g}, expected 0 to {MOST_CONTENT_WEIGHT:,}")


def _shares(texts: list[str]) -> dict[str, float]:
    """Names or paths, each with its share: "ink" and "mosaic=3" are {"ink": 0.25, "mosaic": 0.75}."""
    weights: dict[str, float] = {}
    for text in texts:
        name, equals, number = text.rpartition("=")
        if not equals or Path(text).is_file():  # a file may have an equals sign in its name
            name, number = text, "1"
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not 0 <= weight <= 1e6:
            raise ValueError(f"--style {text} has the weight {number!r}, expected a number from 0 to 1,000,000")
        weights[name] = weights.get(name, 0) + weight
    total = sum(weights.values())
    if total == 0:
        raise ValueError("all weights of --style are 0, so no style is left: give one of them a weight above 0")
    return {name: weight / total for name, weight in weights.items()}


def _network_for(names: Iterable[str]) -> style.StyleNetwork:
    """The shipped network, where it knows all styles of these names."""
    network = pretrained.load("fast_style")
    for name in names:
        if name not in network.styles:
            known = ", ".join(network.styles)
            raise ValueError(f"--fast has not learnt the style {name!r}: choose one of {known}, or leave out --fast")
    return network


def _open(text: str, gallery: Gallery, kind: str) -> Opened:
    """The shipped picture of that name; what is none, or has a separator or an ending, is the path of a picture."""
    if text in gallery.names:
        return Opened(text, gallery.load(text), gallery.credit)
    path = Path(text)
    if text and (path.name != text or path.suffix or path.exists()):
        return Opened(text, images.load_image(path), "")
    names = ", ".join(gallery.names)
    raise ValueError(f"there is no {kind} and no file called {text!r}: choose one of {names}, or the path of a picture")


def _refuse_to_overwrite(out: str, inputs: list[str]) -> None:
    for text in inputs:
        if Path(out).exists() and Path(text).is_file() and Path(out).samefile(text):
            raise ValueError(f"--out {out} would overwrite {text}, which is needed to make it: name another file")


def _fitted(opened: Opened, size: int) -> Tensor:
    """The picture with its shorter side at most `size`, and at least `SMALLEST` pixels."""
    height, width = opened.picture.shape[1:]
    shorter = min(height, width)
    target = max(SMALLEST, min(size, shorter))
    height, width = (round(side * target / shorter) for side in (height, width))
    if max(height, width) > LONGEST:
        raise ValueError(
            f"{opened.name} is {_size(opened.picture)} pixels, which to be worked on becomes {width} x {height}, and a "
            f"side may have {LONGEST:,}: cut it to a shape that is closer to a square, or give a smaller --size"
        )
    return images.resize(opened.picture, target)


def _say_change(opened: Opened, fitted: Tensor) -> None:
    before, after = _size(opened.picture), _size(fitted)
    if before != after:
        change = "enlarged" if fitted.shape[1] > opened.picture.shape[1] else "scaled down"
        print(f"{opened.name} is {change} from {before} to {after} pixels", flush=True)


def _size(picture: Tensor) -> str:
    return f"{picture.shape[2]} x {picture.shape[1]}"
