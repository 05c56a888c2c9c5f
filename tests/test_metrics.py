"""Numbers with their uncertainty, against independent oracles."""

import math
import warnings

import numpy as np
import pytest
import scipy.linalg
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchmetrics.functional.classification import multiclass_calibration_error

from minigen import metrics
from minigen.data import EmojiScenes
from minigen.images import to_signed
from minigen.metrics import (
    calibration,
    caption_adherence,
    collect_features,
    collect_logits,
    confusion_matrix,
    correct_answers,
    coverage,
    fidelity,
    frechet_distance,
    nearest_neighbours,
    precision_recall,
    psnr,
    share,
    spread,
)


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


# --- features of pictures -------------------------------------------------------------------------------------


def mean_colour(x):
    return x.mean(dim=(2, 3))


def test_collected_features_are_those_of_the_first_pictures_whatever_the_batch_size():
    scenes = EmojiScenes("test", size=16)
    expected = to_signed(scenes.take(range(23)).images).mean(dim=(2, 3))
    for batch_size in (1, 5, 23, 250):
        found = collect_features(mean_colour, scenes, 23, batch_size=batch_size)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_collected_features_are_float32_and_no_part_of_a_graph():
    layer = torch.nn.Linear(3, 2).double()
    found = collect_features(lambda x: layer(mean_colour(x).double()), torch.rand(4, 3, 8, 8), 4)
    assert (found.shape, found.dtype, found.requires_grad) == ((4, 2), torch.float32, False)


def test_generated_pictures_are_taken_as_a_data_set_is_and_have_no_labels():
    scenes = EmojiScenes("test", size=16)
    pictures = scenes.take(range(9)).images
    as_tensor, as_set = (collect_features(mean_colour, source, 7, batch_size=3) for source in (pictures, scenes))
    torch.testing.assert_close(as_tensor, as_set, rtol=0, atol=1e-6)

    logits, labels = collect_logits(lambda x: {"object": mean_colour(x)}, pictures, 7, batch_size=3)
    torch.testing.assert_close(logits["object"], as_set, rtol=0, atol=1e-6)
    assert labels == {}


@pytest.mark.parametrize(
    ("source", "count", "words"),
    [
        (torch.rand(4, 3, 8, 8), 5, "5 pictures were asked for, and there are 4: ask for 1 to 4"),
        (torch.rand(4, 3, 8, 8), 0, "0 pictures were asked for, and there are 4"),
        (torch.rand(4, 3, 8, 8) * 2 - 1, 4, "hold values from -.* to .*, expected 0 to 1: images.to_unit"),
        (torch.full((4, 3, 8, 8), math.nan), 4, "values from nan to nan, expected 0 to 1"),
        (torch.rand(3, 8, 8), 1, r"expected pictures \(N, 3, H, W\) of floats, got \(3, 8, 8\)"),
        (torch.zeros(4, 3, 8, 8, dtype=torch.uint8), 4, "of floats, got .* of torch.uint8"),
    ],
)
def test_pictures_to_be_asked_about_must_be_there_and_in_0_to_1(source, count, words):
    with pytest.raises(ValueError, match=words):
        collect_features(mean_colour, source, count)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (lambda x: x, r"the features of 2 pictures are \(2, 3, 8, 8\), expected \(2, D\): one row a picture"),
        (lambda x: mean_colour(x)[:1], r"are \(1, 3\), expected \(2, D\)"),
        (lambda x: {"object": mean_colour(x)}, "are dict, expected"),
    ],
)
def test_what_is_not_one_row_of_features_a_picture_is_refused(features, words):
    with pytest.raises(ValueError, match=words):
        collect_features(features, torch.rand(2, 3, 8, 8), 2)
    with pytest.raises(ValueError, match="batch_size is 0, expected at least 1"):
        collect_features(mean_colour, torch.rand(2, 3, 8, 8), 2, batch_size=0)


# --- Fréchet distance -----------------------------------------------------------------------------------------


