# Ein Rennen der Methoden: ihre Wahl im Setup und das Rennen im Verlauf.

race-title = Methodenrennen
race-job = Methoden im Rennen
race-invite = oder mehrere
race-lead = Zwei bis acht Methoden ankreuzen. Alle trainieren dieselben Zeilen in derselben Reihenfolge; nach jeder Runde scheidet die schlechtere Hälfte aus. Jede nutzt die Einstellungen dieses Projekts, die sie kennt.
race-tick = { $name } ins Rennen
race-ticked = { $n ->
        [one] { $count } Methode
       *[other] { $count } Methoden
    } angekreuzt.
race-rounds = { $count } Methoden, { $n ->
        [one] { $rounds } Runde
       *[other] { $rounds } Runden
    }, bis Schritt { $steps }.
race-one = Zurück
race-one-tip = Zurück zur Wahl einer Methode
race-too-few = Erst mindestens zwei Methoden ankreuzen
race-too-many = Höchstens acht Methoden laufen mit
race-no-epochs = Ein Rennen misst in Schritten, dieses Projekt zählt Durchgänge: Schritte angeben
race-few-steps = Zu wenige Schritte für so viele Runden: mehr Schritte angeben
race-no-validation = Nichts ist zum Vergleichen zurückgelegt: Anteil oder Datei für die Validierung angeben
race-none-goes = Es läuft kein Rennen
race-none = Es gab noch kein Rennen
race-no-winner = Noch hat keine Methode gewonnen
race-no-round = Noch ist keine Runde vorbei
race-no-round-lead = Nach jeder Runde stehen hier die Verluste aller Methoden und ihr Abstand zur besten.
race-used = { $method } ist jetzt die Methode
race-won-notice = Das Rennen ist vorbei: { $method } hat gewonnen
race-engine-gone = die Engine endete unerwartet während des Rennens
race-engine-action = das Rennen neu starten; was trainiert wurde, ist unter den Läufen
race-round = Runde { $round } von { $rounds }
race-stopped = gestoppt
race-failed = vorzeitig zu Ende
race-to-run = Zum Lauf
race-to-run-tip = Zeigt den Lauf, der vorher zu sehen war
race-plan = { $n ->
        [one] verglichen bei Schritt { $steps }
       *[other] verglichen bei { $steps }
    }
race-failed-because = Das Rennen ging nicht weiter: { $why }
race-first-round = Noch nichts verglichen; { $method } ist bei Schritt { $step } der ersten Runde.
race-nothing-known = Keine Methode kam bis zu einem Vergleich.
race-begins = Das Rennen beginnt.
race-won = { $method } gewann mit { $loss } Nats bei Schritt { $step }.
race-leads = Nach Runde { $round } von { $rounds } (Schritt { $step }) führt { $method } mit { $loss } Nats.
race-second-clear = { $method } liegt { $by } ± { $band } zurück.
race-second-near = { $method } liegt { $by } ± { $band } zurück, das ist nicht klar.
race-lanes = Methoden
race-lanes-note = Nats auf Validierung, beste zuerst; ± ist das 95-%-Band
race-difference = Abstand
race-pace = je Schritt
race-fate = Stand
race-leader = führt
race-watch-run = Zeigt diesen Lauf mit allen Plots
race-runs = trainiert, { $step } von { $until }
race-waits = wartet
race-rests = fertig mit der Runde
race-behind = raus, Runde { $round } ({ $step })
race-no-number = raus, Runde { $round }: keine Zahl
race-refused = läuft nicht: { $why }
race-winner = gewonnen
race-open = nicht entschieden
race-stays = bleibt
race-out = raus
race-use = Wahl
race-use-named = { $method } wählen
race-use-tip = Setzt diese Methode ins Formular; Einstellungen, die sie kennt, bleiben
race-menu = Rennen sichern oder kopieren
race-no-curves = Noch keine Verluste
race-no-curves-lead = Der Verlust jeder Methode erscheint hier, sobald er gemessen ist.
race-plot = Verluste der Methoden im Rennen
race-bars = Balken: 95-%-Band des Abstands zur führenden Methode der Runde
race-round-head = Runde
race-past = Frühere Rennen
race-past-empty = Noch ist kein Rennen aufgehoben.
race-past-lead = Jedes Rennen dieses Projekts, wie es entschieden wurde. Kurven gibt es, solange es die Läufe gibt.
race-past-facts = { $methods }, { $n ->
        [one] { $steps } Schritt
       *[other] { $steps } Schritte
    }
race-past-won = { $method } gewann mit { $loss } Nats
race-goes-on = läuft
race-name = Rennen { $number }
race-open-named = Rennen { $number } öffnen
race-open-tip = Zeigt dieses Rennen im Verlauf
race-run-removed = entfernt
race-broken-off = es brach ab, oder läuft in einem anderen Fenster
