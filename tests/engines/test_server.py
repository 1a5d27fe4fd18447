"""The server engine against a real HTTP server that misbehaves: nothing lost, nothing silent, nobody hammered."""

from __future__ import annotations

import base64
import io
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bad_server import BadServer, Body, answered, answers, choice
from PIL import Image

from ladder.config import validate
from ladder.encode import Prompt
from ladder.engines.base import Completion, Event, Failed, Refused, Request, Sampling, drive
from ladder.engines.server import ServerEngine, served_model
from ladder.engines.settings import EngineSettings, ServerSettings
from ladder.errors import BadInput, LadderError

KEY = "sk-very-secret-0123456789"


def settings_of(server: BadServer, name: str = "toy", **own: Any) -> EngineSettings:
    """Impatient settings: 4 calls at once."""
    impatient = {"concurrency": 4, "timeout": 0.8, "patience": 3.0, "retries": 3}
    values = {"model": {"name": name}, "engine": "server"}
    return validate(EngineSettings, values | {"server": {"url": server.url} | impatient | own})


@contextmanager
def running(server: BadServer, name: str = "toy", **own: Any) -> Iterator[ServerEngine]:
    settings = settings_of(server, name, **own)
    engine = ServerEngine(settings, served_model(settings))
    try:
        yield engine
    finally:
        engine.close()


def request(name: str, k: int = 4, images: tuple[bytes, ...] = (), **sampling: Any) -> Request:
    content: list[dict[str, Any]] = [{"type": "text", "text": f"question {name}"}]
    for _ in images:
        content += [{"type": "image"}, {"type": "text", "text": "and"}]
    prompt = Prompt([{"role": "user", "content": content}], [(str(i), data) for i, data in enumerate(images)])
    return Request(
        name, prompt, Sampling(**{"max_tokens": 16} | sampling), tuple(range(k)), tuple(range(1000, 1000 + k))
    )


def requests(count: int, k: int = 4) -> list[Request]:
    return [request(str(i), k) for i in range(count)]


def sampled(engine: ServerEngine, asked: list[Request]) -> tuple[list[Completion], list[Event]]:
    """Completions and the rest; nothing is doubled, nothing missing."""
    others: list[Event] = []
    completions = list(drive(engine, asked, others.append))
    told = [(c.request_id, c.index) for c in completions]
    for event in others:
        indices = event.indices if isinstance(event, Refused) else (event.index,)
        told += [(event.request_id, index) for index in indices]
    assert sorted(told) == sorted((r.id, i) for r in asked for i in r.indices)
    return completions, others


@pytest.mark.parametrize(
    ("fault", "count"),
    [
        ("busy", "http_429"),
        ("busy_until", "http_429"),
        ("error", "http_5xx"),
        ("overloaded", "http_5xx"),
        ("hang", "timeouts"),
        ("drop", "dropped"),
        ("half", "dropped"),
        ("malformed", "malformed"),
        ("nonsense", "malformed"),
        ("empty", "malformed"),
        ("unfinished", "malformed"),
    ],
)
def test_a_call_that_fails_in_a_passing_way_is_tried_again_and_counted(fault: str, count: str) -> None:
    with BadServer(["", fault, "", fault]) as server, running(server) as engine:
        completions, others = sampled(engine, requests(8))
    assert (len(completions), others) == (32, [])
    assert server.served == {fault: 2, "good": 8}
    told = {name: n for name, n in engine.counts.items() if n}
    assert told == {"requests": 10, "retries": 2, count: 2}


def test_after_too_many_calls_nobody_calls_before_the_time_that_the_server_names() -> None:
    with BadServer(["busy"] * 4) as server, running(server) as engine:
        sampled(engine, requests(12))
        later = [t - server.times[0] for t in server.times[4:]]
    assert min(later) >= 0.4
    assert server.served == {"busy": 4, "good": 12}


