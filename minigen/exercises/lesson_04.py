"""Lesson 04: what a Gram matrix keeps, how features are tapped, and what makes a stylised film flicker."""

import functools

import torch
from torch import nn

from minigen.exercises.frame import Exercise, mistake

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8"]


# 1. Which features occur together


def gram_matrix(features):
    f = features.flatten(2)  # [N,C,L], L = H W places
    return f @ f.mT / f[0].numel()  # [N,C,C]


def _gram_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "two pictures of three features at 4 x 5 places": (torch.randn(2, 3, 4, 5, generator=generator),),
        "one picture of six features at 3 x 3 places": (torch.randn(1, 6, 3, 3, generator=generator) + 1,),
    }


@mistake(
    "One matrix for the whole batch: the pictures are mixed, and each gets the style of all. Keep N as an axis, "
    "[N,C,C].",
    looks_like=lambda given, expected: given.ndim == 2 and given.shape == expected.shape[1:],
)
def batch_mixed(features):
    f = features.transpose(0, 1).flatten(1)  # [C,N*L]
    return f @ f.mT / f.numel()


@mistake(
    "The shape is right, and every picture has the same matrix: that of the whole batch. The places of one picture "
    "must not be multiplied with those of another."
)
def batch_mixed_and_spread(features):
    return batch_mixed.example(features).expand(len(features), -1, -1)


@mistake("Not divided by anything: a picture twice as wide gets a matrix twice as large. Divide by C * H * W.")
def undivided(features):
    return gram_matrix(features) * features[0].numel()


@mistake("Divided by the number of places alone; the C is missing from C * H * W.")
def divided_by_places(features):
    return gram_matrix(features) * features.shape[1]


@mistake(
    "Divided by the number of channels alone, so that the matrix still grows with the picture: divide by C * H * W."
)
def divided_by_channels(features):
    return gram_matrix(features) * features[0, 0].numel()


@mistake("Divided by N too, so that a picture's matrix depends on how many others are in the batch.")
def divided_by_batch(features):
    return gram_matrix(features) / len(features)


@mistake("Divided by C * C, how many numbers the matrix has; the sums go over places, so divide by C * H * W.")
def divided_by_entries(features):
    return undivided.example(features) / features.shape[1] ** 2


@mistake(
    "This compares places with places, [N,L,L]: it keeps where things are and forgets which features they were. Sum "
    "over the places and keep the channels: f f^T, not f^T f.",
    looks_like=lambda given, expected: given.shape == (2, 20, 20),  # of the first case
)
def places_by_places(features):
    f = features.flatten(2)
    return f.mT @ f / f[0].numel()


@mistake(
    "This is the covariance: the mean of each channel was taken away first. A Gram matrix keeps it; how strong a "
    "feature is on the whole is part of the style."
)
def covariance(features):
    return gram_matrix(features - features.mean(dim=(2, 3), keepdim=True))


@mistake("Each channel was brought to length 1, so how strong it is has gone: divide by C * H * W and nothing else.")
def cosines(features):
    f = nn.functional.normalize(features.flatten(2), dim=2)
    return f @ f.mT


q1 = Exercise(
    question=(
        "Write `gram_matrix(features)` for features [N,C,H,W]: one matrix [C,C] for each picture, [N,C,C]. Its number "
        "at i, j is the product of channels i and j, summed over all places and divided by C * H * W."
    ),
    reference=gram_matrix,
    cases=_gram_cases,
    mistakes=[
        batch_mixed,
        batch_mixed_and_spread,
        undivided,
        divided_by_places,
        divided_by_channels,
        divided_by_batch,
        divided_by_entries,
        places_by_places,
        covariance,
        cosines,
    ],
    hints=[
        "First make the places one axis: `features.flatten(2)` is [N,C,L] with L = H * W.",
        "f f^T of each picture is `f @ f.mT`: a product of matrices [C,L] and [L,C], for all N at once.",
        "Divide by how many numbers one picture has: `f[0].numel()`.",
    ],
    praise="Where things are is summed away; which features go together is left, and that is what you see as a manner.",
    explanation=(
        "Shuffle the places in the same way for all channels, and the matrix stays the same: that is why it may be "
        "asked of a picture with other things in other places. One matrix a picture: a batch of two must give what two "
        "batches of one give."
    ),
)


# 2. How far from a style


def style_distance(features, style_features):
    f, s = features.flatten(2), style_features.flatten(2)  # [N,C,L], each with its own L
    own, style = f @ f.mT / f[0].numel(), s @ s.mT / s[0].numel()  # [N,C,C]
    return (own - style).square().sum(dim=(1, 2)) / style.square().sum(dim=(1, 2))  # [N]


