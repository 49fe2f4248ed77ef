# Der Raum Vergleich.

compare-title = Vergleich
compare-view = Ansicht
compare-curves = Kurven
compare-tradeoff = Verlust gegen Vergessen
compare-settings = Einstellungen
compare-rows = Urteil und Zeilen
compare-ask = Spielwiese
compare-claim-tip = Zeigt Zeilen, Intervall und Test dahinter
compare-show-rows = Zeilen zeigen
compare-strip-points = { $value } Punkte, 95-%-Intervall { $low } bis { $high }
compare-strip-flips = { $right } Zeilen neu richtig, { $wrong } neu falsch, McNemar p = { $p }
compare-empty = Noch nichts zu vergleichen
compare-empty-lead = Nach zwei Läufen mit verschiedenen Einstellungen zeigt sich hier, welcher mehr gelernt und welcher weniger vergessen hat, in welchen Zeilen sie sich unterscheiden und was jeder antwortet.
compare-empty-running = Ein Lauf ist im Gang. Er steht hier, sobald er begonnen hat; mit einem zweiten lässt er sich vergleichen.
compare-base = Basismodell
compare-base-short = Basis

compare-runs = Läufe
compare-chosen = { $n ->
        [one] { $count } Lauf
       *[other] { $count } Läufe
    }, { $chosen } von höchstens { $most } gewählt
compare-copy = Tabelle als CSV kopieren
compare-filter = Läufe filtern
compare-filter-hint = Nummer, Methode, Stand
compare-filter-tip = Zeigt nur Läufe, deren Nummer, Methode und Stand jedes Wort enthalten
compare-all-hidden = { $n ->
        [one] Der Filter verbirgt den einzigen Lauf
       *[other] Der Filter verbirgt alle { $count } Läufe
    }
compare-show-all = Alle zeigen
compare-show-all-tip = Leert den Filter
compare-sort = Sortieren nach { $column }
compare-sorted-down = Sortiert nach { $column }, Größtes zuerst
compare-sorted-up = Sortiert nach { $column }, Kleinstes zuerst
compare-sort-tip = Sortiert die Tabelle; noch einmal kehrt die Ordnung um
compare-col-run = Lauf
compare-col-method = Methode
compare-col-status = Stand
compare-col-best = Verlust, Nats
compare-col-forgetting = Vergessen, Nats
compare-col-size = Adapter, MiB
compare-col-speed = Token/s
compare-col-time = Zeit
compare-choose = { $run } vergleichen
compare-choose-tip = Bis zu { $most } Läufe werden verglichen
compare-watch-tip = Öffnet diesen Lauf im Verlauf
compare-over-budget = Über seinem Vergessensbudget
compare-most = Höchstens { $most } Läufe werden verglichen: erst einen anderen weglassen
compare-foot = Basismodell { $base } Nats auf den Validierungszeilen; Vergessen ist das schlechteste Prüfset minus Basis, Budget { $budget }
compare-foot-none = Vergessen ist das schlechteste Prüfset minus Basis
compare-choose-lead = In der Tabelle oben bis zu fünf Läufe wählen.

compare-validation-loss = Validierungsverlust
compare-train-loss = Trainingsverlust
compare-which-loss = Verlust
compare-curves-plot = Verluste der gewählten Läufe
compare-no-curves = Keine Kurven zu zeichnen
compare-no-curves-lead = Die gewählten Läufe haben diesen Verlust noch nicht, oder ihre Lage auf dieser Achse ist nicht bekannt. Eine andere Achse oder der Trainingsverlust kann sie haben.
compare-at-step = Schritt { $place }
compare-at-tokens = { $place } Token
compare-at-time = nach { $place }
compare-lowest = Lauf { $run } liegt am tiefsten: { $loss } Nats bei { $place }.
compare-ring = Ring: tiefste Stelle
compare-first = erster
compare-lowest-loss = tiefster
compare-lowest-at = am tiefsten bei
compare-last = letzter

compare-area = Fläche: Größe des Adapters
compare-show-plot = Als Bild zeigen
compare-no-tradeoff = Vergessen ist nicht bekannt
compare-no-tradeoff-lead = Kein Lauf in der Tabelle hat sowohl einen Validierungsverlust als auch eine Messung dessen, was er behält. Prüfsets lassen sich vor dem nächsten Lauf unter „Bewahren“ wählen.
compare-forgetting-axis = Vergessen, schlechtestes Prüfset, Nats (links ist besser)
compare-front = { $n ->
        [one] Lauf { $runs }: Kein anderer ist in Verlust oder Vergessen besser.
       *[other] Läufe { $runs }: Kein anderer ist in beidem besser.
    }
compare-adapter = Adapter
compare-key = Gestrichelt: beste Wahl. Getönt: über dem Budget.
compare-unbeaten = unübertroffen
compare-yes = ja
compare-no = nein

compare-equal = { $n ->
        [one] { $count } gleiche Einstellung nicht gezeigt
       *[other] { $count } gleiche Einstellungen nicht gezeigt
    }
