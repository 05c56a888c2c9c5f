"""The photographs of scikit-image and the paintings of our own making."""

import re
import socket
import subprocess
import sys
from importlib import metadata
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from minigen.data.base import batches
from minigen.data.paintings import FOLDER, SEEDS, SIZE, Paintings, paint, paintings
from minigen.data.paintings.__main__ import main
from minigen.data.paintings.manners import MANNERS
from minigen.data.photos import FILES, PhotoCrops, Photos, photos
from minigen.images import from_pil, load_image, to_pil

ROOT = Path(__file__).parents[1]
DATASETS = ROOT / "datasets"
GALLERIES = [pytest.param(photos, id="photos"), pytest.param(paintings, id="paintings")]
QUICK = ["ink", "pointillism"]  # the manners that take least time
ALL_PICTURES = [pytest.param(Photos, name, id=name) for name in Photos.captions]
ALL_PICTURES += [pytest.param(Paintings, name, id=name) for name in Paintings.captions]


@pytest.mark.parametrize(("gallery", "name"), ALL_PICTURES)
def test_every_picture_loads_whole_and_uses_the_unit_range(gallery, name):
    picture = gallery().load(name)
    assert picture.dtype == torch.float32
    assert picture.ndim == 3 and picture.shape[0] == 3 and min(picture.shape[1:]) >= 300
    assert picture.min() >= 0 and picture.max() <= 1
    assert picture.max() - picture.min() > 0.5
    assert picture.std() > 0.08  # no empty sheet


@pytest.mark.parametrize("gallery", GALLERIES)
def test_a_gallery_is_a_data_set_of_squares(gallery):
    pictures = gallery(size=24)
    assert len(pictures) == len(pictures.names) == len(set(pictures.names)) == 10
    images, captions, labels = pictures.take(range(len(pictures)))
    assert images.shape == (10, 3, 24, 24) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1
    assert captions == [pictures.captions[name] for name in pictures.names] and len(set(captions)) == 10
    assert labels == {} and pictures.questions == {}
    torch.testing.assert_close(pictures[-1].image, images[9], rtol=0, atol=0)
    with pytest.raises(IndexError):
        pictures[10]


def test_paintings_feed_the_training_loop():
    pictures = paintings(size=16)
    first, second = (next(batches(pictures, 4, seed=3)).images for _ in range(2))
    assert first.shape == (4, 3, 16, 16)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_square_is_the_middle_of_the_whole():
    whole = photos().load("coffee")  # 400 x 600
    square = photos(size=400).take([photos().names.index("coffee")]).images[0]
    torch.testing.assert_close(square, whole[:, :, 100:500], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "shape"), [("coffee", (200, 300)), ("chelsea", (200, 301)), ("astronaut", (200, 200))]
)
def test_load_with_a_size_keeps_the_shape_of_the_picture(name, shape):
    assert photos().load(name, size=200).shape[1:] == shape


def test_load_gives_a_copy_that_may_be_changed():
    pictures = paintings()
    before = pictures.load("ink")
    pictures.load("ink").zero_()
    torch.testing.assert_close(pictures.load("ink"), before, rtol=0, atol=0)


@pytest.mark.parametrize("gallery", GALLERIES)
def test_an_unknown_name_is_answered_with_those_that_exist(gallery):
    with pytest.raises(ValueError, match=r"no picture called 'mona_lisa': choose one of ") as error:
        gallery().load("mona_lisa")
    assert all(name in str(error.value) for name in gallery().names)


@pytest.mark.parametrize("gallery", GALLERIES)
def test_a_size_below_one_pixel_is_refused(gallery):
    with pytest.raises(ValueError, match="size is 0"):
        gallery(size=0)
    with pytest.raises(ValueError, match="size is -3"):
        gallery().load(gallery().names[0], size=-3)


def test_every_photo_comes_in_scikit_images_own_wheel():
    carried = {str(file) for file in metadata.files("scikit-image")}
    assert {f"skimage/data/{file}" for file in FILES.values()} <= carried
    assert FILES.keys() == Photos.captions.keys()


def test_photos_do_not_touch_the_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a photo asked for the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(photos(size=8).take(range(10)).images) == 10


@pytest.mark.parametrize("name", Photos.captions)
def test_the_card_names_author_and_licence_of_every_photo(name):
    card = (DATASETS / "photos" / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| `{name}` \|.*$", card, re.MULTILINE)
    assert row, f"{name} is not in the card"
    assert re.search(r"CC0|public domain", row[0])
    authors = photos().credit
    assert name in authors


def test_the_folder_holds_the_paintings_and_no_others_within_the_budget():
    files = {file.stem: file.stat().st_size for file in FOLDER.glob("*.png")}
    assert files.keys() == SEEDS.keys() == MANNERS.keys() == Paintings.captions.keys()
    assert max(files.values()) <= 350_000
    assert sum(files.values()) <= 2_000_000


@pytest.mark.parametrize("name", Paintings.captions)
def test_the_card_shows_every_painting(name):
    card = (DATASETS / "paintings" / "README.md").read_text(encoding="utf-8")
    assert f"({name}.png)" in card and "CC BY 4.0" in card


def test_painting_again_from_the_seed_gives_the_same_pixels():
    kept = np.asarray(Image.open(FOLDER / "pointillism.png"))
    assert kept.shape == (SIZE, SIZE, 3)
    np.testing.assert_array_equal(np.asarray(paint("pointillism")), kept)


def test_the_command_writes_the_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.modules[main.__module__], "SEEDS", {"ink": SEEDS["ink"]})
    main(["--out", str(tmp_path / "new")])
    torch.testing.assert_close(load_image(tmp_path / "new" / "ink.png"), paintings().load("ink"), rtol=0, atol=0)
    assert "ink.png" in capsys.readouterr().out


