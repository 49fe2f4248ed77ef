# The room Compare.

compare-title = Compare
compare-view = View
compare-curves = Curves
compare-tradeoff = Loss against forgetting
compare-settings = Settings
compare-rows = Verdict and rows
compare-ask = Playground
compare-claim-tip = Shows the rows, the interval and the test behind this
compare-show-rows = Show the rows
compare-strip-points = { $value } points, 95 % interval { $low } to { $high }
compare-strip-flips = { $right } rows newly right, { $wrong } newly wrong, McNemar p { $p }
compare-empty = Nothing to compare yet
compare-empty-lead = Train two runs with different settings. Here you then see which one learned more, which one forgot less, on which rows they differ, and what each of them answers.
compare-empty-running = A run is going on. It stands here as soon as it has begun; with a second one you can compare.
compare-base = base model
compare-base-short = base

compare-runs = Runs
compare-chosen = { $n ->
        [one] { $count } run
       *[other] { $count } runs
    }, { $chosen } of at most { $most } chosen
compare-copy = Copy the table as CSV
compare-filter = Filter runs
compare-grouping = Group runs
compare-group-none = not grouped
compare-group-method = by method
compare-group-status = by status
compare-group-model = by base model
compare-group-tags = by tags
compare-group-star = by star
compare-no-tags = no tags
compare-starred = starred
compare-not-starred = others
compare-star = Star { $run }
compare-unstar = Take the star off { $run }
compare-group-count = { $n ->
        [one] { $count } run
       *[other] { $count } runs
    }
compare-filter-hint = number, name, method, tag
compare-filter-tip = Shows only runs whose number, name, method, status and tags contain every word
compare-all-hidden = { $n ->
        [one] The filter hides the only run
       *[other] The filter hides all { $count } runs
    }
compare-show-all = Show all
compare-show-all-tip = Empties the filter
compare-sort = Sort by { $column }
compare-sorted-down = Sorted by { $column }, largest first
compare-sorted-up = Sorted by { $column }, smallest first
compare-sort-tip = Sorts the table; once more turns the order round
compare-forgetting-tip = Worst kept set minus base at the best checkpoint; where nothing was measured up to it, at the last measurement. A click sorts by it; once more turns the order round
compare-col-run = run
compare-col-method = method
compare-col-status = status
compare-col-best = best loss, nats
compare-col-forgetting = forgetting, nats
compare-col-size = adapter, MiB
compare-col-speed = tokens/s
compare-col-time = time
compare-choose = Compare { $run }
compare-choose-tip = Up to { $most } runs are compared
compare-watch-tip = Opens this run in Watch
compare-over-budget = Over its forgetting budget
compare-most = At most { $most } runs are compared: leave another one out first
compare-foot = Base model { $base } nats on the validation rows; forgetting is the worst kept set minus base, budget { $budget }
compare-foot-none = Forgetting is the worst kept set minus base
compare-choose-lead = Choose up to five runs in the table above.

compare-validation-loss = Validation loss
compare-train-loss = Train loss, smoothed
compare-raw-loss = Train loss, as measured
compare-which-loss = Loss
compare-curves-menu = Save, copy, smoothing and axis of these curves
compare-curves-plot = Losses of the chosen runs
compare-no-curves = No curves to draw
compare-no-curves-lead = The chosen runs have no such loss yet, or their places on this axis are not known. Another axis, or the train loss, may have them.
compare-at-step = step { $place }
compare-at-tokens = { $place } tokens
compare-at-time = after { $place }
compare-lowest = Run { $run } is lowest: { $loss } nats at { $place }.
compare-ring = Large ring: lowest place
compare-first = first
compare-lowest-loss = lowest
compare-lowest-at = lowest at
compare-last = last

compare-area = circle area: adapter size
compare-show-plot = Show as a plot
compare-no-tradeoff = Forgetting is not known
compare-no-tradeoff-lead = No run in the table has both a validation loss and a measurement of what it keeps. Choose sets under Keep in Setup before the next run.
compare-forgetting-axis = forgetting, worst set, nats (left is better)
compare-place = Run { $run }: { $loss } nats, forgetting { $forgetting }, adapter { $size }
compare-front = { $n ->
        [one] Run { $runs }: no other run is better in loss or in forgetting.
       *[other] Runs { $runs }: no other run is better in both.
    }
compare-adapter = adapter
compare-key = Dashed: best choices. Shaded: over the budget.
compare-unbeaten = unbeaten
compare-tradeoff-menu = Save or copy this plot
compare-yes = yes
compare-no = no

compare-equal = { $n ->
        [one] { $count } equal setting not shown
       *[other] { $count } equal settings not shown
    }
compare-differences = Differences only
compare-setting = setting
compare-no-settings = No settings to show
compare-no-settings-lead = The settings that these runs were started with cannot be read.
compare-all-equal = The chosen runs have the same settings
compare-all-equal-lead = Switch off “Differences only” to see all of them, or choose another run.

compare-verdict = Verdict
compare-verdict-note = same rows for all
compare-data = Rows to compare on
compare-data-hint = data file or builtin:prose
compare-data-tip = A data file with answers or text, a bundled probe set such as builtin:prose, or project:held-out, the rows that the runs kept from their training
compare-most-rows = Most rows
compare-all-rows = all rows
compare-row-count = { $count } rows
compare-cancel-tip = Stops measuring; what was measured stays
compare-judging = The chosen runs are being compared
compare-no-data = Name a data file or a probe set
compare-no-adapter = No chosen run has left an adapter yet
compare-other-bases = The chosen runs have different base models
compare-no-verdict = No verdict yet
compare-no-verdict-lead = Base and chosen runs are measured on the same rows, one after the other. You then read who is better, how sure that is, and which rows were never learned or lost again.
compare-col-model = model
compare-col-loss = loss, nats a token
compare-col-right = tokens right, %
compare-beats = { $winner } beats { $loser } on { $n ->
        [one] this { $rows } row
       *[other] these { $rows } rows
    }
