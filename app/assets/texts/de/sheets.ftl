# Was über einem Raum liegt: Palette, Fragen, Hilfe.

sheets-palette = Befehlspalette
sheets-palette-hint = Was soll getan werden?
sheets-palette-none = Kein Befehl heißt so. Das Feld leeren, um alle zu sehen.
sheets-copy = Kopieren
sheets-copy-tip = Kopiert den Text
sheets-close-tip = Zurück zum Raum
sheets-text = Text
sheets-folder = Projektordner
sheets-place = Wo soll dieses Projekt liegen?
sheets-place-lead = Im Ordner liegen project.toml, die Läufe mit ihren Checkpoints und alles Exportierte. Modell und Daten bleiben, wo sie sind.
sheets-place-whole = Den ganzen Pfad eines Ordners angeben.
sheets-create = Anlegen und trainieren
sheets-create-tip = Schreibt project.toml dorthin und beginnt
sheets-not-now = Nicht jetzt
sheets-not-now-tip = Zurück zum Setup
sheets-path-title = Pfad eingeben
sheets-path-lead = Den Ort eines Modells, von Daten, einem Adapter oder Projekt einfügen.
sheets-path-hint = /pfad/zur/datei oder Ordner
sheets-path = Pfad
sheets-open = Öffnen
sheets-open-tip = Sieht nach, was es ist, und legt es an seinen Platz
sheets-back = Zurück
sheets-stopping = Der Lauf wird angehalten
sheets-stopping-lead = Der Lauf beendet seinen Mikroschritt, schreibt einen Checkpoint und endet. Dann schließt sich das Fenster.
sheets-no-wait = Schließen, ohne zu warten
sheets-no-wait-tip = Die Engine hält den Lauf von selbst an
sheets-run-going = Lauf { $run } ist noch im Gang
sheets-some-run-going = Ein Lauf ist noch im Gang
sheets-keep-running = Weiterlaufen lassen
sheets-keep-running-tip = Der Lauf geht ohne Fenster weiter; Projekt öffnen, um ihn zu sehen.
sheets-stop-tip = Endet mit einem Checkpoint; Gelerntes bleibt und ist exportierbar.
sheets-stay = Bleiben
sheets-stay-tip = Nichts ändert sich.
sheets-command = Die gleichwertige Befehlszeile
sheets-command-note = Sie tut dasselbe wie der Knopf Trainieren; die Projektdatei enthält jede Einstellung.
sheets-file-unsaved = noch nicht gespeichert: Das erste Training fragt, wohin
sheets-file = Projektdatei
sheets-longer = Mehr Schritte für Lauf { $run }
sheets-longer-lead = Er hat { $n ->
        [one] { $done } Schritt
       *[other] { $done } Schritte
    } getan und geht vom letzten Checkpoint weiter: gleiche Einstellungen, die Daten von ihrer Stelle an, mit dem Gedächtnis des Optimierers.
sheets-longer-rate = Die Lernrate folgt ihrem Plan über alle Schritte; wo der alte Plan zu Ende war, steigt sie also wieder. Was die Methode zu festen Zeiten tut, bleibt, wo es geplant war.
sheets-longer-steps = Schritte gesamt
sheets-longer-tip = Vom ersten Schritt des Laufs an gezählt
sheets-longer-more = mindestens { $least }
sheets-longer-price = { $n ->
        [one] { $more } Schritt
       *[other] { $more } Schritte
    } mehr
sheets-longer-go = Weiter trainieren
sheets-longer-go-tip = Setzt diesen Lauf fort
sheets-queue = Wartende Läufe
sheets-queue-lead = Die Engine trainiert einen Lauf nach dem anderen und beginnt den nächsten in dieser Reihenfolge, mit den Einstellungen, die er beim Start hatte. Sie warten auch, wenn das Fenster geschlossen ist.
sheets-queue-empty = Kein Lauf wartet. Trainieren, während ein Lauf im Gang ist, reiht einen hier ein.
sheets-queue-place = { $place }.
sheets-queue-sooner = Lauf { $run } früher
sheets-queue-later = Lauf { $run } später
sheets-queue-remove = Lauf { $run } herausnehmen
sheets-table-note = { $shown } von { $all } Zeilen; die CSV hat alle mit jeder Ziffer
sheets-longer-curve = Lernrate: { $now } bei Schritt { $done }, { $next } mit dem ersten neuen Schritt, dann nach Plan bis Schritt { $steps }
sheets-longer-curve-old = Lernrate: { $now } bei Schritt { $done }
sheets-queue-time = etwa { $time }
after-title = Wenn die Schlange leer ist
after-note = nur in dieser Sitzung
after-nothing = nichts tun
after-close = Fenster schließen
after-shut-down = ausschalten
after-title-close = Das Fenster schließt sich
after-title-shut-down = Der Rechner schaltet sich aus
after-closes = Alles ist trainiert. Das Fenster schließt sich in { $n ->
        [one] { $secs } Sekunde
       *[other] { $secs } Sekunden
    }, wie gewünscht.
after-shuts-down = Alles ist trainiert. Der Rechner schaltet sich in { $n ->
        [one] { $secs } Sekunde
       *[other] { $secs } Sekunden
    } aus, wie gewünscht.
after-left = Verbleibende Zeit
after-cancel-tip = Das Fenster bleibt offen, der Rechner an
after-cancelled = Abgebrochen: Fenster und Rechner bleiben an
after-shutting-down = Das System wurde gebeten, auszuschalten
after-refused = Der Rechner wurde nicht ausgeschaltet: { $why }
after-no-way = wie dieses System ausgeschaltet wird, ist nicht bekannt
after-held-disk = Auf die Schlange folgt nichts: etwas ließ sich nicht auf die Platte schreiben
after-held-loss = Auf die Schlange folgt nichts: ein Lauf verlor seine Engine
after-elsewhere = Auf die Schlange folgt nichts mehr: ein anderes Projekt ist offen
