# The card Data.

data-choose = Choose files…
data-choose-tip = JSON Lines, JSON, CSV, TSV, Parquet or plain text
data-starter = Use the starter data
data-starter-tip = The small bundled data set
data-none-lead = Drop rows of text here: JSON Lines, JSON, CSV, TSV, Parquet or plain text. How they are read is shown before anything is trained.
data-none-choose = Rows of text: JSON Lines, JSON, CSV, TSV, Parquet or plain text. How they are read is shown before anything is trained.
data-none = No data yet
data-and-more = { $name } and { $more } more
data-confidence = confidence { $confidence }
data-read-as = Read as
data-file = File
data-columns = Columns
data-rows = { $n ->
        [one] { $rows } row
       *[other] { $rows } rows
    }
data-aside = Set aside
data-needs-model = Choose a model too: its tokenizer says how many tokens these rows are.
data-waits-model = Waiting for the model.
data-reading = Reading all rows as the model sees them.
data-about = about { $rows } rows
data-estimated = Reckoned from the head and samples; all rows are being read.
data-estimated-only = Reckoned from the head and samples; training reads all rows.
data-row-lens = Row { $row } in the token lens
data-row-lens-tip = { $trained } of { $tokens } tokens are trained. Click to see each.
data-train-rows = { $rows } train
data-split = Split
data-validation-rows = { $rows } validation
data-trained = { $tokens } trained ({ $share })
data-tokens = Tokens
data-length = Length in tokens
data-median = median { $median }  longest { $longest }
data-rows-aside = { $n ->
        [one] { $rows } row
       *[other] { $rows } rows
    } set aside
data-rows-cut = { $n ->
        [one] { $rows } row
       *[other] { $rows } rows
    } cut
data-aside-tip = Lines that do not fit, with the reason
data-aside-note = never trained, never dropped
data-line = { $file }, line { $line }
data-more-same = { $more } more of the same kind
data-columns-note = drag one onto a role
data-column-said = Column { $column }, { $kind }
data-kind-text = text
data-kind-number = number
data-kind-flag = yes or no
data-kind-turns = turns
data-kind-list = list
data-kind-object = object
data-kind-empty = empty
data-kind-mixed = mixed
data-form-name = What rows are
data-form-auto = recognised
data-form-found = recognised: { $form }
data-form-raw = texts, no template
data-form-segments = marked pieces
data-form-table = threads
data-form-unclear = Say what the rows are, then drag columns onto their roles.
data-slot = Column for { $role }
data-slot-none = none
data-slot-missing = missing
data-roles-more = More roles
data-roles-fewer = Fewer roles
data-roles-more-tip = Roles that rows may have and do not need
data-first-rows = First rows
data-head-row = row
data-head-input = input
data-head-answer = answer
data-head-tokens = tokens
data-cut-at = cut at { $tokens }
data-lengths-words = { $within } rows within the limit, { $beyond } beyond
data-lengths = Lengths: { $words }
data-aside-name = Rows set aside
data-schema-messages = chat messages
data-schema-turns = chat turns
data-schema-preference = preference pairs
data-schema-rated = rated answers
data-schema-prompts = prompts and answers
data-schema-instructions = instructions
data-schema-text = plain text
data-container-jsonl = JSON Lines
data-container-parquet = Parquet
