#!/usr/bin/env bash
# Compiles the engine with `--features cuda` as far as types go, on a machine without CUDA's toolkit.
#   bash tests/tools/check_cuda.sh
# In the place of CUDA's compiler stands a script that writes empty kernels: `cargo check` never links or runs them. So
# this proves that our code and candle's CUDA device fit together, and nothing about speed or results on a card.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
toolkit=$(mktemp -d)
trap 'rm -rf -- "$toolkit"' EXIT
mkdir -p "$toolkit/bin" "$toolkit/include" "$toolkit/lib64"
cat >"$toolkit/bin/nvcc" <<'NVCC'
#!/usr/bin/env bash
case " $* " in
    # cudarc reads the fourth line
    *" --version "*) printf 'nvcc\n\n\nCuda compilation tools, release 13.0, V13.0.88\n'; exit ;;
    *" --list-gpu-code "*) echo sm_80; exit ;;
esac
folder= sources=()
while [[ $# -gt 0 ]]; do
    case $1 in
        --output-directory) folder=$2; shift ;;
        -o) : >"$2"; shift ;;
        *.cu) sources+=("$1") ;;
    esac
    shift
done
for source in "${sources[@]}"; do
    name=$(basename "$source" .cu)
    [[ -z $folder ]] || : >"$folder/$name.ptx"
done
NVCC
chmod +x "$toolkit/bin/nvcc"
export CUDA_HOME=$toolkit NVCC=$toolkit/bin/nvcc PATH=$toolkit/bin:$PATH CUDA_COMPUTE_CAP=80
cargo check --release --locked -p temper --features cuda
