# Die Token-Lupe.

lens-job = Zeilen finden
lens-lead = Jede Zeile, wie das Modell sie sieht, Token für Token
lens-go = Zu Zeile
lens-go-hint = Zeilennummer
lens-go-tip = Die Nummer einer Zeile, ab 1 gezählt; Enter springt hin
lens-no-row = Diese Zeile gibt es nicht; die letzte bekannte ist { $last }.
lens-count = { $n ->
        [one] { $rows } Zeile
       *[other] { $rows } Zeilen
    }
lens-so-far = { $rows } Zeilen bisher gefunden ({ $share })
lens-stopped = { $rows } Zeilen gefunden; weitere beim Blättern
lens-shortened = die ersten { $rows } Zeilen: Nur JSON Lines sind ganz zu sehen
lens-stop = Anhalten
lens-stop-tip = Nicht weiter nach Zeilen suchen
lens-trained = trainiert
lens-context = Kontext
lens-template = Vorlage
lens-cut-off = abgeschnitten
lens-trained-tip = Dieses Token vorherzusagen zählt: Das Modell lernt es
lens-context-tip = Das Modell liest dieses Token; gelernt wird daraus nichts
lens-template-tip = Von der Chat-Vorlage oder dem Tokenizer geschrieben, nicht von den Daten; nur gelesen
lens-cut-off-tip = Jenseits der längsten Zeile: Das Modell sieht es nie
lens-rows = Zeilen der Daten
lens-rows-tip = Pfeiltasten wählen eine Zeile, Bild auf und Bild ab blättern, Pos1 und Ende gehen an die Enden
lens-place = Stelle in den Daten
lens-place-tip = An eine beliebige Stelle der Daten ziehen
lens-row-said = Zeile { $row } von { $rows }. { $text }
lens-row-counts = { $trained } von { $tokens } Tokens trainiert
lens-row-cut = { $cut } abgeschnitten
lens-blank = leere Zeile
lens-loading = wird gelesen…
lens-head-row = Zeile
lens-head-trained = Gelernt
lens-head-tokens = Tokens
lens-head-text = Text
lens-chosen = Zeile { $row }
lens-place-of = { $file }, Zeile { $line }
lens-token-tip = { $token } (Token { $place }, Id { $id }): { $what }
lens-border-tip = Hier beginnt eine weitere Trainingszeile.
lens-more = Die ersten { $shown } von { $tokens } Tokens.
lens-not-trained = nicht trainiert: { $why }
lens-try = Noch einmal
lens-try-tip = Die Zeilen erneut lesen
lens-left-out = weggelassen
lens-left-out-count = { $rows } weggelassen
lens-leave-out = Weglassen
lens-take-in = Wieder nehmen
lens-leave-out-tip = Ob die bereinigte Kopie diese Zeile hat (Entf)
lens-deduplicate = Ohne Doppelte
lens-save = Bereinigte Kopie speichern
lens-save-tip = Die bleibenden Zeilen in eine Datei im Ordner des Projekts schreiben und mit ihr trainieren; das Original bleibt, wie es ist
lens-nothing-changed = noch ist keine Zeile weggelassen
lens-job-copy = Zeilen kopieren
