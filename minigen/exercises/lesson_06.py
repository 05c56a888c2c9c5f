"""Lesson 06: captions as numbers, attention without filling, guidance, and pictures that begin with a picture."""

import math

import torch
from torch.nn import functional as F

from minigen.exercises.frame import Exercise, mistake

__all__ = ["q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q9"]


# 1. A caption as numbers


def add_caption(ids, caption, vocabulary):
    words = caption.lower().split()
    unknown = [word for word in words if word not in vocabulary]
    if unknown:
        return ids, unknown
    row = torch.tensor([vocabulary[word] for word in words])  # [l]
    longer = ids.new_zeros(len(ids) + 1, max(ids.shape[1], len(row)))  # [N+1,L], L as long as the longest needs
    longer[:-1, : ids.shape[1]] = ids
    longer[-1, : len(row)] = row
    return longer, unknown


def _caption_cases() -> dict[str, tuple]:
    words = ["white", "a", "cat", "large", "on", "background", "above", "small", "panda", "red"]
    vocabulary = {word: 2 * k + 3 for k, word in enumerate(words)}
    ids = torch.tensor([[5, 7, 11, 5, 3, 13], [5, 17, 19, 0, 0, 0]])
    return {
        "a caption shorter than those before": (ids, "A large red cat", vocabulary),
        "a caption longer than those before": (ids.clone(), "a panda above a small cat on white", dict(vocabulary)),
        "a word that is not in the dict": (ids.clone(), "a red dragon on white", dict(vocabulary)),
        "two spaces in a row": (ids.clone(), "a  small panda", dict(vocabulary)),
    }


def _added(ids, words, vocabulary, *, missing=0, filling=0):
    """The batch with one more row, whatever is known of its words; what is not gets the id `missing`."""
    row = [vocabulary.get(word, missing) for word in words]
    length = max(ids.shape[1], len(row))
    rows = [*ids.tolist(), row]
    return torch.tensor([one + [filling] * (length - len(one)) for one in rows])


@mistake(
    "The word that is not in the dict was dropped in silence: whoever asked for a dragon gets a picture without one, "
    "and never learns why. Leave the caption out and name the word."
)
def dropped_in_silence(ids, caption, vocabulary):
    return _added(ids, [word for word in caption.lower().split() if word in vocabulary], vocabulary), []


@mistake(
    "The unknown word is named, and the rest of its caption was added all the same: a batch must not hold half a "
    "caption. Return the ids as they were."
)
def half_a_caption(ids, caption, vocabulary):
    known = [word for word in caption.lower().split() if word in vocabulary]
    return _added(ids, known, vocabulary), add_caption(ids, caption, vocabulary)[1]


@mistake(
    "The unknown word became a 0, which is filling: the mask will hide it, and it is dropped in silence all the same. "
    "Leave the caption out and name the word."
)
def unknown_as_filling(ids, caption, vocabulary):
    return _added(ids, caption.lower().split(), vocabulary), []


@mistake(
    "The unknown word is named, and the caption was added with a 0 in its place: a 0 is filling. Return the ids as "
    "they were."
)
def named_and_added(ids, caption, vocabulary):
    return _added(ids, caption.lower().split(), vocabulary), add_caption(ids, caption, vocabulary)[1]


@mistake("A capital letter made an unknown word of a known one: the dict holds small letters, so use `.lower()`.")
def case_kept(ids, caption, vocabulary):
    words = caption.split()
    unknown = [word for word in words if word not in vocabulary]
    return (ids, unknown) if unknown else add_caption(ids, caption, vocabulary)


@mistake(
    "The first word is lost: it has a capital letter, which the dict has not, and unknown words are dropped in "
    "silence. Use `.lower()`, and name what is unknown."
)
def case_kept_and_dropped(ids, caption, vocabulary):
    return _added(ids, [word for word in caption.split() if word in vocabulary], vocabulary), []


@mistake(
    "The first word became a 0, which is filling: it has a capital letter, which the dict has not. Use `.lower()`, and "
    "name what is unknown."
)
def case_kept_as_filling(ids, caption, vocabulary):
    return _added(ids, caption.split(), vocabulary), []


@mistake(
    "The filling stands before the caption. Put it after: the first word keeps place 0 whatever else is in the batch, "
    "and the transformer knows its words by their places too."
)
def filled_on_the_left(ids, caption, vocabulary):
    new, unknown = add_caption(ids, caption, vocabulary)
    if unknown:
        return new, unknown
    row = new[-1, new[-1] > 0]
    old = F.pad(ids, (new.shape[1] - ids.shape[1], 0))
    return torch.cat([old, F.pad(row, (new.shape[1] - len(row), 0))[None]]), unknown


@mistake(
    "A caption that is longer than the batch was cut off, and its end is never drawn. Fill up the others instead: "
    "[N+1,L] with L the longest."
)
def cut_off(ids, caption, vocabulary):
    new, unknown = add_caption(ids, caption, vocabulary)
    return new[:, : ids.shape[1]], unknown


@mistake("The new caption came first; it goes below the others, as picture k belongs to caption k.")
def put_first(ids, caption, vocabulary):
    new, unknown = add_caption(ids, caption, vocabulary)
    return (new, unknown) if unknown else (new.roll(1, dims=0), unknown)


@mistake("That is the new caption alone; put it below those that are there, with as many columns as the longest needs.")
def caption_alone(ids, caption, vocabulary):
    row = torch.tensor([[vocabulary.get(word, 0) for word in caption.lower().split()]])
    return row, add_caption(ids, caption, vocabulary)[1]


@mistake("Filling is 0 here; another number would be taken for a word.")
def filled_with_minus_one(ids, caption, vocabulary):
    new, unknown = add_caption(ids, caption, vocabulary)
    if unknown:
        return new, unknown
    return _added(ids, caption.lower().split(), vocabulary, filling=-1), unknown


@mistake(
    "The words were numbered anew, by where they stand in the dict. Its values are the ids, and the network learnt "
    "with those: `vocabulary[word]`."
)
def numbered_anew(ids, caption, vocabulary):
    return add_caption(ids, caption, {word: k for k, word in enumerate(vocabulary, start=1)})


@mistake(
    "That went through the caption letter by letter; `caption.split()` gives its words.",
    looks_like=lambda given, expected: len(given[1]) > 3 and all(len(word) == 1 for word in given[1]),
)
def letter_by_letter(ids, caption, vocabulary):
    return ids, [letter for letter in caption.lower() if letter not in vocabulary]


@mistake("Between two spaces `split(' ')` finds an empty word; `split()`, with nothing in it, takes them as one.")
def split_at_each_space(ids, caption, vocabulary):
    words = caption.lower().split(" ")
    unknown = [word for word in words if word not in vocabulary]
    return (ids, unknown) if unknown else add_caption(ids, caption, vocabulary)


