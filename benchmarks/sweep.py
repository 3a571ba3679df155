"""Runs of one configuration side by side: seeds, ablations, forgotten classes.

    python benchmarks/sweep.py seeds      # quickstart, seeds 0 1 2, pretraining included
    python benchmarks/sweep.py ablation   # each module off in turn, presets, towers
    python benchmarks/sweep.py cifar100 --source FOLDER [--classes apple,tulip,…] [--counts 3,10]

Every run is the real command with overrides; the tables are made from the runs' report.json.
`--short` does a few steps on one worker, to show that it completes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

STEPS_OF_A_CLASS = 24  # of 64 forget pairs: each pair is seen about three times
SHORT = ["train.max_steps=3", "ray.workers=1", "teacher.kind=local"]
COMMAND = [str(Path(sys.executable).with_name("dist-erase"))]
QUICKSTART, CIFAR100 = "configs/quickstart.yaml", "configs/cifar100/erase.yaml"
ABLATION = {
    "default": [],
    "no Forgetting Module": ["objective.forget.weight=0"],
    "no Retention Module": ["objective.retain.weight=0"],
    "no Consistency Module": ["objective.consistency.weight=0", "objective.consistency.anchor=0"],
    "towers: each": ["objective.forget.towers=each"],
    "preset paper": ["objective.preset=paper"],
    "preset joint_ce": ["objective.preset=joint_ce"],
    "preset mse_zero": ["objective.preset=mse_zero"],
    "preset paper, its own lr 1e-6": [
        "objective.preset=paper",
        "train.lr=1e-6",
        "train.optimizer=adam",
    ],
}


def main() -> None:
    """Parses the command line, runs, prints a Markdown table and the ratios as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["seeds", "ablation", "cifar100"])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--source", help="folder with CIFAR-100's parquet files")
    parser.add_argument("--classes", default="apple,tulip,motorcycle")
    parser.add_argument("--counts", default="", help="also forget this many classes at once")
    parser.add_argument(
        "--steps",
        type=int,
        help="train.max_steps of cifar100 (default: its file's; several classes: "
        f"{STEPS_OF_A_CLASS} for each, 100 at least, half of the pairs to forget)",
    )
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of cifar100's runs"
    )
    parser.add_argument("--short", action="store_true")
    options = parser.parse_args()
    if options.what == "cifar100" and not options.source:
        parser.error("cifar100 needs --source, the folder with CIFAR-100's parquet files")
    seeds = [int(seed) for seed in options.seeds.split(",")]
    length = [f"train.max_steps={options.steps}"] if options.steps else []
    length += SHORT if options.short else []
    if options.what == "seeds":
        rows = [seed_run(seed, length) for seed in seeds[: 1 if options.short else None]]
    elif options.what == "ablation":
        chosen = list(ABLATION.items())[: 1 if options.short else None]
        rows = [ablation_run(name, overrides, length) for name, overrides in chosen]
    else:
        rows = cifar_runs(options, seeds, length)
    print(table(rows))
    ratios = {row["name"]: {"retain_after_vs_before": row["retain_ratio"]} for row in rows}
    print(json.dumps({"ratios": ratios}))


def seed_run(seed: int, length: list[str]) -> dict[str, Any]:
    """The quickstart with another seed, its own original model included."""
    original = f"digits-original-seed{seed}"
    pretrained = f"model.pretrained=local-dir:runs/{original}/model"
    command("pretrain", "configs/quickstart/pretrain.yaml", f"seed={seed}", f"run.name={original}")
    return erase(QUICKSTART, f"quickstart-seed{seed}", [f"seed={seed}", pretrained, *length])


def ablation_run(name: str, overrides: list[str], length: list[str]) -> dict[str, Any]:
    """The quickstart's model and steps with one thing changed."""
    return erase(QUICKSTART, f"ablation-{slug(name)}", [*overrides, *length], title=name)


