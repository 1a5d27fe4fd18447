"""Where a run is: its devices, how many processes train on them, and the memory that there is.

Another machine's GPUs are taken as they are sold (80 GB are 80e9 bytes), less a tenth for CUDA's context, NCCL's buffers and
what the allocator wastes. Leaves out what a run needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from ladder.engines import choose_device
from ladder.errors import BadInput

#: Of a GPU that is not at hand: what a run may take of it.
USABLE = 0.9


@dataclass(frozen=True)
class Place:
    """Where a run is: the kind of its devices, the processes that train, each on one of them, and all the memory of one (None:
    nobody says)."""

    device: str
    ranks: int = 1
    whole_bytes: int | None = None

    @property
    def gpu(self) -> bool:
        """Whether its devices are GPUs that a run can have several of."""
        return torch.device(self.device).type == "cuda"

    @property
    def shared(self) -> bool:
        """Whether an engine beside the training takes a share of the device, and gives it back."""
        return self.gpu and self.whole_bytes is not None

    def of(self, things: int) -> int:
        """The most that one process has of what is dealt to all."""
        return -(-things // self.ranks)


def place_of(device: str, ranks: int, gpu_memory: float | None) -> tuple[Place, int | None]:
    """Where a run would be by its setting `device`, and the bytes that one of its processes may take: on GPUs of `gpu_memory`
    GB, or on what is here. Processes on CPUs share the machine."""
    if gpu_memory is not None:
        whole = int(gpu_memory * 10**9)
        return Place("cuda", ranks, whole), int(USABLE * whole)
    here = choose_device(device)
    room = room_on(here)
    if torch.device(here).type == "cuda":
        return Place(here, ranks, int(torch.cuda.mem_get_info(here)[1])), room
    return Place(here, ranks), None if room is None else room // ranks


def room_on(device: str) -> int | None:
    """Bytes that are free on a device now; None where nobody says. Raises BadInput for a device that is not there."""
    kind = torch.device(device).type
    if kind == "cuda":
        try:
            return int(torch.cuda.mem_get_info(device)[0])
        except (AssertionError, RuntimeError, ValueError) as error:
            raise BadInput(f"device = {device!r} cannot be used: {str(error).splitlines()[0]}") from None
    if kind == "mps":
        return int(torch.mps.recommended_max_memory())
    bounds = [bound for bound in (_available(), _of_cgroup()) if bound is not None]
    return min(bounds, default=None)


def _available() -> int | None:
    """Bytes that the system could give away, as Linux says."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _of_cgroup() -> int | None:
    """Bytes that are left of a container's limit."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            root = Path("/sys/fs/cgroup")
            most, now = ((root / name).read_text(encoding="ascii").strip() for name in (limit, used))
        except OSError:
            continue
        if most.isdigit() and int(most) < 1 << 60:
            return int(most) - int(now)
    return None
