"""`scripts/docs`: what can be derived from the programs is: settings, commands, man pages, completion."""

import subprocess
import sys
from pathlib import Path

from docs import manual
from megatools.hostkit.settings import describe
from megatools.minimega.app.settings import DEFAULT_FILE, Settings

_REFERENCE = Path(__file__).parent / "reference"
_NOTE = "<!-- written by scripts/docs: change the program instead -->\n"


def settings_page() -> str:
    """Every setting of the daemon, as a table."""
    lines = [
        "# Settings of minimega",
        "",
        _NOTE,
        "Precedence: flag, then environment, then the JSON file (`-settings FILE`; by default",
        f"`{DEFAULT_FILE}` where it exists), then the default.",
        "`minimega -show-settings` prints every value with its source.",
        "",
        "| setting | flag | environment | default | what it does |",
        "|---|---|---|---|---|",
    ]
    for one in describe(Settings):
        default = f"`{one.default}`" + (f" {one.unit}" if one.unit else "")
        lines.append(f"| `{one.name}` | `-{one.flag}` | `{one.env}` | {default} | {one.help} |")
    return "\n".join(lines) + "\n"


def commands_page() -> str:
    """Every command, from the registry."""
    minimega = Path(sys.executable).with_name("minimega")
    done = subprocess.run([str(minimega), "-doc"], capture_output=True, text=True, timeout=60, check=True)
    body = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
    return f"{_NOTE}\n{body}\n"


def main() -> None:
    """Write the pages."""
    _REFERENCE.mkdir(exist_ok=True)
    for name, text in {"settings.md": settings_page(), "commands.md": commands_page()}.items():
        (_REFERENCE / name).write_text(text)
        print(f"docs/reference/{name}")
    for path, text in manual.files().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        print(path.relative_to(_REFERENCE.parents[1]))


if __name__ == "__main__":
    main()
