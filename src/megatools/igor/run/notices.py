"""Telling people: by a command of the site, by mail, or both; `run.work` calls `deliver`. Composing is pure.

The message goes to the command's standard input, or to `sendmail -i` with the address as its last word; what is part of
a header is checked, so that a name cannot add one.
"""

from __future__ import annotations

import re
from email.message import EmailMessage

from megatools.hostkit import proc, template
from megatools.hostkit.errors import CommandFailed, InvalidInput, MegaError, chain_text
from megatools.igor.model.config import Config

_ADDRESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._%+-]*(?:@[A-Za-z0-9][A-Za-z0-9.-]*)?")


def address_of(person: str, mail: str, config: Config) -> str:
    """Where a person gets mail: as they said with the reservation, or their name in the domain; raises InvalidInput."""
    domain = config.notices.domain or config.domain
    address = mail or (f"{person}@{domain}" if domain and "@" not in person else person)
    if not _ADDRESS.fullmatch(address):
        raise InvalidInput(f'"{address}" is not a mail address')
    return address


def message(address: str, subject: str, text: str) -> EmailMessage:
    """A plain mail; the subject is the text's first line."""
    made = EmailMessage()
    made["From"] = "igor"
    made["To"] = address
    made["Subject"] = "igor: " + " ".join(subject.split())
    made["Auto-Submitted"] = "auto-generated"  # RFC 3834: no holiday answers, please
    made.set_content(text + "\n")
    return made


async def deliver(person: str, mail: str, name: str, text: str, config: Config) -> None:
    """Tell a person about the reservation `name` by every way that is configured; nothing happens where none is.

    Raises CommandFailed when a way failed, after the other one was tried.
    """
    failures: list[str] = []
    for way in (_by_command, _by_mail):
        try:
            await way(person, mail, name, text, config)
        except MegaError as error:
            failures.append(chain_text(error))
    if failures:
        raise CommandFailed(f'cannot tell "{person}": {"; ".join(failures)}')


async def _by_command(person: str, mail: str, name: str, text: str, config: Config) -> None:
    line = config.notices.command
    if line:
        values = {"user": person, "name": name, "mail": mail}
        await proc.run(
            template.filled(line, values, "user"), stdin=f"{text}\n".encode(), timeout_s=config.notices.timeout_s
        )


async def _by_mail(person: str, mail: str, name: str, text: str, config: Config) -> None:
    if not config.notices.mail:
        return
    address = address_of(person, mail, config)
    made = message(address, text.partition("\n")[0], text)
    argv = [config.notices.sendmail, "-i", address]
    await proc.run(argv, stdin=made.as_bytes(), timeout_s=config.notices.timeout_s)
