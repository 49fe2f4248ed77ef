#!/usr/bin/env bash
# Installs what the tests need, then runs everything that fits into an hour from cold and ten minutes warm.
#   bash tests/run.sh            all of it
#   bash tests/run.sh --quick    the inner loop: no installs, no judges, no real model
#   bash tests/run.sh --kit      only the packages, models and data that tests use; prints where they are
# What was installed or built stays in ${TEMPER_CACHE:-~/.cache/temper}; nothing is written outside it and the system's
# packages. Longer proofs are in tests/slow.sh.
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools/lib.sh"
cd "$ROOT" || exit 1

mode=all
case "${1:-}" in
    "") ;;
    --quick | --kit) mode=${1#--} ;;
    *) echo "usage: bash tests/run.sh [--quick | --kit]" >&2; exit 2 ;;
esac

if [[ $mode == kit ]]; then
    install_judges >&2 && make_kit
    exit
fi

if [[ $mode == all ]]; then
    stage "system packages" install_system
    stage "tools" install_tools
    stage "judges" install_judges
    stage "kit" make_kit
    stage "spelling" "$TOOLS/bin/typos" --config packaging/ci/typos.toml
    stage "dependencies" "$TOOLS/bin/cargo-deny" --config packaging/ci/deny.toml check bans licenses sources
fi

# One profile, one feature set: this build is the first, so that nothing after it compiles a dependency again.
cargo_flags=(--release --locked --workspace)
stage "build" cargo build "${cargo_flags[@]}" --all-targets || { finish; exit 1; }
stage "format" "$BIN/xtask" fmt
stage "tidy" "$BIN/xtask" tidy
stage "clippy" cargo clippy "${cargo_flags[@]}" --all-targets -- -D warnings

rust_tests() {
    local log=$LOGS/rust_tests.log begin=$SECONDS passed failed
    printf -- '-- rust tests\n'
    cargo test "${cargo_flags[@]}" --no-fail-fast >"$log" 2>&1 </dev/null
    local code=$?
    passed=$(grep -E '^test result:' "$log" | grep -oE '[0-9]+ passed' | awk '{n += $1} END {print n + 0}')
    failed=$(grep -E '^test result:' "$log" | grep -oE '[0-9]+ failed' | awk '{n += $1} END {print n + 0}')
    PASSED=$((PASSED + passed))
    printf '   rust tests: %d passed, %d failed, exit code %d, %d s\n' "$passed" "$failed" "$code" $((SECONDS - begin))
    if [[ $code -ne 0 || $passed -eq 0 ]]; then
        FAILED+=("rust tests ($failed)")
        grep -E '^test .* FAILED$|panicked at|^error' "$log" | sort -u | head -60
        grep -A12 -E "^---- .* stdout ----" "$log" | head -200 | cut -c1-240
    fi
}
rust_tests

# what is waived in the contract of methods is said out loud, every time
waivers() { cargo test "${cargo_flags[@]}" --test registry -- --nocapture registry_and_waivers; }
stage "methods and waivers" waivers && grep -hE '^(method|waiver): ' "$LOGS/methods_and_waivers.log" | sed 's/^/   /'

docs() { RUSTDOCFLAGS="-D warnings" cargo doc "${cargo_flags[@]}" --no-deps; }
stage "documentation" docs

if [[ $mode == all ]]; then
    python=$VENV/bin/python
    stage "golden vectors" "$python" tests/tools/golden.py --check
    stage "bundled data" "$python" tests/tools/check_bundled.py --kit "$CACHE/kit" --tokenizer "$BIN/examples/starter_tokenizer"
    stage "judge_peft itself" "$python" tests/tools/judge_peft.py --selftest
    stage "judge_hf itself" "$python" tests/tools/judge_hf.py --selftest
    stage "judge_gguf itself" "$python" tests/tools/judge_gguf.py --selftest
    stage "golden vectors of vision models" "$python" tests/tools/golden_vision.py --check
    stage "quickstart" "$python" tests/tools/quickstart_test.py --temper "$BIN/temper"
    stage "methods as PEFT adapters" "$python" tests/tools/methods_test.py --temper "$BIN/temper"
    stage "methods that race" "$python" tests/tools/race_test.py --temper "$BIN/temper"
    stage "bad input" "$python" tests/tools/bad_input_test.py --temper "$BIN/temper"
    stage "benches" "$python" tests/tools/bench_test.py --temper "$BIN/temper"
    stage "kills" "$python" tests/tools/kill_test.py --temper "$BIN/temper" --model builtin:starter \
        --data builtin:starter-data --repeat 12 --steps 16
    # the window as a person uses it, on a virtual screen, seen as a screen reader sees it
    stage "window" /usr/bin/python3 tests/tools/window_e2e.py --temper "$BIN/temper" --model assets/starter \
        --data assets/starter/data.jsonl --python "$python"
    stage "real model" "$python" tests/tools/e2e_model.py --temper "$BIN/temper" --kit "$CACHE/kit/kit.json" \
        --source gguf --steps 12 --gguf-types f32,q6_k,q4_k
    stage "Gemma 3" "$python" tests/tools/gemma_test.py --temper "$BIN/temper" --kit "$CACHE/kit/kit.json" \
        --tokens "$BIN/examples/tokens"
fi

finish
