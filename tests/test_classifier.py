"""The classifier and its layers: shapes, oracles, and the bugs that such code has had."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from minigen.classifier import Classifier, LinearClassifier, classification_loss, saliency
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
    ]


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


@pytest.mark.gpu
def test_the_classifier_gives_the_same_on_the_gpu(model, x):
    here = model(x)
    there = model.to("cuda")(x.to("cuda"))
    for question in here:
        torch.testing.assert_close(there[question].cpu(), here[question], rtol=1e-3, atol=1e-3)
