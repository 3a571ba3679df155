"""A run's state as lines of a terminal, the most important ones where there is room for few."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from rich.text import Text

from dist_erase.observability.curve import ASCII_BLOCKS, BLOCKS
from dist_erase.observability.goals import Found
from dist_erase.observability.lines import event_line
from dist_erase.observability.rows import clock, time_of_day
from dist_erase.observability.state import RunState

# Colours say nothing that words do not. Only those that show on light and dark grounds.
_GOOD, _BAD = "green", "red"
_EVENTS_SHOWN = 5
_LONGEST_CURVE, _SHORTEST_CURVE = 60, 4
# From how many columns on notes have more words.
_MEDIUM, _WIDE = 80, 110
# A forget similarity this near to the floor counts as there.
_AT_FLOOR = 0.1
# What to leave out first when the terminal is low: the larger number.
_ALWAYS, _KEY, _MAIN, _MORE, _REST = range(5)


@dataclass(frozen=True, kw_only=True)
class Screen:
    """What the lines must fit.

    Attributes:
        width: columns.
        height: lines; None = any number.
        ascii: whether nothing else can be shown.
    """

    width: int
    height: int | None = None
    ascii: bool = False

    @property
    def dot(self) -> str:
        """Between two figures."""
        return " | " if self.ascii else " · "

    @property
    def note_room(self) -> int:
        """Columns kept free beside curves."""
        return 17 if self.width < _MEDIUM else 27 if self.width < _WIDE else 43

    def clean(self, text: str) -> str:
        """Without characters that cannot be shown."""
        return text.encode("ascii", "replace").decode() if self.ascii else text


Line = tuple[int, Text]


def panel(state: RunState, screen: Screen) -> list[Text]:
    """The lines to show, none wider than the screen, no more than it has."""
    lines = [(rank, _fit(text, screen)) for rank, text in _lines(state, screen)]
    if screen.height is not None and len(lines) > screen.height:
        order = sorted(range(len(lines)), key=lambda i: lines[i][0])
        lines = [lines[i] for i in sorted(order[: max(1, screen.height)])]
    return [text for _, text in lines]


def _lines(state: RunState, screen: Screen) -> Iterator[Line]:
    yield _ALWAYS, _header(state, screen)
    if state.silence is not None:
        yield from _wrapped(state.silence, screen, _BAD)
    if not state.last:
        yield _MAIN, Text("waiting for the first step")
    else:
        yield from _losses(state, screen)
        yield from _cosines(state, screen)
    yield from _found(state, screen)
    yield from _speed(state, screen)
    yield from _teacher(state, screen)
    verdict = state.bottleneck
    if verdict is not None:
        yield from _wrapped(verdict.text, screen, "" if verdict.kind == "student" else "bold")
    if state.address is not None:
        yield _REST, Text(f"{'metrics':<8}{state.address}")
    newest = list(state.events)[-_EVENTS_SHOWN:]
    for age, row in zip(range(len(newest), 0, -1), newest, strict=True):
        text = Text(f"{time_of_day(row)} {event_line(row)}")
        yield (_MORE if age == 1 else _REST), text
    if state.end is not None:
        yield from _wrapped(state.end, screen, "bold")


def _header(state: RunState, screen: Screen) -> Text:
    name = Text(state.run, style="bold")
    if not state.last:
        return name
    step, steps = state.last["step"], state.last["steps"]
    left = f"  step {step}/{steps}  "
    if step >= steps:
        right = "  all steps done"
    elif state.stopped:
        right = "  stopped"
    elif state.silence or state.end:
        right = ""
    else:
        right = f"  ETA {clock(state.recent.eta_seconds())}"
    name.truncate(max(8, screen.width - len(left) - len(right)), overflow="ellipsis")
    room = screen.width - len(name) - len(left) - len(right)
    return Text.assemble(name, left, _bar(step / max(1, steps), room, screen), right)


def _bar(share: float, width: int, screen: Screen) -> str:
    if width < 5:
        return ""
    done = round(min(1.0, share) * width)
    full, empty = ("#", ".") if screen.ascii else ("█", "░")
    return full * done + empty * (width - done)


def _losses(state: RunState, screen: Screen) -> Iterator[Line]:
    terms = dict(state.last.get("loss", {}))
    names = [*(["total"] if "total" in terms else []), *(t for t in terms if t != "total")]
    for i, term in enumerate(names):
        title = "loss" if i == 0 else ""
        rank = _KEY if i == 0 else _REST
        yield rank, _figure(title, term, f"{terms[term]:.4g}", "", f"loss {term}", state, screen)


def _cosines(state: RunState, screen: Screen) -> Iterator[Line]:
    floor = state.last.get("floor")
    for i, (stream, value) in enumerate(state.last.get("similarity", {}).items()):
        note, style = "", ""
        if stream == "forget" and floor is not None:
            near = abs(value - floor) <= _AT_FLOOR
            note = f"{'near ' if near else ''}floor {floor:.3f}"
            style = _GOOD if near else ""
        title = "cosine" if i == 0 else ""
        rank = _MAIN if stream == "forget" else _MORE
        yield (
            rank,
            _figure(title, stream, f"{value:.4f}", note, f"cosine {stream}", state, screen, style),
        )


def _found(state: RunState, screen: Screen) -> Iterator[Line]:
    for i, one in enumerate(state.found):
        style = {None: "", True: _GOOD, False: _BAD}[one.met]
        title = "found" if i == 0 else ""
        name = one.set if one.measure == "top1" else f"{one.set} r@1"
        rank = _KEY if one.set in ("forget", "retain") else _REST
        yield (
            rank,
            _figure(
                title,
                name.replace("holdout_", ""),
                f"{one.now:.1%}",
                goal_words(one, screen),
                f"found {one.set} {one.measure}",
                state,
                screen,
                style,
            ),
        )
    for goal, steps in state.facts.steps_to_goal.items():
        if goal.startswith("forget") and steps > 0:
            away = (
                f"is {steps:.0f} steps away at this pace"
                if math.isfinite(steps)
                else ("does not come nearer")
            )
            yield _MORE, Text(f"{'':<8}stop.{goal} {away}")


def goal_words(one: Found, screen: Screen) -> str:
    """The goal and the way to it, in as many words as there is room for."""
    parts = []
    if one.before is not None and screen.width >= _WIDE:
        parts.append(f"before {one.before:.1%}")
    if one.goal is not None:
        under = one.set == "forget"
        verdict = "met" if one.met else "not met"
        if screen.width < _MEDIUM:
            parts.append(f"{'<' if under else '>='}{one.goal:.1%} {verdict}")
        else:
            parts.append(f"goal {'below' if under else 'from'} {one.goal:.1%}: {verdict}")
    elif one.before is not None and screen.width >= _MEDIUM:
        parts = [f"before {one.before:.1%}"]
    return ", ".join(parts)


def _figure(
    title: str,
    name: str,
    value: str,
    note: str,
    curve: str,
    state: RunState,
    screen: Screen,
    style: str = "",
) -> Text:
    """Title, name, value, course over the whole run, note; in columns."""
    text = Text(f"{title:<8}{name:<12.12} ")
    text.append(f"{value:>8} ", style=f"bold {style}".strip())
    room = min(_LONGEST_CURVE, screen.width - len(text) - screen.note_room)
    course = state.curves.get(curve)
    drawn = ""
    if course is not None and room >= _SHORTEST_CURVE:
        drawn = course.sparkline(room, ASCII_BLOCKS if screen.ascii else BLOCKS)
    text.append(f"{drawn:<{max(0, room)}} " if note and room >= _SHORTEST_CURVE else drawn)
    text.append(note, style=style)
    return text


def _speed(state: RunState, screen: Screen) -> Iterator[Line]:
    last, recent = state.last, state.recent
    known = {
        "{:.0f} samples/s": recent.samples_per_second,
        "{:.3g} s a step": recent.mean_seconds,
        "epoch {:.2f}": last.get("epoch"),
        "forget passes {:.1f}": last.get("forget_passes"),
        "lr {:.2g}": last.get("lr"),
        "gradient {:.3g}": last.get("grad_norm"),
        "replaced samples {}": state.facts.corrupt or None,
    }
    parts = [form.format(value) for form, value in known.items() if value is not None]
    yield from _listed("speed", parts, screen, (_MAIN, _REST))
    named = sorted(state.shares.items(), key=lambda part: -part[1])
    parts = [f"{name.replace('_', ' ')} {100 * v:.0f} %" for name, v in named if v >= 0.005]
    yield from _listed("time", parts, screen, (_MORE, _REST))


def _teacher(state: RunState, screen: Screen) -> Iterator[Line]:
    pool = state.facts.teacher
    if pool is None:
        return
    up, trouble = sum(pool.up.values()), sum(pool.up.values()) < len(pool.up)
    parts = [f"{up} of {len(pool.up)} replicas up"]
    if pool.in_flight is not None:
        parts.append(f"{pool.in_flight} in flight")
    if pool.restarts is not None:
        parts.append(f"{pool.restarts} restart{'' if pool.restarts == 1 else 's'}")
    parts.append(f"{pool.resubmitted} resubmitted")
    if pool.failed:
        parts.append(f"{pool.failed} failed")
    ranks = (_KEY if trouble else _MORE, _REST)
    yield from _listed("teacher", parts, screen, ranks, _BAD if trouble else "")


def _listed(
    title: str, parts: list[str], screen: Screen, ranks: tuple[int, int], style: str = ""
) -> Iterator[Line]:
    """The parts in as many lines as they need; the first line has the first rank."""
    lines: list[str] = []
    for part in parts:
        joined = f"{lines[-1]}{screen.dot}{part}" if lines else part
        if lines and len(joined) <= screen.width - 8:
            lines[-1] = joined
        else:
            lines.append(part)
    for i, line in enumerate(lines):
        yield ranks[min(i, 1)], Text.assemble(f"{title if i == 0 else '':<8}", (line, style))


def _wrapped(text: str, screen: Screen, style: str) -> Iterator[Line]:
    lines = textwrap.wrap(screen.clean(text), width=max(20, screen.width - 1))
    for i, line in enumerate(lines):
        yield (_ALWAYS if i == 0 else _KEY), Text(line, style=style)


def _fit(text: Text, screen: Screen) -> Text:
    if screen.ascii and not text.plain.isascii():
        text = Text(screen.clean(text.plain), style=text.style)
    if screen.ascii and len(text) > screen.width:
        text.truncate(screen.width)
    else:
        text.truncate(screen.width, overflow="ellipsis")
    text.no_wrap = True
    return text
