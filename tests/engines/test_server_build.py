"""`ladder build` on a server that misbehaves: the complete ladder, or what was finished and a way to go on."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_server import BadServer, Body, answers
from helpers import ladder_command, part_rows, rows_of, run_ladder, write_picture, write_rows

ITEMS, K = 24, 4
KEY = "sk-very-secret-0123456789"
KEYS = 'item_id, prompt, model, sampling, "index"'
FAULTS = [
    "",
    "busy",
    "error",
    "hang",
    "half",
    "malformed",
    "short",
    "empty",
    "drop",
    "unfinished",
    "surplus",
    "",
]
PASSING = {"busy": "429", "error": "5xx", "hang": "timeouts"}


@pytest.fixture
def pipeline(tmp_path: Path) -> Callable[..., list[str]]:
    """The command that builds a small pool on a server."""
    root = tmp_path / "pool"
    write_picture(root / "a.png")
    rows: list[dict[str, Any]] = [
        {"question": f"What is {i} + 1?", "answer": str(i % 4)} for i in range(ITEMS - 1)
    ]
    write_rows(root, [*rows, {"question": "How many?", "answer": "3", "image": "a.png"}])
    (tmp_path / "mine.toml").write_text(
        f"""
        name = "mine"
        engine = "server"
        pool.root = "{root}"
        model.name = "toy"
        prompt.template = "brief"
        sampling = {{ k = {K}, max_tokens = 64 }}
        server = {{ concurrency = 4, timeout = 0.8, patience = 60, api_key_env = "SERVER_KEY" }}
        """
    )

    def command(server: BadServer, **more: Any) -> list[str]:
        own = {"server.url": server.url} | {k.replace("__", "."): v for k, v in more.items()}
        overrides = [f"--set={key}={json.dumps(value)}" for key, value in own.items()]
        return ["build", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "out"), *overrides]

    return command


def assert_complete(ladder: Path) -> None:
    keys = part_rows(ladder, "rollouts", KEYS)
    assert len(keys) == len(set(keys)) == ITEMS * K
    assert rows_of(ladder, "SELECT n, count(*) FROM scores GROUP BY 1") == [(K, ITEMS)]


def test_a_server_that_misbehaves_in_every_way_gives_the_complete_ladder_and_the_key_stays_out_of_it(
    pipeline: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVER_KEY", KEY)

    def slow(body: Body) -> tuple[int, Any]:
        time.sleep(0.03)
        return answers(body)

    with BadServer(FAULTS, key=KEY, answer=slow) as server:

        def die() -> None:
            while len(server.bodies) < len(FAULTS) + 4:
                time.sleep(0.01)
            server.die_for(1.5)

        threading.Thread(target=die, daemon=True).start()
        done = run_ladder(*pipeline(server), "--json")
    assert done.returncode == 0, done.stderr
    assert_complete(tmp_path / "out")
    counts = json.loads(done.stdout)["engine"]
    served = server.served
    assert counts["http_429"] == served["busy"]
    assert counts["http_5xx"] == served["error"]
    assert counts["timeouts"] == served["hang"]
    assert counts["malformed"] == served["malformed"] + served["empty"] + served["unfinished"]
    failures = sum(
        counts[c] for c in ("http_429", "http_5xx", "timeouts", "malformed", "dropped", "unreachable")
    )
    assert counts["retries"] == failures
    server.assert_calls(counts)
    assert KEY not in done.stdout + done.stderr
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_a_server_that_never_comes_back_ends_the_build_and_the_same_command_goes_on(
    pipeline: Callable[..., list[str]], tmp_path: Path
) -> None:
    server = BadServer()

    def answer(body: Body) -> tuple[int, Any]:
        if len(server.bodies) > 8:
            threading.Thread(target=server.stop, daemon=True).start()
            time.sleep(0.2)
        return answers(body)

    server.answer = answer
    gone = run_ladder(*pipeline(server, server__patience=0.8))
    assert gone.returncode == 1
    assert "is gone" in gone.stderr.splitlines()[-1]
    assert "Traceback" not in gone.stderr
    kept = part_rows(tmp_path / "out", "rollouts")
    assert 0 < len(kept) < ITEMS * K
    before = len(server.bodies)
    server.answer = answers
    server.start()
    done = run_ladder(*pipeline(server), "--json")
    server.stop()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sampled"] == ITEMS * K - len(kept)
    assert sum(body.get("n", 1) for body in server.bodies[before:]) == ITEMS * K - len(kept)
    assert {str(row) for row in kept} <= {str(row) for row in part_rows(tmp_path / "out", "rollouts")}
    assert_complete(tmp_path / "out")


def test_killed_a_build_on_a_server_goes_on_with_what_is_missing(
    pipeline: Callable[..., list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with BadServer() as server:
        server.answer = lambda body: (time.sleep(1.0 if len(server.bodies) > 12 else 0.0), answers(body))[1]
        process = subprocess.Popen(ladder_command(*pipeline(server)), stderr=subprocess.DEVNULL)
        while not list((out / "rollouts").glob("*.parquet")):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
        kept = len(part_rows(out, "rollouts"))
        assert 0 < kept < ITEMS * K
        server.answer = answers
        done = run_ladder(*pipeline(server), "--json")
    assert json.loads(done.stdout)["sampled"] == ITEMS * K - kept
    assert_complete(out)


def test_where_a_further_pass_has_no_server_the_ladder_is_there_and_the_same_command_completes_it(
    pipeline: Callable[..., list[str]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with BadServer() as server, BadServer(models=("other",)) as second:
        second.stop()
        own = {"model__name": "other", "server__url": second.url, "server__patience": 0.8}
        command = pipeline(server, **{f"passes__panel__{key}": value for key, value in own.items()})
        broken = run_ladder(*command)
        assert broken.returncode == 1
        assert "Traceback" not in broken.stderr
        assert second.url in broken.stderr.splitlines()[-1]
        assert_complete(out)
        assert (out / "README.md").is_file()
        assert rows_of(out, "SELECT DISTINCT panel_mean FROM ladder") == [(None,)]
        asked = len(server.bodies)
        second.start()
        done = run_ladder(*command, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sampled"] == ITEMS * K
    assert len(server.bodies) == asked
    assert rows_of(out, "SELECT n, count(*) FROM passes GROUP BY 1") == [(K, ITEMS)]


def test_a_pass_with_a_model_of_its_own_does_not_ask_for_that_of_the_build(
    pipeline: Callable[..., list[str]],
) -> None:
    with BadServer(models=("served", "other")) as server:
        done = run_ladder(*pipeline(server, server__model="served", passes__panel__model__name="other"))
    assert done.returncode == 0, done.stderr
    asked = [body["model"] for body in server.bodies]
    assert (asked.count("served"), asked.count("other")) == (ITEMS, ITEMS)


def test_what_a_server_refuses_is_counted_alike_each_time_and_only_its_length_is_asked_about_again(
    pipeline: Callable[..., list[str]], tmp_path: Path
) -> None:
    def answer(body: Body) -> tuple[int, Any]:
        seen = json.dumps(body["messages"])
        if "image_url" in seen:
            return 400, {"error": {"message": "cannot identify the image"}}
        if "What is 3 + 1?" in seen:
            return 400, {"error": {"message": "This model's maximum context length is 3 tokens"}}
        return answers(body)

    with BadServer(answer=answer) as server:
        first = run_ladder(*pipeline(server), "--json")
        asked = len(server.bodies)
        again = run_ladder(*pipeline(server), "--json")
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    one, two = json.loads(first.stdout), json.loads(again.stdout)
    assert (one["sampled"], two["sampled"]) == ((ITEMS - 2) * K, 0)
    (longer,) = server.bodies[asked:]  # only the server knows its limit, which may be another by now
    assert "What is 3 + 1?" in json.dumps(longer["messages"])
    assert one["refused"] == two["refused"]
    assert one["rejects"] == two["rejects"]
    reasons = rows_of(tmp_path / "out", "SELECT reason FROM rejects WHERE stage = 'sampling' ORDER BY 1")
    assert reasons == [("too_long",), ("unencodable",)]
