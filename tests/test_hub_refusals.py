"""Push and pull where the Hub's address is none, or a ladder there is not whole: told, and nothing is left behind."""

from pathlib import Path

import pytest
from helpers import Run, told
from huggingface_hub import constants
from test_hub_ladder import REPO, hub

from ladder.errors import LadderError
from ladder.hub import pull, push

__all__ = ["hub"]


@pytest.mark.parametrize(
    "url", ["huggingface.co", "ftp://hub", "http://", "http://hub:port", "http://[hub", "nonsense"]
)
def test_an_address_of_the_hub_that_is_none_is_told(
    run: Run, ladder: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", url)
    assert f"HF_ENDPOINT {url!r} is no URL" in told(run("pull", REPO, "place"))
    assert "HF_ENDPOINT" in told(run("push", ladder, REPO, "--yes"))
    assert not Path("place").exists()


def test_a_name_without_an_owner_is_not_pushed_to(run: Run, ladder: Path) -> None:
    assert "'tiny-ladder' is no name of a repository to push to: say OWNER/NAME" in told(
        run("push", ladder, "tiny-ladder")
    )


@pytest.mark.usefixtures("hub")
def test_a_ladder_that_lacks_images_is_refused_and_nothing_is_left(ladder: Path, tmp_path: Path) -> None:
    for part in (ladder / "items").glob("images-*.parquet"):
        part.unlink()
    push(ladder, REPO, "all")
    (tmp_path / "in").mkdir()
    with pytest.raises(LadderError, match=f"{REPO} was not taken: .*image"):
        pull(REPO, tmp_path / "in" / "pulled")
    assert list((tmp_path / "in").iterdir()) == []
