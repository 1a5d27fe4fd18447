"""The ladder's report: one self-contained HTML page of counts. Everything from a pool is escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ladder.outcomes import CAVEATS, TIER_HEADS, movement, notes, tier_row
from ladder.settings import BuildSettings, settings_of
from ladder.store import Store
from ladder.store.catalogue import catalogue
from ladder.store.parts import write_text

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ name }}: ladder report</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: .5rem 0 1.5rem } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd }
td { text-align: right } td:first-child, th:first-child { text-align: left }
.bar { background: #4a7db5; height: .8rem; display: inline-block }
svg text { font: 13px system-ui, sans-serif; fill: #222 }
.note { color: #555; font-size: 13px; max-width: 48rem }
</style></head><body>
<h1>{{ name }}</h1>
<p>{{ "{:,}".format(items) }} items scored by <code>{{ build.model }}</code>, {{ build.k }} samples each{% if sampled %} at
temperature {{ build.temperature }}{% endif %}.</p>
{% for table in tables %}
<h2>{{ table.title }}</h2>
<table><tr>{% for head in table.heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in table.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}
<td><span class="bar" style="width: {{ (240 * row[1] / table.most)|round|int }}px"></span></td></tr>{% endfor %}
</table>
{% endfor %}
{% if moved %}
<h2>How difficulty moved in training</h2>
<p>Run <code>{{ moved.run }}</code>, the latest of {{ moved.runs|length }} that wrote outcomes.</p>
<table><tr>{% for head in moved.heads %}<th>{{ head }}</th>{% endfor %}</tr>
{% for row in moved.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</table>
<svg width="560" height="{{ 24 * moved.lines|length + 52 }}" role="img" aria-label="pass rates of each tier, when scored and in training">
{% for tick in range(0, 5) %}<line x1="{{ 100 + 110 * tick }}" x2="{{ 100 + 110 * tick }}" y1="8" y2="{{ 24 * moved.lines|length + 8 }}"
stroke="#ddd"/><text x="{{ 100 + 110 * tick }}" y="{{ 24 * moved.lines|length + 24 }}" text-anchor="middle">{{ tick / 4 }}</text>{% endfor %}
{% for line in moved.lines %}{% set y = 24 * loop.index0 + 20 %}<text x="0" y="{{ y + 4 }}">{{ line.tier }}</text>
<line x1="{{ line.scored }}" x2="{{ line.last }}" y1="{{ y }}" y2="{{ y }}" stroke="#4a7db5" stroke-width="2"/>
<circle cx="{{ line.scored }}" cy="{{ y }}" r="5" fill="#fff" stroke="#4a7db5" stroke-width="2"/>
<circle cx="{{ line.last }}" cy="{{ y }}" r="5" fill="#4a7db5"/>{% endfor %}
<text x="100" y="{{ 24 * moved.lines|length + 46 }}">pass rate of the items met in the last third: hollow when scored, full in training</text>
</svg>
{% for note in moved.notes %}<p class="note">{{ note }}.</p>
{% endfor %}{% endif %}
</body></html>
"""

_TABLES = (
    (
        "Tiers",
        ("tier", "items", "pass rate", "tokens"),
        "SELECT tier, count(*), round(avg(pass_rate), 3), round(avg(complexity), 1) FROM ladder "
        "GROUP BY 1 ORDER BY avg(p_mean), 1",
    ),
    (
        "Levels (correct of 8)",
        ("level", "items", "tokens"),
        "SELECT level, count(*), round(avg(complexity), 1) FROM ladder GROUP BY 1 ORDER BY 1",
    ),
    (
        "Subjects",
        ("subject", "items", "pass rate", "tokens"),
        "SELECT coalesce(subject, '-'), count(*), round(avg(pass_rate), 3), round(avg(complexity), 1) FROM ladder "
        "GROUP BY 1 ORDER BY 3 DESC, 1 LIMIT 50",
    ),
    (
        "Passes",
        ("pass", "items", "pass rate", "tokens"),
        "SELECT pass, count(*), round(avg(pass_rate), 3), round(avg(complexity), 1) FROM passes GROUP BY 1 ORDER BY 1",
    ),
    (
        "Golds that another model contradicts",
        ("pass", "items"),
        "SELECT pass, count(*) FROM doubts GROUP BY 1 ORDER BY 1",
    ),
    (
        "Rejects",
        ("reason", "items"),
        "SELECT stage || '.' || reason, count(*) FROM rejects GROUP BY 1 ORDER BY 2 DESC, 1",
    ),
    (
        "Flags",
        ("flag", "items"),
        "SELECT unnest(flags) AS flag, count(*) FROM items GROUP BY 1 ORDER BY 2 DESC, 1",
    ),
    (
        "Samples",
        ("outcome", "samples"),
        "UNPIVOT (SELECT sum(correct) AS correct, sum(n - correct - no_answer) AS wrong, sum(no_answer) AS no_answer, "
        "sum(timeouts) AS timeouts, sum(unverifiable) AS unverifiable, sum(truncated) AS truncated FROM scores) "
        "ON COLUMNS(*) INTO NAME outcome VALUE samples",
    ),
)


def write_report(store: Store, settings: BuildSettings) -> None:
    """Write `report.html`."""
    from jinja2 import Environment

    with catalogue(store) as connection:
        build = dict(connection.sql("SELECT key, value FROM build").fetchall())
        tables = [_table(title, heads, connection.sql(sql).fetchall()) for title, heads, sql in _TABLES]
    items = sum(row[1] for row in tables[0]["rows"])
    page = Environment(autoescape=True).from_string(_PAGE)
    text = page.render(
        name=settings.name,
        build=build,
        items=items,
        sampled=settings.engine != "replay",
        tables=[t for t in tables if t["rows"]],
        moved=_moved(store),
    )
    write_text(text, store.path / "report.html")


def refresh_report(store: Store) -> Path:
    """Write the report of a built ladder again, from what lies in its directory now; raises BadInput where its build did
    not come to an end."""
    write_report(store, settings_of(store.path))
    return store.path / "report.html"


def _moved(store: Store) -> dict[str, Any] | None:
    """The section on what training saw, where a run has written outcomes: its table, and the ends of each tier's line."""
    found = movement(store)
    if found is None:
        return None
    ends = [(tier.tier, tier.last.scored, tier.last.rate) for tier in found.tiers]
    return {
        "run": found.run,
        "runs": found.runs,
        "heads": TIER_HEADS,
        "rows": [tier_row(tier) for tier in found.tiers],
        "lines": [
            {"tier": tier, "scored": _across(scored), "last": _across(rate)}
            for tier, scored, rate in ends
            if scored is not None and rate is not None
        ],
        "notes": [*CAVEATS, *notes(found)],
    }


def _across(rate: float) -> int:
    """Where a pass rate lies on the plot, in pixels."""
    return round(100 + 440 * rate)


def _table(title: str, heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    return {
        "title": title,
        "heads": heads,
        "rows": rows,
        "most": max((row[1] or 0 for row in rows), default=1) or 1,
    }
