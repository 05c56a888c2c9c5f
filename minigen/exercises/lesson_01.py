"""Lesson 01: preparing data, the loss, and what a score is worth."""

import math

import torch

from minigen.exercises.frame import Exercise, mistake

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6"]


# 1. Standardise, and leak nothing


def standardise(train, held_out):
    mean = train.mean(dim=(0, 2, 3), keepdim=True)  # [1,3,1,1]
    std = train.std(dim=(0, 2, 3), keepdim=True)  # [1,3,1,1]
    return (train - mean) / std, (held_out - mean) / std


def _standardise_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.2, 0.5, 0.8]).reshape(1, 3, 1, 1)
    train = torch.rand(16, 3, 8, 8, generator=generator) * spread + 0.1
    dark = torch.rand(8, 3, 8, 8, generator=generator) * spread * 0.5
    return {"held-out pictures that are darker": (train, dark)}


@mistake(
    "The held-out pictures are measured by their own mean and deviation. In use a single picture may "
    "come, and what makes it special (here, that it is dark) would be divided away: use the numbers of "
    "`train` for both."
)
def by_its_own(train, held_out):
    return standardise(train, train)[0], standardise(held_out, held_out)[0]


@mistake(
    "This is the leak: mean and deviation were taken over both sets, so the training has seen something "
    "of the held-out pictures. Take them from `train` alone."
)
def leaked(train, held_out):
    both = torch.cat([train, held_out])
    return standardise(both, train)[1], standardise(both, held_out)[1]


@mistake(
    "Each pixel has a mean and a deviation of its own here, 3 x H x W of each. A pixel in the corner "
    "should be treated as one in the middle: one number for each channel, over N, H and W."
)
def each_pixel(train, held_out):
    mean, std = train.mean(dim=0), train.std(dim=0)
    return (train - mean) / std, (held_out - mean) / std


@mistake(
    "One mean and one deviation serve all three channels; each channel needs its own: take them over dim=(0, 2, 3)."
)
def all_channels_alike(train, held_out):
    return (train - train.mean()) / train.std(), (held_out - train.mean()) / train.std()


@mistake("Divided before it was centred: `x / std - mean` is not `(x - mean) / std`.")
def divided_first(train, held_out):
    mean, std = train.mean(dim=(0, 2, 3), keepdim=True), train.std(dim=(0, 2, 3), keepdim=True)
    return train / std - mean, held_out / std - mean


@mistake("Divided by the variance; it is its root, the standard deviation, that makes the spread 1.")
def by_the_variance(train, held_out):
    mean, var = train.mean(dim=(0, 2, 3), keepdim=True), train.var(dim=(0, 2, 3), keepdim=True)
    return (train - mean) / var, (held_out - mean) / var


q1 = Exercise(
    question=(
        "Write `standardise(train, held_out)`, for pictures [N,3,H,W]: return both so that each channel of "
        "the training pictures has mean 0 and standard deviation 1, and nothing about the held-out ones "
        "leaks into the training."
    ),
    reference=standardise,
    cases=_standardise_cases,
    mistakes=[by_its_own, leaked, each_pixel, all_channels_alike, divided_first, by_the_variance],
    hints=[
        "One mean and one deviation for each channel: three of each, however many the pictures, however large.",
        "`train.mean(dim=(0, 2, 3), keepdim=True)` is [1,3,1,1], which fits any batch.",
        "Ask of every number you use: would I have it if the held-out pictures came only next year?",
    ],
    praise="What is held out now tells you how the network does on pictures that nobody has seen.",
    explanation=(
        "Mean and deviation are learnt from data, just as weights are, so they are learnt from the training "
        "set and then kept. The held-out set need not have mean 0, and where it has not, that says "
        "something."
    ),
    tolerance=5e-3,  # with or without Bessel's correction
)


# 2. What the loss should be before anything is learnt


def loss_at_start():
    return math.log(40)


