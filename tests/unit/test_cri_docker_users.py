"""The primary group that a strict user is given, and who a process is."""

import os
from pathlib import Path

import pytest

from node.cri_docker.refusal import Refused
from node.cri_docker.users import identity, with_group

PASSWD = "root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\nbroken\n"


@pytest.fixture
def layers(tmp_path: Path) -> list[str]:
    """The uppermost has no passwd, the lowest another one."""
    for name, text in (("middle", PASSWD), ("lowest", "web:x:1:1::/:/bin/sh\n")):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc" / "passwd").write_text(text)
    return [str(tmp_path / name) for name in ("upper", "middle", "lowest")]


@pytest.mark.parametrize(
    ("user", "wanted"), [("web", "33:44"), ("33", "33:44"), ("", "0:0"), ("1000", "1000:0"), ("5:6", "5:6")]
)
def test_a_user_gets_the_group_of_the_images_passwd(layers: list[str], user: str, wanted: str) -> None:
    assert with_group(user, layers) == wanted


def test_a_name_that_the_image_does_not_know_is_refused(layers: list[str]) -> None:
    with pytest.raises(Refused, match="nobody"):
        with_group("nobody", layers)


def test_a_process_tells_who_it_is() -> None:
    me = identity(os.getpid())
    assert me and (me.uid, me.gid) == (os.geteuid(), os.getegid()) and me.gid in me.supplemental_groups
    assert identity(2**22 + 1) is None
