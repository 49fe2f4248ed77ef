# Der Streifen unter den Karten.

preflight-title = Vorabmessung
preflight-measuring = misst einen echten Schritt
preflight-measuring-again = misst einen echten Schritt; die Zahlen gehören zu den Einstellungen davor
preflight-measured = { $ago } gemessen: ein Mikroschritt, { $batch } × { $tokens } Tokens
preflight-changed = seit der letzten Messung geändert
preflight-unmeasured = noch nicht gemessen
preflight-needs-both = Modell und Daten wählen: Dann wird ein echter Schritt gemessen, und Speicher, Zeit und Platz sind vor dem Start bekannt.
preflight-needs-data = Daten wählen: Dann wird ein echter Schritt gemessen, und Speicher, Zeit und Platz sind vor dem Start bekannt.
preflight-moment = Speicher, Zeit und Platz stehen gleich hier.
preflight-soon = Ein echter Schritt wird gemessen, sobald die Daten gelesen sind.
preflight-blocked = Eine Karte oben hat ein Problem; gemessen wird, sobald es gelöst ist.
preflight-again-tip = Versucht dieselben Einstellungen noch einmal
preflight-memory = Speicher
preflight-of-free = von { $free } { $what }
preflight-free = frei
preflight-memory-tip = Höchster belegter Speicher beim Training, gemessen am längsten Batch
preflight-time = Zeit
preflight-a-step = { $step } je Schritt
preflight-a-step-steps = { $step } × { $steps } Schritte
preflight-time-tip = Der gemessene Schritt mal die geplanten Schritte ({ $steps }), dazu das Messen von Validierung und Prüfsets dazwischen ({ $rest })
preflight-energy = etwa { $energy }
preflight-energy-tip = Der ganze Prozessor nimmt dabei etwa { $watts } W auf, was sonst läuft, zählt mit: { $energy } für alle Schritte, ohne das Messen dazwischen
preflight-energy-untold = Wie viel Energie das braucht, ist nicht bekannt: Dieser Rechner sagt es nicht
preflight-checkpoints-tip = Plattenplatz für die behaltenen Checkpoints
preflight-export = Export
preflight-export-tip = Plattenplatz für die Formate, die in der Projektdatei stehen
preflight-trained = Trainiert
preflight-of-model = { $share } des Modells
preflight-trained-tip = Parameter, die sich ändern; alle anderen bleiben, wie sie sind
preflight-problem = { $name } hat ein Problem; ein Lauf würde dort enden.
preflight-no-fit = Es passt nicht: den Batch verkleinern oder Neuberechnung einschalten.
preflight-passes-but = Alles in Ordnung. { $n ->
        [one] { $rows } Zeile bleibt
       *[other] { $rows } Zeilen bleiben
    } außen vor.
preflight-passes = Alles in Ordnung.
preflight-asks-place = Das erste Training fragt, wo das Projekt liegen soll.
preflight-as-it-goes = Noch nicht gemessen; das Training misst unterwegs.
preflight-fix = { $needed } nötig, { $free } frei. Mit jedem davon passt es:
preflight-fix-batch = Batch { $batch }
preflight-fix-batch-tip = Weniger Zeilen auf einmal, mehr Durchgänge je Schritt: derselbe Schritt, etwa dieselbe Zeit ({ $settings })
preflight-fix-recompute = Neu berechnen
preflight-fix-recompute-tip = Blöcke werden auf dem Rückweg neu berechnet statt behalten: dieselben Zahlen, mehr Zeit ({ $settings })
preflight-fix-length = Länge { $tokens }
preflight-fix-length-tip = Zeilen werden nach so vielen Tokens abgeschnitten ({ $settings })
preflight-fix-same = { $needs }, gleiche Zeit
preflight-fix-slower = { $needs }, +{ $more } Zeit
preflight-fix-cuts = { $needs }, { $n ->
    [one] { $rows } Zeile gekürzt
   *[other] { $rows } Zeilen gekürzt
}
preflight-pick = So passt es nicht in den Speicher. Links einen der Wege wählen.
