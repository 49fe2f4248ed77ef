# Der Rahmen um jeden Raum: Kopfzeile, Leiste, Statuszeile.

frame-note-closes = schließt diesen Hinweis
frame-dismiss = Schließen
frame-new-project = neues Projekt
frame-no-project = kein Projekt
frame-project = Projekt: { $name }
frame-project-tip = Das Projekt: neu, öffnen, zuletzt benutzt
frame-to-light = Zum hellen Design wechseln
frame-to-contrast = Zum kontrastreichen Thema wechseln
frame-to-dark = Zum dunklen Design wechseln
frame-offline-tip = Temper baut keine Verbindung auf: Es enthält keinen Netzwerkcode
frame-offline = Offline
frame-device-threads = { $kind }, { $n ->
        [one] { $threads } Thread
       *[other] { $threads } Threads
    }
frame-device-unknown = Gerät nicht getestet
frame-device-unknown-tip = Der Selbsttest auf der Startseite zeigt, was dieser Rechner kann
frame-live = . Ein Lauf ist im Gang
frame-training = im Training
frame-steps-done = Erledigte Schritte
frame-steps-share = { $percent } % der Schritte sind erledigt
frame-length-unknown = Die Länge ist noch nicht bekannt
frame-before-first-step = vor dem ersten Schritt
frame-stage-of = { $stage }: { $done } von { $total } { $unit }
frame-step-tip = Erledigte Optimierungsschritte, von den geplanten
frame-loss-tip = Geglätteter Trainingsverlust, Nats je trainiertem Token
frame-left = Rest
frame-left-tip = Zeit bis zum letzten Schritt, im bisherigen Tempo
frame-speed = Tempo
frame-speed-unit = Tok/s
frame-speed-tip = Tokens pro Sekunde, ohne Füllzeichen
frame-of-memory = von { $memory }
frame-memory-tip = Speicher der Engine, und dieses Rechners
frame-of-budget = von { $budget } Nats
frame-forgetting-tip = Schlechtestes Prüfset, gemessen bei Schritt { $step }: sein Verlust minus dem der Basis, und das Budget
frame-not-measured = noch nicht gemessen
frame-not-measured-tip = Wie viel vergessen wird, zeigt die erste Messung der Prüfsets
frame-network = Netz
frame-network-note = Verbindungen seit dem Start
frame-memory-note = in diesem Rechner
frame-memory-free = für einen Lauf, { $free } frei
frame-done-of = { $done } von { $total } { $unit }
frame-time-left = noch { $time }
frame-cancel-tip = Hält das an
frame-no-project-open = Kein Projekt ist offen
frame-no-run = Noch kein Lauf
frame-run-interrupted = Lauf { $run } wurde bei Schritt { $step } unterbrochen; er kann weitergehen
frame-run-finished = Lauf { $run } wurde { $ago } fertig
frame-run-stopped = Lauf { $run } wurde bei Schritt { $step } gestoppt und behalten
frame-run-cancelled = Lauf { $run } wurde abgebrochen
frame-run-failed = Lauf { $run } scheiterte bei Schritt { $step }; nichts davor ging verloren
frame-run-other = Lauf { $run }: { $status }