def normal(n, width=4, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(n, mean, covariance, seed=0):
    """[n,D] float64 whose sample mean and covariance are exactly those given."""
    rows = normal(n, len(mean), seed).numpy()
    rows -= rows.mean(axis=0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T  # now with covariance 1
    return torch.from_numpy(rows @ np.linalg.cholesky(np.array(covariance)).T + np.array(mean))


def test_frechet_distance_is_the_closed_form_of_gaussians():
    """|difference of means|² + sum of (difference of deviations)², where the axes are the same."""
    reference = gaussian(50, [0.0, 1.0, -2.0], np.diag([1.0, 4.0, 0.25]))
    generated = gaussian(30, [3.0, 1.0, -1.0], np.diag([9.0, 1.0, 0.25]), seed=1)
    found = frechet_distance(reference, generated)
    assert found.value == pytest.approx(9 + 0 + 1 + 4 + 1 + 0, rel=1e-9)


def test_frechet_distance_sees_correlation_where_mean_and_spread_are_equal():
    """Eigenvalues 1.8 and 0.2 against 1 and 1."""
    reference = gaussian(40, [0.0, 0.0], [[1.0, 0.8], [0.8, 1.0]])
    generated = gaussian(40, [0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], seed=1)
    expected = (math.sqrt(1.8) - 1) ** 2 + (math.sqrt(0.2) - 1) ** 2
    assert frechet_distance(reference, generated).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("n", "m"), [(200, 150), (12, 9)])
def test_frechet_distance_equals_the_matrix_square_root_of_scipy(n, m):
    reference = normal(n, 6) @ normal(6, 6, seed=1) + normal(1, 6, seed=2)
    generated = normal(m, 6, seed=3) @ normal(6, 6, seed=4)
    (mean_r, cov_r), (mean_g, cov_g) = ((x.mean(0), np.cov(x.T)) for x in (reference.numpy(), generated.numpy()))
    root = scipy.linalg.sqrtm(cov_r @ cov_g).real
    expected = ((mean_r - mean_g) ** 2).sum() + np.trace(cov_r + cov_g - 2 * root)
    assert frechet_distance(reference, generated).value == pytest.approx(expected, rel=1e-7)
    assert frechet_distance(generated, reference).value == pytest.approx(expected, rel=1e-7)


def test_frechet_distance_of_float32_features_is_worked_out_in_float64():
    """Far from 0 the squares of float32 have no digits left for the spread."""
    reference, generated = ((1000 + normal(300, 3, seed)).float() for seed in (0, 1))
    found = frechet_distance(reference, generated).value
    assert found == frechet_distance(reference.double(), generated.double()).value
    assert found == pytest.approx(
        frechet_distance(reference.double() - 1000, generated.double() - 1000).value, rel=1e-6
    )


def test_frechet_distance_of_a_set_to_itself_is_0_and_never_less():
    for width, n in ((1, 10), (8, 100), (32, 20)):
        features = 100 * normal(n, width).float()
        assert 0 <= frechet_distance(features, features).value < 1e-2  # beside a spread of 10,000 a feature
        assert 0 <= frechet_distance(features, features.flip(0)).value < 1e-2


def test_frechet_distance_of_pictures_no_better_falls_as_the_sets_grow():
    values = [frechet_distance(normal(n, 16), normal(n, 16, seed=1)).value for n in (50, 500, 5000)]
    assert values[0] > 5 * values[1] > 25 * values[2] > 0


def test_frechet_distance_warns_of_nothing_and_needs_no_inception_network(monkeypatch):
    monkeypatch.setattr("torchmetrics.image.fid._TORCH_FIDELITY_AVAILABLE", False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert frechet_distance(normal(20), normal(20, seed=1)).value > 0


def test_frechet_distance_does_not_wait_for_other_processes(monkeypatch):
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        monkeypatch.setattr(torch.distributed, "barrier", lambda *_, **__: pytest.fail("it waits"))
        assert frechet_distance(normal(20), normal(20, seed=1)).value > 0
    finally:
        torch.distributed.destroy_process_group()


BAD_FEATURES = [
    (normal(1), r"is \(1, 4\) of torch.float64, expected features \(N, D\) of floats, N at least 2: see collect_feat"),
    (normal(8).flatten(), r"is \(32,\) of torch.float64, expected features \(N, D\)"),
    (normal(8)[:, :, None, None], r"is \(8, 4, 1, 1\) of"),
    (normal(8)[:, :0], r"is \(8, 0\) of"),
    (normal(8).long(), r"is \(8, 4\) of torch.int64, expected .* floats"),
    (normal(8).where(normal(8) < 1, math.nan), "rows of `{name}` hold nan or infinity, expected finite numbers: look"),
    (normal(8).where(normal(8) < 1, math.inf), "rows of `{name}` hold nan or infinity"),
    (normal(8, 5), r"the widths D differ, \{{.*4.*\}}: take all features from the same network"),
]


@pytest.mark.parametrize("measure", [frechet_distance, precision_recall])
@pytest.mark.parametrize(("wrong", "words"), BAD_FEATURES)
def test_features_that_cannot_be_compared_are_refused_by_name(measure, wrong, words):
    with pytest.raises(ValueError, match=words.format(name="generated")):
        measure(normal(8), wrong)
    with pytest.raises(ValueError, match=words.format(name="reference")):
        measure(wrong, normal(8))


def test_how_many_rows_are_not_finite_is_said():
    features = normal(8)
    features[2, 1], features[2, 3], features[5, 0] = math.nan, math.inf, -math.inf
    with pytest.raises(ValueError, match="2 of 8 rows of `generated`"):
        frechet_distance(normal(8), features)


# --- precision and recall -------------------------------------------------------------------------------------


def precision_recall_by_loops(reference, generated, k):
    """The definition, one pair after the other: equations 1 and 2 of arXiv:1904.06991."""

    def share_among(points, others):
        reach = []
        for i, a in enumerate(others):
            reach.append(sorted(math.dist(a, b) for j, b in enumerate(others) if j != i)[k - 1])
        inside = [any(math.dist(p, o) <= r for o, r in zip(others, reach, strict=True)) for p in points]
        return sum(inside) / len(inside)

    reference, generated = reference.tolist(), generated.tolist()
    return share_among(generated, reference), share_among(reference, generated)


@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_precision_and_recall_equal_the_definition(k):
    reference, generated = normal(60), 0.7 * normal(45, seed=1) + 0.5
    expected = precision_recall_by_loops(reference, generated, k)
    found = precision_recall(reference, generated, k=k)
    assert (found.precision, found.recall) == pytest.approx(expected, abs=1e-12)
    assert expected[0] != expected[1]
    if k == 3:
        assert precision_recall(reference, generated) == found  # as in the paper


def test_precision_and_recall_worked_by_hand():
    """With k = 1 the reaches are 1, 1, 2 and 0.5, 0.5, 3.5. So 5 lies just within that of 3, and 5.5 beyond it."""
    reference, generated = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[5.0], [5.5], [9.0]])
    found = precision_recall(reference, generated, k=1)
    assert (found.precision, found.recall) == (pytest.approx(1 / 3), 0)
    swapped = precision_recall(generated, reference, k=1)
    assert (swapped.precision, swapped.recall) == (0, pytest.approx(1 / 3))