def _distance_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    features, style = (torch.rand(2, 3, 4, 5, generator=generator) * s for s in (1.0, 1.5))
    order = torch.randperm(20, generator=generator)
    shuffled = style.flatten(2)[:, :, order].unflatten(2, (4, 5))
    wider = torch.rand(2, 3, 6, 7, generator=generator) - 0.2
    return {
        "two pictures and their styles": (features, style),
        "the style's own features with their places shuffled": (shuffled, style.clone()),
        "styles of another size": (features.clone(), wider),
    }


@mistake(
    "The features themselves were compared, place by place: that is the content loss, and asks for the painting's "
    "things in the painting's places. Compare the Gram matrices."
)
def place_by_place(features, style_features):
    error = (features - style_features).square().flatten(1).sum(dim=1)
    return error / style_features.square().flatten(1).sum(dim=1)


@mistake(
    "The squared distance is right, and not yet a share: divide by the sum of the squares of the style's own matrix, "
    "or the tap with the largest features decides everything."
)
def not_relative(features, style_features):
    return (gram_matrix(features) - gram_matrix(style_features)).square().sum(dim=(1, 2))


@mistake(
    "The mean of the squares, and not a share: taps with large features would decide everything. Divide by the mean "
    "of the squares of the style's own matrix."
)
def mean_square(features, style_features):
    return (gram_matrix(features) - gram_matrix(style_features)).square().mean(dim=(1, 2))


@mistake(
    "A share of the picture's own squares, which change while you optimise: the picture could lower the loss by "
    "larger features. Divide by the style's, which stay."
)
def share_of_own(features, style_features):
    own = gram_matrix(features)
    return (own - gram_matrix(style_features)).square().sum(dim=(1, 2)) / own.square().sum(dim=(1, 2))


@mistake("That is the root of it: asked for is the squared distance as a share of the squares.")
def rooted(features, style_features):
    return style_distance(features, style_features).sqrt()


@mistake("The absolute differences were added up; square them, and the style's own numbers too.")
def absolute_distance(features, style_features):
    own, style = gram_matrix(features), gram_matrix(style_features)
    return (own - style).abs().sum(dim=(1, 2)) / style.abs().sum(dim=(1, 2))


@mistake("One number, the mean over the batch; each picture has a distance of its own, [N].")
def mean_over_pictures(features, style_features):
    return style_distance(features, style_features).mean()


@mistake("One number for the whole batch: sum over the two axes of the matrix only, `dim=(1, 2)`, which leaves [N].")
def sum_over_pictures(features, style_features):
    own, style = gram_matrix(features), gram_matrix(style_features)
    return (own - style).square().sum() / style.square().sum()


@mistake(
    "Each number of the matrix was compared as a share of itself, so the smallest ones, near 0, decide. First add up, "
    "then divide."
)
def entry_by_entry(features, style_features):
    own, style = gram_matrix(features), gram_matrix(style_features)
    return ((own - style) / style).square().mean(dim=(1, 2))


@mistake(
    "Right while both have the same size. The style may have more places than the picture: divide each Gram matrix by "
    "its own C * H * W."
)
def sums_over_places(features, style_features):
    own, style = (gram_matrix(f) * f[0].numel() for f in (features, style_features))
    return (own - style).square().sum(dim=(1, 2)) / style.square().sum(dim=(1, 2))


q2 = Exercise(
    question=(
        "Write `style_distance(features, style_features)` for one tap: features [N,C,H,W] of N pictures and "
        "[N,C,h,w] of the style of each, with h and w of their own. Return one number for each picture, [N]: the "
        "squared distance of its Gram matrix from the style's, added up over the matrix, as a share of the sum of the "
        "squares of the style's matrix."
    ),
    reference=style_distance,
    cases=_distance_cases,
    mistakes=[
        place_by_place,
        not_relative,
        mean_square,
        share_of_own,
        rooted,
        absolute_distance,
        mean_over_pictures,
        sum_over_pictures,
        entry_by_entry,
        sums_over_places,
    ],
    hints=[
        "Two Gram matrices [N,C,C], each divided by its own C * H * W; their sizes agree whatever H and W are.",
        "`(own - style).square().sum(dim=(1, 2))` is one number a picture.",
        "Divide by `style.square().sum(dim=(1, 2))`: 0 is the style itself, 1 is where features of 0 are.",
    ],
    praise="The painting with all its places shuffled is at distance 0: this loss asks for a manner, not for things.",
    explanation=(
        "As a share, each tap counts the same, however large its features are. The style may be of any size, as its "
        "places are averaged away; the shuffled features prove that nothing is left of where they were."
    ),
)


# 3. A loss that grows with the picture


def gram_growth():
    return 4**2, 2**2, 1


