"""A model's own tokenizer, quicker where captions are plain ASCII.

open_clip's byte-pair tokenizer spends most of its time on mending text that needs none (ftfy, HTML
entities) and on words that it has met before. Neither mending nor word boundaries look beyond white
space in printable ASCII without `&` and `<`, so there a caption is the sum of its words, and words
are remembered. Every other text goes to open_clip, as does every other kind of tokenizer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn
from torch import Tensor

_MOST_WORDS = 2**16  # captions of a web-sized set bring new words for ever


def model_tokenizer(name: str) -> Any:
    """The tokenizer of an open_clip model: list of n strings to int64 [n, L]."""
    tokenizer = open_clip.get_tokenizer(name)
    plain = (
        type(tokenizer) is SimpleTokenizer
        and tokenizer.clean_fn is get_clean_fn("lower")
        and tokenizer.reduction_fn is None
        and tokenizer.context_length
    )
    return WordTokenizer(tokenizer) if plain else tokenizer


class WordTokenizer:
    """open_clip's SimpleTokenizer with lower-casing and truncation, token for token.

    Args:
        tokenizer: the one to be equal to.
    """

    def __init__(self, tokenizer: SimpleTokenizer) -> None:
        self._exact = tokenizer
        self._words: dict[str, list[int]] = {}
        self._always_known = dict(tokenizer.cache)

    def __call__(self, texts: list[str]) -> Tensor:
        """List of n strings → int64 [n, context length], padded with 0, cut to end with EOT."""
        length: int = self._exact.context_length
        rows = np.zeros((len(texts), length), np.int64)
        for row, text in zip(rows, texts, strict=True):
            tokens = self._tokens(text)[: length - 2]
            row[0] = self._exact.sot_token_id
            row[1 : len(tokens) + 1] = tokens
            row[len(tokens) + 1] = self._exact.eot_token_id
        return torch.from_numpy(rows)

    def _tokens(self, text: str) -> list[int]:
        if len(self._words) > _MOST_WORDS:
            self._forget_words()
        if not (text.isascii() and text.isprintable()) or "&" in text or "<" in text:
            return self._encode(text)
        tokens: list[int] = []
        for word in text.lower().split():
            if word not in self._words:
                self._words[word] = self._encode(word)
            tokens += self._words[word]
        return tokens

    def _encode(self, text: str) -> list[int]:
        if len(self._exact.cache) > 2 * _MOST_WORDS:
            self._forget_words()
        encoded: list[int] = self._exact.encode(text)
        return encoded

    def _forget_words(self) -> None:
        """Ours, and those that open_clip's tokenizer would keep without a limit."""
        self._words.clear()
        self._exact.cache = dict(self._always_known)
