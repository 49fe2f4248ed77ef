# The frame around every room: top bar, rail, status bar.

frame-note-closes = closes this note
frame-dismiss = Dismiss
frame-new-project = new project
frame-no-project = no project
frame-project = Project: { $name }
frame-project-tip = The project: new, open, recent
frame-to-light = Switch to the light theme
frame-to-contrast = Switch to the high-contrast theme
frame-to-dark = Switch to the dark theme
frame-offline-tip = Temper makes no connection: there is no network code in it
frame-offline = Offline
frame-device-threads = { $kind }, { $n ->
        [one] { $threads } thread
       *[other] { $threads } threads
    }
frame-device-unknown = Device not tested
frame-device-unknown-tip = The self-test on Home says what this machine can do
frame-live = . A run is going on
frame-training = training
frame-steps-done = Steps done
frame-steps-share = { $percent } % of the steps are done
frame-length-unknown = The length is not known yet
frame-before-first-step = before its first step
frame-stage-of = { $stage }: { $done } of { $total } { $unit }
frame-step-tip = Optimiser steps done, of those planned
frame-loss-tip = Smoothed train loss, nats per trained token
frame-left = left
frame-left-tip = Time until the last step, at the speed so far
frame-speed = speed
frame-speed-unit = tok/s
frame-speed-tip = Tokens a second, without padding
frame-of-memory = of { $memory }
frame-memory-tip = Memory of the engine, and of this machine
frame-of-budget = of { $budget } nats
frame-forgetting-tip = Worst kept set, measured at step { $step }: its loss minus that of the base, and the budget
frame-not-measured = not measured yet
frame-not-measured-tip = What is forgotten is known from the first measurement of the kept sets on
frame-network = network
frame-network-note = connections since start
frame-memory-note = in this machine
frame-memory-free = for a run, { $free } free
frame-done-of = { $done } of { $total } { $unit }
frame-time-left = { $time } left
frame-cancel-tip = Stops this
frame-no-project-open = No project is open
frame-no-run = No run yet
frame-run-interrupted = Run { $run } was interrupted at step { $step }; it can go on
frame-run-finished = Run { $run } finished { $ago }
frame-run-stopped = Run { $run } stopped at step { $step } and kept
frame-run-cancelled = Run { $run } was cancelled
frame-run-failed = Run { $run } failed at step { $step }; nothing earlier was lost
frame-run-other = Run { $run } { $status }
