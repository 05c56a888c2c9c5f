"""The benchmarks measure what their lines say."""

import re

import pytest
import torch
import torchvision

from minigen import pretrained, style
from minigen.recipes import benchmarks


@pytest.mark.parametrize(
    ("arguments", "measured"),
    [([], ["data", "style"]), (["style"], ["style"]), (["data", "data"], ["data"])],
)
def test_the_groups_asked_for_are_measured_and_all_by_default(monkeypatch, capsys, arguments, measured):
    done = []
    for group in list(benchmarks.GROUPS):
        monkeypatch.setitem(benchmarks.GROUPS, group, lambda group=group: done.append(group))
    benchmarks.main(arguments)
    assert done == measured
    assert capsys.readouterr().out.startswith(f"{torch.get_num_threads()} threads")


def test_an_unknown_group_is_refused(capsys):
    with pytest.raises(SystemExit):
        benchmarks.main(["styles"])
    assert "choose one of data, style" in capsys.readouterr().err


@pytest.mark.parametrize("shipped", [True, False])
def test_style_transfer_is_measured_three_ways(monkeypatch, capsys, tmp_path, shipped):
    monkeypatch.setattr(pretrained, "WEIGHTS", tmp_path)
    if shipped:
        network = style.StyleNetwork(styles=["ink", "mosaic"], widths=(4, 4, 4), num_blocks=1)
        card = {"name": "fast_style", "metrics": {}}
        pretrained.save(tmp_path / "fast_style.safetensors", network, card=card)
    benchmarks.measure_style(size=32, timed_steps=1)
    optimised, at_once, gatys, tutorial = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"style transfer of 32x32, 150 steps .*: [\d.]+ s", optimised)  # 32 pixels have one scale
    assert ("shipped network for 2 styles" if shipped else "random weights for 6 styles") in at_once
    for line, name in ((gatys, "Gatys et al."), (tutorial, "PyTorch's neural-style tutorial")):
        assert re.search(rf"{name}, all at 32x32, .* s \(150 times the [\d.]+ s that a step takes", line)


def test_vgg19_is_tapped_where_the_papers_and_the_tutorial_do():
    gatys, tutorial = benchmarks.vgg19_extractors().values()
    convolutions = [sum(isinstance(m, torch.nn.Conv2d) for m in f.stages.modules()) for f in (gatys, tutorial)]
    assert convolutions == [13, 5]  # up to conv5_1, and to conv3_1
    sizes = {tap: tuple(found.shape[1:]) for tap, found in tutorial(torch.rand(1, 3, 32, 32)).items()}
    assert sizes == {
        "conv1_1": (64, 32, 32),
        "conv1_2": (64, 32, 32),
        "conv2_1": (128, 16, 16),
        "conv2_2": (128, 16, 16),
        "conv3_1": (256, 8, 8),
    }
    for stage in tutorial.stages.values():
        assert isinstance(stage[-1], torch.nn.Conv2d)


def test_a_step_of_transfer_lowers_the_loss():
    torch.manual_seed(0)
    features = style.FeatureExtractor.of_vgg19(torchvision.models.vgg19(weights=None))
    step = benchmarks.step_of_transfer(features, torch.rand(3, 32, 32), torch.rand(3, 32, 32).round())
    first, *_, last = [step() for _ in range(6)]
    assert last < first
