"""Splits to export: one of the embedded pool, one of hostile items."""

import shutil
from pathlib import Path

import pytest
from hostile_items import hostile_split

from ladder.config import validate
from ladder.splits import SampleSettings, Split, sample
from ladder.store import Store


@pytest.fixture(scope="session")
def digits_split(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Split:
    ladder = Path(shutil.copytree(built, tmp_path_factory.mktemp("exporting") / "ladder"))
    values = {"strategy": {"strategy": "sorted"}, "probe": {"per_tier": 2}}
    return sample(Store.open(ladder), validate(SampleSettings, values), "sorted")


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return hostile_split(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(params=["digits", "hostile"])
def split(request: pytest.FixtureRequest, digits_split: Split, hostile: Split) -> Split:
    return digits_split if request.param == "digits" else hostile
