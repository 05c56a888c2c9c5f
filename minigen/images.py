"""Pictures in and out, and the one value-range contract: [0,1] in files and plots, [-1,1] in models.

Every picture that enters the package passes through `load_image`, so its quirks are dealt with once.
"""

from __future__ import annotations

import errno
import functools
import io
import math
import os
import re
import unicodedata
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

if TYPE_CHECKING:  # matplotlib takes as long to import as half of PyTorch: only those who draw wait for it
    from matplotlib.figure import Figure

MAX_PIXELS = 100_000_000  # a decoded picture above this is more likely a mistake or an attack than a photo

# Pillow opens fifty formats more, among them PostScript, which it hands to another program to be executed.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")

# One font that has Chinese characters, as Linux, macOS and Windows call theirs, the best first.
CHINESE_FONTS = (
    *("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK JP"),
    *("PingFang SC", "Hiragino Sans GB", "Heiti TC", "STHeiti", "Songti SC", "Arial Unicode MS"),
    *("Microsoft YaHei", "DengXian", "SimHei", "SimSun", "Microsoft JhengHei"),
    *("WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Noto Serif CJK SC", "Droid Sans Fallback"),
)


def load_image(path: str | Path, size: int | None = None) -> Tensor:
    """Read a picture as it is meant to be seen: upright, on white where transparent, in three channels.

    Returns [3,H,W] float32 in [0,1]; with `size`, the largest centred square, resized to [3,size,size].
    Of an animation the first picture. Raises FileNotFoundError where there is no file, ValueError where it
    is no whole picture or has more than `MAX_PIXELS`.
    """
    path = Path(path)
    if size is not None and size < 1:
        raise ValueError(f"size is {size}, but a picture is at least 1 pixel wide")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a picture: give the path of one file in it")
    if not path.is_file():
        raise FileNotFoundError(f"there is no picture at {path}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files: what matters is an error below
        picture = _decode(path, size)
        if size is not None:
            picture = ImageOps.fit(picture, (size, size), Image.Resampling.LANCZOS)
    return from_pil(picture)


def _decode(path: Path, size: int | None) -> Image.Image:
    try:
        with Image.open(path) as file:
            kind, pixels = file.format, file.width * file.height
            if kind in FORMATS and pixels <= MAX_PIXELS:
                if size is not None:
                    file.draft(None, (4 * size, 4 * size))  # a JPEG is decoded small, three times as fast
                return _to_rgb(ImageOps.exif_transpose(file))
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        kind, pixels = None, 0 if isinstance(error, UnidentifiedImageError) else math.inf
    except Exception as error:  # a damaged file makes Pillow raise almost anything
        raise ValueError(f"{path} cannot be read whole ({error}): get a fresh copy of it") from error
    if pixels > MAX_PIXELS:
        raise ValueError(f"{path} has more than the {MAX_PIXELS:,} pixels allowed: scale it down first")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty, so it is no picture: get a fresh copy of it")
    raise ValueError(f"{path} is in none of the formats {', '.join(FORMATS)}: save it as PNG or JPEG first")


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I") or picture.mode == "F":  # Pillow would clip these at 255
        picture = _to_eight_bits(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """Bring 16-bit grey, [0,65535], and floating-point grey, [0,1], to 8 bits."""
    values = np.asarray(picture, dtype=np.float64)
    white = 1 if picture.mode == "F" else 65535
    if not (values.min() >= 0 and values.max() <= white):  # also where a value is NaN
        raise ValueError(f"its greys run from {values.min():g} to {values.max():g}, expected 0 to {white}")
    if "transparency" in picture.info:
        values = np.where(values == picture.info["transparency"], white, values)
    return Image.fromarray((values * (255 / white)).round().astype(np.uint8))


def resize(image: Tensor, size: int) -> Tensor:
    """Scale [3,H,W] in [0,1] to a shorter side of `size` pixels, its shape kept; no side falls below 1 pixel."""
    if size < 1:
        raise ValueError(f"size is {size}, but a picture is at least 1 pixel wide")
    height, width = image.shape[1:]
    shorter = min(height, width)
    shape = (max(1, round(width * size / shorter)), max(1, round(height * size / shorter)))
    return image.clone() if size == shorter else from_pil(to_pil(image).resize(shape, Image.Resampling.LANCZOS))


def from_pil(picture: Image.Image) -> Tensor:
    """Turn a picture of Pillow's into [3,H,W] float32 in [0,1], on white where it is transparent."""
    pixels = torch.from_numpy(np.array(_to_rgb(picture)))  # [H,W,3] uint8
    return pixels.permute(2, 0, 1).contiguous().float().div_(255)  # [3,H,W]


def to_pil(image: Tensor) -> Image.Image:
    """Turn [3,H,W] or [1,H,W] in [0,1] into a picture of Pillow's; values outside are clamped.

    Raises TypeError where the values are whole numbers, ValueError where the shape differs or a value is NaN.
    """
    _check_floating(image)
    if image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        raise ValueError(f"the picture has shape {tuple(image.shape)}, expected (3, H, W) or (1, H, W)")
    if image.isnan().any():
        raise ValueError("the picture holds NaN, expected values in [0,1]: what made it has diverged")
    pixels = image.detach().float().cpu().clamp(0, 1).mul(255).round().byte().expand(3, -1, -1)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def save_image(image: Tensor, path: str | Path) -> None:
    """Write [3,H,W] in [0,1] to a file whose ending names the format; the folder must exist.

    The file is there whole or not at all. Raises ValueError where the ending names no format,
    FileNotFoundError where there is no such folder, OSError where it cannot be written.
    """
    path, picture = Path(path), to_pil(image)
    kind = _format_of(path)
    unfinished = _beside(path)
    try:
        picture.save(unfinished, format=kind)
        unfinished.replace(path)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}): save it elsewhere") from error
    finally:
        unfinished.unlink(missing_ok=True)


