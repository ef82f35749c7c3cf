from master.apiserver.storage.pages import MOST, ROOM, Page, Pages


def kept(pages: Pages, key: str = "") -> Page:
    """A page as a reader makes it: from the state that ``pages`` has now."""
    page = Page([], 0, pages.room)
    pages.keep(key, page)
    return page


def test_a_page_is_found_until_the_state_changes() -> None:
    pages = Pages()
    page = kept(pages, "all")
    assert pages.get("all") is page and pages.get("others") is None
    pages.forget()
    assert pages.get("all") is None


def test_the_pages_of_a_state_share_its_room() -> None:
    pages = Pages()
    first, second = kept(pages, "1"), kept(pages, "2")
    assert not first.may_keep(ROOM + 1)
    assert first.may_keep(ROOM - 10)
    assert not second.may_keep(11)
    assert second.may_keep(10)


def test_a_page_of_an_older_state_takes_nothing_from_the_next() -> None:
    pages = Pages()
    old, never_kept = kept(pages), Page([], 0, pages.room)
    pages.forget()
    assert old.may_keep(ROOM) and not never_kept.may_keep(1)
    assert kept(pages).may_keep(ROOM)


def test_a_page_that_came_too_late_to_be_kept_takes_nothing_from_the_next() -> None:
    pages = Pages()
    late = Page([], 0, pages.room)
    pages.forget()
    assert late.may_keep(ROOM)
    assert kept(pages).may_keep(ROOM)


def test_there_are_never_more_than_most() -> None:
    pages = Pages()
    for number in range(MOST + 1):
        assert kept(pages, str(number)).may_keep(ROOM // MOST)
    found = [number for number in range(MOST + 1) if pages.get(str(number))]
    assert found == [MOST]


def test_what_is_read_from_past_states_is_not_kept() -> None:
    assert not Page([], 0).may_keep(1)
