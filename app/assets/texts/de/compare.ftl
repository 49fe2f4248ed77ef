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
compare-strip-flips = { $right } Zeilen neu richtig, { $wrong } neu falsch, McNemar p { $p }
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
compare-grouping = Läufe gruppieren
compare-group-none = keine Gruppen
compare-group-method = nach Methode
compare-group-status = nach Stand
compare-group-model = nach Basismodell
compare-group-tags = nach Schlagworten
compare-group-star = nach Stern
compare-no-tags = ohne Schlagwort
compare-starred = mit Stern
compare-not-starred = andere
compare-star = { $run } einen Stern geben
compare-unstar = { $run } den Stern nehmen
compare-group-count = { $n ->
        [one] { $count } Lauf
       *[other] { $count } Läufe
    }
compare-filter-hint = Nummer, Name, Methode, Wort
compare-filter-tip = Zeigt nur Läufe, deren Nummer, Name, Methode, Stand und Schlagworte jedes Wort enthalten
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
compare-forgetting-tip = Schlechtestes Prüfset minus Basis am besten Checkpoint; wo bis dahin nichts gemessen wurde, bei der letzten Messung. Ein Klick sortiert danach; noch einmal kehrt die Ordnung um
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
compare-raw-loss = Trainingsverlust, roh
compare-which-loss = Verlust
compare-curves-menu = Sichern, Kopieren, Glättung und Achse dieser Kurven
compare-curves-plot = Verluste der gewählten Läufe
compare-no-curves = Keine Kurven zu zeichnen
compare-no-curves-lead = Die gewählten Läufe haben diesen Verlust noch nicht, oder ihre Lage auf dieser Achse ist nicht bekannt. Eine andere Achse oder der Trainingsverlust kann sie haben.
compare-at-step = Schritt { $place }
compare-at-tokens = { $place } Token
compare-at-time = nach { $place }
compare-lowest = Lauf { $run } liegt am tiefsten: { $loss } Nats bei { $place }.
compare-ring = Großer Ring: tiefste Stelle
compare-first = erster
compare-lowest-loss = tiefster
compare-lowest-at = am tiefsten bei
compare-last = letzter

compare-area = Fläche: Größe des Adapters
compare-show-plot = Als Bild zeigen
compare-no-tradeoff = Vergessen ist nicht bekannt
compare-no-tradeoff-lead = Kein Lauf in der Tabelle hat sowohl einen Validierungsverlust als auch eine Messung dessen, was er behält. Prüfsets lassen sich vor dem nächsten Lauf unter „Bewahren“ wählen.
compare-forgetting-axis = Vergessen, schlechtestes Prüfset, Nats (links ist besser)
compare-place = Lauf { $run }: { $loss } Nats, Vergessen { $forgetting }, Adapter { $size }
compare-front = { $n ->
        [one] Lauf { $runs }: Kein anderer ist in Verlust oder Vergessen besser.
       *[other] Läufe { $runs }: Kein anderer ist in beidem besser.
    }
compare-adapter = Adapter
compare-key = Gestrichelt: beste Wahl. Getönt: über dem Budget.
compare-unbeaten = unübertroffen
compare-tradeoff-menu = Diesen Plot sichern oder kopieren
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
compare-data-tip = Eine Datei mit Antworten oder Text, ein mitgeliefertes Prüfset wie builtin:prose, oder project:held-out, die Zeilen, die die Läufe vom Training zurückbehielten
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
compare-flips = { $b } statt { $a }: { $right } Zeilen neu richtig, { $wrong } neu falsch (McNemar p { $p }).

compare-row-losses = Zeilen
compare-no-rows = Noch keine Zeilen
compare-no-rows-lead = Mit dem Urteil kommen die Zeilen: der Verlust jedes Modells auf jeder von ihnen, und welche nie gelernt, gelernt und vergessen oder schon vorher gekonnt waren.
compare-kinds = Gezeigte Zeilen
compare-kinds-of = Lauf, dessen Zeilen gemeint sind
compare-against = Modell, das abgezogen wird
compare-less = minus
compare-difference = Differenz
compare-save-rows = Zeilen mit allen Verlusten als CSV sichern
compare-sort-rows = Zeilen sortieren nach { $column }
compare-rows-down = Zeilen sortiert nach { $column }, Größtes zuerst
compare-rows-up = Zeilen sortiert nach { $column }, Kleinstes zuerst
compare-row-place = { $file }, Zeile { $line }
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