compare-differences = Nur Unterschiede
compare-setting = Einstellung
compare-no-settings = Keine Einstellungen zu zeigen
compare-no-settings-lead = Die Einstellungen, mit denen diese Läufe gestartet wurden, sind nicht lesbar.
compare-all-equal = Die gewählten Läufe haben dieselben Einstellungen
compare-all-equal-lead = „Nur Unterschiede“ ausschalten, um alle zu sehen, oder einen anderen Lauf wählen.

compare-verdict = Urteil
compare-verdict-note = gleiche Zeilen für alle
compare-data = Zeilen für den Vergleich
compare-data-hint = Datei oder builtin:prose
compare-data-tip = Eine Datei mit Antworten oder Text, oder ein mitgeliefertes Prüfset wie builtin:prose
compare-most-rows = Höchstens so viele Zeilen
compare-all-rows = alle Zeilen
compare-row-count = { $count } Zeilen
compare-cancel-tip = Hört auf zu messen; Gemessenes bleibt
compare-judging = Die gewählten Läufe werden gerade verglichen
compare-no-data = Datei oder Prüfset angeben
compare-no-adapter = Kein gewählter Lauf hat schon einen Adapter
compare-other-bases = Die gewählten Läufe haben verschiedene Basismodelle
compare-no-verdict = Noch kein Urteil
compare-no-verdict-lead = Basis und gewählte Läufe werden nacheinander auf denselben Zeilen gemessen. Dann steht hier, wer besser ist, wie sicher das ist und welche Zeilen nie gelernt oder wieder verloren wurden.
compare-col-model = Modell
compare-col-loss = Verlust je Token
compare-col-right = Token richtig, %
compare-beats = { $winner } schlägt { $loser } auf { $n ->
        [one] dieser { $rows } Zeile
       *[other] diesen { $rows } Zeilen
    }
compare-even = { $a } und { $b }: { $n ->
        [one] Diese { $rows } Zeile sagt
       *[other] Diese { $rows } Zeilen sagen
    } nicht, was besser ist
compare-loss-by = Verlust von { $b } minus { $a }: { $value } Nats je Token, 95-%-Intervall { $low } bis { $high }.
compare-points-by = Token richtig: { $value } Punkte, 95-%-Intervall { $low } bis { $high } (gepaarter Bootstrap).
compare-flips = { $b } statt { $a }: { $right } Zeilen neu richtig, { $wrong } neu falsch (McNemar p = { $p }).

compare-row-losses = Zeilen
compare-no-rows = Noch keine Zeilen
compare-no-rows-lead = Mit dem Urteil kommen die Zeilen: der Verlust jedes Modells auf jeder von ihnen, und welche nie gelernt, gelernt und vergessen oder schon vorher gekonnt waren.
compare-kinds = Gezeigte Zeilen
compare-kinds-of = Lauf, dessen Zeilen gemeint sind
compare-every-row = alle { $count }
compare-kind-never = nie gelernt
compare-kind-forgotten = wieder vergessen
compare-kind-easy = schon vorher gekonnt
compare-kind-learned = gelernt
compare-kind-partly = teils gelernt
compare-no-such-row = { $n ->
        [one] Die { $count } Zeile ist nicht von dieser Art
       *[other] Keine der { $count } Zeilen ist von dieser Art
    }
compare-line = Zeile
compare-row-text = Text

compare-same-seed = gleicher Prompt, gleicher Seed 42, greedy; unterstrichen: nicht in der ersten Antwort
compare-blind = Blind, mit Stimmen
compare-template = Chat-Vorlage
compare-prompt = Prompt für alle
compare-prompt-hint = etwas fragen
compare-prompt-tip = Die Basis und bis zu vier gewählte Läufe antworten nacheinander
compare-no-prompt = Erst einen Prompt schreiben
compare-answering = Die Antworten entstehen gerade
compare-stop = Anhalten
compare-stop-tip = Hört auf zu antworten; was da ist, bleibt
compare-no-answers = Noch keine Antworten
compare-no-answers-lead = Einen Prompt schreiben und Enter drücken. Die Basis und die gewählten Läufe antworten nacheinander, nebeneinander gezeigt. Im Blindmodus bleiben die Namen verborgen, bis abgestimmt ist.
compare-answer = Antwort { $letter }
compare-answer-tokens = { $tokens } Token
compare-answer-speed = , { $speed }/s
compare-ended-itself = , selbst beendet
compare-ended-length = , am Limit beendet
compare-no-answer = Keine Antwort: { $why }
compare-answer-coming = liest den Prompt
compare-answer-waits = wartet, bis er dran ist
compare-answer-stopped = nicht beantwortet
compare-best = Diese ist die beste
compare-best-tip = Zählt eine Stimme und zeigt die Namen
compare-vote-for = Diese ist die beste: { $name }
compare-none-best = Keine ist die beste
compare-none-best-tip = Zählt keine Vorliebe und zeigt die Namen
compare-vote-lead = Welche Antwort ist die beste? Die Namen erscheinen nach der Stimme.
compare-votes = { $n ->
        [one] { $count } Stimme
       *[other] { $count } Stimmen
    } in diesem Projekt, seit es offen ist
compare-forget-votes = Stimmen vergessen
compare-forget-votes-tip = Beginnt neu zu zählen
compare-tally = { $b } vor { $a } { $forb } zu { $fora } (Vorzeichentest p = { $p })
