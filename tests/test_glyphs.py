"""Emoji glyphs: real drawings under their names."""

import pytest
import torch

from minigen.data import EmojiGlyphs
from minigen.data.glyphs import catalogue


def test_about_1900_drawings_without_skin_tones_each_named_once_in_both_languages():
    english, chinese = EmojiGlyphs(), EmojiGlyphs(language="zh")
    assert 1_800 < len(english) < 2_100
    assert len(set(english.names)) == len(set(chinese.names)) == len(english)
    assert not any("skin tone" in name for name in english.names)
    assert chinese.names[english.names.index("panda")] == "熊猫"
    assert sum(any("\u4e00" <= letter <= "\u9fff" for letter in name) for name in chinese.names) > 1_700


def test_no_drawing_is_empty_or_the_box_that_stands_for_a_missing_one():
    glyphs = EmojiGlyphs(size=16)
    images = glyphs.take(range(len(glyphs))).images
    assert images.shape == (len(glyphs), 3, 16, 16)
    inked = (images < 0.9).flatten(1).float().mean(dim=1)
    assert inked.min() > 0.005
    kinds, counts = torch.unique((images * 255).round().byte().flatten(1), dim=0, return_counts=True)
    assert counts.max() <= 3  # some flags are drawn alike; a missing glyph would be drawn alike hundreds of times
    assert len(kinds) > 0.97 * len(glyphs)


def test_emoji_of_several_code_points_are_one_drawing():
    assert "🏳️\u200d🌈" in catalogue()  # the rainbow flag
    glyphs = EmojiGlyphs(size=48)
    flag, white = (glyphs[glyphs.characters.index(c)].image for c in ("🏳️\u200d🌈", "🏳️"))
    assert (flag - white).abs().mean() > 0.05


def test_the_background_shows_where_nothing_is_drawn():
    glyphs = EmojiGlyphs(size=24, background=(0.2, 0.4, 0.6))
    torch.testing.assert_close(glyphs[0].image[:, 0, 0], torch.tensor([0.2, 0.4, 0.6]))


def test_label_and_caption_name_the_drawing():
    example = EmojiGlyphs()[7]
    glyphs = EmojiGlyphs()
    assert glyphs.questions["emoji"][example.labels["emoji"]] == example.caption == glyphs.names[7]


@pytest.mark.parametrize(("arguments", "named"), [({"size": 0}, "0"), ({"language": "fr"}, "fr")])
def test_an_impossible_argument_is_refused(arguments, named):
    with pytest.raises(ValueError, match=named):
        EmojiGlyphs(**arguments)
