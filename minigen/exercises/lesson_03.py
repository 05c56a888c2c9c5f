"""Lesson 03: the two terms of the ELBO, their units, and what a latent space holds."""

import math

import torch

from minigen.exercises.frame import Exercise, mistake

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8"]


# 1. What a posterior costs


def kl_to_prior(mean, logvar):
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)  # one for each latent number
    return kl.flatten(1).sum(dim=1)  # [N]


def _kl_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "five posteriors of eight numbers": (
            torch.randn(5, 8, generator=generator),
            torch.randn(5, 8, generator=generator),
        ),
        "latents that are maps, [2,4,3,3]": (
            torch.randn(2, 4, 3, 3, generator=generator),
            torch.randn(2, 4, 3, 3, generator=generator) - 1,
        ),
        "posteriors that equal the prior": (torch.zeros(3, 4), torch.zeros(3, 4)),
    }


@mistake(
    "This is the average over the latent numbers. The costs of independent numbers add up: sum over them, or a "
    "latent of 64 numbers would cost no more than a latent of one."
)
def averaged_over_latents(mean, logvar):
    return kl_to_prior(mean, logvar) / mean[0].numel()


@mistake("One number for the whole batch; each picture has a posterior of its own, and a KL of its own: [N].")
def one_for_all(mean, logvar):
    return kl_to_prior(mean, logvar).sum()


@mistake("One number, the mean over the batch; each picture has a posterior of its own, and a KL of its own: [N].")
def mean_of_all(mean, logvar):
    return kl_to_prior(mean, logvar).mean()


@mistake(
    "Right for latents [N,D]. In a map [N,C,H,W], C is only one of three axes to be summed over: `flatten(1)` first."
)
def channels_only(mean, logvar):
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(dim=1)


@mistake(
    "`logvar` was taken for the logarithm of the standard deviation. It is that of the variance: the variance is "
    "exp(logvar), without a 2."
)
def log_of_the_deviation(mean, logvar):
    return kl_to_prior(mean, 2 * logvar)


@mistake(
    "The sign: a KL divergence is never negative. In the ELBO it is subtracted, so papers often show it with a minus."
)
def negated(mean, logvar):
    return -kl_to_prior(mean, logvar)


@mistake("Twice too much: the density of a normal distribution has 1/2 in its exponent, and so has its KL.")
def half_forgotten(mean, logvar):
    return 2 * kl_to_prior(mean, logvar)


@mistake("That is in bits; the course counts in nats, by the natural logarithm.")
def in_bits(mean, logvar):
    return kl_to_prior(mean, logvar) / math.log(2)


@mistake("The -1 is missing: a posterior that equals the prior (mean 0, logvar 0) says nothing and must cost 0.")
def one_forgotten(mean, logvar):
    return 0.5 * (mean.square() + logvar.exp() - logvar).flatten(1).sum(dim=1)


@mistake(
    "This is KL(prior || posterior), the other way round. The ELBO has KL(posterior || prior): the expectation is "
    "taken under the posterior, from which z is drawn."
)
def reversed_kl(mean, logvar):
    return 0.5 * ((1 + mean.square()) / logvar.exp() - 1 + logvar).flatten(1).sum(dim=1)


q1 = Exercise(
    question=(
        "Write `kl_to_prior(mean, logvar)`: the KL divergence of each picture's posterior, a normal distribution with "
        "independent numbers, from the prior N(0, I). mean and logvar are [N,...], with one axis or more of latent "
        "numbers; return one number in nats for each picture, [N]."
    ),
    reference=kl_to_prior,
    cases=_kl_cases,
    mistakes=[
        averaged_over_latents,
        one_for_all,
        mean_of_all,
        channels_only,
        log_of_the_deviation,
        negated,
        half_forgotten,
        in_bits,
        one_forgotten,
        reversed_kl,
    ],
    hints=[
        "For one number with mean m and variance v it is (m^2 + v - 1 - ln v) / 2.",
        "ln v is `logvar`, so v is `logvar.exp()`: the network gives the logarithm so that v is always positive.",
        "Sum over everything but the first axis: `.flatten(1).sum(dim=1)`.",
    ],
    praise="This is what it costs to say more about a picture than the prior already knows.",
    explanation=(
        "A mean away from 0 costs its square, and a variance away from 1 costs too: a small one because it is "
        "precise, a large one because it is wasteful. Only the posterior that says nothing is free."
    ),
)


