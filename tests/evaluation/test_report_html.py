import re
from html.parser import HTMLParser

import torch

from dist_erase.evaluation.report.build import build_report
from dist_erase.evaluation.report.html import render_html

CONFIG = "data:\n  forget: {shards: 'forget-{000000..000003}.tar'}\n"
CURVES = [
    {
        "step": step,
        "loss": {"forgetting": 1.0 / step, "retention": 1.2, "total": 4.0},
        "similarity": {"forget": 0.7 / step, "retain": 0.7},
        "lr": 1e-4,
    }
    for step in range(1, 9)
]


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.links, self.texts, self.ids, self.open = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "xlink:href", "srcset")]
        self.ids += [v for k, v in attrs if k == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))


def render(parts, *, curves=CURVES, config=CONFIG):
    similarities = torch.linspace(0.5, 0.9, 12)
    return render_html(
        build_report(**parts),
        curves=curves,
        matched_before=similarities,
        matched_after=similarities - 0.6,
        config_yaml=config,
    )


def test_the_page_stands_alone(report_parts):
    text = render(report_parts)
    page = Page(text)
    assert page.tags.count("svg") == 4
    assert all(link.startswith("#") for link in page.links)
    assert not {"script", "img", "link", "iframe"} & set(page.tags)
    assert "url(http" not in text
    assert "@import" not in text
    assert len(page.ids) == len(set(page.ids))


def test_the_first_lines_answer_and_nothing_is_claimed_that_was_not_measured(report_parts):
    report_parts["before"]["zero_shot"]["forget"]["top1"] = 0.75
    report_parts["after"]["zero_shot"]["forget"]["top1"] = 0.0
    text = Page(render(report_parts)).text
    assert "Images of the forget set are recognised in 0.0% of cases (before: 75.0%)." in text
    assert "95% interval 0.0–24.2%" in text  # Wilson, 0 of 12
    assert "forget-{000000..000003}.tar" in text
    assert "Suppression was measured; removal was not proved." in text
    assert "not measured: no hold-out sets were given" in text
    assert "Relearning, quantisation, membership inference" in text


def test_a_revealing_tower_swap_is_a_warning(report_parts):
    warning = "Stored vectors of the other, old tower may still find the forgotten pairs."
    swapped = report_parts["swap"]["new_image_old_text"]["forget"]
    report_parts["after"]["zero_shot"]["forget"]["top1"] = 0.0
    report_parts["after"]["retrieval"]["forget"]["text_to_image"]["r1"] = 0.0
    for mixture in report_parts["swap"].values():
        mixture["forget"].update(top1=0.0, r1=0.0)
    assert warning not in Page(render(report_parts)).text
    swapped["top1"] = 0.9
    assert warning in Page(render(report_parts)).text


def test_hostile_names_are_text(report_parts):
    evil = '<script>alert("x")</script>'
    report_parts["run_name"] = evil
    report_parts["forget_never_read"] = [f"{evil}/1"]
    report_parts["versions"][evil] = evil
    name = f"untouched/{evil} $x_{{$"
    for side in ("before", "after"):
        for task in ("zero_shot", "retrieval", "similarity"):
            report_parts[side][task][name] = report_parts[side][task]["retain"]
    report_parts["n"][name] = report_parts["n"]["retain"]
    text = render(report_parts, config=f"data: {{forget: {{shards: ['{evil}']}}}}")
    page = Page(text)
    assert "script" not in page.tags
    assert f"Untouched: {evil} $x_{{$" in page.text


def test_what_is_missing_is_said(report_parts):
    for side in ("before", "after"):
        report_parts[side]["zero_shot"] = {"forget": None, "retain": None}
    for mixture in report_parts["swap"].values():
        mixture["forget"]["top1"] = None
    for counts in report_parts["n"].values():
        counts["classes"] = None
    report_parts |= {"floor": None, "forget_never_read": ["a.tar/1", "a.tar/2"]}
    report_parts["overlap"] = {"count": None, "examples": [], "method": "while training"}
    report_parts["training"] = {"steps": 0, "samples_per_second": None, "seconds": None}
    text = Page(render(report_parts, curves=[])).text
    assert "find their own caption first in" in text
    assert "2 forget pairs were never read" in text
    assert "They were not counted before the start (while training)." in text
    assert "The held-out sets have no class names or no labels." in text
    assert "No floor was set." in text
    assert "No curves were recorded." in text


def test_a_diverged_model_still_has_a_report(report_parts):
    nan = torch.full((12,), torch.nan)
    for task in ("forget", "retain"):
        report_parts["after"]["similarity"][task]["matched"] = float("nan")
    curves = [{"step": 1, "loss": {"total": float("nan")}, "similarity": {"forget": None}}]
    page = render_html(
        build_report(**report_parts),
        curves=curves,
        matched_before=nan,
        matched_after=nan,
        config_yaml=CONFIG,
    )
    assert "The similarity of forgotten pairs is not a number." in Page(page).text
