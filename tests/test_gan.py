"""The GAN: losses against closed forms, networks that keep pictures apart, two players that keep to themselves."""

import contextlib
import copy
import itertools
import math
import types

import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState
from torch import nn
from torch.testing import assert_close

from minigen import runtime
from minigen.gan import (
    Discriminator,
    GanStep,
    Generator,
    StyledConv,
    append_spread,
    discriminator_loss,
    generator_loss,
    hinge_discriminator_loss,
    hinge_generator_loss,
    mean_latent,
    minimax_generator_loss,
    r1_penalty,
    truncate,
)
from minigen.training import EMA, RandomState, load_checkpoint, save_checkpoint

EXACT = {"rtol": 0, "atol": 0}
LOSSES = {
    "discriminator": discriminator_loss,
    "generator": lambda real, fake: generator_loss(fake),
    "minimax generator": lambda real, fake: minimax_generator_loss(fake),
    "hinge discriminator": hinge_discriminator_loss,
    "hinge generator": lambda real, fake: hinge_generator_loss(fake),
}


@pytest.fixture(autouse=True)
def fresh_accelerate(monkeypatch):
    """Accelerate keeps its settings for the life of a process; here each test has its own: the CPU in float32."""
    monkeypatch.setenv("MINIGEN_DEVICE", "cpu")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_generator(seed=0, **changes):
    torch.manual_seed(seed)
    return Generator(**{"num_classes": 5, "latent_dim": 8, "widths": (8, 8, 8)} | changes)


def a_discriminator(seed=0, **changes):
    torch.manual_seed(seed)
    return Discriminator(**{"num_classes": 5, "widths": (8, 8, 8)} | changes)


def builds():
    """Each network with an input."""
    return [
        (a_generator(), (normal(4, 8), torch.tensor([0, 1, 2, 4]))),
        (a_discriminator(), (normal(4, 3, 32, 32).tanh(), torch.tensor([0, 1, 2, 4]))),
    ]


each_network = pytest.mark.parametrize(("model", "given"), builds(), ids=["generator", "discriminator"])


# --- losses -----------------------------------------------------------------------------------------------------


def test_losses_are_the_binary_cross_entropies_of_pytorch():
    real, fake = 3 * normal(64), 3 * normal(64, seed=1)
    says_real, says_fake = torch.ones(64), torch.zeros(64)
    entropy = F.binary_cross_entropy_with_logits
    assert_close(discriminator_loss(real, fake), entropy(real, says_real) + entropy(fake, says_fake))
    assert_close(generator_loss(fake), entropy(fake, says_real))
    assert_close(minimax_generator_loss(fake), -entropy(fake, says_fake))


def test_losses_are_the_logarithms_that_their_docstrings_name():
    real, fake = 2 * normal(16).double(), 2 * normal(16, seed=1).double()
    expected = -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()
    assert_close(discriminator_loss(real, fake).double(), expected, rtol=1e-5, atol=1e-6)
    assert_close(generator_loss(fake).double(), -fake.sigmoid().log().mean(), rtol=1e-5, atol=1e-6)
    assert_close(minimax_generator_loss(fake).double(), (1 - fake.sigmoid()).log().mean(), rtol=1e-5, atol=1e-6)


def test_a_blind_discriminator_pays_twice_log_2():
    blind = torch.zeros(7)
    assert discriminator_loss(blind, blind).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(blind).item() == pytest.approx(math.log(2))
    assert minimax_generator_loss(blind).item() == pytest.approx(-math.log(2))


def test_the_minimax_game_sums_to_nothing():
    """What the generator gains by its fakes, the discriminator loses."""
    fake = normal(9)
    gained = discriminator_loss(torch.full((9,), 100.0), fake)  # sure of the real ones: they cost nothing
    assert_close(gained, -minimax_generator_loss(fake))


