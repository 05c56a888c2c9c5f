"""The benchmarks measure what their lines say."""

import re
import sys
import time

import pytest
import torch
import torchvision
from torch import nn

from minigen import pretrained, style
from minigen.denoiser import Denoiser
from minigen.layers import Condition
from minigen.recipes import benchmarks


@pytest.mark.parametrize(
    ("arguments", "measured"),
    [([], ["data", "style", "diffusion"]), (["style"], ["style"]), (["data", "data"], ["data"])],
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
    assert "choose one of data, style, diffusion" in capsys.readouterr().err


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


# --- diffusion ----------------------------------------------------------------------------------------------


def a_condition(count, num_tokens=3):
    return Condition(torch.randn(count, num_tokens, 128), torch.ones(count, num_tokens, dtype=torch.bool))


def the_unet(kind, ours):
    pytest.importorskip(kind.library.replace("-", "_"), reason=f"{kind.library} comes with the extra bench")
    return benchmarks.as_large_as(ours, kind)[0]


def test_works_that_are_timed_together_take_turns():
    done = []
    slow = lambda: (done.append("slow"), time.sleep(0.02))  # noqa: E731
    seconds = benchmarks.seconds_for_each([slow, lambda: done.append("quick")], repetitions=3)
    assert done == ["slow", "quick"] * 4  # the first to warm up
    assert seconds[0] >= 0.02 > seconds[1]


@pytest.mark.parametrize("there", [True, False], ids=["installed", "not installed"])
def test_denoisers_are_measured_and_a_library_that_is_missing_is_named(monkeypatch, capsys, there):
    small = {"width": 16, "depth": 1, "num_heads": 2}
    pixels = {"channels": 3, "size": 32, "ends": (8, 8)}
    ours = {"captions": (Denoiser(**small), 14), "classes": (Denoiser(**small, **pixels), 1)}
    monkeypatch.setattr(benchmarks, "our_denoisers", lambda: ours)
    monkeypatch.setitem(sys.modules, "denoising_diffusion_pytorch", None)  # importing it fails from here on
    if not there:
        monkeypatch.setitem(sys.modules, "diffusers", None)
    benchmarks.measure_diffusion(batch_size=4, timed_steps=1)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8
    figures = r"[\d,]+ parameters: trains on [\d,]+ a second, samples four in [\d.]+ s \(guided\)"
    missing = r'- {} is not measured: there is no [\w-]+; pip install -e "\.\[bench\]"'
    expected = [
        missing.format("denoising-diffusion-pytorch"),
        *([] if there else [missing.format("diffusers")]),
        rf"- our Denoiser, {figures}",
        *([rf"- the UNet2DConditionModel of diffusers [\d.]+ with \d+ channels, {figures}"] if there else []),
    ]
    for head, *rest, shape in ((*lines[:4], "8x8x8"), (*lines[4:], "3x32x32")):
        assert head.startswith(f"denoisers of {shape}, ")
        for line, pattern in zip(rest, expected, strict=True):
            assert re.fullmatch(pattern, line), line


@pytest.mark.parametrize("name", ["captions", "classes"])
@pytest.mark.parametrize("kind", [benchmarks.UnetWithoutText, benchmarks.UnetWithText])
def test_the_unets_are_as_large_as_ours_to_a_tenth_and_work_on_the_same(kind, name):
    torch.manual_seed(0)
    ours, _ = benchmarks.our_denoisers()[name]
    unet = the_unet(kind, ours).eval()
    assert benchmarks.num_parameters(unet) == pytest.approx(benchmarks.num_parameters(ours), rel=0.1)
    x_t, t = torch.randn(2, ours.channels, ours.size, ours.size), torch.tensor([0.1, 0.9])
    with torch.no_grad():
        first, second = (unet(x_t, t, a_condition(2)) for _ in range(2))
        assert first.shape == x_t.shape
        assert torch.equal(first, second) != benchmarks.is_conditional(unet)
        cond = a_condition(2)
        assert not torch.allclose(unet(x_t, t, cond), unet(x_t, t.flip(0), cond), atol=1e-4)  # it hears the time


class Counting(nn.Module):
    """Predicts zeros, and counts how often."""

    calls = 0

    def forward(self, x_t, t, cond=None):
        self.calls += 1
        return torch.zeros_like(x_t)


class CountingWithoutText(Counting, benchmarks.UnetWithoutText):
    def __init__(self):
        nn.Module.__init__(self)


@pytest.mark.parametrize(("kind", "calls"), [(Counting, 40), (CountingWithoutText, 20)])
def test_guidance_takes_two_passes_a_step_where_there_is_a_condition(kind, calls):
    model = kind()
    drawn = benchmarks.sampling_of_four(model, torch.zeros(9, 3, 8, 8), a_condition(9))()
    assert drawn.shape == (4, 3, 8, 8)
    assert model.calls == calls


def test_a_step_of_diffusion_trains_the_denoiser():
    torch.manual_seed(0)
    model = Denoiser(channels=2, size=4, width=16, depth=1, num_heads=2)
    step = benchmarks.step_of_diffusion(model, torch.full((32, 2, 4, 4), 3.0), a_condition(32))
    losses = [step() for _ in range(60)]
    assert losses[0] == pytest.approx(10, rel=0.2)  # at first it says zero: the mean square of noise - 3
    assert sum(losses[-5:]) / 5 < 0.5 * losses[0]
