"""What the toolkit costs: our step beside a bare PyTorch loop, which runs before and after it.

    python benchmarks/plain_loop.py [CONFIG] [key.sub=value ...]   # CONFIG: the quickstart's

The bare loop is what a research script does: one process on all cores, every image decoded into
memory beforehand, the teacher asked in the same process; no checkpoints, no metrics, no DeepSpeed.
It trains the same model in fp32 by the default objective, with the same batch sizes and optimizer,
channels last, and each caption once. Ours is the real `dist-erase run`. Both give the median of the
steps after the first five. The last line is one JSON object. `--short` does a few steps on one
worker, to show that it completes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dist_erase.batch import Samples, concat_samples
from dist_erase.config.load import load_config
from dist_erase.config.run import RunConfig
from dist_erase.models.preprocess import image_spec, normalise
from dist_erase.models.resolve import build, load_tokenizer, resolve
from dist_erase.orchestration.run_folder import index_cache
from dist_erase.training.data_plan import WholeSet, plan_run

COMMAND = str(Path(sys.executable).with_name("dist-erase"))
WARM_UP = 5


def main() -> None:
    """Parses the command line, measures both, prints them and their ratio as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", default="configs/quickstart.yaml")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=45)
    parser.add_argument("--short", action="store_true")
    options = parser.parse_intermixed_args()
    steps = WARM_UP + 3 if options.short else options.steps
    if options.short:
        options.overrides += ["ray.workers=1", "teacher.kind=local"]
    bare = BareLoop(load_config(Path(options.config), options.overrides, RunConfig).config)
    before = bare.seconds(steps)
    ours = our_steps(options.config, options.overrides, steps)
    after = bare.seconds(steps)
    print(f"bare PyTorch loop  {before:.3f} s a step before, {after:.3f} after")
    print(f"dist-erase run     {ours['step']:.3f} s a step, by phase")
    for phase in sorted(ours.keys() - {"step"}):
        print(f"  {phase:17}{ours[phase]:.3f}")
    mean = (before + after) / 2
    print(json.dumps({"ratios": {"step_vs_bare_loop": ours["step"] / mean}}))


def our_steps(config: str, overrides: list[str], steps: int) -> dict[str, float]:
    """Median seconds of a step of the real command, and of its phases."""
    with tempfile.TemporaryDirectory() as folder:
        place = [f"run.dir={folder}", "run.name=timed", f"train.max_steps={steps}"]
        command = [COMMAND, "run", config, *overrides, *place, "observe.grace_seconds=0"]
        subprocess.run(command, check=True, stdout=sys.stderr)
        lines = (Path(folder) / "timed" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row["seconds"] for row in map(json.loads, lines) if "loss" in row][WARM_UP:]
    return {phase: statistics.median(row[phase] for row in rows) for phase in rows[0]}


class BareLoop:
    """What a research script does, with every image in memory."""

    def __init__(self, config: RunConfig) -> None:
        torch.set_num_threads(os.cpu_count() or 1)
        torch.manual_seed(config.seed)
        source = resolve(config.model.architecture, config.model.pretrained)
        self.config = config
        self.student: Any = build(source).eval()
        self.teacher: Any = build(source).eval().requires_grad_(False)
        self.scale = self.student.logit_scale.requires_grad_(False).exp().detach()
        self.trained = [p for p in self.student.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trained, lr=config.train.lr, betas=config.train.betas, fused=True
        )
        plan = plan_run(config, index_cache(config), look_for_overlap=False, held_out=False)
        assert plan.forget is not None
        self.spec, tokenizer = image_spec(self.student), load_tokenizer(source)
        self.forget, self.retain = (
            concat_samples(list(chosen.read(self.spec, tokenizer, batch=512)))
            for chosen in (
                WholeSet(index=stream.index, captions=stream.captions)
                for stream in (plan.forget, plan.retain)
            )
        )

    def seconds(self, steps: int) -> float:
        """Median seconds of a step."""
        seconds = []
        for _ in range(steps):
            started = time.monotonic()
            self._step()
            seconds.append(time.monotonic() - started)
        return statistics.median(seconds[WARM_UP:])

    def _step(self) -> None:
        sizes = self.config.train
        chosen = draw(self.forget, sizes.forget_batch), draw(self.retain, sizes.retain_batch)
        images, tokens = (torch.cat([each[i] for each in chosen]) for i in (0, 1))
        pixels = normalise(images, self.spec, torch.device("cpu"))
        new = embed(self.student, pixels, tokens)
        _, retained, captions = chosen[1]
        with torch.no_grad():
            old = embed(self.teacher, pixels[-sizes.retain_batch :], retained)
        loss = default_objective(self.config, new, old, captions=captions, scale=self.scale)
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        if sizes.grad_clip:
            torch.nn.utils.clip_grad_norm_(self.trained, sizes.grad_clip)
        self.optimizer.step()


def embed(clip: Any, pixels: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """Equal captions go through the tower once, as with us."""
    distinct, place = torch.unique(tokens, dim=0, return_inverse=True)
    out: dict[str, Tensor] = clip(pixels, distinct)
    return out | {"text_features": out["text_features"][place]}


def default_objective(
    config: RunConfig,
    new: dict[str, Tensor],
    old: dict[str, Tensor],
    *,
    captions: Tensor,
    scale: Tensor,
) -> Tensor:
    """`new` holds forget pairs, then retain pairs; `old` the retain pairs alone.

    The floor is a number here, as after its measurement.
    """
    image, text = new["image_features"], new["text_features"]
    old_image, old_text = old["image_features"], old["text_features"]
    weights, retained = config.objective, len(old_image)
    forgetting = ((image * text)[:-retained].sum(1) - 0.1).abs().mean()
    image, text = image[-retained:], text[-retained:]
    logits, old_logits = scale * image @ text.T, scale * old_image @ old_text.T
    equal = (captions[:, None] == captions[None, :]).float()
    targets = equal / equal.sum(1, keepdim=True)
    retention = (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
    consistency = sum(
        F.kl_div(ours.log_softmax(1), theirs.log_softmax(1), reduction="batchmean", log_target=True)
        for ours, theirs in ((logits, old_logits), (logits.T, old_logits.T))
    )
    anchor = ((image - old_image) ** 2).sum(1).mean() + ((text - old_text) ** 2).sum(1).mean()
    return (
        weights.forget.weight * forgetting
        + weights.retain.weight * retention
        + weights.consistency.weight * consistency / 2
        + weights.consistency.anchor * anchor
    )


def draw(samples: Samples, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draws n pairs: images, tokens, caption ids."""
    chosen = torch.randint(len(samples), (n,))
    return samples.images[chosen], samples.tokens[chosen], samples.caption_ids[chosen]


if __name__ == "__main__":
    main()
