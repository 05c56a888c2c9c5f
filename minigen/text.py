"""Captions as numbers: a tokenizer for English and Chinese, and a small transformer that reads the tokens.

The transformer of Vaswani et al. (2017, arXiv:1706.03762), normalised before each layer. Left out: subwords; an unknown
word is named to whoever wrote it, and never dropped in silence.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minigen.layers import Condition, Conditioner, SquaredReLU, attend, into_heads, sinusoids

# A token is one character of Chinese or Japanese, a run of other letters and digits, or a symbol that is no punctuation
_IDEOGRAM = r"\u2e80-\u2fdf\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = rf"[^\W_{_IDEOGRAM}]+"
_TOKEN = re.compile(rf"[{_IDEOGRAM}]|{_WORD}(?:['-]{_WORD})*|[^\w\s.,;:!?\"'()\u3001\u3002\u201c\u201d_-]")


class Tokens(NamedTuple):
    """N captions as numbers, the shorter ones filled up."""

    ids: Tensor  # [N,L] int64; 0 is filling
    mask: Tensor  # [N,L] bool: where there is a token


class Tokenizer:
    """Words to numbers, by a fixed vocabulary: English words in lower case, and single Chinese characters."""

    def __init__(self, words: Sequence[str]):
        words = list(words)
        wrong = [word for word in words if split(word) != [word]]
        if wrong or len(set(words)) != len(words):
            raise ValueError(
                f"expected different words, each one token; {(wrong or words)[0]!r} is none or comes twice"
            )
        self.words = words
        self._ids = {word: k + 1 for k, word in enumerate(words)}  # 0 is filling

    @classmethod
    def from_captions(cls, captions: Iterable[str]) -> "Tokenizer":
        """The words of these captions, in alphabetical order."""
        return cls(sorted({word for caption in captions for word in split(caption)}))

    def __len__(self) -> int:
        """How many ids there are, that of filling included."""
        return len(self.words) + 1

    def __call__(self, captions: Sequence[str], *, max_length: int | None = None) -> Tokens:
        """Captions to ids, all as long as the longest.

        Raises ValueError where a caption holds no word, unknown words, or more than `max_length` tokens.
        """
        if isinstance(captions, str):
            raise TypeError("expected a list of captions, got one text: write [caption]")
        rows = [torch.tensor([self._ids[word] for word in self._known(caption, max_length)]) for caption in captions]
        if not rows:
            raise ValueError("expected at least one caption, got none")
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)  # [N,L]
        return Tokens(ids, ids > 0)

    def unknown(self, caption: str) -> list[str]:
        """The words of a caption that are not in the vocabulary, each once."""
        return list(dict.fromkeys(word for word in split(caption) if word not in self._ids))

    def _known(self, caption: str, max_length: int | None) -> list[str]:
        words = split(caption)
        shown = caption if len(caption) <= 60 else caption[:57] + "..."
        if not words:
            raise ValueError(f"the caption {shown!r} holds no word")
        if max_length is not None and len(words) > max_length:
            raise ValueError(f"the caption {shown!r} has {len(words)} words, and may have {max_length}")
        if unknown := self.unknown(caption):
            names = ", ".join(map(repr, unknown[:5])) + (" and more" if len(unknown) > 5 else "")
            alike = [word for name in unknown for word in difflib.get_close_matches(name, self.words, n=1)]
            hint = f"; did you mean {', '.join(map(repr, dict.fromkeys(alike)))}?" if alike else ""
            raise ValueError(f"the caption {shown!r} holds words that are not known: {names}{hint}")
        return words


def split(text: str) -> list[str]:
    """The tokens of a text, in lower case, punctuation left out."""
    # NFKC makes one of letters that only look different, such as those of full width
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'"))


class TextEncoder(Conditioner):
    """Reads captions: ids and mask [N,L] -> a vector for each token [N,L,width], which has seen all other tokens.

    The empty caption is learnt: see `Conditioner`.
    """

    def __init__(
        self,
        *,
        words: Sequence[str],  # the vocabulary of its tokenizer
        width: int = 128,
        depth: int = 2,
        num_heads: int = 4,
        max_length: int = 32,  # tokens
    ):
        super().__init__(width)
        self.config = {
            "words": list(words),
            "width": width,
            "depth": depth,
            "num_heads": num_heads,
            "max_length": max_length,
        }
        self.tokenizer = Tokenizer(words)
        self.max_length = max_length
        self.embed = nn.Embedding(len(self.tokenizer), width, padding_idx=0)
        # Learnt, but from sinusoids on: begun as small noise, it takes long to tell who comes first
        self.position = nn.Parameter(sinusoids(torch.arange(max_length), width, span=100)[None])
        self.blocks = nn.ModuleList(TextBlock(width, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor, mask: Tensor) -> Condition:
        if ids.ndim != 2 or ids.shape != mask.shape or ids.shape[1] > self.max_length:
            raise ValueError(
                f"expected ids and mask of shape (N, L), L up to {self.max_length}, "
                f"got {tuple(ids.shape)} and {tuple(mask.shape)}"
            )
        h = self.embed(ids) + self.position[:, : ids.shape[1]]  # [N,L,D]
        for block in self.blocks:
            h = block(h, mask)
        return Condition(self.norm(h) * mask[:, :, None], mask)

    def read(self, captions: Sequence[str]) -> Condition:
        """Captions as texts. Raises what the tokenizer raises, on unknown words above all."""
        ids, mask = self.tokenizer(captions, max_length=self.max_length)
        device = self.empty_token.device
        return self(ids.to(device), mask.to(device))


class TextBlock(nn.Module):
    """Self-attention, then a small network for each token, both added to what came in: h [N,L,D], mask [N,L] -> h."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), SquaredReLU(), nn.Linear(4 * width, width))

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (into_heads(part, self.num_heads) for part in self.qkv(self.norm1(h)).chunk(3, dim=2))
        seen, _ = attend(q, k, v, mask)  # filling is not looked at
        h = h + self.out(seen.transpose(1, 2).flatten(2))
        return h + self.mlp(self.norm2(h))