def _off(place, *values):
    """Recognises three numbers of which the one at `place` is one of these values."""

    def looks_like(given, expected):
        return len(given) == len(expected) and any(abs(float(given[place]) - value) < 1e-3 for value in values)

    return looks_like


@mistake(
    "The first: twice the side is four times as many places, and every sum over them is four times as large. That is "
    "the matrix; the loss squares it.",
    looks_like=_off(0, 4),
)
def matrix_not_squared():
    return 4, 4, 1


@mistake(
    "The first: with twice the side, height and width both double, so that there are four times as many places, and "
    "not two.",
    looks_like=_off(0, 2),
)
def one_side_only():
    return 2, 4, 1


@mistake(
    "The first: the sums over the places are undivided here, so they grow with the picture. Only a mean would stay.",
    looks_like=_off(0, 1),
)
def taken_for_a_mean():
    return 1, 4, 1


@mistake(
    "The second: a matrix of twice as many rows has twice as many columns too, so there are four times as many "
    "differences to add up.",
    looks_like=_off(1, 2),
)
def rows_only():
    return 16, 2, 1


@mistake(
    "The second: each number of the matrix is a sum over places and stays as large as it was; there are only more of "
    "them to add up, C * C.",
    looks_like=_off(1, 8, 16),
)
def channels_like_places():
    return 16, 16, 1


@mistake(
    "The second: the squared differences are added up, not averaged, and there are C * C of them.",
    looks_like=_off(1, 1),
)
def entries_averaged():
    return 16, 1, 1


@mistake(
    "The third is both factors without the division. Four times as many places and twice as many channels: each "
    "number of the matrix is divided by 8 times as much.",
    looks_like=_off(2, 64),
)
def undivided_both():
    return 16, 4, 64


@mistake(
    "The third: each number of the matrix is half as large, and its square a quarter; but there are four times as many "
    "of them.",
    looks_like=_off(2, 0.25, 0.5),
)
def fewer_entries():
    return 16, 4, 1 / 4


@mistake(
    "The third: you divided the loss by 8, by which the matrix is divided; the loss squares the matrix, so divide by "
    "64.",
    looks_like=_off(2, 8),
)
def divided_once():
    return 16, 4, 64 / 8


@mistake(
    "The third: the places were averaged away and the channels were not; the Gram matrix is divided by C too.",
    looks_like=_off(2, 4),
)
def channels_undivided():
    return 16, 4, 4


q3 = Exercise(
    question=(
        "A style loss adds up the squared differences of two Gram matrices f f^T [C,C], divided by nothing. By what "
        "factor does it grow when both pictures get twice the side, and their features stay alike at four times as "
        "many places? By what factor when instead the tap has twice as many channels, each of the old ones twice? And "
        "when side and channels both double, but each Gram matrix is divided by its C * H * W? Work it out on paper, "
        "and put three numbers into `gram_growth`, in parentheses."
    ),
    reference=gram_growth,
    mistakes=[
        matrix_not_squared,
        one_side_only,
        taken_for_a_mean,
        rows_only,
        channels_like_places,
        entries_averaged,
        undivided_both,
        fewer_entries,
        divided_once,
        channels_undivided,
    ],
    hints=[
        "Ask two things: how large is each number of the matrix, a sum over places? And how many numbers are there?",
        "The loss squares the differences: matrices k times as large have a loss k * k times as large.",
        "For the third: multiply the first two, and divide by the square of what C * H * W grows by.",
    ],
    praise="Undivided, the shallow taps with their many places would drown the deep ones, at every size differently.",
    explanation=(
        "Four times as many places: a matrix 4 times, a loss 16 times as large. Twice as many channels: 4 times as "
        "many numbers of the same size. Divided, each number is 4 / 8 of what it was, its square a quarter, and there "
        "are four times as many: the loss stays, and a weight found at 128 pixels serves at 256."
    ),
    tolerance=1e-3,
)


# 4. Repair a tap


def taps_and_slope(x, layers, taps):
    x = x.clone().requires_grad_()
    h, found = x, []
    for k, layer in enumerate(layers):
        h = layer(h)
        if k in taps:
            found.append(h.clone())  # the next layer may work in place
    loss = sum(f.square().mean() for f in found)
    return found, torch.autograd.grad(loss, x)[0]


@functools.cache
def _layers() -> list[nn.Module]:
    """The beginning of a VGG in small; made once, as a module is equal to itself only."""
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        convs = [nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)]
    return [convs[0].requires_grad_(False), nn.ReLU(), convs[1].requires_grad_(False), nn.ReLU(), nn.AvgPool2d(2)]


def _tap_cases() -> dict[str, tuple]:
    layers = list(_layers())
    for relu in (layers[1], layers[3]):
        relu.inplace = True  # anew: an answer may have switched it off
    x = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return {
        "taps at both convolutions": (x, layers, [0, 2]),
        "taps before and after a ReLU and at the end": (x.clone(), list(layers), [0, 1, 4]),
    }


