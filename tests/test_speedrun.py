"""The speedrun: each way changes what its name says and nothing else; a row of figures for each."""

import itertools
import shutil
import time

import pytest
import torch
from torch import nn

from minigen import pretrained
from minigen.data import EmojiScenes
from minigen.denoiser import Denoiser
from minigen.images import to_signed
from minigen.layers import SquaredReLU
from minigen.painter import Painter
from minigen.recipes import speedrun
from minigen.recipes.caption_diffusion import encode_scenes, latents_and_captions
from minigen.recipes.frame import Options
from minigen.recipes.speedrun import WAYS, Way
from minigen.text import TextEncoder
from minigen.training import MuonAdamW

TINY = {"width": 24, "depth": 1, "num_heads": 2}
USUAL = WAYS["as the recipe does it"]


def a_model(way=USUAL, words=("cat",)):
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": TextEncoder(words=list(words)), "denoiser": Denoiser(**way.denoiser)})
    way.change(model)
    return model


@pytest.fixture(scope="module")
def scenes():
    return encode_scenes(pretrained.load("codec"), 20, device="cpu")


def test_gelu_takes_the_place_of_every_squared_relu():
    kinds = [type(part) for part in a_model(WAYS["GELU"]).modules()]
    usual = [type(part) for part in a_model().modules()]
    assert SquaredReLU not in kinds and usual.count(SquaredReLU) == kinds.count(nn.GELU) > 0


@pytest.mark.parametrize(
    ("name", "noise"),
    [
        ("places begin as small noise", "denoiser.places"),
        ("words' positions begin as small noise", "encoder.position"),
    ],
)
def test_only_the_places_or_the_order_of_words_begin_as_noise(name, noise):
    changed, usual = (a_model(way).state_dict() for way in (WAYS[name], USUAL))
    assert [name for name in usual if not torch.equal(usual[name], changed[name])] == [noise]
    assert 0.01 < changed[noise].std() < 0.03


def test_adamw_has_every_parameter_and_its_rate_rises_and_falls():
    model = a_model()
    optimizer, scheduler = speedrun.adamw(model, 10)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] < max(rates) <= 1e-3 and rates[-1] < max(rates) / 5


def test_even_times_are_even(scenes):
    model, times = a_model(words=scenes.words), []
    model["denoiser"].forward = lambda x_t, t, cond: times.append(t) or torch.zeros_like(x_t)
    for batch in itertools.islice(latents_and_captions(scenes, Options(40, 100, seed=0), 0), 40):
        assert 1.5 < WAYS["times evenly spread"].loss(model, batch).item() < 2.5
    shares = torch.cat(times).histc(10, 0, 1) / 4000
    assert shares.sum() == pytest.approx(1) and (shares - 0.1).abs().max() < 0.02


def test_alignment_adds_how_far_the_guess_is_from_what_the_judge_sees(scenes):
    way = WAYS["aligned with the judge"]
    prepared = way.prepare(scenes, None)
    judge = pretrained.load("judge")
    pictures = EmojiScenes("train", length=20).take(range(20)).images
    with torch.no_grad():
        seen = judge.feature_map(to_signed(pictures))
    seen = seen - seen.mean(dim=(0, 2, 3), keepdim=True)
    torch.testing.assert_close(prepared.latents[:, 8:].float(), seen, rtol=1e-2, atol=1e-2)
    assert torch.equal(prepared.latents[:, :8], scenes.latents)

    model = a_model(way, scenes.words)
    x0, tokens = next(latents_and_captions(prepared, Options(1, 8, seed=0), 0))
    judged = x0[:, 8:].flatten(2).transpose(1, 2)  # [N,L,128]
    losses = []
    for guess in (judged, -judged):
        model["denoiser"].guess = nn.Identity()
        model["denoiser"].guess.forward = lambda inside, guess=guess: guess
        torch.manual_seed(0)
        losses.append(way.loss(model, (x0, tokens)).item())
    torch.manual_seed(0)
    usual = USUAL.loss(model, (x0[:, :8], tokens)).item()
    assert losses == pytest.approx([usual, usual + 1], abs=1e-3)


