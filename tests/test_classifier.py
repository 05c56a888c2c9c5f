"""The classifier and its layers: shapes, oracles, and the bugs that such code has had."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import resize

from minigen.classifier import (
    Classifier,
    LinearClassifier,
    TransformerClassifier,
    classification_loss,
    saliency,
)
from minigen.layers import ResidualBlock, append_coordinates

ANSWERS = {"object": 5, "background": 3}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Classifier(answers=ANSWERS, widths=(8, 16, 16)).eval()


@pytest.fixture
def x():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def builds():
    return [
        Classifier(answers=ANSWERS, widths=(8, 16, 16)),
        LinearClassifier(answers=ANSWERS, size=32),
        a_transformer(),
    ]


def a_transformer():
    torch.manual_seed(0)
    return TransformerClassifier(answers=ANSWERS, size=32, width=32, depth=2)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (24, 40)])
def test_one_row_of_logits_a_picture_and_question_at_any_size(model, size):
    logits = model(torch.zeros(2, 3, *size))
    assert {question: tuple(z.shape) for question, z in logits.items()} == {"object": (2, 5), "background": (2, 3)}


def test_attention_of_each_question_sums_to_1_over_the_places(model, x):
    maps = model.attention(x)
    assert maps["object"].shape == (4, 4, 4)
    for weights in maps.values():
        torch.testing.assert_close(weights.sum(dim=(1, 2)), torch.ones(4), rtol=0, atol=1e-6)
        assert (weights >= 0).all()


def test_the_answer_is_the_head_of_the_average_that_attention_weighs(model, x):
    places = model.feature_map(x)
    for k, (question, weights) in enumerate(model.attention(x).items()):
        seen = torch.stack([(places[n] * weights[n]).sum(dim=(1, 2)) for n in range(len(x))])
        torch.testing.assert_close(list(model.heads.values())[k](seen), model(x)[question], rtol=1e-5, atol=1e-5)


def test_features_are_one_vector_a_picture(model, x):
    assert model.features(x).shape == (4, 16)


@pytest.mark.parametrize("build", builds(), ids=lambda m: type(m).__name__)
def test_two_passes_in_eval_mode_are_equal_and_change_nothing(build, x):
    build.eval()
    before = x.clone()
    first, second = build(x), build(x)
    assert all(torch.equal(first[question], second[question]) for question in first)
    assert torch.equal(x, before)


@pytest.mark.parametrize("build", builds(), ids=lambda m: type(m).__name__)
def test_picture_k_is_the_same_alone_and_in_a_batch(build, x):
    build.eval()
    together, alone = build(x), build(x[2:3])
    for question in together:
        torch.testing.assert_close(together[question][2:3], alone[question], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("build", builds(), ids=lambda m: type(m).__name__)
def test_a_model_is_rebuilt_from_its_config_and_state(build, x):
    twin = type(build)(**build.config)
    twin.load_state_dict(build.state_dict())
    build.eval(), twin.eval()
    assert all(torch.equal(build(x)[question], twin(x)[question]) for question in ANSWERS)


def test_a_deep_copy_does_not_move_with_the_original(model, x):
    twin = copy.deepcopy(model)
    before = twin(x)["object"]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    assert torch.equal(twin(x)["object"], before)
    assert not torch.equal(model(x)["object"], before)


@pytest.mark.parametrize("build", builds(), ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 1, 32, 32), (2, 32, 32, 3)])
def test_what_is_no_batch_of_colour_pictures_is_refused(build, shape):
    with pytest.raises(ValueError, match=r"\(N, 3, H, W\)"):
        build(torch.zeros(shape))


def test_the_loss_sums_over_questions_what_pytorch_averages_over_pictures():
    generator = torch.Generator().manual_seed(0)
    logits = {"object": torch.randn(6, 5, generator=generator), "background": torch.randn(6, 3, generator=generator)}
    labels = {
        "object": torch.randint(5, (6,), generator=generator),
        "background": torch.randint(3, (6,), generator=generator),
    }
    expected = sum(F.cross_entropy(logits[question], labels[question]) for question in logits)
    torch.testing.assert_close(classification_loss(logits, labels), expected)


def test_the_loss_of_knowing_nothing_is_the_log_of_the_number_of_answers():
    loss = classification_loss({"object": torch.zeros(9, 40)}, {"object": torch.arange(9)})
    assert loss.item() == pytest.approx(math.log(40), abs=1e-5)


def test_the_loss_is_finite_at_logits_of_50_in_bfloat16():
    logits = torch.tensor([[50.0, -50.0]], dtype=torch.bfloat16)
    assert classification_loss({"object": logits}, {"object": torch.tensor([1])}).item() == pytest.approx(100)


def test_the_loss_refuses_other_questions_than_were_answered():
    with pytest.raises(ValueError, match="background"):
        classification_loss({"object": torch.zeros(1, 2)}, {"background": torch.zeros(1, dtype=torch.long)})


def test_saliency_is_the_derivative_of_the_best_score(x):
    """Against finite differences, on the linear model in double precision."""
    torch.manual_seed(0)
    model = LinearClassifier(answers=ANSWERS, size=32).double()
    x = x[:1].double()
    found = saliency(model, x, "object")
    assert found.shape == (1, 32, 32)
    best = model(x)["object"].argmax()
    slopes = []
    for channel in range(3):
        moved = x.clone()
        moved[0, channel, 5, 7] += 1e-4
        slopes.append((model(moved)["object"][0, best] - model(x)["object"][0, best]).abs().item() / 1e-4)
    assert found[0, 5, 7].item() == pytest.approx(max(slopes), rel=1e-4)
    assert not x.requires_grad


def test_a_residual_block_whose_change_is_zero_lets_its_input_through():
    block = ResidualBlock(4, 4)
    torch.nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, 4, 8, 8)  # not negative, so that relu leaves it
    torch.testing.assert_close(block(x), x)


def test_a_residual_block_halves_the_picture_and_changes_the_width():
    assert ResidualBlock(4, 6, stride=2)(torch.rand(2, 4, 8, 8)).shape == (2, 6, 4, 4)


def test_coordinates_run_from_minus_1_to_1_down_and_to_the_right():
    with_places = append_coordinates(torch.zeros(2, 3, 5, 4))
    assert with_places.shape == (2, 5, 5, 4)
    torch.testing.assert_close(with_places[0, 3, :, 0], torch.linspace(-1, 1, 5))
    torch.testing.assert_close(with_places[1, 4, 0, :], torch.linspace(-1, 1, 4))


# --- pictures of any size ---------------------------------------------------------------------------------------


def sized(kind, size, **arguments):
    torch.manual_seed(0)
    return kind(answers=ANSWERS, size=size, **arguments).eval()


SIZED = {
    "Classifier": (Classifier, {"widths": (8, 16, 16)}),
    "TransformerClassifier": (TransformerClassifier, {"width": 32, "depth": 2}),
}
each_sized = pytest.mark.parametrize(("kind", "arguments"), SIZED.values(), ids=SIZED)


@each_sized
@pytest.mark.parametrize("shape", [(32, 32), (96, 96), (40, 56)])
def test_with_a_size_pictures_are_judged_as_if_they_had_been_resized(kind, arguments, shape):
    """Smoothly: bilinear, and without aliasing where it shrinks, as torchvision resizes."""
    model = sized(kind, 64, **arguments)
    x = torch.rand(2, 3, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    by_hand = resize(x, [64, 64], InterpolationMode.BILINEAR, antialias=True)
    assert (by_hand.shape[2:]) == (64, 64)
    found, expected = model(x), model(by_hand)
    for question in ANSWERS:
        torch.testing.assert_close(found[question], expected[question], rtol=1e-4, atol=1e-5)


@each_sized
def test_the_size_is_kept_when_a_network_is_rebuilt(kind, arguments, x):
    model = sized(kind, 64, **arguments)
    twin = kind(**model.config).eval()
    twin.load_state_dict(model.state_dict())
    assert twin.size == 64 and torch.equal(twin(x)["object"], model(x)["object"])


@each_sized
def test_pictures_of_the_right_size_are_taken_as_they_are(kind, arguments, monkeypatch):
    model = sized(kind, 32, **arguments)
    monkeypatch.setattr(F, "interpolate", None)
    assert model(torch.zeros(1, 3, 32, 32))["object"].shape == (1, 5)


def test_the_size_also_holds_for_features_attention_and_saliency():
    model = sized(Classifier, 64, widths=(8, 16, 16))
    small = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    large = F.interpolate(small, (64, 64), mode="bilinear")
    torch.testing.assert_close(model.features(small), model.features(large), rtol=1e-4, atol=1e-5)
    assert model.attention(small)["object"].shape == (2, 8, 8)
    assert saliency(model, small, "object").shape == (2, 32, 32)


def test_without_a_size_a_classifier_sees_pictures_as_large_as_they_are(model):
    assert model.attention(torch.zeros(1, 3, 96, 96))["object"].shape == (1, 12, 12)


# --- the transformer --------------------------------------------------------------------------------------------


def test_the_transformer_sees_where_things_are(x):
    model = a_transformer().eval()
    for moved in (x.flip(3), x.roll(8, dims=2)):
        assert (model(x)["object"] - model(moved)["object"]).abs().max() > 1e-3


def test_each_question_of_the_transformer_has_a_token_of_its_own(x):
    model = a_transformer().eval()
    before = model(x)
    with torch.no_grad():
        model.heads["object"].load_state_dict({"weight": torch.eye(5, 32), "bias": torch.zeros(5)})
        model.heads["background"].load_state_dict({"weight": torch.eye(3, 32), "bias": torch.zeros(3)})
    after = model(x)
    assert before.keys() == after.keys() == ANSWERS.keys()
    assert (after["object"][:, :3] - after["background"]).abs().max() > 1e-3  # the same head sees something else


def test_the_transformer_drops_nothing_out_even_while_it_trains(x):
    model = a_transformer().train()
    assert torch.equal(model(x)["object"], model(x)["object"])


def test_the_transformer_answers_alike_with_and_without_gradients(x):
    """In eval mode without gradients PyTorch takes a faster way through the blocks."""
    model = a_transformer().eval()
    slow = model(x)
    with torch.no_grad():
        fast = model(x)
    for question in ANSWERS:
        torch.testing.assert_close(fast[question], slow[question], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("build", builds(), ids=lambda m: type(m).__name__)
def test_every_weight_of_a_classifier_is_taught(build, x):
    model = copy.deepcopy(build).train()
    labels = {"object": torch.tensor([0, 1, 2, 4]), "background": torch.tensor([0, 1, 2, 0])}
    classification_loss(model(x), labels).backward()
    useless = {"look.bias"}  # attention does not change when all scores rise alike
    untaught = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    assert untaught <= useless


@pytest.mark.gpu
@pytest.mark.parametrize("build", builds(), ids=lambda m: type(m).__name__)
def test_the_classifier_gives_the_same_on_the_gpu(build, x):
    model = copy.deepcopy(build).eval()
    here = model(x)
    there = model.to("cuda")(x.to("cuda"))
    for question in here:
        torch.testing.assert_close(there[question].cpu(), here[question], rtol=1e-3, atol=1e-3)
