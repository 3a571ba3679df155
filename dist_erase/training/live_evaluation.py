"""Zero-shot and retrieval figures while training, and what they decide: stop, or best so far."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dist_erase.batch import Embeddings, Samples
from dist_erase.data.sample import Tokenizer
from dist_erase.distributed.context import RankContext
from dist_erase.evaluation.embed import ModelEmbeddings, SetEmbeddings, class_embeddings
from dist_erase.evaluation.suite import UNTOUCHED, measure
from dist_erase.observability.emit import Metrics
from dist_erase.training.data_plan import WholeSet
from dist_erase.training.engine import Engine
from dist_erase.training.goals import (
    BUDGET,
    FORGETTING_GOALS,
    GoalWatch,
    best_recall,
    distances,
    share_found,
)
from dist_erase.training.hooks import RunLog
from dist_erase.training.recipe import Recipe
from dist_erase.training.slices import embed_over_ranks


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one live evaluation found.

    Attributes:
        forget: share of forget pairs still found: zero-shot top-1, or recall@1 without classes.
        retain: the same of the retain set.
        stop: why the run ends here; None = it goes on.
    """

    forget: float
    retain: float
    stop: str | None

    @property
    def score(self) -> float:
        """The rule for "best": what is kept minus what is still found."""
        return self.retain - self.forget


class LiveEvaluation:
    """Measures the student on the held-out sets, all ranks together.

    Args:
        recipe: of the run.
        engine: holds the student.
        tokenizer: the model's own.
        context: this rank.
        log: takes a line for each evaluation.
        metrics: takes the figures, from rank 0.
    """

    def __init__(
        self,
        recipe: Recipe,
        engine: Engine,
        tokenizer: Tokenizer,
        context: RankContext,
        log: RunLog,
        metrics: Metrics,
    ) -> None:
        self._recipe = recipe
        self._engine = engine
        self._tokenizer = tokenizer
        self._context = context
        self._log = log
        self._metrics = metrics
        self._goals = GoalWatch(recipe.stop, metrics)

    def due(self, step: int) -> bool:
        """Whether it runs after this step."""
        every = self._recipe.evaluate_every
        return every is not None and step % every == 0

    def run(self, step: int, *, retain_before: float | None) -> Verdict:
        """Measures and judges (a collective).

        Args:
            step: steps done.
            retain_before: `Verdict.retain` of the original model; None = not known.

        Raises:
            UserError: a goal needs classes that the sets do not have.
        """
        started = time.monotonic()
        with torch.no_grad():
            embeddings = ModelEmbeddings(
                sets={
                    name: self._embed(held_out)
                    for name, held_out in self._recipe.data.evaluation.items()
                    if not name.startswith(UNTOUCHED)
                },
                class_text=self._embed_classes(),
            )
        figures: dict[str, Any] = self._context.from_first(lambda: measure(embeddings))
        forget, retain = (share_found(figures, name) for name in ("forget", "retain"))
        distance = distances(
            self._recipe.stop,
            figures,
            retain=retain,
            # Before step 1 nothing is lost yet.
            retain_before=retain if step == 0 else retain_before,
        )
        stop = why_stop(distance, retain=retain, retain_before=retain_before)
        self._log.event(
            "evaluation",
            step,
            f"forget pairs found {forget:.1%}, retain pairs found {retain:.1%}",
            seconds=time.monotonic() - started,
            figures=shares_found(figures),
        )
        if self._context.is_first:
            self._metrics.evaluation("live", figures)
            self._metrics.evaluations_total.inc(1)
            self._goals.tell(step, distance)
        return Verdict(forget=forget, retain=retain, stop=stop)

    def _embed(self, held_out: WholeSet) -> SetEmbeddings:
        spec = self._engine.student.image_spec

        def read(start: int, stop: int) -> Iterator[Samples]:
            return held_out.read(
                spec, self._tokenizer, batch=self._recipe.evaluate_batch, start=start, stop=stop
            )

        def embed(samples: Samples) -> Embeddings:
            image, text, _, _ = self._engine.forward(samples.images, samples.tokens)
            return Embeddings(image=image, text=text)

        embeddings, names = embed_over_ranks(len(held_out.index), read, embed, self._context)
        return SetEmbeddings(image=embeddings.image, text=embeddings.text, **names)

    def _embed_classes(self) -> Tensor | None:
        classes, templates = self._recipe.data.classes, self._recipe.templates
        if not classes:
            return None
        prompts = self._tokenizer([t.format(name) for name in classes for t in templates])
        spec = self._engine.student.image_spec
        # Both towers run in every forward: under ZeRO-3 a tower left out would change the order
        # in which parameters are gathered.
        blank = torch.zeros(1, 3, spec.height, spec.width, dtype=torch.uint8)
        parts = [
            self._engine.forward(blank, chunk)[1].cpu()
            for chunk in torch.split(prompts, self._recipe.evaluate_batch)
        ]
        return class_embeddings(torch.cat(parts), [len(templates)] * len(classes))


def why_stop(
    distance: Mapping[str, float], *, retain: float, retain_before: float | None
) -> str | None:
    """Whether goals or the budget of damage end the run; the reason, in words.

    The run ends when every forgetting goal that is set is met, or when the retain set has lost
    more than the budget.

    Args:
        distance: see `goals.distances`.
        retain: share of retain pairs found.
        retain_before: that of the original model.
    """
    if distance.get(BUDGET, 0.0) > 0 and retain_before is not None:
        return f"retain fell from {retain_before:.1%} to {retain:.1%}, beyond the budget"
    met = [distance[goal] < 0 for goal in FORGETTING_GOALS if goal in distance]
    return "every forgetting goal is met" if met and all(met) else None


def shares_found(figures: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Set → zero-shot `top1` (only with classes) and `recall1`, as `EventRow.figures` has them."""
    found = {}
    for name in figures["retrieval"]:
        found[name] = {"recall1": best_recall(figures, name)}
        if figures["zero_shot"][name] is not None:
            found[name]["top1"] = float(figures["zero_shot"][name]["top1"])
    return found
