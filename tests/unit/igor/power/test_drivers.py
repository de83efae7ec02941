"""The texts of the power drivers: command lines, addresses, templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from megatools.hostkit import template
from megatools.hostkit.errors import InvalidInput, PermissionDenied
from megatools.igor.model.config import PowerConfig
from megatools.igor.model.host import Host
from megatools.igor.power import choice, ipmi
from megatools.igor.power.command import state_in
from megatools.igor.power.driver import Action, Power
from megatools.igor.power.template import words_for

KN5 = Host(5, "kn5", mac="52:54:00:77:00:05", ip="10.0.0.5")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("powerbot on %s", ["powerbot", "on", "kn5"]),
        ("powerbot {action} {}", ["powerbot", "cycle", "kn5"]),
        ("wake '{mac}' -i {ip}", ["wake", "52:54:00:77:00:05", "-i", "10.0.0.5"]),
        ("sh -c 'echo 100%% {number}'", ["sh", "-c", "echo 100% 5"]),
    ],
)
def test_templates(line: str, words: list[str]) -> None:
    assert words_for(line, KN5, "cycle") == words


@pytest.mark.parametrize("line", ["", "   ", "broken 'quote", "x {nothing}", "x {port}"])
def test_bad_templates(line: str) -> None:
    with pytest.raises(InvalidInput):
        words_for(line, KN5, "on")


@given(st.text(min_size=1))
def test_a_value_never_becomes_a_second_word_or_an_option(value: str) -> None:
    try:
        words = template.filled("run {} --at={}", {"node": value}, "node")
    except InvalidInput:
        assert value.startswith("-")
        return
    assert words == ["run", value, f"--at={value}"]


def test_ipmi_command_lines_hold_no_password() -> None:
    config = PowerConfig(user="ADMIN", password_file="/etc/igor.secret")
    words = ipmi.argv(config, "10.0.0.9:6230", Action.CYCLE)
    assert words == "ipmitool -I lanplus -H 10.0.0.9 -p 6230 -U ADMIN -E chassis power cycle".split()
    assert ipmi.argv(PowerConfig(interface="lan"), "bmc", Action.STATUS) == (
        "ipmitool -I lan -H bmc -E chassis power status".split()
    )


@pytest.mark.parametrize("address", ["-oProxy", "a b", "bmc:port", "", "bmc;reboot"])
def test_ipmi_refuses_what_is_no_address(address: str) -> None:
    with pytest.raises(InvalidInput):
        ipmi.argv(PowerConfig(), address, Action.ON)


def test_a_nodes_own_address_comes_before_the_template() -> None:
    assert ipmi.address_of(KN5, "{}-ipmi.lab") == "kn5-ipmi.lab"
    assert ipmi.address_of(KN5, "bmc{number}") == "bmc5"
    assert ipmi.address_of(Host(5, "kn5", power_address="10.9.9.9"), "{}-ipmi") == "10.9.9.9"
    with pytest.raises(InvalidInput):
        ipmi.address_of(KN5, "")


@pytest.mark.parametrize(
    ("text", "power"),
    [
        ("kn5: on\n", Power.ON),
        ("Power is OFF", Power.OFF),
        ("turning on... node is off", Power.OFF),
        ("button", Power.UNKNOWN),
        ("", Power.UNKNOWN),
    ],
)
def test_what_a_status_command_says(text: str, power: Power) -> None:
    assert state_in(text) is power


def test_the_configured_driver_is_the_default_one(tmp_path) -> None:
    drivers = choice.drivers_for(PowerConfig(driver="redfish"))
    assert drivers[""] is drivers["redfish"]
    assert "" not in choice.drivers_for(PowerConfig())
    with pytest.raises(InvalidInput, match="steam"):
        choice.drivers_for(PowerConfig(driver="steam"))
    secret = tmp_path / "secret"
    secret.write_text("pass\n")
    secret.chmod(0o644)
    with pytest.raises(PermissionDenied, match="everybody may read"):
        choice.drivers_for(PowerConfig(driver="ipmi", password_file=str(secret)))
    secret.chmod(0o640)
    assert set(choice.drivers_for(PowerConfig(driver="ipmi", password_file=str(secret)))) > {"", "ipmi"}