# 2. A sample that lets gradients through


def sample_and_slopes(mean, logvar, noise):
    std = (0.5 * logvar).exp()
    z = mean + std * noise
    return z, torch.ones_like(mean), 0.5 * std * noise


def _sample_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    mean, logvar, noise = (torch.randn(3, 4, generator=generator) for _ in range(3))
    return {
        "three posteriors of four numbers": (mean, logvar, noise),
        "noise of 0": (mean.clone(), logvar.clone(), torch.zeros(3, 4)),
    }


@mistake(
    "The noise was multiplied by the variance. Its root, the standard deviation, is what stretches a normal number: "
    "exp(logvar / 2)."
)
def by_the_variance(mean, logvar, noise):
    return mean + logvar.exp() * noise, torch.ones_like(mean), logvar.exp() * noise


@mistake("The noise was multiplied by `logvar` itself, which is a logarithm and may be negative: exp(logvar / 2).")
def by_the_logarithm(mean, logvar, noise):
    return mean + logvar * noise, torch.ones_like(mean), noise


@mistake("The sample and its slope in the mean are right. exp(logvar / 2) has the derivative exp(logvar / 2) / 2.")
def half_forgotten_in_slope(mean, logvar, noise):
    z, of_mean, of_logvar = sample_and_slopes(mean, logvar, noise)
    return z, of_mean, 2 * of_logvar


@mistake(
    "The noise itself is the slope in the standard deviation; asked for is the slope in `logvar`, by the chain rule."
)
def slope_in_the_deviation(mean, logvar, noise):
    z, of_mean, _ = sample_and_slopes(mean, logvar, noise)
    return z, of_mean, noise


@mistake("The noise is given, so that you get the same sample each time; this one is drawn anew.")
def own_noise(mean, logvar, noise):
    drawn = torch.randn(mean.shape, generator=torch.Generator().manual_seed(0))  # as check() seeds it
    return sample_and_slopes(mean, logvar, drawn)


@mistake("The two slopes have changed places: the first is in the mean, the second in `logvar`.")
def swapped(mean, logvar, noise):
    z, of_mean, of_logvar = sample_and_slopes(mean, logvar, noise)
    return z, of_logvar, of_mean


@mistake(
    "Without noise, z is the mean whatever the variance. A decoder that never meets z beside the mean learns nothing "
    "about the space between the pictures: this is the plain autoencoder.",
    looks_like=lambda given, expected: not given[2].any() and expected[2].any(),
)
def mean_only(mean, logvar, noise):
    return mean, torch.ones_like(mean), torch.zeros_like(mean)


q2 = Exercise(
    question=(
        "Write `sample_and_slopes(mean, logvar, noise)`, all [N,D]: make z, a sample of N(mean, exp(logvar)), from "
        "noise of N(0, 1); return z, the derivative of each number of z in its mean, and its derivative in its logvar, "
        "[N,D] each. Work the two out on paper, or ask autograd."
    ),
    reference=sample_and_slopes,
    cases=_sample_cases,
    mistakes=[
        by_the_variance,
        by_the_logarithm,
        half_forgotten_in_slope,
        slope_in_the_deviation,
        own_noise,
        swapped,
        mean_only,
    ],
    hints=[
        "Stretch the noise to the right standard deviation, then shift it to the mean.",
        "The standard deviation is the root of the variance: exp(logvar) ** 0.5 = exp(logvar / 2).",
        "z = mean + exp(logvar / 2) * noise: for the derivatives, the noise is a constant like any other.",
    ],
    praise="Chance has become an input, and what is left between the encoder and z can be differentiated.",
    explanation=(
        "Both slopes exist because the noise was drawn outside. `torch.normal(mean, std)` would give the same "
        "distribution and no gradient: the encoder would never hear how its variance served the decoder."
    ),
)


