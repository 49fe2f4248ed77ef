# A person's own presets of a method's settings.

preset-title = Save as preset
preset-lead = Keeps the settings of { $method } and the learning rate under a name. Every project can use them.
preset-name = Name
preset-name-hint = such as: short answers
preset-name-tip = Shown beside gentle, balanced and strong
preset-replaces = replaces the one of this name
preset-keep = Save
preset-keep-tip = Keeps the settings of now under this name
preset-own = Own presets
preset-own-tip = Settings of this method that you kept; Save as preset adds more and forgets them
preset-forget = Forget the preset { $name }
preset-is-kept = Preset { $name } is kept
preset-facts = rank { $rank }, rate { $rate }
preset-rate = rate { $rate }
preset-usual = usual rate
preset-rank = rank { $rank }, usual rate