q1 = Exercise(
    question=(
        "Write `add_caption(ids, caption, vocabulary)`. ids [N,L] int64 are captions as numbers, the shorter ones "
        "filled up at the end with 0. caption is a text, its words parted by spaces, and vocabulary a dict from words "
        "in small letters to their ids, 1 or more. Return two things: the ids with the caption as one more row, as "
        "long as the longest needs; and a list of its words that are not in the dict, in their order. If there are "
        "any, the caption is not added, and the ids stay as they are."
    ),
    reference=add_caption,
    cases=_caption_cases,
    mistakes=[
        dropped_in_silence,
        half_a_caption,
        unknown_as_filling,
        named_and_added,
        case_kept,
        case_kept_and_dropped,
        case_kept_as_filling,
        filled_on_the_left,
        cut_off,
        put_first,
        caption_alone,
        filled_with_minus_one,
        numbered_anew,
        letter_by_letter,
        split_at_each_space,
    ],
    hints=[
        "First the words, `caption.lower().split()`; then those of them that are not `in vocabulary`.",
        "If the list of unknown words is not empty, return `ids` and the list.",
        "Else make `ids.new_zeros(N + 1, L)` with the larger of the two lengths, and write the old rows and the new "
        "one into it, from the left.",
    ],
    praise="A caption goes in whole or not at all, and whoever wrote it hears which word you do not know.",
    explanation=(
        "CLIP's tokenizer parts rare words into pieces, so that it knows every word; what comes after token 77 it "
        "cuts off. A small vocabulary does not know every word, and the package's `Tokenizer` raises an error that "
        "names it. A 0 at the end costs nothing, if attention is told where it is: that is the next exercise."
    ),
)


# 2. Where there is a word


def masked_mean(tokens, ids):
    mask = ids > 0  # [N,L]
    total = (tokens * mask[:, :, None]).sum(dim=1)  # [N,D]
    return mask, total / mask.sum(dim=1, keepdim=True)


def _mean_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([[4, 9, 2, 0, 0], [1, 3, 3, 8, 5], [7, 0, 0, 0, 0]])
    tokens = torch.randn(3, 5, 4, generator=generator) + 0.5  # filling has vectors too, those of its places
    return {
        "captions of three, five and one word": (tokens, ids),
        "the first of them alone": (tokens[:1, :3].clone(), ids[:1, :3].clone()),
        "the first of them beside a longer one": (
            torch.cat([tokens[:1], torch.randn(1, 5, 4, generator=generator)]),
            torch.tensor([[4, 9, 2, 0, 0], [6, 1, 2, 3, 0]]),
        ),
    }


@mistake(
    "The mask is right, and filling was averaged all the same. A caption then means something else beside a longer one "
    "than alone."
)
def filling_averaged(tokens, ids):
    return ids > 0, tokens.mean(dim=1)


@mistake(
    "Filling was left out of the sum and counted in what you divide by: short captions get short vectors. Divide by "
    "how many words each has, `mask.sum(dim=1, keepdim=True)`."
)
def divided_by_the_longest(tokens, ids):
    mask, mean = masked_mean(tokens, ids)
    return mask, mean * mask.sum(dim=1, keepdim=True) / ids.shape[1]


@mistake("The mean is right; the mask is True where there is filling. Here True is where there is a word.")
def turned_mask(tokens, ids):
    return ids == 0, masked_mean(tokens, ids)[1]


@mistake("Turned round: the mask is True where there is filling, and the mean is that of the filling.")
def mean_of_the_filling(tokens, ids):
    return masked_mean(tokens, (ids == 0).long())


@mistake(
    "The mask is right as numbers; make it True and False, bool: `masked_fill` and attention take no other, or take "
    "numbers for something to be added.",
    looks_like=lambda given, expected: given[0].dtype != torch.bool and given[0].bool().equal(expected[0]),
)
def mask_of_numbers(tokens, ids):
    mask, mean = masked_mean(tokens, ids)
    return mask.float(), mean


@mistake(
    "The mask was taken from the vectors, and a filling has a vector too: that of its place. Only the ids know where "
    "there is a word."
)
def mask_of_the_vectors(tokens, ids):
    return (tokens != 0).any(dim=2), tokens.mean(dim=1)


@mistake("The mask has an axis too many: return [N,L], and give it its third axis only where you multiply.")
def mask_with_an_axis(tokens, ids):
    mask, mean = masked_mean(tokens, ids)
    return mask[:, :, None], mean


@mistake("One mean over all captions: each has one of its own, [N,D]. Sum over L only, `dim=1`.")
def one_for_all(tokens, ids):
    mask = ids > 0
    return mask, tokens[mask].mean(dim=0)


@mistake("Divided by the number of words in the whole batch; divide by that of each caption, [N,1].")
def divided_by_all_words(tokens, ids):
    mask = ids > 0
    return mask, (tokens * mask[:, :, None]).sum(dim=1) / mask.sum()


@mistake("The mean was taken over D, so that one number is left of each word; take it over the words, `dim=1`.")
def over_the_width(tokens, ids):
    mask = ids > 0
    return mask, tokens.mean(dim=2) * mask


@mistake("That is the sum over the words: divide by how many there are, or long captions get long vectors.")
def summed(tokens, ids):
    mask = ids > 0
    return mask, (tokens * mask[:, :, None]).sum(dim=1)


q2 = Exercise(
    question=(
        "Write `masked_mean(tokens, ids)` for captions as vectors [N,L,D] and as numbers [N,L], where an id of 0 is "
        "filling. Return the mask [N,L], bool, True where there is a word; and the mean vector of each caption's "
        "words, [N,D], without the filling. No caption is empty."
    ),
    reference=masked_mean,
    cases=_mean_cases,
    mistakes=[
        filling_averaged,
        divided_by_the_longest,
        turned_mask,
        mean_of_the_filling,
        mask_of_numbers,
        mask_of_the_vectors,
        mask_with_an_axis,
        one_for_all,
        divided_by_all_words,
        over_the_width,
        summed,
    ],
    hints=[
        "A comparison is a mask: `ids > 0` is [N,L], bool.",
        "`mask[:, :, None]` is [N,L,1] and multiplies vectors [N,L,D]: what is not a word becomes 0, and adds nothing.",
        "Divide the sum over L by the number of words: `mask.sum(dim=1, keepdim=True)`, [N,1].",
    ],
    praise="A caption now means the same alone and beside a longer one: picture k does not depend on its neighbours.",
    explanation=(
        "The denoiser takes this mean as a summary of the condition. Mind the two dresses of a mask: "
        "`scaled_dot_product_attention` wants True where a token may be looked at, and `key_padding_mask` of "
        "`nn.MultiheadAttention` True where it may not."
    ),
)


# 3. Looking at words, and not at filling


def attention(q, k, v, mask):
    scores = q @ k.mT / q.shape[2] ** 0.5  # [N,L,M]
    scores = scores.masked_fill(~mask[:, None], float("-inf"))
    return scores.softmax(dim=2) @ v  # [N,L,E]


def _attention_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape):
        return torch.randn(shape, generator=generator)

    masks = {"all": torch.ones(2, 5, dtype=torch.bool), "some": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()}
    q, k, v = drawn(2, 3, 4), drawn(2, 5, 4), drawn(2, 5, 6) + 0.5
    return {
        "three places and five words": (q, k, v, masks["all"]),
        "captions of three and four words": (q.clone(), k.clone(), v.clone(), masks["some"]),
        "scores far from 0": (12 * q - 8, 12 * k + 8, v.clone(), masks["some"].clone()),
    }


def _weights(q, k, mask, scale, dim=2):
    return (q @ k.mT * scale).masked_fill(~mask[:, None], -math.inf).softmax(dim=dim)


@mistake(
    "The softmax runs over the queries: the places share out each word among themselves, and a word may be looked at "
    "by none. Each place shares out its look among the words: the keys are the last axis."
)
def over_the_queries(q, k, v, mask):
    return (q @ k.mT / math.sqrt(q.shape[2])).softmax(dim=1).masked_fill(~mask[:, None], 0) @ v