@mistake("The sign: a probability of 1/40 has the logarithm -3.69, and the loss is minus that.")
def negative():
    return math.log(1 / 40)


@mistake("That is in bits: cross-entropy takes the natural logarithm, `math.log`.")
def in_bits():
    return math.log2(40)


@mistake("That is the logarithm to base 10; cross-entropy takes the natural one, `math.log`.")
def base_10():
    return math.log10(40)


@mistake("That is the probability of the right object; the loss is minus its logarithm.")
def probability():
    return 1 / 40


@mistake(
    "That is how often a guess is wrong; the loss asks how surprising the right answer was: minus the log of 1/40."
)
def error_rate():
    return 39 / 40


@mistake("The loss is smaller than that: it is the logarithm of the number of objects that are still possible.")
def count():
    return 40


q2 = Exercise(
    question=(
        "A network that has learnt nothing gives each of 40 objects the same probability. "
        "What is its cross-entropy? Put the number into `loss_at_start`; 0.01 more or less will do."
    ),
    reference=loss_at_start,
    mistakes=[negative, in_bits, base_10, probability, error_rate, count],
    hints=[
        "Cross-entropy is minus the natural logarithm of the probability that the right answer was given.",
        "Each object has the probability 1/40, the right one too.",
    ],
    praise="Look at the first loss of every run: far above this number, something is wrong before training has begun.",
    explanation=(
        "-ln(1/40) = ln 40 = 3.69. A network that starts at 10 is sure of wrong answers, one that starts at "
        "0.5 has been shown the labels."
    ),
    tolerance=0.01 / (1 + math.log(40)),
)


# 3. Cross-entropy that survives large numbers


def cross_entropy(logits, labels):
    shifted = logits - logits.max(dim=1, keepdim=True).values  # [N,K]; the largest is 0, so exp stays in [0,1]
    log_total = shifted.exp().sum(dim=1).log()  # [N]
    return (log_total - shifted[torch.arange(len(labels)), labels]).mean()


def _cross_entropy_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=generator)
    large = torch.tensor([[1000.0, -1000.0, 0.0], [-1000.0, -1000.0, -1000.0], [0.0, 1000.0, 999.0]])
    return {
        "ordinary logits": (logits, torch.tensor([0, 1, 2, 3, 0, 1])),
        "logits of 1000 and -1000": (large, torch.tensor([1, 2, 1])),
    }


@mistake(
    "Right for ordinary logits, but at 1000 the result is no longer a number: exp(1000) is infinite, "
    "and the log of a probability that was rounded to 0 is too. Subtract each row's maximum first, and "
    "form log-probabilities, not probabilities.",
    looks_like=lambda given, expected: expected > 100 and not given.isfinite(),
)
def overflows(logits, labels):
    probabilities = logits.exp() / logits.exp().sum(dim=1, keepdim=True)
    return -probabilities[torch.arange(len(labels)), labels].log().mean()


@mistake("This is the sum over the batch; take the mean, or the step size would depend on the batch size.")
def summed(logits, labels):
    return cross_entropy(logits, labels) * len(labels)


@mistake(
    "Softmax was applied twice: logits go in, not probabilities. A network so trained learns slowly, "
    "and no error tells you why."
)
def softmax_twice(logits, labels):
    return cross_entropy(logits.softmax(dim=1), labels)


@mistake("The sign is wrong: this number would be made smaller by giving the right answer less probability.")
def negated(logits, labels):
    return -cross_entropy(logits, labels)


@mistake("Softmax went over the pictures (dim=0); it is the K answers to one picture that compete: dim=1.")
def over_the_batch(logits, labels):
    return -logits.log_softmax(dim=0)[torch.arange(len(labels)), labels].mean()


@mistake("That is the logarithm to base 2; the loss is in nats, by the natural logarithm `log`.")
def log_base_2(logits, labels):
    return cross_entropy(logits, labels) / math.log(2)


