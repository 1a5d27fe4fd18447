"""The probe: the same questions with the same seeds every time, seeds that are nobody else's, missing is never wrong."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import helpers
import pytest
import torch
from helpers import HANGING
from hypothesis import given
from hypothesis import strategies as st

from ladder.encode import Encoder
from ladder.engines.base import Request, Sampling
from ladder.engines.replay import ReplayEngine
from ladder.engines.settings import ReplaySettings
from ladder.engines.transformers import TransformersEngine
from ladder.errors import BadInput
from ladder.models import load_model, model_fingerprint, resolve_model
from ladder.prompts import template
from ladder.records import AnswerType, Item
from ladder.sampling import Asked
from ladder.settings import settings_of
from ladder.splits import Split
from ladder.store import Store
from ladder.verify.pool import VerifierPool
from trainer.measure import Measurement, bootstrap, measures
from trainer.probe import Best, EvalSettings, Probe, chosen


class Bench:
    """The embedded model, ready to be asked."""

    def __init__(self, split: Split) -> None:
        built = settings_of(split.ladder)
        source = resolve_model(built.model.name)
        self.split, self.store = split, Store.open(split.ladder)
        encoder = Encoder(source, min_pixels=built.model.min_pixels, max_pixels=built.model.max_pixels)
        self.model = load_model(source, dtype="float32", device="cpu")
        self.engine = TransformersEngine(self.model, encoder, model_fingerprint(source))
        how = Sampling(1.0, built.sampling.max_tokens)
        self.asked = Asked(encoder, template(built.prompt.template), how, 7)

    def probe(self, **settings: object) -> Probe:
        return Probe.of(self.split, self.store, self.asked, EvalSettings(every=1, **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def bench(split: Split) -> Bench:
    return Bench(split)


@pytest.fixture(scope="module")
def verifier() -> Iterator[VerifierPool]:
    with VerifierPool() as pool:
        yield pool


def without_time(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("seconds/")}


# --- what is measured -------------------------------------------------------------------------------------------


def test_the_same_weights_give_the_same_metrics_and_others_give_others(
    bench: Bench, verifier: VerifierPool
) -> None:
    probe = bench.probe(samples=3)
    first, again = (without_time(probe.measure(bench.engine, verifier, done)) for done in (0, 20))
    assert first == again
    weights = {name: value.clone() for name, value in bench.model.state_dict().items()}
    with torch.no_grad():
        for parameter in bench.model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    try:
        assert without_time(probe.measure(bench.engine, verifier, 40)) != first
    finally:
        bench.model.load_state_dict(weights)


def test_metrics_are_those_of_the_measurement_with_intervals_by_tier(
    bench: Bench, verifier: VerifierPool, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = bench.probe(samples=3)
    metrics = probe.measure(bench.engine, verifier, 20)
    told = capsys.readouterr().err.splitlines()[-1]
    results = probe.measurement.take(bench.engine, verifier, "again")
    tiers = {row["tier"] for row in bench.split.probe}
    for part, of in [("all", results), *((f"tier:{t}", [r for r in results if r.tier == t]) for t in tiers)]:
        values = measures(of)
        interval = bootstrap(values["mean"])
        found = tuple(metrics[f"probe/{part}/{name}"] for name in ("mean", "low", "high"))
        assert found == (interval.mean, interval.low, interval.high)
        for name in ("greedy", "pass", "tokens"):
            assert metrics[f"probe/{part}/{name}"] == pytest.approx(values[name].mean())
    assert metrics["probe/left_out"] == 0
    assert metrics["seconds/probe"] > 0
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert told.startswith(f"  probe after 20 steps: mean@3 {metrics['probe/all/mean']:.3f} [")
    assert all(f"{tier} " in told for tier in tiers)


def test_without_greedy_there_is_none(bench: Bench, verifier: VerifierPool) -> None:
    probe = bench.probe(samples=2, greedy=False)
    assert probe.rollouts == 2 * len(bench.split.probe)
    metrics = probe.measure(bench.engine, verifier, 0)
    assert "probe/all/mean" in metrics
    assert not any("greedy" in name for name in metrics)


def test_the_probes_seeds_are_no_rollouts_of_training_or_ladder(bench: Bench) -> None:
    probe = bench.probe(samples=8)
    asked = list(probe.measurement._requests())
    seeds = [seed for request in asked for seed in request.seeds]
    assert min(seeds) >= 1 << 61 > (1 << 60) + (1 << 59)  # base_seed has 60 bits
    assert max(seeds) < 1 << 63
    sampled = [request for request in asked if request.sampling.temperature > 0]
    assert len({seed for request in sampled for seed in request.seeds}) == 8 * len(sampled)
    item = next(iter(probe.measurement.items.values()))
    training = bench.asked.request(bench.store, item, range(8))
    assert [seed - (1 << 61) for seed in sampled[0].seeds] == list(training.seeds)


def test_a_split_without_a_probe_is_told_before_the_run(bench: Bench) -> None:
    bare = replace(bench.split)
    bare.__dict__["probe"] = []
    with pytest.raises(BadInput, match=r"has no probe to evaluate on: set eval\.every=0"):
        Probe.of(bare, bench.store, bench.asked, EvalSettings(every=1))


# --- which items ------------------------------------------------------------------------------------------------


ROWS = st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["easy", "hard", "solved"])), max_size=30).map(
    lambda pairs: [{"id": f"i{n}", "tier": tier} for n, tier in dict(pairs).items()]
)


@given(ROWS, st.integers(1, 6))
def test_every_tier_gives_as_many_items_as_it_has_up_to_the_bound(
    rows: list[dict[str, str]], bound: int
) -> None:
    kept = chosen(rows, bound)
    for tier in ("easy", "hard", "solved"):
        there = sum(row["tier"] == tier for row in rows)
        assert sum(row["tier"] == tier for row in kept) == min(there, bound)
    assert kept == [row for row in rows if row in kept]
    more = chosen(rows, bound + 1)
    assert all(row in more for row in kept)
    assert chosen(rows + rows, None) == rows
    assert {row["id"] for row in chosen(rows[::-1], bound)} == {row["id"] for row in kept}


# --- when, and which is the best --------------------------------------------------------------------------------


def test_the_probe_is_due_at_the_start_at_each_nth_step_and_at_the_end() -> None:
    def due(settings: EvalSettings) -> list[int]:
        return [done for done in range(8) if settings.due(done, last=done == 7)]

    assert due(EvalSettings(every=3)) == [0, 3, 6, 7]
    assert due(EvalSettings(every=3, at_start=False)) == [3, 6, 7]
    assert due(EvalSettings()) == []


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, math.nan, None]), max_size=8), st.integers(0, 8))
def test_the_best_is_the_earliest_of_the_highest_however_often_the_run_is_resumed(
    means: list[float | None], cut: int
) -> None:
    best, said = Best(), []
    for done, mean in enumerate(means):
        if done == cut:
            state = json.loads(json.dumps(best.state_dict(), allow_nan=False))
            best = Best()
            best.load_state_dict(state)
        before, best = best, best.updated(done, {} if mean is None else {"probe/all/mean": mean})
        if best is not before:
            said.append(done)
    known = [(mean, done) for done, mean in enumerate(means) if mean is not None and not math.isnan(mean)]
    top = max((mean for mean, _ in known), default=None)
    assert best.done == next((done for mean, done in known if mean == top), None)
    assert said[-1:] == ([] if best.done is None else [best.done])


# --- what is missing --------------------------------------------------------------------------------------------


def item(name: str, gold: str, kind: AnswerType = AnswerType.INTEGER) -> Item:
    return Item(name, f"What is {name}?", (), (), gold, kind, "made", name)


def recorded(folder: Path, responses: dict[str, list[str]]) -> ReplayEngine:
    rows = [{"id": name, "response": text} for name, texts in responses.items() for text in texts]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ReplayEngine(ReplaySettings(root=str(folder), files=("rows.jsonl",)), "f")


def measured(split: Split, items: list[Item], samples: int, greedy: bool = False) -> Measurement:
    rows = [{"id": one.id, "tier": "hard", "subject": None} for one in items]
    asked = Asked(None, template("direct"), Sampling(1.0, 16), 0)
    return Measurement(Store.open(split.ladder), rows, {one.id: one for one in items}, asked, samples, greedy)


HUNG = "<answer>10</answer>"


@pytest.mark.usefixtures("hanging")
def test_what_is_judged_too_late_twice_is_left_out_and_told(
    split: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    items = [item("good", "10"), item("hung", HANGING, AnswerType.EXPRESSION)]
    engine = recorded(tmp_path, {"good": [HUNG, "<answer>9</answer>"], "hung": [HUNG, HUNG]})
    with VerifierPool(1, deadline=0.5) as pool:
        good, hung = measured(split, items, 2).take(engine, pool, "probe")
        assert pool.timeouts == 2  # equal cases share one, and it is sought again
    assert (good.n, good.correct) == (2, 1)
    assert (hung.n, hung.correct, hung.greedy, hung.tokens) == (0, 0, None, None)
    told = capsys.readouterr().err
    assert "2 responses were judged too late, twice, and are left out" in told
    assert "no sample of 1 items counts, and the means are without them: hung" in told
    assert bootstrap(measures([good, hung])["mean"]).mean == 0.5


def test_what_is_judged_too_late_once_counts(
    split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The worker hangs at the first case that it sees, and at no other."""
    seen = str(tmp_path / "seen")
    once = f"""
import pathlib
import ladder.verify.worker as worker
decided = worker.decided
def hang(found, reference, policy):
    if not pathlib.Path({seen!r}).exists():
        pathlib.Path({seen!r}).touch()
        while True:
            3 ** 10_000_000
    return decided(found, reference, policy)
worker.decided = hang
"""
    start = helpers.dispatcher._MAIN
    helpers.hang(monkeypatch.setattr)
    monkeypatch.setattr(
        "ladder.verify.dispatcher._MAIN", start.replace("main(float", f"exec({once!r}); main(float")
    )
    engine = recorded(tmp_path, {"slow": ["<answer>$\\frac{1}{2}$</answer>"]})
    with VerifierPool(1, deadline=5.0) as pool:
        (slow,) = measured(split, [item("slow", "0.5", AnswerType.EXPRESSION)], 1).take(engine, pool, "probe")
        assert pool.timeouts == 1
    assert (slow.n, slow.correct) == (1, 1)
    assert "too late" not in capsys.readouterr().err


