"""The exercises of lesson 06 agree with minigen, torch, diffusers and scikit-image; other right answers pass."""

import math
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import assert_right, cases_of, first_case, judge
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel
from skimage.measure import block_reduce

from minigen import data, metrics
from minigen.denoiser import ClassEncoder
from minigen.diffusion import RectifiedFlow, guided, sample_steps
from minigen.exercises import State, lesson_06
from minigen.layers import Condition, attend
from minigen.text import Tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers, under a newer numpy


# 1. A caption as numbers


def test_captions_added_one_by_one_are_what_the_packages_tokenizer_makes_of_all():
    captions = ["A large red cat", "a panda above a small cat on white", "white", "a cat"]
    tokenizer = Tokenizer.from_captions(captions)
    vocabulary = {word: k + 1 for k, word in enumerate(tokenizer.words)}
    ids = tokenizer(captions[:1]).ids
    for caption in captions[1:]:
        ids, unknown = lesson_06.add_caption(ids, caption, vocabulary)
        assert unknown == []
    torch.testing.assert_close(ids, tokenizer(captions).ids, rtol=0, atol=0)


def test_the_unknown_words_are_those_of_the_packages_tokenizer_and_the_batch_stays():
    ids, caption, vocabulary = lesson_06.q1.cases()["a word that is not in the dict"]
    given, unknown = lesson_06.add_caption(ids, caption, vocabulary)
    assert unknown == Tokenizer(list(vocabulary)).unknown(caption) == ["dragon"]
    torch.testing.assert_close(given, ids, rtol=0, atol=0)


def test_a_caption_added_by_padding_a_list_of_rows_is_right():
    def add_caption(ids, caption, vocabulary):
        row, unknown = [], []
        for word in caption.lower().split():
            if word in vocabulary:
                row.append(vocabulary[word])
            else:
                unknown += [word]
        if len(unknown):
            return ids.clone(), unknown
        new = torch.nn.utils.rnn.pad_sequence([*ids, torch.tensor(row)], batch_first=True)
        return new, unknown

    assert_right(lesson_06.q1, add_caption)


def test_a_list_of_unknown_words_without_doubles_and_a_tuple_in_a_list_are_right():
    def add_caption(ids, caption, vocabulary):
        words = [word for word in caption.casefold().split(" ") if word]
        unknown = sorted(set(words) - vocabulary.keys())
        if unknown:
            return [ids, unknown]
        longest = max(ids.shape[1], len(words))
        row = torch.tensor([[vocabulary[word] for word in words] + [0] * (longest - len(words))])
        return [torch.cat([F.pad(ids, (0, longest - ids.shape[1])), row]), unknown]

    assert_right(lesson_06.q1, add_caption)


def test_a_caption_taken_for_its_letters_is_recognised_whatever_is_known_of_them():
    def add_caption(ids, caption, vocabulary):
        return ids, [letter for letter in caption if letter not in vocabulary]

    assert judge(lesson_06.q1, add_caption).message == lesson_06.letter_by_letter.message


def test_an_error_at_an_unknown_word_is_told_with_the_case_and_the_word():
    def add_caption(ids, caption, vocabulary):
        return lesson_06.add_caption(ids, caption, {word: vocabulary[word] for word in caption.lower().split()})

    result = judge(lesson_06.q1, add_caption)
    assert result.state is State.WRONG
    assert "With a word that is not in the dict, `add_caption` raised KeyError" in result.message
    assert "dragon" in result.message


# 2. Where there is a word


def test_the_mask_is_the_tokenizers_and_the_mean_that_of_each_caption_alone():
    captions = ["a large red cat", "a cat", "white"]
    tokens = Tokenizer.from_captions(captions)(captions)
    vectors = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    mask, mean = lesson_06.masked_mean(vectors, tokens.ids)
    torch.testing.assert_close(mask, tokens.mask, rtol=0, atol=0)
    for k, caption in enumerate(captions):
        alone = vectors[k, : len(caption.split())].mean(dim=0)
        torch.testing.assert_close(mean[k], alone, rtol=1e-5, atol=1e-6)


def test_a_caption_means_the_same_alone_and_beside_a_longer_one():
    means = [lesson_06.masked_mean(*case)[1][0] for case in lesson_06.q2.cases().values()]
    torch.testing.assert_close(means[1], means[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(means[2], means[0], rtol=1e-6, atol=1e-6)


def test_a_mean_by_nan_by_weights_and_by_a_loop_is_right():
    def by_nan(tokens, ids):
        mask = ids.bool()
        return mask, tokens.masked_fill(~mask.unsqueeze(2), math.nan).nanmean(dim=1)

    def by_weights(tokens, ids):
        weights = F.normalize((ids != 0).float(), p=1, dim=1)
        return weights > 0, torch.einsum("nl,nld->nd", weights, tokens)

    def by_loop(tokens, ids):
        return ids != 0, torch.stack([vectors[row > 0].mean(0) for vectors, row in zip(tokens, ids, strict=True)])

    for answer in (by_nan, by_weights, by_loop):
        assert_right(lesson_06.q2, answer)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32])
