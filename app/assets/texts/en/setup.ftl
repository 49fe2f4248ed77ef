# The room Setup: its head and what the cards share.

setup-title = Setup
setup-keep-instead = Keep it instead
setup-keep-instead-tip = Adds it to what must not be forgotten
setup-train-instead = Train on it instead
setup-train-instead-tip = Makes it the training data
setup-export-instead = Export it instead
setup-export-instead-tip = Method and rank stay as they were; the adapter itself can be written in Export
setup-undo-tip = What was there before comes back
setup-close-note = Close this note
setup-lead = drop a model and data, or choose them in the cards
setup-lead-choose = choose a model and data in the cards
setup-saving = , saving
setup-saved = , saved in project.toml
setup-unsaved = , not saved in a folder yet
setup-next-run = next run: { $next }{ $saved }
setup-mark-problem = has a problem
setup-mark-ready = ready
setup-mark-reading = being read
setup-mark-missing = not chosen yet
setup-start = starts with { $from }
setup-start-run = starts with run { $run } as of step { $step }
setup-start-tip = Method and method settings are those of that adapter; everything else can be changed
setup-start-base = Start from the base
setup-start-base-tip = The new run starts from the base model instead
