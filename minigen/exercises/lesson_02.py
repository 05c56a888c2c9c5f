"""Lesson 02: what the two players of a GAN learn from, and what their losses do not tell."""

import math

import torch
from torch.nn.functional import softplus

from minigen.exercises.frame import Exercise, mistake

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8"]


# 1. The loss of a discriminator that cannot tell


def blind_loss():
    return 2 * math.log(2)


@mistake(
    "That is one of two terms: the loss adds up what is lost on real pictures and what is lost on fakes, ln 2 each."
)
def one_term():
    return math.log(2)


@mistake("The sign: log D is negative, and the loss is minus that; -ln 4 is the worth of the paper's game.")
def value_of_the_game():
    return -2 * math.log(2)


@mistake("In bits that is right; the course counts in nats, by the natural logarithm.")
def in_bits():
    return 2


@mistake("That is the logarithm to base 10; the loss takes the natural one, `math.log`.")
def base_10():
    return math.log10(4)


@mistake("A loss of 0 belongs to a discriminator that is right every time, and sure of it; this one is never sure.")
def nothing_lost():
    return 0


@mistake("That is the probability that it gives; the loss is minus its logarithm, once for real and once for fake.")
def probability():
    return 0.5


@mistake("Those are two probabilities added up; the loss adds up minus their logarithms.")
def two_probabilities():
    return 1.0


q1 = Exercise(
    question=(
        "The fakes have become so good that the discriminator gives every picture, real or fake, the "
        "probability 1/2. What is its loss, the binary cross-entropy of real pictures plus that of fakes, in "
        "nats? Put the number into `blind_loss`; 0.01 more or less will do."
    ),
    reference=blind_loss,
    mistakes=[one_term, value_of_the_game, in_bits, base_10, nothing_lost, probability, two_probabilities],
    hints=[
        "The loss of one picture is minus the natural logarithm of the probability that the right answer got.",
        "On a real picture that is -ln(1/2), on a fake -ln(1 - 1/2). Their means are added up.",
    ],
    praise=(
        "Draw this line beneath the curve of every run: on it the discriminator only guesses, far below it the "
        "generator is found out."
    ),
    explanation=(
        "-ln(1/2) - ln(1/2) = 2 ln 2 = 1.39. It is the end of a game well played, and also the loss of a "
        "discriminator that has not learnt anything: the curve alone does not say which."
    ),
    tolerance=0.01 / (1 + 2 * math.log(2)),
)


# 2. Why nobody trains on the minimax loss


def times_stronger():
    return math.exp(5)


@mistake(
    "That is near D = sigmoid(-5), the slope of the minimax loss alone, and also the ratio turned upside down: where "
    "the discriminator is sure, it is the minimax loss that has gone flat. How often does D go into 1 - D?"
)
def inverted():
    return math.exp(-5)


@mistake(
    "These are the losses themselves divided; training follows their slopes. With D = sigmoid(logit), "
    "they are -D for the minimax loss and -(1 - D) for the other."
)
def ratio_of_losses():
    return math.log1p(math.exp(5)) / math.log1p(math.exp(-5))


@mistake(
    "That is near the slope of the non-saturating loss alone, 1 - D: divide it by that of the minimax loss, D. The "
    "two are equally steep only at logit 0, where the discriminator is in doubt."
)
def one_slope():
    return 1 / (1 + math.exp(-5))


@mistake("The logarithm of the answer: logits add where probabilities multiply, so the ratio (1 - D) / D is exp(5).")
def the_logit():
    return 5


@mistake("Both losses fall as the logit rises, so both pull the same way: the ratio has no minus.")
def negative():
    return -math.exp(5)


q2 = Exercise(
    question=(
        "Early in training the discriminator is sure that a picture is a fake and gives it the logit -5. How "
        "many times as steep in that logit is the non-saturating loss, -log D, as the minimax loss, log(1 - D)? "
        "Put the number into `times_stronger`; one more or less will do."
    ),
    reference=times_stronger,
    mistakes=[inverted, ratio_of_losses, one_slope, the_logit, negative],
    hints=[
        "D = sigmoid(logit). With softplus, -log D is `softplus(-logit)` and log(1 - D) is `-softplus(logit)`.",
        "The derivative of softplus is sigmoid: the slopes are -sigmoid(5) and -sigmoid(-5).",
        "You may let the machine do it: `torch.tensor(-5.0, requires_grad=True)`, `torch.autograd.grad`, and divide.",
    ],
    praise="Both losses want the same thing; only one of them still says so when the generator is losing.",
    explanation=(
        "The slopes are -D and -(1 - D), and (1 - D) / D = exp(-logit) = exp(5) = 148. The minimax loss is flat "
        "just where the generator has most to learn. The paper of 2014 already proposes the other."
    ),
    tolerance=1 / (1 + math.exp(5)),
)


