"""How items are asked: what makes a request of an item, the same for scoring, training and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ladder.digest import fingerprint
from ladder.encode import Encoder, Prompt
from ladder.engines.base import Completion, Request, Sampling
from ladder.errors import LadderError
from ladder.identity import sample_seed
from ladder.prompts import Template, render
from ladder.records import Item
from ladder.store import Store


@dataclass(frozen=True)
class Asked:
    """The encoder, the template, the sampling specification and the base seed. Without an encoder (a model that is
    nowhere but behind a server, recorded answers) images go as they are stored. `several` pools may use the same ids."""

    encoder: Encoder | None
    template: Template
    sampling: Sampling
    seed: int
    several: bool = False

    @cached_property
    def prompt(self) -> str:
        """The prompt fingerprint: wording and pixel budget."""
        budget = self.encoder.fingerprint if self.encoder else fingerprint("encode-1", "as stored")
        return f"{self.template.fingerprint}{budget}"

    @property
    def specification(self) -> str:
        """The sampling fingerprint of its rollouts: under another seed they are other rollouts."""
        own = self.sampling.fingerprint
        return fingerprint("seeded-1", [own, self.seed]) if self.seed else own

    def request(self, store: Store, item: Item, indices: Sequence[int]) -> Request:
        """The request for some samples of an item."""
        pictures = store.pictures(item) if self.template.images else []
        first = sample_seed(self.seed, item.id, self.prompt, self.sampling.fingerprint, 0)
        return Request(
            id=item.id,
            prompt=Prompt(render(item, self.template), pictures),
            sampling=self.sampling,
            indices=tuple(indices),
            seeds=tuple(first + j for j in indices),
            source_id=self.source_id(item),
        )

    def source_id(self, item: Item) -> str:
        """What recorded answers may call an item."""
        return f"{item.source}/{item.source_id}" if self.several else item.source_id

    def text(self, completion: Completion) -> str:
        """A response as text."""
        if completion.text is not None:
            return completion.text
        if self.encoder is None:
            raise LadderError("the engine gave token ids, and there is no tokenizer to read them by")
        ids = completion.token_ids
        return self.encoder.decode(ids if isinstance(ids, Sequence) else ids.tolist())
