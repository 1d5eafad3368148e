"""Comments, folding white space and quoted strings of header field values (RFC 5322 3.2, RFC 2045 5.1).

Every function takes the unfolded value and a position and gives the position behind what it read. Each octet is
looked at a bounded number of times: no pattern here can backtrack, nothing recurses.
"""

from __future__ import annotations

import re

from domsec.errors import MalformedMessage

_BLANK = re.compile(r"[ \t]*+")
_COMMENT_MARK = re.compile(r"[()]|\\.", re.DOTALL)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)"', re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_TOKEN = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]*+")

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_SPELLABLE = re.compile(r"[^ -~]")


def skip_blank(text: str, at: int) -> int:
    """Behind spaces and tabs."""
    match = _BLANK.match(text, at)
    assert match is not None
    return match.end()


def skip_comments(text: str, at: int) -> int:
    """Behind [CFWS]. Comments may nest. Raises MalformedMessage if one does not end."""
    at = skip_blank(text, at)
    while at < len(text) and text[at] == "(":
        at = skip_blank(text, _behind_comment(text, at))
    return at


def _behind_comment(text: str, at: int) -> int:
    depth = 0
    for mark in _COMMENT_MARK.finditer(text, at):
        if mark[0] == "(":
            depth += 1
        elif mark[0] == ")":
            depth -= 1
            if depth == 0:
                return mark.end()
    raise MalformedMessage("a comment does not end")


def quoted_string(text: str, at: int) -> tuple[str, int]:
    """The meaning of the quoted string that begins at `at`, and where it ends. Raises MalformedMessage."""
    match = _QUOTED.match(text, at)
    if match is None:
        raise MalformedMessage("a quoted string does not end")
    content = match[1]
    if "\\" in content:
        content = _QUOTED_PAIR.sub(r"\1", content)
    return content, match.end()


def token(text: str, at: int) -> tuple[str, int]:
    """The longest token of RFC 2045 5.1 at `at`, perhaps empty, and where it ends."""
    match = _TOKEN.match(text, at)
    assert match is not None
    return match[0], match.end()


def has_control(text: str) -> bool:
    """Whether there is a control character other than tab, bare CR included."""
    return _CONTROL.search(text) is not None


def is_token(text: str) -> bool:
    return bool(text) and token(text, 0)[1] == len(text)


def quote(text: str) -> str:
    """`text` as a quoted string. Characters that are not printable ASCII become question marks."""
    plain = _NOT_SPELLABLE.sub("?", text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
