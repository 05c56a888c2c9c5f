"""The VAE and the codec: each term in nats against torch.distributions, the ELBO against a closed-form likelihood."""

import copy
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close

from minigen.training import EMA
from minigen.vae import VAE, Codec, PlainBlock, Posterior, reconstruction_nats, vae_loss

WIDTHS = {"encoder_widths": (8, 8, 8), "decoder_widths": (8, 8, 8)}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(n, size=32, seed=0):
    return normal(n, 3, size, size, seed=seed).tanh()


def shaken(model, seed=1):
    """Blocks begin as the identity; shaken, all layers take part."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model


def a_vae(**changes):
    torch.manual_seed(0)
    return shaken(VAE(**{"latent_dim": 8, **WIDTHS} | changes))


def a_codec(**changes):
    torch.manual_seed(0)
    return shaken(Codec(**{"latent_channels": 4, **WIDTHS} | changes))


def a_measured_codec():
    codec = a_codec()
    codec.measure_latents(pictures(10))
    return codec


BUILDS = {"VAE": a_vae, "Codec": a_codec, "measured Codec": a_measured_codec}
each_model = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)


def distribution(posterior):
    """The same posterior as PyTorch has it."""
    return Normal(posterior.mean.double(), (posterior.logvar.double() / 2).exp())


# --- the posterior ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 2, 2)])
def test_kl_is_that_of_torch_distributions(shape):
    posterior = Posterior(2 * normal(*shape), normal(*shape, seed=1))
    expected = kl_divergence(distribution(posterior), Normal(0.0, 1.0))
    assert posterior.kl().shape == (5,)
    assert_close(posterior.kl_per_dimension().double(), expected, rtol=1e-5, atol=1e-6)
    assert_close(posterior.kl().double(), expected.flatten(1).sum(dim=1), rtol=1e-5, atol=1e-6)


def test_kl_is_0_for_the_prior_and_never_below():
    assert Posterior(torch.zeros(3, 4), torch.zeros(3, 4)).kl().tolist() == [0, 0, 0]
    posterior = Posterior(0.1 * normal(10_000, 1), 0.1 * normal(10_000, 1, seed=1))
    assert posterior.kl().min() >= -1e-6


def test_kl_worked_by_hand():
    """A mean of 3 costs 9/2 nats; a deviation of 2 costs (4 - 1 - log 4) / 2."""
    posterior = Posterior(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, math.log(4)]]))
    assert_close(posterior.kl_per_dimension(), torch.tensor([[4.5, (3 - math.log(4)) / 2]]))


def test_kl_is_taken_in_float32_whatever_the_precision():
    posterior = Posterior(normal(4, 64).bfloat16(), normal(4, 64, seed=1).bfloat16())
    expected = kl_divergence(distribution(posterior), Normal(0.0, 1.0)).sum(dim=1)
    assert posterior.kl().dtype == torch.float32
    assert_close(posterior.kl().double(), expected, rtol=1e-5, atol=1e-5)


def test_samples_have_the_mean_and_the_deviation_of_the_posterior():
    mean, logvar = torch.tensor([[-2.0, 0.0, 5.0]]), torch.tensor([[0.0, math.log(0.04), math.log(9)]])
    n = 40_000
    drawn = Posterior(mean.expand(n, -1), logvar.expand(n, -1)).sample(torch.Generator().manual_seed(0))
    std = torch.tensor([1.0, 0.2, 3.0])
    assert ((drawn.mean(dim=0) - mean[0]).abs() < 5 * std / n**0.5).all()
    assert_close(drawn.std(dim=0), std, rtol=0.02, atol=0)
    correlations = torch.corrcoef(drawn.T) - torch.eye(3)
    assert correlations.abs().max() < 0.03  # each number has noise of its own


def test_given_noise_is_what_moves_the_sample():
    posterior = Posterior(normal(3, 4), normal(3, 4, seed=1))
    noise = normal(3, 4, seed=2)
    expected = posterior.mean + distribution(posterior).stddev * noise
    assert_close(posterior.sample(noise=noise), expected.float())
    assert_close(posterior.sample(noise=torch.zeros(3, 4)), posterior.mean, rtol=0, atol=0)


def test_samples_repeat_with_their_generator_and_differ_without():
    posterior = Posterior(torch.zeros(2, 4), torch.zeros(2, 4))
    first, again = (posterior.sample(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(posterior.sample(), posterior.sample())
    before = torch.get_rng_state()
    posterior.sample(torch.Generator())
    assert torch.equal(torch.get_rng_state(), before)


def test_gradients_reach_mean_and_spread_through_a_sample():
    mean, logvar = normal(3, 4).requires_grad_(True), normal(3, 4, seed=1).requires_grad_(True)
    noise, weight = normal(3, 4, seed=2), normal(3, 4, seed=3)
    (Posterior(mean, logvar).sample(noise=noise) * weight).sum().backward()
    assert_close(mean.grad, weight)
    assert_close(logvar.grad, weight * noise * (logvar.detach() / 2).exp() / 2)  # d exp(v/2) / dv


def test_a_posterior_whose_parts_differ_in_shape_is_refused():
    with pytest.raises(ValueError, match=r"mean \(2, 4\) and logvar \(2, 5\)"):
        Posterior(torch.zeros(2, 4), torch.zeros(2, 5))


# --- the loss ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.03, 0.5, 1.0, 3.0])
def test_the_reconstruction_term_is_minus_the_log_density_of_torch_distributions(sigma):
    recon, x = pictures(4, 8), pictures(4, 8, seed=1)
    expected = -Normal(recon.double(), sigma).log_prob(x.double()).flatten(1).sum(dim=1)
    assert_close(reconstruction_nats(recon, x, sigma).double(), expected, rtol=1e-5, atol=1e-3)


def test_the_reconstruction_term_worked_by_hand():
    """Of 3 x 2 x 2 numbers, each 0.2 off, with sigma 0.1: two nats each, and log(sigma sqrt(2 pi)) each."""
    x = torch.zeros(5, 3, 2, 2)
    expected = 12 * (0.2**2 / (2 * 0.1**2) + math.log(0.1 * math.sqrt(2 * math.pi)))
    assert_close(reconstruction_nats(x + 0.2, x, 0.1), torch.full((5,), expected))
    assert (reconstruction_nats(x, x, 0.1) < 0).all()  # a density may exceed 1


def test_the_reconstruction_term_is_taken_in_float32():
    recon, x = pictures(2).bfloat16(), pictures(2, seed=1).bfloat16()
    assert_close(reconstruction_nats(recon, x, 0.1), reconstruction_nats(recon.float(), x.float(), 0.1))


def test_reconstructions_of_another_shape_are_refused_rather_than_broadcast():
    with pytest.raises(ValueError, match=r"\(2, 1, 8, 8\), the pictures \(2, 3, 8, 8\)"):
        reconstruction_nats(torch.zeros(2, 1, 8, 8), torch.zeros(2, 3, 8, 8), 0.1)


@pytest.mark.parametrize("beta", [0.0, 0.25, 1.0, 4.0])
def test_the_loss_is_recon_plus_beta_kl_a_picture(beta):
    recon, x = pictures(6, 8), pictures(6, 8, seed=1)
    posterior = Posterior(normal(6, 5), normal(6, 5, seed=1))
    losses = vae_loss(recon, x, posterior, sigma=0.2, beta=beta)
    assert list(losses) == ["loss", "recon", "kl"]
    kl = kl_divergence(distribution(posterior), Normal(0.0, 1.0)).sum() / 6
    fit = -Normal(recon.double(), 0.2).log_prob(x.double()).sum() / 6
    for name, expected in {"kl": kl, "recon": fit, "loss": fit + beta * kl}.items():
        assert_close(losses[name].double(), expected, rtol=1e-5, atol=1e-3)


def test_beta_is_1_unless_said():
    x, posterior = pictures(2, 8), Posterior(normal(2, 3), normal(2, 3, seed=1))
    assert vae_loss(x, x, posterior, sigma=1.0) == vae_loss(x, x, posterior, sigma=1.0, beta=1.0)


def test_the_units_are_nats_a_picture_whatever_the_batch_size():
    recon, x = pictures(4, 8), pictures(4, 8, seed=1)
    posterior = Posterior(normal(4, 5), normal(4, 5, seed=1))
    once = vae_loss(recon, x, posterior, sigma=0.3)
    twice = vae_loss(
        recon.repeat(2, 1, 1, 1),
        x.repeat(2, 1, 1, 1),
        Posterior(posterior.mean.repeat(2, 1), posterior.logvar.repeat(2, 1)),
        sigma=0.3,
    )
    for name, value in once.items():
        assert_close(twice[name], value)


def test_the_units_are_sums_over_the_numbers_of_a_picture():
    """Four pictures laid side by side as one are worth the four together, and so are their latents."""
    recon, x = pictures(4, 8), pictures(4, 8, seed=1)
    posterior = Posterior(normal(4, 5), normal(4, 5, seed=1))
    apart = vae_loss(recon, x, posterior, sigma=0.3)
    wide, wide_x = (torch.cat(list(part), dim=2)[None] for part in (recon, x))
    as_one = vae_loss(
        wide, wide_x, Posterior(posterior.mean.reshape(1, 20), posterior.logvar.reshape(1, 20)), sigma=0.3
    )
    for name, value in apart.items():
        assert_close(as_one[name], 4 * value)


class Line:
    """One latent number draws a picture on a line: z ~ N(0,1), x ~ N(w z + b, sigma^2 I). All of it in closed form."""

    sigma = 0.7

    def __init__(self):
        self.w, self.b = normal(12, seed=5).double(), normal(12, seed=6).double()
        self.x = self.b + 1.5 * normal(5, 12, seed=7).double()

    def log_likelihood(self):
        covariance = self.w.outer(self.w) + self.sigma**2 * torch.eye(12)
        return MultivariateNormal(self.b, covariance).log_prob(self.x)

    def posterior(self):
        """Bayes' rule for normal distributions: precisions add up."""
        precision = 1 + self.w @ self.w / self.sigma**2
        mean = ((self.x - self.b) @ self.w / self.sigma**2 / precision)[:, None]
        return Posterior(mean, torch.full_like(mean, -math.log(precision)))

    def minus_elbo(self, posterior):
        """The mean over noise of -1 and 1, which is exact: the term is a square in the noise."""
        x, losses = self.x.view(5, 3, 2, 2), []
        for noise in (-1.0, 1.0):
            z = posterior.sample(noise=torch.full((5, 1), noise))
            recon = (z * self.w + self.b).view(5, 3, 2, 2)
            losses.append(vae_loss(recon, x, posterior, sigma=self.sigma)["loss"])
        return sum(losses) / 2


