"""A rank's side of the teacher pool: routes requests, and asks again when a replica fails.

Ray's own retries stay off: they would send a request to the same replica, and
`ray.util.ActorPool` loses requests of a dead actor. Answers do not depend on the route, because
a request carries its rank's whole batch and replicas cut it alike.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from dist_erase.batch import Embeddings, Samples, TeacherAnswer
from dist_erase.errors import UserError, in_one_line
from dist_erase.teacher.client import FailureReason, TeacherLostError, TeacherStats, Ticket
from dist_erase.teacher.protocol import Answer, Question

# How often waiting looks up from Ray to notice late answers; a ready answer wakes it at once.
_TICK_SECONDS = 0.25
# A batch that fails this often is not the replicas' bad luck.
_MAX_SENDINGS = 5


@dataclass
class _Replica:
    """What this rank knows of one replica; `trouble` says why it is avoided, "" = it is not."""

    handle: Any
    index: int
    trouble: str = ""
    probe: Any = None
    probe_after: float = 0.0


@dataclass
class _Request:
    """A batch without an answer; `replica` and `call` are None while no replica is up.

    `submitted` is on the wall's clock, `sent` on the client's.
    """

    payload: Any
    submitted: float
    replica: _Replica | None = None
    call: Any = None
    sent: float = 0.0
    failures: list[str] = field(default_factory=list)


class PoolClient:
    """A `TeacherClient` over the replicas of a `TeacherPool`, for one thread of one rank.

    A request goes to the replica with the fewest of this rank's requests. When a replica dies, or
    an answer is late, all that this rank has there is sent to others, and the replica is avoided
    until it answers a ping (Ray restarts dead ones). What an abandoned call answers is ignored.
    Time counts only while the client is at work: while the student trains nobody looks, and
    answers that came meanwhile must not seem late.

    Args:
        handles: `TeacherPool.handles`.
        rank: breaks ties, so that ranks begin at different replicas.
        timeout_seconds: an answer waited for longer than this is asked for elsewhere; when no
            replica is up for this long the client gives up.
        max_in_flight: `submit` waits while this many batches have no answer.
    """

    def __init__(
        self, handles: Sequence[Any], *, rank: int, timeout_seconds: float, max_in_flight: int
    ) -> None:
        self._replicas = [_Replica(handle, index) for index, handle in enumerate(handles)]
        self._rank = rank
        self._timeout_seconds = timeout_seconds
        self._max_in_flight = max_in_flight
        self._clock = 0.0
        self._last_up = 0.0
        self._next_ticket: Ticket = 0
        self._requests: dict[Ticket, _Request] = {}
        self._outcomes: dict[Ticket, TeacherAnswer | RayTaskError] = {}
        self._counts: Counter[str] = Counter()
        self._failures: Counter[FailureReason] = Counter()
        self._latencies: list[float] = []

    def submit(self, retain: Samples | None, forget: Samples | None) -> Ticket:
        """Hands the batch to a replica; waits while `max_in_flight` are under way."""
        self._advance(0.0)
        while len(self._requests) >= self._max_in_flight:
            self._advance(_TICK_SECONDS)
        ticket = self._next_ticket
        self._next_ticket += 1
        self._counts["requests"] += 1
        # Put once: sending it again costs no second serialisation.
        payload = ray.put((_question(retain), _question(forget)))
        self._requests[ticket] = _Request(payload=payload, submitted=time.monotonic())
        self._send_waiting()
        return ticket

    def collect(self, ticket: Ticket) -> TeacherAnswer:
        """Waits for the answer; KeyError for a ticket unknown or collected before.

        Raises:
            TeacherLostError: no replica was up for the time-out, or this batch failed too often.
            RayTaskError: the replica's own code failed on this batch.
        """
        while ticket not in self._outcomes:
            if ticket not in self._requests:
                raise KeyError(ticket)
            self._advance(_TICK_SECONDS)
        outcome = self._outcomes.pop(ticket)
        if isinstance(outcome, RayTaskError):
            raise outcome
        return outcome

    def stats(self) -> TeacherStats:
        """Counts since the last call."""
        self._advance(0.0)
        stats = TeacherStats(
            requests=self._counts["requests"],
            resubmitted=self._counts["resubmitted"],
            failures=dict(self._failures),
            in_flight=len(self._requests),
            latencies=tuple(self._latencies),
        )
        self._counts.clear()
        self._failures.clear()
        self._latencies = []
        return stats

    def close(self) -> None:
        """Forgets what is under way; replicas belong to the pool and go on."""
        self._requests.clear()
        self._outcomes.clear()

    def _advance(self, wait_seconds: float) -> None:
        """Takes in what is ready, waiting for the first, and acts on what failed or is late."""
        begin = time.monotonic()
        calls = {r.call: ticket for ticket, r in self._requests.items() if r.call is not None}
        probes = {r.probe: r for r in self._replicas if r.probe is not None}
        for ready in _ready([*calls, *probes], wait_seconds):
            if ready in calls:
                self._take_answer(calls[ready])
            else:
                self._take_probe(probes[ready])
        self._clock += time.monotonic() - begin
        self._find_late()
        self._probe()
        self._send_waiting()
        self._give_up_in_time()

    def _take_answer(self, ticket: Ticket) -> None:
        request = self._requests[ticket]
        if request.call is None or request.replica is None:
            return  # taken back a moment ago, when another call showed that the replica is gone
        try:
            retain, forget = (_embeddings(answer) for answer in ray.get(request.call))
            self._outcomes[ticket] = TeacherAnswer(retain=retain, forget=forget)
        except RayError as error:
            if not _is_bug(error):
                self._lose(request.replica, "died", _in_words(error))
                return
            self._outcomes[ticket] = error
        del self._requests[ticket]
        self._latencies.append(time.monotonic() - request.submitted)

    def _find_late(self) -> None:
        for request in self._requests.values():
            late = self._clock - request.sent > self._timeout_seconds
            if late and request.replica is not None:
                self._lose(
                    request.replica, "late", f"gave no answer in {self._timeout_seconds:g} s"
                )

    def _lose(self, replica: _Replica, reason: FailureReason, trouble: str) -> None:
        """Avoids `replica` and takes back what this rank has there."""
        replica.trouble = trouble
        replica.probe_after = time.monotonic()
        for request in self._requests.values():
            if request.replica is replica:
                request.replica = request.call = None
                request.failures.append(f"replica {replica.index} {trouble}")
                self._failures[reason] += 1

    def _probe(self) -> None:
        now = time.monotonic()
        for replica in self._replicas:
            if replica.trouble and replica.probe is None and now >= replica.probe_after:
                replica.probe = replica.handle.ping.remote()

    def _take_probe(self, replica: _Replica) -> None:
        probe, replica.probe = replica.probe, None
        try:
            ray.get(probe)
        except RayError as error:
            replica.trouble = _in_words(error)
            replica.probe_after = time.monotonic() + _TICK_SECONDS
        else:
            replica.trouble = ""

    def _send_waiting(self) -> None:
        """Sends what is not under way to the replicas that are up."""
        up = [replica for replica in self._replicas if not replica.trouble]
        for request in self._requests.values():
            if request.replica is None and up:
                self._send(request, min(up, key=self._burden))

    def _give_up_in_time(self) -> None:
        if not all(replica.trouble for replica in self._replicas):
            self._last_up = self._clock
        elif self._clock - self._last_up > self._timeout_seconds:
            raise TeacherLostError(
                f"no teacher replica was up for {self._timeout_seconds:g} s: "
                + "; ".join(f"replica {r.index} {r.trouble}" for r in self._replicas)
            )

    def _send(self, request: _Request, replica: _Replica) -> None:
        if len(request.failures) >= _MAX_SENDINGS:
            raise TeacherLostError(
                f"one batch failed {len(request.failures)} times; if the teacher is merely slow, "
                f"raise teacher.timeout_seconds: {'; '.join(request.failures)}"
            )
        self._counts["resubmitted"] += bool(request.failures)
        request.replica = replica
        request.call = replica.handle.embed.remote(request.payload)
        request.sent = self._clock

    def _burden(self, replica: _Replica) -> tuple[int, int]:
        outstanding = sum(request.replica is replica for request in self._requests.values())
        return outstanding, (replica.index - self._rank) % len(self._replicas)


def _ready(refs: list[Any], wait_seconds: float) -> list[Any]:
    """Those of `refs` that are ready, once there is one or the time is up."""
    if not refs:
        time.sleep(wait_seconds)
        return []
    ray.wait(refs, timeout=wait_seconds)
    ready: list[Any] = ray.wait(refs, num_returns=len(refs), timeout=0)[0]
    return ready


def _question(samples: Samples | None) -> Question:
    return None if samples is None else (samples.images.numpy(), samples.tokens.numpy())


def _embeddings(answer: Answer) -> Embeddings | None:
    if answer is None:
        return None
    # astype copies: arrays from the object store are read-only.
    image, text = (torch.from_numpy(array.astype("float32")) for array in answer)
    return Embeddings(image=image, text=text)


def _is_bug(error: RayError) -> TypeGuard[RayTaskError]:
    """Whether the replica's own code failed, which it would do again elsewhere.

    A UserError means that a restarted replica could not load the model, a RayError that it could
    not fetch the batch: troubles of that replica.
    """
    return isinstance(error, RayTaskError) and not isinstance(error.cause, UserError | RayError)


def _in_words(error: RayError) -> str:
    cause = error.cause if isinstance(error, RayTaskError) else error
    return f"failed ({in_one_line(cause, 200)})"
