"""A small ladder with a split, for runs of a few steps."""

import pytest

from ladder.build import build
from ladder.config import load, shipped
from ladder.settings import BuildSettings
from ladder.splits import ProbeSettings, SampleSettings, Split, sample
from ladder.store import Store


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = tmp_path_factory.mktemp("trained")
    overrides = [
        f'pool.root="{root / "pool"}"',
        "pool.make.items=66",
        "pool.make.probe_items=22",
        "sampling.k=4",
    ]
    build(load(BuildSettings, shipped("pipelines", "digits"), overrides), root / "ladder")
    return sample(Store.open(root / "ladder"), SampleSettings(probe=ProbeSettings(per_tier=4)), "small")