def test_at_the_true_posterior_the_loss_is_minus_the_log_likelihood():
    line = Line()
    assert line.minus_elbo(line.posterior()).item() == pytest.approx(-line.log_likelihood().mean().item(), rel=1e-5)


@pytest.mark.parametrize(("shift", "widen"), [(0.3, 0.0), (0.0, 1.0), (-0.5, -0.7)])
def test_at_any_other_posterior_the_loss_is_larger_by_the_divergence_from_the_true_one(shift, widen):
    line = Line()
    true = line.posterior()
    other = Posterior(true.mean + shift, true.logvar + widen)
    gap = kl_divergence(distribution(other), distribution(true)).mean()
    expected = -line.log_likelihood().mean() + gap
    assert gap > 0.1
    assert line.minus_elbo(other).item() == pytest.approx(expected.item(), rel=1e-5)


# --- both models ------------------------------------------------------------------------------------------------


@each_model
def test_two_passes_in_eval_mode_are_equal_and_leave_the_pictures_alone(build):
    model, x = build().eval(), pictures(3)
    first, second = model.encode(x), model.encode(x)
    assert torch.equal(first.mean, second.mean) and torch.equal(first.logvar, second.logvar)
    latent = first.mean.detach().clone()
    assert torch.equal(model.decode(latent), model.decode(latent))
    assert torch.equal(x, pictures(3)) and torch.equal(latent, first.mean)