@mistake("The softmax runs over the pictures of the batch: it belongs over the keys, the last axis of [N,L,M].")
def over_the_batch(q, k, v, mask):
    return (q @ k.mT / math.sqrt(q.shape[2])).softmax(dim=0).masked_fill(~mask[:, None], 0) @ v


@mistake(
    "Not divided by anything: scores of wider vectors spread further, and one word takes it all. Divide by the root of "
    "d."
)
def undivided(q, k, v, mask):
    return _weights(q, k, mask, 1) @ v


@mistake(
    "Divided by d; it is the root of d. A sum of d products of normal numbers has a standard deviation of sqrt(d)."
)
def divided_by_the_width(q, k, v, mask):
    return _weights(q, k, mask, 1 / q.shape[2]) @ v


@mistake("Multiplied by the root of d; divide by it.")
def multiplied(q, k, v, mask):
    return _weights(q, k, mask, math.sqrt(q.shape[2])) @ v


@mistake("Divided by the root of another width: d is that of queries and keys; that of v has no part in the scores.")
def width_of_the_values(q, k, v, mask):
    return _weights(q, k, mask, 1 / math.sqrt(v.shape[2])) @ v


@mistake("Divided by the root of the number of words; d is the width of queries and keys.")
def number_of_words(q, k, v, mask):
    return _weights(q, k, mask, 1 / math.sqrt(k.shape[1])) @ v


@mistake("Divided by the root of L, the number of places; d is the width of queries and keys.")
def number_of_places(q, k, v, mask):
    return _weights(q, k, mask, 1 / math.sqrt(q.shape[1])) @ v


@mistake(
    "The mask came after the softmax: filling has got its share by then, and the weights of the words no longer sum to "
    "1. Mask the scores, before the softmax."
)
def masked_too_late(q, k, v, mask):
    return (q @ k.mT / math.sqrt(q.shape[2])).softmax(dim=2).masked_fill(~mask[:, None], 0) @ v


@mistake(
    "The scores of filling were set to 0, and exp(0) is 1: filling is still looked at, more than many a word. Only "
    "exp(-inf) is 0."
)
def masked_by_zero(q, k, v, mask):
    return (q @ k.mT / math.sqrt(q.shape[2])).masked_fill(~mask[:, None], 0).softmax(dim=2) @ v


@mistake("The scores of filling are low, and not low enough where those of the words are lower still: use -inf.")
def masked_by_minus_hundred(q, k, v, mask):
    return (q @ k.mT / math.sqrt(q.shape[2])).masked_fill(~mask[:, None], -100).softmax(dim=2) @ v


@mistake(
    "A mask of True and False was added to the scores, as 1 and 0: that is hardly a difference. What may not be looked "
    "at gets -inf."
)
def mask_added(q, k, v, mask):
    return (q @ k.mT / math.sqrt(q.shape[2]) + mask[:, None]).softmax(dim=2) @ v


@mistake("The mask has no effect: the filling of shorter captions is looked at like any word.")
def mask_forgotten(q, k, v, mask):
    return (q @ k.mT / math.sqrt(q.shape[2])).softmax(dim=2) @ v


@mistake(
    "The mask is the wrong way round: it is True where a key may be looked at, so -inf goes where it is False, "
    "`~mask`.",
    looks_like=lambda given, expected: given.isnan().all(),
)
def mask_turned(q, k, v, mask):
    return _weights(q, k, ~mask, 1 / math.sqrt(q.shape[2])) @ v


@mistake(
    "Right while the scores are small. Where they are above 88, exp is infinite in float32 and inf / inf is nan; "
    "`softmax` subtracts the largest score first."
)
def overflowing(q, k, v, mask):
    weights = (q @ k.mT / math.sqrt(q.shape[2])).exp() * mask[:, None]
    return weights / weights.sum(dim=2, keepdim=True) @ v


@mistake("Those are sums of v weighted by the scores themselves; a softmax makes shares of them that sum to 1.")
def no_softmax(q, k, v, mask):
    return (q @ k.mT / math.sqrt(q.shape[2]) * mask[:, None]) @ v


@mistake("Those are the weights, [N,L,M]: one step is missing, the mean of v that they weigh, `weights @ v`.")
def weights_alone(q, k, v, mask):
    return _weights(q, k, mask, 1 / math.sqrt(q.shape[2]))


q3 = Exercise(
    question=(
        "Write `attention(q, k, v, mask)`: queries [N,L,d] of L places, keys [N,M,d] and values [N,M,E] of M words, "
        "and a mask [N,M], bool, True where there is a word. Return softmax(q k^T / sqrt(d)) v, [N,L,E], in which no "
        "place looks at filling."
    ),
    reference=attention,
    cases=_attention_cases,
    mistakes=[
        over_the_queries,
        over_the_batch,
        undivided,
        divided_by_the_width,
        multiplied,
        width_of_the_values,
        number_of_words,
        number_of_places,
        masked_too_late,
        masked_by_zero,
        masked_by_minus_hundred,
        mask_added,
        mask_forgotten,
        mask_turned,
        overflowing,
        no_softmax,
        weights_alone,
    ],
    hints=[
        "The scores are `q @ k.mT / d ** 0.5`, [N,L,M]: a row for each place, a column for each word.",
        "`mask[:, None]` is [N,1,M], the same for all places; `masked_fill(~mask[:, None], float('-inf'))` shuts "
        "filling out.",
        "Each place's weights must sum to 1 over the words: `softmax(dim=2)`. Then `@ v`.",
    ],
    praise="These few lines are where a picture hears what you asked for, and how Stable Diffusion hears it too.",
    explanation=(
        "With -inf, filling gets exactly 0 and the words share what is left, so that a caption looks the same with any "
        "amount of filling. A softmax over the queries runs, trains and draws; that its weights do not sum to 1 is "
        "what a test sees. Several heads do this side by side, each with its own part of the width."
    ),
)


# 4. Dropping captions


def drop_captions(tokens, mask, empty, rate, uniform):
    dropped = uniform < rate  # [N]
    alone = torch.zeros_like(tokens[0])  # [L,D]
    alone[0] = empty
    only_first = torch.arange(mask.shape[1]) == 0  # [L]
    return torch.where(dropped[:, None, None], alone, tokens), torch.where(dropped[:, None], only_first, mask)


def _drop_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(4) < torch.tensor([4, 2, 3, 1, 4, 2])[:, None]
    tokens = torch.randn(6, 4, 3, generator=generator) * mask[:, :, None]
    empty = torch.tensor([0.5, -1.0, 2.0])
    uniform = torch.tensor([0.42, 0.05, 0.91, 0.28, 0.11, 0.66])
    certain = torch.tensor([0.0, 0.3, 0.999, 0.5, 0.2, 0.0])
    return {
        "six captions and a rate of 0.3": (tokens, mask, empty, 0.3, uniform),
        "a rate of 0": (tokens.clone(), mask.clone(), empty.clone(), 0.0, certain),
        "a rate of 1": (tokens.clone(), mask.clone(), empty.clone(), 1.0, certain.clone()),
    }


@mistake(
    "Turned round: those with a number below the rate are dropped, and you keep them. With a rate of 0.1 the network "
    "would see nine captions in ten as empty."
)
def kept_for_dropped(tokens, mask, empty, rate, uniform):
    return drop_captions(tokens, mask, empty, 1.0, (uniform < rate).float())


@mistake(
    "One number decided for the whole batch, so that all captions are dropped together or none: each has a number of "
    "its own."
)
def all_or_none(tokens, mask, empty, rate, uniform):
    return drop_captions(tokens, mask, empty, rate, uniform[:1].expand(len(uniform)))


