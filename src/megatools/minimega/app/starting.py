"""What a daemon does before most of it is loaded: read its settings, and let the mesh's engine start meanwhile.

Called by `main`. Loading the daemon takes three times as long as loading the engine, which gets its chance here.
"""

from __future__ import annotations

import sys

from megatools.hostkit import facts, log
from megatools.hostkit.errors import MegaError, user_text
from megatools.hostkit.settings import show
from megatools.minimega.app.flags import Flags
from megatools.minimega.app.settings import Settings, from_flags
from megatools.minimega.mesh.credentials import CredentialStore
from megatools.minimega.mesh.engine_process import Started, prepare


def run(flags: Flags) -> int:
    """Be the daemon; returns the exit status once it has ended."""
    log.configure(level="warn")
    try:
        loaded = from_flags(flags)
        if flags.on("show-settings"):
            print(show(loaded))
            return 0
        prepared = _engine(loaded.settings)
        from megatools.minimega.app import daemon  # only now: it loads everything

        return daemon.run(loaded, prepared, flags.words)
    except MegaError as error:
        print(f"minimega: {user_text(error)}", file=sys.stderr)
        return error.exit_code


def _engine(settings: Settings) -> Started | None:
    """A process for the mesh's engine; None when there will be no mesh."""
    wanted = settings.mesh_open or CredentialStore(settings.cluster_dir, facts.host_name()).is_member
    return prepare() if wanted else None
