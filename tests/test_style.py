"""Style transfer: taps against the plain networks, losses against closed forms, each option of `stylize` told apart."""

import copy
import math
import types
from itertools import pairwise

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close
from torchvision.models.vgg import cfgs, make_layers

from minigen import pretrained, runtime
from minigen.classifier import Classifier
from minigen.style import (
    SMALLEST,
    FeatureExtractor,
    StyleNetwork,
    content_loss,
    film,
    flicker,
    gram_matrix,
    grams_of,
    keep_colour,
    mix_grams,
    motion_between,
    pan_and_zoom,
    style_left,
    style_loss,
    stylize,
    temporal_loss,
    total_variation,
    transfer_loss,
    warp,
)

EXACT = {"rtol": 0, "atol": 0}
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


@pytest.fixture(autouse=True)
def in_float32(monkeypatch):
    """The same on every machine: without the 16 bits that some compute fast."""
    monkeypatch.setattr(runtime, "supports_bf16", lambda device: False)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(n, height=32, width=32, seed=0):
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


def picture(height=32, width=32, seed=0):
    return pictures(1, height, width, seed)[0]


def an_extractor(**conv):
    """Three stages, of which the later ones would overwrite the tap before them."""
    torch.manual_seed(0)
    stages = {
        "fine": nn.Conv2d(3, 6, 3, padding=1, **conv),
        "middle": nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3, 2 if not conv else 1, 1, **conv)),
        "coarse": nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, 2 if not conv else 1, 1, **conv)),
    }
    return FeatureExtractor(stages, style_taps=["fine", "middle"], content_taps=["coarse"])


def an_even_extractor():
    """One that sees the same everywhere, also across the edges: moved pictures have moved features."""
    return an_extractor(padding_mode="circular")


# --- what a trained network sees --------------------------------------------------------------------------------


def an_efficientnet():
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()


def of_efficientnet(network, x):
    h = network.bn1(network.conv_stem(2 * x - 1))
    taps = {"stem": h.clone()}
    for k, block in enumerate(network.blocks):
        h = block(h)
        taps[f"block{k}"] = h.clone()
    return {tap: taps[tap] for tap in ("stem", "block0", "block1", "block2", "block3")}


def a_vgg():
    """torchvision's layers, with an eighth of the channels."""
    torch.manual_seed(0)
    narrow = [width if width == "M" else width // 8 for width in cfgs["E"]]
    return types.SimpleNamespace(features=make_layers(narrow))


def of_vgg(network, x):
    x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    ends, found, pools, convs = {}, {}, 0, 0
    for index, layer in enumerate(network.features):  # named by counting, as the paper does
        convs += isinstance(layer, nn.Conv2d)
        if isinstance(layer, nn.MaxPool2d):
            pools, convs = pools + 1, 0
        if isinstance(layer, nn.ReLU):
            ends[f"relu{pools + 1}_{convs}"] = index + 1
    for tap in ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu4_2", "relu5_1"):
        found[tap] = network.features[: ends[tap]](x)
    return found


def a_classifier():
    torch.manual_seed(0)
    return Classifier(answers={"object": 5}, widths=(4, 6, 8)).eval()


def of_classifier(network, x):
    ends = {"stem": 3, "block0": 4, "block1": 5, "block2": 6}
    return {tap: network.body[:end](2 * x - 1) for tap, end in ends.items()}


NETWORKS = {
    "EfficientNet": (an_efficientnet, FeatureExtractor.of_efficientnet, of_efficientnet),
    "VGG19": (a_vgg, FeatureExtractor.of_vgg19, of_vgg),
    "classifier": (a_classifier, FeatureExtractor.of_classifier, of_classifier),
}
each_network = pytest.mark.parametrize(("build", "extractor_of", "by_hand"), NETWORKS.values(), ids=NETWORKS)


@each_network
def test_a_tap_equals_the_feature_computed_apart(build, extractor_of, by_hand):
    network, x = build(), pictures(2, 64, 48)
    found = extractor_of(network)(x)
    with torch.no_grad():
        expected = by_hand(network, x)
    assert found.keys() == expected.keys()
    for tap, feature in expected.items():
        assert feature.std() > 0
        assert_close(found[tap], feature, rtol=1e-4, atol=1e-5 * feature.abs().max().item())


def test_style_and_content_are_tapped_where_the_papers_do():
    vgg, efficientnet = FeatureExtractor.of_vgg19(a_vgg()), FeatureExtractor.of_efficientnet(an_efficientnet())
    assert vgg.style_taps == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert vgg.content_taps == ("relu4_2",)
    assert efficientnet.style_taps == ("stem", "block0", "block1", "block2", "block3")
    assert efficientnet.content_taps == ("block3",)
    judge = FeatureExtractor.of_classifier(a_classifier())
    assert judge.style_taps == ("stem", "block0", "block1", "block2") and judge.content_taps == ("block2",)


def test_a_tap_is_not_overwritten_by_the_stage_after_it():
    features, x = an_extractor(), pictures(2)
    together = features(x)
    for tap in ("fine", "middle", "coarse"):
        assert torch.equal(together[tap], features(x, [tap])[tap])
    assert together["fine"].min() < 0 and together["middle"].min() < 0  # a ReLU comes next


def a_network_in_training():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5))
    network[1].running_mean.fill_(0.3)
    return network.train()


def test_the_given_network_stays_as_it_was():
    network = a_network_in_training()
    before = copy.deepcopy(network.state_dict())
    features = FeatureExtractor({"all": network}, style_taps=["all"], content_taps=["all"])
    features(pictures(2))
    with torch.no_grad():
        for value in (*features.parameters(), *features.buffers()):
            value.add_(1)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network[2].inplace and all(part.training for part in network.modules())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())


def test_it_stays_in_eval_mode():
    network, x = a_network_in_training(), pictures(2)
    features = FeatureExtractor({"all": network}, style_taps=["all"], content_taps=["all"])
    before = copy.deepcopy(features.state_dict())
    assert features.train() is features
    assert not any(part.training for part in features.modules())
    assert torch.equal(features(x)["all"], features(x)["all"])
    assert all(torch.equal(value, before[name]) for name, value in features.state_dict().items())
    assert_close(features(x)["all"], network.eval()(2 * x - 1), **CLOSE)


class Forbidden(nn.Module):
    def forward(self, x):
        raise AssertionError("this stage is not asked for")


def test_stages_after_the_last_tap_are_not_computed():
    stages = {"a": nn.Conv2d(3, 4, 1), "b": nn.Conv2d(4, 4, 1), "c": Forbidden()}
    features = FeatureExtractor(stages, style_taps=["b", "a"], content_taps=["a"])
    assert features(pictures(1)).keys() == {"a", "b"}
    assert features(pictures(1), ("b", "a")).keys() == {"a", "b"}
    with pytest.raises(AssertionError, match="not asked for"):
        features(pictures(1), ["c"])


def test_pictures_are_brought_to_the_range_of_the_training():
    mean, std, x = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), pictures(2)
    as_is = {"style_taps": ["all"], "content_taps": ["all"]}
    given = FeatureExtractor({"all": nn.Identity()}, mean=mean, std=std, **as_is)(x)["all"]
    for c in range(3):
        assert_close(given[:, c], (x[:, c] - mean[c]) / std[c])
    usual = FeatureExtractor({"all": nn.Identity()}, **as_is)(x)["all"]
    assert_close(usual, 2 * x - 1)


def test_gradients_reach_the_picture_and_not_the_weights():
    features, x = an_extractor(), pictures(2).requires_grad_(True)
    features(x)["coarse"].square().sum().backward()
    assert (x.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    assert not any(p.requires_grad or p.grad is not None for p in features.parameters())


def test_a_picture_is_left_as_it_was_and_seen_the_same_alone_and_in_a_batch():
    features, x = an_extractor(), pictures(3)
    together = features(x)
    assert torch.equal(x, pictures(3))
    for k in range(3):
        for tap, feature in features(x[k : k + 1]).items():
            assert_close(feature[0], together[tap][k], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("taps", [["fine", "finest"], [], "fine"])
def test_taps_that_are_not_there_are_refused_and_the_others_told(taps):
    with pytest.raises(ValueError, match=r"expected taps out of fine, middle, coarse, got (finest|none|f, i, n, e)$"):
        an_extractor()(pictures(1), taps)


@pytest.mark.parametrize("kind", ["style_taps", "content_taps"])
def test_an_extractor_with_taps_that_are_not_there_is_not_made(kind):
    taps = {"style_taps": ["a"], "content_taps": ["a"]} | {kind: ["b"]}
    with pytest.raises(ValueError, match="expected taps out of a, got b"):
        FeatureExtractor({"a": nn.Identity()}, **taps)


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 4, 32, 32)])
def test_what_is_no_batch_of_pictures_is_refused_and_named(shape):
    with pytest.raises(ValueError, match=r"expected pictures of shape \(N, 3, H, W\), got") as error:
        an_extractor()(torch.zeros(shape))
    assert str(shape) in str(error.value)


