# Die Hilfe: Tasten und der Umgang mit Plots.

help-commands = Befehle
help-by-palette = Palette
help-keys-of = Tasten für { $command }: { $keys }
help-keys-tip = Klicken, dann andere Tasten für diesen Befehl drücken
help-keys-wait = Tasten drücken…
help-keys-lead = Die neuen Tasten für „{ $command }“ drücken. Rücktaste nimmt sie weg, Esc behält sie.
help-keys-change = Tasten sind Knöpfe: Ein Druck wählt andere Tasten.
help-keys-taken = Diese Tasten gehören „{ $command }“. Noch einmal drücken nimmt sie ihm weg.
help-keys-bare = Ohne Strg oder Alt schreiben diese Tasten Text oder bewegen den Fokus: eine davon dazunehmen, oder F2 bis F12.
help-keys-editing = Textfelder brauchen diese Tasten zum Kopieren, Ausschneiden, Einfügen und Auswählen: andere nehmen.
help-keys-are-reset = Alle Befehle haben die Tasten zurück, mit denen sie kamen.
help-words = Wörter
help-tips = In Plots: Ziehen vergrößert, ein Doppelklick zeigt alles, Ctrl mit dem Mausrad zoomt, ein Klick setzt die Zeitlinie. Tab geht durch alle Bedienelemente; Leertaste und Enter drücken sie.
help-language = Sprache
help-language-system = System
