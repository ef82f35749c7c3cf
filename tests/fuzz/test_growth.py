"""The same dose of everything bad, again and again: what is kept of one dose shows as growth from dose to dose."""

from concurrent.futures import ThreadPoolExecutor

import psutil

from tests.fuzz import test_bodies, test_connections, test_requests
from tests.fuzz.victim import Victim
from tests.fuzz.wire import message

KEPT = 1 << 20
"""Bytes a dose; it is some 1,400 requests and connections: less than a kilobyte each."""


def dose(victim: Victim, salt: int) -> None:
    for text in test_bodies.TEXTS:
        if len(text) < 200_000:
            for media in ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"):
                victim.call("POST", f"{test_bodies.MAPS}?dryRun=All", text, [("Content-Type", media)])
    for number in range(300):  # a new name, token, group and path each time
        new = f"{salt}-{number}"
        victim.call(
            "GET",
            f"/api/v1/namespaces/none-{new}/pods/x?labelSelector=a={new}",
            headers=[("Accept", f"a/b;x={new}, */*")],
        )
        victim.call("GET", f"/apis/group-{new}/v1/things", token=f"nobody-{new}")
        victim.call("GET", f"{test_bodies.MAPS}/x-{new}", headers=[("User-Agent", new), ("Impersonate-User", new)])
    for path in test_requests.PATHS:
        victim.call("GET", path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: vanish(victim, n), range(120)))


def vanish(victim: Victim, number: int) -> None:
    wire = victim.connect()
    attacks = [
        test_connections.WATCH,
        test_connections.GET[:50],
        test_connections.POST + b"Content-Length: 99\r\n\r\nx",
        message("GET", "/api"),
    ]
    wire.send(attacks[number % 4])
    wire.close()


def test_nothing_is_kept(victim: Victim) -> None:
    process = psutil.Process(victim.pid)
    sizes = []
    for number in range(4):
        dose(victim, number)
        sizes.append(process.memory_info().rss)
    assert sizes[-1] - sizes[-3] < 2 * KEPT, [s >> 20 for s in sizes]
