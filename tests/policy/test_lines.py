"""The line of each key of a TOML text."""

from __future__ import annotations

import tomllib

import pytest

from domsec.policy.lines import KeyPath, key_lines

TEXT = '''\
# a comment with = and [brackets]
top = 1
"quoted key" = "a # that is no comment"
dotted.inner = """
several
lines with "quotes" and [brackets]"""

[table]
list = [  # comment
  "one",
  'two', [ 3,
  4 ],
]
[table.deep]
literal = \'\'\'
x = 1
\'\'\'
after = 1.5

[[many]]
a = 1
  [[many.inner]]
  b = { c = 1, d = [ { e = 2 } ] }
  [[many.inner]]
  b = "\\"]"
[[many]]
[many.sub]
a = 1979-05-27T07:32:00Z
[implied.deep.table]
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("top",), 2),
        (("quoted key",), 3),
        (("dotted",), 4),
        (("dotted", "inner"), 4),
        (("table",), 8),
        (("implied",), 29),
        (("implied", "deep"), 29),
        (("table", "list"), 9),
        (("table", "list", 0), 10),
        (("table", "list", 1), 11),
        (("table", "list", 2, 1), 12),
        (("table", "deep"), 14),
        (("table", "deep", "literal"), 15),
        (("table", "deep", "after"), 18),
        (("many",), 20),
        (("many", 0), 20),
        (("many", 0, "a"), 21),
        (("many", 0, "inner", 0), 22),
        (("many", 0, "inner", 0, "b", "c"), 23),
        (("many", 0, "inner", 0, "b", "d", 0, "e"), 23),
        (("many", 0, "inner", 1, "b"), 25),
        (("many", 1), 26),
        (("many", 1, "sub"), 27),
        (("many", 1, "sub", "a"), 28),
    ],
)
def test_each_key_is_on_its_line(path: KeyPath, line: int) -> None:
    assert key_lines(TEXT)[path] == line


def test_every_key_of_the_document_has_a_line() -> None:
    def paths(value: object, prefix: KeyPath = ()) -> list[KeyPath]:
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [path for key, inner in items for path in [(*prefix, key), *paths(inner, (*prefix, key))]]

    assert set(paths(tomllib.loads(TEXT))) <= set(key_lines(TEXT))


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "a = 1", "a = []", "a = {}", "a = [[], {}]  "])
def test_small_texts_end(text: str) -> None:
    tomllib.loads(text)
    key_lines(text)