# --- Gram matrices ----------------------------------------------------------------------------------------------


def test_the_gram_matrix_is_the_mean_product_of_two_features():
    f = normal(2, 3, 2, 4)
    gram = gram_matrix(f)
    assert gram.shape == (2, 3, 3) and gram.dtype == torch.float32
    for n in range(2):
        for i in range(3):
            for j in range(3):
                products = [(f[n, i, y, x] * f[n, j, y, x]).item() for y in range(2) for x in range(4)]
                assert gram[n, i, j].item() == pytest.approx(sum(products) / 8 / 3, rel=1e-4, abs=1e-6)


def test_the_weighted_gram_matrix_is_the_weighted_mean():
    f, weight = normal(2, 3, 4, 5), pictures(2, 4, 5)[:, :1]
    products = torch.einsum("nihw,njhw,nhw->nij", f.double(), f.double(), weight[:, 0].double())
    expected = products / weight.double().sum(dim=(2, 3)).unsqueeze(2) / 3
    assert_close(gram_matrix(f, weight).double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_gram_matrix_of_a_picture_is_the_same_alone_and_in_a_batch(weighted):
    f = normal(2, 4, 5, 6) * torch.tensor([1.0, 5.0]).view(2, 1, 1, 1)
    weights = pictures(2, 5, 6)[:, :1] if weighted else [None, None]
    together = gram_matrix(f, weights if weighted else None)
    for k in range(2):
        alone = gram_matrix(f[k : k + 1], weights[k : k + 1] if weighted else None)
        assert_close(together[k : k + 1], alone, **CLOSE)


@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_the_same_weight_everywhere_is_as_none(weight):
    f = normal(2, 4, 5, 6)
    assert_close(gram_matrix(f, torch.full((2, 1, 5, 6), weight)), gram_matrix(f), **CLOSE)


def test_places_of_weight_0_do_not_count():
    f, weight = normal(1, 4, 6, 6), torch.zeros(1, 1, 6, 6)
    weight[..., :3] = 1
    assert_close(gram_matrix(f, weight), gram_matrix(f[..., :3]), **CLOSE)
    changed = f.clone()
    changed[..., 3:] = 100
    assert torch.equal(gram_matrix(changed, weight), gram_matrix(f, weight))


def test_the_gram_matrix_does_not_know_where_things_are_nor_how_large_the_picture_is():
    f = normal(2, 4, 5, 6)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(0))
    assert_close(gram_matrix(f.flatten(2)[..., order].view_as(f)), gram_matrix(f), **CLOSE)
    assert_close(gram_matrix(f.repeat(1, 1, 3, 2)), gram_matrix(f), **CLOSE)


@pytest.mark.parametrize("weight", [None, torch.ones(1, 1, 6, 6)], ids=["plain", "weighted"])
def test_features_in_bfloat16_have_a_gram_matrix_in_float32(weight):
    f = normal(1, 4, 6, 6).bfloat16()
    found = gram_matrix(f, weight)
    assert found.dtype == torch.float32
    assert_close(found, gram_matrix(f.float(), weight), **CLOSE)