# 3. The best that any discriminator can do


def best_discriminator(real, fake):
    d = real / (real + fake)  # [K]
    loss = -torch.xlogy(real, d).sum() - torch.xlogy(fake, 1 - d).sum()  # xlogy(0, 0) is 0
    return d, loss.item()


def _best_discriminator_cases() -> dict[str, tuple]:
    return {
        "a generator that draws some kinds too often": (
            torch.tensor([0.4, 0.3, 0.2, 0.1]),
            torch.tensor([0.1, 0.2, 0.1, 0.6]),
        ),
        "a perfect generator": (torch.tensor([0.5, 0.2, 0.3]), torch.tensor([0.5, 0.2, 0.3])),
        "a generator that draws nothing of what is real": (
            torch.tensor([0.7, 0.3, 0.0, 0.0]),
            torch.tensor([0.0, 0.0, 0.9, 0.1]),
        ),
    }


@mistake("That is the probability of a fake; D is that of a real picture: real / (real + fake).")
def probability_of_fake(real, fake):
    d, loss = best_discriminator(real, fake)
    return 1 - d, loss


@mistake("That is the ratio of real to fake, which has no upper end; its share of both together is a probability.")
def ratio(real, fake):
    return real / fake, best_discriminator(real, fake)[1]


@mistake(
    "D is right. The loss counts all K kinds alike, though some come often and some never: weigh log D by "
    "how often a kind is real, log(1 - D) by how often it is a fake."
)
def unweighted(real, fake):
    d = best_discriminator(real, fake)[0]
    return d, (-d.log().mean() - (1 - d).log().mean()).item()


@mistake(
    "Right until a kind is never drawn: 0 * log(0) is nan in arithmetic, but what never happens costs "
    "nothing. `torch.xlogy(0, 0)` is 0.",
    looks_like=lambda given, expected: math.isnan(given[1]),
)
def nothing_times_infinity(real, fake):
    d = best_discriminator(real, fake)[0]
    return d, (-(real * d.log()).sum() - (fake * (1 - d).log()).sum()).item()


@mistake("D is right. That is the worth of the game, which the discriminator makes large; its loss is minus that.")
def negated(real, fake):
    d, loss = best_discriminator(real, fake)
    return d, -loss


@mistake("D is right. The loss is in bits; take the natural logarithm.")
def loss_in_bits(real, fake):
    d, loss = best_discriminator(real, fake)
    return d, loss / math.log(2)


@mistake("D is right. Half the loss is missing: the fakes cost -log(1 - D), weighed by how often each kind is drawn.")
def real_half(real, fake):
    d = best_discriminator(real, fake)[0]
    return d, -torch.xlogy(real, d).sum().item()


@mistake("D is right. The loss is the mean of its two terms here; they are added up, so that guessing costs 2 ln 2.")
def averaged(real, fake):
    d, loss = best_discriminator(real, fake)
    return d, loss / 2


@mistake(
    "That discriminator never doubts. A kind that is real four times in five is a fake once in five, and "
    "whoever gives that the probability 0 pays without end."
)
def never_in_doubt(real, fake):
    d = (real > fake).float()
    return d, (-torch.xlogy(real, d).sum() - torch.xlogy(fake, 1 - d).sum()).item()