# 3. The wrong weighting: which beta is it?


def effective_betas():
    return 3 * 32 * 32, 1 / 64, 3 * 32 * 32 / 64


@mistake(
    "All three are upside down. If the reconstruction is divided by 3072, multiply the whole loss by 3072: now the "
    "reconstruction is right, and beta is what stands at the KL."
)
def upside_down():
    return 1 / 3072, 64, 64 / 3072


@mistake("A picture of 32 x 32 pixels has three numbers in each pixel: 3072 in all.")
def channels_forgotten():
    return 1024, 1 / 64, 16


@mistake(
    "The first two are right. To average both is not the same as to sum both: one is divided by 3072, the other by 64."
)
def averages_cancel():
    return 3072, 1 / 64, 1


@mistake("The second is upside down: there the KL is too small, by 64, so that beta is below 1. The others are right.")
def second_upside_down():
    return 3072, 64, 48


@mistake("The third is upside down: averaging shrinks the reconstruction by 3072 and the KL only by 64.")
def third_upside_down():
    return 3072, 1 / 64, 1 / 48


@mistake("The first is upside down: with a small reconstruction term it is the KL that weighs too much.")
def first_upside_down():
    return 1 / 3072, 1 / 64, 48


@mistake("In the third, both terms shrink, so the two factors do not multiply: one is divided by the other.")
def multiplied():
    return 3072, 1 / 64, 3072 * 64


q3 = Exercise(
    question=(
        "Pictures of 3 x 32 x 32, 64 latent numbers. Three programs add up a reconstruction and a KL term, without a "
        "beta. The first averages the reconstruction term over C, H and W and sums the KL over the latent "
        "numbers; the second sums the reconstruction term and averages the KL; the third averages both. Which beta "
        "does each amount to, in the loss that sums both? Put three numbers into `effective_betas`, in parentheses."
    ),
    reference=effective_betas,
    mistakes=[
        upside_down,
        channels_forgotten,
        averages_cancel,
        second_upside_down,
        third_upside_down,
        first_upside_down,
        multiplied,
    ],
    hints=[
        "A mean is a sum divided by how many numbers there are: 3 * 32 * 32 in a picture, 64 in a latent.",
        "A constant factor in front of the whole loss changes nothing about where its minimum is.",
        "Multiply the first loss by 3072, so that its reconstruction term is a sum: what is now in front of the KL?",
    ],
    praise="You can now say in one number what a `.mean()` in the wrong place does: the first posterior collapses.",
    explanation=(
        "The first is beta = 3072: saying anything costs far more than it can ever win, so the posterior becomes the "
        "prior. The second is 1/64, nearer to a plain autoencoder, with holes between the pictures. The third, 48, is "
        "still far from the ELBO, and changes with the size of the picture."
    ),
    tolerance=1e-3,
)


# 4. Repair a loss


def nats_per_image(recon, x, mean, logvar, sigma):
    nats = (recon - x).square() / (2 * sigma**2) + math.log(sigma * math.sqrt(2 * math.pi))  # [N,C,H,W]
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)  # [N,D]
    return nats.flatten(1).sum(dim=1).mean(), kl.flatten(1).sum(dim=1).mean()


def _nats_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(4, 3, 4, 4, generator=generator) * 2 - 1
    recon = x + 0.3 * torch.randn(x.shape, generator=generator)
    mean, logvar = torch.randn(4, 5, generator=generator), torch.randn(4, 5, generator=generator)
    four = (recon, x, mean, logvar)
    return {
        "four pictures": (*(part.clone() for part in four), 0.4),
        "each of the four twice": (*(torch.cat([part, part]) for part in four), 0.4),
        "another sigma": (*(part.clone() for part in four), 1.5),
    }