def test_under_autocast_the_gram_matrix_is_taken_in_float32_as_well():
    f, weight = normal(1, 4, 6, 6), torch.ones(1, 1, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, weighted = gram_matrix(f), gram_matrix(f, weight)
    assert found.dtype == weighted.dtype == torch.float32
    assert_close(found, gram_matrix(f), **CLOSE)
    assert_close(weighted, gram_matrix(f, weight), **CLOSE)


def test_the_grams_of_pictures_are_those_of_their_features_at_the_style_taps():
    features, x = an_extractor(), pictures(2)
    grams, found = grams_of(features, x), features(x)
    assert tuple(grams) == features.style_taps
    for tap, gram in grams.items():
        assert_close(gram, gram_matrix(found[tap]), **CLOSE)


def test_a_mixture_is_the_weighted_sum_tap_by_tap():
    grams = [{"a": torch.full((1, 2, 2), v), "b": torch.full((1, 3, 3), 10 * v)} for v in (1.0, 2.0, 4.0)]
    mixed = mix_grams(grams, [0.5, 0.25, 0.125])
    assert_close(mixed["a"], torch.full((1, 2, 2), 1.5), **EXACT)
    assert_close(mixed["b"], torch.full((1, 3, 3), 15.0), **EXACT)
    assert grams[0]["a"].max() == 1
    with pytest.raises(ValueError, match="zip"):
        mix_grams(grams, [1.0])


# --- losses -----------------------------------------------------------------------------------------------------


def two_taps(n=2, seed=0):
    return {"a": normal(n, 3, 4, 4, seed=seed), "b": normal(n, 5, 2, 2, seed=seed + 100)}


def share(found, target):
    """The squared distance over the target's square, picture by picture, in float64 and without the module's help."""
    ratios = [((f - t) ** 2).sum() / (t**2).sum() for f, t in zip(found.double(), target.double(), strict=True)]
    return sum(ratios) / len(ratios)


def gram_by_hand(f):
    c, h, w = f.shape[1:]
    return torch.einsum("nihw,njhw->nij", f.double(), f.double()) / (c * h * w)


each_loss = pytest.mark.parametrize("loss", [style_loss, content_loss])


@each_loss
def test_a_loss_is_0_where_the_target_is_reached(loss):
    assert loss(two_taps(), two_taps()).item() == 0


@each_loss
def test_a_loss_worked_by_hand(loss):
    """Twice the target is off by the target itself, a share of 1; nothing at all too; half of it, a quarter."""
    target = two_taps()
    for factor, expected in {2.0: 1.0, 0.0: 1.0, 0.5: 0.25, -1.0: 4.0}.items():
        assert loss({tap: factor * t for tap, t in target.items()}, target).item() == pytest.approx(expected)


@each_loss
def test_each_tap_counts_the_same_however_large_its_features_are(loss):
    target = two_taps()
    target["b"] = 1000 * target["b"]
    only_a = loss({"a": 3 * target["a"], "b": target["b"]}, target)
    only_b = loss({"a": target["a"], "b": 3 * target["b"]}, target)
    assert_close(only_a, torch.tensor(2.0))  # the mean of a share of 4 and of none
    assert_close(only_b, only_a)


@each_loss
def test_each_picture_counts_the_same_and_taps_without_a_target_not_at_all(loss):
    found, target = two_taps(), two_taps(seed=1)
    for k, factor in enumerate((1.0, 50.0)):
        target["a"][k] *= factor
    expected = (share(found["a"], target["a"]) + share(found["b"], target["b"])) / 2
    assert_close(loss(found, target).double(), expected, **CLOSE)
    assert_close(loss(found, {"b": target["b"]}).double(), share(found["b"], target["b"]), **CLOSE)


def test_a_target_of_nothing_gives_a_loss_that_is_a_number():
    assert content_loss({"a": torch.zeros(1, 2, 2, 2)}, {"a": torch.zeros(1, 2, 2, 2)}).item() == 0
    assert math.isfinite(content_loss({"a": torch.ones(1, 2, 2, 2)}, {"a": torch.zeros(1, 2, 2, 2)}).item())


def test_losses_of_features_in_bfloat16_are_taken_in_float32():
    found, target = two_taps()["a"].bfloat16(), two_taps(seed=1)["a"].bfloat16()
    assert_close(content_loss({"a": found}, {"a": target}).double(), share(found, target), **CLOSE)


def test_total_variation_worked_by_hand():
    x = torch.zeros(1, 1, 2, 3)
    x[0, 0, 0] = torch.tensor([0.0, 1.0, 3.0])  # right: 1, 4, 0, 0; down: 0, 1, 9
    assert total_variation(x).item() == pytest.approx(15 / 7)
    assert total_variation(x.expand(2, 3, 2, 3)).item() == pytest.approx(15 / 7)


def test_total_variation_of_one_colour_and_of_one_pixel_is_0():
    assert total_variation(torch.full((1, 3, 5, 5), 0.3)).item() == 0
    assert total_variation(torch.full((1, 3, 1, 1), 0.3)).item() == 0


def test_the_gradient_of_the_total_variation_is_that_of_finite_differences():
    assert torch.autograd.gradcheck(total_variation, pictures(2, 3, 4).double().requires_grad_(True))


def test_the_transfer_loss_is_style_plus_weighted_content():
    found, target = two_taps(), two_taps(seed=1)
    grams = {"a": gram_matrix(two_taps(seed=2)["a"])}
    losses = transfer_loss(found, {"b": target["b"]}, grams, content_weight=0.3)
    assert list(losses) == ["loss", "style", "content"]
    style, content = share(gram_by_hand(found["a"]), grams["a"]), share(found["b"], target["b"])
    for name, expected in {"style": style, "content": content, "loss": style + 0.3 * content}.items():
        assert_close(losses[name].double(), expected, **CLOSE)
    usual = transfer_loss(found, {"b": target["b"]}, grams)
    assert_close(usual["loss"].double(), style + 0.1 * content, **CLOSE)


def test_the_transfer_loss_weighs_the_places_of_each_gram_matrix():
    found, target, grams = two_taps(), two_taps(seed=1), {"a": gram_matrix(two_taps(seed=2)["a"])}
    weight = torch.zeros(2, 1, 4, 4)
    weight[:, :, 1:3] = 1
    losses = transfer_loss(found, {"b": target["b"]}, grams, weights={"a": weight})
    assert_close(losses["style"].double(), share(gram_by_hand(found["a"][:, :, 1:3]), grams["a"]), **CLOSE)
    assert_close(losses["content"].double(), share(found["b"], target["b"]), **CLOSE)
    unweighted = transfer_loss(found, {"b": target["b"]}, grams, weights={})
    assert_close(unweighted["style"].double(), share(gram_by_hand(found["a"]), grams["a"]), **CLOSE)


def test_the_gradient_of_the_transfer_loss_is_that_of_the_formula_and_of_finite_differences():
    found = {tap: f.requires_grad_(True) for tap, f in two_taps().items()}
    target, grams = two_taps(seed=1), {"a": gram_matrix(two_taps(seed=2)["a"])}

    def loss(a, b):
        return transfer_loss({"a": a, "b": b}, {"b": target["b"]}, grams, content_weight=2.0)["loss"]

    slopes = torch.autograd.grad(loss(found["a"], found["b"]), (found["a"], found["b"]))
    a, b = (found[tap].detach().double().requires_grad_(True) for tap in ("a", "b"))
    formula = share(gram_by_hand(a), grams["a"]) + 2.0 * share(b, target["b"])
    for slope, expected in zip(slopes, torch.autograd.grad(formula, (a, b)), strict=True):
        assert_close(slope.double(), expected, rtol=1e-3, atol=1e-6)
    way = [1e-2 * normal(*slope.shape, seed=9) for slope in slopes]
    with torch.no_grad():
        ahead = loss(found["a"] + way[0], found["b"] + way[1])
        behind = loss(found["a"] - way[0], found["b"] - way[1])
    along = sum((slope * w).sum() for slope, w in zip(slopes, way, strict=True))
    assert_close((ahead - behind) / 2, along, rtol=1e-2, atol=1e-4)


# --- colours ----------------------------------------------------------------------------------------------------


def luma(x):
    return 0.299 * x[..., 0, :, :] + 0.587 * x[..., 1, :, :] + 0.114 * x[..., 2, :, :]


@pytest.mark.parametrize("shape", [(3, 8, 9), (2, 3, 8, 9)])
def test_keep_colour_takes_light_from_the_picture_and_colour_from_the_content(shape):
    generator = torch.Generator().manual_seed(0)
    painted, content = (0.4 + 0.2 * torch.rand(shape, generator=generator) for _ in range(2))
    kept = painted.clone(), content.clone()
    mixed = keep_colour(painted, content)
    assert mixed.shape == shape
    assert_close(luma(mixed), luma(painted), **CLOSE)
    for c in range(3):  # the differences from the luma are the chroma
        assert_close(mixed[..., c, :, :] - luma(mixed), content[..., c, :, :] - luma(content), rtol=0, atol=1e-5)
    assert torch.equal(painted, kept[0]) and torch.equal(content, kept[1])


def test_keep_colour_stays_in_range():
    mixed = keep_colour(torch.ones(3, 4, 4), torch.tensor([0.9, 0.1, 0.1]).view(3, 1, 1).expand(3, 4, 4))
    assert mixed.min() >= 0 and mixed.max() == 1


def test_keep_colour_of_a_picture_with_itself_changes_nothing():
    assert_close(keep_colour(picture(), picture()), picture(), **EXACT)


# --- by optimisation --------------------------------------------------------------------------------------------


def run(content=None, style=None, features=None, **changes):
    """All states of a short transfer at one scale, without shifts unless asked for."""
    content = picture() if content is None else content
    style = picture(24, 40, seed=1) ** 3 if style is None else style
    options = {"num_scales": 1, "num_steps": 3, "shift": 0} | changes
    return list(stylize(content, style, features or an_extractor(), **options))


def spied(features):
    """The extractor, and a list of all pictures that it will be shown."""
    shown = []
    features.register_forward_pre_hook(lambda module, given: shown.append(given[0].detach().clone()))
    return features, shown


def test_there_is_a_state_after_every_step():
    states = run(num_steps=4)
    assert [(state.step, state.num_steps) for state in states] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for state in states:
        assert state.picture.shape == (3, 32, 32) and not state.picture.requires_grad
        assert list(state.losses) == ["loss", "style", "content", "smoothness"]
        assert all(type(value) is float and math.isfinite(value) for value in state.losses.values())
    assert len({state.picture.sum().item() for state in states}) == 4  # each its own, none changed afterwards


def test_nothing_is_computed_before_it_is_asked_for():
    features, shown = spied(an_extractor())
    states = stylize(picture(), picture(seed=1), features, num_scales=1, num_steps=50)
    next(states)
    assert len(shown) == 3  # the style, the picture, the content


@pytest.mark.parametrize(("optimizer", "num_steps", "num_scales"), [("adam", 20, 1), ("adam", 15, 2), ("lbfgs", 5, 1)])
def test_a_few_steps_lower_the_loss(optimizer, num_steps, num_scales):
    content = picture(64, 64) if num_scales > 1 else None
    states = run(content, optimizer=optimizer, num_steps=num_steps, num_scales=num_scales)
    last_scale = states[-num_steps:]
    assert run(content, num_steps=1)[0].losses["loss"] > 0.01
    assert last_scale[-1].losses["loss"] < 0.5 * run(content, num_steps=1)[0].losses["loss"]
    assert (states[-1].picture - (picture() if content is None else content)).abs().mean() > 0.01


def test_lbfgs_goes_on_where_its_first_guess_of_a_step_is_too_long():
    states = run(picture(64, 64), picture(40, 40, seed=1) ** 3, optimizer="lbfgs", num_steps=8)
    assert states[-1].losses["loss"] < 0.5 * states[0].losses["loss"]
    assert (states[-1].picture - states[1].picture).abs().mean() > 0.01


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_losses_of_a_step_are_those_of_the_picture_that_it_began_with(optimizer):
    features, style = an_extractor(), picture(seed=1) ** 3
    target = grams_by_hand(features, style)
    states = run(style=style, features=features, optimizer=optimizer, num_steps=4)
    begun_with = [picture(), *(state.picture for state in states)]
    for pictured, state in zip(begun_with, states, strict=False):
        expected = expected_style_loss(features, pictured, target).item()
        assert state.losses["style"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_picture_stays_in_range_at_every_step(optimizer):
    features, shown = spied(an_extractor())
    states = run(features=features, optimizer=optimizer, learning_rate=0.8, num_steps=4)
    assert all(s.picture.min() >= 0 and s.picture.max() <= 1 for s in states)
    if optimizer == "adam":  # L-BFGS tries places on a line before it goes to one of them
        assert all(p.min() >= 0 and p.max() <= 1 for p in shown)


def expected_style_loss(features, pictured, target):
    found = {tap: gram_by_hand(f) for tap, f in features(pictured[None], features.style_taps).items()}
    return sum(share(found[tap], target[tap]) for tap in found) / len(found)


def grams_by_hand(features, shown):
    return {tap: gram_by_hand(f) for tap, f in features(shown[None], features.style_taps).items()}


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_first_loss_is_that_of_the_start_against_style_and_content(optimizer):
    features, start, style = an_extractor(), picture(seed=5), picture(seed=1) ** 3
    seen = []

    class Seen(torch.optim.Adam if optimizer == "adam" else torch.optim.LBFGS):
        def step(self, closure):
            seen.append(closure())
            return super().step(closure)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim, Seen.__mro__[1].__name__, Seen)
        state = run(style=style, start=start, features=features, optimizer=optimizer, smoothness=0.7, num_steps=1)[0]
    target = grams_by_hand(features, style)
    expected = {"style": expected_style_loss(features, start, target)}
    found, kept = (features(p[None], ["coarse"])["coarse"] for p in (start, picture()))
    expected["content"], expected["smoothness"] = share(found, kept), total_variation(start[None]).double()
    expected["loss"] = expected["style"] + 0.1 * expected["content"] + 0.7 * expected["smoothness"]
    assert seen[0].item() == pytest.approx(expected["loss"].item(), rel=1e-3)
    if optimizer == "adam":
        assert state.losses == pytest.approx({key: value.item() for key, value in expected.items()}, rel=1e-3)


@pytest.mark.parametrize("strength", [0.25, 0.7, 1.0])
def test_the_strength_moves_the_goal_from_the_contents_manner_to_the_styles(strength):
    features, style = an_extractor(), picture(seed=1) ** 3
    own, other = grams_by_hand(features, picture()), grams_by_hand(features, style)
    target = {tap: (1 - strength) * own[tap] + strength * other[tap] for tap in own}
    expected = expected_style_loss(features, picture(), target).item()
    state = run(style=style, features=features, strength=strength, num_steps=1)[0]
    assert state.losses["style"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_at_strength_0_the_content_stays_as_it_is(optimizer):
    states = run(picture(64, 64), strength=0, optimizer=optimizer, num_scales=2)
    assert_close(states[-1].picture, picture(64, 64), rtol=0, atol=1e-6)
    assert states[-1].losses["loss"] == 0


def test_the_content_itself_is_kept_where_its_weight_is_large():
    light, heavy = (run(content_weight=w, num_steps=20)[-1].picture for w in (0.0, 100.0))
    assert (heavy - picture()).abs().mean() < 0.5 * (light - picture()).abs().mean()


def test_smoothness_lowers_the_total_variation():
    rough, smooth = (run(smoothness=w, num_steps=15)[-1].picture for w in (0.0, 100.0))
    assert total_variation(smooth[None]) < 0.5 * total_variation(rough[None])


def test_several_styles_are_mixed_by_their_weights():
    features, styles = an_extractor(), [picture(seed=1) ** 3, picture(seed=2) ** 0.3]
    grams = [grams_by_hand(features, style) for style in styles]
    for weights, shares in {(1, 3): (0.25, 0.75), (3, 1): (0.75, 0.25), None: (0.5, 0.5)}.items():
        target = {tap: shares[0] * grams[0][tap] + shares[1] * grams[1][tap] for tap in grams[0]}
        state = run(style=styles, features=features, style_weights=weights, num_steps=1)[0]
        assert state.losses["style"] == pytest.approx(expected_style_loss(features, picture(), target).item(), rel=1e-3)


def test_a_style_of_weight_0_is_as_if_it_were_not_there():
    styles = [picture(seed=1) ** 3, picture(seed=2)]
    alone, weighted = run(style=styles[0]), run(style=styles, style_weights=[2.0, 0.0])
    assert_close(weighted[-1].picture, alone[-1].picture, rtol=0, atol=1e-5)


def test_only_the_proportion_of_the_weights_matters():
    styles = [picture(seed=1) ** 3, picture(seed=2)]
    small, large = (run(style=styles, style_weights=w)[-1].picture for w in ([1.0, 2.0], [8.0, 16.0]))
    assert_close(small, large, rtol=0, atol=1e-6)


def test_adams_steps_begin_at_the_learning_rate_in_every_scale_and_fade_out():
    states = run(picture(64, 64), 0.9 * picture(seed=1), num_scales=2, num_steps=10, learning_rate=0.02)
    for scale in (states[:10], states[10:]):
        steps = [(b.picture - a.picture).abs().max().item() for a, b in pairwise(scale)]
        assert 0.01 < steps[0] < 0.03 and steps[-1] < 0.1 * steps[0]


# where to paint


def half_a_mask():
    mask = torch.zeros(1, 32, 32)
    mask[:, :, :16] = 1
    return mask


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_outside_the_mask_the_content_stays_exactly_as_it_was(optimizer):
    states = run(mask=half_a_mask(), optimizer=optimizer, start=picture(seed=5), shift=8)
    for state in states:
        assert torch.equal(state.picture[:, :, 16:], picture()[:, :, 16:])
        assert (state.picture[:, :, :16] - picture()[:, :, :16]).abs().mean() > 0.01


def test_a_soft_mask_paints_by_halves():
    state = run(mask=torch.full((1, 32, 32), 0.5), start=torch.ones(3, 32, 32), learning_rate=1e-6, num_steps=1)[0]
    assert_close(state.picture, (picture() + 1) / 2, rtol=0, atol=1e-4)


def test_the_style_is_sought_where_the_mask_allows_it():
    """Through features pixel by pixel, the masked half has the same Gram matrix as a picture of its own."""
    torch.manual_seed(0)
    features = FeatureExtractor({"all": nn.Conv2d(3, 6, 1)}, style_taps=["all"], content_taps=["all"])
    style = picture(seed=1) ** 3
    expected = expected_style_loss(features, picture()[:, :, :16], grams_by_hand(features, style))
    whole = expected_style_loss(features, picture(), grams_by_hand(features, style))
    assert abs(expected - whole) > 0.01 * whole
    found = run(style=style, features=features, mask=half_a_mask(), num_steps=1)[0].losses["style"]
    assert found == pytest.approx(expected.item(), rel=1e-3)


def test_a_mask_of_ones_is_as_none():
    masked, plain = run(mask=torch.ones(1, 32, 32)), run()
    for a, b in zip(masked, plain, strict=True):
        assert a.losses == pytest.approx(b.losses, rel=1e-3)
        assert_close(a.picture, b.picture, rtol=0, atol=5e-3)


def test_a_mask_of_truth_values_is_as_one_of_zeros_and_ones():
    as_bool, as_float = run(mask=half_a_mask().bool()), run(mask=half_a_mask())
    assert torch.equal(as_bool[-1].picture, as_float[-1].picture)


# shifts


def test_a_network_that_sees_the_same_everywhere_does_not_mind_the_shifts():
    """So picture, content and mask are all moved, and moved alike."""
    options = {"start": picture(seed=5), "mask": half_a_mask(), "features": an_even_extractor(), "strength": 0.5}
    still = run(**options)
    moved = run(**options, shift=20, generator=torch.Generator().manual_seed(0))
    for a, b in zip(still, moved, strict=True):
        assert b.losses == pytest.approx(a.losses, rel=1e-2)
        assert_close(a.picture, b.picture, rtol=0, atol=2e-3)
    assert moved[0].losses["style"] == pytest.approx(still[0].losses["style"], rel=1e-4)
    assert moved[0].losses["content"] == pytest.approx(still[0].losses["content"], rel=1e-4)


def moves(content, shown):
    """By how much each of the shown pictures is the content moved."""
    found = []
    for seen in shown:
        for y in range(8):
            for x in range(8):
                if torch.equal(seen[0], content.roll((y, x), dims=(1, 2))):
                    found.append((y, x))
    return found


def test_adam_looks_at_content_and_picture_moved_by_up_to_the_shift_anew_in_each_step():
    features, shown = spied(an_extractor())
    run(features=features, shift=3, num_steps=30, generator=torch.Generator().manual_seed(0))
    found = moves(picture(), shown[2::2])  # after the style, the picture and the content by turns
    assert len(found) == 30
    assert {y for y, _ in found} == {x for _, x in found} == {0, 1, 2, 3}
    assert len(set(found)) > 8


def test_lbfgs_looks_at_the_picture_where_it_is():
    features, shown = spied(an_extractor())
    run(features=features, shift=7, optimizer="lbfgs", num_steps=2)
    assert set(moves(picture(), shown[2::2])) == {(0, 0)}


def test_the_same_seed_gives_the_same_picture_and_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    first, again, other = (
        run(features=features, shift=8, generator=torch.Generator().manual_seed(seed))[-1].picture
        for features, seed in ((an_extractor(), 0), (an_extractor(), 0), (an_extractor(), 1))
        if torch.set_rng_state(before) is None
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.set_rng_state(before)
    features = copy.deepcopy(an_extractor())
    before = torch.get_rng_state()
    run(features=features, shift=8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


# scales


def test_the_scales_go_from_small_to_large_and_count_on():
    states = run(picture(64, 73), num_scales=2, num_steps=2)
    assert [tuple(s.picture.shape) for s in states] == [(3, 32, 36)] * 2 + [(3, 64, 73)] * 2
    assert [(s.step, s.num_steps) for s in states] == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize(("side", "scales"), [(SMALLEST, 1), (40, 1), (63, 1), (64, 2), (127, 2)])
def test_small_pictures_drop_the_scales_that_would_be_too_small(side, scales):
    states = run(picture(side, 80), num_scales=6, num_steps=1)
    assert len(states) == states[0].num_steps == scales
    assert states[-1].picture.shape == (3, side, 80)


@pytest.mark.parametrize("start", [None, picture(64, 64, seed=5)])
def test_a_scale_begins_with_what_the_one_before_has_changed_and_the_detail_of_the_start(start):
    features, shown = spied(an_extractor())
    content = picture(64, 64)
    states = run(content, features=features, num_scales=2, num_steps=2, start=start)
    begin = content if start is None else start
    small = F.interpolate(begin[None], (32, 32), mode="bicubic", antialias=True).clamp(0, 1)
    seen = [p for p in shown if p.shape[2:] == (32, 32)]
    assert_close(seen[0], small, rtol=0, atol=1e-6)
    change = states[1].picture[None] - small
    larger = F.interpolate(change, (64, 64), mode="bicubic")
    seen = [p for p in shown if p.shape[2:] == (64, 64)]
    assert_close(seen[0][0], (begin + larger[0]).clamp(0, 1), rtol=0, atol=1e-5)
    assert larger.abs().max() > 0.01


def test_a_large_style_is_shrunk_with_the_content_and_a_small_one_left_as_large_as_it_is():
    for style, sizes in {
        (128, 96): [(43, 32), (85, 64)],
        (40, 50): [(20, 25), (40, 50)],
        (24, 40): [(16, 20), (24, 40)],
    }.items():
        features, shown = spied(an_extractor())
        run(picture(64, 64), picture(*style, seed=1), features, num_scales=2, num_steps=1)
        assert [tuple(p.shape[2:]) for p in shown][0::3] == sizes


def test_a_mask_is_shrunk_with_the_picture():
    mask = torch.zeros(1, 64, 64)
    mask[:, :, :32] = 1
    states = run(picture(64, 64), mask=mask, num_scales=2, num_steps=1)
    small = F.interpolate(picture(64, 64)[None], (32, 32), mode="bicubic", antialias=True)[0].clamp(0, 1)
    changed = (states[0].picture - small).abs().amax(dim=0)
    assert changed[:, :14].mean() > 0.01 and changed[:, 19:].max() == 0
    assert torch.equal(states[-1].picture[:, :, 32:], picture(64, 64)[:, :, 32:])


# whatever comes


def test_arguments_are_left_as_they_were():
    given = {"content": picture(64, 64), "style": picture(40, 40, seed=1), "start": picture(64, 64, seed=2)}
    given["mask"] = torch.full((1, 64, 64), 0.5)
    kept = {name: value.clone() for name, value in given.items()}
    weights, features = [2.0], an_extractor()
    state = copy.deepcopy(features.state_dict())
    for optimizer in ("adam", "lbfgs"):
        run(features=features, style_weights=weights, optimizer=optimizer, num_scales=2, shift=5, **given)
    assert all(torch.equal(value, kept[name]) and not value.requires_grad for name, value in given.items())
    assert weights == [2.0] and all(torch.equal(v, state[k]) for k, v in features.state_dict().items())
    assert all(p.grad is None for p in features.parameters())


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_content_and_style_may_be_the_same_picture(optimizer):
    states = run(picture(), picture(), optimizer=optimizer)
    assert states[0].losses["loss"] < 1e-8
    assert states[-1].picture.isfinite().all()


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("colour", [0.0, 0.5, 1.0])
def test_pictures_of_one_colour_give_numbers(colour, optimizer):
    flat = torch.full((3, 32, 32), colour)
    for content, style in ((flat, flat), (flat, picture(seed=1)), (picture(), flat)):
        for state in run(content, style, optimizer=optimizer):
            assert state.picture.isfinite().all() and all(map(math.isfinite, state.losses.values()))


def test_it_runs_where_gradients_are_off():
    with torch.no_grad():
        states = run()
    assert_close(states[-1].picture, run()[-1].picture, **EXACT)


@pytest.mark.parametrize(("optimizer", "dtype"), [("adam", torch.bfloat16), ("lbfgs", torch.float32)])
def test_adam_sees_in_bfloat16_where_that_is_fast_and_lbfgs_never(optimizer, dtype, monkeypatch):
    monkeypatch.setattr(runtime, "supports_bf16", lambda device: True)
    features, seen = an_extractor(), []
    features.stages["middle"].register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    states = run(features=features, optimizer=optimizer)
    assert set(seen[1:]) == {dtype} and seen[0] == torch.float32  # the style's Gram matrices come first
    assert {s.picture.dtype for s in states} == {torch.float32}
    assert all(s.picture.isfinite().all() for s in states)


# --- by optimisation: what is refused ---------------------------------------------------------------------------

NAN = math.nan
REFUSED = {
    "no batch dimension wanted": ({"content": torch.zeros(1, 3, 32, 32)}, r"content has shape \(1, 3, 32, 32\), exp"),
    "grey content": ({"content": torch.zeros(1, 32, 32)}, r"content has shape \(1, 32, 32\), expected \(3, H, W\)"),
    "content of one pixel": ({"content": torch.zeros(3, 1, 1)}, r"content has shape \(3, 1, 1\), .* 16 pixels"),
    "narrow content": ({"content": torch.zeros(3, 64, 15)}, r"content has shape \(3, 64, 15\), .* 16 pixels"),
    "content in [-1,1]": ({"content": 2 * picture() - 1}, r"content runs from -\S+ to \S+, expected \[0,1\]"),
    "content in bytes": ({"content": (255 * picture()).byte()}, r"content runs from \d+ to 25\d, expected \[0,1\]"),
    "content with nan": ({"content": torch.full((3, 32, 32), NAN)}, r"content runs from nan to nan, expected \[0,1\]"),
    "style with alpha": ({"style": torch.zeros(4, 32, 32)}, r"style has shape \(4, 32, 32\), expected \(3, H, W\)"),
    "style of one pixel": ({"style": torch.zeros(3, 1, 1)}, r"style has shape \(3, 1, 1\), .* 16 pixels"),
    "style too bright": ({"style": 2 * picture()}, r"style runs from .* to (1\.\d+|2), expected \[0,1\]"),
    "one style of two": ({"style": [picture(), picture() - 1]}, r"style runs from -.*, expected \[0,1\]"),
    "no style": ({"style": []}, r"one weight for each of 0 styles"),
    "too many weights": ({"style_weights": [1, 2]}, r"one weight for each of 1 styles, 0 or more, got \[1, 2\]"),
    "a weight below 0": ({"style": [picture()] * 2, "style_weights": [2, -1]}, r"0 or more, got \[2, -1\]"),
    "weights of 0": ({"style_weights": [0.0]}, r"0 or more, got \[0\.0\]"),
    "strength below 0": ({"strength": -0.1}, r"strength is -0\.1, expected 0 to 1"),
    "strength above 1": ({"strength": 1.5}, r"strength is 1\.5, expected 0 to 1"),
    "strength nan": ({"strength": NAN}, r"strength is nan, expected 0 to 1"),
    "no scale": ({"num_scales": 0}, r"at least one scale and one step, got 0 and 3"),
    "no step": ({"num_steps": 0}, r"at least one scale and one step, got 1 and 0"),
    "another optimizer": ({"optimizer": "sgd"}, r"optimizer is 'sgd', expected 'adam' or 'lbfgs'"),
    "optimizer in capitals": ({"optimizer": "Adam"}, r"optimizer is 'Adam', expected 'adam' or 'lbfgs'"),
    "a mask of 0": ({"mask": torch.zeros(1, 32, 32)}, r"mask .*above 0 somewhere"),
    "a mask of nan": ({"mask": torch.full((1, 32, 32), NAN)}, r"mask .*above 0 somewhere"),
    "a mask without channel": ({"mask": torch.ones(32, 32)}, r"mask .*\(1, 32, 32\)"),
    "a mask of another size": ({"mask": torch.ones(1, 16, 16)}, r"mask .*\(1, 32, 32\)"),
    "a start of another size": ({"start": picture(16, 16)}, r"start has shape \(3, 16, 16\), .* \(3, 32, 32\)"),
}
REFUSED |= {
    "weights of nan": ({"style_weights": [NAN]}, r"0 or more, got \[nan\]"),
    "weights without end": ({"style_weights": [math.inf]}, r"0 or more, got \[inf\]"),
    "a mask below 0": ({"mask": torch.linspace(-1, 1, 1024).view(1, 32, 32)}, r"mask .*-1.* \[0,1\]"),
    "a mask above 1": ({"mask": torch.full((1, 32, 32), 255.0)}, r"mask .*255.* \[0,1\]"),
    "a mask of another size, named": ({"mask": torch.ones(1, 16, 16)}, r"mask .*\(1, 16, 16\)"),
    "a start with nan": ({"start": torch.full((3, 32, 32), NAN)}, r"start runs from nan to nan, expected \[0,1\]"),
    "a start in [-1,1]": ({"start": 2 * picture() - 1}, r"start runs from -\S+ to \S+, expected \[0,1\]"),
    "content weight nan": ({"content_weight": NAN}, "content_weight is nan"),
    "content weight below 0": ({"content_weight": -1.0}, r"content_weight is -1\.0"),
    "smoothness nan": ({"smoothness": NAN}, "smoothness is nan"),
    "smoothness below 0": ({"smoothness": -1.0}, r"smoothness is -1\.0"),
    "shift below 0": ({"shift": -1}, "shift is -1"),
    "content of whole numbers": (
        {"content": torch.ones(3, 32, 32, dtype=torch.long)},
        r"content .*torch\.int64.*float32",
    ),
    "content in float64": ({"content": picture().double()}, r"content .*torch\.float64.*float32"),
    "style in float16": ({"style": picture().half()}, r"style .*torch\.float16.*float32"),
}
each_refused = pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)


@each_refused
def test_what_cannot_be_is_refused_in_one_sentence(options, message):
    with pytest.raises(ValueError, match=message) as error:
        run(**options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("argument", ["content", "style", "start", "mask"])
def test_what_is_no_tensor_is_refused_by_its_type(argument):
    given = {"content": picture(), "style": picture(), "start": picture(), "mask": torch.ones(1, 32, 32)}
    with pytest.raises(TypeError, match=f"{argument} .*ndarray"):
        run(**{argument: given[argument].numpy()})


def test_a_content_with_gradients_is_stylised_as_one_without():
    content = picture().requires_grad_(True)
    assert_close(run(content)[-1].picture, run()[-1].picture, **EXACT)
    assert content.grad is None


# --- at once: a network for several styles ----------------------------------------------------------------------


def a_network(seed=0, **changes):
    torch.manual_seed(seed)
    return StyleNetwork(**{"styles": ["waves", "dots"], "widths": (4, 6, 8), "num_blocks": 2, "style_dim": 5} | changes)


def a_trained_network(seed=0, **changes):
    model = a_network(seed, **changes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * normal(*parameter.shape, seed=seed + 1))
    return model


def signed(n, height=32, width=32, seed=0):
    return 2 * pictures(n, height, width, seed) - 1


each_size = pytest.mark.parametrize("size", [(16, 16), (32, 48), (17, 18), (19, 33), (50, 31)])


@each_size
def test_weights_of_0_leave_pictures_of_any_size_exactly_as_they_are(size):
    x = signed(2, *size)
    assert torch.equal(a_trained_network()(x, torch.zeros(2, 2)), x)


def test_the_sum_of_the_weights_says_how_much_of_the_picture_is_repainted_and_1_is_all():
    model, x = a_network(), signed(6)
    with torch.no_grad():
        model.leave.weight.zero_()
        model.leave.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))  # so that it paints this, whatever the style
    weights = torch.tensor([[0.25, 0.0], [0.25, 0.5], [1.0, 0.0], [0.4, 0.6], [3.0, 1.0], [-1.0, 0.0]])
    painted, colour = model(x, weights), torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    for k, share_of_it in enumerate((0.25, 0.75, 1.0, 1.0, 1.0, 0.0)):
        assert_close(painted[k], (1 - share_of_it) * x[k] + share_of_it * colour, rtol=0, atol=1e-5)


@each_size
def test_pictures_of_any_size_keep_it_and_are_repainted(size):
    x, model = signed(2, *size), a_trained_network()
    painted = model(x, model.weights_of(waves=1).expand(2, -1))
    assert painted.shape == x.shape and painted.isfinite().all()
    assert ((painted - x).abs().mean(dim=1) > 1e-3).float().mean() > 0.9  # up to the edges
    assert torch.equal(x, signed(2, *size))


def test_an_odd_picture_is_continued_by_its_mirror():
    """Continued by hand to a size that is divisible, it gives the same."""
    model, x = a_trained_network(), signed(1, 30, 33)
    w = model.weights_of(waves=1)
    by_hand = torch.cat([x, x[..., [31, 30, 29]]], dim=3)
    by_hand = torch.cat([by_hand, by_hand[:, :, [28, 27]]], dim=2)
    assert_close(model(x, w), model(by_hand, w)[..., :30, :33], rtol=1e-4, atol=1e-5)


def test_picture_k_is_repainted_the_same_alone_and_in_a_batch():
    model, x = a_trained_network(), torch.cat([signed(1), 0.2 * signed(1, seed=1) + 0.5])
    weights = torch.tensor([[1.0, 0.0], [0.2, 0.7]])
    together = model(x, weights)
    for k in range(2):
        assert_close(together[k : k + 1], model(x[k : k + 1], weights[k : k + 1]), rtol=1e-4, atol=1e-5)


def test_training_and_eval_mode_give_the_same_and_nothing_is_remembered():
    model, x, w = a_trained_network(), signed(2), torch.eye(2)
    before = copy.deepcopy(model.state_dict())
    assert torch.equal(model.train()(x, w), model.eval()(x, w))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_each_layer_is_normalised_picture_by_picture_and_then_scaled_and_shifted():
    model, x, w = a_trained_network(), signed(2), normal(2, 5)
    layer = model.enter
    h = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), layer.conv.weight)
    mean, std = h.mean(dim=(2, 3), keepdim=True), (h.var(dim=(2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    scale, shift = (w @ layer.style.weight.T + layer.style.bias).view(2, 2, 4, 1, 1).unbind(1)
    assert_close(layer(x, w), (h - mean) / std * (1 + scale) + shift, rtol=1e-4, atol=1e-4)


def test_a_block_adds_to_what_came_in():
    block, h, w = a_trained_network().blocks[0], normal(2, 8, 6, 6), normal(2, 5)
    added = block.conv2(F.relu(block.conv1(h, w)), w)
    assert_close(block(h, w), h + added, rtol=1e-4, atol=1e-5)
    assert added.std() > 0.1


def test_weights_are_asked_for_by_name():
    model = a_network(styles=["waves", "dots", "lines"])
    assert_close(model.weights_of(dots=0.8), torch.tensor([[0.0, 0.8, 0.0]]), **EXACT)
    assert_close(model.weights_of(lines=1, waves=0.5), torch.tensor([[0.5, 0.0, 1.0]]), **EXACT)
    assert_close(model.weights_of(), torch.zeros(1, 3), **EXACT)
    with pytest.raises(ValueError, match="there is no style 'wave': choose one of waves, dots, lines"):
        model.weights_of(dots=1, wave=1)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 15, 32), (1, 3, 32, 1)])
