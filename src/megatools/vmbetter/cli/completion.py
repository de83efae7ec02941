"""Completion in shells: the scripts that a shell reads once, and the answers they ask this program for.

Called by the entry point, which hands on what its options and commands are. A script sets `_VMBETTER_COMPLETE`, and
the words typed so far as click's own scripts do; the commands in CONFIG's place are completed as well.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from megatools.hostkit.errors import InvalidInput

VARIABLE = "_VMBETTER_COMPLETE"
_BASH = """# bash completion of vmbetter
_vmbetter() {
    local kind value
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case $kind in
        dir) compopt -o dirnames 2>/dev/null ;;
        file) compopt -o default 2>/dev/null ;;
        *) COMPREPLY+=("$value") ;;
        esac
    done < <(COMP_WORDS="${COMP_WORDS[*]}" COMP_CWORD=$COMP_CWORD _VMBETTER_COMPLETE=bash_complete "$1" 2>/dev/null)
    if [ ${#COMPREPLY[@]} = 1 ] && [[ ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _vmbetter vmbetter
"""
_ZSH = """#compdef vmbetter
# zsh completion of vmbetter
_vmbetter() {
    local -a answers words_only described folders
    local kind value help
    local -x COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT - 1)) _VMBETTER_COMPLETE=zsh_complete
    answers=("${(@f)$($words[1] 2>/dev/null)}")
    for kind value help in "${answers[@]}"; do
        case $kind in
        dir) _path_files -/ ;;
        file) _path_files -f ;;
        plain)
            if [[ $value == */ ]]; then
                folders+=("$value")
            elif [[ $help == _ ]]; then
                words_only+=("$value")
            else
                described+=("${value//:/\\\\:}:$help")
            fi ;;
        esac
    done
    (( ${#described} )) && _describe -V unsorted described -U
    (( ${#words_only} )) && compadd -U -V unsorted -a words_only
    (( ${#folders} )) && compadd -U -S '' -V unsorted -a folders
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _vmbetter "$@"
else
    compdef _vmbetter vmbetter
fi
"""
_FISH = """# fish completion of vmbetter
function _vmbetter
    set -lx _VMBETTER_COMPLETE fish_complete
    set -lx COMP_WORDS (commandline -cp)
    set -lx COMP_CWORD (commandline -t)
    for line in (vmbetter 2>/dev/null)
        set -l parts (string split -m 1 , -- $line)
        switch $parts[1]
            case dir
                __fish_complete_directories $parts[2]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command vmbetter --arguments '(_vmbetter)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def configs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The configs and folders that a path may become."""
    folder, _, start = incomplete.rpartition("/")
    shown = f"{folder}/" if "/" in incomplete else ""
    try:
        entries = sorted(os.scandir(Path(shown or ".").expanduser()), key=lambda entry: entry.name)
    except OSError:
        return []
    names = [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]
    return [
        CompletionItem(f"{shown}{name}")
        for name in names
        if name.startswith(start) and (start or not name.startswith(".")) and name.endswith((".conf", "/"))
    ]


def items(
    build: click.Command, commands: Mapping[str, click.Command], words: list[str], incomplete: str
) -> list[CompletionItem]:
    """What may follow the words: of a command named first, or of a build."""
    command = commands.get(words[0]) if words else None
    if command is not None:
        return ShellComplete(command, {}, "vmbetter", VARIABLE).get_completions(words[1:], incomplete)
    found = ShellComplete(build, {}, "vmbetter", VARIABLE).get_completions(words, incomplete)
    if not words and not incomplete.startswith("-"):
        found += [
            CompletionItem(name, help=one.get_short_help_str())
            for name, one in commands.items()
            if name.startswith(incomplete)
        ]
    return found


def answer(instruction: str, build: click.Command, commands: Mapping[str, click.Command]) -> str:
    """The answer to a shell's script, whose words are in the environment. Raises InvalidInput."""
    shell, _, what = instruction.partition("_")
    kind = get_completion_class(shell)
    if kind is None or shell not in SCRIPTS or what != "complete":
        raise InvalidInput(f'{VARIABLE} "{instruction}" is not a shell\'s name and "_complete"')
    asked = kind(build, {}, "vmbetter", VARIABLE)
    words, incomplete = asked.get_completion_args()
    return "\n".join(asked.format_completion(item) for item in items(build, commands, words, incomplete))
