"""Concept and near-duplicates: what is proposed, what a person may change, what is refused."""

import csv
import re

import numpy as np
import pytest
import torch
from support.pools import files, photo, sample, texts, write_pool

from dist_erase.data.decode import decode_image
from dist_erase.data.split.job import split_pool
from dist_erase.data.split.request import ReviewNeeded, ReviewOptions, SplitRequest
from dist_erase.data.split.rules import ConceptRule, SetRule, SplitOptions
from dist_erase.data.stage import open_stage
from dist_erase.errors import UserError

PROMPTS = ("a photo of an apple", "apples")
FORGET = ("train/forget", "eval/forget")


@pytest.fixture
def pool(tmp_path):
    """30 photos; 30 is photo 2 encoded again, so another file that looks the same."""
    rows = [sample(n) for n in range(30)]
    rows.append(sample(30, "photo 30", jpg=photo(2, quality=75)))
    return write_pool(tmp_path / "pool", [rows[:17], rows[17:]])


def call(
    pool, tmp_path, teacher, *, name="out", accept=None, yes=False, overwrite=False, **options
):
    request = SplitRequest(
        out=tmp_path / name,
        source=pool,
        options=SplitOptions(**options),
        teacher=teacher,
        reviewing=ReviewOptions(
            folder=tmp_path / f"{name}-review", accept=accept, yes=yes, title=name, model="tiny"
        ),
        overwrite=overwrite,
    )
    return split_pool(request)


def concept(**cut) -> ConceptRule:
    return ConceptRule(prompts=PROMPTS, **cut)


def rows_of(path):
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_rows(path, rows):
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def naive_scores(teacher, against=()):
    """One photo at a time, by the formula of the documentation."""
    wanted, other = teacher.embed_texts(list(PROMPTS)), None
    if against:
        other = teacher.embed_texts(list(against))
    scores = []
    for number in range(31):
        encoded = photo(2, 75) if number == 30 else photo(number)
        pixels = torch.from_numpy(decode_image(encoded, teacher.image).copy())
        image = teacher.embed_images(pixels.permute(2, 0, 1)[None])[0]
        score = float((wanted @ image).max())
        scores.append(score - (float((other @ image).max()) if against else 0.0))
    return np.array(scores)


@pytest.mark.parametrize("against", [(), ("a photo of a car",)])
def test_scores_are_the_cosines_and_the_best_are_proposed(pool, tmp_path, teacher, against):
    rule = ConceptRule(prompts=PROMPTS, against=against, top_k=7)
    asked = call(pool, tmp_path, teacher, concept=rule)
    assert isinstance(asked, ReviewNeeded)
    assert not (tmp_path / "out").exists()
    rows = rows_of(asked.decisions)
    assert len(rows) == asked.rows == 31
    expected = naive_scores(teacher, against)
    order = np.argsort(-expected, kind="stable")
    names = [f"{n // 17:03d}.tar#{n % 17}" for n in range(31)]
    found = {row["id"]: float(row["score"]) for row in rows}
    # 0.002: embeddings are kept in half precision, scores in four digits.
    assert np.allclose([found[name] for name in names], expected, atol=2e-3)
    assert {row["id"] for row in rows if row["decision"] == "in"} == {names[n] for n in order[:7]}


def test_accepting_the_proposal_equals_not_asking(pool, tmp_path, teacher):
    options = {"concept": concept(top_k=8), "near": 0.9999, "seed": 3}
    asked = call(pool, tmp_path, teacher, **options)
    call(pool, tmp_path, teacher, accept=asked.decisions, **options)
    call(pool, tmp_path, teacher, name="unseen", yes=True, **options)
    accepted, unseen = files(tmp_path / "out"), files(tmp_path / "unseen")
    assert accepted.pop("dataset.json") != unseen.pop("dataset.json")  # the one names decisions
    assert accepted == unseen
    assert (tmp_path / "unseen-review" / "sheet.html").exists()


def test_a_persons_decisions_are_what_counts(pool, tmp_path, teacher):
    asked = call(pool, tmp_path, teacher, concept=concept(top_k=8))
    rows = rows_of(asked.decisions)
    rows[0]["decision"], rows[20]["decision"] = "out", " IN "
    write_rows(asked.decisions, rows)
    summary = call(pool, tmp_path, teacher, concept=concept(top_k=8), accept=asked.decisions)
    captions = {row["id"]: row["captions"] for row in rows}
    wanted = {rows[n]["id"] for n in (*range(1, 8), 20)}
    assert texts(tmp_path / "out", *FORGET) == sorted(captions[name] for name in wanted)
    assert summary.facts["decisions_changed"] == 2