def test_the_network_refuses_other_pictures_and_names_them(shape):
    with pytest.raises(ValueError, match=r"expected pictures of shape \(N, 3, H, W\) from 16 pixels on, got") as error:
        a_network()(torch.zeros(shape), torch.zeros(1, 2))
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("shape", [(2, 3), (1, 2), (2,), (2, 2, 1)])
def test_the_network_refuses_other_weights_and_names_them(shape):
    with pytest.raises(ValueError, match=r"expected weights of shape \(2, 2\), got") as error:
        a_network()(signed(2), torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_a_deep_copy_of_the_network_does_not_move_with_the_original():
    model, x, w = a_trained_network(), signed(2), torch.eye(2)
    twin = copy.deepcopy(model)
    before = twin(x, w)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5)
    assert torch.equal(twin(x, w), before) and not torch.equal(model(x, w), before)


def test_the_file_alone_rebuilds_the_network_with_its_styles(tmp_path):
    model = a_trained_network(styles=["lines", "dots", "waves"], num_blocks=1)
    card = {"name": "toy", "metrics": {}}
    pretrained.save(tmp_path / "toy.safetensors", model, card=card)
    loaded = pretrained.load(tmp_path / "toy.safetensors")
    assert type(loaded) is StyleNetwork and loaded.styles == ["lines", "dots", "waves"] and not loaded.training
    w = model.weights_of(dots=1)
    expected = pretrained.rounded(model)(signed(1), w)
    assert_close(loaded(signed(1), loaded.weights_of(dots=1)), expected, rtol=1e-4, atol=1e-5)


