# Messages in the status bar.

notice-repaired = The run database is repaired: { $n ->
        [one] { $runs } run is
       *[other] { $runs } runs are
    } listed again
notice-written = Written: { $path }
notice-nothing-at = There is nothing at { $path }.
notice-open-files = Open models, data or adapters
notice-open-folder = Open a model folder or a project
notice-open-kept = Texts that must not be forgotten
notice-open-adapter = Open an adapter folder
notice-copied = { $what } copied
notice-scale = Scale { $percent } %
notice-no-dialog = This system offers no file dialog (no desktop portal answers).
notice-is-model = { $name } is the model now
notice-is-data = { $name } is the training data now
notice-is-method = Method and rank taken from { $name }
notice-is-kept = { $name } is kept now
notice-is-exported = { $name } is what is exported now
notice-opened = { $name } opened
notice-curves-copied = Curves copied as CSV
notice-job-data = Reading the data
notice-job-step = Measuring one step
notice-job-repair = Repairing the run database
notice-job-example = Copying the example
notice-job-export = Writing { $what }
notice-job-judge = Comparing runs on rows
notice-job-answer = Answering the prompt
notice-job-verify = Checking the export again
notice-job-look = Looking at the files
notice-layout = The layout of this project could not be read; it is as at first
notice-plot-hidden = This plot is not shown now: make the window larger and save it again
notice-branched = Settings of run { $run } are in the form; the new run starts as it was at step { $step }
notice-shelved = What was set up had no folder yet: New empty project, then Undo, brings it back
notice-no-manager = No file manager could be started for { $path }
notice-waits = Run { $run } waits for run { $ahead }; its settings are kept as they are now
notice-ended = Run { $run } has finished
notice-ended-best = Run { $run } has finished, best validation { $loss } nats
notice-ended-stopped = Run { $run } was stopped at step { $step } and is kept
notice-ended-failed = Run { $run } failed at step { $step }: { $what }
notice-ended-lost = Run { $run } lost its engine at step { $step }
notice-battery-waits = Runs wait while this machine is on its battery
notice-battery-trains = Runs go on while this machine is on its battery
notice-not-gone-on = Run { $run } did not go on; it is as it was
notice-on-battery = On battery: the run waits for mains power. Resume trains on all the same
notice-paused = Run { $run } is paused at step { $step }
