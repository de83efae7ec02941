"""A program for the prompt's tests: the daemon's own prompt over the test family, and a socket to attach to.

Called as `python -m tests.integration.socket.prompting SOCKET`; prints why the prompt ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from megatools.hostkit import log
from megatools.minimega.app.prompt import Prompt
from megatools.minimega.lang.builtins import builtins
from megatools.minimega.lang.call import ActiveNamespace
from megatools.minimega.lang.interpreter import Interpreter
from megatools.minimega.lang.registry import Registry
from megatools.minimega.lang.server import serve
from tests.integration.socket.daemon import World, family


async def main() -> None:
    log.configure(level="warn")
    interpreter = Interpreter(Registry([builtins(), family]), World(), host="kn1")
    server = await serve(Path(sys.argv[1]), interpreter, namespace=ActiveNamespace("lab"))
    end = await Prompt(interpreter, "lab").run()
    await server.close()
    print(f"prompt ended: {end.name}")


if __name__ == "__main__":
    asyncio.run(main())
