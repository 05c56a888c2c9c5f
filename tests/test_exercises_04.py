"""The exercises of lesson 04 agree with `style` and scikit-image; other right answers pass, more wrong ones do not."""

import copy
from itertools import pairwise

import pytest
import torch
from answers import assert_right, cases_of, first_case, judge
from skimage.color import rgb2yuv, yuv2rgb
from torch import nn
from torch.nn import functional as F

from minigen import style
from minigen.exercises import State, lesson_04

# 1. Gram matrices


@cases_of(lesson_04.q1)
def test_the_gram_matrix_is_the_packages_and_forgets_the_places(case):
    (features,) = case
    given = lesson_04.gram_matrix(features)
    torch.testing.assert_close(given, style.gram_matrix(features), rtol=1e-5, atol=1e-6)
    order = torch.randperm(features[0, 0].numel(), generator=torch.Generator().manual_seed(1))
    shuffled = features.flatten(2)[:, :, order].view(features.shape)
    torch.testing.assert_close(lesson_04.gram_matrix(shuffled), given, rtol=1e-5, atol=1e-6)


def test_a_gram_matrix_by_einsum_is_right():
    assert_right(lesson_04.q1, lambda f: torch.einsum("nchw,ndhw->ncd", f, f) / (f.shape[1] * f.shape[2] * f.shape[3]))


def test_a_batch_folded_into_the_channels_is_told_so():
    def gram_matrix(features):  # as in PyTorch's own tutorial, where the batch is of one
        n, c, h, w = features.shape
        f = features.view(n * c, h * w)
        return f @ f.T / (n * c * h * w)

    result = judge(lesson_04.q1, gram_matrix)
    assert result.state is State.WRONG
    assert "shape (6, 6), expected (2, 3, 3)" in result.message


@pytest.mark.parametrize("divisor", [1, 3, 20])
def test_places_by_places_are_recognised_however_they_are_divided(divisor):
    result = judge(lesson_04.q1, lambda f: f.flatten(2).mT @ f.flatten(2) / divisor)
    assert result.message == lesson_04.places_by_places.message


# 2. The distance from a style


@cases_of(lesson_04.q2)
def test_the_distance_of_each_picture_is_the_packages_style_loss_of_it_alone(case):
    given = lesson_04.style_distance(*case)
    for k in range(len(given)):
        own, target = (style.gram_matrix(f[k : k + 1]) for f in case)
        expected = style.style_loss({"tap": own}, {"tap": target})
        torch.testing.assert_close(given[k], expected, rtol=1e-4, atol=1e-6)


def test_shuffled_places_are_no_distance_and_features_of_0_are_at_1():
    shuffled, target = lesson_04.q2.cases()["the style's own features with their places shuffled"]
    assert (shuffled - target).abs().max() > 0.5
    torch.testing.assert_close(lesson_04.style_distance(shuffled, target), torch.zeros(2), rtol=0, atol=1e-6)
    torch.testing.assert_close(lesson_04.style_distance(0 * target, target), torch.ones(2), rtol=1e-6, atol=0)


def test_a_distance_by_the_packages_gram_matrix_and_by_norms_is_right():
    def style_distance(features, style_features):
        target = style.gram_matrix(style_features)
        error = torch.linalg.matrix_norm(style.gram_matrix(features) - target)
        return error**2 / torch.linalg.matrix_norm(target) ** 2

    assert_right(lesson_04.q2, style_distance)


# 3. How the loss grows


