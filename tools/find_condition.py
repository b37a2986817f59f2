"""A condition over columns: one boolean expression, checked and written out anew as SQL.

    or   and   not   = == != <> < <= > >=   between .. and ..   in (..)   like, ilike
    is [not] null   + - * / %   abs round floor ceil sqrt hypot least greatest coalesce lower upper
    contains starts_with length   numbers, texts in quotes, true, false, null, columns

A root of what lies below 0 and a quotient by 0 are null, which no comparison holds for: the
database would make them NaN, which it takes to be greater than every number.

Nothing of the user's text reaches the database but numbers and quoted texts, so that no
statement, subquery, file or setting can be smuggled in.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from data.errors import InputError

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)(?![\w.])"
    r"|(?P<text>'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\")"
    r"|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<sign>==|!=|<>|<=|>=|[-+*/%<>=(),]))",
    re.ASCII,
)
_COMPARE = {"=", "==", "!=", "<>", "<", "<=", ">", ">="}
_FUNCTIONS = {  # name -> number of arguments, least and most
    "abs": (1, 1), "round": (1, 1), "floor": (1, 1), "ceil": (1, 1), "sqrt": (1, 1),
    "hypot": (2, 2), "least": (1, 9), "greatest": (1, 9), "coalesce": (1, 9), "lower": (1, 1),
    "upper": (1, 1), "contains": (2, 2), "starts_with": (2, 2), "length": (1, 1),
}  # fmt: skip
_WORDS = {"and", "or", "not", "in", "between", "like", "ilike", "is", "null", "true", "false"}
_DEEPEST, _LONGEST, _LONGEST_SQL = 60, 10_000, 200_000


@dataclass(frozen=True)
class Condition:
    """``sql``: the expression; ``columns``: those used, in order of appearance."""

    sql: str
    columns: tuple[str, ...]


def parse_condition(
    given: str, columns: Mapping[str, str], values: Mapping[str, Sequence[str]] | None = None
) -> Condition:
    """Check a condition and write it as SQL.

    Args:
        columns: name -> how it is written in SQL; values: name -> all that a column of texts may
            hold, of columns that hold no others.

    Raises:
        InputError: not one boolean expression; says where, and for an unknown column its nearest;
            or a column is to equal what it never holds.
    """
    parser = _Parser(given, columns, values or {})
    sql, boolean = parser.either()
    if parser.kind:
        raise parser.wrong("'and', 'or' or the end")
    if not boolean:
        raise InputError(f"condition '{given:.80}': is a value; compare it, e.g. 'ttc_s < 2'")
    return Condition(sql, tuple(parser.used))


class _Parser:
    """Recursive descent; each method returns SQL, some with whether it is a truth value."""

    def __init__(
        self, given: str, columns: Mapping[str, str], values: Mapping[str, Sequence[str]]
    ) -> None:
        if len(given) > _LONGEST:
            raise InputError(f"condition: longer than {_LONGEST} characters")
        self.given, self.columns, self.values = given, columns, values
        self.used: dict[str, None] = {}
        self.kind, self.token, self.at, self.end, self.depth = "", "", 0, 0, 0
        self.next()

    def next(self) -> str:
        """Step to the next token; returns the one before."""
        token = self.token
        match = _TOKEN.match(self.given, self.end)
        if match is None:
            self.at = self.end + len(self.given[self.end :]) - len(self.given[self.end :].lstrip())
            self.kind, self.token = "", ""
            if self.given[self.at :]:
                raise self.wrong("a column, number, quoted text or sign")
        else:
            self.kind, self.end = str(match.lastgroup), match.end()
            self.at, self.token = match.start(self.kind), match[self.kind]
        return token

    def wrong(self, expected: str) -> InputError:
        rest = self.given[self.at : self.at + 20]
        found = f"found '{rest}'" if rest else "found its end"
        return InputError(
            f"condition '{self.given:.80}': expected {expected} at character {self.at + 1}, {found}"
        )

    def word(self, *words: str) -> bool:
        return self.kind == "word" and self.token.lower() in words

    def take(self, *words: str) -> bool:
        """Step over one of the words or signs, if it is there."""
        found = self.word(*words) or (self.kind == "sign" and self.token in words)
        if found:
            self.next()
        return found

    def need(self, token: str) -> None:
        if not self.take(token):
            raise self.wrong(f"'{token}'")

    def truth(self, side: tuple[str, bool]) -> str:
        if not side[1]:
            raise self.wrong("a comparison such as '< 2'")
        return side[0]

    def either(self) -> tuple[str, bool]:
        left = self.both()
        while self.take("or"):
            left = f"({self.truth(left)} OR {self.truth(self.both())})", True
        return left

    def both(self) -> tuple[str, bool]:
        left = self.negated()
        while self.take("and"):
            left = f"({self.truth(left)} AND {self.truth(self.negated())})", True
        return left

    def negated(self) -> tuple[str, bool]:
        turns = 0
        while self.take("not"):
            turns += 1
        side = self.compared()
        return (f"(NOT {self.truth(side)})", True) if turns % 2 else side

    def compared(self) -> tuple[str, bool]:
        name = self.token.lower() if self.kind == "word" else ""
        left, boolean = self.sum()
        column = name if left == self.columns.get(name) else ""
        if self.kind == "sign" and self.token in _COMPARE:
            sign = self.next().replace("==", "=")
            self.known(column)
            return f"({left} {sign} {self.sum()[0]})", True
        if self.take("is"):
            no = "NOT " if self.take("not") else ""
            self.need("null")
            return f"({left} IS {no}NULL)", True
        no = "NOT " if self.take("not") else ""
        if self.take("between"):
            low = self.sum()[0]
            self.need("and")
            return f"({left} {no}BETWEEN {low} AND {self.sum()[0]})", True
        if self.take("in"):
            self.need("(")
            return f"({left} {no}IN ({', '.join(self.items(column))}))", True
        for like in ("like", "ilike"):
            if self.take(like):
                return f"({left} {no}{like.upper()} {self.sum()[0]})", True
        if no:
            raise self.wrong("'between', 'in' or 'like'")
        return left, boolean

    def known(self, column: str) -> None:
        """The next token, if it is a text, is one that the column may hold."""
        values = self.values.get(column, ())
        if self.kind == "text" and values and self.token[1:-1] not in values:
            expected = ", ".join(values)
            raise InputError(f"condition: no {column} is {self.token}; expected one of {expected}")

    def items(self, column: str = "") -> list[str]:
        self.known(column)
        items = [self.sum()[0]]
        while self.take(","):
            self.known(column)
            items.append(self.sum()[0])
        self.need(")")
        return items

    def sum(self) -> tuple[str, bool]:
        left = self.product()
        while self.kind == "sign" and self.token in "+-":
            left = f"({left[0]} {self.next()} {self.product()[0]})", False
        return left

    def product(self) -> tuple[str, bool]:
        left = self.value()
        while self.kind == "sign" and self.token in "*/%":
            sign, right = self.next(), self.value()[0]
            if sign == "*":
                left = f"({left[0]} * {right})", False
            else:
                left = f"(CASE WHEN {right} <> 0 THEN {left[0]} {sign} {right} END)", False
        return left

    def value(self) -> tuple[str, bool]:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise InputError("condition: nested too deeply")
        found = self.single()
        if len(found[0]) > _LONGEST_SQL:  # what is written twice doubles with every nesting
            raise InputError("condition: nested too deeply")
        self.depth -= 1
        return found

    def single(self) -> tuple[str, bool]:
        if self.kind == "number":
            return f"CAST({self.next()} AS DOUBLE)", False
        if self.kind == "text":
            token = self.next()
            quote, inner = token[0], token[1:-1]
            return "'" + inner.replace(quote * 2, quote).replace("'", "''") + "'", False
        if self.take("-"):
            return f"(-{self.value()[0]})", False
        if self.take("("):
            inside = self.either()
            self.need(")")
            return inside
        if self.kind == "word":
            return self.name()
        raise self.wrong("a column, number or quoted text")

    def name(self) -> tuple[str, bool]:
        if self.word("true", "false", "null"):
            return (word := self.next().upper()), word != "NULL"
        if self.word(*_WORDS):
            raise self.wrong("a column, number or quoted text")
        name = self.next().lower()
        if self.kind == "sign" and self.token == "(":
            return self.function(name)
        if name not in self.columns:
            raise self.unknown(name, "column", [*self.columns])
        self.used[name] = None
        return self.columns[name], name in _BOOLEAN

    def function(self, name: str) -> tuple[str, bool]:
        if name not in _FUNCTIONS:
            raise self.unknown(name, "function", [*_FUNCTIONS])
        self.next()
        items = self.items()
        least, most = _FUNCTIONS[name]
        if not least <= len(items) <= most:
            raise InputError(f"condition: {name}() takes {least} value{'s'[: least - 1]}")
        if name == "hypot":
            return f"sqrt({items[0]} * {items[0]} + {items[1]} * {items[1]})", False
        if name == "sqrt":
            return f"sqrt(CASE WHEN {items[0]} >= 0 THEN {items[0]} END)", False
        return f"{name}({', '.join(items)})", name in ("contains", "starts_with")

    def unknown(self, name: str, what: str, known: list[str]) -> InputError:
        near = [k for k in known if name in k.split("_")][:3]
        near = near or difflib.get_close_matches(name, known, 1, 0.4)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        quotes = f"Texts go in quotes: '{name}'; " if what == "column" else ""
        return InputError(
            f"condition: no {what} '{name}'; {hint}{quotes}--columns lists the columns"
        )


_BOOLEAN = ("has_path", "deadline_missed")