def _tapped(x, layers, taps, at):
    """The features h [N,C,H,W] as `at(k, before, after)` collects them, and the slope of their mean squares."""
    x = x.clone().requires_grad_()
    h, found = x, []
    for k, layer in enumerate(layers):
        before = h.clone()
        h = layer(h)
        if k in taps:
            found.append(at(k, before, h))
    return found, torch.autograd.grad(sum(f.square().mean() for f in found), x)[0]


@mistake(
    "The features of a convolution still come back without their negative values: the ReLU after it works in place and "
    "writes over them. Keep a copy at once, before the next layer runs."
)
def overwritten(x, layers, taps):
    return _tapped(x, layers, taps, lambda k, before, after: after)


@mistake(
    "The features are right. The gradient is still that of the overwritten ones: compute the loss from the copies, "
    "and copy without `detach`."
)
def slope_of_overwritten(x, layers, taps):
    return taps_and_slope(x, layers, taps)[0], overwritten.example(x, layers, taps)[1]


@mistake("These are the features that enter the layer; a tap is what leaves it: copy after `h = layer(h)`.")
def one_layer_early(x, layers, taps):
    return _tapped(x, layers, taps, lambda k, before, after: before)


@mistake(
    "The ReLUs were left out, so that nothing is overwritten, and it is another network now: from the second "
    "convolution on, all features are wrong."
)
def without_relu(x, layers, taps):
    skipped = [nn.Identity() if isinstance(layer, nn.ReLU) else layer for layer in layers]
    return taps_and_slope(x, skipped, taps)


@mistake("That is every layer's features; keep those of the layers numbered in `taps`.")
def every_layer(x, layers, taps):
    return taps_and_slope(x, layers, range(len(layers)))


@mistake("The features at the last tap are there, the others are missing: append them one after the other.")
def last_tap_only(x, layers, taps):
    return taps_and_slope(x, layers, taps[-1:])


q4 = Exercise(
    question=(
        "Repair `taps_and_slope(x, layers, taps)`. It runs pictures x [N,3,H,W] through the layers and returns a list "
        "of the features that leave the layers numbered in `taps`, and the gradient in x of the sum of their mean "
        "squares. The layers are as in torchvision's VGG: each ReLU has `inplace=True`. As it stands, nothing fails, "
        "and the features of the convolutions are wrong."
    ),
    reference=taps_and_slope,
    cases=_tap_cases,
    mistakes=[
        overwritten,
        slope_of_overwritten,
        one_layer_early,
        without_relu,
        every_layer,
        last_tap_only,
    ],
    hints=[
        "Look at `found[0].min()` after the loop. What does a convolution give, and what does a ReLU?",
        "`found` does not hold a copy of h but h itself, and the next ReLU writes into the same memory.",
        "`h.clone()` is a copy that the gradient still passes through; `h.detach()` would cut it off.",
    ],
    praise="Your taps hold what left the layer, and no later layer can change them.",
    explanation=(
        "PyTorch complains about work in place only where a gradient needs the old values; here none does, so the loss "
        "is computed of other features than you believe. Switching `inplace` off would do as well, but not in "
        "somebody else's network: the package's `FeatureExtractor` does it in a copy."
    ),
)


# 5. How much neighbours differ


def total_variation(x):
    down = x[:, :, 1:] - x[:, :, :-1]  # [N,3,H-1,W]
    right = x[:, :, :, 1:] - x[:, :, :, :-1]  # [N,3,H,W-1]
    return (down.square().sum() + right.square().sum()) / (down.numel() + right.numel())


def _variation_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    return {
        "two pictures of 3 x 7 pixels": (torch.rand(2, 3, 3, 7, generator=generator),),
        "a picture of 5 x 4 pixels": (torch.rand(1, 3, 5, 4, generator=generator) * 0.5,),
        "a picture of one row": (torch.rand(1, 3, 1, 6, generator=generator),),
    }


def _steps(x):
    return x[:, :, 1:] - x[:, :, :-1], x[:, :, :, 1:] - x[:, :, :, :-1]


@mistake("These are the absolute differences. Squared, one large step costs more than many small ones.")
def absolute_steps(x):
    down, right = _steps(x)
    return (down.abs().sum() + right.abs().sum()) / (down.numel() + right.numel())


@mistake(
    "Two means added, one down and one to the right: about twice the mean over all pairs. Add up all squares first, "
    "then divide by the number of all pairs."
)
def two_means_added(x):
    down, right = _steps(x)
    return down.square().mean() + right.square().mean()