q3 = Exercise(
    question=(
        "Write `best_discriminator(real, fake)`: `real` [K] says how often each of K kinds of picture comes up "
        "among real pictures, `fake` [K] how often the generator draws it; each sums to 1. Return the best D for "
        "each kind [K], the probability that such a picture is real, and the discriminator's loss with it, one "
        "number in nats. Real pictures and fakes are shown equally often."
    ),
    reference=best_discriminator,
    cases=_best_discriminator_cases,
    mistakes=[
        probability_of_fake,
        ratio,
        unweighted,
        nothing_times_infinity,
        negated,
        loss_in_bits,
        real_half,
        averaged,
        never_in_doubt,
    ],
    hints=[
        "Of all pictures of one kind that the discriminator sees, which share is real?",
        "The loss is -log D on average over real pictures, plus -log(1 - D) on average over fakes.",
        "An average over real pictures is a sum over kinds, each times `real`. `torch.xlogy(a, b)` is a * log(b).",
    ],
    praise=(
        "Compare: 1.39 for the perfect generator and 0 for the one that draws nothing real. The loss measures how "
        "far the two overlap."
    ),
    explanation=(
        "With D = real / (real + fake) the loss is 2 ln 2 minus twice the Jensen-Shannon divergence of the two. "
        "Where they do not overlap at all it stays 0 however near the fakes come, so it gives no direction to "
        "improve in. That is why a discriminator must not win outright, and what R1 helps to prevent."
    ),
)


# 4. Whose gradient is it?


def step_gradients(real, noise, d_weight, g_weight):
    fake = noise @ g_weight  # [N,P]
    fake_logits = fake.detach() @ d_weight  # [N]; ends at the pictures
    d_loss = torch.nn.functional.softplus(-(real @ d_weight)).mean() + torch.nn.functional.softplus(fake_logits).mean()
    g_loss = torch.nn.functional.softplus(-(fake @ d_weight.detach())).mean()  # goes through the discriminator
    of_d_loss = torch.autograd.grad(d_loss, [d_weight, g_weight], allow_unused=True)
    of_g_loss = torch.autograd.grad(g_loss, [d_weight, g_weight], allow_unused=True)
    return of_d_loss, of_g_loss


def _step_gradients_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    real, noise = torch.randn(6, 5, generator=generator) + 1, torch.randn(6, 3, generator=generator)
    d_weight, g_weight = torch.randn(5, generator=generator), torch.randn(3, 5, generator=generator)
    return {"six pictures of five pixels": (real, noise, d_weight.requires_grad_(), g_weight.requires_grad_())}


def _gradients(d_loss, g_loss, weights):
    """What each of two losses leaves in each of the weights."""
    return tuple(torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True) for loss in (d_loss, g_loss))


@mistake(
    "Each loss still moves both players. The discriminator's loss would teach the generator to draw fakes "
    "that are easily told, and the generator's loss would teach the discriminator to be fooled."
)
def both_move(real, noise, d_weight, g_weight):
    fake = noise @ g_weight
    d_loss = softplus(-(real @ d_weight)).mean() + softplus(fake @ d_weight).mean()
    return _gradients(d_loss, softplus(-(fake @ d_weight)).mean(), [d_weight, g_weight])


@mistake("The discriminator's loss is right. The generator's loss still moves the discriminator, towards being fooled.")
def discriminator_fooled(real, noise, d_weight, g_weight):
    fake = noise @ g_weight
    d_loss = softplus(-(real @ d_weight)).mean() + softplus(fake.detach() @ d_weight).mean()
    return _gradients(d_loss, softplus(-(fake @ d_weight)).mean(), [d_weight, g_weight])


@mistake(
    "The generator's loss is right. The discriminator's loss still moves the generator, towards fakes that "
    "are easily told: let the discriminator see `fake.detach()`."
)
def generator_betrayed(real, noise, d_weight, g_weight):
    fake = noise @ g_weight
    d_loss = softplus(-(real @ d_weight)).mean() + softplus(fake @ d_weight).mean()
    return _gradients(d_loss, softplus(-(fake @ d_weight.detach())).mean(), [d_weight, g_weight])


@mistake(
    "The generator's own loss leaves nothing in it: the pictures were detached for both losses. Its gradient "
    "comes from the logits, through the discriminator, into the pictures: detach them for the discriminator's "
    "loss only.",
    looks_like=lambda given, expected: given[1][1] is None,
)
def detached_for_both(real, noise, d_weight, g_weight):
    fake = (noise @ g_weight).detach()
    d_loss = softplus(-(real @ d_weight)).mean() + softplus(fake @ d_weight).mean()
    return _gradients(d_loss, softplus(-(fake @ d_weight)).mean(), [d_weight, g_weight])


