"""data.base: what every data set promises, and batches that depend on the seed and their number alone."""

import itertools

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from minigen.data import EmojiPortraits, EmojiScenes
from minigen.data.base import Batch, Example, PictureDataset, batches, grouped_batches


class Numbers(PictureDataset):
    """Picture k is filled with k/100, and its label says k."""

    questions = {"number": [str(k) for k in range(100)]}

    def __init__(self, size=10):
        self.size = size
        self.asked = []

    def __len__(self):
        return self.size

    def take(self, indices):
        numbers = torch.as_tensor(indices)
        self.asked.append(numbers.tolist())
        images = (numbers / 100)[:, None, None, None].expand(-1, 3, 2, 2)
        return Batch(images, [f"number {k}" for k in numbers.tolist()], {"number": numbers})


class Remainders(Numbers):
    """Picture k is filled with k/100, and its label says what is left of k divided by 5."""

    questions = {"remainder": ["0", "1", "2", "3", "4"]}

    def take(self, indices):
        batch = super().take(indices)
        return batch._replace(labels={"remainder": batch.labels["number"] % 5})


class Silent(Numbers):
    """Pictures of which nothing is asked."""

    questions = {}


def numbers(stream, n):
    """The pictures of the first `n` batches, by their number."""
    return [[int(c.removeprefix("number ")) for c in batch.captions] for batch in itertools.islice(stream, n)]


def some(stream, n):
    return [batch.labels["number"].tolist() for batch in itertools.islice(stream, n)]


# --- a data set -------------------------------------------------------------------------------------------------


def test_an_example_is_its_row_of_the_batch():
    example = Numbers()[7]
    assert isinstance(example, Example)
    assert_close(example.image, torch.full((3, 2, 2), 0.07))
    assert example.caption == "number 7"
    assert example.labels == {"number": 7} and type(example.labels["number"]) is int


def test_negative_indices_count_from_the_end():
    assert Numbers()[-1].caption == "number 9"
    assert Numbers()[-10].caption == "number 0"


@pytest.mark.parametrize("index", [10, -11, 10**12])
def test_an_index_beyond_the_end_is_named(index):
    with pytest.raises(IndexError, match=f"no example {index}: the data set holds 10"):
        Numbers()[index]


def test_a_loop_over_a_data_set_ends():
    assert [example.labels["number"] for example in Numbers()] == list(range(10))


def test_an_empty_data_set_has_no_example_and_no_batch():
    with pytest.raises(IndexError, match="holds 0"):
        Numbers(0)[0]
    with pytest.raises(ValueError, match="empty"):
        Numbers(0).batch(4)
    with pytest.raises(ValueError, match="empty"):
        batches(Numbers(0), 4)


def test_a_batch_is_drawn_from_everywhere_and_repeats_with_its_generator():
    first = Numbers().batch(500, torch.Generator().manual_seed(0))
    again = Numbers().batch(500, torch.Generator().manual_seed(0))
    assert first.captions == again.captions
    assert set(first.labels["number"].tolist()) == set(range(10))
    assert first.captions != Numbers().batch(500, torch.Generator().manual_seed(1)).captions


@pytest.mark.parametrize("n", [0, -1])
def test_a_batch_without_examples_is_refused(n):
    with pytest.raises(ValueError, match=f"batch of {n} examples"):
        Numbers().batch(n)


def test_moving_a_batch_leaves_the_original_where_it_was():
    batch = Numbers().take([1, 2])
    moved = batch.to("meta")
    assert moved.images.device.type == moved.labels["number"].device.type == "meta"
    assert batch.images.device.type == batch.labels["number"].device.type == "cpu"
    assert moved.captions == batch.captions


def test_an_unfinished_data_set_cannot_be_made():
    class Unfinished(PictureDataset):
        pass

    with pytest.raises(TypeError, match="take"):
        Unfinished()


# --- a part of a data set ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("indices", [[7, 2, 2], torch.tensor([7, 2, 2]), np.array([7, 2, 2])])
def test_a_subset_holds_the_examples_asked_for_in_that_order(indices):
    part = Numbers().subset(indices)
    assert [example.caption for example in part] == ["number 7", "number 2", "number 2"]
    assert part.take([2, 0]).labels["number"].tolist() == [2, 7]
    assert len(part) == 3 and part.questions == Numbers.questions
    assert set(some(batches(part, 50), 1)[0]) == {2, 7}


def test_a_subset_of_a_subset_counts_within_it():
    assert Numbers().subset(range(5, 10)).subset([0, 4]).take([0, 1]).labels["number"].tolist() == [5, 9]


def test_a_subset_does_not_change_with_the_callers_indices():
    indices = torch.tensor([1, 2])
    part = Numbers().subset(indices)
    indices[:] = 9
    assert part.take([0, 1]).labels["number"].tolist() == [1, 2]


def test_an_empty_subset_is_an_empty_data_set():
    assert len(Numbers().subset([])) == 0
    with pytest.raises(ValueError, match="empty"):
        Numbers().subset([]).batch(1)


