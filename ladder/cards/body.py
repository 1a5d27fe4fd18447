"""What the card's text says of a ladder: counts from its catalogue, settings, prompts, splits. Its words are the template's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ladder.cards.front import SplitFiles, splits_of
from ladder.cards.licences import licences
from ladder.prompts import TEMPLATES
from ladder.settings import MAIN, BuildSettings
from ladder.store import Store
from ladder.store.catalogue import catalogue

if TYPE_CHECKING:
    import duckdb

Facts = dict[str, Any]

_TIERS = """
SELECT tier, count(*), avg(pass_rate), avg(complexity), avg(tier_probability), avg(p_mean) FROM ladder
GROUP BY 1 ORDER BY avg(p_mean), 1
"""
_COUNTS = """
SELECT count(*) AS items, coalesce(bool_or(len(images) > 0), false) AS with_images,
    coalesce(bool_or(len(options) > 0), false) AS with_options, coalesce(sum(l.n), 0) AS samples,
    coalesce(sum(l.truncated) / nullif(sum(s.samples), 0), 0) AS truncated, coalesce(sum(l.timeouts), 0) AS timeouts
FROM ladder l JOIN scores s USING (id)
"""
_NO_RATE = "SELECT count(*) FROM items WHERE id NOT IN (SELECT id FROM ladder)"
_PASSES = "SELECT pass, count(*), coalesce(avg(pass_rate), 0) FROM passes GROUP BY 1 ORDER BY 1"
_REJECTS = "SELECT stage || '.' || reason, count(*) FROM rejects GROUP BY 1 ORDER BY 2 DESC, 1"
_FLAGS = "SELECT unnest(flags), count(*) FROM items GROUP BY 1 ORDER BY 2 DESC, 1"
_OVERLAPS = (
    "SELECT detail, count(*) FROM rejects WHERE reason = 'benchmark_overlap' GROUP BY 1 ORDER BY 2 DESC, 1"
)
_ENGINES = "SELECT pass, string_agg(DISTINCT engine, ', ' ORDER BY engine) FROM runs GROUP BY 1"


def facts_of_ladder(store: Store, settings: BuildSettings, manifest: dict[str, Any]) -> Facts:
    """All that the template names, but for the front matter and the ladder's fingerprint."""
    with catalogue(store) as connection:
        counted = connection.sql(_COUNTS)
        counts = dict(zip(counted.columns, counted.fetchall()[0], strict=True))
        build = dict(connection.sql("SELECT key, value FROM build").fetchall())
        return counts | {
            "settings": settings,
            "build": build,
            "cuts": _cuts(settings),
            "prior": connection.sql("SELECT a, b FROM priors").fetchall()[0],
            "tiers": connection.sql(_TIERS).fetchall(),
            "unscored": connection.sql(_NO_RATE).fetchall()[0][0],
            "passes": _passes(connection, settings),
            "rejects": connection.sql(_REJECTS).fetchall(),
            "flags": connection.sql(_FLAGS).fetchall(),
            "benchmarks": _benchmarks(connection, manifest),
            "sources": _sources(settings, manifest),
            "splits": [_split(split, build) for split in splits_of(store)],
        }


def _cuts(settings: BuildSettings) -> str:
    """The settings of the tiers, in words."""
    said = settings.tiers.model_dump(mode="json", exclude_none=True)
    told = {
        name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in said.items()
    }
    return "; ".join(f"{name} {value}" for name, value in told.items())


def _sources(settings: BuildSettings, manifest: dict[str, Any]) -> list[Facts]:
    counts = manifest["counts"]["sources"]
    return [
        counts.get(name, {}) | {"source": licence.source, "licence": licence, "where": _where(pool)}
        for (name, pool), licence in zip(settings.sources.items(), licences(settings), strict=True)
    ]


def _where(pool: Any) -> str:
    """What the Hub calls a source, and which revision of it; a path says nothing to anybody else."""
    if pool.dataset is None or not pool.dataset.name:
        return ""
    return f"{pool.dataset.name}@{pool.dataset.revision}" if pool.dataset.revision else str(pool.dataset.name)


def _benchmarks(connection: duckdb.DuckDBPyConnection, manifest: dict[str, Any]) -> list[Facts]:
    """The benchmarks that the audit looked into, and how many items of each were left out."""
    found = {str(detail).removeprefix("of "): count for detail, count in connection.sql(_OVERLAPS).fetchall()}
    rows = {name: counts["rows"] for name, counts in manifest["counts"].get("benchmarks", {}).items()}
    return [
        {"name": n, "rows": rows.get(n), "overlaps": found.get(n, 0)} for n in dict.fromkeys([*rows, *found])
    ]


def _passes(connection: duckdb.DuckDBPyConnection, settings: BuildSettings) -> list[Facts]:
    """How items were asked, the main pass first: by whom, with what words, how often, and what came of it."""
    rates = {name: (items, rate) for name, items, rate in connection.sql(_PASSES).fetchall()}
    engines = dict(connection.sql(_ENGINES).fetchall())
    passes = []
    for name in (MAIN, *settings.passes):
        how = settings.asking(name)
        asked, rate = rates.get(name, (None, None))
        told = {
            "name": name,
            "how": how,
            "engine": engines.get(name, how.engine),
            "asked": asked,
            "rate": rate,
        }
        passes.append(told | {"template": TEMPLATES.get(how.prompt.template)})
    return passes


def _split(split: SplitFiles, build: dict[str, str]) -> Facts:
    config = split.config
    return {
        "name": split.name,
        "config": config.name if config else "",
        "strategy": split.facts.get("strategy", ""),
        "seed": split.facts.get("seed", ""),
        "fingerprint": split.facts.get("fingerprint", ""),
        "counts": split.counts,
        "current": split.facts.get("ladder", {}).get("state") == build.get("state"),
    }