def test_where_fakes_are_found_out_only_the_non_saturating_loss_is_steep():
    slopes = {}
    for loss in (generator_loss, minimax_generator_loss, hinge_generator_loss):
        logits = torch.tensor([-5.0], requires_grad=True)
        (slope,) = torch.autograd.grad(loss(logits), logits)
        slopes[loss] = slope.item()
    fooled = 1 / (1 + math.exp(5))  # D(fake)
    assert slopes[generator_loss] == pytest.approx(fooled - 1)
    assert slopes[minimax_generator_loss] == pytest.approx(-fooled)
    assert slopes[hinge_generator_loss] == -1


def test_hinge_losses_worked_by_hand():
    real, fake = torch.tensor([3.0, 1.0, 0.5, -2.0]), torch.tensor([-3.0, -1.0, 0.0, 2.0])
    assert hinge_discriminator_loss(real, fake).item() == pytest.approx((0 + 0 + 0.5 + 3) / 4 + (0 + 0 + 1 + 3) / 4)
    assert hinge_generator_loss(fake).item() == pytest.approx(0.5)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_losses_are_finite_at_logits_of_50_either_way(loss, dtype):
    for a, b in itertools.product((-50.0, 50.0), repeat=2):
        real, fake = (torch.full((4,), logit, dtype=dtype, requires_grad=True) for logit in (a, b))
        value = loss(real, fake)
        assert value.dtype == torch.float32
        assert 0 <= abs(value.item()) <= 102
        value.backward()
        assert fake.grad.isfinite().all() and (real.grad is None or real.grad.isfinite().all())


def test_losses_in_bfloat16_are_those_of_the_same_logits_in_float32():
    real, fake = normal(64).bfloat16(), normal(64, seed=1).bfloat16()
    for loss in LOSSES.values():
        assert_close(loss(real, fake), loss(real.float(), fake.float()))


# --- the gradient penalty ---------------------------------------------------------------------------------------


def pictures(*shape, seed=0):
    return normal(*shape, seed=seed).requires_grad_(True)


def test_the_penalty_of_a_linear_discriminator_is_half_the_squared_length_of_its_weight():
    weight, real = normal(3, 4, 4, seed=1).requires_grad_(True), pictures(6, 3, 4, 4)
    penalty = r1_penalty((real * weight).sum(dim=(1, 2, 3)) + 7, real)
    assert_close(penalty, weight.detach().square().sum() / 2)
    (slope,) = torch.autograd.grad(penalty, weight)  # of |w|^2 / 2
    assert_close(slope, weight.detach())


def test_the_penalty_of_a_quadratic_discriminator_averages_over_pictures_and_sums_over_pixels():
    real = pictures(5, 3, 4, 4)
    logits = 0.5 * 3 * real.square().sum(dim=(1, 2, 3))  # gradient 3 x
    expected = sum(9 * float(x.square().sum()) for x in real.detach()) / 5 / 2
    assert r1_penalty(logits, real).item() == pytest.approx(expected, rel=1e-5)


def test_the_penalty_equals_finite_differences_of_the_discriminator():
    model = a_discriminator(size=8, widths=(4, 4)).double()
    x, classes, eps = normal(1, 3, 8, 8).double(), torch.tensor([2]), 1e-5
    slopes = []
    for pixel in range(x.numel()):
        step = torch.zeros_like(x)
        step.view(-1)[pixel] = eps
        slopes.append((model(x + step, classes) - model(x - step, classes)).item() / (2 * eps))
    real = x.requires_grad_(True)
    assert r1_penalty(model(real, classes), real).item() == pytest.approx(sum(s**2 for s in slopes) / 2, rel=1e-4)


def test_the_penalty_teaches_every_weight_that_shapes_the_gradient():
    model, real = a_discriminator(), pictures(4, 3, 32, 32)
    r1_penalty(model(real, torch.arange(4)), real).backward()
    untaught = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert [name for name in untaught if not name.endswith("bias")] == []  # a bias shapes no slope


