"""Builds on a disk that is full or cannot be written: exit 1, one line, nothing torn, and room is all that is wanted.

The disk is a real small one where this process may mount one, as root or in a namespace of its own. Elsewhere a limit on
the size of files stands for the full one, and permissions, or for root a file in the way, for the other.
"""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import ROOT, digits_overrides

sys.path.append(str(ROOT / "benchmarks"))

from killed_builds import Running, differing, look

_MOUNT = 'mount -t tmpfs none "$0" && echo mounted && exec cat'


class SmallDisk:
    """A file system in memory, in a mount namespace that ends with this object's process."""

    refusals = ("No space left on device", "Read-only file system")

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self._place = place
        self._holder, own = self._mounted(place)
        self._enter = ["nsenter", *own, "-t", str(self._holder.pid), "--"]
        #: The ladder, as a build sees it and as it is seen from outside.
        self.ladder, self.outside = place / "ladder", Path(f"/proc/{self._holder.pid}/root{place}/ladder")

    @staticmethod
    def _mounted(place: Path) -> tuple[subprocess.Popen[str], list[str]]:
        """What holds the namespace, and how to enter it; raises OSError where nothing can be mounted."""
        for unshare, enter in (("-m", ["-m"]), ("-rm", ["--preserve-credentials", "-U", "-m"])):
            holder = subprocess.Popen(
                ["unshare", unshare, "sh", "-c", _MOUNT, str(place)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            if holder.stdout and holder.stdout.readline() == "mounted\n":
                return holder, enter
            holder.communicate()
        raise OSError("nothing can be mounted here")

    def _remount(self, option: str) -> None:
        subprocess.run([*self._enter, "mount", "-o", f"remount,{option}", str(self._place)], check=True)

    def prefix(self, room: int | None = None) -> list[str]:
        """How a build is started that has room for so many bytes."""
        status = os.statvfs(self.outside.parent)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        self._remount(f"size={2**30 if room is None else used + room}")
        return self._enter

    def protect(self, read_only: bool) -> None:
        """Let nobody write, or all."""
        self._remount("ro" if read_only else "rw")

    def close(self) -> None:
        """Unmount."""
        self._holder.communicate()


class LimitedFiles:
    """A directory, where builds may write files up to a size. What they say and trace is limited too."""

    refusals = ("File too large", "Permission denied", "File exists", "Not a directory")

    def __init__(self, place: Path) -> None:
        place.mkdir()
        self.ladder = self.outside = place / "ladder"

    def prefix(self, room: int | None = None) -> list[str]:
        """How a build is started each of whose files has room for so many bytes."""
        limit = "unlimited" if room is None else max(room // 8, 2**12) // 512
        return ["sh", "-c", f'ulimit -f {limit} && exec "$0" "$@"']

    def protect(self, read_only: bool) -> None:
        """Let nobody write, or all."""
        rollouts, aside = self.ladder / "rollouts", self.ladder.with_name("aside")
        if os.geteuid() == 0 and read_only:
            rollouts.rename(aside)
            rollouts.touch()
        elif os.geteuid() == 0:
            rollouts.unlink()
            aside.rename(rollouts)
        else:
            for path in [self.ladder, *self.ladder.rglob("*")]:
                mode = path.stat().st_mode
                path.chmod(mode & ~0o222 if read_only else mode | stat.S_IWUSR)

    def close(self) -> None:
        """Nothing is held."""


Disk = SmallDisk | LimitedFiles


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """The first kind that works here."""
    try:
        found: Disk = SmallDisk(tmp_path / "disk")
    except OSError:
        found = LimitedFiles(tmp_path / "files")
    try:
        yield found
    finally:
        found.close()


class Builder:
    """Builds the small ladder of the other tests on a disk."""

    def __init__(self, disk: Disk, pool: Path, traces: Path) -> None:
        self._disk, self._pool, self._traces = disk, pool, traces
        self._number = 0

    def __call__(self, room: int | None = None) -> Running:
        self._number += 1
        set_ = [f"--set={override}" for override in digits_overrides(self._pool, transformers__slots=8)]
        arguments = ["digits", "--out", str(self._disk.ladder), *set_]
        run = Running(self._traces / f"{self._number}.trace", arguments, self._disk.prefix(room))
        run.end()
        return run


@pytest.fixture
def build_on(disk: Disk, digits_pool: Path, tmp_path: Path) -> Builder:
    return Builder(disk, digits_pool, tmp_path)


def refusal(run: Running, disk: Disk) -> str:
    """The one line that tells of a disk that refuses."""
    assert run.process.returncode == 1, run.said
    assert "Traceback" not in run.said
    line = run.said.splitlines()[-1]
    assert line.startswith("ladder: cannot write ")
    assert str(disk.ladder) in line
    assert any(why in line for why in disk.refusals), line
    return line


def put(built: Path, disk: Disk, *without: str) -> None:
    """Copy a ladder to the disk, as if it had not come so far."""
    shutil.copytree(built, disk.outside)
    for name in without:
        path = disk.outside / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def taken_off(disk: Disk, folder: Path) -> Path:
    """A copy of the ladder where DuckDB finds it."""
    return Path(shutil.copytree(disk.outside, folder / "taken-off"))


SAMPLED = ("rollouts", "verdicts", "runs")
DERIVED = ("tiers", "ladder.duckdb", "README.md", "report.html")


@pytest.mark.parametrize(
    ("stage", "room"), [("import", 2**15), ("sampling", 2**15), ("derive", 0), ("derive", 2**19)]
)
def test_on_a_full_disk_nothing_is_torn_and_with_room_the_build_goes_on(
    stage: str, room: int, disk: Disk, build_on: Builder, built: Path, tmp_path: Path
) -> None:
    disk.prefix()
    if stage != "import":
        put(built, disk, *DERIVED, *(SAMPLED if stage == "sampling" else ()))
    run = build_on(room)
    refusal(run, disk)
    assert run.stage() in (stage, "flush")
    before = look(disk.outside)
    assert (before.torn, before.temporary) == ((), ())
    again = build_on()
    assert again.process.returncode == 0, again.said
    after = look(disk.outside)
    assert after.stored == look(built).stored
    assert again.moments().keys() == after.stored - before.stored
    assert differing(taken_off(disk, tmp_path), built) == []


def test_on_a_disk_that_cannot_be_written_a_build_says_so_and_harms_nothing(
    disk: Disk, build_on: Builder, built: Path, tmp_path: Path
) -> None:
    disk.prefix()
    put(built, disk, *DERIVED, *SAMPLED)
    (disk.outside / "rollouts").mkdir()
    files = {path: path.stat().st_mtime_ns for path in disk.outside.rglob("*.parquet")}
    disk.protect(read_only=True)
    run = build_on()
    refusal(run, disk)
    disk.protect(read_only=False)
    assert (
        files.items() <= {path: path.stat().st_mtime_ns for path in disk.outside.rglob("*.parquet")}.items()
    )
    assert look(disk.outside).temporary == ()
    assert build_on().process.returncode == 0
    assert differing(taken_off(disk, tmp_path), built) == []
