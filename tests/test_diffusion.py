"""Diffusion: against diffusers, against the exact denoiser of a Gaussian, and against numbers worked by hand."""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler
from torch.testing import assert_close

from minigen.diffusion import (
    NoiseSchedule,
    Prediction,
    RectifiedFlow,
    classifier_guided,
    diffusion_loss,
    guided,
    interpolate_noise,
    sample,
    sample_steps,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers, under a newer numpy
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
PROCESSES = {"linear": NoiseSchedule.linear(), "cosine": NoiseSchedule.cosine(), "flow": RectifiedFlow()}
TYPES = ("epsilon", "x0", "v")
THEIRS = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
BETAS = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
each_process = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES)
each_schedule = pytest.mark.parametrize("name", BETAS)
each_type = pytest.mark.parametrize("prediction_type", TYPES)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def times_of(process, count):
    return process.draw_times(count, generator=torch.Generator().manual_seed(3))


def theirs(kind, name, prediction_type="epsilon", **options):
    return kind(
        beta_schedule=BETAS[name],
        prediction_type=THEIRS[prediction_type],
        timestep_spacing="trailing",
        **options,
    )


def a_denoiser(x_t, t):
    """Any smooth function of picture and time, that stays within bounds."""
    return torch.tanh(0.7 * x_t + 0.3 * x_t.roll(1, dims=-1) + 0.001 * t.view(-1, 1, 1, 1))


# --- processes --------------------------------------------------------------------------------------------------


@each_schedule
def test_a_schedule_equals_diffusers_at_every_step(name):
    scheduler = theirs(DDPMScheduler, name)
    alpha, sigma = PROCESSES[name].coefficients(torch.arange(1000))
    assert_close(alpha, scheduler.alphas_cumprod.sqrt(), rtol=1e-4, atol=1e-5)
    assert_close(sigma, (1 - scheduler.alphas_cumprod).sqrt(), rtol=1e-4, atol=1e-5)


@each_schedule
def test_alpha_and_sigma_of_a_schedule_lie_on_the_unit_circle_and_noise_grows(name):
    alpha, sigma = PROCESSES[name].coefficients(torch.arange(1000))
    assert_close(alpha.square() + sigma.square(), torch.ones(1000), rtol=0, atol=1e-6)
    assert (sigma.diff() > 0).all() and alpha[0] > 0.99 and alpha[-1] < 0.01


def test_a_shorter_schedule_ends_in_as_much_noise():
    whole, short = NoiseSchedule.linear(1000), NoiseSchedule.linear(100)
    assert short.alphas_cumprod[-1] == pytest.approx(whole.alphas_cumprod[-1].item(), rel=0.5)


@each_process
def test_noisy_pictures_have_the_mean_and_the_variance_of_the_formula(process):
    x0, t = torch.tensor([[0.3], [-1.2]]), times_of(process, 2)
    alpha, sigma = process.coefficients(t)
    noise = normal(2, 40_000)
    x_t = process.add_noise(x0.expand(-1, 40_000), noise, t)
    assert_close(x_t.mean(dim=1), alpha * x0[:, 0], rtol=0, atol=0.03)
    assert_close(x_t.var(dim=1), sigma.square(), rtol=0.05, atol=1e-3)


def test_noise_in_one_step_has_the_mean_and_the_variance_of_all_steps_in_turn():
    """Each step keeps a share of 1 - beta of the variance and adds beta."""
    betas, mean, variance = [0.1, 0.3, 0.6], 0.8, 0.0
    process, x0 = NoiseSchedule(torch.tensor(betas)), torch.full((1, 40_000), 0.8)
    for t, beta in enumerate(betas):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        x_t = process.add_noise(x0, normal(1, 40_000, seed=t), torch.tensor([t]))
        assert x_t.mean().item() == pytest.approx(mean, abs=0.02)
        assert x_t.var().item() == pytest.approx(variance, rel=0.03)


@each_schedule
def test_noise_is_added_as_by_diffusers(name):
    x0, noise, t = normal(4, 3, 5, 5), normal(4, 3, 5, 5, seed=1), torch.tensor([0, 13, 500, 999])
    scheduler = theirs(DDPMScheduler, name)
    assert_close(PROCESSES[name].add_noise(x0, noise, t), scheduler.add_noise(x0, noise, t), **CLOSE)
    assert_close(PROCESSES[name].target(x0, noise, t, "v"), scheduler.get_velocity(x0, noise, t), **CLOSE)


