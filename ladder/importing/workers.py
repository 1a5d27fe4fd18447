"""Rows become drafts in processes of their own, one for each core: decoding, hashing and trying golds is all their work.

Rows that show the same picture go to the same process, which decodes it once. A process that dies at a row costs that
row. Small imports are done where they are: a process takes longer to start than some hundred rows to map.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ladder.audit.checks import Problem, try_gold
from ladder.audit.texts import exact, signatures
from ladder.errors import LadderError
from ladder.identity import gold_digest
from ladder.images import pixels
from ladder.images.album import Album, Known
from ladder.importing.similar import asked
from ladder.pools.mapping import ImageSettings, Mapped, Mapping, Refused
from ladder.pools.pictures import Place, path_of
from ladder.pools.rows import Row
from ladder.records import Image, Item
from ladder.store.drafts import Earlier
from ladder.verify.policy import Policy

_INLINE_SECONDS = 1.0
#: What a server answers today says nothing of tomorrow.
_BY_CHANCE = ("image_fetch_failed", "image_fetch_timeout")
_AHEAD = 3  # tasks that a process has before it


@dataclass(frozen=True)
class Task:
    """Numbered rows of one pool; what earlier imports know of their images, by path and by content."""

    mapping: Mapping
    rows: list[tuple[int, Row]]
    files: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    seen: dict[bytes, Known] = field(default_factory=dict)


class Draft(NamedTuple):
    """A row's columns of `draft_schema`, but for key and ordinal; an item and the forms of its gold that a verifier has
    yet to judge."""

    row: dict[str, Any]
    item: Item | None = None
    undecided: tuple[str, ...] = ()
    lasting: bool = True  # the same row would become the same again


class Done(NamedTuple):
    """The drafts of a task's rows, in order, and the images that were decoded for them."""

    drafts: list[Draft]
    images: list[Image]
    decoded: int


class Maker:
    """Makes drafts, in this process; `album` holds what it knows of images."""

    def __init__(self, images: ImageSettings, policy: Policy, earlier: Earlier) -> None:
        self._policy = policy
        self._images: list[Image] = []
        self.album = Album(
            max_pixels=images.max_pixels,
            min_side=images.min_side,
            keep=self._images.append,
            recall=earlier.of_content,
            fetch=fetcher(images) if images.fetch else None,
        )

    def __call__(self, task: Task) -> Done:
        """The drafts of a task."""
        before = self.album.decoded
        self.album.learn(task.seen, task.files)
        found = [task.mapping(number, row, self.album) for number, row in task.rows]
        items = [one.item for one in found if isinstance(one, Mapped)]
        texts = [asked(item.question, item.options) for item in items]
        prints = zip(signatures(texts), exact(texts).tolist(), strict=True)
        drafts = [
            self._item(one, task.mapping.asked_only, *next(prints))
            if isinstance(one, Mapped)
            else _reject(one)
            for one in found
        ]
        images = self._images.copy()
        self._images.clear()
        return Done(drafts, images, self.album.decoded - before)

    def _item(self, found: Mapped, asked_only: bool, signature: Any, mark: int) -> Draft:
        problem: Problem | None = None
        undecided: tuple[str, ...] = ()
        if not asked_only:
            problem, undecided = try_gold(found.item, self._policy)
        reason, detail = problem or (None, None)
        row = found.item.row() | _sources(found) | {"phashes": [image.phash for image in found.images]}
        row |= {"gold_digest": gold_digest(found.item), "signature": signature.tobytes(), "exact": mark}
        row |= {"stage": problem and "audit", "reason": reason, "detail": detail}
        return Draft(row, found.item if undecided else None, undecided)


def _reject(found: Refused) -> Draft:
    kept = ("source", "source_id", "stage", "reason", "detail", "question", "gold")
    row = {name: getattr(found.reject, name) for name in kept} | _sources(found)
    return Draft(row, lasting=found.reject.reason not in _BY_CHANCE)


def _sources(found: Mapped | Refused) -> dict[str, Any]:
    columns = {f"{name}s": [getattr(s, name) for s in found.sources] for name in ("path", "stamp", "content")}
    return columns | {"numbered": found.numbered}


def fetcher(images: ImageSettings) -> Callable[[str], bytes]:
    """Fetches a URL within the limits that settings allow."""
    from ladder.images.fetch import FetchLimits, fetch

    limits = FetchLimits(bytes=images.fetch_bytes, seconds=images.fetch_seconds)
    return lambda url: fetch(url, limits)


