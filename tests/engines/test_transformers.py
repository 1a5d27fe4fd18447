"""The embedded engine: exact log-probs, and samples that depend on their seed alone."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import families
import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from ladder.encode import Encoder, Prompt, image_inputs
from ladder.engines.base import Completion, Failed, Refused, Request, Sampling, drive
from ladder.engines.sampling import distribution, draw, uniforms
from ladder.engines.transformers import TransformersEngine
from ladder.errors import BadInput, LadderError
from ladder.models import load_model, resolve_model
from ladder.pools.digits import draw as draw_canvas

SHIPPED = resolve_model("digits")
ENCODER = Encoder(SHIPPED, min_pixels=196, max_pixels=3136)
SAMPLING = Sampling(temperature=1.0, max_tokens=24)
QUESTIONS = [
    ("How many digits are there?", [3, 4]),
    ("Add up all the digits.", [9, 8, 7, 6]),
    ("What is 1 + 1?", []),
    ("Read the digits from left to right.", [5]),
    ("Is the last digit odd or even?", [1, 2, 3]),
]


@pytest.fixture(scope="module")
def model() -> Any:
    return load_model(SHIPPED, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def wild() -> Any:
    """A model of random weights: it says anything."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(SHIPPED)).float().eval()


def request(number: int, n: int = 4, sampling: Sampling = SAMPLING, first: int = 0) -> Request:
    import io
    import random

    text, digits = QUESTIONS[number]
    images, parts = [], [{"type": "text", "text": text + "\nObserve, think, answer."}]
    if digits:
        buffer = io.BytesIO()
        draw_canvas(digits, random.Random(number), probe=True).image.save(buffer, "PNG")
        images, parts = [("h", buffer.getvalue())], [{"type": "image"}, *parts]
    indices = tuple(range(first, first + n))
    seeds = tuple((number + 1) * 2**20 + j for j in indices)
    prompt = Prompt([{"role": "user", "content": parts}], images)
    return Request(str(number), prompt, sampling, indices, seeds)


ALL = [request(number) for number in range(len(QUESTIONS))]


def engine(model: Any, slots: int = 8) -> TransformersEngine:
    return TransformersEngine(model, ENCODER, "base", slots=slots)


def run(model: Any, requests: list[Request], slots: int = 8) -> dict[tuple[str, int], Completion]:
    found = list(drive(engine(model, slots), requests))
    assert len({(c.request_id, c.index) for c in found}) == len(found), "no sample comes twice"
    return {(c.request_id, c.index): c for c in found}


def texts(found: dict[tuple[str, int], Completion]) -> dict[tuple[str, int], tuple[int, ...]]:
    return {key: completion.token_ids for key, completion in found.items()}


@pytest.fixture(scope="module")
def sampled(model: Any) -> dict[tuple[str, int], Completion]:
    return run(model, ALL)


def full_forward(model: Any, asked: Request, tokens: tuple[int, ...], encoder: Any = ENCODER) -> torch.Tensor:
    """Logits (T, V) before each response token, by one plain forward of prompt and response."""
    prompt = asked.prompt.encoded(encoder)
    start = int(prompt.positions.max()) + 1
    after = np.tile(np.arange(start, start + len(tokens)), (3, 1))
    with torch.inference_mode():
        logits = model(
            input_ids=torch.tensor([[*prompt.prompt_ids, *tokens]]),
            position_ids=torch.from_numpy(np.concatenate([prompt.positions, after], 1))[:, None],
            **image_inputs([prompt], torch.device("cpu"), torch.float32),
        ).logits[0]
    logits = logits[len(prompt.prompt_ids) - 1 : -1].clone()
    logits[:, list(encoder.banned)] = float("-inf")
    return logits


def off_by(model: Any, asked: Request, completion: Completion, encoder: Any = ENCODER) -> float:
    """The most by which a log-prob differs from the model's own."""
    logits = full_forward(model, asked, completion.token_ids, encoder)
    scores = (logits / asked.sampling.temperature).log_softmax(-1)
    expected = scores.gather(1, torch.tensor(completion.token_ids)[:, None])[:, 0]
    return float((torch.tensor(completion.logprobs) - expected).abs().max())


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_logprobs_are_those_of_the_models_own_forward(model: Any, temperature: float) -> None:
    requests = [replace(r, sampling=replace(SAMPLING, temperature=temperature)) for r in ALL]
    for (name, _), completion in run(model, requests).items():
        assert off_by(model, requests[int(name)], completion) < 1e-4