compare-same-greedy = gleicher Prompt, immer das wahrscheinlichste Token; unterstrichen: nicht in der ersten Antwort
compare-same-warm = gleicher Prompt, Seed { $seed }, Temperatur { $temperature }; unterstrichen: nicht in der ersten Antwort
compare-seed = Seed
compare-seed-tip = Seed jeder Antwort; bei Temperatur 0 ändert er nichts
compare-temperature = Temperatur
compare-temperature-tip = 0 nimmt immer das wahrscheinlichste Token; bis 2, höher ist vielfältiger
compare-asked = { $name } fragen
compare-asked-tip = Bis zu { $most } Antworten stehen nebeneinander: eine weglassen macht Platz für eine andere
compare-most-answers = Höchstens { $most } Antworten stehen nebeneinander: erst eine andere weglassen
compare-nobody = Niemand wird gefragt: wählen, wer antwortet
compare-blind = Blind, mit Stimmen
compare-template = Chat-Vorlage
compare-prompt = Prompt für alle
compare-prompt-hint = etwas fragen
compare-prompt-tip = Wer unten angehakt ist, antwortet, einer nach dem anderen
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
compare-answer-waits = wartet noch
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
    } in diesem Projekt
compare-forget-votes = Stimmen vergessen
compare-forget-votes-tip = Zählt neu, auch auf der Platte
compare-tally = { $b } vor { $a } { $forb } zu { $fora } (Vorzeichentest p { $p })

compare-order = Notizen und Platz
compare-nothing-chosen = Kein Lauf ist gewählt
compare-col-name = Name
compare-col-tags = Schlagworte
compare-col-note = Notiz
compare-col-disk = Platz
compare-disk-measuring = der Platz der Läufe wird gemessen
compare-disk-all = { $size } insgesamt
compare-disk = { $n ->
        [one] { $size }, { $count } Checkpoint
       *[other] { $size }, { $count } Checkpoints
    }
compare-freed = { $size } frei geworden
compare-name-of = Name von { $run }
compare-name-tip = Wie dieser Lauf in Tabellen heißt
compare-tags-of = Schlagworte von { $run }
compare-tags-tip = Worte mit Kommas dazwischen; Läufe werden danach gefiltert und gruppiert
compare-note-of = Notiz zu { $run }
compare-note-tip = Was später über diesen Lauf zu wissen lohnt
compare-act-on = { $act }: { $run }
compare-prune = Ausdünnen
compare-prune-tip = Löscht alle Checkpoints außer dem besten und dem neuesten; das Gelernte bleibt
compare-trash = Papierkorb
compare-trash-tip = Legt den Lauf in den Papierkorb des Projekts; gelöscht wird nichts
compare-only-trash = Jeder Lauf liegt im Papierkorb; unter Notizen und Platz lässt er sich zurückholen
compare-in-trash = { $n ->
        [one] { $count } Lauf im Papierkorb
       *[other] { $count } Läufe im Papierkorb
    }
compare-restore = Zurückholen
compare-restore-tip = Legt den Lauf mit allen Dateien dorthin zurück, wo er war
compare-empty-trash = Endgültig löschen
compare-empty-trash-tip = Fragt noch einmal, dann werden die Läufe im Papierkorb mit Checkpoints und Kurven gelöscht
compare-really-delete = Ja, löschen
compare-really-delete-tip = Löscht die Läufe im Papierkorb; danach sind sie nicht mehr zurückzuholen
compare-keep-trash = Behalten
compare-keep-trash-tip = Löscht nichts
compare-kept-checkpoints = Behaltene Checkpoints
compare-kept-interval = Abstand der Vergessensmessungen
