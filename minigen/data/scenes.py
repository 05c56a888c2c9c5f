"""Emoji scenes and portraits: emoji on a coloured ground, with a caption and the truth about what is there.

Scene k of a split and a seed is a function of those three numbers, drawn by an integer hash, so it is the same on
every machine and in every batch. Some combinations never occur in training, to measure whether a model composes.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minigen.data.base import Batch, PictureDataset
from minigen.data.glyphs import CREDIT, LANGUAGES, draw_glyph
from minigen.data.grammar import (
    BACKGROUNDS,
    OBJECTS,
    RELATIONS,
    SIZES,
    Scene,
    SceneObject,
    caption_of,
    must_be_in,
)

SPLITS = ("train", "val", "test", "held_out")

_NAMES, _GROUNDS, _SIZE_NAMES = list(OBJECTS), list(BACKGROUNDS), list(SIZES)
_ALONE, _NOTHING = "alone", "nothing"
# The longer side of an object in 256ths of the picture's width: [alone or one of two][small or large], from and to
_SIDES = np.array([[[87, 103], [154, 180]], [[77, 90], [110, 122]]])
_PORTRAIT_SIDES = np.array([159, 226])
_STEPS = 14  # from the one to the other
_MAX_DEGREES, _MAX_SHADE = 15, 12  # rotation either way; brightness either way, in percent
_PLACES = 64  # positions are drawn in this many steps


def is_held_out(scene: Scene) -> bool:
    """Whether a scene holds a combination that never occurs in training."""
    indices = [_NAMES.index(thing.name) for thing in scene.objects]
    ground = _GROUNDS.index(scene.background)
    if any(_pair_held_out(index, ground) for index in indices):
        return True
    return len(indices) == 2 and _triple_held_out(indices[0], RELATIONS.index(scene.relation), indices[1])


def _pair_held_out(name, ground):
    """Each object is never seen on one of the eight grounds, and each ground without five of the forty objects."""
    return (name * 3 + name // 8) % len(BACKGROUNDS) == ground


def _triple_held_out(first, relation, second):
    """One in ten ordered pairs of objects is never seen in a given relation."""
    return (first * 7 + second * 3 + relation * 5) % 10 == 0


# --- the truth of scene k: pure functions of integers -----------------------------------------------------------

_FIELDS = {  # what is drawn for each scene, and from how many values
    "two": 2,
    "turned": 2,
    "relation": len(RELATIONS),
    "background": len(BACKGROUNDS),
    "ground_shade": 2 * _MAX_SHADE + 1,
    "along": _PLACES,
    "across": _PLACES,
    "gap": _PLACES,
    "aside": _PLACES,
    "object": len(OBJECTS),
    "other": len(OBJECTS) - 1,
} | {
    f"{what}{k}": count
    for k in (0, 1)
    for what, count in {
        "size": len(SIZES),
        "scale": _STEPS,
        "degrees": 2 * _MAX_DEGREES + 1,
        "shade": 2 * _MAX_SHADE + 1,
    }.items()
}
_EVERY = np.arange(len(OBJECTS))
_OF_PAIRS = ("turned", "relation", "gap", "aside", "other", "size1", "scale1", "degrees1", "shade1")


def _hash(state: np.ndarray, salt: int) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea and Flood, 2014): well mixed integers, the same on every machine."""
    z = state + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _draw(
    split: str,
    seed: int,
    indices: np.ndarray,
    *,
    alone: bool = False,  # scenes of one large object only
    objects: np.ndarray = _EVERY,  # the numbers of those that occur
) -> dict[str, np.ndarray]:
    """The fields of the scenes `indices` of a split, each [N] int64: drawn anew until they belong to the split."""
    counts = _FIELDS | {"object": len(objects), "other": len(objects) - 1}
    fields = {name: np.zeros(len(indices), dtype=np.int64) for name in _FIELDS}
    stream = _hash(_hash(np.full(len(indices), seed, np.uint64), SPLITS.index(split)) ^ indices.astype(np.uint64), 0)
    pending, attempt = np.arange(len(indices)), 0
    while len(pending):
        attempt += 1
        state = _hash(stream[pending], attempt)
        drawn = {name: (_hash(state, k) % np.uint64(n)).astype(np.int64) for k, (name, n) in enumerate(counts.items())}
        if alone:
            drawn["two"][:], drawn["size0"][:] = 0, 1
        drawn["other"] += drawn["other"] >= drawn["object"]  # never the same object twice
        drawn["object"], drawn["other"] = objects[drawn["object"]], objects[drawn["other"]]
        for name in _OF_PAIRS:
            drawn[name] *= drawn["two"]  # alone: so that equal pictures have equal fields
        accepted = _belongs(drawn, split)
        for name, values in drawn.items():
            fields[name][pending[accepted]] = values[accepted]
        pending = pending[~accepted]
    return fields


