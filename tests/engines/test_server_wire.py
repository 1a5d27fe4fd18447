"""What a server sends is hostile until read: answers, refusals, headers."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder.engines.server_wire import (
    RESERVED,
    Dialect,
    Malformed,
    bad_image,
    complaint_of,
    read_answer,
    read_models,
    retry_after,
    too_long,
)

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
_NOON = datetime(2025, 1, 1, 12, tzinfo=UTC)


@given(_JSON)
def test_any_json_is_an_answer_or_malformed(content: object) -> None:
    choice = {"message": {"content": "x"}, "finish_reason": "stop", "logprobs": content, "index": None}
    (read,) = read_answer(json.dumps({"choices": [choice]}, allow_nan=True).encode()).choices
    assert isinstance(read.token_logprobs, list)
    with pytest.raises(Malformed):
        read_answer(json.dumps({"choices": [choice | {"token_ids": [-1]}]}).encode())
    with pytest.raises(Malformed):
        read_answer(json.dumps({"choices": [], "other": content}).encode())


@given(st.binary())
def test_any_bytes_are_an_answer_or_malformed_and_never_a_complaint_of_many_lines(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_answer(body)
    message, _ = complaint_of(body, "secret")
    assert len(message) < 400
    assert message.isprintable()
    assert read_models(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10**6,
        b'{"choices": [{"message": {"content": "\\ud800"}}]}',
        b"{",
        b"",
        b"null",
        b'{"choices": 3}',
    ],
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        read_answer(body)


def test_choices_are_known_by_their_index_or_else_by_their_order() -> None:
    def indices(*told: int | None) -> list[int | None]:
        choices = [{"message": {"content": "x"}, "index": i} for i in told]
        return [c.index for c in read_answer(json.dumps({"choices": choices}).encode()).choices]

    assert indices(2, 0, 1) == [2, 0, 1]
    assert indices(0, 0, 0) == [0, 1, 2]
    assert indices(None, None) == [0, 1]


def test_token_counts_of_choices_are_told_or_shared_out() -> None:
    def lengths(*texts: str, told: int | None = None) -> list[int]:
        choices = [{"message": {"content": text}} for text in texts]
        body = {"choices": choices, "usage": {"completion_tokens": told}}
        return read_answer(json.dumps(body).encode()).lengths()

    assert lengths("a b c", told=9) == [9]
    assert lengths("a b c", "a", told=8) == [6, 2]
    assert lengths("a, b!") == [4]
    assert lengths("", told=0) == [0]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-4", 0.0),
        ("Wed, 01 Jan 2025 12:00:30 GMT", 30.0),
        ("Wed, 01 Jan 2025 11:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("inf", 0.0),
        ("nan", 0.0),
        ("", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float) -> None:
    assert retry_after(header, now=lambda: _NOON) == seconds


@given(st.text())
def test_any_retry_after_is_a_time_to_wait(header: str) -> None:
    assert 0 <= retry_after(header) < float("inf")


@pytest.mark.parametrize(
    ("complaint", "need"),
    [
        (
            "This model's maximum context length is 4096 tokens. However, your prompt contains 5000 input tokens, which "
            "exceeds this limit even without any output tokens.",
            5001,
        ),
        ("The decoder prompt (length 9,000) is longer than the maximum model length of 256.", 9001),
        ("prompt is too long", 1),
        ("max_tokens is too large: 5", None),
        ("cannot identify image file", None),
    ],
)
def test_a_complaint_about_the_length_tells_what_is_needed(complaint: str, need: int | None) -> None:
    assert too_long(complaint) == need


def test_a_complaint_about_an_image_is_told_from_others() -> None:
    assert bad_image("Failed to load image: broken data stream")
    assert bad_image("Invalid image URL")
    assert not bad_image("At most 1 image(s) may be provided in one prompt.")
    assert not bad_image("this model has no image input")


@pytest.mark.parametrize(
    ("body", "message", "named"),
    [
        ({"error": {"message": "no sk-12345 here", "param": "seed"}}, "no *** here", ["seed"]),
        ({"error": "plain"}, "plain", []),
        ({"message": "older"}, "older", []),
        ({"detail": "one\nline"}, "one line", []),
        ({"detail": [{"loc": ["body", "top_k"], "msg": "Extra", "input": {"seed": 1}}]}, "Extra", ["top_k"]),
    ],
)
def test_a_complaint_is_one_line_without_the_key(body: object, message: str, named: list[str]) -> None:
    assert complaint_of(json.dumps(body).encode(), "sk-12345") == (message, named)


def test_a_key_that_is_an_ordinary_word_is_left_in_a_complaint() -> None:
    body = json.dumps({"message": "a bad key"}).encode()
    assert complaint_of(body, "bad") == ("a bad key", [])


def test_what_is_refused_is_learnt_once_and_other_complaints_are_not() -> None:
    dialect = Dialect("vllm")
    sent = {"model", "messages", "top_k", "seed", "max_tokens", "n"}
    assert dialect.learn("the image is odd", [], sent) is None
    assert dialect.learn("unknown field", ["top_k"], sent)
    assert dialect.learn("unknown field", ["top_k"], sent) == ""
    assert dialect.learn("unknown field", ["top_p"], sent) is None
    assert dialect.learn("n must be 1", [], sent)
    assert dialect.learn("use max_completion_tokens", [], sent)
    assert (dialect.refused, dialect.singles, dialect.completion_tokens) == ({"top_k"}, True, True)
    assert sent <= RESERVED
