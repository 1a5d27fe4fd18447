"""The embedded engine: a Hugging Face model with continuous batching, on CPU, CUDA or MPS.

Prompt and image are computed once per request and held once for its samples; finished samples leave the batch at once and
waiting ones enter. On a CPU in fp32 a rollout's text is a function of its seed (log-probs move by 1e-5 with the batch).
Where memory does not hold the batch, it starts again with half as many samples. Leaves out sliding windows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch

from ladder.encode import Encoded, Encoder, image_inputs
from ladder.engines.base import (
    Completion,
    Event,
    Refused,
    Request,
    refused_as_too_long,
    refused_as_unencodable,
)
from ladder.engines.kv import KeyValueStore
from ladder.engines.sampling import distribution, draw, uniforms
from ladder.errors import BadInput

_PREFILL_TOKENS = 16_384  # prompt tokens prefilled at once, so that activations stay bounded
_NO_MEMORY = ("out of memory", "can't allocate memory")  # CUDA and MPS; CPU
_PADDING = 1.25  # prompts prefilled at once cost at most so many times their own tokens


@dataclass(eq=False)
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
    background = False
    exact = True

    def __init__(
        self,
        model: Any,
        encoder: Encoder,
        fingerprint: str,
        *,
        slots: int = 256,
        cache_bytes: int | None = None,
        autocast: bool = False,
    ) -> None:
        self._model, self._encoder, self._base, self._autocast = model, encoder, fingerprint, autocast
        if getattr(model.config.text_config, "use_sliding_window", False):
            raise BadInput("the transformers engine knows no sliding windows: use engine = 'vllm'")
        self._device = next(model.parameters()).device
        self._limit = int(model.config.text_config.max_position_embeddings)
        self._banned = torch.tensor(encoder.banned, device=self._device)
        self._stops = frozenset(encoder.stop_ids)
        self._version = ""
        self._waiting: deque[Request] = deque()
        self._refused: deque[Refused] = deque()
        self._rows: list[_Row] = []
        self._slots, self._cache_bytes = slots, cache_bytes
        self._store = KeyValueStore(cache_bytes)
        self.capacity = 2 * slots
        self.counts: dict[str, int] = {}

    @property
    def fingerprint(self) -> str:
        """Model fingerprint, with the weights version once training has replaced the weights."""
        return f"{self._base}@{self._version}" if self._version else self._base

    @torch.no_grad()
    def load(self, version: str, weights: Iterable[tuple[str, torch.Tensor]] | None) -> None:
        """Take new weights (None: the model was changed in place) under a version."""
        if weights is not None:
            own = dict(self._model.named_parameters())
            for name, tensor in weights:
                own[name].copy_(tensor)
        self._version = version

    def sleep(self) -> None:
        """Free the key-value store, when nothing is running."""
        if not self._rows:
            self._store = KeyValueStore(self._cache_bytes)

    def wake(self) -> None:
        """Nothing to undo: the store grows by itself."""

    def submit(self, request: Request) -> None:
        """Take a request; one that cannot fit the model's positions comes back as Refused."""
        try:
            need = len(self._prompt(request).prompt_ids) + request.sampling.max_tokens
        except ValueError as error:
            self._refused.append(refused_as_unencodable(request, error))
            return
        if need > self._limit:
            self._refused.append(refused_as_too_long(request, need, self._limit))
            return
        self._waiting.append(request)

    def _prompt(self, request: Request) -> Encoded:
        return request.prompt.encoded(self._encoder)

    def cancel(self, request_id: str) -> None:
        """Forget a request's unfinished samples."""
        self._waiting = deque(r for r in self._waiting if r.id != request_id)
        self._leave({row for row in self._rows if row.request.id == request_id})

    def close(self) -> None:
        """Drop everything that waits or runs, and the memory it holds."""
        self._waiting.clear()
        self._refused.clear()
        self._rows = []
        self._store = KeyValueStore()

    def completed(self) -> Iterator[Event]:
        """Run, and yield samples as they end, until nothing is in flight."""
        while self._rows or self._waiting or self._refused:
            if self._refused:
                yield self._refused.popleft()
            else:
                yield from self._advance()

    def _advance(self) -> list[Completion]:
        """One step of the batch, or nothing but a smaller batch where memory does not hold it."""
        try:
            return self._step()
        except RuntimeError as error:  # of which MPS and CPU raise no subclass
            if not any(said in str(error) for said in _NO_MEMORY):
                raise
        self._shrink()
        return []

    @torch.inference_mode()
    def _step(self) -> list[Completion]:
        """Admit what fits, or one token more for every running sample."""
        admitted = self._admit()
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._autocast):
            return self._prefill(admitted) if admitted else self._decode()

    def _shrink(self) -> None:
        """Start the running samples again with half the slots; one that does not fit alone is refused, and the slots are as
        many as at first."""
        self.counts["out_of_memory"] = self.counts.get("out_of_memory", 0) + 1
        rows, self._rows = self._rows, []
        self._store = KeyValueStore(self._cache_bytes)
        if self._device.type != "cpu":
            torch.accelerator.empty_cache()
        if len(rows) == 1:
            self._slots = self.capacity // 2
            self._refused.append(_refused_for_memory(rows[0], self._prompt(rows[0].request)))
            return
        self._slots = min(self._slots, len(rows)) // 2
        for _, part in reversed([(k, list(g)) for k, g in groupby(rows, key=lambda row: id(row.request))]):
            indices, seeds = tuple(r.index for r in part), tuple(r.seed for r in part)
            self._waiting.appendleft(replace(part[0].request, indices=indices, seeds=seeds))

    def _admit(self) -> list[Request]:
        """Requests to prefill now, in their order: only when a quarter of the slots is free, so that prefills stay large."""
        free = self._slots - len(self._rows)
        if not self._waiting or (self._rows and free < max(self._slots // 4, self._first())):
            return []
        admitted: list[Request] = []
        while self._waiting and self._first() <= free:
            request = self._waiting.popleft()
            now, later = _split(request, self._slots)
            if later:
                self._waiting.appendleft(later)
            free -= len(now.indices)
            admitted.append(now)
        return admitted

    def _first(self) -> int:
        """Slots that the first request takes."""
        return min(len(self._waiting[0].indices), self._slots)

    def _prefill(self, requests: list[Request]) -> list[Completion]:
        groups = [self._started(request) for request in requests]
        self._rows += [row for group in groups for row in group]
        fresh: list[_Row] = []
        logits = []
        for batch in _alike(groups, [len(self._prompt(r).prompt_ids) for r in requests]):
            prompts = [self._prompt(group[0].request) for group in batch]
            hidden, layers = self._prompt_pass(prompts)
            self._store.add(layers, [len(p.prompt_ids) for p in prompts], batch)
            copies = torch.tensor([i for i, group in enumerate(batch) for _ in group], device=self._device)
            logits.append(self._model.lm_head(hidden)[copies])
            fresh += [row for group in batch for row in group]
        return self._extend(torch.cat(logits), fresh)

    def _started(self, request: Request) -> list[_Row]:
        start = int(self._prompt(request).positions.max()) + 1
        return [
            _Row(request, index, seed, start)
            for index, seed in zip(request.indices, request.seeds, strict=True)
        ]

    def _prompt_pass(
        self, prompts: list[Encoded]
    ) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
        """Last hidden state of each prompt (B, hidden) and the layers' keys and values, right-padded."""
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
        every = torch.arange(len(prompts), device=self._device)
        last = out.last_hidden_state[every, (lengths - 1).to(self._device)]
        # Under autocast rotary embedding leaves the keys in float32, and every step would cast them all again.
        return last, [
            (layer.keys.to(layer.values.dtype), layer.values) for layer in out.past_key_values.layers
        ]

    def _decode(self) -> list[Completion]:
        last = torch.tensor([[row.tokens[-1]] for row in self._rows], device=self._device)
        positions = torch.tensor([[row.position] for row in self._rows], device=self._device)
        text = self._model.model.language_model
        with self._store.step(text, self._rows):
            hidden = text(
                input_ids=last,
                position_ids=positions[None].expand(3, -1, -1),
                use_cache=False,
                store=self._store,
            ).last_hidden_state
            logits = self._model.lm_head(hidden[:, -1])
        for row in self._rows:
            row.position += 1
        return self._extend(logits, self._rows)

    def _extend(self, logits: torch.Tensor, rows: list[_Row]) -> list[Completion]:
        """Draw a token for some rows; the finished ones leave."""
        tokens, logprobs = self._draw(logits, rows)
        reasons: dict[_Row, str] = {}
        for row, token, logprob in zip(rows, tokens, logprobs, strict=True):
            row.tokens.append(token)
            row.logprobs.append(logprob)
            if token in self._stops:
                reasons[row] = "stop"
            elif len(row.tokens) >= row.request.sampling.max_tokens:
                reasons[row] = "length"
        self._leave(set(reasons))
        return [row.completion(reason) for row, reason in reasons.items()]

    def _draw(self, logits: torch.Tensor, rows: list[_Row]) -> tuple[list[int], list[float]]:
        """Tokens and their log-probs, per temperature (one, in practice)."""
        tokens = torch.empty(len(rows), dtype=torch.long, device=self._device)
        logprobs = torch.empty(len(rows), device=self._device)
        for temperature in {row.request.sampling.temperature for row in rows}:
            of = [i for i, row in enumerate(rows) if row.request.sampling.temperature == temperature]
            at = torch.tensor(of, device=self._device)
            tokens[at], logprobs[at] = self._draw_alike(logits[at], [rows[i] for i in of], temperature)
        return tokens.tolist(), logprobs.tolist()

    def _draw_alike(
        self, logits: torch.Tensor, rows: list[_Row], temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores = distribution(logits, temperature, self._banned)
        if temperature == 0:
            tokens = scores.argmax(-1)
        else:
            u = uniforms(np.array([r.seed for r in rows]), np.array([len(r.tokens) for r in rows]))
            tokens = draw(scores, torch.from_numpy(u))
        return tokens, scores.gather(-1, tokens[:, None])[:, 0]

    def _leave(self, rows: set[_Row]) -> None:
        if rows:
            self._store.drop(rows)
            self._rows = [row for row in self._rows if row not in rows]


def _split(request: Request, most: int) -> tuple[Request, Request | None]:
    """Its first `most` samples, and the rest if there is any."""
    if len(request.indices) <= most:
        return request, None
    return (
        replace(request, indices=request.indices[:most], seeds=request.seeds[:most]),
        replace(request, indices=request.indices[most:], seeds=request.seeds[most:]),
    )


def _alike(groups: list[list[_Row]], lengths: list[int]) -> list[list[list[_Row]]]:
    """Groups of rows in batches whose prompts are about as long, and not too many tokens together."""
    batches: list[list[list[_Row]]] = []
    longest = tokens = 0
    for i in sorted(range(len(groups)), key=lambda i: -lengths[i]):
        padded = longest * (len(batches[-1]) + 1) if batches else 0
        if not batches or padded > min(_PREFILL_TOKENS, _PADDING * (tokens + lengths[i])):
            batches.append([])
            longest, tokens = lengths[i], 0
        batches[-1].append(groups[i])
        tokens += lengths[i]
    return batches


def _refused_for_memory(row: _Row, prompt: Encoded) -> Refused:
    """The refusal of the one sample that ran when memory ended."""
    need = len(prompt.prompt_ids) + row.request.sampling.max_tokens
    at = len(prompt.prompt_ids) + len(row.tokens)
    detail = f"prompt and answer need up to {need} positions, and memory ended at {at}"
    return Refused(row.request.id, (row.index,), "too_long", detail, need)