@mistake(
    "The dropped captions became zeros. The empty caption is a vector that is learnt, and guidance asks for that one: "
    "put `empty` in the first place."
)
def zeroed(tokens, mask, empty, rate, uniform):
    return tokens * (uniform >= rate)[:, None, None], mask


@mistake(
    "The mask is right, and the first place of the dropped captions holds zeros. The empty caption is a vector that is "
    "learnt: put `empty` there."
)
def zeroed_alone(tokens, mask, empty, rate, uniform):
    return drop_captions(tokens, mask, torch.zeros_like(empty), rate, uniform)


@mistake(
    "The captions are right and the mask is still that of the words: the zeros after `empty` would be looked at, and "
    "how many they are tells how long the caption was. Only the first place may be looked at."
)
def mask_kept(tokens, mask, empty, rate, uniform):
    return drop_captions(tokens, mask, empty, rate, uniform)[0], mask


@mistake(
    "`empty` stands in every place, and the mask is that of the words: how many of them can be seen still tells how "
    "long the caption was. Put it in the first place only, zeros after it, and mask those."
)
def empty_everywhere(tokens, mask, empty, rate, uniform):
    return torch.where((uniform < rate)[:, None, None], empty, tokens), mask


@mistake("The mask is right; behind it `empty` stands in every place. Asked for are zeros after the first.")
def empty_behind_the_mask(tokens, mask, empty, rate, uniform):
    _, only_first = drop_captions(tokens, mask, empty, rate, uniform)
    return torch.where((uniform < rate)[:, None, None], empty, tokens), only_first


@mistake(
    "The first place and the mask are right; behind it the words still stand. They are not looked at, until somebody "
    "forgets the mask: put zeros there."
)
def words_behind_the_mask(tokens, mask, empty, rate, uniform):
    new, only_first = drop_captions(tokens, mask, empty, rate, uniform)
    return torch.cat([new[:, :1], tokens[:, 1:]], dim=1), only_first


@mistake(
    "Only the first word was replaced, and the others can still be seen: the whole caption must go, and its mask with "
    "it."
)
def first_word_only(tokens, mask, empty, rate, uniform):
    return words_behind_the_mask.example(tokens, mask, empty, rate, uniform)[0], mask


@mistake(
    "The mask of a dropped caption is False everywhere: a softmax over nothing is nan. The empty caption is a token "
    "that is looked at, in the first place."
)
def nothing_to_look_at(tokens, mask, empty, rate, uniform):
    return drop_captions(tokens, mask, empty, rate, uniform)[0], mask & (uniform >= rate)[:, None]


@mistake(
    "That drops the same share of every batch, those with the smallest numbers. Each caption is dropped by itself, "
    "where its own number is below the rate."
)
def exact_share(tokens, mask, empty, rate, uniform):
    ranks = uniform.argsort().argsort()
    return drop_captions(tokens, mask, empty, 1.0, (ranks >= round(rate * len(uniform))).float())


@mistake(
    "The captions that are kept were divided by 1 - rate, as dropout does with numbers that are summed up. Here "
    "nothing is made up for: leave them as they are."
)
def scaled_like_dropout(tokens, mask, empty, rate, uniform):
    new, new_mask = drop_captions(tokens, mask, empty, rate, uniform)
    return torch.where((uniform < rate)[:, None, None], new, new / (1 - rate)), new_mask


@mistake("The random numbers are given, so that you get the same captions each time; these are drawn anew.")
def own_numbers(tokens, mask, empty, rate, uniform):
    drawn = torch.rand(len(uniform), generator=torch.Generator().manual_seed(0))  # as check() seeds it
    return drop_captions(tokens, mask, empty, rate, drawn)


@mistake(
    "Right but for a number equal to the rate: uniform numbers may be 0 and are never 1, so that only `<` drops "
    "nothing at a rate of 0."
)
def or_equal(tokens, mask, empty, rate, uniform):
    return drop_captions(tokens, mask, empty, 1.0, (uniform > rate).float())


q4 = Exercise(
    question=(
        "Write `drop_captions(tokens, mask, empty, rate, uniform)` for captions [N,L,D] with their mask [N,L], the "
        "vector of the empty caption [D], and random numbers [N], each at least 0 and below 1. A caption whose number "
        "is below `rate` is replaced by the empty one: `empty` in the first place, zeros after it, and a mask that is "
        "True in the first place only. Return the new captions and the new mask; the others stay."
    ),
    reference=drop_captions,
    cases=_drop_cases,
    mistakes=[
        kept_for_dropped,
        all_or_none,
        zeroed,
        zeroed_alone,
        mask_kept,
        empty_everywhere,
        empty_behind_the_mask,
        words_behind_the_mask,
        first_word_only,
        nothing_to_look_at,
        exact_share,
        scaled_like_dropout,
        own_numbers,
        or_equal,
    ],
    hints=[
        "`uniform < rate` is [N], one decision for each caption; `[:, None, None]` makes it fit [N,L,D].",
        "Make the empty caption once: zeros [L,D] with `empty` in row 0; and its mask [L], True in place 0.",
        "`torch.where(dropped[:, None, None], alone, tokens)` takes the one where True and the other where False.",
    ],
    praise="One network has learnt two things now: what a caption asks for, and what pictures look like without any.",
    explanation=(
        "Classifier-free guidance needs both predictions; with a rate of 0.1 the network learns the second from a "
        "tenth of the captions. The empty vector gets its gradient nowhere else: without dropping, guidance would ask "
        "for something that was never learnt. Dropping whole batches would do in the mean, and makes the loss jump."
    ),
)


# 5. The same guidance under three names


def convert_scales(scales, source, target):
    s = scales
    if source == "paper":
        s = scales + 1
    if source == "pipeline":
        s = scales.clamp(min=1)  # up to 1 it is off: the caption alone
    if target == "paper":
        return s - 1
    if target == "pipeline":
        return s.masked_fill(s < 1, float("nan"))
    return s


def _scale_cases() -> dict[str, tuple]:
    return {
        'scales of a "paper" in the "course"': (torch.tensor([-1.0, 0.0, 0.5, 3.0, 6.5]), "paper", "course"),
        'scales of the "course" in a "paper"': (torch.tensor([0.0, 1.0, 1.5, 4.0, 7.5]), "course", "paper"),
        'scales of a "pipeline" in the "course"': (torch.tensor([0.0, 0.5, 1.0, 1.5, 7.5]), "pipeline", "course"),
        'scales of the "course" in a "pipeline"': (torch.tensor([7.5, 1.5, 1.0, 0.5, 0.0]), "course", "pipeline"),
        'scales of a "pipeline" in a "paper"': (torch.tensor([0.0, 0.5, 5.0]), "pipeline", "paper"),
        'scales of a "paper" in a "pipeline"': (torch.tensor([-1.0, 0.0, 4.0]), "paper", "pipeline"),
    }


def _converted(scales, source, target, *, into=None, out_of=None):
    """By way of the course's s; `into` and `out_of` say what to do otherwise, by convention."""
    rules = {"paper": lambda w: w + 1, "pipeline": lambda g: g.clamp(min=1), "course": lambda s: s} | (into or {})
    s = rules[source](scales)
    rules = {"paper": lambda s: s - 1, "pipeline": lambda s: s.masked_fill(s < 1, math.nan), "course": lambda s: s}
    return (rules | (out_of or {}))[target](s)


