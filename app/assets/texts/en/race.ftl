# A race of methods: the choice of them in Setup, and the race in Watch.

race-title = Method race
race-job = Racing methods
race-invite = or side by side
race-lead = Tick two to eight methods. All train on the same rows in the same order; after each round the worse half drops out. Each uses the settings of this project that it knows.
race-tick = Race { $name }
race-ticked = { $n ->
        [one] { $count } method is
       *[other] { $count } methods are
    } ticked.
race-rounds = { $count } methods, { $n ->
        [one] { $rounds } round
       *[other] { $rounds } rounds
    }, to step { $steps }.
race-one = Back
race-one-tip = Back to the choice of one method
race-too-few = Tick at least two methods first
race-too-many = At most eight methods race
race-no-epochs = A race is measured in steps, and this project counts passes over the data: give steps
race-few-steps = Too few steps for so many rounds: give more steps
race-no-validation = Nothing is held back to compare on: give a share or a file for validation
race-none-goes = No race goes on
race-none = There was no race yet
race-no-winner = No method has won yet
race-no-round = No round is over yet
race-no-round-lead = After each round the losses of all methods stand here, with the difference to the best.
race-used = { $method } is the method now
race-won-notice = The race is over: { $method } won
race-engine-gone = the engine stopped unexpectedly during the race
race-engine-action = start the race again; what was trained is among the runs
race-round = round { $round } of { $rounds }
race-stopped = stopped
race-failed = ended early
race-to-run = To the run
race-to-run-tip = Shows the run that was looked at before
race-plan = { $n ->
        [one] compared at step { $steps }
       *[other] compared at steps { $steps }
    }
race-failed-because = The race could not go on: { $why }
race-first-round = Nothing is compared yet; { $method } is at step { $step } of the first round.
race-nothing-known = No method got as far as a comparison.
race-begins = The race begins.
race-won = { $method } won with { $loss } nats at step { $step }.
race-leads = After round { $round } of { $rounds } (step { $step }) { $method } leads with { $loss } nats.
race-second-clear = { $method } is { $by } ± { $band } behind.
race-second-near = { $method } is { $by } ± { $band } behind, which is not clear.
race-lanes = Methods
race-lanes-note = nats on validation rows, best first; ± is the 95 % band
race-difference = difference
race-pace = step time
race-fate = standing
race-leader = leader
race-watch-run = Shows this run with all its plots
race-runs = trains, step { $step } of { $until }
race-waits = waits for its turn
race-rests = done with this round
race-behind = out after round { $round } ({ $step })
race-no-number = out in round { $round }: no number
race-refused = cannot run: { $why }
race-winner = won
race-open = not decided
race-stays = stays
race-out = out
race-use = Use
race-use-named = Use { $method }
race-use-tip = Puts this method into the form; settings that it knows stay
race-menu = Save or copy the race
race-no-curves = No losses yet
race-no-curves-lead = The loss of each method is drawn here as soon as it was measured.
race-plot = Losses of methods that race
race-bars = Bars: 95 % band of the difference to the leader of the round
race-round-head = round
race-past = Past races
race-past-empty = No race is kept yet.
race-past-lead = Each race of this project, as it was decided. Curves are there as long as the runs are.
race-past-facts = { $methods }, { $n ->
        [one] { $steps } step
       *[other] { $steps } steps
    }
race-past-won = { $method } won with { $loss } nats
race-goes-on = goes on
race-name = Race { $number }
race-open-named = Open race { $number }
race-open-tip = Shows this race in Watch
race-run-removed = removed
race-broken-off = it was broken off, or goes on in another window
