"""Captions as numbers: what a token is, what is unknown and said so, and what the encoder may and may not look at."""

import copy

import pytest
import torch
from torch.testing import assert_close

from minigen.data import EmojiScenes
from minigen.data.grammar import caption_of
from minigen.text import Condition, TextEncoder, Tokenizer, split

WORDS = ["a", "above", "and", "blue", "cat", "dog", "猫", "熊"]
CAPTIONS = ["a cat", "a dog above a cat and a dog", "熊猫"]


def an_encoder(**options):
    torch.manual_seed(0)
    return TextEncoder(**{"words": WORDS, "width": 16, "depth": 2, "num_heads": 2, "max_length": 12} | options).eval()


# --- tokens -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("A small CAT, on a blue background.", ["a", "small", "cat", "on", "a", "blue", "background"]),
        ("蓝色背景上有一只大熊猫。", list("蓝色背景上有一只大熊猫")),
        ("a 猫 and a狗", ["a", "猫", "and", "a", "狗"]),
        ("don’t  stop\n- jack-o'-lantern's", ["don't", "stop", "jack-o", "lantern's"]),
        ("Café Ünïcode 2 кот", ["café", "ünïcode", "2", "кот"]),
        ("ＣＡＴ", ["cat"]),
        ("a 🐱!", ["a", "🐱"]),
        ("snake_case", ["snake", "case"]),
        ("", []),
        (" ,.!? 。，（）\"'", []),
    ],
)
def test_a_token_is_a_word_or_one_chinese_character(text, tokens):
    assert split(text) == tokens


def test_captions_become_ids_that_are_filled_up_to_the_longest():
    tokenizer = Tokenizer(WORDS)
    ids, mask = tokenizer(CAPTIONS)
    assert ids.tolist() == [[1, 5, 0, 0, 0, 0, 0, 0], [1, 6, 2, 1, 5, 3, 1, 6], [8, 7, 0, 0, 0, 0, 0, 0]]
    assert torch.equal(mask, ids != 0) and len(tokenizer) == 9


def test_the_vocabulary_of_captions_is_all_that_is_in_them_whatever_their_order():
    tokenizer = Tokenizer.from_captions(CAPTIONS)
    assert tokenizer.words == Tokenizer.from_captions(CAPTIONS[::-1]).words
    assert set(tokenizer.words) == {"a", "cat", "dog", "above", "and", "熊", "猫"}
    assert all(tokenizer.unknown(caption) == [] for caption in CAPTIONS)


def test_a_caption_of_every_scene_can_be_read_in_both_languages():
    scenes = EmojiScenes("train").scenes(range(3000))
    captions = [caption_of(scene, language) for scene in scenes for language in ("en", "zh")]
    tokenizer = Tokenizer.from_captions(captions)
    held_out = EmojiScenes("held_out").scenes(range(300))
    assert all(tokenizer.unknown(caption_of(scene, language)) == [] for scene in held_out for language in ("en", "zh"))
    assert tokenizer(captions[:50]).ids.shape[1] <= 32


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("a cta", r"'a cta' holds words that are not known: 'cta'; did you mean 'cat'\?"),
        ("zebra or yak and zebra", "not known: 'zebra', 'or', 'yak'"),
        ("a 🐱", "not known: '🐱'"),
        ("a 狗", "not known: '狗'"),
        ("", "'' holds no word"),
        ("  ...", "holds no word"),
        ("cat " * 13, r"has 13 words, and may have 12"),
        ("b c d e f g h", "'b', 'c', 'd', 'e', 'f' and more"),
    ],
)
def test_what_cannot_be_read_is_named(caption, message):
    with pytest.raises(ValueError, match=message) as error:
        an_encoder().read(["a cat", caption])
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


def test_one_text_in_place_of_a_list_is_refused():
    with pytest.raises(TypeError, match=r"write \[caption\]"):
        Tokenizer(WORDS)("a cat")
    with pytest.raises(ValueError, match="at least one"):
        Tokenizer(WORDS)([])


@pytest.mark.parametrize("words", [["cat", "cat"], ["two words"], ["Cat"], ["熊猫"], [""]])
def test_a_vocabulary_that_cannot_be_is_refused(words):
    with pytest.raises(ValueError, match="each one token"):
        Tokenizer(words)


# --- the encoder ------------------------------------------------------------------------------------------------


def test_a_caption_is_read_the_same_alone_and_beside_longer_ones():
    encoder = an_encoder()
    tokens, mask = encoder.read(CAPTIONS)
    assert tokens.shape == (3, 8, 16) and mask.sum(dim=1).tolist() == [2, 8, 2]
    for k, caption in enumerate(CAPTIONS):
        alone = encoder.read([caption])
        assert_close(tokens[k : k + 1, : alone.tokens.shape[1]], alone.tokens, rtol=1e-4, atol=1e-5)
    assert (tokens[~mask] == 0).all()


def test_each_token_sees_all_others_and_their_order():
    encoder = an_encoder()
    there, back = encoder.read(["cat above dog"]).tokens, encoder.read(["dog above cat"]).tokens
    assert (there[0, 1] - back[0, 1]).abs().max() > 1e-3  # of the same word, in the same place
    assert (there[0, 0] - back[0, 2]).abs().max() > 1e-3


