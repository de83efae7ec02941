"""A look inside: an interactive shell in the tree of a config. Called by the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

from megatools.hostkit import proc
from megatools.hostkit.bootstrap import sandbox
from megatools.hostkit.errors import InvalidState, NotFound
from megatools.vmbetter import claims
from megatools.vmbetter.assembly import Assembly
from megatools.vmbetter.building import Options, assembly_plan, failed_folder
from megatools.vmbetter.cache import Cache, default_root
from megatools.vmbetter.config.merge import load
from megatools.vmbetter.events import Event, Kind, Report, Reporter, silent
from megatools.vmbetter.stages import postbuild
from megatools.vmbetter.stages.postbuild import Workplace


def _claim(folder: Path) -> None:
    """Have the tree, and that of the packages below it, to ourselves as long as the program lives that we become."""
    for used, shared in ((folder, False), ((folder / "lower").resolve().parent, True)):
        descriptor = claims.claim(used, shared=shared)
        if descriptor is None:
            raise InvalidState(f'"{used}" is in use')
        os.set_inheritable(descriptor, True)


def shell(config: Path, *, output_dir: Path, report: Report = silent, options: Options | None = None) -> NoReturn:
    """Become an interactive shell in a config's tree: as a failed postbuild left it, or as it is when all is done.

    What is changed in it stays for the next shell, never in an image, until the config is built again.
    """
    asked = options or Options()
    recipe = load(config, constraints=asked.constraints)
    cache = Cache(asked.cache_root or default_root())
    say = Reporter(report)
    with cache.held(lambda text: report(Event(Kind.STEP, "cache", text))):
        folder = failed_folder(cache, config)
        if claims.is_claimed(folder):
            raise InvalidState(f'a shell is open in the tree of "{config}" already', hint="leave it with exit")
        place = Workplace(folder)
        if (folder / "upper").is_dir() and (folder / "lower").exists():
            say.step("shell", "the tree as it was left; leave with exit")
        else:
            todo, _ = assembly_plan(cache, recipe, config, asked, output_dir)
            with cache.workspace() as workspace:
                assembly = Assembly(cache, todo, say, workspace)
                base = assembly.base()
                _, layer = assembly.finished(base)
                sandbox.remove(folder)
                folder.mkdir(parents=True)
                place = assembly.workplace(base, layer, folder)
            say.step("shell", "the finished tree; leave with exit")
        words, environment = postbuild.shell(place)
        _claim(folder)
    program = proc.which(words[0])
    if program is None:
        raise NotFound(f'program "{words[0]}" is not on this host', hint="run scripts/install")
    proc.replace_this_process([str(program), *words[1:]], environment)
