# Die Karte Bewahren.

keep-prose = Prosa
keep-prose-note = allgemeines Englisch
keep-instructions = Fragen
keep-instructions-note = mit Antworten
keep-code = Code
keep-code-note = Programme
keep-arithmetic = Rechnen
keep-arithmetic-note = kleine Aufgaben
keep-do-warn = warnen
keep-do-slow = bremsen
keep-do-replay = wiederholen
keep-do-back = zurück
keep-do-stop = Stopp
keep-measured-ends = Gemessen wird am Anfang und am Ende.
keep-measured-every = Gemessen wird { $n ->
        [one] bei jedem Schritt
       *[other] alle { $steps } Schritte
    }.
keep-lead = Was das Modell danach noch können muss. { $every }
keep-material = Prüfset
keep-base-loss = Basisverlust, Nats
keep-base-loss-tip = Verlust des untrainierten Modells auf dem Prüfset, gemessen vom letzten Lauf
keep-yours = eigenes
keep-not-yet = offen
keep-keep = { $name } bewahren
keep-bundled-tip = { $name }: { $note }; Texte, die Teil des Programms sind
keep-add = Texte wählen…
keep-add-tip = Eine Datei mit Texten, die nicht vergessen werden dürfen
keep-add-hint = oder Datei herziehen
keep-budget = Vergessensbudget
keep-budget-unit = Nats je Set
keep-budget-name = Vergessensbudget in Nats
keep-budget-words = { $budget } Nats: etwa { $more } mehr Überraschung bei bewahrten Texten.
keep-last-run = {" "}Lauf { $run } endete bei { $forgetting }.
keep-exceed = Wenn das Budget überschritten ist
keep-exceed-tip = warnen: sagt es nur. bremsen: halbiert die Lernrate. wiederholen: mischt bewahrte Texte bei. zurück: geht zum letzten guten Checkpoint. Stopp: beendet den Lauf
keep-interval = Abstand
keep-interval-tip = Schritte zwischen Messungen; 0 nur am Anfang und am Ende
keep-prompts-none = keine
keep-prompts = Probeprompts
keep-prompts-lead = Prompts, die während des Trainings beantwortet werden, mit der Antwort der Basis daneben.
keep-remove-prompt = Prompt { $number } entfernen
keep-prompt-hint = Prompt schreiben, dann Enter
keep-prompt-new = Neuer Probeprompt
keep-earlier = gelernt von Lauf { $run }
