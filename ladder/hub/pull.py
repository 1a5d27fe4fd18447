"""`ladder pull`: a ladder of the Hub in a directory of its own, checked; derived anew from its logs where it has them."""

from __future__ import annotations

import glob
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ladder.derive import derive_again
from ladder.errors import BadInput, LadderError
from ladder.hub.checks import check_files, check_ladder, check_names
from ladder.hub.client import telling
from ladder.hub.layout import is_log, is_public
from ladder.runtime import quiet
from ladder.store import MARKER, Store


@dataclass(frozen=True)
class Pulled:
    """What was pulled, and what it can be used for."""

    path: str
    repo: str
    revision: str  # the commit
    files: int
    bytes: int
    left: int  # files of the repository that were not taken
    logs: bool  # whether the logs came along: else there is only what `load_dataset` reads
    same: (
        bool | None
    )  # whether the tiers that were derived here are those that were published; None: there were no logs


def pull(repo: str, place: Path | None = None, revision: str | None = None) -> Pulled:
    """Pull the ladder `repo` into `place` (its name, where none is given), which must not hold anything.

    Nothing of it is trusted: see `ladder.hub.checks`. Raises BadInput where it is no sound ladder, and leaves nothing;
    LadderError where the Hub fails: the same command goes on with what was downloaded.
    """
    quiet()
    given = place or Path(repo.rsplit("/", 1)[-1])
    place = Path(os.path.abspath(given))  # noqa: PTH100 (links stay as they are)
    if place.exists() and place.samefile("."):
        raise BadInput("the current directory cannot be replaced; name a directory that is new or empty")
    if place.is_symlink() or place.is_file() or (place.is_dir() and any(place.iterdir())):
        raise BadInput(f"{given} holds something; name a directory that is new or empty")
    part = place.with_name(f".{place.name}.pull")
    with telling(repo):
        got = _download(repo, revision, part)
    try:
        check_files(part, got.wanted)
        check_ladder(part, got.logs)
        if got.logs:
            _derive(part)
    except BadInput as error:
        shutil.rmtree(part, ignore_errors=True)
        raise BadInput(f"{repo} was not taken: {error}") from None
    tiers = {str(path.relative_to(part)) for path in part.glob("tiers/*/*.parquet")}
    _put(part, place)
    return Pulled(
        path=str(given),
        repo=repo,
        revision=got.commit,
        files=len(got.wanted),
        bytes=got.bytes,
        left=got.left,
        logs=got.logs,
        same=got.tiers == tiers if got.logs else None,
    )


@dataclass(frozen=True)
class _Download:
    commit: str
    wanted: set[str]
    tiers: set[str]  # as they were published, whether or not they were downloaded
    logs: bool
    left: int
    bytes: int


def _download(repo: str, revision: str | None, part: Path) -> _Download:
    """Download what is of a ladder into `part`; where there are logs, the tiers are left: they are derived from those."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    api = HfApi()
    commit = api.dataset_info(repo, revision=revision).sha or ""
    tree = api.list_repo_tree(repo, repo_type="dataset", revision=commit, recursive=True)
    sizes = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
    check_names(repo, sizes)
    if MARKER not in sizes:
        raise BadInput(f"{repo} is no ladder: it has no {MARKER}")
    logs = any(map(is_log, sizes))
    tiers = {name for name in sizes if name.startswith("tiers/") and is_public(name)}
    wanted = {name for name in sizes if is_public(name) or is_log(name)} - (tiers if logs else set())
    patterns = [glob.escape(name) for name in sorted(wanted)]
    api.snapshot_download(repo, repo_type="dataset", revision=commit, local_dir=part, allow_patterns=patterns)
    shutil.rmtree(part / ".cache", ignore_errors=True)
    size = sum(sizes[name] for name in wanted)
    return _Download(commit, wanted, tiers, logs, left=len(sizes) - len(wanted | tiers), bytes=size)


def _derive(part: Path) -> None:
    import duckdb

    try:
        derive_again(Store.open(part))
    except (duckdb.Error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        why = next(iter(str(error).splitlines()), "")
        raise BadInput(f"its logs cannot be read: {type(error).__name__}: {why}") from None


def _put(part: Path, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part.replace(place)
    except OSError as error:
        raise LadderError(f"cannot move {part} to {place}: {error.strerror or error}") from None


def told(pulled: Pulled) -> str:
    """The pull for a terminal."""
    size = f"{pulled.bytes / 2**20:,.1f} MiB"
    lines = [f"{pulled.path}: {pulled.files} files, {size}, from {pulled.repo} at {pulled.revision[:12]}"]
    if pulled.left:
        lines.append(f"  {pulled.left} files were not taken: they are no part of a ladder, or are made here")
    if not pulled.logs:
        lines.append(
            "  tiers and splits only, for `load_dataset`: with `push --what all` the rest would be there"
        )
    elif pulled.same:
        lines.append(
            "  catalogue, tiers, card and report were made from its logs; the tiers are those published"
        )
    else:
        lines.append(
            "  catalogue, tiers, card and report were made from its logs; the published tiers differ from them"
        )
    return "\n".join(lines)
