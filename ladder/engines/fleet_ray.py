"""The members of a fleet as actors of a Ray cluster, which need Ladder and the model's files on their node.

Ray places them; it does not restart them: the fleet does, and knows what they had in flight. One call for what there is
to tell is always out to each actor. Leaves out an engine that spans nodes.
"""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from ladder.engines import Model, create_engine, model_of
from ladder.engines.base import Engine
from ladder.engines.fleet import FleetEngine
from ladder.engines.fleet_local import gpus_of
from ladder.engines.fleet_member import Gone, Message, Order, batch, serve
from ladder.engines.settings import EngineSettings
from ladder.errors import BadInput
from ladder.models import shipped_models
from ladder.progress import say

_STORE_BYTES = 1 << 30  # of a Ray of our own: what is sent is small
_WHY = 200  # characters of Ray's explanations, which go on for pages


def create_ray_fleet(
    settings: EngineSettings, model: Model, address: str | None, workers: int | None
) -> Engine:
    """Engines as actors of the Ray cluster at `address` (None: one of its own, on this machine); `workers` None: one for
    each GPU, or as many as an engine needs, and one for each node where there are none. Raises BadInput without Ray."""
    return FleetEngine(RayCrew(settings, address, workers), model.fingerprint)


class RayEngine:
    """The actor: an engine in a thread of its own."""

    def __init__(self, settings: EngineSettings) -> None:
        self._inbox: SimpleQueue[Order | Exception] = SimpleQueue()
        self._outbox: SimpleQueue[Message] = SimpleQueue()

        def create() -> Engine:
            return create_engine(settings, model_of(settings))

        threading.Thread(target=serve, args=(create, self._inbox, self._outbox), daemon=True).start()

    def order(self, order: Order) -> None:
        """Take an order."""
        self._inbox.put(order)

    def take(self) -> list[Message]:
        """What there is to tell; waits for it."""
        return batch(self._outbox)


class RayMember:
    """An actor, and the call to it that is out."""

    def __init__(self, number: int, actor: Any) -> None:
        self.number, self.actor = number, actor
        self.taking = actor.take.remote()

    def order(self, order: Order) -> None:
        """Send it an order. That it died is seen by the call that is out."""
        self.actor.order.options(concurrency_group="orders").remote(order)

    def messages(self) -> list[Message]:
        """What it said."""
        import ray

        try:
            said: list[Message] = ray.get(self.taking)
        except ray.exceptions.RayError as error:
            why = " ".join(str(error).split())
            return [Gone((why.partition("The actor is dead because ")[2] or why)[:_WHY])]
        self.taking = self.actor.take.remote()
        return said


class RayCrew:
    """Actors at `address` (None: a Ray of our own on this machine), `workers` or as many as there is room for.

    Raises BadInput where Ray is not installed, the cluster does not answer, or an engine's GPUs are on no node.
    """

    def __init__(self, settings: EngineSettings, address: str | None, workers: int | None) -> None:
        ray = _imported_ray()
        self._settings = _settings_elsewhere(settings)
        self._members: list[RayMember] = []
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(ray, address)
        try:
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            self.size, self._options = placement(settings, nodes, workers)
        except BaseException:
            self.close()
            raise

    def start(self, number: int) -> RayMember:
        """Start an actor for a place, when a node has room for it."""
        import ray

        remote: Any = ray.remote  # its types know no concurrency groups: orders come in while `take` waits
        actor_class = remote(concurrency_groups={"orders": 1}, max_restarts=0, **self._options)(RayEngine)
        member = RayMember(number, actor_class.remote(self._settings))
        self._members.append(member)
        return member

    def wait(self) -> list[tuple[RayMember, Message]]:
        """What members said, and which of them died; waits for the first."""
        import ray

        calls = {member.taking: member for member in self._members}
        ray.wait(list(calls), num_returns=1)
        ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        return [(calls[call], message) for call in ready for message in calls[call].messages()]

    def forget(self, member: RayMember) -> None:
        """End an actor."""
        import ray

        if member in self._members:
            self._members.remove(member)
            ray.kill(member.actor)

    def close(self) -> None:
        """End all actors, and a Ray of our own."""
        import ray

        for member in list(self._members):
            self.forget(member)
        if self._ours:
            self._ours = False
            ray.shutdown()


def placement(
    settings: EngineSettings, nodes: list[dict[str, float]], workers: int | None
) -> tuple[int, dict[str, Any]]:
    """How many actors there are to be, and what Ray must keep free for each, given the resources of the nodes."""
    need = gpus_of(settings)
    if settings.model.device != "cpu" and any(node.get("GPU") for node in nodes):
        room = sum(int(node.get("GPU", 0)) // need for node in nodes)
        if not room and workers is None:
            raise BadInput(f"no node of the Ray cluster has the {need} GPUs that an engine needs")
        if workers and workers > room:
            say(f"  {room} of {workers} engines have room in the cluster now; others start when it grows")
        return workers or room, {"num_gpus": need, "num_cpus": 1}
    cores = [node["CPU"] for node in nodes if node.get("CPU")]
    if not cores:
        raise BadInput("the Ray cluster has neither GPUs nor processor cores for an engine")
    size = workers or len(cores)
    each = min(cores) / math.ceil(size / len(cores))
    # A fraction of a core is allowed, one and a fraction is not.
    return size, {"num_cpus": math.floor(each) if each >= 1 else each, "scheduling_strategy": "SPREAD"}


def _imported_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when Ray is imported
    try:
        import ray
    except ImportError:
        raise BadInput("Ray is not installed: pip install 'neuraladder[ray]'") from None
    return ray


def _connect(ray: Any, address: str | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}  # an actor's stdout would come out of ours
    own = {"include_dashboard": False, "object_store_memory": _STORE_BYTES} if address is None else {}
    try:
        with _signals_kept():
            ray.init(address or "local", **quiet, **own)
            _notices_to_stderr()
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())[:_WHY]
        raise BadInput(f"no Ray at {address or 'this machine'}: {why}") from None


def _notices_to_stderr() -> None:
    """Ray prints what its daemons notice on stdout, which is for data, and has no setting for it."""
    from ray._private import worker

    write = worker.print_to_stdstream
    worker.print_to_stdstream = lambda data, *args, **named: write(data | {"is_err": True}, *args, **named)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray makes SIGTERM an immediate exit; a build flushes first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _settings_elsewhere(settings: EngineSettings) -> EngineSettings:
    """The same settings for a process that may run in another directory."""
    name = settings.model.name
    path = Path(name).expanduser()
    if name in shipped_models() or not path.exists():
        return settings
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"name": str(path.resolve())})}
    )
