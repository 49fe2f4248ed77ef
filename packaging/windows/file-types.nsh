; Kinds of files that "Open with" offers Temper for, and the folder menu. Included by the installer, which defines $INSTDIR.
;
; SHCTX is the registry of the person or of the machine, as the installer was started. Temper is offered and never made the
; default: no key "" of an extension is written. Explorer starts the program once for each chosen file; the window that is
; open takes them all (app/src/instance).

!macro TemperKind ID NAME
  WriteRegStr SHCTX "Software\Classes\${ID}" "" "${NAME}"
  WriteRegStr SHCTX "Software\Classes\${ID}\DefaultIcon" "" "$INSTDIR\temper.exe,0"
  WriteRegStr SHCTX "Software\Classes\${ID}\shell\open\command" "" '"$INSTDIR\temper.exe" "%1"'
!macroend

!macro TemperExtension EXTENSION ID
  WriteRegStr SHCTX "Software\Classes\.${EXTENSION}\OpenWithProgids" "${ID}" ""
  WriteRegStr SHCTX "Software\Classes\Applications\temper.exe\SupportedTypes" ".${EXTENSION}" ""
!macroend

!macro TemperFileTypes
  WriteRegStr SHCTX "Software\Classes\Applications\temper.exe\shell\open\command" "" '"$INSTDIR\temper.exe" "%1"'
  !insertmacro TemperKind "Temper.Model" "GGUF model"
  !insertmacro TemperKind "Temper.Data" "Training data"
  !insertmacro TemperKind "Temper.Project" "Temper project"
  !insertmacro TemperExtension "gguf" "Temper.Model"
  !insertmacro TemperExtension "jsonl" "Temper.Data"
  !insertmacro TemperExtension "ndjson" "Temper.Data"
  !insertmacro TemperExtension "json" "Temper.Data"
  !insertmacro TemperExtension "csv" "Temper.Data"
  !insertmacro TemperExtension "tsv" "Temper.Data"
  !insertmacro TemperExtension "parquet" "Temper.Data"
  !insertmacro TemperExtension "toml" "Temper.Project"
  WriteRegStr SHCTX "Software\Classes\Directory\shell\Temper" "" "Open with Temper"
  WriteRegStr SHCTX "Software\Classes\Directory\shell\Temper" "Icon" "$INSTDIR\temper.exe,0"
  WriteRegStr SHCTX "Software\Classes\Directory\shell\Temper\command" "" '"$INSTDIR\temper.exe" "%1"'
!macroend

!macro TemperForgetExtension EXTENSION ID
  DeleteRegValue SHCTX "Software\Classes\.${EXTENSION}\OpenWithProgids" "${ID}"
!macroend

!macro TemperForgetFileTypes
  DeleteRegKey SHCTX "Software\Classes\Applications\temper.exe"
  DeleteRegKey SHCTX "Software\Classes\Temper.Model"
  DeleteRegKey SHCTX "Software\Classes\Temper.Data"
  DeleteRegKey SHCTX "Software\Classes\Temper.Project"
  !insertmacro TemperForgetExtension "gguf" "Temper.Model"
  !insertmacro TemperForgetExtension "jsonl" "Temper.Data"
  !insertmacro TemperForgetExtension "ndjson" "Temper.Data"
  !insertmacro TemperForgetExtension "json" "Temper.Data"
  !insertmacro TemperForgetExtension "csv" "Temper.Data"
  !insertmacro TemperForgetExtension "tsv" "Temper.Data"
  !insertmacro TemperForgetExtension "parquet" "Temper.Data"
  !insertmacro TemperForgetExtension "toml" "Temper.Project"
  DeleteRegKey SHCTX "Software\Classes\Directory\shell\Temper"
!macroend
