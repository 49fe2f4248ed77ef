# The model card of an export.

card-made = { $what }, made with Temper: { $method } on { $base }.
card-needs-base = It is a change alone and is loaded over { $base }.
card-rate = highest learning rate
card-seed = seed
card-steps = steps
card-of = { $done } of { $all }
card-parameters = parameters trained
card-beneath = adapters beneath
card-files = files
card-loss-on = trained on
card-validation = validation rows
card-data-hash = SHA-256 of the data
card-figures = Figures
card-base-loss = validation loss of the base, nats per trained token
card-best-loss = validation loss, nats per trained token
card-best-step = at step
card-forgetting = forgetting, nats on the worst kept set
card-forgetting-of = { $nats } (budget { $budget })
card-not-measured = not measured
card-certificate = Certificate
card-compared = What was written was opened by another reader and compared with the trained model:
card-check = { $measured } (limit { $limit })
card-verify = It was compared with the trained model when it was written; temper verify compares it again.
card-limits = Limits
card-limit-data = It learned from the data above; what that lacks or has wrong, it lacks or has wrong too.
card-limit-nothing = What it forgot was not measured.
card-limit-kept = What it forgot was measured on { $n ->
        [one] { $count } kept set
       *[other] { $count } kept sets
    } and on nothing else.
card-licence = Licence
card-licence-is = The files of the base model state the licence { $licence }. It may bind what is made from it.
card-licence-unknown = The files of the base model state no licence. Look it up before passing this on.
card-title = Model card
card-lead = Written as README.md into the folder of the export. Name of the base, library and tags stand above it for programs.
card-text = Text of the card
card-text-tip = Markdown; change what you like
card-keep = Use this card
card-keep-tip = The next export of this run takes it along
card-again = From the run
card-again-tip = Throws the changes away and fills the card from the run
card-edited = with a card of your own
card-lone-file = a lone GGUF file has no place for a card
card-no-run = an adapter folder gets the usual card: there is no run to fill one from