def test_rectified_flow_goes_straight_from_picture_to_noise():
    flow, x0, noise = RectifiedFlow(), normal(3, 2, 2, 2), normal(3, 2, 2, 2, seed=1)
    t = torch.tensor([0.0, 0.25, 1.0])
    x_t = flow.add_noise(x0, noise, t)
    assert torch.equal(x_t[0], x0[0]) and torch.equal(x_t[2], noise[2])
    assert_close(x_t[1], 0.75 * x0[1] + 0.25 * noise[1])
    assert_close(flow.target(x0, noise, t, "v"), noise - x0)


@each_process
def test_v_is_measured_in_units_in_which_it_completes_the_picture(process):
    t = times_of(process, 50)
    (alpha, sigma), (alpha_rate, sigma_rate) = process.coefficients(t), process.rates(t)
    assert_close(alpha * sigma_rate - sigma * alpha_rate, torch.ones(50), rtol=0, atol=1e-6)


@each_process
@each_type
def test_a_right_prediction_gives_back_both_parts_of_the_noisy_picture(process, prediction_type):
    x0, noise = normal(6, 3, 4, 4), normal(6, 3, 4, 4, seed=1)
    t = (
        torch.tensor([5, 100, 300, 500, 700, 800])
        if isinstance(process, NoiseSchedule)
        else torch.linspace(0.1, 0.9, 6)
    )
    output = process.target(x0, noise, t, prediction_type)
    found = process.predict(output, process.add_noise(x0, noise, t), t, prediction_type)
    assert_close(found, Prediction(x0, noise), rtol=1e-3, atol=2e-3)


@each_process
def test_an_unknown_prediction_type_is_refused_by_name(process):
    x = normal(1, 3, 4, 4)
    for call in (process.target, process.predict):
        with pytest.raises(ValueError, match="prediction_type is 'eps', expected one of epsilon, x0, v"):
            call(x, x, times_of(process, 1), "eps")


@pytest.mark.parametrize("betas", [torch.zeros(5), torch.ones(5), torch.rand(2, 2), torch.tensor([0.1, math.nan])])
def test_betas_that_cannot_be_are_refused(betas):
    with pytest.raises(ValueError, match="expected betas"):
        NoiseSchedule(betas)


# --- times ------------------------------------------------------------------------------------------------------


def test_every_step_of_a_schedule_is_drawn_in_training_the_first_and_the_last_included():
    schedule = NoiseSchedule.cosine(50)
    assert set(times_of(schedule, 2000).tolist()) == set(range(50))


def test_times_of_a_flow_lie_between_0_and_1_and_crowd_in_the_middle():
    t = times_of(RectifiedFlow(), 10_000)
    assert t.min() > 0 and t.max() < 1 and ((t - 0.5).abs() < 0.25).float().mean() > 0.65


@each_schedule
@pytest.mark.parametrize("steps", [1, 7, 50, 333, 1000])
def test_a_sampler_passes_through_the_times_of_diffusers_and_meets_the_last_one(name, steps):
    scheduler = theirs(DDIMScheduler, name)
    scheduler.set_timesteps(steps)
    times = PROCESSES[name].timesteps(steps)
    assert times.tolist() == scheduler.timesteps.tolist() and times[0] == 999 and len(times) == steps


def test_a_flow_is_sampled_from_1_on():
    assert_close(RectifiedFlow().timesteps(4), torch.tensor([1.0, 0.75, 0.5, 0.25]))


@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0])
def test_a_shift_moves_the_samplers_steps_as_diffusers_does_and_leaves_the_ends(shift):
    theirs = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs.set_timesteps(sigmas=[(10 - k) / 10 for k in range(10)])
    times = RectifiedFlow(shift=shift).timesteps(10)
    assert_close(times, theirs.sigmas[:-1], rtol=1e-5, atol=1e-6)
    assert times[0] == 1
    assert torch.equal(RectifiedFlow(shift=shift).timesteps(10, strength=0.3), times[7:])


def test_a_shift_does_not_move_the_times_to_train_at():
    drawn = [RectifiedFlow(shift=s).draw_times(100, generator=torch.Generator().manual_seed(0)) for s in (1.0, 3.0)]
    assert torch.equal(*drawn)


