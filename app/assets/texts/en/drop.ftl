# Files over the window.

drop-here = goes here
drop-also = also possible
drop-not-model = Not a model
drop-stays = { $name } stays chosen.
drop-no-model = No model is chosen yet.
drop-not-data = Not data
drop-no-data = No data is chosen yet.
drop-not-adapter = Not an adapter
drop-not-kept = Not kept texts
drop-sets-stay = { $n ->
        [one] { $count } set stays
       *[other] { $count } sets stay
    } kept.
drop-changes = what changes
drop-now = now
drop-after = after the drop
drop-takes-place = Takes the place of { $old }. The old file stays where it is, Ctrl+Z brings it back.
drop-nothing-chosen = Nothing is chosen yet.
drop-use-model = Use as model
drop-layers = layers
drop-context = context
drop-storage = storage
drop-size = size
drop-together = { $count } files are trained together.{" "}
drop-use-data = Use as training data
drop-rows = rows
drop-aside = set aside
drop-read-as = read as
drop-columns = columns
drop-use-settings = Train with its settings
drop-use-settings-lead = Method and rank are taken from this adapter; its weights are not changed.
drop-export = Export this adapter
drop-export-lead = It is written for other programs over its base and checked; nothing in the project changes.
drop-method = method
drop-sites = sites
drop-made-for = made for
drop-keep = Keep what it says
drop-keep-lead = Adds its texts to what must not be forgotten. One click after the drop moves it here.
drop-kept-sets = kept sets
drop-texts = texts
drop-adapter = Drop: { $method } adapter, rank { $rank }, { $sites } sites
drop-project = Drop: project { $name }, { $runs }; it opens
drop-unusable = Not something Temper can use
drop-shape = Shape
drop-shape-words = { $n ->
        [one] { $layers } layer
       *[other] { $layers } layers
    }, width { $width }
drop-none-found = none found
drop-template-none = none; plain text is trained
drop-adaptable = Can be adapted
drop-linear = { $n ->
        [one] { $count } linear layer
       *[other] { $count } linear layers
    }
drop-read-so-far = Read so far
drop-all-rows = { $n ->
        [one] the only row
       *[other] all { $rows } rows
    }
drop-first-rows = { $n ->
        [one] first row
       *[other] first { $rows } rows
    }
drop-look = Needs a look
drop-look-none = nothing found
drop-container = Container
drop-base = Base
drop-why = Why
drop-over = A file is over the window; what it is will be said when you let go
drop-looking = Looking what it is
drop-leave = leave the window with the file: nothing changes
drop-and-more = and { $more } more
drop-runs = { $n ->
        [one] { $runs } run
       *[other] { $runs } runs
    }
drop-model = Drop: { $family }-type model, { $parameters } parameters, { $storage }
drop-data = Drop: { $schema }, { $rows } rows, { $container }
