"""The members of a fleet as processes of this machine: a fresh interpreter each, at the end of a socket.

GPUs are dealt out in slices, processor cores evenly. A member ends itself and the processes that its engine started when
the parent is gone, however that ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import ladder
from ladder.engines import Model, choose_device, choose_engine, create_engine
from ladder.engines.base import Engine
from ladder.engines.fleet_member import Gone, Message, Order, batch, serve
from ladder.engines.settings import EngineSettings
from ladder.errors import BadInput
from ladder.runtime import prepare_environment, terminable, tune_allocator

_GRACE_S = 3.0  # in which engines may end by themselves
_WATCH_S = 1.0
# Only ladder itself is found by the inserted path: whatever lies beside it must not shadow other modules.
_MAIN = (
    "import sys; sys.path.insert(0, sys.argv[1]); import ladder; del sys.path[0]; "
    "from ladder.engines.fleet_local import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


@dataclass(frozen=True)
class _Job:
    """What a member is told first: the engine, and the model that the parent found."""

    settings: EngineSettings
    directory: Path | None
    encoded: bool  # whether the model's files are at hand
    fingerprint: str

    def engine(self) -> Engine:
        """The engine, with its model loaded."""
        from ladder.encode import Encoder

        encoder = None
        if self.encoded and self.directory is not None:
            model = self.settings.model
            encoder = Encoder(self.directory, min_pixels=model.min_pixels, max_pixels=model.max_pixels)
        return create_engine(self.settings, Model(self.directory, encoder, self.fingerprint))


class LocalMember:
    """A process with an engine, and this side of its socket."""

    def __init__(self, number: int, job: _Job, environment: dict[str, str]) -> None:
        self.number = number
        ours, theirs = socket.socketpair()
        root = str(Path(ladder.__file__).parent.parent)
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-W", "ignore", "-c", _MAIN),
                    *(root, str(theirs.fileno()), str(os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                stdout=2,  # stdout is for data
                env=os.environ | environment,
                pass_fds=[theirs.fileno()],
                process_group=0,  # Ctrl-C on the terminal is for the parent
            )
        self.link: Connection[Any, Any] = Connection(ours.detach())
        with contextlib.suppress(OSError):
            self.link.send(job)

    def order(self, order: Order) -> None:
        """Send it an order. That it died is seen where it is listened to."""
        with contextlib.suppress(OSError):
            self.link.send(order)

    def messages(self) -> list[Message]:
        """What it said; waits for it."""
        try:
            return list(self.link.recv())
        except (EOFError, OSError):
            self.end()
            return [Gone(_how(self.process.wait()))]

    def end(self) -> None:
        """Kill it, and what its engine started; again is harmless."""
        if self.link.closed:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.link.close()


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


class LocalCrew:
    """Processes of this machine, `size` at a time. Raises BadInput where there are fewer GPUs than they need."""

    def __init__(self, settings: EngineSettings, model: Model, size: int) -> None:
        self.size = size
        self._job = _Job(settings, model.directory, model.encoder is not None, model.fingerprint)
        self._environments = environments(settings, size)
        self._members: dict[Connection[Any, Any], LocalMember] = {}

    def start(self, number: int) -> LocalMember:
        """Start a member for a place; at once, its engine is not there yet."""
        member = LocalMember(number, self._job, self._environments[number])
        self._members[member.link] = member
        return member

    def wait(self) -> list[tuple[LocalMember, Message]]:
        """What members said, and which of them ended; waits for the first."""
        said: list[tuple[LocalMember, Message]] = []
        for link in wait(list(self._members)):
            member = self._members[link]  # type: ignore[index]
            messages = member.messages()
            if isinstance(messages[-1], Gone):
                self.forget(member)
            said += [(member, message) for message in messages]
        return said

    def forget(self, member: LocalMember) -> None:
        """End a member."""
        self._members = {link: other for link, other in self._members.items() if other is not member}
        member.end()

    def close(self) -> None:
        """End all, within seconds."""
        members, self._members = list(self._members.values()), {}
        for member in members:
            member.process.terminate()
        until = time.monotonic() + _GRACE_S
        for member in members:
            with contextlib.suppress(subprocess.TimeoutExpired):
                member.process.wait(max(0.0, until - time.monotonic()))
            member.end()


def environments(settings: EngineSettings, size: int) -> list[dict[str, str]]:
    """The environment variables of each member, beside our own: its GPUs and its share of the cores."""
    cores = len(os.sched_getaffinity(0))
    shared = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(max(1, cores // size))}
    gpus, need = _gpus(settings), gpus_of(settings)
    if gpus and len(gpus) < size * need:
        raise BadInput(
            f"{size} workers with {need} GPUs each need {size * need} GPUs, and there are {len(gpus)}"
        )
    slices = [",".join(gpus[i * need : (i + 1) * need]) for i in range(size)]
    return [shared | ({"CUDA_VISIBLE_DEVICES": part} if part else {}) for part in slices]


def gpus_of(settings: EngineSettings) -> int:
    """GPUs that one engine runs on, where there are any."""
    if settings.engine not in ("auto", "vllm"):
        return 1
    sizes = [settings.vllm.args.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline")]
    return int(sizes[0]) * int(sizes[1])


def _gpus(settings: EngineSettings) -> list[str]:
    """The GPUs that we see and engines would use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    on_gpu = choose_engine(settings.engine) == "vllm" or choose_device(settings.model.device) == "cuda"
    if not on_gpu or not torch.cuda.is_available():
        return []
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(i) for i in range(count)]


def main(handle: int, parent: int) -> None:
    """A member's process: the engine in the main thread, what it hears and says in two others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    prepare_environment()
    tune_allocator()
    link: Connection[Any, Any] = Connection(handle)
    os.register_at_fork(after_in_child=link.close)  # else the socket would outlive us in what an engine forks
    inbox: SimpleQueue[Order | Exception] = SimpleQueue()
    outbox: SimpleQueue[Any] = SimpleQueue()
    job = link.recv()
    threading.Thread(target=_hear, args=(link, parent, inbox), daemon=True).start()
    speaker = threading.Thread(target=_speak, args=(link, outbox), daemon=True)
    speaker.start()
    with contextlib.suppress(KeyboardInterrupt), terminable():
        serve(job.engine, inbox, outbox)
    outbox.put(None)
    speaker.join()
    os._exit(0)  # the engine is closed; what Python does on its way out takes seconds


def _hear(link: Connection[Any, Any], parent: int, inbox: SimpleQueue[Order | Exception]) -> None:
    """Take orders; end all of this process' group once nobody is there to give any."""
    with contextlib.suppress(EOFError, OSError):
        while os.getppid() == parent:
            if link.poll(_WATCH_S):
                inbox.put(_received(link))
    os.killpg(0, signal.SIGKILL)


def _received(link: Connection[Any, Any]) -> Order | Exception:
    try:
        return link.recv()  # type: ignore[no-any-return]
    except (EOFError, OSError):
        raise
    except Exception as error:
        return error


def _speak(link: Connection[Any, Any], outbox: SimpleQueue[Any]) -> None:
    """Send what the engine has to tell, until there is None."""
    with contextlib.suppress(OSError):
        while True:
            messages = batch(outbox)
            if told := [message for message in messages if message is not None]:
                link.send(told)
            if messages[-1] is None:
                return