def test_a_mask_of_any_numbers_is_told_to_be_bool(dtype):
    def masked_mean(tokens, ids):
        mask, mean = lesson_06.masked_mean(tokens, ids)
        return mask.to(dtype), mean

    assert judge(lesson_06.q2, masked_mean).message == lesson_06.mask_of_numbers.message


# 3. Attention


@cases_of(lesson_06.q3)
def test_attention_is_torchs_and_the_denoisers(case):
    q, k, v, mask = case
    given = lesson_06.attention(q, k, v, mask)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None])
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)
    own, weights = attend(q[:, None], k[:, None], v[:, None], mask)  # one head
    torch.testing.assert_close(given, own[:, 0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights.sum(dim=3), torch.ones(2, 1, 3), rtol=1e-5, atol=0)


def test_filling_changes_nothing_and_neither_does_the_order_of_the_words():
    q, k, v, mask = lesson_06.q3.cases()["captions of three and four words"]
    given = lesson_06.attention(q, k, v, mask)
    spoilt_k, spoilt_v = (x.masked_fill(~mask[:, :, None], 7.0) for x in (k, v))
    torch.testing.assert_close(lesson_06.attention(q, spoilt_k, spoilt_v, mask), given, rtol=0, atol=0)
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = lesson_06.attention(q, k[:, order], v[:, order], mask[:, order])
    torch.testing.assert_close(shuffled, given, rtol=1e-5, atol=1e-6)


def test_the_scores_far_from_0_are_beyond_the_range_of_exp_and_below_minus_100():
    q, k, _, mask = lesson_06.q3.cases()["scores far from 0"]
    scores = q @ k.mT / 2
    assert scores.exp().isinf().any()
    assert scores.masked_fill(~mask[:, None], -math.inf).amax(dim=2).min() < -100


def test_attention_written_in_other_ways_is_right():
    def added(q, k, v, mask):
        bias = torch.zeros(mask.shape).masked_fill(mask.logical_not(), -1e9)
        scores = torch.einsum("nld,nmd->nlm", q * q.shape[-1] ** -0.5, k) + bias.unsqueeze(1)
        return torch.einsum("nlm,nme->nle", F.softmax(scores, dim=-1), v)

    def by_hand(q, k, v, mask):
        scores = (q @ k.transpose(1, 2)) / q.shape[-1] ** 0.5
        scores = torch.where(mask[:, None, :], scores, torch.finfo(scores.dtype).min)
        weights = (scores - scores.amax(2, keepdim=True)).exp()
        return weights / weights.sum(2, keepdim=True) @ v

    def one_by_one(q, k, v, mask):
        rows = []
        for k_, v_, q_, m_ in zip(k, v, q, mask, strict=True):
            rows.append((q_ @ k_[m_].T / math.sqrt(k_.shape[1])).softmax(1) @ v_[m_])
        return torch.stack(rows)

    def torchs(q, k, v, mask):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.unsqueeze(1))

    for answer in (added, by_hand, one_by_one, torchs):
        assert_right(lesson_06.q3, answer)


def test_values_of_filling_set_to_0_are_told_that_the_mask_came_too_late():
    def attention(q, k, v, mask):
        return (q @ k.mT / math.sqrt(q.shape[2])).softmax(2) @ (v * mask[:, :, None])

    assert judge(lesson_06.q3, attention).message == lesson_06.masked_too_late.message


# 4. Dropping captions


def test_the_captions_that_are_dropped_are_those_that_the_package_drops():
    tokens, mask, *_ = first_case(lesson_06.q4)
    encoder = ClassEncoder(num_classes=2, width=3)
    for rate in (0.0, 0.1, 0.5, 1.0):
        expected = encoder.drop(Condition(tokens, mask), rate, generator=torch.Generator().manual_seed(3))
        uniform = torch.rand(len(tokens), generator=torch.Generator().manual_seed(3))
        given = lesson_06.drop_captions(tokens, mask, encoder.empty_token[0, 0], rate, uniform)
        torch.testing.assert_close(given[0], expected.tokens, rtol=0, atol=0)
        torch.testing.assert_close(given[1], expected.mask, rtol=0, atol=0)