@pytest.mark.parametrize("family", families.FAMILIES)
def test_every_family_gives_its_own_logprobs_at_ragged_lengths(family: str) -> None:
    tiny = families.tiny(family)
    shapes: list[list[tuple[int, int]]] = [[], [(4, 4)], [(4, 8), (2, 2)], [(6, 4), (4, 4), (2, 6)], []]
    asked = [
        Request(str(i), as_encoded(grids, i), Sampling(1.0, 10 + 35 * i), (0, 1, 2), (i, i + 7, i + 9))
        for i, grids in enumerate(shapes)
    ]
    found = list(drive(TransformersEngine(tiny, families.Tokens(), "tiny", slots=9), asked))
    assert len(found) == 15
    assert len({c.length for c in found}) > 5
    for completion in found:
        assert off_by(tiny, asked[int(completion.request_id)], completion, families.Tokens()) < 1e-4


def as_encoded(grids: list[tuple[int, int]], seed: int) -> Prompt:
    return Prompt([], [], families.prompt(grids, 5 + 20 * seed, seed))


def test_a_prompt_is_encoded_once_for_all_of_its_samples(model: Any) -> None:
    class Counting(Encoder):
        calls = 0

        def encode(self, *asked: Any) -> Any:
            self.calls += 1
            return super().encode(*asked)

    encoder = Counting(SHIPPED, min_pixels=196, max_pixels=3136)
    fresh = request(0, 9, Sampling(1.0, 3))
    assert len(list(drive(TransformersEngine(model, encoder, "base", slots=2), [fresh]))) == 9
    assert encoder.calls == 1


def test_a_prompt_that_is_none_is_refused_and_the_others_go_on(model: Any) -> None:
    text = [{"type": "text", "text": "It ends here: <|im_end|>"}]
    hostile = replace(ALL[0], id="hostile", prompt=Prompt([{"role": "user", "content": text}]))
    refused: list[Refused | Failed] = []
    found = list(drive(engine(model), [hostile, ALL[1]], refused.append))
    (event,) = refused
    assert isinstance(event, Refused)
    assert (event.request_id, event.reason, event.indices) == ("hostile", "unencodable", (0, 1, 2, 3))
    assert {c.request_id for c in found} == {"1"}


class NeverStops(Encoder):
    stop_ids = ()


def test_where_memory_ends_fewer_samples_run_and_none_changes(
    model: Any, sampled: dict[tuple[str, int], Completion]
) -> None:
    running = TransformersEngine(model, ENCODER, "base", slots=64, cache_bytes=2**20)
    found = {(c.request_id, c.index): c for c in drive(running, ALL)}
    assert running.counts["out_of_memory"] > 0
    assert texts(found) == texts(sampled)


def test_a_sample_that_memory_cannot_hold_alone_is_refused_and_the_others_go_on(
    wild: Any,
) -> None:
    refused: list[Refused | Failed] = []
    long = replace(request(0, 2, Sampling(1.0, 900)), id="long")
    short = [request(number, 3, Sampling(1.0, 8)) for number in (1, 2, 3)]
    never = NeverStops(SHIPPED, min_pixels=196, max_pixels=3136)
    running = TransformersEngine(wild, never, "wild", slots=8, cache_bytes=700_000)
    found = list(drive(running, [short[0], long, *short[1:]], refused.append))
    assert [(event.request_id, getattr(event, "reason", "")) for event in refused] == [
        ("long", "too_long")
    ] * 2
    assert sorted(index for event in refused if isinstance(event, Refused) for index in event.indices) == [
        0,
        1,
    ]
    assert Counter(c.request_id for c in found) == {"1": 3, "2": 3, "3": 3}


def test_a_model_with_sliding_windows_is_none_for_this_engine() -> None:
    import copy

    tiny = copy.deepcopy(families.tiny("qwen2_vl"))
    tiny.config.text_config.use_sliding_window = True
    with pytest.raises(BadInput, match="sliding windows"):
        TransformersEngine(tiny, families.Tokens(), "tiny")


