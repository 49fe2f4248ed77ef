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
compare-strip-flips = { $right } rows newly right, { $wrong } newly wrong, McNemar p = { $p }
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
compare-filter-hint = number, method, status
compare-filter-tip = Shows only runs whose number, method and status contain every word
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
compare-which-loss = Loss
compare-curves-plot = Losses of the chosen runs
compare-no-curves = No curves to draw
compare-no-curves-lead = The chosen runs have no such loss yet, or their places on this axis are not known. Another axis, or the train loss, may have them.
compare-at-step = step { $place }
compare-at-tokens = { $place } tokens
compare-at-time = after { $place }
compare-lowest = Run { $run } is lowest: { $loss } nats at { $place }.
compare-ring = Ring: lowest place
compare-first = first
compare-lowest-loss = lowest
compare-lowest-at = lowest at
compare-last = last

compare-area = circle area: adapter size
compare-show-plot = Show as a plot
compare-no-tradeoff = Forgetting is not known
compare-no-tradeoff-lead = No run in the table has both a validation loss and a measurement of what it keeps. Choose sets under Keep in Setup before the next run.
compare-forgetting-axis = forgetting, worst set, nats (left is better)
compare-front = { $n ->
        [one] Run { $runs }: no other run is better in loss or in forgetting.
       *[other] Runs { $runs }: no other run is better in both.
    }
compare-adapter = adapter
compare-key = Dashed: best choices. Shaded: over the budget.
compare-unbeaten = unbeaten
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
compare-data-tip = A data file with answers or text, or a bundled probe set such as builtin:prose
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
compare-flips = { $b } instead of { $a }: { $right } rows newly right, { $wrong } newly wrong (McNemar p = { $p }).

compare-row-losses = Rows
compare-no-rows = No rows yet
compare-no-rows-lead = With the verdict come the rows: the loss of each model on each of them, and which were never learned, learned and then forgotten, or known before training.
compare-kinds = Rows shown
compare-kinds-of = Run whose rows are meant
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

compare-same-seed = same prompt, same seed 42, greedy; underlined: not in the first answer
compare-blind = Blind, with votes
compare-template = Chat template
compare-prompt = Prompt for all
compare-prompt-hint = ask something
compare-prompt-tip = The base and up to four chosen runs answer it, one after the other
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
    } in this project since it was opened
compare-forget-votes = Forget votes
compare-forget-votes-tip = Begins counting anew
compare-tally = { $b } over { $a } { $forb } to { $fora } (sign test p = { $p })
