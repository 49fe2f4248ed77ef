# Die Karte Daten.

data-choose = Dateien wählen…
data-choose-tip = JSON Lines, JSON, CSV, TSV, Parquet oder einfacher Text
data-starter = Starterdaten benutzen
data-starter-tip = Der kleine mitgelieferte Datensatz
data-none-lead = Zeilen mit Text hierher ziehen: JSON Lines, JSON, CSV, TSV, Parquet oder einfacher Text. Wie sie gelesen werden, ist zu sehen, bevor etwas trainiert wird.
data-none-choose = Zeilen mit Text: JSON Lines, JSON, CSV, TSV, Parquet oder einfacher Text. Wie sie gelesen werden, ist zu sehen, bevor etwas trainiert wird.
data-none = Noch keine Daten
data-and-more = { $name } und { $more } weitere
data-confidence = Sicherheit { $confidence }
data-read-as = Lesart
data-file = Datei
data-columns = Spalten
data-rows = { $n ->
        [one] { $rows } Zeile
       *[other] { $rows } Zeilen
    }
data-aside = Abgelegt
data-needs-model = Auch ein Modell wählen: Sein Tokenizer sagt, wie viele Tokens diese Zeilen sind.
data-waits-model = Wartet auf das Modell.
data-reading = Liest alle Zeilen, wie das Modell sie sieht.
data-about = etwa { $rows } Zeilen
data-estimated = Geschätzt aus Anfang und Stichproben; alle Zeilen werden gelesen.
data-estimated-only = Geschätzt aus Anfang und Stichproben; das Training liest alle Zeilen.
data-row-lens = Zeile { $row } in der Token-Lupe
data-row-lens-tip = { $trained } von { $tokens } Tokens werden trainiert. Klick zeigt jedes.
data-train-rows = { $rows } Training
data-split = Teilung
data-validation-rows = { $rows } Validierung
data-trained = { $tokens } trainiert ({ $share })
data-tokens = Tokens
data-length = Länge in Tokens
data-median = Median { $median }  längste { $longest }
data-rows-aside = { $rows } abgelegt
data-rows-cut = { $rows } gekürzt
data-aside-tip = Zeilen, die nicht passen, mit dem Grund
data-aside-note = nie trainiert, nie verworfen
data-line = { $file }, Zeile { $line }
data-more-same = { $more } weitere dieser Art
data-columns-note = Klick auf eine Rolle ändert sie
data-role = Rolle der Spalte { $column }
data-first-rows = Erste Zeilen
data-head-row = Nr.
data-head-input = Eingabe
data-head-answer = Antwort
data-head-tokens = Tokens
data-cut-at = Schnitt bei { $tokens }
data-lengths-words = { $within } Zeilen innerhalb der Grenze, { $beyond } darüber
data-lengths = Längen: { $words }
data-aside-name = Abgelegte Zeilen
data-schema-messages = Chatnachrichten
data-schema-turns = Chatrunden
data-schema-preference = Präferenzpaare
data-schema-rated = bewertete Antworten
data-schema-prompts = Prompts und Antworten
data-schema-instructions = Anweisungen
data-schema-text = einfacher Text