def test_the_growth_is_what_the_losses_of_larger_features_show():
    generator = torch.Generator().manual_seed(0)
    pair = [torch.randn(1, 3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(2)]

    def loss(gram, features):
        return (gram(features[0]) - gram(features[1])).square().sum()

    def undivided(f):
        return f.flatten(2) @ f.flatten(2).mT

    twice_the_side = [f.repeat(1, 1, 2, 2) for f in pair]
    twice_the_channels = [f.repeat(1, 2, 1, 1) for f in pair]
    both = [f.repeat(1, 2, 2, 2) for f in pair]
    shown = [
        loss(undivided, twice_the_side) / loss(undivided, pair),
        loss(undivided, twice_the_channels) / loss(undivided, pair),
        loss(style.gram_matrix, both) / loss(style.gram_matrix, pair),
    ]
    assert [ratio.item() for ratio in shown] == pytest.approx(lesson_04.gram_growth(), rel=1e-5)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((4, 2, 2), lesson_04.matrix_not_squared),  # the first that is wrong is spoken of
        ((2, 2, 2), lesson_04.one_side_only),
        ([16, 8, 1], lesson_04.channels_like_places),
        ((16, 2, 3), lesson_04.rows_only),
        ((16, 4, 0.5), lesson_04.fewer_entries),
        ((5, 2, 1), lesson_04.rows_only),  # nothing is known of a 5
    ],
)
def test_the_first_wrong_factor_that_is_known_is_spoken_of(answer, said):
    result = lesson_04.q3.check(gram_growth=answer)
    assert result.state is State.WRONG
    assert result.message == said.message


@pytest.mark.parametrize("answer", [[16, 4, 1], (16.0, 4.0, 1.0), (torch.tensor(16), 2**2, 64 / 8**2)])
def test_three_numbers_in_other_dress_are_right(answer):
    assert lesson_04.q3.check(gram_growth=answer)


def test_two_numbers_are_told_that_they_are_two():
    assert "a tuple of 2 values" in lesson_04.q3.check(gram_growth=(16, 2)).message


@pytest.mark.parametrize("answer", [16, (16, 4), (4, 16, 1), (1, 4, 16), (16, 4, 1, 1), "16, 4, 1", (16, "4", 1)])
def test_other_numbers_are_not_right(answer):
    assert lesson_04.q3.check(gram_growth=answer).state is State.WRONG


# 4. Taps


BROKEN = """
def taps_and_slope(x, layers, taps):
    x = x.clone().requires_grad_()
    h, found = x, []
    for k, layer in enumerate(layers):
        h = layer(h)
        if k in taps:
            found.append(h)
    loss = sum(f.square().mean() for f in found)
    return found, torch.autograd.grad(loss, x)[0]
"""


def switched_off(layers):
    for layer in layers:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False
    return layers


def changed(old="", new=""):
    """The broken function, or with one change."""
    assert old in BROKEN
    names = {"torch": torch, "nn": nn, "F": F}
    exec(BROKEN.replace(old, new, 1), names)
    return names["taps_and_slope"]


def test_the_broken_function_is_told_what_overwrites():
    assert judge(lesson_04.q4, changed()).message == lesson_04.overwritten.message


@cases_of(lesson_04.q4)
def test_the_repaired_taps_and_their_slope_are_those_of_the_packages_extractor(case):
    x, layers, taps = case
    stages = {f"layer{k}": layer for k, layer in enumerate(layers)}
    names = [f"layer{k}" for k in taps]
    extractor = style.FeatureExtractor(stages, style_taps=names, content_taps=names, mean=(0, 0, 0), std=(1, 1, 1))
    pictures = x.clone().requires_grad_()
    expected = [extractor(pictures)[name] for name in names]
    slope = torch.autograd.grad(sum(f.square().mean() for f in expected), pictures)[0]
    found, given = lesson_04.taps_and_slope(x, layers, taps)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(given, slope, rtol=1e-5, atol=1e-7)
    assert found[0].min() < 0  # or a ReLU after it would change nothing


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("found.append(h)", "found.append(h + 0)"),
        ("h = layer(h)", "h = layer(h.clone())"),
        ("h = layer(h)", "h = F.relu(h) if isinstance(layer, nn.ReLU) else layer(h)"),
        ("h, found = x, []", "h, found, layers = x, [], [nn.ReLU() if hasattr(m, 'inplace') else m for m in layers]"),
    ],
)
def test_other_repairs_of_a_tap_are_right(old, new):
    assert_right(lesson_04.q4, changed(old, new))


