"""The exercises of lesson 02 agree with `gan`, `metrics` and closed forms; other right answers pass."""

import linecache
import math

import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch.nn import functional as F

from minigen import gan, metrics
from minigen.exercises import State, lesson_02


def slope(loss, logit):
    logit = torch.tensor([logit], requires_grad=True)
    return torch.autograd.grad(loss(logit), logit)[0].item()


def r1_arguments():
    real, weight, discriminator = next(iter(lesson_02.q5.cases().values()))
    return real, weight.detach().double().requires_grad_(), discriminator


def test_a_discriminator_that_cannot_tell_loses_what_the_exercise_says():
    in_doubt = torch.zeros(5)
    assert gan.discriminator_loss(in_doubt, in_doubt).item() == pytest.approx(lesson_02.blind_loss(), abs=1e-6)


def test_the_slopes_of_the_packages_losses_differ_by_the_factor_that_is_asked_for():
    ratio = slope(gan.generator_loss, -5.0) / slope(gan.minimax_generator_loss, -5.0)
    assert ratio == pytest.approx(lesson_02.times_stronger(), rel=1e-4)


@pytest.mark.parametrize(("answer", "right"), [(148, True), (149, True), (148.413, True), (146, False), (151, False)])
def test_a_rounded_factor_is_right(answer, right):
    assert bool(lesson_02.q2.check(times_stronger=answer)) is right


@pytest.mark.parametrize("case", lesson_02.q3.cases().values(), ids=lesson_02.q3.cases())
def test_the_best_loss_is_two_ln_2_less_twice_the_jensen_shannon_divergence(case):
    real, fake = case
    divergence = jensenshannon(real.numpy(), fake.numpy()) ** 2  # in nats
    expected = 2 * math.log(2) - 2 * divergence
    assert lesson_02.best_discriminator(real, fake)[1] == pytest.approx(expected, abs=1e-6)


def test_no_other_discriminator_has_a_lower_loss():
    real, fake = next(iter(lesson_02.q3.cases().values()))
    d, loss = lesson_02.best_discriminator(real, fake)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        logits = (d / (1 - d)).log() + 0.1 * torch.randn(len(d), generator=generator)
        other = (real * F.softplus(-logits)).sum() + (fake * F.softplus(logits)).sum()
        assert other.item() > loss


def test_other_ways_round_nothing_times_infinity_are_right():
    def clamped(real, fake):
        d = (real / (real + fake)).clamp(1e-7, 1 - 1e-7)
        return d, -(real * d.log()).sum() - (fake * (1 - d).log()).sum()

    def by_cross_entropy(real, fake):
        d = real / (real + fake)
        one, zero = torch.ones_like(d), torch.zeros_like(d)
        of_real = F.binary_cross_entropy(d, one, real, reduction="sum")
        return d, of_real + F.binary_cross_entropy(d, zero, fake, reduction="sum")

    for answer in (clamped, by_cross_entropy):
        result = lesson_02.q3.check(best_discriminator=answer)
        assert result, result.message


def test_a_loss_by_arithmetic_fails_only_where_a_kind_never_comes_up_and_is_told_why():
    def plain(real, fake):
        d = real / (real + fake)
        return d, -(real * torch.log(d) + fake * torch.log(1 - d)).sum()

    assert lesson_02.q3.check(best_discriminator=plain).message == lesson_02.nothing_times_infinity.message


def test_a_step_repaired_by_leaves_and_backward_is_right():
    def step_gradients(real, noise, d_weight, g_weight):
        fake = noise @ g_weight
        d, frozen = d_weight.detach().requires_grad_(), d_weight.detach()
        gan.discriminator_loss(real @ d, fake.detach() @ d).backward()
        gan.generator_loss(fake @ frozen).backward()
        return (d.grad, None), (frozen.grad, g_weight.grad)

    result = lesson_02.q4.check(step_gradients=step_gradients)
    assert result, result.message