@each_model
def test_picture_k_is_the_same_alone_and_in_a_batch(build):
    model, x = build().eval(), pictures(5)
    together = model.encode(x)
    images = model.decode(together.mean)
    for k in range(5):
        alone = model.encode(x[k : k + 1])
        assert_close(alone.mean[0], together.mean[k], rtol=1e-4, atol=1e-5)
        assert_close(alone.logvar[0], together.logvar[k], rtol=1e-4, atol=1e-5)
        assert_close(model.decode(together.mean[k : k + 1])[0], images[k], rtol=1e-4, atol=1e-5)


@each_model
def test_a_model_is_rebuilt_from_its_config_and_state(build):
    model, x = build(), pictures(2)
    twin = type(model)(**model.config)
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin.encode(x).mean, model.encode(x).mean)
    latent = model.encode(x).mean
    assert torch.equal(twin.decode(latent), model.decode(latent))


@each_model
def test_a_deep_copy_does_not_move_with_the_original(build):
    model, x = build(), pictures(2)
    twin = copy.deepcopy(model)
    before = twin.decode(twin.encode(x).mean)
    with torch.no_grad():
        for value in (*model.parameters(), *model.buffers()):
            value.add_(0.5)
    assert torch.equal(twin.decode(twin.encode(x).mean), before)
    assert not torch.equal(model.decode(model.encode(x).mean), before)


