"""What can go wrong with the Hub, told in one line. Tokens stand in headers, which are never told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ladder.errors import BadInput, LadderError

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@contextmanager
def telling(repo: str) -> Iterator[None]:
    """Turn errors of `huggingface_hub` into BadInput (no such repository, no access to it) and LadderError."""
    import httpx2
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.HFValidationError as error:
        raise BadInput(f"{repo!r} is no name of a repository on the Hub: {_first(error)}") from None
    except errors.GatedRepoError:
        raise BadInput(f"{repo} is gated: ask for access on its page, then {_LOG_IN}") from None
    except errors.RevisionNotFoundError:
        raise BadInput(f"{repo} has no such revision") from None
    except errors.RepositoryNotFoundError:
        raise BadInput(f"the Hub has no data set {repo}, or not for you: {_LOG_IN}") from None
    except errors.HfHubHTTPError as error:
        raise LadderError(_status(repo, error)) from None
    except (httpx2.HTTPError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        why = _first(error.__cause__ or error)
        raise LadderError(f"cannot reach {constants.ENDPOINT} for {repo}: {why}") from None
    except (
        OSError,
        ValueError,
    ) as error:  # a full disk; a card that the Hub does not take, an upload that it refused
        raise LadderError(f"{repo}: {error}") from None


def _status(repo: str, error: Exception) -> str:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    if status in (401, 403):
        return f"the Hub refuses {repo} ({status}): {_LOG_IN}, with a token that may write there"
    said = getattr(error, "server_message", None)
    return f"the Hub failed for {repo}: {status}{f', {said}' if said else ''}"


def _first(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
