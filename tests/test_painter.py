"""The painter: repeatable pictures, the same alone and in a batch, from noise, from a picture, and in a part of one."""

import pytest
import torch
from torch.testing import assert_close

import minigen.painter
from minigen.denoiser import ClassEncoder, Denoiser
from minigen.diffusion import NoiseSchedule, RectifiedFlow, guided, sample
from minigen.images import to_unit
from minigen.painter import Painter
from minigen.text import TextEncoder
from minigen.vae import Codec

WORDS = ["a", "cat", "dog", "on"]


def a_painter(*, codec=True, **options):
    torch.manual_seed(0)
    encoder = (
        TextEncoder(words=WORDS, width=12, depth=1, num_heads=2) if codec else ClassEncoder(num_classes=4, width=12)
    )
    shape = {"channels": 4, "size": 4} if codec else {"channels": 3, "size": 16, "ends": (8,)}
    denoiser = Denoiser(**shape, width=16, depth=1, num_heads=2, cond_width=12)
    for parameter in denoiser.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    coder = Codec(latent_channels=4, encoder_widths=(8, 8, 8), decoder_widths=(8, 8, 8)) if codec else None
    return Painter(encoder.eval(), denoiser.eval(), coder.eval() if coder else None, **options)


def close(a, b):
    assert_close(a, b, rtol=1e-4, atol=1e-5)


def a_picture(size=32):
    return torch.rand(3, size, size, generator=torch.Generator().manual_seed(9))


QUICK = {"num_inference_steps": 3}


@pytest.mark.parametrize(
    ("codec", "wanted", "size"), [(True, ["a cat", "a dog"], 32), (False, torch.tensor([1, 3]), 16)]
)
def test_it_draws_pictures_from_0_to_1(codec, wanted, size):
    painter = a_painter(codec=codec)
    images = painter.paint(wanted, **QUICK)
    assert images.shape == (2, 3, size, size) and painter.size == size and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std() > 0.01 and not images.requires_grad


def test_it_is_the_sampler_with_guidance_and_the_codec():
    painter, captions = a_painter(), ["a cat", "a dog on a cat"]
    with torch.no_grad():
        denoiser = guided(painter.denoiser, painter.encoder.read(captions), painter.encoder.empty(2), 2.5)
        options = {"prediction_type": "v", "num_inference_steps": 3, "sampler": "ddim"}
        latents = sample(denoiser, RectifiedFlow(), painter.noise([7, 8]), **options)
        expected = to_unit(painter.codec.decode(latents))
    close(painter.paint(captions, guidance_scale=2.5, sampler="ddim", seed=7, **QUICK), expected)


@pytest.mark.parametrize("codec", [True, False])
def test_picture_k_of_a_seed_is_the_picture_of_seed_plus_k_alone(codec):
    painter = a_painter(codec=codec)
    wanted = ["a cat", "a dog on a cat", "a"] if codec else torch.tensor([1, 3, 0])
    together = painter.paint(wanted, seed=5, **QUICK)
    for k in range(3):
        close(painter.paint(wanted[k : k + 1], seed=5 + k, **QUICK), together[k : k + 1])
    assert not torch.allclose(together[0], painter.paint(wanted[:1], seed=6, **QUICK)[0], atol=1e-3)


def test_it_tells_what_it_sees_at_every_step_and_ends_with_the_picture():
    painter = a_painter()
    states = list(painter.paint_steps(["a cat"], **QUICK))
    assert [(s.step, s.num_steps) for s in states] == [(1, 3), (2, 3), (3, 3)]
    assert all(s.images.shape == (1, 3, 32, 32) for s in states)
    assert torch.equal(states[-1].images, painter.paint(["a cat"], **QUICK))
    assert not torch.equal(states[0].images, states[1].images)


def test_noise_may_be_given_instead_of_a_seed():
    painter = a_painter()
    assert torch.equal(
        painter.paint(["a cat"], noise=painter.noise([4]), **QUICK), painter.paint(["a cat"], seed=4, **QUICK)
    )


def test_a_condition_of_ones_own_is_drawn():
    painter = a_painter()
    with torch.no_grad():
        cond = painter.encoder.read(["a cat"])
    assert torch.equal(painter.paint(cond, **QUICK), painter.paint(["a cat"], **QUICK))


def test_another_process_is_used_where_it_is_given():
    wanted = torch.tensor([1])
    flow, cosine = a_painter(codec=False), a_painter(codec=False, process=NoiseSchedule.cosine())
    assert not torch.allclose(flow.paint(wanted, **QUICK), cosine.paint(wanted, **QUICK), atol=1e-3)