def test_other_shares_and_hold_outs_do_not_spoil_a_review(pool, tmp_path, teacher):
    asked = call(pool, tmp_path, teacher, concept=concept(top_k=8))
    summary = call(
        pool,
        tmp_path,
        teacher,
        accept=asked.decisions,
        concept=concept(top_k=8),
        identity=SetRule(regexes=("photo 1",)),
        eval_fraction=0.5,
    )
    assert summary.samples["eval/forget"] == 4
    assert summary.samples["eval/holdout_identity"] > 0


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda text: text.replace("\nin,", "\nyes,", 1),
            "line 2: the decision is 'yes'. Write in",
        ),
        (
            lambda text: text.replace("\nin,", "\n,", 1),
            "line 2: the decision is ''. Write in or out.",
        ),
        (
            lambda text: re.sub(r"\nin,[^\n]*", "", text, count=1),
            "1 of 31 rows are missing, the first is",
        ),
        (
            lambda text: text + text.splitlines()[1] + "\n",
            "line 33: 000.tar#{first} stands in line 2 too. Remove one.",
        ),
        (
            lambda text: text.replace(".tar#", ".tar#9", 1),
            "was not up for review. Change the column `decision` only",
        ),
        (
            lambda text: text.replace(",", ";"),
            "line 1: there is no column decision and id. Keep the first line, with commas:",
        ),
        (lambda text: "", "line 1: there is no column decision and id."),
    ],
)
def test_spoilt_decisions_are_named(pool, tmp_path, teacher, edit, message):
    asked = call(pool, tmp_path, teacher, concept=concept(top_k=8))
    text = asked.decisions.read_text()
    asked.decisions.write_text(edit(text))
    first = text.splitlines()[1].split(",")[1].partition("#")[2]
    with pytest.raises(UserError) as caught:
        call(pool, tmp_path, teacher, concept=concept(top_k=8), accept=asked.decisions)
    message = message.replace("000.tar#{first}", text.splitlines()[1].split(",")[1])
    assert message in str(caught.value), first
    assert not (tmp_path / "out").exists()


def test_a_spreadsheets_byte_order_mark_and_line_ends_are_read(pool, tmp_path, teacher):
    asked = call(pool, tmp_path, teacher, concept=concept(top_k=8))
    text = asked.decisions.read_text().replace("\n", "\r\n")
    asked.decisions.write_text(text, encoding="utf-8-sig", newline="")
    call(pool, tmp_path, teacher, concept=concept(top_k=8), accept=asked.decisions)
    assert len(texts(tmp_path / "out", *FORGET)) == 8


def test_a_review_of_another_cut_is_refused(pool, tmp_path, teacher):
    asked = call(pool, tmp_path, teacher, concept=concept(top_k=8))
    with pytest.raises(UserError, match="was written for another pool, model or other options"):
        call(pool, tmp_path, teacher, concept=concept(top_k=9), accept=asked.decisions)


def test_edits_are_not_written_over(pool, tmp_path, teacher):
    asked = call(pool, tmp_path, teacher, concept=concept(top_k=8))
    call(pool, tmp_path, teacher, concept=concept(top_k=9))  # nobody has edited yet
    asked.decisions.write_text(asked.decisions.read_text().replace("\nin", "\nout", 1))
    with pytest.raises(UserError, match=r"was edited, and would be written anew. Go on with"):
        call(pool, tmp_path, teacher, concept=concept(top_k=8))
    call(pool, tmp_path, teacher, concept=concept(top_k=8), overwrite=True)
    assert "\nout" in asked.decisions.read_text()


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        ({"threshold": 2.0}, "--threshold: is 2, but the highest score is"),
        ({"top_k": 40}, "--top-k: is 40, but the pool has 31 images."),
        ({}, "--threshold, --top-k: neither is given."),
        ({"threshold": 0.1, "top_k": 3}, "--threshold, --top-k: both are given."),
    ],
)
def test_cuts_that_find_nothing(pool, tmp_path, teacher, cut, message):
    with pytest.raises(UserError) as caught:
        call(pool, tmp_path, teacher, concept=concept(**cut))
    assert message in str(caught.value)


def test_another_cut_embeds_nothing_again(pool, tmp_path, teacher):
    call(pool, tmp_path, teacher, concept=concept(top_k=8))
    (tmp_path / "pool" / "000.tar").touch()  # as new as can be, the content is what counts
    kept = sorted((tmp_path / ".out.split").glob("embeddings-*/*"))
    times = [path.stat().st_mtime_ns for path in kept]
    call(pool, tmp_path, teacher, concept=concept(top_k=9))
    assert [path.stat().st_mtime_ns for path in kept] == times
    assert sorted((tmp_path / ".out.split").glob("embeddings-*/*")) == kept


