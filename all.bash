#!/bin/bash
# The document's name for scripts/install.
exec "$(dirname "$(readlink -f "$0")")/scripts/install" "$@"