@pytest.mark.parametrize("shift", [0, -1, float("nan"), float("inf")])
def test_a_shift_that_cannot_be_is_refused(shift):
    with pytest.raises(ValueError, match=r"shift is .*, expected a number above 0"):
        RectifiedFlow(shift=shift)


@each_process
def test_a_smaller_strength_leaves_out_the_first_times(process):
    whole = process.timesteps(10)
    assert torch.equal(process.timesteps(10, strength=0.3), whole[-3:])
    assert torch.equal(process.timesteps(10, strength=0.01), whole[-1:])
    for strength in (0, -0.5, 1.01, math.nan):
        with pytest.raises(ValueError, match="strength is"):
            process.timesteps(10, strength=strength)


@pytest.mark.parametrize(("process", "steps"), [(PROCESSES["linear"], 1001), *[(p, 0) for p in PROCESSES.values()]])
def test_numbers_of_steps_that_cannot_be_are_refused(process, steps):
    with pytest.raises(ValueError, match=f"num_inference_steps is {steps}"):
        process.timesteps(steps)


# --- the loss ---------------------------------------------------------------------------------------------------


@each_process
@each_type
def test_the_loss_is_the_mean_squared_error_of_the_target(process, prediction_type):
    x0, seen = normal(8, 3, 4, 4), {}

    def model(x_t, t, cond):
        seen.update(x_t=x_t, t=t, cond=cond)
        return torch.zeros_like(x_t)

    loss = diffusion_loss(
        model, process, x0, "cat", prediction_type=prediction_type, generator=torch.Generator().manual_seed(3)
    )
    noise = process.predict(x0, seen["x_t"], seen["t"], "x0").noise
    assert seen["cond"] == "cat" and seen["t"].shape == (8,)
    assert_close(loss, process.target(x0, noise, seen["t"], prediction_type).square().mean(), rtol=1e-2, atol=1e-2)
    assert noise.std() == pytest.approx(1, abs=0.15)


@each_process
def test_a_model_that_knows_the_answer_has_no_loss_and_another_learns_from_it(process):
    x0 = normal(4, 3, 4, 4)
    weight = torch.nn.Parameter(torch.tensor(0.5))
    loss = diffusion_loss(lambda x_t, t, cond: weight * x0, process, x0, prediction_type="x0")
    loss.backward()
    assert weight.grad < 0
    assert diffusion_loss(lambda x_t, t, cond: x0, process, x0, prediction_type="x0") == 0


def test_the_same_generator_gives_the_same_loss_and_pictures_have_times_of_their_own():
    times = []

    def model(x_t, t, cond):
        times.append(t)
        return x_t

    losses = [
        diffusion_loss(
            model,
            PROCESSES["linear"],
            normal(16, 1, 2, 2),
            prediction_type="v",
            generator=torch.Generator().manual_seed(k),
        )
        for k in (0, 0, 1)
    ]
    assert losses[0] == losses[1] != losses[2] and len(times[0].unique()) > 8


# --- guidance ---------------------------------------------------------------------------------------------------


def a_model(x_t, t, cond):
    """Says its condition, channel by channel."""
    return cond.view(1, -1, 1, 1).expand_as(x_t) + 0 * x_t


@pytest.mark.parametrize(
    ("scale", "expected"),
    [(0, [1.0, 2, 3]), (1, [5.0, 1, -2]), (2, [9.0, 0, -7]), (-1, [-3.0, 3, 8]), (0.5, [3, 1.5, 0.5])],
)
def test_guidance_starts_at_no_condition_and_goes_through_the_condition_in_every_channel(scale, expected):
    cond, null_cond = torch.tensor([5.0, 1, -2]), torch.tensor([1.0, 2, 3])
    said = guided(a_model, cond, null_cond, scale)(normal(2, 3, 4, 4), torch.zeros(2))
    assert_close(said, torch.tensor(expected).view(1, 3, 1, 1).expand(2, 3, 4, 4))


def test_all_eight_channels_of_latents_are_guided():
    """Three are all of a picture, but not of latents."""
    cond, null_cond = torch.arange(8.0), torch.full((8,), -1.0)
    said = guided(a_model, cond, null_cond, 3)(normal(2, 8, 4, 4), torch.zeros(2))
    assert_close(said, torch.arange(2.0, 24, 3).view(1, 8, 1, 1).expand(2, 8, 4, 4))  # -1 + 3 (k + 1)