def test_the_penalty_is_finite_and_about_the_same_under_autocast():
    model, x, classes = a_discriminator(), normal(4, 3, 32, 32), torch.arange(4)
    penalties = []
    for precision in (contextlib.nullcontext(), torch.autocast("cpu", torch.bfloat16)):
        real = x.clone().requires_grad_(True)
        with precision:
            penalties.append(r1_penalty(model(real, classes), real))
    assert penalties[1].dtype == torch.float32
    assert penalties[1].item() == pytest.approx(penalties[0].item(), rel=0.05)


def test_the_penalty_refuses_pictures_that_were_seen_without_gradients():
    with pytest.raises(ValueError, match=r"requires_grad_\(True\) before"):
        r1_penalty(torch.zeros(2), torch.zeros(2, 3, 4, 4))


# --- both networks ----------------------------------------------------------------------------------------------


@each_network
def test_two_passes_in_eval_mode_are_equal_and_leave_their_arguments_alone(model, given):
    before = copy.deepcopy(given)
    model.eval()
    assert torch.equal(model(*given), model(*given))
    assert all(torch.equal(now, then) for now, then in zip(given, before, strict=True))


@each_network
def test_a_network_is_rebuilt_from_its_config_and_state(model, given):
    twin = type(model)(**model.config)
    assert not torch.equal(twin(*given), model(*given))
    twin.load_state_dict(model.state_dict())
    assert torch.equal(twin(*given), model(*given))


@each_network
def test_a_deep_copy_does_not_move_with_the_original(model, given):
    model = copy.deepcopy(model)
    twin = copy.deepcopy(model)
    before = twin(*given)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    assert torch.equal(twin(*given), before)
    assert not torch.equal(model(*given), before)