def _belongs(fields: dict[str, np.ndarray], split: str) -> np.ndarray:
    """Whether scenes belong to a split: by what they hold, so that no two splits can ever share a scene."""
    two = fields["two"] == 1
    held_out = _pair_held_out(fields["object"], fields["background"]) | two & (
        _pair_held_out(fields["other"], fields["background"])
        | _triple_held_out(fields["object"], fields["relation"], fields["other"])
    )
    if split == "held_out":
        return held_out
    digest = np.zeros(len(two), np.uint64)
    for name in _FIELDS:
        if name != "turned":  # which changes the caption alone
            digest = _hash(digest ^ fields[name].astype(np.uint64), 0)
    bucket = digest % np.uint64(10)
    return ~held_out & {"train": bucket < 8, "val": bucket == 8, "test": bucket == 9}[split]


def _scene(fields: dict[str, np.ndarray], k: int) -> Scene:
    two = bool(fields["two"][k])
    names = [_NAMES[fields[which][k]] for which in ("object", "other")[: 1 + two]]
    objects = tuple(SceneObject(name, _SIZE_NAMES[fields[f"size{i}"][k]]) for i, name in enumerate(names))
    relation = RELATIONS[fields["relation"][k]] if two else None
    return Scene(objects, _GROUNDS[fields["background"][k]], relation)


# --- pictures ---------------------------------------------------------------------------------------------------

_ANGLES = [math.radians(degrees) for degrees in range(-_MAX_DEGREES, _MAX_DEGREES + 1)]
_COSINES, _SINES = (np.array([function(angle) for angle in _ANGLES]) for function in (math.cos, math.sin))


_SCENE_LEVELS = (_SIDES[1, 0, 1], _SIDES[1, 1, 1], _SIDES[0, 1, 1])
_PORTRAIT_LEVELS = (_PORTRAIT_SIDES[1],)


@lru_cache(maxsize=8)
def _sprites(size: int, sides: tuple[int, ...]) -> Tensor:
    """The objects cut out, [levels,40,4,S,S] premultiplied, all as large as the largest of `sides` is drawn.

    The levels hold the detail of the sizes in `sides`, as mipmaps do: an object drawn smaller than its sprite would
    otherwise be sampled too coarsely, and its outline break up.
    """
    drawings = [_cut_out(row[0], 2 * size) for row in OBJECTS.values()]
    width = round(size * max(sides) / 256)
    levels = []
    for side in sides:
        pixels = round(size * side / 256)
        small = torch.stack([F.interpolate(d[None], pixels, mode="bilinear", antialias=True)[0] for d in drawings])
        levels.append(F.interpolate(small, width, mode="bilinear"))
    return torch.stack(levels)


