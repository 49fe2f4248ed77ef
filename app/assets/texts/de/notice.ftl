# Meldungen in der Statuszeile.

notice-repaired = Die Laufdatenbank ist repariert: { $n ->
        [one] { $runs } Lauf ist
       *[other] { $runs } Läufe sind
    } wieder aufgelistet
notice-written = Geschrieben: { $path }
notice-nothing-at = Unter { $path } liegt nichts.
notice-open-files = Modelle, Daten oder Adapter öffnen
notice-open-folder = Modellordner oder Projekt öffnen
notice-open-kept = Texte, die nicht vergessen werden dürfen
notice-open-adapter = Adapterordner öffnen
notice-copied = { $what } kopiert
notice-scale = Maßstab { $percent } %
notice-no-dialog = Dieses System bietet keinen Dateidialog (kein Desktop-Portal antwortet).
notice-is-model = { $name } ist jetzt das Modell
notice-is-data = { $name } wird jetzt trainiert
notice-is-method = Methode und Rang aus { $name } übernommen
notice-is-kept = { $name } wird jetzt bewahrt
notice-is-exported = { $name } wird jetzt exportiert
notice-opened = { $name } geöffnet
notice-curves-copied = Kurven als CSV kopiert
notice-job-data = Liest die Daten
notice-job-step = Misst einen Schritt
notice-job-repair = Repariert die Laufdatenbank
notice-job-example = Kopiert das Beispiel
notice-job-export = Schreibt: { $what }
notice-job-judge = Läufe auf Zeilen vergleichen
notice-job-answer = Prompt beantworten
notice-job-verify = Prüft den Export erneut
notice-job-look = Sieht die Dateien an
notice-layout = Die Anordnung dieses Projekts war nicht lesbar; sie ist wie am Anfang
notice-plot-hidden = Dieser Plot ist gerade nicht zu sehen: das Fenster vergrößern und erneut sichern
notice-branched = Einstellungen von Lauf { $run } im Formular; Beginn bei dessen Schritt { $step }
notice-shelved = Das Angefangene hatte noch keinen Ordner: „Neues leeres Projekt“ und „Rückgängig“ holen es zurück
notice-no-manager = Für { $path } ließ sich kein Dateimanager starten
notice-waits = Lauf { $run } wartet auf Lauf { $ahead }; seine Einstellungen bleiben, wie sie jetzt sind
notice-ended = Lauf { $run } ist fertig
notice-ended-best = Lauf { $run } ist fertig, beste Validierung { $loss } nats
notice-ended-stopped = Lauf { $run } wurde bei Schritt { $step } gestoppt und ist behalten
notice-ended-failed = Lauf { $run } scheiterte bei Schritt { $step }: { $what }
notice-ended-lost = Lauf { $run } hat bei Schritt { $step } seine Engine verloren
notice-battery-waits = Läufe warten, solange dieser Rechner im Akkubetrieb ist
notice-battery-trains = Läufe gehen auch im Akkubetrieb weiter
notice-not-gone-on = Lauf { $run } ging nicht weiter; er ist, wie er war
notice-on-battery = Akkubetrieb: Der Lauf wartet auf Netzstrom. „Weiter“ trainiert trotzdem
notice-paused = Lauf { $run } ist bei Schritt { $step } angehalten