@each_network
def test_every_weight_of_a_network_is_used(model, given):
    model = copy.deepcopy(model)
    output = model(*given)
    (output * normal(*output.shape)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@each_network
def test_a_network_can_be_averaged(model, given):
    ema = EMA(model)
    for _ in range(100):
        ema.update(model)
    assert_close(ema.model(*given), model(*given), rtol=1e-4, atol=1e-4)


# --- the generator ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("widths", "size"), [((8,), 8), ((8, 6), 16), ((8, 8, 8), 32), ((8, 8, 6, 4), 64)])
def test_pictures_are_between_minus_1_and_1_and_twice_as_large_with_each_width(widths, size):
    model = a_generator(widths=widths)
    with torch.no_grad():
        for parameter in model.finish.parameters():
            parameter.mul_(30)  # so that colours would leave the range
        images = model(normal(3, 8), torch.tensor([0, 4, 4]))
    assert images.shape == (3, 3, size, size)
    assert images.min() >= -1 and images.max() <= 1 and images.abs().max() > 0.9


@pytest.mark.parametrize("training", [True, False])
def test_picture_k_is_the_same_alone_and_in_a_batch(training):
    model = a_generator().train(training)
    z, classes = normal(6, 8), torch.tensor([0, 1, 2, 3, 4, 0])
    together = model(z, classes)
    for k in range(6):
        assert_close(model(z[k : k + 1], classes[k : k + 1])[0], together[k], rtol=0, atol=1e-5)


def test_noise_and_class_both_change_the_picture():
    model, z = a_generator(), normal(2, 8)
    same = model(z[[0, 0]], torch.tensor([1, 1]))
    assert_close(same[0], same[1], rtol=0, atol=1e-6)
    for latents, classes in ((z, [1, 1]), (z[[0, 0]], [1, 2])):
        one, other = model(latents, torch.tensor(classes))
        assert (one - other).abs().mean() > 0.01


def test_only_the_direction_of_the_noise_counts():
    model, z, classes = a_generator(), normal(3, 8), torch.tensor([0, 1, 2])
    assert_close(model(5 * z, classes), model(z, classes), rtol=0, atol=1e-4)


def test_latents_and_styles_neither_fade_nor_explode_at_the_start():
    """So that pictures differ from the start: a network that has stopped to listen to its noise hardly learns to."""
    model = a_generator(latent_dim=64, num_classes=40)
    w = model.mapping(normal(500, 64), torch.arange(500) % 40)
    assert 0.5 < w.square().mean() < 2
    assert 0.5 < model.first.style(w).square().mean() < 2
    within = torch.stack([w[k::40].var(dim=0).mean() for k in range(40)]).mean()
    assert 0.1 < within < 1  # of one class: by the noise


def test_a_styled_convolution_normalises_each_picture_then_scales_and_shifts_it_as_w_says():
    layer, h, w = StyledConv(3, 4, 6), normal(2, 3, 8, 8), normal(2, 6, seed=1)
    out = layer(h, w)
    for n in range(2):
        style = layer.style.weight @ w[n] + layer.style.bias
        for c, feature in enumerate(layer.conv(h)[n]):
            normalised = (feature - feature.mean()) / (feature.var(unbiased=False) + 1e-5).sqrt()
            styled = normalised * (1 + style[c]) + style[4 + c]
            assert_close(out[n, c], torch.where(styled > 0, styled, 0.2 * styled), rtol=1e-4, atol=1e-5)


def test_forward_is_synthesis_after_mapping():
    model, z, classes = a_generator(), normal(3, 8), torch.tensor([0, 1, 2])
    w = model.mapping(z, classes)
    assert w.shape == (3, 16)
    assert torch.equal(model.synthesis(w), model(z, classes))


@pytest.mark.parametrize(
    ("z", "classes"), [((2, 7), (2,)), ((2, 8), (3,)), ((2, 8), (2, 1)), ((8,), ()), ((2, 8, 1, 1), (2,))]
)
def test_the_generator_refuses_other_shapes_and_names_them(z, classes):
    with pytest.raises(ValueError, match=r"expected z of shape \(N, 8\) and classes of shape \(N,\), got") as error:
        a_generator()(torch.zeros(z), torch.zeros(classes, dtype=torch.long))
    assert str(z) in str(error.value) and str(classes) in str(error.value)


# --- the discriminator ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 3, 8])
@pytest.mark.parametrize(("size", "widths"), [(16, (8, 8)), (32, (8, 8, 8))])
def test_one_logit_a_picture(n, size, widths):
    model = a_discriminator(size=size, widths=widths)
    assert model(torch.zeros(n, 3, size, size), torch.zeros(n, dtype=torch.long)).shape == (n,)


def test_the_class_enters_by_what_the_projection_adds():
    """logit(x, a) - logit(x, b) = <v_a - v_b, h(x)> / sqrt(D): equation (4) of Miyato and Koyama, scaled."""
    model, x = a_discriminator(), normal(4, 3, 32, 32)
    a, b = torch.tensor([0, 1, 2, 3]), torch.tensor([4, 4, 0, 0])
    difference = model(x, a) - model(x, b)
    v = model.embed.weight
    expected = torch.stack([(v[a[k]] - v[b[k]]) @ model.features(x)[k] for k in range(4)]) / math.sqrt(8)
    assert_close(difference, expected, rtol=1e-4, atol=1e-6)
    assert difference.abs().min() > 1e-3


def test_the_discriminator_sees_where_in_the_picture_something_was_found():
    model, x = a_discriminator(), normal(4, 3, 32, 32)
    before = model.features(x)
    model.mix.register_forward_hook(lambda module, given, found: found.flip(3))  # the same, but left for right
    assert (model.features(x) - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("x", "classes"), [((2, 3, 16, 16), (2,)), ((2, 1, 32, 32), (2,)), ((2, 3, 32, 32), (3,)), ((3, 32, 32), (3,))]
)
def test_the_discriminator_refuses_other_shapes_and_names_them(x, classes):
    with pytest.raises(ValueError, match=r"expected pictures of shape \(N, 3, 32, 32\)") as error:
        a_discriminator()(torch.zeros(x), torch.zeros(classes, dtype=torch.long))
    assert str(x) in str(error.value) and str(classes) in str(error.value)


def test_spread_is_the_standard_deviation_in_each_group_of_four_neighbours_by_hand():
    h = normal(8, 5, 3, 2)
    told = append_spread(h)
    assert told.shape == (8, 6, 3, 2)
    assert torch.equal(told[:, :5], h)
    for group in (range(4), range(4, 8)):
        members = h[list(group)].double()
        mean = sum(members) / 4
        expected = ((sum((m - mean) ** 2 for m in members) / 4).sqrt()).mean()
        assert_close(told[list(group), 5].double(), expected.expand(4, 3, 2), rtol=1e-4, atol=1e-4)


def test_sameness_shows_in_the_group_where_it_is_and_not_elsewhere():
    h = normal(8, 5, 3, 3)
    h[4:] = h[4]
    told = append_spread(h)[:, 5]
    assert (told[:4] > 0.3).all() and (told[4:] < 1e-3).all()


@pytest.mark.parametrize("n", [1, 2, 6, 7])
def test_where_four_does_not_divide_the_batch_it_is_one_group(n):
    h = normal(n, 5, 3, 3)
    expected = h.double().std(dim=0, unbiased=False).mean()
    assert_close(append_spread(h)[:, 5].double(), expected.expand(n, 3, 3), rtol=1e-3, atol=2e-4)


def test_spread_of_equal_pictures_has_a_finite_gradient():
    h = torch.ones(4, 5, 3, 3, requires_grad=True)
    append_spread(h).square().sum().backward()
    assert h.grad.isfinite().all()


def test_spread_keeps_the_precision_of_what_it_is_added_to():
    assert append_spread(normal(4, 2, 2, 2).bfloat16()).dtype == torch.bfloat16


# --- the two-player step ----------------------------------------------------------------------------------------


def a_game(*, seed=0, rates=(0.02, 0.02), optimizer=torch.optim.SGD, **arguments):
    """A step with tiny networks, and what is in it."""
    generator, discriminator = a_generator(seed, latent_dim=4), a_discriminator(seed + 1)
    optimizers = [optimizer(m.parameters(), lr=rate) for m, rate in zip((generator, discriminator), rates, strict=True)]
    step = GanStep(generator, discriminator, *optimizers, **arguments)
    return types.SimpleNamespace(step=step, g=generator, d=discriminator, optimizers=optimizers)


def a_batch(number=0, n=8):
    return normal(n, 3, 32, 32, seed=number).tanh(), torch.arange(n) // 4


def weights_of(model):
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def gradients_of(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()]).clone()