def test_the_config_is_its_own():
    styles = ["waves", "dots"]
    model = a_network(styles=styles)
    styles.append("lines")
    assert model.config["styles"] == model.styles == ["waves", "dots"]
    assert StyleNetwork(**model.config).state_dict().keys() == model.state_dict().keys()


def test_a_few_steps_teach_it_what_to_do_for_each_style_and_every_weight_takes_part():
    """One style brightens, the other darkens."""
    model, x = a_network(), 0.3 * signed(4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    goal = x + torch.tensor([0.5, -0.5, 0.5, -0.5]).view(4, 1, 1, 1)
    for _ in range(40):
        optimizer.zero_grad()
        loss = F.mse_loss(model(x, weights), goal)
        loss.backward()
        optimizer.step()
    assert [name for name, p in model.named_parameters() if not p.grad.any()] == []
    bright, dark = ((model(x[:1], w[None]) - x[:1]).mean().item() for w in torch.eye(2))
    assert bright > 0.2 and dark < -0.2


# --- the moving picture -----------------------------------------------------------------------------------------


def identity(n=1):
    return torch.eye(2, 3).expand(n, -1, -1).clone()


def moved_by(x, y, height, width):
    """The motion that shows what was x pixels further right and y further down."""
    motion = identity()
    motion[0, :, 2] = torch.tensor([2 * x / width, 2 * y / height])
    return motion


def a_smooth_picture(size=96):
    y, x = torch.meshgrid(torch.linspace(0, 6, size), torch.linspace(0, 6, size), indexing="ij")
    return torch.stack([x.sin(), (x + y).cos(), (0.7 * y).sin()]) * 0.4 + 0.5


def test_a_camera_that_sees_it_all_sees_the_picture():
    assert_close(film(picture(16, 16), identity(2), 16), picture(16, 16).expand(2, -1, -1, -1), rtol=0, atol=1e-5)


def test_a_view_takes_places_in_the_frame_to_places_in_the_picture():
    """Half as wide and moved right by half the half-width: the pixels from 8 to 24 of 32, further right by 8."""
    views = torch.tensor([[[0.5, 0.0, 0.5], [0.0, 0.5, 0.0]], [[0.5, 0.0, 0.0], [0.0, 0.5, -0.5]]])
    frames = film(picture(32, 32), views, 16)
    assert_close(frames[0], picture(32, 32)[:, 8:24, 16:32], rtol=0, atol=1e-5)
    assert_close(frames[1], picture(32, 32)[:, 0:16, 8:24], rtol=0, atol=1e-5)


def test_the_camera_moves_right_and_closer():
    views = pan_and_zoom(4)
    assert views.shape == (4, 2, 3)
    assert_close(views[:, 0, 0], torch.tensor([0.7, 0.65, 0.6, 0.55]))
    assert_close(views[:, 1, 1], views[:, 0, 0], **EXACT)
    assert_close(views[:, 0, 2], torch.tensor([-1.5, -0.5, 0.5, 1.5]) / 12)
    assert not views[:, 0, 1].any() and not views[:, 1, [0, 2]].any()
    frames = film(a_smooth_picture(), views, 24)
    assert frames.shape == (4, 3, 24, 24) and (frames[0] - frames[-1]).abs().mean() > 0.01


def test_the_usual_way_stays_inside_the_picture():
    corners = torch.tensor([[x, y, 1.0] for x in (-1, 1) for y in (-1, 1)])
    assert (pan_and_zoom(9) @ corners.T).abs().max() <= 1


# In the last two, the centres of the outermost pixels are rounded outwards
SIZES = [(8, 8), (16, 32), (3, 11), (251, 7)]


@pytest.mark.parametrize("size", SIZES)
def test_no_motion_leaves_everything_where_it_is_and_known(size):
    moved, known = warp(pictures(2, *size), identity(2))
    assert_close(moved, pictures(2, *size), rtol=0, atol=1e-4)
    assert known.shape == (2, 1, *size) and known.dtype == torch.float32
    assert known.min() == 1


@pytest.mark.parametrize(("x", "y"), [(3, 0), (-2, 0), (0, 1), (0, -4), (2, -3)])
def test_a_motion_by_whole_pixels_is_a_roll_and_known_is_what_does_not_come_from_outside(x, y):
    frames = pictures(1, 16, 32)
    moved, known = warp(frames, moved_by(x, y, 16, 32))
    rows, columns = torch.arange(16) + y, torch.arange(32) + x
    inside = ((rows >= 0) & (rows < 16))[:, None] & ((columns >= 0) & (columns < 32))
    assert torch.equal(known[0, 0], inside.float())
    assert_close(moved * known, frames.roll((-y, -x), dims=(2, 3)) * known, rtol=0, atol=1e-5)


def test_pictures_of_a_batch_move_each_by_its_own_motion():
    frames = pictures(2, 16, 16)
    motions = torch.cat([moved_by(3, 0, 16, 16), identity()])
    moved, known = warp(frames, motions)
    for k in range(2):
        alone, known_alone = warp(frames[k : k + 1], motions[k : k + 1])
        assert torch.equal(moved[k : k + 1], alone) and torch.equal(known[k : k + 1], known_alone)


def test_the_motion_between_two_views_is_worked_by_hand():
    """From all of it to half of it, further right: what is at u in the second frame was at u / 2 + 0.2 in the first."""
    views = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [[0.5, 0.0, 0.2], [0.0, 0.5, 0.0]]])
    expected = torch.tensor([[[0.5, 0.0, 0.2], [0.0, 0.5, 0.0]], [[2.0, 0.0, -0.4], [0.0, 2.0, 0.0]]])
    assert_close(motion_between(views), expected[:1])
    assert_close(motion_between(torch.stack([views[1], views[0]])), expected[1:])
    assert_close(motion_between(views[:1].expand(4, -1, -1)), identity(3))


