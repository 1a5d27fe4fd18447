r"""Is the verifier right? Ours and math-verify, on the same cases in one run.

    python benchmarks/verifier_agreement.py [--data DIR] [--disagreements FILE] [--only PART ...]

Parts: "labelled" and "adversarial" (tests/verify/cases: right and wrong by their author's label), "rollouts" (real
answers against the upstream graders' verdicts) and "golds" (responses made from golds, of the embedded pool and of
public ones). What needs DIR, which holds `pool_open` and `rollouts/open`, is left out without it. Whatever ours gets
wrong goes to FILE, a JSON line each, for a person to read. Writes benchmarks/results/verifier_agreement.json.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from results import write_result
from verifier_data import (
    SOURCES,
    Answered,
    digits_items,
    hide_paths,
    mathv_answers,
    pool_items,
    tabmwp_answers,
)
from verifier_forms import gold_key, right_forms, wrong_forms
from verifier_peers import OURS, PLAIN, STRING, VERIFIERS, Case, judge, math_verify

from ladder.records import AnswerType, Item, Outcome, Verdict
from ladder.verify import DEFAULT, Policy, answer_type, infer_type

CASES = Path(__file__).parents[1] / "tests" / "verify" / "cases"
PARTS = ("labelled", "adversarial", "rollouts", "golds")
OTHER_GOLDS = 3  # of other items, as wrong answers to each

Figures = dict[str, dict[str, Any]]
Report = Callable[[dict[str, Any]], None]


class Labelled(NamedTuple):
    """A case with its author's label."""

    case: Case
    policy: Policy
    right: bool
    kind: str


def wilson(hits: int, total: int) -> list[float]:
    """The 95% score interval of a share (Wilson 1927)."""
    if not total:
        return [0.0, 1.0]
    z, share = 1.959964, hits / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    return [round(max(0.0, centre - half), 5), round(min(1.0, centre + half), 5)]


def share(hits: int, total: int, **more: Any) -> dict[str, Any]:
    """A figure: a share with its counts and interval."""
    value = round(hits / total, 5) if total else None
    return {
        "value": value,
        "unit": "share",
        "hits": hits,
        "of": total,
        "interval": wilson(hits, total),
    } | more


# Cases with an author's label


def read_labelled(path: Path) -> list[Labelled]:
    """The cases of a file, one JSON object per line; `right` is false where it is not given."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [_labelled(path.stem, i, row) for i, row in enumerate(rows)]


def _labelled(source: str, number: int, row: dict[str, Any]) -> Labelled:
    options = tuple(row.get("options") or ())
    kind = answer_type(row["answer_type"]) if row.get("answer_type") else infer_type(row["gold"], options)
    name = str(number)
    extra: dict[str, Any] = {"tolerance": row.get("tolerance"), "unit": row.get("unit")}
    item = Item(f"{source}:{name}", "", (), options, row["gold"], kind, source, name, **extra)
    policy = Policy(**row["policy"]) if row.get("policy") else DEFAULT
    return Labelled(Case(item, row["response"]), policy, bool(row.get("right")), row.get("kind", str(kind)))


def judge_labelled(cases: Sequence[Labelled]) -> list[Verdict]:
    """Our verdicts, each under its own policy."""
    verdicts: dict[int, Verdict] = {}
    for policy in dict.fromkeys(case.policy for case in cases):
        places = [i for i, case in enumerate(cases) if case.policy == policy]
        found = judge([cases[i].case for i in places], policy)
        verdicts |= dict(zip(places, found, strict=True))
    return [verdicts[i] for i in range(len(cases))]


def everyone(cases: Sequence[Case], verdicts: Sequence[Verdict]) -> dict[str, list[bool]]:
    """Which cases each verifier takes for right."""
    return {
        OURS: [verdict.outcome is Outcome.CORRECT for verdict in verdicts],
        PLAIN: [math_verify(case) for case in cases],
        STRING: [math_verify(case, strings=True) for case in cases],
    }


def measure_labelled(part: str, report: Report) -> Figures:
    """Right, false positives and false negatives of the three verifiers, per kind and together."""
    path = CASES / f"{part}.jsonl"
    if not path.exists():
        skip(part, f"{path.name} is not there")
        return {}
    cases = read_labelled(path)
    verdicts = judge_labelled(cases)
    said = everyone([case.case for case in cases], verdicts)
    for case, verdict, ours in zip(cases, verdicts, said[OURS], strict=True):
        if ours != case.right:
            report(described(part, case.case, verdict) | {"right": case.right, "kind": case.kind})
    return _labelled_figures(part, cases, said)


def _labelled_figures(part: str, cases: Sequence[Labelled], said: dict[str, list[bool]]) -> Figures:
    counts: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for i, case in enumerate(cases):
        for name in VERIFIERS:
            yes = said[name][i]
            for kind in (case.kind.partition("/")[0], "all"):
                counts[kind][name].update(
                    n=1,
                    right=yes == case.right,
                    false_positives=yes and not case.right,
                    false_negatives=case.right and not yes,
                )
    total, negatives = len(cases), sum(not case.right for case in cases)
    figures: Figures = {}
    for measure, of in (
        ("right", total),
        ("false_positives", negatives),
        ("false_negatives", total - negatives),
    ):
        if of:
            hits = {name: counts["all"][name][measure] for name in VERIFIERS}
            figures[f"{part}: {measure}"] = against(hits, of)
    figures[f"{part}: by kind"] = {
        "value": total,
        "unit": "cases",
        "table": {kind: {name: dict(row) for name, row in rows.items()} for kind, rows in counts.items()},
    }
    return figures


def against(hits: Mapping[str, int], of: int) -> dict[str, Any]:
    """A figure that sets ours against math-verify, both configurations with their intervals."""
    peers = {name: share(hits[name], of) for name in (PLAIN, STRING)}
    return share(hits[OURS], of, against=PLAIN, against_value=peers[PLAIN]["value"], peers=peers)


# Real answers


def measure_rollouts(data: Path, report: Report) -> Figures:
    """Agreement with upstream's verdicts, per data set and per model."""
    figures: Figures = {}
    agreed, answered = Counter[str](), 0
    for name, answers in (("mathv", list(mathv_answers(data))), ("tabmwp", list(tabmwp_answers(data)))):
        cases = [Case(answer.item, answer.response) for answer in answers]
        verdicts = judge(cases)
        said = everyone(cases, verdicts)
        figures |= _rollout_figures(name, answers, verdicts, said)
        answered += len(answers)
        for i, (answer, verdict) in enumerate(zip(answers, verdicts, strict=True)):
            agreed.update({verifier: said[verifier][i] == answer.upstream for verifier in VERIFIERS})
            if said[OURS][i] != answer.upstream:
                others: dict[str, Any] = {verifier: said[verifier][i] for verifier in (PLAIN, STRING)}
                others |= {"upstream": answer.upstream, "upstream_answer": answer.upstream_answer}
                whose = {"model": answer.model}
                report(described(f"rollouts {name}", cases[i], verdict) | whose | others)
    figures["rollouts: agreement with upstream"] = against(agreed, answered)
    return figures


