"""Cases from outside, as `ladder verify` takes them: what their fields may hold, and one verdict for each, in order.

A case is a JSON object with `gold` and `response`, and perhaps `options`, `answer_type`, `tolerance` and `unit`; other
keys are ignored, for labelled suites carry labels. What cannot be a case is a ValueError or, in a file, a BadInput that
names its line; a gold that cannot be read is no such thing but a verdict.
"""

from __future__ import annotations

import json
import math
import os
import select
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from decimal import Decimal
from typing import Any

from ladder.errors import BadInput
from ladder.records import AnswerType, Item, Verdict
from ladder.verify.infer import answer_type, infer_type, settled_type
from ladder.verify.policy import parse_tolerance
from ladder.verify.pool import VerifierPool

_MAX_OPTIONS = 26  # one letter each
_AHEAD = 1024  # cases taken before the verdict on the first of them is there
_OF_SEVERAL = (AnswerType.OPTION, AnswerType.LIST, AnswerType.SEQUENCE, AnswerType.EXPRESSION)


def case(raw: Mapping[str, Any]) -> tuple[str, Item]:
    """The response and the item that a case's fields describe; raises ValueError."""
    missing = [name for name in ("gold", "response") if name not in raw]
    if missing:
        raise ValueError(f"no {missing[0]!r}")
    response = raw["response"]
    if isinstance(response, list | dict):
        raise ValueError("'response' is no text")
    return "" if response is None else _scalar(response, "response"), _item(raw)


def _item(raw: Mapping[str, Any]) -> Item:
    options = parse_options(raw.get("options"))
    kind = _kind(raw, options)
    tolerance = _tolerance(raw.get("tolerance"))
    unit = raw.get("unit")
    if unit is not None and not isinstance(unit, str):
        raise ValueError("'unit' is no text")
    gold = _gold(raw["gold"], kind)
    return Item(
        "", "", (), options, gold, kind, "", "", tolerance=tolerance, unit=(unit or "").strip() or None
    )


def _kind(raw: Mapping[str, Any], options: tuple[str, ...]) -> AnswerType:
    given, gold = raw.get("answer_type"), raw["gold"]
    kind = answer_type(str(given)) if given not in (None, "") else AnswerType.OPTION if options else None
    if isinstance(gold, list) and len(gold) > 1:
        return kind if kind in _OF_SEVERAL else AnswerType.LIST  # another type is that of the parts
    if isinstance(gold, bool):
        return kind or AnswerType.WORD
    text = _gold(gold, AnswerType.LIST)
    return infer_type(text, options) if kind is None else settled_type(kind, text, options)


def _gold(value: Any, kind: AnswerType) -> str:
    """A gold as text; the parts of a list may hold commas."""
    if not isinstance(value, list):
        return _scalar(value, "gold")
    apart = "; " if kind in (AnswerType.LIST, AnswerType.SEQUENCE) else ", "
    return apart.join(_scalar(part, "gold") for part in value)


def _scalar(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return format(Decimal(repr(value)), "f")
    raise ValueError(f"{name!r} is no text, number or list of them: {json.dumps(value)[:40]}")


def parse_options(value: Any) -> tuple[str, ...]:
    """Options from a list of texts, `{"A": text, ...}`, a JSON list as text, or "red|green"; raises ValueError."""
    if isinstance(value, str):
        value = _written_options(value.strip())
    if isinstance(value, dict):
        value = _lettered(value)
    if value is not None and not isinstance(value, list):
        raise ValueError("'options' is no list")
    options = tuple(_scalar(option, "options").strip() for option in value or ())
    if len(options) > _MAX_OPTIONS:
        raise ValueError(f"{len(options)} options: {_MAX_OPTIONS} letters there are")
    return options


def _written_options(text: str) -> Any:
    if not text.startswith(("[", "{")):
        return text.split("|") if text else []
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"'options' are no JSON: {error}") from None


def _lettered(options: Mapping[str, Any]) -> list[Any]:
    """Options by their letters; those without a text, at the end, are none."""
    given = {key.strip().strip("()."): text for key, text in options.items() if text not in (None, "")}
    for first in ("A", "a", "1", "0"):
        keys = [chr(ord(first) + i) if first.isalpha() else str(int(first) + i) for i in range(len(given))]
        if set(keys) == set(given):
            return [given[key] for key in keys]
    raise ValueError(f"'options' are not lettered A, B, C, ...: {', '.join(given)[:60]}")


def _tolerance(value: Any) -> str | None:
    if value is None or value == "":
        return None
    text = _scalar(value, "tolerance")
    parse_tolerance(text)
    return text


def judged(lines: Iterable[bytes | None], name: str, pool: VerifierPool) -> Iterator[Verdict]:
    """The verdicts on a file's lines, in their order; raises BadInput at the first that is no case, after the verdicts
    on those before. None among the lines says that the next may be long in coming; blank ones are no cases."""

    def cases() -> Iterator[tuple[str, Item] | None]:
        number = 0
        for line in lines:
            number += line is not None
            if line is None:
                yield None
            elif line.strip():
                yield _read(line, f"{name}, line {number}")

    return in_order(pool, cases())


def _read(line: bytes, where: str) -> tuple[str, Item]:
    try:
        raw = json.loads(line)
        if not isinstance(raw, dict):
            raise ValueError("no JSON object")
        return case(raw)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where}: {error}") from None


def in_order(pool: VerifierPool, cases: Iterable[tuple[str, Item] | None]) -> Iterator[Verdict]:
    """Verdicts in the order of the cases; at each None, all on those before are waited for. Where `cases` raises, the
    verdicts on those before come first."""
    waiting: deque[Future[Verdict]] = deque()

    def ready(ahead: int) -> Iterator[Verdict]:
        while waiting and (len(waiting) > ahead or waiting[0].done()):
            yield waiting.popleft().result()

    try:
        for one in cases:
            if one is not None:
                waiting.append(pool.future(*one))
            yield from ready(0 if one is None else _AHEAD)
    except BadInput:
        yield from ready(0)
        raise
    yield from ready(0)


def lines_of(descriptor: int) -> Iterator[bytes | None]:
    """The lines of an open file or pipe; None where a further one has not been written yet."""
    rest = b""
    while True:
        *lines, rest = rest.split(b"\n")
        yield from lines
        if not select.select([descriptor], [], [], 0)[0]:
            yield None
        chunk = os.read(descriptor, 1 << 16)
        if not chunk:
            break
        rest += chunk
    if rest:
        yield rest


def as_json(verdict: Verdict) -> dict[str, str]:
    """A verdict as `ladder verify` prints it."""
    return {"verdict": str(verdict.outcome), "extracted": verdict.extracted, "reason": verdict.reason}


def table(verdicts: Iterable[Verdict]) -> str:
    """Counts by outcome and, within it, by reason."""
    counts = Counter((str(v.outcome), v.reason) for v in verdicts)
    outcomes: Counter[str] = Counter()
    for (outcome, _), count in counts.items():
        outcomes[outcome] += count
    lines = [f"{sum(outcomes.values()):,} cases"]
    for outcome, count in outcomes.most_common():
        lines.append(f"  {outcome:<24} {count:>8,}")
        reasons = sorted((-n, reason) for (of, reason), n in counts.items() if of == outcome)
        lines += [f"    {reason:<22} {-n:>8,}" for n, reason in reasons]
    return "\n".join(lines)
