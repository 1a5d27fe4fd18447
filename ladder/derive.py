"""What a ladder derives from its logs, for whoever changed them: catalogue, tiers, data card, report, `build.toml`.

Nothing is done where nothing changed. What is in the logs, and who writes them, is left to the builds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ladder import __version__
from ladder.config import read_toml
from ladder.digest import fingerprint
from ladder.errors import BadInput
from ladder.publish import outputs_missing, publish
from ladder.settings import MAIN, BuildSettings, settings_of
from ladder.store import FORMAT_VERSION, MARKER, Store
from ladder.store.catalogue import build_catalogue, catalogue, facts_of
from ladder.store.parts import write_text
from ladder.store.sql import View


def derive(
    settings: BuildSettings, store: Store, views: Mapping[str, View], manifest: dict[str, Any]
) -> bool:
    """Derive everything, if what it derives from changed or a part of it is gone; True where it was done. `views` are
    those of the build's passes, by name."""
    state = fingerprint(
        "state-2",
        [
            settings.model_dump(mode="json"),
            {name: vars(view) for name, view in views.items()},
            manifest["number"],
            [p.name for log in (store.rollouts, store.verdicts, store.refusals) for p in log.paths()],
            __version__,
            FORMAT_VERSION,
        ],
    )
    if facts_of(store).get("state") == state and not outputs_missing(store):
        return False
    write_text(_build_toml(settings, views), store.path / MARKER)
    others = {name: view for name, view in views.items() if name != MAIN}
    facts = _facts(settings, views) | {"state": state}
    build_catalogue(store, views[MAIN], settings.tiers, facts, others, settings.sampling.k)
    publish(store, settings)
    return True


def _facts(settings: BuildSettings, views: Mapping[str, View]) -> dict[str, str]:
    view = views[MAIN]
    return {
        "name": settings.name,
        "model": settings.who,
        "model_fingerprint": view.model,
        "prompt": settings.prompt.template,
        "prompt_fingerprint": view.prompt,
        "sampling_fingerprint": view.sampling,
        "temperature": str(settings.sampling.temperature),
        "max_tokens": str(settings.sampling.max_tokens),
        "k": settings.sampling.told,
        "verifier": view.verifier,
        "ladder_version": __version__,
        "views": json.dumps({name: _samples(view) for name, view in views.items()}, sort_keys=True),
    }


def _samples(view: View) -> dict[str, Any]:
    """Which samples a view is of, whoever judged them."""
    return {key: value for key, value in vars(view).items() if key != "verifier"}


def derived_views(store: Store, settings: BuildSettings) -> dict[str, View] | None:
    """The views that the catalogue was derived from, by pass; None where there is no catalogue, or not one of these
    settings."""
    facts = facts_of(store)
    if "views" not in facts:
        return None
    stored = json.loads(facts["views"])
    views = {name: View(**view, verifier=facts["verifier"]) for name, view in stored.items()}
    expected = _facts(settings, views) | {"ladder_version": facts["ladder_version"], "views": facts["views"]}
    same = expected == {key: facts[key] for key in expected} and set(views) == {MAIN, *settings.passes}
    return views if same else None


def tier_counts(store: Store) -> dict[str, int]:
    """Items per tier, from hard to easy."""
    with catalogue(store) as connection:
        rows = connection.sql(
            "SELECT tier, count(*) FROM ladder GROUP BY 1 ORDER BY avg(p_mean), 1"
        ).fetchall()
    return dict(rows)


def derive_again(store: Store) -> bool:
    """Derive a ladder from its logs as `build.toml` says that it was derived, without its model or its pools: after the
    catalogue was deleted, or where the logs came from elsewhere. False where nothing was to be done; raises BadInput
    where the build did not come to an end, or was one of a Ladder that did not keep what this needs."""
    settings, manifest = settings_of(store.path), store.import_manifest()
    stored = read_toml(store.path / MARKER).get("views", {})
    try:
        views = TypeAdapter(dict[str, View]).validate_python(stored)
    except ValidationError as error:
        raise BadInput(f"{store.path / MARKER}: views: {error.errors()[0]['msg']}") from None
    if manifest is None or set(views) != {MAIN, *settings.passes}:
        raise BadInput(f"{store.path} cannot be derived from its logs alone: run `ladder build` again")
    return derive(settings, store, views, manifest)


def no_answer_share(store: Store) -> float:
    """Of the responses that were judged, those that hold no answer."""
    with catalogue(store) as connection:
        share = connection.sql("SELECT sum(no_answer) / greatest(sum(n), 1) FROM scores").fetchall()[0][0]
    return float(share or 0)


def _build_toml(settings: BuildSettings, views: Mapping[str, View]) -> str:
    import tomli_w

    head = {"format_version": FORMAT_VERSION, "ladder_version": __version__}
    build = settings.model_dump(mode="json", exclude_none=True)
    return tomli_w.dumps(head | {"views": {n: vars(v) for n, v in views.items()}, "build": build})
