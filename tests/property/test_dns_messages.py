"""No bytes from the network can do more than be refused, and what is read is read as dnslib reads it."""

from dnslib import QTYPE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from node.dns import message

LABELS = st.lists(st.text("abcXYZ019-_", min_size=1, max_size=63), min_size=1, max_size=3)


@given(st.binary(max_size=80))
def test_garbage_is_refused(data: bytes) -> None:
    try:
        message.parse(data)
    except message.Malformed as error:
        assert len(message.refusal(data, error.rcode)) in (0, 12)


@given(LABELS, st.sampled_from(["A", "AAAA", "SRV"]), st.binary(max_size=30), st.integers(0, 200))
def test_damaged_queries_are_refused_or_read(labels: list[str], type_: str, noise: bytes, where: int) -> None:
    data = bytes(DNSRecord.question(".".join(labels), type_).pack())
    for damaged in (data[:where], data[:where] + noise + data[where:]):
        try:
            message.parse(damaged)
        except message.Malformed:
            continue


@given(LABELS, st.sampled_from(["A", "AAAA", "SRV", "PTR"]), st.integers(0, 30), st.booleans())
def test_queries_and_answers_agree_with_dnslib(labels: list[str], type_: str, records: int, tcp: bool) -> None:
    name = ".".join(labels)
    data = bytes(DNSRecord.question(name, type_).pack())
    query = message.parse(data)
    assert (query.name, QTYPE[query.type]) == (name.lower(), type_)
    found = [message.Record(message.A, bytes([10, 0, 0, number]), 5, "other.example") for number in range(records)]
    whole = message.answer(query, message.NOERROR, found)
    fitted = message.fit(query, whole, tcp=tcp)
    assert tcp or len(fitted) <= 512
    reply = DNSRecord.parse(fitted)
    assert str(reply.q.qname) == f"{name}."
    if not reply.header.tc:
        assert [str(rr.rdata) for rr in reply.rr] == [f"10.0.0.{number}" for number in range(records)]
        assert len(message.ttl_offsets(fitted)) == records
