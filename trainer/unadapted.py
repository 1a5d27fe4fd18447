"""The reference of a run with an adapter: the same module with the adapter off, and with what else learns as it was.

No second model is held, but for a copy of the parameters that learn as a whole. Leaves out when a reference is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from trainer.adapter import adapted_layers, trained_beside
from trainer.parallel import is_sharded, rows_of
from trainer.policy import Batch, Features, Group, Policy, Scored


class Unadapted:
    """Scores as `policy` would have when this was made, its adapter aside: it must be made before anything has learnt.

    `away`: the parameters are the reference's just now, and nobody may take them for the policy's.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy, self.away = policy, False
        self._others = {name: p.detach().clone() for name, p in trained_beside(policy.model).items()}

    @torch.no_grad()
    def __call__(self, groups: Sequence[Group], batch: Batch, features: Features | None = None) -> Scored:
        """As a policy's `forward`, without gradient. Features that are given were made by a tower that does not learn."""
        with self._in_place():
            scored: Scored = self._policy(groups, batch, features)
        return scored

    @contextmanager
    def _in_place(self) -> Iterator[None]:
        """While it lasts, the policy's module is the reference, in evaluation mode. An interrupt in the middle of an exchange
        leaves `away` set: the parameters are then neither's."""
        layers, training = adapted_layers(self._policy.model).values(), self._policy.training
        self._policy.eval()
        self.away = bool(self._others)
        exchanged = False
        try:
            for layer in layers:
                # peft's own switch takes the gradient off the adapter too, which FSDP2 would keep so.
                layer._disable_adapters = True
            self._exchange()
            exchanged = True
            yield
        finally:
            for layer in layers:
                layer._disable_adapters = False
            if exchanged:
                self._exchange()
                self.away = False
            self._policy.train(training)

    def _exchange(self) -> None:
        """Change places: the parameters that learn as a whole, and those that are held. Twice is never."""
        if not self._others:
            return
        for module in self._policy.modules():
            if (reshard := getattr(module, "reshard", None)) is not None:
                reshard()  # what FSDP has gathered would outlive the exchange
        named = dict(self._policy.model.named_parameters())
        for name, held in self._others.items():
            now = named[name]
            if is_sharded(now) and not is_sharded(held):  # it was sharded since
                held = self._others[name] = rows_of(held, now)
            kept = now.clone()
            now.copy_(held)
            held.copy_(kept)
