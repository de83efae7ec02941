"""What is run elsewhere is quoted, and no host name becomes an option."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput
from megatools.hostkit.ssh import Login, argv


@given(st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",))), min_size=1))
def test_words_arrive_as_they_are(words: list[str]) -> None:
    assert shlex.split(argv(Login("kn1"), words)[-1]) == words


def test_users_and_sudo() -> None:
    line = argv(Login("kn1.lab", "ops", sudo=True), ("sh", "-c", "a b"))
    assert line[line.index("-l") + 1] == "ops"
    assert line[-3:] == ["--", "kn1.lab", "sudo --non-interactive -- sh -c 'a b'"]
    assert "BatchMode=yes" in line


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "", "a b", "a;b", "a\nb", "$(x)", "kn1/"])
def test_no_host_is_an_option_or_a_command(host: str) -> None:
    with pytest.raises(InvalidInput, match="no host name"):
        argv(Login(host), ("true",))


@pytest.mark.parametrize("user", ["-x", "a b", "root;id"])
def test_no_user_is_an_option(user: str) -> None:
    with pytest.raises(InvalidInput, match="no user name"):
        argv(Login("kn1", user), ("true",))
