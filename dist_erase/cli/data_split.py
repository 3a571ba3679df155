"""`dist-erase data split`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dist_erase.cli.bar import progress
from dist_erase.cli.data_inspect import Config, source_settings
from dist_erase.cli.data_split_output import show, show_review
from dist_erase.errors import UserError

if TYPE_CHECKING:
    from dist_erase.config.model import ModelConfig
    from dist_erase.config.source import SourceConfig
    from dist_erase.data.split.embeddings import Teacher

_FORGET, _HOLD_OUT = "What is to be forgotten (any of them suffices)", "Hold-out sets"
_CONCEPT, _REVIEW, _DRAWS = "Teacher", "Review", "Shares and draws"
_DEFAULT_NEAR = 0.95


def _several(help_text: str, panel: str) -> typer.models.OptionInfo:
    info: typer.models.OptionInfo = typer.Option(
        help=f"{help_text} May be repeated.", rich_help_panel=panel, show_default=False
    )
    return info


def split(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the new data set.")],
    pool: Annotated[
        list[str], typer.Argument(metavar="POOL...", help="Patterns of the shards to split.")
    ],
    caption: Annotated[
        str,
        typer.Option(
            help="Where captions stand: txt, txt:lines, json:KEY (a text or a list) or cls."
        ),
    ] = "txt",
    classes: Annotated[
        Path | None,
        typer.Option(help="JSON list of class names in the order of the .cls numbers."),
    ] = None,
    config: Config = None,
    forget_label: Annotated[list[str] | None, _several("Class name or number.", _FORGET)] = None,
    forget_regex: Annotated[
        list[str] | None,
        _several("Pattern; an image is forgotten if any of its captions matches.", _FORGET),
    ] = None,
    forget_ids: Annotated[
        Path | None,
        typer.Option(
            help="File with a line SHARD.tar/KEY, SHARD.tar#NUMBER or sha256:HEX for each sample.",
            rich_help_panel=_FORGET,
        ),
    ] = None,
    concept: Annotated[
        list[str] | None,
        _several("Prompt; the teacher scores all images, --threshold or --top-k cuts.", _FORGET),
    ] = None,
    against: Annotated[
        list[str] | None, _several("Contrast prompt, subtracted from the score.", _CONCEPT)
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Scores from here on are in.", rich_help_panel=_CONCEPT)
    ] = None,
    top_k: Annotated[
        int | None, typer.Option(min=1, help="So many are in.", rich_help_panel=_CONCEPT)
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(help="open_clip architecture or model JSON.", rich_help_panel=_CONCEPT),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(help="Tag, checkpoint file or local-dir:PATH.", rich_help_panel=_CONCEPT),
    ] = None,
    near: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="With a teacher: images whose cosine with a forget image is at least this are "
            f"forgotten too; {_DEFAULT_NEAR} if not given, 1 = do not look.",
            rich_help_panel=_CONCEPT,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda or auto.", rich_help_panel=_CONCEPT)
    ] = "auto",
    holdout_association_regex: Annotated[
        list[str] | None, _several("Same identity, other facts: pattern.", _HOLD_OUT)
    ] = None,
    holdout_association_label: Annotated[
        list[str] | None, _several("Same identity, other facts: class.", _HOLD_OUT)
    ] = None,
    holdout_identity_regex: Annotated[
        list[str] | None, _several("Same kind, other members: pattern.", _HOLD_OUT)
    ] = None,
    holdout_identity_label: Annotated[
        list[str] | None, _several("Same kind, other members: class.", _HOLD_OUT)
    ] = None,
    holdout_fraction: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Of what the rules find; the rest is retained.",
            rich_help_panel=_HOLD_OUT,
        ),
    ] = 1.0,
    eval_fraction: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.99,
            help="Of forget and retain images, held out.",
            rich_help_panel=_DRAWS,
        ),
    ] = 0.3,
    reserve_fraction: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.99,
            rich_help_panel=_DRAWS,
            help="Of forget and retain images, never trained on: for membership tests of models "
            "trained on the other sets. Never use it for a removal that somebody asked for.",
        ),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, help="Decides every draw.", rich_help_panel=_DRAWS)
    ] = 0,
    shard_size: Annotated[
        int, typer.Option(min=1, help="Most samples in a shard.", rich_help_panel=_DRAWS)
    ] = 2048,
    review: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the review; OUT-review if not given.", rich_help_panel=_REVIEW
        ),
    ] = None,
    accept: Annotated[
        Path | None,
        typer.Option(help="decisions.csv of the review: write the sets.", rich_help_panel=_REVIEW),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Write the sets unseen.", rich_help_panel=_REVIEW)
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read and decode; one a core if not given."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace another data set or an edited review.")
    ] = False,
) -> None:
    """Split shards into forget, retain, hold-out and reserve sets that share no image.

    With a teacher, the first call writes a contact sheet and decisions.csv only; look, edit, and
    run it again with --accept.

    Example: dist-erase data split data/mine "pool/*.tar" --forget-regex apple
    """
    from dist_erase.config.source import SourceConfig
    from dist_erase.data.captions import read_class_names
    from dist_erase.data.split.job import split_pool
    from dist_erase.data.split.request import ReviewNeeded, ReviewOptions, SplitRequest
    from dist_erase.data.split.rules import ConceptRule, SetRule, SplitOptions, check_options

    _refuse_idle(
        "--concept",
        concept,
        {"--against": against, "--threshold": threshold, "--top-k": top_k},
    )
    _refuse_idle("--architecture", architecture or concept, {"--accept": accept, "--yes": yes})
    model = _model(architecture, pretrained, concept)
    scored = None
    if concept:
        scored = ConceptRule(
            prompts=tuple(concept), against=_all(against), threshold=threshold, top_k=top_k
        )
    options = SplitOptions(
        forget=SetRule(labels=_all(forget_label), regexes=_all(forget_regex)),
        association=SetRule(
            labels=_all(holdout_association_label), regexes=_all(holdout_association_regex)
        ),
        identity=SetRule(labels=_all(holdout_identity_label), regexes=_all(holdout_identity_regex)),
        forget_ids=forget_ids,
        concept=scored,
        near=_near(near, model),
        eval_fraction=eval_fraction,
        reserve_fraction=reserve_fraction,
        holdout_fraction=holdout_fraction,
        seed=seed,
        shard_size=shard_size,
    )
    check_options(options)  # before a model is loaded
    request = SplitRequest(
        out=out,
        source=_source(SourceConfig, pool, caption, classes),
        settings=source_settings(config),
        options=options,
        classes=read_class_names(str(classes), where="--classes") if classes else (),
        teacher=_teacher(model, device),
        reviewing=ReviewOptions(
            folder=review or Path(f"{out}-review"),
            accept=accept,
            yes=yes,
            title=str(out),
            model=f"{architecture} {pretrained or ''}".strip(),
        ),
        overwrite=overwrite,
    )
    with progress() as report:
        done = split_pool(
            request,
            workers=(os.cpu_count() or 1) if workers is None else workers,
            progress=report,
        )
    if isinstance(done, ReviewNeeded):
        show_review(done)
    else:
        show(done)


def _all(values: list[str] | None) -> tuple[str, ...]:
    return tuple(values or ())


def _refuse_idle(needed: str, given: object, others: dict[str, object]) -> None:
    """Raises UserError for an option that would do nothing without another one."""
    for name, value in others.items():
        if not given and value is not None and value is not False:
            raise UserError(name, f"does nothing without {needed}.", "Give both, or neither.")


def _source(
    kind: type[SourceConfig], pool: list[str], caption: str, classes: Path | None
) -> SourceConfig:
    from dist_erase.config.source import pattern_problem

    for pattern in pool:
        if refused := pattern_problem(pattern):
            raise UserError("POOL", *refused)
    if caption == "cls" and classes is None:
        raise UserError("--caption", "is cls, which needs class names.", "Give --classes FILE.")
    try:
        return kind(shards=pool, caption=caption)
    except ValueError:
        mend = "Write txt, txt:lines, json:KEY or cls."
        raise UserError("--caption", f"is {caption!r}.", mend) from None


def _model(
    architecture: str | None, pretrained: str | None, concept: list[str] | None
) -> ModelConfig | None:
    from dist_erase.config.model import ModelConfig

    if architecture is None and (concept or pretrained):
        given = "--concept" if concept else "--pretrained"
        raise UserError(
            "--architecture",
            f"is not given, but {given} is.",
            "Name a model, for instance --architecture ViT-B-32 --pretrained laion2b_s34b_b79k.",
        )
    if architecture is None:
        return None
    if pretrained is None:
        raise UserError("--pretrained", "is not given.", "Name the weights of the architecture.")
    return ModelConfig(architecture=architecture, pretrained=pretrained)


def _teacher(model: ModelConfig | None, device: str) -> Teacher | None:
    if model is None:
        return None
    from dist_erase.orchestration.split_teacher import load_teacher

    return load_teacher(model, device)


def _near(near: float | None, model: ModelConfig | None) -> float | None:
    if model is None and near is not None:
        raise UserError("--near", "needs a teacher.", "Give --architecture and --pretrained.")
    if model is None or near == 1:
        return None
    return _DEFAULT_NEAR if near is None else near
