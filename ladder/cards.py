"""The ladder's data card: Hub front matter (one config per tier) and provenance, from a template in `data_cards/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ladder.config import shipped
from ladder.settings import BuildSettings
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.parts import write_text

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


def write_card(
    store: Store,
    settings: BuildSettings,
    manifest: dict[str, Any],
    files: Mapping[str, Sequence[Path]],
    mark: str,
) -> None:
    """Write `README.md`; `files` are the tier files that the card's configs name, `mark` the ladder's fingerprint."""
    from huggingface_hub import DatasetCard, DatasetCardData

    front = DatasetCardData(
        license=settings.licence,
        language=list(settings.card.languages),
        task_categories=["visual-question-answering"],
        size_categories=[_size_category(manifest["counts"]["items"])],
        tags=["ladder", "curriculum", "reinforcement-learning", "pass-rate"],
        pretty_name=settings.card.title or settings.name,
        configs=[
            {"config_name": tier, "data_files": [str(p.relative_to(store.path)) for p in paths]}
            for tier, paths in files.items()
        ],
    )
    template = shipped("data_cards", "card", ".md.j2")
    card = DatasetCard.from_template(
        front, template_path=str(template), **_facts(store, settings, manifest, mark)
    )
    write_text(str(card), store.path / "README.md")


def _facts(store: Store, settings: BuildSettings, manifest: dict[str, Any], mark: str) -> dict[str, Any]:
    with catalogue(store) as connection:
        build = dict(connection.sql("SELECT key, value FROM build").fetchall())
        prior = connection.sql("SELECT a, b FROM priors").fetchall()[0]
        rejects = connection.sql("SELECT reason, count(*) FROM rejects GROUP BY 1").fetchall()
        tiers = connection.sql(
            "SELECT tier, count(*), avg(pass_rate), avg(complexity), avg(tier_probability) "
            "FROM ladder GROUP BY 1 ORDER BY avg(p_mean), 1"
        ).fetchall()
        passes = connection.sql(
            "SELECT pass, count(*), coalesce(avg(pass_rate), 0) FROM passes GROUP BY 1 ORDER BY 1"
        ).fetchall()
    return {
        "passes": [_pass(settings, *row) for row in passes],
        "settings": settings,
        "build": build,
        "prior": prior,
        "tiers": tiers,
        "rows": manifest["rows"],
        "items": sum(count for _, count, *_ in tiers),
        "rejects": dict(rejects),
        "flags": manifest["counts"]["flags"],
        "sources": manifest["counts"]["sources"],
        "mark": mark,
    }


def _pass(settings: BuildSettings, name: str, items: int, rate: float) -> dict[str, Any]:
    asked = settings.asking(name)
    told = {"model": asked.who, "template": asked.prompt.template, "k": asked.sampling.told}
    return {"name": name, "count": items, "rate": rate} | told


def _size_category(items: int) -> str:
    return next((name for bound, name in _SIZES if items < bound), "n>1M")
