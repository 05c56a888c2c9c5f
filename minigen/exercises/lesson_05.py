"""Lesson 05: noise in closed form, one prediction in three dresses, a step of a sampler, guidance, and its times."""

import torch

from minigen.exercises.frame import Exercise, mistake

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8"]


def _schedule(num_train_steps: int = 50) -> torch.Tensor:
    """alphas_cumprod [T] of DDPM's schedule: betas in a straight line."""
    betas = torch.linspace(0.1, 20, num_train_steps, dtype=torch.float64) / num_train_steps
    return (1 - betas).cumprod(dim=0).float()


def _wide(c):
    return c.view(-1, 1, 1, 1)  # [N] -> [N,1,1,1]


def _normal(generator, *shape):
    return torch.randn(shape, generator=generator)


# 1. All the noise at once


def add_noise(x0, noise, t, alphas_cumprod):
    squared = alphas_cumprod[t].view(-1, 1, 1, 1)  # [N,1,1,1]
    return squared.sqrt() * x0 + (1 - squared).sqrt() * noise  # [N,C,H,W]


def _noise_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "four pictures of 5 x 4 pixels": (  # as many pictures as columns: [N] would fit along the width
            _normal(generator, 4, 3, 5, 4),
            _normal(generator, 4, 3, 5, 4),
            torch.tensor([25, 4, 12, 38]),
            _schedule(),
        ),
        "two pictures, at the first step and at the last": (
            _normal(generator, 2, 3, 4, 6),
            _normal(generator, 2, 3, 4, 6),
            torch.tensor([0, 49]),
            _schedule(),
        ),
    }


@mistake(
    "Both weights are those of the variances. Noise multiplied by c has c^2 times the variance: take the root of "
    "alphas_cumprod and of 1 - alphas_cumprod."
)
def variances(x0, noise, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return squared * x0 + (1 - squared) * noise


@mistake(
    "The picture is right. The noise was multiplied by its variance, 1 - alphas_cumprod; what stretches a normal "
    "number is the root of it, the standard deviation."
)
def noise_by_variance(x0, noise, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return squared.sqrt() * x0 + (1 - squared) * noise


@mistake("The noise is right. The picture is multiplied by the root of alphas_cumprod, not by alphas_cumprod itself.")
def picture_by_variance(x0, noise, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return squared * x0 + (1 - squared).sqrt() * noise


@mistake(
    "alphas_cumprod was taken for alpha itself, and squared once more. It is alpha^2, so that sigma^2 is "
    "1 - alphas_cumprod."
)
def squared_again(x0, noise, t, alphas_cumprod):
    alpha = _wide(alphas_cumprod[t])
    return alpha * x0 + (1 - alpha.square()).sqrt() * noise


@mistake(
    "The two weights add up to 1, as in a blend of two pictures. Here their squares do: variances add up, and "
    "deviations do not."
)
def blended(x0, noise, t, alphas_cumprod):
    alpha = _wide(alphas_cumprod[t].sqrt())
    return alpha * x0 + (1 - alpha) * noise


@mistake("The weights have changed places: at t = 0 hardly any noise is in the picture, at T - 1 hardly anything else.")
def weights_swapped(x0, noise, t, alphas_cumprod):
    return add_noise(noise, x0, t, alphas_cumprod)


@mistake(
    "The noise is right, and the picture was left at full strength. It fades as the noise grows, so that a picture of "
    "variance 1 keeps the variance 1."
)
def picture_not_faded(x0, noise, t, alphas_cumprod):
    return x0 + _wide(1 - alphas_cumprod[t]).sqrt() * noise


def _betas(alphas_cumprod):
    before = torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])
    return 1 - alphas_cumprod / before


@mistake(
    "That is the noise of the single step t, with beta alone. x_t has the noise of all steps from 0 to t in it: take "
    "alphas_cumprod as it is."
)
def single_step(x0, noise, t, alphas_cumprod):
    beta = _wide(_betas(alphas_cumprod)[t])
    return (1 - beta).sqrt() * x0 + beta.sqrt() * noise


@mistake(
    "That is the noise of the single step t, and multiplied by beta instead of its root. x_t has the noise of all "
    "steps in it, and deviations for weights: the roots of alphas_cumprod and of 1 - alphas_cumprod."
)
def single_step_by_beta(x0, noise, t, alphas_cumprod):
    beta = _wide(_betas(alphas_cumprod)[t])
    return (1 - beta).sqrt() * x0 + beta * noise


@mistake(
    "The noise was subtracted. Its distribution is the same, but the network learns which noise was added: add it."
)
def noise_subtracted(x0, noise, t, alphas_cumprod):
    return add_noise(x0, -noise, t, alphas_cumprod)


@mistake(
    "This is one step too early: the steps count from 0 here, so that the weights of step t are at alphas_cumprod[t]. "
    "In the paper they count from 1."
)
def one_early(x0, noise, t, alphas_cumprod):
    return add_noise(x0, noise, t - 1, alphas_cumprod)


@mistake(
    "There are as many pictures as columns, and the weights [N] were laid along the width: each column has a time of "
    "its own. Make them [N,1,1,1] first."
)
def along_the_width(x0, noise, t, alphas_cumprod):
    squared = alphas_cumprod[t]
    return squared.sqrt() * x0 + (1 - squared).sqrt() * noise


@mistake("All pictures got the time of the first; each has its own, `t` is [N].")
def first_time_for_all(x0, noise, t, alphas_cumprod):
    return add_noise(x0, noise, t[:1].expand(len(x0)), alphas_cumprod)


@mistake("The noise is given, so that the network can be asked for it afterwards; this one is drawn anew.")
def drawn_anew(x0, noise, t, alphas_cumprod):
    drawn = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))  # as check() seeds it
    return add_noise(x0, drawn, t, alphas_cumprod)


q1 = Exercise(
    question=(
        "Write `add_noise(x0, noise, t, alphas_cumprod)`: pictures x0 and noise of N(0, 1), both [N,C,H,W]; times t "
        "[N], whole numbers from 0 to T - 1, one for each picture; alphas_cumprod [T]. Return x_t [N,C,H,W]: given "
        "x0, it is normal with mean sqrt(alphas_cumprod) x0 and variance 1 - alphas_cumprod, each taken at t."
    ),
    reference=add_noise,
    cases=_noise_cases,
    mistakes=[
        variances,
        noise_by_variance,
        picture_by_variance,
        squared_again,
        blended,
        weights_swapped,
        picture_not_faded,
        single_step,
        single_step_by_beta,
        noise_subtracted,
        one_early,
        along_the_width,
        first_time_for_all,
        drawn_anew,
    ],
    hints=[
        "`alphas_cumprod[t]` is [N], one number for each picture; `.view(-1, 1, 1, 1)` lets it multiply [N,C,H,W].",
        "Noise of variance 1, multiplied by c, has the variance c^2: which c gives 1 - alphas_cumprod?",
        "x_t = alpha x0 + sigma noise, with alpha the root of alphas_cumprod, and alpha^2 + sigma^2 = 1.",
    ],
    praise="Any step of the way to noise is one line now, so training never has to walk there.",
    explanation=(
        "A sum of normal numbers is normal, and its variance the sum of theirs: so all the small steps up to t amount "
        "to one large one. With beta or with a variance in place of its root the picture still looks noisy, "
        "and nothing fails: only the measured mean and variance tell."
    ),
)


