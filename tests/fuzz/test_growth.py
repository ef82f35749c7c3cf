"""The same dose of everything bad, again and again: what is kept of one dose shows as growth from dose to dose."""

from concurrent.futures import ThreadPoolExecutor

import psutil

from tests.effort import EFFORT
from tests.fuzz import test_bodies, test_connections, test_requests
from tests.fuzz.victim import Victim
from tests.fuzz.wire import message

KEPT = 1 << 20
"""Bytes a dose; it is some 1,400 requests and connections: less than a kilobyte each."""
DOSES = 4 + 4 * min(EFFORT, 8)
REMEMBERED = 8192
"""What is remembered of users, at most (``Memo``): that is full before anything is measured."""


LENGTH = 100_000
"""Characters of a long text."""


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
    """The least of some doses is compared: what one of them needs for a while, the allocator holds now and then."""
    for number in range(REMEMBERED):
        victim.call("GET", "/api/v1/namespaces/none", headers=[("Impersonate-User", f"stranger-{number:06}")])
    process = psutil.Process(victim.pid)
    sizes = []
    for number in range(DOSES):
        dose(victim, number)
        sizes.append(process.memory_info().rss)
    assert min(sizes[-3:]) - min(sizes[1:4]) < (DOSES - 4) * KEPT, [s >> 20 for s in sizes]


def test_long_texts_are_not_remembered(victim: Victim) -> None:
    """What is remembered by its text (paths, names, users, selectors, media types) is bounded in bytes as well."""
    process = psutil.Process(victim.pid)

    def lengthy(salt: int) -> None:
        long = f"{salt:04}" + "x" * LENGTH
        victim.call("GET", f"/{long}", token="user-token")
        victim.call("GET", f"{test_bodies.MAPS}/{long}", headers=[("Impersonate-User", long)])
        victim.call("GET", f"/api/v1/namespaces/{long}/pods?labelSelector={long}&fieldSelector=metadata.name%3D{long}")
        victim.call("GET", "/api", headers=[("Accept", f"a/{long}, */*")])
        name = f'{{"metadata":{{"name":"{long}","labels":{{"{long}":"{long}"}}}}}}'.encode()
        victim.call("POST", f"{test_bodies.MAPS}?dryRun=All", name, [("Content-Type", "application/json")])

    for salt in range(15):
        lengthy(salt)
    before = process.memory_info().rss
    for salt in range(100, 160):
        lengthy(salt)
    grown = process.memory_info().rss - before
    assert grown < 60 * LENGTH, f"{grown >> 20} MiB more"
