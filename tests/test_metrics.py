"""Numbers with their uncertainty, against independent oracles."""

import math

import pytest
import torch
from torchmetrics.functional.classification import multiclass_calibration_error

from minigen.data import EmojiScenes
from minigen.metrics import calibration, collect_logits, confusion_matrix, correct_answers, share, spread


def test_share_gives_wilsons_interval():
    """Worked by hand for 8 of 10: Brown, Cai and DasGupta (2001) give 0.49 to 0.94."""
    found = share(torch.tensor([True] * 8 + [False] * 2))
    assert (found.value, found.count) == (pytest.approx(0.8), 10)
    assert (found.low, found.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


@pytest.mark.parametrize("right", [True, False])
def test_share_of_all_or_none_still_has_an_interval_inside_0_and_1(right):
    found = share(torch.full((50,), right))
    assert 0 <= found.low < found.high <= 1
    assert found.high - found.low > 0.05


def test_shares_interval_holds_the_truth_about_95_times_in_100():
    generator = torch.Generator().manual_seed(0)
    held = [s.low <= 0.9 <= s.high for s in (share(torch.rand(200, generator=generator) < 0.9) for _ in range(1000))]
    assert 0.92 < sum(held) / 1000 < 0.98


@pytest.mark.parametrize("wrong", [torch.tensor([]), torch.tensor([0.5]), torch.ones(2, 2, dtype=torch.bool)])
def test_share_refuses_what_is_no_list_of_booleans(wrong):
    with pytest.raises(ValueError, match="booleans"):
        share(wrong)


def test_spread_is_the_sample_standard_deviation():
    found = spread([1.0, 2.0, 3.0])
    assert (found.mean, found.std, found.values) == (2.0, 1.0, (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="at least two"):
        spread([1.0])


def test_calibration_error_equals_torchmetrics():
    generator = torch.Generator().manual_seed(1)
    probabilities = (3 * torch.randn(500, 7, generator=generator)).softmax(dim=1)
    labels = torch.randint(7, (500,), generator=generator)
    for bins in (5, 10, 15):
        oracle = multiclass_calibration_error(probabilities, labels, num_classes=7, n_bins=bins, norm="l1")
        assert calibration(probabilities, labels, bins=bins).error == pytest.approx(oracle.item(), abs=1e-6)


def test_calibration_of_a_network_that_is_right_as_often_as_it_says_is_near_0():
    generator = torch.Generator().manual_seed(0)
    confidence = 0.5 + 0.5 * torch.rand(20_000, generator=generator)
    labels = (torch.rand(20_000, generator=generator) > confidence).long()
    found = calibration(torch.stack([confidence, 1 - confidence], dim=1), labels)
    assert found.error < 0.02
    assert found.count.sum() == 20_000
    assert math.isnan(found.confidence[0])  # nothing is less than 10 % sure of the likelier of two answers


def test_rows_of_the_confusion_matrix_are_the_truth():
    logits = torch.tensor([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])  # says 1, 1, 0
    labels = torch.tensor([2, 1, 0])
    expected = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    assert torch.equal(confusion_matrix(logits, labels), expected)


def test_a_picture_is_right_only_if_all_its_answers_are():
    logits = {"a": torch.eye(3), "b": torch.eye(3)}
    labels = {"a": torch.tensor([0, 1, 0]), "b": torch.tensor([0, 0, 2])}
    assert correct_answers(logits, labels).tolist() == [True, False, False]
    assert correct_answers(logits, labels, ["a"]).tolist() == [True, True, False]


def test_collected_logits_do_not_depend_on_the_batch_size_and_models_get_signed_pictures():
    scenes, ranges = EmojiScenes("test", size=16), []

    def model(x):
        ranges.append((x.min().item(), x.max().item()))
        return {"object": x.mean(dim=(2, 3))}

    one, labels = collect_logits(model, scenes, 23, batch_size=5)
    other, _ = collect_logits(model, scenes, 23, batch_size=23)
    torch.testing.assert_close(one["object"], other["object"], rtol=0, atol=1e-6)
    assert torch.equal(labels["object"], scenes.take(range(23)).labels["object"])
    assert min(low for low, _ in ranges) < -0.5 and max(high for _, high in ranges) <= 1
    with pytest.raises(ValueError, match="20000"):
        collect_logits(model, scenes, 20_000)