def _terms(recon, x, mean, logvar, sigma):
    """Both terms before anything is summed: [N,C,H,W] and [N,D]."""
    nats = (recon - x).square() / (2 * sigma**2) + math.log(sigma * math.sqrt(2 * math.pi))
    return nats, 0.5 * (mean.square() + logvar.exp() - 1 - logvar)


@mistake(
    "Nothing has changed: the reconstruction is averaged over C, H and W as well as over N, and the KL is summed over "
    "N as well as over the latent numbers."
)
def unrepaired(recon, x, mean, logvar, sigma):
    nats, kl = _terms(recon, x, mean, logvar, sigma)
    return nats.mean(), kl.sum()


@mistake("The KL is right. The reconstruction is in nats per number, not per picture: sum over C, H and W.")
def recon_averaged(recon, x, mean, logvar, sigma):
    nats, kl = _terms(recon, x, mean, logvar, sigma)
    return nats.mean(), kl.sum(dim=1).mean()


@mistake("The reconstruction is right. The KL grows with the batch: sum it over the latent numbers, average it over N.")
def kl_summed(recon, x, mean, logvar, sigma):
    nats, kl = _terms(recon, x, mean, logvar, sigma)
    return nats.flatten(1).sum(dim=1).mean(), kl.sum()


@mistake("The reconstruction is right. The KL is averaged over the latent numbers too: sum over those.")
def kl_averaged(recon, x, mean, logvar, sigma):
    nats, kl = _terms(recon, x, mean, logvar, sigma)
    return nats.flatten(1).sum(dim=1).mean(), kl.mean()


@mistake("Both are averaged over everything: nats per number. Sum over the numbers of a picture or of a latent first.")
def both_averaged(recon, x, mean, logvar, sigma):
    nats, kl = _terms(recon, x, mean, logvar, sigma)
    return nats.mean(), kl.mean()


@mistake("Both are summed over N too: twice the batch, twice the loss. Sum within a picture, average over pictures.")
def both_summed(recon, x, mean, logvar, sigma):
    nats, kl = _terms(recon, x, mean, logvar, sigma)
    return nats.sum(), kl.sum()


@mistake("A value for each picture, [N]; the loss wants one number, the mean over N.")
def not_averaged(recon, x, mean, logvar, sigma):
    nats, kl = _terms(recon, x, mean, logvar, sigma)
    return nats.flatten(1).sum(dim=1), kl.sum(dim=1)


@mistake(
    "The KL is right. The log(sigma sqrt(2 pi)) was added once a picture, and every number has a density of its own: "
    "it comes C * H * W times."
)
def constant_once(recon, x, mean, logvar, sigma):
    nats, kl = _terms(recon, x, mean, logvar, sigma)
    constant = math.log(sigma * math.sqrt(2 * math.pi))
    return (nats - constant).flatten(1).sum(dim=1).mean() + constant, kl.sum(dim=1).mean()


@mistake(
    "The KL is right. The log(sigma sqrt(2 pi)) is gone. It is constant while you train, but without it the number is "
    "not the nats of a density, and two runs with different sigma cannot be compared."
)
def constant_dropped(recon, x, mean, logvar, sigma):
    nats, kl = _terms(recon, x, mean, logvar, sigma)
    constant = math.log(sigma * math.sqrt(2 * math.pi))
    return (nats - constant).flatten(1).sum(dim=1).mean(), kl.sum(dim=1).mean()


q4 = Exercise(
    question=(
        "Repair `nats_per_image(recon, x, mean, logvar, sigma)`. It returns the two terms of the loss for pictures "
        "[N,C,H,W] and posteriors [N,D]: for each number of a picture (recon - x)^2 / (2 sigma^2) + log(sigma sqrt(2 "
        "pi)), for each latent number the KL. Both should be in nats per picture: summed over the picture or the "
        "latent, and averaged over N. As it stands, one term is averaged over everything and the other summed."
    ),
    reference=nats_per_image,
    cases=_nats_cases,
    mistakes=[
        unrepaired,
        recon_averaged,
        kl_summed,
        kl_averaged,
        both_averaged,
        both_summed,
        not_averaged,
        constant_once,
        constant_dropped,
    ],
    hints=[
        "Ask of each term: what happens to it with the same pictures twice in the batch? Nothing should.",
        "And with a picture of twice as many pixels? Then the reconstruction term should double.",
        "`nats.flatten(1).sum(dim=1)` is [N], the nats of each picture; its mean is the term.",
    ],
    praise="Both terms count in one currency now, and beta = 1 means what the theory says it does.",
    explanation=(
        "`mse_loss` averages over all it sees, and many a KL is summed over the batch; each line looks right. "
        "Together they amount to a beta that depends on the size of the picture and on the batch, and nothing fails."
    ),
)


