# Der Raum Setup: sein Kopf und was die Karten teilen.

setup-title = Setup
setup-keep-instead = Stattdessen bewahren
setup-keep-instead-tip = Fügt es zu dem hinzu, was nicht vergessen werden darf
setup-train-instead = Stattdessen trainieren
setup-train-instead-tip = Macht es zu den Trainingsdaten
setup-export-instead = Stattdessen exportieren
setup-export-instead-tip = Methode und Rang bleiben, wie sie waren; der Adapter selbst lässt sich im Export schreiben
setup-undo-tip = Was vorher da war, kommt zurück
setup-close-note = Diesen Hinweis schließen
setup-lead = Modell und Daten hierher ziehen, oder in den Karten wählen
setup-lead-choose = Modell und Daten in den Karten wählen
setup-saving = , speichert
setup-saved = , gespeichert in project.toml
setup-unsaved = , noch in keinem Ordner gespeichert
setup-next-run = nächster Lauf: { $next }{ $saved }
setup-mark-problem = hat ein Problem
setup-mark-ready = bereit
setup-mark-reading = wird gelesen
setup-mark-missing = noch nicht gewählt
setup-start = beginnt mit { $from }
setup-start-run = beginnt mit Lauf { $run } bei Schritt { $step }
setup-start-tip = Methode und ihre Einstellungen sind die jenes Adapters; alles andere lässt sich ändern
setup-start-base = Von der Basis beginnen
setup-start-base-tip = Der neue Lauf beginnt mit dem Basismodell
