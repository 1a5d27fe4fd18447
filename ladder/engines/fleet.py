"""Several engines as one: each member of a fleet runs an engine in another process, on this machine or under Ray.

The fleet is an Engine, so storing, judging and adaptive k stay with whoever owns the store, and a member that dies loses
only what it had in flight: it is replaced, and those samples are drawn again from their own seeds. Requests stay whole on
one member, which gets more as it finishes. A request at which engine after engine ends is refused. Leaves out how
orders and messages travel (`fleet_local`, `fleet_ray`), and new weights: members sample from the model they loaded.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from ladder.engines.base import Completion, Engine, Event, Failed, Refused, Request
from ladder.engines.fleet_member import Ask, Broken, Cancel, Counted, Gone, Message, Order, Ready
from ladder.errors import LadderError
from ladder.progress import say

if TYPE_CHECKING:
    from ladder.engines import Model
    from ladder.engines.settings import EngineSettings

_LEASE = 0.75  # of its capacity, a member holds: half of it runs, and what waits elsewhere can go to whoever is free
_SUSPECT = 2  # engines that died with a request, before it is tried with no other beside it
_GUILTY = 2  # engines that died with a request alone, before it is refused
_STARTS = 3  # failed starts in a row, before a place is given up
_LIVES = 5  # engines in a row that sampled nothing, before a place is given up


class Member(Protocol):
    """An engine in another process, at a numbered place of the fleet."""

    number: int

    def order(self, order: Order) -> None:
        """Give it an order; silent where it is dead."""


class Crew(Protocol):
    """Starts members of one kind, and hears them."""

    size: int

    def start(self, number: int) -> Any:
        """Start a member; it says Ready once its engine runs."""

    def wait(self) -> list[tuple[Any, Message]]:
        """What members said, in the order of each; Gone where one ended. Waits for the first."""

    def forget(self, member: Any) -> None:
        """End a member; again is harmless."""

    def close(self) -> None:
        """End all."""


def create_fleet(settings: EngineSettings, model: Model, workers: int) -> Engine:
    """`workers` engines on this machine, a slice of its GPUs or cores each; raises BadInput where the GPUs are too few."""
    from ladder.engines.fleet_local import LocalCrew

    return FleetEngine(LocalCrew(settings, model, workers), model.fingerprint)


@dataclass(eq=False)
class _Lease:
    """A request, what of it is still to come, and the engines that died with it."""

    key: str
    request: Request
    missing: dict[int, int]  # seed by index
    place: _Place | None = None  # where it is in flight
    deaths: int = 0
    deaths_alone: int = 0

    @property
    def suspect(self) -> bool:
        return self.deaths >= _SUSPECT

    def ask(self) -> Request:
        """What is to be asked of a member."""
        indices, seeds = tuple(self.missing), tuple(self.missing.values())
        return replace(self.request, id=self.key, indices=indices, seeds=seeds)


@dataclass(eq=False)
class _Place:
    """A place of the fleet and the member that holds it now."""

    member: Member
    where: str = "not yet running"
    capacity: int = 0  # 0: its engine does not run yet
    held: dict[str, _Lease] = field(default_factory=dict)
    load: int = 0  # samples that it holds
    sampled: bool = False
    barren: int = 0  # members in a row that sampled nothing
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it may be given a request beside those it has."""
        return self.capacity > 0 and not any(lease.suspect for lease in self.held.values())

    def has_room(self, lease: _Lease, share: float) -> bool:
        """Whether it has less than its share, and can take this."""
        lease_fits = self.load + len(lease.missing) <= _LEASE * self.capacity
        return not self.held or (self.load < share and lease_fits)


