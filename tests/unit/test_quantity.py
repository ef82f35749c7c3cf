import pytest

from apimachinery import quantity


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("0.1", "100m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1e3", "1e3"),
        ("1E", "1E"),
        ("0", "0"),
        ("1500", "1500"),
        (".5", "500m"),
        ("5.", "5"),
        ("-1.5", "-1500m"),
        ("0.1n", "1n"),
        ("1023", "1023"),
        ("0.5Ki", "512"),
        ("99999999999999999999", "9223372036854775807"),
        (0.5, "500m"),
        (2, "2"),
    ],
)
def test_canonical(text: str, canonical: str) -> None:
    assert quantity.canonical(text) == canonical


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1 Gi", "Gi", "1kk", "1gi", "--1", "1e", "0x1"])
def test_refused(text: str) -> None:
    with pytest.raises(quantity.QuantityError):
        quantity.parse(text)


def test_rounding_up() -> None:
    assert quantity.value("1500m") == 2
    assert quantity.milli_value("0.0001") == 1
    assert quantity.milli_value("2") == 2000
    assert quantity.value("1Gi") == 2**30
    assert quantity.compare("1024Mi", "1Gi") == 0
    assert quantity.compare("999m", "1") == -1