def test_a_frame_moved_as_the_camera_did_lies_on_the_next_one():
    views = pan_and_zoom(4)
    frames, motion = film(a_smooth_picture(), views, 64), motion_between(views)
    assert motion.shape == (3, 2, 3)
    moved, known = warp(frames[:-1], motion)
    assert known.mean() > 0.8
    assert ((moved - frames[1:]).abs() * known).max() < 0.01
    assert ((frames[:-1] - frames[1:]).abs() * known).max() > 0.1
    with_the_wrong_motion = flicker(frames, motion_between(views.flip(0)).flip(0))
    assert flicker(frames, motion) < 0.1 * with_the_wrong_motion
    assert temporal_loss(frames[:-1], frames[1:], motion) < 1e-5


def test_a_picture_that_stays_does_not_flicker():
    frames = picture(16, 16).expand(3, -1, -1, -1)
    assert flicker(frames, identity(2)) < 1e-6
    assert type(flicker(frames, identity(2))) is float


@pytest.mark.parametrize(("frames", "motion"), [(1, identity(0)), (2, moved_by(100, 0, 32, 32))], ids=["one", "apart"])
def test_a_flicker_that_cannot_be_measured_is_refused(frames, motion):
    with pytest.raises(ValueError, match=r"at least two frames|no pixel"):
        flicker(pictures(frames), motion)


