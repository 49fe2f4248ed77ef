# Die Karte Modell.

model-choose-file = GGUF-Datei wählen…
model-choose-file-tip = Eine einzelne Modelldatei
model-choose-folder = Modellordner wählen…
model-choose-folder-tip = Ein Ordner mit config.json und Safetensors
model-starter = Starter benutzen
model-starter-tip = Das kleine mitgelieferte Modell
model-none-lead = GGUF-Datei oder Hugging-Face-Ordner hierher ziehen. Was sich darin anpassen lässt, steht dann hier.
model-none-choose = Eine GGUF-Datei oder ein Hugging-Face-Ordner. Was sich darin anpassen lässt, steht dann hier.
model-none = Noch kein Modell
model-reading = Liest den Kopf der Datei
model-gguf = GGUF-Datei
model-folder = Hugging-Face-Ordner
model-bundled = mitgeliefert
model-family = Familie
model-parameters = Parameter
model-shape = { $n ->
        [one] { $layers } Schicht
       *[other] { $layers } Schichten
    } zu { $hidden_size }
model-context = Kontext
model-storage = Ablage
model-tokenizer = Tokenizer
model-entries = { $entries } Einträge
model-template = Chatvorlage
model-template-none = trainiert wird einfacher Text
model-licence = Lizenz
model-licence-stated = steht in der Datei
model-size = Größe
model-memory = Disk, { $memory } Speicher
model-held-tip = auto behält die Ablage der Datei; ein breiterer Typ braucht mehr Speicher und ändert sonst nichts. int8, nf4 bis nf2 und int4 bis int2 runden die linearen Gewichte beim Lesen auf 8.25, 4.25 bis 2.25 und 4.19 bis 2.19 Bits: eine große Basis in wenig Speicher, für Adapter
model-held = Gehalten als
model-sites = Was sich anpassen lässt
model-sites-count = { $n ->
        [one] { $count } Stelle
       *[other] { $count } Stellen
    }
model-sites-chosen = { $chosen } / { $count }
model-pattern = Nicht als Häkchen zu zeigen: { $entries }. Ein Häkchen ersetzt es.
model-last = Letzte Blöcke
model-last-of = Nur die letzten Schichten von { $name }
model-last-count = letzte { $count }
model-some = { $count } von { $all }
model-all = Alle
model-all-of = Alle Schichten von { $name } anpassen
model-none-of = Keine
model-none-of-name = Keine Schicht von { $name } anpassen
model-search = Module suchen
model-adapt-all = Alle linearen Schichten anpassen
model-adapt-all-tip = Passt alle linearen Schichten bis auf den Ausgabekopf an
model-layers = Schichten
model-layers-sites = { $layers } × { $per_layer } Stellen
model-adapt = { $name } anpassen
model-layers-of = { $sites } Schichten mit { $shape }
model-hidden = { $more } weitere durch die Suche verborgen
model-unfold = Schichten von { $name } zeigen
model-fold = Schichten von { $name } verbergen