def test_as_many_captions_are_dropped_as_the_rate_says_and_the_rest_stay():
    generator = torch.Generator().manual_seed(0)
    tokens, mask = torch.randn(4000, 2, 3, generator=generator), torch.ones(4000, 2, dtype=torch.bool)
    uniform, empty = torch.rand(4000, generator=generator), torch.zeros(3)
    new, new_mask = lesson_06.drop_captions(tokens, mask, empty, 0.1, uniform)
    dropped = ~new_mask[:, 1]
    assert dropped.float().mean().item() == pytest.approx(0.1, abs=0.02)  # four standard deviations
    torch.testing.assert_close(new[~dropped], tokens[~dropped], rtol=0, atol=0)


def test_dropping_in_copies_and_in_a_loop_is_right():
    def in_copies(tokens, mask, empty, rate, uniform):
        tokens, mask = tokens.clone(), mask.clone()
        rows = (uniform < rate).nonzero().flatten()
        tokens[rows], mask[rows] = 0.0, False
        tokens[rows, 0], mask[rows, 0] = empty, True
        return tokens, mask

    def in_a_loop(tokens, mask, empty, rate, uniform):
        new, new_mask = [], []
        for k in range(len(tokens)):
            drop = uniform[k].item() < rate
            nothing = torch.zeros(tokens.shape[1] - 1, tokens.shape[2])
            new.append(torch.vstack([empty, nothing]) if drop else tokens[k])
            new_mask.append(torch.tensor([True] + [False] * len(nothing)) if drop else mask[k])
        return torch.stack(new), torch.stack(new_mask)

    def as_a_share(tokens, mask, empty, rate, uniform):
        keep = (uniform >= rate).to(tokens)[:, None, None]
        alone = F.pad(empty[None, None], (0, 0, 0, tokens.shape[1] - 1))
        first = F.one_hot(torch.tensor(0), tokens.shape[1]).bool()
        kept = keep[:, :, 0].bool()
        return keep * tokens + (1 - keep) * alone, (mask & kept) | (first & ~kept)

    for answer in (in_copies, in_a_loop, as_a_share):
        assert_right(lesson_06.q4, answer)


def test_random_numbers_drawn_in_the_answer_are_told_so():
    def drop_captions(tokens, mask, empty, rate, uniform):
        return lesson_06.drop_captions(tokens, mask, empty, rate, torch.rand(len(tokens)))

    assert judge(lesson_06.q4, drop_captions).message == lesson_06.own_numbers.message


# 5. Guidance scales


def by_convention(cond, uncond, scale, convention):
    """The prediction, by the formulas as the papers print them."""
    if convention == "paper":
        return (1 + scale) * cond - scale * uncond  # Ho and Salimans, equation 6
    if convention == "pipeline" and not scale > 1:
        return cond
    return scale * cond + (1 - scale) * uncond  # Imagen, equation 2


@cases_of(lesson_06.q5)
def test_a_converted_scale_gives_the_same_prediction_and_that_of_the_course(case):
    scales, source, target = case
    cond, uncond = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))
    course = lesson_06.convert_scales(scales, source, "course").tolist()
    for scale, converted, s in zip(scales.tolist(), lesson_06.convert_scales(*case).tolist(), course, strict=True):
        expected = by_convention(cond, uncond, scale, source)
        own = guided(lambda x_t, t, c: c, cond, uncond, s)(torch.zeros(1), torch.zeros(1))
        torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5)
        if not math.isnan(converted):
            given = by_convention(cond, uncond, converted, target)
            torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)
        else:  # a pipeline has none: up to 1 it draws by cond, and above it goes beyond
            assert target == "pipeline"
            assert s < 1


def test_a_pipeline_of_diffusers_draws_at_0_what_it_draws_at_1():
    torch.manual_seed(0)
    transformer = DiTTransformer2DModel(
        sample_size=4,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        out_channels=8,
        norm_elementwise_affine=False,
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_zero",
    )
    vae = AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)
    pipeline = DiTPipeline(transformer=transformer.eval(), vae=vae.eval(), scheduler=DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)

    def draw(scale):
        options = {"num_inference_steps": 2, "output_type": "np", "generator": torch.Generator().manual_seed(0)}
        return torch.from_numpy(pipeline([3], guidance_scale=scale, **options).images)

    without = draw(1.0)
    for scale in (0.0, 0.5):
        torch.testing.assert_close(draw(scale), without, rtol=0, atol=0)
    assert (draw(1.5) - without).abs().max() > 0.01


def test_a_scale_that_goes_there_and_back_is_the_same():
    scales = torch.tensor([1.0, 1.5, 4.0, 7.5])
    for there in ("course", "paper", "pipeline"):
        back = lesson_06.convert_scales(lesson_06.convert_scales(scales, "course", there), there, "course")
        torch.testing.assert_close(back, scales, rtol=0, atol=1e-6)