@pytest.mark.parametrize("indices", [torch.arange(10) == 3, [True, False], [0.5, 3.0]])
def test_a_mask_or_a_fraction_is_not_mistaken_for_indices(indices):
    with pytest.raises(TypeError, match=r"nonzero"):
        Numbers().subset(indices)


@pytest.mark.parametrize("indices", [[10], [-1], [[0, 1]]])
def test_a_subset_beyond_the_data_set_is_refused(indices):
    with pytest.raises(IndexError, match="from 0 to 9"):
        Numbers().subset(indices)


# --- the answers to one question --------------------------------------------------------------------------------

LABELLED = {
    "any data set": lambda: Numbers(100),
    "more than are taken at a time": lambda: Remainders(2500),
    "scenes": lambda: EmojiScenes("val", size=16, length=60),
    "portraits": lambda: EmojiPortraits("test", size=16, length=60),
    "a subset": lambda: Numbers(100).subset([7, 2, 2, 99]),
    "a subset of scenes": lambda: EmojiScenes("val", size=16, length=60).subset(range(50, 10, -1)),
    "a subset of a subset": lambda: Numbers(100).subset(range(50, 60)).subset([3, 1]),
    "nothing": lambda: Numbers(0),
}


@pytest.mark.parametrize("build", LABELLED.values(), ids=LABELLED)
def test_labels_are_those_of_the_examples_in_their_order(build):
    dataset = build()
    truth = dataset.take(torch.arange(len(dataset))).labels
    for question in dataset.questions:
        answers = dataset.labels(question)
        assert answers.dtype == torch.int64
        assert_close(answers, truth[question], rtol=0, atol=0)


@pytest.mark.parametrize("kind", [EmojiScenes, EmojiPortraits])
def test_the_labels_of_100_000_scenes_are_told_without_drawing_one(kind, monkeypatch):
    monkeypatch.setattr(kind, "_paint", None)
    assert kind("train").labels("object").shape == (100_000,)


@pytest.mark.parametrize(
    ("dataset", "known"),
    [
        (Numbers(), "number"),
        (Numbers().subset([1]), "number"),
        (EmojiScenes("val"), "object, other, relation"),
        (EmojiPortraits("val"), "object, background, width"),
        (Silent(), "none"),
    ],
    ids=["any", "subset", "scenes", "portraits", "without labels"],
)
def test_a_question_that_is_not_answered_is_refused_by_name(dataset, known):
    with pytest.raises(ValueError, match=f"does not answer 'colour'; its questions are: {known}"):
        dataset.labels("colour")


@pytest.mark.gpu
def test_batches_arrive_on_the_gpu_and_are_the_same_there():
    there = next(batches(Numbers(), 8, device="cuda"))
    here = next(batches(Numbers(), 8))
    assert there.images.device.type == there.labels["number"].device.type == "cuda"
    assert torch.equal(there.images.cpu(), here.images)
    drawn = Numbers().batch(8, torch.Generator().manual_seed(0), device="cuda")
    assert drawn.captions == Numbers().batch(8, torch.Generator().manual_seed(0)).captions
    assert drawn.images.device.type == "cuda"


# --- batches ----------------------------------------------------------------------------------------------------


def test_a_resumed_stream_goes_on_where_the_interrupted_one_ended():
    whole = some(batches(Numbers(), 6, seed=3), 12)
    assert some(batches(Numbers(), 6, seed=3, start=5), 7) == whole[5:]


def test_batches_differ_from_one_another_and_between_seeds():
    drawn = some(batches(Numbers(100), 8, seed=0), 50) + some(batches(Numbers(100), 8, seed=1), 50)
    assert len({tuple(batch) for batch in drawn}) == 100


def test_the_global_random_state_neither_matters_nor_changes():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = some(batches(Numbers(), 6), 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert some(batches(Numbers(), 6), 3) == first


def test_batches_are_drawn_evenly():
    drawn = torch.tensor(some(batches(Numbers(), 100), 200)).flatten()
    counts = torch.bincount(drawn, minlength=10) / len(drawn)
    assert_close(counts, torch.full((10,), 0.1), rtol=0, atol=0.01)  # 5 standard deviations


@pytest.mark.parametrize("num_processes", [1, 2, 3, 6])
def test_the_slices_of_all_processes_are_together_the_batch_of_one(num_processes):
    whole = some(batches(Numbers(), 12, seed=5), 4)
    parts = [
        some(batches(Numbers(), 12, seed=5, process=k, num_processes=num_processes), 4) for k in range(num_processes)
    ]
    assert [[*itertools.chain(*(part[step] for part in parts))] for step in range(4)] == whole
    assert all(len(batch) == 12 // num_processes for part in parts for batch in part)


def test_a_process_makes_only_its_own_pictures():
    dataset = Numbers()
    next(batches(dataset, 12, process=1, num_processes=3))
    assert [len(asked) for asked in dataset.asked] == [4]


def test_a_stream_is_endless_and_lazy():
    dataset = Numbers(3)
    stream = batches(dataset, 2)
    assert dataset.asked == []
    assert len(some(stream, 1000)) == 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "a batch of 0 examples"),
        ({"batch_size": -4, "num_processes": 2}, "a batch of -4 examples"),
        ({"batch_size": 9, "num_processes": 2}, "9 examples does not divide among 2"),
        ({"batch_size": 4, "num_processes": 0}, "among 0 processes"),
        ({"batch_size": 4, "num_processes": -2}, "among -2 processes"),
        ({"batch_size": 4, "num_processes": 2, "process": 2}, "process is 2, expected 0 to 1"),
        ({"batch_size": 4, "num_processes": 2, "process": -1}, "process is -1, expected 0 to 1"),
    ],
)
def test_what_cannot_be_shared_is_refused_at_the_call_and_not_at_the_first_batch(arguments, message):
    with pytest.raises(ValueError, match=message):
        batches(Numbers(), **arguments)


