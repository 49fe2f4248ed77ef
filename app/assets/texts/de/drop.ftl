# Dateien über dem Fenster.

drop-here = kommt hierher
drop-also = auch möglich
drop-not-model = Kein Modell
drop-stays = { $name } bleibt gewählt.
drop-no-model = Noch ist kein Modell gewählt.
drop-not-data = Keine Daten
drop-no-data = Noch sind keine Daten gewählt.
drop-not-adapter = Kein Adapter
drop-not-kept = Keine Texte zum Bewahren
drop-sets-stay = { $n ->
        [one] { $count } Set bleibt
       *[other] { $count } Sets bleiben
    } bewahrt.
drop-changes = was sich ändert
drop-now = jetzt
drop-after = nach dem Ablegen
drop-takes-place = Ersetzt { $old }. Die alte Datei bleibt, wo sie ist, Ctrl+Z holt sie zurück.
drop-nothing-chosen = Noch ist nichts gewählt.
drop-use-model = Als Modell benutzen
drop-layers = Schichten
drop-context = Kontext
drop-storage = Ablage
drop-size = Größe
drop-together = { $count } Dateien werden zusammen trainiert.{" "}
drop-use-data = Als Trainingsdaten benutzen
drop-rows = Zeilen
drop-aside = abgelegt
drop-read-as = gelesen als
drop-columns = Spalten
drop-use-settings = Mit seinen Einstellungen trainieren
drop-use-settings-lead = Methode und Rang kommen aus diesem Adapter; seine Gewichte ändern sich nicht.
drop-export = Diesen Adapter exportieren
drop-export-lead = Er wird über seiner Basis für andere Programme geschrieben und geprüft; im Projekt ändert sich nichts.
drop-method = Methode
drop-sites = Stellen
drop-made-for = gemacht für
drop-keep = Bewahren, was es sagt
drop-keep-lead = Fügt die Texte zu dem hinzu, was nicht vergessen werden darf. Ein Klick nach dem Ablegen holt sie hierher.
drop-kept-sets = Prüfsets
drop-texts = Texte
drop-adapter = Ablegen: { $method }-Adapter, Rang { $rank }, { $sites } Stellen
drop-project = Ablegen: Projekt { $name }, { $runs }; es öffnet sich
drop-unusable = Nichts, was Temper benutzen kann
drop-shape = Form
drop-shape-words = { $n ->
        [one] { $layers } Schicht
       *[other] { $layers } Schichten
    }, Breite { $width }
drop-none-found = keiner gefunden
drop-template-none = keine; trainiert wird einfacher Text
drop-adaptable = Anpassbar
drop-linear = { $n ->
        [one] { $count } lineare Schicht
       *[other] { $count } lineare Schichten
    }
drop-read-so-far = Bisher gelesen
drop-all-rows = { $n ->
        [one] die einzige Zeile
       *[other] alle { $rows } Zeilen
    }
drop-first-rows = { $n ->
        [one] erste Zeile
       *[other] erste { $rows } Zeilen
    }
drop-look = Zu prüfen
drop-look-none = nichts gefunden
drop-container = Format
drop-base = Basis
drop-why = Warum
drop-over = Eine Datei ist über dem Fenster; was sie ist, zeigt sich beim Loslassen
drop-looking = Sieht nach, was es ist
drop-leave = das Fenster mit der Datei verlassen: nichts ändert sich
drop-and-more = und { $more } weitere
drop-runs = { $n ->
        [one] { $runs } Lauf
       *[other] { $runs } Läufe
    }
drop-model = Ablegen: Modell vom Typ { $family }, { $parameters } Parameter, { $storage }
drop-data = Ablegen: { $schema }, { $rows } Zeilen, { $container }