def one_update_by_hand(game, batch, penalty_weight):
    """The loop that everybody writes, with PyTorch's own losses; returns the metrics."""
    (g_optimizer, d_optimizer), (real, classes) = game.optimizers, batch
    fake = game.g(torch.randn(len(real), 4), classes).detach()
    real = real.clone().requires_grad_(True)
    real_logits, fake_logits = game.d(real, classes), game.d(fake, classes)
    entropy = F.binary_cross_entropy_with_logits
    d_loss = entropy(real_logits, torch.ones(len(real))) + entropy(fake_logits, torch.zeros(len(real)))
    penalty = torch.zeros(())
    if penalty_weight:
        (slopes,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
        penalty = penalty_weight * (slopes.flatten(1).norm(dim=1) ** 2 / 2).mean()
    d_optimizer.zero_grad()
    (d_loss + penalty).backward()
    d_optimizer.step()
    d_gradients = gradients_of(game.d)
    g_loss = entropy(game.d(game.g(torch.randn(len(real), 4), classes), classes), torch.ones(len(real)))
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    right = int((real_logits > 0).sum() + (fake_logits < 0).sum())
    metrics = {"d_loss": d_loss.item(), "told_apart": right / (2 * len(real)), "g_loss": g_loss.item()}
    return metrics, d_gradients, gradients_of(game.g)


def test_a_step_equals_the_loop_written_by_hand():
    """Both losses, fresh noise for each player, the penalty every third time and three times as heavy then."""
    ours, other = a_game(r1_weight=2000, r1_every=3), a_game()  # the slopes of so small a network are small too
    for number in range(7):
        torch.manual_seed(number)
        metrics = ours.step(a_batch(number))
        torch.manual_seed(number)
        expected, d_gradients, g_gradients = one_update_by_hand(other, a_batch(number), 6000 * (number % 3 == 0))
        assert metrics == pytest.approx(expected, rel=1e-4)
        for model, twin in ((ours.g, other.g), (ours.d, other.d)):
            assert_close(weights_of(model), weights_of(twin), rtol=1e-4, atol=1e-5)
        assert_close(gradients_of(ours.d), d_gradients, rtol=1e-3, atol=1e-4)  # not the generator's loss on top
        assert_close(gradients_of(ours.g), g_gradients, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("rates", "resting"), [((0.0, 0.1), "g"), ((0.1, 0.0), "d")])
def test_a_players_update_leaves_the_other_alone(rates, resting):
    game = a_game(rates=rates)
    before = {"g": weights_of(game.g), "d": weights_of(game.d)}
    for number in range(3):
        game.step(a_batch(number))
    for name in before:
        assert torch.equal(weights_of(getattr(game, name)), before[name]) == (name == resting)


def test_each_player_is_updated_once_a_step_the_discriminator_first():
    game, order = a_game(), []
    for name, player in (("d", game.d), ("g", game.g)):
        game.step.optimizers[player].register_step_post_hook(lambda *_, name=name: order.append(name))
    for number in range(2):
        game.step(a_batch(number))
    assert order == ["d", "g", "d", "g"]


def test_without_a_weight_there_is_no_penalty():
    with_none, twin = a_game(r1_weight=0.0), a_game()
    torch.manual_seed(0)
    with_none.step(a_batch())
    torch.manual_seed(0)
    one_update_by_hand(twin, a_batch(), 0)
    assert_close(weights_of(with_none.d), weights_of(twin.d), rtol=1e-5, atol=1e-6)


def test_the_losses_can_be_others():
    game = a_game(d_loss=hinge_discriminator_loss, g_loss=hinge_generator_loss)
    torch.manual_seed(0)
    metrics = game.step(a_batch())
    twin = a_game()
    torch.manual_seed(0)
    real, classes = a_batch()
    fake = twin.g(torch.randn(8, 4), classes)
    expected = hinge_discriminator_loss(twin.d(real, classes), twin.d(fake, classes)).item()
    assert metrics["d_loss"] == pytest.approx(expected, rel=1e-5)


def test_metrics_are_floats_and_the_batch_stays_as_it_was():
    real, classes = a_batch()
    metrics = a_game().step((real, classes))
    assert list(metrics) == ["d_loss", "told_apart", "g_loss"]
    assert all(type(value) is float for value in metrics.values())
    assert torch.equal(real, a_batch()[0]) and torch.equal(classes, a_batch()[1])
    assert not real.requires_grad


def test_the_average_follows_the_generator_after_every_update():
    game = a_game()
    game.step.ema = ema = EMA(game.g)
    before = weights_of(game.g)
    game.step(a_batch())
    assert_close(weights_of(ema.model), 0.1 * before + 0.9 * weights_of(game.g), rtol=1e-5, atol=1e-6)
    game.step(a_batch(1))
    assert ema.num_updates == 2


def test_both_schedules_move_on_after_every_update():
    game = a_game()
    game.step.schedulers = [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in game.optimizers]
    met = []
    for number in range(3):
        game.step(a_batch(number))
        met.append([optimizer.param_groups[0]["lr"] for optimizer in game.optimizers])
    assert met == [[0.01, 0.01], [0.005, 0.005], [0.0025, 0.0025]]


def a_full_game():
    """With all that can get lost when a run is interrupted."""
    game = a_game(optimizer=lambda p, lr: torch.optim.Adam(p, lr, betas=(0.0, 0.99)), r1_every=3, r1_weight=2000)
    game.step.ema = EMA(game.g)
    game.step.schedulers = [torch.optim.lr_scheduler.ExponentialLR(o, 0.9) for o in game.optimizers]
    parts = dict(zip(("g_optimizer", "d_optimizer"), game.optimizers, strict=True))
    parts |= dict(zip(("g_scheduler", "d_scheduler"), game.step.schedulers, strict=True))
    game.stateful = {"g": game.g, "d": game.d, "step": game.step, "ema": game.step.ema, **parts}
    return game


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_an_interrupted_game_goes_on_bit_for_bit_and_penalises_when_it_would_have(tmp_path, done):
    whole = a_full_game()
    torch.manual_seed(0)
    for number in range(7):
        if number == done:
            save_checkpoint(tmp_path / "game.safetensors", config={}, random=RandomState(), **whole.stateful)
        whole.step(a_batch(number))
    resumed = a_full_game()
    load_checkpoint(tmp_path / "game.safetensors").restore(random=RandomState(), **resumed.stateful)
    assert resumed.step.num_updates == done
    for number in range(done, 7):
        resumed.step(a_batch(number))
    for model, expected in ((resumed.g, whole.g), (resumed.d, whole.d), (resumed.step.ema.model, whole.step.ema.model)):
        assert torch.equal(weights_of(model), weights_of(expected))


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("player", ["d", "g"])
def test_a_loss_that_is_not_finite_stops_before_it_harms_its_players_weights(player, value):
    game, factor = a_game(), torch.tensor(1.0)
    game.step.d_loss = lambda real, fake: discriminator_loss(real, fake) * (factor if player == "d" else 1)
    game.step.g_loss = lambda fake: generator_loss(fake) * (factor if player == "g" else 1)
    game.step.ema = ema = EMA(game.g)
    game.step.schedulers = [torch.optim.lr_scheduler.ExponentialLR(o, 0.5) for o in game.optimizers]
    game.step(a_batch())
    at_fault_and_later = {"d": [game.d, game.g, ema.model], "g": [game.g, ema.model]}[player]
    before = [weights_of(model) for model in at_fault_and_later]
    factor.fill_(value)
    with pytest.raises(FloatingPointError, match=f"a loss is {value}: lower the learning rate"):
        game.step(a_batch(1))
    for model, old in zip(at_fault_and_later, before, strict=True):
        assert torch.equal(weights_of(model), old)
    assert game.step.num_updates == 1 and game.optimizers[0].param_groups[0]["lr"] == 0.01
    factor.fill_(1.0)
    assert all(math.isfinite(v) for v in game.step(a_batch(2)).values())


def test_gradients_are_averaged_over_the_processes_before_the_update():
    """A stand-in for accelerate, in whose other process all gradients are zero."""
    halving = types.SimpleNamespace(
        device=torch.device("cpu"),
        autocast=contextlib.nullcontext,
        reduce=lambda gradient, how: {"mean": gradient / 2}[how],
    )
    alone, shared = a_game(rates=(0.0, 0.1)), a_game(rates=(0.0, 0.1), accelerator=halving)
    before = weights_of(alone.d)
    for game in (alone, shared):
        torch.manual_seed(0)
        game.step(a_batch())
    assert_close(weights_of(shared.d) - before, (weights_of(alone.d) - before) / 2, rtol=1e-3, atol=1e-6)


def test_a_game_in_bfloat16_keeps_its_weights_in_float32(monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setattr(runtime, "supports_bf16", lambda device: True)
    game, met = a_game(r1_every=1), []
    game.d.score.register_forward_hook(lambda module, given, output: met.append(output.dtype))
    for number in range(3):
        metrics = game.step(a_batch(number))
        assert all(math.isfinite(value) for value in metrics.values())
    assert set(met) == {torch.bfloat16}
    assert {p.dtype for model in (game.g, game.d) for p in model.parameters()} == {torch.float32}


def test_players_that_are_in_eval_mode_train_in_training_mode():
    game = a_game()
    game.g.eval(), game.d.eval()
    game.step(a_batch())
    assert game.g.training and game.d.training


def two_shades(number, n=16):
    """Class 0 is dark, class 1 is bright, give or take a little."""
    classes = (torch.arange(n) // 4) % 2
    shade = torch.where(classes == 0, -0.6, 0.6) + 0.1 * normal(n, seed=number)
    return shade[:, None, None, None].expand(n, 3, 32, 32).contiguous(), classes


def test_a_generator_learns_to_draw_each_class_as_it_is():
    game = a_game(optimizer=lambda p, lr: torch.optim.Adam(p, lr, betas=(0.0, 0.99)), rates=(0.003, 0.003))
    torch.manual_seed(0)
    shades = torch.zeros(20, 2)
    for number in range(50):
        game.step(two_shades(number))
        if number >= 30:  # the players chase one another: what they draw swings around what they learn
            with torch.no_grad():
                drawn = [game.g(normal(32, 4), torch.full((32,), c)).mean() for c in (0, 1)]
            shades[number - 30] = torch.stack(drawn)
    assert_close(shades.mean(dim=0), torch.tensor([-0.6, 0.6]), rtol=0, atol=0.2)


# --- truncation -------------------------------------------------------------------------------------------------


def test_truncation_goes_from_the_mean_to_the_latent():
    w, mean = normal(3, 6), normal(3, 6, seed=1)
    kept = w.clone(), mean.clone()
    assert_close(truncate(w, mean, 1.0), w)
    assert_close(truncate(w, mean, 0.0), mean, **EXACT)
    assert_close(truncate(w, mean, 0.5), (w + mean) / 2)
    assert torch.equal(w, kept[0]) and torch.equal(mean, kept[1])


def test_truncated_latents_have_psi_times_the_spread_around_the_same_mean():
    model, classes = a_generator(), torch.zeros(400, dtype=torch.long)
    w = model.mapping(normal(400, 8), classes).detach()
    mean = w.mean(dim=0, keepdim=True)
    drawn = truncate(w, mean, 0.7)
    assert_close(drawn.std(dim=0), 0.7 * w.std(dim=0), rtol=1e-4, atol=1e-5)
    assert_close(drawn.mean(dim=0), w.mean(dim=0), rtol=0, atol=1e-4)


def test_the_mean_latent_is_the_mean_over_draws_of_each_class_asked_for():
    model, classes = a_generator(), torch.tensor([3, 0, 3])
    means = mean_latent(model, classes, count=4000, rng=torch.Generator().manual_seed(0))
    assert means.shape == (3, 16) and not means.requires_grad
    for k, c in enumerate(classes):
        w = model.mapping(normal(4000, 8, seed=9), c.expand(4000)).detach()
        error = 6 * w.std(dim=0) / 4000**0.5  # of two means of so many draws: four standard errors and more
        assert ((means[k] - w.mean(dim=0)).abs() <= error).all()
    assert torch.equal(means[0], means[2])
    assert (means[0] - means[1]).abs().max() > 0.1


def test_the_mean_latent_repeats_with_its_generator_and_leaves_the_global_one_alone():
    model, classes = a_generator(), torch.arange(5)
    before = torch.get_rng_state()
    first, again, other = (
        mean_latent(model, classes, count=16, rng=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


# --- on a GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@each_network
def test_a_network_gives_the_same_on_the_gpu(model, given):
    there = copy.deepcopy(model).to("cuda")(*(part.to("cuda") for part in given))
    assert_close(there.cpu(), model(*given), rtol=1e-2, atol=1e-2)


@pytest.mark.gpu
def test_a_game_is_played_in_bfloat16_on_the_gpu(monkeypatch):
    monkeypatch.setenv("MINIGEN_DEVICE", "cuda")
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    game = a_full_game()
    for number in range(4):
        assert all(math.isfinite(value) for value in game.step(a_batch(number)).values())
    models = (game.g, game.d, game.step.ema.model)
    assert {(p.device.type, p.dtype) for m in models for p in m.parameters()} == {("cuda", torch.float32)}


@pytest.mark.gpu
def test_the_mean_latent_on_the_gpu_is_that_of_the_same_draws():
    model, classes = a_generator(), torch.arange(5)
    here = mean_latent(model, classes, rng=torch.Generator().manual_seed(0))
    there = mean_latent(model.to("cuda"), classes.to("cuda"), rng=torch.Generator().manual_seed(0))
    assert_close(there.cpu(), here, rtol=1e-2, atol=1e-2)