# 2. What is left of the picture


def to_alphas_cumprod(betas):
    return (1 - betas).cumprod(dim=0)  # [T]


def _beta_cases() -> dict[str, tuple]:
    return {
        "five large betas": (torch.tensor([0.1, 0.3, 0.2, 0.5, 0.4]),),
        "the same beta at eight steps": (torch.full((8,), 0.05),),
        "DDPM's thousand": (torch.linspace(1e-4, 0.02, 1000),),
    }


@mistake(
    "The betas were added up and the sum taken from 1. That is nearly right while all of it is small, and soon "
    "negative: each step keeps a share of what the step before has left, and shares are multiplied."
)
def one_minus_the_sum(betas):
    return 1 - betas.cumsum(dim=0)


@mistake("That is the product of the betas. What a step keeps of the picture's variance is 1 - beta: multiply those.")
def product_of_betas(betas):
    return betas.cumprod(dim=0)


@mistake("That is the sum of the betas. Each step keeps the share 1 - beta; the shares are multiplied up to step t.")
def sum_of_betas(betas):
    return betas.cumsum(dim=0)


@mistake("The shares 1 - beta were added up; they are shares of what is left, so multiply them: `cumprod`.")
def sum_of_alphas(betas):
    return (1 - betas).cumsum(dim=0)


@mistake(
    "One step late: the first number is 1, as if step 0 added no noise, and the last beta is never used. "
    "alphas_cumprod[t] has the steps from 0 to t in it, t included."
)
def starts_at_one(betas):
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(dim=0)[:-1]])


@mistake(
    "One number too many: the leading 1 is the picture itself, before any step. There are T steps, and the first "
    "number is 1 - betas[0]."
)
def with_the_picture(betas):
    return torch.cat([betas.new_ones(1), (1 - betas).cumprod(dim=0)])


@mistake("One step early: the first beta was left out, and there is one number too few.")
def first_left_out(betas):
    return (1 - betas[1:]).cumprod(dim=0)


@mistake("One step early: the first beta was left out, so that step 0 already has the share of step 1 in it.")
def first_left_out_and_filled(betas):
    alphas = 1 - betas
    return torch.cat([alphas[1:], alphas[-1:]]).cumprod(dim=0)


@mistake("That is what each single step keeps, 1 - beta: the product over all steps up to t is still missing.")
def single_alphas(betas):
    return 1 - betas


@mistake("That is the variance of the noise, 1 - alphas_cumprod; asked for is what is left of the picture.")
def noise_variance(betas):
    return 1 - (1 - betas).cumprod(dim=0)


@mistake(
    "That is alpha, the weight of the picture. alphas_cumprod is alpha^2, its share of the variance: no root is taken "
    "here."
)
def rooted_alphas(betas):
    return (1 - betas).sqrt().cumprod(dim=0)


@mistake("beta is a variance already: it is not squared before it is taken from 1.")
def betas_squared(betas):
    return (1 - betas.square()).cumprod(dim=0)


@mistake("beta is a variance, and the weight of a step's noise is its root. The share of the picture is 1 - beta.")
def betas_rooted(betas):
    return (1 - betas.sqrt()).cumprod(dim=0)


@mistake("All T shares in one product, which is the last number; asked for is the product up to each t, [T].")
def total_product(betas):
    return (1 - betas).prod()


@mistake("Multiplied from the end: step 0 has all betas in it, and the last step only its own.")
def from_the_end(betas):
    return (1 - betas).flip(0).cumprod(dim=0).flip(0)


@mistake(
    "The exponential of minus the sum: that is the limit of infinitely small steps, and close while the betas are "
    "small. A step of beta keeps exactly 1 - beta."
)
def continuous(betas):
    return (-betas.cumsum(dim=0)).exp()


@mistake("Each share was raised to a power, as if all steps up to t had the same beta; each has its own.")
def as_a_power(betas):
    return (1 - betas) ** torch.arange(1, len(betas) + 1)


q2 = Exercise(
    question=(
        "Write `to_alphas_cumprod(betas)`, [T] -> [T]. Step t makes x_t = sqrt(1 - betas[t]) x_before + "
        "sqrt(betas[t]) noise, and step 0 begins with the picture x0. Where x0 has the variance 1, so has x_t; return "
        "for each t the share alpha^2 that x0 has in it, after all steps from 0 to t."
    ),
    reference=to_alphas_cumprod,
    cases=_beta_cases,
    mistakes=[
        one_minus_the_sum,
        product_of_betas,
        sum_of_betas,
        sum_of_alphas,
        starts_at_one,
        with_the_picture,
        first_left_out,
        first_left_out_and_filled,
        single_alphas,
        noise_variance,
        rooted_alphas,
        betas_squared,
        betas_rooted,
        total_product,
        from_the_end,
        continuous,
        as_a_power,
    ],
    hints=[
        "By hand: x_1 = sqrt(1 - b1) (sqrt(1 - b0) x0 + sqrt(b0) noise) + sqrt(b1) noise. What stands before x0?",
        "The weights of x0 are multiplied, step by step; so are their squares, 1 - beta.",
        "`cumprod(dim=0)` gives the product of everything up to and with each place.",
    ],
    praise="A thousand small steps have become one number for each t: that is all the closed form needs.",
    explanation=(
        "The name says it: alpha_t is 1 - beta_t in the DDPM paper, and this is its cumulative product. With a "
        "thousand factors near 1, it is worth computing in 64 bits, as the package does."
    ),
)


# 3. The picture behind a prediction of noise


def x0_from_epsilon(x_t, epsilon, t, alphas_cumprod):
    squared = alphas_cumprod[t].view(-1, 1, 1, 1)  # [N,1,1,1]
    return (x_t - (1 - squared).sqrt() * epsilon) / squared.sqrt()  # [N,C,H,W]


def _epsilon_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "three pictures at three times": (
            _normal(generator, 3, 3, 4, 5),
            _normal(generator, 3, 3, 4, 5),
            torch.tensor([10, 20, 30]),
            _schedule(),
        ),
        "two pictures, at the first step and late": (
            _normal(generator, 2, 3, 4, 5),
            _normal(generator, 2, 3, 4, 5),
            torch.tensor([0, 40]),
            _schedule(),
        ),
    }


@mistake("The noise is gone, and the picture is still faded by alpha, the root of alphas_cumprod: divide by it.")
def still_faded(x_t, epsilon, t, alphas_cumprod):
    return x_t - _wide(1 - alphas_cumprod[t]).sqrt() * epsilon


@mistake("The whole epsilon was subtracted. Only sigma times epsilon is in x_t, the root of 1 - alphas_cumprod.")
def whole_epsilon(x_t, epsilon, t, alphas_cumprod):
    return (x_t - epsilon) / _wide(alphas_cumprod[t]).sqrt()


@mistake("All of epsilon was subtracted, and nothing divided: x_t = alpha x0 + sigma epsilon is to be solved for x0.")
def plain_difference(x_t, epsilon, t, alphas_cumprod):
    return x_t - epsilon


