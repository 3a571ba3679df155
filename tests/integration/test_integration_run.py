import io
import itertools
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from support.erasing import members
from support.runs import BIN, assert_same_weights, counted, rows, steps, weights

from dist_erase.orchestration.replay import replay

pytestmark = pytest.mark.integration


def test_a_run_ends_with_model_and_report(reference):
    folder, output = reference
    report = json.loads((folder / "report.json").read_text())
    for when in ("before", "after"):
        for name in ("forget", "retain"):
            figures = report[when]
            assert (
                0 <= figures["zero_shot"][name]["top1"] <= figures["zero_shot"][name]["top5"] <= 1
            )
            for direction in ("image_to_text", "text_to_image"):
                recalls = figures["retrieval"][name][direction]
                assert 0 <= recalls["r1"] <= recalls["r5"] <= recalls["r10"] <= 1
            assert set(figures["similarity"][name]) == {"matched", "mismatched"}
    assert set(report["after"]["tower_swap"]) == {"new_image_old_text", "old_image_new_text"}
    assert report["training"]["steps"] == 16
    assert report["overlap"]["count"] == 0
    assert report["seed"] == 0
    assert len(report["teacher_fingerprint"]) == 64
    assert report["n"]["forget"]["pairs"] == 54
    assert (
        len(report["forget_never_read"]) == 125 - 120
    )  # 16 steps of 8: one pass, which leaves out 5
    assert "<svg" in (folder / "report.html").read_text()
    assert str(folder / "report.html") in output


def test_the_model_loads_strictly_in_open_clip(reference):
    folder, _ = reference
    name = f"local-dir:{folder / 'model'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    saved = weights(folder)
    assert model.state_dict().keys() == saved.keys()
    assert model.logit_scale.shape == saved["logit_scale"].shape == torch.Size([])
    assert preprocess is not None


def test_students_teachers_and_driver_are_processes_of_their_own(killed):
    snapshots = (killed / "metrics").glob("*.prom")
    roles, pids = zip(*(path.stem.rsplit("-", 1) for path in snapshots), strict=True)
    assert set(roles) == {
        *("driver-0", "student-0", "student-1", "teacher-0", "teacher-1", "evaluation-0")
    }
    assert len(set(pids)) == len(pids)


def test_each_step_leaves_one_row(reference):
    done = steps(reference[0])
    assert sorted(done) == list(range(1, 17))
    last = done[16]
    assert set(last["loss"]) == {"retention", "forgetting", "consistency", "anchor", "total"}
    assert last["samples"] == 24
    assert done[1]["loss"]["forgetting"] > last["loss"]["forgetting"]
    start = next(row for row in rows(reference[0]) if row.get("event") == "start")
    assert "each forget pair seen 1.1 times" in start["message"]


def test_every_step_is_replayed_identically(reference):
    folder, _ = reference
    for step, row in steps(folder).items():
        assert replay(folder, step).digest == row["batch"]


def test_a_step_of_pretraining_is_replayed_with_its_augmentation(original):
    folder = original.parent
    for step in (1, 2, 3, max(steps(folder))):
        assert replay(folder, step).verdict == "identical"
    replayed, plain = replay(folder, 2), 0
    for place, pixels in zip(replayed.places, replayed.images, strict=True):
        encoded = members(Path(place.shard))[f"{place.key}.jpg"]
        image = np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
        assert any(np.array_equal(pixels, view) for view in possible_views(image))
        plain += np.array_equal(pixels, image)
    assert plain < 16  # of 64; one view of 50 is the image as it is


def possible_views(image):
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    for top, left in itertools.product(range(5), range(5)):
        view = padded[top : top + 32, left : left + 32]
        yield view
        yield view[:, ::-1]


def test_a_killed_teacher_is_replaced(killed):
    assert counted(killed, "dist_erase_teacher_failures_total") >= 1
    assert counted(killed, "dist_erase_teacher_resubmissions_total") >= 1


def test_a_killed_worker_resumes_from_a_checkpoint(killed):
    starts = [row for row in rows(killed) if row.get("event") == "start"]
    assert [row["step"] for row in starts] in ([0, 4], [0, 8], [0, 12])
    done = steps(killed)
    assert [done[step]["attempt"] for step in (1, 16)] == [1, 2]
    (failure,) = [row["message"] for row in rows(killed) if row.get("event") == "failure"]
    # Ray may hear of the rank that lost it first.
    how = r"rank \d (died \(pid \d+ on [\d.]+\)|lost contact with another rank)"
    again = r"Ray starts the workers again \(1 of ray\.max_failures=\d\)"
    assert re.fullmatch(f"{how}; {again}", failure)


def test_neither_ray_nor_deaths_nor_measuring_change_the_result(killed, reference):
    """From the first step to the last; not one bit of the weights is another."""
    assert_same_weights(killed, reference[0])
    ours, theirs = steps(killed), steps(reference[0])
    assert [row["batch"] for row in ours.values()] == [row["batch"] for row in theirs.values()]
    for step, row in theirs.items():
        assert ours[step]["loss"] == pytest.approx(row["loss"], rel=1e-6)
    one, other = (json.loads((f / "report.json").read_text()) for f in (killed, reference[0]))
    assert [one[when] for when in ("before", "after")] == [other["before"], other["after"]]


def test_one_port_a_node_and_no_metrics_in_the_run_folder(fewer):
    folder, answers = fewer
    for role in ("driver", "student", "teacher", "exporter"):
        assert f'role="{role}"' in answers["metrics"]
    (target,) = json.loads(answers["targets"])
    assert target["labels"]["ray_job_id"]
    assert not (folder / "metrics").exists()
    assert "1 of 1 replicas up" in answers["watch"]  # asked of that port


def test_whoever_looks_after_the_end_learns_which_goals_were_missed(killed):
    live = [row for row in rows(killed) if row.get("event") == "evaluation"]
    assert {row["step"] for row in live} == {0, 4, 8, 12, 16}
    assert set(live[0]["figures"]["forget"]) == {"top1", "recall1"}
    command = [str(BIN / "dist-erase"), "watch", str(killed), "--once"]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 3, shown.stderr
    assert "goal below 0.0%: not met" in shown.stdout
    assert "goal missed: forget recall@1" in " ".join(shown.stdout.split())