def test_the_step_as_it_is_handed_out_moves_both_players():
    arguments = next(iter(lesson_02.q4.cases().values()))
    broken = lesson_02.both_move.example(*arguments)
    repaired = lesson_02.step_gradients(*arguments)
    assert all(gradient.abs().min() > 0 for of_loss in broken for gradient in of_loss)
    for k in range(2):  # what reaches the right player is right already
        torch.testing.assert_close(broken[k][k], repaired[k][k], rtol=1e-5, atol=1e-6)
        assert repaired[k][1 - k] is None


def test_r1_by_hand_is_the_packages_penalty():
    real, weight, discriminator = r1_arguments()
    penalty, _ = lesson_02.r1_by_hand(real.double(), weight, discriminator)
    real = real.double().requires_grad_()
    expected = gan.r1_penalty(discriminator(real, weight), real)
    torch.testing.assert_close(penalty.float(), expected.float(), rtol=1e-5, atol=1e-6)


def test_the_gradient_of_r1_agrees_with_finite_differences():
    real, weight, discriminator = r1_arguments()
    real, step = real.double(), 1e-5
    _, gradient = lesson_02.r1_by_hand(real, weight, discriminator)
    for k in (0, 5, 11):
        moved = []
        for sign in (1, -1):
            other = weight.detach().clone()
            other[k] += sign * step
            moved.append(lesson_02.r1_by_hand(real, other.requires_grad_(), discriminator)[0].item())
        assert gradient[k].item() == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-5)


def test_r1_by_backward_is_right():
    def r1_by_hand(real, weight, discriminator):
        logits = discriminator(real.requires_grad_(), weight)
        slope = torch.autograd.grad(logits, real, torch.ones_like(logits), create_graph=True)[0]
        penalty = 0.5 * slope.pow(2).sum(dim=(1, 2, 3)).mean()
        penalty.backward()
        return penalty, weight.grad

    result = lesson_02.q5.check(r1_by_hand=r1_by_hand)
    assert result, result.message


def test_r1_without_create_graph_is_told_the_line_at_which_it_fails():
    source = """def r1_by_hand(real, weight, discriminator):
    real = real.clone().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(real, weight).sum(), real)
    penalty = slope.square().flatten(1).sum(dim=1).mean() / 2
    return penalty, torch.autograd.grad(penalty, weight)[0]
"""
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(keepends=True), "<cell>")
    names = {"torch": torch}
    exec(compile(source, "<cell>", "exec"), names)
    result = lesson_02.q5.check(r1_by_hand=names["r1_by_hand"])
    assert result.state is State.WRONG
    assert "RuntimeError in line 5" in result.message
    assert "does not require grad" in result.message
    assert any("does not require grad" in hint and "create_graph" in hint for hint in lesson_02.q5.hints)


@pytest.mark.parametrize("case", lesson_02.q6.cases().values(), ids=lesson_02.q6.cases())
def test_truncation_is_the_packages(case):
    w, classes, means, psi = case
    expected = gan.truncate(w, means[classes], psi)
    torch.testing.assert_close(lesson_02.pull_to_mean(*case), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", lesson_02.q7.cases().values(), ids=lesson_02.q7.cases())
def test_coverage_is_that_of_the_metrics(case):
    asked, named, num_objects = case
    share, covered = lesson_02.named_and_covered(*case)
    assert covered == metrics.coverage(named, num_objects, asked=asked).covered
    assert share == pytest.approx((asked == named).double().mean().item(), abs=1e-6)


def test_coverage_without_a_loop_is_right():
    def named_and_covered(asked, named, num_objects):
        right = (asked == named).float()
        share = torch.bincount(asked, right, minlength=num_objects) / torch.bincount(asked, minlength=num_objects)
        return right.mean(), (share >= 0.1).sum()

    result = lesson_02.q7.check(named_and_covered=named_and_covered)
    assert result, result.message