@mistake("Variances for deviations, twice: x_t was made with the roots of both, so take the roots here too.")
def undone_by_variances(x_t, epsilon, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return (x_t - (1 - squared) * epsilon) / squared


@mistake("Divided by alpha as you should; the noise has the weight sigma, the root of 1 - alphas_cumprod.")
def noise_undone_by_variance(x_t, epsilon, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return (x_t - (1 - squared) * epsilon) / squared.sqrt()


@mistake("The noise is taken out as it should; then divide by alpha, the root of alphas_cumprod.")
def divided_by_variance(x_t, epsilon, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return (x_t - (1 - squared).sqrt() * epsilon) / squared


@mistake("The sign: the noise was added on the way there, so on the way back it is subtracted.")
def noise_added_again(x_t, epsilon, t, alphas_cumprod):
    return x0_from_epsilon(x_t, -epsilon, t, alphas_cumprod)


@mistake("Only x_t was divided by alpha. The noise stands in x_t, so it is subtracted first, and then all is divided.")
def noise_not_divided(x_t, epsilon, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return x_t / squared.sqrt() - (1 - squared).sqrt() * epsilon


@mistake("Only the noise was divided by alpha: brackets are missing, (x_t - sigma epsilon) / alpha.")
def brackets_missing(x_t, epsilon, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return x_t - (1 - squared).sqrt() * epsilon / squared.sqrt()


@mistake("alpha and sigma have changed places: alpha goes with the picture, sigma with the noise.")
def coefficients_swapped(x_t, epsilon, t, alphas_cumprod):
    return x0_from_epsilon(x_t, epsilon, t, 1 - alphas_cumprod)


@mistake("Multiplied by alpha instead of divided: on the way there the picture was multiplied by it.")
def faded_again(x_t, epsilon, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return (x_t - (1 - squared).sqrt() * epsilon) * squared.sqrt()


@mistake("That adds more noise to x_t; solve x_t = alpha x0 + sigma epsilon for x0 instead.")
def noisier_still(x_t, epsilon, t, alphas_cumprod):
    return add_noise(x_t, epsilon, t, alphas_cumprod)


@mistake("That goes back by one step of DDPM only, by its beta. Asked for is the whole way, to x0.")
def back_by_one_step(x_t, epsilon, t, alphas_cumprod):
    beta, squared = _wide(_betas(alphas_cumprod)[t]), _wide(alphas_cumprod[t])
    return (x_t - beta / (1 - squared).sqrt() * epsilon) / (1 - beta).sqrt()


@mistake(
    "Right where x0 lies in [-1,1]; elsewhere it was clamped. A sampler may want that for pixels, but x0 can be a "
    "latent too, and has no such bounds."
)
def clamped(x_t, epsilon, t, alphas_cumprod):
    return x0_from_epsilon(x_t, epsilon, t, alphas_cumprod).clamp(-1, 1)


q3 = Exercise(
    question=(
        "Write `x0_from_epsilon(x_t, epsilon, t, alphas_cumprod)`: a network has seen the noisy pictures x_t "
        "[N,C,H,W] at times t [N], and says that the noise in them is epsilon [N,C,H,W]. Return the pictures x0 "
        "[N,C,H,W] that this amounts to, not clamped; alphas_cumprod is [T]."
    ),
    reference=x0_from_epsilon,
    cases=_epsilon_cases,
    mistakes=[
        still_faded,
        whole_epsilon,
        plain_difference,
        undone_by_variances,
        noise_undone_by_variance,
        divided_by_variance,
        noise_added_again,
        noise_not_divided,
        brackets_missing,
        coefficients_swapped,
        faded_again,
        noisier_still,
        back_by_one_step,
        clamped,
    ],
    hints=[
        "x_t = alpha x0 + sigma epsilon, and all but x0 is known.",
        "Subtract sigma epsilon first; what is left is alpha x0.",
        "alpha is the root of alphas_cumprod[t], sigma the root of 1 - alphas_cumprod[t], each as [N,1,1,1].",
    ],
    praise="Whoever names the noise has named the picture: you can look at what the network believes at any step.",
    explanation=(
        "The error of epsilon comes out multiplied by sigma / alpha: hardly anything at t = 0, more than a hundred "
        "times at the end of DDPM's schedule. Where alpha is 0, as at the noise end of rectified flow, epsilon says "
        "nothing of x0 at all, and v or x0 is what to predict."
    ),
)


# 4. The third dress


def v_and_x0(x0, noise, x_t, v, t, alphas_cumprod):
    squared = alphas_cumprod[t].view(-1, 1, 1, 1)
    alpha, sigma = squared.sqrt(), (1 - squared).sqrt()  # [N,1,1,1]
    return alpha * noise - sigma * x0, alpha * x_t - sigma * v  # [N,C,H,W] each


def _v_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "three pictures at three times": (
            *(_normal(generator, 3, 3, 4, 5) for _ in range(4)),
            torch.tensor([8, 16, 30]),
            _schedule(),
        ),
        "two pictures, at the first step and at the last": (
            *(_normal(generator, 2, 3, 4, 5) for _ in range(4)),
            torch.tensor([0, 49]),
            _schedule(),
        ),
    }


def _alpha_sigma(t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return squared.sqrt(), (1 - squared).sqrt()


@mistake(
    "The x0 is right. The sign of v is turned: v is the direction in which x_t moves as noise grows, towards the noise "
    "and away from the picture, alpha noise - sigma x0."
)
def v_backwards(x0, noise, x_t, v, t, alphas_cumprod):
    target, picture = v_and_x0(x0, noise, x_t, v, t, alphas_cumprod)
    return -target, picture


@mistake(
    "Both are in the convention with v turned round, sigma x0 - alpha noise; here v points to the noise, so that "
    "v = alpha noise - sigma x0."
)
def both_backwards(x0, noise, x_t, v, t, alphas_cumprod):
    target, picture = v_and_x0(x0, noise, x_t, -v, t, alphas_cumprod)
    return -target, picture


@mistake(
    "The x0 is right. In v, alpha and sigma have changed places: alpha goes with the noise and sigma with the picture, "
    "the other way round than in x_t."
)
def v_weights_swapped(x0, noise, x_t, v, t, alphas_cumprod):
    alpha, sigma = _alpha_sigma(t, alphas_cumprod)
    return sigma * noise - alpha * x0, alpha * x_t - sigma * v


@mistake("The x0 is right. The first is x_t itself and not v: v is at right angles to it, alpha noise - sigma x0.")
def noisy_for_v(x0, noise, x_t, v, t, alphas_cumprod):
    return add_noise(x0, noise, t, alphas_cumprod), v_and_x0(x0, noise, x_t, v, t, alphas_cumprod)[1]


@mistake("The x0 is right. noise - x0 is the v of rectified flow; this schedule goes along a circle: use both weights.")
def v_of_the_flow(x0, noise, x_t, v, t, alphas_cumprod):
    return noise - x0, v_and_x0(x0, noise, x_t, v, t, alphas_cumprod)[1]


@mistake("The v is right. The second is the noise in x_t, sigma x_t + alpha v; asked for is its x0.")
def noise_for_x0(x0, noise, x_t, v, t, alphas_cumprod):
    alpha, sigma = _alpha_sigma(t, alphas_cumprod)
    return alpha * noise - sigma * x0, sigma * x_t + alpha * v


@mistake("The v is right. The sign in x0: v points away from the picture, so sigma v is subtracted.")
def x0_sign_turned(x0, noise, x_t, v, t, alphas_cumprod):
    return v_and_x0(x0, noise, x_t, -v, t, alphas_cumprod)


@mistake("The v is right. In x0, alpha and sigma have changed places: alpha x_t - sigma v, so that x_t is x0 at t = 0.")
def x0_weights_swapped(x0, noise, x_t, v, t, alphas_cumprod):
    alpha, sigma = _alpha_sigma(t, alphas_cumprod)
    return alpha * noise - sigma * x0, sigma * x_t - alpha * v


@mistake(
    "The v is right. For x0, v was taken for epsilon: with v nothing is divided by alpha, x0 = alpha x_t - sigma v."
)
def v_taken_for_epsilon(x0, noise, x_t, v, t, alphas_cumprod):
    return v_and_x0(x0, noise, x_t, v, t, alphas_cumprod)[0], x0_from_epsilon(x_t, v, t, alphas_cumprod)


@mistake(
    "The v is right. x0 was divided by alpha once more: alpha^2 + sigma^2 = 1, so alpha x_t - sigma v is all of it."
)
def x0_divided(x0, noise, x_t, v, t, alphas_cumprod):
    target, picture = v_and_x0(x0, noise, x_t, v, t, alphas_cumprod)
    return target, picture / _wide(alphas_cumprod[t]).sqrt()


@mistake("The v is right. x_t and v belong to other pictures than x0 and noise: work x0 out from x_t and v.")
def given_x0_returned(x0, noise, x_t, v, t, alphas_cumprod):
    return v_and_x0(x0, noise, x_t, v, t, alphas_cumprod)[0], x0


@mistake("Variances for deviations: alpha and sigma are the roots of alphas_cumprod and of 1 - alphas_cumprod.")
def v_by_variances(x0, noise, x_t, v, t, alphas_cumprod):
    squared = _wide(alphas_cumprod[t])
    return squared * noise - (1 - squared) * x0, squared * x_t - (1 - squared) * v


@mistake("Both are right, and have changed places: first v, then x0.")
def answers_swapped(x0, noise, x_t, v, t, alphas_cumprod):
    return v_and_x0(x0, noise, x_t, v, t, alphas_cumprod)[::-1]


q4 = Exercise(
    question=(
        "Write `v_and_x0(x0, noise, x_t, v, t, alphas_cumprod)`. On this schedule x_t = alpha x0 + sigma noise goes "
        "along a circle, alpha = cos a and sigma = sin a, and v is its derivative in the angle a. Return two tensors: "
        "the v that belongs to x0 and noise, and the x0 that belongs to x_t and v, which are of other pictures than "
        "the first two. All four are [N,C,H,W]; t is [N], alphas_cumprod [T], alpha^2 = alphas_cumprod[t]."
    ),
    reference=v_and_x0,
    cases=_v_cases,
    mistakes=[
        v_backwards,
        both_backwards,
        v_weights_swapped,
        noisy_for_v,
        v_of_the_flow,
        noise_for_x0,
        x0_sign_turned,
        x0_weights_swapped,
        v_taken_for_epsilon,
        x0_divided,
        given_x0_returned,
        v_by_variances,
        answers_swapped,
    ],
    hints=[
        "The derivative of cos a is -sin a, that of sin a is cos a: what becomes of cos(a) x0 + sin(a) noise?",
        "Two equations hold, x_t = alpha x0 + sigma noise and v = alpha noise - sigma x0. Get rid of the noise.",
        "alpha times the first minus sigma times the second leaves (alpha^2 + sigma^2) x0, and the bracket is 1.",
    ],
    praise="Nothing is divided, so v says as much at the noisiest step as at the first.",
    explanation=(
        "(x_t, v) is (x0, noise) turned by the angle a, and turning back gives both again: x0 = alpha x_t - sigma v, "
        "noise = sigma x_t + alpha v. Near the picture v is almost the noise, near the noise almost minus the picture: "
        "it asks at each time for what is hard there (Salimans and Ho, 2022)."
    ),
)


# 5. One step of a sampler


def ddim_step(x_t, epsilon, t, t_next, alphas_cumprod):
    now = alphas_cumprod[t]
    then = alphas_cumprod[t_next] if t_next >= 0 else torch.ones(())  # the picture itself, without noise
    x0 = (x_t - (1 - now).sqrt() * epsilon) / now.sqrt()
    return then.sqrt() * x0 + (1 - then).sqrt() * epsilon  # [N,C,H,W]


def _ddim_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "a step from 30 to 20": (*(_normal(generator, 2, 3, 4, 5) for _ in range(2)), 30, 20, _schedule()),
        "a step from the last, 49, to 24": (
            *(_normal(generator, 2, 3, 4, 5) for _ in range(2)),
            49,
            24,
            _schedule(),
        ),
        "the last step, from 5 to the picture, with t_next = -1": (
            *(_normal(generator, 2, 3, 4, 5) for _ in range(2)),
            5,
            -1,
            _schedule(),
        ),
    }


def _at(t, alphas_cumprod):
    """alpha and sigma, [], at one time; -1 is the picture."""
    squared = alphas_cumprod[t] if t >= 0 else torch.ones(())
    return squared.sqrt(), (1 - squared).sqrt()


def _believed(x_t, epsilon, t, alphas_cumprod):
    """x0 as it follows from epsilon."""
    alpha, sigma = _at(t, alphas_cumprod)
    return (x_t - sigma * epsilon) / alpha


@mistake(
    "Right until the last step. alphas_cumprod[-1] is Python's last number, of the noisiest step; t_next = -1 is the "
    "picture, where alphas_cumprod is 1."
)
def wraps_to_the_noisiest(x_t, epsilon, t, t_next, alphas_cumprod):
    return ddim_step(x_t, epsilon, t, t_next % len(alphas_cumprod), alphas_cumprod)


@mistake(
    "Right until the last step, which ended at step 0: a little noise is left there. t_next = -1 is the picture, where "
    "alphas_cumprod is 1."
)
def stops_at_step_0(x_t, epsilon, t, t_next, alphas_cumprod):
    return ddim_step(x_t, epsilon, t, max(t_next, 0), alphas_cumprod)


@mistake("This goes to t - 1, whatever t_next is. With few inference steps most of the trained ones are skipped.")
def one_step_down(x_t, epsilon, t, t_next, alphas_cumprod):
    return ddim_step(x_t, epsilon, t, t - 1, alphas_cumprod)


@mistake("That is x0, the whole way at once: it is a first guess and blurred. Bring it back to the noise of t_next.")
def all_the_way(x_t, epsilon, t, t_next, alphas_cumprod):
    return _believed(x_t, epsilon, t, alphas_cumprod)


@mistake("x_t itself stands where x0 belongs: first work out x0, then mix it with epsilon as of t_next.")
def x_t_for_x0(x_t, epsilon, t, t_next, alphas_cumprod):
    alpha, sigma = _at(t_next, alphas_cumprod)
    return alpha * x_t + sigma * epsilon


@mistake("x0 is right, and it was mixed again as of t, so that you are back at x_t: take the weights of t_next.")
def back_where_it_was(x_t, epsilon, t, t_next, alphas_cumprod):
    alpha, sigma = _at(t, alphas_cumprod)
    return alpha * _believed(x_t, epsilon, t, alphas_cumprod) + sigma * epsilon


@mistake("This is the step from t_next to t: x0 follows from the weights of t, and is mixed with those of t_next.")
def times_swapped(x_t, epsilon, t, t_next, alphas_cumprod):
    alpha, sigma = _at(t, alphas_cumprod)
    return alpha * _believed(x_t, epsilon, t_next, alphas_cumprod) + sigma * epsilon


@mistake(
    "Fresh noise was mixed in. With eta 0 it is epsilon, the noise that is in x_t: then the same start always leads to "
    "the same picture."
)
def fresh_noise(x_t, epsilon, t, t_next, alphas_cumprod):
    drawn = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(0))  # as check() seeds it
    alpha, sigma = _at(t_next, alphas_cumprod)
    return alpha * _believed(x_t, epsilon, t, alphas_cumprod) + sigma * drawn


@mistake(
    "No noise was put back: x_next = alpha x0 + sigma epsilon at t_next, or the network meets a picture too clean."
)
def no_noise_put_back(x_t, epsilon, t, t_next, alphas_cumprod):
    return _at(t_next, alphas_cumprod)[0] * _believed(x_t, epsilon, t, alphas_cumprod)


@mistake("x0 was not faded: at t_next it has the weight alpha, the root of alphas_cumprod[t_next].")
def x0_not_faded(x_t, epsilon, t, t_next, alphas_cumprod):
    return _believed(x_t, epsilon, t, alphas_cumprod) + _at(t_next, alphas_cumprod)[1] * epsilon


@mistake("x0 is right. The second half took variances for weights: the roots, of alphas_cumprod and of 1 minus it.")
def mixed_by_variances(x_t, epsilon, t, t_next, alphas_cumprod):
    alpha, sigma = _at(t_next, alphas_cumprod)
    return alpha.square() * _believed(x_t, epsilon, t, alphas_cumprod) + sigma.square() * epsilon


@mistake("x0 is right. The noise was put back with its variance as its weight: take the root of 1 - alphas_cumprod.")
def noise_mixed_by_variance(x_t, epsilon, t, t_next, alphas_cumprod):
    alpha, sigma = _at(t_next, alphas_cumprod)
    return alpha * _believed(x_t, epsilon, t, alphas_cumprod) + sigma.square() * epsilon


@mistake("The noise was put back with the opposite sign: x_next = alpha x0 + sigma epsilon, as x_t is made.")
def noise_turned(x_t, epsilon, t, t_next, alphas_cumprod):
    alpha, sigma = _at(t_next, alphas_cumprod)
    return alpha * _believed(x_t, epsilon, t, alphas_cumprod) - sigma * epsilon


@mistake("Some noise was taken out, and the picture stays faded as of t: it must also grow from alpha at t to t_next.")
def noise_taken_out_only(x_t, epsilon, t, t_next, alphas_cumprod):
    return x_t - (_at(t, alphas_cumprod)[1] - _at(t_next, alphas_cumprod)[1]) * epsilon


@mistake("The noise keeps the weight that it had at t: at t_next it is the root of 1 - alphas_cumprod[t_next].")
def noise_of_before(x_t, epsilon, t, t_next, alphas_cumprod):
    alpha = _at(t_next, alphas_cumprod)[0]
    return alpha * _believed(x_t, epsilon, t, alphas_cumprod) + _at(t, alphas_cumprod)[1] * epsilon


@mistake(
    "That is the mean of DDPM's step, eta 1, to which fresh noise belongs: it has less noise in it than t_next should. "
    "With eta 0 all of the noise at t_next is epsilon."
)
def mean_of_ddpm(x_t, epsilon, t, t_next, alphas_cumprod):
    (alpha, sigma), (alpha_next, sigma_next) = _at(t, alphas_cumprod), _at(t_next, alphas_cumprod)
    variance = (sigma.square() - (alpha / alpha_next * sigma_next).square()) * (sigma_next / sigma).square()
    x0 = _believed(x_t, epsilon, t, alphas_cumprod)
    return alpha_next * x0 + (sigma_next.square() - variance).sqrt() * epsilon


@mistake(
    "The x0 was clamped to [-1,1] on the way. Latents have no such bounds; and after clamping, the noise would have to "
    "be worked out anew, or the two no longer make up x_t. Leave x0 as it is."
)
def clamped_on_the_way(x_t, epsilon, t, t_next, alphas_cumprod):
    alpha, sigma = _at(t_next, alphas_cumprod)
    return alpha * _believed(x_t, epsilon, t, alphas_cumprod).clamp(-1, 1) + sigma * epsilon


q5 = Exercise(
    question=(
        "Write `ddim_step(x_t, epsilon, t, t_next, alphas_cumprod)`: one step of DDIM with eta 0, from the whole "
        "number t down to t_next, the same for all pictures. x_t and the epsilon that the network says of it are "
        "[N,C,H,W], alphas_cumprod is [T]. Return x at t_next [N,C,H,W], made of the x0 and the noise that the network "
        "believes in. Where t_next is -1, return the picture, which has no noise."
    ),
    reference=ddim_step,
    cases=_ddim_cases,
    mistakes=[
        wraps_to_the_noisiest,
        stops_at_step_0,
        one_step_down,
        all_the_way,
        x_t_for_x0,
        back_where_it_was,
        times_swapped,
        fresh_noise,
        no_noise_put_back,
        x0_not_faded,
        mixed_by_variances,
        noise_mixed_by_variance,
        noise_turned,
        noise_taken_out_only,
        noise_of_before,
        mean_of_ddpm,
        clamped_on_the_way,
    ],
    hints=[
        "First the x0 that follows from epsilon, as in exercise 3, with the weights of t.",
        "Then add noise in closed form, as in exercise 1, with the weights of t_next, and epsilon as the noise.",
        "For t_next = -1 alphas_cumprod is 1: `alphas_cumprod[t_next] if t_next >= 0 else torch.tensor(1.0)`.",
    ],
    praise="That is a whole sampler: repeat it along falling times, and noise becomes a picture.",
    explanation=(
        "The network's guess of x0 is moved back to the noise level of t_next, along the same noise. Nothing in it "
        "asks that t_next be t - 1, and that is why DDIM can draw in 20 steps with a network trained for 1000. No "
        "chance comes in, so equal noise gives equal pictures, and noise can be interpolated."
    ),
)


# 6. The straight way


def path_and_step(x0, noise, t, output, t_next):
    now, dt = t.view(-1, 1, 1, 1), (t_next - t).view(-1, 1, 1, 1)  # [N,1,1,1]
    x_t = (1 - now) * x0 + now * noise
    return x_t, noise - x0, x_t + dt * output  # [N,C,H,W] each


def _path_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "four pictures of 5 x 4 pixels": (  # as many pictures as columns
            *(_normal(generator, 4, 3, 5, 4) for _ in range(2)),
            torch.tensor([0.9, 0.4, 0.75, 0.2]),
            _normal(generator, 4, 3, 5, 4),
            torch.tensor([0.8, 0.1, 0.5, 0.15]),
        ),
        "noise alone, and a step down to the picture": (
            *(_normal(generator, 2, 3, 4, 5) for _ in range(2)),
            torch.tensor([1.0, 0.25]),
            _normal(generator, 2, 3, 4, 5),
            torch.tensor([0.75, 0.0]),
        ),
    }


@mistake(
    "All three go the other way, with noise at t = 0 and the picture at t = 1, as in Liu's paper. Here t is how much "
    "noise there is: x_t = (1 - t) x0 + t noise, and v = noise - x0."
)
def time_turned(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(noise, x0, t, output, t_next)
    return x_t, v, x_t + _wide(t_next - t) * output


@mistake(
    "The path, v and the step are those of a t that counts the picture, and here t_next is smaller than t: t is how "
    "much noise there is, so that x_t = (1 - t) x0 + t noise, v = noise - x0, and the step is (t_next - t) output."
)
def time_and_step_turned(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(noise, x0, t, output, t_next)
    return x_t, v, x_t - _wide(t_next - t) * output


@mistake(
    "The weights in x_t have changed places: t is the share of noise, so that x_t is the picture at 0 and noise at 1."
)
def shares_swapped(x0, noise, t, output, t_next):
    x_t = path_and_step(noise, x0, t, output, t_next)[0]
    return x_t, noise - x0, x_t + _wide(t_next - t) * output


@mistake(
    "x_t is right. v is the derivative of x_t in t, and as t grows the picture becomes noise: noise - x0, and not "
    "x0 - noise."
)
def v_turned(x0, noise, t, output, t_next):
    x_t, v, x_next = path_and_step(x0, noise, t, output, t_next)
    return x_t, -v, x_next


@mistake(
    "x_t is right. v and the step are both turned: with v = noise - x0 the step is x_t + (t_next - t) output, and as "
    "t_next is smaller than t it leads to the picture by itself."
)
def v_and_step_turned(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(x0, noise, t, output, t_next)
    return x_t, -v, x_t - _wide(t_next - t) * output


@mistake(
    "x_t and v are right. The step goes towards the noise: t_next - t is negative here, so x_t + (t_next - t) output "
    "leads to the picture."
)
def step_turned(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(x0, noise, t, output, t_next)
    return x_t, v, x_t - _wide(t_next - t) * output


@mistake("x_t and v are right. The step is of length 1, whatever t and t_next are: multiply the output by t_next - t.")
def whole_unit_up(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(x0, noise, t, output, t_next)
    return x_t, v, x_t + output


@mistake("x_t and v are right. The step is of length 1 downwards: multiply the output by t_next - t, which is less.")
def whole_unit_down(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(x0, noise, t, output, t_next)
    return x_t, v, x_t - output


@mistake("x_t and v are right. The step goes all the way to t = 0, by -t; it should end at t_next.")
def jumps_to_the_picture(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(x0, noise, t, output, t_next)
    return x_t, v, x_t - _wide(t) * output


@mistake("x_t and v are right. The output was multiplied by t_next itself; the step is from t to t_next: t_next - t.")
def step_by_t_next(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(x0, noise, t, output, t_next)
    return x_t, v, x_t + _wide(t_next) * output


@mistake(
    "x_t and v are right. The step took the true velocity, which a sampler does not have: it knows x_t and what the "
    "network says, `output`."
)
def step_by_the_truth(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(x0, noise, t, output, t_next)
    return x_t, v, x_t + _wide(t_next - t) * v


@mistake("x_t is right. v is what the network should say, noise - x0; `output` is what it did say.")
def output_for_v(x0, noise, t, output, t_next):
    x_t, _, x_next = path_and_step(x0, noise, t, output, t_next)
    return x_t, output, x_next


@mistake("x_t and v are right. The step sets out from x_t, and not from the noise.")
def step_from_the_noise(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(x0, noise, t, output, t_next)
    return x_t, v, noise + _wide(t_next - t) * output


@mistake("x_t and v are right. The step sets out from x_t, and not from x0, which a sampler is still looking for.")
def step_from_the_picture(x0, noise, t, output, t_next):
    x_t, v, _ = path_and_step(x0, noise, t, output, t_next)
    return x_t, v, x0 + _wide(t_next - t) * output


@mistake("The weights of x_t are roots, as in DDPM's circle. The straight line has 1 - t and t themselves.")
def along_a_circle(x0, noise, t, output, t_next):
    x_t = (1 - _wide(t)).sqrt() * x0 + _wide(t).sqrt() * noise
    return x_t, noise - x0, x_t + _wide(t_next - t) * output


@mistake(
    "x_t is right. That v is the one of DDPM's schedule; on a straight line the velocity is the same all the way, "
    "noise - x0, without t."
)
def v_of_the_circle(x0, noise, t, output, t_next):
    x_t, _, x_next = path_and_step(x0, noise, t, output, t_next)
    return x_t, (1 - _wide(t)) * noise - _wide(t) * x0, x_next


@mistake("x_t is right. That v is the way already gone, t (noise - x0); the velocity does not depend on t.")
def way_gone_for_v(x0, noise, t, output, t_next):
    x_t, v, x_next = path_and_step(x0, noise, t, output, t_next)
    return x_t, _wide(t) * v, x_next


@mistake("The noise was added to a picture at full strength: the picture has the share 1 - t.")
def picture_kept_whole(x0, noise, t, output, t_next):
    x_t = x0 + _wide(t) * noise
    return x_t, noise - x0, x_t + _wide(t_next - t) * output


@mistake(
    "There are as many pictures as columns, and the times [N] were laid along the width: each column has a time of its "
    "own. Make them [N,1,1,1] first."
)
def times_along_the_width(x0, noise, t, output, t_next):
    x_t = (1 - t) * x0 + t * noise
    return x_t, noise - x0, x_t + (t_next - t) * output


q6 = Exercise(
    question=(
        "Write `path_and_step(x0, noise, t, output, t_next)` for rectified flow, which goes in a straight line "
        "from x0 at t = 0 to noise at t = 1. x0 and noise are [N,C,H,W]; t and t_next, smaller than t, are [N], one of "
        "each for each picture. Return three tensors [N,C,H,W]: x_t; its velocity v, the derivative in t, which a "
        "network learns to say; and where one Euler step from x_t leads, to t_next, with `output` [N,C,H,W] as what "
        "the network said."
    ),
    reference=path_and_step,
    cases=_path_cases,
    mistakes=[
        time_turned,
        time_and_step_turned,
        shares_swapped,
        v_turned,
        v_and_step_turned,
        step_turned,
        whole_unit_up,
        whole_unit_down,
        jumps_to_the_picture,
        step_by_t_next,
        step_by_the_truth,
        output_for_v,
        step_from_the_noise,
        step_from_the_picture,
        along_a_circle,
        v_of_the_circle,
        way_gone_for_v,
        picture_kept_whole,
        times_along_the_width,
    ],
    hints=[
        "x_t is x0 where t is 0 and noise where t is 1, and in between a blend: t is the share of the noise.",
        "Differentiate (1 - t) x0 + t noise in t. What is left does not depend on t.",
        "An Euler step is place + time * velocity: x_t + (t_next - t) output, with times as [N,1,1,1].",
    ],
    praise="One line to train by and one line to draw by: the whole of rectified flow stands in your function.",
    explanation=(
        "Papers differ in which end is t = 0, and with it in the sign of v; in this package t is how much noise there "
        "is, as in DDPM, and v = noise - x0. For one picture and one noise the way is straight, and one step "
        "would do. The network says the mean over all pictures that could be meant, so its ways bend, and more "
        "steps help."
    ),
)


# 7. More than was asked for


def guide(uncond, cond, guidance_scale):
    scale = guidance_scale.view(-1, 1, 1, 1)  # [N,1,1,1]
    return uncond + scale * (cond - uncond)  # [N,C,H,W]


def _guide_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "four pictures with scales of 3, 1, 0 and 7.5": (  # as many pictures as columns
            _normal(generator, 4, 4, 3, 4),
            _normal(generator, 4, 4, 3, 4),
            torch.tensor([3.0, 1.0, 0.0, 7.5]),
        ),
        "two pictures with scales of 0.5 and -1": (
            _normal(generator, 2, 8, 4, 5),
            _normal(generator, 2, 8, 4, 5),
            torch.tensor([0.5, -1.0]),
        ),
    }


def _some_channels(given, expected):
    """Recognises answers that are right in some channels and not in others."""
    right = (given - expected).abs().amax(dim=(0, 2, 3)) < 1e-3  # [C]
    return given.shape == expected.shape and bool(right.any()) and not right.all()


@mistake(
    "The two have changed places: a scale of 0 must give what was said without the condition, a scale of 1 what was "
    "said with it. Start at uncond and go to cond."
)
def ends_swapped(uncond, cond, guidance_scale):
    return guide(cond, uncond, guidance_scale)


@mistake("The sign: this goes from uncond away from cond. A scale of 1 must arrive at cond: add s (cond - uncond).")
def away_from_the_condition(uncond, cond, guidance_scale):
    return guide(uncond, cond, -guidance_scale)


@mistake(
    "This is the convention of the paper, cond + w (cond - uncond), in which 0 is the condition alone. Here 1 is: "
    "w = s - 1, or start at uncond."
)
def convention_of_the_paper(uncond, cond, guidance_scale):
    return guide(uncond, cond, guidance_scale + 1)


@mistake(
    "One too little: s - 1 belongs to the formula that starts at cond, cond + (s - 1) (cond - uncond). Starting at "
    "uncond, it is s."
)
def one_too_little(uncond, cond, guidance_scale):
    return guide(uncond, cond, guidance_scale - 1)


@mistake("This starts halfway between the two: a scale of 0 must give uncond, and a scale of 1 cond.")
def starts_halfway(uncond, cond, guidance_scale):
    return guide(uncond, cond, guidance_scale + 0.5)


@mistake(
    "Some channels are guided and the rest are not, as in code for networks whose channels after the third are a "
    "variance. Latents have more than three, and all of them are guided.",
    looks_like=_some_channels,
)
def three_channels(uncond, cond, guidance_scale):
    return torch.cat([guide(uncond, cond, guidance_scale)[:, :3], cond[:, 3:]], dim=1)


@mistake(
    "The cond was multiplied and added, and not its difference from uncond: a scale of 1 would give both together."
)
def sum_of_both(uncond, cond, guidance_scale):
    return uncond + _wide(guidance_scale) * cond


@mistake("The cond alone was scaled. Guidance extends the difference that the condition makes: cond - uncond.")
def cond_scaled(uncond, cond, guidance_scale):
    return _wide(guidance_scale) * cond


@mistake("That is the difference alone, multiplied: add it to uncond.")
def difference_alone(uncond, cond, guidance_scale):
    return _wide(guidance_scale) * (cond - uncond)


@mistake("Right for scales from 0 to 1. Others are meant too: above 1 it goes beyond cond, below 0 away from it.")
def never_beyond(uncond, cond, guidance_scale):
    return guide(uncond, cond, guidance_scale.clamp(0, 1))


@mistake(
    "Right above a scale of 1. From 1 down you returned cond, as if guidance were switched off there: 0 must give "
    "uncond, and 0.5 the middle."
)
def never_below_one(uncond, cond, guidance_scale):
    return guide(uncond, cond, guidance_scale.clamp(min=1))


@mistake("Right, but clamped to [-1,1]: what a network says is noise or v, which has no such bounds.")
def guided_and_clamped(uncond, cond, guidance_scale):
    return guide(uncond, cond, guidance_scale).clamp(-1, 1)


@mistake("All pictures got the scale of the first; each has its own, `guidance_scale` is [N].")
def first_scale_for_all(uncond, cond, guidance_scale):
    return guide(uncond, cond, guidance_scale[:1])


@mistake(
    "There are as many pictures as columns, and the scales [N] were laid along the width: make them [N,1,1,1] first."
)
def scales_along_the_width(uncond, cond, guidance_scale):
    return uncond + guidance_scale * (cond - uncond)


@mistake(
    "There are as many pictures as channels, and the scales [N] were laid along the channels: make them [N,1,1,1], "
    "not [N,1,1]."
)
def scales_along_the_channels(uncond, cond, guidance_scale):
    return uncond + guidance_scale.view(-1, 1, 1) * (cond - uncond)


q7 = Exercise(
    question=(
        "Write `guide(uncond, cond, guidance_scale)`: what a network said without and with the condition, [N,C,H,W] "
        "each, and a scale for each picture, [N]. Return what the sampler is told, [N,C,H,W]: uncond where the scale "
        "is 0, cond where it is 1, and for any other scale the point of the same straight line, beyond cond where it "
        "is above 1."
    ),
    reference=guide,
    cases=_guide_cases,
    mistakes=[
        ends_swapped,
        away_from_the_condition,
        convention_of_the_paper,
        one_too_little,
        starts_halfway,
        sum_of_both,
        cond_scaled,
        difference_alone,
        never_beyond,
        never_below_one,
        guided_and_clamped,
        first_scale_for_all,
        scales_along_the_width,
        scales_along_the_channels,
        three_channels,
    ],
    hints=[
        "What does the condition change? cond - uncond, in every channel. Take this s times instead of once.",
        "A straight line that is at uncond where s is 0 and at cond where s is 1: uncond + s (cond - uncond).",
        "`guidance_scale.view(-1, 1, 1, 1)` gives each picture a scale of its own.",
    ],
    praise="One network, asked twice, steers itself, and no classifier is needed.",
    explanation=(
        "Whenever someone names a scale, ask in which convention. Ho and Salimans write (1 + w) cond - w uncond: their "
        "w = 3 is our s = 4. Try 0 and 1 on any code: which of the two gives the condition alone? Guidance in "
        "some channels only still draws pictures, just worse ones: nothing fails."
    ),
)


# 8. Which times a sampler meets


def sampling_times(alphas_cumprod, num_inference_steps):
    every = len(alphas_cumprod) / num_inference_steps
    times = (torch.arange(num_inference_steps, 0, -1) * every).round().long() - 1  # [n], from T - 1 down
    return times, torch.cat([alphas_cumprod[times[1:]], torch.ones(1)])  # [n] each; the last step ends at the picture


def _times_cases() -> dict[str, tuple]:
    return {
        "5 of 100 steps": (_schedule(100), 5),
        "7 of 100 steps, which does not divide": (_schedule(100), 7),
        "a single step of 50": (_schedule(50), 1),
        "all 25 of 25 steps": (_schedule(25), 25),
    }


def _with_next(times, alphas_cumprod):
    """Any falling times, with what they lead to."""
    return times, torch.cat([alphas_cumprod[times[1:]], torch.ones(1)])


def _rounded(alphas_cumprod, num_inference_steps, shift):
    """From `shift` below n T / n on, T / n apart."""
    every = len(alphas_cumprod) / num_inference_steps
    return (torch.arange(num_inference_steps, 0, -1) * every - shift).round().long()


@mistake(
    "The first time is T - T/n, and the last trained step, T - 1, is never met. The sampler begins with pure noise, "
    "and would tell the network that some picture is left in it. Begin at T - 1 and end at T/n - 1."
)
def last_step_missed(alphas_cumprod, num_inference_steps):
    every = len(alphas_cumprod) / num_inference_steps
    return _with_next(_rounded(alphas_cumprod, num_inference_steps, shift=every), alphas_cumprod)


@mistake(
    "The first time is T - T/n + 1, and the last trained step, T - 1, is still not met. Moving all times up by 1 is "
    "not enough: begin at T - 1."
)
def last_step_missed_by_less(alphas_cumprod, num_inference_steps):
    every = len(alphas_cumprod) / num_inference_steps
    return _with_next(_rounded(alphas_cumprod, num_inference_steps, shift=every - 1), alphas_cumprod)


@mistake("The times count up, and a sampler goes from noise to picture: T - 1 comes first. What comes next follows it.")
def counts_up(alphas_cumprod, num_inference_steps):
    return _with_next(sampling_times(alphas_cumprod, num_inference_steps)[0].flip(0), alphas_cumprod)


@mistake(
    "The times count up; a sampler goes from noise to picture, so T - 1 comes first. The second list is already in the "
    "right order."
)
def times_alone_count_up(alphas_cumprod, num_inference_steps):
    times, after = sampling_times(alphas_cumprod, num_inference_steps)
    return times.flip(0), after


@mistake("Both lists are right, and in the wrong order: a sampler goes from noise to picture, so T - 1 comes first.")
def both_count_up(alphas_cumprod, num_inference_steps):
    times, after = sampling_times(alphas_cumprod, num_inference_steps)
    return times.flip(0), after.flip(0)


@mistake(
    "The times count up, and begin at 0, so that T - 1 is not among them: this is `range(0, T, T // n)`. Count down "
    "from T - 1."
)
def counts_up_from_0(alphas_cumprod, num_inference_steps):
    every = len(alphas_cumprod) / num_inference_steps
    times = _rounded(alphas_cumprod, num_inference_steps, shift=every).flip(0)
    return _with_next(times, alphas_cumprod)


@mistake(
    "These go from T - 1 to 0, T - 1 over n - 1 apart. Then the last step, from 0 to the picture, is nearly empty, "
    "and one of n is wasted: T/n apart, they end at T/n - 1."
)
def down_to_0(alphas_cumprod, num_inference_steps):
    last = len(alphas_cumprod) - 1
    return _with_next(torch.linspace(last, 0, num_inference_steps).round().long(), alphas_cumprod)


@mistake("All times are one too high: the steps count from 0 to T - 1, and there is no step T.")
def from_step_T(alphas_cumprod, num_inference_steps):
    return _with_next(_rounded(alphas_cumprod, num_inference_steps, shift=0), alphas_cumprod)


@mistake("Right where n divides T. Elsewhere the times were cut to whole numbers; round k T/n to the nearest.")
def cut_not_rounded(alphas_cumprod, num_inference_steps):
    every = len(alphas_cumprod) / num_inference_steps
    times = (torch.arange(num_inference_steps, 0, -1) * every + 1e-4).floor().long() - 1
    return _with_next(times, alphas_cumprod)


@mistake(
    "Right where n divides T. With the whole number T // n as the distance the times end too high, and the last step "
    "is longer than the others: T/n need not be whole, round only its multiples."
)
def whole_distance(alphas_cumprod, num_inference_steps):
    every = len(alphas_cumprod) // num_inference_steps
    times = len(alphas_cumprod) - 1 - torch.arange(num_inference_steps) * every
    return _with_next(times, alphas_cumprod)


@mistake(
    "Right where n divides T. With the whole number T // n as the distance there are more times than were asked for: "
    "T/n need not be whole, round only its multiples."
)
def too_many_times(alphas_cumprod, num_inference_steps):
    count = len(alphas_cumprod)
    return _with_next(torch.tensor(range(count - 1, -1, -(count // num_inference_steps))), alphas_cumprod)


@mistake("These are the last n steps one by one, which end in the middle of the noise: spread them over all T.")
def noisiest_only(alphas_cumprod, num_inference_steps):
    count = len(alphas_cumprod)
    return _with_next(torch.arange(count - 1, count - 1 - num_inference_steps, -1), alphas_cumprod)


@mistake(
    "The times are right. The second list holds alphas_cumprod where each step begins; asked for is where it ends."
)
def where_steps_begin(alphas_cumprod, num_inference_steps):
    times, _ = sampling_times(alphas_cumprod, num_inference_steps)
    return times, alphas_cumprod[times]


@mistake(
    "The times are right. The last step ends at the picture, where alphas_cumprod is 1; this ends at that of step 0."
)
def ends_at_step_0(alphas_cumprod, num_inference_steps):
    times, after = sampling_times(alphas_cumprod, num_inference_steps)
    return times, torch.cat([after[:-1], alphas_cumprod[:1]])


@mistake(
    "The times are right. The last step ends in pure noise: the list was rolled, or read at -1, or filled up with 0. "
    "It ends at the picture, where alphas_cumprod is 1."
)
def round_to_the_noise(alphas_cumprod, num_inference_steps):
    times, after = sampling_times(alphas_cumprod, num_inference_steps)
    return times, torch.cat([after[:-1], alphas_cumprod[-1:]])


@mistake("The times are right. The second list goes to t - 1; a step of the sampler goes to the next of its own times.")
def next_trained_step(alphas_cumprod, num_inference_steps):
    times, _ = sampling_times(alphas_cumprod, num_inference_steps)
    return times, torch.cat([torch.ones(1), alphas_cumprod])[times]


@mistake("The times are right. The second list is one short: the last step ends at the picture, where it is 1.")
def picture_left_out(alphas_cumprod, num_inference_steps):
    times, after = sampling_times(alphas_cumprod, num_inference_steps)
    return times, after[:-1]


q8 = Exercise(
    question=(
        "Write `sampling_times(alphas_cumprod, num_inference_steps)`: from T trained steps, 0 to T - 1, choose n, "
        "evenly spaced. Return two tensors [n]: the times, int64, falling from the last trained step, T - 1, each "
        "k T/n rounded to the nearest whole number, minus 1, for k from n down to 1; and the alphas_cumprod at which "
        "the step from each time ends, which is that of the time after it, and for the last step that of the picture "
        "itself. alphas_cumprod is [T], float32."
    ),
    reference=sampling_times,
    cases=_times_cases,
    mistakes=[
        last_step_missed,
        last_step_missed_by_less,
        counts_up,
        times_alone_count_up,
        both_count_up,
        counts_up_from_0,
        down_to_0,
        from_step_T,
        cut_not_rounded,
        whole_distance,
        too_many_times,
        noisiest_only,
        where_steps_begin,
        ends_at_step_0,
        round_to_the_noise,
        next_trained_step,
        picture_left_out,
    ],
    hints=[
        "k goes down from n to 1: `torch.arange(num_inference_steps, 0, -1)`. For k = n the time is T - 1.",
        "Multiply by T / n, round, and only then subtract 1: `(k * every).round().long() - 1`.",
        "`alphas_cumprod[times[1:]]` is where all steps but the last end; the picture has no noise, so append a 1.",
    ],
    praise="The sampler begins where training ended, and the network is told the truth about its first noise.",
    explanation=(
        "`range(0, T, T // n)` turned round begins at T - T/n, and many samplers did: the network is handed pure noise "
        "and told that a picture shows through. It believes it, and what it draws keeps to a medium brightness (Lin et "
        "al., 2024). To meet T - 1 in sampling and never draw it in training is the same fault from the other side."
    ),
)
