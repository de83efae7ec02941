"""Every command has help, every setting and every decision has its page."""

import dataclasses
import json
import re
import subprocess

from megatools.hostkit.settings import describe
from megatools.minimega.app.settings import Settings
from tests.architecture.source import ROOT

_DECISIONS = ROOT / "docs" / "decisions"


def _commands() -> list[dict[str, object]]:
    done = subprocess.run(
        [str(ROOT / ".venv" / "bin" / "minimega"), "-cli"], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert isinstance(found, list)
    return found


def test_every_command_has_help() -> None:
    commands = _commands()
    assert len(commands) > 40
    unhelped = [command for command in commands if not command.get("help_short")]
    assert not unhelped


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    described = describe(Settings)
    assert len(described) == len(dataclasses.fields(Settings)) > 3
    for one in described:
        assert one.help, one.name
        assert one.flag or one.env, one.name
        assert f"`{one.name}`" in page, f"docs/reference/settings.md lacks {one.name}; run scripts/docs"


def test_decisions_are_numbered_and_complete() -> None:
    pages = sorted(_DECISIONS.glob("[0-9]*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        for heading in ("## Context", "## Decision", "## Consequences"):
            assert heading in text, f"{page.name} lacks {heading}"


def test_local_links_in_the_documentation_lead_somewhere() -> None:
    broken: list[str] = []
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert not broken


def test_generated_man_pages_and_completion_are_up_to_date() -> None:
    script = "from docs import manual; print([str(p) for p, t in manual.files().items() if p.read_text() != t])"
    python = str(ROOT / ".venv" / "bin" / "python")
    done = subprocess.run([python, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[]\n", f"{done.stdout}{done.stderr}; run scripts/docs"