def _rollout_figures(
    name: str, answers: Sequence[Answered], verdicts: Sequence[Verdict], said: dict[str, list[bool]]
) -> Figures:
    agreed: dict[str, Counter[str]] = defaultdict(Counter)
    for i, answer in enumerate(answers):
        for group in ("all", answer.model):
            agreed[group].update({v: said[v][i] == answer.upstream for v in VERIFIERS} | {"n": 1})
    usable = [i for i, verdict in enumerate(verdicts) if verdict.outcome is not Outcome.UNVERIFIABLE]
    hits = sum(said[OURS][i] == answers[i].upstream for i in usable)
    ours_only = sum(said[OURS][i] and not answer.upstream for i, answer in enumerate(answers))
    return {
        f"rollouts {name}: agreement with upstream": against(agreed["all"], len(answers)),
        f"rollouts {name}: agreement, verifiable golds": share(hits, len(usable)),
        f"rollouts {name}: correct for ours, wrong upstream": {"value": ours_only, "unit": "answers"},
        f"rollouts {name}: outcomes": {
            "value": len(answers),
            "unit": "answers",
            "table": dict(Counter(str(verdict.outcome) for verdict in verdicts)),
        },
        f"rollouts {name}: agreement by model": {
            "value": len(agreed) - 1,
            "unit": "models",
            "table": {model: dict(row) for model, row in agreed.items()},
        },
    }


# Responses made from golds


class Made(NamedTuple):
    """A response made from an item's gold, right or wrong by construction."""

    case: Case
    kind: str
    right: bool


def make_cases(items: Sequence[Item], seed: int = 0) -> list[Made]:
    """For every different gold the right forms, wrong ones, and golds of other items of its type."""
    rng = random.Random(seed)
    items = list({item.reference: item for item in items}.values())
    by_type: dict[AnswerType, list[Item]] = defaultdict(list)
    for item in items:
        by_type[item.answer_type].append(item)
    made = []
    for item in items:
        others = [] if item.options else _other_golds(item, by_type[item.answer_type], rng)
        made += [Made(Case(item, form.response), form.kind, True) for form in right_forms(item)]
        made += [Made(Case(item, f.response), f.kind, False) for f in wrong_forms(item, others, rng)]
    return [case for case in made if case.right or not _may_be_equal(case)]