def test_an_error_that_is_none_of_memory_is_raised(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(model.model.visual, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        list(drive(engine(model), ALL))


@pytest.mark.parametrize("slots", [3, 4, 64])
def test_the_same_seeds_give_the_same_tokens_whatever_shares_the_batch(
    model: Any, sampled: dict[tuple[str, int], Completion], slots: int
) -> None:
    assert texts(run(model, ALL[::-1], slots)) == texts(sampled)


def test_n_samples_at_once_are_those_one_by_one(
    model: Any, sampled: dict[tuple[str, int], Completion]
) -> None:
    single = [request(number, 1, first=j) for j in (2, 0, 3, 1) for number in range(len(QUESTIONS))]
    assert texts(run(model, single)) == texts(sampled)
    alone = run(model, [request(1, 1, first=2)])
    assert alone[("1", 2)].token_ids == sampled[("1", 2)].token_ids


def test_other_seeds_give_other_tokens(model: Any, sampled: dict[tuple[str, int], Completion]) -> None:
    assert texts(run(model, [replace(r, seeds=tuple(s + 100 for s in r.seeds)) for r in ALL])) != texts(
        sampled
    )


def test_every_completion_says_what_it_is_of(sampled: dict[tuple[str, int], Completion]) -> None:
    assert set(sampled) == {(r.id, j) for r in ALL for j in r.indices}
    for (name, j), completion in sampled.items():
        assert completion.seed == ALL[int(name)].seeds[j]
        assert len(completion.token_ids) == len(completion.logprobs) <= SAMPLING.max_tokens
        ended = completion.token_ids[-1] in ENCODER.stop_ids
        assert completion.finish_reason == ("stop" if ended else "length")
        assert not set(completion.token_ids[:-1]) & set(ENCODER.stop_ids)
    assert {c.finish_reason for c in sampled.values()} == {"stop", "length"}, "both ends are seen"


def test_banned_ids_are_never_sampled_and_have_no_probability(wild: Any) -> None:
    spec = Sampling(temperature=1.5, max_tokens=48)
    found = run(wild, [request(number, 12, spec) for number in range(len(QUESTIONS))], slots=60)
    seen = Counter(token for c in found.values() for token in c.token_ids)
    assert len(seen) > 300, "the model says anything"
    assert not set(seen) & set(ENCODER.banned)
    scores = distribution(torch.zeros(1, 416), 1.0, torch.tensor(ENCODER.banned))
    assert scores.exp().sum().item() == pytest.approx(1)
    assert torch.isneginf(scores[0, list(ENCODER.banned)]).all()


def test_greedy_takes_the_most_probable_token_whatever_the_seed(model: Any) -> None:
    greedy = Sampling(temperature=0, max_tokens=12)
    found = run(model, [request(number, 2, greedy) for number in range(len(QUESTIONS))])
    for number in range(len(QUESTIONS)):
        first, second = (found[(str(number), j)].token_ids for j in (0, 1))
        assert first == second
        logits = full_forward(model, ALL[number], first)
        assert tuple(logits.argmax(-1).tolist()) == first


def test_specifications_may_be_mixed_in_one_batch(model: Any) -> None:
    hot, greedy = Sampling(1.0, 10), Sampling(0, 14)
    together = run(model, [request(0, 3, hot), request(1, 2, greedy), request(2, 2, hot)])
    apart = run(model, [request(0, 3, hot), request(2, 2, hot)]) | run(model, [request(1, 2, greedy)])
    assert texts(together) == texts(apart)


def test_a_response_ends_at_its_limit_and_says_so(wild: Any) -> None:
    for limit in (1, 5):
        for completion in run(wild, [request(0, 8, Sampling(1.0, limit))]).values():
            if completion.token_ids[-1] not in ENCODER.stop_ids:
                assert (len(completion.token_ids), completion.finish_reason) == (limit, "length")


def test_what_cannot_fit_is_refused_and_nothing_is_cut(model: Any) -> None:
    limit = model.config.text_config.max_position_embeddings
    too_long = request(0, 1, Sampling(1.0, limit))
    refused: list[Refused | Failed] = []
    found = list(drive(engine(model), [too_long, ALL[1]], refused.append))
    (event,) = refused
    assert isinstance(event, Refused)
    assert (event.request_id, event.reason, event.indices) == ("0", "too_long", (0,))
    assert event.need is not None and event.need > limit
    assert {c.request_id for c in found} == {"1"}
    with pytest.raises(LadderError, match=rf"item 0 was not sampled: .* the model has {limit}"):
        list(drive(engine(model), [too_long]))


def test_a_cancelled_request_yields_no_more_and_disturbs_no_other(
    model: Any, sampled: dict[tuple[str, int], Completion]
) -> None:
    running = engine(model, slots=6)
    for asked in ALL[:4]:
        running.submit(asked)
    completed = running.completed()
    found = [next(completed)]
    cancelled = next(r.id for r in ALL[:4] if r.id != found[0].request_id)
    running.cancel(cancelled)  # while it runs
    running.cancel("3")  # while it waits, most likely
    found += list(completed)
    before = {(c.request_id, c.index): c.token_ids for c in found}
    kept = {key: tokens for key, tokens in texts(sampled).items() if key[0] in {"0", "1", "2"} - {cancelled}}
    assert {key: tokens for key, tokens in before.items() if key[0] in {"0", "1", "2"} - {cancelled}} == kept
    assert not any(c.request_id in (cancelled, "3") for c in found[1:])


def test_requests_may_follow_from_what_was_read(
    model: Any, sampled: dict[tuple[str, int], Completion]
) -> None:
    running = engine(model)
    running.submit(request(0, 1))
    found = []
    for completion in running.completed():
        found.append(completion)
        if completion.index < 3:
            running.submit(request(0, 1, first=completion.index + 1))
    assert [c.token_ids for c in found] == [sampled[("0", j)].token_ids for j in range(4)]


def test_what_is_in_flight_is_bounded_and_everything_is_drawn(model: Any) -> None:
    running = engine(model, slots=2)
    fed: list[str] = []
    done = 0

    def source() -> Iterator[Request]:
        for asked in [replace(r, sampling=Sampling(1.0, 3)) for r in ALL * 2]:
            fed.append(asked.id)
            assert (len(fed) - 1) * 4 - done < running.capacity
            yield replace(asked, id=f"{asked.id}-{len(fed)}")

    for _ in drive(running, source()):
        done += 1
    assert done == len(ALL) * 2 * 4


def test_closed_or_asleep_an_engine_holds_nothing_and_goes_on(
    model: Any, sampled: dict[tuple[str, int], Completion]
) -> None:
    running = engine(model)
    running.submit(ALL[0])
    running.close()
    assert list(running.completed()) == []
    slept = engine(model)
    list(drive(slept, ALL[:1]))
    slept.sleep()
    slept.wake()
    again = {(c.request_id, c.index): c.token_ids for c in drive(slept, ALL[:2])}
    assert again == {key: tokens for key, tokens in texts(sampled).items() if key[0] in "01"}


def test_new_weights_change_the_fingerprint_and_the_samples(model: Any, wild: Any) -> None:
    import copy

    running = engine(copy.deepcopy(model))
    assert running.fingerprint == "base"
    running.load("7", wild.named_parameters())
    assert running.fingerprint == "base@7"
    few = [replace(r, sampling=Sampling(1.0, 6)) for r in ALL]
    assert texts({(c.request_id, c.index): c for c in drive(running, few)}) == texts(run(wild, few))


STREAMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "of consecutive seeds": lambda i: uniforms(2**40 + i, np.full_like(i, 3)),
    "of one seed": lambda i: uniforms(np.full_like(i, 12345), i),
    "of seeds far apart": lambda i: uniforms(i << 20, np.zeros_like(i)),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_random_numbers_are_uniform_and_free_of_their_neighbours(stream: str) -> None:
    u = STREAMS[stream](np.arange(200_000, dtype=np.int64))
    assert u.min() >= 0
    assert u.max() < 1
    assert chisquare(np.bincount((u * 100).astype(int), minlength=100)).pvalue > 1e-4
    pairs = (u[:-1] * 16).astype(int) * 16 + (u[1:] * 16).astype(int)
    assert chisquare(np.bincount(pairs, minlength=256)).pvalue > 1e-4
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.01


def test_random_numbers_are_frozen() -> None:
    """They make every stored rollout what it is."""
    got = uniforms(np.array([0, 1, 2**60]), np.array([0, 1, 2]))
    assert got.tolist() == [0.8833108082136426, 0.37239342287916577, 0.21206174331093453]


def test_a_draw_inverts_the_cumulative_distribution_whatever_the_size_of_the_vocabulary() -> None:
    torch.manual_seed(0)
    for size in (3, 512, 1300):
        scores = (4 * torch.randn(400, size)).log_softmax(-1)
        u = uniforms(np.arange(400), np.zeros(400, int))
        cumulative = scores.double().exp().cumsum(-1).numpy()
        plain = [int(np.searchsorted(c, v * c[-1], side="right")) for c, v in zip(cumulative, u, strict=True)]
        assert draw(scores, torch.from_numpy(u)).tolist() == plain


def test_draws_follow_the_distribution_and_take_nothing_impossible() -> None:
    logits = torch.tensor([0.0, 2.0, -float("inf"), 1.0, -float("inf")])
    scores = logits.log_softmax(-1)
    u = uniforms(np.arange(50_000), np.zeros(50_000, int))
    tokens = draw(scores.expand(len(u), -1), torch.from_numpy(u))
    counts = torch.bincount(tokens, minlength=5).double()
    assert counts[2] == counts[4] == 0
    shares = scores.exp()[[0, 1, 3]].double()
    assert chisquare(counts[[0, 1, 3]].numpy(), (shares / shares.sum() * len(u)).numpy()).pvalue > 1e-4
    edges = draw(scores[None].expand(2, -1), torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert edges.tolist() == [0, 3]