def test_flicker_is_the_mean_absolute_difference_over_what_both_frames_show():
    frames = torch.stack([torch.full((3, 8, 16), v) for v in (0.2, 0.5, 0.4)])
    assert flicker(frames, identity(2)) == pytest.approx(0.2)  # of 0.3 and 0.1
    first, second = pictures(2, 8, 16)
    second = second.clone()
    second[:, :, 12:] = 100  # four columns come into view
    motion = moved_by(4, 0, 8, 16)
    expected = (second[:, :, :12] - first[:, :, 4:]).abs().mean().item()
    assert flicker(torch.stack([first, second]), motion) == pytest.approx(expected, rel=1e-4)


def test_the_temporal_loss_is_the_mean_squared_difference_over_what_is_known():
    first, second = torch.full((2, 3, 8, 8), 0.2), torch.full((2, 3, 8, 8), 0.5)
    assert temporal_loss(first, second, identity(2)).item() == pytest.approx(0.09)
    first, second = pictures(1, 8, 16), pictures(1, 8, 16, seed=1)
    second[:, :, 5:] = 100
    expected = (second[:, :, :5] - first[:, :, 3:]).square().mean().item()
    assert temporal_loss(first, second, moved_by(0, 3, 8, 16)).item() == pytest.approx(expected, rel=1e-4)