@mistake("Nothing was converted: a paper's w of 3 is the course's s of 4, and drawn with s = 3 it is another picture.")
def unchanged(scales, source, target):
    return scales.clone()


@mistake(
    "The 1 goes the wrong way, or source and target have changed places. cond + w (cond - uncond) begins at cond, one "
    "step further on than uncond: s = w + 1."
)
def shifted_the_wrong_way(scales, source, target):
    return _converted(scales, source, target, into={"paper": lambda w: w - 1}, out_of={"paper": lambda s: s + 1})


@mistake("From the paper's scale to the course's it is right; the other way, subtract the 1 again.")
def one_way_only(scales, source, target):
    return _converted(scales, source, target, out_of={"paper": lambda s: s})


@mistake(
    "A pipeline's scale below 1 was taken at its word. Up to 1 it runs no guidance at all, and draws by cond: its 0 is "
    "the course's 1, and not the course's 0, which draws without the caption."
)
def taken_at_its_word(scales, source, target):
    return _converted(scales, source, target, into={"pipeline": lambda g: g})


@mistake(
    "Only 0 was taken for off; the pipeline asks whether its scale is above 1, so that 0.5 is off as well: the "
    "course's 1."
)
def off_at_zero_only(scales, source, target):
    return _converted(scales, source, target, into={"pipeline": lambda g: g.masked_fill(g == 0, 1)})


@mistake(
    "Off was taken for no caption. Without guidance a pipeline draws by cond alone, which is the course's 1; 0 would "
    "be uncond."
)
def off_as_uncond(scales, source, target):
    return _converted(scales, source, target, into={"pipeline": lambda g: g.masked_fill(g <= 1, 0)})


@mistake(
    "The course's scales below 1 were handed to the pipeline as they are: it would switch guidance off and draw by "
    "cond. It has no such scale: nan."
)
def handed_over(scales, source, target):
    return _converted(scales, source, target, out_of={"pipeline": lambda s: s})


@mistake(
    "The course's scales below 1 became the pipeline's 1: asked was for less than the caption, and drawn is all of it. "
    "It has no such scale: nan."
)
def handed_over_as_one(scales, source, target):
    return _converted(scales, source, target, out_of={"pipeline": lambda s: s.clamp(min=1)})


@mistake("The course's 1 is cond alone, which a pipeline does draw: 1 for off, and nan only below it.")
def one_is_nan_too(scales, source, target):
    return _converted(scales, source, target, out_of={"pipeline": lambda s: s.masked_fill(s <= 1, math.nan)})


@mistake("0 does switch a pipeline's guidance off, as 1 does; asked for is 1, which is the course's number too.")
def zero_for_off(scales, source, target):
    zero = {"pipeline": lambda s: s.masked_fill(s < 1, math.nan).masked_fill(s == 1, 0)}
    return _converted(scales, source, target, out_of=zero)


@mistake(
    "Between paper and pipeline the 1 is missing: go by way of the course's scale, first from the source to it, then "
    "from it to the target."
)
def not_by_way_of_the_course(scales, source, target):
    if "course" in (source, target):
        return convert_scales(scales, source, target)
    return scales.clamp(min=1) if source == "pipeline" else scales.masked_fill(scales < 1, math.nan)


q5 = Exercise(
    question=(
        'A guidance scale means nothing without its formula, and three are in use. "course": uncond + s (cond - '
        'uncond), in Imagen too. "paper": cond + w (cond - uncond), of the first paper. "pipeline", as Stable '
        "Diffusion's in diffusers: the course's formula if the scale is above 1, else no guidance, cond alone. Write "
        "`convert_scales(scales, source, target)` for scales [K] and two of these names: return the scales [K] that "
        "give the same prediction in the target's convention. For no guidance give a pipeline 1; where it has no such "
        "scale, nan."
    ),
    reference=convert_scales,
    cases=_scale_cases,
    mistakes=[
        unchanged,
        shifted_the_wrong_way,
        one_way_only,
        taken_at_its_word,
        off_at_zero_only,
        off_as_uncond,
        handed_over,
        handed_over_as_one,
        one_is_nan_too,
        zero_for_off,
        not_by_way_of_the_course,
    ],
    hints=[
        "Two steps: from the source to the course's s, and from s to the target.",
        "cond + w (cond - uncond) = uncond + (w + 1) (cond - uncond). When is that cond alone?",
        "From a pipeline: `scales.clamp(min=1)`. To a pipeline: `s.masked_fill(s < 1, float('nan'))`.",
    ],
    praise="Before you compare two scales you ask now what each of them multiplies, and what 0 means.",
    explanation=(
        "The paper is Ho and Salimans (2022), equation 6; Kandinsky 3 takes its formula too. Imagen's equation 2 is "
        "w cond + (1 - w) uncond, which is the course's. That diffusers switches off up to 1 is met where a distilled "
        "model is to be run without guidance: the page of SDXL Turbo says `guidance_scale=0.0`, which in this course "
        "would draw without the caption. A negative prompt changes none of it: it stands where uncond does."
    ),
)


# 6. All of it, or it does not count


def strict_adherence(answers, labels):
    right = (answers == labels) | (labels == -1)  # [N,Q]
    return right.all(dim=1).float().mean().item()


def _adherence_cases() -> dict[str, tuple]:
    labels = torch.tensor(
        [[3, 7, 0, 2], [5, 1, 1, 4], [1, 2, 1, 0], [8, 8, 0, 1], [2, 4, 1, 3], [6, 0, 0, 2], [9, 3, 1, 1]]
    )
    answers = labels.clone()
    answers[1, 3], answers[2, 0], answers[3, 2] = 0, -1, -1  # a wrong background, two refusals
    answers[4, 1], answers[4, 2] = 5, 0
    unsaid = labels.clone()
    unsaid[0, 1] = unsaid[1, 3] = unsaid[3, 2] = unsaid[5, 3] = -1
    said = answers.clone()
    said[5, 2] = 1
    return {
        "seven pictures of four questions": (answers, labels),
        "captions that do not say everything": (said, unsaid),
        "an examiner that refuses all": (torch.full((3, 2), -1), torch.tensor([[0, 1], [2, -1], [1, 0]])),
    }


@mistake(
    "That is the mean of the single answers. A picture with one thing in four wrong is not what its caption says, and "
    "counts here for three quarters: first `all` over the questions, then the mean over pictures."
)
def single_answers(answers, labels):
    return ((answers == labels) | (labels == -1)).float().mean().item()


@mistake(
    "Pictures with a refusal were left out of the count: the worse a model draws, the more of its pictures are "
    "excused. A refusal is a wrong answer, of a picture that counts."
)
def refusals_excused(answers, labels):
    clear = (answers != -1).all(dim=1)
    return strict_adherence(answers[clear], labels[clear])


@mistake("A refusal was taken for right: the examiner does not know what it sees, and so the caption is not drawn.")
def refusals_forgiven(answers, labels):
    return ((answers == labels) | (labels == -1) | (answers == -1)).all(dim=1).float().mean().item()


@mistake(
    "What a caption does not say was held against the picture: no answer is -1 there but a refusal. Where the label is "
    "-1, anything is right."
)
def unsaid_is_wrong(answers, labels):
    return (answers == labels).all(dim=1).float().mean().item()


@mistake(
    "A refusal was held against the picture even where the caption says nothing: what was not asked for cannot be "
    "wrong."
)
def refusal_beside_the_caption(answers, labels):
    right = ((answers == labels) | (labels == -1)) & (answers != -1)
    return right.all(dim=1).float().mean().item()