@pytest.mark.parametrize(("scale", "passes"), [(1, ["cat"]), (0, [None]), (3, [None, "cat"])])
def test_guidance_asks_the_model_no_more_often_than_it_must(scale, passes):
    asked = []

    def model(x_t, t, cond):
        asked.append(cond[0] if cond else None)
        return x_t

    guided(model, ["cat"], [], scale)(normal(1, 3, 2, 2), torch.zeros(1))
    assert asked == passes


@pytest.mark.parametrize("scale", [math.nan, math.inf, -math.inf, 1e5])
def test_a_guidance_scale_that_cannot_be_is_refused(scale):
    with pytest.raises(ValueError, match="guidance_scale is"):
        guided(a_model, torch.ones(3), torch.ones(3), scale)


def test_guidance_without_a_null_condition_is_refused():
    with pytest.raises(ValueError, match="needs a null_cond"):
        guided(a_model, torch.ones(3), None, 4.0)


# --- samplers against diffusers ---------------------------------------------------------------------------------


def by_diffusers(scheduler, x, steps, seed=None):
    scheduler.set_timesteps(steps)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    options = {} if generator is None else {"generator": generator}
    for t in scheduler.timesteps:
        x = scheduler.step(a_denoiser(x, t.expand(len(x))), t, x, **options).prev_sample
    return x


@each_schedule
@each_type
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_ddim_equals_diffusers(name, prediction_type, steps):
    scheduler = theirs(DDIMScheduler, name, prediction_type, clip_sample=False, set_alpha_to_one=True)
    noise = normal(2, 3, 4, 4)
    options = {"prediction_type": prediction_type, "num_inference_steps": steps}
    assert_close(sample(a_denoiser, PROCESSES[name], noise, **options), by_diffusers(scheduler, noise, steps), **CLOSE)


@each_schedule
@each_type
@pytest.mark.parametrize("steps", [5, 1000])
def test_ddpm_equals_diffusers(name, prediction_type, steps):
    scheduler = theirs(DDPMScheduler, name, prediction_type, clip_sample=False, variance_type="fixed_small")
    noise = normal(1, 3, 4, 4)
    options = {"prediction_type": prediction_type, "num_inference_steps": steps, "sampler": "ddpm"}
    ours = sample(a_denoiser, PROCESSES[name], noise, **options, generators=[torch.Generator().manual_seed(5)])
    assert_close(ours, by_diffusers(scheduler, noise, steps, seed=5), rtol=1e-2, atol=1e-2)


@each_schedule
@each_type
@pytest.mark.parametrize("steps", [2, 5, 20])
def test_the_second_order_sampler_equals_diffusers(name, prediction_type, steps):
    scheduler = theirs(DPMSolverMultistepScheduler, name, prediction_type, final_sigmas_type="zero")
    noise = normal(2, 3, 4, 4)
    options = {"prediction_type": prediction_type, "num_inference_steps": steps, "sampler": "dpm2m"}
    assert_close(sample(a_denoiser, PROCESSES[name], noise, **options), by_diffusers(scheduler, noise, steps), **CLOSE)


# --- samplers against a Gaussian, of which everything is known ---------------------------------------------------

MEAN, SPREAD = 0.7, 0.4


def exact(process, prediction_type):
    """What a perfect network says, if every number of x0 is normal with MEAN and SPREAD."""

    def denoiser(x_t, t):
        alpha, sigma = (c.view(-1, 1) for c in process.coefficients(t))
        x0 = MEAN + SPREAD**2 * alpha / (alpha**2 * SPREAD**2 + sigma**2) * (x_t - alpha * MEAN)
        return process.target(x0, (x_t - alpha * x0) / sigma, t, prediction_type)

    return denoiser


@each_process
@pytest.mark.parametrize(("sampler", "steps"), [("ddpm", 200), ("ddim", 200), ("dpm2m", 50)])
@pytest.mark.parametrize("prediction_type", ["x0", "v"])
def test_with_the_exact_denoiser_samples_have_the_mean_and_the_spread_of_the_data(
    process, sampler, steps, prediction_type
):
    noise = normal(2, 20_000)
    generators = [torch.Generator().manual_seed(k) for k in range(2)]
    options = {"prediction_type": prediction_type, "num_inference_steps": steps, "sampler": sampler}
    drawn = sample(exact(process, prediction_type), process, noise, **options, generators=generators)
    assert drawn.mean() == pytest.approx(MEAN, abs=0.02) and drawn.std() == pytest.approx(SPREAD, abs=0.02)