class FleetEngine:
    """The members of a crew as one engine. Waits for the first of them; raises LadderError where none comes up."""

    background = True

    def __init__(self, crew: Crew, fingerprint: str) -> None:
        self._crew, self._fingerprint = crew, fingerprint
        self.workers = crew.size
        say(f"  starting {crew.size} engines")
        self.name, self.capacity, self._usual = "", 0, 0
        self.counts: dict[str, int] = {}
        self._past: Counter[str] = Counter()  # counts of members that are gone, and our own
        self._numbers = itertools.count()
        self._leases: dict[str, _Lease] = {}
        self._waiting: deque[_Lease] = deque()
        self._suspects: deque[_Lease] = deque()
        self._done: deque[Event] = deque()
        self._outstanding = 0  # samples
        self._places: dict[int, _Place] = {}
        try:
            for number in range(crew.size):
                self._places[number] = _Place(crew.start(number))
            while not self.capacity:
                self._listen()
        except BaseException:
            self.close()
            raise

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint; that of every member is compared with it."""
        return self._fingerprint

    def submit(self, request: Request) -> None:
        """Take a request; members get it inside `completed`."""
        missing = dict(zip(request.indices, request.seeds, strict=True))
        lease = _Lease(str(next(self._numbers)), request, missing)
        self._leases[lease.key] = lease
        self._waiting.append(lease)
        self._outstanding += len(missing)

    def completed(self) -> Iterator[Event]:
        """Yield what members say, until nothing is in flight."""
        while self._done or self._leases:
            while self._done:
                yield self._done.popleft()
            if self._leases:
                self._hand_out()
                self._listen()

    def cancel(self, request_id: str) -> None:
        """Forget a request's unfinished samples."""
        for lease in [lease for lease in self._leases.values() if lease.request.id == request_id]:
            if lease.place is not None:
                lease.place.member.order(Cancel(lease.key))
            self._settle(lease, tuple(lease.missing))
            for queue in (self._waiting, self._suspects):
                if lease in queue:
                    queue.remove(lease)

    def close(self) -> None:
        """End all members, whatever they are at; again is harmless."""
        for queue in (self._leases, self._waiting, self._suspects, self._done, self._places):
            queue.clear()
        self._outstanding = 0
        self._crew.close()

    def _hand_out(self) -> None:
        """Give what waits to members: a suspect to one that has nothing else, the others to whoever has least to do.

        None gets more than its share of all that is left, counting members that are still starting: the last requests
        shall not wait behind each other while a member is idle.
        """
        given: dict[int, list[Request]] = {}
        for place in self._places.values():
            if self._suspects and place.open and not place.held:
                self._give(place, self._suspects.popleft(), given)
        share = self._outstanding / len(self._places)
        while self._waiting:
            open_ = [place for place in self._places.values() if place.open]
            least = min(open_, key=lambda p: p.load / p.capacity, default=None)
            if least is None or not least.has_room(self._waiting[0], share):
                break
            self._give(least, self._waiting.popleft(), given)
        for number, requests in given.items():
            self._places[number].member.order(Ask(requests))

    def _give(self, place: _Place, lease: _Lease, given: dict[int, list[Request]]) -> None:
        lease.place = place
        place.held[lease.key] = lease
        place.load += len(lease.missing)
        given.setdefault(place.member.number, []).append(lease.ask())

    def _listen(self) -> None:
        for member, message in self._crew.wait():
            place = self._places.get(member.number)
            if place is not None and place.member is member:
                self._hear(place, message)

    def _hear(self, place: _Place, message: Message) -> None:
        if isinstance(message, Completion | Refused | Failed):
            self._finish(place, message)
        elif isinstance(message, Counted):
            place.counts = message.counts
            self._count()
        elif isinstance(message, Ready):
            self._welcome(place, message)
        elif isinstance(message, Broken) and message.fault is not None:
            raise message.fault(message.why)
        else:
            self._replace(place, message)

    def _finish(self, place: _Place, event: Event) -> None:
        """Pass an event on under the request's own name; what is no longer wanted is dropped."""
        lease = place.held.get(event.request_id)
        if lease is None:
            return
        indices = event.indices if isinstance(event, Refused) else (event.index,)
        place.sampled |= isinstance(event, Completion)
        if all(index in lease.missing for index in indices):
            self._settle(lease, indices)
            self._done.append(replace(event, request_id=lease.request.id))

    def _settle(self, lease: _Lease, indices: tuple[int, ...]) -> None:
        """Samples that are no longer to come."""
        for index in indices:
            del lease.missing[index]
        self._outstanding -= len(indices)
        if lease.place is not None:
            lease.place.load -= len(indices)
        if not lease.missing:
            del self._leases[lease.key]
            if lease.place is not None:
                del lease.place.held[lease.key]

    def _welcome(self, place: _Place, message: Ready) -> None:
        if message.fingerprint != self._fingerprint:
            raise LadderError(
                f"engine {place.member.number} ({message.where}) has another model: its fingerprint is "
                f"{message.fingerprint}, ours {self._fingerprint}; give every node the same files"
            )
        self.name, place.capacity, place.where = message.engine, message.capacity, message.where
        self._measure()

    def _measure(self) -> None:
        """Members that are still starting count like the others."""
        self._usual = max(self._usual, *(place.capacity for place in self._places.values()))
        self.capacity = sum(place.capacity or self._usual for place in self._places.values())

    def _count(self) -> None:
        total = Counter(self._past)
        for place in self._places.values():
            total.update(place.counts)
        self.counts.clear()
        self.counts.update(+total)

    def _replace(self, place: _Place, end: Broken | Gone) -> None:
        """A member is dead: what it had in flight waits again, and another takes its place."""
        self._crew.forget(place.member)
        why = " ".join(end.why.split())
        number, lost = place.member.number, list(place.held.values())
        samples = f"; {place.load:,} samples are drawn again" if lost else ""
        say(f"  engine {number} ({place.where}) died: {why}{samples}")
        self._past.update(place.counts)
        self._past["samples_drawn_again"] += place.load
        self._put_back(lost)
        barren = 0 if place.sampled else place.barren + 1
        if barren >= (_LIVES if place.capacity else _STARTS):
            self._give_up(number, barren, why)
        else:
            self._past["engine_restarts"] += 1
            self._places[number] = _Place(self._crew.start(number), barren=barren)
        self._measure()
        self._count()

    def _give_up(self, number: int, barren: int, why: str) -> None:
        """Go on without a place, where there are others."""
        del self._places[number]
        told = f"engine {number} died {barren} times in a row without having sampled anything: {why}"
        if not self._places:
            raise LadderError(told)
        say(f"  {told}; going on with {len(self._places)}")
        self._past["engines_given_up"] += 1

    def _put_back(self, lost: list[_Lease]) -> None:
        """A death's leases, the oldest first. A suspect goes behind the others: they tell whether anything can be
        sampled at all."""
        for lease in reversed(lost):
            lease.place = None
            lease.deaths_alone += lease.suspect
            lease.deaths += 1
            if lease.deaths_alone >= _GUILTY:
                self._refuse(lease)
            elif lease.suspect:
                self._suspects.append(lease)
            else:
                self._waiting.appendleft(lease)

    def _refuse(self, lease: _Lease) -> None:
        indices = tuple(lease.missing)
        detail = f"{lease.deaths} engines died while they sampled it, {lease.deaths_alone} of them with nothing else"
        self._done.append(Refused(lease.request.id, indices, "engine_died", detail))
        self._settle(lease, indices)
