"""The data sets, all offline: emoji glyphs and scenes, photos, paintings, the classic sets and your own folder."""

from minigen.data.base import Batch, Example, PictureDataset, Subset, batches, grouped_batches
from minigen.data.classic import ClassicSet
from minigen.data.folder import CaptionedFolder
from minigen.data.glyphs import EmojiGlyphs
from minigen.data.grammar import Scene, SceneObject, caption_of, parse_caption
from minigen.data.paintings import paintings
from minigen.data.photos import PhotoCrops, photos
from minigen.data.scenes import EmojiPortraits, EmojiScenes, draw_scenes, is_held_out

__all__ = [
    "Batch",
    "CaptionedFolder",
    "ClassicSet",
    "EmojiGlyphs",
    "EmojiPortraits",
    "EmojiScenes",
    "Example",
    "PhotoCrops",
    "PictureDataset",
    "Scene",
    "SceneObject",
    "Subset",
    "batches",
    "caption_of",
    "draw_scenes",
    "grouped_batches",
    "is_held_out",
    "paintings",
    "parse_caption",
    "photos",
]
