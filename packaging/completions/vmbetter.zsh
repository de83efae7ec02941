#compdef vmbetter
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
                described+=("${value//:/\\:}:$help")
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