@mistake("Captions that do not say everything were left out; they count like the others, by what they do say.")
def unsaid_left_out(answers, labels):
    full = (labels != -1).all(dim=1)
    return strict_adherence(answers[full], labels[full])


@mistake("One right answer was enough: that is `any`; a picture counts if all are right.")
def any_right(answers, labels):
    return ((answers == labels) | (labels == -1)).any(dim=1).float().mean().item()


@mistake("That is how many pictures are right; divide by how many there are.")
def count(answers, labels):
    return int(((answers == labels) | (labels == -1)).all(dim=1).sum())


@mistake("That is the share of right answers to each question, [Q]: which of them are right in the same picture?")
def by_question(answers, labels):
    return ((answers == labels) | (labels == -1)).float().mean(dim=0)


@mistake(
    "The accuracies of the questions were multiplied, as if mistakes were spread by chance. They often fall on the "
    "same picture: look at each one."
)
def product(answers, labels):
    return ((answers == labels) | (labels == -1)).float().mean(dim=0).prod().item()


@mistake("Only the first question was looked at, which object it is; the rest of the caption counts too.")
def first_question(answers, labels):
    return ((answers == labels) | (labels == -1))[:, 0].float().mean().item()


@mistake("That is the share of pictures with something wrong; asked for is that of the pictures in which all is right.")
def share_wrong(answers, labels):
    return 1 - strict_adherence(answers, labels)


@mistake("That is per cent; return a share, from 0 to 1.")
def per_cent(answers, labels):
    return 100 * strict_adherence(answers, labels)


q6 = Exercise(
    question=(
        "Write `strict_adherence(answers, labels)`, both [N,Q] int64: an examiner's answers to Q questions about N "
        "drawn pictures, and what their captions say. An answer of -1 is a refusal, which is wrong; a label of -1 is "
        "something that a caption does not say, where anything is right. Return the share of the N pictures in which "
        "everything is right, one number."
    ),
    reference=strict_adherence,
    cases=_adherence_cases,
    mistakes=[
        single_answers,
        refusals_excused,
        refusals_forgiven,
        unsaid_is_wrong,
        refusal_beside_the_caption,
        unsaid_left_out,
        any_right,
        count,
        by_question,
        product,
        first_question,
        share_wrong,
        per_cent,
    ],
    hints=[
        "`answers == labels` is [N,Q], bool; add what is right because nothing was asked: `| (labels == -1)`.",
        "A picture is right if its whole row is: `.all(dim=1)`, [N].",
        "A refusal needs no line of its own: -1 equals no label where something was said.",
    ],
    praise="A number that is hard to be proud of by mistake: it goes up only if more pictures are what was asked for.",
    explanation=(
        "Six answers right in 95 % each sound good, and may mean that a quarter of the pictures are wrong (0.95^6 = "
        "0.74). The denominator is every picture asked for: leave out what is hard to judge, and a model that draws "
        "nothing but mud scores best on the few that are left."
    ),
    tolerance=1e-5,
)


# 7. Beginning with a picture


def begin_from(x0, noise, times, strength):
    count = max(1, round(strength * len(times)))
    left = times[len(times) - count :]  # the last ones, which have the least noise
    t = left[0]
    return left, (1 - t) * x0 + t * noise


def _times(num_inference_steps):
    return torch.arange(num_inference_steps, 0, -1) / num_inference_steps


def _begin_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(2, 3, 4, 4, generator=generator) * 2 - 1
    noise = torch.randn(x0.shape, generator=generator)
    shifted = 3 * _times(8) / (1 + 2 * _times(8))

    def case(times, strength):
        return x0.clone(), noise.clone(), times, strength

    return {
        "ten steps and a strength of 0.6": case(_times(10), 0.6),
        "seven steps and a strength of 0.4": case(_times(7), 0.4),
        "ten steps and a strength of 0.33": case(_times(10), 0.33),
        "times that are closer where there is much noise": case(shifted, 0.5),
        "fifty steps and a strength of 0.58": case(_times(50), 0.58),
        "ten steps and a strength of 0.01": case(_times(10), 0.01),
        "a strength of 1": case(_times(5), 1.0),
    }


def _begun(x0, noise, times, count, t=None):
    """With the last `count` times, and the noise of time t, by default the first of them."""
    left = times[len(times) - count :]
    t = left[0] if t is None else t
    return left, (1 - t) * x0 + t * noise


def _count(times, strength):
    return max(1, round(strength * len(times)))


@mistake(
    "Those are the first times, with the most noise. The sampler must end at the picture, so it is the first ones that "
    "are left out, and the last ones that are run."
)
def wrong_end(x0, noise, times, strength):
    left = times[: _count(times, strength)]
    return left, (1 - left[0]) * x0 + left[0] * noise


@mistake(
    "The strength is the share of the times that are run, not of those left out: a strength of 1 runs all and forgets "
    "the picture."
)
def share_left_out(x0, noise, times, strength):
    return begin_from(x0, noise, times, 1 - strength)


@mistake("One time too many: round(strength * K) are run, so the first K - round(strength * K) are left out.")
def one_too_many(x0, noise, times, strength):
    return _begun(x0, noise, times, min(len(times), _count(times, strength) + 1))


@mistake("One time too few: round(strength * K) are run, so the first K - round(strength * K) are left out.")
def one_too_few(x0, noise, times, strength):
    return _begun(x0, noise, times, max(1, _count(times, strength) - 1))


@mistake(
    "The times are right, and the noise is that of t = strength. The sampler believes the time that it begins at: take "
    "the noise of the first time that is left."
)
def noise_of_the_strength(x0, noise, times, strength):
    return _begun(x0, noise, times, _count(times, strength), t=strength)


@mistake(
    "The times are right, and the noise is that of the next time: the sampler would take out noise that is not there, "
    "and the picture goes flat."
)
def noise_of_the_next(x0, noise, times, strength):
    count = _count(times, strength)
    return _begun(x0, noise, times, count, t=times[min(len(times) - count + 1, len(times) - 1)])


@mistake(
    "The times are right, and the picture was drowned in noise by the whole: what is left of it depends on the first "
    "time that is run, t. Mix (1 - t) of it with t of the noise."
)
def noise_alone(x0, noise, times, strength):
    return _begun(x0, noise, times, _count(times, strength), t=1)


@mistake("The times are right, and the picture is clean: the sampler expects the noise of the time it begins at.")
def no_noise(x0, noise, times, strength):
    return _begun(x0, noise, times, _count(times, strength), t=0)


@mistake("The times are right. The noise was added to the whole picture; x_t holds only 1 - t of it.")
def added_on_top(x0, noise, times, strength):
    left, _ = begin_from(x0, noise, times, strength)
    return left, x0 + left[0] * noise


@mistake("The times are right. Picture and noise have changed places: t is the share of the noise.")
def changed_places(x0, noise, times, strength):
    return begin_from(x0, noise, times, strength)[0], begin_from(noise, x0, times, strength)[1]


@mistake(
    "The times are right. Those are roots, as of a schedule with alpha^2 + sigma^2 = 1; in rectified flow the shares "
    "are 1 - t and t themselves."
)
def roots(x0, noise, times, strength):
    left, _ = begin_from(x0, noise, times, strength)
    return left, (1 - left[0]).sqrt() * x0 + left[0].sqrt() * noise


@mistake("The first of the times alone; return all that the sampler still has to run, [k], with it in front.")
def first_time_alone(x0, noise, times, strength):
    left, x_t = begin_from(x0, noise, times, strength)
    return left[0], x_t