def check_can_save(path: str | Path) -> None:
    """Raise, before a long computation and with nothing written, what `save_image` would raise for its path."""
    path = Path(path)
    _format_of(path)
    unfinished = _beside(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        unfinished.touch()  # whether a folder can be written to is known for certain only afterwards
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error.strerror or error}): save it elsewhere") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _format_of(path: Path) -> str:
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in FORMATS or kind not in Image.SAVE:
        raise ValueError(f"{path} ends in {path.suffix!r}, which names no picture format: use .png or .jpg")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to save {path.name} in: make it first")
    return kind


def _beside(path: Path) -> Path:
    return path.with_name(f".{uuid.uuid4().hex}.part")  # in the same folder, so that replacing is one step


def to_signed(x: Tensor) -> Tensor:
    """[0,1], the range of files and plots, to [-1,1], the range of models."""
    _check_floating(x)
    return x * 2 - 1


def to_unit(x: Tensor) -> Tensor:
    """[-1,1], the range of models, to [0,1], the range of files and plots; what lies outside is clamped."""
    _check_floating(x)
    return ((x + 1) / 2).clamp(0, 1)


def _check_floating(x: Tensor) -> None:
    kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
    if not isinstance(x, Tensor) or not x.is_floating_point():
        raise TypeError(f"the picture is of type {kind}, expected a float tensor: divide bytes by 255")