@each_model
def test_every_weight_takes_part_and_mean_and_logvar_come_from_different_ones(build):
    model, x = build(), pictures(3)
    posterior = model.encode(x)
    vae_loss(model.decode(posterior.sample()), x, posterior, sigma=0.5)["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert (posterior.mean - posterior.logvar).abs().mean() > 0.01


@each_model
def test_an_average_has_the_scale_of_the_model_that_it_follows(build):
    model = build()
    ema = EMA(type(model)(**model.config))
    for _ in range(200):
        ema.update(model)
    x = pictures(2)
    assert_close(ema.model.encode(x).mean, model.encode(x).mean, rtol=1e-2, atol=1e-2)


@each_model
def test_a_few_updates_lower_the_loss(build):
    model, x = build(), pictures(8) * 0.2 + 0.4
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for number in range(15):
        posterior = model.encode(x)
        noise = normal(*posterior.mean.shape, seed=number)
        loss = vae_loss(model.decode(posterior.sample(noise=noise)), x, posterior, sigma=0.3)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 500  # nats


def test_a_block_begins_by_letting_its_input_through_and_leaves_it_alone():
    x = normal(2, 4, 6, 6)
    assert torch.equal(PlainBlock(4)(x), x)
    kept = x.clone()
    shaken(PlainBlock(4))(x)
    assert torch.equal(x, kept)


# --- the VAE ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 32])
def test_the_vae_goes_from_pictures_to_a_vector_each_and_back(size):
    model = a_vae(size=size)
    posterior = model.encode(pictures(3, size))
    assert posterior.mean.shape == posterior.logvar.shape == (3, 8)
    assert model.decode(posterior.sample()).shape == (3, 3, size, size)


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (2, 1, 32, 32), (3, 32, 32), (2, 3, 32, 40)])
def test_the_vae_refuses_other_pictures_and_names_them(shape):
    with pytest.raises(ValueError, match=r"expected pictures of shape \(N, 3, 32, 32\), got") as error:
        a_vae().encode(torch.zeros(shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("shape", [(2, 7), (8,), (2, 8, 1)])
def test_the_vae_refuses_other_latents_and_names_them(shape):
    with pytest.raises(ValueError, match=r"expected latents of shape \(N, 8\), got") as error:
        a_vae().decode(torch.zeros(shape))
    assert str(shape) in str(error.value)


# --- the codec --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (32, 32), (24, 40), (8, 8)])
def test_the_codec_goes_from_pictures_to_an_eighth_of_their_size_and_back(size):
    codec = a_codec()
    posterior = codec.encode(torch.zeros(2, 3, *size))
    assert posterior.mean.shape == posterior.logvar.shape == (2, 4, size[0] // 8, size[1] // 8)
    assert codec.decode(posterior.mean).shape == (2, 3, *size)


@pytest.mark.parametrize("shape", [(2, 3, 30, 32), (2, 3, 32, 36), (2, 1, 32, 32), (3, 32, 32)])
def test_the_codec_refuses_other_pictures_and_names_them(shape):
    with pytest.raises(ValueError, match=r"multiples of 8, got") as error:
        a_codec().encode(torch.zeros(shape))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (4, 4, 4), (2, 4)])
def test_the_codec_refuses_other_latents_and_names_them(shape):
    with pytest.raises(ValueError, match=r"expected latents of shape \(N, 4, h, w\), got") as error:
        a_codec().decode(torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_measured_latents_have_mean_0_and_deviation_1_in_every_channel_over_the_data():
    codec, x = a_codec(), pictures(150)  # more than are encoded at a time
    before = codec.encode(x).mean
    assert (before.mean(dim=(0, 2, 3)).abs() > 0.01).any() and (before.std(dim=(0, 2, 3)) - 1).abs().max() > 0.1
    codec.measure_latents(x)
    latents = codec.encode(x).mean
    assert_close(latents.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    assert_close(latents.std(dim=(0, 2, 3), correction=0), torch.ones(4), rtol=0, atol=1e-4)


def test_measuring_again_changes_nothing_and_other_data_gives_another_scale():
    codec = a_measured_codec()
    first = codec.latent_mean.clone(), codec.latent_std.clone()
    codec.measure_latents(pictures(10))
    assert_close((codec.latent_mean, codec.latent_std), first)
    codec.measure_latents(pictures(10) * 0.1)
    assert (codec.latent_std < first[1]).all()


@pytest.mark.parametrize("x", [torch.zeros(1, 3, 8, 8), torch.full((3, 3, 8, 8), 0.5)], ids=["one place", "all alike"])
def test_a_scale_that_cannot_be_measured_is_refused_and_the_old_one_stays(x):
    codec = a_measured_codec()
    before = codec.latent_mean.clone(), codec.latent_std.clone()
    with pytest.raises(ValueError, match="do not vary in every channel"):
        codec.measure_latents(x)
    assert torch.equal(codec.latent_mean, before[0]) and torch.equal(codec.latent_std, before[1])


def test_the_scale_does_not_change_what_is_drawn():
    codec, x = a_codec(), pictures(6)
    before = codec.encode(x)
    noise = normal(*before.mean.shape)
    images, noisy = codec.decode(before.mean), codec.decode(before.sample(noise=noise))
    codec.measure_latents(x)
    after = codec.encode(x)
    assert (codec.latent_std - 1).abs().max() > 0.1
    assert_close(codec.decode(after.mean), images, rtol=1e-4, atol=1e-5)
    assert_close(codec.decode(after.sample(noise=noise)), noisy, rtol=1e-4, atol=1e-5)


def test_the_posterior_is_scaled_like_the_latents():
    codec, x = a_codec(), pictures(6)
    before = distribution(codec.encode(x))
    codec.measure_latents(x)
    after, mean, std = distribution(codec.encode(x)), codec.latent_mean, codec.latent_std
    assert_close(after.mean, (before.mean - mean) / std, rtol=1e-4, atol=1e-5)
    assert_close(after.stddev, before.stddev / std, rtol=1e-4, atol=1e-5)


def test_the_scale_is_kept_with_the_weights_and_is_no_weight():
    codec = a_measured_codec()
    assert {"latent_mean", "latent_std"} <= set(codec.state_dict())
    assert not {"latent_mean", "latent_std"} & {name for name, _ in codec.named_parameters()}
    assert not any(value.requires_grad for value in codec.buffers())


def test_measuring_keeps_gradients_out_and_weights_as_they_were():
    codec = a_codec()
    before = [parameter.clone() for parameter in codec.parameters()]
    codec.measure_latents(pictures(4))
    assert all(torch.equal(p, old) and p.grad is None for p, old in zip(codec.parameters(), before, strict=True))
    codec.encode(pictures(2)).kl().sum().backward()  # and it can still be trained


def test_no_picture_makes_the_codecs_loss_overflow():
    codec, x = a_codec(), pictures(2)
    with torch.no_grad():
        codec.encoder[-1].bias[4:] = torch.tensor([500.0, -500.0, 500.0, -500.0])
    posterior = codec.encode(x)
    assert posterior.logvar.max() <= 10 and posterior.logvar.min() >= -20
    assert posterior.kl().isfinite().all() and posterior.sample().isfinite().all()


# --- on a GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@each_model
def test_a_model_gives_the_same_on_the_gpu(build):
    model, x = build(), pictures(3)
    here = model.encode(x)
    there = copy.deepcopy(model).to("cuda").encode(x.to("cuda"))
    assert_close(there.mean.cpu(), here.mean, rtol=1e-2, atol=1e-2)
    assert_close(there.kl().cpu(), here.kl(), rtol=1e-2, atol=1e-1)


@pytest.mark.gpu
def test_a_sample_on_the_gpu_has_the_noise_of_the_cpus_generator():
    mean, logvar = normal(3, 4), normal(3, 4, seed=1)
    here = Posterior(mean, logvar).sample(torch.Generator().manual_seed(0))
    there = Posterior(mean.to("cuda"), logvar.to("cuda")).sample(torch.Generator().manual_seed(0))
    assert_close(there.cpu(), here)


@pytest.mark.gpu
def test_latents_are_measured_on_the_gpu():
    codec, x = a_codec().to("cuda"), pictures(70).to("cuda")
    codec.measure_latents(x)
    latents = codec.encode(x).mean
    assert_close(latents.mean(dim=(0, 2, 3)).cpu(), torch.zeros(4), rtol=0, atol=1e-2)
    assert_close(latents.std(dim=(0, 2, 3)).cpu(), torch.ones(4), rtol=0, atol=1e-2)
