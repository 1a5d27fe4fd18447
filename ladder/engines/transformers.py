"""The embedded engine: a Hugging Face model with continuous batching, on CPU, CUDA or MPS.

Prompt and image are computed once per request and shared by its samples; finished samples leave the batch at once and
waiting ones enter. On a CPU in fp32 a rollout's text is a function of its seed (log-probs move by 1e-5 with the batch).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ladder.encode import Encoder, image_inputs
from ladder.engines.base import Completion, Request, Sampling
from ladder.engines.kv import SlotCache
from ladder.engines.sampling import distribution, draw, uniforms

_PREFILL_TOKENS = 16_384  # prompt tokens prefilled at once, so that activations stay bounded


@dataclass
class _Row:
    request: Request
    index: int
    seed: int
    position: int  # rotary position of the next token
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    def completion(self, reason: str) -> Completion:
        return Completion(
            self.request.id, self.index, self.seed, tuple(self.tokens), tuple(self.logprobs), reason
        )


class TransformersEngine:
    """Samples from `model` (already on its device); `fingerprint` names its weights until `load` changes the version."""

    name = "transformers"

    def __init__(
        self, model: Any, encoder: Encoder, fingerprint: str, *, slots: int = 256, autocast: bool = False
    ) -> None:
        self._model, self._encoder, self._base, self._autocast = model, encoder, fingerprint, autocast
        self._device = next(model.parameters()).device
        self._limit = int(model.config.text_config.max_position_embeddings)
        self._banned = torch.tensor(encoder.banned, device=self._device)
        self._stops = frozenset(encoder.stop_ids)
        self._version = ""
        self._waiting: deque[Request] = deque()
        self._rows: list[_Row] = []
        self._slots = slots
        self._cache = SlotCache(slots, self._device)
        self.capacity = 2 * slots

    @property
    def fingerprint(self) -> str:
        """Model fingerprint, with the weights version once training has replaced the weights."""
        return f"{self._base}@{self._version}" if self._version else self._base

    def load(self, version: str, weights: Mapping[str, torch.Tensor] | None) -> None:
        """Take new weights (None: the model was changed in place) under a version."""
        if weights is not None:
            self._model.load_state_dict(weights)
        self._version = version

    def sleep(self) -> None:
        """Free the key-value store, when nothing is running."""
        if not self._rows:
            self._cache = SlotCache(self._slots, self._device)

    def wake(self) -> None:
        """Nothing to undo: the store grows by itself."""

    def submit(self, request: Request) -> None:
        """Take a request; raises ValueError where it cannot fit the model's positions."""
        need = len(request.prompt.prompt_ids) + request.sampling.max_tokens
        if need > self._limit:
            raise ValueError(f"prompt and answer need {need} positions, the model has {self._limit}")
        for start in range(0, len(request.indices), self._slots):
            part = slice(start, start + self._slots)
            self._waiting.append(
                Request(
                    request.id,
                    request.prompt,
                    request.sampling,
                    request.indices[part],
                    request.seeds[part],
                )
            )

    def cancel(self, request_id: str) -> None:
        """Forget a request's unfinished samples."""
        self._waiting = deque(r for r in self._waiting if r.id != request_id)
        self._retain([i for i, row in enumerate(self._rows) if row.request.id != request_id])

    def close(self) -> None:
        """Drop everything that waits or runs, and the memory it holds."""
        self._waiting.clear()
        self._rows = []
        self._cache = SlotCache(0, self._device)

    def completed(self) -> Iterator[Completion]:
        """Run, and yield samples as they end, until nothing is in flight."""
        while self._rows or self._waiting:
            yield from self._advance()

    @torch.inference_mode()
    def _advance(self) -> list[Completion]:
        """One step of the batch: admit what fits, then one token for every running sample."""
        admitted = self._admit()
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            return self._prefill(admitted) if admitted else self._decode()

    def _admit(self) -> list[Request]:
        """Requests to prefill now: only when a quarter of the slots is free, so that prefills stay large."""
        free = self._slots - len(self._rows)
        if not self._waiting or (self._rows and free < max(self._slots // 4, len(self._waiting[0].indices))):
            return []
        admitted: list[Request] = []
        tokens = 0
        while self._waiting:
            request = self._waiting[0]
            tokens += len(request.prompt.prompt_ids)
            if len(request.indices) > free or (admitted and tokens > _PREFILL_TOKENS):
                break
            free -= len(request.indices)
            admitted.append(self._waiting.popleft())
        return admitted

    def _prefill(self, requests: list[Request]) -> list[Completion]:
        hidden, layers = self._prompt_pass(requests)
        rows: list[_Row] = []
        which: list[int] = []
        for i, request in enumerate(requests):
            start = int(request.prompt.positions.max()) + 1
            for index, seed in zip(request.indices, request.seeds, strict=True):
                rows.append(_Row(request, index, seed, start))
                which.append(i)
            self._cache.append(layers, i, len(request.prompt.prompt_ids), len(request.indices))
        first = len(self._rows)
        self._rows += rows
        logits = self._model.lm_head(hidden)[torch.tensor(which, device=self._device)]
        return self._extend(logits, first)

    def _prompt_pass(
        self, requests: list[Request]
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Last hidden state of each prompt (B, hidden) and the layers' keys and values, right-padded."""
        prompts = [r.prompt for r in requests]
        lengths = torch.tensor([len(p.prompt_ids) for p in prompts])
        ids = torch.full((len(prompts), int(lengths.max())), self._encoder.pad_id)
        positions = torch.zeros(3, *ids.shape, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            ids[i, : lengths[i]] = torch.tensor(prompt.prompt_ids)
            positions[:, i, : lengths[i]] = torch.from_numpy(prompt.positions)
        mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
        out = self._model.model(
            input_ids=ids.to(self._device),
            attention_mask=mask.to(self._device),
            position_ids=positions.to(self._device),
            use_cache=True,
            **image_inputs(prompts, self._device, self._model.dtype),
        )
        last = out.last_hidden_state[torch.arange(len(prompts)), lengths - 1]
        return last, [(layer.keys, layer.values) for layer in out.past_key_values.layers]

    def _decode(self) -> list[Completion]:
        mask = self._cache.begin_step()
        last = torch.tensor([[row.tokens[-1]] for row in self._rows], device=self._device)
        positions = torch.tensor([[row.position] for row in self._rows], device=self._device)
        hidden = self._model.model(
            input_ids=last,
            attention_mask=mask,
            position_ids=positions[None].expand(3, -1, -1),
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state
        self._cache.end_step()
        for row in self._rows:
            row.position += 1
        return self._extend(self._model.lm_head(hidden[:, -1]), 0)

    def _extend(self, logits: torch.Tensor, first: int) -> list[Completion]:
        """Draw a token for the rows from `first` on; the finished ones leave."""
        tokens, logprobs = self._draw(logits, self._rows[first:])
        done, stay = [], list(range(first))
        for i, (row, token, logprob) in enumerate(
            zip(self._rows[first:], tokens, logprobs, strict=True), first
        ):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            if token in self._stops:
                done.append(row.completion("stop"))
            elif len(row.tokens) >= row.request.sampling.max_tokens:
                done.append(row.completion("length"))
            else:
                stay.append(i)
        self._retain(stay)
        return done

    def _draw(self, logits: torch.Tensor, rows: list[_Row]) -> tuple[list[int], list[float]]:
        """Tokens and their log-probs, per sampling specification (one, in practice)."""
        tokens = torch.empty(len(rows), dtype=torch.long, device=self._device)
        logprobs = torch.empty(len(rows), device=self._device)
        for sampling in {row.request.sampling for row in rows}:
            of = torch.tensor(
                [i for i, r in enumerate(rows) if r.request.sampling == sampling], device=self._device
            )
            tokens[of], logprobs[of] = self._draw_alike(logits[of], [rows[i] for i in of.tolist()], sampling)
        return tokens.tolist(), logprobs.tolist()

    def _draw_alike(
        self, logits: torch.Tensor, rows: list[_Row], sampling: Sampling
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores = distribution(logits, sampling.temperature, self._banned)
        if sampling.temperature == 0:
            tokens = scores.argmax(-1)
        else:
            u = uniforms(np.array([r.seed for r in rows]), np.array([len(r.tokens) for r in rows]))
            tokens = draw(scores, torch.from_numpy(u).to(self._device))
        return tokens, scores.gather(-1, tokens[:, None])[:, 0]

    def _retain(self, stay: list[int]) -> None:
        if len(stay) == len(self._rows):
            return
        self._cache.keep(stay)
        self._rows = [self._rows[i] for i in stay]
