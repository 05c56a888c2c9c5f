"""The exercises of lesson 03 agree with `vae`, `metrics` and torch.distributions; other right answers pass."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from minigen import metrics
from minigen.exercises import lesson_03
from minigen.images import to_unit
from minigen.vae import Posterior, vae_loss


def first_case(exercise):
    return next(iter(exercise.cases().values()))


@pytest.mark.parametrize("case", lesson_03.q1.cases().values(), ids=lesson_03.q1.cases())
def test_the_kl_is_that_of_torch_and_of_the_package(case):
    mean, logvar = case
    expected = kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0, 1)).flatten(1).sum(dim=1)
    torch.testing.assert_close(lesson_03.kl_to_prior(mean, logvar), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(Posterior(mean, logvar).kl(), expected, rtol=1e-5, atol=1e-5)


def test_the_sample_is_the_posteriors_and_its_slopes_are_autograds():
    mean, logvar, noise = (part.requires_grad_() for part in first_case(lesson_03.q2))
    z = Posterior(mean, logvar).sample(noise=noise)
    expected = (z, *torch.autograd.grad(z.sum(), [mean, logvar]))
    for given, one in zip(lesson_03.sample_and_slopes(mean, logvar, noise), expected, strict=True):
        torch.testing.assert_close(given, one, rtol=1e-6, atol=1e-6)


def test_slopes_by_autograd_are_right():
    def sample_and_slopes(mean, logvar, noise):
        mean, logvar = mean.clone().requires_grad_(), logvar.clone().requires_grad_()
        z = mean + logvar.exp().sqrt() * noise
        return z, *torch.autograd.grad(z.sum(), [mean, logvar])

    result = lesson_03.q2.check(sample_and_slopes=sample_and_slopes)
    assert result, result.message


def test_a_sample_with_noise_of_its_own_is_told_so():
    def sample_and_slopes(mean, logvar, noise):
        std, drawn = (logvar / 2).exp(), torch.randn_like(mean)
        return mean + std * drawn, torch.ones_like(mean), 0.5 * std * drawn

    assert lesson_03.q2.check(sample_and_slopes=sample_and_slopes).message == lesson_03.own_noise.message


def test_each_wrong_weighting_pulls_in_the_direction_of_the_loss_with_its_beta():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 3, 32, 32, generator=generator) * 2 - 1
    mean, logvar = torch.randn(2, 64, generator=generator), torch.randn(2, 64, generator=generator)
    basis = torch.randn(64, 3 * 32 * 32, generator=generator)

    def pull(weigh):
        m, v = mean.double().requires_grad_(), logvar.double().requires_grad_()
        recon = (m @ basis.double()).view(2, 3, 32, 32)
        nats = 0.5 * (recon - x).square()
        kl = 0.5 * (m.square() + v.exp() - 1 - v)
        return torch.cat([part.flatten() for part in torch.autograd.grad(weigh(nats, kl), [m, v])])

    wrong = [
        lambda nats, kl: nats.mean() + kl.sum(dim=1).mean(),
        lambda nats, kl: nats.sum(dim=(1, 2, 3)).mean() + kl.mean(),
        lambda nats, kl: nats.mean() + kl.mean(),
    ]
    for loss, beta in zip(wrong, lesson_03.effective_betas(), strict=True):
        for factor, parallel in ((1, True), (1.01, False)):
            right = pull(lambda nats, kl, b=factor * beta: nats.sum(dim=(1, 2, 3)).mean() + b * kl.sum(dim=1).mean())
            ratio = right / pull(loss)  # the same in every number where the two pull the same way
            assert bool((ratio / ratio[0] - 1).abs().max() < 1e-6) is parallel


@pytest.mark.parametrize("case", lesson_03.q4.cases().values(), ids=lesson_03.q4.cases())
def test_the_repaired_terms_are_the_packages_and_a_normal_densitys(case):
    recon, x, mean, logvar, sigma = case
    nats, kl = lesson_03.nats_per_image(*case)
    expected = vae_loss(recon, x, Posterior(mean, logvar), sigma=sigma)
    density = -Normal(recon, sigma).log_prob(x).flatten(1).sum(dim=1).mean()
    torch.testing.assert_close(nats, expected["recon"], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(nats, density, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(kl, expected["kl"], rtol=1e-5, atol=1e-4)


def test_a_repair_that_sums_all_and_divides_by_n_is_right():
    def repaired(recon, x, mean, logvar, sigma):
        nats = F.gaussian_nll_loss(recon, x, torch.full_like(x, sigma**2), full=True, reduction="sum")
        return nats / len(x), kl_divergence(Normal(mean, (0.5 * logvar).exp()), Normal(0, 1)).sum() / len(x)

    result = lesson_03.q4.check(nats_per_image=repaired)
    assert result, result.message


def test_the_lead_is_worked_out_from_loss_and_kl():
    bounds = [loss + (1 - beta) * kl for loss, beta, kl in ((63, 0.1, 380), (131, 1.0, 52))]
    assert lesson_03.nats_ahead() == pytest.approx(bounds[0] - bounds[1], abs=1e-9)
    assert lesson_03.q5.check(nats_ahead=274)


def test_the_rate_is_the_packages_kl_in_bits():
    mean, logvar, threshold = first_case(lesson_03.q6)
    count, bits = lesson_03.active_latents(mean, logvar, threshold)
    posterior = Posterior(mean, logvar)
    assert bits == pytest.approx(posterior.kl().mean().item() / math.log(2), rel=1e-5)
    assert count == (posterior.kl_per_dimension().mean(dim=0) > threshold).sum() == 2


def test_the_clean_direction_leaves_the_other_attribute_where_the_plain_difference_moves_it():
    latents, has, other = first_case(lesson_03.q7)  # the attributes lie along axis 0, by 2, and along axis 1, by 3
    clean = lesson_03.clean_direction(latents, has, other)
    plain = lesson_03.plain_difference.example(latents, has, other)
    assert clean[0].item() == pytest.approx(2, abs=0.5)
    assert abs(clean[1].item()) < 0.5
    assert plain[1].item() > 1.2


@pytest.mark.parametrize("case", lesson_03.q8.cases().values(), ids=lesson_03.q8.cases())
def test_the_decibels_are_those_of_the_metrics(case):
    recon, x = case
    assert recon.abs().max() < 1  # or to_unit would clamp
    torch.testing.assert_close(lesson_03.psnr_db(recon, x), metrics.psnr(to_unit(recon), to_unit(x)), rtol=1e-4, atol=0)


def test_decibels_of_pictures_moved_to_the_unit_range_are_right():
    def psnr_db(recon, x):
        recon, x = (recon + 1) / 2, (x + 1) / 2
        return 10 * torch.log10(1 / F.mse_loss(recon, x, reduction="none").mean(dim=(1, 2, 3)))

    result = lesson_03.q8.check(psnr_db=psnr_db)
    assert result, result.message


def test_the_figures_of_the_explanation_are_right():
    x = torch.zeros(1, 3, 4, 4)
    one, half, tenth = (lesson_03.psnr_db(x + error, x).item() for error in (0.4, 0.2, 0.04))
    assert half - one == pytest.approx(6, abs=0.05)
    assert tenth - one == pytest.approx(20, abs=0.01)
    assert lesson_03.psnr_db(x + 2 / 255, x).item() == pytest.approx(48, abs=0.2)