def _cut_out(character: str, pixels: int) -> Tensor:
    """An emoji without the empty space around it, centred in the smallest square: [4,S,S], premultiplied."""
    drawing = draw_glyph(character, pixels)
    rows, columns = (drawing[3] > 0).nonzero(as_tuple=True)
    drawing = drawing[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    height, width = drawing.shape[1:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(drawing, (left, side - width - left, top, side - height - top))


class _Layout(NamedTuple):
    """Where objects are, as fractions of the picture's width, and which level of sprites they are drawn from."""

    x: np.ndarray  # [2,N], or [1,N] where there is but one object
    y: np.ndarray
    sides: np.ndarray
    level: np.ndarray


def _scene_layout(fields: dict[str, np.ndarray]) -> _Layout:
    margin, two = 4 / 256, fields["two"] == 1
    sizes = []
    for k in (0, 1):
        side = _SIDES[fields["two"], fields[f"size{k}"]]  # [N,2]: from, to
        sizes.append((side[:, 0] + (side[:, 1] - side[:, 0]) * fields[f"scale{k}"] / (_STEPS - 1)) / 256)
    sizes = np.stack(sizes)  # [2,N]
    along, across, gap, aside = (fields[name] / (_PLACES - 1) for name in ("along", "across", "gap", "aside"))
    low, high = margin + sizes / 2, 1 - margin - sizes / 2  # the centres that keep an object inside
    # One behind the other: what is left of the width is shared out before, between and after them
    free = np.where(two, 1 - 2 * margin - sizes[0] - sizes[1], 1 - 2 * margin - sizes[0])
    before = free * along * np.where(two, 1 - gap / 2, 1.0)
    between = (free - before) * gap
    main = np.stack([low[0] + before, low[0] + before + sizes[0] / 2 + between + sizes[1] / 2])
    # Beside each other, never so far apart that the relation could be read otherwise
    first = low[0] + (high[0] - low[0]) * across
    second = np.clip(first + (aside - 0.5) * 0.3, low[1], high[1])
    other = np.stack([first, second])
    sideways = ~two | (fields["relation"] == RELATIONS.index("left of"))
    level = np.stack([fields["size0"], fields["size1"]]) + 1 - fields["two"]
    return _Layout(np.where(sideways, main, other), np.where(sideways, other, main), sizes, level)


def _portrait_layout(fields: dict[str, np.ndarray]) -> _Layout:
    """The one object of a portrait stands in the middle, give or take 1/32 of the width."""
    low, high = _PORTRAIT_SIDES
    side = (low + (high - low) * fields["scale0"] / (_STEPS - 1)) / 256
    x, y = (0.5 + (fields[name] / (_PLACES - 1) - 0.5) / 16 for name in ("along", "across"))
    return _Layout(x[None], y[None], side[None], np.zeros_like(fields["two"])[None])


def _paint(fields: dict[str, np.ndarray], layout: _Layout, sprites: Tensor, size: int) -> Tensor:
    """Draw scenes with the objects cut out in `sprites` [levels,40,4,S,S]: [N,3,size,size] float32 in [0,1]."""
    colours = np.array([row[1:] for row in BACKGROUNDS.values()]) / 255  # [8,3]
    grounds = (colours[fields["background"]] * _brightness(fields["ground_shade"])[:, None]).clip(0, 1)  # [N,3]
    images = torch.from_numpy(grounds).float()[:, :, None, None].repeat(1, 1, size, size)  # [N,3,H,W]
    everyone, pairs = np.arange(len(images)), np.flatnonzero(fields["two"])
    for k, (which, present) in enumerate((("object", everyone), ("other", pairs))):
        for start in range(0, len(present), _CHUNK):
            chosen = present[start : start + _CHUNK]
            here = {name: values[chosen] for name, values in fields.items()}
            objects = sprites[layout.level[k, chosen], here[which]]  # [M,4,S,S]
            objects[:, :3] *= _column(_brightness(here[f"shade{k}"]))[..., None]
            x, y, side = layout.x[k, chosen], layout.y[k, chosen], layout.sides[k, chosen]
            grid = _grid(x, y, side, here[f"degrees{k}"], size)
            drawn = F.grid_sample(objects, grid, align_corners=False)  # [M,4,H,W]
            colour, alpha = drawn[:, :3], drawn[:, 3:]
            images[chosen] = torch.addcmul(colour, 1 - alpha, images[chosen])
    return images.clamp_(0, 1)


_CHUNK = 64  # drawn at a time: few enough to stay in the processor's cache


def _brightness(shade: np.ndarray) -> np.ndarray:
    return 1 + (shade - _MAX_SHADE) / 100


def _column(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).float()[:, None, None]  # [M,1,1]


def _grid(x: np.ndarray, y: np.ndarray, side: np.ndarray, degrees: np.ndarray, size: int) -> Tensor:
    """Where each pixel of a picture falls in an object's sprite, from -1 to 1: [M,size,size,2]."""
    # Sines come from a table: computed in batches, their last bit would depend on the batch's length
    cosine, sine = _column(_COSINES[degrees] * 2 / side), _column(_SINES[degrees] * 2 / side)
    pixels = (torch.arange(size, dtype=torch.float32) + 0.5) / size
    dx, dy = pixels[None, None, :] - _column(x), pixels[None, :, None] - _column(y)  # [M,1,W], [M,H,1]
    return torch.stack([cosine * dx + sine * dy, cosine * dy - sine * dx], dim=-1)


class EmojiScenes(PictureDataset):
    """Captioned scenes of one or two out of forty emoji, or of those named, composed as they are asked for.

    Splits "train", "val" and "test" hold the same kinds of scene and never the same scene; "held_out" holds only
    scenes with a combination (object with background, or object-relation-object) that the others lack. Questions:
    object, other, relation, size, other_size, background; the first object is the one to the left, or above. Answers
    are numbered among all forty, so that one judge can grade pictures of few.
    """

    credit = CREDIT
    _alone = False
    questions = {
        "object": _NAMES,
        "other": [*_NAMES, _NOTHING],
        "relation": [_ALONE, *RELATIONS],
        "size": _SIZE_NAMES,
        "other_size": [*_SIZE_NAMES, _NOTHING],
        "background": _GROUNDS,
    }

    def __init__(
        self,
        split: str = "train",
        *,
        size: int = 64,  # width and height in pixels
        seed: int = 0,
        length: int | None = None,  # by default 100,000 to train with, 10,000 in the other splits
        language: str = "en",  # of the captions: "en" or "zh"
        objects: Sequence[str] | None = None,  # their English names, two or more; by default all forty
    ):
        must_be_in("split", split, SPLITS)
        must_be_in("language", language, LANGUAGES)
        names = _NAMES if objects is None else list(objects)
        for name in names:
            must_be_in("object", name, _NAMES)
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError(f"objects are {names}, expected two or more, each once")
        if size < 8:
            raise ValueError(f"size is {size}, but below 8 pixels there is nothing to see")
        if not 0 <= seed < 2**63:
            raise ValueError(f"seed is {seed}, expected a whole number from 0 up")
        if length is not None and length < 1:
            raise ValueError(f"length is {length}, expected at least 1 scene")
        self.split, self.size, self.seed, self.language = split, size, seed, language
        self.length = length or (100_000 if split == "train" else 10_000)
        self._objects = np.array([_NAMES.index(name) for name in names])

    def __len__(self) -> int:
        return self.length

    def take(self, indices: Sequence[int] | Tensor) -> Batch:
        fields = self._fields(indices)
        return Batch(self._paint(fields), self._captions(fields), self._labels(fields))

    def captions(self, indices: Sequence[int] | Tensor) -> list[str]:
        """The captions of the scenes `indices`, without drawing them."""
        return self._captions(self._fields(indices))

    def truth(self, indices: Sequence[int] | Tensor) -> dict[str, Tensor]:
        """The answers to all questions about the scenes `indices`, {question: [N] int64}, without drawing them."""
        return self._labels(self._fields(indices))

    def labels(self, question: str) -> Tensor:
        self._must_ask(question)
        return self._labels(self._fields(range(len(self))))[question]

    def scenes(self, indices: Sequence[int] | Tensor) -> list[Scene]:
        """What is in the scenes `indices`, without drawing them."""
        fields = self._fields(indices)
        return [_scene(fields, k) for k in range(len(fields["two"]))]

    def _fields(self, indices: Sequence[int] | Tensor) -> dict[str, np.ndarray]:
        indices = np.asarray(indices, dtype=np.int64)
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self)):
            raise IndexError(f"scenes {indices.min()} to {indices.max()} were asked for, of {len(self)}")
        return _draw(self.split, self.seed, indices, alone=self._alone, objects=self._objects)

    def _paint(self, fields: dict[str, np.ndarray]) -> Tensor:
        return _paint(fields, _scene_layout(fields), _sprites(self.size, _SCENE_LEVELS), self.size)

    def _captions(self, fields: dict[str, np.ndarray]) -> list[str]:
        turned = fields["turned"].astype(bool).tolist()
        return [caption_of(_scene(fields, k), self.language, turned=t) for k, t in enumerate(turned)]

    def _labels(self, fields: dict[str, np.ndarray]) -> dict[str, Tensor]:
        two = fields["two"] == 1
        answers = {
            "object": fields["object"],
            "other": np.where(two, fields["other"], len(_NAMES)),
            "relation": np.where(two, fields["relation"] + 1, 0),
            "size": fields["size0"],
            "other_size": np.where(two, fields["size1"], len(_SIZE_NAMES)),
            "background": fields["background"],
        }
        return {question: torch.from_numpy(answer) for question, answer in answers.items()}