def test_precision_and_recall_do_not_depend_on_how_many_rows_are_taken_at_a_time(monkeypatch):
    reference, generated = normal(70), normal(53, seed=1) * 0.6
    expected = precision_recall_by_loops(reference, generated, 3)
    for rows in (1, 7, 53, 70, 1000):
        monkeypatch.setattr(metrics, "_ROWS", rows)
        found = precision_recall(reference, generated)
        assert (found.precision, found.recall) == pytest.approx(expected, abs=1e-12)


def test_equal_sets_have_full_precision_and_recall():
    found = precision_recall(normal(300), normal(300).flip(0))
    assert (found.precision, found.recall) == (1, 1)


def test_sets_apart_have_neither_precision_nor_recall():
    found = precision_recall(normal(300), normal(200, seed=1) + 100)
    assert (found.precision, found.recall) == (0, 0)


def test_a_generator_collapsed_on_one_mode_is_precise_and_recalls_little():
    modes = 100 * torch.eye(10, dtype=torch.float64)
    reference = modes.repeat_interleave(40, dim=0) + normal(400, 10)
    collapsed = modes[:1] + 0.8 * normal(400, 10, seed=1)
    found = precision_recall(reference, collapsed)
    assert found.precision > 0.9
    assert found.recall <= 0.1
    scattered = precision_recall(collapsed, reference)  # and the other way round
    assert (scattered.precision, scattered.recall) == (found.recall, found.precision)


