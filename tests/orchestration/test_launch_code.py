"""The exit code of a launch whose ranks are lost: may it be tried again, and for how long?

The launchers here are little programs that leave what ranks leave, and end as `deepspeed` does.
"""

import json
import signal
import sys
from pathlib import Path

import pytest

from dist_erase.errors import LOST_CONTACT
from dist_erase.orchestration.deepspeed_launch import main

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
LAUNCHER = """
import json, sys
from pathlib import Path
folder, start, saved, end, said, code = json.loads(sys.argv[1])
folder = Path(folder)
(folder / "checkpoints").mkdir(parents=True, exist_ok=True)
(folder / "end.json").unlink(missing_ok=True)
if start is not None:
    (folder / "attempts").open("a").write("start\\n")
    row = {"event": "start", "step": start, "message": "", "time": 0}
    (folder / "metrics.jsonl").open("a").write(json.dumps(row) + "\\n")
if saved is not None:
    (folder / "checkpoints" / f"step-{saved:08d}-attempt-001").mkdir(exist_ok=True)
if end is not None:
    (folder / "end.json").write_text(json.dumps(end))
if said is not None:
    (at,) = [word for word in sys.argv if word.startswith("--end-at=")]
    Path(at.partition("=")[2]).write_text(said)
sys.exit(code)
"""
GONE = {"exit_code": 75, "message": f"{LOST_CONTACT} (closed by peer); step 4 is saved"}


@pytest.fixture
def launch(tmp_path):
    """Launches with one that starts at a step, saves one, leaves an end, a word and a code."""
    run = ["--config", str(QUICKSTART), f"run.dir={tmp_path}", "run.name=r"]
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def go(start=None, saved=None, end=None, code=1, said=None):
        told = json.dumps([str(tmp_path / "r"), start, saved, end, said, code])
        words = ["--by", sys.executable, "-c", LAUNCHER, told, *run]
        return main(tmp_path / "unlearn.py", words)

    yield go
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_loss_that_rank_0_tells_of_may_be_tried_again(launch):
    assert launch(0, 4, GONE, 1) == 75


def test_so_may_the_loss_of_rank_0_itself(launch, capfd):
    assert launch(0, 4, None, 255) == 75
    assert "rank 0 ended without a word (exit code 255); step 4 is saved" in capfd.readouterr().err


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(launch):
    assert launch(0, None, None, 255) == 255


def test_a_launch_that_started_no_rank_is_not_one_that_lost_them(launch):
    assert launch(0, 4, GONE, 1) == 75
    assert launch(None, None, None, 127) == 127


@pytest.mark.parametrize("code", [0, 2, 3])
def test_what_the_launcher_says_clearly_stands(launch, code):
    assert launch(0, 4, None, code) == code


def test_two_attempts_without_a_new_checkpoint_are_the_last(launch, capfd):
    assert launch(0, 4, GONE, 1) == 75
    assert launch(4, None, GONE, 1) == 75
    assert launch(4, None, GONE, 1) == 1
    assert "two attempts in a row lost ranks without a new checkpoint" in capfd.readouterr().err
    assert launch(4, 8, GONE, 1) == 75


def test_stops_that_were_asked_for_are_not_counted(launch):
    stop = {"exit_code": 75, "message": "stopped at step 4 by SIGTERM; --resume goes on"}
    assert [launch(4, 4, stop, 1) for _ in range(3)] == [75, 75, 75]


@pytest.mark.parametrize("said", [2, 75])
def test_rank_0_says_how_it_ended_where_it_leaves_no_folder(launch, tmp_path, said):
    """torchrun returns 1 whatever its ranks return."""
    assert launch(said=f"{said}\n", code=1) == said
    assert launch(code=1) == 1
    assert list(tmp_path.glob(".*.end")) == []


def test_the_end_in_the_run_folder_counts_first(launch, tmp_path):
    done = {"exit_code": 3, "message": "goal missed: forget top-1"}
    assert launch(0, 4, done, 1, said="2") == 3
    assert list(tmp_path.glob(".*.end")) == []


def test_a_word_that_is_half_written_is_none(launch):
    assert launch(said="", code=1) == 1