@mistake(
    "The mean of two means: in a wide picture there are more pairs side by side than one above the other, and each "
    "pair should count the same."
)
def mean_of_two_means(x):
    return two_means_added.example(x) / 2


@mistake("Only pairs one above the other: stripes from top to bottom would cost nothing.")
def down_only(x):
    return _steps(x)[0].square().mean()


@mistake("Only pairs side by side: stripes from left to right would cost nothing.")
def right_only(x):
    return _steps(x)[1].square().mean()


@mistake("That is the sum over all pairs, which grows with the picture: divide by how many pairs there are.")
def summed_pairs(x):
    down, right = _steps(x)
    return down.square().sum() + right.square().sum()


@mistake("Divided by the number of pixels and channels; there are nearly twice as many pairs of neighbours as that.")
def divided_by_pixels(x):
    return summed_pairs.example(x) / x.numel()


@mistake("Divided by the number of pictures alone; the mean goes over the pairs and the channels too.")
def divided_by_pictures(x):
    return summed_pairs.example(x) / len(x)


@mistake(
    "`roll` makes the last column a neighbour of the first, and the last row of the first: cut instead, "
    "`x[:, :, 1:] - x[:, :, :-1]`."
)
def rolled(x):
    down, right = x - x.roll(1, dims=2), x - x.roll(1, dims=3)
    return (down.square().sum() + right.square().sum()) / (2 * x.numel())


@mistake(
    "Two things: `roll` makes neighbours of the two borders, and the differences are absolute. Cut, "
    "`x[:, :, 1:] - x[:, :, :-1]`, and square."
)
def rolled_absolute(x):
    down, right = x - x.roll(1, dims=2), x - x.roll(1, dims=3)
    return (down.abs().sum() + right.abs().sum()) / (2 * x.numel())


@mistake("The axes are one too early: channels were compared with one another. The pixels are in axes 2 and 3.")
def across_channels(x):
    colour, down = x[:, 1:] - x[:, :-1], x[:, :, 1:] - x[:, :, :-1]
    return (colour.square().sum() + down.square().sum()) / (colour.numel() + down.numel())


@mistake("That is the root of it: leave the mean of the squares as it is.")
def rooted_variation(x):
    return total_variation(x).sqrt()


q5 = Exercise(
    question=(
        "Write `total_variation(x)` for pictures [N,3,H,W]: the squared difference of two neighbouring pixels, "
        "averaged over all pairs, one above the other or side by side, in all channels and pictures. One number, as a "
        "tensor. Each pair counts once and the same; pixels at opposite edges are no neighbours."
    ),
    reference=total_variation,
    cases=_variation_cases,
    mistakes=[
        absolute_steps,
        two_means_added,
        mean_of_two_means,
        down_only,
        right_only,
        summed_pairs,
        divided_by_pixels,
        divided_by_pictures,
        rolled,
        rolled_absolute,
        across_channels,
        rooted_variation,
    ],
    hints=[
        "All rows but the first, minus all rows but the last: `x[:, :, 1:] - x[:, :, :-1]`. The same for columns.",
        "Add up the squares of both, and divide by how many there are: `down.numel() + right.numel()`.",
        "A picture of one row has no pairs one above the other: a mean over none is nan, a sum over none is 0.",
    ],
    praise="This is the smoothness that `stylize` can be asked for; it costs two subtractions.",
    explanation=(
        "In noise of variance v, neighbours differ by 2 v in the mean square; in a photo by far less. So the loss "
        "removes noise first. Too much weight on it blurs edges, as a large step squared costs most of all."
    ),
    tolerance=1e-5,
)


# 6. The manner without its colours


def keep_colour(picture, content):
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]  # [3,1,1]
    lighter = ((picture - content) * weights).sum(dim=1, keepdim=True)  # [N,1,H,W]
    return (content + lighter).clamp(0, 1)


def _colour_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    content = torch.rand(2, 3, 3, 4, generator=generator) * 0.4 + 0.3
    picture = content + (torch.rand(content.shape, generator=generator) - 0.5) * 0.5
    extreme = torch.rand(1, 3, 3, 4, generator=generator).round()
    return {
        "two pictures": (picture, content),
        "a picture so light and dark that some colours leave [0,1]": (extreme, content[:1] * 1.3),
    }


def _luma(x):
    return (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1, keepdim=True)


@mistake("The other way round: these are the colours of the painted picture with the light and dark of the content.")
def other_way_round(picture, content):
    return keep_colour(content, picture)


@mistake("The plain mean of red, green and blue was taken for the luma: green looks lightest, blue darkest.")
def plain_mean(picture, content):
    return (content + (picture - content).mean(dim=1, keepdim=True)).clamp(0, 1)


@mistake("The weights stand in the order of blue, green, red; the channels are red, green, blue.")
def backward_weights(picture, content):
    return keep_colour(picture.flip(1), content.flip(1)).flip(1)