@pytest.mark.parametrize("rows", [1, 4, 5, 256])
@pytest.mark.parametrize("once", [(3 * normal(60, 32)).exp().float(), (1000 + normal(60, 32)).float()])
def test_a_copy_of_a_picture_lies_within_its_reach_even_where_that_is_0(once, rows, monkeypatch):
    """Each real picture comes five times, so nothing but a copy lies within its reach, whatever rounding does.

    Large features beside small ones cost digits, and so does a place far from 0.
    """
    monkeypatch.setattr(metrics, "_ROWS", rows)
    real, copies, others = once.repeat(5, 1), once[:41], once[:20] * 1.00002
    assert precision_recall(real, copies).precision == precision_recall(copies, real).recall == 1
    assert precision_recall(real, torch.cat([copies, others])).precision == pytest.approx(41 / 61)
    assert precision_recall(torch.cat([copies, others]), real).recall == pytest.approx(41 / 61)


@pytest.mark.parametrize(("k", "most"), [(0, 7), (-1, 7), (8, 7), (30, 7)])
def test_neighbours_that_a_set_does_not_have_are_refused(k, most):
    with pytest.raises(ValueError, match=f"k is {k}, expected 1 to {most}, .* in a set of 8: give more"):
        precision_recall(normal(20), normal(8), k=k)
    with pytest.raises(ValueError, match=f"k is {k}, expected 1 to {most}"):
        precision_recall(normal(8), normal(20), k=k)


