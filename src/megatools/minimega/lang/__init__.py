"""The command language: patterns, matching, modifiers, rendering, scripts and the command socket."""