@mistake(
    "The logits of the fakes were detached, so the discriminator learns from the real pictures alone and will "
    "call everything real. Detach one step earlier: the pictures."
)
def logits_detached(real, noise, d_weight, g_weight):
    fake = noise @ g_weight
    d_loss = softplus(-(real @ d_weight)).mean() + softplus((fake @ d_weight).detach()).mean()
    return _gradients(d_loss, softplus(-(fake @ d_weight.detach())).mean(), [d_weight, g_weight])


@mistake(
    "The wrong one was detached in the discriminator's loss: there it is the discriminator that learns and the "
    "picture that stays as it is, in the generator's loss the other way round."
)
def weights_detached(real, noise, d_weight, g_weight):
    fake = noise @ g_weight
    d_loss = softplus(-(real @ d_weight)).mean() + softplus(fake @ d_weight.detach()).mean()
    return _gradients(d_loss, softplus(-(fake @ d_weight.detach())).mean(), [d_weight, g_weight])


@mistake(
    "The gradients reach the right player, but the generator's loss is the discriminator's: `softplus(fake_logits)` "
    "is small where the fake is found out."
)
def against_itself(real, noise, d_weight, g_weight):
    fake = noise @ g_weight
    d_loss = softplus(-(real @ d_weight)).mean() + softplus(fake.detach() @ d_weight).mean()
    return _gradients(d_loss, softplus(fake @ d_weight.detach()).mean(), [d_weight, g_weight])


q4 = Exercise(
    question=(
        "Repair `step_gradients(real, noise, d_weight, g_weight)`. The generator is `noise @ g_weight`, the "
        "discriminator `pictures @ d_weight`, and the function returns what the discriminator's loss and then the "
        "generator's non-saturating loss leave in (d_weight, g_weight). As it stands, each loss moves both players. "
        "Each should move its own player, and leave None in the other."
    ),
    reference=step_gradients,
    cases=_step_gradients_cases,
    mistakes=[
        both_move,
        discriminator_fooled,
        generator_betrayed,
        detached_for_both,
        logits_detached,
        weights_detached,
        against_itself,
    ],
    hints=[
        "`x.detach()` is the same numbers without their history: no gradient gets past it.",
        "For the discriminator, a fake is a picture like any other; where it comes from should not matter.",
        "The generator's gradient must pass through the discriminator, so there it is the weights, `d_weight`, that "
        "are detached, and not the pictures.",
    ],
    praise="Two players, two losses, and no gradient in the wrong hands, which no error message would have told you.",
    explanation=(
        "Training code often lets the second leak be: the optimizer of the generator holds the generator's weights "
        "only, and what gathers in the discriminator is cleared before its next step. Whoever forgets to clear it "
        "trains the discriminator to be fooled."
    ),
)


# 5. R1, and the gradient of a gradient


def r1_by_hand(real, weight, discriminator):
    real = real.clone().requires_grad_()
    logits = discriminator(real, weight)  # [N]
    (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)  # [N,3,H,W]
    penalty = slope.square().flatten(1).sum(dim=1).mean() / 2
    (gradient,) = torch.autograd.grad(penalty, weight)
    return penalty, gradient


def _bent(pictures, weight):
    """A discriminator whose slope depends on the picture: pictures [N,3,H,W], weight [3*H*W] -> logits [N]."""
    return 3 * (pictures.flatten(1) @ weight).tanh()


def _r1_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    real = torch.rand(4, 3, 2, 2, generator=generator) * 2 - 1
    weight = 0.5 * torch.randn(12, generator=generator)
    return {
        "four pictures": (real, weight.clone().requires_grad_(), _bent),
        "one picture": (real[:1].clone(), weight.clone().requires_grad_(), _bent),
    }


def _penalised(real, weight, discriminator, penalty_of, logit_of=torch.sum):
    """Another penalty on the slopes [N,3*H*W], and its gradient."""
    real = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(logit_of(discriminator(real, weight)), real, create_graph=True)
    penalty = penalty_of(slope.flatten(1))
    return penalty, torch.autograd.grad(penalty, weight)[0]