@mistake("These are the logits of the right answers alone; without the log of the sum, the other answers are free.")
def logits_alone(logits, labels):
    return -logits[torch.arange(len(labels)), labels].mean()


q3 = Exercise(
    question=(
        "Write `cross_entropy(logits, labels)` from `max`, `exp`, `sum` and `log`: logits [N,K], labels "
        "[N], one number out, the mean over the batch; it must hold for logits of 1000 too."
    ),
    reference=cross_entropy,
    cases=_cross_entropy_cases,
    mistakes=[overflows, summed, softmax_twice, negated, over_the_batch, log_base_2, logits_alone],
    hints=[
        "The log-probability of answer k is `logits[k] - log(sum(exp(logits)))`, in each row.",
        "Subtracting one number from a whole row changes no probability. Which number tames exp?",
        "`logits[torch.arange(len(labels)), labels]` picks the right answer's number out of each row.",
    ],
    praise="This is what `torch.nn.functional.cross_entropy` computes, and why it wants logits and not probabilities.",
    explanation=(
        "With the row's maximum subtracted, every exp lies between 0 and 1 and at least one of them is 1, "
        "so the sum is never 0 and its logarithm always finite."
    ),
)


# 4. What a score is worth


def accuracy(logits, labels):
    p = (logits.argmax(dim=1) == labels).float().mean().item()
    return p, (p * (1 - p) / len(labels)) ** 0.5


def _accuracy_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (400,), generator=generator)
    logits = torch.randn(400, 5, generator=generator)
    logits[torch.arange(400), labels] += 2  # right about four times in five
    return {"400 pictures": (logits, labels), "the first 200 of them": (logits[:200], labels[:200])}


@mistake(
    "The accuracy is right. `sqrt(p * (1 - p))` is how much single answers spread; the mean of N of "
    "them is steadier, by a factor of sqrt(N)."
)
def spread_of_one(logits, labels):
    p = accuracy(logits, labels)[0]
    return p, math.sqrt(p * (1 - p))


@mistake("The accuracy is right. `p * (1 - p) / N` is the variance; the standard error is its root.")
def no_root(logits, labels):
    p = accuracy(logits, labels)[0]
    return p, p * (1 - p) / len(labels)


@mistake(
    "The accuracy is right. The N belongs under the root: four times the pictures halve the error, they "
    "do not quarter it."
)
def n_outside(logits, labels):
    p = accuracy(logits, labels)[0]
    return p, math.sqrt(p * (1 - p)) / len(labels)


@mistake("In per cent; give fractions between 0 and 1, or the formula for the error does not hold.")
def per_cent(logits, labels):
    p, error = accuracy(logits, labels)
    return 100 * p, 100 * error


@mistake("The accuracy is right. That is 1.96 standard errors, half the width of a 95 % interval; give one.")
def interval(logits, labels):
    p, error = accuracy(logits, labels)
    return p, 1.96 * error


@mistake("That is how often it is wrong; accuracy is how often it is right.")
def how_often_wrong(logits, labels):
    p, error = accuracy(logits, labels)
    return 1 - p, error


q4 = Exercise(
    question=(
        "Write `accuracy(logits, labels)`: return the fraction of pictures whose largest logit is at the "
        "label, and the standard error of that fraction."
    ),
    reference=accuracy,
    cases=_accuracy_cases,
    mistakes=[spread_of_one, no_root, n_outside, per_cent, interval, how_often_wrong],
    hints=[
        "`logits.argmax(dim=1) == labels` is True where the network is right; the mean of that is the accuracy p.",
        "One answer is right with probability p: its variance is `p * (1 - p)`.",
        "The variance of a mean of N answers is that over N; the standard error is the root of it.",
    ],
    praise="Two networks that differ by less than about two standard errors have not been told apart.",
    explanation=(
        "Right or wrong is a coin that falls on right with probability p. On 400 pictures at 80 % the error "
        "is 2 %: nobody has measured the third digit."
    ),
    tolerance=2e-4,
)