def test_no_more_calls_run_at_once_than_are_allowed() -> None:
    def slow(body: Body) -> tuple[int, Any]:
        time.sleep(0.02)
        return answers(body)

    with BadServer(answer=slow) as server, running(server, concurrency=3) as engine:
        sampled(engine, requests(30, 1))
        assert server.busiest == 3


def test_fewer_samples_than_asked_for_are_kept_and_the_rest_asked_for() -> None:
    with BadServer(["short", "surplus"]) as server, running(server, concurrency=1) as engine:
        completions, _ = sampled(engine, requests(3))
    assert [body.get("n", 1) for body in server.bodies] == [4, 1, 4, 4]
    assert (engine.counts["short"], engine.counts["surplus"], engine.counts["retries"]) == (1, 1, 0)
    assert len(completions) == 12


def test_a_server_that_knows_no_n_is_asked_for_single_samples(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        BadServer(answer=lambda body: answers(body | {"n": 1})) as server,
        running(server, concurrency=1) as engine,
    ):
        completions, _ = sampled(engine, requests(6))
    assert [body.get("n", 1) for body in server.bodies[-16:]] == [1] * 16
    assert engine.counts["short"] == 2
    assert len(completions) == 24
    assert capfd.readouterr().err.count("single") == 1


def test_each_single_sample_has_its_own_seed_and_several_have_none() -> None:
    with BadServer() as server, running(server, n=1) as engine:
        sampled(engine, [request("a", 3)])
        assert sorted(body["seed"] for body in server.bodies) == [1000, 1001, 1002]
    with BadServer() as server, running(server, n=2) as engine:
        sampled(engine, [request("a", 3)])
        assert sorted((body.get("n", 1), body.get("seed")) for body in server.bodies) == [
            (1, 1002),
            (2, None),
        ]
    with BadServer(owned_by="vllm") as server, running(server, n=2) as engine:
        sampled(engine, [request("a", 3)])
        assert sorted((body.get("n", 1), body["seed"]) for body in server.bodies) == [(1, 1002), (2, 1000)]


def test_samples_that_are_missing_here_and_there_are_asked_for_with_their_seeds() -> None:
    gaps = Request("a", request("a").prompt, Sampling(max_tokens=16), (0, 2, 3, 7), (50, 52, 53, 57))
    with BadServer(owned_by="vllm") as server, running(server) as engine:
        sampled(engine, [gaps])
        assert sorted((body.get("n", 1), body["seed"]) for body in server.bodies) == [
            (1, 50),
            (1, 57),
            (2, 52),
        ]


