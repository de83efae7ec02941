"""The config language: tokens, assignments, parents, and errors that point at their place."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit.errors import InvalidInput, MegaError, NotFound
from megatools.vmbetter.config.merge import load
from megatools.vmbetter.config.parser import holds, parse
from megatools.vmbetter.config.recipe import text
from megatools.vmbetter.config.source import ConfigError, Source


def values(content: str) -> list[tuple[str, str]]:
    return [(found.key, found.value) for found in parse(Source(Path("x.conf"), content), lambda line: None)]


def test_keys_repeat_and_values_are_raw() -> None:
    content = 'packages="a b"\npackages = `c\nd` postbuild = "echo \\"hi\\" \\n" // end'
    assert values(content) == [("packages", "a b"), ("packages", "c\nd"), ("postbuild", 'echo \\"hi\\" \\n')]


def test_comments_stand_anywhere() -> None:
    assert values('/* a\n b */ packages // c\n = /* d */ "e // not one" // f') == [("packages", "e // not one")]


def test_a_quote_without_an_end_is_a_warning_and_ends_with_its_line() -> None:
    warnings: list[str] = []
    found = parse(Source(Path("x.conf"), 'packages = "a b\noverlay = "c"'), warnings.append)
    assert [one.value for one in found] == ["a b", "c"]
    assert warnings == [
        'x.conf:1:12: string without an end: it ends with its line\n    packages = "a b\n               ^'
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("packges = `x`", 'x.conf:1:1: unknown key "packges"\n    packges = `x`\n    ^'),
        ("\n\tpackages `x`", 'x.conf:2:11: expected "=" after "packages"\n    \tpackages `x`\n    \t         ^'),
        ("packages = packages", 'x.conf:1:12: expected a string after "packages"'),
        ("packages =", 'x.conf:1:10: "packages" has no value'),
        ("packages", 'x.conf:1:1: "packages" has no value'),
        ('"a"', "x.conf:1:1: expected a key"),
        ("# x", "x.conf:1:1: unexpected character '#'"),
        ("packages = `a", "x.conf:1:12: back quote without an end"),
        ("/* a", "x.conf:1:1: comment without an end"),
        ("// +build a,b\npackages = `a`", 'x.conf:1:1: bad build constraint "a,b"'),
    ],
)
def test_errors_point_at_their_place(content: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        values(content)
    assert str(caught.value).startswith(message)


def test_constraints_hold_all_together_and_negation_works() -> None:
    assert holds(("a", "!b"), frozenset("a"))
    assert not holds(("a", "!b"), frozenset("ab"))
    assert not holds(("a", "b"), frozenset("a"))


@given(st.text())
def test_any_text_is_parsed_or_refused_with_its_place(content: str) -> None:
    try:
        values(content)
    except ConfigError as error:
        assert str(error).startswith("x.conf:")


@given(
    st.lists(st.sampled_from(["packages", "=", '"a', '"', "`", "//", "/*", "*/", "\n", "\\", "+build", " b "])).map(
        "".join
    )
)
def test_likely_text_is_parsed_or_refused_with_its_place(content: str) -> None:
    try:
        values(content)
    except ConfigError as error:
        assert str(error).startswith("x.conf:")


def write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        (folder / f"{name}.conf").write_text(content)


def names(folder: Path, config: str = "a.conf", **named) -> list[str]:
    return [entry.value for entry in load(folder / config, directory=folder, **named).packages]


def test_parents_are_merged_where_they_stand_and_once(tmp_path) -> None:
    write(tmp_path, a='packages = "p1" parents = "b.conf c.conf" packages = "p2 p1"')
    write(tmp_path, b='packages = "b" parents = "d.conf"', c='parents = "d.conf" packages = "c"', d='packages = "d"')
    assert names(tmp_path) == ["p1", "b", "d", "c", "p2"]


def test_a_cycle_is_refused_with_its_chain(tmp_path) -> None:
    write(tmp_path, a='parents = "b.conf"', b='parents = "c.conf"', c='parents = "b.conf"')
    with pytest.raises(ConfigError, match=r"c\.conf:1:12: parents form a cycle: b\.conf -> c\.conf -> b\.conf"):
        names(tmp_path)


def test_constraints_apply_to_the_next_key_only(tmp_path) -> None:
    write(
        tmp_path, a='// +build arm64\nparents = "absent.conf"\n// +build debian !arm64\npackages = "x"\npackages = "y"'
    )
    assert names(tmp_path) == ["x", "y"]
    assert names(tmp_path, constraints=frozenset({"amd64"})) == ["y"]


def test_missing_things_are_errors_at_their_place(tmp_path) -> None:
    write(
        tmp_path,
        a='packages = "x"\nparents = "x.conf nope.conf"',
        x="",
        b='overlay = "nope"',
        c='packages = "ok No_Good"',
    )
    with pytest.raises(NotFound, match="no config"):
        names(tmp_path, "absent.conf")
    with pytest.raises(InvalidInput, match="is not a config file"):
        names(tmp_path, ".")
    with pytest.raises(ConfigError, match=r'a\.conf:2:19: no parent "nope\.conf"'):
        names(tmp_path)
    with pytest.raises(ConfigError, match=r'b\.conf:1:12: no overlay "nope"'):
        names(tmp_path, "b.conf")
    with pytest.raises(ConfigError, match=r'c\.conf:1:16: "No_Good" is not a package name'):
        names(tmp_path, "c.conf")


def test_overlays_are_looked_for_in_the_working_directory_then_beside_the_config(tmp_path) -> None:
    work, home = tmp_path / "work", tmp_path / "home"
    (work / "both").mkdir(parents=True)
    (home / "both").mkdir(parents=True)
    (home / "both/file").write_text("not in the other one")
    (home / "near").mkdir()
    write(home, a='overlay = "both near"')
    recipe = load(home / "a.conf", directory=work)
    assert [entry.value for entry in recipe.overlays] == [str(work / "both"), str(home / "near")]
    assert len(recipe.warnings) == 1
    assert 'overlay "both" is both' in recipe.warnings[0]
    assert "a.conf:1:12" in text(recipe)


def test_two_overlays_of_a_name_are_a_warning_only_when_they_differ(tmp_path: Path) -> None:
    for place in ("here", "there"):
        (tmp_path / place / "over/etc").mkdir(parents=True)
        (tmp_path / place / "over/etc/motd").write_text("hi")
    config = tmp_path / "there/x.conf"
    config.write_text('overlay = "over"')
    recipe = load(config, directory=tmp_path / "here")
    assert recipe.warnings == ()
    (tmp_path / "there/over/etc/motd").write_text("ho")
    recipe = load(config, directory=tmp_path / "here")
    assert recipe.overlays[0].value == str(tmp_path / "here/over")
    assert "is both" in recipe.warnings[0]
    assert "the first one is used" in recipe.warnings[0]


def test_a_mistyped_config_or_parent_is_told_with_the_one_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "router.conf").write_text("")
    for typed in ("router", "ruoter.conf"):
        with pytest.raises(NotFound, match="no config") as raised:
            load(tmp_path / typed)
        assert raised.value.hint == f'did you mean "{tmp_path}/router.conf"?'
    config = tmp_path / "x.conf"
    for parent, meant in (("ruoter.conf", '"router.conf"'), ("tiny.conf", 'misc/vmbetter_configs/tiny.conf"')):
        config.write_text(f'parents = "{parent}"')
        with pytest.raises(ConfigError, match="no parent") as refused:
            load(config, directory=tmp_path)
        assert refused.value.hint.endswith(f"{meant}?")
        assert "did you mean" in refused.value.hint


@given(st.text(max_size=80))
def test_any_config_is_merged_or_refused(tmp_path_factory, content: str) -> None:
    folder = tmp_path_factory.mktemp("c")
    write(folder, a=content)
    try:
        load(folder / "a.conf", directory=folder)
    except MegaError as error:
        assert str(error)
