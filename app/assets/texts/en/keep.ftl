# The card Keep.

keep-prose = Prose
keep-prose-note = general English
keep-instructions = Instructions
keep-instructions-note = questions and answers
keep-code = Code
keep-code-note = programs
keep-arithmetic = Arithmetic
keep-arithmetic-note = small sums
keep-do-warn = warn
keep-do-slow = slow
keep-do-replay = replay
keep-do-back = back
keep-do-stop = stop
keep-measured-ends = Measured at the start and the end.
keep-measured-every = Measured every { $n ->
        [one] step
       *[other] { $steps } steps
    }.
keep-lead = What the model must still know afterwards. { $every }
keep-material = kept material
keep-base-loss = base loss, nats
keep-base-loss-tip = Loss of the untrained model on the set, measured by the last run
keep-yours = yours
keep-not-yet = not yet
keep-keep = Keep { $name }
keep-bundled-tip = { $name }: { $note }; texts that are part of the program
keep-add = Add texts…
keep-add-tip = A file of texts that must not be forgotten
keep-add-hint = or drop a file, then Keep it
keep-budget = Forgetting budget
keep-budget-unit = nats, worst set
keep-budget-name = Forgetting budget in nats
keep-budget-words = { $budget } nats: about { $more } more surprise on kept texts.
keep-last-run = {" "}Run { $run } ended at { $forgetting }.
keep-exceed = When the budget is passed
keep-exceed-tip = warn: says so. slow: halves the learning rate. replay: mixes kept texts in. back: returns to the last good checkpoint. stop: ends the run
keep-interval = Interval
keep-interval-tip = Steps between measurements; 0 only at the start and the end
keep-prompts-none = none
keep-prompts = Sample prompts
keep-prompts-lead = Prompts that are answered while it trains, with the answer of the base beside.
keep-remove-prompt = Remove prompt { $number }
keep-prompt-hint = Write a prompt, then Enter
keep-prompt-new = New sample prompt
keep-earlier = learnt by run { $run }