def test_the_second_order_sampler_errs_less_in_as_many_steps():
    process, noise = PROCESSES["cosine"], normal(1, 1000)
    truth = MEAN + SPREAD * noise  # where the exact flow ends: each number keeps its place in the distribution
    errors = {
        sampler: (
            sample(exact(process, "v"), process, noise, prediction_type="v", num_inference_steps=10, sampler=sampler)
            - truth
        )
        .abs()
        .mean()
        for sampler in ("ddim", "dpm2m")
    }
    assert errors["dpm2m"] < errors["ddim"] / 2


@each_process
def test_a_classifier_that_likes_more_shifts_the_samples_as_bayes_says(process):
    """With a log-likelihood of w x0, a Gaussian becomes the same Gaussian, shifted by w times its variance."""
    push, noise = 2.0, normal(2, 10_000)
    pushed = classifier_guided(exact(process, "v"), process, lambda x0: x0.sum(dim=1), scale=push, prediction_type="v")
    drawn = sample(pushed, process, noise, prediction_type="v", num_inference_steps=200)
    assert drawn.mean() == pytest.approx(MEAN + push * SPREAD**2, abs=0.03)
    assert drawn.std() == pytest.approx(SPREAD, abs=0.03)


def test_a_classifier_with_scale_0_changes_nothing():
    process, x_t, t = PROCESSES["linear"], normal(2, 3, 4, 4), torch.tensor([10, 800])
    for prediction_type in TYPES:
        pushed = classifier_guided(
            a_denoiser, process, lambda x0: x0.sum(dim=(1, 2, 3)), scale=0.0, prediction_type=prediction_type
        )
        assert_close(pushed(x_t, t), a_denoiser(x_t, t), rtol=1e-3, atol=1e-3)


# --- uses of the sampler ----------------------------------------------------------------------------------------

OPTIONS = {"prediction_type": "v", "num_inference_steps": 8}


@each_process
def test_states_are_counted_and_the_last_one_is_the_picture(process):
    noise = normal(2, 3, 4, 4)
    states = list(sample_steps(a_denoiser, process, noise, **OPTIONS))
    assert [state.step for state in states] == list(range(1, 9)) and {state.num_steps for state in states} == {8}
    assert torch.equal(states[-1].x_t, sample(a_denoiser, process, noise, **OPTIONS))
    assert_close(states[-1].x_t, states[-1].x0)
    assert all(a.t > b.t for a, b in itertools.pairwise(states))


@each_process
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm2m"])
def test_a_picture_is_the_same_alone_and_in_a_batch(process, sampler):
    noise, x0 = normal(3, 3, 4, 4), normal(3, 3, 4, 4, seed=1)
    mask = torch.ones(3, 1, 4, 4)
    mask[:, :, 2:] = 0

    def draw(which):
        generators = [torch.Generator().manual_seed(k) for k in which]
        options = {"sampler": sampler, "generators": generators, "x0": x0[which], "mask": mask[which], "strength": 0.6}
        return sample(a_denoiser, process, noise[which], **OPTIONS, **options)

    assert_close(draw([0, 1, 2])[1:2], draw([1]))
    assert_close(draw([2, 1])[0:1], draw([0, 2])[1:2])


@each_process
def test_nothing_that_is_given_is_changed(process):
    given = {"noise": normal(2, 3, 4, 4), "x0": normal(2, 3, 4, 4, seed=1), "mask": torch.ones(2, 1, 4, 4)}
    before = {name: value.clone() for name, value in given.items()}
    sample(a_denoiser, process, **given, **OPTIONS, strength=0.5)
    assert all(torch.equal(given[name], value) for name, value in before.items())


@each_process
def test_inpainting_keeps_what_the_mask_does_not_give_away(process):
    noise, x0 = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    mask = torch.zeros(2, 1, 4, 4)
    mask[..., :2] = 1
    drawn = sample(a_denoiser, process, noise, x0=x0, mask=mask, **OPTIONS)
    assert torch.equal(drawn[..., 2:], x0[..., 2:]) and (drawn - x0)[..., :2].abs().min() > 1e-4


