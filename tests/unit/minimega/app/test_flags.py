"""The flags of `minimega`: Go's way of reading them, long spellings, flags without effect, mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.minimega.app.flags import FLAGS, FlagError, ignored_text, parse, usage

SPEC_B9 = (
    "level v verbose logfile base degree msa broadcast vlanrange port force recover nostdin version context filepath "
    "cli panic cgroup pipe headnode hashfiles abssnapshot e attach namespace"
).split()


@pytest.mark.parametrize("name", [*SPEC_B9, "doc"])
@pytest.mark.parametrize("dashes", ["-", "--"])
def test_every_flag_of_the_original_is_read(name, dashes):
    flag = next(flag for flag in FLAGS if flag.name == name)
    words = [dashes + name] if isinstance(flag.default, bool) else [dashes + name, "7"]
    flags = parse([*words, "rest"])
    assert set(flags.given) == {name}
    assert flags.words == ("rest",)


@pytest.mark.parametrize(
    ("argv", "given", "words"),
    [
        ([], {}, ()),
        (["-base=/x", "a.mm", "-force"], {"base": "/x"}, ("a.mm", "-force")),
        (["-nostdin=false", "--e", "vm", "info"], {"nostdin": False, "e": True}, ("vm", "info")),
        (["-e", "-namespace", "lab", ".columns", "id"], {"e": True, "namespace": "lab"}, (".columns", "id")),
        (["-e", "--", "-x"], {"e": True}, ("-x",)),
        (["-e", "-"], {"e": True}, ("-",)),
        (["-base", "-x"], {"base": "-x"}, ()),
        (["-base="], {"base": ""}, ()),
        (["-e", ""], {"e": True}, ("",)),
    ],
)
def test_reading(argv, given, words):
    flags = parse(argv)
    assert dict(flags.given) == given
    assert flags.words == words


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["-nosuch"], 'not defined: "-nosuch"'),
        (["--nosuch=3"], 'not defined: "--nosuch"'),
        (["-base"], 'needs an argument: "-base"'),
        (["-force=maybe"], 'invalid value "maybe" for flag "-force"'),
        (["-=x"], "not defined"),
    ],
)
def test_mistakes_are_named(argv, message):
    with pytest.raises(FlagError, match=message):
        parse(argv)


def test_flags_without_effect_say_so():
    assert ignored_text(parse(["-headnode", "h", "-base", "/x", "-hashfiles"])).endswith(": -headnode, -hashfiles")
    assert ignored_text(parse(["-base", "/x"])) == ""


def test_defaults_and_usage():
    flags = parse([])
    assert flags.text("base") == "/tmp/minimega"
    assert flags.on("verbose")
    assert not flags.on("force")
    assert all(f"-{flag.name}" in usage() for flag in FLAGS)


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_words_are_read_or_refused(argv):
    try:
        flags = parse(argv)
    except FlagError:
        return
    assert set(flags.given) <= {flag.name for flag in FLAGS}
    assert list(flags.words) == argv[len(argv) - len(flags.words) :]
