"""The exercises of lesson 05 agree with `diffusion` and diffusers; other right answers pass, more wrong ones do not."""

import math
from itertools import pairwise

import pytest
import torch
from answers import assert_right, cases_of, judge
from diffusers import DDIMScheduler, DDPMScheduler, FlowMatchEulerDiscreteScheduler
from diffusers.guiders import ClassifierFreeGuidance
from torch.testing import assert_close

from minigen import diffusion
from minigen.exercises import State, lesson_05

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers, under a newer numpy
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
SCHEDULE, FLOW = diffusion.NoiseSchedule.linear(50), diffusion.RectifiedFlow()


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def theirs(kind, alphas_cumprod, **options):
    """A scheduler of diffusers with these alphas_cumprod."""
    scheduler = kind(num_train_timesteps=len(alphas_cumprod), timestep_spacing="trailing", **options)
    scheduler.alphas_cumprod = alphas_cumprod
    return scheduler


@pytest.mark.parametrize("steps", [25, 50, 100])
def test_the_schedule_of_the_cases_is_the_packages(steps):
    assert_close(lesson_05._schedule(steps), diffusion.NoiseSchedule.linear(steps).alphas_cumprod, rtol=0, atol=0)


# 1. Noise in closed form


@cases_of(lesson_05.q1)
def test_noise_is_added_as_by_the_package_and_by_diffusers(case):
    x0, noise, t, alphas_cumprod = case
    given = lesson_05.add_noise(*case)
    assert_close(given, SCHEDULE.add_noise(x0, noise, t), **CLOSE)
    assert_close(given, theirs(DDPMScheduler, alphas_cumprod).add_noise(x0, noise, t), **CLOSE)


def test_all_steps_one_after_the_other_lead_to_the_same_mean_and_variance():
    betas = torch.linspace(0.1, 20, 50) / 50
    x = torch.full((1, 1, 100, 400), 0.7)
    for k in range(21):
        x = (1 - betas[k]).sqrt() * x + betas[k].sqrt() * normal(*x.shape, seed=k)
    x0 = torch.full_like(x, 0.7)
    given = lesson_05.add_noise(x0, normal(*x.shape, seed=99), torch.tensor([20]), lesson_05.to_alphas_cumprod(betas))
    assert given.mean().item() == pytest.approx(x.mean().item(), abs=0.02)
    assert given.std().item() == pytest.approx(x.std().item(), rel=0.02)


def test_noise_added_picture_by_picture_and_with_the_axes_turned_is_right():
    def one_by_one(x0, noise, t, alphas_cumprod):
        shares = [alphas_cumprod[k].item() for k in t]
        return torch.stack([a**0.5 * x + (1 - a) ** 0.5 * n for x, n, a in zip(x0, noise, shares, strict=True)])

    def turned(x0, noise, t, alphas_cumprod):
        alpha = alphas_cumprod.sqrt().gather(0, t)
        mixed = alpha * x0.movedim(0, -1) + (1 - alpha**2).sqrt() * noise.movedim(0, -1)  # [C,H,W,N]
        return mixed.movedim(-1, 0)

    assert_right(lesson_05.q1, one_by_one)
    assert_right(lesson_05.q1, turned)


def test_a_time_laid_along_the_width_fits_only_where_there_are_as_many_columns_as_pictures():
    x0, noise, t, alphas_cumprod = lesson_05.q1.cases()["four pictures of 5 x 4 pixels"]
    assert lesson_05.along_the_width.example(x0, noise, t, alphas_cumprod).shape == x0.shape
    with pytest.raises(RuntimeError, match="must match the size"):
        lesson_05.along_the_width.example(x0[..., :3], noise[..., :3], t, alphas_cumprod)


def test_noise_drawn_by_the_learner_is_told_so():
    def add_noise(x0, noise, t, alphas_cumprod):
        a = alphas_cumprod[t][:, None, None, None]
        return a**0.5 * x0 + (1 - a) ** 0.5 * torch.randn_like(x0)

    assert judge(lesson_05.q1, add_noise).message == lesson_05.drawn_anew.message


# 2. alphas_cumprod


