r"""Nothing stops the verifier: random texts as responses and as golds, of every answer type.

    python benchmarks/verifier_fuzz.py 20000 [--seed 0]

Random Unicode (surrogates, controls and all), LaTeX fragments, mutated labelled cases, long repetitions. What can be
judged in bounded time is judged in this process, twice, and must agree; the rest goes through a pool. Counts outcomes,
exceptions, cases without a verdict, crashed workers, and the slowest bounded case. Writes
benchmarks/results/verifier_fuzz.json; fails if anything raised, was lost or crashed.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from results import write_result
from verifier_agreement import CASES, read_labelled
from verifier_hostile import item_of
from verifier_peers import Case

from ladder.records import AnswerType, Item, Outcome, Verdict
from ladder.verify import DEFAULT, extract, infer_type, quick, verify
from ladder.verify.pool import VerifierPool

LONG = 70_000  # characters; above what is read of a response
_FRAGMENTS = (
    r"\frac{ \frac12 \sqrt{ \sqrt[3] { } ( ) [ ] \{ \} ^ _ ^{ _{ \left( \right) \boxed{ \text{ \mathrm{ $ $$ \( \) \[ \] & \\ % \% , ; : . "
    r"= < > \leq \geq \neq \pm \cdot \times \div / + - * ! ° ^\circ \pi \infty \cup \cap \in \to \sum_{i=1}^{n} \int_0^1 \lim_{x\to0} "
    r"\begin{pmatrix} \end{pmatrix} \begin{cases} \end{cases} \binom{5}{2} \log \sin \alpha x y z a b e i 0 1 2 3 7 10 100 3.14 1,234 "
    r"1e5 cm m^2 kg € ¥ # #### <answer> </answer> <think> </think> <observe> answer is The and or not none all A B C D (A) B. true no "
    r"one twenty half dozen pm 3:45 √ ² ½ ∠ ≤ 一 千 两 是 答案 √2 0.\overline{3} \mathbb{R} \emptyset \operatorname{lcm} \, \; ~ '"
)
_PIECES = (*_FRAGMENTS.split(" "), "\uff11\uff12")
_GOLDS = {
    AnswerType.OPTION: ("B", "blue", "A, C", "(D) 4 cm"),
    AnswerType.INTEGER: ("5", "-1,234", "twelve", "90°"),
    AnswerType.NUMBER: ("0.5", "3/4", "28%", "5 cm", "$12.50", r"\frac{3}{4}"),
    AnswerType.TIME: ("3:45 PM", "12:00"),
    AnswerType.WORD: ("red", "yes", "two dogs", "light_blue"),
    AnswerType.LIST: ("3, 4", "red and blue", "x = 1, x = 2"),
    AnswerType.SEQUENCE: ("1, 2, 3", "a; b"),
    AnswerType.EXPRESSION: (
        r"\sqrt{2}",
        "x^2+1",
        "(1,2]",
        "x=3",
        r"\{1,2\}",
        "2:3",
        "x<-2",
        r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
    ),
}
_OPTIONS = ("red", "blue", "3 cm", "4 cm", r"$\frac12$")


def seeds() -> list[Case]:
    """A right response to each gold above, and the labelled cases, where they are."""
    found = [
        Case(item_of(gold, kind, _OPTIONS if kind is AnswerType.OPTION else ()), f"<answer>{gold}</answer>")
        for kind, golds in _GOLDS.items()
        for gold in golds
    ]
    for path in sorted(CASES.glob("*.jsonl")):
        found += [labelled.case for labelled in read_labelled(path)]
    return found


def random_text(rng: random.Random) -> str:
    """Any code points, more often near each other."""
    base = rng.choice(
        [0, 0x20, 0x20, 0xA0, 0x300, 0x600, 0x2000, 0x4E00, 0xD800, 0xFF00, 0x1D400, 0x1F600, 0xE0000]
    )
    return "".join(chr(base + rng.randrange(128)) for _ in range(rng.randrange(1, 60)))


def random_latex(rng: random.Random) -> str:
    """Fragments of LaTeX and of answers, in any order."""
    joiner = rng.choice(["", " ", " ", "\n"])
    return joiner.join(rng.choice(_PIECES) for _ in range(rng.randrange(1, 25)))


def repeated(rng: random.Random) -> str:
    """One to three fragments again and again, up to beyond the length limit: what makes a bad pattern slow."""
    piece = "".join(rng.choice(_PIECES) + rng.choice(["", " "]) for _ in range(rng.randrange(1, 4)))
    return (piece * (LONG // max(1, len(piece))))[: rng.choice([300, 990, 5000, LONG])]


def mutated(text: str, rng: random.Random) -> str:
    """The text with a few characters taken out, doubled, swapped, replaced or fragments put in."""
    for _ in range(rng.randrange(1, 6)):
        i, j = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        text = rng.choice(
            (
                text[:i] + text[j:] if j - i < 9 else text,
                text[:j] + text[i : i + 12] + text[j:],
                text[:i] + rng.choice(_PIECES) + text[i:],
                text[:i] + random_text(rng)[:2] + text[i:],
                text[:i] + text[i + 1 : i + 2] + text[i : i + 1] + text[i + 2 :],
            )
        )
    return text


def wrapped(text: str, rng: random.Random) -> str:
    """The text as an answer, most often."""
    forms = (
        "{}",
        "<answer>{}</answer>",
        "<answer>{}</answer>",
        r"\boxed{{{}}}",
        "The answer is {}.",
        "<think>{}</think>{}",
    )
    return rng.choice(forms).format(text, text)


class Tally:
    """What happened."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.raised: list[list[str]] = []
        self.differing: list[list[str]] = []
        self.slowest: list[tuple[float, str, str]] = []

    def add(self, item: Item, verdict: Verdict) -> None:
        """Count a verdict; one that is none counts as raised."""
        if not isinstance(verdict, Verdict) or verdict.outcome not in set(Outcome):
            self.raised.append([repr(verdict), "", item.gold, ""])
        self.outcomes[f"{item.answer_type}: {verdict.outcome}"] += 1
        if verdict.outcome is Outcome.TIMEOUT:
            self.reasons[verdict.reason] += 1

    def failed(self, error: BaseException, item: Item, response: str) -> None:
        """Keep what raised, and where."""
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        self.raised.append([repr(error)[:200], place, item.gold[:200], response[:200]])

    def timed(self, seconds: float, item: Item, response: str) -> None:
        """Keep the ten slowest."""
        self.slowest = sorted([*self.slowest, (seconds, str(item.answer_type), response)], reverse=True)[:10]