@mistake(
    "The slope was taken of the mean logit, which is N times as flat: differentiate the sum, in which each "
    "picture has one logit of its own, and average afterwards."
)
def slope_of_the_mean(real, weight, discriminator):
    return _penalised(real, weight, discriminator, lambda s: s.square().sum(dim=1).mean() / 2, torch.mean)


@mistake(
    "This averages over the pixels, so a larger picture would be penalised less. The squared length of a slope "
    "is a sum over C, H and W; only the pictures are averaged."
)
def averaged_over_pixels(real, weight, discriminator):
    return _penalised(real, weight, discriminator, lambda s: s.square().mean() / 2)


@mistake("Twice too much: R1 is half the squared length, as the paper has it.")
def not_halved(real, weight, discriminator):
    return _penalised(real, weight, discriminator, lambda s: s.square().sum(dim=1).mean())


@mistake("This is the sum over the batch; take the mean, or a larger batch would be penalised more.")
def summed(real, weight, discriminator):
    return _penalised(real, weight, discriminator, lambda s: s.square().sum() / 2)


@mistake("That is the length of the slope; R1 takes its square, which is gentle where the slope is nearly flat.")
def not_squared(real, weight, discriminator):
    return _penalised(real, weight, discriminator, lambda s: s.norm(dim=1).mean() / 2)


@mistake(
    "That is the penalty of WGAN-GP, which wants slopes of length 1; R1 wants a flat discriminator at real pictures: 0."
)
def slope_of_one(real, weight, discriminator):
    return _penalised(real, weight, discriminator, lambda s: (s.norm(dim=1) - 1).square().mean())


@mistake("WGAN-GP's penalty, halved: it wants slopes of length 1, and R1 wants them to be 0.")
def half_slope_of_one(real, weight, discriminator):
    return _penalised(real, weight, discriminator, lambda s: (s.norm(dim=1) - 1).square().mean() / 2)


@mistake(
    "That is the slope in the weights, which training follows; R1 asks how fast the logit changes as the picture does."
)
def slope_in_the_weights(real, weight, discriminator):
    (slope,) = torch.autograd.grad(discriminator(real, weight).sum(), weight, create_graph=True)
    penalty = slope.square().sum() / 2
    return penalty, torch.autograd.grad(penalty, weight)[0]


q5 = Exercise(
    question=(
        "Write `r1_by_hand(real, weight, discriminator)`: `discriminator(real, weight)` gives logits [N] for "
        "pictures [N,3,H,W]. Return the R1 penalty, half the squared length of each logit's gradient in its own "
        "picture, averaged over N, and then the gradient of that penalty in `weight`, by which a step would lower it."
    ),
    reference=r1_by_hand,
    cases=_r1_cases,
    mistakes=[
        slope_of_the_mean,
        averaged_over_pixels,
        not_halved,
        summed,
        not_squared,
        slope_of_one,
        half_slope_of_one,
        slope_in_the_weights,
    ],
    hints=[
        "The pictures need a gradient before the discriminator sees them: `real.clone().requires_grad_()`.",
        "`torch.autograd.grad(logits.sum(), real)` holds all N gradients, as picture k touches logit k alone.",
        "If autograd says that the penalty does not require grad, the first gradient was computed and its history "
        "thrown away: `create_graph=True` keeps it.",
    ],
    praise="You have differentiated a gradient: the discriminator learns to be flat where the real pictures are.",
    explanation=(
        "Where a discriminator is steep at real pictures, it pulls the generator past them, and the two circle each "
        "other for ever. Without `create_graph=True` the penalty would be a number like any other, printed in the log "
        "and felt by nobody."
    ),
)


# 6. Truncation, and the mean of what


def pull_to_mean(w, classes, means, psi):
    mean = means[classes]  # [N,D]
    return mean + psi * (w - mean)


def _pull_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    means = 3 * torch.randn(5, 4, generator=generator)
    classes = torch.tensor([4, 0, 2, 2, 1, 0])
    w = means[classes] + torch.randn(6, 4, generator=generator)
    return {
        "psi 0.7": (w, classes, means, 0.7),
        "psi 0": (w, classes, means, 0.0),
        "psi 1": (w, classes, means, 1.0),
        "psi -1, the opposite": (w, classes, means, -1.0),
    }


@mistake("The other way round: psi 1 is to leave w as it is, and psi 0 to give the mean.")
def other_way_round(w, classes, means, psi):
    return pull_to_mean(w, classes, means, 1 - psi)