def image_grid(
    images: Tensor | Sequence[Tensor],
    columns: int | None = None,
    captions: Sequence[str] | None = None,
    *,
    title: str | None = None,
    inches: float = 1.2,
) -> Figure:
    """Draw pictures [N,3,H,W] in [0,1] in rows, each with its caption below; long captions are wrapped.

    `columns` defaults to a roughly square grid; `inches` is the width of one picture.
    Raises ValueError where there is nothing to draw, or not one caption for each picture.
    """
    from matplotlib.figure import Figure  # not pyplot's: nothing is left open behind
    from matplotlib.patches import Rectangle

    pictures = [to_pil(image) for image in images]
    if not pictures:
        raise ValueError("there are no pictures to draw: the batch is empty")
    if captions is not None and len(captions) != len(pictures):
        raise ValueError(f"{len(captions)} captions for {len(pictures)} pictures: give one for each, or none")
    if columns is None:
        columns = math.ceil(math.sqrt(len(pictures)))
    if columns < 1:
        raise ValueError(f"columns is {columns}, but a grid has at least 1")

    # Everything is placed by hand, in inches from the upper left corner, so that no text meets another
    gap, line = 0.07, 0.135
    texts = [_wrap(caption, int(inches * 15)) for caption in captions or []]  # 15 small letters are an inch wide
    rows = [texts[k : k + columns] for k in range(0, len(pictures), columns)]
    picture_height = inches * min(max(picture.height / picture.width for picture in pictures), 4)
    width = columns * (inches + gap) + gap
    heading = _wrap(title or "", int(width * 11))
    y = gap + (0.18 * (heading.count("\n") + 1) if title else 0)
    bottoms = []  # of the pictures of each row
    for row in rows:
        bottoms.append(y + gap + picture_height)
        y = bottoms[-1] + line * max((text.count("\n") + 1 for text in row if text), default=0)

    figure = Figure(figsize=(width, y + gap))
    axes = figure.add_axes((0, 0, 1, 1))
    for k, picture in enumerate(pictures):
        row, column = divmod(k, columns)
        middle = gap + column * (inches + gap) + inches / 2
        scale = min(inches / picture.width, picture_height / picture.height)
        w, h = (max(side * scale, 0.02) for side in picture.size)  # even a hairline is to be seen
        shrunk = picture.width > w * figure.dpi
        axes.imshow(
            np.asarray(picture),
            extent=(middle - w / 2, middle + w / 2, bottoms[row], bottoms[row] - h),
            aspect="auto",
            interpolation="antialiased" if shrunk else "nearest",  # enlarged, each pixel shows as a square
        )
        frame = Rectangle((middle - w / 2, bottoms[row] - h), w, h, fill=False, edgecolor="#dddddd", linewidth=0.5)
        axes.add_patch(frame)  # or a white picture would have no edge on a white page
        if captions:
            _write(axes, middle, bottoms[row] + 0.03, texts[k], size=7.5)
    if title:
        _write(axes, width / 2, gap, heading, size=10)
    axes.set(xlim=(0, width), ylim=(y + gap, 0))
    axes.axis("off")
    return figure


def _write(axes, x: float, y: float, text: str, size: float) -> None:
    fonts = _fonts()
    # Letters that no font here has become boxes; a pair of dollars is money here, not a formula.
    text = "".join(letter if letter == "\n" or _has_glyph(letter) else "□" for letter in text)
    axes.text(x, y, text, ha="center", va="top", size=size, family=fonts, parse_math=False)


@functools.cache
def _fonts() -> list[str]:
    """The plot's usual font, and after it, for the letters it lacks, an installed one with Chinese."""
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *[name for name in CHINESE_FONTS if name in installed][:1]]


@functools.cache
def _has_glyph(letter: str) -> bool:
    from matplotlib.font_manager import findfont, get_font

    return any(get_font(findfont(name)).get_char_index(ord(letter)) for name in _fonts())


def _wrap(text: str, width: int, most_lines: int = 6) -> str:
    """Break a text into lines that are at most as wide as `width` small letters."""
    width = max(width, 4)
    # Kept together are a Chinese character with the stop after it, and a word
    piece = re.compile(r"\s+|[\u2e80-\uffef][，。、；：？！）》”’]*|[^\s\u2e80-\uffef]+|.")
    lines = []
    for paragraph in text.splitlines():
        line = ""
        for part in piece.findall(" ".join(paragraph.split())):
            if line and _width(line + part.rstrip()) > width:
                lines.append(line.rstrip())
                line = ""
            line = (line + part).lstrip()
            while _width(line.rstrip()) > width:  # a word longer than a line
                fits = max(k for k in range(1, len(line)) if k == 1 or _width(line[:k]) <= width)
                lines.append(line[:fits])
                line = line[fits:]
        lines.append(line.rstrip())
    if len(lines) > most_lines:
        lines = [*lines[: most_lines - 1], lines[most_lines - 1][:-1] + "…"]
    return "\n".join(lines)


def _width(text: str) -> float:
    """How many small letters a text is wide."""
    return sum(map(_letter_width, text))


