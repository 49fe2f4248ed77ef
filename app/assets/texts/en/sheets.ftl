# What lies over a room: palette, questions, help.

sheets-palette = Command palette
sheets-palette-hint = Type what you want to do
sheets-palette-none = No command is called that. Clear the field to see all.
sheets-copy = Copy
sheets-copy-tip = Copies the text
sheets-close-tip = Back to the room
sheets-text = Text
sheets-folder = Project folder
sheets-place = Where shall this project live?
sheets-place-lead = Its folder holds project.toml, the runs with their checkpoints, and what you export. Model and data stay where they are.
sheets-place-whole = Write the whole path of one folder.
sheets-create = Create and train
sheets-create-tip = Writes project.toml there and starts
sheets-not-now = Not now
sheets-not-now-tip = Back to Setup
sheets-path-title = Enter a path
sheets-path-lead = Paste where a model, data, an adapter or a project is.
sheets-path-hint = /path/to/file or folder
sheets-path = Path
sheets-open = Open
sheets-open-tip = Looks what it is and puts it in its place
sheets-back = Back
sheets-stopping = Stopping the run
sheets-stopping-lead = The run finishes its micro-step, writes a checkpoint and ends. Then the window closes.
sheets-no-wait = Close without waiting
sheets-no-wait-tip = The engine goes on stopping by itself
sheets-run-going = Run { $run } is still going on
sheets-some-run-going = A run is still going on
sheets-keep-running = Keep running
sheets-keep-running-tip = The run goes on without the window; open the project again to see it.
sheets-stop-tip = Ends the run with a checkpoint; what it learnt stays and can be exported.
sheets-stay = Stay
sheets-stay-tip = Nothing changes.
sheets-command = The equal command line
sheets-command-note = It does the same as the Train button; the project file holds every setting.
sheets-file-unsaved = not saved yet: the first training asks where
sheets-file = Project file
sheets-longer = More steps for run { $run }
sheets-longer-lead = It has done { $n ->
        [one] { $done } step
       *[other] { $done } steps
    } and goes on from its last checkpoint: same settings, same data from where it stood, the optimiser's memory kept.
sheets-longer-rate = The learning rate follows its schedule over all steps, so where the old schedule had come to its end it rises again. What the method does at set times stays where it was planned.
sheets-longer-steps = Steps in all
sheets-longer-tip = Counted from the run's first step
sheets-longer-more = at least { $least }
sheets-longer-price = { $n ->
        [one] { $more } step
       *[other] { $more } steps
    } more
sheets-longer-go = Train on
sheets-longer-go-tip = Goes on with this run
sheets-queue = Waiting runs
sheets-queue-lead = The engine trains one run at a time and begins the next one in this order, with the settings of the moment when it was started. They wait on while the window is closed.
sheets-queue-empty = No run waits. Train, pressed while a run goes on, puts one here.
sheets-queue-place = { $place }.
sheets-queue-sooner = Run { $run } sooner
sheets-queue-later = Run { $run } later
sheets-queue-remove = Take run { $run } out
sheets-table-note = { $shown } of { $all } rows; the CSV has all of them with every digit
sheets-longer-curve = Learning rate: { $now } at step { $done }, { $next } with the first new step, then by its schedule to step { $steps }
sheets-longer-curve-old = Learning rate: { $now } at step { $done }
sheets-queue-time = about { $time }
after-title = When the queue is done
after-note = for this session only
after-nothing = do nothing
after-close = close the window
after-shut-down = shut down
after-title-close = The window closes
after-title-shut-down = The computer shuts down
after-closes = Everything is trained. The window closes in { $n ->
        [one] { $secs } second
       *[other] { $secs } seconds
    }, as was asked for.
after-shuts-down = Everything is trained. The computer shuts down in { $n ->
        [one] { $secs } second
       *[other] { $secs } seconds
    }, as was asked for.
after-left = Time left
after-cancel-tip = The window stays open and the machine on
after-cancelled = Cancelled: the window stays open and the machine on
after-shutting-down = The system was asked to shut down
after-refused = The computer was not shut down: { $why }
after-no-way = no way to shut this system down is known
after-held-disk = Nothing follows the queue: something could not be written to the disk
after-held-loss = Nothing follows the queue: a run lost its engine
after-elsewhere = Nothing follows the queue any more: another project is open