# 5. An augmentation must keep the labels true


def mirror(images, first, second, relation, chosen):
    images = torch.where(chosen[:, None, None, None], images.flip(3), images)
    swap = chosen & (relation == 1)  # in a mirror, who stood left stands right, and "first" means left
    return images, torch.where(swap, second, first), torch.where(swap, first, second)


def _mirror_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, 3, 4, 4, generator=generator)
    first, second = torch.tensor([10, 11, 12, 13, 14, 15]), torch.tensor([0, 21, 22, 0, 24, 25])
    relation = torch.tensor([0, 1, 2, 0, 1, 2])
    chosen = torch.tensor([True, True, True, False, False, False])
    return {
        "three of six pictures chosen": (images, first, second, relation, chosen),
        "no picture chosen": (images, first, second, relation, torch.zeros(6, dtype=torch.bool)),
    }


@mistake(
    "The pictures are right, the labels no longer true: in a mirrored `left of`, the other object "
    "stands left, so first and second change places."
)
def labels_left(images, first, second, relation, chosen):
    return mirror(images, first, second, relation, chosen)[0], first, second


@mistake("All pictures were mirrored; only those that are `chosen` should be: each picture has a coin of its own.")
def all_of_them(images, first, second, relation, chosen):
    return mirror(images, first, second, relation, torch.ones_like(chosen))


@mistake("The pictures stand on their heads: in [N,3,H,W], left and right run along dim=3.")
def upside_down(images, first, second, relation, chosen):
    images = torch.where(chosen[:, None, None, None], images.flip(2), images)
    return images, *mirror(images, first, second, relation, chosen)[1:]


@mistake("The labels were swapped whatever the relation; a mirror on the wall leaves up and down as they are.")
def all_relations(images, first, second, relation, chosen):
    return mirror(images, first, second, torch.ones_like(relation), chosen)


@mistake("The labels were swapped in pictures that were not mirrored, too: swap only where `chosen` is True.")
def labels_of_all(images, first, second, relation, chosen):
    images = mirror(images, first, second, relation, chosen)[0]
    return images, *mirror(images, first, second, relation, torch.ones_like(chosen))[1:]


@mistake("Second became first, but not first second: swap both, and keep the old one until the other is made.")
def half_swapped(images, first, second, relation, chosen):
    images, first, _ = mirror(images, first, second, relation, chosen)
    return images, first, second


q5 = Exercise(
    question=(
        "Write `mirror(images, first, second, relation, chosen)`: swap left and right in the pictures "
        "[N,3,H,W] where `chosen` [N] is True, and return the pictures, first and second so that the labels "
        "[N] stay true. As in the scenes, a relation of 0 means that the first object is alone, 1 that it "
        "is left of the second, 2 that it is above it."
    ),
    reference=mirror,
    cases=_mirror_cases,
    mistakes=[labels_left, all_of_them, upside_down, all_relations, labels_of_all, half_swapped],
    hints=[
        "`images.flip(3)` mirrors all pictures; `torch.where(condition, one, other)` chooses.",
        "For `where` to fit, the condition needs the shape [N,1,1,1]: `chosen[:, None, None, None]`.",
        "Which of the three relations is another one in a mirror? Only there do first and second swap.",
    ],
    praise="An augmentation adds true examples; had the labels stayed behind, you would have trained on lies.",
    explanation=(
        "Before you augment, ask what the label says that the change undoes. A mirrored apple is an apple; "
        "a mirrored 'cat left of rocket' is a 'rocket left of cat', and a mirrored digit is often no digit "
        "at all."
    ),
)


# 6. Does it know when it does not know?