@each_process
def test_while_inpainting_what_is_kept_has_as_much_noise_as_what_is_drawn(process):
    noise, x0 = normal(2, 3, 4, 4), normal(2, 3, 4, 4, seed=1)
    states = list(sample_steps(a_denoiser, process, noise, x0=x0, mask=torch.zeros(2, 1, 4, 4), **OPTIONS))
    for state, after in itertools.pairwise(states):
        assert_close(state.x_t, process.add_noise(x0, noise, after.t.expand(2)))


@each_process
def test_a_picture_to_start_from_shows_through_more_the_smaller_the_strength(process):
    x0, noise = MEAN + 0.3 * normal(2, 500, seed=1), normal(2, 500)
    away = []
    for strength in (0.125, 0.5, 1.0):
        drawn = sample(exact(process, "v"), process, noise, x0=x0, strength=strength, **OPTIONS)
        away.append((drawn - x0).abs().mean().item())
    assert away[0] < 0.8 * away[1] < 0.8 * away[2]
    assert torch.equal(drawn, sample(exact(process, "v"), process, noise, **OPTIONS))  # all of it is forgotten


def test_clipping_keeps_the_denoised_picture_within_its_range():
    noise = normal(2, 3, 4, 4)
    states = list(sample_steps(lambda x, t: 5 * x, PROCESSES["cosine"], noise, prediction_type="x0", clip=1.0))
    assert max(state.x0.abs().max() for state in states) == 1 and states[-1].x_t.abs().max() <= 1
    free = list(sample_steps(lambda x, t: 5 * x, PROCESSES["cosine"], noise, prediction_type="x0"))
    assert free[0].x0.abs().max() > 1


@each_schedule
@each_type
def test_clipping_equals_diffusers(name, prediction_type):
    """The noise is worked out anew, so that it and the clipped picture still make up x_t."""
    scheduler = theirs(DDIMScheduler, name, prediction_type, clip_sample=True, set_alpha_to_one=True)
    scheduler.set_timesteps(5)
    x = noise = 3 * normal(2, 3, 4, 4)
    for t in scheduler.timesteps:
        x = scheduler.step(a_denoiser(x, t.expand(2)), t, x, use_clipped_model_output=True).prev_sample
    options = {"prediction_type": prediction_type, "num_inference_steps": 5, "clip": 1.0}
    assert_close(sample(a_denoiser, PROCESSES[name], noise, **options), x, **CLOSE)


REFUSED = {
    "sampler": ({"sampler": "euler"}, "sampler is 'euler'"),
    "ddpm without generators": ({"sampler": "ddpm"}, "give 2 generators"),
    "too few generators": ({"sampler": "ddpm", "generators": [torch.Generator()]}, "give 2 generators"),
    "strength without a picture": ({"strength": 0.5}, "need an x0"),
    "mask without a picture": ({"mask": torch.ones(2, 1, 4, 4)}, "need an x0"),
    "another shape": ({"x0": torch.zeros(2, 3, 8, 8)}, r"x0 has shape \(2, 3, 8, 8\)"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_sampled_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        sample(a_denoiser, PROCESSES["linear"], normal(2, 3, 4, 4), **OPTIONS, **options)


def test_noise_alone_cannot_be_predicted_where_there_is_nothing_else():
    with pytest.raises(ValueError, match="use v or x0"):
        sample(a_denoiser, RectifiedFlow(), normal(1, 3, 4, 4), prediction_type="epsilon")


def test_noise_between_two_noises_stays_normal():
    first, second = normal(1, 50_000), normal(1, 50_000, seed=1)
    assert_close(interpolate_noise(first, second, 0.0), first, rtol=0, atol=1e-6)
    assert_close(interpolate_noise(first, second, 1.0), second, rtol=0, atol=1e-6)
    for share in (0.25, 0.5):
        assert interpolate_noise(first, second, share).std() == pytest.approx(1, abs=0.02)


# --- on a GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@each_process
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpm2m"])
def test_a_sampler_gives_the_same_on_the_gpu(process, sampler):
    def draw(device):
        generators = [torch.Generator().manual_seed(k) for k in range(2)]
        noise = normal(2, 3, 4, 4).to(device)
        return sample(a_denoiser, process, noise, sampler=sampler, generators=generators, **OPTIONS).cpu()

    assert_close(draw("cuda"), draw("cpu"), rtol=1e-2, atol=1e-2)