def test_work_in_place_switched_off_in_a_copy_is_right():
    without = changed()
    assert_right(lesson_04.q4, lambda x, layers, taps: without(x, switched_off(copy.deepcopy(layers)), taps))


def test_an_answer_that_switches_the_given_layers_does_not_make_the_broken_one_right():
    broken = changed()
    judge(lesson_04.q4, lambda x, layers, taps: broken(x, switched_off(layers), taps))
    assert judge(lesson_04.q4, broken).message == lesson_04.overwritten.message


@pytest.mark.parametrize("copied", ["h.detach().clone()", "h.data.clone()", "torch.tensor(h.tolist())"])
def test_a_tap_that_lets_no_gradient_through_is_wrong(copied):
    result = judge(lesson_04.q4, changed("found.append(h)", f"found.append({copied})"))
    assert result.state is State.WRONG
    assert "does not require grad" in result.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("found.append(h)", "found.append(h.view_as(h))"),  # the same memory
        ("return found,", "return [f.clone() for f in found],"),  # too late
        ("found.append(h)", "found.append(F.relu(h))"),
    ],
)
def test_a_copy_that_is_none_or_comes_too_late_is_told_what_overwrites(old, new):
    assert judge(lesson_04.q4, changed(old, new)).message == lesson_04.overwritten.message


def test_making_the_layers_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    lesson_04._layers.__wrapped__()
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


# 5. Total variation


@cases_of(lesson_04.q5)
def test_the_variation_is_the_packages(case):
    torch.testing.assert_close(lesson_04.total_variation(*case), style.total_variation(*case), rtol=1e-6, atol=0)


def test_noise_has_a_variation_of_twice_its_variance():
    noise = 0.1 * torch.randn(1, 3, 200, 200, generator=torch.Generator().manual_seed(0))
    assert lesson_04.total_variation(noise).item() == pytest.approx(2 * 0.1**2, rel=0.02)


def test_a_variation_by_diff_over_all_pairs_in_a_row_is_right():
    def total_variation(x):
        return torch.cat([x.diff(dim=2).flatten(), x.diff(dim=3).flatten()]).square().mean()

    assert_right(lesson_04.q5, total_variation)


# 6. Colour


@cases_of(lesson_04.q6)
def test_the_colours_kept_are_the_packages(case):
    torch.testing.assert_close(lesson_04.keep_colour(*case), style.keep_colour(*case), rtol=1e-5, atol=1e-6)


@cases_of(lesson_04.q6)
def test_by_way_of_yuv_the_answer_is_right(case):
    picture, content = (x.double().movedim(1, -1).numpy() for x in case)
    mixed = rgb2yuv(content)
    mixed[..., 0] = rgb2yuv(picture)[..., 0]
    expected = torch.from_numpy(yuv2rgb(mixed)).movedim(-1, 1).clamp(0, 1).float()
    torch.testing.assert_close(lesson_04.keep_colour(*case), expected, rtol=0, atol=1e-4)


def test_the_chroma_stays_the_contents_and_the_luma_is_the_pictures():
    picture, content = first_case(lesson_04.q6)
    kept = lesson_04.keep_colour(picture, content)
    assert kept.min() > 0
    assert kept.max() < 1  # nothing was clamped
    luma = lesson_04._luma
    torch.testing.assert_close(luma(kept), luma(picture), rtol=0, atol=1e-5)
    torch.testing.assert_close(kept - luma(kept), content - luma(content), rtol=0, atol=1e-5)