def test_an_aligned_network_learns_its_guess_and_draws_as_any_other(scenes):
    way = WAYS["aligned with the judge"]
    torch.manual_seed(0)
    small = way._replace(denoiser=TINY | {"depth": 2}, batch_size=4)
    model, _ = speedrun.train(small, way.prepare(scenes, None), 1.0)
    fresh = a_model(small)
    assert not torch.equal(model["denoiser"].guess[0].weight, fresh["denoiser"].guess[0].weight)
    painter = Painter(**model, codec=pretrained.load("codec"))
    assert painter.paint(scenes.words[:1], num_inference_steps=2).shape == (1, 3, 64, 64)


@pytest.mark.parametrize("name", WAYS)
def test_every_way_builds_its_network(name):
    model, way = a_model(WAYS[name]), WAYS[name]
    assert all(model["denoiser"].config[key] == (list(v) if key == "ends" else v) for key, v in way.denoiser.items())
    optimizer, _ = way.optimizer(model, 10)
    assert isinstance(optimizer, torch.optim.AdamW if name == "AdamW for all" else MuonAdamW)


def test_it_trains_for_the_seconds_it_is_given_and_counts_the_pictures(scenes):
    way = Way(TINY, batch_size=4)
    model, pictures = speedrun.train(way, scenes, 0.3)
    longer, more = speedrun.train(way, scenes, 1.2)
    assert pictures % 4 == 0 and 0 < pictures < more
    assert not torch.equal(model["denoiser"].places, longer["denoiser"].places)
    assert model["denoiser"].out_of.weight.any(), "it did not learn"


def test_an_encoder_that_reads_first_takes_its_time_from_the_drawing(scenes, monkeypatch):
    read = []

    def teach(encoder, captions):
        read.extend(captions)
        nn.init.ones_(encoder.position)
        encoder.position.requires_grad_(False)
        time.sleep(1)

    monkeypatch.setattr(speedrun.reading, "teach", teach)
    way = Way(TINY, batch_size=4)
    _, usual = speedrun.train(way, scenes, 1.2, ["cat", "cake"])
    assert not read
    model, pictures = speedrun.train(way._replace(reads=True), scenes, 1.2, ["cat", "cake"])
    assert pictures < usual / 2
    assert (model["encoder"].position == 1).all() and model["denoiser"].out_of.weight.any()
    assert len(read) == 40 and all("cat" in c or "cake" in c or "猫" in c or "蛋糕" in c for c in read)


def test_what_it_measures(monkeypatch):
    """The loss of a network that says 0 is that of the velocity itself: 1 of the noise and 1 of the latents."""
    monkeypatch.setattr(speedrun, "NEW", 40)
    model = nn.ModuleDict(pretrained.load("caption_diffusion"))
    good = speedrun.measure(model, 60)
    nn.init.zeros_(model["denoiser"].out_of.weight)
    nn.init.zeros_(model["denoiser"].out_of.bias)
    mute = speedrun.measure(model, 60)
    assert good["loss"] < 0.7 < 1.6 < mute["loss"] < 2.4
    assert good["objects"] > 0.3 > 0.05 > mute["objects"] and good["background"] > 0.9
    assert good["frechet_distance"] < mute["frechet_distance"]


def test_a_row_for_each_way_that_is_asked_for(monkeypatch, capsys):
    figures = {"loss": 0.5, "objects": 0.25, "relation": 0.5, "background": 1.0, "frechet_distance": 3.0}
    monkeypatch.setattr(speedrun, "encode_scenes", lambda *args, **options: None)
    monkeypatch.setattr(speedrun, "train", lambda *given: (nn.ModuleDict({"a": nn.Linear(3, 1)}), 6400))
    monkeypatch.setattr(speedrun, "measure", lambda model, count, objects: figures)
    speedrun.main(["--only", "GELU", "6 heads"])
    head, line, *rows = capsys.readouterr().out.splitlines()
    assert head.count("|") == line.count("|") == rows[0].count("|") == 9
    assert rows == [f"| {name} | 4 | 6,400 | 0.5000 | 25.0% | 50.0% | 100.0% | 3.00 |" for name in ("GELU", "6 heads")]


