"""A message taken apart and checked: once for all who have the same keys, and kept while directories are asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

from domsec.services.check import Examination, examine
from domsec.services.context import Context
from domsec.services.layers import Message
from domsec.site import Site
from domsec.trust.discovered import Found


@dataclass(frozen=True, slots=True)
class Judged:
    """What the keys of some recipients show of a message, and what was found out about it."""

    site: Site  # whose trust and agreements it was judged by
    indexes: tuple[int, ...]
    context: Context
    examination: Examination

    def with_answers(self, found: Found) -> Judged:
        """The same, knowing what directories said. Where that is nothing, or nobody signed, no finding changes."""
        context = self.context.knowing(found)
        if found.empty or not any(finding.signers for finding in self.examination.findings):
            return replace(self, context=context)
        return replace(self, context=context, examination=examine(self.examination.message, context))


def judge(message: Message, indexes: tuple[int, ...], site: Site, context: Context) -> Judged:
    """Check a message as the keys of `context` took it apart."""
    return Judged(site, indexes, context, examine(message, context))