# --- beginning with a picture -----------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [True, False])
def test_the_less_strength_the_more_stays_of_the_picture_it_begins_with(codec):
    painter = a_painter(codec=codec)
    wanted, start = (["a cat"], a_picture(32)) if codec else (torch.tensor([1]), a_picture(16))
    options = {"start": start, "num_inference_steps": 20}
    kept = to_unit(painter.codec.decode(painter.codec.encode(2 * start[None] - 1).mean)) if codec else start[None]
    far = [(painter.paint(wanted, strength=s, **options) - kept).abs().mean().item() for s in (0.05, 0.5, 1.0)]
    assert far[0] < far[1] < far[2]
    assert torch.equal(painter.paint(wanted, strength=1.0, **options), painter.paint(wanted, num_inference_steps=20))


def test_outside_the_mask_the_picture_stays_to_the_pixel_and_inside_it_is_drawn():
    painter, start = a_painter(), a_picture()
    mask = torch.zeros(1, 32, 32)
    mask[:, 3:20, 5:9] = 1  # no multiple of the codec's 8
    (first, *_, last) = painter.paint_steps(["a cat", "a dog"], start=start, mask=mask, **QUICK)
    for state in (first, last):
        assert torch.equal(state.images * (1 - mask), (start * (1 - mask)).expand(2, -1, -1, -1))
        assert ((state.images - start)[:, :, 3:20, 5:9].abs() > 1e-3).any()


def test_with_a_mask_the_last_step_is_the_picture():
    painter, mask = a_painter(), torch.zeros(1, 32, 32)
    mask[:, :, :9] = 1
    options = {"start": a_picture(), "mask": mask, **QUICK}
    *_, last = painter.paint_steps(["a cat"], **options)
    assert torch.equal(last.images, painter.paint(["a cat"], **options))


@pytest.fixture
def given(monkeypatch):
    """What the painter tells its sampler."""
    given, original = {}, minigen.painter.sample_steps

    def spy(*args, **options):
        given.update(options)
        return original(*args, **options)

    monkeypatch.setattr(minigen.painter, "sample_steps", spy)
    return given


def test_pixels_are_clipped_and_begin_in_the_range_of_models_and_latents_are_the_codecs(given):
    start = a_picture(16)
    a_painter(codec=False).paint(torch.tensor([1]), start=start, **QUICK)
    close(given["x0"], 2 * start[None] - 1)
    assert given["clip"] == 1.0
    painter, start = a_painter(), a_picture(32)
    painter.paint(["a cat"], start=start, **QUICK)
    close(given["x0"], painter.codec.encode(2 * start[None] - 1).mean)
    assert given["clip"] is None


def test_every_place_that_the_mask_touches_is_drawn_anew(given):
    painter = a_painter()
    mask = torch.zeros(1, 32, 32)
    mask[0, 9, 17] = 1
    painter.paint(["a cat"], start=a_picture(), mask=mask, **QUICK)
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 1, 2] = 1
    assert torch.equal(given["mask"], expected)


# --- what cannot be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"start": torch.zeros(3, 16, 16)}, r"`start` has shape \(3, 16, 16\), expected \(1, 3, 32, 32\)"),
        ({"start": torch.full((3, 32, 32), -1.0)}, "`start` holds values from -1 to -1, expected 0 to 1"),
        ({"start": torch.full((3, 32, 32), torch.nan)}, "`start` holds values from nan"),
        ({"start": torch.zeros(3, 32, 32), "mask": torch.zeros(32, 32)}, r"`mask` has shape \(32, 32\)"),
        ({"mask": torch.zeros(1, 32, 32)}, "need an x0|need a start"),
        ({"strength": 0.5}, "need an x0|need a start"),
        ({"start": torch.zeros(3, 32, 32), "strength": 0.0}, "strength is 0.0"),
        ({"noise": torch.zeros(1, 4, 8, 8)}, r"the noise has shape \(1, 4, 8, 8\), expected \(1, 4, 4, 4\)"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"sampler": "euler"}, "sampler is 'euler'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(options, words):
    with pytest.raises(ValueError, match=words):
        a_painter().paint(["a cat"], **QUICK | options)


def test_unknown_words_are_named():
    with pytest.raises(ValueError, match="'cot'; did you mean 'cat'"):
        a_painter().paint(["a cot"], **QUICK)