class Largest(TorchDispatchMode):
    """Watches how many numbers the largest tensor has that is made."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


@pytest.mark.parametrize("measure", [precision_recall, nearest_neighbours])
def test_all_distances_are_never_held_at_a_time(measure):
    with Largest() as largest:
        measure(normal(3000, 8), normal(3000, 8, seed=1))
    assert largest.numbers <= 256 * 3000


# --- fidelity and its floor -----------------------------------------------------------------------------------


def test_fidelity_gives_what_each_measure_gives_beside_what_real_pictures_get():
    reference, generated, real = normal(90), 0.5 * normal(60, seed=1), normal(60, seed=2)
    found = fidelity(reference, generated, real)
    assert found.distance == frechet_distance(reference, generated).value
    assert found.floor_distance == frechet_distance(reference, real).value
    assert (found.precision, found.recall) == precision_recall(reference, generated)[:2]
    assert (found.floor_precision, found.floor_recall) == precision_recall(reference, real)[:2]
    assert (found.reference_count, found.count) == (90, 60)


def test_real_pictures_reach_the_floor_and_noise_does_not():
    reference, real, noise = normal(500), normal(300, seed=1), 5 * normal(300, seed=2) + 3
    good = fidelity(reference, normal(300, seed=3), real)
    assert good.distance < 3 * good.floor_distance
    assert min(good.precision, good.recall) > 0.85
    bad = fidelity(reference, noise, real)
    assert bad.distance > 100 * bad.floor_distance
    assert bad.precision < 0.2 < bad.floor_precision
    assert bad[3:] == good[3:]  # the floor is that of the real pictures


def test_fidelity_refuses_a_floor_of_another_size():
    with pytest.raises(ValueError, match=r"20 generated and 19 real pictures .* depends on the size: give as many"):
        fidelity(normal(30), normal(20), normal(19))
    with pytest.raises(ValueError, match="`real` hold nan"):
        fidelity(normal(30), normal(20), normal(20) * math.nan)


# --- every result says how many pictures it comes from --------------------------------------------------------


def test_the_size_is_part_of_the_result_and_of_what_is_printed():
    reference, generated, real = normal(1200), normal(1100, seed=1), normal(1100, seed=2)
    for measured in (
        frechet_distance(reference, generated),
        precision_recall(reference, generated),
        fidelity(reference, generated, real),
    ):
        assert (measured.reference_count, measured.count) == (1200, 1100)
        assert "1,100 pictures against 1,200" in str(measured)
    classes = torch.arange(2000) % 4
    assert coverage(classes, 4).count == 2000
    assert "2,000 pictures" in str(coverage(classes, 4))


def test_what_is_printed_are_the_numbers():
    assert str(metrics.Distance(12.345678, 20, 10)) == "12.35 (10 pictures against 20)"
    found = metrics.PrecisionRecall(0.8125, 0.25, 20, 10)
    assert str(found) == "precision 81.2%, recall 25.0% (10 pictures against 20)"
    assert str(metrics.Fidelity(12.345678, 0.75, 0.25, 0.5, 0.875, 0.9, 20, 10)) == (
        "Fréchet distance 12.35 (real pictures 0.5), precision 75.0% (real pictures 87.5%), "
        "recall 25.0% (real pictures 90.0%); 10 pictures against 20"
    )
    assert str(metrics.Coverage(38, 40, 1000, (3, 7))) == "38 of 40 classes (1,000 pictures)"


# --- coverage -------------------------------------------------------------------------------------------------


def pictures_of(*counts):
    """Class 0 so often, class 1 so often ..."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def test_a_class_is_covered_from_the_given_part_of_its_fair_share_on():
    """Of 100 pictures and 4 classes 25 are a fair share, and 5 a fifth of it."""
    found = coverage(pictures_of(50, 41, 5, 4), 4, least=0.2)
    assert (found.covered, found.classes, found.count, found.missing) == (3, 4, 100, (3,))
    assert found.value == 0.75


def test_a_class_that_nobody_sees_is_not_covered_whichever_its_place():
    assert coverage(pictures_of(0, 30, 0, 30, 0), 5).missing == (0, 2, 4)
    assert coverage(pictures_of(30), 3).missing == (1, 2)
    assert coverage(pictures_of(0, 0, 1), 3).covered == 1
    assert coverage(pictures_of(4, 4, 4), 3) == (3, 3, 12, ())


def test_an_examiner_that_names_none_of_the_classes_covers_none():
    asked = pictures_of(10, 10)
    named = asked.clone()
    named[asked == 1] = 2  # "none of these", after the last class
    assert coverage(named, 2, asked=asked).missing == (1,)
    with pytest.raises(ValueError, match="holds classes 0 to 2, expected 0 to 1"):
        coverage(named, 2)


def test_where_classes_are_asked_for_only_right_names_count_of_the_pictures_they_were_asked_in():
    """Asked for 70, 20 and 10 times, drawn 7, 1 and 1 times: a tenth, a twentieth and a tenth."""
    asked = pictures_of(70, 20, 10)
    named = torch.cat([pictures_of(7, 63), pictures_of(19, 1), pictures_of(0, 9, 1)])
    found = coverage(named, 3, asked=asked)
    assert (found.covered, found.missing, found.count) == (2, (1,), 100)
    assert coverage(named, 3).missing == (2,)  # without what was asked, the many that are taken for class 1 count
    assert coverage(named, 3, asked=asked, least=0.11).missing == (0, 1, 2)
    assert coverage(asked, 3, asked=asked, least=1.0).value == 1


