from __future__ import annotations

import pickle

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dist_erase.models import tokenizer as module
from dist_erase.models.tokenizer import WordTokenizer, model_tokenizer

EXACT = open_clip.get_tokenizer("ViT-B-32")
QUICK = model_tokenizer("ViT-B-32")

words = st.text(st.characters(max_codepoint=126), max_size=12)
captions = st.one_of(
    st.lists(words, max_size=12).map(" ".join),
    st.text(max_size=40),
    st.sampled_from(
        [
            "",
            " ",
            "It's Bob's dog; they've 2 of 'em!",
            "fish &amp; chips &lt;b&gt;",
            "<start_of_text> and <end_of_text>",
            "caf\u00e9 \u2013 \u201cquoted\u201d mojibake \u00e2\u20ac\u2122s",
            "under_score  two   blanks\ttab\nline",
            "word " * 100,
        ]
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(captions, min_size=1, max_size=4))
def test_the_tokens_are_those_of_open_clip(texts: list[str]) -> None:
    assert torch.equal(QUICK(texts), EXACT(texts))


def test_remembered_words_are_dropped_before_they_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_MOST_WORDS", 5)
    quick = WordTokenizer(open_clip.tokenizer.SimpleTokenizer())
    texts = [f"word{n}x y{n}\u00e9" for n in range(50)]
    assert torch.equal(torch.cat([quick([text]) for text in texts]), EXACT(texts))
    assert len(quick._words) <= 2 * 5
    assert len(quick._exact.cache) <= 4 * 5 + 2


def test_data_workers_get_the_same_one() -> None:
    again = pickle.loads(pickle.dumps(QUICK))
    assert torch.equal(again(["a photo of a seven"]), EXACT(["a photo of a seven"]))


@pytest.mark.parametrize("name", ["ViT-B-16-quickgelu", "ViT-B-32", "RN50"])
def test_the_models_of_the_paper_get_the_quick_one(name: str) -> None:
    assert isinstance(model_tokenizer(name), WordTokenizer)