@mistake(
    "This draws w to 0, and 0 is the mean of z and not of w: the mapping network has bent the space. At psi 0 all "
    "classes would become one and the same picture."
)
def to_zero(w, classes, means, psi):
    return psi * w


@mistake(
    "All pictures are drawn to one mean, over all classes: a rocket becomes a little of everything. Each has the "
    "mean of its own class, `means[classes]`."
)
def one_mean_for_all(w, classes, means, psi):
    return means.mean(dim=0) + psi * (w - means.mean(dim=0))


@mistake("The mean of this batch depends on who else happens to be in it: use the mean of the picture's own class.")
def mean_of_the_batch(w, classes, means, psi):
    return w.mean(dim=0) + psi * (w - w.mean(dim=0))


@mistake("At psi 1 this gives mean + w, and it should give w: what psi shortens is the way from the mean, w - mean.")
def distance_forgotten(w, classes, means, psi):
    return means[classes] + psi * w


q6 = Exercise(
    question=(
        "Write `pull_to_mean(w, classes, means, psi)`: truncation for a generator that is told the class. w is [N,D], "
        "`classes` [N] holds the class of each picture and `means` [K,D] the mean w of each class. psi 1 leaves w as "
        "it is, 0 gives the mean, and in between the way to the mean is shortened in proportion."
    ),
    reference=pull_to_mean,
    cases=_pull_cases,
    mistakes=[other_way_round, to_zero, one_mean_for_all, mean_of_the_batch, distance_forgotten],
    hints=[
        "Every w is its class's mean and a step away from it. psi says how much of the step is taken.",
        "`means[classes]` is [N,D]: row n is the mean for picture n.",
    ],
    praise="One number now trades variety for safety, after training and without touching a weight.",
    explanation=(
        "Near the mean lie the pictures that the generator has practised most, far out the rare ones that it draws "
        "badly. Truncation looks like better quality and is less variety: precision rises and recall falls. Compare "
        "two models at the same psi or not at all."
    ),
)


# 7. Does it draw what it was asked for, and everything?


def named_and_covered(asked, named, num_objects):
    right = asked == named  # [N]
    covered = 0
    for k in range(num_objects):
        covered += int(right[asked == k].float().mean() >= 0.1)
    return right.float().mean().item(), covered


def _named_cases() -> dict[str, tuple]:
    rows = [  # for each object asked for: what was seen, and how often
        {0: 20},
        {1: 18, 4: 2},
        {2: 12, 4: 8},
        {3: 20},
        {4: 1, 3: 19},  # one hit, which may be chance
        {6: 20},
        {6: 4, 5: 16},  # the only pictures of object 5 are those where it was not asked for
        {7: 30, 6: 30},
    ]
    asked = torch.cat([torch.full((sum(row.values()),), k) for k, row in enumerate(rows)])
    named = torch.cat([torch.full((count,), name) for row in rows for name, count in row.items()])
    return {
        "a generator that never learnt objects 4 and 5": (asked, named, 8),
        "a collapsed generator, which draws nothing but object 3": (asked, torch.full_like(asked, 3), 8),
    }


@mistake(
    "The share is right. You count the names that occur at all, but a picture that the judge takes for a cat is no "
    "cat that was asked for: only right names count."
)
def names_that_occur(asked, named, num_objects):
    return named_and_covered(asked, named, num_objects)[0], len(named.unique())


@mistake(
    "The share is right. One hit is enough for you, and in 25 tries one can come by chance; at least a tenth of the "
    "pictures in which an object was asked for should show it."
)
def one_hit_is_enough(asked, named, num_objects):
    return named_and_covered(asked, named, num_objects)[0], len(named[asked == named].unique())


@mistake(
    "The share is right. No object can fill a tenth of all pictures if there are many objects: the tenth is of the "
    "pictures in which this object was asked for."
)
def tenth_of_all(asked, named, num_objects):
    right = asked == named
    share = torch.bincount(asked[right], minlength=num_objects) / len(asked)
    return right.float().mean().item(), int((share >= 0.1).sum())


