from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from dist_erase.config.data import SourceConfig
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
        ("txt", {}, "structure"),
        ("txt", {"txt": b"x", "cls": b"seven"}, "class"),
        ("json:text", {"json": b"{"}, "caption"),
        ("json:text", {"json": b"[" * 100_000}, "caption"),
        ("json:text", {"json": rb'{"text": "\ud800"}'}, "caption"),
        ("json:text", {"json": b'{"other": "x"}'}, "caption"),
        ("json:text", {"json": b'{"text": 3}'}, "caption"),
        ("json:text", {"json": b'["text"]'}, "caption"),
        ("json:text", {"json": b'{"text": ""}'}, "caption"),
        ("cls", {"cls": b"2"}, "class"),
        ("cls", {"cls": b"-1"}, "class"),
        ("cls", {"txt": b"x"}, "structure"),
        ("txt", {"txt": b"x", "cls": b"9" * 30}, "class"),
    ],
)
def test_unusable_captions(member: str, raw: dict[str, bytes], reason: str) -> None:
    plan = CLS if member == "cls" else CaptionPlan(member=member)
    with pytest.raises(BadSampleError) as caught:
        plan.caption(raw)
    assert caught.value.reason == reason


def test_pickled_members_are_never_opened() -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("a pickled member was opened",))

    bomb = pickle.dumps(Bomb())
    raw = {"txt": b"x", "pkl": bomb, "pyd": bomb, "pth": bomb}
    assert CaptionPlan().caption(raw).text == "x"


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
