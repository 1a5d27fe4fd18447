"""Reward functions of other trainers, each with that trainer's own signature, all by this verifier: 1.0 for a correct
response, 0.0 for any other.

They read the column `ladder` of an export (ladder.pools.kept), which says how an item's answer is compared: options,
answer type, tolerance, unit, and the ladder's policy. One worker process with a deadline judges what could hang; it ends
with its parent. Formats, lengths and other terms are left to the trainer's own reward functions.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from typing import Any

from ladder.errors import BadInput
from ladder.pools.kept import parse_kept
from ladder.records import Outcome, Verdict
from ladder.verify import Policy, extract
from ladder.verify.pool import VerifierPool

DEADLINE = 2.0  # seconds for a response
# What begins the assistant's turn where chat templates have a token for it: Qwen and InternVL, Gemma, Llama 3, Phi and GLM.
_ASSISTANT = re.compile(
    r"<\|im_start\|>assistant\n|<start_of_turn>model\n|<\|start_header_id\|>assistant<\|end_header_id\|>\n\n"
    r"|<\|assistant\|>"
)
_ENDS = re.compile(r"(?:<\|im_end\|>|<\|endoftext\|>|<end_of_turn>|<eos>|<\|eot_id\|>|<\|end\|>|</s>|\s)*\Z")
_lock = threading.Lock()


@cache
def _pool(policy: Policy) -> VerifierPool:
    return VerifierPool(1, DEADLINE, policy)


def verdicts(responses: Sequence[str], ladder: Sequence[str]) -> list[Verdict]:
    """The verdicts on responses to exported items; `ladder` is what their rows have in the column of that name. Threads
    may call it. Raises BadInput where a row has no such thing."""
    waiting = [_future(one, item) for one, item in zip(responses, ladder, strict=True)]
    return [future.result() for future in waiting]


def _future(response: str, ladder: Any) -> Future[Verdict]:
    kept = parse_kept(ladder)
    if kept is None:
        raise BadInput(
            f"no item of a ladder in {str(ladder)[:60]!r}: the reward needs the column `ladder` as `ladder export` wrote it"
        )
    with _lock:
        pool = _pool(kept.policy)
    return pool.future(response, kept.item(kept.source))


def scores(responses: Sequence[str], ladder: Sequence[str]) -> list[float | None]:
    """1.0 for a correct response, 0.0 for another, None where the verifier did not come to an end in time."""
    found = [verdict.outcome for verdict in verdicts(responses, ladder)]
    return [None if one is Outcome.TIMEOUT else float(one is Outcome.CORRECT) for one in found]


def trl_accuracy(completions: Sequence[Any], ladder: Sequence[str], **_: Any) -> list[float | None]:
    """TRL's `reward_funcs`, also R1-V's: completions are texts, or chats whose last turn is the response. None, which TRL
    leaves out, is for a verifier that did not come to an end."""
    return scores([_text(one) for one in completions], ladder)


def _text(completion: Any) -> str:
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def verl_score(
    data_source: str,  # noqa: ARG001 - a reward of verl's own chooses by it
    solution_str: str,
    ground_truth: str,  # noqa: ARG001
    extra_info: Mapping[str, Any],
    **_: Any,
) -> dict[str, float]:
    """verl's `compute_score`; the item is in `extra_info`."""
    (found,) = scores([solution_str], [extra_info["ladder"]])
    return {"score": found or 0.0, "acc": found or 0.0, "timeout": float(found is None)}


def easyr1_scores(reward_inputs: Sequence[Mapping[str, Any]], **_: Any) -> list[dict[str, float]]:
    """EasyR1's batch reward; `ground_truth` is the column `ladder` (data.answer_key=ladder). `format` says whether the
    answer stands in answer tags; it is not paid for."""
    responses = [str(one["response"]) for one in reward_inputs]
    found = scores(responses, [one["ground_truth"] for one in reward_inputs])
    tagged = [float(extract(response).where == "answer") for response in responses]
    return [
        {"overall": one or 0.0, "format": form, "accuracy": one or 0.0}
        for one, form in zip(found, tagged, strict=True)
    ]


def openrlhf_rewards(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **_: Any
) -> dict[str, Any]:
    """OpenRLHF's `reward_func`: a query is a prompt and its response, a label the column `ladder`."""
    import torch

    responses = [_response(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    found = scores(responses, labels)
    rewards = torch.tensor([one or 0.0 for one in found])
    timeouts = torch.tensor([float(one is None) for one in found])
    return {"rewards": rewards, "scores": rewards, "extra_logs": {"timeout": timeouts}}


def lmm_r1_rewards(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str], **_: Any) -> Any:
    """The `reward_func` of OpenRLHF's multimodal forks: one tensor of rewards."""
    return openrlhf_rewards(queries, prompts, labels)["rewards"]


def _response(query: str, prompt: str) -> str:
    """What follows the prompt. That need not stand in the query as it was handed over; then, what follows the first turn of
    the assistant, for neither question nor instruction can hold such a token. Raises BadInput where there is
    neither: a reward of 0 for everything would say nothing."""
    if isinstance(prompt, str) and prompt != "" and query.startswith(prompt):
        response = query[len(prompt) :]
    elif mark := _ASSISTANT.search(query):
        response = query[mark.end() :]
    else:
        raise BadInput(
            f"cannot tell prompt and response apart: the query does not begin with the prompt, and shows no turn of the "
            f"assistant: {query[:200]!r}"
        )
    return _ENDS.sub("", response)


class SwiftAccuracy:
    """ms-swift's outcome reward, as its plugins are: called with completions and the data set's columns."""

    def __init__(self, args: Any = None, **_: Any) -> None:
        self.args = args

    def __call__(self, completions: Sequence[str], ladder: Sequence[str], **_: Any) -> list[float]:
        """A reward for each completion."""
        return [one or 0.0 for one in scores(completions, ladder)]
