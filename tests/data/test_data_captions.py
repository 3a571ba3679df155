from __future__ import annotations

import json
from pathlib import Path

import pytest

from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan, read_class_names
from dist_erase.errors import BadSampleError, UserError

CLASSES = ("apple", "bear")
CLS = CaptionPlan(member="cls", templates=("a {}.", "the {}."), classes=CLASSES)


def test_text_member_with_its_label() -> None:
    caption = CaptionPlan().caption({"txt": " naïve café\n".encode(), "cls": b"7"})
    assert (caption.text, caption.label) == ("naïve café", 7)
    assert CaptionPlan().caption({"txt": b"x"}).label == -1


def test_json_field() -> None:
    plan = CaptionPlan(member="json:text")
    assert plan.caption({"json": b'{"text": "a dog"}'}).text == "a dog"


def test_several_captions_of_which_the_draw_takes_one() -> None:
    lines = {"txt": b"a dog\r\n\n  a black dog \n"}
    listed = {"json": b'{"captions": ["a dog", "", " a black dog"]}'}
    for plan, raw in [
        (CaptionPlan(member="txt:lines"), lines),
        (CaptionPlan(member="json:captions"), listed),
    ]:
        chosen = [plan.caption(raw, draw) for draw in range(4)]
        assert [caption.text for caption in chosen] == ["a dog", "a black dog"] * 2
        # An id belongs to a text, whatever the sample and the place it stands in.
        alone = CaptionPlan().caption({"txt": b"a black dog"})
        assert chosen[1].caption_id == alone.caption_id != chosen[0].caption_id
    whole = CaptionPlan().caption(lines, 1)
    assert whole.text == "a dog\r\n\n  a black dog"


def test_dots_lead_into_objects_unless_a_key_has_them_itself() -> None:
    inner = {"json": b'{"meta": {"text": {"en": "inner", "de": ["x", "y"]}}}'}
    assert CaptionPlan(member="json:meta.text.en").caption(inner).text == "inner"
    assert CaptionPlan(member="json:meta.text.de").caption(inner, 1).text == "y"
    both = {"json": b'{"meta": {"text": "inner"}, "meta.text": "outer"}'}
    assert CaptionPlan(member="json:meta.text").caption(both).text == "outer"
    empty = {"json": b'{"meta": {"text": "inner"}, "meta.text": null}'}
    with pytest.raises(BadSampleError, match=r"no text or list of texts in field 'meta\.text'"):
        CaptionPlan(member="json:meta.text").caption(empty)


def test_a_byte_order_mark_is_no_part_of_the_caption() -> None:
    plain = CaptionPlan().caption({"txt": b"a dog"})
    assert CaptionPlan().caption({"txt": b"\xef\xbb\xbfa dog"}) == plain
    field = CaptionPlan(member="json:text")
    assert field.caption({"json": b'\xef\xbb\xbf{"text": "a dog"}'}) == plain


def test_class_numbers_become_prompts_chosen_by_the_draw() -> None:
    texts = [CLS.caption({"cls": b"1\n"}, draw).text for draw in (0, 1, 2)]
    assert texts == ["a bear.", "the bear.", "a bear."]


def test_equal_captions_have_equal_ids_and_classes_whatever_the_template() -> None:
    plan = CaptionPlan()
    same = {plan.caption({"txt": text}).caption_id for text in (b"a dog", b"a dog ", b"a cat")}
    assert len(same) == 2
    by_class = {CLS.caption({"cls": b"1"}, draw).caption_id for draw in (0, 1)}
    assert len(by_class) == 1
    assert by_class != {CLS.caption({"cls": b"0"}).caption_id}
    # Fixed: reports and caches of different days compare these.
    assert plan.caption({"txt": b"a dog"}).caption_id == 7182415866560184703
    assert all(0 <= number < 2**63 for number in same | by_class)


@pytest.mark.parametrize(
    ("member", "raw", "reason"),
    [
        ("txt", {"txt": b" \n"}, "caption"),
        ("txt", {"txt": b"\xff\xfe"}, "caption"),
        ("txt", {"txt": "caf\xe9".encode("latin-1")}, "caption"),
        ("txt", {"txt": "a dog".encode("utf-16-le")}, "caption"),
        ("txt", {"txt": b"a\0dog"}, "caption"),
        ("txt", {}, "structure"),
        ("txt:lines", {"txt": b"\n \n"}, "caption"),
        ("txt:lines", {"json": b"{}"}, "structure"),
        ("json:text", {"json": b"{"}, "caption"),
        ("json:text", {"json": b"[" * 100_000}, "caption"),
        ("json:text", {"json": rb'{"text": "\ud800"}'}, "caption"),
        ("json:text", {"json": b'{"other": "x"}'}, "caption"),
        ("json:text", {"json": b'{"text": 3}'}, "caption"),
        ("json:text", {"json": b'{"text": []}'}, "caption"),
        ("json:text", {"json": b'{"text": ["", " "]}'}, "caption"),
        ("json:text", {"json": b'{"text": ["a dog", 3]}'}, "caption"),
        ("json:text", {"json": rb'{"text": "a\u0000dog"}'}, "caption"),
        ("json:text", {"json": "\xe9".encode("latin-1")}, "caption"),
        ("json:a.b", {"json": b'{"a": "b"}'}, "caption"),
        ("json:a.b", {"json": b'{"a": [{"b": "x"}]}'}, "caption"),
        ("json:text", {"json": b'["text"]'}, "caption"),
        ("json:text", {"json": b'{"text": ""}'}, "caption"),
        ("cls", {"cls": b"2"}, "class"),
        ("cls", {"cls": b"-1"}, "class"),
        ("cls", {"txt": b"x"}, "structure"),
        ("cls", {"cls": b"9" * 30}, "class"),
        ("cls", {"cls": b"seven"}, "class"),
    ],
)
def test_unusable_captions(member: str, raw: dict[str, bytes], reason: str) -> None:
    plan = CLS if member == "cls" else CaptionPlan(member=member)
    with pytest.raises(BadSampleError) as caught:
        plan.caption(raw)
    assert caught.value.reason == reason


def test_the_plan_of_a_configured_set() -> None:
    source = SourceConfig(shards="x", caption="cls", templates=["one {}"])
    assert CaptionPlan.of(source, ["a", "b"]).caption({"cls": b"1"}).text == "one b"
    assert CaptionPlan.of(SourceConfig(shards="x"), None).member == "txt"
    with pytest.raises(ValueError, match="class names"):
        CaptionPlan.of(source, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON"),
        (b'{"a": 1}', "not a list"),
        (b"[1]", "not a list"),
        (b"[]", "not a list"),
    ],
)
def test_class_files(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(CLASSES))
    assert read_class_names(str(path)) == CLASSES
    path.write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        read_class_names(str(path))
    assert str(path) in str(caught.value)
    with pytest.raises(UserError, match=r"cannot read .* \(No such file"):
        read_class_names(str(tmp_path / "none.json"))


@pytest.mark.parametrize("label", [b"n02099601", b"-3", b"9" * 30])
def test_a_class_that_nobody_asked_for_may_be_anything(label: bytes) -> None:
    caption = CaptionPlan().caption({"txt": b"a dog", "cls": label})
    assert (caption.text, caption.label) == ("a dog", -1)
