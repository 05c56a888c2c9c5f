"""Reading: what each word of a caption should answer, and that an encoder learns to, order of words and all."""

import pytest
import torch

from minigen.data import EmojiScenes
from minigen.data.grammar import OBJECTS
from minigen.recipes.reading import QUESTIONS, UNASKED, answers_of, lesson_of, read, share_right, teach
from minigen.text import TextEncoder, Tokenizer, split

THREE = ["cat", "panda", "rocket"]


def spelt(caption):
    """The words that are asked anything, with their answers."""
    asked = []
    for word, row in zip(split(caption), answers_of(caption).tolist(), strict=True):
        answers = [names[k] for names, k in zip(QUESTIONS.values(), row, strict=True) if k != UNASKED]
        asked += [(word, *answers)] if answers else []
    return asked


@pytest.mark.parametrize(
    ("caption", "answers"),
    [
        ("a large cat on a blue background", [("cat", "cat", "alone", "large"), ("blue", "blue")]),
        (
            "a small cat to the left of a large rocket on a white background",
            [("cat", "cat", "left", "small"), ("rocket", "rocket", "right", "large"), ("white", "white")],
        ),
        (
            "a small cat to the right of a large rocket on a white background",
            [("cat", "cat", "right", "small"), ("rocket", "rocket", "left", "large"), ("white", "white")],
        ),
        (
            "a large rocket below a large cat on an orange background",
            [("rocket", "rocket", "below", "large"), ("cat", "cat", "above", "large"), ("orange", "orange")],
        ),
        (
            "蓝色背景上，一只小熊在一只大熊猫的上面",  # a bear, and a panda, whose name holds the bear's
            [("蓝", "blue"), ("色", "blue"), ("熊", "bear", "above", "small")]
            + [(character, "panda", "below", "large") for character in "熊猫"],
        ),
        (
            "白色背景上，一头大大象在一枚小火箭的右边",  # an elephant: its name begins as "large" is written
            [("白", "white"), ("色", "white")]
            + [(character, "elephant", "right", "large") for character in "大象"]
            + [(character, "rocket", "left", "small") for character in "火箭"],
        ),
    ],
)
def test_each_word_is_asked_what_it_names(caption, answers):
    assert spelt(caption) == answers


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_answers_are_the_truth_of_the_scene(language):
    dataset = EmojiScenes("train", language=language)
    some = range(500)
    truth, first_place = dataset.truth(some), {"left of": "left", "above": "above", None: "alone"}
    for k, (scene, caption) in enumerate(zip(dataset.scenes(some), dataset.captions(some), strict=True)):
        answers = answers_of(caption)
        assert len(answers) == len(split(caption))
        first = answers[answers[:, 1] == QUESTIONS["where"].index(first_place[scene.relation])].unique(dim=0)
        assert first.tolist() == [[truth["object"][k], first[0, 1], truth["size"][k], UNASKED]]
        assert (answers[:, 0] >= 0).sum() == sum(
            len(split(thing.name if language == "en" else OBJECTS[thing.name][2])) for thing in scene.objects
        )


def test_a_caption_that_is_no_scene_is_refused():
    with pytest.raises(ValueError, match="unicorn"):
        answers_of("a large unicorn on a blue background")


def captions_of(split_of, count):
    datasets = [EmojiScenes(split_of, language=language, objects=THREE) for language in ("en", "zh")]
    return [caption for dataset in datasets for caption in dataset.captions(range(count))]


@pytest.fixture(scope="module")
def taught():
    captions = captions_of("train", 1000)
    torch.manual_seed(0)
    encoder = TextEncoder(words=Tokenizer.from_captions(captions).words, width=64)
    return encoder, teach(encoder, captions, num_steps=250)


def test_an_encoder_learns_to_read_both_languages_and_what_it_never_read(taught):
    """Chance is a half for `where` in scenes of two, where a bag of words stays."""
    encoder, reader = taught
    for split_of in ("test", "held_out"):
        right = share_right(reader, lesson_of(encoder.tokenizer, captions_of(split_of, 200)))
        assert set(right) == set(QUESTIONS) and min(right.values()) > 0.95


def test_what_can_read_is_left_alone_by_what_trains_on(taught):
    encoder, _ = taught
    assert [name for name, p in encoder.named_parameters() if p.requires_grad] == ["empty_token"]


def test_filling_answers_nothing_and_changes_nothing(taught):
    encoder, reader = taught
    lesson = lesson_of(encoder.tokenizer, captions_of("test", 5))
    assert (lesson.answers[lesson.ids == 0] == UNASKED).all()
    longer = torch.nn.functional.pad(lesson.ids, (0, 3))
    for before, after in zip(read(reader, lesson.ids).values(), read(reader, longer).values(), strict=True):
        torch.testing.assert_close(after[:, :-3], before, rtol=1e-4, atol=1e-4)
