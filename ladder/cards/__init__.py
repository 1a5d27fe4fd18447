"""The ladder's data card `README.md`: Hub front matter with one config per tier and split, and where all of it comes from.

Everything is read from the ladder itself, so that whoever adds to it (a split, say) can have the card written again. The
template is `data_cards/card.md.j2`. Handing the ladder on is left to `ladder.hub`.
"""

from __future__ import annotations

from functools import lru_cache

from ladder.cards.body import Facts, facts_of_ladder
from ladder.cards.front import configs_of, front_matter
from ladder.cards.licences import LICENCE_FILE, Licence, licences
from ladder.cards.words import block, code, plain
from ladder.config import shipped
from ladder.digest import fingerprint
from ladder.errors import BadInput
from ladder.records import tier_features
from ladder.settings import BuildSettings, settings_of
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.parts import write_text

__all__ = ["Licence", "ladder_fingerprint", "licences", "refresh_card", "write_card"]


def refresh_card(store: Store) -> None:
    """Write the card of a built ladder again, from what lies in its directory now; raises BadInput where its build did
    not come to an end."""
    write_card(store, settings_of(store.path), ladder_fingerprint(store))


def write_card(store: Store, settings: BuildSettings, mark: str) -> None:
    """Write `README.md`, for the tier files that bear the ladder's fingerprint `mark`."""
    from huggingface_hub import DatasetCard

    manifest = store.import_manifest()
    if manifest is None:
        raise BadInput(f"{store.path} has no items yet: finish its build with `ladder build`")
    facts = facts_of_ladder(store, settings, manifest)
    front = front_matter(settings, configs_of(store, settings, mark), facts)
    card = DatasetCard.from_template(
        front,
        template_path=str(shipped("data_cards", "card", ".md.j2")),
        mark=mark,
        plain=plain,
        code=code,
        block=block,
        **facts,
    )
    write_text(str(card), store.path / "README.md")
    if front.get("license_link") == LICENCE_FILE:
        write_text(_licence_text(facts), store.path / LICENCE_FILE)


def ladder_fingerprint(store: Store) -> str:
    """Digest of all that tier files hold: another value in any of their columns gives other names. Images enter by their
    hash, which is of all pixels, and by how many of these are stored. A sum over rows, so that ten million of them are
    not collected in one place; JSON has numbers by their shortest text."""
    found = store.catalogue.stat() if store.catalogue.is_file() else None
    return _fingerprint(store, (found.st_ino, found.st_mtime_ns, found.st_size) if found else ())


@lru_cache(maxsize=1)
def _fingerprint(store: Store, of: tuple[int, ...]) -> str:
    """Computed once for the catalogue that has the identity `of`: of ten million rows it takes half a minute."""
    del of
    columns = ", ".join(f'"{name}"' for name in (*tier_features(), "pixels"))
    row = f"to_json(row({columns}))"
    with catalogue(store) as connection:
        found = connection.sql(
            f"SELECT count(*), sum((md5_number({row}) >> 64)::HUGEINT)::VARCHAR FROM ladder"
        ).fetchall()
    return fingerprint("ladder-3", found)[:12]


def _licence_text(facts: Facts) -> str:
    lines = [f"- {plain(s['source'])}: {plain(s['licence'].said)}" for s in facts["sources"]]
    return (
        "\n".join(
            ["The items keep the licences of their sources, as the build's settings state them:", "", *lines]
        )
        + "\n"
    )
