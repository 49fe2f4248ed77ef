# The strip below the cards.

preflight-title = Pre-flight
preflight-measuring = measuring one real step
preflight-measuring-again = measuring one real step; the figures are those of the settings before
preflight-measured = measured { $ago }: one micro-step, { $batch } × { $tokens } tokens
preflight-changed = changed since the last measurement
preflight-unmeasured = not measured yet
preflight-needs-both = Choose a model and data: then one real step is measured and memory, time and disk are known before you start.
preflight-needs-data = Choose data: then one real step is measured and memory, time and disk are known before you start.
preflight-moment = Memory, time and disk stand here in a moment.
preflight-soon = One real step is measured as soon as the data is read.
preflight-blocked = A card above has a problem; a step is measured once it is solved.
preflight-again-tip = Tries the same settings once more
preflight-memory = Memory
preflight-of-free = of { $free } { $what }
preflight-free = free
preflight-memory-tip = Highest resident memory while training, measured on the longest batch
preflight-time = Time
preflight-a-step = { $step } a step
preflight-a-step-steps = { $step } a step, { $steps } steps
preflight-time-tip = The measured step times the steps planned ({ $steps }), and the measuring of validation rows and kept sets in between ({ $rest })
preflight-energy = about { $energy }
preflight-energy-tip = The whole processor draws about { $watts } W meanwhile, whatever else runs on it: { $energy } for all steps, without the measuring in between
preflight-energy-untold = How much energy that takes is not known: this machine does not tell what it draws
preflight-checkpoints-tip = Disk for the checkpoints that are kept
preflight-export = Export
preflight-export-tip = Disk for the formats named in the project file
preflight-trained = Trained
preflight-of-model = { $share } of the model
preflight-trained-tip = Parameters that change; all others stay as they are
preflight-problem = { $name } has a problem; a run would stop there.
preflight-no-fit = It does not fit: lower the batch or switch recompute on.
preflight-passes-but = All checks pass. { $n ->
        [one] { $rows } row stays
       *[other] { $rows } rows stay
    } out of training.
preflight-passes = All checks pass.
preflight-asks-place = The first training asks where the project shall live.
preflight-as-it-goes = Not measured yet; training measures as it goes.
preflight-fix = { $needed } needed, { $free } free. Any of these makes it fit:
preflight-fix-batch = Batch { $batch }
preflight-fix-batch-tip = Fewer rows at once, more passes a step: the same step, the same time about ({ $settings })
preflight-fix-recompute = Recompute
preflight-fix-recompute-tip = Blocks are computed again on the way back instead of being kept: the same numbers, more time ({ $settings })
preflight-fix-length = Length { $tokens }
preflight-fix-length-tip = Rows are cut off after so many tokens ({ $settings })
preflight-fix-same = { $needs }, same time
preflight-fix-slower = { $needs }, +{ $more } time
preflight-fix-cuts = { $needs }, { $n ->
    [one] { $rows } row cut
   *[other] { $rows } rows cut
}
preflight-pick = It does not fit into memory as it stands. Pick one of the ways on the left.