def slug(text: str) -> str:
    """As a part of a run's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in text)


def cifar_runs(
    options: argparse.Namespace, seeds: list[int], length: list[str]
) -> list[dict[str, Any]]:
    """Each class with each seed, then several classes at once."""
    classes = [name for name in options.classes.split(",") if name]
    jobs = [(name, 1, seed) for name in classes for seed in seeds]
    jobs += [("apple", int(count), seeds[0]) for count in options.counts.split(",") if count]
    rows = []
    for name, count, seed in jobs:
        data = f"data/cifar100-{name}-{count}"
        build = ["data", "build", "cifar100", data, "--source", options.source, "--forget", name]
        command(*build, *(["--forget-count", str(count)] if count > 1 else []))
        shards = [
            f"data.{key}.shards={data}/{part}-*.tar"
            for key, part in (
                ("forget", "train/forget"),
                ("retain", "train/retain"),
                ("eval.forget", "eval/forget"),
                ("eval.retain", "eval/retain"),
            )
        ]
        title = f"{name}, seed {seed}" if count == 1 else f"{count} classes, seed {seed}"
        steps = length or grown(count)
        overrides = [f"seed={seed}", f"data.classes={data}/classes.json", *shards, *steps]
        run = "-".join([f"cifar100-{name}-{count}-seed{seed}", *map(slug, options.set)])
        rows.append(erase(CIFAR100, run, [*overrides, *options.set], title=title))
    return rows


def grown(count: int) -> list[str]:
    """What is not read is not forgotten: more classes take more steps."""
    if count == 1:
        return []
    steps = max(100, STEPS_OF_A_CLASS * count)
    return [f"train.max_steps={steps}", "train.forget_batch=64", "train.retain_batch=64"]


def erase(config: str, run: str, overrides: list[str], *, title: str = "") -> dict[str, Any]:
    """One real run; the figures of its report."""
    quiet = ["observe.grace_seconds=0"]
    command("run", config, f"run.name={run}", "--overwrite", *quiet, *overrides)
    report = json.loads((Path("runs") / run / "report.json").read_text(encoding="utf-8"))
    return figures(report, title or run)


def figures(report: dict[str, Any], name: str) -> dict[str, Any]:
    """What the tables show of one report."""
    before, after, n = report["before"], report["after"], report["n"]
    accuracy = {
        f"{set_name}_{when}": figures["zero_shot"][set_name]["top1"]
        for set_name in ("forget", "retain")
        for when, figures in (("before", before), ("after", after))
    }
    swap = after["tower_swap"]
    return {
        "name": name,
        **accuracy,
        "retain_ratio": accuracy["retain_after"] / accuracy["retain_before"],
        "matched_before": before["similarity"]["forget"]["matched"],
        "matched_after": after["similarity"]["forget"]["matched"],
        "floor": report["floor"],
        "new_image": swap["new_image_old_text"]["forget"]["top1"],
        "new_text": swap["old_image_new_text"]["forget"]["top1"],
        "n": f"{n['forget']['pairs']} / {n['retain']['pairs']}",
        "steps": report["training"]["steps"],
        "seconds": report["training"]["seconds"],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; accuracies in percent, changes in points."""
    head = (
        "| run | forget top-1 before → after | retain top-1 before → after (change) | "
        "matched similarity before → after (floor) | new image + old text | "
        "old image + new text | n forget / retain | steps | training, seconds |"
    )
    lines = [head, "|" + "---|" * 9]
    for row in rows:
        change = 100 * (row["retain_after"] - row["retain_before"])
        floor = "none" if row["floor"] is None else f"{row['floor']:.3f}"
        lines.append(
            f"| {row['name']} "
            f"| {100 * row['forget_before']:.1f} → {100 * row['forget_after']:.1f} "
            f"| {100 * row['retain_before']:.2f} → {100 * row['retain_after']:.2f} ({change:+.2f}) "
            f"| {row['matched_before']:.3f} → {row['matched_after']:.3f} ({floor}) "
            f"| {100 * row['new_image']:.1f} | {100 * row['new_text']:.1f} "
            f"| {row['n']} | {row['steps']} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def command(*arguments: str) -> None:
    """Runs dist-erase; its output goes to standard error."""
    print("$ dist-erase", *arguments, file=sys.stderr, flush=True)
    subprocess.run([*COMMAND, *arguments], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    main()