def _other_golds(item: Item, others: Sequence[Item], rng: random.Random) -> list[str]:
    chosen = rng.sample(others, min(len(others), 4 * OTHER_GOLDS))
    found = [other.gold for other in chosen if gold_key(other) != gold_key(item)]
    return list(dict.fromkeys(found))[:OTHER_GOLDS]


def _may_be_equal(made: Made) -> bool:
    """Whether two expressions that are spelled differently could be the same, for math-verify."""
    return made.case.item.answer_type is AnswerType.EXPRESSION and math_verify(made.case)


def measure_golds(name: str, items: Sequence[Item], report: Report) -> Figures:
    """How many of the right forms are correct and of the wrong ones are not, per way of making them."""
    made = make_cases(items)
    verdicts = judge([case.case for case in made])
    unverifiable = {
        case.case.item.reference: verdict.reason
        for case, verdict in zip(made, verdicts, strict=True)
        if verdict.outcome is Outcome.UNVERIFIABLE
    }
    counts: dict[bool, dict[str, Counter[str]]] = {True: defaultdict(Counter), False: defaultdict(Counter)}
    for case, verdict in zip(made, verdicts, strict=True):
        if case.case.item.reference in unverifiable:
            continue
        fine = (verdict.outcome is Outcome.CORRECT) == case.right
        for kind in ("all", case.kind):
            counts[case.right][kind].update(n=1, fine=fine)
        if not fine:
            report(described(f"golds {name}", case.case, verdict) | {"right": case.right, "kind": case.kind})
    for reference, reason in unverifiable.items():
        report({"part": f"golds {name}", "unverifiable": reason, "gold": reference.gold})
    forms = Counter(case.case.item.reference for case in made if case.right)
    golds = {"value": len(forms), "unit": "golds", "fewest_right_forms": min(forms.values())}
    unusable = {"value": len(unverifiable), "unit": "golds", "table": dict(Counter(unverifiable.values()))}
    return {
        f"golds {name}": golds,
        f"golds {name}: unverifiable": unusable,
        f"golds {name}: right forms that are correct": _made_figure(counts[True]),
        f"golds {name}: wrong forms that are not": _made_figure(counts[False]),
    }


def _made_figure(counts: dict[str, Counter[str]]) -> dict[str, Any]:
    table = {kind: [row["fine"], row["n"]] for kind, row in sorted(counts.items())}
    return share(counts["all"]["fine"], counts["all"]["n"], table=table)


def summed(figures: Figures, suffix: str) -> dict[str, Any]:
    """The share over all pools."""
    rows = [figure for name, figure in figures.items() if name.endswith(suffix)]
    return share(sum(row["hits"] for row in rows), sum(row["of"] for row in rows))


# All of it


def described(part: str, case: Case, verdict: Verdict) -> dict[str, Any]:
    """What a person needs in order to judge a disagreement."""
    item = case.item
    return {
        "part": part,
        "item": item.id,
        "gold": item.gold,
        "options": list(item.options),
        "answer_type": str(item.answer_type),
        "unit": item.unit,
        "response": case.response[-600:],
        "outcome": str(verdict.outcome),
        "extracted": verdict.extracted,
        "reason": verdict.reason,
    }


def skip(part: str, why: str) -> None:
    """Say on stderr what was not measured."""
    print(f"not measured: {part}: {why}", file=sys.stderr)


def measure(parts: Iterable[str], data: Path | None, report: Report) -> Figures:
    """All figures of these parts."""
    figures: Figures = {}
    for part in parts:
        if part in ("labelled", "adversarial"):
            figures |= measure_labelled(part, report)
        elif part == "golds":
            figures |= measure_golds("digits", digits_items(), report)
            if data is None:
                skip("golds of public pools", "no --data")
            for source in SOURCES if data else ():
                assert data is not None
                figures |= measure_golds(source, pool_items(data, source), report)
            for suffix in ("right forms that are correct", "wrong forms that are not"):
                figures[f"golds of all pools: {suffix}"] = summed(figures, suffix)
        elif data is None:
            skip(part, "no --data")
        else:
            figures |= measure_rollouts(data, report)
    return figures


def main() -> None:
    """Measure, write, print the shares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="directory with pool_open and rollouts/open")
    parser.add_argument("--disagreements", type=Path, help="JSONL file for what ours gets wrong")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    found: list[dict[str, Any]] = []
    figures = measure(arguments.only, arguments.data, found.append)
    if arguments.disagreements:
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found)
        arguments.disagreements.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
    if tuple(arguments.only) == PARTS and arguments.data:  # a part would replace the whole
        hide_paths(arguments.data, arguments.disagreements)
        write_result("verifier_agreement", figures)
    for name, figure in figures.items():
        peers = {peer: row["value"] for peer, row in figure.get("peers", {}).items()}
        print(f"{name}: {figure['value']} {figure.get('hits', '')}/{figure.get('of', '')} {peers or ''}")


if __name__ == "__main__":
    main()