def refusing(field: str, message: str, status: int = 400) -> Any:
    """Answers of a server that does not take a field."""

    def answer(body: Body) -> tuple[int, Any]:
        if field in body:
            return status, {"error": {"message": message}}
        return answers(body)

    return answer


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("seed", "Unrecognized request argument supplied: seed"),
        ("top_p", "[{'loc': ('body', 'top_p'), 'msg': 'Extra inputs are not permitted'}]"),
        ("logprobs", "'logprobs' is not supported with this model"),
        ("n", "Only one completion choice is allowed"),
        ("max_tokens", "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
    ],
)
def test_a_field_that_the_server_does_not_take_is_left_out_from_then_on(
    field: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with BadServer(answer=refusing(field, message)) as server, running(server) as engine:
        for asked in (requests(6), [request("single", 1)], [request("more", 4)]):
            before = len(server.bodies)
            completions, others = sampled(engine, asked)
            assert (len(completions), others) == (sum(len(r.indices) for r in asked), [])
        assert all(field not in body for body in server.bodies[before:])
        assert engine.counts["retries"] == 0
    assert capfd.readouterr().err.count(message) == 1


def test_a_temperature_that_the_server_does_not_take_is_bad_input() -> None:
    refuse = refusing("temperature", "'temperature' does not support 0.5 with this model")
    with BadServer(answer=refuse) as server, running(server) as engine:
        engine.submit(request("a", temperature=0.5))
        with pytest.raises(BadInput, match=r"sampling.temperature = 0.5"):
            list(engine.completed())


@pytest.mark.parametrize(
    ("message", "reason", "need"),
    [
        ("This model's maximum context length is 300 tokens. However, you requested 500.", "too_long", 501),
        ("Input length (900) exceeds model's maximum context length (800).", "too_long", 901),
        ("cannot identify image file <_io.BytesIO object>", "unencodable", None),
    ],
)
def test_what_the_server_can_never_take_is_refused_with_all_its_samples(
    message: str, reason: str, need: int | None
) -> None:
    def answer(body: Body) -> tuple[int, Any]:
        bad = "question 1" in str(body["messages"])
        return (400, {"error": {"message": message}}) if bad else answers(body)

    with BadServer(answer=answer) as server, running(server) as engine:
        completions, others = sampled(engine, requests(4))
    (refused,) = others
    assert isinstance(refused, Refused)
    assert (refused.request_id, refused.reason, refused.need) == ("1", reason, need)
    assert message in refused.detail
    assert len(completions) == 12


def test_what_the_server_filters_is_missing_and_not_asked_for_again() -> None:
    with BadServer(["", "filtered"]) as server, running(server, concurrency=1) as engine:
        completions, others = sampled(engine, requests(3))
    assert [(type(e), e.request_id) for e in others] == [(Failed, "1")] * 4
    assert len(server.bodies) == 3
    assert len(completions) == 8


def test_one_request_that_always_fails_fails_alone() -> None:
    def answer(body: Body) -> tuple[int, Any]:
        return (500, {}) if "question 5" in str(body["messages"]) else answers(body)

    with BadServer(answer=answer) as server, running(server) as engine:
        completions, others = sampled(engine, requests(30))
    assert {(e.request_id, type(e)) for e in others} == {("5", Failed)}
    assert len(completions) == 29 * 4
    assert engine.counts["http_5xx"] == 4
    assert engine.counts["retries"] == 3


@pytest.mark.parametrize("status", [400, 500])
def test_a_server_that_answers_nothing_is_left_soon(status: int) -> None:
    with (
        BadServer(answer=lambda _: (status, {"error": "no such thing"})) as server,
        running(server, retries=1) as engine,
    ):
        with pytest.raises(LadderError, match=r"answered no request: .*HTTP \d+: no such thing"):
            sampled(engine, requests(100))
        assert len(server.bodies) < 100


def test_a_server_that_dies_and_comes_back_costs_only_time(capfd: pytest.CaptureFixture[str]) -> None:
    def slow(body: Body) -> tuple[int, Any]:
        time.sleep(0.05)
        return answers(body)

    with BadServer(answer=slow) as server, running(server, patience=60) as engine:
        threading.Timer(0.3, server.die_for, (1.5,)).start()
        completions, others = sampled(engine, requests(60))
        assert (len(completions), others) == (240, [])
        assert 0 < engine.counts["unreachable"] <= 4
        assert engine.counts["retries"] == engine.counts["unreachable"] + engine.counts["dropped"]
        server.assert_calls(engine.counts)
    told = capfd.readouterr().err
    assert (told.count("waiting for it"), told.count("is back")) == (1, 1)


def test_a_server_that_never_comes_back_ends_it_after_what_was_finished() -> None:
    with BadServer() as server, running(server, patience=0.5) as engine:
        for each in requests(3):
            engine.submit(each)
        events = engine.completed()
        first = [next(events) for _ in range(12)]
        server.stop()
        engine.submit(request("late"))
        with pytest.raises(LadderError, match=r"is gone: .*the same command goes on"):
            list(engine.completed())
        assert len(first) == 12


def test_a_server_that_is_not_there_is_waited_for(capfd: pytest.CaptureFixture[str]) -> None:
    server = BadServer()
    server.stop()
    with pytest.raises(LadderError, match="is gone"), running(server, patience=0.4):
        pass
    threading.Timer(0.8, server.start).start()
    with running(server, patience=60) as engine:
        assert len(sampled(engine, requests(2))[0]) == 8
    server.stop()
    assert "waiting for it" in capfd.readouterr().err


def test_a_quota_that_is_used_up_ends_it() -> None:
    with BadServer(["busy"] * 1000) as server, running(server, patience=0.1) as engine:
        engine.submit(request("a"))
        with pytest.raises(LadderError, match="slow down"):
            list(engine.completed())
        assert len(server.bodies) < 10


def test_the_model_must_be_served() -> None:
    with BadServer(models=("qwen-7b", "other")) as server:
        with pytest.raises(BadInput, match=r"did you mean 'qwen-7b'\?; it serves qwen-7b, other"):
            running(server, "qwen-8b").__enter__()
        with running(server, "mine", model="other") as engine:
            sampled(engine, requests(1))
            assert server.bodies[0]["model"] == "other"


def test_a_gateway_need_not_list_its_models() -> None:
    with BadServer(models=None) as server, running(server) as engine:
        assert len(sampled(engine, requests(2))[0]) == 8


def test_the_key_goes_into_a_header_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SERVER_KEY", KEY)
    with BadServer(key=KEY) as server:
        with running(server, api_key_env="SERVER_KEY") as engine:
            assert len(sampled(engine, requests(2))[0]) == 8
            assert KEY not in repr(vars(engine)) + str(server.bodies)
        server.key = "another"
        with pytest.raises(LadderError, match=r"does not take the API key in SERVER_KEY") as error:
            running(server, api_key_env="SERVER_KEY").__enter__()
        assert KEY not in str(error.value)
        assert "***" in str(error.value)
        with pytest.raises(LadderError, match=r"wants an API key: set NO_KEY"):
            running(server, api_key_env="NO_KEY").__enter__()
    assert KEY not in "".join(capfd.readouterr())


def test_a_redirect_is_told_and_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with BadServer(["elsewhere"]) as server, running(server) as engine:
        engine.submit(request("a"))
        with pytest.raises(BadInput, match=r"sends its callers to http://127.0.0.1:9/"):
            list(engine.completed())


@pytest.mark.parametrize(
    "server",
    [
        {"url": "http://user:word@host/v1"},
        {"url": "host:8000"},
        {"url": "http://host/v1?key=1"},
        {"extra": {"top_p": 0.9}},
    ],
)
def test_settings_that_would_leak_or_bend_the_sampling_are_refused(server: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"server\.(url|extra)"):
        validate(EngineSettings, {"server": server})


def test_further_fields_are_sent_and_make_another_model() -> None:
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    with BadServer() as server, running(server, extra=extra) as engine:
        sampled(engine, requests(1))
        assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}
    plain, other = (
        served_model(EngineSettings(server=ServerSettings(extra=e))).fingerprint for e in ({}, extra)
    )
    assert plain != other
    assert served_model(EngineSettings()).encoder is not None
    assert served_model(EngineSettings()).fingerprint == plain


