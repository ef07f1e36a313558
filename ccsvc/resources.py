"""Where the files that ship beside the code are: SQL, dialplan and PBX configuration.

Promises: the same name finds them in an installed wheel (package data) and in a checkout (the repository's root).
It does not know what is in them.
"""

from pathlib import Path
from typing import Literal

from ccsvc.errors import CcsvcError

Resource = Literal["sql", "dialplan", "asterisk-conf"]

_PACKAGE = Path(__file__).resolve().parent


class ResourceMissing(CcsvcError):  # noqa: N818  named for what happened, as in ccsvc.errors
    """A folder that belongs to ccsvc is not there: the installation is incomplete."""

    code = "resource_missing"


def resource_dir(name: Resource) -> Path:
    """The folder of that name. Raises `ResourceMissing`."""
    places = (_PACKAGE / "_data" / name, _PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    raise ResourceMissing(f"{name}/ is neither at {places[0]} nor at {places[1]}: install ccsvc again")