compare-even = { $a } and { $b }: { $n ->
        [one] this { $rows } row does
       *[other] these { $rows } rows do
    } not tell which is better
compare-loss-by = Loss of { $b } less that of { $a }: { $value } nats a token, 95 % interval { $low } to { $high }.
compare-points-by = Tokens right: { $value } points, 95 % interval { $low } to { $high } (paired bootstrap).
compare-flips = { $b } instead of { $a }: { $right } rows newly right, { $wrong } newly wrong (McNemar p { $p }).

compare-row-losses = Rows
compare-no-rows = No rows yet
compare-no-rows-lead = With the verdict come the rows: the loss of each model on each of them, and which were never learned, learned and then forgotten, or known before training.
compare-kinds = Rows shown
compare-kinds-of = Run whose rows are meant
compare-against = Model that the difference is taken from
compare-less = less
compare-difference = difference
compare-save-rows = Save the rows with all losses as CSV
compare-sort-rows = Sort the rows by { $column }
compare-rows-down = Rows sorted by { $column }, largest first
compare-rows-up = Rows sorted by { $column }, smallest first
compare-row-place = { $file }, line { $line }
compare-every-row = all { $count }
compare-kind-never = never learned
compare-kind-forgotten = learned, then forgotten
compare-kind-easy = known before training
compare-kind-learned = learned
compare-kind-partly = partly learned
compare-no-such-row = { $n ->
        [one] The { $count } row is not of this kind
       *[other] None of the { $count } rows is of this kind
    }
compare-line = line
compare-row-text = text

compare-same-greedy = same prompt, always the likeliest token; underlined: not in the first answer
compare-same-warm = same prompt, seed { $seed }, temperature { $temperature }; underlined: not in the first answer
compare-seed = Seed
compare-seed-tip = Seed of every answer; with temperature 0 it changes nothing
compare-temperature = Temperature
compare-temperature-tip = 0 always takes the likeliest token; up to 2, higher is more varied
compare-asked = Ask { $name }
compare-asked-tip = Up to { $most } answers stand side by side: leave one out to make room for another
compare-most-answers = At most { $most } answers stand side by side: leave another one out first
compare-nobody = Nobody is asked: choose who answers
compare-blind = Blind, with votes
compare-template = Chat template
compare-prompt = Prompt for all
compare-prompt-hint = ask something
compare-prompt-tip = Those who are ticked below answer it, one after the other
compare-no-prompt = Type a prompt first
compare-answering = The answers are being made
compare-stop = Stop
compare-stop-tip = Stops answering; what was answered stays
compare-no-answers = No answers yet
compare-no-answers-lead = Type a prompt and press Enter. The base and the chosen runs answer it one after the other, side by side. In blind mode their names stay hidden until you voted.
compare-answer = Answer { $letter }
compare-answer-tokens = { $n ->
        [one] { $tokens } token
       *[other] { $tokens } tokens
    }
compare-answer-speed = , { $speed }/s
compare-ended-itself = , stopped by itself
compare-ended-length = , cut at the limit
compare-no-answer = No answer: { $why }
compare-answer-coming = reads the prompt
compare-answer-waits = waits for its turn
compare-answer-stopped = not answered
compare-best = This is best
compare-best-tip = Counts a vote and shows the names
compare-vote-for = This is best: { $name }
compare-none-best = None is best
compare-none-best-tip = Counts no preference and shows the names
compare-vote-lead = Which answer is best? The names are shown after your vote.
compare-votes = { $n ->
        [one] { $count } vote
       *[other] { $count } votes
    } in this project
compare-forget-votes = Forget votes
compare-forget-votes-tip = Begins counting anew, also on disk
compare-tally = { $b } over { $a } { $forb } to { $fora } (sign test p { $p })

compare-order = Notes and disk
compare-nothing-chosen = No run is chosen
compare-col-name = name
compare-col-tags = tags
compare-col-note = note
compare-col-disk = on disk
compare-disk-measuring = what runs take on the disk is being measured
compare-disk-all = { $size } on disk in all
compare-disk = { $n ->
        [one] { $size }, { $count } checkpoint
       *[other] { $size }, { $count } checkpoints
    }
compare-freed = { $size } made free
compare-name-of = Name of { $run }
compare-name-tip = What this run is called in tables
compare-tags-of = Tags of { $run }
compare-tags-tip = Words with commas between them; runs are filtered and grouped by them
compare-note-of = Note on { $run }
compare-note-tip = Anything worth knowing about this run later
compare-act-on = { $act }: { $run }
compare-prune = Prune
compare-prune-tip = Deletes all its checkpoints but the best and the newest; what it learned stays
compare-trash = To trash
compare-trash-tip = Moves the run to the trash of the project; nothing is deleted
compare-only-trash = Every run lies in the trash; under Notes and disk it can be brought back
compare-in-trash = { $n ->
        [one] { $count } run in the trash
       *[other] { $count } runs in the trash
    }
compare-restore = Bring back
compare-restore-tip = Puts the run back where it was, with all its files
compare-empty-trash = Delete for good
compare-empty-trash-tip = Asks once more, then deletes the runs in the trash with their checkpoints and curves
compare-really-delete = Yes, delete
compare-really-delete-tip = Deletes the runs in the trash; they cannot be brought back after that
compare-keep-trash = Keep
compare-keep-trash-tip = Deletes nothing
compare-kept-checkpoints = Kept checkpoints
compare-kept-interval = Interval of kept sets