# 5. Reading two runs


def nats_ahead():
    return (63 - 0.1 * 380 + 380) - 131


@mistake(
    "These are the losses compared, and each weighs the KL differently: they are not the same quantity. Take the "
    "bounds: reconstruction plus the whole KL."
)
def losses_compared():
    return 63 - 131


@mistake("These are the losses compared, with the sign turned: the bounds are reconstruction plus the whole KL.")
def losses_compared_turned():
    return 131 - 63


@mistake("A tenth of the KL is already in the loss of 63: take that out before you add the whole of it.")
def kl_counted_twice():
    return 63 + 380 - 131


@mistake(
    "The KL is counted too often in both bounds: a loss already holds beta times the KL, all of it where beta is 1."
)
def kl_counted_twice_in_both():
    return (63 + 380) - (131 + 52)


@mistake("At beta 1 the loss is the bound, 131, with the KL in it already.")
def second_counted_twice():
    return (63 - 38 + 380) - (131 + 52)


@mistake(
    "These are the reconstruction terms alone. Run A's is better, and it pays for that with its latents, which say 380 "
    "nats about each picture."
)
def reconstructions():
    return (63 - 38) - (131 - 52)


@mistake("These are the reconstruction terms alone; the bound holds the KL too.")
def reconstructions_turned():
    return (131 - 52) - (63 - 38)


@mistake("The sign: run A's bound is 405 and run B's 131, and the lower one is ahead, so B is, by A minus B.")
def negated_lead():
    return 131 - 405


@mistake("That is run A's bound. How far below it is run B's?")
def first_bound():
    return 405


q5 = Exercise(
    question=(
        "Two runs on the same pictures. Run A, with beta 0.1, ends at a loss of 63 nats per picture, with a KL of 380. "
        "Run B, with beta 1, ends at a loss of 131, with a KL of 52. Minus the ELBO bounds -log p(x) from above and "
        "is the loss with beta 1. By how many nats per picture is run B's bound lower than run A's? Put the "
        "number into `nats_ahead`, negative if it is higher."
    ),
    reference=nats_ahead,
    mistakes=[
        losses_compared,
        losses_compared_turned,
        kl_counted_twice,
        kl_counted_twice_in_both,
        second_counted_twice,
        reconstructions,
        reconstructions_turned,
        negated_lead,
        first_bound,
    ],
    hints=[
        "loss = reconstruction + beta * KL: first find the reconstruction term of each run.",
        "Run A: 63 - 0.1 * 380 is its reconstruction term. Now add the whole KL.",
    ],
    praise="The run with the lower loss has the worse bound: never compare losses that were weighed differently.",
    explanation=(
        "Run A: 63 - 38 = 25 for the reconstruction, and 25 + 380 = 405. Run B: 131, as it stands. B is ahead by 274. "
        "A's reconstructions are sharper, which may be what you want; but its posteriors are so far from the prior "
        "that what is drawn from the prior will not look like anything."
    ),
)


# 6. Which latents speak


def active_latents(mean, logvar, threshold):
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(dim=0)  # [D], over the pictures
    return int((kl > threshold).sum()), kl.sum().item() / math.log(2)


