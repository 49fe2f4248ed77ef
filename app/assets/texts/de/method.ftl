# Die Karte Methode und die Formulare darunter.

method-on = an
method-off = aus
method-give-range = { $low } bis { $high } angeben
method-give-whole = eine ganze Zahl angeben
method-give-rate = eine Zahl wie 2e-4 angeben
method-give-least = { $low } oder mehr angeben
method-give-most = { $high } oder weniger angeben
method-give-number = eine Zahl angeben
method-give-decimal = eine Zahl wie 0.05 angeben
method-give-pairs = Paare wie layers.0.attn.q = 8 angeben
method-default = {" "}(Vorgabe { $default })
method-none = Die Engine hat nicht gesagt, welche Methoden es gibt.
method-asking = Die Engine wird gefragt, welche Methoden es gibt.
method-search-hint = { $count } Methoden durchsuchen
method-search = Methoden suchen
method-more = { $hidden } weitere
method-show-all = Alle zeigen
method-show-all-tip = Listet alle Methoden auf
method-hidden = { $hidden } durch die Suche verborgen
method-clear-tip = Leert die Suche
method-all = alle { $count }
method-show-few = Weniger
method-show-few-tip = Listet die gewählte Methode und ein paar auf
method-name = Methode { $name }
method-gentle = sanft
method-balanced = mittel
method-strong = stark
method-preset = Voreinstellung
method-less = Weniger
method-more-tip = Einstellungen, die selten geändert werden müssen
method-all-shown = Alle Einstellungen sind zu sehen
method-hidden-rows = Zeitplan, Seed und { $more } weitere
method-scale = Faktor { $scale }
method-measured = misst die Vorabmessung
method-leaves-as = Exportierbar als: { $forms }
method-more-settings = Weitere Einstellungen