class EmojiPortraits(EmojiScenes):
    """Captioned pictures of one emoji, large and in the middle: what a small generator can learn in minutes.

    The splits are those of EmojiScenes. Questions: object, background, and width, the longer side of the object in
    14 steps, as a share of the picture's.
    """

    questions = {
        "object": _NAMES,
        "background": _GROUNDS,
        "width": [f"{side / 256:.0%}" for side in np.linspace(*_PORTRAIT_SIDES, _STEPS)],
    }
    _alone = True

    def __init__(
        self,
        split: str = "train",
        *,
        size: int = 32,  # width and height in pixels
        seed: int = 0,
        length: int | None = None,  # by default 100,000 to train with, 10,000 in the other splits
        language: str = "en",  # of the captions: "en" or "zh"
        objects: Sequence[str] | None = None,  # their English names, two or more; by default all forty
    ):
        super().__init__(split, size=size, seed=seed, length=length, language=language, objects=objects)

    def _paint(self, fields: dict[str, np.ndarray]) -> Tensor:
        return _paint(fields, _portrait_layout(fields), _sprites(self.size, _PORTRAIT_LEVELS), self.size)

    def _labels(self, fields: dict[str, np.ndarray]) -> dict[str, Tensor]:
        answers = {"object": fields["object"], "background": fields["background"], "width": fields["scale0"]}
        return {question: torch.from_numpy(answer) for question, answer in answers.items()}


def draw_scenes(scenes: Sequence[Scene], *, size: int = 64, seed: int = 0) -> Tensor:
    """Draw given scenes, each as one of the many pictures that answer to it: [N,3,size,size] float32 in [0,1].

    The variation (places, angles, shades) of picture k depends on `seed` and k.
    """
    state = _hash(
        _hash(np.full(len(scenes), seed, np.uint64), len(SPLITS)) ^ np.arange(len(scenes), dtype=np.uint64), 0
    )
    fields = {name: (_hash(state, k) % np.uint64(n)).astype(np.int64) for k, (name, n) in enumerate(_FIELDS.items())}
    for k, scene in enumerate(scenes):
        fields["two"][k] = len(scene.objects) - 1
        fields["relation"][k] = RELATIONS.index(scene.relation) if scene.relation else 0
        fields["background"][k] = _GROUNDS.index(scene.background)
        for i, (which, thing) in enumerate(zip(("object", "other"), scene.objects, strict=False)):
            fields[which][k] = _NAMES.index(thing.name)
            fields[f"size{i}"][k] = _SIZE_NAMES.index(thing.size)
    return _paint(fields, _scene_layout(fields), _sprites(size, _SCENE_LEVELS), size)