def _active_cases() -> dict[str, tuple]:
    mean, logvar = torch.zeros(8, 7), torch.zeros(8, 7)
    mean[:, 0], logvar[:, 0] = torch.tensor([3.0, -3.0]).repeat(4), -4.0
    logvar[:, 1] = -4.0  # precise, and always the same
    mean[0, 3], mean[1, 6] = 1.2, -1.2  # each speaks of one picture only
    mean[:, 4], mean[:, 5] = 0.3, 0.5
    return {
        "seven latents, most of them silent": (mean, logvar, 0.25),
        "a collapsed posterior": (torch.full((8, 7), 1e-3), torch.zeros(8, 7), 0.25),
    }


@mistake("The count is right. The rate is in nats; a bit is ln 2 = 0.69 nats, so there are more bits than nats.")
def rate_in_nats(mean, logvar, threshold):
    count, bits = active_latents(mean, logvar, threshold)
    return count, bits * math.log(2)


@mistake(
    "The count is right. To get bits from nats, divide by ln 2; you have multiplied, and a bit is less than a nat."
)
def times_ln_2(mean, logvar, threshold):
    count, bits = active_latents(mean, logvar, threshold)
    return count, bits * math.log(2) ** 2


@mistake("The count is right. The rate of a picture is the sum over all its latents, the quiet ones too; this is less.")
def rate_of_the_active(mean, logvar, threshold):
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(dim=0)
    return active_latents(mean, logvar, threshold)[0], kl[kl > threshold].sum().item() / math.log(2)


@mistake("The count is right. That is the rate of one latent on average; a picture needs all D of them.")
def rate_of_one(mean, logvar, threshold):
    count, bits = active_latents(mean, logvar, threshold)
    return count, bits / mean.shape[1]


@mistake("The count is right. That is the rate of all N pictures together; give that of one, on average.")
def rate_of_all_pictures(mean, logvar, threshold):
    count, bits = active_latents(mean, logvar, threshold)
    return count, bits * len(mean)


@mistake(
    "A single picture was enough to call a latent active; it is the mean over the pictures that must exceed the "
    "threshold."
)
def any_picture(mean, logvar, threshold):
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
    return int((kl > threshold).any(dim=0).sum()), active_latents(mean, logvar, threshold)[1]


@mistake(
    "The KL was summed over the pictures, so that with enough of them every latent is active: take the mean over N."
)
def summed_over_pictures(mean, logvar, threshold):
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
    return int((kl.sum(dim=0) > threshold).sum()), active_latents(mean, logvar, threshold)[1]


@mistake(
    "The means alone were looked at; a latent also speaks by being precise, with a variance far below 1: take the KL."
)
def by_the_mean(mean, logvar, threshold):
    return int((mean.abs().mean(dim=0) > threshold).sum()), active_latents(mean, logvar, threshold)[1]


@mistake("Those are the silent ones; count the latents whose mean KL is above the threshold.")
def silent(mean, logvar, threshold):
    count, bits = active_latents(mean, logvar, threshold)
    return mean.shape[1] - count, bits


@mistake("That counts pictures; the KL must be averaged over N (dim=0), so that one number is left for each latent.")
def pictures_counted(mean, logvar, threshold):
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
    return int((kl.mean(dim=1) > threshold).sum()), active_latents(mean, logvar, threshold)[1]


q6 = Exercise(
    question=(
        "Write `active_latents(mean, logvar, threshold)` for the posteriors [N,D] of N pictures. Return how many of D "
        "latent numbers have a KL to the prior N(0, 1), averaged over the pictures, above `threshold` nats; and the "
        "rate, the KL of a whole latent averaged over the pictures, in bits per picture."
    ),
    reference=active_latents,
    cases=_active_cases,
    mistakes=[
        rate_in_nats,
        times_ln_2,
        rate_of_the_active,
        rate_of_one,
        rate_of_all_pictures,
        any_picture,
        summed_over_pictures,
        by_the_mean,
        silent,
        pictures_counted,
    ],
    hints=[
        "The KL of each number is (mean^2 + exp(logvar) - 1 - logvar) / 2, [N,D]; average it over the pictures: [D].",
        "Count where that exceeds the threshold, and sum it for the nats of a picture.",
        "e = 2 ** 1.44: one nat is 1 / ln 2 = 1.44 bits.",
    ],
    praise="You see a collapse where it happens, latent by latent, and what a picture costs to send.",
    explanation=(
        "A VAE often uses a handful of its latents and leaves the rest at the prior, where they cost nothing: that is "
        "thrift. It is a collapse when none is left, the rate is 0 bits and every reconstruction is the same picture."
    ),
    tolerance=1e-3,
)


