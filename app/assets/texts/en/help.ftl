# The help: keys and how to use plots.

help-commands = Commands
help-by-palette = palette
help-keys-of = Keys of { $command }: { $keys }
help-keys-tip = Click, then press other keys for this command
help-keys-wait = Press keys…
help-keys-lead = Press the new keys of “{ $command }”. Backspace takes its keys away, Escape keeps them.
help-keys-change = Keys are buttons: press one to choose other keys.
help-keys-taken = These are the keys of “{ $command }”. Press them again to take them from it.
help-keys-bare = Without Ctrl or Alt these keys write text or move the focus: add one of them, or take F2 to F12.
help-keys-editing = Text fields need these keys to copy, cut, paste and select: take others.
help-keys-are-reset = Every command has the keys back that it came with.
help-words = Words
help-tips = In plots: drag zooms, a double click shows everything, Ctrl and the wheel zoom, a click sets the scrub line. Tab walks through every control; Space and Enter press it.
help-language = Language
help-language-system = System