def test_an_encoder_begins_knowing_the_order_of_words():
    """A word said first or last differs by a good part of its length: else a short training goes to find that out."""
    encoder = an_encoder(width=64)
    ids = torch.tensor([[5, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 5]])
    tokens = encoder(ids, ids > 0).tokens
    first, last = tokens[0, 0], tokens[1, 5]
    assert (first - last).norm() > 0.3 * first.norm()


def test_attention_weighs_the_tokens_and_not_their_features():
    """Where all keys are alike, what is seen is the mean of the values of the tokens, filling left out."""
    block = an_encoder().blocks[0]
    width = 16
    with torch.no_grad():
        block.qkv.weight.zero_()
        block.qkv.bias.zero_()
        block.qkv.weight[2 * width :] = torch.eye(width)  # the values are the normalised tokens
        block.out.weight.copy_(torch.eye(width))
        block.out.bias.zero_()
        block.mlp[2].weight.zero_()
        block.mlp[2].bias.zero_()
    h, mask = torch.randn(1, 4, width), torch.tensor([[True, True, True, False]])
    seen = block(h, mask) - h
    assert_close(seen[0, 0], block.norm1(h)[0, :3].mean(dim=0), rtol=1e-4, atol=1e-5)


def test_two_passes_in_eval_mode_are_equal():
    encoder = an_encoder()
    assert torch.equal(encoder.read(CAPTIONS).tokens, encoder.read(CAPTIONS).tokens)


def test_the_empty_caption_exists_and_learns():
    encoder = an_encoder()
    tokens, mask = encoder.empty(3)
    assert tokens.shape == (3, 1, 16) and mask.all() and mask.shape == (3, 1)
    tokens.square().sum().backward()
    assert encoder.empty_token.grad.abs().sum() > 0


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_captions_are_dropped_as_often_as_asked(rate):
    encoder = an_encoder()
    condition = encoder.read(CAPTIONS)
    dropped = encoder.drop(condition, rate)
    if rate == 0:
        assert torch.equal(dropped.tokens, condition.tokens) and torch.equal(dropped.mask, condition.mask)
        return
    assert dropped.mask.sum(dim=1).tolist() == [1, 1, 1] and dropped.mask[:, 0].all()
    assert torch.equal(dropped.tokens[:, :1], encoder.empty(3).tokens) and (dropped.tokens[:, 1:] == 0).all()
    dropped.tokens.sum().backward()
    assert encoder.empty_token.grad.abs().sum() > 0


def test_each_caption_is_dropped_by_itself_and_repeatably():
    encoder = an_encoder()
    condition = encoder.read(["a cat"] * 400)
    masks = [encoder.drop(condition, 0.1, generator=torch.Generator().manual_seed(k)).mask for k in (0, 0, 1)]
    assert 20 < (masks[0].sum(dim=1) == 1).sum() < 65
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])


def test_dropping_leaves_what_it_was_given_as_it_was():
    encoder = an_encoder()
    condition = encoder.read(CAPTIONS)
    before = condition.tokens.clone(), condition.mask.clone()
    encoder.drop(condition, 1.0)
    assert torch.equal(condition.tokens, before[0]) and torch.equal(condition.mask, before[1])


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_cannot_be_is_refused(rate):
    encoder = an_encoder()
    with pytest.raises(ValueError, match="rate is"):
        encoder.drop(encoder.read(CAPTIONS), rate)


@pytest.mark.parametrize(("ids", "mask"), [((3,), (3,)), ((1, 13), (1, 13)), ((1, 2), (1, 1))])
def test_ids_of_a_wrong_shape_are_refused(ids, mask):
    with pytest.raises(ValueError, match=r"expected ids and mask of shape \(N, L\)"):
        an_encoder()(torch.ones(ids).long(), torch.ones(mask).bool())


def test_the_configuration_rebuilds_the_encoder_with_its_vocabulary():
    encoder = an_encoder()
    again = TextEncoder(**encoder.config).eval()
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.read(CAPTIONS).tokens, encoder.read(CAPTIONS).tokens)
    assert again.tokenizer.words == WORDS


def test_a_deep_copy_does_not_move_with_the_original():
    encoder = an_encoder()
    twin, before = copy.deepcopy(encoder), encoder.read(CAPTIONS).tokens.clone()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1)
    assert torch.equal(twin.read(CAPTIONS).tokens, before)


def test_an_encoder_learns_to_tell_captions_apart():
    encoder = an_encoder().train()
    head = torch.nn.Linear(16, 3)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=0.01)
    for _ in range(60):
        tokens, mask = encoder.read(["cat above dog", "dog above cat", "猫"])
        loss = torch.nn.functional.cross_entropy(
            head(tokens.sum(dim=1) / mask.sum(dim=1, keepdim=True)), torch.arange(3)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_a_condition_has_its_parts_by_name():
    condition = an_encoder().read(["a cat"])
    assert isinstance(condition, Condition) and condition.tokens.shape[:2] == condition.mask.shape


@pytest.mark.gpu
def test_an_encoder_reads_the_same_on_the_gpu():
    encoder = an_encoder()
    here = encoder.read(CAPTIONS)
    there = copy.deepcopy(encoder).to("cuda").read(CAPTIONS)
    assert_close(there.tokens.cpu(), here.tokens, rtol=1e-2, atol=1e-2)
