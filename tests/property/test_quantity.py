"""Quantities: canonical forms mean the same, are final, and order as the amounts do."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from apimachinery import quantity

_SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-2", "e0"]
_numbers = st.from_regex(r"[+-]?([0-9]{1,9}(\.[0-9]{0,6})?|\.[0-9]{1,6})", fullmatch=True)
quantities = st.builds(lambda n, s: n + s, _numbers, st.sampled_from(_SUFFIXES))


@given(quantities)
def test_canonical_is_final_and_the_same_amount(text: str) -> None:
    once = quantity.canonical(text)
    assert quantity.canonical(once) == once
    assert quantity.parse(once) == quantity.parse(text)


@given(quantities, quantities)
def test_order(a: str, b: str) -> None:
    assert quantity.compare(a, b) == -quantity.compare(b, a)
    if quantity.parse(a) <= quantity.parse(b):
        assert quantity.value(a) <= quantity.value(b)
        assert quantity.milli_value(a) <= quantity.milli_value(b)


@given(quantities)
def test_rounding_up_is_less_than_one_unit(text: str) -> None:
    amount = quantity.parse(text)
    assert 0 <= quantity.value(text) - amount < 1
    assert 0 <= Decimal(quantity.milli_value(text)) - amount * 1000 < 1


@given(st.text(max_size=12))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        quantity.canonical(text)
    except quantity.QuantityError:
        return
    assert text.strip() == text