def calibration_error(confidence, correct, num_bins):
    which = (confidence * num_bins).long().clamp(max=num_bins - 1)  # [N]; a confidence of 1 goes into the last bin
    error = 0.0
    for k in range(num_bins):
        inside = which == k
        if inside.any():
            gap = confidence[inside].mean() - correct[inside].float().mean()
            error += inside.float().mean().item() * gap.abs().item()
    return error


def _calibration_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    confidence = 0.25 + 0.75 * torch.rand(300, generator=generator).sqrt()  # of ten bins, two are empty
    confidence[0] = 1.0
    chance = torch.where(confidence > 0.75, confidence - 0.25, confidence + 0.2)  # too sure above, too modest below
    correct = torch.rand(300, generator=generator) < chance
    often_right = torch.rand(300, generator=generator) < 0.95
    return {
        "a network that is too modest": (confidence, often_right, 10),
        "10 bins, some of them empty": (confidence, correct, 10),
        "4 bins": (confidence, correct, 4),
    }


def _bins(confidence, correct, num_bins):
    """Share, mean confidence and accuracy of each bin that is not empty."""
    which = (confidence * num_bins).long().clamp(max=num_bins - 1)
    for k in which.unique():
        inside = which == k
        yield (
            inside.float().mean().item(),
            confidence[inside].mean().item(),
            correct[inside].float().mean().item(),
        )


@mistake("An empty bin has no mean: 0 / 0 is nan, and one nan spoils the sum. Skip the empty bins.", math.isnan)
def empty_bins(confidence, correct, num_bins):
    return math.nan


@mistake(
    "All bins count alike here, the one with three pictures as much as the one with a hundred: weigh each by its share."
)
def unweighted(confidence, correct, num_bins):
    gaps = [abs(sure - right) for _, sure, right in _bins(confidence, correct, num_bins)]
    return sum(gaps) / len(gaps)


@mistake(
    "The same, but divided by the number of all bins, the empty ones too: weigh each bin by its share of the pictures."
)
def unweighted_with_empty(confidence, correct, num_bins):
    return sum(abs(sure - right) for _, sure, right in _bins(confidence, correct, num_bins)) / num_bins


@mistake("Too sure in one bin and too modest in another cancel here: take `abs` within each bin, before you add.")
def cancelling(confidence, correct, num_bins):
    return sum(share * (sure - right) for share, sure, right in _bins(confidence, correct, num_bins))


@mistake("The sum cancels before `abs` is taken, so the bins do nothing: take `abs` within each bin.")
def abs_at_the_end(confidence, correct, num_bins):
    return abs(cancelling.example(confidence, correct, num_bins))


@mistake("That is the worst bin; the expected error is the mean over all, each weighed by its share of the pictures.")
def worst_bin(confidence, correct, num_bins):
    return max(abs(sure - right) for _, sure, right in _bins(confidence, correct, num_bins))


q6 = Exercise(
    question=(
        "Write `calibration_error(confidence, correct, num_bins)`: sort the answers by confidence [N] in "
        "[0,1] into bins of equal width, and return the mean of |mean confidence - accuracy| over the bins, "
        "each weighed by its share of the answers."
    ),
    reference=calibration_error,
    cases=_calibration_cases,
    mistakes=[empty_bins, unweighted, unweighted_with_empty, cancelling, abs_at_the_end, worst_bin],
    hints=[
        "The bin of an answer is `(confidence * num_bins).long()`; only confidence 1 falls out at the top.",
        "In each bin: how sure was it on average, and how often was it right? The gap counts, up or down.",
        "The weight of a bin is the fraction of all answers in it; an empty bin weighs nothing and is skipped.",
    ],
    praise="You can now say whether 90 % sure means right nine times in ten, which a judge of other networks must be.",
    explanation=(
        "A network can be right 97 times in 100 and still say 100 % each time. Whoever acts on its "
        "confidence, as later lessons do when they let it steer a generator, needs the two to agree."
    ),
    tolerance=1e-3,
)