@mistake(
    "The time nearest to the strength was looked for. The strength is a share of the steps, whatever times they are "
    "at: run the last round(strength * K) of them."
)
def nearest_time(x0, noise, times, strength):
    return _begun(x0, noise, times, len(times) - int((times - strength).abs().argmin()))


@mistake(
    "Cut down instead of rounded: 0.4 * 7 is 2.8, nearly three steps, and 50 * 0.58 is 28.999999999999996 in floating "
    "point. Use `round`."
)
def cut_down(x0, noise, times, strength):
    return _begun(x0, noise, times, max(1, int(strength * len(times))))


@mistake("Rounded up; `round` goes to the nearest.")
def rounded_up(x0, noise, times, strength):
    return _begun(x0, noise, times, math.ceil(strength * len(times)))


@mistake(
    "Right but for a strength so small that no time is left: `times[-0:]` is `times[0:]`, all of them, and the picture "
    "is forgotten. At least one step is run."
)
def minus_nothing(x0, noise, times, strength):
    left = times[-round(strength * len(times)) :]
    return left, (1 - left[0]) * x0 + left[0] * noise


q7 = Exercise(
    question=(
        "Write `begin_from(x0, noise, times, strength)`: a sampler of rectified flow, x_t = (1 - t) x0 + t noise, "
        "would run through times [K], falling from 1. It shall begin with the pictures x0 [N,C,H,W] instead, and run "
        "only the last round(strength * K) of the times, at least one; strength is above 0 and at most 1. Return the "
        "times that it runs, [k], and x_t at the first of them."
    ),
    reference=begin_from,
    cases=_begin_cases,
    mistakes=[
        wrong_end,
        share_left_out,
        one_too_many,
        one_too_few,
        noise_of_the_strength,
        noise_of_the_next,
        noise_alone,
        no_noise,
        added_on_top,
        changed_places,
        roots,
        first_time_alone,
        nearest_time,
        cut_down,
        rounded_up,
        minus_nothing,
    ],
    hints=[
        "How many are run: `max(1, round(strength * len(times)))`.",
        "They are the last ones, as the sampler must arrive at the picture: `times[len(times) - count :]`.",
        "The first of these is t; x_t mixes (1 - t) of the pictures with t of the noise.",
    ],
    praise="A sketch of three strokes is enough now: what it lacks, the model draws, as much as you let it.",
    explanation=(
        "This is SDEdit (Meng et al., 2022), and image-to-image in Stable Diffusion. The noise hides the strokes and "
        "leaves where things are; the more of it, the freer the model. Twenty steps are twenty strengths, and no more: "
        "what lies between is rounded. The pipelines of diffusers cut down instead, and run 28 steps of 50 at 0.58."
    ),
)


# 8. Painting over a part


def keep_known(x_t, x0, noise, mask, t):
    t = t[:, None, None, None]  # [N,1,1,1]
    known = (1 - t) * x0 + t * noise
    return mask * x_t + (1 - mask) * known


def _known_cases() -> dict[str, tuple]:
    generator = torch.Generator().manual_seed(1)
    x0, x_t = (torch.randn(4, 3, 5, 4, generator=generator) for _ in range(2))
    noise = torch.randn(x0.shape, generator=generator)
    mask = (torch.rand(4, 1, 5, 4, generator=generator) < 0.4).float()
    soft = mask * torch.tensor([0.25, 0.5, 0.75, 1.0])
    t = torch.tensor([0.9, 0.6, 0.3, 0.2])
    return {
        "four pictures at times of their own": (x_t, x0, noise, mask, t),
        "after the last step, at t = 0": (x_t.clone(), x0.clone(), noise.clone(), mask.clone(), torch.zeros(4)),
        "a mask with soft edges": (x_t.clone(), x0.clone(), noise.clone(), soft, t.clone()),
    }


def _blended(drawn, known, mask):
    return mask * drawn + (1 - mask) * known


def _noised(x0, noise, t):
    return (1 - t[:, None, None, None]) * x0 + t[:, None, None, None] * noise


@mistake(
    "The mask is the wrong way round: it is 1 where to draw. You keep what was to be painted over, and paint over what "
    "was to be kept."
)
def wrong_way_round(x_t, x0, noise, mask, t):
    return keep_known(x_t, x0, noise, 1 - mask, t)


@mistake(
    "The known part is clean. At time t the network expects the noise of time t everywhere: a part without it looks to "
    "the rest like a flat picture, and the seam shows."
)
def clean(x_t, x0, noise, mask, t):
    return _blended(x_t, x0, mask)


@mistake("The noise of picture and drawing was added after blending: x_t has its noise already, only x0 needs some.")
def noised_after_blending(x_t, x0, noise, mask, t):
    return _noised(_blended(x_t, x0, mask), noise, t)


@mistake("Picture and noise have changed places in the known part: t is the share of the noise.")
def changed_places_in_known(x_t, x0, noise, mask, t):
    return _blended(x_t, _noised(noise, x0, t), mask)


@mistake("The known part is the whole picture with noise on top; at time t only 1 - t of it is left.")
def noise_on_top(x_t, x0, noise, mask, t):
    return _blended(x_t, x0 + t[:, None, None, None] * noise, mask)


@mistake("The known part is noise alone: what is to be kept must be in it, 1 - t of it.")
def noise_for_known(x_t, x0, noise, mask, t):
    return _blended(x_t, noise, mask)


@mistake(
    "Those are roots, as of a schedule with alpha^2 + sigma^2 = 1; in rectified flow the shares are 1 - t and t "
    "themselves."
)
def roots_in_known(x_t, x0, noise, mask, t):
    t = t[:, None, None, None]
    return _blended(x_t, (1 - t).sqrt() * x0 + t.sqrt() * noise, mask)


@mistake(
    "The noise is given, that of the beginning; yours was drawn anew, and the known part flickers from step to step."
)
def fresh_noise(x_t, x0, noise, mask, t):
    drawn = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))  # as check() seeds it
    return keep_known(x_t, x0, drawn, mask, t)


@mistake(
    "The times were laid along the columns: [N] against [N,C,H,W] meets the last axis, and here nothing fails, as "
    "there are as many columns as pictures. Make them [N,1,1,1]."
)
def along_the_columns(x_t, x0, noise, mask, t):
    return _blended(x_t, (1 - t) * x0 + t * noise, mask)


@mistake("The time of the first picture was taken for all; each has its own.")
def first_time_for_all(x_t, x0, noise, mask, t):
    return keep_known(x_t, x0, noise, mask, t[:1].expand(len(t)))


@mistake("The known part was added to x_t without making room for it: weigh x_t by the mask, the other by 1 - mask.")
def added_to_x_t(x_t, x0, noise, mask, t):
    return x_t + (1 - mask) * _noised(x0, noise, t)


@mistake("What is to be kept became 0: it needs the known part there, (1 - mask) of it.")
def drawn_part_alone(x_t, x0, noise, mask, t):
    return mask * x_t


@mistake("That is the known part everywhere; where the mask is 1, x_t goes.")
def known_part_alone(x_t, x0, noise, mask, t):
    return _noised(x0, noise, t)


@mistake(
    "Right where the mask is 0 or 1. Between, the mask is a share, for a seam that nobody sees: multiply, and do not "
    "choose."
)
def hard_edge(x_t, x0, noise, mask, t):
    return torch.where(mask > 0.5, x_t, _noised(x0, noise, t))


