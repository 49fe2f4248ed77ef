# Die Wörter, die die Hilfe erklärt.

help-loss = Verlust
help-loss-words = wie sehr das richtige Token das Modell überrascht, in Nats; weniger ist besser
help-nat = Nat
help-nat-words = die Einheit der Überraschung: 1 Nat ist eine Wahrscheinlichkeit von 37 %, 0.05 Nats eine von 95 %
help-forgetting = Vergessen
help-forgetting-words = Verlust auf dem schlechtesten Prüfset minus dem der Basis, in Nats
help-kept = Prüfset
help-kept-words = Texte, die das Modell danach noch können muss
help-budget = Budget
help-budget-words = das höchste Vergessen, das erlaubt ist
help-rank = Rang
help-rank-words = wie viele Richtungen die Änderung einer Schicht nutzen darf
help-effective = effektiver Rang
help-effective-words = wie viele Richtungen sie wirklich nutzt
help-adapter = Adapter
help-adapter-words = die Änderung allein, in einer kleinen Datei neben dem Modell
help-certificate = Zertifikat
help-certificate-words = ein Vergleich des Geschriebenen mit dem Trainierten, bevor es als fertig gilt
help-commands = Befehle
help-by-palette = Palette
help-words = Wörter
help-tips = In Plots: Ziehen vergrößert, ein Doppelklick zeigt alles, Ctrl mit dem Mausrad zoomt, ein Klick setzt die Zeitlinie. Tab geht durch alle Bedienelemente; Leertaste und Enter drücken sie.
help-language = Sprache
help-language-system = System