def test_chroma_taken_channel_by_channel_is_right_and_value_in_place_of_luma_is_not():
    def by_chroma(picture, content):
        red, green, blue = content.unbind(1)
        grey = 0.299 * red + 0.587 * green + 0.114 * blue
        luma = (picture * picture.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1)
        return torch.stack([luma + red - grey, luma + green - grey, luma + blue - grey], dim=1).clamp(0, 1)

    def by_value(picture, content):
        return content * picture.amax(1, keepdim=True) / content.amax(1, keepdim=True)

    assert_right(lesson_04.q6, by_chroma)
    assert judge(lesson_04.q6, by_value).state is State.WRONG


# 7. AdaIN


def test_the_means_and_deviations_become_the_styles():
    for content, target in lesson_04.q7.cases().values():
        given = lesson_04.adain(content, target)
        torch.testing.assert_close(given.mean((2, 3)), target.mean((2, 3)), rtol=0, atol=1e-4)
        silent = content.std((2, 3)) == 0
        expected = target.std((2, 3)).masked_fill(silent, 0)
        torch.testing.assert_close(given.std((2, 3)), expected, rtol=1e-3, atol=1e-5)


def test_it_is_what_the_packages_styled_convolution_does():
    content, target = (part[:1] for part in first_case(lesson_04.q7))
    layer = style.StyledConv(3, 3, 1, kernel=1)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.eye(3)[:, :, None, None])
        layer.style.weight.zero_()
        layer.style.bias.copy_(torch.cat([target.std((2, 3))[0] - 1, target.mean((2, 3))[0]]))
        expected = layer(content, torch.zeros(1, 1))
    torch.testing.assert_close(lesson_04.adain(content, target), expected, rtol=5e-3, atol=5e-3)


