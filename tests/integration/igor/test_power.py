"""Power drivers against real protocols: a Redfish service over HTTPS, and a controller that does not answer."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from megatools.igor.model.config import PowerConfig
from megatools.igor.model.host import Host
from megatools.igor.power.choice import drivers_for
from megatools.igor.power.driver import Action, Power
from megatools.igor.power.fleet import Outcome, carry_out
from tests.support.requires import requires

PASSWORD = "secret"


@dataclass
class Bmc:
    """A rack of systems behind one service: /redfish/v1/Systems/1..3; system 3 never wakes."""

    url: str
    certificate: Path
    states: dict[str, str] = field(default_factory=lambda: {"1": "Off", "2": "On", "3": "Off"})
    resets: list[tuple[str, str]] = field(default_factory=list)


class _Service(BaseHTTPRequestHandler):
    """The Redfish service of a `Bmc`."""

    bmc: Bmc

    def answer(self, status: int, body: object) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def trusted(self) -> bool:
        pair = base64.b64encode(f"igor:{PASSWORD}".encode()).decode()
        if self.headers["Authorization"] == f"Basic {pair}":
            return True
        self.answer(401, {})
        return False

    def do_GET(self) -> None:
        if not self.trusted():
            return
        if self.path == "/redfish/v1/Systems":
            self.answer(200, {"Members": [{"@odata.id": "/redfish/v1/Systems/1"}]})
        else:
            self.answer(200, {"PowerState": self.bmc.states[self.path.rpartition("/")[2]]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.trusted():
            return
        system, kind = self.path.split("/")[4], body["ResetType"]
        self.bmc.resets.append((system, kind))
        if kind == "ForceRestart" and self.bmc.states[system] == "Off":
            self.answer(409, {})
            return
        if system != "3":
            self.bmc.states[system] = "Off" if kind == "ForceOff" else "On"
        self.answer(200, {})

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bmc(tmp_path: Path) -> Iterator[Bmc]:
    certificate, key = tmp_path / "bmc.pem", tmp_path / "bmc.key"
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True, timeout=60)
    made = Bmc("", certificate)

    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Service", (_Service,), {"bmc": made}))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    made.url = f"https://localhost:{server.server_address[1]}"
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


def configured(bmc: Bmc, tmp_path: Path) -> PowerConfig:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    return PowerConfig(
        driver="redfish", user="igor", password_file=str(secret), ca=str(bmc.certificate), retries=0, timeout_s=5
    )


def ask(config: PowerConfig, hosts: list[Host], action: Action) -> list[Outcome]:
    return asyncio.run(carry_out(hosts, action, drivers_for(config), config))


def hosts_of(bmc: Bmc) -> list[Host]:
    return [Host(n, f"kn{n}", power_address=f"{bmc.url}/redfish/v1/Systems/{n}") for n in (1, 2, 3)]


def test_redfish_systems_are_switched_and_asked(bmc: Bmc, tmp_path: Path) -> None:
    config = configured(bmc, tmp_path)
    assert [one.power for one in ask(config, hosts_of(bmc), Action.STATUS)] == [Power.OFF, Power.ON, Power.OFF]
    cycled = ask(msgspec.structs.replace(config, timeout_s=1.5), hosts_of(bmc), Action.CYCLE)
    assert [one.ok for one in cycled] == [True, True, False]
    assert sorted(bmc.resets) == [("1", "On"), ("2", "ForceRestart"), ("3", "On")]
    assert "kn3" in cycled[2].error
    assert ("1", "On") in bmc.resets, "a system that is off is switched on instead"
    assert [one.power for one in ask(config, hosts_of(bmc)[:2], Action.OFF)] == [Power.OFF, Power.OFF]
    plain = Host(9, "kn9", power_address=bmc.url)
    assert ask(config, [plain], Action.STATUS)[0].power is Power.OFF, "without a path the first system is meant"


def test_redfish_believes_neither_strangers_nor_wrong_passwords(bmc: Bmc, tmp_path: Path) -> None:
    config = configured(bmc, tmp_path)
    stranger = ask(msgspec.structs.replace(config, ca=""), hosts_of(bmc)[:1], Action.ON)[0]
    assert "certificate" in stranger.error
    (tmp_path / "secret").write_text("wrong\n")
    wrong = ask(msgspec.structs.replace(config, retries=5), hosts_of(bmc)[:1], Action.ON)[0]
    assert "401" in wrong.error
    assert wrong.tries == 1, "another try would lock the account"
    assert bmc.resets == []


@pytest.fixture
def ipmi(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """OpenIPMI's simulator of a controller: its address, and the file that holds the power (0 or 1)."""
    power, port = tmp_path / "power", _free_udp_port()
    power.write_text("0\n")
    script = tmp_path / "chassis"
    case = f'"get power") echo "power:$(cat {power})" ;;\n"set power") echo $3 >{power} ;;'
    script.write_text(f'#!/bin/sh\ncase "$1 $2" in\n{case}\nesac\n')
    script.chmod(0o755)
    levels = "\n".join(
        f"allowed_auths_{level} none md2 md5 straight" for level in ("callback", "user", "operator", "admin")
    )
    (tmp_path / "lan.conf").write_text(
        f'name "bmc"\nset_working_mc 0x20\nstartlan 1\naddr 127.0.0.1 {port}\npriv_limit admin\n{levels}\n'
        f"guid a123456789abcdefa123456789abcdef\nendlan\n"
        f'chassis_control "{script}"\nuser 1 true "" "test" user 10 none md2 md5 straight\n'
        f'user 2 true "igor" "{PASSWORD}" admin 10 none md2 md5 straight\n'
    )
    (tmp_path / "emu").write_text(
        "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"
    )
    argv = ["ipmi_sim", "-d", "-n", "-c", tmp_path / "lan.conf", "-f", tmp_path / "emu", "-s", tmp_path / "state"]
    simulator = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{port}", power
    finally:
        simulator.kill()
        simulator.wait()


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


@requires("ipmitool", "ipmi_sim")
def test_a_controller_is_spoken_to_over_ipmi(ipmi: tuple[str, Path], tmp_path: Path) -> None:
    address, power = ipmi
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    config = PowerConfig(
        driver="ipmi", interface="lan", user="igor", password_file=str(secret), timeout_s=20, retries=2
    )
    node = [Host(1, "kn1", power_address=address)]
    assert ask(config, node, Action.STATUS)[0].power is Power.OFF
    assert ask(config, node, Action.ON)[0].power is Power.ON
    assert power.read_text() == "1\n"
    assert ask(config, node, Action.OFF)[0].power is Power.OFF
    cycled = ask(config, node, Action.CYCLE)[0]
    assert (cycled.error, cycled.power) == ("", Power.ON), "a node that is off is switched on instead"


@requires("ipmitool")
def test_a_silent_controller_is_an_honest_failure() -> None:
    config = PowerConfig(driver="ipmi", address="127.0.0.1:9", timeout_s=3, retries=1)
    one = ask(config, [Host(1, "kn1")], Action.CYCLE)[0]
    assert not one.ok
    assert one.tries == 2
    assert "within 3 s" in one.error