@cases_of(lesson_05.q2)
def test_the_product_is_the_packages_and_that_of_diffusers(case):
    (betas,) = case
    given = lesson_05.to_alphas_cumprod(betas)
    assert_close(given, diffusion.NoiseSchedule(betas).alphas_cumprod, **CLOSE)
    scheduler = DDPMScheduler(trained_betas=betas.tolist(), num_train_timesteps=len(betas))
    assert_close(given, scheduler.alphas_cumprod, **CLOSE)


def test_a_product_in_a_loop_in_64_bits_and_by_logarithms_is_right():
    def loop(betas):
        left, found = 1.0, []
        for beta in betas.tolist():
            left *= 1 - beta
            found.append(left)
        return torch.tensor(found)

    assert_right(lesson_05.q2, loop)
    assert_right(lesson_05.q2, lambda betas: torch.cumprod(1 - betas.double(), 0).float())
    assert_right(lesson_05.q2, lambda betas: torch.log1p(-betas).cumsum(0).exp())


def test_the_variances_followed_step_by_step_are_right():
    def to_alphas_cumprod(betas):
        noise, found = torch.zeros(()), []
        for beta in betas:
            noise = (1 - beta) * noise + beta
            found.append(1 - noise)
        return torch.stack(found)

    assert_right(lesson_05.q2, to_alphas_cumprod)


def test_64_bits_left_over_are_told_as_such():
    assert "torch.float64, expected torch.float32" in judge(lesson_05.q2, lambda b: (1 - b.double()).cumprod(0)).message


# 3. x0 from epsilon


@cases_of(lesson_05.q3)
def test_the_picture_behind_epsilon_is_that_of_the_package_and_of_diffusers(case):
    x_t, epsilon, t, alphas_cumprod = case
    given = lesson_05.x0_from_epsilon(*case)
    assert_close(given, SCHEDULE.predict(epsilon, x_t, t, "epsilon").x0, **CLOSE)
    scheduler = theirs(DDIMScheduler, alphas_cumprod, clip_sample=False)
    scheduler.set_timesteps(50)
    for k in range(len(t)):
        expected = scheduler.step(epsilon[k], t[k], x_t[k]).pred_original_sample
        assert_close(given[k], expected, **CLOSE)


@cases_of(lesson_05.q3)
def test_it_undoes_the_noise_of_the_first_exercise(case):
    x0, noise, t, alphas_cumprod = case
    noisy = lesson_05.add_noise(x0, noise, t, alphas_cumprod)
    assert_close(lesson_05.x0_from_epsilon(noisy, noise, t, alphas_cumprod), x0, rtol=0, atol=1e-4)


def test_other_ways_to_the_picture_are_right():
    def by_the_ratio(x_t, epsilon, t, alphas_cumprod):  # as DDPM's code has it
        inverse = (1 / alphas_cumprod[t]).view(-1, 1, 1, 1)
        return inverse.sqrt() * x_t - (inverse - 1).sqrt() * epsilon

    def by_the_package(x_t, epsilon, t, alphas_cumprod):
        assert len(alphas_cumprod) == 50
        return SCHEDULE.predict(epsilon, x_t, t, "epsilon")[0]

    assert_right(lesson_05.q3, by_the_ratio)
    assert_right(lesson_05.q3, by_the_package)


def test_the_error_of_epsilon_grows_as_the_explanation_says():
    alpha, sigma = diffusion.NoiseSchedule.linear().coefficients(torch.tensor([0, 999]))
    growth = sigma / alpha
    assert growth[0] < 0.02
    assert 100 < growth[1] < 200


# 4. v


@cases_of(lesson_05.q4)
def test_v_and_the_picture_behind_it_are_those_of_the_package_and_of_diffusers(case):
    x0, noise, x_t, v, t, alphas_cumprod = case
    given_v, given_x0 = lesson_05.v_and_x0(*case)
    assert_close(given_v, SCHEDULE.target(x0, noise, t, "v"), **CLOSE)
    assert_close(given_v, theirs(DDPMScheduler, alphas_cumprod).get_velocity(x0, noise, t), **CLOSE)
    assert_close(given_x0, SCHEDULE.predict(v, x_t, t, "v").x0, **CLOSE)
    scheduler = theirs(DDIMScheduler, alphas_cumprod, clip_sample=False, prediction_type="v_prediction")
    scheduler.set_timesteps(50)
    for k in range(len(t)):
        assert_close(given_x0[k], scheduler.step(v[k], t[k], x_t[k]).pred_original_sample, **CLOSE)


