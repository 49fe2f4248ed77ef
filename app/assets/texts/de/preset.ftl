# Eigene Voreinstellungen für die Einstellungen einer Methode.

preset-title = Als Voreinstellung speichern
preset-lead = Merkt sich die Einstellungen von { $method } und die Lernrate unter einem Namen. Jedes Projekt kann sie verwenden.
preset-name = Name
preset-name-hint = etwa: kurze Antworten
preset-name-tip = Steht neben sanft, mittel und stark
preset-replaces = ersetzt die mit diesem Namen
preset-keep = Speichern
preset-keep-tip = Merkt sich die jetzigen Einstellungen unter diesem Namen
preset-own = Eigene
preset-own-tip = Einstellungen dieser Methode, die du gespeichert hast; „Als Voreinstellung speichern“ fügt weitere hinzu und vergisst sie
preset-forget = Voreinstellung { $name } vergessen
preset-is-kept = Voreinstellung { $name } ist gespeichert
preset-facts = Rang { $rank }, Rate { $rate }
preset-rate = Rate { $rate }
preset-usual = übliche Rate
preset-rank = Rang { $rank }, übliche Rate
