"""The public suffix list, which nobody's authority may stand on (decisions A-19)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path


@functools.cache
def load(path: Path | None = None) -> Callable[[str], bool]:
    """A test for public suffixes, private ones included; from a file, or the list that its package ships.

    Domains are in lower case and A-labels. A single label is always one.
    """
    from publicsuffixlist import PublicSuffixList

    if path is None:
        suffixes = PublicSuffixList()
    else:
        with path.open("rb") as source:
            suffixes = PublicSuffixList(source)

    @functools.lru_cache(maxsize=4096)
    def is_public_suffix(domain: str) -> bool:
        return bool(suffixes.publicsuffix(domain) == domain)

    return is_public_suffix
