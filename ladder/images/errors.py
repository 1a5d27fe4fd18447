"""What is raised of an image that cannot be used."""

from __future__ import annotations

_DETAIL_LENGTH = 200


class ImageRejected(Exception):
    """An image that cannot be used; `reason` is the reject's code, `detail` one printable line for people.

    Names and messages come from the pool: what a terminal would obey and what UTF-8 cannot hold is replaced.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        detail = "".join(c if c.isprintable() else "\ufffd" for c in detail[:_DETAIL_LENGTH])
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail

    def __reduce__(self) -> tuple[type[ImageRejected], tuple[str, str]]:
        return ImageRejected, (self.reason, self.detail)
