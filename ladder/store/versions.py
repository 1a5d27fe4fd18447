"""The format version of a ladder's files: which one this Ladder reads, and what to do about any other.

What changed from one to the next is said in ladder.migrate, which brings older ladders forward.
"""

from __future__ import annotations

from pathlib import Path

from ladder.errors import BadInput

FORMAT_VERSION = 2
MARKER = "build.toml"


def format_version(path: Path) -> int:
    """What the marker of a ladder's directory says, at most FORMAT_VERSION; raises BadInput where there is no marker, or
    one of a newer version."""
    from ladder.config import read_toml

    if not (path / MARKER).is_file():
        raise BadInput(f"{path} is not a ladder: it has no {MARKER} (`ladder build` makes one)")
    version = read_toml(path / MARKER).get("format_version")
    if type(version) is not int or version < 1:
        raise BadInput(f"{path / MARKER} says no format_version that there is: {version!r}")
    if version > FORMAT_VERSION:
        raise BadInput(
            f"{path} has format_version {version}, this Ladder reads {FORMAT_VERSION}: a newer Ladder made it, upgrade this "
            "one (`pip install --upgrade neuraladder`)"
        )
    return version


def check_version(path: Path) -> None:
    """Raises BadInput where a directory is no ladder, or one whose files this version does not read."""
    version = format_version(path)
    if version < FORMAT_VERSION:
        raise BadInput(
            f"{path} has format_version {version}, this Ladder reads {FORMAT_VERSION}: `ladder migrate {path}` brings it "
            "forward, without sampling anything"
        )