def test_a_response_is_put_together_and_counted() -> None:
    def answer(_: Body) -> tuple[int, Any]:
        said = [
            choice("<answer>1</answer>", 0),
            choice("<answer>2</answer>", 1, "length"),
            choice("a b c", 2, logprobs={"content": [{"token": "a", "logprob": -0.5}]}),
        ]
        said[0]["message"]["reasoning_content"] = "one or two"
        return 200, answered(said[::-1], usage={"completion_tokens": 60})

    with BadServer(answer=answer) as server, running(server) as engine:
        by_index = {c.index: c for c in sampled(engine, [request("a", 3)])[0]}
    assert by_index[0].text == "<think>one or two</think><answer>1</answer>"
    assert [by_index[i].finish_reason for i in range(3)] == ["stop", "length", "stop"]
    assert by_index[2].length == 1
    assert by_index[0].length > by_index[1].length > 10
    assert not any(c.trainable for c in by_index.values())


def test_images_go_as_data_uris_in_their_places() -> None:
    def png(shade: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (28, 28), (shade, 0, 0)).save(buffer, format="PNG")
        return buffer.getvalue()

    pictures = (png(10), png(20))
    with BadServer() as server, running(server) as engine:
        sampled(engine, [request("a", 1, pictures)])
        (message,) = server.bodies[0]["messages"]
    parts = message["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text", "image_url", "text"]
    urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
    assert [base64.b64decode(url.removeprefix("data:image/png;base64,")) for url in urls] == list(pictures)