class Workers:
    """Makes drafts of rows: at once as long as little time went by, then in processes."""

    def __init__(self, images: ImageSettings, policy: Policy, earlier: Earlier) -> None:
        self._earlier = earlier
        self.lanes = images.workers or len(os.sched_getaffinity(0))
        self._settings = images, policy, earlier
        self._maker = Maker(images, policy, earlier)
        self._left = _INLINE_SECONDS if self.lanes > 1 else float("inf")
        self._processes: list[_Process] = []
        self._room: TemporaryDirectory[str] | None = None
        self._done: deque[tuple[Any, Done]] = deque()

    def submit(
        self, tag: Any, lane: int, mapping: Mapping, rows: list[tuple[int, Row]], places: Iterable[Place]
    ) -> None:
        """Take rows of one pool, which have their images at `places`; those of the same `lane` go to the same process.
        Waits while that has enough to do."""
        task = Task(mapping, rows, *self._known(places))
        if not self._processes and self._left >= 0:
            began = time.monotonic()
            self._done.append((tag, self._maker(task)))
            self._left -= time.monotonic() - began
            return
        if not self._processes:
            self._start()
        process = self._processes[lane % self.lanes]
        while len(process) >= _AHEAD:
            self._done.append(process.next())
        process.submit(tag, task)

    def _start(self) -> None:
        self._room = TemporaryDirectory(prefix="ladder-")
        lock = str(Path(self._room.name) / "large-picture")
        self._processes = [_Process(*self._settings, lock) for _ in range(self.lanes)]

    def _known(self, places: Iterable[Place]) -> tuple[dict[str, tuple[int, bytes]], dict[bytes, Known]]:
        """What is known of the images at some places."""
        files: dict[str, tuple[int, bytes]] = {}
        seen: dict[bytes, Known] = {}
        for path in (path_of(place) for place in places if isinstance(place, str)):
            known = self._earlier.of_path(path) or self._maker.album.known_of(path)
            if known is not None:
                files[path], seen[known[1]] = known[:2], known[2]
        return files, seen

    def completed(self, all_: bool = False) -> Iterator[tuple[Any, Done]]:
        """(tag, what was made) of tasks that are done; of all, waiting for them, if asked."""
        for process in self._processes:
            while len(process) and (all_ or process.ready()):
                self._done.append(process.next())
        while self._done:
            yield self._done.popleft()

    def close(self) -> None:
        """End the processes, whatever they are at."""
        for process in self._processes:
            process.close()
        if self._room is not None:
            self._room.cleanup()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Process:
    """One process and the tasks before it, in order; started again where a task ended it."""

    def __init__(self, images: ImageSettings, policy: Policy, earlier: Earlier, lock: str) -> None:
        self._arguments = images, policy, earlier, lock
        self._executor = self._started()
        self._waiting: deque[tuple[Any, Task, Future[Done]]] = deque()

    def _started(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, get_context("spawn"), initializer=_begin, initargs=self._arguments)

    def _check_start(self) -> None:
        """Raises LadderError where the process ends before it has begun: that is no row's fault."""
        try:
            self._executor.submit(os.getpid).result()
        except BrokenProcessPool:
            raise LadderError(
                "a worker process cannot start: guard the program with `if __name__ == '__main__':`, "
                "or set images.workers to 1"
            ) from None

    def __len__(self) -> int:
        return len(self._waiting)

    def ready(self) -> bool:
        """Whether `next` would not wait."""
        return self._waiting[0][2].done()

    def submit(self, tag: Any, task: Task) -> None:
        """Take a task."""
        try:
            future = self._executor.submit(_work, task)
        except BrokenProcessPool as broken:
            future = Future()
            future.set_exception(broken)
        self._waiting.append((tag, task, future))

    def next(self) -> tuple[Any, Done]:
        """The oldest task, done."""
        tag, task, future = self._waiting.popleft()
        try:
            return tag, future.result()
        except BrokenProcessPool:
            return tag, self._row_by_row(task)

    def _row_by_row(self, task: Task) -> Done:
        """A task whose process died, with the rows that it dies at refused; the tasks after it are begun anew."""
        made = Done([], [], 0)
        self._restart()
        self._check_start()
        for number, row in task.rows:
            one = Task(task.mapping, [(number, row)], task.files, task.seen)
            try:
                done = self._executor.submit(_work, one).result()
            except BrokenProcessPool:
                self._restart()
                done = Done([_reject(task.mapping.died(number))._replace(lasting=False)], [], 0)
            made = Done(made.drafts + done.drafts, made.images + done.images, made.decoded + done.decoded)
        waiting, self._waiting = self._waiting, deque()
        for tag, later, _ in waiting:
            self.submit(tag, later)
        return made

    def _restart(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = self._started()

    def close(self) -> None:
        """End the process."""
        for _, _, future in self._waiting:
            future.cancel()
        for process in list((self._executor._processes or {}).values()):
            process.terminate()
        self._executor.shutdown(wait=False, cancel_futures=True)


_maker: Maker | None = None


def _begin(images: ImageSettings, policy: Policy, earlier: Earlier, lock: str) -> None:
    """What a process does first."""
    global _maker
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.filterwarnings("ignore", module="PIL")  # what becomes of a picture is told by its reject
    pixels.share_room(lock)
    _maker = Maker(images, policy, earlier)


def _end_with_parent() -> None:
    # A parent that is killed closes no queue: without this its processes would wait for tasks for ever.
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> Done:
    if _maker is None:
        raise RuntimeError("the process was not begun")
    return _maker(task)
