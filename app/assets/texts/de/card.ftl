# Die Modellkarte eines Exports.

card-made = { $what }, erstellt mit Temper: { $method } auf { $base }.
card-needs-base = Es ist nur eine Änderung und wird über { $base } geladen.
card-rate = höchste Lernrate
card-seed = Startzahl
card-steps = Schritte
card-of = { $done } von { $all }
card-parameters = trainierte Parameter
card-beneath = Adapter darunter
card-files = Dateien
card-loss-on = trainiert auf
card-validation = Validierungszeilen
card-data-hash = SHA-256 der Daten
card-figures = Zahlen
card-base-loss = Validierungsverlust der Basis, Nats je trainiertem Token
card-best-loss = Validierungsverlust, Nats je trainiertem Token
card-best-step = bei Schritt
card-forgetting = Vergessen, Nats auf dem schlechtesten Prüfset
card-forgetting-of = { $nats } (Budget { $budget })
card-not-measured = nicht gemessen
card-certificate = Zertifikat
card-compared = Das Geschriebene wurde von einem anderen Leser geöffnet und mit dem trainierten Modell verglichen:
card-check = { $measured } (Grenze { $limit })
card-verify = Beim Schreiben wurde es mit dem trainierten Modell verglichen; temper verify vergleicht es noch einmal.
card-limits = Grenzen
card-limit-data = Gelernt wurde aus den Daten oben; was dort fehlt oder falsch ist, fehlt auch hier oder ist hier falsch.
card-limit-nothing = Was vergessen wurde, ist nicht gemessen.
card-limit-kept = Was vergessen wurde, ist auf { $n ->
        [one] { $count } Prüfset
       *[other] { $count } Prüfsets
    } gemessen und auf nichts anderem.
card-licence = Lizenz
card-licence-is = Die Dateien des Basismodells nennen die Lizenz { $licence }. Sie kann auch für das gelten, was daraus gemacht wird.
card-licence-unknown = Die Dateien des Basismodells nennen keine Lizenz. Vor dem Weitergeben nachsehen.
card-title = Modellkarte
card-lead = Wird als README.md in den Ordner des Exports geschrieben. Name der Basis, Bibliothek und Tags stehen für Programme darüber.
card-text = Text der Karte
card-text-tip = Markdown; alles darf geändert werden
card-keep = Diese Karte verwenden
card-keep-tip = Der nächste Export dieses Laufs nimmt sie mit
card-again = Aus dem Lauf
card-again-tip = Verwirft die Änderungen und füllt die Karte aus dem Lauf
card-edited = mit eigener Karte
card-lone-file = eine einzelne GGUF-Datei hat keinen Platz für eine Karte
card-no-run = ein Adapterordner bekommt die übliche Karte: Kein Lauf füllt eine andere
