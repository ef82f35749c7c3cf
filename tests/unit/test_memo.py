from typing import Any

from apimachinery.memo import LONGEST, Memo, memo


def test_long_questions_are_answered_but_not_kept() -> None:
    asked: list[object] = []

    @memo(8)
    def length(text: Any, *, more: int = 0) -> int:
        asked.append(text)
        return len(str(text)) + more

    long = "x" * (LONGEST + 1)
    assert [length("abc"), length("abc"), length(7), length("abc", more=1)] == [3, 3, 1, 4]
    assert len(asked) == 3
    assert length(long) == length(long) == LONGEST + 1
    assert asked[3:] == [long, long]


def test_a_memo_has_two_bounds() -> None:
    known: Memo[tuple[str | tuple[str, ...], ...], int] = Memo(3)
    for number in range(3):
        assert known.keep((str(number), ("a", "b")), number) == number
    assert known.keep(("x", ("g" * LONGEST,)), 9) == 9
    assert len(known) == 3 and known.get(("1", ("a", "b"))) == 1
    known.keep(("new",), 4)
    assert list(known.values()) == [1, 2, 4]
