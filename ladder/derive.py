"""What a ladder derives from its logs, for whoever changed them: catalogue, tiers, data card, report, `build.toml`.

Nothing is done where nothing changed. What is in the logs, and who writes them, is left to the builds.
"""

from __future__ import annotations

from typing import Any

from ladder import __version__
from ladder.digest import fingerprint
from ladder.publish import outputs_missing, publish
from ladder.settings import BuildSettings
from ladder.store import FORMAT_VERSION, MARKER, Store
from ladder.store.catalogue import View, build_catalogue, catalogue, facts_of
from ladder.store.parts import write_text


def derive(settings: BuildSettings, store: Store, view: View, manifest: dict[str, Any]) -> bool:
    """Derive everything, if what it derives from changed or a part of it is gone; True where it was done."""
    state = fingerprint(
        "state-1",
        [
            settings.model_dump(mode="json"),
            vars(view),
            manifest["number"],
            [p.name for log in (store.rollouts, store.verdicts) for p in log.paths()],
            __version__,
        ],
    )
    if facts_of(store).get("state") == state and not outputs_missing(store):
        return False
    write_text(_build_toml(settings), store.path / MARKER)
    build_catalogue(store, view, settings.tiers, _facts(settings, view) | {"state": state})
    publish(store, settings, manifest)
    return True


def _facts(settings: BuildSettings, view: View) -> dict[str, str]:
    return {
        "name": settings.name,
        "model": settings.model.name,
        "model_fingerprint": view.model,
        "prompt": settings.prompt.template,
        "prompt_fingerprint": view.prompt,
        "sampling_fingerprint": view.sampling,
        "temperature": str(settings.sampling.temperature),
        "max_tokens": str(settings.sampling.max_tokens),
        "k": str(view.k),
        "verifier": view.verifier,
        "ladder_version": __version__,
    }


def derived_view(store: Store, settings: BuildSettings) -> View | None:
    """The view that the catalogue was derived from; None where there is no catalogue, or not one of these settings."""
    facts = facts_of(store)
    if not facts:
        return None
    view = View(
        facts["prompt_fingerprint"],
        facts["model_fingerprint"],
        facts["sampling_fingerprint"],
        facts["verifier"],
        int(facts["k"]),
    )
    expected = _facts(settings, view) | {
        "k": str(settings.sampling.k),
        "ladder_version": facts["ladder_version"],
    }
    return view if expected == {key: facts[key] for key in expected} else None


def tier_counts(store: Store) -> dict[str, int]:
    """Items per tier, from hard to easy."""
    with catalogue(store) as connection:
        rows = connection.sql(
            "SELECT tier, count(*) FROM ladder GROUP BY 1 ORDER BY avg(p_mean), 1"
        ).fetchall()
    return dict(rows)


def _build_toml(settings: BuildSettings) -> str:
    import tomli_w

    head = {"format_version": FORMAT_VERSION, "ladder_version": __version__}
    return tomli_w.dumps(head | {"build": settings.model_dump(mode="json", exclude_none=True)})