def test_the_diagonal_of_a_gram_matrix_is_mean_squared_and_variance_over_c():
    features, _ = first_case(lesson_04.q7)
    diagonal = style.gram_matrix(features).diagonal(dim1=1, dim2=2)
    variance = features.var((2, 3), correction=0)
    torch.testing.assert_close(diagonal, (features.mean((2, 3)).square() + variance) / 3, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("eps", [1e-5, 1e-8])
def test_either_deviation_and_a_small_number_under_the_root_are_right(eps):
    def adain(content_features, style_features):
        deviation = style_features.std((2, 3), correction=0, keepdim=True)
        normal = F.instance_norm(content_features, eps=eps)
        return normal * deviation + style_features.mean((2, 3), keepdim=True)

    assert_right(lesson_04.q7, adain)


# 8. Flicker


@cases_of(lesson_04.q8)
def test_the_flicker_is_the_packages_for_a_motion_by_whole_pixels(case):
    frames, shift = case
    motion = torch.tensor([[1, 0, 2 * shift / frames.shape[3]], [0, 1, 0]]).expand(len(frames) - 1, 2, 3)
    assert lesson_04.flicker(frames, shift) == pytest.approx(style.flicker(frames, motion), rel=1e-4, abs=1e-6)


def test_a_film_that_only_moves_does_not_flicker():
    assert lesson_04.flicker(*lesson_04.q8.cases()["a film that only moves"]) == 0


def test_a_roll_from_which_the_wrapped_part_is_cut_is_right():
    def flicker(frames, shift):
        error = frames[1:] - frames[:-1].roll(-shift, dims=3)
        return error[..., : frames.shape[-1] - shift].abs().mean()

    assert_right(lesson_04.q8, flicker)


def test_a_loop_over_frames_is_right_and_one_that_divides_by_all_frames_is_not():
    def flicker(frames, shift, count=None):
        width, total = frames.shape[3], 0.0
        for before, after in pairwise(frames):
            total += F.l1_loss(after[..., : width - shift], before[..., shift:]).item()
        return total / (count or len(frames) - 1)

    assert_right(lesson_04.q8, flicker)
    assert judge(lesson_04.q8, lambda frames, shift: flicker(frames, shift, len(frames))).state is State.WRONG


def test_cutting_with_a_minus_names_the_shift_of_0():
    def flicker(frames, shift):
        return (frames[1:, :, :, :-shift] - frames[:-1, :, :, shift:]).abs().mean()

    result = judge(lesson_04.q8, flicker)
    assert result.state is State.WRONG
    assert "With a camera that stands still, with a shift of 0, `flicker` raised" in result.message


# More wrong answers, each of another kind than those that the exercises declare


def gram_of(features):
    return lesson_04.gram_matrix(features)


def half_luma(picture, content):
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    return (content + ((picture - content) * weights).mean(1, keepdim=True)).clamp(0, 1)


WRONG = {
    "q1: of each channel with itself only": (lesson_04.q1, lambda f: torch.diag_embed(f.square().mean((2, 3)))),
    "q1: through the absolute values": (lesson_04.q1, lambda f: gram_of(f.abs())),
    "q1: rows for channels": (lesson_04.q1, lambda f: torch.einsum("nchw,ncgw->nhg", f, f) / f[0].numel()),
    "q2: of the channels' means": (
        lesson_04.q2,
        lambda f, s: ((f.mean((2, 3)) - s.mean((2, 3))) ** 2).sum(1) / (s.mean((2, 3)) ** 2).sum(1),
    ),
    "q2: of the largest difference": (
        lesson_04.q2,
        lambda f, s: (gram_of(f) - gram_of(s)).abs().amax((1, 2)) ** 2 / gram_of(s).abs().amax((1, 2)) ** 2,
    ),
    "q2: a share of both together": (
        lesson_04.q2,
        lambda f, s: (
            (gram_of(f) - gram_of(s)).square().sum((1, 2)) / (gram_of(f).square() + gram_of(s).square()).sum((1, 2))
        ),
    ),
    "q5: four neighbours at once": (lesson_04.q5, lambda x: (x[:, :, 1:, 1:] - x[:, :, :-1, :-1]).square().mean()),
    "q5: no more than half a step": (lesson_04.q5, lambda x: lesson_04.total_variation(x) / 2),
    "q5: one number a picture": (lesson_04.q5, lambda x: lesson_04.total_variation(x).expand(len(x))),
    "q5: the variance": (lesson_04.q5, lambda x: x.var()),
    "q6: mean for sum": (lesson_04.q6, half_luma),
    "q6: the content": (lesson_04.q6, lambda picture, content: content.clone()),
    "q6: stretched instead of clamped": (
        lesson_04.q6,
        lambda picture, content: lesson_04.not_clamped.example(picture, content).sigmoid(),
    ),
    "q7: through the largest and smallest": (
        lesson_04.q7,
        lambda c, s: (
            (c - c.amin((2, 3), True))
            / (c.amax((2, 3), True) - c.amin((2, 3), True) + 1e-5)
            * (s.amax((2, 3), True) - s.amin((2, 3), True))
            + s.amin((2, 3), True)
        ),
    ),
    "q7: the shift first": (
        lesson_04.q7,
        lambda c, s: (F.instance_norm(c) + s.mean((2, 3), True)) * s.std((2, 3), keepdim=True),
    ),
    "q7: the style itself": (lesson_04.q7, lambda c, s: s[:, :, : c.shape[2], : c.shape[3]].clone()),
    "q8: one column too few moved": (lesson_04.q8, lambda frames, shift: lesson_04.flicker(frames, max(0, shift - 1))),
    "q8: of the film's mean colours": (
        lesson_04.q8,
        lambda frames, shift: frames.mean((2, 3)).diff(dim=0).abs().mean().item(),
    ),
    "q8: only the last pair": (lesson_04.q8, lambda frames, shift: lesson_04.flicker(frames[-2:], shift)),
    "q8: one number a pair": (
        lesson_04.q8,
        lambda frames, shift: lesson_04._errors(frames, shift).abs().mean((1, 2, 3)),
    ),
}


@pytest.mark.parametrize(("exercise", "answer"), WRONG.values(), ids=WRONG)
def test_no_other_wrong_answer_passes(exercise, answer):
    assert judge(exercise, answer).state is State.WRONG