@mistake(
    "The share is right. This is the precision of a name: of the pictures called a cat, how many were to be one. "
    "Turn it round: of the pictures in which a cat was asked for, how many are called one."
)
def of_the_named(asked, named, num_objects):
    right = asked == named
    covered = sum(int(right[named == k].float().mean() >= 0.1) for k in range(num_objects) if (named == k).any())
    return right.float().mean().item(), covered


@mistake("The share is right. Return how many objects are covered as a count, and not as a fraction.")
def covered_as_fraction(asked, named, num_objects):
    share, covered = named_and_covered(asked, named, num_objects)
    return share, covered / num_objects


@mistake("The share is right. You count the objects that it does not draw; count those that it does.")
def missing(asked, named, num_objects):
    share, covered = named_and_covered(asked, named, num_objects)
    return share, num_objects - covered


@mistake("In per cent; give the share as a fraction between 0 and 1.")
def per_cent(asked, named, num_objects):
    share, covered = named_and_covered(asked, named, num_objects)
    return 100 * share, covered


q7 = Exercise(
    question=(
        "Write `named_and_covered(asked, named, num_objects)`: `asked` [N] is the object that the generator was asked "
        "to draw, `named` [N] what the judge sees in the picture. Return the share of pictures that are named right, "
        "and how many objects are covered: named right in at least a tenth of the pictures in which they were asked "
        "for. Every object was asked for at least once."
    ),
    reference=named_and_covered,
    cases=_named_cases,
    mistakes=[
        names_that_occur,
        one_hit_is_enough,
        tenth_of_all,
        of_the_named,
        covered_as_fraction,
        missing,
        per_cent,
    ],
    hints=[
        "`asked == named` is True where the picture shows what was asked for; its mean is the first number.",
        "For object k, look only at the pictures with `asked == k`: in which share of them is it named right?",
        "Count the objects for which that share is at least 0.1.",
    ],
    praise="You can now see a collapse in one number, before you have looked at a single picture.",
    explanation=(
        "A collapsed generator can be named right whenever its favourite is asked for, and its pictures may be "
        "flawless. What gives it away is all that it no longer draws."
    ),
)


# 8. Reading a run


def one_picture_each():
    return 3


@mistake(
    "Run 1 draws nothing that looks real: precision is 0. Its losses are those of a balanced game, because neither "
    "player has learnt anything: losses compare the players with each other and not with the world."
)
def noise():
    return 1


@mistake(
    "Run 2 has collapsed as well, but onto 7 of the 40 objects. The one sought draws all of them. What does it lack?"
)
def few_objects():
    return 2


@mistake(
    "Run 4 is the healthy one: recall says that it finds more than half of the variety of real pictures, although "
    "fewer of its pictures are named right than in run 3."
)
def healthy():
    return 4


@mistake(
    "In run 5 the discriminator has won: its loss is almost 0, the generator's is high, and what it draws lies "
    "nowhere near the real pictures."
)
def discriminator_won():
    return 5


q8 = Exercise(
    question=(
        "Five runs on 40 objects. "
        "Run 1: losses 1.39 (discriminator) and 0.69 (generator), precision 0 %, recall 0 %, named right 3 %, "
        "covered 1. "
        "Run 2: losses 0.9 and 1.5, precision 91 %, recall 4 %, named right 17 %, covered 7. "
        "Run 3: losses 1.1 and 1.2, precision 94 %, recall 5 %, named right 92 %, covered 40. "
        "Run 4: losses 1.1 and 1.2, precision 75 %, recall 58 %, named right 83 %, covered 40. "
        "Run 5: losses 0.01 and 9.8, precision 0 %, recall 0 %, named right 2 %, covered 1. "
        "Which one has learnt to draw every object, but always the same picture of it? Put its number into "
        "`one_picture_each`."
    ),
    reference=one_picture_each,
    mistakes=[noise, few_objects, healthy, discriminator_won],
    hints=[
        "Every object is drawn: so nearly all of the 40 are covered. Which runs are left?",
        "Precision: how much of what it draws looks real. Recall: how much of what is real it draws.",
    ],
    praise="Its losses are those of the healthy run and it is named right more often: only recall gives it away.",
    explanation=(
        "Run 3. A generator that ignores its noise can be excellent in every measure that looks at one picture at a "
        "time. Variety shows only in measures of the whole set, such as recall or the Fréchet distance, or when you "
        "draw the same object from several noises and look."
    ),
)
