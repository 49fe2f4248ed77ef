# The card Method and the forms under it.

method-on = on
method-off = off
method-give-range = give { $low } to { $high }
method-give-whole = give a whole number
method-give-rate = give a number such as 2e-4
method-give-least = give { $low } or more
method-give-most = give { $high } or less
method-give-number = give a number
method-give-decimal = give a number such as 0.05
method-give-pairs = give pairs such as layers.0.attn.q = 8
method-default = {" "}(default { $default })
method-none = The engine did not say which methods there are.
method-asking = Asking the engine which methods there are.
method-search-hint = Search { $count } methods
method-search = Search methods
method-more = { $hidden } more
method-show-all = Show all
method-show-all-tip = Lists every method
method-hidden = { $hidden } hidden by the search
method-clear-tip = Clears the search
method-all = all { $count }
method-show-few = Show fewer
method-show-few-tip = Lists the chosen method and a few
method-name = Method { $name }
method-gentle = gentle
method-balanced = balanced
method-strong = strong
method-preset = Preset
method-less = Less
method-more-tip = Settings that rarely need a change
method-all-shown = All settings are shown
method-hidden-rows = Schedule, seed and { $more } more
method-scale = scale { $scale }
method-measured = measured by pre-flight
method-leaves-as = Leaves as: { $forms }
method-more-settings = More settings