def test_scales_converted_by_a_table_and_one_by_one_are_right():
    def by_table(scales, source, target):
        into = {"course": scales, "paper": 1 + scales, "pipeline": torch.where(scales > 1, scales, 1.0)}[source]
        return {"course": into, "paper": into - 1, "pipeline": torch.where(into >= 1, into, torch.nan)}[target]

    def one_by_one(scales, source, target):
        new = []
        for scale in scales.tolist():
            s = {"paper": scale + 1, "pipeline": max(scale, 1.0)}.get(source, scale)
            if target == "pipeline" and s < 1:
                s = float("nan")
            new.append(s - 1 if target == "paper" else s)
        return torch.tensor(new)

    assert_right(lesson_06.q5, by_table)
    assert_right(lesson_06.q5, one_by_one)


def test_source_and_target_changed_round_are_told_so():
    result = judge(lesson_06.q5, lambda scales, source, target: lesson_06.convert_scales(scales, target, source))
    assert result.message == lesson_06.shifted_the_wrong_way.message
    assert "changed places" in result.message


# 6. Strict adherence


def asked_and_seen(count):
    """Answers and labels [N,6] to EmojiScenes' questions, most answers right, some refused."""
    sizes = [len(answers) for answers in data.EmojiScenes.questions.values()]
    generator = torch.Generator().manual_seed(0)
    labels = torch.stack([torch.randint(size, (count,), generator=generator) for size in sizes], dim=1)
    guesses = torch.stack([torch.randint(size, (count,), generator=generator) for size in sizes], dim=1)
    answers = torch.where(torch.rand(labels.shape, generator=generator) < 0.1, guesses, labels)
    answers[torch.rand(count, generator=generator) < 0.1, 0] = -1
    return answers, labels


def test_the_share_is_the_packages_everything_with_its_refusals():
    answers, labels = asked_and_seen(300)
    questions = data.EmojiScenes.questions
    logits = {}
    for k, (question, names) in enumerate(questions.items()):
        refusal = len(names)  # the examiner's last answer to "object"; no other question has one
        chosen = answers[:, k].masked_fill(answers[:, k] == -1, refusal)
        logits[question] = F.one_hot(chosen, len(names) + (question == "object")).float()
    expected = metrics.caption_adherence(logits, dict(zip(questions, labels.T, strict=True)))
    given = lesson_06.strict_adherence(answers, labels)
    assert given == pytest.approx(expected.everything.value, abs=1e-6)
    assert 0.3 < given < 0.7
    assert expected.refused.value > 0.05


def test_what_a_caption_does_not_say_changes_nothing_but_in_its_favour():
    answers, labels = asked_and_seen(50)
    before = lesson_06.strict_adherence(answers, labels)
    labels[:, 0] = -1
    assert lesson_06.strict_adherence(answers, labels) == lesson_06.strict_adherence(answers[:, 1:], labels[:, 1:])
    assert lesson_06.strict_adherence(answers, labels) > before
    assert lesson_06.strict_adherence(answers, torch.full_like(labels, -1)) == 1


def test_the_figure_of_the_explanation_is_right():
    assert pytest.approx(0.95**6, abs=0.006) == 0.74


def test_adherence_counted_by_wrong_answers_and_in_a_loop_is_right():
    def by_wrong_answers(answers, labels):
        wrong = answers.ne(labels) & labels.ge(0)
        return (wrong.sum(1) == 0).double().mean()

    def in_a_loop(answers, labels):
        good = 0
        for picture, caption in zip(answers.tolist(), labels.tolist(), strict=True):
            good += all(a == b for a, b in zip(picture, caption, strict=True) if b != -1)
        return good / len(answers)

    def as_numpy(answers, labels):
        return np.prod(np.where(labels == -1, 1, answers == labels), axis=1).mean()

    for answer in (by_wrong_answers, in_a_loop, as_numpy):
        assert_right(lesson_06.q6, answer)


def test_the_single_answers_that_the_captions_ask_for_are_told_to_be_single():
    def strict_adherence(answers, labels):
        return (answers == labels)[labels != -1].float().mean().item()

    assert judge(lesson_06.q6, strict_adherence).message == lesson_06.single_answers.message


# 7. Beginning with a picture


