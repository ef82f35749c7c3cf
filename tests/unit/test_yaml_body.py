import pytest

from apimachinery.errors import BadRequest
from master.apiserver.rest.yaml_body import construct

BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (c, c, b", ".join([b"*%c" % (c - 1)] * 9)) for c in b"bcdefgh"
)


def test_yaml_is_read_as_json() -> None:
    text = b"when: 2026-01-01T00:00:00Z\n80: yes\nbase: &b {x: 1}\nuse: {<<: *b, y: 2}\n"
    assert construct(text)[0] == {"when": "2026-01-01T00:00:00Z", "80": True, "base": {"x": 1}, "use": {"x": 1, "y": 2}}
    assert construct(b"") == (None, [])
    numbers = construct(b"[-9223372036854775808, 18446744073709551615, 18446744073709551616]")[0]
    assert numbers == [-(1 << 63), (1 << 64) - 1, 1.8446744073709552e19]
    assert isinstance(numbers[2], float), "as JSON has it"
    with pytest.raises(BadRequest):
        construct(b"9" * 400)


def test_repeated_keys_are_told_with_their_lines() -> None:
    _, twice = construct(b"a: 1\nb:\n  c: 1\n  c: 2\na: 2\n")
    assert twice == ['line 4: key "c" already set in map', 'line 5: key "a" already set in map']


@pytest.mark.parametrize(
    "text",
    [
        b"a: [",
        b"{[1]: 2}",
        BOMB,
        b"a: &a [*a]",
        b"[" * 100_000,
        b"a: !!bool x",
        b"a: !!int",
        b"!!python/object:os.x {}",
    ],
)
def test_what_is_refused(text: bytes) -> None:
    with pytest.raises(BadRequest):
        construct(text)