def test_v_is_the_derivative_in_the_angle_as_the_question_says():
    x0, noise, _, _, t, alphas_cumprod = lesson_05.q4.cases()["three pictures at three times"]
    angle = alphas_cumprod[t].sqrt().double().acos().view(-1, 1, 1, 1)

    def noisy(a):
        return a.cos() * x0 + a.sin() * noise

    slope = (noisy(angle + 1e-5) - noisy(angle - 1e-5)) / 2e-5
    assert_close(lesson_05.v_and_x0(x0, noise, x0, noise, t, alphas_cumprod)[0].double(), slope, rtol=0, atol=1e-5)


def test_v_by_way_of_x_t_and_x0_by_way_of_the_noise_are_right():
    def v_and_x0(x0, noise, x_t, v, t, alphas_cumprod):
        alpha = alphas_cumprod[t].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - alpha**2).sqrt()
        mixed = alpha * x0 + sigma * noise
        found = sigma * x_t + alpha * v  # the noise
        return (alpha * mixed - x0) / sigma, (x_t - sigma * found) / alpha

    assert_right(lesson_05.q4, v_and_x0)


def test_a_rotation_there_and_back_is_right():
    def v_and_x0(x0, noise, x_t, v, t, alphas_cumprod):
        a = alphas_cumprod[t].sqrt().acos().view(-1, 1, 1, 1)
        there, back = (torch.polar(torch.ones_like(a), angle) for angle in (-a, a))
        return [(there * torch.complex(x0, noise)).imag, (back * torch.complex(x_t, v)).real]

    assert_right(lesson_05.q4, v_and_x0)


# 5. DDIM