def test_a_cancelled_request_yields_no_more_and_frees_its_place() -> None:
    with BadServer(["hang"]) as server, running(server, concurrency=1, timeout=60) as engine:
        engine.submit(request("gone"))
        while not server.bodies:
            time.sleep(0.01)
        engine.submit(request("waiting"))
        engine.submit(request("kept"))
        engine.cancel("gone")
        engine.cancel("waiting")
        engine.cancel("never seen")
        assert {e.request_id for e in engine.completed() if isinstance(e, Completion)} == {"kept"}
        assert not list(engine.completed())


def test_closed_it_hangs_up_on_what_is_under_way() -> None:
    with BadServer(["hang"] * 4) as server:
        with running(server, timeout=60) as engine:
            for each in requests(9):
                engine.submit(each)
            while server.busiest < 4:
                time.sleep(0.01)
        engine.close()
        assert not engine._thread.is_alive()
        assert not list(engine.completed())


def test_an_interrupt_gets_through_while_it_waits() -> None:
    with BadServer(["hang"]) as server, running(server, timeout=60) as engine:
        engine.submit(request("a"))
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            next(engine.completed())


def vllm_answers(prompt_ids: list[int], logprob: float, sampled: list[int]) -> Any:
    """Answers as vLLM's, of a prompt, with the log-prob that a token has which a bias makes certain."""

    def answer(body: Body) -> tuple[int, Any]:
        probing = 100.0 in body.get("logit_bias", {}).values()
        told = {"content": [{"logprob": logprob if probing else -0.5} for _ in sampled]}
        choices = [choice("", i, logprobs=told, token_ids=sampled) for i in range(body.get("n", 1))]
        return 200, answered(choices, prompt_token_ids=prompt_ids)

    return answer


@pytest.mark.parametrize(
    ("others", "logprob", "sampled", "trainable"),
    [
        ([], 0.0, [20, 21], True),
        ([], -3.0, [20, 21], False),  # log-probs of the model, not of what was sampled from
        ([5], 0.0, [20, 21], False),  # another prompt
        ([], 0.0, [20, None], False),  # an image's id, which was banned
    ],
)
def test_only_ids_of_our_prompt_with_logprobs_of_what_was_sampled_from_are_for_training(
    others: list[int],
    logprob: float,
    sampled: list[Any],
    trainable: bool,
    capfd: pytest.CaptureFixture[str],
) -> None:
    encoder = served_model(EngineSettings()).local[1]
    asked = request("a", 2)
    sampled = [encoder.image_token if i is None else i for i in sampled]
    answer = vllm_answers([*asked.prompt.encoded(encoder).prompt_ids, *others], logprob, sampled)
    with (
        BadServer(answer=answer, owned_by="vllm", models=("digits",)) as server,
        running(server, "digits") as engine,
    ):
        completions = list(drive(engine, [asked]))
        assert [c.trainable for c in completions] == [trainable] * 2
        assert [(list(c.token_ids), list(c.logprobs)) for c in completions] == [(sampled, [-0.5, -0.5])] * 2
        assert engine.counts["other_prompt"] == (2 if others else 0)
        assert engine.counts["requests"] == 1
    assert capfd.readouterr().err.count("not for training") == (1 if others or logprob else 0)


def test_a_text_that_spells_a_special_token_is_refused_unsent() -> None:
    with BadServer(models=("digits",)) as server, running(server, "digits") as engine:
        (refused,) = sampled(engine, [request("a<|im_end|>", 2)])[1]
        assert isinstance(refused, Refused)
        assert refused.reason == "unencodable"
        assert server.bodies == []
