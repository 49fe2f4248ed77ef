# The token lens.

lens-job = Finding rows
lens-lead = Each row as the model sees it, token by token
lens-go = Go to row
lens-go-hint = Row number
lens-go-tip = A row's number, counted from 1; Enter goes there
lens-no-row = There is no such row; the last one known is { $last }.
lens-count = { $n ->
        [one] { $rows } row
       *[other] { $rows } rows
    }
lens-so-far = { $rows } rows found so far ({ $share })
lens-stopped = { $rows } rows found; more are found when you scroll to them
lens-shortened = the first { $rows } rows: only JSON Lines can be shown whole
lens-stop = Stop
lens-stop-tip = Stop looking for more rows
lens-trained = trained
lens-context = context
lens-template = template
lens-cut-off = cut off
lens-trained-tip = Predicting this token counts: the model learns it
lens-context-tip = The model reads this token; nothing is learnt from it
lens-template-tip = Written by the chat template or the tokenizer, not by the data; only read
lens-cut-off-tip = Beyond the longest row: the model never sees it
lens-rows = Rows of the data
lens-rows-tip = Arrow keys choose a row, Page Up and Page Down turn pages, Home and End go to the ends
lens-place = Place in the data
lens-place-tip = Drag to any place in the data
lens-row-said = Row { $row } of { $rows }. { $text }
lens-row-counts = { $trained } of { $tokens } tokens trained
lens-row-cut = { $cut } cut off
lens-blank = blank line
lens-loading = reading…
lens-head-row = Row
lens-head-trained = Trained
lens-head-tokens = Tokens
lens-head-text = Text
lens-chosen = Row { $row }
lens-place-of = { $file }, line { $line }
lens-token-tip = { $token } (token { $place }, id { $id }): { $what }
lens-border-tip = Another training row begins here.
lens-more = The first { $shown } of { $tokens } tokens.
lens-not-trained = not trained: { $why }
lens-try = Try again
lens-try-tip = Read the rows once more
lens-left-out = left out
lens-left-out-count = { $rows } left out
lens-leave-out = Leave out
lens-take-in = Take in again
lens-leave-out-tip = Whether the cleaned copy has this row (Delete)
lens-deduplicate = Without duplicates
lens-save = Save a cleaned copy
lens-save-tip = Write the rows that stay into a file in the project's folder and train on that one; the original stays as it is
lens-nothing-changed = no row is left out yet
lens-job-copy = Copying rows
