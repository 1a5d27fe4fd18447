"""Is the verifier fast, and does nothing stop it? Against math-verify, in one run and in turns.

    python benchmarks/verifier_speed.py [--data DIR] [--repeats 5] [--only PART ...]

"throughput" needs DIR with `pool_open`: a right and a wrong response to each gold, all and expressions alone; ours in
this process and through a pool with one worker. Caches are emptied before each turn. "hostile": expressions that would
never end, one by one (how long each takes) and among ordinary cases (whether those keep coming, and are right).
Writes benchmarks/results/verifier_speed.json.
"""

from __future__ import annotations

import argparse
import logging
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from results import write_result
from sympy.core.cache import clear_cache
from verifier_data import SOURCES, hide_paths, pool_items
from verifier_forms import Form, right_forms, wrong_forms
from verifier_hostile import HOSTILE, Trial, hostile, item_of, ordinary
from verifier_peers import Case, gold_text

from ladder.records import AnswerType, Item, Outcome
from ladder.verify import verify
from ladder.verify.pool import VerifierPool

PARTS = ("throughput", "hostile")
DEADLINE = 2.0  # seconds, the pool's default
SLACK = 0.5
ORDINARY = 2000
MATH_VERIFY, UNTIMED = "math-verify 0.9.0", "math-verify 0.9.0 without timeouts, each gold parsed once"
IN_PROCESS, POOLED = "in process", "pool of one worker"

Figures = dict[str, dict[str, Any]]
Turn = Callable[[Sequence[Case]], float]


# Throughput


def two_cases(items: Sequence[Item]) -> list[Case]:
    """A right and a wrong response to each gold, the ways of writing them taken in turn."""
    rng, cases = random.Random(0), []
    for i, item in enumerate(items):
        for forms in (right_forms(item), wrong_forms(item, [], rng) or [Form("", "The answer is none.")]):
            cases.append(Case(item, forms[i % len(forms)].response))
    return cases


def empty_caches() -> None:
    """What the verifiers and sympy remember of earlier turns."""
    clear_cache()
    for name, module in list(sys.modules.items()):
        if name.startswith(("ladder.verify", "math_verify")):
            for value in vars(module).values():
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def ours_in_process(cases: Sequence[Case]) -> float:
    """Seconds for all cases with `verify`."""
    start = time.perf_counter()
    for case in cases:
        verify(case.response, case.item)
    return time.perf_counter() - start


def ours_pooled(cases: Sequence[Case]) -> float:
    """Seconds of wall time for all cases through a started pool of one worker."""
    return _pooled(cases)[0]


def _pooled(cases: Sequence[Case]) -> tuple[float, float]:
    """Wall seconds, and processor seconds of this process and its workers."""
    with VerifierPool(workers=1, deadline=60.0) as pool:
        settle(pool)
        processor, start = processor_seconds(), time.perf_counter()
        for i, case in enumerate(cases):
            pool.submit(i, case.response, case.item)
        done = sum(1 for _ in pool.completed(block=True))
        assert done == len(cases), (done, len(cases))
        return time.perf_counter() - start, processor_seconds() - processor


def settle(pool: VerifierPool) -> None:
    """Wait until a worker is ready and has answered, and for its spare to have started."""
    pool.submit("ready", r"<answer>$\sqrt{18}$</answer>", item_of(r"3\sqrt{2}", AnswerType.EXPRESSION))
    for _ in pool.completed(block=True):
        pass
    quiet = 0
    while quiet < 3:  # a spare that imports takes a whole core
        before = processor_seconds()
        time.sleep(0.1)
        quiet = quiet + 1 if processor_seconds() - before < 0.03 else 0