def test_names_all_right_in_number_and_wrong_in_place_cover_nothing():
    asked = pictures_of(10, 10, 10)
    assert coverage(asked, 3).covered == 3
    assert coverage((asked + 1) % 3, 3, asked=asked).missing == (0, 1, 2)


def test_just_enough_is_enough_whatever_the_rounding():
    for asked in range(1, 50):
        for right in range(1, asked + 1):
            named = torch.cat([torch.zeros(right, dtype=torch.int64), torch.ones(asked - right + 1, dtype=torch.int64)])
            found = coverage(named, 2, asked=pictures_of(asked, 1), least=right / asked)
            assert found.covered == 2, f"{right} of {asked}"


@pytest.mark.parametrize(
    ("named", "options", "words"),
    [
        (torch.tensor([0.0, 1.0]), {}, r"`named` is \(2,\) of torch.float32, expected int64 \(N,\), N at least 1"),
        (torch.zeros(2, 3, dtype=torch.int64), {}, r"`named` is \(2, 3\) of torch.int64"),
        (torch.zeros(0, dtype=torch.int64), {}, r"`named` is \(0,\)"),
        (torch.tensor([0, 3]), {}, "`named` holds classes 0 to 3, expected 0 to 2: see num_classes"),
        (torch.tensor([-1, 2]), {}, "`named` holds classes -1 to 2, expected 0 to 2"),
        (torch.tensor([0, 1]), {"least": 0}, "least is 0, expected a fraction above 0 and at most 1"),
        (torch.tensor([0, 1]), {"least": 10}, "least is 10, expected a fraction"),
        (torch.tensor([0, 1]), {"asked": torch.tensor([0, 1, 2])}, "2 pictures were named and 3 asked for: give one"),
        (torch.tensor([0, 1]), {"asked": torch.tensor([0, 7])}, "`asked` holds classes 0 to 7, expected 0 to 2"),
        (torch.tensor([0, 1]), {"asked": torch.tensor([1, 1])}, r"classes \[0, 2\] were never asked for: ask for each"),
    ],
)
def test_names_that_cannot_be_counted_are_refused(named, options, words):
    with pytest.raises(ValueError, match=words):
        coverage(named, 3, **options)


# --- nearest neighbours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 33, 1000])
@pytest.mark.parametrize("k", [1, 5, 80])
def test_neighbours_are_those_of_all_distances_sorted(rows, k, monkeypatch):
    monkeypatch.setattr(metrics, "_ROWS", rows)
    queries, reference = normal(33), normal(80, seed=1)
    expected = torch.cdist(queries, reference).topk(k, largest=False)
    found = nearest_neighbours(queries, reference, k=k)
    torch.testing.assert_close(found.distances, expected.values.float(), rtol=1e-5, atol=1e-6)
    assert torch.equal(found.indices, expected.indices)
    assert (found.distances.dtype, found.indices.dtype) == (torch.float32, torch.int64)


def test_neighbours_worked_by_hand_are_rows_of_the_reference_nearest_first():
    reference = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
    found = nearest_neighbours(torch.tensor([[6.0, 8.0], [0.0, -1.0]]), reference, k=2)
    assert found.indices.tolist() == [[2, 1], [0, 1]]
    torch.testing.assert_close(found.distances, torch.tensor([[0.0, 5.0], [1.0, math.sqrt(34)]]), rtol=1e-6, atol=0)


def test_a_copy_lies_at_distance_0_and_is_found():
    """Far from 0, where a product of matrices loses the digits."""
    reference = 100 + normal(400, 16).float()
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    found = nearest_neighbours(reference[order], reference)
    assert torch.equal(found.indices[:, 0], order)
    assert (found.distances == 0).all()