def test_where_nothing_is_known_the_temporal_loss_is_0():
    assert temporal_loss(pictures(1), pictures(1, seed=1), moved_by(100, 0, 32, 32)).item() == 0


def test_the_gradient_of_the_temporal_loss_is_that_of_finite_differences():
    first, second = (pictures(1, 4, 5, seed=s).double().requires_grad_(True) for s in (0, 1))
    motion = torch.tensor([[[0.8, 0.1, 0.2], [0.0, 0.9, -0.1]]]).double()
    assert torch.autograd.gradcheck(lambda a, b: temporal_loss(a, b, motion), (first, second))
    temporal_loss(first, second, motion).backward()
    assert first.grad.abs().max() > 0 and second.grad.abs().max() > 0


def test_frames_views_and_motions_are_left_as_they_were():
    views, frames = pan_and_zoom(3), pictures(3, 16, 16)
    film(frames[0], views, 8)
    motion = motion_between(views)
    kept = motion.clone()
    flicker(frames, motion)
    temporal_loss(frames[:-1], frames[1:], motion)
    assert torch.equal(views, pan_and_zoom(3)) and torch.equal(frames, pictures(3, 16, 16))
    assert torch.equal(motion, kept)


def test_what_is_left_of_the_style_runs_from_the_photo_to_the_painting():
    features = FeatureExtractor({"a": torch.nn.Conv2d(3, 4, 3)}, style_taps=["a"], content_taps=["a"])
    photos, painting = pictures(2, 24, 24), picture(24, 24, seed=7)
    copies = painting.expand(2, -1, -1, -1)
    assert style_left(features, photos, photos, painting) == pytest.approx(1)
    assert style_left(features, copies, photos, painting) == pytest.approx(0, abs=1e-6)
    faint, fainter = 0.7 * copies, 0.3 * copies
    assert 0 < style_left(features, faint, fainter, painting) < 1 < style_left(features, fainter, faint, painting)


def test_painting_takes_and_gives_pictures_from_0_to_1_each_by_itself():
    network = StyleNetwork(styles=["dots", "waves"], widths=(4, 4, 4), num_blocks=1)
    given = pictures(2, 20, 30)
    assert_close(network.paint(given, dots=0.0), given, rtol=0, atol=1e-6)
    painted = network.paint(given, dots=0.3, waves=0.5)
    weights = torch.tensor([[0.3, 0.5]] * 2)
    assert_close(painted, ((network(given * 2 - 1, weights) + 1) / 2).clamp(0, 1), rtol=0, atol=1e-5)
    assert not painted.requires_grad and painted.shape == given.shape
    assert_close(network.paint(given[1:], dots=0.3, waves=0.5), painted[1:], rtol=0, atol=1e-6)


def test_a_film_of_a_wide_picture_shows_its_middle_square_undistorted():
    views = pan_and_zoom(4)
    square = torch.rand(3, 24, 24)
    wide = torch.cat([torch.zeros(3, 24, 8), square, torch.ones(3, 24, 8)], dim=2)
    assert torch.equal(film(wide, views, 16), film(square, views, 16))
    assert torch.equal(film(wide.mT, views, 16), film(square.mT, views, 16))


def test_a_network_without_a_style_is_refused():
    with pytest.raises(ValueError, match="at least one style"):
        StyleNetwork(styles=[])


# --- on a GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@each_network
def test_a_tap_is_the_same_on_the_gpu(build, extractor_of, by_hand):
    features, x = extractor_of(build()), pictures(2, 64, 48)
    here, there = features(x), features.to("cuda")(x.to("cuda"))
    for tap, feature in here.items():
        assert_close(there[tap].cpu(), feature, rtol=1e-2, atol=1e-2 * feature.abs().max().item())


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("bf16", [False, True])
def test_a_picture_is_stylised_on_the_gpu(optimizer, bf16, monkeypatch):
    monkeypatch.setattr(runtime, "supports_bf16", lambda device: bf16)
    given = {"content": picture(64, 64), "style": picture(40, 40, seed=1) ** 3, "mask": torch.full((1, 64, 64), 0.9)}
    there = {name: value.to("cuda") for name, value in given.items()}
    options = {"num_scales": 2, "num_steps": 10, "optimizer": optimizer, "shift": 8}
    states = run(features=an_extractor().to("cuda"), generator=torch.Generator().manual_seed(0), **there, **options)
    here = run(features=an_extractor(), generator=torch.Generator().manual_seed(0), **given, **options)
    assert {(s.picture.device.type, s.picture.dtype) for s in states} == {("cuda", torch.float32)}
    assert states[0].losses["loss"] == pytest.approx(here[0].losses["loss"], rel=0.05)
    assert states[-1].losses["loss"] < 0.5 * states[0].losses["loss"]


@pytest.mark.gpu
def test_the_network_repaints_the_same_on_the_gpu():
    model, x = a_trained_network(), signed(2, 33, 30)
    here = model(x, model.weights_of(waves=1).expand(2, -1))
    model.to("cuda")
    there = model(x.to("cuda"), model.weights_of(waves=1).expand(2, -1))
    assert_close(there.cpu(), here, rtol=1e-2, atol=5e-2)


@pytest.mark.gpu
def test_frames_move_the_same_on_the_gpu():
    views, x = pan_and_zoom(3), a_smooth_picture()
    frames, motion = film(x, views, 32), motion_between(views)
    assert_close(film(x.to("cuda"), views.to("cuda"), 32).cpu(), frames, rtol=0, atol=1e-3)
    assert_close(motion_between(views.to("cuda")).cpu(), motion, rtol=0, atol=1e-4)
    moved, known = warp(frames[:-1].to("cuda"), motion.to("cuda"))
    assert_close(moved.cpu(), warp(frames[:-1], motion)[0], rtol=0, atol=1e-3)
    assert known.device.type == "cuda"
    painted = pictures(3, 32, 32)
    there = flicker(painted.to("cuda"), motion.to("cuda"))
    assert there == pytest.approx(flicker(painted, motion), rel=1e-2)
    loss = temporal_loss(painted[:-1].to("cuda"), painted[1:].to("cuda"), motion.to("cuda"))
    assert loss.item() == pytest.approx(temporal_loss(painted[:-1], painted[1:], motion).item(), rel=1e-2)


@pytest.mark.gpu
def test_losses_are_the_same_on_the_gpu():
    found, target, grams = two_taps(), two_taps(seed=1), {"a": gram_matrix(two_taps(seed=2)["a"])}
    here = transfer_loss(found, {"b": target["b"]}, grams)
    found, target, grams = ({k: v.to("cuda") for k, v in part.items()} for part in (found, target, grams))
    there = transfer_loss(found, {"b": target["b"]}, grams)
    assert_close({k: v.cpu() for k, v in there.items()}, here, rtol=1e-2, atol=1e-3)
    x = pictures(2)
    assert_close(keep_colour(x.to("cuda"), 0.5 * x.to("cuda")).cpu(), keep_colour(x, 0.5 * x), rtol=0, atol=1e-5)