@mistake("Right, but some numbers have left [0,1] and are no colour: clamp.")
def not_clamped(picture, content):
    return content + _luma(picture) - _luma(content)


@mistake(
    "The content was multiplied by the ratio of the lumas, so that its chroma grows and shrinks with the light. Add "
    "the difference of the lumas, the same number in all three channels."
)
def by_the_ratio(picture, content):
    return (content * _luma(picture) / _luma(content)).clamp(0, 1)


@mistake("The picture's luma was added to the content, which has a luma already: add only the difference of the two.")
def luma_twice(picture, content):
    return (content + _luma(picture)).clamp(0, 1)


@mistake("That is the picture's luma alone, without any colour: add what makes the content's pixels differ from grey.")
def grey(picture, content):
    return _luma(picture).expand_as(picture)


@mistake(
    "That is the luma alone, in one channel: add the difference of the lumas to all three channels of the content.",
    looks_like=lambda given, expected: given.ndim == 4 and given.shape[1] == 1,
)
def luma_only(picture, content):
    return _luma(picture)


@mistake("That is the content's own grey: the picture's luma is asked for, and the content's chroma.")
def grey_content(picture, content):
    return _luma(content).expand_as(content)


@mistake("The sign: where the picture is lighter than the content, the result must be lighter too.")
def darker(picture, content):
    return (content - (_luma(picture) - _luma(content))).clamp(0, 1)


@mistake("That is half of each; take all of the picture's luma and all of the content's chroma.")
def half_and_half(picture, content):
    return (picture + content) / 2


q6 = Exercise(
    question=(
        "Write `keep_colour(picture, content)`, both [N,3,H,W] in [0,1]: a stylised picture and its content. Return "
        "the content with its luma replaced by the picture's, clamped to [0,1]. The luma of a pixel is 0.299 red + "
        "0.587 green + 0.114 blue; the chroma, by how much each channel differs from the luma, stays the content's."
    ),
    reference=keep_colour,
    cases=_colour_cases,
    mistakes=[
        other_way_round,
        plain_mean,
        backward_weights,
        not_clamped,
        by_the_ratio,
        luma_twice,
        grey,
        luma_only,
        grey_content,
        darker,
        half_and_half,
    ],
    hints=[
        "The weights as a tensor [3,1,1] multiply the channels; sum over dim=1 with `keepdim=True` for [N,1,H,W].",
        "chroma = content - luma of the content. The result is the chroma plus the picture's luma.",
        "That is the content, with the same number added to its three channels; then `.clamp(0, 1)`.",
    ],
    praise="Strokes from the painting, colours from the photo, and no network was asked.",
    explanation=(
        "The weights add up to 1, so a number added to all three channels moves the luma by that number and leaves the "
        "chroma. Eyes see detail mainly in the luma: that is where the strokes are, and why JPEG can store the "
        "chroma at half the size."
    ),
)


# 7. A style in two numbers a channel


def adain(content_features, style_features):
    places = (2, 3)
    mean, std = content_features.mean(places, keepdim=True), content_features.std(places, keepdim=True)  # [N,C,1,1]
    new_mean, new_std = style_features.mean(places, keepdim=True), style_features.std(places, keepdim=True)
    return (content_features - mean) / (std + 1e-5) * new_std + new_mean  # [N,C,H,W]


def _adain_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    scale, shift = torch.tensor([1.0, 2.0, 0.5])[:, None, None], torch.tensor([1.0, -1.0, 3.0])[:, None, None]
    content = torch.randn(2, 3, 12, 10, generator=generator) * scale.flip(0) * 1.5 + shift.flip(0)
    style = torch.randn(2, 3, 12, 10, generator=generator) * scale + shift
    content[1] = content[1] * 2 - 1
    larger = torch.randn(2, 3, 13, 14, generator=generator) * scale.flip(0) + shift
    silent = content.clone()
    silent[:, 0] = 0
    return {
        "features of two pictures and their styles": (content, style),
        "styles of another size": (content.clone(), larger),
        "a channel that is 0 everywhere in the content": (silent, style.clone()),
    }


def _matched(c, s, dim, of=torch.std):
    """Features c with the mean and the deviation of s, both over `dim`."""
    mean, new_mean = c.mean(dim=dim, keepdim=True), s.mean(dim=dim, keepdim=True)
    return (c - mean) / (of(c, dim=dim, keepdim=True) + 1e-5) * of(s, dim=dim, keepdim=True) + new_mean


@mistake("The other way round: the things of the style with the statistics of the content.")
def swapped(content_features, style_features):
    return adain(style_features, content_features)