def test_neighbours_of_one_row_are_the_same_alone_and_among_others():
    queries, reference = normal(300).float(), normal(50, seed=1).float()
    together = nearest_neighbours(queries, reference, k=3)
    for row in (0, 255, 256, 299):
        alone = nearest_neighbours(queries[row : row + 1], reference, k=3)
        assert torch.equal(alone.distances[0], together.distances[row])
        assert torch.equal(alone.indices[0], together.indices[row])


def test_neighbours_that_do_not_exist_are_refused():
    for k in (0, 5):
        with pytest.raises(ValueError, match=f"k is {k}, expected 1 to 4, the rows of the reference"):
            nearest_neighbours(normal(2), normal(4), k=k)
    with pytest.raises(ValueError, match=r"`queries` is \(0, 4\) .* N at least 1"):
        nearest_neighbours(normal(2)[:0], normal(4))
    with pytest.raises(ValueError, match="1 of 2 rows of `queries` hold nan"):
        nearest_neighbours(torch.tensor([[0.0], [math.nan]]), normal(4, 1))
    with pytest.raises(ValueError, match=r"the widths D differ, \{'queries': 4, 'reference': 5\}"):
        nearest_neighbours(normal(2), normal(4, 5))


# --- peak signal-to-noise ratio -------------------------------------------------------------------------------


def pictures(n, seed=0, size=6):
    return torch.rand(n, 3, size, size + 2, generator=torch.Generator().manual_seed(seed))


def test_psnr_is_ten_times_the_logarithm_of_one_over_the_squared_error():
    images, reference = pictures(5), pictures(5, seed=1)
    for found, a, b in zip(psnr(images, reference).tolist(), images.double(), reference.double(), strict=True):
        error = ((a - b) ** 2).mean().item()
        assert found == pytest.approx(10 * math.log10(1 / error), abs=1e-4)


def test_a_tenth_off_everywhere_is_20_db_and_equal_pictures_are_infinitely_near():
    reference = torch.full((3, 3, 4, 4), 0.5)
    images = reference + torch.tensor([0.1, -0.01, 0.0])[:, None, None, None]
    torch.testing.assert_close(psnr(images, reference), torch.tensor([20.0, 40.0, math.inf]), rtol=1e-4, atol=0)


def test_psnr_takes_the_range_to_be_0_to_1_whatever_the_pictures_hold():
    """A dim picture is not measured against its own brightest pixel."""
    dim = torch.full((1, 3, 4, 4), 0.2)
    dim[0, 0, 0, 0] = 0
    assert psnr(dim / 2, dim).item() == pytest.approx(10 * math.log10(48 / (47 * 0.01)), abs=1e-3)


def test_psnr_of_a_picture_is_the_same_alone_and_in_a_batch():
    images, reference = pictures(7), pictures(7, seed=1)
    together = psnr(images, reference)
    alone = torch.cat([psnr(images[k : k + 1], reference[k : k + 1]) for k in range(7)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (pictures(2) * 2 - 1, "hold values from -.*, expected 0 to 1: images.to_unit makes them so"),
        (pictures(2) * 255, "expected 0 to 1"),
        (pictures(2) * math.nan, "values from nan to nan"),
        (pictures(1), r"pictures \(.*3, 6, 8\) against \(.*3, 6, 8\): give both the same shape"),
    ],
)
def test_psnr_refuses_pictures_out_of_range_or_of_another_shape(wrong, words, turned):
    pair = (pictures(2), wrong)
    with pytest.raises(ValueError, match=words):
        psnr(*(reversed(pair) if turned else pair))


def test_psnr_refuses_what_are_no_pictures():
    with pytest.raises(ValueError, match=r"expected pictures \(N, 3, H, W\) of floats, got \(2, 1, 6, 8\)"):
        psnr(pictures(2)[:, :1], pictures(2)[:, :1])


# --- adherence ------------------------------------------------------------------------------------------------