def _letter_width(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF" or letter in "MW@":
        return 2
    return 1.4 if letter.isupper() else 1


def figure_to_png(figure: Figure) -> bytes:
    """The PNG of a figure, cut to what is drawn and as small as it can be without anybody seeing it."""
    return _encoded(_small(_drawn(figure)), "png")


def _drawn(figure: Figure) -> Image.Image:
    file = io.BytesIO()
    figure.savefig(file, format="png", bbox_inches="tight")  # Jupyter itself does so only under %matplotlib inline
    return Image.open(file).convert("RGB")


def _encoded(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, format=kind, optimize=True, **({"quality": 70} if kind == "jpeg" else {}))
    return file.getvalue()


def _small(picture: Image.Image) -> Image.Image:
    """The picture in 256 colours, a third of the bytes, where nobody would see the difference; else as it is."""
    few = picture.quantize(256, kmeans=1, dither=Image.Dither.NONE)
    difference = np.abs(np.asarray(few.convert("RGB"), dtype=np.int16) - np.asarray(picture))
    return few if (difference > 16).mean() < 0.04 and (difference > 32).mean() < 0.001 else picture


class _Shown(NamedTuple):
    """What Jupyter is handed to display: the picture, or where it cannot be shown its words."""

    kind: str  # png or jpeg
    data: bytes
    alt: str

    def _repr_png_(self) -> tuple[bytes, dict[str, str]] | None:
        return (self.data, {"alt": self.alt}) if self.kind == "png" else None

    def _repr_jpeg_(self) -> tuple[bytes, dict[str, str]] | None:
        return (self.data, {"alt": self.alt}) if self.kind == "jpeg" else None

    def __repr__(self) -> str:
        return self.alt


def show(figure: Figure, alt: str, *, photos: bool = False) -> None:
    """Show a figure in a notebook, with the words that a reader who cannot see it is given instead.

    A figure of photos is shown as a JPEG, in half the bytes of a PNG; sharp lines would suffer.
    """
    from IPython.display import display
    from matplotlib import pyplot

    picture = _drawn(figure)
    kind = "jpeg" if photos else "png"
    display(_Shown(kind, _encoded(picture if photos else _small(picture), kind), alt))
    pyplot.close(figure)


# --- the moving picture -----------------------------------------------------------------------------------------

LONGEST_FILM = 60  # seconds; equal frames become one that lasts longer, and a PNG counts up to 65


def animation_to_png(frames: Tensor, *, seconds_per_frame: float = 0.1, num_colours: int = 256) -> bytes:
    """Frames [T,3,H,W] in [0,1] as an animated PNG that plays for ever, in up to 256 colours that all of them share.

    A PNG, so that whatever shows a figure plays it; frames that equal the one before are kept as its longer duration.
    Raises TypeError where the values are whole numbers, ValueError where the frames or their duration cannot be.
    """
    _check_floating(frames)
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.numel() == 0:
        raise ValueError(f"the frames have shape {tuple(frames.shape)}, expected (T, 3, H, W)")
    if not 0.001 <= seconds_per_frame <= LONGEST_FILM / len(frames):
        raise ValueError(
            f"seconds_per_frame is {seconds_per_frame}, expected 0.001 or more and with {len(frames)} frames at most "
            f"{LONGEST_FILM} seconds in all"
        )
    if not 2 <= num_colours <= 256:
        raise ValueError(f"num_colours is {num_colours}, expected 2 to 256")
    pictures = [to_pil(frame) for frame in frames]
    palette = _shared_palette(pictures, num_colours)
    first, *others = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    png, milliseconds = io.BytesIO(), round(1000 * seconds_per_frame)
    first.save(png, format="png", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)
    return png.getvalue()


def _shared_palette(pictures: list[Image.Image], num_colours: int, num_pixels: int = 60_000) -> Image.Image:
    """A picture whose palette has the colours that come nearest to those of all the pictures."""
    pixels = np.stack([np.asarray(picture) for picture in pictures]).reshape(-1, 3)  # [T H W,3]
    if len(pixels) > num_pixels:  # as good for choosing colours, and many times as fast
        pixels = pixels[np.random.default_rng(0).integers(len(pixels), size=num_pixels)]
    return Image.fromarray(pixels[None]).quantize(num_colours, kmeans=1, dither=Image.Dither.NONE)


def show_animation(
    frames: Tensor, alt: str, *, seconds_per_frame: float = 0.1, num_colours: int = 256, scale: int = 1
) -> None:
    """Show frames [T,3,H,W] in [0,1] in a notebook as a moving picture, with the words of what it shows.

    Each pixel becomes a square of `scale` x `scale`. Raises what `animation_to_png` raises, and ValueError for a scale
    that is no whole number from 1 on.
    """
    from IPython.display import display

    if not isinstance(scale, int) or scale < 1:
        raise ValueError(f"scale is {scale!r}, expected a whole number from 1 on")
    _check_floating(frames)
    larger = frames.repeat_interleave(scale, dim=-2).repeat_interleave(scale, dim=-1)
    display(_Shown("png", animation_to_png(larger, seconds_per_frame=seconds_per_frame, num_colours=num_colours), alt))