@mistake("Right where the mask is 0 or 1; a 0.5 was taken for 1. Between, the mask is a share: multiply.")
def any_is_drawn(x_t, x0, noise, mask, t):
    return torch.where(mask > 0, x_t, _noised(x0, noise, t))


q8 = Exercise(
    question=(
        "Write `keep_known(x_t, x0, noise, mask, t)`, run after every step of a sampler of rectified flow. x_t "
        "[N,C,H,W] is what the sampler has drawn, at times t [N]; x0 is the picture of which a part shall stay, and "
        "noise what the sampler began with. mask [N,1,H,W] is 1 where to draw and 0 where to keep, between them a "
        "share of both. Return x_t with the kept part replaced by x0 as it is at time t, (1 - t) x0 + t noise."
    ),
    reference=keep_known,
    cases=_known_cases,
    mistakes=[
        wrong_way_round,
        clean,
        noised_after_blending,
        changed_places_in_known,
        noise_on_top,
        noise_for_known,
        roots_in_known,
        fresh_noise,
        along_the_columns,
        first_time_for_all,
        added_to_x_t,
        drawn_part_alone,
        known_part_alone,
        hard_edge,
        any_is_drawn,
    ],
    hints=[
        "A time for each picture: `t[:, None, None, None]` is [N,1,1,1] and multiplies [N,C,H,W].",
        "The known part at time t is `(1 - t) * x0 + t * noise`, everywhere; the mask comes after.",
        "`mask * drawn + (1 - mask) * known`.",
    ],
    praise="Any model that draws can now paint over a part of your picture, and was never trained to.",
    explanation=(
        "The known part is put back at every step, so that the network sees it and draws something that goes with it; "
        "at t = 0 it is the picture itself. RePaint (Lugmayr et al., 2022) also goes back and forth in time, for "
        "better agreement. Models trained for it get the mask and the picture as channels of their own."
    ),
)


# 9. A mask for latents


def latent_mask(mask, factor):
    return torch.nn.functional.max_pool2d(mask, factor)  # [N,1,H,W] -> [N,1,H/factor,W/factor]


def _latent_mask_cases() -> dict[str, tuple]:
    strokes = torch.zeros(2, 1, 8, 12)
    strokes[0, 0, 1, 2] = strokes[0, 0, 6, 5:11] = 1  # a dot, and a stroke one pixel wide
    strokes[0, 0, 4, 0] = 1  # in a corner of its place
    strokes[1, 0, 0:4, 0:4] = strokes[1, 0, 3:8, 5:8] = 1  # a whole place, and parts of two
    drawn = torch.zeros(1, 1, 16, 16)
    drawn[0, 0, 3:5, 9] = 1
    return {
        "thin strokes and a factor of 4": (strokes, 4),
        "a short line across two places, and a factor of 8": (drawn, 8),
        "a factor of 1": (strokes[:, :, :4].clone(), 1),
    }


def _patches(mask, factor):
    """[N,1,H,W] -> [N,1,h,factor,w,factor]"""
    return mask.unflatten(3, (-1, factor)).unflatten(2, (-1, factor))


@mistake(
    "That is the mean: a place of which one pixel in sixteen is to be drawn is drawn by a sixteenth, and the old thing "
    "shines through. Take the largest."
)
def mean_of_pixels(mask, factor):
    return _patches(mask, factor).mean(dim=(3, 5))


@mistake(
    "The mean, rounded: places of which less than half is to be drawn are kept, and thin strokes are lost. One pixel "
    "is enough: take the largest."
)
def most_of_the_pixels(mask, factor):
    return (_patches(mask, factor).mean(dim=(3, 5)) >= 0.5).float()


@mistake(
    "One pixel of each place was looked at, the first, as `nearest` does: a stroke that misses it is lost. Look at all "
    "of them, and take the largest."
)
def first_pixel(mask, factor):
    return mask[:, :, ::factor, ::factor].clone()


@mistake(
    "One pixel in the middle of each place was looked at: a stroke that misses it is lost. Take the largest of all."
)
def middle_pixel(mask, factor):
    return mask[:, :, factor // 2 :: factor, factor // 2 :: factor].clone()


@mistake("That is bilinear, which looks at the four pixels in the middle of a place: strokes beside them are lost.")
def bilinear(mask, factor):
    return F.interpolate(mask, scale_factor=1 / factor, mode="bilinear")


@mistake("The smallest: only places that are to be drawn as a whole are drawn. One pixel is enough: take the largest.")
def smallest(mask, factor):
    return _patches(mask, factor).amin(dim=(3, 5))


@mistake("That is how many pixels of a place are to be drawn; the mask must stay between 0 and 1: take the largest.")
def counted(mask, factor):
    return _patches(mask, factor).sum(dim=(3, 5))


@mistake(
    "The shape is right and the pixels are in other places: `reshape` alone cuts rows to pieces. Each axis is split by "
    "itself, H into h and factor, W into w and factor."
)
def scrambled(mask, factor):
    n, _, height, width = mask.shape
    return mask.reshape(n, 1, height // factor, width // factor, -1).amax(dim=4)


@mistake(
    "The place is picked out by its offset: split H into h and factor, in this order; a place is a block of pixels."
)
def by_offset(mask, factor):
    height, width = mask.shape[2] // factor, mask.shape[3] // factor
    return mask.unflatten(3, (factor, width)).unflatten(2, (factor, height)).amax(dim=(2, 4))


@mistake("True and False, where the sampler multiplies by mask and 1 - mask: return floats, 0 and 1.")
def truth_values(mask, factor):
    return _patches(mask, factor).amax(dim=(3, 5)) > 0


@mistake("The largest of the whole picture: then all of it is drawn anew. Take the largest of each block of pixels.")
def whole_picture(mask, factor):
    small = _patches(mask, factor).amax(dim=(3, 5))
    return small.amax(dim=(2, 3), keepdim=True).expand_as(small)


@mistake("The largest of the batch: each picture has a mask of its own.")
def whole_batch(mask, factor):
    small = _patches(mask, factor).amax(dim=(3, 5))
    return small.amax(dim=0, keepdim=True).expand_as(small)


q9 = Exercise(
    question=(
        "A codec with a factor f makes one latent place of each block of f x f pixels. Write `latent_mask(mask, "
        "factor)`: from a mask of pixels [N,1,H,W], float, 1 where to draw and 0 where to keep, make that of the "
        "latents, [N,1,H/f,W/f]: a place is drawn if any of its pixels is. H and W are multiples of the factor."
    ),
    reference=latent_mask,
    cases=_latent_mask_cases,
    mistakes=[
        mean_of_pixels,
        most_of_the_pixels,
        first_pixel,
        middle_pixel,
        bilinear,
        smallest,
        counted,
        scrambled,
        by_offset,
        truth_values,
        whole_picture,
        whole_batch,
    ],
    hints=[
        "Any of them is 1 if the largest of them is.",
        "PyTorch has it as a layer of classifiers: `torch.nn.functional.max_pool2d`.",
        "By hand: `unflatten` splits H into (h, f) and W into (w, f); `amax` over the two axes of f is left to do.",
    ],
    praise="The thinnest stroke of your brush reaches the latents, and nothing that you marked shines through.",
    explanation=(
        "A latent place stands for 8 x 8 pixels here, and cannot be drawn by half. So some pixels beside the stroke "
        "are drawn too, and the painter puts the old ones back at the end, by the mask of pixels. Resizing by "
        "`nearest` is quick, and loses what falls between its samples."
    ),
)