def processor_seconds() -> float:
    """Processor time so far of this process and the processes that it has now."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def peer_default(cases: Sequence[Case]) -> float:
    """Seconds for math-verify as its documentation calls it."""
    from math_verify import parse
    from math_verify import verify as compare

    start = time.perf_counter()
    for case in cases:
        compare(parse(gold_text(case.item)), parse(case.response))
    return time.perf_counter() - start


def peer_untimed(cases: Sequence[Case]) -> float:
    """Seconds for math-verify at its fastest: no timeouts, and a gold is parsed once for all of its responses."""
    from math_verify import parse
    from math_verify import verify as compare

    golds: dict[str, Any] = {}
    start = time.perf_counter()
    for case in cases:
        text = gold_text(case.item)
        if text not in golds:
            golds[text] = parse(text, parsing_timeout=None)
        compare(golds[text], parse(case.response, parsing_timeout=None), timeout_seconds=None)
    return time.perf_counter() - start


TURNS: dict[str, Turn] = {
    IN_PROCESS: ours_in_process,
    MATH_VERIFY: peer_default,
    POOLED: ours_pooled,
    UNTIMED: peer_untimed,
}


def throughput(name: str, cases: Sequence[Case], repeats: int) -> Figures:
    """Cases per second of each verifier, and the median over the repeats of the ratios within one."""
    runs: dict[str, list[float]] = {verifier: [] for verifier in TURNS}
    for turn in TURNS.values():  # imports, and what sympy builds once
        turn(cases[:20])
    for _ in range(repeats):
        for verifier, run in TURNS.items():
            empty_caches()
            runs[verifier].append(len(cases) / run(cases))
    wall, processor = _pooled(cases)
    figures: Figures = {}
    for ours in (IN_PROCESS, POOLED):
        for peer in (MATH_VERIFY, UNTIMED):
            ratios = [a / b for a, b in zip(runs[ours], runs[peer], strict=True)]
            figures[f"{name}, {ours}, against {peer}"] = {
                "value": round(statistics.median(runs[ours])),
                "unit": "cases/s",
                "against": peer,
                "against_value": round(statistics.median(runs[peer])),
                "ratio": round(statistics.median(ratios), 2),
                "runs": [round(ratio, 2) for ratio in ratios],
                "cases": len(cases),
            }
    figures[f"{name}, {POOLED}, per core in use"] = {
        "value": round(len(cases) / processor),
        "unit": "cases per processor second",
        "wall": round(wall, 2),
    }
    return figures


def measure_throughput(data: Path, repeats: int) -> Figures:
    """All golds of the public pools, and the symbolic ones alone."""
    items = [item for source in SOURCES for item in pool_items(data, source)]
    symbolic = [item for item in items if item.answer_type is AnswerType.EXPRESSION]
    return throughput("mixed golds", two_cases(items), repeats) | throughput(
        "symbolic golds", two_cases(symbolic), repeats
    )


# Hostile input


def one_by_one(trials: Sequence[Trial]) -> Figures:
    """How long each takes from its start to its verdict: alone in a pool whose worker is ready."""
    seconds: list[tuple[float, str, str]] = []
    correct = []
    with VerifierPool(workers=1, deadline=DEADLINE) as pool:
        for trial in trials:
            settle(pool)
            start = time.perf_counter()
            pool.submit("hostile", trial.response, trial.item)
            ((_, verdict),) = pool.completed(block=True)
            seconds.append((time.perf_counter() - start, trial.kind, f"{verdict.outcome}: {verdict.reason}"))
            if verdict.outcome is Outcome.CORRECT:
                correct.append(trial.kind)
    late = [row for row in seconds if row[0] > DEADLINE + SLACK]
    slowest = sorted(seconds, reverse=True)[:10]
    return {
        "hostile, one by one: slowest": {
            "value": round(slowest[0][0], 3),
            "unit": "s",
            "against": "deadline + 0.5 s",
            "against_value": DEADLINE + SLACK,
            "table": [[round(s, 3), kind, how] for s, kind, how in slowest],
        },
        "hostile, one by one: later than that": {"value": len(late), "unit": "cases", "of": len(trials)},
        "hostile, one by one: outcomes": {
            "value": len(trials),
            "unit": "cases",
            "table": dict(Counter(how for _, _, how in seconds)),
        },
        "hostile, one by one: correct": {"value": len(correct), "unit": "cases", "table": correct},
    }


def among_others(trials: Sequence[Trial], workers: int) -> Figures:
    """Whether ordinary cases keep flowing, and are judged rightly, while hostile ones run."""
    rng = random.Random(1)
    cases = [*trials, *ordinary(ORDINARY, rng)]
    rng.shuffle(cases)
    arrivals, wrong, outcomes = [], [], Counter[str]()
    with VerifierPool(workers=workers, deadline=DEADLINE) as pool:
        settle(pool)
        start = time.perf_counter()
        for i, case in enumerate(cases):
            pool.submit(i, case.response, case.item)
        submitted = time.perf_counter() - start
        for i, verdict in pool.completed(block=True):
            case = cases[i]
            if case.right is None:
                outcomes[str(verdict.outcome)] += 1
                continue
            arrivals.append(time.perf_counter())
            if (verdict.outcome is Outcome.CORRECT) != case.right or verdict.outcome is Outcome.TIMEOUT:
                wrong.append([case.kind, case.item.gold, case.response, str(verdict.outcome), verdict.reason])
    gaps = [b - a for a, b in zip([start, *arrivals], arrivals, strict=False)]
    row = max(hostile_runs(cases))
    return {
        "hostile among ordinary: ordinary verdicts": {
            "value": len(arrivals),
            "unit": "verdicts",
            "of": ORDINARY,
        },
        "hostile among ordinary: ordinary verdicts not right": {
            "value": len(wrong),
            "unit": "verdicts",
            "table": wrong[:20],
        },
        "hostile among ordinary: longest gap without an ordinary verdict": {
            "value": round(max(gaps), 2),
            "unit": "s",
            "against": "deadline x most hostile ones in a row",
            "against_value": DEADLINE * row,
            "workers": workers,
        },
        "hostile among ordinary: all done": {
            "value": round(time.perf_counter() - start, 1),
            "unit": "s",
            "submitted_after": round(submitted, 1),
            "table": dict(outcomes),
        },
    }


def hostile_runs(cases: Sequence[Trial]) -> list[int]:
    """How many hostile cases follow each other, wherever some do; quick ones between them do not count."""
    runs, current = [0], 0
    for case in cases:
        if case.right is None:
            current += 1
        elif case.item.answer_type is AnswerType.EXPRESSION:
            runs.append(current)
            current = 0
    return [*runs, current]


def main() -> None:
    """Measure, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, help="directory with pool_open")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--hostile", type=int, default=HOSTILE, help="how many hostile expressions")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    logging.getLogger("math_verify").setLevel(
        logging.CRITICAL
    )  # it warns of every timeout, and of having none
    figures: Figures = {}
    if "throughput" in arguments.only:
        if arguments.data is None:
            print("not measured: throughput: no --data", file=sys.stderr)
        else:
            figures |= measure_throughput(arguments.data, arguments.repeats)
    if "hostile" in arguments.only:
        trials = list(hostile(arguments.hostile))
        figures |= one_by_one(trials) | among_others(trials, workers=2)
    if tuple(arguments.only) == PARTS and arguments.data:  # a part would replace the whole
        hide_paths(arguments.data)
        write_result("verifier_speed", figures)
    for name, figure in figures.items():
        ratio = f"ratio {figure['ratio']} {figure['runs']}" if "ratio" in figure else figure.get("table", "")
        print(f"{name}: {figure['value']} {figure['unit']} {ratio}")


if __name__ == "__main__":
    main()