@mistake(
    "Means and deviations were taken over the batch too, as batch normalisation does in training: then a picture's "
    "style depends on its neighbours. Take them over H and W only."
)
def over_the_batch(content_features, style_features):
    return _matched(content_features, style_features, (0, 2, 3))


@mistake("Means and deviations were taken over the channels too: each channel has two numbers of its own, [N,C,1,1].")
def over_the_channels(content_features, style_features):
    return _matched(content_features, style_features, (1, 2, 3))


@mistake("One mean and one deviation of all there is: each channel of each picture has its own, over H and W only.")
def over_everything(content_features, style_features):
    return _matched(content_features, style_features, (0, 1, 2, 3))


@mistake(
    "Means and deviations were taken over the channels at each place: that keeps where the style's things are. Take "
    "them over the places, H and W, for each channel."
)
def at_each_place(content_features, style_features):
    return _matched(content_features, style_features, 1)


@mistake("The means are the style's, the deviations are still the content's: divide by them, multiply by the style's.")
def mean_only(content_features, style_features):
    return content_features - content_features.mean((2, 3), True) + style_features.mean((2, 3), True)


@mistake("The deviations are the style's, the means are not: add the style's mean last.")
def std_only(content_features, style_features):
    return adain(content_features, style_features) - style_features.mean((2, 3), True)


@mistake("The deviations are the style's, the means are still the content's: add the style's mean in their place.")
def own_mean_kept(content_features, style_features):
    return std_only.example(content_features, style_features) + content_features.mean((2, 3), True)


@mistake("Divided and multiplied by the variance; the standard deviation, its root, has the unit of the features.")
def by_the_variance(content_features, style_features):
    return _matched(content_features, style_features, (2, 3), torch.var)


@mistake("Scaled and shifted without being normalised first: subtract the content's mean, divide by its deviation.")
def not_normalised(content_features, style_features):
    return content_features * style_features.std((2, 3), keepdim=True) + style_features.mean((2, 3), True)


@mistake("Normalised, and no more: now multiply by the style's deviation and add its mean.")
def normalised_only(content_features, style_features):
    mean, std = content_features.mean((2, 3), True), content_features.std((2, 3), keepdim=True)
    return (content_features - mean) / (std + 1e-5)


@mistake(
    "A channel that is 0 everywhere in the content has the deviation 0, and 0 / 0 is nan: add something small, "
    "such as 1e-5, to what you divide by."
)
def divided_by_nothing(content_features, style_features):
    mean, std = content_features.mean((2, 3), True), content_features.std((2, 3), keepdim=True)
    scaled = (content_features - mean) / std * style_features.std((2, 3), keepdim=True)
    return scaled + style_features.mean((2, 3), True)


q7 = Exercise(
    question=(
        "Write `adain(content_features, style_features)`, [N,C,H,W] and [N,C,h,w]: shift and scale each channel of "
        "each picture's content features so that its mean and its standard deviation over the places become those of "
        "the same channel of the style. Return [N,C,H,W]. A channel that is the same everywhere in the content gets "
        "the style's mean."
    ),
    reference=adain,
    cases=_adain_cases,
    mistakes=[
        swapped,
        over_the_batch,
        over_the_channels,
        over_everything,
        at_each_place,
        mean_only,
        std_only,
        own_mean_kept,
        by_the_variance,
        not_normalised,
        normalised_only,
        divided_by_nothing,
    ],
    hints=[
        "`features.mean(dim=(2, 3), keepdim=True)` is [N,C,1,1]; `std` goes the same way.",
        "First bring the content to mean 0 and deviation 1, then multiply by the style's deviation, then add its mean.",
        "Add 1e-5 to the deviation that you divide by.",
    ],
    praise="You have changed a picture's style without a loss and without a step of optimisation.",
    explanation=(
        "This is adaptive instance normalisation (Huang and Belongie, 2017). A Gram matrix has on its diagonal "
        "mean^2 + variance of each channel, over C; this sets these and leaves how channels go together. `StyledConv` "
        "does the same, with a scale and a shift that it has learnt for each style."
    ),
    tolerance=5e-3,  # so that both usual deviations are right, over L and over L - 1
)


# 8. What flickers


def flicker(frames, shift):
    width = frames.shape[3]
    before = frames[:-1, :, :, shift:]  # what is still seen in the next frame, [T-1,3,H,W-shift]
    after = frames[1:, :, :, : width - shift]
    return (after - before).abs().mean().item()


def _flicker_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    scene = torch.rand(3, 5, 20, generator=generator)
    film = torch.stack([scene[:, :, 3 * k : 3 * k + 8] for k in range(4)])  # [T,3,H,W]
    noise = 0.1 * torch.rand(film.shape, generator=generator)
    still = torch.rand(1, 3, 5, 8, generator=generator) * 0.8 + 0.2 * torch.rand(3, 3, 5, 8, generator=generator)
    return {
        "four frames of a camera that moves by 3 pixels": (film * 0.9 + noise, 3),
        "a film that only moves": (film.clone(), 3),
        "a camera that stands still, with a shift of 0": (still, 0),
    }


