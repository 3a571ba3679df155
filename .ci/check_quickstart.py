"""Whether runs/quickstart/report.json shows what the quickstart is to show; says what does not."""

import json
from pathlib import Path

report = json.loads(Path("runs/quickstart/report.json").read_text(encoding="utf-8"))
before, after, n = report["before"], report["after"], report["n"]
top1 = {
    (when, name): figures["zero_shot"][name]["top1"]
    for when, figures in (("before", before), ("after", after))
    for name in ("forget", "retain")
}
pairs = {name: n[name]["pairs"] for name in ("forget", "retain")}
original = sum(pairs[name] * top1["before", name] for name in pairs) / sum(pairs.values())
off_floor = abs(after["similarity"]["forget"]["matched"] - report["floor"])
drop = top1["before", "retain"] - top1["after", "retain"]
wrong = []
if original < 0.95:
    wrong.append(f"the original model is right on {original:.1%} of the held-out digits, not 95 %")
if top1["after", "forget"] > 0.05:
    wrong.append(f"{top1['after', 'forget']:.1%} of the forget set is still told, more than 5 %")
if off_floor > 0.1:
    wrong.append(f"matched forget pairs end {off_floor:.3f} from the floor, more than 0.1")
if drop > 0.01:
    wrong.append(f"the retain set lost {drop:.1%}, more than one point")
raise SystemExit("\n".join(f"error: {text}" for text in wrong) if wrong else 0)
