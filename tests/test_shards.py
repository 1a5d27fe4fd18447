"""`ladder build --shard i/n`: several processes sample into one ladder, and the last one derives it."""

import subprocess
from pathlib import Path

import pytest
from helpers import K, Run, digits_overrides, ladder_command, part_rows, rows_of, told

from ladder.build import Shard
from ladder.errors import BadInput
from ladder.identity import share_of
from ladder.store import Store

TABLE = "SELECT * EXCLUDE (images) FROM ladder ORDER BY position"


@pytest.mark.parametrize("text", ["", "1", "2/2", "1/0", "-1/2", "a/b", "1/2/3"])
def test_a_share_that_cannot_be_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match="write it as i/n"):
        Shard.parse(text)


def test_every_item_is_in_one_share_and_shares_are_alike() -> None:
    shares = [share_of(f"item {i}", 4) for i in range(4000)]
    assert all(800 < shares.count(i) < 1200 for i in range(4))


def test_shards_at_once_make_the_ladder_that_one_build_makes(
    tmp_path: Path, built: Path, digits_pool: Path
) -> None:
    out = tmp_path / "tiny-ladder"
    overrides = [f"--set={o}" for o in digits_overrides(digits_pool)]
    command = ladder_command("build", "digits", "--out", str(out), *overrides)
    shards = [
        subprocess.Popen(
            [*command, "--shard", f"{i}/3"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for i in range(3)
    ]
    for shard in shards:
        stdout, stderr = shard.communicate(timeout=200)
        assert shard.returncode == 0, stderr
        assert "rollouts sampled" in stdout
    keys = part_rows(out, "rollouts", 'item_id, "index"')
    assert len(set(keys)) == len(keys) == K * len(rows_of(built, "SELECT id FROM items"))
    assert rows_of(out, TABLE) == rows_of(built, TABLE)
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nothing to do" in again.stdout


def test_a_shard_beside_shares_of_another_n_is_refused(ladder: Path, digits_pool: Path, run: Run) -> None:
    overrides = [f"--set={o}" for o in digits_overrides(digits_pool, sampling__k=K + 1)]
    before = part_rows(ladder, "rollouts")
    with Store.open(ladder).sharing("build", 1, 8):
        line = told(run("build", "digits", "--out", ladder, *overrides, "--shard", "0/2"))
    assert "in other shares, by `ladder build --shard 1/8`, process" in line
    assert part_rows(ladder, "rollouts") == before