@cases_of(lesson_05.q5)
def test_a_ddim_step_is_that_of_diffusers(case):
    x_t, epsilon, t, t_next, alphas_cumprod = case
    scheduler = theirs(DDIMScheduler, alphas_cumprod, clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(50 // (t - t_next))
    assert_close(lesson_05.ddim_step(*case), scheduler.step(epsilon, t, x_t, eta=0.0).prev_sample, **CLOSE)


@cases_of(lesson_05.q5)
def test_a_ddim_step_is_the_packages_prediction_mixed_anew(case):
    x_t, epsilon, t, t_next, _ = case
    found = SCHEDULE.predict(epsilon, x_t, torch.tensor([t, t]), "epsilon")
    expected = found.x0 if t_next < 0 else SCHEDULE.add_noise(*found, torch.tensor([t_next, t_next]))
    assert_close(lesson_05.ddim_step(*case), expected, **CLOSE)


def test_steps_along_the_times_of_the_last_exercise_are_the_packages_sampler():
    def denoiser(x_t, t):
        return torch.tanh(0.7 * x_t + 0.01 * t.view(-1, 1, 1, 1))

    x = noise = normal(2, 3, 4, 4)
    times, _ = lesson_05.sampling_times(SCHEDULE.alphas_cumprod, 7)
    for t, t_next in pairwise([*times.tolist(), -1]):
        x = lesson_05.ddim_step(x, denoiser(x, torch.tensor([t, t])), t, t_next, SCHEDULE.alphas_cumprod)
    expected = diffusion.sample(denoiser, SCHEDULE, noise, prediction_type="epsilon", num_inference_steps=7)
    assert_close(x, expected, rtol=1e-3, atol=1e-3)


def test_a_step_in_noise_over_signal_and_one_with_a_longer_schedule_are_right():
    def by_euler(x_t, epsilon, t, t_next, alphas_cumprod):  # DDIM is Euler's method in x / alpha over sigma / alpha
        now = float(alphas_cumprod[t])
        then = 1.0 if t_next < 0 else float(alphas_cumprod[t_next])
        ratio, ratio_next = (math.sqrt((1 - a) / a) for a in (now, then))
        return math.sqrt(then) * (x_t / math.sqrt(now) + (ratio_next - ratio) * epsilon)

    def with_the_picture_first(x_t, epsilon, t, t_next, alphas_cumprod):
        longer = torch.cat([torch.ones(1), alphas_cumprod])
        now, then = longer[t + 1], longer[t_next + 1]
        return then.sqrt() * (x_t - (1 - now).sqrt() * epsilon) / now.sqrt() + (1 - then).sqrt() * epsilon

    assert_right(lesson_05.q5, by_euler)
    assert_right(lesson_05.q5, with_the_picture_first)


def test_a_step_with_noise_of_its_own_and_one_that_reads_at_minus_1_are_told_so():
    def ddim_step(x_t, epsilon, t, t_next, alphas_cumprod, noise=None):
        now, then = alphas_cumprod[t], alphas_cumprod[t_next]
        x0 = (x_t - (1 - now) ** 0.5 * epsilon) / now**0.5
        return then**0.5 * x0 + (1 - then) ** 0.5 * (epsilon if noise is None else noise)

    def with_chance(*arguments):
        return ddim_step(*arguments, noise=torch.randn_like(arguments[0]))

    assert judge(lesson_05.q5, with_chance).message == lesson_05.fresh_noise.message
    assert judge(lesson_05.q5, ddim_step).message == lesson_05.wraps_to_the_noisiest.message


# 6. Rectified flow


@cases_of(lesson_05.q6)
def test_path_and_velocity_are_the_packages(case):
    x0, noise, t, _, _ = case
    x_t, v, _ = lesson_05.path_and_step(*case)
    assert_close(x_t, FLOW.add_noise(x0, noise, t), **CLOSE)
    assert_close(v, FLOW.target(x0, noise, t, "v"), **CLOSE)


@cases_of(lesson_05.q6)
def test_the_euler_step_is_the_packages_and_that_of_diffusers(case):
    _, _, t, output, t_next = case
    x_t, _, x_next = lesson_05.path_and_step(*case)
    found = FLOW.predict(output, x_t, t, "v")
    assert_close(x_next, FLOW.add_noise(*found, t_next), **CLOSE)
    for k in range(len(t)):
        scheduler = FlowMatchEulerDiscreteScheduler()
        scheduler.set_timesteps(sigmas=[t[k].item(), t_next[k].item()])
        expected = scheduler.step(output[k], scheduler.timesteps[0], x_t[k]).prev_sample
        assert_close(x_next[k], expected, **CLOSE)


def test_v_is_the_derivative_of_the_path_and_a_true_step_stays_on_it():
    x0, noise, t, _, t_next = lesson_05.q6.cases()["four pictures of 5 x 4 pixels"]
    x_t, v, x_next = lesson_05.path_and_step(x0, noise, t, noise - x0, t_next)
    later = lesson_05.path_and_step(x0, noise, t + 0.125, v, t_next)[0]
    assert_close((later - x_t) / 0.125, v, rtol=1e-4, atol=1e-4)
    assert_close(x_next, lesson_05.path_and_step(x0, noise, t_next, v, t_next)[0], rtol=1e-4, atol=1e-5)


def test_a_path_by_lerp_and_a_step_by_both_ends_are_right():
    def path_and_step(x0, noise, t, output, t_next):
        t, t_next = t[:, None, None, None], t_next[:, None, None, None]
        x_t = x0.lerp(noise, t.expand_as(x0))
        seen, other = x_t - t * output, x_t + (1 - t) * output  # the picture and the noise as the network sees them
        return [x_t, noise.sub(x0), (1 - t_next) * seen + t_next * other]

    assert_right(lesson_05.q6, path_and_step)


def test_a_step_counted_down_is_right():
    def path_and_step(x0, noise, t, output, t_next):
        t, t_next = (part.reshape(len(part), 1, 1, 1) for part in (t, t_next))
        v = noise - x0
        x_t = x0 + t * v
        return x_t, v, x_t - (t - t_next) * output

    assert_right(lesson_05.q6, path_and_step)


# 7. Guidance


@cases_of(lesson_05.q7)
def test_guidance_is_the_packages_and_that_of_diffusers_for_each_picture(case):
    uncond, cond, scale = case
    given = lesson_05.guide(*case)
    for k in range(len(scale)):
        said = {"with": cond[k : k + 1], "without": uncond[k : k + 1]}
        denoiser = diffusion.guided(lambda x_t, t, key, said=said: said[key], "with", "without", scale[k].item())
        assert_close(given[k : k + 1], denoiser(cond[k : k + 1], torch.zeros(1)), **CLOSE)
        expected = uncond[k] if scale[k] == 0 else cond[k]
        if scale[k] not in (0, 1):  # which diffusers takes for switched off
            expected = ClassifierFreeGuidance(guidance_scale=scale[k].item()).forward(cond[k], uncond[k]).pred
        assert_close(given[k], expected, **CLOSE)


def test_scales_of_0_and_1_give_the_two_ends_in_every_channel():
    uncond, cond, scale = lesson_05.q7.cases()["four pictures with scales of 3, 1, 0 and 7.5"]
    given = lesson_05.guide(uncond, cond, scale)
    assert_close(given[1], cond[1], rtol=0, atol=1e-6)
    assert_close(given[2], uncond[2], rtol=0, atol=0)


def test_the_papers_formula_is_right_with_its_own_scale_and_named_with_ours():
    def by_the_paper(uncond, cond, w):
        return (1 + w)[:, None, None, None] * cond - w[:, None, None, None] * uncond

    assert_right(lesson_05.q7, lambda uncond, cond, scale: by_the_paper(uncond, cond, scale - 1))
    assert judge(lesson_05.q7, by_the_paper).message == lesson_05.convention_of_the_paper.message
    uncond, cond, _ = lesson_05.q7.cases()["two pictures with scales of 0.5 and -1"]
    three, four = torch.full((2,), 3.0), torch.full((2,), 4.0)  # as the explanation says
    assert_close(by_the_paper(uncond, cond, three), lesson_05.guide(uncond, cond, four), rtol=1e-4, atol=1e-4)


def test_guidance_by_lerp_and_by_a_loop_is_right():
    def loop(uncond, cond, guidance_scale):
        return torch.stack([(1 - s) * u + s * c for u, c, s in zip(uncond, cond, guidance_scale, strict=True)])

    assert_right(lesson_05.q7, lambda u, c, s: torch.lerp(u, c, s.view(-1, 1, 1, 1).expand_as(u)))
    assert_right(lesson_05.q7, loop)


@pytest.mark.parametrize("left", ["cond", "uncond", "nothing"])
@pytest.mark.parametrize("channels", [[0], [0, 1], [1, 2, 3], [3]])
def test_guidance_in_some_channels_is_recognised_whichever_they_are(left, channels):
    def guide(uncond, cond, guidance_scale):
        out = {"cond": cond, "uncond": uncond, "nothing": torch.zeros_like(cond)}[left].clone()
        out[:, channels] = lesson_05.guide(uncond, cond, guidance_scale)[:, channels]
        return out

    assert judge(lesson_05.q7, guide).message == lesson_05.three_channels.message


# 8. Times


@cases_of(lesson_05.q8)
def test_the_times_are_those_of_the_package_and_of_diffusers(case):
    alphas_cumprod, steps = case
    times, after = lesson_05.sampling_times(*case)
    assert times.tolist() == diffusion.NoiseSchedule.linear(len(alphas_cumprod)).timesteps(steps).tolist()
    scheduler = theirs(DDIMScheduler, alphas_cumprod)
    scheduler.set_timesteps(steps)
    assert times.tolist() == scheduler.timesteps.tolist()
    assert times[0] == len(alphas_cumprod) - 1
    assert after.tolist() == [*(alphas_cumprod[k].item() for k in times[1:]), 1.0]


@pytest.mark.parametrize("case", lesson_05.q8.cases().values(), ids=lesson_05.q8.cases())
def test_no_time_of_a_case_is_halfway_between_two_whole_numbers(case):
    alphas_cumprod, steps = case  # or either way to round would have to be right
    assert all(2 * k * len(alphas_cumprod) % (2 * steps) != steps for k in range(1, steps + 1))


def test_times_by_linspace_and_by_a_loop_are_right():
    def linspace(alphas_cumprod, num_inference_steps):
        count = len(alphas_cumprod)
        times = torch.linspace(count, count / num_inference_steps, num_inference_steps).round().to(torch.int64) - 1
        return times, torch.nn.functional.pad(alphas_cumprod[times][1:], (0, 1), value=1.0)

    def loop(alphas_cumprod, num_inference_steps):
        count, times = len(alphas_cumprod), []
        for k in reversed(range(1, num_inference_steps + 1)):
            times.append(int(k * count / num_inference_steps + 0.5) - 1)
        return torch.tensor(times), torch.tensor([*(alphas_cumprod[t].item() for t in times[1:]), 1.0])

    assert_right(lesson_05.q8, linspace)
    assert_right(lesson_05.q8, loop)


def test_times_that_are_no_whole_numbers_are_told_so():
    def sampling_times(alphas_cumprod, num_inference_steps):
        times, after = lesson_05.sampling_times(alphas_cumprod, num_inference_steps)
        return times.float(), after

    message = judge(lesson_05.q8, sampling_times).message
    assert "torch.float32, expected torch.int64 (this is value 1 of 2)" in message


def test_a_range_from_0_is_told_what_it_misses_whichever_way_it_is_turned():
    def with_range(turn):
        def sampling_times(alphas_cumprod, n):
            times = torch.tensor(list(range(0, len(alphas_cumprod), len(alphas_cumprod) // n))[::turn])
            return times, torch.cat([alphas_cumprod[times[1:]], torch.ones(1)])

        return sampling_times

    assert judge(lesson_05.q8, with_range(-1)).message == lesson_05.last_step_missed.message
    assert judge(lesson_05.q8, with_range(1)).message == lesson_05.counts_up_from_0.message


@pytest.mark.parametrize("filled", ["rolled", "read at -1", "0"])
def test_a_last_step_that_ends_in_noise_is_told_so(filled):
    def sampling_times(alphas_cumprod, num_inference_steps):
        times = lesson_05.sampling_times(alphas_cumprod, num_inference_steps)[0]
        if filled == "rolled":
            return times, alphas_cumprod[times].roll(-1)
        if filled == "read at -1":
            return times, alphas_cumprod[torch.cat([times[1:], torch.tensor([-1])])]
        return times, torch.cat([alphas_cumprod[times[1:]], torch.zeros(1)])

    assert judge(lesson_05.q8, sampling_times).message == lesson_05.round_to_the_noise.message


# More wrong answers, each of another kind than those that the exercises declare


def wide(c):
    return c.view(-1, 1, 1, 1)


def of_four(x0, noise, x_t, v, t, alphas_cumprod):
    """v and x0, and the roots of alphas_cumprod and of 1 minus it."""
    target, picture = lesson_05.v_and_x0(x0, noise, x_t, v, t, alphas_cumprod)
    return target, picture, wide(alphas_cumprod[t]).sqrt(), wide(1 - alphas_cumprod[t]).sqrt()


def v_of_the_given_pair(x0, noise, x_t, v, t, alphas_cumprod):
    _, picture, _, _ = of_four(x0, noise, x_t, v, t, alphas_cumprod)
    return v, picture


def x0_by_the_flow(x0, noise, x_t, v, t, alphas_cumprod):
    target, _, _, sigma = of_four(x0, noise, x_t, v, t, alphas_cumprod)
    return target, x_t - sigma * v


def x0_of_its_own_v(x0, noise, x_t, v, t, alphas_cumprod):
    target, _, alpha, sigma = of_four(x0, noise, x_t, v, t, alphas_cumprod)
    return target, alpha * x_t - sigma * target


def two_half_steps(x_t, epsilon, t, t_next, alphas_cumprod):
    middle = (t + max(t_next, 0)) // 2
    x = lesson_05.ddim_step(x_t, epsilon, t, middle, alphas_cumprod)
    return lesson_05.ddim_step(x, 0.9 * epsilon, middle, t_next, alphas_cumprod)


def shared_time(x0, noise, t, output, t_next):
    return lesson_05.path_and_step(x0, noise, t.mean().expand(len(t)), output, t_next)


def shared_step(x0, noise, t, output, t_next):
    x_t, v, _ = lesson_05.path_and_step(x0, noise, t, output, t_next)
    return x_t, v, x_t + (t_next - t).mean() * output


def midpoint(x0, noise, t, output, t_next):
    x_t, v, _ = lesson_05.path_and_step(x0, noise, t, output, t_next)
    return x_t, v, x_t + wide(t_next - t) * (output + v) / 2


def rescaled(uncond, cond, guidance_scale):
    guided = lesson_05.guide(uncond, cond, guidance_scale)
    return guided * cond.std((1, 2, 3), keepdim=True) / guided.std((1, 2, 3), keepdim=True)


def with_times(change):
    """The right times, changed, with what they lead to."""

    def sampling_times(alphas_cumprod, num_inference_steps):
        times = change(lesson_05.sampling_times(alphas_cumprod, num_inference_steps)[0])
        return times, torch.cat([alphas_cumprod[times[1:]], torch.ones(1)])

    return sampling_times


def with_after(change):
    """The right times, and what they lead to, changed."""

    def sampling_times(alphas_cumprod, num_inference_steps):
        times, after = lesson_05.sampling_times(alphas_cumprod, num_inference_steps)
        return times, change(after)

    return sampling_times


WRONG = {
    "q1: the picture alone": (lesson_05.q1, lambda x0, noise, t, a: wide(a[t]).sqrt() * x0),
    "q1: the noise alone": (lesson_05.q1, lambda x0, noise, t, a: noise.clone()),
    "q1: by t as a share": (
        lesson_05.q1,
        lambda x0, noise, t, a: (1 - wide(t) / len(a)) * x0 + wide(t) / len(a) * noise,
    ),
    "q1: the noise by the root of t's share": (
        lesson_05.q1,
        lambda x0, noise, t, a: wide(a[t]).sqrt() * x0 + (wide(t) / len(a)).sqrt() * noise,
    ),
    "q1: one step late": (
        lesson_05.q1,
        lambda x0, noise, t, a: lesson_05.add_noise(x0, noise, (t + 1).clamp(max=len(a) - 1), a),
    ),
    "q1: times counted from the end": (
        lesson_05.q1,
        lambda x0, noise, t, a: lesson_05.add_noise(x0, noise, len(a) - 1 - t, a),
    ),
    "q1: the roots of the roots": (lesson_05.q1, lambda x0, noise, t, a: lesson_05.add_noise(x0, noise, t, a.sqrt())),
    "q1: one noise for all": (
        lesson_05.q1,
        lambda x0, noise, t, a: lesson_05.add_noise(x0, noise[:1].expand_as(noise), t, a),
    ),
    "q2: of the mean beta": (lesson_05.q2, lambda b: (1 - b.mean()) ** torch.arange(1, len(b) + 1)),
    "q2: two neighbours only": (lesson_05.q2, lambda b: (1 - b) * (1 - torch.cat([b.new_zeros(1), b[:-1]]))),
    "q2: 1 over 1 + beta": (lesson_05.q2, lambda b: (1 / (1 + b)).cumprod(0)),
    "q2: never below 0": (lesson_05.q2, lambda b: (1 - b.cumsum(0)).clamp(min=0)),
    "q2: squared": (lesson_05.q2, lambda b: (1 - b).cumprod(0).square()),
    "q2: the signal over the noise": (lesson_05.q2, lambda b: (1 - b).cumprod(0) / (1 - (1 - b).cumprod(0))),
    "q3: x_t itself": (lesson_05.q3, lambda x_t, e, t, a: x_t.clone()),
    "q3: x_t brightened": (lesson_05.q3, lambda x_t, e, t, a: x_t / wide(a[t]).sqrt()),
    "q3: as if it were v": (
        lesson_05.q3,
        lambda x_t, e, t, a: wide(a[t]).sqrt() * x_t - (1 - wide(a[t])).sqrt() * e,
    ),
    "q3: one step early": (
        lesson_05.q3,
        lambda x_t, e, t, a: lesson_05.x0_from_epsilon(x_t, e, (t - 1).clamp(min=0), a),
    ),
    "q3: by t as a share": (lesson_05.q3, lambda x_t, e, t, a: (x_t - wide(t) / len(a) * e) / (1 - wide(t) / len(a))),
    "q3: never by less than a half": (
        lesson_05.q3,
        lambda x_t, e, t, a: (x_t - (1 - wide(a[t])).sqrt() * e) / wide(a[t]).sqrt().clamp(min=0.5),
    ),
    "q4: the v that is given": (lesson_05.q4, v_of_the_given_pair),
    "q4: x0 as on the straight line": (lesson_05.q4, x0_by_the_flow),
    "q4: x0 by the v of the other pictures": (lesson_05.q4, x0_of_its_own_v),
    "q4: only v": (lesson_05.q4, lambda *four: lesson_05.v_and_x0(*four)[0]),
    "q4: only x0": (lesson_05.q4, lambda *four: lesson_05.v_and_x0(*four)[1:]),
    "q5: two steps, and less noise in the second": (lesson_05.q5, two_half_steps),
    "q5: one step too far": (
        lesson_05.q5,
        lambda x, e, t, t_next, a: lesson_05.ddim_step(x, e, t, max(-1, t_next - 1), a),
    ),
    "q5: x_t": (lesson_05.q5, lambda x, e, t, t_next, a: x.clone()),
    "q5: a straight line over t": (lesson_05.q5, lambda x, e, t, t_next, a: x + (t_next - t) / len(a) * e),
    "q5: as if epsilon were x0": (
        lesson_05.q5,
        lambda x, e, t, t_next, a: lesson_05.ddim_step(x, (x - a[t].sqrt() * e) / (1 - a[t]).sqrt(), t, t_next, a),
    ),
    "q6: one time for all": (lesson_05.q6, shared_time),
    "q6: one step for all": (lesson_05.q6, shared_step),
    "q6: halfway between truth and output": (lesson_05.q6, midpoint),
    "q6: x_t left where it was": (lesson_05.q6, lambda *five: (*lesson_05.path_and_step(*five)[:2], five[0] + 0)),
    "q6: only the first two": (lesson_05.q6, lambda *five: lesson_05.path_and_step(*five)[:2]),
    "q6: v of length 1": (
        lesson_05.q6,
        lambda *five: [p / p.norm() if k == 1 else p for k, p in enumerate(lesson_05.path_and_step(*five))],
    ),
    "q7: brought back to the spread of cond": (lesson_05.q7, rescaled),
    "q7: cond": (lesson_05.q7, lambda u, c, s: c.clone()),
    "q7: uncond": (lesson_05.q7, lambda u, c, s: u.clone()),
    "q7: the scale squared": (lesson_05.q7, lambda u, c, s: lesson_05.guide(u, c, s * s.abs())),
    "q7: divided by the scale": (
        lesson_05.q7,
        lambda u, c, s: lesson_05.guide(u, c, s) / wide(s).abs().clamp(min=1),
    ),
    "q7: the mean scale": (lesson_05.q7, lambda u, c, s: lesson_05.guide(u, c, s.mean().expand(len(s)))),
    "q7: the difference's absolute value": (lesson_05.q7, lambda u, c, s: u + wide(s) * (c - u).abs()),
    "q8: one time twice": (lesson_05.q8, with_times(lambda t: torch.cat([t[:1], t[:-1]]))),
    "q8: one too low": (lesson_05.q8, with_times(lambda t: (t - 1).clamp(min=0))),
    "q8: one time too few": (lesson_05.q8, with_times(lambda t: t[:-1])),
    "q8: with the first step too": (lesson_05.q8, with_times(lambda t: torch.cat([t, torch.zeros(1).long()]))),
    "q8: crowded near the picture": (lesson_05.q8, with_times(lambda t: (t.float() ** 2 / t[0]).round().long())),
    "q8: the roots": (lesson_05.q8, with_after(torch.sqrt)),
    "q8: the noise that is left": (lesson_05.q8, with_after(lambda after: 1 - after)),
    "q8: turned round": (lesson_05.q8, with_after(lambda after: after.flip(0))),
}


@pytest.mark.parametrize(("exercise", "answer"), WRONG.values(), ids=WRONG)
def test_no_other_wrong_answer_passes(exercise, answer):
    result = judge(exercise, answer)
    assert result.state is State.WRONG
    assert "raised" not in result.message  # wrong by what it returns, and not by a slip of this file