def test_the_command_starts_without_a_warning():
    command = [sys.executable, "-W", "error", "-m", "minigen.data.paintings", "--help"]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert answer.returncode == 0 and "--out" in answer.stdout, answer.stderr


def test_without_the_folder_a_painting_is_painted_when_asked_for(tmp_path, monkeypatch):
    kept = paintings().load("ink")
    monkeypatch.setattr(sys.modules[Paintings.__module__], "FOLDER", tmp_path / "nowhere")
    torch.testing.assert_close(paintings().load("ink"), kept, rtol=0, atol=0)


def test_an_unknown_manner_is_answered_with_those_that_exist():
    with pytest.raises(ValueError, match=r"no manner called 'fresco': choose one of impasto, "):
        paint("fresco")


@pytest.mark.parametrize("name", MANNERS)
def test_a_manner_depends_on_its_generator_alone(name):
    first, again, other = (MANNERS[name](np.random.default_rng(seed), 32) for seed in (5, 5, 6))
    assert first.shape == (32, 32, 3) and first.min() >= 0 and first.max() <= 1
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.005


def manner_of(picture: Tensor) -> Tensor:
    """A Gram matrix of hand-made features: the colours, and the slopes of the brightness at four scales."""
    maps = [picture - 0.5]
    grey = picture.mean(0, keepdim=True)
    for scale in (1, 2, 4, 8):
        small = F.avg_pool2d(grey, scale)
        slopes = torch.stack([small[0].diff(dim=0)[:, 1:], small[0].diff(dim=1)[1:]]).abs()
        maps.append(3 * F.interpolate(slopes[None], size=picture.shape[1:])[0])
    features = torch.cat(maps).flatten(1)  # [11,H*W]
    gram = features @ features.T / features.shape[1]
    return gram / gram.norm()


def test_every_two_manners_differ_by_more_than_two_paintings_of_one_manner():
    pictures = paintings()
    manners = {name: manner_of(pictures.load(name)) for name in pictures.names}
    between = {pair: float((manners[pair[0]] - manners[pair[1]]).norm()) for pair in combinations(manners, 2)}
    assert min(between.values()) > 0.12, min(between, key=between.get)
    for name in QUICK:
        twin = Image.fromarray((MANNERS[name](np.random.default_rng(99), SIZE) * 255).astype(np.uint8))
        within = float((manner_of(from_pil(twin)) - manners[name]).norm())
        nearest = min(gap for pair, gap in between.items() if name in pair)
        assert within < nearest / 2, f"{name}: {within:.3f} to its twin, {nearest:.3f} to another manner"


def test_the_measure_of_manners_does_not_see_a_mirrored_picture_as_another():
    picture = paintings().load("mosaic")
    torch.testing.assert_close(manner_of(picture.flip(2)), manner_of(picture), rtol=0, atol=0.02)
    assert to_pil(picture).size == (SIZE, SIZE)


# --- crops of the photographs -----------------------------------------------------------------------------------


def test_crops_are_squares_of_the_size_asked_for_and_crop_k_is_always_the_same():
    crops = PhotoCrops("train", 48)
    batch = crops.take([5, 900, 5])
    assert batch.images.shape == (3, 3, 48, 48) and batch.images.min() >= 0 and batch.images.max() <= 1
    assert torch.equal(batch.images[0], batch.images[2]) and torch.equal(crops[900].image, batch.images[1])
    assert torch.equal(PhotoCrops("train", 48).take([900]).images[0], batch.images[1])


def test_the_photos_of_a_split_take_turns_and_no_photo_is_in_both():
    seen = {}
    for split, count in (("train", 7), ("test", 3)):
        crops = PhotoCrops(split, 16)
        seen[split] = set(crops.take(range(count)).captions)
        assert len(seen[split]) == count == len(crops.names)
    assert seen["test"] == {photos().captions[name] for name in PhotoCrops.TEST}
    assert seen["train"] | seen["test"] == set(photos().captions.values())


def test_crops_of_the_same_photo_differ_in_place_and_in_light():
    crops = PhotoCrops("test", 32)
    images = crops.take(range(0, 60, 3)).images  # all of one photo
    means = images.mean(dim=(2, 3))
    assert means.std(dim=0).min() > 0.03
    assert not torch.equal(crops.take([0]).images, PhotoCrops("train", 32).take([0]).images)


@pytest.mark.parametrize(("options", "said"), [({"split": "val"}, "'val'"), ({"size": 0}, "0"), ({"size": 321}, "321")])
def test_crops_that_cannot_be_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        PhotoCrops(**options)
