"""On which line of a TOML text each key and array item stands.

`tomllib` gives values without their places. This scanner walks a text that `tomllib` has already accepted, so it
decides nothing: it only has to find its way past strings, comments and brackets.
"""

from __future__ import annotations

import re
import tomllib

KeyPath = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}\n#]+")
_STRINGS = (
    ('"""', re.compile(r'"""(?:\\.|[^\\])*?"""(?:"{1,2}(?!"))?', re.DOTALL)),
    ("'''", re.compile(r"'''.*?'''(?:'{1,2}(?!'))?", re.DOTALL)),
    ('"', re.compile(r'"(?:\\.|[^"\\\n])*"')),
    ("'", re.compile(r"'[^'\n]*'")),
)


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line, counted from 1, of each table, key and array item of a TOML text that `tomllib` reads.

    Paths are as one would index the loaded value: `("peer", 0, "domain")`. A table is on the line of its header, or
    where it has none on that of the first one inside it.
    """
    scanner = _Scanner(text)
    scanner.document()
    return scanner.implied | scanner.lines


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self.lines: dict[KeyPath, int] = {}
        self.implied: dict[KeyPath, int] = {}  # tables that only headers of tables inside them speak of
        self.tables: dict[KeyPath, int] = {}  # how many [[tables]] each array has so far

    def document(self) -> None:
        prefix: KeyPath = ()
        while self.past_blank():
            if self.text.startswith("[[", self.position):
                prefix = self.array_table()
            elif self.text[self.position] == "[":
                prefix = self.table()
            else:
                self.pair(prefix)

    def past_blank(self) -> bool:
        match = _BLANK.match(self.text, self.position)
        self.position = match.end() if match else self.position
        return self.position < len(self.text)

    def mark(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.line())

    def line(self) -> int:
        return self.text.count("\n", 0, self.position) + 1

    def table(self) -> KeyPath:
        start = self.position
        self.position += 1
        path = self.resolved(self.dotted_key())
        end, self.position = self.position, start
        self.mark(path)
        self.position = end + 1
        return path

    def array_table(self) -> KeyPath:
        start = self.position
        self.position += 2
        path = self.resolved(self.dotted_key()[:-1], self.last_key)
        number = self.tables.get(path, 0)
        self.tables[path] = number + 1
        end, self.position = self.position, start
        self.mark(path)
        self.mark((*path, number))
        self.position = end + 2
        return (*path, number)

    def resolved(self, keys: tuple[str, ...], *more: str) -> KeyPath:
        """The path that a header means: a name of an array of tables stands for its latest table."""
        path: KeyPath = ()
        for key in keys:
            path = (*path, key)
            if path in self.tables:
                path = (*path, self.tables[path] - 1)
            self.implied.setdefault(path, self.line())
        return (*path, *more)

    def pair(self, prefix: KeyPath) -> None:
        start = self.position
        keys = self.dotted_key()
        end, self.position = self.position, start
        for count in range(1, len(keys) + 1):
            self.mark((*prefix, *keys[:count]))
        self.position = end + 1  # past the equals sign
        self.past_blank()
        self.value((*prefix, *keys))

    def dotted_key(self) -> tuple[str, ...]:
        keys: list[str] = []
        while True:
            self.past_blank()
            keys.append(self.simple_key())
            self.past_blank()
            if self.text[self.position] != ".":
                self.last_key = keys[-1]
                return tuple(keys)
            self.position += 1

    def simple_key(self) -> str:
        if self.text[self.position] in "\"'":
            quoted = self.string()
            return str(tomllib.loads(f"key = {quoted}")["key"])
        match = _BARE_KEY.match(self.text, self.position)
        assert match, "tomllib accepts no other key"
        self.position = match.end()
        return match.group()

    def string(self) -> str:
        for quote, pattern in _STRINGS:
            if self.text.startswith(quote, self.position) and (match := pattern.match(self.text, self.position)):
                self.position = match.end()
                return match.group()
        raise AssertionError("tomllib accepts no other string")

    def value(self, path: KeyPath) -> None:
        first = self.text[self.position]
        if first in "\"'":
            self.string()
        elif first == "[":
            self.array(path)
        elif first == "{":
            self.inline_table(path)
        elif match := _SCALAR.match(self.text, self.position):
            self.position = match.end()

    def array(self, path: KeyPath) -> None:
        self.position += 1
        number = 0
        while self.past_blank() and self.text[self.position] != "]":
            self.mark((*path, number))
            self.value((*path, number))
            number += 1
            self.past_blank()
            if self.text[self.position] == ",":
                self.position += 1
        self.position += 1

    def inline_table(self, path: KeyPath) -> None:
        self.position += 1
        while self.past_blank() and self.text[self.position] != "}":
            self.pair(path)
            self.past_blank()
            if self.text[self.position] == ",":
                self.position += 1
        self.position += 1