def cases(number: int, rng: random.Random, tally: Tally) -> Iterator[Case]:
    """Random responses to golds of all types; a sixth of the golds are random too."""
    known = seeds()
    for i in range(number):
        item, response = rng.choice(known)
        draw = rng.random()
        if draw < 0.5:
            response = mutated(response, rng)
        elif draw < 0.75:
            response = wrapped(random_latex(rng), rng)
        elif draw < 0.985:
            response = wrapped(random_text(rng), rng)
        else:
            response = wrapped(repeated(rng), rng)
        yield Case(_changed(item, rng, tally) if i % 6 == 0 else item, response)


def _changed(item: Item, rng: random.Random, tally: Tally) -> Item:
    """Another gold, and at times another type, unit or tolerance: each may be nonsense."""
    gold = rng.choice((mutated(item.gold, rng), random_latex(rng), random_text(rng)))
    try:
        inferred = infer_type(gold, item.options)
    except Exception as error:
        tally.failed(error, replace(item, gold=gold), "")
        inferred = item.answer_type
    kind = rng.choice((item.answer_type, rng.choice(list(AnswerType)), inferred))
    unit = rng.choice((item.unit, item.unit, "cm", "$", random_text(rng)))
    tolerance = rng.choice((item.tolerance, item.tolerance, "5%", "±0.1", "2 decimals", random_text(rng)))
    return replace(item, gold=gold, answer_type=kind, unit=unit, tolerance=tolerance)


def bounded(item: Item, response: str, tally: Tally) -> Verdict | None:
    """The verdict of what is bounded in time, from both entrances; None where a worker has to tell."""
    start = time.perf_counter()
    try:
        verdict = quick(extract(response, DEFAULT), item.reference, DEFAULT)
        tally.timed(time.perf_counter() - start, item, response)
        if verdict is not None and verify(response, item) != verdict:
            tally.differing.append([item.gold, response[:200]])
    except BaseException as error:  # also a RecursionError, or whatever a library ends a program with
        if isinstance(error, KeyboardInterrupt):
            raise
        tally.failed(error, item, response)
        return Verdict(Outcome.TIMEOUT, "", "raised")
    return verdict


def fuzz(number: int, seed: int) -> dict[str, dict[str, Any]]:
    """Judge so many cases; the figures."""
    tally, sent = Tally(), {}
    with VerifierPool(workers=2) as pool:
        for i, (item, response) in enumerate(cases(number, random.Random(seed), tally)):
            verdict = bounded(item, response, tally)
            if verdict is not None:
                tally.add(item, verdict)
                continue
            try:
                pool.submit(i, response, item)
                sent[i] = item
            except Exception as error:
                tally.failed(error, item, response)
            for tag, verdict in pool.completed():
                tally.add(sent.pop(tag), verdict)
        for tag, verdict in pool.completed(block=True):
            tally.add(sent.pop(tag), verdict)
    return _figures(number, tally, len(sent))


def _figures(number: int, tally: Tally, lost: int) -> dict[str, dict[str, Any]]:
    seconds, kind, text = tally.slowest[0]
    return {
        "texts": {"value": number, "unit": "cases", "table": dict(sorted(tally.outcomes.items()))},
        "raised": {"value": len(tally.raised), "unit": "cases", "table": tally.raised[:20]},
        "without a verdict": {"value": lost, "unit": "cases"},
        "bounded in one way and not the same in another": {
            "value": len(tally.differing),
            "unit": "cases",
            "table": tally.differing[:20],
        },
        "crashed workers": {"value": tally.reasons["crash"], "unit": "cases"},
        "timeouts": {"value": sum(tally.reasons.values()), "unit": "cases", "table": dict(tally.reasons)},
        "slowest bounded case": {
            "value": round(seconds * 1000, 1),
            "unit": "ms",
            "table": [[round(s * 1000, 1), k, len(t), ascii(t[:80])] for s, k, t in tally.slowest],
            "type": kind,
            "characters": len(text),
        },
    }


def main() -> None:
    """Fuzz, write, fail on what must not be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("number", type=int, nargs="?", default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    figures = fuzz(arguments.number, arguments.seed)
    write_result("verifier_fuzz", figures)
    for name, figure in figures.items():
        print(f"{name}: {figure['value']} {figure['unit']} {figure.get('table', '')!a}")
    never = (
        "raised",
        "without a verdict",
        "bounded in one way and not the same in another",
        "crashed workers",
    )
    if any(figures[name]["value"] for name in never):
        sys.exit("the verifier raised, lost or crashed: see above")


if __name__ == "__main__":
    main()
