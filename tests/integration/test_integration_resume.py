import json
import signal
import subprocess

import open_clip
import pytest
import torch
import yaml
from support.runs import BIN, assert_same_weights, finish, steps, wait_for_step

from dist_erase.batch import ImageSpec
from dist_erase.config.source import SourceConfig
from dist_erase.data.captions import CaptionPlan
from dist_erase.data.index import index_set
from dist_erase.data.scan import iterate_set

pytestmark = pytest.mark.integration
SPEC = ImageSpec(height=32, width=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def embeddings(folder, digits):
    name = f"local-dir:{folder / 'model'}"
    model, _, _ = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    index = index_set(SourceConfig(shards=f"{digits}/eval/*.tar"), where="eval")
    samples = next(iterate_set(index, CaptionPlan(), SPEC, tokenizer, batch=200))
    with torch.no_grad():
        image = model.eval().encode_image(samples.images.float() / 255, normalize=True)
        return image, model.encode_text(samples.tokens, normalize=True)


def assert_close_to(folder, reference, digits, after):
    expected, found = steps(reference), steps(folder)
    for step in range(after + 1, 17):
        for term, value in expected[step]["loss"].items():
            assert found[step]["loss"][term] == pytest.approx(value, rel=1e-4), (step, term)
    for one, other in zip(embeddings(folder, digits), embeddings(reference, digits), strict=True):
        assert (one * other).sum(1).min() >= 0.9999


def test_the_deepspeed_launcher_resumes_a_ray_run(bench, killed, reference, digits):
    bench.cut("killed", 4, "launcher")
    bench.run("launcher", "--resume", "train.zero_stage=3", deepspeed=1)
    assert min(steps(bench.folder("launcher"))) == 5
    assert_close_to(bench.folder("launcher"), reference[0], digits, after=4)


def test_one_worker_on_ray_resumes_a_run_of_two(fewer, reference, digits):
    folder, _ = fewer
    assert min(steps(folder)) == 5
    assert_close_to(folder, reference[0], digits, after=4)


def start(command):
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_pretraining_that_is_stopped_goes_on_to_the_same_model(original, tmp_path):
    tree = json.loads((original.parent / "config.json").read_text())["config"]
    whole = max(steps(original.parent))
    tree["run"] |= {"name": "again", "dir": str(tmp_path)}
    config = tmp_path / "pretrain.yaml"
    config.write_text(yaml.safe_dump(tree))
    command = [str(BIN / "dist-erase"), "pretrain", str(config)]
    folder = tmp_path / "again"
    process = start(command)
    wait_for_step(folder, 5, process)
    process.send_signal(signal.SIGTERM)
    output = finish(process, expect=75)
    stopped = max(steps(folder))
    assert stopped < whole
    last = f"stopped at step {stopped} by SIGTERM; the same command goes on"
    assert output.rstrip().endswith(last)
    finish(start(command))
    assert_same_weights(folder, original.parent)