@cases_of(lesson_06.q7)
def test_the_sampler_of_the_package_begins_there_and_runs_these_times(case):
    x0, noise, times, strength = case
    flow = RectifiedFlow()
    left, x_t = lesson_06.begin_from(*case)
    torch.testing.assert_close(x_t, flow.add_noise(x0, noise, left[:1].expand(len(x0))), rtol=1e-6, atol=1e-6)
    if not torch.equal(times, flow.timesteps(len(times))):
        return  # of another schedule than the package's
    met = []

    def denoiser(x, t):
        met.append((x, t[0]))
        return torch.zeros_like(x)

    options = {"prediction_type": "v", "num_inference_steps": len(times), "x0": x0, "strength": strength}
    list(sample_steps(denoiser, flow, noise, **options))
    torch.testing.assert_close(x_t, met[0][0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(left, torch.stack([t for _, t in met]), rtol=0, atol=0)


def test_all_but_one_of_the_cases_are_at_the_times_of_the_package():
    cases = list(lesson_06.q7.cases().values())
    known = [torch.equal(times, RectifiedFlow().timesteps(len(times))) for _, _, times, _ in cases]
    assert known.count(False) == 1


def test_a_strength_of_1_forgets_the_picture_and_a_product_below_its_true_value_is_rounded():
    x0, noise, times, strength = lesson_06.q7.cases()["a strength of 1"]
    torch.testing.assert_close(lesson_06.begin_from(x0, noise, times, strength)[1], noise, rtol=0, atol=0)
    assert int(50 * 0.58) == 28
    assert len(lesson_06.begin_from(*lesson_06.q7.cases()["fifty steps and a strength of 0.58"])[0]) == 29


def test_times_skipped_from_the_front_and_noise_by_lerp_are_right():
    def begin_from(x0, noise, times, strength):
        skipped = len(times) - max(round(len(times) * strength), 1)
        return times[skipped:], torch.lerp(x0, noise, times[skipped].item())

    assert_right(lesson_06.q7, begin_from)


def test_times_counted_from_the_back_with_a_half_rounded_up_are_right():
    def begin_from(x0, noise, times, strength):
        count = max(1, int(len(times) * strength + 0.5))
        left = times[-count:]
        return left, x0 + left[0] * (noise - x0)

    assert_right(lesson_06.q7, begin_from)


# 8. Painting over a part


def test_what_the_sampler_of_the_package_keeps_after_each_step_is_this():
    x0, noise, mask = (lesson_06.q8.cases()["a mask with soft edges"][k] for k in (1, 2, 3))
    flow = RectifiedFlow()

    def denoiser(x_t, t):
        return torch.sin(3 * x_t)

    options = {"prediction_type": "v", "num_inference_steps": 3}
    masked = list(sample_steps(denoiser, flow, noise, x0=x0, mask=mask, **options))
    x_t = noise
    for k, (now, then) in enumerate([(1, 2 / 3), (2 / 3, 1 / 3), (1 / 3, 0)]):
        drawn = x_t + (then - now) * denoiser(x_t, None)  # a step of Euler's method
        x_t = lesson_06.keep_known(drawn, x0, noise, mask, torch.full((4,), float(then)))
        torch.testing.assert_close(x_t, masked[k].x_t, rtol=1e-5, atol=1e-5)


def test_at_the_end_the_kept_part_is_the_picture_and_the_rest_is_what_was_drawn():
    x_t, x0, noise, mask, t = lesson_06.q8.cases()["after the last step, at t = 0"]
    drawn = mask.bool().expand_as(x0)
    given = lesson_06.keep_known(x_t, x0, noise, mask, t)
    torch.testing.assert_close(given[drawn], x_t[drawn], rtol=0, atol=0)
    torch.testing.assert_close(given[~drawn], x0[~drawn], rtol=0, atol=0)
    assert 0.2 < mask.mean() < 0.8


def test_lerp_and_a_loop_over_pictures_are_right():
    def by_lerp(x_t, x0, noise, mask, t):
        known = torch.lerp(x0, noise, t.view(-1, 1, 1, 1))
        return torch.lerp(known, x_t, mask.expand_as(x_t))

    def in_a_loop(x_t, x0, noise, mask, t):
        new = []
        for k, time in enumerate(t.tolist()):
            known = x0[k] + time * (noise[k] - x0[k])
            new.append(known + mask[k] * (x_t[k] - known))
        return torch.stack(new)

    assert_right(lesson_06.q8, by_lerp)
    assert_right(lesson_06.q8, in_a_loop)


def test_noise_drawn_in_the_answer_is_told_so():
    def keep_known(x_t, x0, noise, mask, t):
        return lesson_06.keep_known(x_t, x0, torch.randn_like(x0), mask, t)

    assert judge(lesson_06.q8, keep_known).message == lesson_06.fresh_noise.message


# 9. A mask for latents


@cases_of(lesson_06.q9)
def test_a_place_is_drawn_where_the_largest_of_its_pixels_is_drawn(case):
    mask, factor = case
    given = lesson_06.latent_mask(mask, factor)
    blocks = torch.from_numpy(block_reduce(mask.numpy(), (1, 1, factor, factor), np.max))
    torch.testing.assert_close(given, blocks, rtol=0, atol=0)
    # As the painter does it
    torch.testing.assert_close(given, F.adaptive_max_pool2d(mask, given.shape[2:]), rtol=0, atol=0)


@cases_of(lesson_06.q9)
def test_no_pixel_that_is_to_be_drawn_is_left_out(case):
    mask, factor = case
    back = F.interpolate(lesson_06.latent_mask(mask, factor), scale_factor=factor)
    assert (back >= mask).all()


def test_latent_masks_by_blocks_and_by_any_pixel_are_right():
    def by_blocks(mask, factor):
        n, c, h, w = mask.shape
        return mask.reshape(n, c, h // factor, factor, w // factor, factor).amax(5).amax(3)

    def by_any(mask, factor):
        patches = F.unfold(mask, factor, stride=factor)  # [N,f*f,places]
        return (patches > 0).any(1).float().view(len(mask), 1, mask.shape[2] // factor, -1)

    def by_mean(mask, factor):
        return F.avg_pool2d(mask, factor).ceil()

    def by_layer(mask, factor):
        return torch.nn.MaxPool2d(kernel_size=factor, stride=factor)(mask)

    for answer in (by_blocks, by_any, by_mean, by_layer):
        assert_right(lesson_06.q9, answer)


# More wrong answers, each of another kind than those that the exercises declare


def add(ids, caption, vocabulary, change=lambda ids: ids):
    new, unknown = lesson_06.add_caption(ids, caption, vocabulary)
    return (new, unknown) if unknown else (change(new), unknown)


def drop(tokens, mask, empty, rate, uniform):
    return lesson_06.drop_captions(tokens, mask, empty, rate, uniform)


def scores(q, k, mask):
    return (q @ k.mT / math.sqrt(q.shape[2])).masked_fill(~mask[:, None], -math.inf)


WRONG = {
    "q1: floats": (lesson_06.q1, partial(add, change=lambda ids: ids.float())),
    "q1: turned into columns": (lesson_06.q1, partial(add, change=lambda ids: ids.T)),
    "q1: one column of filling too many": (lesson_06.q1, partial(add, change=lambda ids: F.pad(ids, (0, 1)))),
    "q1: words in alphabetical order": (lesson_06.q1, lambda i, c, v: add(i, " ".join(sorted(c.lower().split())), v)),
    "q1: each word once": (lesson_06.q1, lambda i, c, v: add(i, " ".join(dict.fromkeys(c.lower().split())), v)),
    "q1: backwards": (lesson_06.q1, lambda i, c, v: add(i, " ".join(c.split()[::-1]), v)),
    "q1: the ids alone": (lesson_06.q1, lambda i, c, v: add(i, c, v)[0]),
    "q1: unknown first": (lesson_06.q1, lambda i, c, v: add(i, c, v)[::-1]),
    "q1: how many are unknown": (lesson_06.q1, lambda i, c, v: (add(i, c, v)[0], len(add(i, c, v)[1]))),
    "q1: one text of the unknown": (lesson_06.q1, lambda i, c, v: (add(i, c, v)[0], " ".join(add(i, c, v)[1]))),
    "q1: replaces the last": (lesson_06.q1, lambda i, c, v: add(i[:-1], c, v)),
    "q1: in capitals": (lesson_06.q1, lambda i, c, v: lesson_06.case_kept.example(i, c.upper(), v)),
    "q2: the longest only": (lesson_06.q2, lambda x, ids: (ids > 0, x.amax(1))),
    "q2: ids of 1 left out": (lesson_06.q2, lambda x, ids: lesson_06.masked_mean(x, ids - 1)),
    "q2: the first word": (lesson_06.q2, lambda x, ids: (ids > 0, x[:, 0])),
    "q2: the mean alone": (lesson_06.q2, lambda x, ids: lesson_06.masked_mean(x, ids)[1]),
    "q2: with an axis kept": (lesson_06.q2, lambda x, ids: (ids > 0, lesson_06.masked_mean(x, ids)[1][:, None])),
    "q2: one more in the count": (
        lesson_06.q2,
        lambda x, ids: (ids > 0, lesson_06.summed.example(x, ids)[1] / ((ids > 0).sum(1, keepdim=True) + 1)),
    ),
    "q2: weighed by the ids": (
        lesson_06.q2,
        lambda x, ids: (ids > 0, (x * ids[:, :, None]).sum(1) / ids.sum(1)[:, None]),
    ),
    "q3: of the keys": (lesson_06.q3, lambda q, k, v, m: scores(q, q, torch.ones(2, 3).bool()).softmax(2) @ v[:, :3]),
    "q3: the best word only": (
        lesson_06.q3,
        lambda q, k, v, m: F.one_hot(scores(q, k, m).argmax(2), k.shape[1]).float() @ v,
    ),
    "q3: sigmoids": (lesson_06.q3, lambda q, k, v, m: scores(q, k, m).sigmoid() @ v),
    "q3: the logarithm of it": (lesson_06.q3, lambda q, k, v, m: (scores(q, k, m).softmax(2) + 1e-9).log() @ v),
    "q3: the mean of the words": (
        lesson_06.q3,
        lambda q, k, v, m: (m[:, None] / m.sum(1)[:, None, None]).expand(-1, q.shape[1], -1) @ v,
    ),
    "q3: cosines": (
        lesson_06.q3,
        lambda q, k, v, m: scores(F.normalize(q, dim=2), F.normalize(k, dim=2), m).softmax(2) @ v,
    ),
    "q3: over all numbers": (
        lesson_06.q3,
        lambda q, k, v, m: scores(q, k, m).flatten(1).softmax(1).view(2, q.shape[1], -1) @ v,
    ),
    "q3: all words of the batch": (
        lesson_06.q3,
        lambda q, k, v, m: scores(q, k, m.all(0).expand_as(m)).softmax(2) @ v,
    ),
    "q3: causal": (
        lesson_06.q3,
        lambda q, k, v, m: scores(q, k, m).masked_fill(torch.ones(3, 5).triu(1).bool(), -math.inf).softmax(2) @ v,
    ),
    "q3: the query kept": (lesson_06.q3, lambda q, k, v, m: lesson_06.attention(q, k, v, m) + F.pad(q, (0, 2))),
    "q4: nothing dropped": (lesson_06.q4, lambda x, m, e, r, u: (x.clone(), m.clone())),
    "q4: all dropped": (lesson_06.q4, lambda x, m, e, r, u: drop(x, m, e, 1.0, u)),
    "q4: all by the mean": (lesson_06.q4, lambda x, m, e, r, u: drop(x, m, e, r, u.mean().expand_as(u))),
    "q4: half and half": (lesson_06.q4, lambda x, m, e, r, u: (x * (1 - r) + drop(x, m, e, 1.0, u)[0] * r, m)),
    "q4: the captions alone": (lesson_06.q4, lambda x, m, e, r, u: drop(x, m, e, r, u)[0]),
    "q4: dropped from the batch": (lesson_06.q4, lambda x, m, e, r, u: (x[u >= r], m[u >= r])),
    "q4: the next caption instead": (
        lesson_06.q4,
        lambda x, m, e, r, u: (torch.where((u < r)[:, None, None], x.roll(1, 0), x), m),
    ),
    "q4: at the last place": (
        lesson_06.q4,
        lambda x, m, e, r, u: tuple(
            torch.where((u < r).view(-1, *[1] * (old.ndim - 1)), new.flip(1), old)
            for old, new in zip((x, m), drop(x, m, e, r, u), strict=True)
        ),
    ),
    "q4: a mask of numbers": (
        lesson_06.q4,
        lambda x, m, e, r, u: (drop(x, m, e, r, u)[0], drop(x, m, e, r, u)[1].int()),
    ),
    "q5: the paper's everywhere": (lesson_06.q5, lambda s, a, b: s - 1),
    "q5: by a factor": (lesson_06.q5, lambda s, a, b: s * 2 if a == "paper" else s),
    "q5: never below 1": (lesson_06.q5, lambda s, a, b: lesson_06.convert_scales(s.clamp(min=1), a, b)),
    "q5: whole numbers": (lesson_06.q5, lambda s, a, b: lesson_06.convert_scales(s, a, b).round()),
    "q5: of one": (lesson_06.q5, lambda s, a, b: lesson_06.convert_scales(s, a, b)[0]),
    "q5: infinite where there is none": (
        lesson_06.q5,
        lambda s, a, b: lesson_06.convert_scales(s, a, b).nan_to_num(nan=math.inf),
    ),
    "q5: a list": (lesson_06.q5, lambda s, a, b: lesson_06.convert_scales(s, a, b).tolist()),
    "q6: at most one wrong": (lesson_06.q6, lambda a, b: ((a != b) & (b != -1)).sum(1).le(1).float().mean()),
    "q6: more than half right": (
        lesson_06.q6,
        lambda a, b: ((a == b) | (b == -1)).float().mean(1).gt(0.5).float().mean(),
    ),
    "q6: for each picture": (lesson_06.q6, lambda a, b: ((a == b) | (b == -1)).all(1).float()),
    "q6: over the pictures": (lesson_06.q6, lambda a, b: ((a == b) | (b == -1)).all(0).float().mean().item()),
    "q6: of those that say all and refuse nothing": (
        lesson_06.q6,
        lambda a, b: (a == b)[(a != -1).all(1) & (b != -1).all(1)].all(1).float().sum().item() / len(a),
    ),
    "q6: the worst question": (lesson_06.q6, lambda a, b: ((a == b) | (b == -1)).float().mean(0).min().item()),
    "q6: all but the last": (lesson_06.q6, lambda a, b: lesson_06.strict_adherence(a[:, :-1], b[:, :-1])),
    "q6: refusals at half": (
        lesson_06.q6,
        lambda a, b: (lesson_06.strict_adherence(a, b) + lesson_06.refusals_forgiven.example(a, b)) / 2,
    ),
    "q7: all times": (lesson_06.q7, lambda x, n, t, s: (t.clone(), lesson_06.begin_from(x, n, t, s)[1])),
    "q7: times turned round": (
        lesson_06.q7,
        lambda x, n, t, s: (lesson_06.begin_from(x, n, t, s)[0].flip(0), lesson_06.begin_from(x, n, t, s)[1]),
    ),
    "q7: times stretched": (
        lesson_06.q7,
        lambda x, n, t, s: (t * s, (1 - s) * x + s * n),
    ),
    "q7: indices for times": (
        lesson_06.q7,
        lambda x, n, t, s: (
            torch.arange(len(t))[-len(lesson_06.begin_from(x, n, t, s)[0]) :],
            lesson_06.begin_from(x, n, t, s)[1],
        ),
    ),
    "q7: times below the strength": (
        lesson_06.q7,
        lambda x, n, t, s: lesson_06.begin_from(x, n, t, ((t <= s + 1e-6).sum().item() or 1) / len(t)),
    ),
    "q7: the picture first": (lesson_06.q7, lambda x, n, t, s: lesson_06.begin_from(x, n, t, s)[::-1]),
    "q7: noise of its own": (lesson_06.q7, lambda x, n, t, s: lesson_06.begin_from(x, torch.randn_like(n), t, s)),
    "q7: noise subtracted": (lesson_06.q7, lambda x, n, t, s: lesson_06.begin_from(x, -n, t, s)),
    "q8: the average": (lesson_06.q8, lambda x, x0, n, m, t: (x + x0) / 2),
    "q8: the mask squared": (lesson_06.q8, lambda x, x0, n, m, t: lesson_06.keep_known(x, x0, n, m**2, t)),
    "q8: the noise of the next picture": (
        lesson_06.q8,
        lambda x, x0, n, m, t: lesson_06.keep_known(x, x0, n.roll(1, 0), m, t),
    ),
    "q8: the mask of the first": (lesson_06.q8, lambda x, x0, n, m, t: lesson_06.keep_known(x, x0, n, m[:1], t)),
    "q8: the mean time": (
        lesson_06.q8,
        lambda x, x0, n, m, t: lesson_06.keep_known(x, x0, n, m, t.mean().expand_as(t)),
    ),
    "q8: the noise of the drawing": (lesson_06.q8, lambda x, x0, n, m, t: lesson_06.keep_known(x, x0, x, m, t)),
    "q8: as the time goes": (
        lesson_06.q8,
        lambda x, x0, n, m, t: lesson_06.keep_known(x, x0, n, m * t[:, None, None, None], t),
    ),
    "q9: at most a half": (lesson_06.q9, lambda m, f: lesson_06.latent_mask(m, f) / 2),
    "q9: where to keep": (lesson_06.q9, lambda m, f: 1 - lesson_06.latent_mask(m, f)),
    "q9: with a border": (lesson_06.q9, lambda m, f: F.max_pool2d(lesson_06.latent_mask(m, f), 3, stride=1, padding=1)),
    "q9: a quarter is enough": (lesson_06.q9, lambda m, f: (F.avg_pool2d(m, f) >= 0.25).float()),
    "q9: overlapping": (lesson_06.q9, lambda m, f: F.max_pool2d(m, f, stride=1)),
    "q9: on its side": (lesson_06.q9, lambda m, f: lesson_06.latent_mask(m.mT, f)),
    "q9: without its channel": (lesson_06.q9, lambda m, f: lesson_06.latent_mask(m, f)[:, 0]),
    "q9: the last pixel": (lesson_06.q9, lambda m, f: m[:, :, f - 1 :: f, f - 1 :: f]),
    "q9: area": (lesson_06.q9, lambda m, f: F.interpolate(m, scale_factor=1 / f, mode="area")),
    "q9: whole numbers": (lesson_06.q9, lambda m, f: lesson_06.latent_mask(m, f).long()),
}


@pytest.mark.parametrize(("exercise", "answer"), WRONG.values(), ids=WRONG)
def test_no_other_wrong_answer_passes(exercise, answer):
    result = judge(exercise, answer)
    assert result.state is State.WRONG
    assert "raised" not in result.message  # it went wrong by what it returns
