"""The speedrun: each way changes what its name says and nothing else; a row of figures for each."""

import pytest
import torch
from torch import nn

from minigen import pretrained
from minigen.denoiser import Denoiser
from minigen.layers import SquaredReLU
from minigen.recipes import speedrun
from minigen.recipes.caption_diffusion import encode_scenes
from minigen.recipes.speedrun import WAYS, Way
from minigen.text import TextEncoder
from minigen.training import MuonAdamW

TINY = {"width": 24, "depth": 1, "num_heads": 2}
USUAL = WAYS["as the recipe does it"]


def a_model(way=USUAL):
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": TextEncoder(words=["cat"]), "denoiser": Denoiser(**way.denoiser)})
    way.change(model)
    return model


@pytest.fixture(scope="module")
def scenes():
    return encode_scenes(pretrained.load("codec"), 20, device="cpu")


def test_gelu_takes_the_place_of_every_squared_relu():
    kinds = [type(part) for part in a_model(WAYS["GELU"]).modules()]
    usual = [type(part) for part in a_model().modules()]
    assert SquaredReLU not in kinds and usual.count(SquaredReLU) == kinds.count(nn.GELU) > 0


def test_only_the_places_begin_as_noise():
    changed, usual = (a_model(way).state_dict() for way in (WAYS["places begin as small noise"], USUAL))
    assert [name for name in usual if not torch.equal(usual[name], changed[name])] == ["denoiser.places"]
    assert 0.01 < changed["denoiser.places"].std() < 0.03


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
    monkeypatch.setattr(speedrun, "train", lambda way, scenes, seconds: (nn.ModuleDict({"a": nn.Linear(3, 1)}), 6400))
    monkeypatch.setattr(speedrun, "measure", lambda model, count: figures)
    speedrun.main(["--only", "GELU", "6 heads"])
    head, line, *rows = capsys.readouterr().out.splitlines()
    assert head.count("|") == line.count("|") == rows[0].count("|") == 9
    assert rows == [f"| {name} | 4 | 6,400 | 0.5000 | 25.0% | 50.0% | 100.0% | 3.00 |" for name in ("GELU", "6 heads")]


def test_a_way_that_there_is_not_is_refused(capsys):
    with pytest.raises(SystemExit):
        speedrun.main(["--only", "magic"])
    assert "invalid choice: 'magic'" in capsys.readouterr().err