def test_kept_lines_are_on_the_card_in_order_and_the_weights_stay(monkeypatch, tmp_path, capsys):
    """A way that is measured again takes the place of its old line; other seconds have a table of their own."""
    for name in ("caption_diffusion", "codec"):
        shutil.copy(pretrained.WEIGHTS / f"{name}.safetensors", tmp_path)
    weights, card = pretrained.load("caption_diffusion").state_dict(), pretrained.card("caption_diffusion")
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    monkeypatch.setattr(speedrun, "encode_scenes", lambda *args, **options: None)
    monkeypatch.setattr(speedrun, "train", lambda *given: (nn.ModuleDict({"a": nn.Linear(3, 1)}), 6400))
    for loss, arguments in (
        (0.5, ["--only", "6 heads", "GELU", "--seconds", "1.5", "--keep"]),
        (0.4, ["--only", "6 heads", "--seconds", "1.5", "--keep"]),
        (0.3, ["--only", "6 heads", "--seconds", "2", "--keep"]),
        (0.2, ["--only", "6 heads", "--seconds", "2"]),
    ):
        row = {"loss": loss, "objects": 0.25, "relation": 0.5, "background": 1.0, "frechet_distance": 3.0}
        monkeypatch.setattr(speedrun, "measure", lambda model, count, objects, row=row: row)
        speedrun.main(arguments)
    tables = pretrained.card("caption_diffusion")["tables"]
    tables = {title: lines for title, lines in tables.items() if title not in card.get("tables", {})}
    shorter, longer = tables.values()
    assert [line.split(" | ")[0] for line in shorter[2:]] == ["| GELU", "| 6 heads"] and "| 0.4000 |" in shorter[3]
    assert len(longer) == 3 and "| 0.3000 |" in longer[2]
    assert all("python -m minigen.recipes.speedrun --seconds " in title and "torch" in title for title in tables)
    assert {**pretrained.card("caption_diffusion"), "tables": None} == {**card, "tables": None}
    kept = pretrained.load("caption_diffusion").state_dict()
    assert kept.keys() == weights.keys() and all(torch.equal(kept[name], value) for name, value in weights.items())


def test_fewer_objects_are_trained_on_and_drawn(monkeypatch, tmp_path, capsys):
    """Every scene of the training, of what the judge sees and of the measurement is of these alone."""
    for name in ("caption_diffusion", "codec", "judge", "examiner"):
        shutil.copy(pretrained.WEIGHTS / f"{name}.safetensors", tmp_path)
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    monkeypatch.setattr(speedrun, "NUM_SCENES", 200)
    monkeypatch.setattr(speedrun, "NEW", 20)
    monkeypatch.setattr(speedrun, "COUNT", 40)
    asked, usual = [], speedrun.draw
    monkeypatch.setattr(speedrun, "draw", lambda painter, captions: asked.extend(captions) or usual(painter, captions))
    way = WAYS["aligned with the judge"]._replace(denoiser=TINY | {"depth": 2}, batch_size=4)
    prepared = []
    monkeypatch.setitem(
        WAYS, "6 heads", way._replace(prepare=lambda *given: prepared.append(way.prepare(*given)) or prepared[0])
    )
    speedrun.main(["--only", "6 heads", "--seconds", "0.2", "--objects", "cat", "cake", "--keep"])
    titles = pretrained.card("caption_diffusion")["tables"]
    assert sum("--seconds 0.2 --objects cat cake`" in title for title in titles) == 1
    assert len(asked) == 40 and all({"cat", "cake"} & set(caption.split()) for caption in asked)
    assert not any({"dog", "fox", "house"} & set(caption.split()) for caption in asked)
    assert "cat" in prepared[0].words and "dog" not in prepared[0].words
    with torch.no_grad():
        pictures = EmojiScenes("train", length=200, objects=["cat", "cake"]).take(range(200)).images
        seen = pretrained.load("judge").feature_map(to_signed(pictures))
    seen = seen - seen.mean(dim=(0, 2, 3), keepdim=True)
    torch.testing.assert_close(prepared[0].latents[:, 8:].float(), seen, rtol=1e-2, atol=2e-2)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--only", "magic"], "invalid choice: 'magic'"),
        (["--objects", "dragon", "cat"], "'dragon'"),
        (["--objects", "cat"], "expected two or more, each once"),
        (["--objects", "cat", "cat"], "expected two or more, each once"),
    ],
)
def test_what_there_is_not_is_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        speedrun.main(arguments)
    assert said in capsys.readouterr().err