def answers_as_logits(labels, refused=()):
    """Logits of an examiner that answers as `labels` say, and refuses the pictures of these numbers."""
    sizes = {question: len(names) + (question == "object") for question, names in EmojiScenes.questions.items()}
    logits = {q: torch.nn.functional.one_hot(labels[q], sizes[q]).float() for q in sizes}
    for k in refused:
        logits["object"][k] = torch.nn.functional.one_hot(torch.tensor(40), 41).float()
    return logits


def test_a_picture_counts_only_where_everything_in_its_caption_is_right():
    labels = EmojiScenes("test").truth(range(10))
    seen = {question: answers.clone() for question, answers in labels.items()}
    for k, question in enumerate(("object", "other", "relation", "size", "other_size", "background")):
        seen[question][k] = 1 - seen[question][k].clamp(max=1)  # pictures 0 to 5 are each wrong in one thing
    found = caption_adherence(answers_as_logits(seen, refused=[6]), labels)
    parts = {name: round(getattr(found, name).value * 10) for name in found._fields[:-1]}
    expected = {"everything": 3, "objects": 7, "relation": 9, "size": 8, "background": 9, "refused": 1}
    assert parts == expected and found.count == 10


def test_an_examiner_that_cannot_refuse_refuses_nothing():
    labels = EmojiScenes("test").truth(range(10))
    logits = answers_as_logits(labels)
    logits["object"] = logits["object"][:, :40]
    found = caption_adherence(logits, labels)
    assert found.refused.value == 0 and found.everything.value == 1


# --- nothing but the result changes ---------------------------------------------------------------------------

CALLS = {
    "collect_features": (collect_features, lambda: (mean_colour, pictures(4), 4)),
    "collect_logits": (collect_logits, lambda: (lambda x: {"object": mean_colour(x)}, pictures(4), 4)),
    "frechet_distance": (frechet_distance, lambda: (normal(9), normal(8, seed=1))),
    "precision_recall": (precision_recall, lambda: (normal(9), normal(8, seed=1))),
    "fidelity": (fidelity, lambda: (normal(9), normal(8, seed=1), normal(8, seed=2))),
    "coverage": (coverage, lambda: (pictures_of(3, 2, 1), 3)),
    "nearest_neighbours": (nearest_neighbours, lambda: (normal(9).float(), normal(8, seed=1).float())),
    "psnr": (psnr, lambda: (pictures(3), pictures(3, seed=1))),
}


@pytest.mark.parametrize("name", CALLS)
def test_arguments_and_the_random_state_are_as_before(name):
    measure, arguments = CALLS[name]
    given = arguments()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20_240_229)  # no seed that a function would set
        state = torch.get_rng_state()
        measure(*given)
        assert torch.equal(torch.get_rng_state(), state)
    for after, before in zip(given, arguments(), strict=True):
        if isinstance(after, torch.Tensor):
            torch.testing.assert_close(after, before, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["frechet_distance", "precision_recall", "fidelity", "nearest_neighbours"])
def test_features_that_belong_to_a_graph_are_measured_without_keeping_anything_for_it(name):
    measure, arguments = CALLS[name]
    expected = measure(*arguments())
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: pytest.fail("a tensor is kept"), lambda kept: kept):
        found = measure(*(features.requires_grad_() for features in arguments()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["frechet_distance", "precision_recall", "fidelity", "nearest_neighbours", "psnr"])
def test_measures_on_a_gpu_agree_with_the_cpu(name):
    measure, arguments = CALLS[name]
    for found, expected in zip(measure(*(x.cuda() for x in arguments())), measure(*arguments()), strict=True):
        torch.testing.assert_close(torch.as_tensor(found).cpu(), torch.as_tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
def test_features_collected_on_a_gpu_come_back_to_the_cpu():
    seen = []

    def features(x):
        seen.append(x.device.type)
        return mean_colour(x)

    found = collect_features(features, pictures(9), 9, device="cuda", batch_size=4)
    assert (seen, found.device.type) == (["cuda"] * 3, "cpu")
    torch.testing.assert_close(found, collect_features(mean_colour, pictures(9), 9), rtol=0, atol=1e-5)