# --- batches in groups ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("group", [1, 2, 4, 6])
def test_neighbours_of_a_group_share_the_answer(group):
    for batch in itertools.islice(grouped_batches(Remainders(40), 12, "remainder", group=group), 30):
        answers = batch.labels["remainder"].view(-1, group)
        assert (answers == answers[:, :1]).all()
        assert len(batch.images) == len(batch.captions) == 12


def test_groups_are_of_four_unless_said():
    drawn = torch.stack(
        [b.labels["remainder"] for b in itertools.islice(grouped_batches(Remainders(40), 8, "remainder"), 50)]
    )
    assert (drawn[:, :4] == drawn[:, :1]).all() and (drawn[:, 4:] == drawn[:, 4:5]).all()
    assert (drawn[:, 0] != drawn[:, 4]).any()


def test_all_answers_are_equally_frequent_however_rare_their_pictures_are():
    """Of 0 and 1 there are thirty pictures each, of 2 but one."""
    rare = Remainders(200).subset([k for k in range(150) if k % 5 in (0, 1)] + [2, 3, 4])
    drawn = torch.cat([b.labels["remainder"] for b in itertools.islice(grouped_batches(rare, 100, "remainder"), 100)])
    shares = torch.bincount(drawn, minlength=5) / len(drawn)
    assert_close(shares, torch.full((5,), 0.2), rtol=0, atol=0.04)  # 5 standard deviations of 2,500 groups


def test_within_an_answer_all_its_pictures_are_drawn_and_evenly():
    drawn = torch.tensor(numbers(grouped_batches(Remainders(20), 100, "remainder"), 200)).flatten()
    counts = torch.bincount(drawn, minlength=20) / len(drawn)
    assert_close(counts, torch.full((20,), 0.05), rtol=0, atol=0.012)


def test_members_of_a_group_differ():
    groups = torch.tensor(numbers(grouped_batches(Remainders(1000), 4, "remainder"), 100))
    assert sum(len(set(group)) == 4 for group in groups.tolist()) > 90


def test_a_grouped_batch_depends_on_the_seed_and_its_number_alone():
    whole = numbers(grouped_batches(Remainders(100), 8, "remainder", seed=3), 12)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    assert numbers(grouped_batches(Remainders(100), 8, "remainder", seed=3, start=5), 7) == whole[5:]
    assert torch.equal(torch.get_rng_state(), before)
    other = numbers(grouped_batches(Remainders(100), 8, "remainder", seed=4), 12)
    assert len({tuple(batch) for batch in whole + other}) == 24


@pytest.mark.parametrize("num_processes", [1, 2, 3])
def test_the_grouped_slices_of_all_processes_are_together_the_batch_of_one(num_processes):
    def drawn(**share):
        return numbers(grouped_batches(Remainders(100), 24, "remainder", seed=5, **share), 4)

    parts = [drawn(process=k, num_processes=num_processes) for k in range(num_processes)]
    assert [[*itertools.chain(*(part[step] for part in parts))] for step in range(4)] == drawn()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 10}, "groups of 4 do not fill a batch of 10"),
        ({"batch_size": 8, "group": 0}, "groups of 0"),
        ({"batch_size": 8, "group": -2}, "groups of -2"),
        ({"batch_size": 0}, "a batch of 0 examples"),
        ({"batch_size": 12, "num_processes": 2}, "12 examples does not divide among 2"),  # a group would be cut
        ({"batch_size": 8, "process": 2, "num_processes": 2}, "process is 2, expected 0 to 1"),
        ({"batch_size": 8, "question": "colour"}, "does not answer 'colour'"),
    ],
)
def test_groups_that_cannot_be_made_are_refused_at_the_call(arguments, message):
    with pytest.raises(ValueError, match=message):
        grouped_batches(Remainders(40), **{"question": "remainder"} | arguments)


def test_an_answer_that_no_picture_gives_is_named():
    with pytest.raises(ValueError, match="no picture answers 'remainder' with 3, 4"):
        grouped_batches(Remainders(3), 8, "remainder")
    with pytest.raises(ValueError, match="no picture answers 'remainder' with 0, 1, 2, 3, 4"):
        grouped_batches(Remainders(0), 8, "remainder")
