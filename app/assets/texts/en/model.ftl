# The card Model.

model-choose-file = Choose a GGUF file…
model-choose-file-tip = A single model file
model-choose-folder = Choose a model folder…
model-choose-folder-tip = A folder with config.json and safetensors
model-starter = Use the starter
model-starter-tip = The small bundled model
model-none-lead = Drop a GGUF file or a Hugging Face folder here. What can be adapted in it is listed then.
model-none-choose = A GGUF file or a Hugging Face folder. What can be adapted in it is listed then.
model-none = No model yet
model-reading = Reading its header
model-gguf = GGUF file
model-folder = Hugging Face folder
model-bundled = bundled
model-family = Family
model-parameters = Parameters
model-shape = { $n ->
        [one] { $layers } layer
       *[other] { $layers } layers
    }, width { $hidden_size }
model-context = Context
model-storage = Storage
model-tokenizer = Tokenizer
model-entries = { $entries } entries
model-template = Chat template
model-template-none = plain text is trained
model-licence = Licence
model-licence-stated = stated in the file
model-size = Size
model-memory = disk, { $memory } memory
model-held-tip = auto keeps the storage of the file, and a wider type takes more memory and changes nothing else. int8, nf4 to nf2 and int4 to int2 round the linear weights to 8.25, 4.25 to 2.25 and 4.19 to 2.19 bits each while the model is read: a large base in little memory, for adapters
model-held = Held as
model-sites = What can be adapted
model-sites-count = { $n ->
        [one] { $count } site
       *[other] { $count } sites
    }
model-sites-chosen = { $chosen } / { $count }
model-pattern = Not shown as ticks: { $entries }. A tick takes its place.
model-last = Last blocks
model-last-of = Only the last layers of { $name }
model-last-count = last { $count }
model-some = { $count } of { $all }
model-all = All
model-all-of = Adapt all layers of { $name }
model-none-of = None
model-none-of-name = Adapt no layer of { $name }
model-search = Search modules
model-adapt-all = Adapt every linear layer
model-adapt-all-tip = Adapts every linear layer but the output head
model-layers = layers
model-layers-sites = { $layers } × { $per_layer } sites
model-adapt = Adapt { $name }
model-layers-of = { $sites } layers of { $shape }
model-hidden = { $more } more hidden by the search
model-unfold = Show the layers of { $name }
model-fold = Hide the layers of { $name }