# 7. A slider that moves one thing


def clean_direction(latents, has, other):
    steps = []
    for group in (other, ~other):  # alike in the other attribute
        steps.append(latents[has & group].mean(dim=0) - latents[~has & group].mean(dim=0))  # [D]
    return (steps[0] + steps[1]) / 2


def _direction_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    has = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0]).bool()
    other = torch.tensor([1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0]).bool()  # mostly together with the first
    latents = 0.3 * torch.randn(13, 4, generator=generator)
    latents[has, 0] += 2
    latents[other, 1] += 3
    return {"big objects that mostly stand on blue": (latents, has, other)}


@mistake(
    "This is the plain difference of means. Most pictures with the attribute have the other one too, so the slider "
    "moves both: whoever asks for a big object gets a blue background with it. Compare pictures alike in `other`."
)
def plain_difference(latents, has, other):
    return latents[has].mean(dim=0) - latents[~has].mean(dim=0)


@mistake("The other way round: it should lead from the pictures without the attribute to those that have it.")
def backwards(latents, has, other):
    return -clean_direction(latents, has, other)


@mistake("That is the direction of the other attribute, among pictures alike in the first: change them round.")
def of_the_other(latents, has, other):
    return clean_direction(latents, other, has)


@mistake("Only the pictures that have the other attribute were compared; those without it count as much.")
def within_one_group(latents, has, other):
    return latents[has & other].mean(dim=0) - latents[~has & other].mean(dim=0)


@mistake("Only the pictures that lack the other attribute were compared; those with it count as much.")
def within_other_group(latents, has, other):
    return latents[has & ~other].mean(dim=0) - latents[~has & ~other].mean(dim=0)


@mistake("That is the sum of the two steps, twice as long as one: take their mean.")
def twice_as_long(latents, has, other):
    return 2 * clean_direction(latents, has, other)


@mistake(
    "The two steps were weighed by how many pictures are in each group; the question asks for their plain mean, in "
    "which neither counts more."
)
def weighed_by_size(latents, has, other):
    share = other.float().mean()
    within, without = within_one_group.example(latents, has, other), within_other_group.example(latents, has, other)
    return share * within + (1 - share) * without


@mistake(
    "The direction is right and its length is 1; leave it as long as it is, so that a step of 1 adds the attribute."
)
def of_length_one(latents, has, other):
    direction = clean_direction(latents, has, other)
    return direction / direction.norm()


@mistake("That is where the pictures with the attribute lie, not the way there: subtract where those without it lie.")
def place(latents, has, other):
    return (latents[has & other].mean(dim=0) + latents[has & ~other].mean(dim=0)) / 2


q7 = Exercise(
    question=(
        "Write `clean_direction(latents, has, other)`: latents [N,D], and two attributes that are True or False for "
        "each picture, `has` [N] and `other` [N]. Return the step [D] that adds the first and leaves the other: "
        "the mean latent with it minus the mean latent without it, once among the pictures where `other` is True, once "
        "where it is False; then the mean of the two steps. No group is empty."
    ),
    reference=clean_direction,
    cases=_direction_cases,
    mistakes=[
        plain_difference,
        backwards,
        of_the_other,
        within_one_group,
        within_other_group,
        twice_as_long,
        weighed_by_size,
        of_length_one,
        place,
    ],
    hints=[
        "`latents[has & other].mean(dim=0)` is the mean latent of the pictures that have both, [D].",
        "There are four groups: with both, with one, with the other, with neither. You need two differences.",
        "`~has` is where the attribute is missing: `latents[~has & other]`.",
    ],
    praise="Your slider says what it moves, and moves only that.",
    explanation=(
        "A difference of means holds whatever differs between the two groups, wanted or not. In data where big objects "
        "often stand on blue, 'big' becomes 'big and blue'. On faces, glasses have brought old age along (Shen et "
        "al., 2020)."
    ),
)


