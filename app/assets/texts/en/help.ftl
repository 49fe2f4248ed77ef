# The words that the help explains.

help-loss = loss
help-loss-words = how surprised the model is by the right token, in nats; lower is better
help-nat = nat
help-nat-words = the unit of surprise: 1 nat is a probability of 37 %, 0.05 nats one of 95 %
help-forgetting = forgetting
help-forgetting-words = loss on the worst kept set minus that of the base, in nats
help-kept = kept set
help-kept-words = texts that the model must still know afterwards
help-budget = budget
help-budget-words = the most forgetting that is allowed
help-rank = rank
help-rank-words = how many directions the change of a layer may use
help-effective = effective rank
help-effective-words = how many directions it really uses
help-adapter = adapter
help-adapter-words = the change alone, in a small file beside the model
help-certificate = certificate
help-certificate-words = a comparison of what was written with what was trained, before it counts as done
help-commands = Commands
help-by-palette = palette
help-words = Words
help-tips = In plots: drag zooms, a double click shows everything, Ctrl and the wheel zoom, a click sets the scrub line. Tab walks through every control; Space and Enter press it.
help-language = Language
help-language-system = System