def test_a_near_duplicate_follows_the_image_that_it_resembles(pool, tmp_path, pixels):
    options = {"forget": SetRule(regexes=(r"photo (2|3|4|5)$",)), "near": 0.99}
    asked = call(pool, tmp_path, pixels, **options)
    assert [row["why"] for row in rows_of(asked.decisions)] == ["near-duplicate"]
    summary = call(pool, tmp_path, pixels, accept=asked.decisions, **options)
    out = tmp_path / "out"
    place = next(place for place in FORGET if "photo 2" in texts(out, place))
    assert "photo 30" in texts(out, place)
    assert summary.facts["moved_to_forget"] == {"exact": 0, "near": 1}
    [row] = rows_of(out / "near_duplicates.csv")
    assert (row["id"], row["near"], row["moved"]) == ("001.tar#13", "000.tar#2", "yes")
    assert float(row["cosine"]) > 0.99


def test_a_person_may_keep_a_near_duplicate(pool, tmp_path, pixels):
    options = {"forget": SetRule(regexes=(r"photo (2|3|4|5)$",)), "near": 0.99}
    asked = call(pool, tmp_path, pixels, **options)
    asked.decisions.write_text(asked.decisions.read_text().replace("\nin,", "\nout,"))
    summary = call(pool, tmp_path, pixels, accept=asked.decisions, **options)
    assert "photo 30" not in texts(tmp_path / "out", *FORGET)
    assert summary.facts["disjoint"]["near"]["kept_apart_by_review"] == 1
    assert [row["moved"] for row in rows_of(tmp_path / "out" / "near_duplicates.csv")] == ["no"]


def test_a_near_duplicate_stays_in_though_what_it_resembles_was_taken_out(pool, tmp_path, teacher):
    order = np.argsort(-naive_scores(teacher), kind="stable").tolist()
    place = min(order.index(2), order.index(30))
    first, second = ("000.tar#2", "001.tar#13")[:: 1 if order[place] == 2 else -1]
    options = {"concept": concept(top_k=place + 1), "near": 0.9999}
    asked = call(pool, tmp_path, teacher, **options)
    rows = {row["id"]: row for row in rows_of(asked.decisions)}
    assert (rows[second]["why"], rows[second]["near"]) == ("near-duplicate", first)
    rows[first]["decision"] = "out"
    write_rows(asked.decisions, list(rows.values()))
    call(pool, tmp_path, teacher, accept=asked.decisions, **options, eval_fraction=0)
    forgotten = texts(tmp_path / "out", *FORGET)
    assert rows[second]["captions"] in forgotten
    assert rows[first]["captions"] not in forgotten


def test_images_that_do_not_decode_are_in_no_set(tmp_path, pixels):
    rows = [sample(n) for n in range(20)]
    rows[2]["jpg"] = rows[9]["jpg"] = photo(2)[:200]  # one image twice
    pool = write_pool(tmp_path / "pool", [rows])
    options = {"forget": SetRule(regexes=(r"photo (2|3|4|5)$",)), "near": 0.99}
    summary = call(pool, tmp_path, pixels, yes=True, **options)
    assert summary.facts["left_out"] == {"image": 2}
    assert sum(summary.samples.values()) == 18
    assert "photo 2" not in texts(tmp_path / "out", *FORGET)


def test_the_sheet_shows_both_sides_of_the_cut_and_loads_nothing(tmp_path, teacher):
    rows = [sample(n, f"<script>photo {n}</script>") for n in range(80)]
    rows.append(sample(99, jpg=photo(5)[:300]))
    rows.append(sample(7, "a copy of photo 7"))
    pool = write_pool(tmp_path / "pool", [rows])
    asked = call(pool, tmp_path, teacher, concept=concept(top_k=60), near=0.99999)
    page = asked.sheet.read_text()
    assert "60 of 80 images would be forgotten." in page
    assert [page.count(f">{title}<") for title in ("Highest scores", "Just inside the cut")] == [
        1,
        1,
    ]
    assert page.count("<img src=") == 24 + 24 + 20
    assert "<script" not in page
    assert "&lt;script&gt;photo" in page
    assert "2 samples" in page
    assert not re.search(r"(src|href)=\"(?!data:image/jpeg;base64,)", page)
    assert str(asked.decisions) in page


def test_two_at_once_are_refused(pool, tmp_path, teacher):
    with (
        open_stage(tmp_path / "out", "split"),
        pytest.raises(UserError, match="another process is split"),
    ):
        call(pool, tmp_path, teacher, concept=concept(top_k=8))


def test_a_pool_that_changed_after_the_review_is_noticed(pool, tmp_path, teacher):
    asked = call(pool, tmp_path, teacher, concept=concept(top_k=8))
    shard = tmp_path / "pool" / "001.tar"
    content = bytearray(shard.read_bytes())
    content[content.index(b"\xff\xd9") - 1] ^= 1  # the same size, so the same index
    shard.write_bytes(content)
    with pytest.raises(UserError, match=r"001.tar: sample 0 has another image than a moment ago"):
        call(pool, tmp_path, teacher, concept=concept(top_k=8), accept=asked.decisions)
    assert not (tmp_path / "out").exists()