# 8. A reconstruction in decibels


def psnr_db(recon, x):
    mse = ((recon - x) / 2).square().flatten(1).mean(dim=1)  # [N]; halved, as [-1,1] is twice as wide as [0,1]
    return -10 * mse.log10()


def _psnr_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, 3, 4, 4, generator=generator) * 1.6 - 0.8
    error = torch.rand(x.shape, generator=generator) - 0.5
    good, bad = x + 0.02 * error, x + 0.2 * error
    return {"three good pictures": (good, x), "one good and two bad ones": (torch.cat([good[:1], bad[1:]]), x.clone())}


@mistake(
    "6 dB too low: the error was measured on [-1,1], which is twice as wide as [0,1], so that the squares are four "
    "times as large."
)
def wide_range(recon, x):
    return -10 * (recon - x).square().flatten(1).mean(dim=1).log10()


@mistake("6 dB too high: the pictures go from -1 to 1, so the error must be halved once, and not the range as well.")
def halved_twice(recon, x):
    return -10 * ((recon - x) / 4).square().flatten(1).mean(dim=1).log10()


@mistake("One number for the whole batch: each picture has a PSNR of its own, [N].")
def whole_batch(recon, x):
    return -10 * ((recon - x) / 2).square().mean().log10()


@mistake(
    "One number, the mean over the pictures: each picture has a PSNR of its own, [N]. A single perfect one would make "
    "the mean infinite."
)
def mean_over_pictures(recon, x):
    return psnr_db(recon, x).mean()


@mistake("Twice too many dB: 20 goes with the root of the mean squared error; with the error squared it is 10.")
def twenty(recon, x):
    return 2 * psnr_db(recon, x)


@mistake("That is the natural logarithm; a decibel is a tenth of a power of ten: `log10`.")
def natural_logarithm(recon, x):
    return psnr_db(recon, x) * math.log(10)


@mistake("The sign: a smaller error is a larger PSNR, so it is minus the logarithm.")
def more_is_worse(recon, x):
    return -psnr_db(recon, x)


@mistake("That is the logarithm of a sum of squares; the mean over C, H and W makes pictures of any size comparable.")
def sum_of_squares(recon, x):
    return -10 * ((recon - x) / 2).square().flatten(1).sum(dim=1).log10()


@mistake("The error was averaged without its sign; PSNR averages its square, in which large errors count for more.")
def absolute_error(recon, x):
    return -20 * ((recon - x) / 2).abs().flatten(1).mean(dim=1).log10()


q8 = Exercise(
    question=(
        "Write `psnr_db(recon, x)`: the peak signal-to-noise ratio in dB of each picture, [N,3,H,W] -> [N]: -10 log10 "
        "of its mean squared error on the range [0,1]. Both come from a model, in [-1,1]."
    ),
    reference=psnr_db,
    cases=_psnr_cases,
    mistakes=[
        wide_range,
        halved_twice,
        whole_batch,
        mean_over_pictures,
        twenty,
        natural_logarithm,
        more_is_worse,
        sum_of_squares,
        absolute_error,
    ],
    hints=[
        "From [-1,1] to [0,1] is (x + 1) / 2. What becomes of a difference of two pictures?",
        "One mean squared error for each picture: `.square().flatten(1).mean(dim=1)`.",
        "Then `-10 * mse.log10()`.",
    ],
    praise="Whenever someone reports dB, you know to ask: on which range, and averaged how?",
    explanation=(
        "Half the error is 6 dB more, a tenth of it 20 dB. An error of one step in 256 everywhere is 48 dB. A range "
        "mistaken is worth 6 dB: nobody sees it in the pictures, everybody in the table."
    ),
)