def _errors(frames, shift):
    return frames[1:, :, :, : frames.shape[3] - shift] - frames[:-1, :, :, shift:]


def _rolled_errors(frames, shift):
    return frames[1:] - frames[:-1].roll(-shift, dims=3)


@mistake(
    "`roll` brings what leaves on the left back in on the right, and there it is compared with what the camera sees "
    "for the first time. Compare only the columns that both frames show."
)
def wrapped(frames, shift):
    return _rolled_errors(frames, shift).abs().mean().item()


@mistake(
    "Frame and predecessor were moved the wrong way. The camera moves to the right, so things move to the left: column "
    "j of the predecessor is column j - shift now."
)
def wrong_way(frames, shift):
    width = frames.shape[3]
    return (frames[1:, :, :, shift:] - frames[:-1, :, :, : width - shift]).abs().mean().item()


@mistake("The wrong way, and with the part that `roll` brings back in: things move to the left, and leave there.")
def wrong_way_wrapped(frames, shift):
    return _rolled_errors(frames, -shift).abs().mean().item()


@mistake("The frames were compared where they are: a film that only moves would be said to flicker.")
def not_moved(frames, shift):
    return (frames[1:] - frames[:-1]).abs().mean().item()


@mistake(
    "The pixels that only one of the two shows were counted as if they agreed: divide by how many both show, or a fast "
    "camera would seem to flicker less."
)
def divided_by_all(frames, shift):
    return flicker(frames, shift) * (frames.shape[3] - shift) / frames.shape[3]


@mistake("The pixels that only one of the two shows were compared with black: leave them out.")
def against_black(frames, shift):
    moved = nn.functional.pad(frames[:-1, :, :, shift:], (0, shift))
    return (frames[1:] - moved).abs().mean().item()


@mistake("Things were moved down or up; the camera moves to the right, along the last axis.")
def along_the_height(frames, shift):
    height = frames.shape[2]
    return (frames[1:, :, : height - shift] - frames[:-1, :, shift:]).abs().mean().item()


@mistake("The mean squared difference; flicker is the mean absolute one, so that it can be read as grey levels.")
def squared(frames, shift):
    return _errors(frames, shift).square().mean().item()


@mistake("Differences with their signs cancel out: take the absolute ones.")
def signed(frames, shift):
    return _errors(frames, shift).mean().item()


@mistake("That is the sum over all pixels; take the mean.")
def summed(frames, shift):
    return _errors(frames, shift).abs().sum().item()


@mistake("Every frame was compared with the first; compare each with the one before it.")
def with_the_first(frames, shift):
    return (frames[1:, :, :, : frames.shape[3] - shift] - frames[:1, :, :, shift:]).abs().mean().item()


@mistake(
    "Right while the camera moves. With a shift of 0, `[:-shift]` is `[:0]`, which is empty: count from the left, "
    "`[: width - shift]`."
)
def cut_from_the_right(frames, shift):
    return _rolled_errors(frames, shift)[:, :, :, :-shift].abs().mean().item()


q8 = Exercise(
    question=(
        "Write `flicker(frames, shift)` for a film [T,3,H,W] in [0,1] whose camera moves to the right by `shift` "
        "pixels from frame to frame, 0 or more: what is in column j of a frame is in column j - shift of the next. "
        "Return one number: the mean absolute difference between each frame and its predecessor, laid over it by this "
        "motion, over the pixels that both show."
    ),
    reference=flicker,
    cases=_flicker_cases,
    mistakes=[
        wrapped,
        wrong_way,
        wrong_way_wrapped,
        not_moved,
        divided_by_all,
        against_black,
        along_the_height,
        squared,
        signed,
        summed,
        with_the_first,
        cut_from_the_right,
    ],
    hints=[
        "All pairs at once: `frames[1:]` are the frames, `frames[:-1]` their predecessors.",
        "The leftmost `shift` columns of a predecessor have left; the rightmost `shift` columns of a frame are new.",
        "The rest is `frames[:-1, :, :, shift:]` and `frames[1:, :, :, : width - shift]`, and has the same shape.",
    ],
    praise="A film that only moves has a flicker of 0: what you measure now is the restlessness of the strokes.",
    explanation=(
        "A real camera also zooms and moves by parts of a pixel; the package's `flicker` therefore takes affine maps, "
        "and tells known pixels by a mask. Moving by parts of a pixel blurs, so there the film before it was stylised "
        "is the floor."
    ),
    tolerance=1e-5,
)
