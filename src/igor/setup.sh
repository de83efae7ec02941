#!/bin/sh
# The document's name for `igor setup`.
exec "$(dirname "$(readlink -f "$0")")/../../bin/igor" setup "$@"