def test_samples_that_no_engine_gives_are_left_out_and_told(
    split: Split, tmp_path: Path, verifier: VerifierPool, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = recorded(tmp_path, {"all": ["<answer>1</answer>"] * 3, "some": ["<answer>1</answer>"]})
    full, some, none = measured(split, [item(n, "1") for n in ("all", "some", "none")], 3).take(
        engine, verifier, "probe"
    )
    assert [(r.n, r.correct) for r in (full, some, none)] == [(3, 3), (1, 1), (0, 0)]
    told = capsys.readouterr().err
    assert "5 samples were not to be had, and are left out" in told
    assert "without them: none" in told


def test_a_gold_that_none_can_judge_has_no_result(
    split: Split, tmp_path: Path, verifier: VerifierPool
) -> None:
    engine = recorded(tmp_path, {"odd": ["<answer>1</answer>"]})
    (odd,) = measured(split, [item("odd", "\\frac{", AnswerType.EXPRESSION)], 1).take(
        engine, verifier, "probe"
    )
    assert (odd.n, odd.correct) == (0, 0)


def test_other_cases_of_the_same_verifier_are_not_taken(
    split: Split, tmp_path: Path, verifier: VerifierPool
) -> None:
    engine = recorded(tmp_path, {"one": ["<answer>1</answer>"]})
    verifier.submit("training's", "<answer>1</answer>", item("own", "1"))
    (one,) = measured(split, [item("one", "1")], 1).take(engine, verifier, "probe")
    assert (one.n, one.correct) == (1, 1)
    assert [tag for tag, _ in verifier.completed(block=True)] == ["training's"]


def test_a_truncated_response_is_wrong(bench: Bench, verifier: VerifierPool) -> None:
    short = replace(bench.asked, sampling=Sampling(1.0, 2))
    probe = Probe.of(bench.split, bench.store, short, EvalSettings(every=1, samples=2))
    for result in probe.measurement.take(bench.engine, verifier, "short"):
        assert (result.n, result.correct, result.greedy) == (2, 0, False)


def test_the_greedy_answer_is_asked_for_once_with_the_encoded_prompt_of_the_samples(bench: Bench) -> None:
    requests: list[Request] = list(bench.probe(samples=4).measurement._requests())
    for sampled, greedy in zip(requests[::2], requests[1::2], strict=True):
        assert (sampled.indices, greedy.indices) == ((0, 1, 2, 3), (0,))
        assert sampled.prompt is greedy.prompt
        assert sampled.id != greedy.id
        assert greedy.sampling.temperature == 0
