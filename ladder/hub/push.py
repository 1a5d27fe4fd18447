"""`ladder push`: one commit with the ladder as it is now, so that nobody sees half of one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ladder.cards import Licence, licences, refresh_card
from ladder.errors import BadInput
from ladder.hub.client import telling
from ladder.hub.layout import (
    appended,
    folder_size,
    import_number,
    is_derived,
    is_import,
    is_log,
    log_files,
    public_files,
)
from ladder.runtime import quiet
from ladder.settings import settings_of
from ladder.store import Store

What = Literal["tiers", "all"]


@dataclass(frozen=True)
class Pushed:
    """What was pushed, and where it is."""

    repo: str
    url: str  # of the commit
    what: What
    files: int
    bytes: int
    deleted: int  # files of an earlier push that the ladder no longer has
    private: bool
    licences: list[dict[str, str]]  # source, licence


def push(path: Path, repo: str, what: What = "tiers", private: bool = False, yes: bool = False) -> Pushed:
    """Push a ladder to the data set `repo` of the Hub, which is made where it is not there: card, report, tiers, splits
    and settings; with `all` the logs too.

    Raises BadInput where a source's licence keeps items from being handed on or is not known (unless `yes`), where the
    build did not come to an end, or where somebody else has pushed logs there since; LadderError where the Hub refuses.
    """
    quiet()
    store = Store.open(path)
    settings = settings_of(path)
    found = licences(settings)
    _ask(found, yes)
    with store.building("push"), telling(repo):
        refresh_card(store)
        names = public_files(store) + (log_files(store) if what == "all" else [])
        return _commit(store, repo, names, what, private, found)


def _ask(found: list[Licence], yes: bool) -> None:
    closed = [licence for licence in found if licence.closed]
    if closed and not yes:
        said = ", ".join(f"{licence.source} ({licence.said})" for licence in closed)
        raise BadInput(f"may the items of these sources be handed on: {said}? If so, say --yes")


def _commit(
    store: Store, repo: str, names: list[str], what: What, private: bool, found: list[Licence]
) -> Pushed:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi()
    api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
    info = api.dataset_info(repo)
    if private and not info.private:
        raise BadInput(f"{repo} is there already, and public: leave out --private, or choose another name")
    there = {sibling.rfilename for sibling in info.siblings or ()}
    if what == "tiers" and any(map(is_log, there)):
        raise BadInput(f"{repo} has the logs of an earlier push: give --what all, or choose another name")
    gone = _stale(store, repo, there - set(names))
    deleted = [CommitOperationDelete(name) for name in sorted(gone)]
    commit = api.create_commit(
        repo,
        [*deleted, *(CommitOperationAdd(name, store.path / name) for name in names)],
        repo_type="dataset",
        commit_message="Ladder: tiers, splits and card as they are now",
        parent_commit=info.sha,
    )
    return Pushed(
        repo=repo,
        url=str(commit.commit_url),
        what=what,
        files=len(names),
        bytes=folder_size(store.path, names),
        deleted=len(gone),
        private=bool(info.private),
        licences=[{"source": licence.source, "licence": licence.said} for licence in found],
    )


def _stale(store: Store, repo: str, others: set[str]) -> set[str]:
    """Of files that are there and not pushed now, those to delete: tiers, splits and imports that were, and parts of logs
    whose rows are in larger parts here. Raises BadInput where rows are there that this ladder has not: merged with ours
    under other names, they would count twice."""
    stale = {name for name in others if is_derived(name) or is_import(name)}
    for log in (store.images, *appended(store)):
        prefix = f"{log.folder.name}/"
        theirs = {name.removeprefix(prefix) for name in others if name.startswith(prefix)}
        stale |= {f"{prefix}{name}" for name in log.held(theirs)}
    numbers = [import_number(name) for name in others]
    unknown = [name for name in others - stale if is_log(name)]
    if unknown or max(numbers, default=0) > (store.import_manifest() or {"number": 0})["number"]:
        raise BadInput(
            f"{repo} has logs that are not in {store.path}: pull it, go on from there, or choose another name"
        )
    return stale


def told(pushed: Pushed) -> str:
    """The push for a terminal."""
    size = f"{pushed.bytes / 2**20:,.1f} MiB"
    gone = f", {pushed.deleted} of an earlier push deleted" if pushed.deleted else ""
    sources = ", ".join(f"{source['source']}: {source['licence']}" for source in pushed.licences)
    return f"{pushed.url}: {pushed.files} files, {size}{gone}\n  licences of the sources: {sources}"
