"""`samples.html`: one self-contained page of the newest sample rollouts. Everything from pool and model is escaped; images
stand inside, small; what is longer than a screen is cut, and whole in the Parquet files."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ladder.store.parts import write_text
from trainer.track.samples import webp

STEPS = 10  # on the page
ROWS = 32  # of one step
IMAGES = 4  # of one item
CHARACTERS = 4000  # of one text

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ name }}: samples</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222 }
article { border-top: 1px solid #ddd; padding: .8rem 0; overflow: hidden }
img { float: right; margin: 0 0 .5rem .8rem; border: 1px solid #ddd }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f6f6; padding: .5rem .8rem; margin: .5rem 0; clear: right }
.correct { color: #1a7f37 } .wrong { color: #b42318 } small { color: #666 }
</style></head><body>
<h1>{{ name }}</h1>
{% for step in steps %}<h2>Step {{ step.step }}</h2>
{% for row in step.rows %}<article>
{% for image in row.pictures %}<img alt="" src="data:image/webp;base64,{{ image }}">{% endfor %}
<p>{{ row.question }}</p>
<p>Gold <b>{{ row.gold }}</b> &middot; <b class="{{ 'correct' if row.correct else 'wrong' }}">{{ row.outcome }}</b>
{%- if row.truncated %}, truncated{% endif %} &middot; advantage {{ "%+.3f"|format(row.advantage) }}<br>
<small>{{ row.tier }} &middot; {{ row.tokens }} tokens
{%- for name, value in row.rewards %} &middot; {{ name }} {{ "%.3f"|format(value) }}{% endfor %} &middot; {{ row.item_id }}</small></p>
<pre>{{ row.response }}</pre>
</article>{% endfor %}
{% endfor %}</body></html>
"""


def write_page(files: Sequence[Path], page: Path) -> None:
    """Write the page of the newest of some files of samples (oldest first), newest first."""
    from jinja2 import Environment

    steps = [_step(path, path.stat().st_mtime_ns) for path in reversed(files[-STEPS:])]
    text = Environment(autoescape=True).from_string(_PAGE).render(name=page.parent.name, steps=steps)
    write_text(text, page)


@lru_cache(maxsize=2 * STEPS)
def _step(path: Path, changed: int) -> dict[str, Any]:  # noqa: ARG001
    """What the page shows of a file, which last `changed` then."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        rows = file.read().slice(0, ROWS).to_pylist()
    return {"step": rows[0]["step"] if rows else "", "rows": list(_shown(rows))}


def _shown(rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows as the page has them; the picture of an item stands at its first response alone."""
    seen: set[str] = set()
    for row in rows:
        images = [] if row["item_id"] in seen else row["images"][:IMAGES]
        seen.add(row["item_id"])
        rewards = [(k.removeprefix("reward_"), v) for k, v in row.items() if k.startswith("reward_")]
        yield dict(row) | {
            "question": _cut(row["question"]),
            "response": _cut(row["response"]),
            "gold": _cut(row["gold"]),
            "pictures": [base64.b64encode(webp(image["bytes"])).decode() for image in images],
            "rewards": [(name, value) for name, value in rewards if value is not None],
        }


def _cut(text: str) -> str:
    more = len(text) - CHARACTERS
    return text if more <= 0 else f"{text[:CHARACTERS]} ... ({more:,} more characters in the Parquet file)"
