"""The card's front matter, as the Hub and `datasets` read it: what the ladder is, and one config per tier and split.

Tier files bear the ladder's fingerprint in their names, splits do not: theirs stand in their config's `description`.
For `datasets` caches a local directory by its name and the card's configs, and would serve the old rows of a split that
was drawn again. `dataset_info` holds the union of the columns of a config's files: without it, parts with other columns
could not be one config.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ladder.cards.licences import front_licences, licences, vocabulary
from ladder.cards.words import line
from ladder.config import read_toml
from ladder.errors import LadderError
from ladder.settings import BuildSettings
from ladder.splits.files import described
from ladder.store import Store

if TYPE_CHECKING:
    from huggingface_hub import DatasetCardData

#: The parts of a split, in the order in which the card names them.
PARTS = ("train", "validation", "probe")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of a split that can be a config, and its path a pattern
_LANGUAGE = re.compile(r"[a-z]{2,3}")


@dataclass(frozen=True)
class Config:
    """One config: a tier, or a split with its parts. `files` are patterns below the ladder, by the name that `datasets`
    gives the part; `first` one file of each part, whose columns are the config's."""

    name: str
    files: dict[str, str]
    first: tuple[Path, ...]
    description: str = ""

    @property
    def told(self) -> dict[str, Any]:
        """The config as the front matter has it."""
        said = {"description": self.description} if self.description else {}
        parts = [{"split": part, "path": path} for part, path in self.files.items()]
        return {"config_name": self.name, **said, "data_files": parts}

    @property
    def info(self) -> dict[str, Any]:
        """Its entry of `dataset_info`."""
        import datasets as hf
        import pyarrow.parquet as pq

        try:
            schemas = [pq.read_schema(path) for path in self.first]
        except (OSError, ValueError) as error:
            raise LadderError(f"cannot read the columns of {self.name}: {error}") from None
        features: dict[str, Any] = {}
        for schema in schemas:
            features |= {k: v for k, v in hf.Features.from_arrow_schema(schema).items() if k not in features}
        return {"config_name": self.name, "features": hf.Features(features)._to_yaml_list()}


@dataclass(frozen=True)
class SplitFiles:
    """A split as it lies on disk: what `split.toml` says, and the files of each part."""

    name: str
    facts: dict[str, Any]
    parts: dict[str, list[Path]]

    @property
    def config(self) -> Config | None:
        """Its config, `split-NAME`; None where its name cannot be one."""
        if not _NAME.fullmatch(self.name) or not self.parts:
            return None
        counts = self.counts
        held = {part: paths for part, paths in self.parts.items() if counts[part]}
        files = {part: f"splits/{self.name}/{_pattern(paths)}" for part, paths in held.items()}
        first = tuple(paths[0] for paths in held.values())
        return Config(f"split-{self.name}", files, first, line(described(self.facts)))

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each part. `datasets` refuses a config of which a part has none."""
        import pyarrow.parquet as pq

        return {
            part: sum(pq.read_metadata(path).num_rows for path in paths) for part, paths in self.parts.items()
        }


def splits_of(store: Store) -> list[SplitFiles]:
    """The splits of a ladder that are whole, by name."""
    found = sorted((store.path / "splits").glob("[!.]*/split.toml"))
    return [SplitFiles(path.parent.name, read_toml(path), _parts(path.parent)) for path in found]


def _parts(folder: Path) -> dict[str, list[Path]]:
    files = {part: sorted(folder.glob(f"{part}*.parquet")) for part in PARTS}
    return {part: paths for part, paths in files.items() if paths}


def _pattern(paths: list[Path]) -> str:
    """One file, or what the names of several begin with."""
    if len(paths) == 1:
        return paths[0].name
    return f"{paths[0].name.split('-')[0]}-*.parquet"


def configs_of(store: Store, settings: BuildSettings, mark: str) -> list[Config]:
    """The configs of a ladder with the fingerprint `mark`: tiers from hard to easy, then splits by name."""
    return [*_tiers(store, settings, mark), *(c for s in splits_of(store) if (c := s.config) is not None)]


def _tiers(store: Store, settings: BuildSettings, mark: str) -> Iterator[Config]:
    for tier in settings.tiers.names:
        first = next(iter(sorted((store.path / "tiers" / tier).glob(f"{mark}-*.parquet"))), None)
        if first is not None:
            yield Config(tier, {"train": f"tiers/{tier}/{mark}-*.parquet"}, (first,))


def front_matter(settings: BuildSettings, configs: list[Config], facts: dict[str, Any]) -> DatasetCardData:
    """The front matter; of `facts` it takes the number of items, and whether they have images and options."""
    from huggingface_hub import DatasetCardData

    found = licences(settings)
    tags = ["ladder", "curriculum", "reinforcement-learning", "pass-rate"]
    return DatasetCardData(
        **front_licences(found),
        language=languages(settings) or None,
        task_categories=_tasks(facts),
        size_categories=[_size(facts["items"])],
        source_datasets=_hub_sources(settings) or None,
        tags=tags,
        pretty_name=line(settings.card.title or settings.name),
        configs=[config.told for config in configs],
        dataset_info=[config.info for config in configs],
    )


def languages(settings: BuildSettings) -> list[str]:
    """The languages as the Hub takes them: ISO 639 codes in lower case, without a region."""
    codes = (re.split("[-_]", language.strip().lower())[0] for language in settings.card.languages)
    return list(dict.fromkeys(code for code in codes if _LANGUAGE.fullmatch(code)))


def _tasks(facts: dict[str, Any]) -> list[str]:
    tasks = ["visual-question-answering" if facts["with_images"] else "question-answering"]
    return [*tasks, "multiple-choice"] if facts["with_options"] else tasks


def _hub_sources(settings: BuildSettings) -> list[str]:
    pools = settings.sources.values()
    return [line(pool.dataset.name) for pool in pools if pool.dataset is not None and pool.dataset.name]


def _size(items: int) -> str:
    return next((name for name, bound in vocabulary()["sizes"].items() if items < bound), "n>1B")
